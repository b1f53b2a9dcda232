//! The models that two parties allow, and the check that both did. Must never give an entry of a list that was
//! not authorized, is expired or older than one seen before, or that was revoked.
//!
//! A [`Whitelist`] is plain data and proves nothing. [`authorize`] makes the only type with lookups,
//! [`AuthorizedWhitelist`], from bytes that both parties signed; each lookup asks for the time again, since a
//! gateway holds the list for longer than it may be valid.

use crate::claim::{MAX_NUMERICS_BYTES, check_numerics};
use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::group_tree::TreeHead;
use crate::id::{ModelCommitment, TemplateDigest};
use crate::keys::{Signature, SigningKey, VerifyingKey};

#[cfg(test)]
mod tests;

/// Longest name of an entry, in bytes.
pub const MAX_NAME_BYTES: u64 = 64;
/// Most entries in a whitelist.
pub const MAX_ENTRIES: u64 = 1024;
/// Most revoked models in a whitelist.
pub const MAX_REVOKED: u64 = 4096;
/// Most signatures on a whitelist; two are needed, the rest is room for a change of parties.
pub const MAX_SIGNATURES: u64 = 8;
/// Longest encoded whitelist, 1 MiB. The fullest has 1024 entries of less than 400 bytes and 4096 revocations of 34.
pub const MAX_WHITELIST_BYTES: usize = 1 << 20;
/// Longest whitelist with its signatures.
pub const MAX_SIGNED_WHITELIST_BYTES: usize = MAX_WHITELIST_BYTES + (1 << 12);

const ENTRY_TAG: &str = "maxwell.whitelist.entry";
const ENTRY_FIELDS: u64 = 9;
const WHITELIST_TAG: &str = "maxwell.whitelist";
const WHITELIST_FIELDS: u64 = 4;
const SIGNED_TAG: &str = "maxwell.whitelist.signed";
const SIGNED_FIELDS: u64 = 2;
/// What a party signs is a structure of its own, so that the signature fits nothing else that the key ever signs.
const MESSAGE_TAG: &str = "maxwell.whitelist.message";
const MESSAGE_FIELDS: u64 = 1;
const VERSION: u32 = 1;

/// One model that may run, and all that a gateway must know about it without linking the model itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhitelistEntry {
    /// What clients call it: 1 to 64 of a-z, 0-9, '.', '-' and '_', not beginning with '.'.
    pub name: String,
    /// The model's identity.
    pub model: ModelCommitment,
    /// Its numerics class.
    pub numerics: String,
    /// Its chat template, if it has one.
    pub template: Option<TemplateDigest>,
    /// The GGUF file that may be loaded.
    pub weights: TreeHead,
    /// BLAKE3 of the tokenizer bundle.
    pub tokenizer_digest: [u8; 32],
    /// How many tokens the model has.
    pub vocabulary: u32,
    /// The model's context length in tokens.
    pub context: u32,
    /// Version of the list in which this entry was last changed.
    pub version: u64,
}

/// What the parties sign. Plain data: see [`authorize`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist {
    /// Rises with every change.
    pub version: u64,
    /// Strictly ascending by name, each model once, at most [`MAX_ENTRIES`].
    pub entries: Vec<WhitelistEntry>,
    /// The first second, since 1970 in UTC, at which the list no longer holds. `None`: it holds until replaced.
    pub expires_unix_s: Option<u64>,
    /// Models that must not run although an entry allows them. Strictly ascending, at most [`MAX_REVOKED`].
    pub revoked: Vec<ModelCommitment>,
}

/// A whitelist's bytes and signatures on them, none of which is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedWhitelist {
    /// The canonical bytes of a [`Whitelist`].
    pub bytes: Vec<u8>,
    /// Strictly ascending by key, at most [`MAX_SIGNATURES`].
    pub signatures: Vec<(VerifyingKey, Signature)>,
}

/// A whitelist that both parties signed. Only [`authorize`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedWhitelist {
    list: Whitelist,
    digest: [u8; 32],
}

