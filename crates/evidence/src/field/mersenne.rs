//! The integers modulo the Mersenne prime 2^61 - 1. Elements are always reduced.

use blake3::OutputReader;

use super::limbs::{LIMB_RUN, limb_sums, narrow_limb_sums, shifted};
use super::{CheckField, next_u64};

const P: u64 = (1 << 61) - 1;

/// Modulo 2^61 - 1.
#[derive(Clone, Copy, Debug)]
pub struct Mersenne61;

impl CheckField for Mersenne61 {
    type Element = u64;
    const VALUE_BITS: u32 = 60;
    const ERROR_BITS: u32 = 60;
    const BYTES: usize = 8;

    fn draw(stream: &mut OutputReader) -> u64 {
        loop {
            let value = next_u64(stream) >> 3;
            if value < P {
                return value;
            }
        }
    }

    fn add(a: u64, b: u64) -> u64 {
        reduce_once(a + b)
    }

    fn subtract(a: u64, b: u64) -> u64 {
        reduce_once(a + (P - b))
    }

    fn scale(a: u64, value: i64) -> u64 {
        reduce(i128::from(a) * i128::from(value))
    }

    fn dot(coefficients: &[u64], values: &[i64]) -> (u64, u64) {
        let (mut sum, mut all) = (0, 0);
        for (c, v) in coefficients.chunks(LIMB_RUN).zip(values.chunks(LIMB_RUN)) {
            let (parts, magnitudes) = limb_sums(c, |c| *c, v);
            sum = reduce_once(sum + join(parts));
            all |= magnitudes;
        }
        (sum, all)
    }

    fn dot_narrow(coefficients: &[u64], values: &[i32]) -> u64 {
        let parts = coefficients.chunks(LIMB_RUN).zip(values.chunks(LIMB_RUN));
        parts.fold(0, |sum, (c, v)| Self::add(sum, join(narrow_limb_sums(c, |c| *c, v))))
    }

    fn combine_rows(
        coefficients: &[u64],
        columns: usize,
        mut row: impl FnMut(usize, &mut Vec<i64>),
    ) -> Vec<u64> {
        let mut sums = vec![0_i128; columns];
        let mut values = Vec::new();
        for (r, c) in coefficients.iter().enumerate() {
            row(r, &mut values);
            for (sum, v) in sums.iter_mut().zip(&values) {
                *sum += i128::from(*c) * i128::from(*v);
            }
        }
        sums.into_iter().map(reduce).collect()
    }

    fn write(element: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&element.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Option<u64> {
        let value = u64::from_le_bytes(bytes.try_into().ok()?);
        (value < P).then_some(value)
    }
}

/// What the limbs' sums are together.
fn join(parts: [i128; 3]) -> u64 {
    reduce(shifted(parts, reduce))
}

/// For a sum below 2p.
fn reduce_once(sum: u64) -> u64 {
    if sum >= P { sum - P } else { sum }
}

/// 2^61 = 1, so the parts of 61 bits are added; the top part, of 6 bits, carries the sign.
fn reduce(x: i128) -> u64 {
    let low = (x as u64) & P;
    let middle = ((x >> 61) as u64) & P;
    let high = (x >> 122) as i64;
    // Between p - 2^5 and 3p + 2^5, so below 2^63.
    let sum = (low + middle + P).wrapping_add_signed(high);
    reduce_once((sum & P) + (sum >> 61))
}
