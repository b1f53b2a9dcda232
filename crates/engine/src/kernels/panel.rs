//! Weights packed into panels of 16 rows, so that one 64-byte load feeds 16 rows at once and each row has its
//! own lane. Never changes a weight: every integer of `model::weights` can be read back from the panel.
//!
//! A panel's columns come in sub-blocks of 32 (16 for Q6_K) that share a scale per row. A *step* is two
//! neighbouring columns; for one step, 16 rows x 2 columns are 32 *words* of 16 bits, word `2 * row + column
//! % 2`, which is what `vpdpwssd` and `vpmaddwd` multiply with two neighbouring activations. A *plane* of b
//! bits per code packs 16 / b consecutive steps into the words of one line: step s is in line `s / (16 / b)`,
//! bits `b * (s % (16 / b))` and up of each word. So a code is taken out by one shift and one mask for 32
//! weights.
//!
//! | kind | planes (bits) | scale | minimum | bytes per 512 weights | in the file |
//! |---|---|---|---|---|---|
//! | Q4_0 | 4 | f16 | -8 scale | 288 | 288 |
//! | Q4_1 | 4 | f16 | f16 | 320 | 320 |
//! | Q5_0 | 4 + 1 | f16 | -16 scale | 352 | 352 |
//! | Q5_1 | 4 + 1 | f16 | f16 | 384 | 384 |
//! | Q8_0 | 8 | f16 | -128 scale | 544 | 544 |
//! | Q4_K | 4 | i32 | i32 | 384 | 288 |
//! | Q5_K | 4 + 1 | i32 | i32 | 448 | 352 |
//! | Q6_K | 4 + 2 | i32 | -32 scale | 512 | 420 |
//! | rows | 16 | | | 1024 | 1024 |
//!
//! A panel is its planes, then its scales, then its minima, each for all sub-blocks in order and each
//! starting on a line.

use std::ops::Range;
use std::sync::Arc;

use model::weights::{BlockKind, Form, SubBlock, Weights};
use rayon::prelude::*;

use super::huge_buffer::{HugeBuffer, Line, OutOfMemory, PREFETCH_LINES, prefetch};

/// Rows of a panel: the 32-bit lanes of a 512-bit register. Missing rows of the last panel are zero.
pub const PANEL_ROWS: usize = 16;

/// How the scales and minima of a panel are stored, one per row and sub-block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Not at all.
    None,
    /// As f16 times 2^grid: 32 bytes per sub-block.
    Half,
    /// As i32: one line per sub-block.
    Int,
}

impl Numbers {
    const fn half_lines(self) -> usize {
        match self {
            Numbers::None => 0,
            Numbers::Half => 1,
            Numbers::Int => 2,
        }
    }
}

/// How the code that stands for zero is subtracted, in kinds without minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Centre {
    /// There is none.
    None,
    /// It is 2^bits; the dot product starts at `-2^bits * (sum of activations)`.
    FromSum(u32),
    /// It is 2^bits, taken off each code: for sub-blocks shorter than the lines that sums are kept for.
    FromCode(u32),
}

/// What fixes the layout of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Columns that share a scale: 32 or 16.
    pub(super) sub_len: usize,
    /// Bits per code in the first plane: 4, 8 or 16 (signed).
    pub(super) low_bits: usize,
    /// Bits per code in the second plane: 0, 1 or 2. They stand above the first plane's four.
    pub(super) high_bits: usize,
    pub(super) scales: Numbers,
    pub(super) mins: Numbers,
    pub(super) centre: Centre,
}

