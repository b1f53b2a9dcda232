//! What a gateway and an inference server say to each other: token ids and weights, never text, so that nothing
//! can be hidden in spelling, order or spaces. Every message has one byte form. Nothing here may believe the
//! server: decoding only makes sure that a message is one, and within its limits.
//!
//! On the wire a message is its length in four big-endian bytes, then that many bytes of CBOR (see
//! [`crate::encoding`]).

use crate::claim::{FinishReason, MAX_PROMPT_TOKENS};
use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::fingerprint::LogitFingerprint;
use crate::id::{ClientSeed, ID_BYTES, Nonce};
use crate::logprobs::{TokenLogprobs, decode_top};
use crate::settings::SamplingSettings;

#[cfg(test)]
mod tests;

/// Bytes of a length before a message.
pub const LENGTH_BYTES: usize = 4;
/// Longest message to a server: a prompt of [`MAX_PROMPT_TOKENS`], or a group of weights.
pub const MAX_TO_SERVER_BYTES: usize = 6 << 20;
/// Longest message from a server.
pub const MAX_FROM_SERVER_BYTES: usize = 512;
/// Longest group of weights.
pub const MAX_GROUP_BYTES: u32 = 1 << 20;
/// Most ranges of one challenge.
pub const MAX_RANGES: u32 = 256;
/// blake3 `derive_key` context of the key under which a challenge's ranges are hashed.
pub const READBACK_CONTEXT: &str = "maxwell 2026-11 readback v1";

const VERSION: u32 = 1;

/// Part of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u32,
}

/// From the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToServer {
    /// So many bytes of weights follow, in groups.
    Weights {
        /// Exact number of bytes.
        bytes: u64,
    },
    /// The next group of weights.
    Group {
        /// At most [`MAX_GROUP_BYTES`].
        bytes: Vec<u8>,
    },
    /// Show that the weights are in memory: answer [`readback_digest`] of these ranges.
    Readback {
        /// Names the challenge.
        challenge: u64,
        /// Fresh for each challenge.
        key: [u8; ID_BYTES],
        /// At most [`MAX_RANGES`].
        ranges: Vec<ByteRange>,
    },
    /// Write an answer.
    Generate {
        /// Names the request.
        tag: u64,
        /// The prompt.
        prompt_ids: Vec<u32>,
        /// How tokens are chosen.
        settings: SamplingSettings,
        /// The gateway's part of the seed.
        nonce: Nonce,
        /// The user's part of the seed.
        client_seed: ClientSeed,
        /// Send log-probabilities, with so many ranked tokens.
        logprobs: Option<u8>,
    },
    /// Nobody reads the answer any more.
    Cancel {
        /// Names the request.
        tag: u64,
    },
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    /// The weights are loaded.
    Ready,
    /// Answer to a challenge.
    Readback {
        /// Names the challenge.
        challenge: u64,
        /// What the server computed.
        digest: [u8; ID_BYTES],
    },
    /// The next token of an answer.
    Token {
        /// Names the request.
        tag: u64,
        /// The token.
        id: u32,
        /// Of the logits from which it was chosen.
        fingerprint: LogitFingerprint,
        /// If and only if they were asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// No more tokens of an answer.
    Finished {
        /// Names the request.
        tag: u64,
        /// Why.
        finish: FinishReason,
    },
    /// The request is not taken on.
    Refused {
        /// Names the request.
        tag: u64,
    },
}

/// Hashes the ranges of one challenge: blake3 keyed by the challenge's key (through [`READBACK_CONTEXT`]) over each
/// range's offset, length and bytes.
pub struct ReadbackHasher(blake3::Hasher);

impl ReadbackHasher {
    /// For a challenge with this key.
    pub fn new(key: &[u8; ID_BYTES]) -> Self {
        Self(blake3::Hasher::new_keyed(&blake3::derive_key(READBACK_CONTEXT, key)))
    }

    /// The next range and its bytes.
    pub fn add(&mut self, range: ByteRange, bytes: &[u8]) {
        self.0.update(&range.offset.to_le_bytes());
        self.0.update(&range.length.to_le_bytes());
        self.0.update(bytes);
    }

    /// What is answered.
    pub fn finish(&self) -> [u8; ID_BYTES] {
        *self.0.finalize().as_bytes()
    }
}

/// What an honest server answers. `None` if a range is not within the weights.
pub fn readback_digest(weights: &[u8], key: &[u8; ID_BYTES], ranges: &[ByteRange]) -> Option<[u8; ID_BYTES]> {
    let mut hasher = ReadbackHasher::new(key);
    for range in ranges {
        let start = usize::try_from(range.offset).ok()?;
        let end = start.checked_add(usize::try_from(range.length).ok()?)?;
        hasher.add(*range, weights.get(start..end)?);
    }
    Some(hasher.finish())
}

/// The message with its length before it.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(message.len().saturating_add(LENGTH_BYTES));
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

