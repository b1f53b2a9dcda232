//! The identity of a model: one hash over everything that decides its numbers and its words. Never includes
//! a path, a name that a user chose, or the time.

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use protocol::encoding::Encoder;
use protocol::id::{ModelCommitment, TemplateDigest};
use tokenizer::{Special, Tokenizer, TokenizerSpec};

pub use self::config::{ConfigError, decode_config, encode_config};
use crate::Error;
use crate::calibration::{self, TEXT};
use crate::formats::Formats;
use crate::import::{BlockTensors, ImportedFile, ModelConfig, Tensors};
use crate::ops::matmul::Accumulate;
use crate::ops::rms_norm::output_exponent;
use crate::recipe::{Recipe, RotationKind};
use crate::tables::{self, COMMITTED_POSITIONS};
use crate::weights::{BlockKind, Form, Loss, Vector, Weights};

/// The class of numerics that docs/numerics.md defines. Another definition gets another name.
pub const NUMERICS: &str = "maxwell-ie5-1";
/// blake3 `derive_key` context of the commitment.
const COMMITMENT_CONTEXT: &str = "maxwell 2026-11 model commitment v1";
/// blake3 `derive_key` context of a chat template's digest.
const TEMPLATE_CONTEXT: &str = "maxwell 2026-11 chat template v1";

/// A model with its formats and its identity: ready to be packed and run.
#[derive(Debug)]
pub struct Model {
    /// Shapes and constants.
    pub config: ModelConfig,
    /// Weights.
    pub tensors: Tensors,
    /// Binary points.
    pub formats: Formats,
    /// Constants that follow from the configuration.
    pub recipe: Recipe,
    /// Text to ids and back.
    pub tokenizer: Arc<Tokenizer>,
    /// What rounding changed at import.
    pub losses: Vec<Loss>,
    /// Hash over all weights.
    pub weights_root: [u8; 32],
    /// The identity.
    pub commitment: ModelCommitment,
    /// Identity of the chat template, if there is one.
    pub template: Option<TemplateDigest>,
}

impl Model {
    /// Puts an imported file and its formats together, proves the bounds and computes the identity.
    ///
    /// # Errors
    /// [`Error::Bound`] and [`Error::Tokenizer`].
    pub fn assemble(file: ImportedFile, formats: Formats) -> Result<Self, Error> {
        let ImportedFile { config, tensors, tokenizer, losses, .. } = file;
        if formats.blocks.len() != tensors.blocks.len() {
            return Err(Error::FormatsMismatch {
                blocks: tensors.blocks.len(),
                formats: formats.blocks.len(),
            });
        }
        let recipe = Recipe::new(&config);
        let template = template_digest(&tokenizer);
        let weights_root = weights_root(&tensors);
        let commitment = identity(&config, &weights_root, &tokenizer_digest(&tokenizer), &formats);
        let tokenizer = Arc::new(Tokenizer::new(tokenizer)?);
        Ok(Self { config, tensors, formats, recipe, tokenizer, losses, weights_root, commitment, template })
    }

    /// The matrix that gives logits.
    #[must_use]
    pub fn output(&self) -> &Weights {
        self.tensors.output()
    }

    /// Exponent of the logits.
    #[must_use]
    pub fn logit_exponent(&self) -> i32 {
        output_exponent(self.config.width, &self.tensors.output_norm) + self.output().grid()
    }
}

