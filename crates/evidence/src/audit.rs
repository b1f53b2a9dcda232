//! The audit of an execution trace: every product by Freivalds, everything else redone, from the claim's tokens to its
//! fingerprints. Never multiplies a matrix with a token, and never takes a number of the trace for what it did not
//! check.
//!
//! Claim in: a claim and a trace. Claim out: nothing more. What accepts a false claim is one product that is wrong and
//! passes: see [`error_bits`]. Attention's causal products (Thaler 2013, section 5, on the lower triangle): for
//! coefficients c drawn after the trace is bound, `sum_{s<=t} c_s S_ts = <q_t, sum_{s<=t} c_s k_s>`, and for rho
//! likewise `<rho, N_t> = sum_{s<=t} E_ts <rho, v_s>`.

use std::sync::Arc;

use engine::sampler::TokenSampler;
use engine::trace::ChunkTrace;
use model::Model;
use model::ops::embedding::embedding;
use protocol::Claim;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::verdict::{Reason, Verdict};
use rayon::prelude::*;

use self::attention::HeadState;
use self::rules::Rules;
use self::token::{Row, Stop, TokenAudit};
use crate::Error;
use crate::field::CheckField;
use crate::freivalds::Prepared;
use crate::replay::{
    Computed, Feed, Replayed, after_replay, before_replay, computed_at, left_by_its_own_account, tokens_read,
};

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod rules;
mod run;
mod token;

pub use self::run::{
    audit_designated, audit_parts, audit_public, designated_bits_adaptive, draw_parts, public_coins, shape_of,
};

/// Who may believe the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Only whoever drew the secret coins, and only as far as they were kept: it may raise the rate of audits, and must
    /// be repeated in public before anybody is slashed or killed.
    Designated,
    /// Anybody: the coins follow from what the claim is committed to.
    Public,
}

impl Audience {
    /// Stable machine name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Designated => "designated",
            Self::Public => "public",
        }
    }
}

/// A verdict that is worth as much as its audience says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// About the claim.
    pub verdict: Verdict,
    /// Who may believe it.
    pub audience: Audience,
    /// A false claim is accepted with a probability of at most 2^-this.
    pub error_bits: u32,
}

/// -log2 of the probability that a false claim is accepted after `attempts` claims, each made with the verdicts on those
/// before: the first wrong product of a trace is fixed before its coins are drawn, and passes with 2^-ERROR_BITS; an
/// attempt more is another chance. With public coins an attempt is one hash that is tried.
#[must_use]
pub fn error_bits<F: CheckField>(attempts: u64) -> u32 {
    F::ERROR_BITS.saturating_sub(attempts.max(1).next_power_of_two().ilog2())
}

/// The tokens whose trace an audit needs, and the first position whose logits it needs.
#[must_use]
pub fn transcript(model: &Model, claim: &Claim) -> (Vec<u32>, usize) {
    (tokens_read(model, claim), claim.prompt_ids.len().saturating_sub(1))
}

/// A model as an auditor needs it: with the constants and tables of everything that is redone. No packed weights.
pub struct AuditModel {
    model: Arc<Model>,
    pub(crate) rules: Rules,
    sampler: TokenSampler,
}

impl AuditModel {
    /// Makes the tables.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        let sampler = TokenSampler::new(model.logit_exponent());
        Self { rules: Rules::new(&model, model.config.context as usize), sampler, model }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn sampler(&self) -> &TokenSampler {
        &self.sampler
    }
}

/// An audit that is given one chunk of the trace after another.
pub struct Auditor<'a, F: CheckField> {
    model: &'a Model,
    rules: &'a Rules,
    sampler: &'a TokenSampler,
    prepared: &'a Prepared<F>,
    feed: Feed<'a>,
    logits_from: usize,
    /// (block, key/value head)
    heads: Vec<Vec<HeadState<F>>>,
    /// Blocks that are audited, in order; the number of blocks for what is behind the last one.
    parts: Vec<usize>,
    next: usize,
    /// The first position at which the trace ends: a fault, or a value out of range.
    ends: Ends,
    computed: Vec<Computed>,
}

/// Why a trace ends before the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TraceEnd {
    Fault(TracePlace, TraceFault),
    OutOfRange,
}

/// What an audit needs besides the trace.
#[derive(Clone, Copy, Debug)]
pub struct AuditCoins {
    /// For attention: drawn after the trace is bound and secret until then, and fresh for each audit.
    pub attention: [u8; 32],
}

impl<'a, F: CheckField> Auditor<'a, F> {
    /// An audit of the whole of `claim`, or the verdict where none of the model's numbers are needed for it.
    ///
    /// # Errors
    /// The verdict.
    pub fn new(
        subject: &'a AuditModel,
        prepared: &'a Prepared<F>,
        claim: &'a Claim,
        coins: AuditCoins,
    ) -> Result<Self, Verdict> {
        let parts: Vec<usize> = (0..=subject.model.tensors.blocks.len()).collect();
        Self::of_parts(subject, prepared, claim, coins, &parts)
    }

