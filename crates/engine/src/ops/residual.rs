//! Residual addition with its range check; see `model::ops::residual`.

use model::ops::requantize::RESIDUAL_LIMIT_BITS;

use super::requantize::{Rounding, keep_in_range};

/// `x += round(acc)`. False, and the row cleared, if the stream leaves its range.
#[must_use]
pub fn add(x: &mut [i32], acc: &[i64], shift: i32) -> bool {
    let rounding = Rounding::new(shift);
    let mut magnitudes = 0_u64;
    for (x, acc) in x.iter_mut().zip(acc) {
        let sum = i64::from(*x).wrapping_add(rounding.apply(*acc));
        magnitudes |= sum.unsigned_abs();
        *x = sum as i32;
    }
    keep_in_range(magnitudes, RESIDUAL_LIMIT_BITS, x)
}