/// Index into [`LAYOUTS`], a constant parameter of the kernels.
pub(super) type FormatId = usize;
pub(super) const Q4_0: FormatId = 0;
pub(super) const Q4_1: FormatId = 1;
pub(super) const Q5_0: FormatId = 2;
pub(super) const Q5_1: FormatId = 3;
pub(super) const Q8_0: FormatId = 4;
pub(super) const Q4_K: FormatId = 5;
pub(super) const Q5_K: FormatId = 6;
pub(super) const Q6_K: FormatId = 7;
/// Rows of 16-bit weights without sub-blocks.
pub(super) const ROWS: FormatId = 8;
/// Codes expanded to signed words for many tokens: sub-blocks of 32 with a minimum, without, and of 16.
pub(super) const WORDS_MIN: FormatId = 9;
pub(super) const WORDS: FormatId = 10;
pub(super) const WORDS_SHORT: FormatId = 11;

/// All layouts, by [`FormatId`].
pub(super) const LAYOUTS: [Layout; 12] = {
    use Numbers::{Half, Int};
    const fn layout(
        low_bits: usize,
        high_bits: usize,
        scales: Numbers,
        mins: Numbers,
        centre: Centre,
    ) -> Layout {
        Layout { sub_len: 32, low_bits, high_bits, scales, mins, centre }
    }
    [
        layout(4, 0, Half, Numbers::None, Centre::FromSum(3)),
        layout(4, 0, Half, Half, Centre::None),
        layout(4, 1, Half, Numbers::None, Centre::FromSum(4)),
        layout(4, 1, Half, Half, Centre::None),
        layout(8, 0, Half, Numbers::None, Centre::FromSum(7)),
        layout(4, 0, Int, Int, Centre::None),
        layout(4, 1, Int, Int, Centre::None),
        Layout { sub_len: 16, ..layout(4, 2, Int, Numbers::None, Centre::FromCode(5)) },
        layout(16, 0, Numbers::None, Numbers::None, Centre::None),
        layout(16, 0, Int, Int, Centre::None),
        layout(16, 0, Int, Numbers::None, Centre::None),
        Layout { sub_len: 16, ..layout(16, 0, Int, Numbers::None, Centre::None) },
    ]
};

/// A sub-block's dot product fits 32 bits, with its start at the sum of activations times the largest centre.
const _: () = {
    const MAX_ACTIVATION: i64 = 1 << 15;
    assert!(32 * 255 * MAX_ACTIVATION + ((32 * MAX_ACTIVATION) << 7) <= i32::MAX as i64);
};

impl Layout {
    /// Pairs of columns in a sub-block.
    pub(super) const fn steps(&self) -> usize {
        self.sub_len / 2
    }

    /// Lines of the first plane per sub-block.
    pub(super) const fn low_lines(&self) -> usize {
        self.sub_len * self.low_bits / 32
    }

    /// Lines of the second plane per sub-block.
    pub(super) const fn high_lines(&self) -> usize {
        self.sub_len * self.high_bits / 32
    }

    /// Whether sub-blocks have a minimum.
    pub(super) const fn has_mins(&self) -> bool {
        !matches!(self.mins, Numbers::None)
    }

    /// The layout of the same panel expanded to words.
    pub(super) const fn expanded(&self) -> FormatId {
        match (self.sub_len, self.mins) {
            (16, _) => WORDS_SHORT,
            (_, Numbers::None) => WORDS,
            (_, Numbers::Half | Numbers::Int) => WORDS_MIN,
        }
    }

    /// Where the parts of a panel start, and where it ends.
    fn parts(&self, sub_blocks: usize) -> [usize; 5] {
        let numbers = |numbers: Numbers| (sub_blocks * numbers.half_lines()).div_ceil(2);
        let high = sub_blocks * self.low_lines();
        let scales = high + sub_blocks * self.high_lines();
        let mins = scales + numbers(self.scales);
        [0, high, scales, mins, mins + numbers(self.mins)]
    }

    /// Half lines per sub-block, all parts together.
    const fn half_lines(&self) -> usize {
        2 * self.low_lines() + 2 * self.high_lines() + self.scales.half_lines() + self.mins.half_lines()
    }

