//! Rotation and requantization of a row of heads in one pass; see `model::ops::rope`.

use model::import::RopeStyle;

use super::requantize::{Rounding, keep_in_range};

/// Rotates every head of `acc` by `rotation` (one (cos, sin) per pair, covering the whole head) and rounds.
/// False, and the row cleared, if a magnitude reaches `2^limit_bits`.
#[must_use]
pub fn rotate_requantize(
    acc: &[i64],
    rotation: &[[i16; 2]],
    style: RopeStyle,
    shift: i32,
    limit_bits: u32,
    out: &mut [i32],
) -> bool {
    let rounding = Rounding::new(shift);
    let pairs = rotation.len();
    let mut magnitudes = 0_u64;
    let mut turn = |a: i64, b: i64, [cos, sin]: [i16; 2]| {
        let (c, s) = (i64::from(cos), i64::from(sin));
        let first = rounding.apply(a * c - b * s);
        let second = rounding.apply(a * s + b * c);
        magnitudes |= first.unsigned_abs() | second.unsigned_abs();
        (first as i32, second as i32)
    };
    for (acc, out) in acc.chunks_exact(2 * pairs).zip(out.chunks_exact_mut(2 * pairs)) {
        match style {
            RopeStyle::Interleaved => {
                let (acc, _) = acc.as_chunks::<2>();
                let (out, _) = out.as_chunks_mut::<2>();
                for ((out, [a, b]), r) in out.iter_mut().zip(acc).zip(rotation) {
                    let (first, second) = turn(*a, *b, *r);
                    *out = [first, second];
                }
            }
            RopeStyle::Halves => {
                let (a, b) = acc.split_at(pairs);
                let (first, second) = out.split_at_mut(pairs);
                for i in 0..pairs {
                    (first[i], second[i]) = turn(a[i], b[i], rotation[i]);
                }
            }
        }
    }
    keep_in_range(magnitudes, limit_bits, out)
}
