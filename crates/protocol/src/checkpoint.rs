//! What a gateway binds itself to about an epoch, and the beacon that the other party draws after it. A checkpoint must
//! never say what the audit key is, and a beacon never fits another checkpoint.
//!
//! Lottery one: the answer with claim digest h is picked if its coin under the epoch's audit key is below its rate. The
//! key is committed to here, at first with an empty tree, and revealed after the final checkpoint. Whoever holds the key
//! can foresee these picks, so there is lottery two: the same with a key from the beacon, which nobody knew while there
//! were answers to be given.

use std::fmt;

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::{CheckpointDigest, ClaimDigest, KeyId, MerkleHash, ModelCommitment};
use crate::keys::{SigningKey, VerifyingKey};
use crate::merkle;
pub use crate::signed::SignedReason;
use crate::signed::{self, MAX_OVERHEAD_BYTES};

#[cfg(test)]
mod tests;

/// Most answers in an epoch.
pub const MAX_EPOCH_LEAVES: u64 = 1 << 20;
/// Most models of one gateway.
pub const MAX_MODELS: u64 = 64;
/// Longest signed checkpoint in bytes.
pub const MAX_CHECKPOINT_BYTES: usize = 512 + 48 * 64 + MAX_OVERHEAD_BYTES;
/// Longest signed beacon in bytes.
pub const MAX_BEACON_BYTES: usize = 160 + MAX_OVERHEAD_BYTES;
/// Longest leaf in bytes.
pub const MAX_LEAF_BYTES: usize = 96;
/// Domain of checkpoint digests (BLAKE3 `derive_key` context).
pub const CHECKPOINT_CONTEXT: &str = "maxwell 2026-11 checkpoint digest v1";
/// Domain of the second lottery's key (BLAKE3 `derive_key` context).
pub const BEACON_KEY_CONTEXT: &str = "maxwell 2026-11 beacon lottery key v1";

const LEAF_TAG: &str = "maxwell.answer";
const LEAF_FIELDS: u64 = 5;
const CHECKPOINT_TAG: &str = "maxwell.checkpoint";
const CHECKPOINT_FIELDS: u64 = 11;
const BEACON_TAG: &str = "maxwell.beacon";
const BEACON_FIELDS: u64 = 3;

/// One answer in the epoch's tree. The digest hides what was asked and answered, since the claim has a secret nonce; the
/// digest of the response, which has none, is left to the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The gateway's counter of the request.
    pub tag: u64,
    /// Which of the checkpoint's models.
    pub model: u32,
    /// What the server is taken to claim.
    pub claim: ClaimDigest,
    /// Tokens of prompt and output, by the gateway's own count.
    pub cost_tokens: u64,
    /// Whether the first lottery picked it.
    pub picked: bool,
}

/// A model of the gateway, and the least rate at which its answers are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFloor {
    /// The model.
    pub model: ModelCommitment,
    /// In parts of a thousand million.
    pub floor_ppb: u64,
}

/// What is fixed before the epoch's first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochTerms {
    /// Whose epoch it is: id of the key that signs.
    pub gateway: KeyId,
    /// Names the epoch: the log's number of the record that began it, so later epochs have higher ones.
    pub epoch: u64,
    /// Commitment to the key of the first lottery.
    pub audit_key: [u8; 32],
    /// Commitment to the key from which nonces come.
    pub seed_key: [u8; 32],
    /// Rate of an answer of the reference length, in parts of a thousand million.
    pub rate_ppb: u64,
    /// What is served here, each with its floor. Ascending, each once.
    pub models: Vec<ModelFloor>,
    /// Who draws the beacon, if somebody does.
    pub beacon_party: Option<VerifyingKey>,
    /// The final checkpoint of the epoch before, if there was one.
    pub previous: Option<CheckpointDigest>,
}

/// The answers of an epoch so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What was fixed.
    pub terms: EpochTerms,
    /// How many answers.
    pub size: u64,
    /// Root of the tree over them, see [`Leaf::hash`].
    pub root: MerkleHash,
    /// Whether no answer will follow.
    pub is_final: bool,
}

