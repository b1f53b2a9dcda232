//! Products of known matrices checked without computing them (Freivalds 1977): for a random row vector r and s = r W
//! made once, `<r, z> = <s, x>` for every honest product z = W x. Never multiplies a matrix with a token.
//!
//! Claim in: integers z and x with |z|, |W x| < 2^[`CheckField::VALUE_BITS`]. Claim out: nothing more. Soundness error
//! per product: 2^-[`CheckField::ERROR_BITS`], if r is independent of z: secret from whoever made z, or drawn after z
//! was bound.

use model::Model;
use model::bounds::accumulator_bits;
use model::ops::requantize::ACTIVATION_LIMIT_BITS;
use model::weights::Weights;
use rayon::prelude::*;

use crate::field::{CheckField, draw_many};

mod seal;
#[cfg(test)]
mod tests;

pub use self::seal::{MAX_SEALED_BYTES, SALT_BYTES, SealError, seal, unseal};

/// Bits of a normed row: what enters all matrices but those of the second kind below.
pub(crate) const NARROW_BITS: u32 = 15;
/// blake3 `derive_key` context of the vectors.
const VECTORS_CONTEXT: &str = "maxwell 2026-11 freivalds vectors v1";

/// Matrices with one input, checked as one matrix of all their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Queries, keys and values.
    Attention,
    /// The attention's output.
    Output,
    /// Gate and up.
    Gate,
    /// Down.
    Down,
}

impl Group {
    /// Those of a block, in order.
    pub const ALL: [Self; 4] = [Self::Attention, Self::Output, Self::Gate, Self::Down];
}

/// The vectors of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vectors<E> {
    /// r, one part per matrix.
    pub rows: Vec<Vec<E>>,
    /// s = r W, summed over the matrices.
    pub columns: Vec<E>,
    /// Honest accumulators stay below 2^this, one per matrix.
    pub bits: Vec<u32>,
}

/// All vectors of a model. With secret coins it must never leave the auditor: s shows r to whoever knows W.
#[derive(Clone)]
pub struct Prepared<F: CheckField> {
    /// (block, group)
    blocks: Vec<[Vectors<F::Element>; 4]>,
    head: Vectors<F::Element>,
}

impl<F: CheckField> std::fmt::Debug for Prepared<F> {
    /// Without the vectors.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl<F: CheckField> Prepared<F> {
    /// Draws r from `coins` and multiplies it with every matrix: one pass over the weights.
    #[must_use]
    pub fn new(model: &Model, coins: &[u8; 32]) -> Self {
        let blocks = 0..model.tensors.blocks.len();
        let numbers: Vec<(usize, usize)> =
            blocks.flat_map(|block| (0..Group::ALL.len()).map(move |group| (block, group))).collect();
        let (mut vectors, head) = rayon::join(
            || {
                let group = |(block, group): &(usize, usize)| {
                    let matrices = matrices(model, *block, Group::ALL[*group]);
                    make::<F>(coins, *block as u64, *group as u64, &matrices)
                };
                numbers.par_iter().map(group).collect::<Vec<_>>().into_iter()
            },
            || make::<F>(coins, u64::MAX, 0, &[(model.output(), NARROW_BITS)]),
        );
        let mut next = || vectors.next().expect("one per block and group");
        let blocks = model.tensors.blocks.iter().map(|_| [(); 4].map(|()| next())).collect();
        Self { blocks, head }
    }

    /// The vectors of a group.
    ///
    /// # Panics
    /// If the model has no such block.
    #[must_use]
    pub fn group(&self, block: usize, group: Group) -> &Vectors<F::Element> {
        &self.blocks[block][group as usize]
    }

    /// Those of the output matrix.
    #[must_use]
    pub fn head(&self) -> &Vectors<F::Element> {
        &self.head
    }
}

/// Matrices of a group, in the order of a block's operations, and the bits of what they are multiplied with.
pub(crate) fn matrices(model: &Model, block: usize, group: Group) -> Vec<(&Weights, u32)> {
    let tensors = &model.tensors.blocks[block];
    match group {
        Group::Attention => [&tensors.q, &tensors.k, &tensors.v].map(|w| (w, NARROW_BITS)).to_vec(),
        Group::Output => vec![(&tensors.o, ACTIVATION_LIMIT_BITS)],
        Group::Gate => [&tensors.gate, &tensors.up].map(|w| (w, NARROW_BITS)).to_vec(),
        Group::Down => vec![(&tensors.down, ACTIVATION_LIMIT_BITS)],
    }
}

fn make<F: CheckField>(
    coins: &[u8; 32],
    block: u64,
    group: u64,
    matrices: &[(&Weights, u32)],
) -> Vectors<F::Element> {
    let mut hasher = blake3::Hasher::new_derive_key(VECTORS_CONTEXT);
    hasher.update(coins).update(&block.to_le_bytes()).update(&group.to_le_bytes());
    let mut stream = hasher.finalize_xof();
    let columns = matrices.first().map_or(0, |(weights, _)| weights.cols() as usize);
    let mut made =
        Vectors { rows: Vec::new(), columns: vec![F::Element::default(); columns], bits: Vec::new() };
    for (weights, input_bits) in matrices {
        let rows = draw_many::<F>(&mut stream, weights.rows() as usize);
        let part = F::combine_rows(&rows, columns, |row, out| weights.row(row as u32, out));
        for (sum, part) in made.columns.iter_mut().zip(part) {
            *sum = F::add(*sum, part);
        }
        made.bits.push(accumulator_bits(weights, *input_bits));
        made.rows.push(rows);
    }
    made
}
