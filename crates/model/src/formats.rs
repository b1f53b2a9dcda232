//! Where the binary point of every activation stands: the exponents that calibration chose, part of the
//! model commitment. Never decides anything by itself.

use protocol::encoding::{Decoder, Encoder};

use crate::ops::requantize::ACTIVATION_LIMIT_BITS;

/// Transformer blocks at most.
const MAX_BLOCKS: u64 = 1024;

/// A place where an accumulator is requantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// Queries before their norm (families with q/k norm only).
    QueryRaw,
    /// Keys before their norm (families with q/k norm only).
    KeyRaw,
    /// Queries after the rotation.
    Query,
    /// Keys after the rotation.
    Key,
    /// Values; the attention output shares their exponent.
    Value,
    /// Input of the activation table.
    Gate,
    /// Gated product, the input of the down projection.
    DownInput,
}

impl Site {
    /// All sites in the order in which a block meets them.
    pub const ALL: [Self; 7] =
        [Self::QueryRaw, Self::KeyRaw, Self::Query, Self::Key, Self::Value, Self::Gate, Self::DownInput];

    /// Name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueryRaw => "query before its norm",
            Self::KeyRaw => "key before its norm",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Gate => "gate",
            Self::DownInput => "down input",
        }
    }
}

/// Exponents of one block, one per [`Site`] in the order of [`Site::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFormats {
    /// Exponents; those of sites that the family lacks are 0.
    pub exponents: [i32; Site::ALL.len()],
    /// A gate of magnitude 2^this or more is out of range, so that the gated product stays below 2^62.
    pub gate_limit_bits: u32,
}

impl BlockFormats {
    /// The exponent of one site.
    #[must_use]
    pub fn exponent(&self, site: Site) -> i32 {
        self.exponents[site as usize]
    }

    /// Magnitudes at `site` below 2^this are in range.
    #[must_use]
    pub fn limit_bits(&self, site: Site) -> u32 {
        if site == Site::Gate { self.gate_limit_bits } else { ACTIVATION_LIMIT_BITS }
    }
}

/// All formats of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Exponent of the residual stream.
    pub residual: i32,
    /// One entry per block.
    pub blocks: Vec<BlockFormats>,
    /// Wide rows that calibration met, per block and site, and the tokens it ran.
    pub calibration: CalibrationCounts,
}

/// What calibration saw, for people and for the commitment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalibrationCounts {
    /// Tokens of the calibration text that were run.
    pub tokens: u32,
    /// (block, site): rows that took a second limb.
    pub wide_rows: Vec<[u32; Site::ALL.len()]>,
    /// Largest magnitude in the residual stream, in units of its exponent.
    pub residual_max: u64,
}

impl Formats {
    /// Appends the canonical encoding that the commitment hashes and the cache stores.
    pub fn encode(&self, out: &mut Encoder) {
        out.structure("maxwell-formats", 1, 5);
        out.signed(i64::from(self.residual));
        out.array_header(self.blocks.len());
        for block in &self.blocks {
            out.array_header(1 + block.exponents.len());
            for exponent in block.exponents {
                out.signed(i64::from(exponent));
            }
            out.unsigned(u64::from(block.gate_limit_bits));
        }
        out.unsigned(u64::from(self.calibration.tokens));
        out.unsigned(self.calibration.residual_max);
        out.array_header(self.calibration.wide_rows.len());
        for counts in &self.calibration.wide_rows {
            out.array_header(counts.len());
            for count in counts {
                out.unsigned(u64::from(*count));
            }
        }
    }

    /// Reads what [`Formats::encode`] wrote.
    ///
    /// # Errors
    /// The decoder's, naming the byte.
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, protocol::Error> {
        input.structure("maxwell-formats", 1, 5)?;
        let exponent = |input: &mut Decoder<'_>| {
            Ok::<_, protocol::Error>(
                i32::try_from(input.signed("an exponent")?.clamp(-1000, 1000)).expect("clamped"),
            )
        };
        let residual = exponent(input)?;
        let count = input.array_header(MAX_BLOCKS, "blocks")?;
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            input.array_exact(1 + Site::ALL.len() as u64, "a block's formats")?;
            let mut exponents = [0; Site::ALL.len()];
            for slot in &mut exponents {
                *slot = exponent(input)?;
            }
            blocks.push(BlockFormats { exponents, gate_limit_bits: input.unsigned_u32("gate limit")? });
        }
        let tokens = input.unsigned_u32("calibration tokens")?;
        let residual_max = input.unsigned("residual maximum")?;
        let count = input.array_header(MAX_BLOCKS, "wide rows")?;
        let mut wide_rows = Vec::with_capacity(count);
        for _ in 0..count {
            input.array_exact(Site::ALL.len() as u64, "a block's wide rows")?;
            let mut counts = [0; Site::ALL.len()];
            for slot in &mut counts {
                *slot = input.unsigned_u32("wide rows")?;
            }
            wide_rows.push(counts);
        }
        let calibration = CalibrationCounts { tokens, wide_rows, residual_max };
        Ok(Self { residual, blocks, calibration })
    }
}
