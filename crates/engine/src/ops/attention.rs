//! Attention of one query head at speed; see `model::ops::{softmax, attention}`. Sums run in 32 bits where a
//! bound proves that they fit; a head with a wide row in sight takes the plain operations of `model`.

use std::ops::Range;

use model::ops::attention as meaning;

use crate::cache::{HeadCache, KEY_LANES};
use crate::kernels::Isa;
use crate::kernels::attention::{self as kernel, Pair};

/// What one attention row needs besides its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule<'t> {
    /// Scores' exponent less the softmax table's step.
    pub shift: i32,
    /// Softmax table for this number of keys; entries are below 2^15.
    pub table: &'t [u32],
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
    if !(0..32).contains(&rule.shift) || !fits(query, head) || head.wide.range(keys.clone()).next().is_some() {
        return plain(query, head, keys, rule, out);
    }
    let first = keys.start / KEY_LANES * KEY_LANES;
    let mut scores = score(isa, query, head, first..keys.end);
    let skip = keys.start - first;
    // From here on entry j belongs to position first + j; those before the window weigh nothing.
    let max = scores[skip..].iter().copied().max().unwrap_or(0);
    scores[..skip].fill(0);
    let mut sum = 0_u32;
    for score in &mut scores[skip..] {
        // Both are 32-bit numbers, so their difference is an unsigned one.
        let distance = max.wrapping_sub(*score).cast_unsigned() >> rule.shift;
        let weight = rule.table.get(distance as usize).copied().unwrap_or(0);
        sum += weight;
        *score = weight.cast_signed();
    }
    let weighted = weigh(isa, &scores, head, first, query.len());
    divide(&weighted, sum, out);
}

/// By Cauchy and Schwarz no partial sum of a score exceeds |q| |k|: with |q|^2 |k|^2 < 2^62 all fit 32 bits.
fn fits(query: &[i32], head: &HeadCache) -> bool {
    if query.iter().any(|v| v.abs() > i32::from(i16::MAX)) {
        return false;
    }
    let square: u64 = query.iter().map(|v| u64::from(v.unsigned_abs()).pow(2)).sum();
    u128::from(square) * u128::from(head.key_square) < 1 << 62
}

/// Scores of whole groups of 16 positions, cut to `keys`.
fn score(isa: Isa, query: &[i32], head: &HeadCache, keys: Range<usize>) -> Vec<i32> {
    let (query, _) = query.as_chunks::<2>();
    let query: Vec<Pair> = query.iter().map(|[a, b]| [*a as i16, *b as i16]).collect();
    let mut scores = Vec::with_capacity(keys.len() + KEY_LANES);
    let groups = head.keys.chunks_exact(query.len());
    for group in groups.take(keys.end.div_ceil(KEY_LANES)).skip(keys.start / KEY_LANES) {
        scores.extend_from_slice(&kernel::score(isa, group, &query));
    }
    scores.truncate(keys.len());
    scores
}

/// `sum_j weights[j] * value[first + j]`: in 32 bits over runs whose weights' sum times the largest value
/// fits, then in 64.
fn weigh(isa: Isa, weights: &[i32], head: &HeadCache, first: usize, dim: usize) -> Vec<i64> {
    let pairs: Vec<Pair> =
        weights.chunks(2).map(|pair| [pair[0] as i16, pair.get(1).map_or(0, |w| *w as i16)]).collect();
    // Two weights are below 2^16 and values below 2^15, so one pair always fits.
    let limit = i32::MAX / head.value_max.max(1).cast_signed();
    let mut total = vec![0_i64; dim];
    let mut part = vec![0_i32; dim];
    let (mut rest, mut values) = (&pairs[..], &head.values[first / 2 * dim..]);
    while !rest.is_empty() {
        let mut sum = 0;
        let run = rest.iter().take_while(|[a, b]| {
            sum += i32::from(*a) + i32::from(*b);
            sum <= limit
        });
        let run = run.count().max(1);
        kernel::weigh(isa, values, &rest[..run], &mut part);
        for (total, part) in total.iter_mut().zip(&part) {
            *total += i64::from(*part);
        }
        (rest, values) = (&rest[run..], &values[run * dim..]);
    }
    total
}

/// `model::ops::attention::divide_round` for all of `numerators` by one multiplication each. `sum` is at least
/// the table's first entry, hence above 1, and |numerator| <= sum * 2^15.
fn divide(numerators: &[i64], sum: u32, out: &mut [i32]) {
    const OFFSET: u32 = 16;
    let z = u64::from(sum);
    let reciprocal = u64::MAX / z;
    let half = i64::from(sum >> 1);
    for (out, n) in out.iter_mut().zip(numerators) {
        // Shifted by 2^16 whole quotients to be positive, below 2^49; the estimate is at most 1 too small.
        let shifted = (n + half + (i64::from(sum) << OFFSET)).cast_unsigned();
        let estimate = ((u128::from(shifted) * u128::from(reciprocal)) >> 64) as u64;
        let quotient = estimate + u64::from(shifted - estimate * z >= z);
        *out = (quotient as i64 - (1 << OFFSET)) as i32;
    }
}

fn plain(query: &[i32], head: &HeadCache, keys: Range<usize>, rule: AttentionRule<'_>, out: &mut [i32]) {
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
    for (out, v) in out.iter_mut().zip(meaning::attention(&whole(query), &keys, &values, rule)) {
        *out = v as i32;
    }
}

#[cfg(test)]
mod tests;
