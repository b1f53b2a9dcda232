//! Everything between two products, redone for one position: biases, norms, rotations, softmax, division, gate,
//! residual. A row that leaves its range is cleared, as the engine clears it. Never multiplies a matrix.

use std::borrow::Cow;

use engine::ops::attention::divide;
use engine::ops::hadamard::gated_product;
use engine::ops::requantize::requantize;
use engine::ops::residual;
use engine::ops::rms_norm::Norm;
use engine::ops::rope::rotate_requantize;
use model::Model;
use model::import::ModelConfig;
use model::ops::attention::{divide_round, first_key};
use model::ops::requantize::{ACTIVATION_LIMIT_BITS, RESIDUAL_LIMIT_BITS};

use super::attention::softmax;
use super::rules::{BlockRules, HeadRules, Rules};

/// Magnitude bits of a softmax weight.
const SOFTMAX_BITS: u32 = 15;
/// Values up to this magnitude go through `divide`.
const NARROW: i32 = i16::MAX as i32;

/// A row, and whether it is in range; cleared if it is not.
pub(crate) type Ranged = (Vec<i32>, bool);

/// Honest scores stay below 2^this.
pub(crate) fn score_bits(config: &ModelConfig) -> u32 {
    2 * ACTIVATION_LIMIT_BITS + (32 - config.head_dim.leading_zeros())
}

/// Honest sums of weighted values stay below 2^this.
pub(crate) fn weighted_bits(config: &ModelConfig) -> u32 {
    SOFTMAX_BITS + ACTIVATION_LIMIT_BITS + (32 - config.context.leading_zeros())
}

/// First key that a position sees in a block, and the one behind the last.
pub(crate) fn keys_of(rules: &BlockRules, position: usize) -> (usize, usize) {
    (first_key(position, rules.window), position + 1)
}

/// A whole norm.
pub(crate) fn apply(norm: &Norm, x: &[i32]) -> Vec<i32> {
    let mut out = vec![0; x.len()];
    // `output_exponent` leaves no value beyond 16 bits.
    norm.apply(x, &mut out, |v| v as i32);
    out
}

impl Rules {
    /// Queries or keys from the accumulators of their matrix.
    pub(crate) fn rotated(&self, model: &Model, rules: &HeadRules, position: usize, acc: &[i64]) -> Ranged {
        let (dim, style) = (model.config.head_dim as usize, model.config.rope_style);
        let mut acc = with_bias(acc, rules.bias.as_deref());
        let mut out = vec![0; acc.len()];
        let mut is_raw_in_range = true;
        if let Some((shift, norm)) = &rules.norm {
            is_raw_in_range = requantize(&acc, *shift, ACTIVATION_LIMIT_BITS, &mut out);
            for (acc, raw) in acc.to_mut().chunks_exact_mut(dim).zip(out.chunks_exact(dim)) {
                norm.apply(raw, acc, |v| v);
            }
        }
        let rotation = self.rotation(rules.rotation, position);
        let in_range = rotate_requantize(&acc, rotation, style, rules.shift, ACTIVATION_LIMIT_BITS, &mut out);
        (out, in_range && is_raw_in_range)
    }

    /// What the output matrix is multiplied with: the quotients of all heads.
    pub(crate) fn attended(
        &self,
        model: &Model,
        rules: &BlockRules,
        position: usize,
        scores: &[i64],
        weighted: &[i64],
    ) -> Vec<i32> {
        let (first, end) = keys_of(rules, position);
        let table = self.softmax(end - first);
        let (mut out, mut weights) = (vec![0; weighted.len()], Vec::with_capacity(end - first));
        let dim = model.config.head_dim as usize;
        let heads = scores.chunks_exact(end - first).zip(weighted.chunks_exact(dim));
        for ((scores, weighted), out) in heads.zip(out.chunks_exact_mut(dim)) {
            let sum = softmax(scores, rules.score_shift, table, &mut weights);
            quotients(weighted, sum, out);
        }
        out
    }

    /// What the down matrix is multiplied with.
    pub(crate) fn gated(&self, rules: &BlockRules, gate: &[i64], up: &[i64]) -> Ranged {
        let mut gated = vec![0; gate.len()];
        let in_range = gated_product(gate, up, self.gate(rules), &mut gated);
        (gated, in_range)
    }
}

impl BlockRules {
    /// Values from the accumulators of their matrix.
    pub(crate) fn values(&self, acc: &[i64]) -> Ranged {
        let mut values = vec![0; acc.len()];
        let biased = with_bias(acc, self.value_bias.as_deref());
        let in_range = requantize(&biased, self.value_shift, ACTIVATION_LIMIT_BITS, &mut values);
        (values, in_range)
    }

    /// Adds the accumulators of the output matrix to the residual stream. False if it leaves the range.
    pub(crate) fn add_output(&self, x: &mut [i32], acc: &[i64]) -> bool {
        add(x, acc, self.output_shift, self.post_attn_norm.as_ref())
    }

    /// Adds those of the down matrix. False if it leaves the range.
    pub(crate) fn add_down(&self, x: &mut [i32], acc: &[i64]) -> bool {
        add(x, acc, self.down_shift, self.post_ffn_norm.as_ref())
    }
}

/// `x += acc`, through a norm if there is one.
fn add(x: &mut [i32], acc: &[i64], shift: i32, post: Option<&Norm>) -> bool {
    let Some(norm) = post else { return residual::add(x, acc, shift) };
    let mut raw = vec![0; acc.len()];
    let is_raw_in_range = requantize(acc, shift, RESIDUAL_LIMIT_BITS, &mut raw);
    let mut normed = vec![0; acc.len()];
    norm.apply(&raw, &mut normed, |v| v);
    residual::add(x, &normed, 0) && is_raw_in_range
}

fn with_bias<'a>(acc: &'a [i64], bias: Option<&[i64]>) -> Cow<'a, [i64]> {
    match bias {
        Some(bias) => acc.iter().zip(bias).map(|(acc, bias)| acc + bias).collect(),
        None => Cow::Borrowed(acc),
    }
}

/// `divide_round` of all sums; their magnitude is that of the values times `sum`.
pub(crate) fn quotients(weighted: &[i64], sum: i64, out: &mut [i32]) {
    let largest = weighted.iter().fold(0, |all: u64, n| all | n.unsigned_abs());
    if i128::from(largest) <= i128::from(sum) * i128::from(NARROW) {
        divide(weighted, sum.unsigned_abs(), out);
    } else {
        for (out, n) in out.iter_mut().zip(weighted) {
            *out = divide_round(*n, sum) as i32;
        }
    }
}
