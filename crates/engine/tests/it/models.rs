//! Tiny models for the tests, imported and calibrated as real ones are.

use std::sync::Arc;

use engine::kernels::Isa;
use engine::{Engine, EngineOptions};
use model::Model;
use model::commitment::calibrate_file;
use model::formats::Formats;
use model::gguf::TensorType;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::{SplitMix64, SyntheticModel};
use model::weights::{BlockKind, FloatKind};

pub(crate) const FAMILIES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

pub(crate) const WEIGHTS: [TensorType; 8] = [
    TensorType::Block(BlockKind::Q8_0),
    TensorType::Block(BlockKind::Q4_0),
    TensorType::Block(BlockKind::Q4_1),
    TensorType::Block(BlockKind::Q5_0),
    TensorType::Block(BlockKind::Q5_1),
    TensorType::Float(FloatKind::F16),
    TensorType::Float(FloatKind::BF16),
    TensorType::Float(FloatKind::F32),
];

pub(crate) const K_WEIGHTS: [TensorType; 3] =
    [TensorType::Block(BlockKind::Q4K), TensorType::Block(BlockKind::Q5K), TensorType::Block(BlockKind::Q6K)];

/// Imports with calibrated formats, changed by `change`.
pub(crate) fn import_with(synthetic: &SyntheticModel, change: impl FnOnce(&mut Formats)) -> Arc<Model> {
    let file = read_gguf(Arc::new(synthetic.gguf())).expect("synthetic models are whole");
    let mut formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
    change(&mut formats);
    Arc::new(Model::assemble(file, formats).expect("bounds hold"))
}

pub(crate) fn import(synthetic: &SyntheticModel) -> Arc<Model> {
    import_with(synthetic, |_| {})
}

pub(crate) fn engine(model: &Arc<Model>, isa: Isa, threads: usize) -> Engine {
    Engine::new(Arc::clone(model), EngineOptions { isa, threads }).expect("memory for a tiny model")
}

/// `count` ids of the vocabulary.
pub(crate) fn random_ids(random: &mut SplitMix64, vocab: u32, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(u64::from(vocab)) as u32).collect()
}
