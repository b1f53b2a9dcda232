//! An epoch for outsiders, without a key of the gateway's log: the file from which all of its sampling is checked, and
//! the proof that one receipt's answer is in it. Holds no text, and nothing from which text could be guessed.

use crate::checkpoint::{
    Checkpoint, Leaf, MAX_BEACON_BYTES, MAX_CHECKPOINT_BYTES, MAX_EPOCH_LEAVES, MAX_LEAF_BYTES, SignedReason,
};
use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::MerkleHash;
use crate::keys::VerifyingKey;
use crate::merkle::{self, MAX_PATH_HASHES, MerkleReason};
use crate::receipt::Receipt;

#[cfg(test)]
mod tests;

/// Longest file of an epoch in bytes.
pub const MAX_EPOCH_FILE_BYTES: usize = 128 << 20;
/// Longest inclusion proof in bytes.
pub const MAX_INCLUSION_BYTES: usize = MAX_CHECKPOINT_BYTES + MAX_LEAF_BYTES + MAX_PATH_HASHES * 34 + 64;

const FILE_TAG: &str = "maxwell.epoch";
const FILE_FIELDS: u64 = 5;
const INCLUSION_TAG: &str = "maxwell.inclusion";
const INCLUSION_FIELDS: u64 = 4;

/// What a recomputation came to, as the gateway wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Recomputed and right.
    Pass,
    /// Recomputed and wrong.
    Fail,
    /// Could not be recomputed.
    Unverifiable,
}

/// All of an epoch that an outsider needs. Nothing in it is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochFile {
    /// The signed final checkpoint.
    pub checkpoint: Vec<u8>,
    /// The key of the first lottery, once it is revealed.
    pub audit_key: Option<[u8; 32]>,
    /// The signed beacon, once there is one.
    pub beacon: Option<Vec<u8>>,
    /// The answers in the tree's order.
    pub leaves: Vec<Leaf>,
    /// Tags of answers that were recomputed.
    pub judged: Vec<(u64, Judgement)>,
}

impl Judgement {
    const ALL: [Self; 3] = [Self::Pass, Self::Fail, Self::Unverifiable];

    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unverifiable => "unverifiable",
        }
    }
}

impl EpochFile {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.structure(FILE_TAG, 1, FILE_FIELDS);
        out.bytes(&self.checkpoint);
        match &self.audit_key {
            Some(key) => out.bytes(key),
            None => out.null(),
        }
        match &self.beacon {
            Some(beacon) => out.bytes(beacon),
            None => out.null(),
        }
        out.array_header(self.leaves.len());
        self.leaves.iter().for_each(|leaf| leaf.encode_into(&mut out));
        out.array_header(self.judged.len());
        for (tag, judgement) in &self.judged {
            out.array_header(2);
            out.unsigned(*tag);
            out.text(judgement.code());
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::MessageSize`], and those of [`Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let length = bytes.len();
        if length > MAX_EPOCH_FILE_BYTES {
            return Err(Error::MessageSize { what: "epoch's file", length, limit: MAX_EPOCH_FILE_BYTES });
        }
        let mut decoder = Decoder::new(bytes);
        decoder.structure(FILE_TAG, 1, FILE_FIELDS)?;
        let checkpoint = decoder.bytes(limit(MAX_CHECKPOINT_BYTES), "a signed checkpoint")?.to_vec();
        let audit_key = decoder.optional("a key or null", |decoder| decoder.bytes_exact("a key or null"))?;
        let beacon = decoder.optional("a beacon or null", |decoder| {
            Ok(decoder.bytes(limit(MAX_BEACON_BYTES), "a beacon or null")?.to_vec())
        })?;
        let leaves = list(&mut decoder, "the answers", Leaf::decode_from)?;
        let judged = list(&mut decoder, "the outcomes", decode_judged)?;
        decoder.finish()?;
        Ok(Self { checkpoint, audit_key, beacon, leaves, judged })
    }
}

/// A list of the length that an epoch may have. Memory grows with what was read, not with what was announced.
fn list<'a, T>(
    decoder: &mut Decoder<'a>,
    what: &'static str,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let count = decoder.array_header(MAX_EPOCH_LEAVES, what)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(decoder)?);
    }
    Ok(items)
}

fn decode_judged(decoder: &mut Decoder<'_>) -> Result<(u64, Judgement), Error> {
    decoder.array_exact(2, "an answer's outcome")?;
    let tag = decoder.unsigned("a tag")?;
    let (offset, expected) = (decoder.offset(), "pass, fail or unverifiable");
    let name = decoder.text(16, expected)?;
    let known = Judgement::ALL.into_iter().find(|known| known.code() == name);
    Ok((tag, known.ok_or(Error::UnknownName { offset, expected })?))
}

