//! One number of a trace from the leaves before it: what a referee does, and what a challenge about a single neuron
//! asks for. One row of one matrix, never a whole product. Never believes an input that is not shown, and never
//! panics on one that no model gives.

use std::cell::Cell;
use std::sync::Arc;

use engine::trace::width;
use model::Model;
use model::bounds::accumulator_bits;
use model::ops::attention::first_key;
use model::ops::embedding::embedding;
use model::ops::requantize::RESIDUAL_LIMIT_BITS;
use model::weights::Weights;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use rayon::prelude::*;

use crate::audit::AuditModel;
use crate::audit::attention::softmax;
use crate::audit::elementwise::{apply, keys_of, score_bits, weighted_bits};
use crate::audit::rules::BlockRules;
use crate::freivalds::{Group, NARROW_BITS, matrices};
use crate::trace::{LEAF_TOKENS, LeafPlace, Opening, TraceShape};

#[cfg(test)]
mod tests;

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumberPlace {
    /// The token, counted from 0 over prompt and output.
    pub position: usize,
    /// The block; the number of blocks for what is behind the last one.
    pub block: usize,
    /// The operation.
    pub operation: TraceOperation,
    /// Which of the operation's numbers at this position.
    pub index: usize,
}

impl NumberPlace {
    /// The leaf that holds it.
    #[must_use]
    pub fn leaf(self) -> LeafPlace {
        LeafPlace { chunk: self.position / LEAF_TOKENS, block: self.block, operation: self.operation }
    }

    /// Without the index, for people and verdicts.
    #[must_use]
    pub fn place(self) -> TracePlace {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        TracePlace { position: number(self.position), block: number(self.block), operation: self.operation }
    }
}

/// What follows from the leaves before a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recomputed {
    /// The number.
    Number {
        /// What it must be. A row that leaves its range goes on as zeros.
        value: i64,
        /// The first position at which a value on the way left its range: an honest run ends there.
        left: Option<usize>,
    },
    /// A leaf before it has numbers that no run of this model has.
    Impossible(TracePlace, TraceFault),
}

/// A model as a referee needs it.
pub struct Referee {
    subject: Arc<AuditModel>,
    /// Of each block's matrices, in the order of [`MATRICES`]: honest accumulators stay below 2^this.
    bits: Vec<Vec<u32>>,
    head_bits: u32,
}

/// The products with a block's matrices, in the order of `freivalds::matrices`.
const MATRICES: [TraceOperation; 7] = [
    TraceOperation::Query,
    TraceOperation::Key,
    TraceOperation::Value,
    TraceOperation::Output,
    TraceOperation::Gate,
    TraceOperation::Up,
    TraceOperation::Down,
];

impl Referee {
    /// One pass over the weights, for the bounds of what is shown.
    #[must_use]
    pub fn new(subject: Arc<AuditModel>) -> Self {
        let model = subject.model();
        let of_block = |block: usize| {
            let matrices = Group::ALL.into_iter().flat_map(|group| matrices(model, block, group));
            matrices.map(|(weights, input_bits)| accumulator_bits(weights, input_bits)).collect()
        };
        let bits = (0..model.tensors.blocks.len()).into_par_iter().map(of_block).collect();
        let head_bits = accumulator_bits(model.output(), NARROW_BITS);
        Self { bits, head_bits, subject }
    }

    /// The model with its rules.
    #[must_use]
    pub fn subject(&self) -> &AuditModel {
        &self.subject
    }

    /// The leaves that a number follows from, in the order in which [`Self::recompute`] takes them. All of them are
    /// before the number's own leaf.
    #[must_use]
    pub fn inputs_of(&self, place: NumberPlace) -> Vec<LeafPlace> {
        use TraceOperation as Op;
        let leaf = place.leaf();
        let here = |operation| LeafPlace { operation, ..leaf };
        let before = |operation| LeafPlace { operation, block: place.block.saturating_sub(1), ..leaf };
        match place.operation {
            Op::Residual if place.block == 0 => Vec::new(),
            Op::Residual => vec![before(Op::Residual), before(Op::Output), before(Op::Down)],
            Op::Query | Op::Key | Op::Value | Op::Logits => vec![here(Op::Residual)],
            Op::Scores => {
                let key = self.key_of(place);
                vec![here(Op::Query), LeafPlace { chunk: key / LEAF_TOKENS, ..here(Op::Key) }]
            }
            Op::Weighted => {
                let chunks = first_key_of(self, place) / LEAF_TOKENS..=leaf.chunk;
                let values = chunks.map(|chunk| LeafPlace { chunk, ..here(Op::Value) });
                std::iter::once(here(Op::Scores)).chain(values).collect()
            }
            Op::Output => vec![here(Op::Scores), here(Op::Weighted)],
            Op::Gate | Op::Up => vec![here(Op::Residual), here(Op::Output)],
            Op::Down => vec![here(Op::Gate), here(Op::Up)],
        }
    }

