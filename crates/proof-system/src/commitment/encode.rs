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
        let bits = out.len().trailing_zeros();
        let far_bits = bits / 2;
        let (far, near) = (1_usize << far_bits, 1_usize << (bits - far_bits));
        let mut block = vec![[Base::ZERO; GROUP_ROWS]; far];
        for offset in 0..near {
            for (i, cell) in block.iter_mut().enumerate() {
                let column = i * near + offset;
                *cell = if column < powers.len() { message(column) } else { [Base::ZERO; GROUP_ROWS] };
            }
            let mut half = far / 2;
            while half > 0 {
                // Positions that are `half` blocks apart; the twiddle is that of the place within the half.
                let stride = powers.len() / (half * near);
                for pair in block.chunks_exact_mut(2 * half) {
                    let (low, high) = pair.split_at_mut(half);
                    for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
                        butterfly::<L>(low, high, powers[(i * near + offset) * stride]);
                    }
                }
                half /= 2;
            }
            for (i, cell) in block.iter().enumerate() {
                out[i * near + offset] = *cell;
            }
        }
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
