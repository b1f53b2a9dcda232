//! Matrix product with exact integer weights: 64-bit accumulators, no rounding at all. Biases join the
//! accumulator. Module `bounds` proves that nothing overflows.

use super::Rows;
use crate::weights::{Vector, Weights};

/// Who computes accumulators: the plain loop below, or the engine's kernels (for calibration, where only
/// speed differs).
pub trait Accumulate {
    /// `acc[t][r] = sum_c W[r][c] * x[t][c]` with the exponent of `x` plus the grid of `weights`.
    fn accumulate(&self, weights: &Weights, x: &Rows) -> Rows;
}

/// The plain triple loop: the meaning.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainAccumulate;

impl Accumulate for PlainAccumulate {
    fn accumulate(&self, weights: &Weights, x: &Rows) -> Rows {
        let width = weights.rows() as usize;
        let mut out = Rows { width, values: vec![0; width * x.count()] };
        let mut row = Vec::new();
        for r in 0..weights.rows() {
            weights.row(r, &mut row);
            for (t, input) in x.iter().enumerate() {
                out.values[t * width + r as usize] = row.iter().zip(input).map(|(w, v)| w * v).sum();
            }
        }
        out
    }
}

/// Adds a bias to accumulators of the given exponent. The bias is exact when it is coarser than the
/// accumulator, as it is for every format that import accepts.
pub fn add_bias(acc: &mut Rows, acc_exponent: i32, bias: &Vector) {
    let width = acc.width;
    for row in acc.values.chunks_exact_mut(width) {
        for (a, b) in row.iter_mut().zip(bias.values()) {
            *a += crate::fixed_point::rsh(i64::from(*b), bias.exponent() - acc_exponent);
        }
    }
}
