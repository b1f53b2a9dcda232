//! The token sampler: greedy, or the exact inverse of the cumulative distribution in id order, with one
//! counter-based draw. Temperature, top-k, top-p and min-p are thresholds on the integer distance from the
//! best logit, ties kept. Integers only; never looks at anything but its arguments.

use std::collections::BTreeSet;

use protocol::settings::SamplingSettings;

use super::logits::arg_max;
use crate::tables::SAMPLER_STEP_BITS;

/// Fraction bits of the factors made from temperature and repetition penalty.
pub const FACTOR_BITS: i32 = 16;

/// Chooses the next token.
///
/// `exponent` is the logits' exponent, `seen` the ids of prompt and output so far (for the repetition
/// penalty), `draw` the 64-bit number of this (seed, position), `table` is `tables::exp_sampler()`.
#[must_use]
pub fn sample(
    logits: &[i64],
    exponent: i32,
    settings: &SamplingSettings,
    seen: &BTreeSet<u32>,
    draw: u64,
    table: &[u32],
) -> u32 {
    let mut logits = logits.to_vec();
    penalize(&mut logits, settings.repetition_penalty_milli, seen);
    if settings.temperature_milli == 0 {
        return arg_max(&logits);
    }
    let max = logits.iter().copied().max().unwrap_or(0);
    let distances: Vec<usize> =
        logits.iter().map(|l| distance(max - l, exponent, settings.temperature_milli, table.len())).collect();
    let limit = threshold(&distances, settings, table);
    draw_in_id_order(&distances, limit, table, draw)
}

/// Divides positive and multiplies negative logits of seen ids by the penalty (Keskar et al. 2019), by 16-bit
/// factors and a floor.
pub fn penalize(logits: &mut [i64], penalty_milli: u32, seen: &BTreeSet<u32>) {
    if penalty_milli == 1000 {
        return;
    }
    let (shrink, grow) = (factor(1000, penalty_milli), factor(penalty_milli, 1000));
    for id in seen {
        if let Some(logit) = logits.get_mut(*id as usize) {
            let factor = if *logit > 0 { shrink } else { grow };
            let scaled = (i128::from(*logit) * i128::from(factor)) >> FACTOR_BITS;
            *logit = i64::try_from(scaled).expect("a penalty of at most 10 keeps 2^58 within 64 bits");
        }
    }
}

/// `round(2^16 numerator / denominator)`.
#[must_use]
pub fn factor(numerator: u32, denominator: u32) -> u64 {
    ((u64::from(numerator) << FACTOR_BITS) + u64::from(denominator / 2)) / u64::from(denominator)
}

/// `floor(difference * (1000 / temperature) / 2^(exponent - 8))`: steps of 2^-8 nats after the temperature.
/// At most `cap`, the table's length, which means no weight at all.
#[must_use]
pub fn distance(difference: i64, exponent: i32, temperature_milli: u32, cap: usize) -> usize {
    let scaled = i128::from(difference) * i128::from(factor(1000, temperature_milli));
    let shift = exponent - SAMPLER_STEP_BITS + FACTOR_BITS;
    let steps = if shift >= 0 { scaled >> shift.min(126) } else { scaled << (-shift).min(32) };
    usize::try_from(steps).unwrap_or(cap).min(cap)
}

/// The largest distance that is kept by top-k, then top-p of what top-k leaves, and min-p.
#[must_use]
pub fn threshold(distances: &[usize], settings: &SamplingSettings, table: &[u32]) -> usize {
    let mut counts = vec![0_u64; table.len() + 1];
    for d in distances {
        counts[*d] += 1;
    }
    let last = table.len() - 1;
    let weight = |d: usize| u128::from(counts[d]) * u128::from(table[d]);
    let first_reaching = |limit: usize, target: u128, amount: &dyn Fn(usize) -> u128| {
        let mut sum = 0;
        (0..=limit).find(|d| {
            sum += amount(*d);
            sum >= target
        })
    };
    let mut limit = last;
    if settings.top_k > 0 {
        let k = u128::from(settings.top_k);
        limit = first_reaching(limit, k, &|d| u128::from(counts[d])).unwrap_or(last);
    }
    if settings.top_p_ppm < 1_000_000 {
        let total: u128 = (0..=limit).map(weight).sum();
        let target = total * u128::from(settings.top_p_ppm);
        limit = first_reaching(limit, target, &|d| weight(d) * 1_000_000).unwrap_or(limit);
    }
    if settings.min_p_ppm > 0 {
        let floor = u64::from(settings.min_p_ppm) * u64::from(table[0]);
        let kept = (0..=last).take_while(|d| u64::from(table[*d]) * 1_000_000 >= floor).count();
        limit = limit.min(kept.saturating_sub(1));
    }
    limit
}

/// The first id, in order, at which the running sum of weights passes `floor(draw * Z / 2^64)`.
#[must_use]
pub fn draw_in_id_order(distances: &[usize], limit: usize, table: &[u32], draw: u64) -> u32 {
    let weight = |d: usize| if d <= limit { u64::from(table[d]) } else { 0 };
    let total: u64 = distances.iter().map(|d| weight(*d)).sum();
    let target = u64::try_from((u128::from(draw) * u128::from(total)) >> 64).expect("below the total");
    let mut sum = 0;
    let id = distances.iter().position(|d| {
        sum += weight(*d);
        sum > target
    });
    u32::try_from(id.expect("the best logit has weight, so the total passes any target below it"))
        .expect("vocabularies are below 2^32")
}
