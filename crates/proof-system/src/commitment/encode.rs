//! Reed-Solomon encoding of eight rows at a time by a number-theoretic transform (decimation in frequency): position p of a codeword
//! is the value at `root^reverse(p)`, reverse being the reversal of its bits. In two passes, each over blocks that stay in the cache.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the prover's own buffers, whose lengths are powers of two that it made"
)]

use super::GROUP_ROWS;
use crate::field::Base;
use crate::kernels::{Isa, Kernel, Lanes};

/// Cells that are transformed together: 256 KiB, which a core's second cache holds.
const NEAR: usize = 1 << 12;
/// Neighbours that are read and written together: a line of each row's integers.
const SIDE: usize = 16;

/// The same column of the rows of a group.
pub(super) type Cell = [Base; GROUP_ROWS];

/// `root^0, root^1, ..` for half a codeword.
#[derive(Clone, Debug)]
pub(super) struct Twiddles {
    powers: Vec<Base>,
}

impl Twiddles {
    /// For codewords of `2^bits` positions, at least two.
    pub(super) fn new(bits: u32) -> Self {
        let root = Base::root_of_unity(bits).expect("codewords are shorter than 2^32");
        let powers = std::iter::successors(Some(Base::ONE), |power| Some(*power * root));
        Self { powers: powers.take(1 << (bits - 1)).collect() }
    }

    /// Encodes eight messages of half as many cells as `out` has.
    ///
    /// # Panics
    /// If `out` is no codeword of this length.
    pub(super) fn encode(&self, message: impl Fn(usize) -> Cell, out: &mut [Cell], isa: Isa) {
        assert_eq!(out.len(), 2 * self.powers.len(), "a codeword");
        isa.run_wide(Encode { powers: &self.powers, message, out });
    }
}

/// The point of a position, as a power of the root.
pub(super) fn exponent(position: u64, bits: u32) -> u64 {
    if bits == 0 { 0 } else { position.reverse_bits() >> (64 - bits) }
}

struct Encode<'a, F> {
    powers: &'a [Base],
    message: F,
    out: &'a mut [Cell],
}

impl<F: Fn(usize) -> Cell> Kernel for Encode<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { powers, message, out } = self;
        let near = out.len().min(NEAR);
        let far = out.len() / near;
        // First the levels that span more than a block: `far` cells that are `near` apart, some neighbours at a time.
        let side = near.min(SIDE);
        let mut block = vec![[Base::ZERO; GROUP_ROWS]; far * side];
        for offset in (0..near).step_by(side) {
            for (i, cells) in block.chunks_exact_mut(side).enumerate() {
                for (column, cell) in (i * near + offset..).zip(cells) {
                    *cell = if column < powers.len() { message(column) } else { [Base::ZERO; GROUP_ROWS] };
                }
            }
            let mut half = far / 2;
            while half > 0 {
                let stride = powers.len() / (half * near);
                for pair in block.chunks_exact_mut(2 * half * side) {
                    let (low, high) = pair.split_at_mut(half * side);
                    for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                        let place = i / side * near + offset + i % side;
                        butterfly::<L>(low, high, powers[place * stride]);
                    }
                }
                half /= 2;
            }
            for (i, cells) in block.chunks_exact(side).enumerate() {
                out[i * near + offset..][..side].copy_from_slice(cells);
            }
        }
        // Then those within a block.
        for block in out.chunks_exact_mut(near) {
            let mut half = near / 2;
            while half > 0 {
                let stride = powers.len() / half;
                for pair in block.chunks_exact_mut(2 * half) {
                    let (low, high) = pair.split_at_mut(half);
                    for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                        butterfly::<L>(low, high, powers[i * stride]);
                    }
                }
                half /= 2;
            }
        }
    }
}

/// `(a + b, (a - b) w)`.
#[inline(always)]
fn butterfly<L: Lanes>(low: &mut Cell, high: &mut Cell, twiddle: Base) {
    let ([low], [high]) = (L::chunks_mut(low), L::chunks_mut(high)) else { return };
    let (a, b) = (L::load(low), L::load(high));
    a.add(b).store(low);
    a.sub(b).mul(L::splat(twiddle)).store(high);
}
