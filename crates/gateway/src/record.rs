//! What the log holds: one record for everything that happened. Each has one byte form. A record says what the
//! gateway saw, never what is true of the server.

use protocol::checkpoint::{
    EpochTerms, Leaf, MAX_BEACON_BYTES, MAX_CHECKPOINT_BYTES, MAX_MODELS, ModelFloor,
};
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::encoding::{Decoder, Encoder};
use protocol::lease::{MAX_CODE_BYTES, Outcome};
use protocol::{CheckpointDigest, Claim, ClaimDigest, Error, KeyId, ModelCommitment, VerifyingKey};

/// [`Record::kind`] of an answer.
pub(crate) const ANSWERED_KIND: u8 = 2;
/// About as long as an answer's record is without its claim.
const ANSWERED_HEAD_BYTES: usize = 96;
const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An epoch began: the gateway's start, or the end of the epoch before.
    Started(Box<Started>),
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
    /// The audit key of an epoch, after its final checkpoint.
    Revealed {
        /// The epoch.
        epoch: u64,
        /// Fits the commitment in [`Started`].
        audit_key: [u8; 32],
    },
    /// The final checkpoint of an epoch, signed. No answer of that epoch follows.
    Checkpoint {
        /// See [`protocol::Checkpoint`].
        signed: Vec<u8>,
    },
    /// The other party's beacon of an epoch, signed.
    Beacon {
        /// The epoch.
        epoch: u64,
        /// See [`protocol::Beacon`].
        signed: Vec<u8>,
    },
    /// A gateway that passes requests through was started. Its number begins the tags of the run.
    PassBegan {
        /// Commitment to the key that picks.
        audit_key: [u8; 32],
        /// Rate, and its floor.
        rate_ppb: u64,
        /// As above.
        floor_ppb: u64,
        /// Where requests go.
        upstream: String,
    },
    /// A request and its answer passed through.
    Passed(Box<Passed>),
    /// A request got its tag and no token of an answer. With this, every tag that was given ends in the log.
    Dropped(Box<Dropped>),
}

/// Longest name of an upstream.
pub const MAX_UPSTREAM_BYTES: usize = 256;

/// What passed through: digests and counts, by the gateway's own eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Names the request.
    pub tag: u64,
    /// Whether it was picked. Nothing recomputes it: its verdict is Undecided, since there is no exact engine.
    pub picked: bool,
    /// See [`protocol::receipt::passed_request_digest`].
    pub request: [u8; 32],
    /// Of the bytes that went to the client.
    pub response: [u8; 32],
    /// Of the request's body.
    pub request_bytes: u64,
    /// To the client.
    pub response_bytes: u64,
    /// [`protocol::receipt::FinishCode::code`].
    pub finish: String,
    /// [`crate::sse::Flaw::code`], if the upstream's events were broken.
    pub flaw: Option<String>,
}

/// A request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Names the request.
    pub tag: u64,
    /// See [`protocol::receipt::request_digest`].
    pub request: [u8; 32],
    /// Of the bytes that went to the client all the same: the head of a stream, or an error.
    pub response: [u8; 32],
    /// Why there is no answer: `reader_left`, `no_room`, `server_killed` or `server_gone`.
    pub reason: String,
}

/// What is fixed before an epoch's first answer. Its number in the log is the epoch's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Commitment to the key that picks what is recomputed.
    pub audit_key: [u8; 32],
    /// Commitment to the key from which nonces come.
    pub seed_key: [u8; 32],
    /// Rate of the audit, see [`crate::sampling::AuditPolicy`].
    pub rate_ppb: u64,
    /// What is served, and the floors of the rate.
    pub models: Vec<ModelFloor>,
    /// Who draws the beacon of the second lottery.
    pub beacon_party: Option<VerifyingKey>,
    /// The final checkpoint of the epoch before.
    pub previous: Option<CheckpointDigest>,
}

