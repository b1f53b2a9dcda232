//! Exact replay: one teacher-forced prefill of prompt and output recomputes every logit that a token was
//! chosen from. Accepts exactly the claims that an honest run gives; soundness error 0 within the numerics
//! class, since every bit is recomputed. Never generates, never trusts the claim's seed or text.

use std::collections::{BTreeMap, BTreeSet};

use engine::batch::{check_prompt, choose, finish_reason};
use engine::execute::{Chunk, Place};
use engine::fingerprint::Fingerprinter;
use engine::sampler::TokenSampler;
use engine::{Engine, Error as EngineError};
use model::{Model, NUMERICS};
use protocol::claim::{Claim, FinishReason};
use protocol::fingerprint::{LogitFingerprint, fingerprint_point};
use protocol::id::{Nonce, Seed};
use protocol::logprobs::TokenLogprobs;
use protocol::seed::{derive_seed, draw_u64};
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::verdict::{Missing, Reason, Verdict};

use crate::Error;
use crate::trace::commit;

/// Judges a claim by running it again. `issued` is the nonce that the checker gave out for this request;
/// without it nothing is said about freshness.
///
/// # Errors
/// [`Error::Tokenizer`] if this build can't decode the model's tokens; nobody is to blame for that.
pub fn replay(engine: &Engine, claim: &Claim, issued: Option<&Nonce>) -> Result<Verdict, Error> {
    match left_by_its_own_account(claim) {
        Some(reason) => Ok(Verdict::Reject(reason)),
        None => replay_delivered(engine, claim, issued),
    }
}

/// A server's own claim can't say that its reader left: it would be free to end wherever it likes.
pub(crate) fn left_by_its_own_account(claim: &Claim) -> Option<Reason> {
    (claim.finish == FinishReason::ReaderLeft).then(|| ends_early(claim))
}

/// As [`replay`], for claims that a gateway wrote down itself: it saw when the reader left, so the beginning of an
/// answer is as good as the whole.
///
/// # Errors
/// As [`replay`].
pub fn replay_delivered(engine: &Engine, claim: &Claim, issued: Option<&Nonce>) -> Result<Verdict, Error> {
    let model = engine.model();
    match before_replay(model, claim, issued) {
        Some(verdict) => Ok(verdict),
        None => {
            let feed = Feed::new(model, claim);
            let computed = teacher_force(engine, std::slice::from_ref(&feed)).pop().unwrap_or_default();
            Ok(with_trace(engine, claim, after_replay(model, &feed, &computed)?))
        }
    }
}

/// What is committed to is claimed as well: numbers inside that no honest run has are a lie, even where they lead to the
/// right output. Costs a second pass, for claims with a trace alone.
fn with_trace(engine: &Engine, claim: &Claim, verdict: Verdict) -> Verdict {
    let Some(root) = claim.trace.filter(|_| verdict == Verdict::Accept) else { return verdict };
    if commit(engine, claim).map(|opener| opener.root()) == Some(root) {
        return verdict;
    }
    let place = TracePlace { position: 0, block: 0, operation: TraceOperation::Residual };
    Verdict::Reject(Reason::ExecutionTrace { place, fault: TraceFault::Commitment })
}

/// As [`replay_delivered`], for many claims in one pass over the weights. Each verdict is that of a replay alone: no
/// result depends on the company.
pub fn replay_batch(engine: &Engine, claims: &[&Claim]) -> Vec<Result<Verdict, Error>> {
    let model = engine.model();
    let early: Vec<Option<Verdict>> = claims.iter().map(|claim| before_replay(model, claim, None)).collect();
    let open = claims.iter().zip(&early).filter(|(_, early)| early.is_none());
    let feeds: Vec<Feed<'_>> = open.map(|(claim, _)| Feed::new(model, claim)).collect();
    let computed = teacher_force(engine, &feeds);
    let mut late = feeds.iter().zip(&computed).map(|(feed, computed)| {
        let verdict = after_replay(model, feed, computed)?;
        Ok(with_trace(engine, feed.claim, verdict))
    });
    let verdict = |early: Option<Verdict>| match early {
        Some(verdict) => Ok(verdict),
        None => late.next().expect("each claim without an early verdict has a feed"),
    };
    early.into_iter().map(verdict).collect()
}

/// The verdict, where none of the model's numbers are needed for it.
pub(crate) fn before_replay(model: &Model, claim: &Claim, issued: Option<&Nonce>) -> Option<Verdict> {
    if claim.model != model.commitment {
        return Some(Verdict::Undecided(Missing::Model(claim.model)));
    }
    if claim.numerics != NUMERICS {
        let (claimed, model) = (claim.numerics.clone(), NUMERICS.to_owned());
        return Some(Verdict::Reject(Reason::Numerics { claimed, model }));
    }
    check_statement(model, claim, issued).map(Verdict::Reject)
}