/// A draw that nobody could foresee while the epoch's answers were given. Its owner is the other party.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Beacon {
    /// The epoch.
    pub epoch: u64,
    /// Its final checkpoint.
    pub checkpoint: CheckpointDigest,
    /// 32 random bytes, drawn after the checkpoint was seen.
    pub value: [u8; 32],
}

impl Leaf {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        self.encode_into(&mut out);
        out.into_bytes()
    }

    /// The same, as a part of something.
    pub fn encode_into(&self, out: &mut Encoder) {
        out.structure(LEAF_TAG, 1, LEAF_FIELDS);
        out.unsigned(self.tag);
        out.unsigned(u64::from(self.model));
        out.bytes(self.claim.as_bytes());
        out.unsigned(self.cost_tokens);
        out.boolean(self.picked);
    }

    /// The inverse of [`Self::encode_into`].
    ///
    /// # Errors
    /// Those of [`Decoder`].
    pub fn decode_from(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure(LEAF_TAG, 1, LEAF_FIELDS)?;
        Ok(Self {
            tag: decoder.unsigned("a tag")?,
            model: decoder.unsigned_u32("a model's place")?,
            claim: ClaimDigest::from_bytes(decoder.bytes_exact("a claim digest")?),
            cost_tokens: decoder.unsigned("a number of tokens")?,
            picked: decoder.boolean("whether it is recomputed")?,
        })
    }

    /// Its hash in the tree.
    pub fn hash(&self) -> MerkleHash {
        merkle::leaf_hash(&self.encode())
    }
}

impl EpochTerms {
    /// Before the first answer.
    pub fn opening(&self) -> Checkpoint {
        Checkpoint { terms: self.clone(), size: 0, root: merkle::empty_root(), is_final: false }
    }
}

impl Checkpoint {
    /// Signs it and gives its bytes.
    ///
    /// # Errors
    /// [`SignedReason::OtherKey`] if it names another gateway; [`SignedReason::Payload`] if it breaks a limit. Nothing
    /// is signed that [`Self::verify`] would refuse.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, SignedReason> {
        self.check(key.verifying_key().id())?;
        Ok(signed::sign(&self.payload(), key))
    }

    /// Reads a checkpoint of the gateway with this key, which the caller has from somebody they trust.
    ///
    /// # Errors
    /// [`SignedReason`].
    pub fn verify(bytes: &[u8], key: &VerifyingKey) -> Result<Self, SignedReason> {
        let payload = signed::open(bytes, key, "checkpoint", MAX_CHECKPOINT_BYTES)?;
        let checkpoint = Self::decode_payload(payload).map_err(SignedReason::Payload)?;
        checkpoint.check(key.id())?;
        Ok(checkpoint)
    }

    /// Names this checkpoint: BLAKE3 `derive_key` in [`CHECKPOINT_CONTEXT`] over what is signed.
    pub fn digest(&self) -> CheckpointDigest {
        CheckpointDigest::from_bytes(blake3::derive_key(CHECKPOINT_CONTEXT, &self.payload()))
    }

    fn check(&self, signer: KeyId) -> Result<(), SignedReason> {
        let terms = &self.terms;
        if terms.gateway != signer {
            return Err(SignedReason::OtherKey { found: terms.gateway, expected: signer });
        }
        let models = u64::try_from(terms.models.len()).unwrap_or(u64::MAX);
        if self.size > MAX_EPOCH_LEAVES || models == 0 || models > MAX_MODELS {
            return Err(SignedReason::Payload(Error::EpochLimits { leaves: self.size, models }));
        }
        let ascends = terms.models.iter().zip(terms.models.iter().skip(1)).all(|(a, b)| a.model < b.model);
        if !ascends {
            return Err(SignedReason::Payload(Error::ModelOrder));
        }
        Ok(())
    }

    fn payload(&self) -> Vec<u8> {
        let terms = &self.terms;
        let mut out = Encoder::new();
        out.structure(CHECKPOINT_TAG, 1, CHECKPOINT_FIELDS);
        out.bytes(terms.gateway.as_bytes());
        out.unsigned(terms.epoch);
        out.bytes(&terms.audit_key);
        out.bytes(&terms.seed_key);
        out.unsigned(terms.rate_ppb);
        out.array_header(terms.models.len());
        for floor in &terms.models {
            out.array_header(2);
            out.bytes(floor.model.as_bytes());
            out.unsigned(floor.floor_ppb);
        }
        match &terms.beacon_party {
            Some(party) => out.bytes(party.as_bytes()),
            None => out.null(),
        }
        match &terms.previous {
            Some(previous) => out.bytes(previous.as_bytes()),
            None => out.null(),
        }
        out.unsigned(self.size);
        out.bytes(self.root.as_bytes());
        out.boolean(self.is_final);
        out.into_bytes()
    }

    fn decode_payload(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        decoder.structure(CHECKPOINT_TAG, 1, CHECKPOINT_FIELDS)?;
        let gateway = KeyId::from_bytes(decoder.bytes_exact("the gateway's key id")?);
        let epoch = decoder.unsigned("an epoch")?;
        let audit_key = decoder.bytes_exact("a commitment")?;
        let seed_key = decoder.bytes_exact("a commitment")?;
        let rate_ppb = decoder.unsigned("a rate")?;
        let count = decoder.array_header(MAX_MODELS, "the models")?;
        let mut models = Vec::with_capacity(count);
        for _ in 0..count {
            decoder.array_exact(2, "a model and its floor")?;
            let model = ModelCommitment::from_bytes(decoder.bytes_exact("a model commitment")?);
            models.push(ModelFloor { model, floor_ppb: decoder.unsigned("a rate")? });
        }
        let beacon_party = decoder.optional("a party's key or null", |decoder| {
            VerifyingKey::from_bytes(&decoder.bytes_exact("a party's key or null")?)
        })?;
        let previous = decoder.optional("a checkpoint's digest or null", |decoder| {
            Ok(CheckpointDigest::from_bytes(decoder.bytes_exact("a checkpoint's digest or null")?))
        })?;
        let checkpoint = Self {
            terms: EpochTerms {
                gateway,
                epoch,
                audit_key,
                seed_key,
                rate_ppb,
                models,
                beacon_party,
                previous,
            },
            size: decoder.unsigned("a number of answers")?,
            root: MerkleHash::from_bytes(decoder.bytes_exact("a root")?),
            is_final: decoder.boolean("whether it is final")?,
        };
        decoder.finish()?;
        Ok(checkpoint)
    }
}

