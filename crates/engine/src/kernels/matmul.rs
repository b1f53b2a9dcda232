//! `y[token][row] = sum over columns of W[row][col] * x[token][col]`, exact in 64 bits: chooses the kernel,
//! the tiles and the order. Never allocates once its buffer has grown, and never starts a thread: the caller
//! splits panels among threads.

use std::ops::Range;

use super::activations::{PackedActivations, RowsView};
use super::huge_buffer::Line;
use super::panel::{LAYOUTS, PANEL_ROWS, PackedMatrix, PanelView, ROWS};
use super::{Isa, IsaKind};

/// Rows of activations that a kernel takes at a time, at most.
const MAX_ROWS: usize = 8;

/// Panels that a kernel takes at a time, at most. Two by eight products (of 16 rows each): 16 sums in flight
/// keep two ports busy in spite of a latency of five cycles, and leave half of the registers for the rest.
const MAX_TOGETHER: usize = 2;

/// With more rows of activations than this, a panel's codes are expanded to words once and then read by all
/// tiles.
const MAX_DIRECT_ROWS: usize = 16;

/// One thread's scratch. Reuse it: after the first calls nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct TileBuffer {
    expanded: Vec<Line>,
}

impl TileBuffer {
    /// Empty.
    pub fn new() -> TileBuffer {
        TileBuffer::default()
    }
}

/// Where products go: (token, panel, 16 rows), from the first of the tokens and panels that are multiplied.
/// Rows past the end of the matrix are zero.
pub(super) struct ProductsMut<'a> {
    products: &'a mut [[i64; PANEL_ROWS]],
    /// Panels between one token and the next.
    stride: usize,
}

impl ProductsMut<'_> {
    /// Of panel p and token or row n.
    #[inline(always)]
    pub(super) fn at(&mut self, p: usize, n: usize) -> &mut [i64; PANEL_ROWS] {
        &mut self.products[n * self.stride + p]
    }

    /// From panel p and token n on.
    fn from(&mut self, p: usize, n: usize) -> ProductsMut<'_> {
        ProductsMut { products: &mut self.products[n * self.stride + p..], stride: self.stride }
    }
}

/// Writes the products of some panels and tokens to `out`: (token, panel, 16 rows). Rows past the end of the
/// matrix are zero.
///
/// For prefill pass as many tokens as have activations in the second-level cache (2 bytes per column).
///
/// Exact modulo 2^64, so exact wherever the product fits `i64`, which `model::bounds` proves at import.
///
/// # Panics
/// If the shapes differ, or a range is out of bounds.
pub fn matmul(
    isa: Isa,
    weights: &PackedMatrix,
    panels: Range<usize>,
    x: &PackedActivations,
    tokens: Range<usize>,
    buffer: &mut TileBuffer,
    out: &mut [[i64; PANEL_ROWS]],
) {
    assert_eq!(weights.cols(), x.cols(), "columns of weights and activations");
    assert!(panels.end <= weights.panels(), "panel {} of {}", panels.end, weights.panels());
    assert_eq!(out.len(), panels.len() * tokens.len(), "products of {panels:?} and {tokens:?}");
    if tokens.is_empty() {
        return;
    }
    let job = Job::new(isa, weights, x, tokens);
    let mut out = ProductsMut { products: out, stride: panels.len() };
    #[cfg(target_arch = "x86_64")]
    if isa.takes_planes(job.rows.len()) {
        // SAFETY: a value of `Isa` exists only on machines with its instructions.
        return unsafe { job.multiply_planes(panels, &mut buffer.expanded, out) };
    }
    for first in panels.clone().step_by(job.panels_together) {
        let last = (first + job.panels_together).min(panels.end);
        job.multiply(first..last, &mut buffer.expanded, out.from(first - panels.start, 0));
    }
}

/// One call of [`matmul`].
struct Job<'a> {
    isa: Isa,
    weights: &'a PackedMatrix,
    x: &'a PackedActivations,
    tokens: Range<usize>,
    /// Rows of activations of the tokens.
    rows: Range<usize>,
    /// Whether panels are expanded to words first.
    expands: bool,
    /// How many panels one tile takes.
    panels_together: usize,
}

