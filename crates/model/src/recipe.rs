//! What a model's configuration means in numbers: the constants and tables that follow from it before any
//! weight is read. Never depends on the formats.

use crate::fixed_point::{FRACTION_BITS, Fixed};
use crate::import::{AttentionScale, ModelConfig};
use crate::ops::embedding::width_scale;
use crate::tables::{RotationSpec, RotationTable};
use crate::weights::Dyadic;

/// 1.0 as a binary32.
const ONE_BITS: u32 = 0x3f80_0000;

/// Which rotation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RotationKind {
    /// A sliding-window block with a rope base of its own.
    pub local: bool,
    /// Queries carry the part of the attention scale that is not a power of two.
    pub query: bool,
}

/// Constants of one architecture and shape.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Epsilon of every norm.
    pub eps: Dyadic,
    /// Power of two in the attention scale: scores count `2^-score_bits` after the queries' table.
    pub score_bits: i32,
    /// Factor on the embedding in units of 2^-14, for families that have one.
    pub embedding_scale: Option<i64>,
    config: ModelConfig,
}

impl Recipe {
    /// Derives the constants.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            eps: config.eps(),
            score_bits: attention_scale(config.attention_scale).0,
            embedding_scale: config.scaled_embedding.then(|| width_scale(config.width)),
            config: config.clone(),
        }
    }

    /// Whether a block looks at a sliding window only.
    #[must_use]
    pub fn is_local(&self, block: usize) -> bool {
        self.window(block).is_some()
    }

    /// Keys that a query of this block may see, itself included; `None` for all before it.
    #[must_use]
    pub fn window(&self, block: usize) -> Option<u32> {
        let block = u32::try_from(block).expect("at most 256 blocks");
        Some(self.config.window(block)?.window)
    }

    /// The rotation table of a kind for `positions` positions.
    #[must_use]
    pub fn rotation_table(&self, kind: RotationKind, positions: usize) -> RotationTable {
        let positions = u32::try_from(positions).expect("contexts are below 2^32");
        RotationTable::new(self.rotation_spec(kind), positions)
    }

    /// What that table is made from.
    #[must_use]
    pub fn rotation_spec(&self, kind: RotationKind) -> RotationSpec {
        let config = &self.config;
        let local = config.sliding.as_ref().filter(|_| kind.local);
        let base = local.map_or(config.rope_base_bits, |s| s.rope_base_bits);
        let divisor = if kind.local { ONE_BITS } else { config.rope_factor_bits };
        RotationSpec {
            base: dyadic(base),
            position_divisor: dyadic(divisor),
            dimension: config.rope_dim,
            scale_q60: if kind.query { attention_scale(config.attention_scale).1 } else { 1 << 60 },
        }
    }
}

/// An attention scale as `2^-bits * factor` with a factor in (1/2, 1], given as a multiple of 2^-60: scores
/// are shifted by `bits`, and the queries' rotation table carries the factor. Exactly 1 for a head whose width
/// is a power of four.
#[must_use]
pub fn attention_scale(scale: AttentionScale) -> (i32, i64) {
    match scale {
        AttentionScale::InverseSqrt(n) => {
            let power = n.max(1).ilog2() / 2;
            let square = Fixed::ratio(1 << (2 * power), u64::from(n.max(1)));
            let factor = if square == Fixed::ONE { square } else { square.sqrt() };
            let factor = i64::try_from(factor.0 >> (FRACTION_BITS - 60)).expect("at most one");
            (i32::try_from(power).expect("at most 15"), factor)
        }
        AttentionScale::Factor(bits) => {
            let (mantissa, exponent) = dyadic(bits);
            let top = 64 - i32::try_from(mantissa.leading_zeros()).expect("at most 64");
            let factor = i64::try_from(mantissa << (60 - top)).expect("24 bits below 2^60");
            (-(exponent + top), factor)
        }
    }
}

fn dyadic(bits: u32) -> (u64, i32) {
    let number = Dyadic::from_f32_bits(bits).expect("import refuses numbers that are not finite");
    (u64::try_from(number.mantissa).expect("import refuses negative bases"), number.exponent)
}