/// An entry that held when it was looked up. Only the lookups of [`AuthorizedWhitelist`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedEntry {
    entry: WhitelistEntry,
}

/// Why a list or a model is not allowed. Nobody's lie: a denial costs nothing but the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// One party in both places, so that its signature would count twice.
    #[error("both parties are {party}: two different keys are needed")]
    SameParty {
        /// The key.
        party: VerifyingKey,
    },
    /// A party has not signed.
    #[error("{party} has not signed this whitelist; both parties must")]
    SignatureMissing {
        /// Whose signature is missing.
        party: VerifyingKey,
    },
    /// A signature under a party's key that is not on these bytes.
    #[error("the signature of {party} is not on this whitelist: the list or the signature was changed")]
    SignatureWrong {
        /// Whose signature it should be.
        party: VerifyingKey,
    },
    /// Bytes that both parties signed, but that are no whitelist that this build reads.
    #[error("the signed bytes are no whitelist that this build reads: {0}")]
    Malformed(Error),
    /// An older list than the last one seen: a rollback.
    #[error("the whitelist has version {version}, but version {lowest} was seen: an old list is shown again")]
    Rollback {
        /// Of this list.
        version: u64,
        /// The lowest that is accepted.
        lowest: u64,
    },
    /// The list's time is over.
    #[error("the whitelist expired at Unix second {expired_unix_s}, it is {now_unix_s} now; sign a new one")]
    Expired {
        /// When it ended.
        expired_unix_s: u64,
        /// When it was used.
        now_unix_s: u64,
    },
    /// No such name.
    #[error("the whitelist has no model named {name:?}")]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// No such model.
    #[error("the whitelist has no model {model}")]
    UnknownModel {
        /// What was asked for.
        model: ModelCommitment,
    },
    /// The parties took it back.
    #[error("the model {model} was revoked")]
    Revoked {
        /// The model.
        model: ModelCommitment,
    },
}

impl Denial {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SameParty { .. } => "same_party",
            Self::SignatureMissing { .. } => "signature_missing",
            Self::SignatureWrong { .. } => "signature_wrong",
            Self::Malformed(_) => "malformed",
            Self::Rollback { .. } => "rollback",
            Self::Expired { .. } => "expired",
            Self::UnknownName { .. } => "unknown_name",
            Self::UnknownModel { .. } => "unknown_model",
            Self::Revoked { .. } => "revoked",
        }
    }
}

/// Checks that both parties signed this list and that it holds now.
///
/// In: bytes and signatures from anywhere, the two keys and the last version from this process's own state. Out: a
/// list that both parties made, unless one of the two lost its key. Signatures of others are not looked at. Whoever
/// keeps state stores [`AuthorizedWhitelist::version`] as the next `lowest_version`.
///
/// # Errors
/// All of [`Denial`] but those of lookups.
pub fn authorize(
    signed: &SignedWhitelist,
    parties: &[VerifyingKey; 2],
    now_unix_s: u64,
    lowest_version: u64,
) -> Result<AuthorizedWhitelist, Denial> {
    let [first, second] = parties;
    if first == second {
        return Err(Denial::SameParty { party: *first });
    }
    let message = signed_message(&signed.bytes);
    for party in parties {
        let signature = signed.signatures.iter().find(|(key, _)| key == party);
        let (_, signature) = signature.ok_or(Denial::SignatureMissing { party: *party })?;
        party.verify(&message, signature).map_err(|_| Denial::SignatureWrong { party: *party })?;
    }
    // Only now is anything read that the parties did not write.
    let list = Whitelist::decode(&signed.bytes).map_err(Denial::Malformed)?;
    if list.version < lowest_version {
        return Err(Denial::Rollback { version: list.version, lowest: lowest_version });
    }
    list.check_time(now_unix_s)?;
    Ok(AuthorizedWhitelist { list, digest: *blake3::hash(&signed.bytes).as_bytes() })
}

