//! The sums of attention over cached keys and values: scores of one query, softmax weights by table, weighted
//! sum of values. Never rounds: scores are exact modulo 2^32, the rest is exact.
//!
//! Keys of 16 positions stand side by side, two elements each: entry `[group * pairs + p][lane]` holds
//! elements 2p and 2p + 1 of the key at position `16 * group + lane`. So a register scores 16 keys without
//! adding across lanes. Values of two positions stand side by side: entry `[j * dim + d]` holds element d of
//! positions 2j and 2j + 1.

use super::{Isa, IsaKind};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

/// Positions whose keys stand side by side.
pub const KEY_LANES: usize = 16;

/// Two elements of the keys of 16 positions. Aligned, so that a register is loaded from one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct KeyPairs(pub [[i16; 2]; KEY_LANES]);

impl KeyPairs {
    /// All zero.
    pub const ZERO: KeyPairs = KeyPairs([[0; 2]; KEY_LANES]);
}

/// Dot products of one query with whole groups of keys: `scores[g][lane]` is the score of position `16 * g +
/// lane`.
///
/// Computed modulo 2^32, so exact wherever the score itself fits `i32`, whatever its partial sums; by Cauchy
/// and Schwarz it does if `|query|^2 * |key|^2 < 2^62`.
///
/// # Panics
/// If there are not `query.len()` key pairs per group of scores.
pub fn scores(isa: Isa, query: &[[i16; 2]], keys: &[KeyPairs], scores: &mut [[i32; KEY_LANES]]) {
    assert_eq!(keys.len(), query.len() * scores.len(), "key pairs");
    match isa.0 {
        IsaKind::Portable => portable_scores(query, keys, scores),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a value of `Isa` exists only on machines with its instructions.
        IsaKind::Avx2 => unsafe { avx2::scores(query, keys, scores) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { avx512::scores(query, keys, scores) },
    }
}

/// `weights[j] = table[(max - scores[j]) >> shift]`, 0 past the table's end, and their sum. The distance is
/// taken modulo 2^32, so it is right if all scores are at most `max`. `shift` is below 32, table entries are
/// below 2^15.
///
/// # Panics
/// If the lengths differ.
pub fn softmax_weights(
    isa: Isa,
    scores: &[i32],
    max: i32,
    shift: u32,
    table: &[u32],
    weights: &mut [i16],
) -> u64 {
    assert_eq!(scores.len(), weights.len(), "scores and weights");
    debug_assert!(table.iter().all(|&entry| entry < 1 << 15), "softmax table entries are below 2^15");
    match isa.0 {
        IsaKind::Portable => portable_softmax(scores, max, shift, table, weights),
        // Its gathers are no faster than loads on many machines.
        #[cfg(target_arch = "x86_64")]
        IsaKind::Avx2 => portable_softmax(scores, max, shift, table, weights),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a value of `Isa` exists only on machines with its instructions.
        IsaKind::Avx512Vnni | IsaKind::Amx => unsafe {
            avx512::softmax_weights(scores, max, shift, table, weights)
        },
    }
}

/// `out[d] = sum over j of weights[j] * value[j][d]`, exact.
///
/// `values` holds `out.len()` entries for every two positions; an odd last position stands beside anything.
/// `value_max` is at least every magnitude among them, and weights are not negative.
///
/// # Panics
/// If `values` is too short.
pub fn weighted_sum(isa: Isa, weights: &[i16], values: &[[i16; 2]], value_max: u32, out: &mut [i64]) {
    assert!(values.len() >= weights.len().div_ceil(2) * out.len(), "values of {} positions", weights.len());
    out.fill(0);
    // At least 65535: two weights of 15 bits, one step of the kernels, always fit.
    let limit = i32::MAX.cast_unsigned() / value_max.max(1);
    add_weighted(isa, weights, values, limit, out);
}

/// Adds in runs whose weights sum up to at most `limit`, so that 32 bits hold every partial sum of a run.
fn add_weighted(isa: Isa, weights: &[i16], values: &[[i16; 2]], limit: u32, out: &mut [i64]) {
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight.cast_unsigned())).sum();
    if weights.len() > 2 && sum > u64::from(limit) {
        let half = (weights.len() / 2).next_multiple_of(2);
        add_weighted(isa, &weights[..half], values, limit, out);
        add_weighted(isa, &weights[half..], &values[half / 2 * out.len()..], limit, out);
        return;
    }
    let (pairs, rest) = weights.as_chunks::<2>();
    add_run(isa, pairs, values, out);
    if let [last] = rest {
        add_run(isa, &[[*last, 0]], &values[pairs.len() * out.len()..], out);
    }
}

fn add_run(isa: Isa, weights: &[[i16; 2]], values: &[[i16; 2]], out: &mut [i64]) {
    let values = &values[..weights.len() * out.len()];
    match isa.0 {
        IsaKind::Portable => portable_run(weights, values, out.len(), 0, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a value of `Isa` exists only on machines with its instructions.
        IsaKind::Avx2 => unsafe { avx2::add_run(weights, values, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { avx512::add_run(weights, values, out) },
    }
}

fn portable_scores(query: &[[i16; 2]], keys: &[KeyPairs], scores: &mut [[i32; KEY_LANES]]) {
    for (scores, keys) in scores.iter_mut().zip(keys.chunks_exact(query.len().max(1))) {
        *scores = [0; KEY_LANES];
        for (key, query) in keys.iter().zip(query) {
            let query = query.map(i32::from);
            for (score, key) in scores.iter_mut().zip(&key.0) {
                // Two products of 16 bits fit 32 bits, but for (-2^15)^2 * 2, which wraps to what is left
                // modulo 2^32.
                let sum = (query[0] * i32::from(key[0])).wrapping_add(query[1] * i32::from(key[1]));
                *score = score.wrapping_add(sum);
            }
        }
    }
}

fn portable_softmax(scores: &[i32], max: i32, shift: u32, table: &[u32], weights: &mut [i16]) -> u64 {
    let mut sum = 0;
    for (weight, score) in weights.iter_mut().zip(scores) {
        let distance = max.wrapping_sub(*score).cast_unsigned() >> shift;
        let entry = table.get(distance as usize).copied().unwrap_or(0);
        *weight = entry as i16;
        sum += u64::from(entry);
    }
    sum
}

/// Columns `from..` of a run, whose entries stand `stride` apart from one pair of positions to the next.
fn portable_run(weights: &[[i16; 2]], values: &[[i16; 2]], stride: usize, from: usize, out: &mut [i64]) {
    const BLOCK: usize = 16;
    for (block, out) in out[from..].chunks_mut(BLOCK).enumerate() {
        let mut sums = [0_i32; BLOCK];
        for (weights, values) in weights.iter().zip(values.chunks_exact(stride)) {
            let weights = weights.map(i32::from);
            for (sum, values) in sums.iter_mut().zip(&values[from + block * BLOCK..]) {
                *sum += weights[0] * i32::from(values[0]) + weights[1] * i32::from(values[1]);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += i64::from(sum);
        }
    }
}
