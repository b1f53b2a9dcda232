//! One token in one block: lengths, bounds, products, and everything between them redone. Gives the place at which it
//! stops, never a repaired number.

use engine::trace::{OperationTrace, width};
use model::Model;
use model::ops::requantize::RESIDUAL_LIMIT_BITS;
use model::weights::Weights;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};

use super::attention::{HeadState, KeyPart, Seen, softmax};
use super::elementwise::{apply, keys_of, quotients, score_bits, weighted_bits};
use super::rules::Rules;
use super::{TraceEnd, number};
use crate::field::CheckField;
use crate::freivalds::{Group, Prepared, Vectors};

/// A position on its way through the blocks.
pub(super) struct Row<F: CheckField> {
    pub(super) position: usize,
    /// The residual stream.
    x: Vec<i32>,
    query: Vec<i32>,
    /// One per key/value head.
    pub(super) parts: Vec<KeyPart<F>>,
}

/// Where and why a position stops.
pub(super) type Stop = (usize, TraceEnd);

/// The numbers of one position in one block, and what they are checked with.
pub(super) struct TokenAudit<'t, F: CheckField> {
    pub(super) model: &'t Model,
    pub(super) rules: &'t Rules,
    pub(super) prepared: &'t Prepared<F>,
    pub(super) block: usize,
    pub(super) operations: &'t [OperationTrace],
    pub(super) position: usize,
    /// Of the position in its chunk.
    pub(super) index: usize,
}

impl<F: CheckField> Row<F> {
    pub(super) fn new(position: usize, x: Vec<i32>) -> Self {
        Self { position, x, query: Vec::new(), parts: Vec::new() }
    }
}