fn limit(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// That an answer is in an epoch's tree. Nothing in it is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// The signed final checkpoint.
    pub checkpoint: Vec<u8>,
    /// The answer's place in the tree.
    pub index: u64,
    /// The answer.
    pub leaf: Leaf,
    /// From the leaf up, see [`crate::merkle::inclusion_path`].
    pub path: Vec<MerkleHash>,
}

/// Why a proof does not show that a receipt's answer is in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InclusionReason {
    /// Not in the one byte form.
    #[error("this is no inclusion proof: {0}")]
    Form(Error),
    /// The checkpoint is not this gateway's.
    #[error("the checkpoint is not this gateway's: {0}")]
    Checkpoint(SignedReason),
    /// More answers may follow, so that nobody is bound yet.
    #[error("the checkpoint is not the epoch's final one")]
    NotFinal,
    /// The leaf is about another answer, or says something else about it than the receipt.
    #[error("the proof is about another answer than the receipt: their {field} differs")]
    Field {
        /// What differs.
        field: &'static str,
    },
    /// The leaf is not in the tree.
    #[error(transparent)]
    Merkle(MerkleReason),
}

impl InclusionProof {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.structure(INCLUSION_TAG, 1, INCLUSION_FIELDS);
        out.bytes(&self.checkpoint);
        out.unsigned(self.index);
        self.leaf.encode_into(&mut out);
        out.array_header(self.path.len());
        self.path.iter().for_each(|hash| out.bytes(hash.as_bytes()));
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::MessageSize`], and those of [`Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let length = bytes.len();
        if length > MAX_INCLUSION_BYTES {
            return Err(Error::MessageSize { what: "inclusion proof", length, limit: MAX_INCLUSION_BYTES });
        }
        let mut decoder = Decoder::new(bytes);
        decoder.structure(INCLUSION_TAG, 1, INCLUSION_FIELDS)?;
        let checkpoint = decoder.bytes(limit(MAX_CHECKPOINT_BYTES), "a signed checkpoint")?.to_vec();
        let index = decoder.unsigned("a place in the tree")?;
        let leaf = Leaf::decode_from(&mut decoder)?;
        let count = decoder.array_header(limit(MAX_PATH_HASHES), "a path")?;
        let mut path = Vec::with_capacity(count);
        for _ in 0..count {
            path.push(MerkleHash::from_bytes(decoder.bytes_exact("a hash")?));
        }
        decoder.finish()?;
        Ok(Self { checkpoint, index, leaf, path })
    }

    /// Checks that the receipt's answer is in the final tree of an epoch of the same gateway, with the receipt's cost
    /// and claim. Gives the checkpoint.
    ///
    /// # Errors
    /// [`InclusionReason`].
    pub fn verify(&self, key: &VerifyingKey, receipt: &Receipt) -> Result<Checkpoint, InclusionReason> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, key).map_err(InclusionReason::Checkpoint)?;
        if !checkpoint.is_final {
            return Err(InclusionReason::NotFinal);
        }
        let differs = |field| Err(InclusionReason::Field { field });
        if receipt.gateway != checkpoint.terms.gateway {
            return differs("gateway");
        }
        if receipt.tag.counter != self.leaf.tag {
            return differs("tag");
        }
        // What failed has no claim digest in its receipt.
        if receipt.claim.is_some_and(|claim| claim != self.leaf.claim) {
            return differs("claim");
        }
        let cost = u64::from(receipt.prompt_tokens).saturating_add(u64::from(receipt.output_tokens));
        if cost != self.leaf.cost_tokens {
            return differs("cost");
        }
        let place = usize::try_from(self.leaf.model).unwrap_or(usize::MAX);
        if checkpoint.terms.models.get(place).is_none_or(|floor| floor.model != receipt.model) {
            return differs("model");
        }
        merkle::verify_inclusion(
            &self.leaf.hash(),
            self.index,
            checkpoint.size,
            &self.path,
            &checkpoint.root,
        )
        .map_err(InclusionReason::Merkle)?;
        Ok(checkpoint)
    }
}

impl InclusionReason {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "inclusion_form",
            Self::Checkpoint(_) => "inclusion_checkpoint",
            Self::NotFinal => "inclusion_not_final",
            Self::Field { .. } => "inclusion_field",
            Self::Merkle(_) => "inclusion",
        }
    }
}
