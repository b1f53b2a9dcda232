//! Sums of integers times weights of the extension: how a prover gets from a tensor to the values that a sumcheck needs, and a
//! verifier from a matrix of weights to its value at a point. Exact: a weight is cut into limbs of 22 bits, whose products with 32-bit
//! integers are summed in 64 bits.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "lengths are compared before the loops; sums are bounded where they are made"
)]

use std::marker::PhantomData;

use rayon::prelude::*;

use crate::field::{Base, Ext, PRIME};
use crate::kernels::{Isa, Kernel, Lanes};

#[cfg(test)]
mod tests;

/// Columns that are combined at a time.
const BLOCK: usize = 1024;
/// A coordinate of a weight is three of these.
const LIMB_BITS: u32 = 22;
/// Products between two reductions: 31 + 22 + 9 bits.
const RUN: usize = 512;
/// Rows of a task.
const ROWS_PER_TASK: usize = 1 << 12;

/// `sum over rows of weights[row] * matrix[row][..]`, one element per column.
///
/// # Panics
/// If the matrix has another number of rows than there are weights.
#[must_use]
pub fn combine_rows(isa: Isa, matrix: &[i32], columns: usize, weights: &[Ext]) -> Vec<Ext> {
    assert_eq!(matrix.len(), columns * weights.len(), "a weight for each row");
    let mut out = vec![Ext::ZERO; columns];
    let small = are_small(matrix);
    let combine = |(block, out): (usize, &mut [Ext])| {
        let first = block * BLOCK;
        if small {
            isa.run_wide(Combine::<4, Two> { matrix, columns, first, weights, out, limbs: PhantomData });
        } else {
            isa.run_wide(Combine::<6, Three> { matrix, columns, first, weights, out, limbs: PhantomData });
        }
    };
    if columns > BLOCK {
        out.par_chunks_mut(BLOCK).enumerate().for_each(combine);
    } else {
        out.chunks_mut(BLOCK).enumerate().for_each(combine);
    }
    out
}

/// Of each row of `weights.len()` integers, its sum with these weights.
///
/// # Panics
/// If there are no weights, or the rows are not whole.
#[must_use]
pub fn fold_rows(isa: Isa, matrix: &[i32], weights: &[Ext]) -> Vec<Ext> {
    let width = weights.len();
    assert!(width > 0 && matrix.len().is_multiple_of(width), "whole rows");
    let two: [Vec<i32>; 4] = std::array::from_fn(|limb| weights.iter().map(|w| Two::cut(*w)[limb]).collect());
    let three: [Vec<i32>; 6] =
        std::array::from_fn(|limb| weights.iter().map(|w| Three::cut(*w)[limb]).collect());
    let mut out = vec![Ext::ZERO; matrix.len() / width];
    let rows = (ROWS_PER_TASK * 64).div_ceil(width);
    out.par_chunks_mut(rows).zip(matrix.par_chunks(rows * width)).for_each(|(out, matrix)| {
        if are_small(matrix) {
            isa.run_wide(FoldRows::<4, Two> { matrix, limbs: &two, out, form: PhantomData });
        } else {
            isa.run_wide(FoldRows::<6, Three> { matrix, limbs: &three, out, form: PhantomData });
        }
    });
    out
}

struct Combine<'a, const N: usize, F> {
    matrix: &'a [i32],
    columns: usize,
    /// Of the block.
    first: usize,
    weights: &'a [Ext],
    out: &'a mut [Ext],
    limbs: PhantomData<F>,
}

impl<const N: usize, F: Limbs<N>> Kernel for Combine<'_, N, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for (run, weights) in self.weights.chunks(RUN).enumerate() {
            let mut sums = [[0_i64; BLOCK]; N];
            for (index, weight) in weights.iter().enumerate() {
                let start = (run * RUN + index) * self.columns + self.first;
                let row = &self.matrix[start..start + self.out.len()];
                for (sums, limb) in sums.iter_mut().zip(F::cut(*weight)) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += i64::from(*value) * i64::from(limb);
                    }
                }
            }
            for (column, out) in self.out.iter_mut().enumerate() {
                *out += F::join(sums.each_ref().map(|sums| sums[column]));
            }
        }
    }
}

