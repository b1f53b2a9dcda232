//! The logit fingerprint at speed: the sum of `model::fingerprint` in 64-bit parts, reduced at the end. Never
//! overflows: every bound is next to the sum it holds for.

use model::fingerprint::{Element, NON_RESIDUE, PRIME, reduce_signed};
use protocol::fingerprint::{FingerprintPoint, LogitFingerprint};

/// Logits below this magnitude take the fast way.
const FAST_LOGIT: i64 = 1 << FAST_BITS;
const FAST_BITS: u32 = 44;
/// A fast logit plus `FAST_LOGIT` is a low half of 24 bits and a high half of 21.
const LOW_BITS: u32 = 24;
/// Products of 32 and 24 bits that fit a 64-bit sum.
const RUN: usize = 256;
/// Products of 64 and 64 bits, one sign among them, that fit a 128-bit sum.
const CHUNK: usize = 1 << 18;

/// The powers of one claim's point.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    /// Of both coordinates, the low and the high half of every power.
    halves: [[Vec<u32>; 2]; 2],
    /// Of both coordinates, the sum of all powers times `FAST_LOGIT`.
    offset: [u64; 2],
}

impl Fingerprinter {
    /// Powers for a vocabulary.
    #[must_use]
    pub fn new(point: &FingerprintPoint, vocabulary: usize) -> Self {
        let powers = powers([point.c0(), point.c1()], vocabulary);
        let half = |c: usize, shift: u32| powers.iter().map(|power| (power[c] >> shift) as u32).collect();
        let offset = |c: usize| {
            let sum: u128 = powers.iter().map(|power| u128::from(power[c])).sum();
            let sum = i128::from((sum % u128::from(PRIME)) as u64);
            reduce_signed(sum << FAST_BITS)
        };
        Self { halves: [0, 1].map(|c| [half(c, 0), half(c, 32)]), offset: [offset(0), offset(1)] }
    }

    /// `sum_v rho^v * logits[v]`.
    ///
    /// # Panics
    /// If there is not one logit per power.
    #[must_use]
    pub fn fingerprint(&self, logits: &[i64]) -> LogitFingerprint {
        assert_eq!(logits.len(), self.halves[0][0].len(), "logits and powers");
        let coordinates = if logits.iter().all(|l| (-FAST_LOGIT..FAST_LOGIT).contains(l)) {
            self.sum_fast(logits)
        } else {
            [0, 1].map(|c| self.sum_any(c, logits))
        };
        LogitFingerprint::new(coordinates[0], coordinates[1]).expect("remainders are below p")
    }

    /// Of logits within `FAST_LOGIT`: with it added they are not negative, and four products of at most 32
    /// bits each make the whole, in vector code.
    fn sum_fast(&self, logits: &[i64]) -> [u64; 2] {
        let mut sums = [0; 2];
        let mut start = 0;
        for logits in logits.chunks(CHUNK) {
            let mut parts = [0_u128; 2];
            for logits in logits.chunks(RUN) {
                for (part, halves) in parts.iter_mut().zip(&self.halves) {
                    let [low, high] = halves.each_ref().map(|half| &half[start..start + logits.len()]);
                    *part += sum_run(logits, low, high);
                }
                start += logits.len();
            }
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += i128::from((part % u128::from(PRIME)) as u64);
            }
        }
        [0, 1].map(|c| reduce_signed(sums[c] - i128::from(self.offset[c])))
    }

    /// Of any logits: the powers in two halves of 32 bits, |sum| < 2^63 * 2^32 * 2^18.
    fn sum_any(&self, coordinate: usize, logits: &[i64]) -> u64 {
        let [low, high] = self.halves[coordinate].each_ref().map(|half| {
            let chunks = logits.chunks(CHUNK).zip(half.chunks(CHUNK));
            let sum = chunks.fold(0, |sum, (logits, half)| {
                let products = logits.iter().zip(half).map(|(l, h)| i128::from(*l) * i128::from(*h));
                sum + i128::from(reduce_signed(products.sum()))
            });
            reduce_signed(sum)
        });
        reduce_signed(i128::from(low) + (i128::from(high) << 32))
    }
}

/// `sum of (logit + FAST_LOGIT) * power` over at most [`RUN`] tokens: below 2^(45 + 64 + 8).
fn sum_run(logits: &[i64], low: &[u32], high: &[u32]) -> u128 {
    let mut sums = [0_u64; 4];
    for ((logit, low), high) in logits.iter().zip(low).zip(high) {
        let logit = (logit + FAST_LOGIT).cast_unsigned();
        let (small, large) = (logit & ((1 << LOW_BITS) - 1), logit >> LOW_BITS);
        let (low, high) = (u64::from(*low), u64::from(*high));
        sums[0] += small * low;
        sums[1] += large * low;
        sums[2] += small * high;
        sums[3] += large * high;
    }
    let [a, b, c, d] = sums.map(u128::from);
    a + (b << LOW_BITS) + (c << 32) + (d << (LOW_BITS + 32))
}

/// `rho^0, rho^1, ..`.
fn powers(rho: Element, count: usize) -> Vec<Element> {
    let mut power = [1, 0];
    (0..count)
        .map(|_| {
            let ([a, b], [c, d]) = (power, rho);
            let square_part = multiply_base(NON_RESIDUE, multiply_base(b, d));
            let next = [
                add_base(multiply_base(a, c), square_part),
                add_base(multiply_base(a, d), multiply_base(b, c)),
            ];
            std::mem::replace(&mut power, next)
        })
        .collect()
}

/// `a * b mod p` without a division: `2^64 = 2^32 - 1` and `2^96 = -1` modulo p.
fn multiply_base(a: u64, b: u64) -> u64 {
    const EPSILON: u64 = u64::MAX - PRIME + 1;
    let product = u128::from(a) * u128::from(b);
    let (low, high) = (product as u64, (product >> 64) as u64);
    let (difference, borrow) = low.overflowing_sub(high >> 32);
    // A borrow means that 2^64 = p + epsilon too much is there; what is left is above 2^64 - 2^32.
    let difference = if borrow { difference - EPSILON } else { difference };
    add_base(difference, (high & EPSILON) * EPSILON)
}

/// `a + b mod p`, for `a` and `b` of which one is below p.
fn add_base(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    let (reduced, borrow) = sum.overflowing_sub(PRIME);
    if carry || !borrow { reduced } else { sum }
}

#[cfg(test)]
mod tests;
