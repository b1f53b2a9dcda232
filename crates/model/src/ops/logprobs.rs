//! Log-probabilities of a token and of the best ones, of the model's own distribution: temperature 1, before penalties
//! and thresholds. `-ln p = (max - logit) + ln(sum of exp(logit - max))`, the sum over the sampler's table of weights.
//! Integers only; never looks at anything but its arguments.

use protocol::logprobs::{RankedToken, TokenLogprobs};

use super::sampling::distance;
use crate::fixed_point::{FRACTION_BITS, Fixed, ln_dyadic};

/// Millionths of a nat.
const MICRO: u32 = 1_000_000;
/// A temperature of 1.
const ONE_MILLI: u32 = 1000;

/// Of `chosen`, and of the `top` best tokens, at equal logits the lower id first.
///
/// `exponent` is the logits' exponent, `table` is `tables::exp_sampler()`.
///
/// # Panics
/// If `chosen` is not in the vocabulary.
#[must_use]
pub fn logprobs(logits: &[i64], exponent: i32, table: &[u32], chosen: u32, top: u8) -> TokenLogprobs {
    let max = logits.iter().copied().max().unwrap_or(0);
    let weight = |logit: &i64| {
        let d = distance(max - logit, exponent, ONE_MILLI, table.len());
        table.get(d).copied().map_or(0, u64::from)
    };
    // At most 2^24 for each of fewer than 2^32 tokens.
    let total: u64 = logits.iter().map(weight).sum();
    let total_micronats = ln_micronats(total, u64::from(table[0]));
    let below = |logit: i64| {
        let below = difference_micronats(max - logit, exponent).saturating_add(total_micronats);
        u32::try_from(below).unwrap_or(u32::MAX)
    };
    let ranked = best(logits, usize::from(top)).into_iter().map(|id| RankedToken {
        id: u32::try_from(id).expect("vocabularies are below 2^32"),
        below_micronats: below(logits[id]),
    });
    TokenLogprobs { below_micronats: below(logits[chosen as usize]), top: ranked.collect() }
}

/// The places of the largest logits, the largest first, at equal ones the first.
fn best(logits: &[i64], count: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (id, logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|last| logits[*last] >= *logit) {
            continue;
        }
        let at = best.partition_point(|better| logits[*better] >= *logit);
        best.insert(at, id);
        best.truncate(count);
    }
    best
}

/// `floor(difference * 2^-exponent * 10^6)`.
fn difference_micronats(difference: i64, exponent: i32) -> i128 {
    // Below 2^63 * 2^20, and the shift to the left adds at most 32 bits.
    let scaled = i128::from(difference) * i128::from(MICRO);
    if exponent >= 0 { scaled >> exponent.min(126) } else { scaled << (-exponent).min(32) }
}

/// `floor(ln(total / one) * 10^6)` for `total >= one`.
fn ln_micronats(total: u64, one: u64) -> i128 {
    let Fixed(ln) = Fixed(ln_dyadic(total, 0).0.saturating_sub(ln_dyadic(one, 0).0));
    // A logarithm below 45 times 10^6 needs 26 bits more than there are: the lowest ones don't count.
    let dropped = 26;
    let micronats = ((ln >> dropped) * u128::from(MICRO)) >> (FRACTION_BITS - dropped);
    i128::try_from(micronats).expect("below 45 million")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::exp_sampler;

    /// By floating point: the sum's steps of 2^-8 nats, mid-points, are worth less than 2^-9.
    #[test]
    fn they_are_logarithms_of_the_softmax() {
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64
        };
        let table = exp_sampler();
        for exponent in [16, 20, 0] {
            let spread = if exponent == 0 { 20 } else { 20 << exponent };
            let logits: Vec<i64> = (0..500).map(|_| random() % spread - spread / 2).collect();
            let real: Vec<f64> = logits.iter().map(|l| *l as f64 / 2_f64.powi(exponent)).collect();
            let max = real.iter().copied().fold(f64::MIN, f64::max);
            let ln_sum = real.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
            for chosen in [0, 17, 499] {
                let found = logprobs(&logits, exponent, &table, chosen, 20);
                let expected = ln_sum + max - real[chosen as usize];
                let below = f64::from(found.below_micronats) / 1e6;
                assert!((below - expected).abs() < 0.002, "{below} instead of {expected}");
                assert!(found.fits(chosen, 20, 500));
                let mut order: Vec<usize> = (0..500).collect();
                order.sort_by_key(|id| (-logits[*id], *id));
                let ids: Vec<usize> = found.top.iter().map(|ranked| ranked.id as usize).collect();
                assert_eq!(ids, order[..20]);
            }
        }
    }

    #[test]
    fn ends_of_the_scale() {
        let table = exp_sampler();
        // A certain token, an impossible one, and two halves.
        let found = logprobs(&[0, 1 << 60], 10, &table, 0, 2);
        assert_eq!((found.below_micronats, found.top[0].below_micronats), (u32::MAX, 0));
        let found = logprobs(&[5, 5], 3, &table, 1, 3);
        assert_eq!(found.below_micronats, 693_147);
        assert_eq!(found.top.iter().map(|ranked| ranked.id).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(logprobs(&[3], -40, &table, 0, 0).below_micronats, 0);
        assert_eq!(logprobs(&[i64::MAX / 2, i64::MIN / 2], -40, &table, 1, 0).below_micronats, u32::MAX);
    }
}
