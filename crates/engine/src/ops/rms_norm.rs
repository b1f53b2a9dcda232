//! RMSNorm at speed; see `model::ops::rms_norm`.

use model::ops::rms_norm::{NORM_BITS, numerator, reciprocal};
use model::weights::Vector;

use super::requantize::Rounding;

/// Squares below 2^54 are summed in 64 bits for this many elements.
const EXACT_RUN: usize = 512;

/// A norm with everything that does not depend on the row.
#[derive(Clone, Debug)]
pub struct Norm {
    weights: Vec<i16>,
    numerator: i64,
    epsilon: u128,
    rounding: Rounding,
}

impl Norm {
    /// Prepares `weight` for rows whose epsilon term is `epsilon` (see `epsilon_term`).
    #[must_use]
    pub fn new(weight: &Vector, epsilon: u128, out_exponent: i32) -> Self {
        let width = u32::try_from(weight.values().len()).expect("widths are below 2^32");
        Self {
            weights: weight.values().to_vec(),
            numerator: numerator(width),
            epsilon,
            rounding: Rounding::new(NORM_BITS + weight.exponent() - out_exponent),
        }
    }

    /// Normalizes one row; |x| < 2^27. The result is at most 64 bits less the shift; `Site`s choose the
    /// exponent so that it fits `T`.
    pub fn apply<T>(&self, x: &[i32], out: &mut [T], narrow: impl Fn(i64) -> T) {
        let mut square_sum = self.epsilon;
        for run in x.chunks(EXACT_RUN) {
            let sum: u64 = run.iter().map(|v| (i64::from(*v) * i64::from(*v)) as u64).sum();
            square_sum += u128::from(sum);
        }
        let r = reciprocal(square_sum, self.numerator);
        for ((out, x), w) in out.iter_mut().zip(x).zip(&self.weights) {
            *out = narrow(self.rounding.apply(i64::from(*x) * r * i64::from(*w)));
        }
    }
}
