//! What a router signs for a client whose input it does not route. Must never be taken for an answer, nor for a word about
//! another input: the client's nonce and the digest of its whole input are in what is signed, so that a refusal can't be
//! shown again for another request, and a router can't deny that it refused.
//!
//! Bytes: COSE_Sign1, see [`crate::cose`]. The payload is one CBOR structure (see [`crate::encoding`]):
//! `["maxwell.refusal", 1, router, nonce | null, input, model, reason, retry after | null, issued]`.

use std::fmt;

use serde_json::{Value, json};

use crate::cose::{self, CoseReason};
use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::{InputDigest, KeyId, Nonce};
use crate::keys::{SigningKey, VerifyingKey};

#[cfg(test)]
mod tests;

/// Longest refusal in bytes.
pub const MAX_REFUSAL_BYTES: usize = 1024;
/// Longest name of a model that is refused by name, in bytes.
pub const MAX_ASKED_NAME_BYTES: usize = 256;
/// Domain of input digests (BLAKE3 `derive_key` context).
pub const INPUT_CONTEXT: &str = "maxwell 2026-11 routed input digest v1";

const TAG: &str = "maxwell.refusal";
const VERSION: u32 = 1;
const FIELDS: u64 = 7;
const CODE_BYTES_MAX: u64 = 32;

/// Why an input is not routed. Each has one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// 403: no model of this name may run.
    NotWhitelisted,
    /// 410: the parties took the model back.
    Revoked,
    /// 410: the list that allowed it holds no longer.
    Expired,
    /// 503: it may run, and no gateway serves it now.
    NotServed,
    /// 429: every gateway that serves it is full.
    Busy,
    /// 502: the answer that came was not that model's, and is not given out.
    Substituted,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NotWhitelisted, Self::Revoked, Self::Expired, Self::NotServed, Self::Busy, Self::Substituted];

    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotWhitelisted => "model_not_whitelisted",
            Self::Revoked => "model_revoked",
            Self::Expired => "whitelist_expired",
            Self::NotServed => "model_not_loaded",
            Self::Busy => "busy",
            Self::Substituted => "substituted",
        }
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::NotWhitelisted => 403,
            Self::Revoked | Self::Expired => 410,
            Self::NotServed => 503,
            Self::Busy => 429,
            Self::Substituted => 502,
        }
    }

    /// Whether trying again later can help.
    pub const fn is_passing(self) -> bool {
        match self {
            Self::NotServed | Self::Busy => true,
            Self::NotWhitelisted | Self::Revoked | Self::Expired | Self::Substituted => false,
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotWhitelisted => "no model of this name is allowed to run",
            Self::Revoked => "the model was revoked",
            Self::Expired => "the whitelist has expired",
            Self::NotServed => "no gateway serves this model now",
            Self::Busy => "all gateways that serve this model are full",
            Self::Substituted => "the answer that came was not this model's, and is not given out",
        })
    }
}

/// "I did not route this input, and why." Nothing about what the model would have said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Id of the key that signs it.
    pub router: KeyId,
    /// What the client drew for this request, if it did.
    pub nonce: Option<Nonce>,
    /// What was asked, see [`input_digest`].
    pub input: InputDigest,
    /// The name that was asked for, at most [`MAX_ASKED_NAME_BYTES`].
    pub model: String,
    /// Why.
    pub reason: RefusalReason,
    /// When to try again; there exactly if [`RefusalReason::is_passing`].
    pub retry_after_s: Option<u32>,
    /// When the router signed, in seconds since 1970 in UTC, by its own clock.
    pub issued_unix_s: u64,
}

/// Why bytes are not the router's refusal of this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalFault {
    /// Longer than any refusal.
    #[error("the refusal has {length} bytes, the limit is {MAX_REFUSAL_BYTES}")]
    Size {
        /// Its length.
        length: usize,
    },
    /// Not signed by this key, or changed.
    #[error("this is no refusal of that router: {0}")]
    Cose(#[from] CoseReason),
    /// A payload that is no refusal.
    #[error("the signed payload is no refusal that this build reads: {0}")]
    Payload(Error),
    /// A payload that names another router than its header.
    #[error("the payload names router {found}, but the key's id is {expected}")]
    Router {
        /// In the payload.
        found: KeyId,
        /// The key's.
        expected: KeyId,
    },
    /// It was made for another request.
    #[error("the refusal is about another request: its {what} is not this one's")]
    OtherRequest {
        /// "nonce" or "input".
        what: &'static str,
    },
}

impl RefusalFault {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size",
            Self::Cose(_) => "signature",
            Self::Payload(_) => "payload",
            Self::Router { .. } => "router",
            Self::OtherRequest { .. } => "other_request",
        }
    }
}