impl Beacon {
    /// A beacon for a final checkpoint.
    pub fn new(checkpoint: &Checkpoint, value: [u8; 32]) -> Self {
        Self { epoch: checkpoint.terms.epoch, checkpoint: checkpoint.digest(), value }
    }

    /// Signs it and gives its bytes.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        signed::sign(&self.payload(), key)
    }

    /// Reads a beacon of the party with this key.
    ///
    /// # Errors
    /// [`SignedReason`].
    pub fn verify(bytes: &[u8], key: &VerifyingKey) -> Result<Self, SignedReason> {
        let payload = signed::open(bytes, key, "beacon", MAX_BEACON_BYTES)?;
        Self::decode_payload(payload).map_err(SignedReason::Payload)
    }

    /// The key of the second lottery: BLAKE3 `derive_key` in [`BEACON_KEY_CONTEXT`] over the checkpoint's digest and the
    /// value.
    pub fn lottery_key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(BEACON_KEY_CONTEXT);
        // Both have a fixed length.
        hasher.update(self.checkpoint.as_bytes());
        hasher.update(&self.value);
        *hasher.finalize().as_bytes()
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.structure(BEACON_TAG, 1, BEACON_FIELDS);
        out.unsigned(self.epoch);
        out.bytes(self.checkpoint.as_bytes());
        out.bytes(&self.value);
        out.into_bytes()
    }

    fn decode_payload(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        decoder.structure(BEACON_TAG, 1, BEACON_FIELDS)?;
        let beacon = Self {
            epoch: decoder.unsigned("an epoch")?,
            checkpoint: CheckpointDigest::from_bytes(decoder.bytes_exact("a checkpoint's digest")?),
            value: decoder.bytes_exact("a beacon")?,
        };
        decoder.finish()?;
        Ok(beacon)
    }
}

impl fmt::Debug for Beacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Beacon(epoch {}, {}, {})", self.epoch, self.checkpoint, hex::encode(self.value))
    }
}
