//! Logits: the output matrix on the last normed row, 64-bit accumulators that are never rounded. Only where
//! a token is sampled.

use super::Rows;
use super::matmul::Accumulate;
use crate::weights::Weights;

/// (token, vocabulary), with the exponent of `normed` plus the grid of `output`.
#[must_use]
pub fn logits(output: &Weights, normed: &Rows, accumulate: &dyn Accumulate) -> Rows {
    accumulate.accumulate(output, normed)
}

/// The largest logit's id, the lowest id on ties.
#[must_use]
pub fn arg_max(logits: &[i64]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    u32::try_from(best).expect("vocabularies are below 2^32")
}
