//! Sums of integers times weights of the extension: how a prover gets from a tensor to the values that a sumcheck needs, and a
//! verifier from a matrix of weights to its value at a point. Exact: a weight is cut into limbs of 22 bits, whose products with 32-bit
//! integers are summed in 64 bits.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "lengths are compared before the loops; sums are bounded where they are made"
)]

use rayon::prelude::*;

use crate::field::{Base, Ext};
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
    let combine = |(block, out): (usize, &mut [Ext])| {
        isa.run_wide(Combine { matrix, columns, first: block * BLOCK, weights, out });
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
    let limbs: [Vec<i32>; 6] = std::array::from_fn(|limb| weights.iter().map(|w| limbs(*w)[limb]).collect());
    let mut out = vec![Ext::ZERO; matrix.len() / width];
    let rows = (ROWS_PER_TASK * 64).div_ceil(width);
    out.par_chunks_mut(rows).zip(matrix.par_chunks(rows * width)).for_each(|(out, matrix)| {
        isa.run_wide(FoldRows { matrix, limbs: &limbs, out });
    });
    out
}

struct Combine<'a> {
    matrix: &'a [i32],
    columns: usize,
    /// Of the block.
    first: usize,
    weights: &'a [Ext],
    out: &'a mut [Ext],
}

impl Kernel for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for (run, weights) in self.weights.chunks(RUN).enumerate() {
            let mut sums = [[0_i64; BLOCK]; 6];
            for (index, weight) in weights.iter().enumerate() {
                let start = (run * RUN + index) * self.columns + self.first;
                let row = &self.matrix[start..start + self.out.len()];
                for (sums, limb) in sums.iter_mut().zip(limbs(*weight)) {
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += i64::from(*value) * i64::from(limb);
                    }
                }
            }
            for (column, out) in self.out.iter_mut().enumerate() {
                *out += join(sums.each_ref().map(|sums| sums[column]));
            }
        }
    }
}

struct FoldRows<'a> {
    matrix: &'a [i32],
    limbs: &'a [Vec<i32>; 6],
    out: &'a mut [Ext],
}

impl Kernel for FoldRows<'_> {
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
                *out += join(sums);
            }
        }
    }
}

/// Both coordinates in parts of [`LIMB_BITS`] bits, the lowest first.
#[inline(always)]
fn limbs(weight: Ext) -> [i32; 6] {
    let limb =
        |value: Base, index: u32| (value.value() >> (index * LIMB_BITS)) as i32 & ((1 << LIMB_BITS) - 1);
    let (c0, c1) = (weight.c0, weight.c1);
    [limb(c0, 0), limb(c0, 1), limb(c0, 2), limb(c1, 0), limb(c1, 1), limb(c1, 2)]
}

/// The element whose limbs these sums are.
#[inline(always)]
fn join(sums: [i64; 6]) -> Ext {
    let coordinate = |sums: [i64; 3]| {
        let [low, middle, high] = sums.map(Base::from_signed);
        (high * Base::new(1 << LIMB_BITS) + middle) * Base::new(1 << LIMB_BITS) + low
    };
    let [a, b, c, d, e, f] = sums;
    Ext::new(coordinate([a, b, c]), coordinate([d, e, f]))
}
