//! Attention sums for AVX2. Never rounds; see `attention.rs` for the layouts and the bounds.

use std::arch::x86_64::*;

use super::{KEY_LANES, KeyPairs, portable_run};

/// See [`super::scores`].
#[target_feature(enable = "avx2")]
pub(super) fn scores(query: &[[i16; 2]], keys: &[KeyPairs], scores: &mut [[i32; KEY_LANES]]) {
    for (scores, keys) in scores.iter_mut().zip(keys.chunks_exact(query.len().max(1))) {
        let mut sums = [_mm256_setzero_si256(); 2];
        for (query, keys) in query.iter().zip(keys) {
            multiply_add(&mut sums, broadcast(*query), &keys.0);
        }
        for (sum, scores) in sums.into_iter().zip(scores.as_chunks_mut::<8>().0) {
            // SAFETY: eight numbers of 32 bits are one register; the store needs no alignment.
            unsafe { _mm256_storeu_si256(scores.as_mut_ptr().cast(), sum) };
        }
    }
}

/// Adds a run that fits 32 bits: 16 columns at a time, then one by one.
#[target_feature(enable = "avx2")]
pub(super) fn add_run(weights: &[[i16; 2]], values: &[[i16; 2]], out: &mut [i64]) {
    let dim = out.len();
    let (blocks, _) = out.as_chunks_mut::<16>();
    let done = blocks.len() * 16;
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [_mm256_setzero_si256(); 2];
        for (weights, values) in weights.iter().zip(values.chunks_exact(dim)) {
            multiply_add(&mut sums, broadcast(*weights), &values.as_chunks::<16>().0[block]);
        }
        let mut lanes = [0_i32; 16];
        for (sum, lanes) in sums.into_iter().zip(lanes.as_chunks_mut::<8>().0) {
            // SAFETY: eight numbers of 32 bits are one register; the store needs no alignment.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
        }
        for (out, sum) in out.iter_mut().zip(lanes) {
            *out += i64::from(sum);
        }
    }
    portable_run(weights, values, dim, done, out);
}

#[inline]
#[target_feature(enable = "avx2")]
fn broadcast([first, second]: [i16; 2]) -> __m256i {
    _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()))
}

/// `sums + pair[0] * rows[lane][0] + pair[1] * rows[lane][1]` in 16 lanes, modulo 2^32.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_add(sums: &mut [__m256i; 2], pair: __m256i, rows: &[[i16; 2]; 16]) {
    for (sum, rows) in sums.iter_mut().zip(rows.as_chunks::<8>().0) {
        // SAFETY: eight pairs are one register; the load needs no alignment.
        let rows = unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) };
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(rows, pair));
    }
}
