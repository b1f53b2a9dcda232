//! Activations as the kernels read them: rows of 16-bit numbers, padded with zeros to whole lines of 32, and
//! the sum of each line. Never changes a value: what does not fit 16 bits becomes two rows.

use std::array;

use super::Isa;
use super::huge_buffer::Line;

/// Columns in a line.
pub const LINE_COLS: usize = 32;

/// Largest magnitude of an activation: both 16-bit halves of it exist.
pub const MAX_ACTIVATION: i32 = i32::MAX - (1 << 15);

/// 32 columns of one row: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct ActivationLine(pub [i16; LINE_COLS]);

/// Tokens packed for [`super::matmul()`]. Reuse one value, it keeps its memory.
///
/// A token whose values all fit `i16` is one *row*. A wide one is two rows, `x = low + 2^16 * high` with both
/// halves in `i16`; the kernels treat rows alike and the products are added up at the end. So a wide token
/// costs twice a narrow one.
#[derive(Clone, Debug, Default)]
pub struct PackedActivations {
    cols: usize,
    /// Rows one after the other, [`Self::lines_per_row`] each.
    lines: Vec<ActivationLine>,
    /// Sum of each line.
    sums: Vec<i32>,
    /// Which token a row belongs to.
    rows: Vec<Row>,
    /// Token t owns rows `first[t]..first[t + 1]`.
    first: Vec<usize>,
    /// For the tile unit: the rows again as planes of bytes. For each 64 columns a line of low bytes and one of
    /// high bytes, and [`Self::plane_lines`] lines per row.
    planes: Vec<Line>,
}

/// One packed row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) token: usize,
    /// 16 if the row holds the high halves, else 0.
    pub(super) shift: u32,
}

/// Consecutive packed rows.
#[derive(Clone, Copy)]
pub(super) struct RowsView<'a> {
    pub(super) lines: &'a [ActivationLine],
    pub(super) sums: &'a [i32],
    pub(super) lines_per_row: usize,
}

impl RowsView<'_> {
    /// How many.
    pub(super) fn rows(&self) -> usize {
        self.lines.len() / self.lines_per_row
    }
}

impl<'a> RowsView<'a> {
    /// The first N rows, cut to so many lines, and their sums.
    ///
    /// This and [`columns`] are not inside the kernels because closures there would have the kernels'
    /// instructions and could not be inlined into `from_fn`, which has not.
    #[inline(always)]
    pub(super) fn first<const N: usize>(&self, lines: usize) -> ([&'a [ActivationLine]; N], [&'a [i32]; N]) {
        (
            array::from_fn(|n| &self.lines[n * self.lines_per_row..][..lines]),
            array::from_fn(|n| &self.sums[n * self.lines_per_row..][..lines]),
        )
    }
}

/// Columns `32 * line + 8 * group ..` of N rows, eight each.
#[inline(always)]
pub(super) fn columns<'a, const N: usize>(
    rows: &[&'a [ActivationLine]; N],
    line: usize,
    group: usize,
) -> [&'a [i16; 8]; N] {
    array::from_fn(|n| &rows[n][line].0.as_chunks::<8>().0[group])
}

impl PackedActivations {
    /// No tokens.
    pub fn new() -> PackedActivations {
        PackedActivations::default()
    }

    /// Replaces the contents by the tokens of `values`, `cols` numbers each, for the kernels of `isa`.
    ///
    /// # Panics
    /// If `values` is not whole tokens, or a magnitude exceeds [`MAX_ACTIVATION`].
    pub fn pack(&mut self, isa: Isa, values: &[i32], cols: usize) {
        self.start(values.len(), cols);
        for token in values.chunks_exact(cols) {
            let (min, max) = token.iter().fold((0, 0), |(min, max), &x| (x.min(min), x.max(max)));
            if i32::from(i16::MIN) <= min && max <= i32::from(i16::MAX) {
                self.push_row(token, 0, |x| x as i16);
            } else {
                assert!(
                    -MAX_ACTIVATION <= min && max <= MAX_ACTIVATION,
                    "activation {min} or {max} is too wide"
                );
                self.push_row(token, 0, |x| x as i16);
                self.push_row(token, 16, |x| ((x - i32::from(x as i16)) >> 16) as i16);
            }
            self.first.push(self.rows.len());
        }
        self.finish(isa);
    }

