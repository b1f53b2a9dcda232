//! Eight lanes of 64 bits. In a register a lane holds any number of 64 bits; the comments say why none is lost. The arithmetic
//! is that of `field`: 2^64 = EPSILON = 2^32 - 1 and 2^96 = -1 modulo p.

use std::arch::x86_64::*;

use super::{Kernel, Lanes};
use crate::field::{Base, PRIME};

/// Lanes.
pub(super) const WIDTH: usize = 8;

/// Eight elements.
#[derive(Clone, Copy)]
pub(super) struct Eight(__m512i);

/// Runs a loop compiled for these instructions.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Eight>()
}

/// Wraps vector instructions that need no more than the features of [`run`].
macro_rules! vector {
    ($body:expr) => {{
        // SAFETY: lanes are made only inside of `run`, which is called only where AVX-512 F and DQ are there.
        unsafe { $body }
    }};
}

#[inline(always)]
fn constant(value: u64) -> __m512i {
    vector!(_mm512_set1_epi64(value.cast_signed()))
}

/// Below p: subtracting p from less wraps around to more.
#[inline(always)]
fn reduce(x: __m512i) -> __m512i {
    vector!(_mm512_min_epu64(x, _mm512_sub_epi64(x, constant(PRIME))))
}

/// `x + y` where `y <= 2^64 - EPSILON`: after a carry what is left is below `2^64 - EPSILON`, so EPSILON fits.
#[inline(always)]
fn add_small(x: __m512i, y: __m512i) -> __m512i {
    vector!({
        let sum = _mm512_add_epi64(x, y);
        let carry = _mm512_cmplt_epu64_mask(sum, y);
        _mm512_mask_sub_epi64(sum, carry, sum, constant(PRIME))
    })
}

/// Both halves of the 128-bit products, high one first.
#[inline(always)]
fn multiply_wide(x: __m512i, y: __m512i) -> (__m512i, __m512i) {
    vector!({
        let half = |v: __m512i| _mm512_srli_epi64::<32>(v);
        let (x_high, y_high) = (half(x), half(y));
        let low_low = _mm512_mul_epu32(x, y);
        let low_high = _mm512_mul_epu32(x, y_high);
        let high_low = _mm512_mul_epu32(x_high, y);
        let high_high = _mm512_mul_epu32(x_high, y_high);
        // (2^32 - 1)^2 + 2 (2^32 - 1) < 2^64: none of these sums carries.
        let first = _mm512_add_epi64(high_low, half(low_low));
        let second = _mm512_add_epi64(low_high, _mm512_and_si512(first, constant(0xffff_ffff)));
        let high = _mm512_add_epi64(_mm512_add_epi64(high_high, half(first)), half(second));
        let low = _mm512_mask_blend_epi32(0xaaaa, low_low, _mm512_slli_epi64::<32>(second));
        (high, low)
    })
}

/// `high * 2^64 + low`, as 64 bits.
#[inline(always)]
fn reduce_wide(high: __m512i, low: __m512i) -> __m512i {
    vector!({
        let top = _mm512_srli_epi64::<32>(high);
        let borrow = _mm512_cmplt_epu64_mask(low, top);
        let difference = _mm512_sub_epi64(low, top);
        // After a borrow it is above 2^64 - 2^32, so EPSILON can be taken off.
        let difference = _mm512_mask_add_epi64(difference, borrow, difference, constant(PRIME));
        // At most (2^32 - 1)^2 = 2^64 - 2^33 + 1.
        let middle = _mm512_mul_epu32(high, constant(0xffff_ffff));
        add_small(difference, middle)
    })
}

impl Lanes for Eight {
    type Chunk = [Base; WIDTH];

    #[inline(always)]
    fn chunks(column: &[Base]) -> &[Self::Chunk] {
        column.as_chunks().0
    }

    #[inline(always)]
    fn chunks_mut(column: &mut [Base]) -> &mut [Self::Chunk] {
        column.as_chunks_mut().0
    }

    #[inline(always)]
    fn load(from: &Self::Chunk) -> Self {
        // SAFETY: eight elements of 64 bits, read without alignment; see `vector`.
        Self(unsafe { _mm512_loadu_si512(std::ptr::from_ref(from).cast()) })
    }

    #[inline(always)]
    fn store(self, to: &mut Self::Chunk) {
        let reduced = reduce(self.0);
        // SAFETY: eight elements of 64 bits, written without alignment, all below p; see `vector`.
        unsafe { _mm512_storeu_si512(std::ptr::from_mut(to).cast(), reduced) }
    }

    #[inline(always)]
    fn splat(value: Base) -> Self {
        Self(constant(value.value()))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(add_small(self.0, reduce(other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let other = reduce(other.0);
        vector!({
            let borrow = _mm512_cmplt_epu64_mask(self.0, other);
            let difference = _mm512_sub_epi64(self.0, other);
            // After a borrow it is at least 2^64 - p, so adding p comes out between 0 and p.
            Self(_mm512_mask_add_epi64(difference, borrow, difference, constant(PRIME)))
        })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let (high, low) = multiply_wide(self.0, other.0);
        Self(reduce_wide(high, low))
    }

    #[inline(always)]
    fn times_seven(self) -> Self {
        vector!({
            // 8 x = (x << 3) + (x >> 61) 2^64, and (x >> 61) 2^64 = (x >> 61) EPSILON, which is small.
            let top = _mm512_mul_epu32(_mm512_srli_epi64::<61>(self.0), constant(0xffff_ffff));
            let eight = Self(add_small(_mm512_slli_epi64::<3>(self.0), top));
            eight.sub(self)
        })
    }

    #[inline(always)]
    fn sum(self) -> Base {
        let mut lanes = [Base::ZERO; WIDTH];
        self.store(&mut lanes);
        lanes.into_iter().sum()
    }
}
