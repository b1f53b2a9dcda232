//! Prepared vectors as sealed bytes, for a file of the auditor's. Never readable, and never accepted, without the key:
//! whoever could change s could make a false product pass.
//!
//! Bytes: `MXAUDIT1`, the model's commitment, a salt, the encrypted vectors, a keyed hash over all before it.

use model::Model;
use protocol::ModelCommitment;

use super::{Prepared, Vectors};
use crate::field::CheckField;

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"MXAUDIT1";
/// Longest file: 1 GiB, vectors of more than 10^8 rows and columns.
pub const MAX_SEALED_BYTES: usize = 1 << 30;
const CIPHER_CONTEXT: &str = "maxwell 2026-11 audit seal stream v1";
const TAG_CONTEXT: &str = "maxwell 2026-11 audit seal tag v1";
const TAG_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
/// Length of a salt.
pub const SALT_BYTES: usize = 32;

/// Why sealed vectors can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not such a file, or of another version.
    #[error("this is no file of prepared audit vectors")]
    Magic,
    /// Another key, or a changed byte.
    #[error("the prepared audit vectors were changed, or belong to another key")]
    Tag,
    /// Prepared for another model.
    #[error("the audit vectors were prepared for model {0}")]
    Model(ModelCommitment),
    /// Not as many numbers as the model needs.
    #[error("the prepared audit vectors do not fit the model")]
    Shape,
}

/// The bytes of vectors. `salt` must be fresh randomness: the stream that hides the vectors is derived from it.
#[must_use]
pub fn seal<F: CheckField>(
    prepared: &Prepared<F>,
    model: &ModelCommitment,
    key: &[u8; 32],
    salt: &[u8; SALT_BYTES],
) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(model.as_bytes());
    bytes.extend_from_slice(salt);
    let start = bytes.len();
    for vectors in prepared.blocks.iter().flatten().chain([&prepared.head]) {
        for element in vectors.rows.iter().flatten().chain(&vectors.columns) {
            F::write(*element, &mut bytes);
        }
        bytes.extend(vectors.bits.iter().map(|bits| u8::try_from(*bits).unwrap_or(u8::MAX)));
    }
    apply_stream(key, salt, &mut bytes[start..]);
    let tag = tag(key, &bytes);
    bytes.extend_from_slice(&tag);
    bytes
}

/// Reads what [`seal`] wrote for this model.
///
/// # Errors
/// [`SealError`].
pub fn unseal<F: CheckField>(bytes: &[u8], model: &Model, key: &[u8; 32]) -> Result<Prepared<F>, SealError> {
    let (body, found) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(SealError::Magic)?;
    let rest = body.strip_prefix(MAGIC.as_slice()).ok_or(SealError::Magic)?;
    // In constant time.
    if blake3::Hash::from_bytes(tag(key, body)) != blake3::Hash::from_bytes(*found) {
        return Err(SealError::Tag);
    }
    let (commitment, encrypted) = rest.split_first_chunk::<COMMITMENT_BYTES>().ok_or(SealError::Shape)?;
    let commitment = ModelCommitment::from_bytes(*commitment);
    if commitment != model.commitment {
        return Err(SealError::Model(commitment));
    }
    let (salt, encrypted) = encrypted.split_first_chunk::<SALT_BYTES>().ok_or(SealError::Shape)?;
    let mut plain = encrypted.to_vec();
    apply_stream(key, salt, &mut plain);
    read_vectors(&mut plain.as_slice(), model).ok_or(SealError::Shape)
}

fn read_vectors<F: CheckField>(bytes: &mut &[u8], model: &Model) -> Option<Prepared<F>> {
    let mut blocks = Vec::with_capacity(model.tensors.blocks.len());
    for block in 0..model.tensors.blocks.len() {
        let mut read = |group| {
            let matrices = super::matrices(model, block, group);
            let rows: Vec<usize> = matrices.iter().map(|(weights, _)| weights.rows() as usize).collect();
            read_group::<F>(bytes, &rows, matrices.first().map_or(0, |(weights, _)| weights.cols() as usize))
        };
        let [a, b, c, d] = super::Group::ALL.map(&mut read);
        blocks.push([a?, b?, c?, d?]);
    }
    let output = model.output();
    let head = read_group::<F>(bytes, &[output.rows() as usize], output.cols() as usize)?;
    bytes.is_empty().then_some(Prepared { blocks, head })
}

fn read_group<F: CheckField>(
    bytes: &mut &[u8],
    rows: &[usize],
    columns: usize,
) -> Option<Vectors<F::Element>> {
    let mut take = |count: usize| -> Option<Vec<F::Element>> {
        let (part, rest) = bytes.split_at_checked(count.checked_mul(F::BYTES)?)?;
        *bytes = rest;
        part.chunks_exact(F::BYTES).map(F::read).collect()
    };
    let rows: Vec<Vec<F::Element>> = rows.iter().map(|count| take(*count)).collect::<Option<_>>()?;
    let columns = take(columns)?;
    let (bits, rest) = bytes.split_at_checked(rows.len())?;
    *bytes = rest;
    Some(Vectors { rows, columns, bits: bits.iter().map(|b| u32::from(*b)).collect() })
}

fn apply_stream(key: &[u8; 32], salt: &[u8; SALT_BYTES], bytes: &mut [u8]) {
    let mut stream = blake3::Hasher::new_derive_key(CIPHER_CONTEXT).update(key).update(salt).finalize_xof();
    let mut pad = [0; 4096];
    for chunk in bytes.chunks_mut(pad.len()) {
        let pad = &mut pad[..chunk.len()];
        stream.fill(pad);
        for (byte, pad) in chunk.iter_mut().zip(pad) {
            *byte ^= *pad;
        }
    }
}

fn tag(key: &[u8; 32], bytes: &[u8]) -> [u8; TAG_BYTES] {
    let key = blake3::derive_key(TAG_CONTEXT, key);
    *blake3::keyed_hash(&key, bytes).as_bytes()
}
