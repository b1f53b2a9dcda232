//! Attention of one query head at speed; see `model::ops::{softmax, attention}`. Sums run in 32 bits where a
//! bound proves that they fit; a head with a wide row in sight takes the plain operations of `model`.

use std::cell::Cell;
use std::ops::Range;

use model::ops::attention as meaning;

use crate::cache::HeadCache;
use crate::kernels::Isa;
use crate::kernels::attention::{self as kernel, KEY_LANES};

/// What one attention row needs besides its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule<'t> {
    /// Scores' exponent less the softmax table's step.
    pub shift: i32,
    /// Softmax table for this number of keys; entries are below 2^15.
    pub table: &'t [u32],
}

/// One thread's memory, kept between heads.
#[derive(Default)]
struct Memory {
    query: Vec<[i16; 2]>,
    scores: Vec<[i32; KEY_LANES]>,
    weights: Vec<i16>,
    weighted: Vec<i64>,
}

thread_local! {
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

/// Scores before they are weighed.
#[derive(Clone, Copy, Debug)]
pub enum Scores<'s> {
    /// All fit 32 bits.
    Narrow(&'s [i32]),
    /// Any.
    Wide(&'s [i64]),
}

/// Output of `query` over the cached positions `keys` into `out` (head_dim).
pub fn attention(
    isa: Isa,
    query: &[i32],
    head: &HeadCache,
    keys: Range<usize>,
    rule: AttentionRule<'_>,
    out: &mut [i32],
) {
    attention_observed(isa, query, head, keys, rule, out, |_, _| {});
}

/// As [`attention`]; `observe` sees the scores and the weighted sums before the division.
#[inline(always)]
pub fn attention_observed(
    isa: Isa,
    query: &[i32],
    head: &HeadCache,
    keys: Range<usize>,
    rule: AttentionRule<'_>,
    out: &mut [i32],
    observe: impl FnOnce(Scores<'_>, &[i64]),
) {
    if !(0..32).contains(&rule.shift) || !fits(query, head) || head.wide.range(keys.clone()).next().is_some()
    {
        return plain(query, head, keys, rule, out, observe);
    }
    let first = keys.start / KEY_LANES * KEY_LANES;
    let (skip, count) = (keys.start - first, keys.end - first);
    let mut memory = MEMORY.take().unwrap_or_default();
    let Memory { query: pairs, scores: groups, weights, weighted } = &mut *memory;
    pairs.clear();
    pairs.extend(query.as_chunks::<2>().0.iter().map(|pair| pair.map(|v| v as i16)));
    groups.resize(count.div_ceil(KEY_LANES), [0; KEY_LANES]);
    let from = first / KEY_LANES * pairs.len();
    kernel::scores(isa, pairs, &head.keys[from..from + groups.len() * pairs.len()], groups);
    // From here on entry j belongs to position first + j; those before the window weigh nothing.
    let scores = &groups.as_flattened()[skip..count];
    let max = scores.iter().copied().max().unwrap_or(0);
    weights.clear();
    weights.resize(count.next_multiple_of(2), 0);
    let shift = rule.shift.unsigned_abs();
    let sum = kernel::softmax_weights(isa, scores, max, shift, rule.table, &mut weights[skip..count]);
    weighted.resize(query.len(), 0);
    let values = &head.values[first / 2 * query.len()..][..weights.len() / 2 * query.len()];
    kernel::weighted_sum(isa, weights, values, head.value_max, weighted);
    observe(Scores::Narrow(scores), weighted);
    divide(weighted, sum, out);
    MEMORY.set(Some(memory));
}

/// By Cauchy and Schwarz no partial sum of a score exceeds |q| |k|: with |q|^2 |k|^2 < 2^62 all fit 32 bits.
fn fits(query: &[i32], head: &HeadCache) -> bool {
    if query.iter().any(|v| v.abs() > i32::from(i16::MAX)) {
        return false;
    }
    let square: u64 = query.iter().map(|v| u64::from(v.unsigned_abs()).pow(2)).sum();
    u128::from(square) * u128::from(head.key_square) < 1 << 62
}

/// `model::ops::attention::divide_round` for all of `numerators` by one multiplication each. `z` is at least
/// the table's first entry, hence above 1, and |numerator| <= z * 2^15.
pub fn divide(numerators: &[i64], z: u64, out: &mut [i32]) {
    const OFFSET: u32 = 16;
    let reciprocal = u64::MAX / z;
    let half_and_offset = ((z >> 1) + (z << OFFSET)).cast_signed();
    for (out, n) in out.iter_mut().zip(numerators) {
        // Shifted by 2^16 whole quotients to be positive, below 2^49; the estimate is at most 1 too small.
        let shifted = (n + half_and_offset).cast_unsigned();
        let estimate = ((u128::from(shifted) * u128::from(reciprocal)) >> 64) as u64;
        let quotient = estimate + u64::from(shifted - estimate * z >= z);
        *out = (quotient as i64 - (1 << OFFSET)) as i32;
    }
}

fn plain(
    query: &[i32],
    head: &HeadCache,
    keys: Range<usize>,
    rule: AttentionRule<'_>,
    out: &mut [i32],
    observe: impl FnOnce(Scores<'_>, &[i64]),
) {
    let rule = meaning::AttentionRule { shift: rule.shift, table: rule.table };
    let whole = |row: &[i32]| -> Vec<i64> { row.iter().map(|v| i64::from(*v)).collect() };
    let rows: Vec<(Vec<i64>, Vec<i64>)> = keys
        .map(|position| {
            let (key, value) = head.position(position, query.len());
            (whole(&key), whole(&value))
        })
        .collect();
    let keys: Vec<&[i64]> = rows.iter().map(|(key, _)| key.as_slice()).collect();
    let values: Vec<&[i64]> = rows.iter().map(|(_, value)| value.as_slice()).collect();
    let meaning::AttentionSums { scores, weighted, sum } =
        meaning::attention_sums(&whole(query), &keys, &values, rule);
    observe(Scores::Wide(&scores), &weighted);
    for (out, n) in out.iter_mut().zip(weighted) {
        *out = meaning::divide_round(n, sum) as i32;
    }
}

#[cfg(test)]
mod tests;
