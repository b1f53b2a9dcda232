//! What an untrusted party says it computed, and its one byte form. Nothing here may believe a claim: decoding
//! only makes sure that the bytes have one reading and that no list is longer than its limit.
//!
//! Bytes: [`MAGIC`], then one CBOR structure (see [`crate::encoding`]):
//! `["maxwell.claim", 1, numerics, model, template | null, [prompt ids], settings, client seed, nonce, seed,
//! [output ids], finish, output bytes, [[c0, c1], ..]]`. Where log-probabilities were asked for they are one field
//! more: `[top, [[below, [[id, below], ..]], ..]]`. Where the claim is committed to an execution trace the root of its tree
//! is one field more, behind the log-probabilities or null.

use std::fmt;

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::fingerprint::LogitFingerprint;
use crate::id::{ClaimDigest, ClientSeed, ModelCommitment, Nonce, Seed, TemplateDigest, TraceRoot};
use crate::logprobs::Logprobs;
use crate::seed::derive_seed;
use crate::settings::{MAX_OUTPUT_TOKENS, SamplingSettings};
use crate::verdict::Reason;

/// First bytes of every claim.
pub const MAGIC: &[u8; 8] = b"MXCLAIM1";
/// The only version there is.
pub const CLAIM_VERSION: u32 = 1;
/// Longest name of a numerics class, in bytes.
pub const MAX_NUMERICS_BYTES: u64 = 64;
/// Most prompt tokens in a claim.
pub const MAX_PROMPT_TOKENS: u32 = 1 << 20;
/// Most bytes of detokenized output in a claim, 16 MiB.
pub const MAX_OUTPUT_BYTES: u32 = 16 << 20;
/// Longest encoded claim, 48 MiB. The fullest claim has 5 MiB of prompt ids, 5 MiB of output ids, 19 MiB of
/// fingerprints and 16 MiB of output, plus less than 1 KiB of everything else. One with log-probabilities has fewer
/// outputs, and less than 2 MiB of them.
pub const MAX_CLAIM_BYTES: usize = 48 << 20;
/// Most bytes of an encoded token id, and of a fingerprint; about those of all fields whose length is fixed.
const ID_BYTES_MOST: usize = 5;
const FINGERPRINT_BYTES: usize = 19;
const HEAD_BYTES: usize = 512;
/// Domain of the claim's digest (BLAKE3 `derive_key` context).
pub const DIGEST_CONTEXT: &str = "maxwell 2026-11 claim digest v1";

const STRUCTURE_TAG: &str = "maxwell.claim";
const FIELDS: u64 = 12;
/// Longest name of a finish reason, in bytes.
const FINISH_BYTES_MAX: u64 = 16;

/// "I ran this model on this prompt with these settings and got this output."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// [`CLAIM_VERSION`].
    pub version: u32,
    /// The numerics class: which integer arithmetic gives the logits, such as `maxwell-ie5-1`.
    pub numerics: String,
    /// The model that ran.
    pub model: ModelCommitment,
    /// The chat template that made the prompt, if one did.
    pub template: Option<TemplateDigest>,
    /// The prompt as token ids, at most [`MAX_PROMPT_TOKENS`].
    pub prompt_ids: Vec<u32>,
    /// How tokens were chosen.
    pub settings: SamplingSettings,
    /// The user's part of the seed.
    pub client_seed: ClientSeed,
    /// The checker's part of the seed.
    pub nonce: Nonce,
    /// The seed that the draws used; an honest one is [`derive_seed`] of nonce and client seed.
    pub seed: Seed,
    /// The output as token ids, an end token included, at most [`MAX_OUTPUT_TOKENS`].
    pub output_ids: Vec<u32>,
    /// Why the output ends.
    pub finish: FinishReason,
    /// The output as bytes, at most [`MAX_OUTPUT_BYTES`].
    pub output_bytes: Vec<u8>,
    /// The fingerprint of the logits from which each output token was chosen: as many as output tokens.
    pub fingerprints: Vec<LogitFingerprint>,
    /// Of each output token, if they were asked for.
    pub logprobs: Option<Logprobs>,
    /// What the claim is committed to: every number inside the computation, see [`crate::trace`].
    pub trace: Option<TraceRoot>,
}

/// Why the output ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The last output token is an end token of the model, and the settings stop there.
    EndToken,
    /// `max_tokens` tokens were chosen.
    Length,
    /// Prompt and output fill the model's context.
    ContextFull,
    /// An activation left the range within which the integers are exact. No token was chosen from that position, so
    /// there is no fingerprint for it either.
    OutOfRange {
        /// The token that was being read, counted from 0 over prompt and output.
        position: u32,
    },
    /// Whoever asked stopped reading: the output is the beginning of what the model writes. Only a gateway, which
    /// saw the reader leave, may say so; from anybody else it is an excuse for a short answer.
    ReaderLeft,
}

