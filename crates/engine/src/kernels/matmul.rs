//! `y[token][row] = sum over columns of W[row][col] * x[token][col]`, exact in 64 bits: chooses the kernel,
//! the tiles and the order. Never allocates once its buffer has grown, and never starts a thread: the caller
//! splits panels among threads.

use std::ops::Range;

use super::activations::{PackedActivations, RowsView};
use super::huge_buffer::Line;
use super::panel::{LAYOUTS, PANEL_ROWS, PackedMatrix, PanelView, ROWS};
use super::{Isa, IsaKind};

/// Products (of 16 rows) that a kernel makes at a time, at most: 16 sums in flight keep two ports busy in
/// spite of a latency of five cycles, and leave half of the registers for the rest.
pub(super) const TILE: usize = 16;

/// Panels that a kernel takes at a time, at most.
const MAX_TOGETHER: usize = 2;

/// With more rows of activations than this, a panel's codes are expanded to words once and then read by all
/// tiles.
const MAX_DIRECT_ROWS: usize = 16;

/// One thread's scratch and result. Reuse it: after the first calls nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct TileBuffer {
    sums: Vec<[i64; PANEL_ROWS]>,
    expanded: Vec<Line>,
}

impl TileBuffer {
    /// Empty.
    pub fn new() -> TileBuffer {
        TileBuffer::default()
    }
}

/// Products of some panels and tokens: entry `(panel - panels.start) * tokens.len() + token - tokens.start`
/// holds the 16 rows of that panel for that token. Rows past the end of the matrix are zero.
///
/// For decoding pass all panels that one thread works on. For prefill pass an even number of panels, two at a
/// time for instance, so that the result is used while it is in the first-level cache, and as many tokens as
/// have activations in the second-level cache (2 bytes per column).
///
/// Exact modulo 2^64, so exact wherever the product fits `i64`, which `model::bounds` proves at import.
///
/// # Panics
/// If the shapes differ, or a range is out of bounds.
pub fn matmul<'b>(
    isa: Isa,
    weights: &PackedMatrix,
    panels: Range<usize>,
    x: &PackedActivations,
    tokens: Range<usize>,
    buffer: &'b mut TileBuffer,
) -> &'b [[i64; PANEL_ROWS]] {
    assert_eq!(weights.cols(), x.cols(), "columns of weights and activations");
    assert!(panels.end <= weights.panels(), "panel {} of {}", panels.end, weights.panels());
    buffer.sums.clear();
    buffer.sums.resize(panels.len() * tokens.len(), [0; PANEL_ROWS]);
    if tokens.is_empty() {
        return &buffer.sums;
    }
    let job = Job::new(isa, weights, x, tokens);
    let sums = buffer.sums.chunks_mut(job.panels_together * job.tokens.len());
    for (first, sums) in panels.clone().step_by(job.panels_together).zip(sums) {
        let last = (first + job.panels_together).min(panels.end);
        job.multiply(first..last, &mut buffer.expanded, sums);
    }
    &buffer.sums
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

    /// Multiplies up to `panels_together` panels into zeroed sums.
    fn multiply(&self, panels: Range<usize>, expanded: &mut Vec<Line>, sums: &mut [[i64; PANEL_ROWS]]) {
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
        let mut start = self.rows.start;
        while start < self.rows.end {
            let mut tile = [[0; PANEL_ROWS]; TILE];
            let taken = self.isa.tile(format, views, self.x.view(start..self.rows.end), &mut tile);
            for (number, panel) in panels.clone().enumerate() {
                let sums = &mut sums[number * self.tokens.len()..];
                self.add_tile(panel, start..start + taken, &tile[number * taken..], sums);
            }
            start += taken;
        }
    }

    /// Adds the products of some rows to the sums of their tokens.
    fn add_tile(
        &self,
        panel: usize,
        rows: Range<usize>,
        tile: &[[i64; PANEL_ROWS]],
        sums: &mut [[i64; PANEL_ROWS]],
    ) {
        let shifts = self.weights.panel_shifts(panel);
        for (row, products) in rows.zip(tile) {
            let row = self.x.row(row);
            add_products(&mut sums[row.token - self.tokens.start], products, row.shift, shifts.as_ref());
        }
    }
}

/// `sums += products << shift << row shifts`, modulo 2^64.
fn add_products(
    sums: &mut [i64; PANEL_ROWS],
    products: &[i64; PANEL_ROWS],
    shift: u32,
    row_shifts: Option<&[u32; PANEL_ROWS]>,
) {
    for (lane, (sum, product)) in sums.iter_mut().zip(products).enumerate() {
        let shift = shift + row_shifts.map_or(0, |shifts| shifts[lane]);
        *sum = sum.wrapping_add(product.wrapping_shl(shift));
    }
}

impl Isa {
    /// With more rows of activations than this, panels are expanded.
    fn max_direct_rows(self) -> usize {
        match self.0 {
            IsaKind::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 | IsaKind::Avx512Vnni => MAX_DIRECT_ROWS,
        }
    }

    /// How many expanded panels a tile takes.
    fn panels_together(self) -> usize {
        match self.0 {
            IsaKind::Portable => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512Vnni => MAX_TOGETHER,
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
            IsaKind::Avx512Vnni => unsafe { super::avx512::expand(format, panel, out) },
        }
    }

    /// Multiplies the panels with the first rows of `x` and returns how many rows it took. The products of
    /// panel p and row n are in `out[p * rows + n]`.
    fn tile(
        self,
        format: usize,
        panels: &[PanelView<'_>],
        x: RowsView<'_>,
        out: &mut [[i64; PANEL_ROWS]; TILE],
    ) -> usize {
        match self.0 {
            IsaKind::Portable => super::portable::tile(format, panels[0], x, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx2 => unsafe { super::avx2::tile(format, panels[0], x, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a value of `Isa` exists only on machines with its instructions.
            IsaKind::Avx512Vnni => unsafe { super::avx512::tile(format, panels, x, out) },
        }
    }
}
