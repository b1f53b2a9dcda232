//! What a gateway signs for a client about one answer. A receipt must never be taken for more than it says: these
//! bytes passed through the gateway with this key, and this is what it recorded about them. **It does not say that
//! the model ran.** That follows from a recomputation of the claim only, see [`crate::verdict`].
//!
//! Bytes: COSE_Sign1 with its tag (RFC 9052 section 4.2). Protected header: alg = EdDSA (-8), kid = the gateway's key
//! id; no unprotected header; external data empty. The payload is one CBOR structure (see [`crate::encoding`]):
//! `["maxwell.receipt", 1, gateway, counter, nonce, model, template | null, request, response, prompt tokens, output
//! tokens, finish, claim | null, chain, sequence, issued, mode]`. Of every receipt there is one byte form; any
//! other is refused, even where COSE would allow it.

use std::fmt;

use serde_json::{Value, json};

use crate::claim::FinishReason;
use crate::cose::{self, CoseReason};
use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::{
    ChainHash, ClaimDigest, ClientSeed, KeyId, ModelCommitment, Nonce, RequestDigest, ResponseDigest,
    TemplateDigest,
};
use crate::keys::{SigningKey, VerifyingKey};
use crate::settings::SamplingSettings;

#[cfg(test)]
mod tests;

/// The only version there is.
pub const RECEIPT_VERSION: u32 = 1;
/// Longest receipt in bytes; the fullest has less than 600.
pub const MAX_RECEIPT_BYTES: usize = 1024;
/// Domain of request digests (BLAKE3 `derive_key` context).
pub const REQUEST_CONTEXT: &str = "maxwell 2026-11 request digest v1";
/// Domain of response digests (BLAKE3 `derive_key` context).
pub const RESPONSE_CONTEXT: &str = "maxwell 2026-11 response digest v1";

/// Domain of the digests of requests that are passed through (BLAKE3 `derive_key` context).
pub const PASSED_REQUEST_CONTEXT: &str = "maxwell 2026-11 passed request digest v1";

const STRUCTURE_TAG: &str = "maxwell.receipt";
const FIELDS: u64 = 15;
const REQUEST_TAG: &str = "maxwell.request";
const REQUEST_FIELDS: u64 = 4;
/// Longest name of a mode or of a finish, in bytes.
const NAME_BYTES_MAX: u64 = 16;

/// "These bytes passed through this gateway." Nothing about who computed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub version: u32,
    /// Whose receipt it is: id of the key that signs it.
    pub gateway: KeyId,
    /// The gateway's tag of the request.
    pub tag: RequestTag,
    /// The model that the gateway ordered.
    pub model: ModelCommitment,
    /// The chat template that made the prompt, if one did.
    pub template: Option<TemplateDigest>,
    /// What was asked, see [`request_digest`].
    pub request: RequestDigest,
    /// What was answered: digest of exactly the bytes that were streamed to the client, see [`ResponseHasher`].
    pub response: ResponseDigest,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the output, an end token included.
    pub output_tokens: u32,
    /// Why the output ends.
    pub finish: FinishCode,
    /// The server's claim: there exactly if the mode is exact and the answer complete.
    pub claim: Option<ClaimDigest>,
    /// The log's chain up to and including this answer's record.
    pub chain: ChainHash,
    /// That record's sequence number.
    pub sequence: u64,
    /// When the gateway signed, in milliseconds since 1970 in UTC, by its own clock.
    pub issued_unix_ms: u64,
    /// What the answer can be checked with.
    pub mode: ReceiptMode,
}

/// What a gateway gives to each request: the counter shows gaps, the nonce makes the answer fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTag {
    /// Rises by one with each request of this gateway.
    pub counter: u64,
    /// Drawn by the gateway for this request.
    pub nonce: Nonce,
}

/// What an answer can be checked with later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReceiptMode {
    /// The server claims an integer-exact computation: a replay decides.
    Exact,
    /// The server claims nothing that could be replayed; the receipt is a log entry only.
    PassThrough,
}

