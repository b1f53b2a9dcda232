//! The numbers of a model that are not weights. Every one is capped, and a metadata key of the architecture
//! that nobody reads refuses the file, because it may change what the model computes.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use super::family::{Activation, Architecture, FAMILIES, Family, RopeStyle};
use super::keys::{Keys, float_text, printable};
use crate::error::Error;
use crate::gguf::{Gguf, Value};
use crate::weights::Dyadic;

/// Most transformer blocks.
pub const MAX_BLOCKS: u32 = 256;
/// Widest residual stream.
pub const MAX_WIDTH: u32 = 1 << 15;
/// Most attention heads.
pub const MAX_HEADS: u32 = 256;
/// Longest head.
pub const MAX_HEAD_DIM: u32 = 512;
/// Widest feed-forward layer.
pub const MAX_FF: u32 = 1 << 17;
/// Largest vocabulary.
pub const MAX_VOCAB: u32 = 1 << 19;
/// Longest context.
pub const MAX_CONTEXT: u32 = 1 << 20;

/// 1.0 and 10000.0 as binary32.
const ONE_BITS: u32 = 0x3f80_0000;
const TEN_THOUSAND_BITS: u32 = 0x461c_4000;

/// Shapes and constants of a model. Floats are the file's binary32 bit patterns, finite and positive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Transformer blocks.
    pub blocks: u32,
    /// Elements of the residual stream.
    pub width: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of a head; even.
    pub head_dim: u32,
    /// Elements of the feed-forward layer.
    pub ff: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Positions the model was made for.
    pub context: u32,
    /// Base of the rotation frequencies (of the global blocks).
    pub rope_base_bits: u32,
    /// Elements of a head that are rotated; equals `head_dim`.
    pub rope_dim: u32,
    /// Which elements rotate together.
    pub rope_style: RopeStyle,
    /// Positions are divided by this (in the global blocks); 1.0 if the file says nothing.
    pub rope_factor_bits: u32,
    /// The blocks that see only their neighbourhood.
    pub sliding: Option<SlidingWindow>,
    /// Epsilon of every RMS norm.
    pub eps_bits: u32,
    /// The function applied to the gate.
    pub activation: Activation,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Norms on each head of queries and keys.
    pub qk_norm: bool,
    /// Norms on the outputs of attention and feed-forward.
    pub post_norms: bool,
    /// Embeddings are multiplied by sqrt(width).
    pub scaled_embedding: bool,
    /// What a query-key product is multiplied by.
    pub attention_scale: AttentionScale,
    /// The output matrix is the embedding.
    pub tied_embeddings: bool,
}

/// Attention restricted to a window in all blocks but every `period`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Position p sees p - window + 1 ..= p.
    pub window: u32,
    /// Block b sees everything if (b + 1) % period == 0.
    pub period: u32,
    /// Base of the rotation frequencies in the blocks with a window, whose positions are not divided.
    pub rope_base_bits: u32,
}

/// The factor of a query-key product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionScale {
    /// 1 / sqrt(n).
    InverseSqrt(u32),
    /// The file's own binary32.
    Factor(u32),
}

impl ModelConfig {
    /// The window of block `block`, or `None` if it sees everything.
    pub fn window(&self, block: u32) -> Option<SlidingWindow> {
        self.sliding.filter(|sliding| !block.wrapping_add(1).is_multiple_of(sliding.period))
    }

    /// Epsilon of every RMS norm.
    pub fn eps(&self) -> Dyadic {
        finite(self.eps_bits)
    }

    /// Base of the rotation frequencies of block `block`.
    pub fn rope_base(&self, block: u32) -> Dyadic {
        finite(self.window(block).map_or(self.rope_base_bits, |sliding| sliding.rope_base_bits))
    }

    /// What the positions of block `block` are divided by.
    pub fn rope_factor(&self, block: u32) -> Dyadic {
        finite(if self.window(block).is_some() { ONE_BITS } else { self.rope_factor_bits })
    }

