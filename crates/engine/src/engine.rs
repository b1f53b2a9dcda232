//! The engine: one model ready to run on this machine. Never decides what a number means; that is `model`.

use std::sync::Arc;

use model::Model;
use model::ops::rms_norm::output_exponent;
use model::recipe::RotationKind;
use model::tables::RotationTable;
use rayon::prelude::*;

use crate::Error;
use crate::cache::{CacheShape, KvCache};
use crate::kernels::{Isa, PackedMatrix};
use crate::ops::rms_norm::Norm;
use crate::packed::{PackedBlock, Tables, norm};
use crate::sampler::TokenSampler;

/// How to run; nothing here changes a bit of any result.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Instructions to use.
    pub isa: Isa,
    /// Threads; 0 for one per CPU.
    pub threads: usize,
}

impl EngineOptions {
    /// The best kernels of this machine on all its CPUs.
    #[must_use]
    pub fn best() -> Self {
        Self { isa: Isa::best(), threads: 0 }
    }
}

/// A model in memory, its thread pool and its tables.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    blocks: Vec<PackedBlock>,
    output: PackedMatrix,
    output_norm: Norm,
    tables: Tables,
    isa: Isa,
    threads: rayon::ThreadPool,
}

impl Engine {
    /// Packs the model's matrices and makes its tables.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Threads`].
    pub fn new(model: Arc<Model>, options: EngineOptions) -> Result<Self, Error> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|n| format!("maxwell-{n}"))
            .build()
            .map_err(|error| Error::Threads { message: error.to_string() })?;
        let (blocks, rest) = threads.install(|| {
            rayon::join(
                || {
                    let blocks = (0..model.tensors.blocks.len()).into_par_iter();
                    blocks.map(|b| PackedBlock::new(&model, b)).collect::<Result<Vec<_>, Error>>()
                },
                || (PackedMatrix::pack(model.output()), Tables::new(&model, model.config.context)),
            )
        });
        let (output, tables) = rest;
        let exponent = output_exponent(model.config.width, &model.tensors.output_norm);
        let output_norm = norm(&model, &model.tensors.output_norm, exponent);
        Ok(Self { blocks: blocks?, output: output?, output_norm, tables, isa: options.isa, threads, model })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// An empty cache for one sequence of at most the model's context.
    #[must_use]
    pub fn new_cache(&self) -> KvCache {
        let config = &self.model.config;
        KvCache::new(CacheShape {
            blocks: config.blocks as usize,
            kv_heads: config.kv_heads as usize,
            head_dim: config.head_dim as usize,
            context: config.context as usize,
        })
    }

    /// A sampler for this model's logits.
    #[must_use]
    pub fn new_sampler(&self) -> TokenSampler {
        TokenSampler::new(self.model.logit_exponent())
    }

    /// Bytes of packed weights that a token reads.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let block = |b: &PackedBlock| {
            [&b.q.weights, &b.k.weights, &b.v.weights, &b.o, &b.gate, &b.up, &b.down]
                .map(|w| w.bytes())
                .iter()
                .sum::<usize>()
        };
        self.blocks.iter().map(block).sum::<usize>() + self.output.bytes()
    }

    /// The instructions in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    pub(crate) fn blocks(&self) -> &[PackedBlock] {
        &self.blocks
    }

    pub(crate) fn output(&self) -> &PackedMatrix {
        &self.output
    }

    pub(crate) fn output_norm(&self) -> &Norm {
        &self.output_norm
    }

    pub(crate) fn rotation(&self, kind: RotationKind) -> &RotationTable {
        &self.tables.rotations[&kind]
    }

    pub(crate) fn softmax_table(&self, long: bool) -> &[u32] {
        &self.tables.softmax[usize::from(long)]
    }

    pub(crate) fn activation_table(&self, exponent: i32) -> &[i16] {
        &self.tables.activations[&exponent]
    }
}