impl Started {
    /// The same as what is signed.
    pub fn terms(&self, gateway: KeyId, epoch: u64) -> EpochTerms {
        EpochTerms {
            gateway,
            epoch,
            audit_key: self.audit_key,
            seed_key: self.seed_key,
            rate_ppb: self.rate_ppb,
            models: self.models.clone(),
            beacon_party: self.beacon_party,
            previous: self.previous,
        }
    }
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

/// Without a tokenizer, so many bytes count as one token of limits and sampling.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

impl Passed {
    /// What the coin is drawn over, and what it weighs: the record as it is while it is not picked.
    pub(crate) fn leaf(&self) -> Leaf {
        let record = Record::Passed(Box::new(Self { picked: false, ..self.clone() }));
        let bytes = self.request_bytes.saturating_add(self.response_bytes);
        Leaf {
            tag: self.tag,
            model: 0,
            claim: ClaimDigest::from_bytes(*blake3::hash(&record.encode()).as_bytes()),
            cost_tokens: bytes.div_ceil(BYTES_PER_TOKEN),
            picked: self.picked,
        }
    }
}

impl Answered {
    /// The answer in its epoch's tree. `None` if the epoch does not have its model.
    pub fn leaf(&self, models: &[ModelFloor]) -> Option<Leaf> {
        self.leaf_of(self.claim.digest(), models)
    }

    /// The same for who knows the claim's digest.
    pub(crate) fn leaf_of(&self, claim: ClaimDigest, models: &[ModelFloor]) -> Option<Leaf> {
        let model = models.iter().position(|floor| floor.model == self.claim.model)?;
        let tokens = self.claim.prompt_ids.len().saturating_add(self.claim.output_ids.len());
        Some(Leaf {
            tag: self.tag,
            model: u32::try_from(model).ok()?,
            claim,
            cost_tokens: u64::try_from(tokens).unwrap_or(u64::MAX),
            picked: self.picked,
        })
    }

    /// The bytes of the record, for who has those of the claim.
    pub(crate) fn encode_around(&self, claim: &[u8]) -> Vec<u8> {
        let mut out = Encoder::new();
        out.reserve(claim.len().saturating_add(ANSWERED_HEAD_BYTES));
        self.encode_into(&mut out, claim);
        out.into_bytes()
    }

