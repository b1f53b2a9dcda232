//! Tiny GGUF files for tests of every crate: whole models with random weights, and a writer that can lie
//! about anything. Never used for a real model, and never float or platform dependent: a seed gives the same
//! bytes everywhere.

mod numbers;
#[cfg(test)]
mod tests;
mod vocabulary;
mod writer;

use crate::gguf::TensorType;
use crate::import::Architecture;
use crate::weights::{BlockKind, FloatKind};

pub use self::numbers::SplitMix64;
pub use self::vocabulary::{CHAT_TEMPLATE, VocabularyKind};
pub use self::writer::{Encoded, GgufWriter, WriterTensor};

/// A small model with random weights of plausible size. Change the fields of a [`SyntheticModel::tiny`].
#[derive(Clone, Debug)]
pub struct SyntheticModel {
    /// Its family.
    pub architecture: Architecture,
    /// Transformer blocks.
    pub blocks: u32,
    /// Elements of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Elements of the feed-forward layer.
    pub ff: u32,
    /// Tokens; at least [`VocabularyKind::least_size`].
    pub vocab: u32,
    /// Positions.
    pub context: u32,
    /// Window of the local blocks (Gemma 3 only).
    pub sliding_window: u32,
    /// Format of the matrices inside the blocks. Inputs must be multiples of its block length.
    pub weight_type: TensorType,
    /// Format of embedding and output matrix.
    pub head_type: TensorType,
    /// No output matrix: the embedding is used.
    pub tied_embeddings: bool,
    /// Kind of tokenizer.
    pub vocabulary: VocabularyKind,
    /// 2 or 3.
    pub version: u32,
    /// Of all random numbers.
    pub seed: u64,
}

impl SyntheticModel {
    /// Two blocks of width 64 (about 100 kB), Q4_1 with a Q8_0 embedding, and all that the family has.
    pub fn tiny(architecture: Architecture) -> SyntheticModel {
        let gemma = architecture == Architecture::Gemma3;
        SyntheticModel {
            architecture,
            // Gemma's sixth block is the first without a window.
            blocks: if gemma { 6 } else { 2 },
            width: 64,
            heads: 4,
            kv_heads: 2,
            head_dim: if gemma { 32 } else { 16 },
            ff: 128,
            vocab: 384,
            context: 128,
            sliding_window: 16,
            weight_type: TensorType::Block(BlockKind::Q4_1),
            head_type: TensorType::Block(BlockKind::Q8_0),
            tied_embeddings: architecture != Architecture::Qwen2,
            vocabulary: if gemma { VocabularyKind::SentencePiece } else { VocabularyKind::ByteLevel },
            version: 3,
            seed: 1,
        }
    }

    /// As [`SyntheticModel::tiny`], in widths that are multiples of 256, as the K formats need them.
    pub fn tiny_256(architecture: Architecture, weight_type: TensorType) -> SyntheticModel {
        SyntheticModel {
            width: 256,
            head_dim: 64,
            ff: 512,
            weight_type,
            blocks: 1,
            ..SyntheticModel::tiny(architecture)
        }
    }

    /// The file.
    pub fn gguf(&self) -> Vec<u8> {
        self.writer().finish()
    }

    /// The file before it is written, for tests that change something.
    ///
    /// # Panics
    /// If a matrix's inputs are not a multiple of the block length or the vocabulary is too small.
    pub fn writer(&self) -> GgufWriter {
        let mut writer = GgufWriter::new(self.version);
        self.write_config(&mut writer);
        self.vocabulary.write(&mut writer, self.architecture, self.vocab);
        let mut random = SplitMix64::new(self.seed);
        let mut matrix = |name: String, rows: u32, cols: u32, kind: TensorType| {
            let data = numbers::matrix(&mut random, kind, rows, cols);
            writer.tensor(&name, &[u64::from(cols), u64::from(rows)], kind, data);
        };
        matrix("token_embd.weight".to_owned(), self.vocab, self.width, self.head_type);
        if !self.tied_embeddings {
            matrix("output.weight".to_owned(), self.vocab, self.width, self.head_type);
        }
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        for block in 0..self.blocks {
            for (part, rows, cols) in [
                ("attn_q", query, self.width),
                ("attn_k", kv, self.width),
                ("attn_v", kv, self.width),
                ("attn_output", self.width, query),
                ("ffn_gate", self.ff, self.width),
                ("ffn_up", self.ff, self.width),
                ("ffn_down", self.width, self.ff),
            ] {
                matrix(format!("blk.{block}.{part}.weight"), rows, cols, self.weight_type);
            }
        }
        self.write_vectors(&mut writer, &mut random);
        writer
    }

    fn write_vectors(&self, writer: &mut GgufWriter, random: &mut SplitMix64) {
        let mut vector = |name: String, length: u32, centre: u32| {
            let data = numbers::vector(random, length, centre);
            writer.tensor(&name, &[u64::from(length)], TensorType::Float(FloatKind::F32), data);
        };
        let family = self.architecture.family();
        let (query, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        vector("output_norm.weight".to_owned(), self.width, 1);
        for block in 0..self.blocks {
            for (part, length, centre, present) in [
                ("attn_norm.weight", self.width, 1, true),
                ("ffn_norm.weight", self.width, 1, true),
                ("attn_q.bias", query, 0, family.qkv_bias),
                ("attn_k.bias", kv, 0, family.qkv_bias),
                ("attn_v.bias", kv, 0, family.qkv_bias),
                ("attn_q_norm.weight", self.head_dim, 1, family.qk_norm),
                ("attn_k_norm.weight", self.head_dim, 1, family.qk_norm),
                ("post_attention_norm.weight", self.width, 1, family.post_norms),
                ("post_ffw_norm.weight", self.width, 1, family.post_norms),
            ] {
                if present {
                    vector(format!("blk.{block}.{part}"), length, centre);
                }
            }
        }
    }

    fn write_config(&self, writer: &mut GgufWriter) {
        let family = self.architecture.family();
        writer.entry("general.architecture", Encoded::text(family.name));
        writer.entry("general.type", Encoded::text("model"));
        writer.entry("general.name", Encoded::text("synthetic"));
        writer.entry("general.quantization_version", Encoded::u32(2));
        let mut entry = |key: &str, value: Encoded| writer.entry(&format!("{}.{key}", family.name), value);
        entry("block_count", Encoded::u32(self.blocks));
        entry("context_length", Encoded::u32(self.context));
        entry("embedding_length", Encoded::u32(self.width));
        entry("feed_forward_length", Encoded::u32(self.ff));
        entry("attention.head_count", Encoded::u32(self.heads));
        entry("attention.head_count_kv", Encoded::u32(self.kv_heads));
        entry("attention.key_length", Encoded::u32(self.head_dim));
        entry("attention.value_length", Encoded::u32(self.head_dim));
        // 2^-20 and 2^13.
        entry("attention.layer_norm_rms_epsilon", Encoded::f32_bits(0x3580_0000));
        entry("rope.freq_base", Encoded::f32_bits(0x4600_0000));
        if family.sliding_period.is_some() {
            entry("attention.sliding_window", Encoded::u32(self.sliding_window));
        }
    }
}