struct FoldRows<'a, const N: usize, F> {
    matrix: &'a [i32],
    limbs: &'a [Vec<i32>; N],
    out: &'a mut [Ext],
    form: PhantomData<F>,
}

impl<const N: usize, F: Limbs<N>> Kernel for FoldRows<'_, N, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.limbs[0].len();
        for (row, out) in self.matrix.chunks_exact(width).zip(self.out) {
            *out = Ext::ZERO;
            for (run, row) in row.chunks(RUN).enumerate() {
                let sums = self.limbs.each_ref().map(|limbs| {
                    let limbs = &limbs[run * RUN..][..row.len()];
                    row.iter().zip(limbs).map(|(v, limb)| i64::from(*v) * i64::from(*limb)).sum::<i64>()
                });
                *out += F::join(sums);
            }
        }
    }
}

/// A weight as integers whose products with the matrix can be summed.
trait Limbs<const N: usize> {
    /// The parts of both coordinates, the lowest first.
    fn cut(weight: Ext) -> [i32; N];
    /// The element whose parts these sums are.
    fn join(sums: [i64; N]) -> Ext;
}

/// Three parts of 22 bits each, for any integers of 32 bits.
struct Three;
/// Two signed parts of 32 bits each, for integers of 23 bits with their sign.
struct Two;

/// Integers below this in magnitude take [`Two`]: 22 + 31 + 9 bits.
const SMALL: i32 = 1 << 22;

impl Limbs<6> for Three {
    #[inline(always)]
    fn cut(weight: Ext) -> [i32; 6] {
        let limb =
            |value: Base, index: u32| (value.value() >> (index * LIMB_BITS)) as i32 & ((1 << LIMB_BITS) - 1);
        let (c0, c1) = (weight.c0, weight.c1);
        [limb(c0, 0), limb(c0, 1), limb(c0, 2), limb(c1, 0), limb(c1, 1), limb(c1, 2)]
    }

    #[inline(always)]
    fn join(sums: [i64; 6]) -> Ext {
        let coordinate = |sums: [i64; 3]| {
            let [low, middle, high] = sums.map(Base::from_signed);
            (high * Base::new(1 << LIMB_BITS) + middle) * Base::new(1 << LIMB_BITS) + low
        };
        let [a, b, c, d, e, f] = sums;
        Ext::new(coordinate([a, b, c]), coordinate([d, e, f]))
    }
}

impl Limbs<4> for Two {
    #[inline(always)]
    fn cut(weight: Ext) -> [i32; 4] {
        let parts = |value: Base| {
            let value = value.value();
            // From -2^63 + 2^31 - 1 to 2^63 - 2^31 - 1, so that the high part of neither end leaves 32 bits.
            let is_low = value < (1 << 63) - (1 << 31);
            let signed = if is_low { value } else { value.wrapping_sub(PRIME) }.cast_signed();
            let low = signed as i32;
            (low, (signed.wrapping_sub(i64::from(low)) >> 32) as i32)
        };
        let ((a, b), (c, d)) = (parts(weight.c0), parts(weight.c1));
        [a, b, c, d]
    }

    #[inline(always)]
    fn join(sums: [i64; 4]) -> Ext {
        let [a, b, c, d] = sums.map(Base::from_signed);
        Ext::new(a + b * Base::new(1 << 32), c + d * Base::new(1 << 32))
    }
}

/// Whether [`Two`] is enough.
fn are_small(matrix: &[i32]) -> bool {
    matrix
        .par_chunks(1 << 16)
        .all(|part| part.iter().fold(0_u32, |all, v| all | v.unsigned_abs()) < SMALL.unsigned_abs())
}
