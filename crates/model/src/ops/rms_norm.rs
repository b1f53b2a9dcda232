//! RMSNorm (Zhang and Sennrich 2019) with its weight, fused into one requantization from the raw square
//! sum: `out = rsh(x * R * w, 36 + e_w - e_out)` with `R = floor(C / isqrt(S))`, `C = round(sqrt(D) 2^36)`
//! and `S = sum x^2 + eps`. Never divides per element.

use crate::fixed_point::{isqrt, rounded_sqrt, rsh};
use crate::weights::{Dyadic, Vector};

/// Fraction bits of the constant C.
pub const NORM_BITS: i32 = 36;
/// The finest exponent that [`output_exponent`] gives.
pub const MAX_EXPONENT: i32 = 20;

/// `C = round(sqrt(width) * 2^36)`.
#[must_use]
pub fn numerator(width: u32) -> i64 {
    i64::try_from(rounded_sqrt(u128::from(width) << (2 * NORM_BITS))).expect("width < 2^32, so C < 2^52")
}

/// `round(eps * width * 2^(2 * exponent))`: epsilon in units of the square sum of `x * 2^exponent`.
#[must_use]
pub fn epsilon_term(eps: Dyadic, width: u32, exponent: i32) -> u128 {
    let product = u128::from(eps.mantissa.unsigned_abs()) * u128::from(width);
    match eps.exponent + 2 * exponent {
        shift @ 0.. => product << shift.min(64),
        shift if shift > -120 => ((product >> (-shift - 1)) + 1) >> 1,
        _ => 0,
    }
}

/// `R = floor(C / max(1, isqrt(S)))`. Since |x| <= isqrt(S), `|x| * R <= C` for every element: neither the
/// product nor, with [`output_exponent`], the result can overflow.
#[must_use]
pub fn reciprocal(square_sum: u128, numerator: i64) -> i64 {
    let root = i64::try_from(isqrt(square_sum)).expect("|x| < 2^62").max(1);
    numerator / root
}

/// Normalizes one row of exponent-free integers (the scale of `x` cancels, but for epsilon).
#[must_use]
pub fn rms_norm(x: &[i64], weight: &Vector, epsilon: u128, out_exponent: i32) -> Vec<i64> {
    let width = u32::try_from(x.len()).expect("rows are shorter than 2^32");
    let square_sum = x.iter().map(|v| u128::from(v.unsigned_abs()).pow(2)).sum::<u128>() + epsilon;
    let r = reciprocal(square_sum, numerator(width));
    let shift = NORM_BITS + weight.exponent() - out_exponent;
    x.iter().zip(weight.values()).map(|(v, w)| rsh(v * r * i64::from(*w), shift)).collect()
}

/// The finest exponent at which no output can leave 16 bits, whatever the input.
#[must_use]
pub fn output_exponent(width: u32, weight: &Vector) -> i32 {
    let largest =
        numerator(width) * weight.values().iter().map(|w| i64::from(w.unsigned_abs())).max().unwrap_or(0);
    (-32..=MAX_EXPONENT)
        .rev()
        .find(|e| rsh(largest, NORM_BITS + weight.exponent() - e) <= i64::from(i16::MAX))
        .unwrap_or(-32)
}
