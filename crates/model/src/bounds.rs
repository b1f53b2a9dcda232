//! Proof that no accumulator of a model can overflow, from the L1 norms of its rows: every product and sum
//! of the recipe stays below 2^62 in magnitude, hence within 64-bit integers and below half the
//! characteristic of the Goldilocks field. A tensor that breaks a bound is refused by name.

use crate::Error;
use crate::fixed_point::magnitude_bits;
use crate::formats::Formats;
use crate::import::{ModelConfig, Tensors};
use crate::ops::requantize::ACTIVATION_LIMIT_BITS;
use crate::ops::rms_norm;
use crate::tables::ROTATION_BITS;
use crate::weights::{Vector, Weights};

/// Every magnitude stays below `2^LIMIT_BITS`.
pub const LIMIT_BITS: u32 = 62;
/// Largest softmax weight is below 2^15.
const SOFTMAX_BITS: u32 = 15;
/// Magnitude bits of a normed row.
const NARROW_BITS: u32 = 15;

/// One proven bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What is bounded: a tensor's name, or an operation's.
    pub what: String,
    /// Its magnitude is below 2^bits.
    pub bits: u32,
}

/// Proves all bounds, or names the first tensor that breaks one.
///
/// # Errors
/// [`Error::Bound`].
pub fn prove(config: &ModelConfig, tensors: &Tensors, formats: &Formats) -> Result<Vec<Bound>, Error> {
    let mut bounds = Vec::new();
    let mut add = |what: &str, bits: u32| {
        bounds.push(Bound { what: what.to_owned(), bits });
        if bits > LIMIT_BITS {
            Err(Error::Bound { what: what.to_owned(), bits, limit: LIMIT_BITS })
        } else {
            Ok(())
        }
    };
    let context_bits = 32 - config.context.leading_zeros();
    add("attention scores", 2 * ACTIVATION_LIMIT_BITS + 32 - config.head_dim.leading_zeros())?;
    add("attention sums", SOFTMAX_BITS + ACTIVATION_LIMIT_BITS + context_bits)?;
    let rotation = 1 + u32::try_from(ROTATION_BITS).expect("positive");
    for (block, format) in tensors.blocks.iter().zip(&formats.blocks) {
        for (weights, bias, rotated) in [
            (&block.q, &block.q_bias, true),
            (&block.k, &block.k_bias, true),
            (&block.v, &block.v_bias, false),
            (&block.gate, &None, false),
        ] {
            let bits = accumulator_bits(weights, NARROW_BITS) + u32::from(bias.is_some());
            add(weights.name(), bits + if rotated { rotation } else { 0 })?;
        }
        add(block.up.name(), accumulator_bits(&block.up, NARROW_BITS) + format.gate_limit_bits)?;
        for weights in [&block.o, &block.down] {
            add(weights.name(), accumulator_bits(weights, ACTIVATION_LIMIT_BITS))?;
        }
        for norm in [&block.attn_norm, &block.ffn_norm] {
            add(norm.name(), norm_bits(config.width, norm))?;
        }
    }
    add(tensors.output_norm.name(), norm_bits(config.width, &tensors.output_norm))?;
    let output = tensors.output();
    add(output.name(), accumulator_bits(output, NARROW_BITS))?;
    Ok(bounds)
}

/// Bits of `sum |W[r][c]| * |x|` for the worst row and |x| < 2^`input_bits`.
#[must_use]
pub fn accumulator_bits(weights: &Weights, input_bits: u32) -> u32 {
    64 - weights.max_row_l1().leading_zeros() + input_bits
}

/// The widest gate for which `activated gate * up accumulator` stays below 2^62: at most the activation
/// limit, at least 16 bits.
///
/// # Errors
/// [`Error::Bound`] if a 16-bit gate is already too wide.
pub fn gate_limit_bits(up: &Weights) -> Result<u32, Error> {
    let up_bits = accumulator_bits(up, NARROW_BITS);
    match LIMIT_BITS.checked_sub(up_bits) {
        Some(bits) if bits > NARROW_BITS => Ok(bits.min(ACTIVATION_LIMIT_BITS)),
        _ => Err(Error::Bound {
            what: up.name().to_owned(),
            bits: up_bits + NARROW_BITS + 1,
            limit: LIMIT_BITS,
        }),
    }
}

fn norm_bits(width: u32, weight: &Vector) -> u32 {
    let largest = weight.values().iter().map(|w| i64::from(w.unsigned_abs())).max().unwrap_or(0);
    magnitude_bits(rms_norm::numerator(width)) + magnitude_bits(largest)
}

#[cfg(test)]
mod tests;