    /// Lines of a panel.
    pub(super) fn panel_lines(&self, sub_blocks: usize) -> usize {
        self.parts(sub_blocks)[4]
    }
}

/// The parts of one panel.
#[derive(Clone, Copy)]
pub(super) struct PanelView<'a> {
    pub(super) low: &'a [Line],
    pub(super) high: &'a [Line],
    pub(super) scales: &'a [Line],
    pub(super) mins: &'a [Line],
    pub(super) sub_blocks: usize,
    /// f16 numbers count 2^-grid.
    pub(super) grid: i32,
}

impl<'a> PanelView<'a> {
    pub(super) fn new(layout: &Layout, lines: &'a [Line], sub_blocks: usize, grid: i32) -> PanelView<'a> {
        let [start, high, scales, mins, end] = layout.parts(sub_blocks);
        PanelView {
            low: &lines[start..high],
            high: &lines[high..scales],
            scales: &lines[scales..mins],
            mins: &lines[mins..end],
            sub_blocks,
            grid,
        }
    }
}

impl PanelView<'_> {
    /// Asks the memory for the lines that come [`PREFETCH_LINES`] after those of sub-block `index`, counting all
    /// parts of a panel evenly. Decoding is bound by memory, and the hardware alone does not look far enough
    /// ahead: it starts anew in every part.
    #[inline(always)]
    pub(super) fn prefetch(&self, layout: &Layout, index: usize) {
        let lines = index * layout.half_lines() / 2..(index + 1) * layout.half_lines() / 2;
        for line in lines {
            prefetch(self.low.as_ptr().wrapping_add(line + PREFETCH_LINES));
        }
    }
}

/// The parts of one panel, to write.
pub(super) struct PanelParts<'a> {
    pub(super) low: &'a mut [Line],
    pub(super) high: &'a mut [Line],
    pub(super) scales: &'a mut [Line],
    pub(super) mins: &'a mut [Line],
}

impl<'a> PanelParts<'a> {
    pub(super) fn new(layout: &Layout, lines: &'a mut [Line], sub_blocks: usize) -> PanelParts<'a> {
        let [_, high, scales, mins, end] = layout.parts(sub_blocks);
        let (low, rest) = lines[..end].split_at_mut(high);
        let (high, rest) = rest.split_at_mut(scales - high);
        let (scales, mins) = rest.split_at_mut(mins - scales);
        PanelParts { low, high, scales, mins }
    }
}

/// A matrix ready for [`super::matmul()`]. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    lines: Arc<HugeBuffer>,
    start: usize,
    panel_lines: usize,
    rows: usize,
    cols: usize,
    format: FormatId,
    sub_blocks: usize,
    grid: i32,
    limbs: Vec<PanelLimbs>,
}

/// Bytes that any weight fits: it has at most 31 bits.
pub(super) const MAX_LIMBS: usize = 4;

/// A panel's weights as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PanelLimbs {
    /// Zeros that all of a row's weights end in, less than 32. For the form of rows its shift, which is not in
    /// the words.
    pub(super) shifts: [u8; PANEL_ROWS],
    /// Bytes that hold every weight without those zeros, 2 to [`MAX_LIMBS`].
    pub(super) count: usize,
}