impl Tensors {
    /// The matrix that gives logits: the embedding where the file has no other.
    #[must_use]
    pub fn output(&self) -> &Weights {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

/// The identity of the model with these parts.
#[must_use]
pub fn identity(
    config: &ModelConfig,
    weights_root: &[u8; 32],
    tokenizer_digest: &[u8; 32],
    formats: &Formats,
) -> ModelCommitment {
    let mut out = Encoder::new();
    out.structure("maxwell.model", 1, 7);
    out.text(NUMERICS);
    encode_config(config, &mut out);
    out.bytes(weights_root);
    out.bytes(tokenizer_digest);
    formats.encode(&mut out);
    out.bytes(&tables_digest(config, &Recipe::new(config), formats));
    out.bytes(blake3::hash(TEXT.as_bytes()).as_bytes());
    ModelCommitment::from_bytes(blake3::derive_key(COMMITMENT_CONTEXT, &out.into_bytes()))
}

/// Identity of the chat template, if there is one.
#[must_use]
pub fn template_digest(tokenizer: &TokenizerSpec) -> Option<TemplateDigest> {
    let template = tokenizer.chat_template.as_ref()?;
    Some(TemplateDigest::from_bytes(blake3::derive_key(TEMPLATE_CONTEXT, template.as_bytes())))
}

/// Calibrates an imported file: see module [`calibration`]. `progress` counts to 1000.
///
/// # Errors
/// [`Error::Tokenizer`] and [`Error::Bound`].
pub fn calibrate_file(
    file: &ImportedFile,
    accumulate: &dyn Accumulate,
    progress: &mut dyn FnMut(u32),
) -> Result<Formats, Error> {
    let tokenizer = Tokenizer::new(file.tokenizer.clone())?;
    let ids = tokenizer.encode(TEXT, Special::AsText)?;
    let lead = file.tokenizer.bos.filter(|bos| file.tokenizer.add_bos && ids.first() == Some(bos));
    let ids = &ids[usize::from(lead.is_some())..];
    let segments = calibration::segments(ids, file.tokenizer.bos, file.config.context);
    calibration::calibrate(&file.config, &file.tensors, &segments, accumulate, progress)
}

/// blake3 over every tensor in a fixed order: its place, its shape, its exact integers.
fn weights_root(tensors: &Tensors) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("maxwell 2026-11 weights root v1");
    hash_matrix(&mut hasher, Some(&tensors.embedding));
    hash_matrix(&mut hasher, tensors.output.as_ref());
    hash_vector(&mut hasher, Some(&tensors.output_norm));
    for block in &tensors.blocks {
        let BlockTensors { attn_norm, q, k, v, o, q_bias, k_bias, v_bias, q_norm, k_norm, .. } = block;
        let BlockTensors { post_attn_norm, ffn_norm, gate, up, down, post_ffn_norm, .. } = block;
        for matrix in [q, k, v, o, gate, up, down] {
            hash_matrix(&mut hasher, Some(matrix));
        }
        for vector in [Some(attn_norm), Some(ffn_norm)] {
            hash_vector(&mut hasher, vector);
        }
        for vector in [q_bias, k_bias, v_bias, q_norm, k_norm, post_attn_norm, post_ffn_norm] {
            hash_vector(&mut hasher, vector.as_ref());
        }
    }
    *hasher.finalize().as_bytes()
}

/// Each leaf is a canonical header and one digest, so no two tensor lists share their bytes.
fn hash_matrix(hasher: &mut blake3::Hasher, weights: Option<&Weights>) {
    let mut out = Encoder::new();
    match weights.map(|w| (w, w.form())) {
        None => out.null(),
        Some((w, Form::Blocks { kind, bytes })) => {
            out.structure("maxwell.matrix.blocks", 1, 4);
            out.unsigned(u64::from(w.rows()));
            out.unsigned(u64::from(w.cols()));
            out.text(kind_name(*kind));
            out.bytes(blake3::hash(bytes.as_slice()).as_bytes());
        }
        Some((w, Form::Rows { values, shifts })) => {
            out.structure("maxwell.matrix.rows", 1, 5);
            out.unsigned(u64::from(w.rows()));
            out.unsigned(u64::from(w.cols()));
            out.signed(i64::from(w.grid()));
            out.bytes(&hash_words(values));
            out.bytes(blake3::hash(shifts).as_bytes());
        }
    }
    hasher.update(&out.into_bytes());
}

/// Name of a block format in the commitment; never changed once used.
fn kind_name(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Q8_0 => "Q8_0",
        BlockKind::Q4_0 => "Q4_0",
        BlockKind::Q4_1 => "Q4_1",
        BlockKind::Q5_0 => "Q5_0",
        BlockKind::Q5_1 => "Q5_1",
        BlockKind::Q4K => "Q4_K",
        BlockKind::Q5K => "Q5_K",
        BlockKind::Q6K => "Q6_K",
    }
}

