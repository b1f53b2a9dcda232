//! The logit fingerprint at speed: the sum of `model::fingerprint`, with reductions delayed to the end.

use model::fingerprint::{Element, powers, reduce_signed};
use protocol::fingerprint::{FingerprintPoint, LogitFingerprint};

/// Logits below this magnitude are summed against whole powers in 128 bits: 2^44 * 2^64 * 2^19 < 2^127.
const FAST_LOGIT: u64 = 1 << 44;

/// The powers of one claim's point.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    powers: Vec<Element>,
}

impl Fingerprinter {
    /// Powers for a vocabulary of at most 2^19 tokens per sum (longer ones are summed in parts).
    #[must_use]
    pub fn new(point: &FingerprintPoint, vocabulary: usize) -> Self {
        Self { powers: powers(point, vocabulary) }
    }

    /// `sum_v rho^v * logits[v]`.
    #[must_use]
    pub fn fingerprint(&self, logits: &[i64]) -> LogitFingerprint {
        let mut sums = [0_i128; 2];
        for (logits, powers) in logits.chunks(1 << 18).zip(self.powers.chunks(1 << 18)) {
            let part = if logits.iter().all(|l| l.unsigned_abs() < FAST_LOGIT) {
                sum_whole(logits, powers)
            } else {
                sum_halves(logits, powers)
            };
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += i128::from(part);
            }
        }
        LogitFingerprint::new(reduce_signed(sums[0]), reduce_signed(sums[1])).expect("remainders are below p")
    }
}

fn sum_whole(logits: &[i64], powers: &[Element]) -> [u64; 2] {
    let mut sums = [0_i128; 2];
    for (logit, power) in logits.iter().zip(powers) {
        sums[0] += i128::from(*logit) * i128::from(power[0]);
        sums[1] += i128::from(*logit) * i128::from(power[1]);
    }
    sums.map(reduce_signed)
}

/// Any 64-bit logit: the powers in two halves of 32 bits, |sum| < 2^63 * 2^32 * 2^18.
fn sum_halves(logits: &[i64], powers: &[Element]) -> [u64; 2] {
    let coordinate = |c: usize| {
        let (mut low, mut high) = (0_i128, 0_i128);
        for (logit, power) in logits.iter().zip(powers) {
            low += i128::from(*logit) * i128::from(power[c] & 0xffff_ffff);
            high += i128::from(*logit) * i128::from(power[c] >> 32);
        }
        reduce_signed(i128::from(reduce_signed(low)) + i128::from(reduce_signed(high)) * (1 << 32))
    };
    [coordinate(0), coordinate(1)]
}