impl PackedMatrix {
    /// Packs one matrix. For the matrices of a model use [`Self::pack_all`]: small ones share huge pages
    /// then.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn pack(weights: &Weights) -> Result<PackedMatrix, OutOfMemory> {
        Ok(Self::pack_all(&[weights])?.remove(0))
    }

    /// Packs matrices into one buffer, in order, on all threads of the current pool.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn pack_all(all: &[&Weights]) -> Result<Vec<PackedMatrix>, OutOfMemory> {
        let total = all.iter().map(|weights| Shape::of(weights).lines()).sum();
        let mut buffer = HugeBuffer::zeroed(total)?;
        let mut rest: &mut [Line] = &mut buffer;
        let mut limbs = Vec::with_capacity(all.len());
        for weights in all {
            let (lines, after) = rest.split_at_mut(Shape::of(weights).lines());
            limbs.push(pack_panels(weights, lines));
            rest = after;
        }
        let lines = Arc::new(buffer);
        let mut start = 0;
        let mut packed = Vec::with_capacity(all.len());
        for (weights, limbs) in all.iter().zip(limbs) {
            let shape = Shape::of(weights);
            packed.push(PackedMatrix {
                lines: Arc::clone(&lines),
                start,
                panel_lines: shape.panel_lines,
                rows: weights.rows() as usize,
                cols: weights.cols() as usize,
                format: shape.format,
                sub_blocks: shape.sub_blocks,
                grid: weights.grid(),
                limbs,
            });
            start += shape.lines();
        }
        Ok(packed)
    }

    /// Outputs of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of panels: the rows divided by [`PANEL_ROWS`], rounded up.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// The rows of some panels, without the padding of the last one.
    pub fn rows_of(&self, panels: Range<usize>) -> Range<usize> {
        panels.start * PANEL_ROWS..(panels.end * PANEL_ROWS).min(self.rows)
    }

    /// Bytes of packed weights: what decoding one token reads.
    pub fn bytes(&self) -> usize {
        self.panels() * self.panel_lines * size_of::<Line>()
    }

    pub(super) fn format(&self) -> FormatId {
        self.format
    }

    pub(super) fn layout(&self) -> &'static Layout {
        &LAYOUTS[self.format]
    }

    pub(super) fn panel(&self, panel: usize) -> PanelView<'_> {
        let start = self.start + panel * self.panel_lines;
        let lines = &self.lines[start..start + self.panel_lines];
        PanelView::new(self.layout(), lines, self.sub_blocks, self.grid)
    }

    /// The panel's weights as bytes.
    pub(super) fn limbs(&self, panel: usize) -> &PanelLimbs {
        &self.limbs[panel]
    }

    /// Whether rows are shifted after the product.
    pub(super) fn has_row_shifts(&self) -> bool {
        self.format == ROWS
    }

    /// Left shifts of a panel's rows, or `None` if they are all zero by form.
    pub(super) fn panel_shifts(&self, panel: usize) -> Option<[u32; PANEL_ROWS]> {
        self.has_row_shifts().then(|| self.limbs[panel].shifts.map(u32::from))
    }
}

/// Sizes of one packed matrix.
struct Shape {
    format: FormatId,
    sub_blocks: usize,
    panel_lines: usize,
    panels: usize,
}

impl Shape {
    fn of(weights: &Weights) -> Shape {
        let (format, sub_blocks) = match weights.form() {
            Form::Blocks { kind, .. } => (format_of(*kind), weights.sub_blocks_per_row()),
            Form::Rows { .. } => (ROWS, (weights.cols() as usize).div_ceil(32)),
        };
        let panel_lines = LAYOUTS[format].panel_lines(sub_blocks);
        Shape { format, sub_blocks, panel_lines, panels: (weights.rows() as usize).div_ceil(PANEL_ROWS) }
    }

    fn lines(&self) -> usize {
        self.panels * self.panel_lines
    }
}

fn format_of(kind: BlockKind) -> FormatId {
    match kind {
        BlockKind::Q4_0 => Q4_0,
        BlockKind::Q4_1 => Q4_1,
        BlockKind::Q5_0 => Q5_0,
        BlockKind::Q5_1 => Q5_1,
        BlockKind::Q8_0 => Q8_0,
        BlockKind::Q4K => Q4_K,
        BlockKind::Q5K => Q5_K,
        BlockKind::Q6K => Q6_K,
    }
}