/// Why an answer ends, as the gateway saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishCode {
    /// The model's end token.
    EndToken,
    /// The token limit of the request.
    Length,
    /// The model's context is full.
    ContextFull,
    /// An activation left the range of exact integers.
    OutOfRange,
    /// The client stopped reading: the output is the beginning of what the model writes.
    ReaderLeft,
    /// The server broke off, or sent what the gateway refused.
    Failed,
    /// Passed through up to where the server ended it; why it did is not known.
    Delivered,
}

/// Why bytes are not the receipt of this gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptReason {
    /// Longer than any receipt.
    #[error("the receipt has {length} bytes, the limit is {limit}")]
    Size {
        /// Its length.
        length: usize,
        /// [`MAX_RECEIPT_BYTES`].
        limit: usize,
    },
    /// Not a COSE_Sign1 message.
    #[error("this is no receipt: not a tagged COSE_Sign1 message with a payload ({message})")]
    NotCose {
        /// What the parser said.
        message: String,
    },
    /// Another signature algorithm.
    #[error("the receipt's algorithm is not EdDSA (-8)")]
    Algorithm,
    /// Signed under another key.
    #[error("the receipt is of the key with id {found}, not of the given key, whose id is {expected}")]
    OtherKey {
        /// The kid in hexadecimal digits.
        found: String,
        /// The given key's id.
        expected: KeyId,
    },
    /// Another byte form of the same message, or bytes or header fields that do not belong there.
    #[error("the receipt is not in its canonical form: something was added or written otherwise")]
    NotCanonical,
    /// A changed byte, or a signature of somebody else.
    #[error("the signature is not the gateway's on these bytes: the receipt was changed or made up")]
    Signature,
    /// A payload that is no receipt.
    #[error("the signed payload is no receipt that this build reads: {0}")]
    Payload(Error),
    /// A payload that names another gateway than its header.
    #[error("the payload names gateway {found}, but the key's id is {expected}")]
    Gateway {
        /// In the payload.
        found: KeyId,
        /// The key's.
        expected: KeyId,
    },
}

/// Digest of a request: BLAKE3 `derive_key` in [`REQUEST_CONTEXT`] over
/// `["maxwell.request", 1, [prompt ids], settings, client seed, nonce]`.
pub fn request_digest(
    prompt_ids: &[u32],
    settings: &SamplingSettings,
    client_seed: &ClientSeed,
    nonce: &Nonce,
) -> RequestDigest {
    let mut encoder = Encoder::new();
    encoder.structure(REQUEST_TAG, 1, REQUEST_FIELDS);
    encoder.list_u32(prompt_ids);
    settings.encode(&mut encoder);
    encoder.bytes(client_seed.as_bytes());
    encoder.bytes(nonce.as_bytes());
    RequestDigest::from_bytes(blake3::derive_key(REQUEST_CONTEXT, &encoder.into_bytes()))
}

/// Digest of a request that is passed through as it is: BLAKE3 `derive_key` in [`PASSED_REQUEST_CONTEXT`] over
/// `["maxwell.passed-request", 1, method, path, body, nonce]`.
pub fn passed_request_digest(method: &str, path: &str, body: &[u8], nonce: &Nonce) -> RequestDigest {
    let mut encoder = Encoder::new();
    encoder.structure("maxwell.passed-request", 1, REQUEST_FIELDS);
    encoder.text(method);
    encoder.text(path);
    encoder.bytes(body);
    encoder.bytes(nonce.as_bytes());
    RequestDigest::from_bytes(blake3::derive_key(PASSED_REQUEST_CONTEXT, &encoder.into_bytes()))
}

/// Digest of a response as it is streamed: BLAKE3 `derive_key` in [`RESPONSE_CONTEXT`] over all bytes. How they were
/// cut into pieces does not matter.
#[derive(Clone, Debug)]
pub struct ResponseHasher(blake3::Hasher);

impl ResponseHasher {
    /// Before the first byte.
    pub fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(RESPONSE_CONTEXT))
    }

    /// Takes the next bytes that go to the client.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn digest(&self) -> ResponseDigest {
        ResponseDigest::from_bytes(*self.0.finalize().as_bytes())
    }
}

impl Default for ResponseHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Digest of a response that is here as a whole; see [`ResponseHasher`].
pub fn response_digest(bytes: &[u8]) -> ResponseDigest {
    ResponseDigest::from_bytes(blake3::derive_key(RESPONSE_CONTEXT, bytes))
}