    /// An audit of some blocks only, for all tokens. It says nothing about a trace that was not bound before the parts
    /// were drawn, and finds a wrong block only if it is among them. Of a claim that left the range all are audited,
    /// since behind that place a trace has no meaning.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_parts(
        subject: &'a AuditModel,
        prepared: &'a Prepared<F>,
        claim: &'a Claim,
        coins: AuditCoins,
        parts: &[usize],
    ) -> Result<Self, Verdict> {
        let AuditModel { model, rules, sampler } = subject;
        if let Some(verdict) = before_replay(model, claim, None) {
            return Err(verdict);
        }
        if let Some(reason) = left_by_its_own_account(claim) {
            return Err(Verdict::Reject(reason));
        }
        let feed = Feed::new(model, claim);
        let is_whole = feed.out_of_range_claimed.is_some();
        let heads = model.config.kv_heads as usize;
        let state = |block: usize| {
            (0..heads).map(|head| HeadState::new(&coins.attention, &model.config, block, head)).collect()
        };
        Ok(Self {
            model,
            rules,
            sampler,
            prepared,
            logits_from: claim.prompt_ids.len().saturating_sub(1),
            feed,
            heads: (0..model.tensors.blocks.len()).map(state).collect(),
            parts: (0..=model.tensors.blocks.len())
                .filter(|block| is_whole || parts.contains(block))
                .collect(),
            next: 0,
            ends: Ends::default(),
            computed: Vec::new(),
        })
    }

    /// What is audited.
    #[must_use]
    pub fn parts(&self) -> &[usize] {
        &self.parts
    }

    /// Tokens that are not audited yet.
    #[must_use]
    pub fn missing(&self) -> usize {
        if self.ends.first.is_some() { 0 } else { self.feed.ids.len() - self.next }
    }

    /// Audits the next chunk.
    pub fn push(&mut self, trace: &ChunkTrace) {
        if self.ends.first.is_some() {
            return;
        }
        if !self.is_next(trace) {
            return self.ends.add((self.next, self.at(self.next, 0, TraceFault::Length)));
        }
        let mut heads = std::mem::take(&mut self.heads);
        let blocks = self.model.tensors.blocks.len();
        // What enters and what leaves each block is in the trace, so blocks do not wait for each other.
        let parts = heads.iter_mut().map(Some).chain([None]).enumerate();
        let parts: Vec<_> = parts.filter(|(block, _)| self.parts.binary_search(block).is_ok()).collect();
        // The head first, since it takes longest.
        let audited: Vec<Part> = parts
            .into_par_iter()
            .rev()
            .map(|(block, heads)| match heads {
                Some(heads) => Part { end: self.audit_block(block, heads, trace), computed: Vec::new() },
                None => self.audit_head(blocks, trace),
            })
            .collect();
        self.heads = heads;
        for part in audited.into_iter().rev() {
            part.end.into_iter().for_each(|stop| self.ends.add(stop));
            self.computed.extend(part.computed);
        }
        if let Some((position, _)) = self.ends.first {
            // Behind the end nothing has a meaning.
            self.computed.truncate(position.saturating_sub(self.logits_from));
        }
        self.next += trace.count;
    }

    /// Whether these are the next tokens, of the blocks that are audited and of the residuals that leave them.
    fn is_next(&self, trace: &ChunkTrace) -> bool {
        let blocks = 0..=self.model.tensors.blocks.len();
        let is_part = |block: &usize| self.parts.binary_search(block).is_ok();
        let wanted = blocks.filter(|b| is_part(b) || b.checked_sub(1).is_some_and(|before| is_part(&before)));
        trace.start == self.next
            && (1..=self.missing()).contains(&trace.count)
            && trace.blocks.iter().map(|block| block.block).eq(wanted)
    }

    /// What enters a block: the embedding, or what the trace says.
    fn entering(&self, block: usize, trace: &ChunkTrace, ends: &mut Ends) -> Vec<Row<F>> {
        let mut rows = Vec::with_capacity(trace.count);
        for position in self.next..self.next + trace.count {
            let token = self.token(block, trace, position);
            let row = if block == 0 {
                let (scale, stream) = (self.model.recipe.embedding_scale, self.model.formats.residual);
                let x = embedding(&self.model.tensors.embedding, self.feed.ids[position], stream, scale);
                let row = Row::new(position, x.into_iter().map(|v| v as i32).collect());
                token.residual(&row).map(|()| row)
            } else {
                token.entering().map(|x| Row::new(position, x))
            };
            match row {
                Ok(row) => rows.push(row),
                Err(stop) => {
                    ends.add(stop);
                    break;
                }
            }
        }
        rows
    }

    /// The first position at which a block is wrong: from what enters it to what leaves it.
    fn audit_block(&self, block: usize, heads: &mut [HeadState<F>], trace: &ChunkTrace) -> Option<Stop> {
        let mut ends = Ends::default();
        let window = self.rules.blocks[block].window;
        heads.iter_mut().for_each(|head| head.draw(trace.count, window));
        let mut rows = self.entering(block, trace, &mut ends);
        let states = &*heads;
        let project = |row: &mut Row<F>| self.token(block, trace, row.position).project(row, states).err();
        ends.cut(&mut rows, |rows| rows.par_iter_mut().filter_map(project).collect());
        for row in &rows {
            for (state, part) in heads.iter_mut().zip(&row.parts) {
                state.append(part);
            }
        }
        let states = &*heads;
        let finish = |row: &mut Row<F>| self.token(block, trace, row.position).finish(row, states).err();
        ends.cut(&mut rows, |rows| rows.par_iter_mut().filter_map(finish).collect());
        let differs = |row: &Row<F>| self.token(block + 1, trace, row.position).residual(row).err();
        ends.cut(&mut rows, |rows| rows.iter().find_map(differs).into_iter().collect());
        ends.first
    }

    fn token<'t>(&'t self, block: usize, trace: &'t ChunkTrace, position: usize) -> TokenAudit<'t, F> {
        TokenAudit {
            model: self.model,
            rules: self.rules,
            prepared: self.prepared,
            block,
            operations: trace.blocks.iter().find(|b| b.block == block).map_or(&[], |b| &b.operations),
            position,
            index: position - trace.start,
        }
    }

    fn audit_head(&self, block: usize, trace: &ChunkTrace) -> Part {
        let mut ends = Ends::default();
        let rows = self.entering(block, trace, &mut ends);
        let audit = |row: &Row<F>| {
            let token = self.token(block, trace, row.position);
            let logits = token.logits(row, row.position >= self.logits_from)?;
            Ok(logits.map(|logits| computed_at(&self.feed, self.sampler, row.position, logits)))
        };
        let results: Vec<Result<_, Stop>> = rows.par_iter().map(audit).collect();
        let mut computed = Vec::new();
        for result in results {
            match result {
                Ok(found) => computed.extend(found),
                Err(stop) => {
                    ends.add(stop);
                    break;
                }
            }
        }
        Part { end: ends.first, computed }
    }

    /// The verdict, when there is nothing more to audit. Of parts: whether they are those of an honest run.
    ///
    /// # Errors
    /// As [`crate::replay::replay`].
    pub fn finish(self) -> Result<Verdict, Error> {
        let missing = self.at(self.next, 0, TraceFault::Length);
        let end = self.ends.first.map(|(_, end)| end).or((self.missing() > 0).then_some(missing));
        let out_of_range = match (end, self.ends.first) {
            (Some(TraceEnd::Fault(place, fault)), _) => {
                return Ok(Verdict::Reject(Reason::ExecutionTrace { place, fault }));
            }
            (Some(TraceEnd::OutOfRange), Some((position, _))) => Some(number(position)),
            _ => None,
        };
        if self.parts.last() == Some(&self.model.tensors.blocks.len()) {
            let replayed = Replayed { computed: self.computed, out_of_range };
            return after_replay(self.model, &self.feed, &replayed);
        }
        let claimed = self.feed.out_of_range_claimed;
        let reason = Reason::OutOfRange { claimed, computed: out_of_range };
        Ok(if out_of_range.is_some() { Verdict::Reject(reason) } else { Verdict::Accept })
    }

    fn at(&self, position: usize, block: usize, fault: TraceFault) -> TraceEnd {
        let (position, block) = (number(position), number(block));
        TraceEnd::Fault(TracePlace { position, block, operation: TraceOperation::Residual }, fault)
    }
}

/// What came of one part of a chunk.
struct Part {
    end: Option<Stop>,
    /// Behind the last block.
    computed: Vec<Computed>,
}

/// Where a trace ends, or the rows of one block.
#[derive(Default)]
struct Ends {
    first: Option<Stop>,
}

impl Ends {
    /// The first end counts.
    fn add(&mut self, (position, end): Stop) {
        if self.first.is_none_or(|(first, _)| position < first) {
            self.first = Some((position, end));
        }
    }

    /// Takes a step on all rows. Rows at and after an end are of no interest: nothing before depends on them.
    fn cut<F: CheckField>(
        &mut self,
        rows: &mut Vec<Row<F>>,
        step: impl FnOnce(&mut Vec<Row<F>>) -> Vec<Stop>,
    ) {
        step(rows).into_iter().for_each(|stop| self.add(stop));
        if let Some((first, _)) = self.first {
            rows.retain(|row| row.position < first);
        }
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