    /// Elements of all query heads.
    pub fn query_width(&self) -> u32 {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Elements of all key (or value) heads.
    pub fn kv_width(&self) -> u32 {
        self.kv_heads.saturating_mul(self.head_dim)
    }
}

fn finite(bits: u32) -> Dyadic {
    Dyadic::from_f32_bits(bits).expect("import refuses floats that are not finite")
}

/// Bases and divisors of rotations as binary32: 1 to 2^63. Bits of positive floats are in the order of the floats.
pub const ROTATION_BITS: std::ops::RangeInclusive<u32> = ONE_BITS..=0x5f00_0000;

/// Reads the configuration and the row of the family table it follows.
pub(super) fn read(gguf: &Gguf) -> Result<(ModelConfig, &'static Family), Error> {
    let family = read_family(gguf)?;
    let mut keys = Keys::new(gguf, family.name);
    let width = keys.size("embedding_length", 1..=MAX_WIDTH)?;
    let heads = keys.size("attention.head_count", 1..=MAX_HEADS)?;
    let kv_heads = keys.size_or("attention.head_count_kv", 1..=heads, heads)?;
    keys.rule("attention.head_count_kv", kv_heads, heads.is_multiple_of(kv_heads), "must divide head_count")?;
    let head_dim = match keys.optional_size("attention.key_length", 1..=MAX_HEAD_DIM)? {
        Some(length) => length,
        None => {
            let fits = width.is_multiple_of(heads);
            keys.rule(
                "attention.head_count",
                heads,
                fits,
                "must divide embedding_length if key_length is absent",
            )?;
            width.checked_div(heads).unwrap_or(0)
        }
    };
    let fits = head_dim.is_multiple_of(2) && head_dim <= MAX_HEAD_DIM;
    keys.rule("attention.key_length", head_dim, fits, "must be even and at most 512")?;
    let value_length = keys.size_or("attention.value_length", 1..=MAX_HEAD_DIM, head_dim)?;
    keys.rule("attention.value_length", value_length, value_length == head_dim, "must equal key_length")?;
    let rope_dim = keys.size_or("rope.dimension_count", 1..=MAX_HEAD_DIM, head_dim)?;
    keys.rule("rope.dimension_count", rope_dim, rope_dim == head_dim, "must equal the head length")?;
    let blocks = keys.size("block_count", 1..=MAX_BLOCKS)?;
    let context = keys.size("context_length", 1..=MAX_CONTEXT)?;
    let vocab = read_vocab(&mut keys)?;
    let config = ModelConfig {
        architecture: family.architecture,
        blocks,
        width,
        heads,
        kv_heads,
        head_dim,
        ff: keys.size("feed_forward_length", 1..=MAX_FF)?,
        vocab,
        context,
        rope_base_bits: read_rotation(&mut keys, "rope.freq_base", TEN_THOUSAND_BITS)?,
        rope_dim,
        rope_style: family.rope_style,
        rope_factor_bits: read_rope_factor(&mut keys, family)?,
        sliding: read_sliding(&mut keys, family, context)?,
        eps_bits: keys.float("attention.layer_norm_rms_epsilon")?,
        activation: family.activation,
        qkv_bias: family.qkv_bias,
        qk_norm: family.qk_norm,
        post_norms: family.post_norms,
        scaled_embedding: family.scaled_embedding,
        attention_scale: read_attention_scale(&mut keys, family, [blocks, width, heads, head_dim])?,
        tied_embeddings: gguf.tensor("output.weight").is_none(),
    };
    refuse_features(&mut keys)?;
    keys.refuse_unread()?;
    Ok((config, family))
}

fn read_family(gguf: &Gguf) -> Result<&'static Family, Error> {
    let mut general = Keys::new(gguf, "general");
    let found = general.text("architecture")?;
    let family = FAMILIES.iter().find(|family| family.name.as_bytes() == found);
    let family = family.ok_or_else(|| Error::Architecture { found: printable(found) })?;
    if let Some(kind) = general.optional_text("type")?
        && kind != b"model"
    {
        return Err(general.unsupported(
            "type",
            printable(kind),
            "a file that is not a whole language model",
        ));
    }
    // Version 2 since May 2023; before, nibbles lay in another order.
    let version = general.size_or("quantization_version", 0..=u32::MAX, 2)?;
    if version != 2 {
        return Err(general.unsupported(
            "quantization_version",
            version.to_string(),
            "a block layout other than 2",
        ));
    }
    let mut split = Keys::new(gguf, "split");
    if let Some(&Value::U16(count)) = split.get("count")
        && count > 1
    {
        return Err(split.unsupported(
            "count",
            count.to_string(),
            "a model in several files (merge them first)",
        ));
    }
    Ok(family)
}

fn read_vocab(keys: &mut Keys<'_>) -> Result<u32, Error> {
    let Some(embedding) = keys.gguf().tensor("token_embd.weight") else {
        return Err(Error::MissingTensor { tensor: "token_embd.weight".to_owned() });
    };
    let rows = embedding.dimensions().get(1).copied().unwrap_or(0);
    let vocab = match u32::try_from(rows) {
        Ok(vocab) if (1..=MAX_VOCAB).contains(&vocab) => vocab,
        _ => {
            let key = "rows of token_embd.weight".to_owned();
            return Err(Error::ConfigRange { key, value: rows, min: 1, max: u64::from(MAX_VOCAB) });
        }
    };
    let size = keys.size_or("vocab_size", 1..=MAX_VOCAB, vocab)?;
    keys.rule("vocab_size", size, size == vocab, "must equal the rows of token_embd.weight")?;
    Ok(vocab)
}

