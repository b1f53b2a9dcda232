//! Residual connection: a block's contribution, rounded once to the stream's exponent, is added. Never
//! rescales the stream itself.

use crate::fixed_point::rsh;

/// `x += rsh(acc, shift)` with `shift = accumulator's exponent - residual exponent`.
pub fn add(x: &mut [i64], acc: &[i64], shift: i32) {
    for (x, a) in x.iter_mut().zip(acc) {
        *x += rsh(*a, shift);
    }
}