    /// How many numbers a trace has of a leaf at a position: logits only from a position on.
    #[must_use]
    pub fn length(&self, leaf: LeafPlace, position: usize, logits_from: usize) -> usize {
        if leaf.operation == TraceOperation::Logits && position < logits_from {
            0
        } else {
            self.width(leaf, position)
        }
    }

    /// How many numbers each row of a leaf has.
    #[must_use]
    pub fn lengths(&self, shape: TraceShape, leaf: LeafPlace, logits_from: usize) -> Vec<usize> {
        let first = leaf.chunk * LEAF_TOKENS;
        let positions = first..first + shape.tokens_of(leaf.chunk);
        positions.map(|position| self.length(leaf, position, logits_from)).collect()
    }

    /// How many numbers an operation has at a position.
    #[must_use]
    pub fn width(&self, leaf: LeafPlace, position: usize) -> usize {
        width(self.subject.model(), leaf.block, leaf.operation, position)
    }

    /// The number at a place from the leaves of [`Self::inputs_of`], whose paths were verified. `None` if they are
    /// others, or there is no such number.
    #[must_use]
    pub fn recompute(&self, ids: &[u32], place: NumberPlace, inputs: &[Opening]) -> Option<Recomputed> {
        let model = self.subject.model();
        let (blocks, id) = (model.tensors.blocks.len(), *ids.get(place.position)?);
        let is_there = if place.block == blocks {
            matches!(place.operation, TraceOperation::Residual | TraceOperation::Logits)
        } else {
            place.block < blocks && place.operation != TraceOperation::Logits
        };
        if !is_there
            || place.index >= self.width(place.leaf(), place.position)
            || !inputs.iter().map(|opening| opening.place).eq(self.inputs_of(place))
        {
            return None;
        }
        let one = OneNumber { referee: self, model, place, id, inputs, left: Cell::new(None) };
        let number = |value| Recomputed::Number { value, left: one.left.get() };
        Some(one.compute().map_or_else(|end| end, number))
    }

    /// The key that a score is about.
    fn key_of(&self, place: NumberPlace) -> usize {
        let first = first_key_of(self, place);
        first + place.index % (place.position + 1 - first)
    }

    fn bits_of(&self, leaf: LeafPlace) -> u32 {
        let config = &self.subject.model().config;
        match leaf.operation {
            TraceOperation::Residual => RESIDUAL_LIMIT_BITS,
            TraceOperation::Scores => score_bits(config),
            TraceOperation::Weighted => weighted_bits(config),
            TraceOperation::Logits => self.head_bits,
            TraceOperation::Query
            | TraceOperation::Key
            | TraceOperation::Value
            | TraceOperation::Output
            | TraceOperation::Gate
            | TraceOperation::Up
            | TraceOperation::Down => {
                let number = MATRICES.iter().position(|operation| *operation == leaf.operation);
                let bits = self.bits.get(leaf.block).zip(number);
                bits.and_then(|(bits, number)| bits.get(number)).copied().unwrap_or(0)
            }
        }
    }
}

/// The first key that a place's position sees.
pub(crate) fn first_key_of(referee: &Referee, place: NumberPlace) -> usize {
    first_key(place.position, referee.subject.model().recipe.window(place.block))
}

fn matrix_of(model: &Model, block: usize, operation: TraceOperation) -> Option<&Weights> {
    if block == model.tensors.blocks.len() {
        return (operation == TraceOperation::Logits).then(|| model.output());
    }
    let number = MATRICES.iter().position(|matrix| *matrix == operation)?;
    let mut all = Group::ALL.into_iter().flat_map(|group| matrices(model, block, group));
    all.nth(number).map(|(weights, _)| weights)
}

/// One question.
struct OneNumber<'r> {
    referee: &'r Referee,
    model: &'r Model,
    place: NumberPlace,
    /// The token at the position.
    id: u32,
    inputs: &'r [Opening],
    left: Cell<Option<usize>>,
}

/// A number, or why there is none.
type Step<T> = Result<T, Recomputed>;