impl AuthorizedWhitelist {
    /// The list's version: the next lowest one.
    pub const fn version(&self) -> u64 {
        self.list.version
    }

    /// BLAKE3 of the list's bytes. Two lists of one version with different digests mean that the parties signed both.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The model with this name.
    ///
    /// # Errors
    /// [`Denial::Expired`], [`Denial::UnknownName`] and [`Denial::Revoked`].
    pub fn by_name(&self, name: &str, now_unix_s: u64) -> Result<AuthorizedEntry, Denial> {
        self.list.check_time(now_unix_s)?;
        let entry = self.list.entries.iter().find(|entry| entry.name == name);
        self.admit(entry.ok_or_else(|| Denial::UnknownName { name: name.to_owned() })?)
    }

    /// The model with this commitment.
    ///
    /// # Errors
    /// [`Denial::Expired`], [`Denial::UnknownModel`] and [`Denial::Revoked`]; the last one for models without an entry
    /// too.
    pub fn by_model(&self, model: &ModelCommitment, now_unix_s: u64) -> Result<AuthorizedEntry, Denial> {
        self.list.check_time(now_unix_s)?;
        if self.list.is_revoked(model) {
            return Err(Denial::Revoked { model: *model });
        }
        let entry = self.list.entries.iter().find(|entry| entry.model == *model);
        self.admit(entry.ok_or(Denial::UnknownModel { model: *model })?)
    }

    /// All models that may run now, by name.
    ///
    /// # Errors
    /// [`Denial::Expired`].
    pub fn admitted(&self, now_unix_s: u64) -> Result<Vec<AuthorizedEntry>, Denial> {
        self.list.check_time(now_unix_s)?;
        Ok(self.list.entries.iter().filter_map(|entry| self.admit(entry).ok()).collect())
    }

    fn admit(&self, entry: &WhitelistEntry) -> Result<AuthorizedEntry, Denial> {
        if self.list.is_revoked(&entry.model) {
            return Err(Denial::Revoked { model: entry.model });
        }
        Ok(AuthorizedEntry { entry: entry.clone() })
    }
}

impl AuthorizedEntry {
    /// What the parties said about the model.
    pub const fn entry(&self) -> &WhitelistEntry {
        &self.entry
    }
}