impl Receipt {
    /// Signs the receipt and gives its bytes.
    ///
    /// # Errors
    /// [`ReceiptReason::Gateway`] if the receipt names another gateway; [`ReceiptReason::Payload`] with the errors of
    /// [`Receipt::check`]. Nothing is signed that [`Receipt::verify`] would refuse.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, ReceiptReason> {
        self.check().map_err(ReceiptReason::Payload)?;
        let expected = key.verifying_key().id();
        if self.gateway != expected {
            return Err(ReceiptReason::Gateway { found: self.gateway, expected });
        }
        Ok(cose::sign(self.payload(), key)?)
    }

    /// Reads a receipt of the gateway with this key. Whoever calls this got the key from somebody they trust, not
    /// from the receipt.
    ///
    /// # Errors
    /// All of [`ReceiptReason`].
    pub fn verify(bytes: &[u8], key: &VerifyingKey) -> Result<Self, ReceiptReason> {
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptReason::Size { length: bytes.len(), limit: MAX_RECEIPT_BYTES });
        }
        let (payload, id) = (cose::open(bytes, key)?, key.id());
        let receipt = Self::decode_payload(&payload).map_err(ReceiptReason::Payload)?;
        if receipt.gateway != id {
            return Err(ReceiptReason::Gateway { found: receipt.gateway, expected: id });
        }
        // The decoder takes canonical bytes only; this makes the promise independent of that.
        if receipt.payload() != payload {
            return Err(ReceiptReason::NotCanonical);
        }
        Ok(receipt)
    }

    /// What [`Receipt::verify`] guarantees about the fields.
    ///
    /// # Errors
    /// [`Error::ReceiptVersion`] and [`Error::ReceiptClaim`].
    pub fn check(&self) -> Result<(), Error> {
        if self.version != RECEIPT_VERSION {
            return Err(Error::ReceiptVersion { found: self.version, supported: RECEIPT_VERSION });
        }
        let claimed = self.mode == ReceiptMode::Exact && self.finish.is_complete();
        if self.claim.is_some() != claimed {
            return Err(Error::ReceiptClaim);
        }
        Ok(())
    }

    /// For people and scripts. It is not what was signed, so nothing can be checked with it.
    pub fn to_json(&self) -> Value {
        json!({
            "version": self.version,
            "gateway": self.gateway.to_string(),
            "tag": { "counter": self.tag.counter, "nonce": self.tag.nonce.to_string() },
            "model": self.model.to_string(),
            "template": self.template.map(|digest| digest.to_string()),
            "request_digest": self.request.to_string(),
            "response_digest": self.response.to_string(),
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "finish": self.finish.code(),
            "claim_digest": self.claim.map(|digest| digest.to_string()),
            "chain": self.chain.to_string(),
            "sequence": self.sequence,
            "issued_unix_ms": self.issued_unix_ms,
            "mode": self.mode.code(),
        })
    }

    fn payload(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.structure(STRUCTURE_TAG, self.version, FIELDS);
        encoder.bytes(self.gateway.as_bytes());
        encoder.unsigned(self.tag.counter);
        encoder.bytes(self.tag.nonce.as_bytes());
        encoder.bytes(self.model.as_bytes());
        match &self.template {
            Some(template) => encoder.bytes(template.as_bytes()),
            None => encoder.null(),
        }
        encoder.bytes(self.request.as_bytes());
        encoder.bytes(self.response.as_bytes());
        encoder.unsigned(u64::from(self.prompt_tokens));
        encoder.unsigned(u64::from(self.output_tokens));
        encoder.text(self.finish.code());
        match &self.claim {
            Some(claim) => encoder.bytes(claim.as_bytes()),
            None => encoder.null(),
        }
        encoder.bytes(self.chain.as_bytes());
        encoder.unsigned(self.sequence);
        encoder.unsigned(self.issued_unix_ms);
        encoder.text(self.mode.code());
        encoder.into_bytes()
    }

    fn decode_payload(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        decoder.structure(STRUCTURE_TAG, RECEIPT_VERSION, FIELDS)?;
        let receipt = Self {
            version: RECEIPT_VERSION,
            gateway: KeyId::from_bytes(decoder.bytes_exact("the gateway's key id")?),
            tag: RequestTag {
                counter: decoder.unsigned("the request counter")?,
                nonce: Nonce::from_bytes(decoder.bytes_exact("the nonce")?),
            },
            model: ModelCommitment::from_bytes(decoder.bytes_exact("the model commitment")?),
            template: decoder.optional("the template digest or null", |decoder| {
                Ok(TemplateDigest::from_bytes(decoder.bytes_exact("the template digest or null")?))
            })?,
            request: RequestDigest::from_bytes(decoder.bytes_exact("the request digest")?),
            response: ResponseDigest::from_bytes(decoder.bytes_exact("the response digest")?),
            prompt_tokens: decoder.unsigned_u32("the number of prompt tokens, 32 bits")?,
            output_tokens: decoder.unsigned_u32("the number of output tokens, 32 bits")?,
            finish: FinishCode::decode(&mut decoder)?,
            claim: decoder.optional("the claim digest or null", |decoder| {
                Ok(ClaimDigest::from_bytes(decoder.bytes_exact("the claim digest or null")?))
            })?,
            chain: ChainHash::from_bytes(decoder.bytes_exact("the chain hash")?),
            sequence: decoder.unsigned("the record's sequence number")?,
            issued_unix_ms: decoder.unsigned("the time of issue in milliseconds")?,
            mode: ReceiptMode::decode(&mut decoder)?,
        };
        decoder.finish()?;
        receipt.check()?;
        Ok(receipt)
    }
}

