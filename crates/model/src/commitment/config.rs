//! A configuration as the bytes that the commitment hashes, and back. Never reads one that no import gives.

use std::ops::RangeInclusive;

use protocol::encoding::{Decoder, Encoder};

use crate::import::{
    Activation, AttentionScale, FAMILIES, ModelConfig, ROTATION_BITS, RopeStyle, SlidingWindow,
};
use crate::import::{MAX_BLOCKS, MAX_CONTEXT, MAX_FF, MAX_HEAD_DIM, MAX_HEADS, MAX_VOCAB, MAX_WIDTH};
use crate::weights::Dyadic;

/// Longest name of a family.
const MAX_NAME_BYTES: u64 = 64;

/// Appends the canonical encoding.
pub fn encode_config(config: &ModelConfig, out: &mut Encoder) {
    out.structure("maxwell.config", 1, 22);
    out.text(config.architecture.family().name);
    let ModelConfig { blocks, width, heads, kv_heads, head_dim, ff, vocab, context, .. } = *config;
    for number in [blocks, width, heads, kv_heads, head_dim, ff, vocab, context, config.rope_dim] {
        out.unsigned(u64::from(number));
    }
    for bits in [config.rope_base_bits, config.rope_factor_bits, config.eps_bits] {
        out.unsigned(u64::from(bits));
    }
    match config.sliding {
        None => out.null(),
        Some(sliding) => out.list_u32(&[sliding.window, sliding.period, sliding.rope_base_bits]),
    }
    match config.attention_scale {
        AttentionScale::InverseSqrt(n) => out.list_u32(&[0, n]),
        AttentionScale::Factor(bits) => out.list_u32(&[1, bits]),
    }
    out.unsigned(config.rope_style as u64);
    out.unsigned(config.activation as u64);
    for flag in
        [config.qkv_bias, config.qk_norm, config.post_norms, config.scaled_embedding, config.tied_embeddings]
    {
        out.boolean(flag);
    }
}

/// Why bytes are no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the canonical bytes of any.
    #[error(transparent)]
    Encoding(#[from] protocol::Error),
    /// A number that no import gives.
    #[error("the configuration's {what} cannot be {found}")]
    Value {
        /// Which number.
        what: &'static str,
        /// The number.
        found: u64,
    },
}

/// Reads what [`encode_config`] wrote; accepts only what an import can give.
///
/// # Errors
/// [`ConfigError`].
pub fn decode_config(input: &mut Decoder<'_>) -> Result<ModelConfig, ConfigError> {
    input.structure("maxwell.config", 1, 22)?;
    let name = input.text(MAX_NAME_BYTES, "a family")?;
    let family = FAMILIES
        .iter()
        .find(|family| family.name == name)
        .ok_or(ConfigError::Value { what: "family", found: 0 })?;
    let blocks = number(input, "blocks", 1..=MAX_BLOCKS)?;
    let width = number(input, "width", 1..=MAX_WIDTH)?;
    let heads = number(input, "heads", 1..=MAX_HEADS)?;
    let kv_heads = number(input, "key heads", 1..=heads)?;
    check("key heads", kv_heads, heads.is_multiple_of(kv_heads))?;
    let head_dim = number(input, "width of a head", 2..=MAX_HEAD_DIM)?;
    check("width of a head", head_dim, head_dim.is_multiple_of(2))?;
    let ff = number(input, "feed-forward width", 1..=MAX_FF)?;
    let vocab = number(input, "vocabulary", 1..=MAX_VOCAB)?;
    let context = number(input, "context", 1..=MAX_CONTEXT)?;
    let rope_dim = number(input, "rotated width", head_dim..=head_dim)?;
    let rope_base_bits = number(input, "base of rotations", ROTATION_BITS)?;
    let rope_factor_bits = number(input, "factor of positions", ROTATION_BITS)?;
    let eps_bits = float(input, "epsilon")?;
    let sliding = decode_sliding(input)?;
    let attention_scale = match input.list_u32(2, "an attention scale")?.as_slice() {
        [0, n] if *n > 0 => AttentionScale::InverseSqrt(*n),
        [1, bits] if is_positive(*bits) => AttentionScale::Factor(*bits),
        other => return Err(ConfigError::Value { what: "attention scale", found: other.len() as u64 }),
    };
    let rope_style = match input.unsigned("a style of rotations")? {
        found if found == RopeStyle::Interleaved as u64 => RopeStyle::Interleaved,
        found if found == RopeStyle::Halves as u64 => RopeStyle::Halves,
        found => return Err(ConfigError::Value { what: "style of rotations", found }),
    };
    let activation = match input.unsigned("an activation")? {
        found if found == Activation::Silu as u64 => Activation::Silu,
        found if found == Activation::GeluTanh as u64 => Activation::GeluTanh,
        found => return Err(ConfigError::Value { what: "activation", found }),
    };
    Ok(ModelConfig {
        architecture: family.architecture,
        blocks,
        width,
        heads,
        kv_heads,
        head_dim,
        ff,
        vocab,
        context,
        rope_base_bits,
        rope_dim,
        rope_style,
        rope_factor_bits,
        sliding,
        eps_bits,
        activation,
        qkv_bias: input.boolean("biases")?,
        qk_norm: input.boolean("norms on heads")?,
        post_norms: input.boolean("norms behind halves")?,
        scaled_embedding: input.boolean("a scaled embedding")?,
        tied_embeddings: input.boolean("tied embeddings")?,
        attention_scale,
    })
}

fn decode_sliding(input: &mut Decoder<'_>) -> Result<Option<SlidingWindow>, ConfigError> {
    let sliding = input.optional("a sliding window", |input| input.list_u32(3, "a sliding window"))?;
    match sliding.as_deref() {
        None => Ok(None),
        Some([window, period, rope_base_bits]) => {
            check("window", *window, *window > 0)?;
            check("period of windows", *period, (1..=MAX_BLOCKS).contains(period))?;
            check("base of a window's rotations", *rope_base_bits, ROTATION_BITS.contains(rope_base_bits))?;
            Ok(Some(SlidingWindow { window: *window, period: *period, rope_base_bits: *rope_base_bits }))
        }
        Some(other) => Err(ConfigError::Value { what: "window", found: other.len() as u64 }),
    }
}

fn number(
    input: &mut Decoder<'_>,
    what: &'static str,
    range: RangeInclusive<u32>,
) -> Result<u32, ConfigError> {
    let found = input.unsigned(what)?;
    u32::try_from(found)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or(ConfigError::Value { what, found })
}

fn float(input: &mut Decoder<'_>, what: &'static str) -> Result<u32, ConfigError> {
    let bits = number(input, what, 0..=u32::MAX)?;
    check(what, bits, is_positive(bits))?;
    Ok(bits)
}

fn is_positive(bits: u32) -> bool {
    bits >> 31 == 0 && bits != 0 && Dyadic::from_f32_bits(bits).is_some()
}

fn check(what: &'static str, found: u32, holds: bool) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Value { what, found: u64::from(found) }) }
}