impl Whitelist {
    /// The canonical bytes. They decode again if and only if [`Whitelist::check`] holds.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.structure(WHITELIST_TAG, VERSION, WHITELIST_FIELDS);
        encoder.unsigned(self.version);
        encoder.array_header(self.entries.len());
        for entry in &self.entries {
            entry.encode(&mut encoder);
        }
        match self.expires_unix_s {
            Some(second) => encoder.unsigned(second),
            None => encoder.null(),
        }
        encoder.array_header(self.revoked.len());
        for model in &self.revoked {
            encoder.bytes(model.as_bytes());
        }
        encoder.into_bytes()
    }

    /// Reads a whitelist, which nobody has authorized by that.
    ///
    /// # Errors
    /// [`Error::MessageSize`], those of the decoder and those of [`Whitelist::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_size("whitelist", bytes, MAX_WHITELIST_BYTES)?;
        let mut decoder = Decoder::new(bytes);
        decoder.structure(WHITELIST_TAG, VERSION, WHITELIST_FIELDS)?;
        let version = decoder.unsigned("the whitelist's version")?;
        let count = decoder.array_header(MAX_ENTRIES, "the whitelist's entries")?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(WhitelistEntry::decode(&mut decoder)?);
        }
        let expected = "the Unix second of the expiry or null";
        let expires_unix_s = decoder.optional(expected, |decoder| decoder.unsigned(expected))?;
        let count = decoder.array_header(MAX_REVOKED, "the revoked models")?;
        let mut revoked = Vec::with_capacity(count);
        for _ in 0..count {
            revoked.push(ModelCommitment::from_bytes(decoder.bytes_exact("a revoked model")?));
        }
        decoder.finish()?;
        let list = Self { version, entries, expires_unix_s, revoked };
        list.check()?;
        Ok(list)
    }

    /// What [`Whitelist::decode`] guarantees: names, orders, and counts within their limits.
    ///
    /// # Errors
    /// [`Error::WhitelistLength`], [`Error::ModelName`], [`Error::NumericsName`], [`Error::ListOrder`] and
    /// [`Error::DuplicateModel`].
    pub fn check(&self) -> Result<(), Error> {
        check_count("entries", self.entries.len(), MAX_ENTRIES)?;
        check_count("revoked models", self.revoked.len(), MAX_REVOKED)?;
        for entry in &self.entries {
            check_name(&entry.name)?;
            check_numerics(&entry.numerics)?;
        }
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        check_ascending("entries", "name", &names)?;
        check_ascending("revoked models", "bytes", &self.revoked)?;
        // A model with two names would have two entries to obey.
        let mut models: Vec<ModelCommitment> = self.entries.iter().map(|entry| entry.model).collect();
        models.sort_unstable();
        match models.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        }) {
            Some(model) => Err(Error::DuplicateModel { model }),
            None => Ok(()),
        }
    }

    /// Signs this list.
    ///
    /// # Errors
    /// Those of [`Whitelist::check`]: a list that nobody could read is not signed.
    pub fn sign(&self, keys: &[&SigningKey]) -> Result<SignedWhitelist, Error> {
        let mut signed = SignedWhitelist::unsigned(self)?;
        keys.iter().for_each(|key| signed.sign(key));
        Ok(signed)
    }

    fn check_time(&self, now_unix_s: u64) -> Result<(), Denial> {
        match self.expires_unix_s {
            Some(expired_unix_s) if now_unix_s >= expired_unix_s => {
                Err(Denial::Expired { expired_unix_s, now_unix_s })
            }
            _ => Ok(()),
        }
    }

    fn is_revoked(&self, model: &ModelCommitment) -> bool {
        self.revoked.binary_search(model).is_ok()
    }
}

impl WhitelistEntry {
    /// Appends the canonical form.
    fn encode(&self, encoder: &mut Encoder) {
        encoder.structure(ENTRY_TAG, VERSION, ENTRY_FIELDS);
        encoder.text(&self.name);
        encoder.bytes(self.model.as_bytes());
        encoder.text(&self.numerics);
        match &self.template {
            Some(template) => encoder.bytes(template.as_bytes()),
            None => encoder.null(),
        }
        self.weights.encode(encoder);
        encoder.bytes(&self.tokenizer_digest);
        encoder.unsigned(u64::from(self.vocabulary));
        encoder.unsigned(u64::from(self.context));
        encoder.unsigned(self.version);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure(ENTRY_TAG, VERSION, ENTRY_FIELDS)?;
        let expected = "the template digest or null";
        Ok(Self {
            name: decoder.text(MAX_NAME_BYTES, "the model's name")?.to_owned(),
            model: ModelCommitment::from_bytes(decoder.bytes_exact("the model commitment")?),
            numerics: decoder.text(MAX_NUMERICS_BYTES, "the numerics name")?.to_owned(),
            template: decoder.optional(expected, |decoder| {
                Ok(TemplateDigest::from_bytes(decoder.bytes_exact(expected)?))
            })?,
            weights: TreeHead::decode(decoder)?,
            tokenizer_digest: decoder.bytes_exact("the tokenizer digest")?,
            vocabulary: decoder.unsigned_u32("the vocabulary size, 32 bits")?,
            context: decoder.unsigned_u32("the context length, 32 bits")?,
            version: decoder.unsigned("the entry's version")?,
        })
    }
}

impl SignedWhitelist {
    /// A list that nobody has signed yet.
    ///
    /// # Errors
    /// Those of [`Whitelist::check`].
    pub fn unsigned(list: &Whitelist) -> Result<Self, Error> {
        list.check()?;
        Ok(Self { bytes: list.encode(), signatures: Vec::new() })
    }