impl<F: CheckField> TokenAudit<'_, F> {
    /// Norm, queries, keys, values.
    pub(super) fn project(&self, row: &mut Row<F>, heads: &[HeadState<F>]) -> Result<(), Stop> {
        let (rules, dim) = (&self.rules.blocks[self.block], self.model.config.head_dim as usize);
        let normed = apply(&rules.attn_norm, &row.x);
        let tensors = &self.model.tensors.blocks[self.block];
        let [q, k, v] = self.products(
            self.prepared.group(self.block, Group::Attention),
            [TraceOperation::Query, TraceOperation::Key, TraceOperation::Value],
            [&tensors.q, &tensors.k, &tensors.v],
            &normed,
        )?;
        let rotated = |head, acc| self.rules.rotated(self.model, head, self.position, acc);
        row.query = self.in_range(rotated(&rules.query, q))?;
        let key = self.in_range(rotated(&rules.key, k))?;
        let value = self.in_range(rules.values(v))?;
        let pairs = heads.iter().zip(key.chunks_exact(dim).zip(value.chunks_exact(dim)));
        row.parts = pairs.map(|(head, (key, value))| head.part(self.position, key, value)).collect();
        Ok(())
    }

    /// Attention, its output matrix, the feed-forward half.
    pub(super) fn finish(&self, row: &mut Row<F>, heads: &[HeadState<F>]) -> Result<(), Stop> {
        let rules = &self.rules.blocks[self.block];
        let tensors = &self.model.tensors.blocks[self.block];
        let attended = self.attend(row, heads)?;
        let group = |group| self.prepared.group(self.block, group);
        let [o] = self.products(group(Group::Output), [TraceOperation::Output], [&tensors.o], &attended)?;
        self.in_range(((), rules.add_output(&mut row.x, o)))?;
        let normed = apply(&rules.ffn_norm, &row.x);
        let [gate, up] = self.products(
            group(Group::Gate),
            [TraceOperation::Gate, TraceOperation::Up],
            [&tensors.gate, &tensors.up],
            &normed,
        )?;
        let gated = self.in_range(self.rules.gated(rules, gate, up))?;
        let [down] = self.products(group(Group::Down), [TraceOperation::Down], [&tensors.down], &gated)?;
        self.in_range(((), rules.add_down(&mut row.x, down)))
    }

    /// Behind the last block: the logits where they are wanted.
    pub(super) fn logits(&self, row: &Row<F>, wanted: bool) -> Result<Option<&[i64]>, Stop> {
        let found = self.operations.get(1).map_or(&[][..], |operation| operation.row(self.index));
        if !wanted {
            return if found.is_empty() {
                Ok(None)
            } else {
                Err(self.fault(TraceOperation::Logits, TraceFault::Length))
            };
        }
        let normed = apply(&self.rules.output_norm, &row.x);
        let (head, output) = (self.prepared.head(), self.model.output());
        let [logits] = self.products(head, [TraceOperation::Logits], [output], &normed)?;
        Ok(Some(logits))
    }

    /// The residual stream that enters the block, as the trace says.
    pub(super) fn entering(&self) -> Result<Vec<i32>, Stop> {
        let found = self.row(TraceOperation::Residual)?;
        self.bound(TraceOperation::Residual, found, RESIDUAL_LIMIT_BITS)?;
        Ok(found.iter().map(|v| *v as i32).collect())
    }

    /// Whether it is what the block before gave.
    pub(super) fn residual(&self, row: &Row<F>) -> Result<(), Stop> {
        let found = self.row(TraceOperation::Residual)?;
        let is_same = found.iter().zip(&row.x).all(|(found, x)| *found == i64::from(*x));
        if is_same { Ok(()) } else { Err(self.fault(TraceOperation::Residual, TraceFault::Carried)) }
    }

    fn attend(&self, row: &Row<F>, states: &[HeadState<F>]) -> Result<Vec<i32>, Stop> {
        let (config, rules) = (&self.model.config, &self.rules.blocks[self.block]);
        let (dim, heads) = (config.head_dim as usize, config.heads as usize);
        let group = heads / config.kv_heads as usize;
        let keys = keys_of(rules, self.position);
        let count = keys.1 - keys.0;
        let scores = self.row(TraceOperation::Scores)?;
        let weighted = self.row(TraceOperation::Weighted)?;
        let table = self.rules.softmax(count);
        let mut weights = Vec::with_capacity(count);
        let mut out = vec![0; row.query.len()];
        let seen = |head: usize| Seen {
            query: &row.query[head * dim..][..dim],
            keys,
            scores: &scores[head * count..][..count],
            weighted: &weighted[head * dim..][..dim],
        };
        // All scores first: a place of the trace counts before those behind it.
        if !(0..heads).all(|head| states[head / group].scores_fit(seen(head), score_bits(config))) {
            return Err(self.unfit(TraceOperation::Scores, scores, score_bits(config)));
        }
        for (head, out) in out.chunks_exact_mut(dim).enumerate() {
            let seen = seen(head);
            let sum = softmax(seen.scores, rules.score_shift, table, &mut weights);
            if !states[head / group].weighted_fit(seen, &weights, weighted_bits(config)) {
                return Err(self.unfit(TraceOperation::Weighted, weighted, weighted_bits(config)));
            }
            quotients(seen.weighted, sum, out);
        }
        Ok(out)
    }

    /// Checks that the recorded numbers are the products of the matrices with `x`, and gives them.
    fn products<const N: usize>(
        &self,
        vectors: &Vectors<F::Element>,
        operations: [TraceOperation; N],
        matrices: [&Weights; N],
        x: &[i32],
    ) -> Result<[&[i64]; N], Stop> {
        let mut sum = F::Element::default();
        let mut found: [&[i64]; N] = [&[]; N];
        let mut is_exact = true;
        for (number, operation) in operations.into_iter().enumerate() {
            found[number] = self.row(operation)?;
            let bits = vectors.bits[number];
            let (part, magnitudes) = F::dot(&vectors.rows[number], found[number]);
            self.below(operation, magnitudes, bits)?;
            is_exact &= bits <= F::VALUE_BITS;
            sum = F::add(sum, part);
        }
        if is_exact && sum == F::dot_narrow(&vectors.columns, x) {
            return Ok(found);
        }
        // Which one; and the whole truth where bounds are too wide for the field.
        for ((operation, weights), found) in operations.into_iter().zip(matrices).zip(found) {
            if !is_product(weights, x, found) {
                return Err(self.fault(operation, TraceFault::Product));
            }
        }
        Ok(found)
    }

    /// The numbers of an operation at this position, as many as there must be.
    fn row(&self, operation: TraceOperation) -> Result<&[i64], Stop> {
        let index = if operation == TraceOperation::Logits { 1 } else { operation as usize };
        let row = self.operations.get(index).map_or(&[][..], |operation| operation.row(self.index));
        if row.len() == width(self.model, self.block, operation, self.position) {
            Ok(row)
        } else {
            Err(self.fault(operation, TraceFault::Length))
        }
    }

    /// Whether numbers whose magnitudes are or-ed to this are below 2^`bits`.
    fn below(&self, operation: TraceOperation, magnitudes: u64, bits: u32) -> Result<(), Stop> {
        let is_below = magnitudes >> bits.min(63) == 0;
        if is_below { Ok(()) } else { Err(self.fault(operation, TraceFault::Bound)) }
    }

    fn bound(&self, operation: TraceOperation, row: &[i64], bits: u32) -> Result<(), Stop> {
        self.below(operation, row.iter().fold(0, |all, v| all | v.unsigned_abs()), bits)
    }

    /// What is wrong with a row that is out of its bounds or no product.
    fn unfit(&self, operation: TraceOperation, row: &[i64], bits: u32) -> Stop {
        let is_below = self.bound(operation, row, bits);
        is_below.err().unwrap_or_else(|| self.fault(operation, TraceFault::Product))
    }

    fn in_range<T>(&self, (value, in_range): (T, bool)) -> Result<T, Stop> {
        if in_range { Ok(value) } else { Err((self.position, TraceEnd::OutOfRange)) }
    }

    fn fault(&self, operation: TraceOperation, fault: TraceFault) -> Stop {
        let place = TracePlace { position: number(self.position), block: number(self.block), operation };
        (self.position, TraceEnd::Fault(place, fault))
    }
}

/// The product itself: only where a check has failed or can't be made.
fn is_product(weights: &Weights, x: &[i32], found: &[i64]) -> bool {
    let mut row = Vec::new();
    found.iter().enumerate().all(|(r, found)| {
        weights.row(number(r), &mut row);
        row.iter().zip(x).map(|(w, x)| w * i64::from(*x)).sum::<i64>() == *found
    })
}
