//! Weights as exact integers on a power-of-two grid: the bytes of the file and the one rule that reads them.
//! Never uses a float type, and never rounds a block-quantized weight.

mod blocks;
mod floats;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;

pub use self::blocks::BlockKind;
pub use self::floats::{Dyadic, FloatKind, Loss, Vector};

/// Longest sub-block in weights.
pub const MAX_SUB_BLOCK: usize = 32;
/// Rows of a float matrix may be at most this many bits finer than its coarsest row.
pub const MAX_ROW_SHIFT: u8 = 12;
/// Finest and coarsest grid of a float matrix, 2^-60 to 2^16.
pub const FLOAT_GRIDS: Range<i32> = -16..61;

/// The bytes of one tensor inside a file that is shared, not copied.
#[derive(Clone)]
pub struct TensorBytes {
    file: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl TensorBytes {
    /// Bytes `range` of `file`, or `None` if the file is shorter or the range is reversed.
    pub fn new(file: Arc<Vec<u8>>, range: Range<usize>) -> Option<TensorBytes> {
        file.get(range.clone())?;
        Some(TensorBytes { file, range })
    }

    /// All bytes of `bytes`.
    pub fn whole(bytes: Vec<u8>) -> TensorBytes {
        let range = 0..bytes.len();
        TensorBytes { file: Arc::new(bytes), range }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.file.get(self.range.clone()).unwrap_or(&[])
    }
}

impl std::fmt::Debug for TensorBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorBytes({:?})", self.range)
    }
}

/// A matrix of exact integers: the weight in row r and column c is `W[r][c] * 2^-grid`.
///
/// Every `W` fits `i32`, and so does every partial result of `scale * code + min`.
#[derive(Clone, Debug)]
pub struct Weights {
    name: String,
    rows: u32,
    cols: u32,
    grid: i32,
    form: Form,
}

/// How the integers are stored.
#[derive(Clone, Debug)]
pub enum Form {
    /// The quantized blocks of the file as they are; nothing was rounded.
    Blocks {
        /// Their layout.
        kind: BlockKind,
        /// Rows one after the other, `cols / kind.block_weights()` blocks each.
        bytes: TensorBytes,
    },
    /// Floats of the file rounded to 16 bits, one power-of-two scale per row.
    Rows {
        /// `rows * cols` numbers, row after row.
        values: Arc<Vec<i16>>,
        /// One per row, at most [`MAX_ROW_SHIFT`]: `W = value << shift`.
        shifts: Arc<Vec<u8>>,
    },
}

/// Consecutive weights of one row that share scale and minimum: `W = scale * code + min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubBlock {
    /// Step of the codes, in units of the grid.
    pub scale: i32,
    /// Value of code 0, in units of the grid.
    pub min: i32,
    /// The first `len` are in use, the rest is 0.
    pub codes: [u8; MAX_SUB_BLOCK],
    /// 32, or 16 for Q6_K.
    pub len: u8,
}

impl Weights {
    /// Quantized blocks as they are in the file; the grid is the coarsest on which all their scales are integers.
    ///
    /// # Errors
    /// [`Error::DataLength`], [`Error::RowLength`], [`Error::NotFinite`], [`Error::GridTooWide`].
    pub fn from_blocks(
        name: &str,
        kind: BlockKind,
        rows: u32,
        cols: u32,
        bytes: TensorBytes,
    ) -> Result<Weights, Error> {
        if !cols.is_multiple_of(kind.block_weights()) {
            let (cols, block) = (u64::from(cols), u64::from(kind.block_weights()));
            return Err(Error::RowLength { tensor: name.to_owned(), cols, block });
        }
        let row_bytes = u64::from(cols / kind.block_weights()) * u64::from(kind.block_bytes());
        check_length(name, rows, cols, u64::from(rows) * row_bytes, bytes.as_slice().len())?;
        let blocks_per_row = cols / kind.block_weights();
        let grid = blocks::find_grid(name, kind, blocks_per_row, bytes.as_slice())?;
        Ok(Weights { name: name.to_owned(), rows, cols, grid, form: Form::Blocks { kind, bytes } })
    }

    /// Little-endian floats rounded to 16 bits with one power-of-two scale per row.
    ///
    /// # Errors
    /// [`Error::DataLength`], [`Error::NotFinite`], [`Error::ScaleRange`].
    pub fn from_floats(
        name: &str,
        kind: FloatKind,
        rows: u32,
        cols: u32,
        bytes: &[u8],
    ) -> Result<(Weights, Loss), Error> {
        let need = u64::from(rows) * u64::from(cols) * u64::from(kind.bytes());
        check_length(name, rows, cols, need, bytes.len())?;
        let rounded = floats::round_rows(name, kind, cols, bytes)?;
        let weights = Weights::from_rows(name, rows, cols, rounded.grid, rounded.values, rounded.shifts)?;
        Ok((weights, rounded.loss))
    }

    /// Numbers that are integers already: `W[r][c] = values[r * cols + c] << shifts[r]` on `2^-grid`.
    ///
    /// # Errors
    /// [`Error::DataLength`], [`Error::RowShift`], [`Error::ScaleRange`].
    pub fn from_rows(
        name: &str,
        rows: u32,
        cols: u32,
        grid: i32,
        values: Vec<i16>,
        shifts: Vec<u8>,
    ) -> Result<Weights, Error> {
        check_length(name, rows, cols, u64::from(rows) * u64::from(cols), values.len())?;
        check_length(name, rows, 1, u64::from(rows), shifts.len())?;
        if let Some(&shift) = shifts.iter().find(|&&shift| shift > MAX_ROW_SHIFT) {
            return Err(Error::RowShift { tensor: name.to_owned(), shift, limit: MAX_ROW_SHIFT });
        }
        if !FLOAT_GRIDS.contains(&grid) {
            let (min, max) = (FLOAT_GRIDS.start, FLOAT_GRIDS.end - 1);
            return Err(Error::ScaleRange { tensor: name.to_owned(), exponent: grid, min, max });
        }
        let form = Form::Rows { values: Arc::new(values), shifts: Arc::new(shifts) };
        Ok(Weights { name: name.to_owned(), rows, cols, grid, form })
    }