    fn encode_into(&self, out: &mut Encoder, claim: &[u8]) {
        out.structure("answered", VERSION, 4);
        out.unsigned(self.tag);
        out.boolean(self.picked);
        out.bytes(&self.response);
        out.bytes(claim);
    }
}

impl Record {
    /// The kind, for the store.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Started(_) => 1,
            Self::Answered(_) => ANSWERED_KIND,
            Self::Judged { .. } => 3,
            Self::Killed { .. } => 4,
            Self::Revealed { .. } => 5,
            Self::Checkpoint { .. } => 6,
            Self::Beacon { .. } => 7,
            Self::PassBegan { .. } => 8,
            Self::Passed(_) => 9,
            Self::Dropped(_) => 10,
        }
    }

    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Started(started) => started.encode_into(&mut out),
            Self::Answered(answered) => answered.encode_into(&mut out, &answered.claim.encode()),
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
            Self::Revealed { epoch, audit_key } => {
                out.structure("revealed", VERSION, 2);
                out.unsigned(*epoch);
                out.bytes(audit_key);
            }
            Self::Checkpoint { signed } => {
                out.structure("checkpoint", VERSION, 1);
                out.bytes(signed);
            }
            Self::Beacon { epoch, signed } => {
                out.structure("beacon", VERSION, 2);
                out.unsigned(*epoch);
                out.bytes(signed);
            }
            Self::PassBegan { audit_key, rate_ppb, floor_ppb, upstream } => {
                out.structure("pass-began", VERSION, 4);
                out.bytes(audit_key);
                out.unsigned(*rate_ppb);
                out.unsigned(*floor_ppb);
                out.text(upstream);
            }
            Self::Passed(passed) => passed.encode_into(&mut out),
            Self::Dropped(dropped) => {
                out.structure("dropped", VERSION, 4);
                out.unsigned(dropped.tag);
                out.bytes(&dropped.request);
                out.bytes(&dropped.response);
                out.text(&dropped.reason);
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
            1 => Self::Started(Box::new(Started::decode_from(&mut decoder)?)),
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
                decoder.structure("revealed", VERSION, 2)?;
                let epoch = decoder.unsigned("an epoch")?;
                Self::Revealed { epoch, audit_key: decoder.bytes_exact("a key")? }
            }
            6 => {
                decoder.structure("checkpoint", VERSION, 1)?;
                let limit = MAX_CHECKPOINT_BYTES as u64;
                Self::Checkpoint { signed: decoder.bytes(limit, "a signed checkpoint")?.to_vec() }
            }
            7 => {
                decoder.structure("beacon", VERSION, 2)?;
                let epoch = decoder.unsigned("an epoch")?;
                let signed = decoder.bytes(MAX_BEACON_BYTES as u64, "a signed beacon")?.to_vec();
                Self::Beacon { epoch, signed }
            }
            8 => {
                decoder.structure("pass-began", VERSION, 4)?;
                Self::PassBegan {
                    audit_key: decoder.bytes_exact("a commitment")?,
                    rate_ppb: decoder.unsigned("a rate")?,
                    floor_ppb: decoder.unsigned("a rate")?,
                    upstream: decoder.text(MAX_UPSTREAM_BYTES as u64, "an upstream")?.to_owned(),
                }
            }
            9 => Self::Passed(Box::new(Passed::decode_from(&mut decoder)?)),
            10 => {
                decoder.structure("dropped", VERSION, 4)?;
                Self::Dropped(Box::new(Dropped {
                    tag: decoder.unsigned("a tag")?,
                    request: decoder.bytes_exact("a digest")?,
                    response: decoder.bytes_exact("a digest")?,
                    reason: decoder.text(MAX_CODE_BYTES, "a reason")?.to_owned(),
                }))
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a kind of record, 1 to 10" }),
        };
        decoder.finish()?;
        Ok(record)
    }
}

impl Passed {
    fn encode_into(&self, out: &mut Encoder) {
        out.structure("passed", VERSION, 8);
        out.unsigned(self.tag);
        out.boolean(self.picked);
        out.bytes(&self.request);
        out.bytes(&self.response);
        out.unsigned(self.request_bytes);
        out.unsigned(self.response_bytes);
        out.text(&self.finish);
        match &self.flaw {
            Some(flaw) => out.text(flaw),
            None => out.null(),
        }
    }

    fn decode_from(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure("passed", VERSION, 8)?;
        Ok(Self {
            tag: decoder.unsigned("a tag")?,
            picked: decoder.boolean("whether it was picked")?,
            request: decoder.bytes_exact("a digest")?,
            response: decoder.bytes_exact("a digest")?,
            request_bytes: decoder.unsigned("a number of bytes")?,
            response_bytes: decoder.unsigned("a number of bytes")?,
            finish: decoder.text(MAX_CODE_BYTES, "a finish")?.to_owned(),
            flaw: decoder.optional("a flaw or null", |decoder| {
                Ok(decoder.text(MAX_CODE_BYTES, "a flaw or null")?.to_owned())
            })?,
        })
    }
}

impl Started {
    fn encode_into(&self, out: &mut Encoder) {
        out.structure("started", VERSION + 1, 6);
        out.bytes(&self.audit_key);
        out.bytes(&self.seed_key);
        out.unsigned(self.rate_ppb);
        out.array_header(self.models.len());
        for ModelFloor { model, floor_ppb } in &self.models {
            out.array_header(2);
            out.bytes(model.as_bytes());
            out.unsigned(*floor_ppb);
        }
        match &self.beacon_party {
            Some(party) => out.bytes(party.as_bytes()),
            None => out.null(),
        }
        match &self.previous {
            Some(previous) => out.bytes(previous.as_bytes()),
            None => out.null(),
        }
    }

