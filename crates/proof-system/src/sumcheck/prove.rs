//! Makes the messages. Owns its columns and folds them in place.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the prover's own columns, of dimensions that it checked"
)]

use rayon::prelude::*;

use super::{bits, next_claim};
use crate::field::{Base, Ext};
use crate::kernels::{ExtLanes, Isa, Kernel, Lanes};
use crate::multilinear::ExtColumn;
use crate::transcript::Coins;

/// Elements of a task; a multiple of all lanes.
const TASK: usize = 1 << 13;
/// Lanes that any instruction set has at most.
const WIDE: usize = 8;

/// Messages, point, and the columns' values there. The claim must be the columns' sum.
///
/// # Panics
/// If a column's length is not the product of the dimensions.
pub fn prove<const K: usize>(
    mut columns: [ExtColumn; K],
    dimensions: &[usize],
    mut claim: Ext,
    isa: Isa,
    coins: &mut impl Coins,
) -> (Vec<[Ext; K]>, Vec<Ext>, [Ext; K]) {
    let all: usize = dimensions.iter().product();
    assert!(columns.iter().all(|column| column.len() == all), "columns of {dimensions:?}");
    let (mut messages, mut point) = (Vec::new(), Vec::new());
    let (mut length, mut rest) = (all, all);
    for dimension in dimensions {
        rest /= (*dimension).max(1);
        for bit in (0..bits(*dimension)).rev() {
            let half = rest << bit;
            let message = round(&columns, half, length, isa);
            let (x, next) = next_claim(message, claim, coins);
            messages.push(message);
            point.push(x);
            claim = next;
            for column in &mut columns {
                fold(column, half, length, x, isa);
            }
            length = half;
        }
    }
    (messages, point, columns.map(|column| column.get(0).unwrap_or_default()))
}

/// The message: sums over all pairs (i, i + half), what is past the length being zero.
fn round<const K: usize>(columns: &[ExtColumn; K], half: usize, length: usize, isa: Isa) -> [Ext; K] {
    let pairs = length - half;
    let part = |range: std::ops::Range<usize>| {
        let low = columns.each_ref().map(|c| [&c.c0[range.clone()], &c.c1[range.clone()]]);
        let shifted = if range.end <= pairs { range.start + half..range.end + half } else { 0..0 };
        let high = columns.each_ref().map(|c| [&c.c0[shifted.clone()], &c.c1[shifted.clone()]]);
        message(low, high, isa)
    };
    let tasks = half.div_ceil(TASK);
    // A task lies before the end of pairs, after it, or is cut there.
    let cut = |task: usize| {
        let (start, end) = (task * TASK, ((task + 1) * TASK).min(half));
        let middle = pairs.clamp(start, end);
        add(part(start..middle), part(middle..end))
    };
    if tasks == 1 { cut(0) } else { (0..tasks).into_par_iter().map(cut).reduce(|| [Ext::ZERO; K], add) }
}

fn add<const K: usize>(a: [Ext; K], b: [Ext; K]) -> [Ext; K] {
    std::array::from_fn(|i| a[i] + b[i])
}

/// Of one task: `high` has as many elements as `low` or none.
fn message<const K: usize>(low: [[&[Base]; 2]; K], high: [[&[Base]; 2]; K], isa: Isa) -> [Ext; K] {
    let length = low[0][0].len();
    let wide = length / WIDE * WIDE;
    let mut sums = [Ext::ZERO; K];
    if wide > 0 {
        sums = isa.run_wide(Round { low: cut(low, 0, wide), high: cut(high, 0, wide) });
    }
    if wide < length {
        sums = add(sums, isa.run(1, Round { low: cut(low, wide, length), high: cut(high, wide, length) }));
    }
    sums
}

/// A part of each column; one half may be all zero, and is then empty.
fn cut<const K: usize>(halves: [[&[Base]; 2]; K], from: usize, to: usize) -> [[&[Base]; 2]; K] {
    halves.map(|half| half.map(|c| &c[from.min(c.len())..to.min(c.len())]))
}