pub(crate) fn after_replay(model: &Model, feed: &Feed<'_>, computed: &Replayed) -> Result<Verdict, Error> {
    let claim = feed.claim;
    if let Some(reason) = check_computation(model, feed, computed) {
        return Ok(Verdict::Reject(reason));
    }
    Ok(check_bytes(model, claim)?.map_or(Verdict::Accept, Verdict::Reject))
}

fn check_bytes(model: &Model, claim: &Claim) -> Result<Option<Reason>, Error> {
    let bytes = model.tokenizer.decode_bytes(&claim.output_ids)?;
    let same = bytes.iter().zip(&claim.output_bytes).take_while(|(a, b)| a == b).count();
    let offset = u32::try_from(same).unwrap_or(u32::MAX);
    Ok((bytes != claim.output_bytes).then_some(Reason::OutputBytes { offset }))
}

/// Whether the claim's end and its bytes fit its tokens, wherever it says that the range was left.
pub(crate) fn check_claim_without_numbers(model: &Model, claim: &Claim) -> Option<Reason> {
    let end = claim.finish.out_of_range();
    // Tokens that can't be decoded are out of the vocabulary: their logits say what should be there.
    check_finish(model, claim, end, end).or_else(|| check_bytes(model, claim).ok().flatten())
}

/// Everything that needs no forward pass.
fn check_statement(model: &Model, claim: &Claim, issued: Option<&Nonce>) -> Option<Reason> {
    if let Some(issued) = issued.filter(|issued| **issued != claim.nonce) {
        return Some(Reason::Nonce { claimed: claim.nonce, issued: *issued });
    }
    if let Some(reason) = claim.contradiction() {
        return Some(reason);
    }
    if claim.template.is_some() && claim.template != model.template {
        return Some(Reason::Template { claimed: claim.template, model: model.template });
    }
    let context = model.config.context;
    match check_prompt(model, &claim.prompt_ids) {
        Ok(()) => {}
        Err(EngineError::TokenOutOfVocabulary { position, id, vocabulary }) => {
            let position = number(position);
            return Some(Reason::PromptTokenOutOfVocabulary { position, token: id, vocabulary });
        }
        Err(EngineError::PromptTooLong { tokens, context }) => {
            return Some(Reason::ContextExceeded { tokens: number(tokens), context });
        }
        Err(_) => return Some(Reason::PromptEmpty),
    }
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    if tokens > context as usize {
        return Some(Reason::ContextExceeded { tokens: number(tokens), context });
    }
    None
}

/// What the model computes at one output position.
pub(crate) struct Computed {
    fingerprint: LogitFingerprint,
    token: u32,
    /// If the claim has them.
    logprobs: Option<TokenLogprobs>,
}

/// What a replay gives: the numbers after the prompt and after each output that was read, and where the range was left.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) computed: Vec<Computed>,
    pub(crate) out_of_range: Option<u32>,
}

/// What is fed to the model to replay a claim.
pub(crate) struct Feed<'c> {
    claim: &'c Claim,
    pub(crate) out_of_range_claimed: Option<u32>,
    /// Prompt and outputs.
    pub(crate) ids: Vec<u32>,
    first_seen: BTreeMap<u32, usize>,
    fingerprinter: Fingerprinter,
    seed: Seed,
}

/// The tokens that the model reads in a claim's run: the prompt and the outputs before the first unknown one.
pub(crate) fn tokens_read(model: &Model, claim: &Claim) -> Vec<u32> {
    let unknown = claim.output_ids.iter().position(|id| *id >= model.config.vocab);
    let outputs = &claim.output_ids[..unknown.unwrap_or(claim.output_ids.len())];
    // The last output token was never read back, unless reading it is what left the range.
    let read = if unknown.is_some() || claim.finish.out_of_range().is_some() {
        outputs.len()
    } else {
        outputs.len().saturating_sub(1)
    };
    claim.prompt_ids.iter().chain(&outputs[..read]).copied().collect()
}

impl<'c> Feed<'c> {
    pub(crate) fn new(model: &Model, claim: &'c Claim) -> Self {
        let point = fingerprint_point(&model.commitment, &claim.nonce, &claim.prompt_ids, &claim.settings);
        let ids = tokens_read(model, claim);
        Self {
            claim,
            out_of_range_claimed: claim.finish.out_of_range(),
            first_seen: first_positions(&ids),
            ids,
            fingerprinter: Fingerprinter::new(&point, model.config.vocab as usize),
            seed: derive_seed(&claim.nonce, &claim.client_seed),
        }
    }

    fn seen_until(&self, position: usize) -> BTreeSet<u32> {
        if self.claim.settings.repetition_penalty_milli == 1000 {
            return BTreeSet::new();
        }
        self.first_seen.iter().filter(|(_, first)| **first <= position).map(|(id, _)| *id).collect()
    }
}

