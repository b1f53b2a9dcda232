//! Ed25519 keys, signatures and key ids. Must never draw randomness, print a secret by accident, or accept a
//! signature or key that has a second form.
//!
//! RFC 8032 leaves verifiers some freedom; here there is none: a key is a canonical point of the prime-order group
//! and signatures are checked with dalek's `verify_strict`, so that a signature that one verifier takes is taken by
//! every other ("Taming the many EdDSAs", Chalkias et al., SSR 2020, section 5).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer;

use crate::error::Error;
use crate::id::KeyId;

#[cfg(test)]
mod tests;

/// Length of a seed and of a public key in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// First characters of a written signing key.
pub const SIGNING_KEY_PREFIX: &str = "mxsk1";
/// First characters of a written verifying key.
pub const VERIFYING_KEY_PREFIX: &str = "mxpk1";
/// Length of a written key in characters: prefix, key and checksum in hexadecimal digits.
pub const KEY_TEXT_BYTES: usize = 5 + 2 * (KEY_BYTES + CHECKSUM_BYTES);
/// Domain of key ids (BLAKE3 `derive_key` context).
pub const KEY_ID_CONTEXT: &str = "maxwell 2026-11 verifying key id v1";
/// Domain of the checksum in written keys (BLAKE3 `derive_key` context).
pub const KEY_CHECKSUM_CONTEXT: &str = "maxwell 2026-11 key text checksum v1";

const CHECKSUM_BYTES: usize = 4;

/// Makes signatures. The secret is wiped from memory when this is dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Checks signatures: the bytes of a canonical point of the prime-order group. The order of keys is that of their
/// bytes and means nothing but that lists of keys have one form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyingKey([u8; KEY_BYTES]);

/// An Ed25519 signature, not checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl SigningKey {
    /// The key with this seed (the secret key of RFC 8032). Whoever calls this has drawn the seed at random.
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The other half, for everybody.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message. The caller's format keeps messages of different meaning apart.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// `mxsk1...`: **the secret itself**, for a file that only its owner reads. `FromStr` reads it.
    pub fn to_secret_text(&self) -> String {
        key_text(SIGNING_KEY_PREFIX, self.0.as_bytes())
    }
}

impl fmt::Debug for SigningKey {
    /// Names the public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.verifying_key())
    }
}

impl FromStr for SigningKey {
    type Err = Error;

    /// Reads `mxsk1...`.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse_key_text("a signing key", SIGNING_KEY_PREFIX, text).map(Self::from_seed)
    }
}

impl VerifyingKey {
    /// Takes the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`Error::VerifyingKeyPoint`] if they are no point, another form of one, or outside of the prime-order group.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| Error::VerifyingKeyPoint)?;
        let point = key.to_edwards();
        // One holder must not appear as two: the same point in another form (y not reduced, or minus zero), or the
        // point plus one of small order, for which the same secret makes some of the signatures. The neutral
        // element is in the group, but anyone signs for it.
        let canonical = point.compress().as_bytes() == bytes;
        if !canonical || key.is_weak() || !point.is_torsion_free() {
            return Err(Error::VerifyingKeyPoint);
        }
        Ok(Self(*bytes))
    }

    /// The 32 bytes of RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Digest of the key, by which receipts name it.
    pub fn id(&self) -> KeyId {
        KeyId::from_bytes(blake3::derive_key(KEY_ID_CONTEXT, self.as_bytes()))
    }

    /// Checks a signature on a message.
    ///
    /// # Errors
    /// [`Error::Signature`] if this key's owner did not make it on exactly this message.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        // The point is unpacked each time, so that a key has 32 bytes in memory and not 192.
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| Error::Signature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| Error::Signature)
    }
}

impl fmt::Display for VerifyingKey {
    /// `mxpk1...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&key_text(VERIFYING_KEY_PREFIX, self.as_bytes()))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

impl FromStr for VerifyingKey {
    type Err = Error;

    /// Reads `mxpk1...`.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_bytes(&parse_key_text("a verifying key", VERIFYING_KEY_PREFIX, text)?)
    }
}

impl Signature {
    /// Takes the 64 bytes as they are.
    pub const fn from_bytes(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// Prefix, key and checksum: a mistyped digit must not become another key.
fn key_text(prefix: &str, key: &[u8; KEY_BYTES]) -> String {
    format!("{prefix}{}{}", hex::encode(key), hex::encode(checksum(prefix, key)))
}

fn checksum(prefix: &str, key: &[u8; KEY_BYTES]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CHECKSUM_CONTEXT);
    hasher.update(prefix.as_bytes());
    hasher.update(key);
    let [b0, b1, b2, b3, ..] = *hasher.finalize().as_bytes();
    [b0, b1, b2, b3]
}

/// Reads what [`key_text`] writes, in lower case only, so that a key has one written form.
fn parse_key_text(kind: &'static str, prefix: &'static str, text: &str) -> Result<[u8; KEY_BYTES], Error> {
    let digits = text.strip_prefix(prefix).ok_or(Error::KeyPrefix { kind, prefix })?;
    if text.len() != KEY_TEXT_BYTES {
        return Err(Error::KeyLength { kind, length: text.len(), expected: KEY_TEXT_BYTES });
    }
    if !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')) {
        return Err(Error::KeyDigit { kind });
    }
    let mut bytes = [0; KEY_BYTES + CHECKSUM_BYTES];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| Error::KeyDigit { kind })?;
    let (key, check) = bytes.split_first_chunk::<KEY_BYTES>().ok_or(Error::KeyDigit { kind })?;
    if check != checksum(prefix, key) {
        return Err(Error::KeyChecksum { kind });
    }
    Ok(*key)
}