    /// The tensor's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Outputs of the matrix.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Inputs of the matrix.
    pub fn cols(&self) -> u32 {
        self.cols
    }

    /// f in `W * 2^-f`: 0 to 24 for blocks, [`FLOAT_GRIDS`] for rows.
    pub fn grid(&self) -> i32 {
        self.grid
    }

    /// How the integers are stored.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Sub-blocks in a row; 0 for the form [`Form::Rows`].
    pub fn sub_blocks_per_row(&self) -> usize {
        match &self.form {
            Form::Blocks { kind, .. } => self.cols as usize / kind.sub_block_len(),
            Form::Rows { .. } => 0,
        }
    }

    /// Sub-block `index` of row `row`, columns `index * sub_block_len ..`.
    ///
    /// # Panics
    /// If the row or the index is out of range, or the form is [`Form::Rows`].
    pub fn sub_block(&self, row: u32, index: usize) -> SubBlock {
        assert!(index < self.sub_blocks_per_row(), "sub-block {index} of {}", self.name);
        let Form::Blocks { kind, .. } = &self.form else { unreachable!("rows have no sub-blocks") };
        let per_block = kind.sub_blocks();
        let block_bytes = kind.block_bytes() as usize;
        let start = index / per_block * block_bytes;
        kind.sub_block(self.grid, &self.row_blocks(row)[start..start + block_bytes], index % per_block)
    }

    /// Replaces `out` by the integers `W[row][..]`.
    ///
    /// # Panics
    /// If the row is out of range.
    pub fn row(&self, row: u32, out: &mut Vec<i64>) {
        out.clear();
        match &self.form {
            Form::Blocks { .. } => {
                self.for_each_sub_block(row, |sub| out.extend(sub.weights().map(i64::from)))
            }
            Form::Rows { shifts, .. } => {
                let shift = shifts[row as usize];
                out.extend(self.row_values(row).iter().map(|&value| i64::from(value) << shift));
            }
        }
    }

    /// Sum of `|W[row][..]|`.
    ///
    /// # Panics
    /// If the row is out of range.
    pub fn row_l1(&self, row: u32) -> u64 {
        match &self.form {
            Form::Blocks { .. } => {
                let mut sum = 0;
                self.for_each_sub_block(row, |sub| sum += sub.l1());
                sum
            }
            Form::Rows { shifts, .. } => {
                let sum: u64 = self.row_values(row).iter().map(|value| u64::from(value.unsigned_abs())).sum();
                sum << shifts[row as usize]
            }
        }
    }

    /// The largest [`Weights::row_l1`]; 0 if there are no rows.
    pub fn max_row_l1(&self) -> u64 {
        (0..self.rows).map(|row| self.row_l1(row)).max().unwrap_or(0)
    }

    fn row_blocks(&self, row: u32) -> &[u8] {
        assert!(row < self.rows, "row {row} of {}", self.name);
        let Form::Blocks { kind, bytes } = &self.form else { return &[] };
        let row_bytes = (self.cols / kind.block_weights()) as usize * kind.block_bytes() as usize;
        &bytes.as_slice()[row as usize * row_bytes..][..row_bytes]
    }

    fn row_values(&self, row: u32) -> &[i16] {
        assert!(row < self.rows, "row {row} of {}", self.name);
        let Form::Rows { values, .. } = &self.form else { return &[] };
        &values[row as usize * self.cols as usize..][..self.cols as usize]
    }

    fn for_each_sub_block(&self, row: u32, mut visit: impl FnMut(SubBlock)) {
        let Form::Blocks { kind, .. } = &self.form else { return };
        for block in self.row_blocks(row).chunks_exact(kind.block_bytes() as usize) {
            for index in 0..kind.sub_blocks() {
                visit(kind.sub_block(self.grid, block, index));
            }
        }
    }
}

impl SubBlock {
    /// The integers, in column order. None of the operations can overflow ([`Weights`]).
    pub fn weights(&self) -> impl Iterator<Item = i32> {
        let SubBlock { scale, min, codes, len } = *self;
        codes.into_iter().take(usize::from(len)).map(move |code| scale * i32::from(code) + min)
    }

    /// Sum of the magnitudes.
    fn l1(&self) -> u64 {
        let sum = |codes: &[u8]| -> u64 {
            // Wrapping, so that the loop vectorizes; it never wraps (see `Weights`).
            let weight = |code: u8| self.scale.wrapping_mul(i32::from(code)).wrapping_add(self.min);
            codes.iter().map(|&code| u64::from(weight(code).unsigned_abs())).sum()
        };
        let (first, second) = self.codes.split_at(MAX_SUB_BLOCK / 2);
        if self.len == 16 { sum(first) } else { sum(first) + sum(second) }
    }
}

fn check_length(name: &str, rows: u32, cols: u32, expected: u64, found: usize) -> Result<(), Error> {
    if usize::try_from(expected) == Ok(found) {
        return Ok(());
    }
    Err(Error::DataLength { tensor: name.to_owned(), rows, cols, expected, found: found as u64 })
}