fn hash_vector(hasher: &mut blake3::Hasher, vector: Option<&Vector>) {
    let mut out = Encoder::new();
    match vector {
        None => out.null(),
        Some(vector) => {
            out.structure("maxwell.vector", 1, 3);
            out.unsigned(vector.values().len() as u64);
            out.signed(i64::from(vector.exponent()));
            out.bytes(&hash_words(vector.values()));
        }
    }
    hasher.update(&out.into_bytes());
}

fn hash_words(values: &[i16]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in values.chunks(1 << 15) {
        let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

/// The tokenizer bundle: everything that turns text into tokens and back, as the bytes that the commitment hashes.
///
/// A CBOR sequence (RFC 8742) of two items: the structure, and behind it the chat template as a byte string, which
/// is empty where there is none.
#[must_use]
pub fn encode_tokenizer(spec: &TokenizerSpec) -> Vec<u8> {
    let mut out = Encoder::new();
    out.structure("maxwell.tokenizer", 1, 14);
    out.unsigned(spec.kind as u64);
    out.text(&spec.pre);
    out.array_header(spec.tokens.len());
    spec.tokens.iter().for_each(|token| out.bytes(token));
    out.array_header(spec.types.len());
    spec.types.iter().for_each(|kind| out.unsigned(*kind as u64));
    out.list_u32(&spec.score_bits);
    out.array_header(spec.merges.len());
    spec.merges.iter().for_each(|merge| out.bytes(merge));
    for id in [spec.bos, spec.eos, spec.unknown, spec.padding] {
        match id {
            None => out.null(),
            Some(id) => out.unsigned(u64::from(id)),
        }
    }
    out.list_u32(&spec.end_ids);
    for flag in [spec.add_bos, spec.add_eos, spec.add_space_prefix] {
        out.boolean(flag);
    }
    // Behind the structure and not counted by its header: commitments were made of these bytes, so they stay.
    out.bytes(spec.chat_template.as_deref().unwrap_or_default().as_bytes());
    out.into_bytes()
}

/// Digest of the tokenizer bundle.
#[must_use]
pub fn tokenizer_digest(spec: &TokenizerSpec) -> [u8; 32] {
    *blake3::hash(&encode_tokenizer(spec)).as_bytes()
}

/// Hash over the tables as bytes: whoever makes them otherwise computes another model.
fn tables_digest(config: &ModelConfig, recipe: &Recipe, formats: &Formats) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("maxwell 2026-11 tables v1");
    for table in [tables::exp_short(), tables::exp_long(), tables::exp_sampler()] {
        let bytes: Vec<u8> = table.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(blake3::hash(&bytes).as_bytes());
    }
    let gates = formats.blocks.iter().map(|b| b.exponent(crate::formats::Site::Gate));
    for exponent in gates.collect::<std::collections::BTreeSet<_>>() {
        hasher.update(&exponent.to_le_bytes());
        hasher.update(&hash_words(&tables::activation_table(config.activation, exponent)));
    }
    let positions = config.context.min(COMMITTED_POSITIONS) as usize;
    for local in [false, true] {
        if local && config.sliding.is_none() {
            continue;
        }
        for query in [false, true] {
            let table = recipe.rotation_table(RotationKind { local, query }, positions);
            hasher.update(blake3::hash(&table.bytes()).as_bytes());
        }
    }
    *hasher.finalize().as_bytes()
}