/// Writes all panels of one matrix into zeroed lines, and returns their weights' bounds.
fn pack_panels(weights: &Weights, lines: &mut [Line]) -> Vec<PanelLimbs> {
    let shape = Shape::of(weights);
    let layout = &LAYOUTS[shape.format];
    let pack_panel = |(panel, lines): (usize, &mut [Line])| {
        let mut parts = PanelParts::new(layout, lines, shape.sub_blocks);
        let mut limbs = PanelLimbs { shifts: [0; PANEL_ROWS], count: 2 };
        let rows = panel * PANEL_ROWS..((panel + 1) * PANEL_ROWS).min(weights.rows() as usize);
        for (lane, row) in rows.enumerate() {
            match weights.form() {
                Form::Blocks { .. } => {
                    let mut bounds = RowBounds::default();
                    for index in 0..shape.sub_blocks {
                        let sub = weights.sub_block(row as u32, index);
                        bounds.add(layout, &sub);
                        parts.write(layout, weights.grid(), index, lane, &sub);
                    }
                    limbs.shifts[lane] = bounds.zeros();
                    limbs.count = limbs.count.max(bounds.limbs());
                }
                Form::Rows { values, shifts, .. } => {
                    let cols = weights.cols() as usize;
                    for (col, &value) in values[row * cols..][..cols].iter().enumerate() {
                        let line = &mut parts.low[col / 2];
                        write_word(line, 2 * lane + col % 2, value.cast_unsigned());
                    }
                    limbs.shifts[lane] = shifts[row];
                }
            }
        }
        limbs
    };
    lines.par_chunks_exact_mut(shape.panel_lines.max(1)).enumerate().map(pack_panel).collect()
}

/// What is known of all weights of one row.
#[derive(Default)]
struct RowBounds {
    /// Of all scales and minima.
    bits: i32,
    smallest: i64,
    largest: i64,
}

impl RowBounds {
    fn add(&mut self, layout: &Layout, sub: &SubBlock) {
        self.bits |= sub.scale | sub.min;
        let span = i64::from(sub.scale) * ((1 << (layout.low_bits + layout.high_bits)) - 1);
        let ends = [i64::from(sub.min), i64::from(sub.min) + span];
        self.smallest = self.smallest.min(ends[0]).min(ends[1]);
        self.largest = self.largest.max(ends[0]).max(ends[1]);
    }

    /// Zeros that all weights end in.
    fn zeros(&self) -> u8 {
        if self.bits == 0 { 0 } else { self.bits.trailing_zeros() as u8 }
    }

    /// Bytes for any of the weights without those zeros, in two's complement.
    fn limbs(&self) -> usize {
        let magnitude = (self.largest.max(!self.smallest) >> self.zeros()).cast_unsigned();
        let bits = u64::BITS - magnitude.leading_zeros() + 1;
        bits.div_ceil(8) as usize
    }
}

impl PanelParts<'_> {
    fn write(&mut self, layout: &Layout, grid: i32, index: usize, lane: usize, sub: &SubBlock) {
        let low = &mut self.low[index * layout.low_lines()..][..layout.low_lines()];
        let high = &mut self.high[index * layout.high_lines()..][..layout.high_lines()];
        for (col, &code) in sub.codes[..usize::from(sub.len)].iter().enumerate() {
            let code = u16::from(code);
            if layout.high_bits == 0 {
                put(low, layout.low_bits, col, lane, code);
            } else {
                put(low, 4, col, lane, code & 15);
                put(high, layout.high_bits, col, lane, code >> 4);
            }
        }
        write_number(self.scales, layout.scales, grid, index, lane, sub.scale);
        write_number(self.mins, layout.mins, grid, index, lane, sub.min);
    }
}

/// Sets the code of one column and row in a plane that is zero there.
fn put(plane: &mut [Line], bits: usize, col: usize, lane: usize, code: u16) {
    let (step, per_word) = (col / 2, 16 / bits);
    let line = &mut plane[step / per_word];
    let word = 2 * lane + col % 2;
    write_word(line, word, read_word(line, word) | code << (bits * (step % per_word)));
}

