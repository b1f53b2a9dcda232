//! The kernels as an accumulator for calibration, which runs the plain operations of `model` around them.

use model::ops::Rows;
use model::ops::matmul::Accumulate;
use model::weights::Weights;
use rayon::prelude::*;

use crate::kernels::{Isa, PackedActivations, PackedMatrix, TileBuffer, matmul};

/// Packs each matrix when it is used; worth it for the hundreds of rows that calibration multiplies at once.
#[derive(Clone, Copy, Debug)]
pub struct KernelAccumulate {
    isa: Isa,
}

impl KernelAccumulate {
    /// Accumulates with the given instructions, on all threads of the current pool.
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        Self { isa }
    }
}

impl Accumulate for KernelAccumulate {
    fn accumulate(&self, weights: &Weights, x: &Rows) -> Rows {
        let packed = PackedMatrix::pack(weights).expect("one matrix fits beside the file it came from");
        let tokens = x.count();
        let narrow: Vec<i32> =
            x.values.iter().map(|v| i32::try_from(*v).expect("activations are below 2^30")).collect();
        let mut activations = PackedActivations::new();
        activations.pack(self.isa, &narrow, x.width);
        let width = packed.rows();
        let panels: Vec<Vec<[i64; 16]>> = (0..packed.panels())
            .into_par_iter()
            .map_init(TileBuffer::new, |buffer, panel| {
                let mut out = vec![[0; 16]; tokens];
                matmul(self.isa, &packed, panel..panel + 1, &activations, 0..tokens, buffer, &mut out);
                out
            })
            .collect();
        let mut out = Rows::with_capacity(width, tokens);
        for t in 0..tokens {
            let row = panels.iter().flat_map(|panel| panel[t]).take(width);
            out.values.extend(row);
        }
        out
    }
}