fn check_computation(model: &Model, feed: &Feed<'_>, replayed: &Replayed) -> Option<Reason> {
    let Feed { claim, out_of_range_claimed, .. } = *feed;
    let Replayed { computed, out_of_range } = replayed;
    for i in 0..claim.output_ids.len() {
        let Some(computed) = computed.get(i) else {
            return Some(Reason::OutOfRange { claimed: out_of_range_claimed, computed: *out_of_range });
        };
        if let Some(reason) = check_output(claim, i, computed) {
            return Some(reason);
        }
    }
    check_finish(model, claim, out_of_range_claimed, *out_of_range)
}

/// Whether an output token, its fingerprint and its log-probabilities are those that were computed.
pub(crate) fn check_output(claim: &Claim, index: usize, computed: &Computed) -> Option<Reason> {
    let position = number(index);
    if claim.fingerprints.get(index) != Some(&computed.fingerprint) {
        return Some(Reason::LogitFingerprint { position });
    }
    let claimed = *claim.output_ids.get(index)?;
    if computed.token != claimed {
        return Some(Reason::OutputToken { position, claimed, computed: computed.token });
    }
    let claimed = claim.logprobs.as_ref().map(|logprobs| logprobs.tokens.get(index));
    let differs = claimed.is_some_and(|claimed| claimed != computed.logprobs.as_ref());
    differs.then_some(Reason::Logprob { position })
}

/// One prefill of all prompts and outputs.
fn teacher_force(engine: &Engine, feeds: &[Feed<'_>]) -> Vec<Replayed> {
    if feeds.is_empty() {
        return Vec::new();
    }
    let sampler = engine.new_sampler();
    let mut caches: Vec<_> = feeds.iter().map(|_| engine.new_cache()).collect();
    let mut chunks: Vec<Chunk<'_>> = feeds
        .iter()
        .zip(&mut caches)
        .map(|(feed, cache)| Chunk { cache, ids: &feed.ids, logits_from: feed.claim.prompt_ids.len() - 1 })
        .collect();
    let forward = engine.forward(&mut chunks, |Place { chunk, position }, logits| {
        (chunk, computed_at(&feeds[chunk], &sampler, position, logits))
    });
    let none = |out_of_range: &Option<u32>| Replayed { computed: Vec::new(), out_of_range: *out_of_range };
    let mut replayed: Vec<Replayed> = forward.out_of_range.iter().map(none).collect();
    for (chunk, computed) in forward.results {
        replayed[chunk].computed.push(computed);
    }
    replayed
}

/// What follows from the logits at a position.
pub(crate) fn computed_at(
    feed: &Feed<'_>,
    sampler: &TokenSampler,
    position: usize,
    logits: &[i64],
) -> Computed {
    let fingerprint = feed.fingerprinter.fingerprint(logits);
    let draw = draw_u64(&feed.seed, position as u64 + 1);
    let top = feed.claim.logprobs.as_ref().map(|logprobs| logprobs.top);
    let seen = feed.seen_until(position);
    let (token, logprobs) = choose(sampler, logits, &feed.claim.settings, &seen, draw, top);
    Computed { fingerprint, token, logprobs }
}

/// Of each id, where it first stands.
fn first_positions(ids: &[u32]) -> BTreeMap<u32, usize> {
    let mut first = BTreeMap::new();
    for (position, id) in ids.iter().enumerate() {
        first.entry(*id).or_insert(position);
    }
    first
}

/// The tokens are right; now the place where they stop.
fn check_finish(
    model: &Model,
    claim: &Claim,
    out_of_range_claimed: Option<u32>,
    out_of_range: Option<u32>,
) -> Option<Reason> {
    if out_of_range_claimed != out_of_range {
        return Some(Reason::OutOfRange { claimed: out_of_range_claimed, computed: out_of_range });
    }
    let (prompt, tokens) = (claim.prompt_ids.len(), claim.output_ids.len());
    for (i, token) in claim.output_ids.iter().enumerate() {
        let Some(computed) = finish_reason(model, &claim.settings, prompt, i + 1, *token) else {
            continue;
        };
        if i + 1 < tokens || out_of_range.is_some() {
            // Only an end token can stop an honest run before the limits that `contradiction` has checked.
            return Some(if computed == FinishReason::EndToken && i + 1 < tokens {
                Reason::TokenAfterEnd { position: number(i + 1) }
            } else {
                Reason::FinishReason { claimed: claim.finish, computed }
            });
        }
        // Who left with the last token need not have known that it was the last.
        let fits = computed == claim.finish || claim.finish == FinishReason::ReaderLeft;
        return (!fits).then_some(Reason::FinishReason { claimed: claim.finish, computed });
    }
    if out_of_range.is_some() || claim.finish == FinishReason::ReaderLeft {
        return None;
    }
    Some(ends_early(claim))
}

fn ends_early(claim: &Claim) -> Reason {
    Reason::EndsEarly { claimed: claim.finish, tokens: number(claim.output_ids.len()) }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