impl<'a> Job<'a> {
    fn new(isa: Isa, weights: &'a PackedMatrix, x: &'a PackedActivations, tokens: Range<usize>) -> Job<'a> {
        let rows = x.rows_of(tokens.clone());
        let expands = weights.format() != ROWS && rows.len() > isa.max_direct_rows();
        let panels_together = if expands { isa.panels_together() } else { 1 };
        Job { isa, weights, x, tokens, rows, expands, panels_together }
    }

    /// Multiplies up to `panels_together` panels.
    fn multiply(&self, panels: Range<usize>, expanded: &mut Vec<Line>, mut out: ProductsMut<'_>) {
        let first = self.weights.panel(panels.start);
        let mut views = [first; MAX_TOGETHER];
        let views = &mut views[..panels.len()];
        for (view, panel) in views.iter_mut().zip(panels.clone()) {
            *view = self.weights.panel(panel);
        }
        let mut format = self.weights.format();
        if self.expands {
            let layout = &LAYOUTS[self.weights.layout().expanded()];
            let lines = layout.panel_lines(first.sub_blocks);
            expanded.resize(panels.len() * lines, Line::ZERO);
            for (view, lines) in views.iter_mut().zip(expanded.chunks_exact_mut(lines)) {
                self.isa.expand(format, *view, lines);
                *view = PanelView::new(layout, lines, first.sub_blocks, 0);
            }
            format = self.weights.layout().expanded();
        }
        // Without wide tokens and shifts a row is a token, and its products are what the caller wants.
        let direct = self.rows.len() == self.tokens.len() && !self.weights.has_row_shifts();
        let mut tile = [[0; PANEL_ROWS]; MAX_TOGETHER * MAX_ROWS];
        let mut start = self.rows.start;
        while start < self.rows.end {
            let x = self.x.view(start..self.rows.end);
            if direct {
                start += self.isa.tile(format, views, x, &mut out.from(0, start - self.rows.start));
                continue;
            }
            let mut tile = ProductsMut { products: &mut tile, stride: MAX_TOGETHER };
            let taken = self.isa.tile(format, views, x, &mut tile);
            for (p, panel) in panels.clone().enumerate() {
                self.put_tile(panel, start..start + taken, &mut tile.from(p, 0), &mut out.from(p, 0));
            }
            start += taken;
        }
    }

    /// Multiplies all panels on the tile unit.
    ///
    /// # Safety
    /// The machine has it.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn multiply_planes(
        &self,
        panels: Range<usize>,
        expanded: &mut Vec<Line>,
        mut out: ProductsMut<'_>,
    ) {
        use super::amx::{self, MAX_STEPS, PlanesView, STEP_COLS, TILE_ROWS, Tiles, ZERO_SUMS};

        let mut sums = ZERO_SUMS;
        // SAFETY: the caller's promise.
        let tiles = unsafe { Tiles::new() };
        let steps = self.x.cols().div_ceil(STEP_COLS);
        let stride = self.x.plane_lines();
        for (p, panel) in panels.enumerate() {
            let limbs = self.weights.limbs(panel);
            let lines = amx::expanded_lines(self.x.cols(), limbs.count);
            expanded.resize(lines.max(expanded.len()), Line::ZERO);
            amx::expand(self.weights.format(), self.weights.panel(panel), limbs, expanded);
            let weights = &expanded[..lines];
            for (chunk, weights) in weights.chunks(lines / steps * MAX_STEPS).enumerate() {
                let first_line = chunk * 2 * MAX_STEPS;
                for start in self.rows.clone().step_by(TILE_ROWS) {
                    let x = PlanesView { lines: &self.x.planes(start)[first_line..], stride };
                    tiles.multiply(limbs.count, weights, x, &mut sums);
                    for (n, row) in (start..self.rows.end).take(TILE_ROWS).enumerate() {
                        let row = self.x.row(row);
                        // The high halves of a wide token come after the low ones.
                        let add = chunk > 0 || row.shift > 0;
                        let out = out.at(p, row.token - self.tokens.start);
                        amx::join(&sums, n, limbs, row.shift, out, add);
                    }
                }
            }
        }
    }

    /// Puts the products of one panel and some rows where those of their tokens belong.
    fn put_tile(
        &self,
        panel: usize,
        rows: Range<usize>,
        tile: &mut ProductsMut<'_>,
        out: &mut ProductsMut<'_>,
    ) {
        let shifts = self.weights.panel_shifts(panel).unwrap_or_default();
        for (n, row) in rows.enumerate() {
            let row = self.x.row(row);
            let (products, out) = (tile.at(0, n), out.at(0, row.token - self.tokens.start));
            for (lane, (out, product)) in out.iter_mut().zip(products).enumerate() {
                let product = product.wrapping_shl(row.shift + shifts[lane]);
                // The high halves of a wide token come after the low ones.
                *out = if row.shift == 0 { product } else { out.wrapping_add(product) };
            }
        }
    }
}

impl Isa {
    /// With more rows of activations than this, panels are expanded.
    fn max_direct_rows(self) -> usize {
        match self.0 {
            IsaKind::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 | IsaKind::Avx512Vnni | IsaKind::Amx => MAX_DIRECT_ROWS,
        }
    }

    /// How many expanded panels a tile takes.
    fn panels_together(self) -> usize {
        match self.0 {
            IsaKind::Portable => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512Vnni | IsaKind::Amx => MAX_TOGETHER,
        }
    }

    /// Whether so many rows of activations are multiplied on the tile unit, from planes of bytes.
    pub(super) fn takes_planes(self, rows: usize) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            IsaKind::Amx => rows > MAX_DIRECT_ROWS,
            _ => false,
        }
    }

    fn expand(self, format: usize, panel: PanelView<'_>, out: &mut [Line]) {
        match self.0 {
            IsaKind::Portable => super::portable::expand(format, panel, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx2 => unsafe { super::avx2::expand(format, panel, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { super::avx512::expand(format, panel, out) },
        }
    }

    /// Multiplies the panels with the first rows of `x`, at most [`MAX_ROWS`], and returns how many.
    fn tile(
        self,
        format: usize,
        panels: &[PanelView<'_>],
        x: RowsView<'_>,
        out: &mut ProductsMut<'_>,
    ) -> usize {
        match self.0 {
            IsaKind::Portable => super::portable::tile(format, panels[0], x, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx2 => unsafe { super::avx2::tile(format, panels[0], x, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx512Vnni | IsaKind::Amx => unsafe { super::avx512::tile(format, panels, x, out) },
        }
    }
}
