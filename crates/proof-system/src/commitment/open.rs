//! The prover's side: encodes, hashes, and opens.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "the prover's own matrix, of a shape that it checked"
)]

use rayon::prelude::*;

use super::encode::{Cell, Twiddles};
use super::hash_tree::{Digest, HashTree, TreeHasher};
use super::{GROUP_ROWS, OpenedColumn, Opening, Shape};
use crate::field::{Base, Ext};
use crate::fold::combine_rows;
use crate::kernels::{Isa, zero_cells};
use crate::multilinear::eq_table;
use crate::transcript::{Label, Transcript};

/// Neighbouring columns that are hashed together, so that each group's memory is read in runs.
const HASHED_TOGETHER: usize = 32;

/// Hashes some columns from `first` on.
fn hash_columns(
    groups: &[Vec<Cell>],
    first: usize,
    leaves: &mut [Digest],
    hasher: &TreeHasher,
    buffers: &mut Vec<Vec<u8>>,
) {
    buffers.resize(leaves.len(), Vec::new());
    buffers.iter_mut().for_each(Vec::clear);
    for group in groups {
        for (buffer, cell) in buffers.iter_mut().zip(&group[first..first + leaves.len()]) {
            for element in cell {
                buffer.extend_from_slice(&element.value().to_le_bytes());
            }
        }
    }
    for (leaf, buffer) in leaves.iter_mut().zip(buffers) {
        *leaf = hasher.leaf_bytes(buffer);
    }
}

/// A matrix that was committed to, and what is needed to open it.
#[derive(Debug)]
pub struct Committed {
    shape: Shape,
    /// Row by row.
    integers: Vec<i32>,
    /// Of each group of rows, the codewords.
    groups: Vec<Vec<Cell>>,
    tree: HashTree,
    isa: Isa,
}

impl Committed {
    /// Commits to integers; what is missing to the shape is zero.
    ///
    /// # Panics
    /// If there are more integers than the shape has places.
    #[must_use]
    pub fn new(mut integers: Vec<i32>, shape: Shape, isa: Isa) -> Self {
        let columns = 1 << shape.column_bits;
        assert!(integers.len() <= shape.rows * columns, "{} integers for {shape:?}", integers.len());
        integers.resize(shape.rows * columns, 0);
        let twiddles = Twiddles::new(shape.codeword_bits());
        let groups: Vec<Vec<Cell>> = integers
            .par_chunks(GROUP_ROWS * columns)
            .map(|rows| {
                let mut out = zero_cells(2 * columns);
                let cell = |column: usize| -> Cell {
                    std::array::from_fn(|row| Base::from_signed(i64::from(rows[row * columns + column])))
                };
                twiddles.encode(cell, &mut out, isa);
                out
            })
            .collect();
        let hasher = TreeHasher::new();
        let mut leaves = vec![Digest::default(); 2 * columns];
        leaves.par_chunks_mut(HASHED_TOGETHER).enumerate().for_each_init(
            Vec::new,
            |buffers, (chunk, leaves)| {
                hash_columns(&groups, chunk * HASHED_TOGETHER, leaves, &hasher, buffers);
            },
        );
        Self { shape, integers, groups, tree: HashTree::new(leaves, &hasher), isa }
    }

    /// What stands for the matrix. Must be absorbed before anything depends on it.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Row by row.
    #[must_use]
    pub fn integers(&self) -> &[i32] {
        &self.integers
    }

    /// Opens at a point whose variables number the rows, drawn after the commitment.
    #[must_use]
    pub fn open(&self, row_point: &[Ext], transcript: &mut Transcript) -> Opening {
        let row = self.combine(row_point);
        transcript.absorb_elements(Label::OpeningRow, &row);
        let work = transcript.work(self.shape.work_bits);
        let queries =
            transcript.indices(Label::OpeningQueries, self.shape.codeword_bits(), self.shape.queries);
        let columns = queries.into_iter().map(|query| self.column(query)).collect();
        Opening { row, work, columns }
    }

    /// One column of the codewords, and the proof that it is the committed one.
    pub(super) fn column(&self, position: u64) -> OpenedColumn {
        let elements = self.groups.iter().flat_map(|group| group[position as usize]).collect();
        OpenedColumn { elements, path: self.tree.path(position) }
    }

    /// `sum over rows of eq(point, row) row`.
    fn combine(&self, row_point: &[Ext]) -> Vec<Ext> {
        let weights: Vec<Ext> = eq_table(Isa::PORTABLE, row_point, Ext::ONE).iter().collect();
        combine_rows(self.isa, &self.integers, 1 << self.shape.column_bits, &weights[..self.shape.rows])
    }
}