    /// As [`Self::pack`], for values that are 16-bit numbers already.
    ///
    /// # Panics
    /// If `values` is not whole tokens.
    pub fn pack_narrow(&mut self, isa: Isa, values: &[i16], cols: usize) {
        self.start(values.len(), cols);
        for token in values.chunks_exact(cols) {
            self.push_row(token, 0, |x| x);
            self.first.push(self.rows.len());
        }
        self.finish(isa);
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.first.len().saturating_sub(1)
    }

    /// Numbers per token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn lines_per_row(&self) -> usize {
        self.cols.div_ceil(LINE_COLS)
    }

    /// The rows of some tokens.
    pub(super) fn rows_of(&self, tokens: std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.first[tokens.start]..self.first[tokens.end]
    }

    pub(super) fn row(&self, row: usize) -> Row {
        self.rows[row]
    }

    pub(super) fn view(&self, rows: std::ops::Range<usize>) -> RowsView<'_> {
        let lines_per_row = self.lines_per_row();
        let range = rows.start * lines_per_row..rows.end * lines_per_row;
        RowsView { lines: &self.lines[range.clone()], sums: &self.sums[range], lines_per_row }
    }

    /// Lines of a row in the planes of bytes. An odd number, so that neighbouring rows are in different sets of
    /// the cache.
    pub(super) fn plane_lines(&self) -> usize {
        2 * self.lines_per_row().div_ceil(2) + 1
    }

    /// The planes of bytes from a row on, with lines of zeros past the last one for 16 rows from any of them.
    ///
    /// # Panics
    /// If the values were packed for kernels that do not use planes.
    pub(super) fn planes(&self, row: usize) -> &[Line] {
        assert!(!self.planes.is_empty(), "activations are packed for other kernels");
        &self.planes[row * self.plane_lines()..]
    }

    fn finish(&mut self, isa: Isa) {
        self.planes.clear();
        if !isa.takes_planes(self.rows.len()) {
            return;
        }
        let (per_row, plane_lines) = (self.lines_per_row(), self.plane_lines());
        self.planes.resize((self.rows.len() + 15) * plane_lines, Line::ZERO);
        for (row, planes) in self.lines.chunks_exact(per_row).zip(self.planes.chunks_exact_mut(plane_lines)) {
            for (lines, planes) in row.chunks(2).zip(planes.as_chunks_mut::<2>().0) {
                let [low, high] = planes;
                for (part, line) in lines.iter().enumerate() {
                    let range = part * LINE_COLS..(part + 1) * LINE_COLS;
                    let bytes = low.0[range.clone()].iter_mut().zip(&mut high.0[range]);
                    for (&x, (low, high)) in line.0.iter().zip(bytes) {
                        [*low, *high] = x.to_le_bytes();
                    }
                }
            }
        }
    }

    fn start(&mut self, values: usize, cols: usize) {
        assert!(cols > 0 && values.is_multiple_of(cols), "{values} values are not whole tokens of {cols}");
        self.cols = cols;
        self.lines.clear();
        self.sums.clear();
        self.rows.clear();
        self.first.clear();
        self.first.push(0);
    }

    fn push_row<T: Copy>(&mut self, token: &[T], shift: u32, narrow: impl Fn(T) -> i16) {
        let (whole, rest) = token.as_chunks::<LINE_COLS>();
        for chunk in whole {
            self.push_line(chunk.map(&narrow));
        }
        if !rest.is_empty() {
            let mut line = [0; LINE_COLS];
            for (to, &from) in line.iter_mut().zip(rest) {
                *to = narrow(from);
            }
            self.push_line(line);
        }
        self.rows.push(Row { token: self.first.len() - 1, shift });
    }

    fn push_line(&mut self, line: [i16; LINE_COLS]) {
        // At most 32 * 2^15 in magnitude.
        self.sums.push(line.iter().map(|&x| i32::from(x)).sum());
        self.lines.push(ActivationLine(line));
    }
}
