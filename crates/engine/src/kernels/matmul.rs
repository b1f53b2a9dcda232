//! `y[token][row] = sum over columns of W[row][col] * x[token][col]`, exact in 64 bits: chooses the kernel, the
//! tiles and the order. Never allocates once its buffer has grown, and never starts a thread: the caller
//! splits panels among threads.

use std::ops::Range;

use super::activations::{PackedActivations, RowsView};
use super::huge_buffer::Line;
use super::panel::{LAYOUTS, PANEL_ROWS, PackedMatrix, PanelView};
use super::{Isa, IsaKind};

/// Rows of activations per tile: 16 accumulators of 64-bit lanes and 8 of 32-bit lanes fill the registers.
pub(super) const TILE: usize = 16;

/// With more rows of activations than this, a panel's codes are expanded to words once and then read by all tiles.
const MAX_DIRECT_ROWS: usize = 8;

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

/// Products of some panels and tokens: entry `(panel - panels.start) * tokens.len() + token - tokens.start` holds
/// the 16 rows of that panel for that token. Rows past the end of the matrix are zero.
///
/// For decoding pass as many panels as one thread works on; for prefill one panel at a time and as many tokens as
/// have activations in the second-level cache, so that the result is used while it is in the first.
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
    let rows = x.rows_of(tokens.clone());
    buffer.sums.clear();
    buffer.sums.resize(panels.len() * tokens.len(), [0; PANEL_ROWS]);
    let expanded = isa.expands(weights.format(), rows.len());
    let together = if expanded { isa.panels_together() } else { 1 };
    let count = tokens.len();
    let mut start = panels.start;
    while start < panels.end {
        let end = (start + together).min(panels.end);
        let sums = &mut buffer.sums[(start - panels.start) * count..(end - panels.start) * count];
        panels_times(isa, weights, start..end, expanded, x, tokens.clone(), &mut buffer.expanded, sums);
        start = end;
    }
    &buffer.sums
}

fn panels_times(
    isa: Isa,
    weights: &PackedMatrix,
    panels: Range<usize>,
    expands: bool,
    x: &PackedActivations,
    tokens: Range<usize>,
    expanded: &mut Vec<Line>,
    sums: &mut [[i64; PANEL_ROWS]],
) {
    let rows = x.rows_of(tokens.clone());
    let mut format = weights.format();
    let first = weights.panel(panels.start);
    let mut views = [first; 2];
    for (view, panel) in views.iter_mut().zip(panels.clone()) { *view = weights.panel(panel); }
    if expands {
        let to = &LAYOUTS[weights.layout().expanded()];
        let size = to.panel_lines(first.sub_blocks);
        expanded.resize(2 * size, Line::ZERO);
        for (view, out) in views.iter().zip(expanded.chunks_exact_mut(size)).take(panels.len()) {
            isa.expand(format, *view, out);
        }
        format = weights.layout().expanded();
        for (view, lines) in views.iter_mut().zip(expanded.chunks_exact(size)) {
            *view = PanelView::new(to, lines, first.sub_blocks, 0);
        }
    }
    let mut start = rows.start;
    while start < rows.end {
        let mut tile = [[0; PANEL_ROWS]; TILE];
        let taken = isa.tile(format, &views[..panels.len()], x.view(start..rows.end), &mut tile);
        for (p, panel) in panels.clone().enumerate() {
            let shifts = weights.panel_shifts(panel);
            for (row, products) in (start..start + taken).zip(&tile[p * taken..]) {
                let row = x.row(row);
                add_products(&mut sums[p * tokens.len() + row.token - tokens.start], products, row.shift, shifts.as_ref());
            }
        }
        start += taken;
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
    /// Whether a panel is expanded for this many rows of activations.
    fn expands(self, format: usize, rows: usize) -> bool {
        let direct = match self.0 {
            IsaKind::Portable => 0,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 | IsaKind::Avx512Vnni => MAX_DIRECT_ROWS,
        };
        format != super::panel::ROWS && rows > direct
    }

    fn panels_together(self) -> usize {
        match self.0 {
            IsaKind::Portable => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx2 => 1,
            #[cfg(target_arch = "x86_64")]
            IsaKind::Avx512Vnni => unsafe{super::avx512::TOG},
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

    /// Multiplies the panel with the first rows of `x` and returns how many it took.
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