    fn decode_from(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure("started", VERSION + 1, 6)?;
        let audit_key = decoder.bytes_exact("a commitment")?;
        let seed_key = decoder.bytes_exact("a commitment")?;
        let rate_ppb = decoder.unsigned("a rate")?;
        let mut models = Vec::new();
        for _ in 0..decoder.array_header(MAX_MODELS, "the models")? {
            decoder.array_exact(2, "a model and its floor")?;
            let model = ModelCommitment::from_bytes(decoder.bytes_exact("a model commitment")?);
            models.push(ModelFloor { model, floor_ppb: decoder.unsigned("a rate")? });
        }
        let beacon_party = decoder.optional("a party's key or null", |decoder| {
            VerifyingKey::from_bytes(&decoder.bytes_exact("a party's key or null")?)
        })?;
        let previous = decoder.optional("a digest or null", |decoder| {
            Ok(CheckpointDigest::from_bytes(decoder.bytes_exact("a digest or null")?))
        })?;
        Ok(Self { audit_key, seed_key, rate_ppb, models, beacon_party, previous })
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

/// An epoch for tests with [`test_claim`]'s model.
#[cfg(test)]
pub(crate) fn test_started() -> Started {
    Started {
        audit_key: [1; 32],
        seed_key: [2; 32],
        rate_ppb: 5,
        models: vec![ModelFloor { model: ModelCommitment::from_bytes([1; 32]), floor_ppb: 1 }],
        beacon_party: None,
        previous: None,
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
        logprobs: None,
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_one_byte_form() {
        let started = test_started();
        let passed = Passed {
            tag: 1,
            picked: true,
            request: [1; 32],
            response: [2; 32],
            request_bytes: 3,
            response_bytes: 4,
            finish: "delivered".into(),
            flaw: None,
        };
        let party = protocol::SigningKey::from_seed([1; 32]).verifying_key();
        let previous = Some(CheckpointDigest::from_bytes([3; 32]));
        let records = [
            Record::Started(Box::new(started.clone())),
            Record::Started(Box::new(Started { beacon_party: Some(party), previous, ..started })),
            Record::Judged { tag: 3, outcome: Outcome::Pass },
            Record::Judged {
                tag: 3,
                outcome: Outcome::Fail { reason: "output_token".into(), position: Some(0) },
            },
            Record::Judged { tag: 3, outcome: Outcome::Unverifiable { missing: "model".into() } },
            Record::Killed { reason: "audit".into() },
            Record::Revealed { epoch: 4, audit_key: [2; 32] },
            Record::Checkpoint { signed: vec![1, 2] },
            Record::Beacon { epoch: 1, signed: vec![3] },
            Record::PassBegan { audit_key: [4; 32], rate_ppb: 5, floor_ppb: 1, upstream: "http://x".into() },
            Record::Dropped(Box::new(Dropped {
                tag: 1,
                request: [1; 32],
                response: [2; 32],
                reason: "reader_left".into(),
            })),
            Record::Passed(Box::new(passed.clone())),
            Record::Passed(Box::new(Passed { flaw: Some("cut".into()), ..passed })),
        ];
        for record in records {
            let bytes = record.encode();
            assert_eq!(Record::decode(record.kind(), &bytes).as_ref(), Ok(&record));
            for cut in 0..bytes.len() {
                assert!(Record::decode(record.kind(), &bytes[..cut]).is_err());
            }
            for kind in (0..=11).filter(|kind| *kind != record.kind()) {
                assert!(Record::decode(kind, &bytes).is_err());
            }
        }
    }
}
