//! Embedding: a row of the table, brought to the residual stream's exponent. Never looks at a position.

use crate::fixed_point::{rounded_sqrt, rsh};
use crate::weights::Weights;

/// Fraction bits of the factor sqrt(width) that some families put on the embedding.
pub const SCALE_BITS: i32 = 14;

/// sqrt(width) as a multiple of 2^-14, rounded.
#[must_use]
pub fn width_scale(width: u32) -> i64 {
    i64::try_from(rounded_sqrt(u128::from(width) << (2 * SCALE_BITS))).expect("below 2^32")
}

/// `rsh(W[id] , grid - residual)`; with a width scale `rsh(W[id] * s, grid + 14 - residual)`.
#[must_use]
pub fn embedding(table: &Weights, id: u32, residual_exponent: i32, scale: Option<i64>) -> Vec<i64> {
    let mut row = Vec::new();
    table.row(id, &mut row);
    let (factor, bits) = scale.map_or((1, 0), |s| (s, SCALE_BITS));
    row.iter().map(|w| rsh(w * factor, table.grid() + bits - residual_exponent)).collect()
}