struct Round<'a, const K: usize> {
    low: [[&'a [Base]; 2]; K],
    /// Empty where it is zero.
    high: [[&'a [Base]; 2]; K],
}

impl<const K: usize> Kernel for Round<'_, K> {
    type Output = [Ext; K];

    #[inline(always)]
    fn run<L: Lanes>(self) -> [Ext; K] {
        let [low, high] = [self.low, self.high].map(|half| half.map(|column| column.map(L::chunks)));
        let is_paired = !high[0][0].is_empty();
        let zero = ExtLanes::<L>::splat(Ext::ZERO);
        let mut sums = [zero; 3];
        for i in 0..low[0][0].len() {
            let low = low.map(|c| ExtLanes::<L>::load(&c[0][i], &c[1][i]));
            let at_zero = product(low);
            sums[0] = sums[0].add(at_zero);
            if is_paired {
                let high = high.map(|c| ExtLanes::<L>::load(&c[0][i], &c[1][i]));
                let mut slopes = high;
                for (slope, low) in slopes.iter_mut().zip(low) {
                    *slope = slope.sub(low);
                }
                sums[1] = sums[1].add(product(slopes));
                if K == 3 {
                    let mut before = low;
                    for (value, slope) in before.iter_mut().zip(slopes) {
                        *value = value.sub(slope);
                    }
                    sums[2] = sums[2].add(product(before));
                }
            } else if K == 3 {
                // All slopes are -low, the values at -1 twice those at 0.
                sums[1] = sums[1].sub(at_zero);
                let twice = at_zero.add(at_zero);
                let four = twice.add(twice);
                sums[2] = sums[2].add(four.add(four));
            } else {
                sums[1] = sums[1].add(at_zero);
            }
        }
        let [at_zero, leading, at_minus_one] = sums.map(ExtLanes::sum);
        let mut message = [at_zero; K];
        if K == 3 {
            message[1] = at_minus_one;
        }
        message[K - 1] = leading;
        message
    }
}

#[inline(always)]
fn product<const K: usize, L: Lanes>(values: [ExtLanes<L>; K]) -> ExtLanes<L> {
    let mut product = values[0].mul(values[1]);
    for value in &values[2..] {
        product = product.mul(*value);
    }
    product
}

/// Binds a variable: `low + x (high - low)`, high being zero past the length.
fn fold(column: &mut ExtColumn, half: usize, length: usize, x: Ext, isa: Isa) {
    let pairs = length - half;
    let (low0, high0) = column.c0[..length].split_at_mut(half);
    let (low1, high1) = column.c1[..length].split_at_mut(half);
    let (paired0, alone0) = low0.split_at_mut(pairs);
    let (paired1, alone1) = low1.split_at_mut(pairs);
    let run = |low: [&mut [Base]; 2], high: [&[Base]; 2]| {
        let length = low[0].len();
        let wide = length / WIDE * WIDE;
        let [low0, low1] = low;
        let ((wide0, tail0), (wide1, tail1)) = (low0.split_at_mut(wide), low1.split_at_mut(wide));
        let [first, second] = high.map(|c| if c.is_empty() { (c, c) } else { c.split_at(wide) });
        if wide > 0 {
            isa.run_wide(Fold { low: [wide0, wide1], high: [first.0, second.0], x });
        }
        if wide < length {
            isa.run(1, Fold { low: [tail0, tail1], high: [first.1, second.1], x });
        }
    };
    let tasks = |low0: &mut [Base], low1: &mut [Base], high0: &[Base], high1: &[Base]| {
        if low0.len() <= TASK {
            run([low0, low1], [high0, high1]);
        } else {
            let low = low0.par_chunks_mut(TASK).zip(low1.par_chunks_mut(TASK)).enumerate();
            low.for_each(|(task, (low0, low1))| {
                let part = |high: &'_ [Base]| {
                    if high.is_empty() { 0..0 } else { task * TASK..task * TASK + low0.len() }
                };
                let (range0, range1) = (part(high0), part(high1));
                run([low0, low1], [&high0[range0], &high1[range1]]);
            });
        }
    };
    tasks(paired0, paired1, high0, high1);
    tasks(alone0, alone1, &[], &[]);
}

struct Fold<'a> {
    low: [&'a mut [Base]; 2],
    /// Empty where it is zero.
    high: [&'a [Base]; 2],
    x: Ext,
}

impl Kernel for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [low0, low1] = self.low.map(L::chunks_mut);
        let [high0, high1] = self.high.map(L::chunks);
        let x = ExtLanes::<L>::splat(self.x);
        if high0.is_empty() {
            let rest = ExtLanes::<L>::splat(Ext::ONE - self.x);
            for (low0, low1) in low0.iter_mut().zip(low1) {
                ExtLanes::<L>::load(low0, low1).mul(rest).store(low0, low1);
            }
            return;
        }
        for i in 0..low0.len() {
            let low = ExtLanes::<L>::load(&low0[i], &low1[i]);
            let high = ExtLanes::load(&high0[i], &high1[i]);
            low.add(x.mul(high.sub(low))).store(&mut low0[i], &mut low1[i]);
        }
    }
}