impl FinishReason {
    /// The position at which the range was left, where it was.
    #[must_use]
    pub const fn out_of_range(self) -> Option<u32> {
        match self {
            Self::OutOfRange { position } => Some(position),
            Self::EndToken | Self::Length | Self::ContextFull | Self::ReaderLeft => None,
        }
    }

    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::EndToken => "end_token",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::OutOfRange { .. } => "out_of_range",
            Self::ReaderLeft => "reader_left",
        }
    }

    /// `[name]`, with the position behind it where there is one.
    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        match self {
            Self::OutOfRange { position } => {
                encoder.array_header(2);
                encoder.text(self.code());
                encoder.unsigned(u64::from(*position));
            }
            Self::EndToken | Self::Length | Self::ContextFull | Self::ReaderLeft => {
                encoder.array_header(1);
                encoder.text(self.code());
            }
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        let expected = "[end_token], [length], [context_full], [reader_left] or [out_of_range, position]";
        let length = decoder.array_header(2, expected)?;
        let offset = decoder.offset();
        match (decoder.text(FINISH_BYTES_MAX, expected)?, length) {
            ("end_token", 1) => Ok(Self::EndToken),
            ("length", 1) => Ok(Self::Length),
            ("context_full", 1) => Ok(Self::ContextFull),
            ("reader_left", 1) => Ok(Self::ReaderLeft),
            ("out_of_range", 2) => {
                Ok(Self::OutOfRange { position: decoder.unsigned_u32("a position, 32 bits")? })
            }
            _ => Err(Error::UnknownName { offset, expected }),
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndToken => f.write_str("end token"),
            Self::Length => f.write_str("token limit reached"),
            Self::ContextFull => f.write_str("context full"),
            Self::ReaderLeft => f.write_str("the reader left"),
            Self::OutOfRange { position } => write!(f, "activation out of range at position {position}"),
        }
    }
}

