//! Matrices times a tile of tokens, handed over in slices of rows while they are in the cache. Never changes
//! a number and never keeps one.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::{Isa, PANEL_ROWS, PackedActivations, PackedMatrix, TileBuffer, matmul};

/// Panels per task on several threads: enough work to be worth a hand-over.
const PANELS_PER_TASK: usize = 12;
/// Panels at once on one thread: their products and the expanded weights of two stay in the first and second
/// caches, and rows are handed over in runs that are long enough for vector code.
const PANELS_AT_ONCE: usize = 4;

thread_local! {
    static BUFFER: Cell<Option<Box<TileBuffer>>> = const { Cell::new(None) };
}

/// Lends this thread's buffer; a nested call (a stolen task) gets a fresh one.
fn with_buffer<R>(f: impl FnOnce(&mut TileBuffer) -> R) -> R {
    let mut buffer = BUFFER.take().unwrap_or_default();
    let result = f(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// Memory for the products of one matrix. Reuse it: after the first calls nothing is allocated.
#[derive(Default)]
pub(super) struct Products {
    /// (task, token, panel of the task, row of the panel)
    panels: Vec<[i64; PANEL_ROWS]>,
    /// Panels of a task.
    per_task: usize,
    tokens: usize,
    /// One token's products, if they come from several tasks.
    row: Vec<i64>,
}

impl Products {
    /// The products of one token, those of padding rows included.
    pub(super) fn row(&mut self, token: usize) -> &mut [i64] {
        if self.panels.len() == self.per_task * self.tokens {
            return self.panels[token * self.per_task..][..self.per_task].as_flattened_mut();
        }
        let mut row = std::mem::take(&mut self.row);
        self.copy_row(token, &mut row);
        self.row = row;
        &mut self.row
    }

    /// As [`Self::row`], in memory of the caller's.
    pub(super) fn copy_row(&self, token: usize, out: &mut Vec<i64>) {
        out.clear();
        for task in self.panels.chunks(self.per_task * self.tokens) {
            let panels = task.len() / self.tokens;
            out.extend_from_slice(task[token * panels..][..panels].as_flattened());
        }
    }
}

/// How [`linear`] goes through a matrix.
#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) isa: Isa,
    /// Split each matrix among all threads, then hand over whole rows; otherwise stay on this thread.
    pub(super) split: bool,
    /// Rows that have to be handed over together.
    pub(super) unit: usize,
}

/// Multiplies N matrices of one shape with `x` and calls `finish(token, rows, products)` for slices of rows
/// that cover every token's products, one product per matrix and row.
pub(super) fn linear<const N: usize>(
    order: Order,
    weights: [&PackedMatrix; N],
    x: &PackedActivations,
    products: &mut [Products; 2],
    mut finish: impl FnMut(usize, Range<usize>, [&mut [i64]; N]),
) {
    const { assert!(N <= 2) };
    let panels = weights[0].panels();
    let at_once = if order.split { panels } else { panels_at_once(order.unit, panels) };
    let mut start = 0;
    while start < panels {
        let end = (start + at_once).min(panels);
        for (weights, products) in weights.iter().zip(products.iter_mut()) {
            multiply(order, weights, start..end, x, products);
        }
        let rows = weights[0].rows_of(start..end);
        for token in 0..x.tokens() {
            let mut products = products.iter_mut();
            let slices = weights.map(|_| {
                let products = products.next().expect("at most two matrices");
                &mut products.row(token)[..rows.len()]
            });
            finish(token, rows.clone(), slices);
        }
        start = end;
    }
}

/// A number of panels whose rows are whole units, and that is even where it can be, since kernels take two.
fn panels_at_once(unit: usize, panels: usize) -> usize {
    if unit.is_multiple_of(PANEL_ROWS) {
        (unit / PANEL_ROWS).max(1) * PANELS_AT_ONCE.div_ceil((unit / PANEL_ROWS).max(1))
    } else if PANEL_ROWS.is_multiple_of(unit) {
        PANELS_AT_ONCE
    } else {
        panels
    }
}

/// Products of some panels with all tokens of `x`.
pub(super) fn multiply(
    order: Order,
    weights: &PackedMatrix,
    panels: Range<usize>,
    x: &PackedActivations,
    products: &mut Products,
) {
    let tokens = x.tokens();
    products.tokens = tokens;
    if tokens == 0 {
        return;
    }
    products.panels.resize(panels.len() * tokens, [0; PANEL_ROWS]);
    products.per_task = if order.split {
        panels.len().div_ceil(4 * rayon::current_num_threads()).max(PANELS_PER_TASK).min(panels.len())
    } else {
        panels.len()
    };
    let per_task = products.per_task;
    let task = |(number, out): (usize, &mut [[i64; PANEL_ROWS]])| {
        let start = panels.start + number * per_task;
        let range = start..start + out.len() / tokens;
        with_buffer(|buffer| matmul(order.isa, weights, range, x, 0..tokens, buffer, out));
    };
    if order.split {
        products.panels.par_chunks_mut(per_task * tokens).enumerate().for_each(task);
    } else {
        task((0, &mut products.panels));
    }
}
