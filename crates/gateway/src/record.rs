//! What the log holds: one record for everything that happened. Each has one byte form. A record says what the
//! gateway saw, never what is true of the server.

use protocol::claim::MAX_CLAIM_BYTES;
use protocol::encoding::{Decoder, Encoder};
use protocol::lease::{MAX_CODE_BYTES, Outcome};
use protocol::{Claim, Error};

const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The gateway started. Its sequence number begins the tags of this run.
    Started {
        /// Commitment to the key that picks what is recomputed.
        audit_key: [u8; 32],
        /// Rate and floor of the audit, see [`crate::sampling::AuditPolicy`].
        rate_ppb: u64,
        /// As above.
        floor_ppb: u64,
    },
    /// An answer was delivered, as a whole or until its reader left.
    Answered(Box<Answered>),
    /// A recomputer found something.
    Judged {
        /// The answer.
        tag: u64,
        /// What was found.
        outcome: Outcome,
    },
    /// The server was killed.
    Killed {
        /// [`crate::state::KillReason::code`].
        reason: String,
    },
    /// The audit key of this run, after its end.
    Revealed {
        /// Fits the commitment in [`Record::Started`].
        audit_key: [u8; 32],
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Names the request.
    pub tag: u64,
    /// Whether it is recomputed.
    pub picked: bool,
    /// Of the bytes that went to the client.
    pub response: [u8; 32],
    /// What the server is taken to claim.
    pub claim: Claim,
}

impl Record {
    /// The kind, for the store.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Started { .. } => 1,
            Self::Answered(_) => 2,
            Self::Judged { .. } => 3,
            Self::Killed { .. } => 4,
            Self::Revealed { .. } => 5,
        }
    }

    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Started { audit_key, rate_ppb, floor_ppb } => {
                out.structure("started", VERSION, 3);
                out.bytes(audit_key);
                out.unsigned(*rate_ppb);
                out.unsigned(*floor_ppb);
            }
            Self::Answered(answered) => {
                out.structure("answered", VERSION, 4);
                out.unsigned(answered.tag);
                out.boolean(answered.picked);
                out.bytes(&answered.response);
                out.bytes(&answered.claim.encode());
            }
            Self::Judged { tag, outcome } => {
                out.structure("judged", VERSION, 4);
                out.unsigned(*tag);
                let (name, code, position) = match outcome {
                    Outcome::Pass => ("pass", "", None),
                    Outcome::Fail { reason, position } => ("fail", reason.as_str(), *position),
                    Outcome::Unverifiable { missing } => ("unverifiable", missing.as_str(), None),
                };
                out.text(name);
                out.text(code);
                match position {
                    Some(position) => out.unsigned(u64::from(position)),
                    None => out.null(),
                }
            }
            Self::Killed { reason } => {
                out.structure("killed", VERSION, 1);
                out.text(reason);
            }
            Self::Revealed { audit_key } => {
                out.structure("revealed", VERSION, 1);
                out.bytes(audit_key);
            }
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// Those of [`Decoder`] and [`Claim::decode`].
    pub fn decode(kind: u8, bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(bytes);
        let record = match kind {
            1 => {
                decoder.structure("started", VERSION, 3)?;
                Self::Started {
                    audit_key: decoder.bytes_exact("a commitment")?,
                    rate_ppb: decoder.unsigned("a rate")?,
                    floor_ppb: decoder.unsigned("a rate")?,
                }
            }
            2 => {
                decoder.structure("answered", VERSION, 4)?;
                Self::Answered(Box::new(Answered {
                    tag: decoder.unsigned("a tag")?,
                    picked: decoder.boolean("whether it is recomputed")?,
                    response: decoder.bytes_exact("a digest")?,
                    claim: Claim::decode(decoder.bytes(MAX_CLAIM_BYTES as u64, "a claim")?)?,
                }))
            }
            3 => {
                decoder.structure("judged", VERSION, 4)?;
                let tag = decoder.unsigned("a tag")?;
                Self::Judged { tag, outcome: decode_outcome(&mut decoder)? }
            }
            4 => {
                decoder.structure("killed", VERSION, 1)?;
                Self::Killed { reason: decoder.text(MAX_CODE_BYTES, "a reason")?.to_owned() }
            }
            5 => {
                decoder.structure("revealed", VERSION, 1)?;
                Self::Revealed { audit_key: decoder.bytes_exact("a key")? }
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a kind of record, 1 to 5" }),
        };
        decoder.finish()?;
        Ok(record)
    }
}

fn decode_outcome(decoder: &mut Decoder<'_>) -> Result<Outcome, Error> {
    let offset = decoder.offset();
    let name = decoder.text(16, "an outcome")?;
    let code = decoder.text(MAX_CODE_BYTES, "a code")?.to_owned();
    let position =
        decoder.optional("a position or null", |decoder| decoder.unsigned_u32("a position or null"))?;
    match (name, code.is_empty(), position) {
        ("pass", true, None) => Ok(Outcome::Pass),
        ("fail", false, position) => Ok(Outcome::Fail { reason: code, position }),
        ("unverifiable", false, None) => Ok(Outcome::Unverifiable { missing: code }),
        _ => {
            Err(Error::UnknownName { offset, expected: "pass, fail or unverifiable, and what belongs to it" })
        }
    }
}

/// A claim for tests that only need one: each nonce gives another.
#[cfg(test)]
pub(crate) fn test_claim(nonce: [u8; 32]) -> Claim {
    use protocol::{ClientSeed, FinishReason, ModelCommitment, Nonce, SamplingSettings, Seed};
    Claim {
        version: 1,
        numerics: "test".into(),
        model: ModelCommitment::from_bytes([1; 32]),
        template: None,
        prompt_ids: vec![1, 2],
        settings: SamplingSettings::greedy(),
        client_seed: ClientSeed::from_bytes([0; 32]),
        nonce: Nonce::from_bytes(nonce),
        seed: Seed::from_bytes([0; 32]),
        output_ids: Vec::new(),
        finish: FinishReason::ReaderLeft,
        output_bytes: Vec::new(),
        fingerprints: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_one_byte_form() {
        let records = [
            Record::Started { audit_key: [1; 32], rate_ppb: 5, floor_ppb: 1 },
            Record::Judged { tag: 3, outcome: Outcome::Pass },
            Record::Judged {
                tag: 3,
                outcome: Outcome::Fail { reason: "output_token".into(), position: Some(0) },
            },
            Record::Judged { tag: 3, outcome: Outcome::Unverifiable { missing: "model".into() } },
            Record::Killed { reason: "audit".into() },
            Record::Revealed { audit_key: [2; 32] },
        ];
        for record in records {
            let bytes = record.encode();
            assert_eq!(Record::decode(record.kind(), &bytes).as_ref(), Ok(&record));
            for cut in 0..bytes.len() {
                assert!(Record::decode(record.kind(), &bytes[..cut]).is_err());
            }
            for kind in (0..=6).filter(|kind| *kind != record.kind()) {
                assert!(Record::decode(kind, &bytes).is_err());
            }
        }
    }
}