/// Digest of an input: BLAKE3 `derive_key` in [`INPUT_CONTEXT`] over the length of the path in 8 bytes, the path, and the
/// body exactly as it was sent.
pub fn input_digest(path: &str, body: &[u8]) -> InputDigest {
    let mut hasher = blake3::Hasher::new_derive_key(INPUT_CONTEXT);
    let length = u64::try_from(path.len()).unwrap_or(u64::MAX);
    hasher.update(&length.to_be_bytes()).update(path.as_bytes()).update(body);
    InputDigest::from_bytes(*hasher.finalize().as_bytes())
}

impl Refusal {
    /// Signs the refusal and gives its bytes.
    ///
    /// # Errors
    /// [`RefusalFault::Router`] if it names another router, [`RefusalFault::Payload`] if nobody could read it.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, RefusalFault> {
        self.check().map_err(RefusalFault::Payload)?;
        let expected = key.verifying_key().id();
        if self.router != expected {
            return Err(RefusalFault::Router { found: self.router, expected });
        }
        Ok(cose::sign(self.payload(), key)?)
    }

    /// Reads a refusal of the router with this key of the request with this nonce and input. Whoever calls this got the
    /// key from somebody they trust.
    ///
    /// # Errors
    /// [`RefusalFault`].
    pub fn verify(
        bytes: &[u8],
        key: &VerifyingKey,
        nonce: Option<&Nonce>,
        input: &InputDigest,
    ) -> Result<Self, RefusalFault> {
        if bytes.len() > MAX_REFUSAL_BYTES {
            return Err(RefusalFault::Size { length: bytes.len() });
        }
        let payload = cose::open(bytes, key)?;
        let refusal = Self::decode_payload(&payload).map_err(RefusalFault::Payload)?;
        let expected = key.id();
        if refusal.router != expected {
            return Err(RefusalFault::Router { found: refusal.router, expected });
        }
        if refusal.nonce.as_ref() != nonce {
            return Err(RefusalFault::OtherRequest { what: "nonce" });
        }
        if refusal.input != *input {
            return Err(RefusalFault::OtherRequest { what: "input" });
        }
        Ok(refusal)
    }

    fn check(&self) -> Result<(), Error> {
        if self.model.len() > MAX_ASKED_NAME_BYTES {
            let limit = MAX_ASKED_NAME_BYTES;
            return Err(Error::MessageSize { what: "a model's name", length: self.model.len(), limit });
        }
        if self.retry_after_s.is_some() != self.reason.is_passing() {
            return Err(Error::UnknownName { offset: 0, expected: "a time to try again where it can help" });
        }
        Ok(())
    }

    /// For people and scripts; nothing can be checked with it.
    pub fn to_json(&self) -> Value {
        json!({
            "router": self.router.to_string(),
            "nonce": self.nonce.map(|nonce| nonce.to_string()),
            "input_digest": self.input.to_string(),
            "model": self.model,
            "reason": self.reason.code(),
            "status": self.reason.status(),
            "retry_after_s": self.retry_after_s,
            "issued_unix_s": self.issued_unix_s,
        })
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.structure(TAG, VERSION, FIELDS);
        out.bytes(self.router.as_bytes());
        match &self.nonce {
            Some(nonce) => out.bytes(nonce.as_bytes()),
            None => out.null(),
        }
        out.bytes(self.input.as_bytes());
        out.text(&self.model);
        out.text(self.reason.code());
        match self.retry_after_s {
            Some(seconds) => out.unsigned(u64::from(seconds)),
            None => out.null(),
        }
        out.unsigned(self.issued_unix_s);
        out.into_bytes()
    }

    fn decode_payload(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        decoder.structure(TAG, VERSION, FIELDS)?;
        let router = KeyId::from_bytes(decoder.bytes_exact("the router's key id")?);
        let nonce = decoder.optional("the nonce or null", |decoder| {
            Ok(Nonce::from_bytes(decoder.bytes_exact("the nonce or null")?))
        })?;
        let input = InputDigest::from_bytes(decoder.bytes_exact("the input's digest")?);
        let limit = u64::try_from(MAX_ASKED_NAME_BYTES).unwrap_or(u64::MAX);
        let model = decoder.text(limit, "the model's name")?.to_owned();
        let (offset, expected) = (decoder.offset(), "the code of a reason");
        let code = decoder.text(CODE_BYTES_MAX, expected)?;
        let known = RefusalReason::ALL.into_iter().find(|reason| reason.code() == code);
        let reason = known.ok_or(Error::UnknownName { offset, expected })?;
        let retry_after_s =
            decoder.optional("seconds or null", |decoder| decoder.unsigned_u32("seconds or null"))?;
        let issued_unix_s = decoder.unsigned("the time of issue in seconds")?;
        decoder.finish()?;
        let refusal = Self { router, nonce, input, model, reason, retry_after_s, issued_unix_s };
        refusal.check()?;
        Ok(refusal)
    }
}