impl ReceiptMode {
    /// Stable machine name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::PassThrough => "pass-through",
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        let (offset, expected) = (decoder.offset(), "exact or pass-through");
        let name = decoder.text(NAME_BYTES_MAX, expected)?;
        let known = [Self::Exact, Self::PassThrough];
        known.into_iter().find(|mode| mode.code() == name).ok_or(Error::UnknownName { offset, expected })
    }
}

impl FinishCode {
    const ALL: [Self; 7] = [
        Self::EndToken,
        Self::Length,
        Self::ContextFull,
        Self::OutOfRange,
        Self::ReaderLeft,
        Self::Failed,
        Self::Delivered,
    ];

    /// Stable machine name; that of the [`FinishReason`] where there is one.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EndToken => "end_token",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::OutOfRange => "out_of_range",
            Self::ReaderLeft => "reader_left",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
        }
    }

    /// Whether the server came to an end, so that there is a claim about all of the output.
    pub const fn is_complete(self) -> bool {
        match self {
            Self::EndToken | Self::Length | Self::ContextFull | Self::OutOfRange | Self::ReaderLeft => true,
            // Of an answer whose end is unknown there is no claim.
            Self::Failed | Self::Delivered => false,
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        let (offset, expected) = (decoder.offset(), "the name of a finish");
        let name = decoder.text(NAME_BYTES_MAX, expected)?;
        Self::ALL.into_iter().find(|code| code.code() == name).ok_or(Error::UnknownName { offset, expected })
    }
}

impl From<CoseReason> for ReceiptReason {
    fn from(reason: CoseReason) -> Self {
        match reason {
            CoseReason::NotCose { message } => Self::NotCose { message },
            CoseReason::Algorithm => Self::Algorithm,
            CoseReason::OtherKey { found, expected } => Self::OtherKey { found, expected },
            CoseReason::NotCanonical => Self::NotCanonical,
            CoseReason::Signature => Self::Signature,
        }
    }
}

impl From<FinishReason> for FinishCode {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::EndToken => Self::EndToken,
            FinishReason::Length => Self::Length,
            FinishReason::ContextFull => Self::ContextFull,
            FinishReason::OutOfRange { .. } => Self::OutOfRange,
            FinishReason::ReaderLeft => Self::ReaderLeft,
        }
    }
}

impl fmt::Display for FinishCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Display for ReceiptMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl ReceiptReason {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size",
            Self::NotCose { .. } => "not_cose",
            Self::Algorithm => "algorithm",
            Self::OtherKey { .. } => "other_key",
            Self::NotCanonical => "not_canonical",
            Self::Signature => "signature",
            Self::Payload(_) => "payload",
            Self::Gateway { .. } => "gateway",
        }
    }
}