    /// Adds a signature, or replaces that of the same key.
    pub fn sign(&mut self, key: &SigningKey) {
        let signature = key.sign(&signed_message(&self.bytes));
        let public = key.verifying_key();
        self.signatures.retain(|(present, _)| *present != public);
        self.signatures.push((public, signature));
        self.signatures.sort_unstable_by_key(|(key, _)| *key);
    }

    /// What the bytes say, **whoever wrote them**: to show or to edit, never to obey.
    ///
    /// # Errors
    /// Those of [`Whitelist::decode`].
    pub fn unverified(&self) -> Result<Whitelist, Error> {
        Whitelist::decode(&self.bytes)
    }

    /// Whether this key signed these bytes.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let message = signed_message(&self.bytes);
        let mut signatures = self.signatures.iter().filter(|(present, _)| present == key);
        signatures.any(|(_, signature)| key.verify(&message, signature).is_ok())
    }

    /// The canonical bytes: `["maxwell.whitelist.signed", 1, bytes, [[key, signature], ..]]`.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.structure(SIGNED_TAG, VERSION, SIGNED_FIELDS);
        encoder.bytes(&self.bytes);
        encoder.array_header(self.signatures.len());
        for (key, signature) in &self.signatures {
            encoder.array_header(2);
            encoder.bytes(key.as_bytes());
            encoder.bytes(signature.as_bytes());
        }
        encoder.into_bytes()
    }

    /// Reads bytes and signatures without checking either: see [`authorize`].
    ///
    /// # Errors
    /// [`Error::MessageSize`], [`Error::VerifyingKeyPoint`], [`Error::ListOrder`] and those of the decoder.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_size("signed whitelist", bytes, MAX_SIGNED_WHITELIST_BYTES)?;
        let mut decoder = Decoder::new(bytes);
        decoder.structure(SIGNED_TAG, VERSION, SIGNED_FIELDS)?;
        // The cast can't fail on any target that Rust has, and 0 would refuse every list.
        let limit = u64::try_from(MAX_WHITELIST_BYTES).unwrap_or(0);
        let list = decoder.bytes(limit, "the whitelist's bytes")?.to_vec();
        let count = decoder.array_header(MAX_SIGNATURES, "the signatures")?;
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            decoder.array_exact(2, "[key, signature]")?;
            let key = VerifyingKey::from_bytes(&decoder.bytes_exact("a verifying key")?)?;
            signatures.push((key, Signature::from_bytes(decoder.bytes_exact("a signature")?)));
        }
        decoder.finish()?;
        let keys: Vec<VerifyingKey> = signatures.iter().map(|(key, _)| *key).collect();
        check_ascending("signatures", "key", &keys)?;
        Ok(Self { bytes: list, signatures })
    }
}

/// What a party signs.
fn signed_message(list: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.structure(MESSAGE_TAG, VERSION, MESSAGE_FIELDS);
    encoder.bytes(list);
    encoder.into_bytes()
}

fn check_size(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    if bytes.len() > limit {
        return Err(Error::MessageSize { what, length: bytes.len(), limit });
    }
    Ok(())
}

fn check_count(list: &'static str, length: usize, limit: u64) -> Result<(), Error> {
    match u64::try_from(length) {
        Ok(count) if count <= limit => Ok(()),
        _ => Err(Error::WhitelistLength { list, length, limit }),
    }
}

/// The names that an entry may have: they are part of paths and of requests.
fn check_name(name: &str) -> Result<(), Error> {
    let limit = usize::try_from(MAX_NAME_BYTES).unwrap_or(usize::MAX);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if !(1..=limit).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('.') {
        return Err(Error::ModelName);
    }
    Ok(())
}

/// One order and no item twice, so that a list has one byte form.
fn check_ascending<T: Ord>(list: &'static str, by: &'static str, items: &[T]) -> Result<(), Error> {
    let followers = items.iter().zip(items.iter().skip(1));
    match (1_usize..).zip(followers).find(|(_, (before, item))| before >= item) {
        Some((index, _)) => Err(Error::ListOrder { list, by, index }),
        None => Ok(()),
    }
}
