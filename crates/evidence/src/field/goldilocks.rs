//! The quadratic extension F_p[X]/(X^2 - 7) of the Goldilocks field, p = 2^64 - 2^32 + 1. Only what checks need:
//! elements times integers, never elements times elements.

use blake3::OutputReader;
use model::fingerprint::PRIME as P;

use super::limbs::{LIMB_RUN, limb_sums, narrow_limb_sums, shifted};
use super::{CheckField, next_u64};

/// 2^64 modulo p.
const EPSILON: u64 = u64::MAX - P + 1;

/// `a + b X`.
#[derive(Clone, Copy, Debug)]
pub struct Goldilocks2;

impl CheckField for Goldilocks2 {
    type Element = [u64; 2];
    const VALUE_BITS: u32 = 62;
    const ERROR_BITS: u32 = 127;
    const BYTES: usize = 16;

    fn draw(stream: &mut OutputReader) -> [u64; 2] {
        [(); 2].map(|()| {
            loop {
                let value = next_u64(stream);
                if value < P {
                    return value;
                }
            }
        })
    }

    fn add(a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        [add_base(a[0], b[0]), add_base(a[1], b[1])]
    }

    fn subtract(a: [u64; 2], b: [u64; 2]) -> [u64; 2] {
        [add_base(a[0], P - b[0]), add_base(a[1], P - b[1])]
    }

    fn scale(a: [u64; 2], value: i64) -> [u64; 2] {
        a.map(|a| scale_base(a, value))
    }

    fn dot(coefficients: &[[u64; 2]], values: &[i64]) -> ([u64; 2], u64) {
        let (mut sum, mut all) = ([0; 2], 0);
        for (c, v) in coefficients.chunks(LIMB_RUN).zip(values.chunks(LIMB_RUN)) {
            for (coordinate, sum) in sum.iter_mut().enumerate() {
                let (parts, magnitudes) = limb_sums(c, |c| c[coordinate], v);
                *sum = add_base(*sum, join(parts));
                all |= magnitudes;
            }
        }
        (sum, all)
    }

    fn dot_narrow(coefficients: &[[u64; 2]], values: &[i32]) -> [u64; 2] {
        let mut sum = [0; 2];
        for (c, v) in coefficients.chunks(LIMB_RUN).zip(values.chunks(LIMB_RUN)) {
            for (coordinate, sum) in sum.iter_mut().enumerate() {
                *sum = add_base(*sum, join(narrow_limb_sums(c, |c| c[coordinate], v)));
            }
        }
        sum
    }

    fn combine_rows(
        coefficients: &[[u64; 2]],
        columns: usize,
        mut row: impl FnMut(usize, &mut Vec<i64>),
    ) -> Vec<[u64; 2]> {
        let mut sums = vec![[0_i128; 2]; columns];
        let mut values = Vec::new();
        for (r, c) in coefficients.iter().enumerate() {
            row(r, &mut values);
            for (sum, v) in sums.iter_mut().zip(&values) {
                sum[0] += i128::from(c[0]) * i128::from(*v);
                sum[1] += i128::from(c[1]) * i128::from(*v);
            }
        }
        sums.into_iter().map(|sum| sum.map(reduce_wide)).collect()
    }

    fn write(element: [u64; 2], out: &mut Vec<u8>) {
        for coordinate in element {
            out.extend_from_slice(&coordinate.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Option<[u64; 2]> {
        let (low, high) = bytes.split_at_checked(8)?;
        let read = |bytes: &[u8]| {
            let value = u64::from_le_bytes(bytes.try_into().ok()?);
            (value < P).then_some(value)
        };
        Some([read(low)?, read(high)?])
    }
}

/// What the limbs' sums are together.
fn join(parts: [i128; 3]) -> u64 {
    reduce_wide(shifted(parts, reduce_wide))
}

fn scale_base(a: u64, value: i64) -> u64 {
    let product = reduce_unsigned(u128::from(a) * u128::from(value.unsigned_abs()));
    if value < 0 { add_base(0, P - product) } else { product }
}

fn reduce_wide(x: i128) -> u64 {
    let magnitude = reduce_unsigned(x.unsigned_abs());
    if x < 0 { add_base(0, P - magnitude) } else { magnitude }
}

/// `2^64 = 2^32 - 1` and `2^96 = -1` modulo p.
fn reduce_unsigned(x: u128) -> u64 {
    let (low, high) = (x as u64, (x >> 64) as u64);
    let (difference, borrow) = low.overflowing_sub(high >> 32);
    // A borrow means that 2^64 = p + epsilon too much is there; what is left is above 2^64 - 2^32.
    let difference = if borrow { difference - EPSILON } else { difference };
    add_base(difference, (high & EPSILON) * EPSILON)
}

/// `a + b mod p`, for `a` and `b` of which one is at most p.
fn add_base(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    let (reduced, borrow) = sum.overflowing_sub(P);
    if carry || !borrow { reduced } else { sum }
}
