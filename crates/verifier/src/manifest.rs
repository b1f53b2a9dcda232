//! What a verifier without the model needs of it: its outline, and a commitment to all of its weights. Whoever has the model's file makes it
//! once. It is trusted like the file: shapes, tokenizer and formats are those of the model's commitment (checked when it is read), while norms,
//! grids and the weights' commitment are what its maker says.

use std::sync::Arc;

use model::Model;
use model::NUMERICS;
use model::commitment::{
    ConfigError, decode_config, encode_config, encode_tokenizer, identity, template_digest,
};
use model::formats::{BlockFormats, Formats, Site};
use model::recipe::Recipe;
use model::tables::{MAX_GATE_EXPONENT, SHORT_CONTEXT};
use model::weights::{FLOAT_GRIDS, Vector};
use proof_system::commitment::Digest;
use protocol::encoding::{Decoder, Encoder};
use tokenizer::{Tokenizer, TokenizerSpec};

use crate::outline::{OF_BLOCK, Outline, OutputRows};
use crate::public::size;

/// Longest manifest: a tokenizer bundle has 256 MiB at most, and norms less.
pub const MAX_MANIFEST_BYTES: usize = 320 << 20;
const TAG: &str = "maxwell.manifest";
const VERSION: u32 = 1;
const FIELDS: u64 = 11;
const MAX_BUNDLE_BYTES: u64 = 256 << 20;
const MAX_NAME_BYTES: u64 = 64;

/// A model for verifiers who do not have it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// All of it but the matrices.
    pub outline: Outline,
    /// blake3 over all weights, as in the model's commitment.
    pub weights_root: [u8; 32],
    /// Of the stream of all weights; see `weight_stream`.
    pub root: Digest,
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than any.
    #[error("a manifest has {MAX_MANIFEST_BYTES} bytes at most")]
    Size,
    /// Not the canonical bytes of any.
    #[error(transparent)]
    Encoding(#[from] protocol::Error),
    /// Another definition of the numbers.
    #[error("the manifest is for the numerics {found}, and this is {NUMERICS}")]
    Numerics {
        /// In the manifest.
        found: String,
    },
    /// Shapes that no import gives.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Parts that do not fit together.
    #[error("the manifest's {what} do not fit its configuration")]
    Shape {
        /// Which part.
        what: &'static str,
    },
    /// The tokenizer.
    #[error("the manifest's tokenizer: {reason}")]
    Tokenizer {
        /// Why it is none.
        reason: String,
    },
}

impl Manifest {
    /// Of a model at hand and the commitment to its weights.
    #[must_use]
    pub fn new(model: &Model, root: Digest) -> Self {
        let mut outline = Outline::of(model);
        outline.output_rows = OutputRows::Known(outline.output_rows.largest_sum());
        Self { outline, weights_root: model.weights_root, root }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let outline = &self.outline;
        let mut out = Encoder::new();
        out.structure(TAG, VERSION, FIELDS);
        out.text(NUMERICS);
        encode_config(&outline.config, &mut out);
        out.bytes(&self.weights_root);
        outline.formats.encode(&mut out);
        out.array_header(outline.norms.len());
        for [attn, mlp] in &outline.norms {
            out.array_header(4);
            encode_vector(attn, &mut out);
            encode_vector(mlp, &mut out);
        }
        out.array_header(2);
        encode_vector(&outline.output_norm, &mut out);
        out.array_header(outline.grids.len());
        for grids in &outline.grids {
            out.array_header(grids.len());
            grids.iter().for_each(|grid| out.signed(i64::from(*grid)));
        }
        out.signed(i64::from(outline.output_grid));
        out.unsigned(outline.output_rows.largest_sum());
        out.bytes(&self.root);
        out.bytes(&encode_tokenizer(outline.tokenizer.spec()));
        out.into_bytes()
    }