/// llama.cpp: the type defaults to linear, a missing or zero factor to 1; type none ignores the factor.
fn read_rope_factor(keys: &mut Keys<'_>, family: &Family) -> Result<u32, Error> {
    const TYPE: &str = "rope.scaling.type";
    const FACTOR: &str = "rope.scaling.factor";
    keys.ignore(&["rope.scaling.original_context_length", "rope.scaling.finetuned"]);
    let kind = keys.optional_text(TYPE)?.unwrap_or(b"linear");
    if kind != b"none" && kind != b"linear" {
        return Err(keys.unsupported(TYPE, printable(kind), "RoPE scaling other than linear"));
    }
    let factor = keys.optional_float(FACTOR)?.filter(|&bits| kind == b"linear" && bits != 0);
    let Some(factor) = factor.filter(|&bits| bits != ONE_BITS) else { return Ok(ONE_BITS) };
    if !family.linear_rope {
        return Err(keys.unsupported(FACTOR, float_text(factor), "RoPE scaling in this family"));
    }
    check_rotation(keys, FACTOR, factor)
}

/// A base or divisor of rotations, whose logarithm the tables are made from.
fn read_rotation(keys: &mut Keys<'_>, suffix: &str, default: u32) -> Result<u32, Error> {
    let bits = keys.float_or(suffix, default)?;
    check_rotation(keys, suffix, bits)
}

fn check_rotation(keys: &Keys<'_>, suffix: &str, bits: u32) -> Result<u32, Error> {
    if ROTATION_BITS.contains(&keys.positive(suffix, bits)?) {
        return Ok(bits);
    }
    Err(keys.unsupported(suffix, float_text(bits), "rotations by a number below 1 or above 2^63"))
}

fn read_sliding(keys: &mut Keys<'_>, family: &Family, context: u32) -> Result<Option<SlidingWindow>, Error> {
    const WINDOW: &str = "attention.sliding_window";
    let window = keys.optional_size(WINDOW, 0..=u32::MAX)?.filter(|&window| window > 0);
    let Some(period) = family.sliding_period else {
        return match window {
            Some(window) if window < context => {
                Err(keys.unsupported(WINDOW, window.to_string(), "a sliding window in this family"))
            }
            _ => Ok(None),
        };
    };
    let period = keys.size_or("attention.sliding_window_pattern", 1..=MAX_BLOCKS, period)?;
    let rope_base_bits = read_rotation(keys, "rope.freq_base_swa", TEN_THOUSAND_BITS)?;
    Ok(window.map(|window| SlidingWindow { window, period, rope_base_bits }))
}

fn read_attention_scale(
    keys: &mut Keys<'_>,
    family: &Family,
    [blocks, width, heads, head_dim]: [u32; 4],
) -> Result<AttentionScale, Error> {
    if family.own_attention_scale
        && let Some(bits) = keys.optional_float("attention.scale")?.filter(|&bits| bits != 0)
    {
        return keys.positive("attention.scale", bits).map(AttentionScale::Factor);
    }
    let by_width = family.width_scaled_at_blocks == Some(blocks);
    let n = if by_width { width.checked_div(heads).unwrap_or(head_dim).max(1) } else { head_dim };
    Ok(AttentionScale::InverseSqrt(n))
}

/// Features that a key can switch on and that are not implemented.
fn refuse_features(keys: &mut Keys<'_>) -> Result<(), Error> {
    for key in ["expert_count", "expert_used_count"] {
        let experts = keys.size_or(key, 0..=u32::MAX, 0)?;
        if experts > 0 {
            return Err(keys.unsupported(key, experts.to_string(), "a mixture of experts"));
        }
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        let cap = keys.optional_float(key)?.unwrap_or(0);
        if cap != 0 {
            return Err(keys.unsupported(key, float_text(cap), "soft-capping of logits"));
        }
    }
    if let Some(&Value::Bool(false)) = keys.get("attention.causal") {
        return Err(keys.unsupported("attention.causal", "false".to_owned(), "attention to later positions"));
    }
    // How an old converter permuted the weights; they are permuted already.
    keys.ignore(&["tensor_data_layout"]);
    Ok(())
}