impl OneNumber<'_> {
    fn compute(&self) -> Step<i64> {
        use TraceOperation as Op;
        match self.place.operation {
            Op::Residual if self.place.block == 0 => self.embedded(),
            Op::Residual => self.carried(),
            Op::Query | Op::Key | Op::Value => {
                let x = self.residual(0)?;
                self.product(&apply(&self.rules().attn_norm, &x))
            }
            Op::Scores => self.score(),
            Op::Weighted => self.weighted(),
            Op::Output => {
                let (scores, weighted) = (self.input(0)?, self.input(1)?);
                let rules = &self.referee.subject.rules;
                let position = self.place.position;
                self.product(&rules.attended(self.model, self.rules(), position, scores, weighted))
            }
            Op::Gate | Op::Up => {
                let mut x = self.residual(0)?;
                self.in_range(((), self.rules().add_output(&mut x, self.input(1)?)), self.place.position);
                self.product(&apply(&self.rules().ffn_norm, &x))
            }
            Op::Down => {
                let gated = self.referee.subject.rules.gated(self.rules(), self.input(0)?, self.input(1)?);
                self.product(&self.in_range(gated, self.place.position))
            }
            Op::Logits => {
                let x = self.residual(0)?;
                self.product(&apply(&self.referee.subject.rules.output_norm, &x))
            }
        }
    }

    fn embedded(&self) -> Step<i64> {
        let (scale, stream) = (self.model.recipe.embedding_scale, self.model.formats.residual);
        Ok(embedding(&self.model.tensors.embedding, self.id, stream, scale)[self.place.index])
    }

    /// What the block before gives.
    fn carried(&self) -> Step<i64> {
        let rules = &self.referee.subject.rules.blocks[self.place.block - 1];
        let mut x = self.residual(0)?;
        self.in_range(((), rules.add_output(&mut x, self.input(1)?)), self.place.position);
        self.in_range(((), rules.add_down(&mut x, self.input(2)?)), self.place.position);
        Ok(i64::from(x[self.place.index]))
    }

    fn score(&self) -> Step<i64> {
        let (rules, dim) = (self.rules(), self.model.config.head_dim as usize);
        let (first, end) = keys_of(rules, self.place.position);
        let head = self.place.index / (end - first);
        let key_head = head / (self.model.config.heads / self.model.config.kv_heads) as usize;
        let key_position = self.referee.key_of(self.place);
        let redo = &self.referee.subject.rules;
        let key = redo.rotated(self.model, &rules.key, key_position, self.row(1, key_position)?);
        let key = self.in_range(key, key_position);
        let query = redo.rotated(self.model, &rules.query, self.place.position, self.input(0)?);
        let query = self.in_range(query, self.place.position);
        let pairs = query[head * dim..][..dim].iter().zip(&key[key_head * dim..][..dim]);
        Ok(pairs.map(|(q, k)| i64::from(*q) * i64::from(*k)).sum())
    }

    fn weighted(&self) -> Step<i64> {
        let (rules, dim) = (self.rules(), self.model.config.head_dim as usize);
        let (first, end) = keys_of(rules, self.place.position);
        let head = self.place.index / dim;
        let group = (self.model.config.heads / self.model.config.kv_heads) as usize;
        let column = head / group * dim + self.place.index % dim;
        let scores = &self.input(0)?[head * (end - first)..][..end - first];
        let table = self.referee.subject.rules.softmax(end - first);
        let mut weights = Vec::new();
        softmax(scores, rules.score_shift, table, &mut weights);
        let mut sum = 0;
        for (weight, position) in weights.iter().zip(first..end) {
            let input = 1 + position / LEAF_TOKENS - first / LEAF_TOKENS;
            let values = self.in_range(rules.values(self.row(input, position)?), position);
            sum += i64::from(*weight) * i64::from(values[column]);
        }
        Ok(sum)
    }

    /// One row of the place's matrix times `x`.
    fn product(&self, x: &[i32]) -> Step<i64> {
        let weights = matrix_of(self.model, self.place.block, self.place.operation);
        let mut row = Vec::new();
        if let (Some(weights), Ok(index)) = (weights, u32::try_from(self.place.index)) {
            weights.row(index, &mut row);
        }
        Ok(row.iter().zip(x).map(|(w, x)| w * i64::from(*x)).sum())
    }

    fn residual(&self, input: usize) -> Step<Vec<i32>> {
        // Below 2^31: see `bits_of`.
        Ok(self.input(input)?.iter().map(|v| *v as i32).collect())
    }

    /// An input at the number's own position.
    fn input(&self, input: usize) -> Step<&[i64]> {
        self.row(input, self.place.position)
    }

    /// An input at a position: as many numbers as there must be, and none that is too large.
    fn row(&self, input: usize, position: usize) -> Step<&[i64]> {
        let opening = &self.inputs[input];
        let row = position.checked_sub(opening.place.chunk * LEAF_TOKENS).and_then(|i| opening.rows.get(i));
        let row = row.map_or(&[][..], Vec::as_slice);
        let LeafPlace { block, operation, .. } = opening.place;
        let fault = |fault| {
            let place = NumberPlace { position, block, operation, index: 0 };
            Recomputed::Impossible(place.place(), fault)
        };
        if row.len() != self.referee.width(opening.place, position) {
            return Err(fault(TraceFault::Length));
        }
        let magnitudes = row.iter().fold(0, |all, v| all | v.unsigned_abs());
        if magnitudes >> self.referee.bits_of(opening.place).min(63) != 0 {
            return Err(fault(TraceFault::Bound));
        }
        Ok(row)
    }

    fn rules(&self) -> &BlockRules {
        &self.referee.subject.rules.blocks[self.place.block]
    }

    fn in_range<T>(&self, (value, in_range): (T, bool), position: usize) -> T {
        if !in_range {
            self.left.set(Some(self.left.get().map_or(position, |left| left.min(position))));
        }
        value
    }
}