impl Claim {
    /// The canonical bytes. They decode again if and only if [`Claim::check_shape`] holds.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::after_prefix(MAGIC);
        encoder.reserve(self.length_estimate());
        let more = if self.trace.is_some() { 2 } else { u64::from(self.logprobs.is_some()) };
        let fields = FIELDS.saturating_add(more);
        encoder.structure(STRUCTURE_TAG, self.version, fields);
        encoder.text(&self.numerics);
        encoder.bytes(self.model.as_bytes());
        match &self.template {
            Some(template) => encoder.bytes(template.as_bytes()),
            None => encoder.null(),
        }
        encoder.list_u32(&self.prompt_ids);
        self.settings.encode(&mut encoder);
        encoder.bytes(self.client_seed.as_bytes());
        encoder.bytes(self.nonce.as_bytes());
        encoder.bytes(self.seed.as_bytes());
        encoder.list_u32(&self.output_ids);
        self.finish.encode(&mut encoder);
        encoder.bytes(&self.output_bytes);
        encoder.array_header(self.fingerprints.len());
        for fingerprint in &self.fingerprints {
            fingerprint.encode(&mut encoder);
        }
        match (&self.logprobs, &self.trace) {
            (Some(logprobs), _) => logprobs.encode(&mut encoder),
            (None, Some(_)) => encoder.null(),
            (None, None) => {}
        }
        if let Some(trace) = &self.trace {
            encoder.bytes(trace.as_bytes());
        }
        encoder.into_bytes()
    }

    /// About how long the bytes are without log-probabilities: an estimate costs less than buffers that grow.
    fn length_estimate(&self) -> usize {
        let ids = self.prompt_ids.len().saturating_add(self.output_ids.len());
        let fingerprints = self.fingerprints.len().saturating_mul(FINGERPRINT_BYTES);
        ids.saturating_mul(ID_BYTES_MOST)
            .saturating_add(fingerprints)
            .saturating_add(self.output_bytes.len())
            .saturating_add(HEAD_BYTES)
    }

    /// Reads a claim; the inverse of [`Claim::encode`] on exactly the bytes that it can give.
    ///
    /// A claim that decodes may still be a lie from end to end: ask [`Claim::contradiction`] and a checker that
    /// holds the model.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_CLAIM_BYTES {
            return Err(Error::ClaimSize { length: bytes.len(), limit: MAX_CLAIM_BYTES });
        }
        let (mut decoder, more) = decode_head(bytes)?;
        let claim = Self {
            version: CLAIM_VERSION,
            numerics: decoder.text(MAX_NUMERICS_BYTES, "the numerics name")?.to_owned(),
            model: ModelCommitment::from_bytes(decoder.bytes_exact("the model commitment")?),
            template: decoder.optional("the template digest or null", |decoder| {
                Ok(TemplateDigest::from_bytes(decoder.bytes_exact("the template digest or null")?))
            })?,
            prompt_ids: decoder
                .list_u32(u64::from(MAX_PROMPT_TOKENS), "the prompt token ids, 32 bits each")?,
            settings: SamplingSettings::decode(&mut decoder)?,
            client_seed: ClientSeed::from_bytes(decoder.bytes_exact("the client seed")?),
            nonce: Nonce::from_bytes(decoder.bytes_exact("the nonce")?),
            seed: Seed::from_bytes(decoder.bytes_exact("the seed")?),
            output_ids: decoder
                .list_u32(u64::from(MAX_OUTPUT_TOKENS), "the output token ids, 32 bits each")?,
            finish: FinishReason::decode(&mut decoder)?,
            output_bytes: decoder.bytes(u64::from(MAX_OUTPUT_BYTES), "the output bytes")?.to_vec(),
            fingerprints: decode_fingerprints(&mut decoder)?,
            logprobs: match more {
                0 => None,
                1 => Some(Logprobs::decode(&mut decoder)?),
                _ => decoder.optional("the log-probabilities or null", Logprobs::decode)?,
            },
            trace: (more == 2)
                .then(|| Ok::<_, Error>(TraceRoot::from_bytes(decoder.bytes_exact("the root of the trace")?)))
                .transpose()?,
        };
        decoder.finish()?;
        claim.check_shape()?;
        Ok(claim)
    }

    /// What [`Claim::decode`] guarantees: version, name, lengths within their limits, one fingerprint per output
    /// token. Whoever builds a claim calls this before sending it.
    pub fn check_shape(&self) -> Result<(), Error> {
        if self.version != CLAIM_VERSION {
            return Err(Error::ClaimVersion { found: self.version, supported: CLAIM_VERSION });
        }
        check_numerics(&self.numerics)?;
        within("prompt_ids", self.prompt_ids.len(), MAX_PROMPT_TOKENS)?;
        within("output_ids", self.output_ids.len(), MAX_OUTPUT_TOKENS)?;
        within("output_bytes", self.output_bytes.len(), MAX_OUTPUT_BYTES)?;
        if self.fingerprints.len() != self.output_ids.len() {
            return Err(Error::FingerprintCount {
                fingerprints: self.fingerprints.len(),
                outputs: self.output_ids.len(),
            });
        }
        if let Some(logprobs) = &self.logprobs {
            logprobs.check_shape(self.output_ids.len())?;
        }
        Ok(())
    }

    /// The first thing in the claim that contradicts itself, visible to anybody without the model. Call it before
    /// anything that runs with the claim's settings or seed.
    pub fn contradiction(&self) -> Option<Reason> {
        if let Err(limit) = self.settings.validate() {
            return Some(Reason::SettingLimit(limit));
        }
        let derived = derive_seed(&self.nonce, &self.client_seed);
        if self.seed != derived {
            return Some(Reason::Seed { claimed: self.seed, derived });
        }
        let tokens = u32::try_from(self.output_ids.len()).unwrap_or(u32::MAX);
        if tokens > self.settings.max_tokens {
            return Some(Reason::TooManyTokens { tokens, max_tokens: self.settings.max_tokens });
        }
        None
    }

    /// Digest of the canonical bytes: BLAKE3 `derive_key` in [`DIGEST_CONTEXT`].
    pub fn digest(&self) -> ClaimDigest {
        Self::digest_of(&self.encode())
    }

    /// [`Self::digest`] of the claim with these bytes.
    pub fn digest_of(encoded: &[u8]) -> ClaimDigest {
        ClaimDigest::from_bytes(blake3::derive_key(DIGEST_CONTEXT, encoded))
    }
}

/// The decoder behind tag and version, and how many fields more than [`FIELDS`] there are.
fn decode_head(bytes: &[u8]) -> Result<(Decoder<'_>, u64), Error> {
    let mut first = None;
    for more in 0..=2 {
        let mut decoder = Decoder::after_prefix(bytes, MAGIC).ok_or(Error::ClaimMagic)?;
        match decoder.structure(STRUCTURE_TAG, CLAIM_VERSION, FIELDS.saturating_add(more)) {
            Ok(()) => return Ok((decoder, more)),
            // The shortest form's error is the one to tell.
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or(Error::ClaimMagic))
}

fn decode_fingerprints(decoder: &mut Decoder<'_>) -> Result<Vec<LogitFingerprint>, Error> {
    let items = decoder.array_header(u64::from(MAX_OUTPUT_TOKENS), "the logit fingerprints")?;
    let mut fingerprints = Vec::with_capacity(items);
    for _ in 0..items {
        fingerprints.push(LogitFingerprint::decode(decoder)?);
    }
    Ok(fingerprints)
}

/// The names that a numerics class may have.
pub(crate) fn check_numerics(name: &str) -> Result<(), Error> {
    let limit = usize::try_from(MAX_NUMERICS_BYTES).unwrap_or(usize::MAX);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    if !(1..=limit).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(Error::NumericsName);
    }
    Ok(())
}

fn within(field: &'static str, length: usize, limit: u32) -> Result<(), Error> {
    match u32::try_from(length) {
        Ok(length) if length <= limit => Ok(()),
        _ => Err(Error::ClaimField { field, length, limit: u64::from(limit) }),
    }
}
