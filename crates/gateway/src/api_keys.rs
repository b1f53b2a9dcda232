//! Who may ask: API keys as records with digests, and their file. Must never hold, write or show a key itself: whoever
//! reads the file can ask for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::Rates;

#[cfg(test)]
mod tests;

/// Largest file of API keys.
pub const MAX_API_KEYS_BYTES: usize = 8 << 20;
/// Most records, revoked ones too.
pub const MAX_API_KEYS: usize = 10_000;
/// Longest name.
pub const MAX_NAME_BYTES: usize = 64;
/// What a key begins with, so that people and scanners of leaked secrets know it.
pub const API_KEY_PREFIX: &str = "mxak1";
/// blake3 `derive_key` context of stored API keys.
const API_KEY_CONTEXT: &str = "maxwell 2026-11 api key v1";
const FILE_VERSION: u32 = 1;

/// What is kept of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of a key. Keys are drawn at random, so that a fast hash is enough.
    pub fn of(key: &str) -> Self {
        Self(blake3::derive_key(API_KEY_CONTEXT, key.as_bytes()))
    }

    fn to_hex(self) -> String {
        blake3::Hash::from(self.0).to_string()
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// For people: 1 to 64 of a-z, A-Z, 0-9, '.', '-' and '_'.
    pub name: String,
    /// Of the key.
    pub digest: KeyDigest,
    /// Its own limits.
    pub rates: Rates,
    /// No longer accepted.
    pub revoked: bool,
}

/// What is wrong with a file of keys, or with a change of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the file that `encode` writes.
    #[error("this is no file of API keys: {0}; make one with: maxwell gateway keys add NAME")]
    Unreadable(String),
    /// Another version wrote it.
    #[error("the file of API keys has version {0}; this build reads version {FILE_VERSION}")]
    Version(u32),
    /// Too long, or made of other characters.
    #[error("{0:?} is no name of a key: use 1 to {MAX_NAME_BYTES} of a-z, A-Z, 0-9, '.', '-' and '_'")]
    Name(String),
    /// Two records of one name.
    #[error("there is a key {0:?} already, maybe a revoked one; give another name")]
    NameTaken(String),
    /// Two records of one key.
    #[error("the keys {0:?} and {1:?} have the same digest")]
    SameKey(String, String),
    /// No record of that name.
    #[error("there is no key {0:?}; `maxwell gateway keys list` shows those that there are")]
    Unknown(String),
    /// As many as there may be.
    #[error("there are {MAX_API_KEYS} keys, as many as may be in one file")]
    Full,
    /// Not 64 hexadecimal digits.
    #[error("the digest of the key {0:?} is not 64 lowercase hexadecimal digits")]
    Digest(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    version: u32,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    name: String,
    digest: String,
    #[serde(default)]
    limits: Rates,
    #[serde(default)]
    revoked: bool,
}

/// All keys of a gateway. Names and digests are different from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    keys: Vec<ApiKey>,
    /// Places in `keys`.
    by_digest: BTreeMap<KeyDigest, usize>,
}

impl ApiKeys {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyError`], which quotes no digest.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let stored: StoredKeys =
            serde_json::from_slice(bytes).map_err(|error| KeyError::Unreadable(error.to_string()))?;
        if stored.version != FILE_VERSION {
            return Err(KeyError::Version(stored.version));
        }
        let mut keys = Self::default();
        for StoredKey { name, digest, limits, revoked } in stored.keys {
            let parsed = blake3::Hash::from_hex(&digest).ok().filter(|hash| hash.to_string() == digest);
            let Some(digest) = parsed else { return Err(KeyError::Digest(name)) };
            let digest = KeyDigest(*digest.as_bytes());
            keys.add(ApiKey { name, digest, rates: limits, revoked })?;
        }
        Ok(keys)
    }

    /// Writes a file: JSON, for people too.
    pub fn encode(&self) -> Vec<u8> {
        let stored = |key: &ApiKey| StoredKey {
            name: key.name.clone(),
            digest: key.digest.to_hex(),
            limits: key.rates,
            revoked: key.revoked,
        };
        let stored = StoredKeys { version: FILE_VERSION, keys: self.keys.iter().map(stored).collect() };
        let mut bytes = serde_json::to_vec_pretty(&stored).expect("texts and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`KeyError`]; nothing is changed then.
    pub fn add(&mut self, key: ApiKey) -> Result<(), KeyError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if key.name.is_empty() || key.name.len() > MAX_NAME_BYTES || !key.name.bytes().all(good) {
            return Err(KeyError::Name(key.name));
        }
        if self.keys.len() >= MAX_API_KEYS {
            return Err(KeyError::Full);
        }
        if self.keys.iter().any(|present| present.name == key.name) {
            return Err(KeyError::NameTaken(key.name));
        }
        if let Some(present) = self.by_digest.get(&key.digest).and_then(|&at| self.keys.get(at)) {
            return Err(KeyError::SameKey(present.name.clone(), key.name));
        }
        self.by_digest.insert(key.digest, self.keys.len());
        self.keys.push(key);
        Ok(())
    }

    /// Takes a key back; says whether it was accepted until now. The record stays, so that its name does.
    ///
    /// # Errors
    /// [`KeyError::Unknown`].
    pub fn revoke(&mut self, name: &str) -> Result<bool, KeyError> {
        match self.keys.iter_mut().find(|key| key.name == name) {
            Some(key) => Ok(!std::mem::replace(&mut key.revoked, true)),
            None => Err(KeyError::Unknown(name.to_owned())),
        }
    }

    /// All records, in the order in which they were added.
    pub fn all(&self) -> &[ApiKey] {
        &self.keys
    }

    /// The record of a key that is accepted. Digests are compared, so the time says nothing about a key.
    pub fn accepted(&self, key: &str) -> Option<&ApiKey> {
        let at = *self.by_digest.get(&KeyDigest::of(key))?;
        self.keys.get(at).filter(|key| !key.revoked)
    }
}