fn write_number(to: &mut [Line], form: Numbers, grid: i32, index: usize, lane: usize, value: i32) {
    match form {
        Numbers::None => {}
        Numbers::Half => write_word(&mut to[index / 2], index % 2 * 16 + lane, half_bits(value, grid)),
        Numbers::Int => write_int(&mut to[index], lane, value),
    }
}

/// Inverse of `write_number`; 1 where nothing is stored.
pub(super) fn read_number(from: &[Line], form: Numbers, grid: i32, index: usize, lane: usize) -> i32 {
    match form {
        Numbers::None => 1,
        Numbers::Half => half_value(read_word(&from[index / 2], index % 2 * 16 + lane), grid),
        Numbers::Int => {
            let bytes = &from[index].0[4 * lane..][..4];
            i32::from_le_bytes(bytes.try_into().expect("four bytes"))
        }
    }
}

/// Sets 32-bit number `lane` of a line.
pub(super) fn write_int(line: &mut Line, lane: usize, value: i32) {
    line.0[4 * lane..][..4].copy_from_slice(&value.to_le_bytes());
}

/// All 32-bit numbers of a line.
pub(super) fn read_ints(line: &Line) -> [i32; PANEL_ROWS] {
    let mut ints = [0; PANEL_ROWS];
    for (int, bytes) in ints.iter_mut().zip(line.0.as_chunks::<4>().0) {
        *int = i32::from_le_bytes(*bytes);
    }
    ints
}

fn write_word(line: &mut Line, word: usize, value: u16) {
    line.0[2 * word..][..2].copy_from_slice(&value.to_le_bytes());
}

fn read_word(line: &Line, word: usize) -> u16 {
    u16::from_le_bytes([line.0[2 * word], line.0[2 * word + 1]])
}

/// All words of a line.
pub(super) fn read_words(line: &Line) -> [u16; 2 * PANEL_ROWS] {
    let mut words = [0; 2 * PANEL_ROWS];
    for (word, bytes) in words.iter_mut().zip(line.0.as_chunks::<2>().0) {
        *word = u16::from_le_bytes(*bytes);
    }
    words
}

/// Inverse of [`read_words`].
pub(super) fn write_words(line: &mut Line, words: [u16; 2 * PANEL_ROWS]) {
    for (bytes, word) in line.0.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
}

/// The f16 that equals `value * 2^-grid`.
fn half_bits(value: i32, grid: i32) -> u16 {
    let magnitude = value.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    // |value| * 2^-grid = mantissa * 2^exponent, the mantissa odd and of at most 11 bits: it came from an f16.
    let zeros = magnitude.trailing_zeros();
    let (mantissa, exponent) = (magnitude >> zeros, zeros.cast_signed() - grid);
    let top = exponent + mantissa.ilog2().cast_signed();
    let bits = if top >= -14 {
        // Normal: 1024 <= mantissa << up < 2048, value (1024 + fraction) * 2^(field - 25).
        let up = 10 - mantissa.ilog2();
        (top + 15).cast_unsigned() << 10 | (mantissa << up) & 1023
    } else {
        // Subnormal: fraction * 2^-24.
        mantissa << (exponent + 24)
    };
    let bits = u16::try_from(bits).expect("scales of blocks are f16 numbers on the grid");
    if value < 0 { bits | 0x8000 } else { bits }
}

/// `half * 2^grid`, an integer of at most 31 bits by construction of the grid.
fn half_value(half: u16, grid: i32) -> i32 {
    let (field, fraction) = (i32::from(half >> 10 & 31), u32::from(half & 1023));
    let mantissa = if field == 0 { fraction } else { fraction | 1024 };
    let shift = field.max(1) - 25 + grid;
    let magnitude = if shift >= 0 { mantissa << shift } else { mantissa >> -shift };
    if half >> 15 == 0 { magnitude.cast_signed() } else { -magnitude.cast_signed() }
}
