//! A payload with one Ed25519 signature. Must never give a payload out that the given key has not signed, nor take a
//! second byte form of one.
//!
//! Bytes: `["maxwell.signed", 1, payload, key id, signature]`, the signature over [`PREFIX`] and the payload. Payloads
//! are structures (see [`crate::encoding`]) and begin with a tag, so that one of one kind is never taken for another's.

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::KeyId;
use crate::keys::{SIGNATURE_BYTES, Signature, SigningKey, VerifyingKey};

/// What precedes the payload in what is signed: no other message of this project begins so.
const PREFIX: &[u8] = b"maxwell signed v1\0";
const TAG: &str = "maxwell.signed";
const FIELDS: u64 = 3;
/// Bytes around the payload, at most.
pub(crate) const MAX_OVERHEAD_BYTES: usize = 160;

/// Why bytes are not what the key's owner signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedReason {
    /// Not in the one byte form, or too long.
    #[error("the signed message can't be read: {0}")]
    Message(Error),
    /// Signed under another key.
    #[error("it is signed with the key with id {found}, not with the given key, whose id is {expected}")]
    OtherKey {
        /// In the message.
        found: KeyId,
        /// The given key's.
        expected: KeyId,
    },
    /// A changed byte, or a signature of somebody else.
    #[error("the signature is not the key's on these bytes: they were changed or made up")]
    Signature,
    /// A payload that is not what it should be.
    #[error("the signed payload can't be read: {0}")]
    Payload(Error),
}

/// Signs a payload and gives the whole message.
pub(crate) fn sign(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&[PREFIX, payload].concat());
    let mut out = Encoder::new();
    out.structure(TAG, 1, FIELDS);
    out.bytes(payload);
    out.bytes(key.verifying_key().id().as_bytes());
    out.bytes(signature.as_bytes());
    out.into_bytes()
}

/// The payload of a message of at most `limit` bytes that this key's owner has signed.
pub(crate) fn open<'a>(
    bytes: &'a [u8],
    key: &VerifyingKey,
    what: &'static str,
    limit: usize,
) -> Result<&'a [u8], SignedReason> {
    let Message { payload, signer, signature } = parse(bytes, what, limit).map_err(SignedReason::Message)?;
    let expected = key.id();
    if signer != expected {
        return Err(SignedReason::OtherKey { found: signer, expected });
    }
    key.verify(&[PREFIX, payload].concat(), &signature).map_err(|_| SignedReason::Signature)?;
    Ok(payload)
}

struct Message<'a> {
    payload: &'a [u8],
    signer: KeyId,
    signature: Signature,
}

fn parse<'a>(bytes: &'a [u8], what: &'static str, limit: usize) -> Result<Message<'a>, Error> {
    if bytes.len() > limit {
        return Err(Error::MessageSize { what, length: bytes.len(), limit });
    }
    let mut decoder = Decoder::new(bytes);
    decoder.structure(TAG, 1, FIELDS)?;
    let payload = decoder.bytes(u64::try_from(limit).unwrap_or(u64::MAX), "a signed payload")?;
    let signer = KeyId::from_bytes(decoder.bytes_exact("the signer's key id")?);
    let signature: [u8; SIGNATURE_BYTES] = decoder.bytes_exact("a signature")?;
    decoder.finish()?;
    Ok(Message { payload, signer, signature: Signature::from_bytes(signature) })
}

impl SignedReason {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::OtherKey { .. } => "other_key",
            Self::Signature => "signature",
            Self::Payload(_) => "payload",
        }
    }
}
