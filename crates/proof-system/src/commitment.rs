//! Commitment to a matrix of integers, opened at multilinear points: Ligero (Ames et al., CCS 2017) with the evaluation as a tensor, as in
//! Diamond and Posen (ePrint 2023/630). Each row is the coefficients of a polynomial of degree below `2^column_bits`, its codeword
//! the values at the `2^(column_bits + 1)`-th roots of unity; the columns of all codewords are the leaves of a hash tree.
//!
//! Opened at a point (rows, columns) that was drawn after the commitment: the prover sends `u = sum over rows of eq(point, row) row`; the verifier
//! checks that `u~(point) = claim`, and at random columns that u's codeword is the same combination of the opened ones.
//! Soundness within unique decoding (relative distance 1/2, so that a far matrix agrees in at most 3/4 of the columns): at most
//! `(3/4)^queries + row_bits * 2^(column_bits + 1) / |F|` (Diamond and Gruen, ePrint 2024/1351, for tensor combinations). No conjecture
//! about distances beyond unique decoding is used.

mod encode;
mod hash_tree;
mod open;
mod verify;

#[cfg(test)]
mod tests;

pub use self::hash_tree::Digest;
pub use self::open::Committed;
pub use self::verify::{Reject, verify};

use crate::field::{Base, Ext};

/// Codewords are twice as long as messages.
pub const RATE_BITS: u32 = 1;
/// Rows that are encoded together, and whose elements lie together in a column.
pub const GROUP_ROWS: usize = 8;
/// Most variables of a row.
pub const MAX_COLUMN_BITS: u32 = 24;
/// Most rows.
pub const MAX_ROWS: usize = 1 << 16;

/// The shape of a committed matrix, known to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// `2^column_bits` integers per row.
    pub column_bits: u32,
    /// A multiple of [`GROUP_ROWS`].
    pub rows: usize,
    /// Columns that are opened.
    pub queries: usize,
    /// Bits of work before the columns are drawn.
    pub work_bits: u32,
}

/// The opening of a matrix at one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The combined row.
    pub row: Vec<Ext>,
    /// Answer to the proof-of-work question.
    pub work: u64,
    /// One per query, in order.
    pub columns: Vec<OpenedColumn>,
}

/// One column of all codewords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedColumn {
    /// One element per row.
    pub elements: Vec<Base>,
    /// From the leaf's sibling to the children of the root.
    pub path: Vec<Digest>,
}

impl Shape {
    /// The smallest shape for so many integers.
    #[must_use]
    pub fn of(integers: usize, column_bits: u32, queries: usize, work_bits: u32) -> Self {
        let rows = integers.div_ceil(1_usize.wrapping_shl(column_bits)).next_multiple_of(GROUP_ROWS);
        Self { column_bits, rows: rows.max(GROUP_ROWS), queries, work_bits }
    }

    /// Variables that number the rows.
    #[must_use]
    pub const fn row_bits(self) -> u32 {
        self.rows.next_power_of_two().trailing_zeros()
    }

    /// Variables of a column of a codeword.
    const fn codeword_bits(self) -> u32 {
        self.column_bits.saturating_add(RATE_BITS)
    }
}