impl ToServer {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Weights { bytes } => {
                out.structure("weights", VERSION, 1);
                out.unsigned(*bytes);
            }
            Self::Group { bytes } => {
                out.structure("group", VERSION, 1);
                out.bytes(bytes);
            }
            Self::Readback { challenge, key, ranges } => {
                out.structure("readback", VERSION, 3);
                out.unsigned(*challenge);
                out.bytes(key);
                out.array_header(ranges.len());
                for range in ranges {
                    out.array_header(2);
                    out.unsigned(range.offset);
                    out.unsigned(u64::from(range.length));
                }
            }
            Self::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs } => {
                out.structure("generate", VERSION, 6);
                out.unsigned(*tag);
                out.list_u32(prompt_ids);
                settings.encode(&mut out);
                out.bytes(nonce.as_bytes());
                out.bytes(client_seed.as_bytes());
                match logprobs {
                    Some(top) => out.unsigned(u64::from(*top)),
                    None => out.null(),
                }
            }
            Self::Cancel { tag } => {
                out.structure("cancel", VERSION, 1);
                out.unsigned(*tag);
            }
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::FrameSize`], and those of [`Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = start(bytes, MAX_TO_SERVER_BYTES)?;
        let message = match name(bytes) {
            Some("weights") => {
                decoder.structure("weights", VERSION, 1)?;
                Self::Weights { bytes: decoder.unsigned("a number of bytes")? }
            }
            Some("group") => {
                decoder.structure("group", VERSION, 1)?;
                Self::Group {
                    bytes: decoder.bytes(u64::from(MAX_GROUP_BYTES), "a group of weights")?.to_vec(),
                }
            }
            Some("readback") => {
                decoder.structure("readback", VERSION, 3)?;
                let challenge = decoder.unsigned("a challenge's number")?;
                let key = decoder.bytes_exact("a challenge's key")?;
                Self::Readback { challenge, key, ranges: decode_ranges(&mut decoder)? }
            }
            Some("generate") => {
                decoder.structure("generate", VERSION, 6)?;
                Self::Generate {
                    tag: decoder.unsigned("a tag")?,
                    prompt_ids: decoder.list_u32(u64::from(MAX_PROMPT_TOKENS), "the prompt token ids")?,
                    settings: SamplingSettings::decode(&mut decoder)?,
                    nonce: Nonce::from_bytes(decoder.bytes_exact("the nonce")?),
                    client_seed: ClientSeed::from_bytes(decoder.bytes_exact("the client seed")?),
                    logprobs: decoder.optional("how many ranked tokens, or null", decode_top)?,
                }
            }
            Some("cancel") => {
                decoder.structure("cancel", VERSION, 1)?;
                Self::Cancel { tag: decoder.unsigned("a tag")? }
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a message to a server" }),
        };
        decoder.finish()?;
        Ok(message)
    }
}

impl FromServer {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Ready => out.structure("ready", VERSION, 0),
            Self::Readback { challenge, digest } => {
                out.structure("readback", VERSION, 2);
                out.unsigned(*challenge);
                out.bytes(digest);
            }
            Self::Token { tag, id, fingerprint, logprobs } => {
                out.structure("token", VERSION, 4);
                out.unsigned(*tag);
                out.unsigned(u64::from(*id));
                fingerprint.encode(&mut out);
                match logprobs {
                    Some(logprobs) => logprobs.encode(&mut out),
                    None => out.null(),
                }
            }
            Self::Finished { tag, finish } => {
                out.structure("finished", VERSION, 2);
                out.unsigned(*tag);
                finish.encode(&mut out);
            }
            Self::Refused { tag } => {
                out.structure("refused", VERSION, 1);
                out.unsigned(*tag);
            }
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::FrameSize`], and those of [`Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = start(bytes, MAX_FROM_SERVER_BYTES)?;
        let message = match name(bytes) {
            Some("ready") => {
                decoder.structure("ready", VERSION, 0)?;
                Self::Ready
            }
            Some("readback") => {
                decoder.structure("readback", VERSION, 2)?;
                Self::Readback {
                    challenge: decoder.unsigned("a challenge's number")?,
                    digest: decoder.bytes_exact("a challenge's digest")?,
                }
            }
            Some("token") => {
                decoder.structure("token", VERSION, 4)?;
                Self::Token {
                    tag: decoder.unsigned("a tag")?,
                    id: decoder.unsigned_u32("a token id, 32 bits")?,
                    fingerprint: LogitFingerprint::decode(&mut decoder)?,
                    logprobs: decoder.optional("log-probabilities or null", TokenLogprobs::decode)?,
                }
            }
            Some("finished") => {
                decoder.structure("finished", VERSION, 2)?;
                Self::Finished {
                    tag: decoder.unsigned("a tag")?,
                    finish: FinishReason::decode(&mut decoder)?,
                }
            }
            Some("refused") => {
                decoder.structure("refused", VERSION, 1)?;
                Self::Refused { tag: decoder.unsigned("a tag")? }
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a message from a server" }),
        };
        decoder.finish()?;
        Ok(message)
    }
}

/// Begins to read a message that may have so many bytes.
pub(crate) fn start(bytes: &[u8], limit: usize) -> Result<Decoder<'_>, Error> {
    if bytes.len() > limit {
        return Err(Error::FrameSize { length: bytes.len(), limit });
    }
    Ok(Decoder::new(bytes))
}

/// The name that a structure begins with.
pub(crate) fn name(bytes: &[u8]) -> Option<&str> {
    let mut decoder = Decoder::new(bytes);
    decoder.array_header(8, "a message").ok()?;
    decoder.text(16, "a message's name").ok()
}

fn decode_ranges(decoder: &mut Decoder<'_>) -> Result<Vec<ByteRange>, Error> {
    let count = decoder.array_header(u64::from(MAX_RANGES), "ranges")?;
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        decoder.array_exact(2, "offset and length")?;
        let offset = decoder.unsigned("an offset")?;
        ranges.push(ByteRange { offset, length: decoder.unsigned_u32("a length, 32 bits")? });
    }
    Ok(ranges)
}
