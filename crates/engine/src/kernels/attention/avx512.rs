//! Attention sums for AVX-512 with VNNI. Never rounds; see `attention.rs` for the layouts and the bounds.

use std::arch::asm;
use std::arch::x86_64::*;

use super::{KEY_LANES, KeyPairs, portable_run, portable_softmax};

/// Groups of keys scored at a time: with two sums each they hide most of the latency of the products.
const GROUPS: usize = 4;

/// Pairs of positions that are skipped together if all their weights are zero.
const RUN_PAIRS: usize = 8;

/// See [`super::scores`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn scores(query: &[[i16; 2]], keys: &[KeyPairs], scores: &mut [[i32; KEY_LANES]]) {
    let (whole, rest) = scores.as_chunks_mut::<GROUPS>();
    let (keys, rest_keys) = keys.split_at(whole.len() * GROUPS * query.len());
    for (scores, keys) in whole.iter_mut().zip(keys.chunks_exact((GROUPS * query.len()).max(1))) {
        group_scores(query, keys, scores);
    }
    for (scores, keys) in rest.iter_mut().zip(rest_keys.chunks_exact(query.len().max(1))) {
        group_scores(query, keys, std::array::from_mut(scores));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn group_scores<const N: usize>(query: &[[i16; 2]], keys: &[KeyPairs], scores: &mut [[i32; KEY_LANES]; N]) {
    let mut sums = [[_mm512_setzero_si512(); 2]; N];
    let mut groups = [keys; N];
    for (n, group) in groups.iter_mut().enumerate() {
        *group = &keys[n * query.len()..][..query.len()];
    }
    let (pairs, last) = query.as_chunks::<2>();
    for (index, pair) in pairs.iter().enumerate() {
        for (chain, query) in pair.iter().enumerate() {
            let query = broadcast(*query);
            for n in 0..N {
                sums[n][chain] = multiply_add(sums[n][chain], query, &groups[n][2 * index + chain].0);
            }
        }
    }
    if let [query] = last {
        for n in 0..N {
            sums[n][0] = multiply_add(sums[n][0], broadcast(*query), &groups[n][2 * pairs.len()].0);
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        // SAFETY: 16 numbers of 32 bits are one register; the store needs no alignment.
        unsafe { _mm512_storeu_si512(scores.as_mut_ptr().cast(), _mm512_add_epi32(sums[0], sums[1])) };
    }
}

/// See [`super::softmax_weights`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn softmax_weights(
    scores: &[i32],
    max: i32,
    shift: u32,
    table: &[u32],
    weights: &mut [i16],
) -> u64 {
    let (whole, rest) = scores.as_chunks::<KEY_LANES>();
    let (whole_weights, rest_weights) = weights.as_chunks_mut::<KEY_LANES>();
    let (max_lanes, shift_count) = (_mm512_set1_epi32(max), _mm_cvtsi32_si128(shift.cast_signed()));
    let length = _mm512_set1_epi32(i32::try_from(table.len()).unwrap_or(i32::MAX));
    // 64-bit sums of the lanes with even and with odd numbers.
    let mut sum = _mm512_setzero_si512();
    for (scores, weights) in whole.iter().zip(whole_weights) {
        // SAFETY: 16 numbers of 32 bits are one register; the load needs no alignment.
        let scores = unsafe { _mm512_loadu_si512(scores.as_ptr().cast()) };
        let distance = _mm512_srl_epi32(_mm512_sub_epi32(max_lanes, scores), shift_count);
        let inside = _mm512_cmplt_epu32_mask(distance, length);
        // SAFETY: only lanes whose index is below the table's length are read.
        let entries = unsafe {
            _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), inside, distance, table.as_ptr().cast())
        };
        sum = _mm512_add_epi64(sum, _mm512_and_si512(entries, _mm512_set1_epi64(0xffff_ffff)));
        sum = _mm512_add_epi64(sum, _mm512_srli_epi64::<32>(entries));
        // SAFETY: 16 numbers of 16 bits are half a register; the store needs no alignment.
        unsafe { _mm256_storeu_si256(weights.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(entries)) };
    }
    let rest = portable_softmax(rest, max, shift, table, rest_weights);
    _mm512_reduce_add_epi64(sum).cast_unsigned() + rest
}

/// Adds a run that fits 32 bits: 64 columns at a time, then 16, then one by one.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn add_run(weights: &[[i16; 2]], values: &[[i16; 2]], out: &mut [i64]) {
    let dim = out.len();
    let mut column = 0;
    while column + 64 <= dim {
        add_columns::<4>(weights, values, column, out);
        column += 64;
    }
    while column + 16 <= dim {
        add_columns::<1>(weights, values, column, out);
        column += 16;
    }
    portable_run(weights, values, dim, column, out);
}

/// Columns `column..column + 16 * C`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_columns<const C: usize>(weights: &[[i16; 2]], values: &[[i16; 2]], column: usize, out: &mut [i64]) {
    let dim = out.len();
    let mut sums = [[_mm512_setzero_si512(); C]; 2];
    for (weights, values) in weights.chunks(RUN_PAIRS).zip(values.chunks(RUN_PAIRS * dim)) {
        if all_zero(weights) {
            continue;
        }
        for (index, (weights, values)) in weights.iter().zip(values.chunks_exact(dim)).enumerate() {
            let weights = broadcast(*weights);
            let values = &values[column..][..16 * C];
            for (sum, values) in sums[index % 2].iter_mut().zip(values.as_chunks::<16>().0) {
                *sum = multiply_add(*sum, weights, values);
            }
        }
    }
    for (c, out) in out[column..][..16 * C].as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let sum = _mm512_add_epi32(sums[0][c], sums[1][c]);
        let halves = [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)];
        for (half, out) in halves.into_iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: eight numbers of 64 bits are one register; loads and stores need no alignment.
            unsafe {
                let old = _mm512_loadu_si512(out.as_ptr().cast());
                _mm512_storeu_si512(
                    out.as_mut_ptr().cast(),
                    _mm512_add_epi64(old, _mm512_cvtepi32_epi64(half)),
                );
            }
        }
    }
}

/// Not inside its caller, where the closure would have instructions that `all` has not, and not be inlined.
#[inline(always)]
fn all_zero(weights: &[[i16; 2]]) -> bool {
    weights.iter().all(|pair| *pair == [0, 0])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn broadcast([first, second]: [i16; 2]) -> __m512i {
    _mm512_set1_epi32(i32::from(second) << 16 | i32::from(first.cast_unsigned()))
}

/// `sums + pair[0] * rows[lane][0] + pair[1] * rows[lane][1]` in 16 lanes, modulo 2^32. Not the intrinsic,
/// see `kernels::avx512`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_add(mut sums: __m512i, pair: __m512i, rows: &[[i16; 2]; 16]) -> __m512i {
    // SAFETY: reads the 64 bytes of `rows` and writes nothing but its operand.
    unsafe {
        asm!(
            "vpdpwssd {sums}, {pair}, zmmword ptr [{rows}]",
            sums = inout(zmm_reg) sums, pair = in(zmm_reg) pair, rows = in(reg) rows.as_ptr(),
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}