    /// Reads a manifest; `read_tokenizer` reads its tokenizer bundle. The model's commitment follows from what is read.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn decode(
        bytes: &[u8],
        read_tokenizer: impl FnOnce(&[u8]) -> Result<TokenizerSpec, String>,
    ) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Size);
        }
        let mut input = Decoder::new(bytes);
        input.structure(TAG, VERSION, FIELDS)?;
        let numerics = input.text(MAX_NAME_BYTES, "numerics")?;
        if numerics != NUMERICS {
            return Err(ManifestError::Numerics { found: numerics.to_owned() });
        }
        let config = decode_config(&mut input)?;
        let weights_root = input.bytes_exact::<32>("the weights' root")?;
        let formats = Formats::decode(&mut input)?;
        let width = size(config.width);
        let blocks = u64::from(config.blocks);
        let norms = decode_norms(&mut input, blocks, width)?;
        input.array_exact(2, "the last norm")?;
        let output_norm = decode_vector(&mut input, width)?;
        let grids = decode_grids(&mut input, blocks)?;
        let output_grid = decode_grid(&mut input)?;
        let output_rows = OutputRows::Known(input.unsigned("the largest row of the logits' matrix")?);
        let root = input.bytes_exact::<32>("the commitment to the weights")?;
        let bundle = input.bytes(MAX_BUNDLE_BYTES, "the tokenizer")?;
        input.finish()?;
        // Tables are made for these.
        let is_allowed = |block: &BlockFormats| (0..=MAX_GATE_EXPONENT).contains(&block.exponent(Site::Gate));
        if formats.blocks.len() != norms.len() || !formats.blocks.iter().all(is_allowed) {
            return Err(ManifestError::Shape { what: "formats" });
        }
        let refused = |reason: String| ManifestError::Tokenizer { reason };
        let spec = read_tokenizer(bundle).map_err(refused)?;
        if encode_tokenizer(&spec) != bundle {
            return Err(refused("it was read as another one".to_owned()));
        }
        let commitment = identity(&config, &weights_root, blake3::hash(bundle).as_bytes(), &formats);
        let template = template_digest(&spec);
        let tokenizer = Arc::new(Tokenizer::new(spec).map_err(|reason| refused(reason.to_string()))?);
        let recipe = Recipe::new(&config);
        let outline = Outline {
            commitment,
            template,
            config,
            formats,
            recipe,
            tokenizer,
            norms,
            output_norm,
            grids,
            output_grid,
            output_rows,
            tables: Arc::default(),
        };
        // Part of reading, not of every verification.
        let _ = outline.tables(SHORT_CONTEXT);
        Ok(Self { outline, weights_root, root })
    }
}

fn encode_vector(vector: &Vector, out: &mut Encoder) {
    out.signed(i64::from(vector.exponent()));
    let bytes: Vec<u8> = vector.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    out.bytes(&bytes);
}

fn decode_vector(input: &mut Decoder<'_>, width: usize) -> Result<Vector, ManifestError> {
    let exponent = i32::try_from(input.signed("a norm's exponent")?)
        .ok()
        .filter(|exponent| FLOAT_GRIDS.contains(exponent))
        .ok_or(ManifestError::Shape { what: "exponents" })?;
    let bytes = input.bytes(u64::try_from(width.saturating_mul(2)).unwrap_or(u64::MAX), "a norm")?;
    if bytes.len() != width.saturating_mul(2) {
        return Err(ManifestError::Shape { what: "norms" });
    }
    let values = bytes.as_chunks::<2>().0.iter().map(|value| i16::from_le_bytes(*value)).collect();
    Ok(Vector::new("norm", values, exponent))
}

fn decode_norms(
    input: &mut Decoder<'_>,
    blocks: u64,
    width: usize,
) -> Result<Vec<[Vector; 2]>, ManifestError> {
    input.array_exact(blocks, "a pair of norms per block")?;
    let mut norms = Vec::new();
    for _ in 0..blocks {
        input.array_exact(4, "two norms")?;
        norms.push([decode_vector(input, width)?, decode_vector(input, width)?]);
    }
    Ok(norms)
}

fn decode_grids(input: &mut Decoder<'_>, blocks: u64) -> Result<Vec<[i32; OF_BLOCK.len()]>, ManifestError> {
    input.array_exact(blocks, "exponents per block")?;
    let mut grids = Vec::new();
    for _ in 0..blocks {
        let mut own = [0; OF_BLOCK.len()];
        input.array_exact(u64::try_from(own.len()).unwrap_or(0), "an exponent per matrix")?;
        for grid in &mut own {
            *grid = decode_grid(input)?;
        }
        grids.push(own);
    }
    Ok(grids)
}

fn decode_grid(input: &mut Decoder<'_>) -> Result<i32, ManifestError> {
    i32::try_from(input.signed("a matrix's exponent")?)
        .ok()
        .filter(|grid| FLOAT_GRIDS.contains(grid))
        .ok_or(ManifestError::Shape { what: "exponents" })
}
