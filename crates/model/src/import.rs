//! From a GGUF file to a model of exact integers: configuration, tensors, tokenizer. Never guesses: what this
//! project does not implement is refused by name, and every tensor of the file is either used or refused.

mod config;
mod family;
mod keys;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer_spec;

use std::sync::Arc;

use tokenizer::TokenizerSpec;

use crate::error::Error;
use crate::gguf::Gguf;
use crate::weights::{Loss, Vector, Weights};

pub use self::config::{
    AttentionScale, MAX_BLOCKS, MAX_CONTEXT, MAX_FF, MAX_HEAD_DIM, MAX_HEADS, MAX_VOCAB, MAX_WIDTH,
    ModelConfig, ROTATION_BITS, SlidingWindow,
};
pub use self::family::{Activation, Architecture, FAMILIES, Family, RopeStyle};
pub use crate::weights::Dyadic;

/// A model as the file has it.
#[derive(Debug)]
pub struct ImportedFile {
    /// Shapes and constants.
    pub config: ModelConfig,
    /// Weights.
    pub tensors: Tensors,
    /// Vocabulary, merges and chat template.
    pub tokenizer: TokenizerSpec,
    /// blake3 of the raw bytes of each tensor, in file order.
    pub tensor_digests: Vec<(String, [u8; 32])>,
    /// What rounding changed, one entry per tensor in the order of reading; block formats are exact.
    pub losses: Vec<Loss>,
}

/// All weights of a model.
#[derive(Debug)]
pub struct Tensors {
    /// vocab x width.
    pub embedding: Weights,
    /// vocab x width; `None` if the embedding is used.
    pub output: Option<Weights>,
    /// width.
    pub output_norm: Vector,
    /// One per transformer block.
    pub blocks: Vec<BlockTensors>,
}

/// The weights of one transformer block. Matrices are outputs x inputs.
#[derive(Debug)]
pub struct BlockTensors {
    /// width.
    pub attn_norm: Vector,
    /// heads * head_dim x width.
    pub q: Weights,
    /// kv_heads * head_dim x width.
    pub k: Weights,
    /// kv_heads * head_dim x width.
    pub v: Weights,
    /// width x heads * head_dim.
    pub o: Weights,
    /// heads * head_dim.
    pub q_bias: Option<Vector>,
    /// kv_heads * head_dim.
    pub k_bias: Option<Vector>,
    /// kv_heads * head_dim.
    pub v_bias: Option<Vector>,
    /// head_dim, applied to each head.
    pub q_norm: Option<Vector>,
    /// head_dim, applied to each head.
    pub k_norm: Option<Vector>,
    /// width; before the residual addition.
    pub post_attn_norm: Option<Vector>,
    /// width.
    pub ffn_norm: Vector,
    /// ff x width.
    pub gate: Weights,
    /// ff x width.
    pub up: Weights,
    /// width x ff.
    pub down: Weights,
    /// width; before the residual addition.
    pub post_ffn_norm: Option<Vector>,
}

/// Reads a whole model.
///
/// # Errors
/// One variant of [`Error`] per cause; nothing is accepted in part.
pub fn read_gguf(file: Arc<Vec<u8>>) -> Result<ImportedFile, Error> {
    let gguf = Gguf::parse(file)?;
    let (config, family) = config::read(&gguf)?;
    let tokenizer = tokenizer_spec::read(&gguf, config.vocab)?;
    let (tensors, losses) = tensors::read(&gguf, &config, family)?;
    let digest = |tensor: &crate::gguf::TensorInfo| {
        (tensor.name().to_owned(), *blake3::hash(tensor.bytes().as_slice()).as_bytes())
    };
    let tensor_digests = gguf.tensors().iter().map(digest).collect();
    Ok(ImportedFile { config, tensors, tokenizer, tensor_digests, losses })
}
