//! What a recomputer and a gateway say to each other: the recomputer leases sampled claims and returns what it
//! found. A lease that runs out is given out again, so an outcome may come twice; the tag makes it count once.
//! Nothing here may judge. On the wire as in [`crate::link`]. A job is followed by zeros up to a size class, so that its
//! length tells nothing about which answer it is.

use crate::claim::MAX_CLAIM_BYTES;
use crate::encoding::Encoder;
use crate::error::Error;
use crate::link::{name, start};
use crate::verdict::Verdict;

/// Longest message in either direction: one claim, and a little around it.
pub const MAX_LEASE_BYTES: usize = MAX_CLAIM_BYTES + 1024;
/// Longest code of a reason.
pub const MAX_CODE_BYTES: u64 = 64;

/// Smallest job on the wire; the next classes are its doubles.
pub const JOB_CLASS_BYTES: usize = 1 << 16;

const VERSION: u32 = 1;

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every bit is right.
    Pass,
    /// No honest run gives this answer.
    Fail {
        /// Code of the reason, see [`crate::verdict::Reason::code`].
        reason: String,
        /// First wrong output token, if the reason has one.
        position: Option<u32>,
    },
    /// Something is missing to tell.
    Unverifiable {
        /// Code of what is missing.
        missing: String,
    },
}

impl Outcome {
    /// The outcome of a verdict.
    pub fn of(verdict: &Verdict) -> Outcome {
        match verdict {
            Verdict::Accept => Self::Pass,
            Verdict::Reject(reason) => {
                Self::Fail { reason: reason.code().to_owned(), position: reason.position() }
            }
            Verdict::Undecided(missing) => Self::Unverifiable { missing: missing.code().to_owned() },
        }
    }
}

/// From the recomputer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGateway {
    /// Give me the next job.
    Lease,
    /// This is what I found.
    Done {
        /// The job.
        tag: u64,
        /// What came out.
        outcome: Outcome,
    },
}

/// From the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGateway {
    /// Replay this.
    Job {
        /// Names the job.
        tag: u64,
        /// A canonical [`crate::Claim`].
        claim: Vec<u8>,
    },
    /// There is nothing to do now.
    Idle,
    /// The outcome is recorded.
    Recorded {
        /// The job.
        tag: u64,
    },
}

impl ToGateway {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Lease => out.structure("lease", VERSION, 0),
            Self::Done { tag, outcome: Outcome::Pass } => {
                out.structure("pass", VERSION, 1);
                out.unsigned(*tag);
            }
            Self::Done { tag, outcome: Outcome::Fail { reason, position } } => {
                out.structure("fail", VERSION, 3);
                out.unsigned(*tag);
                out.text(reason);
                match position {
                    Some(position) => out.unsigned(u64::from(*position)),
                    None => out.null(),
                }
            }
            Self::Done { tag, outcome: Outcome::Unverifiable { missing } } => {
                out.structure("unverifiable", VERSION, 2);
                out.unsigned(*tag);
                out.text(missing);
            }
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::FrameSize`], and those of [`crate::encoding::Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = start(bytes, MAX_LEASE_BYTES)?;
        let message = match name(bytes) {
            Some("lease") => {
                decoder.structure("lease", VERSION, 0)?;
                Self::Lease
            }
            Some("pass") => {
                decoder.structure("pass", VERSION, 1)?;
                Self::Done { tag: decoder.unsigned("a tag")?, outcome: Outcome::Pass }
            }
            Some("fail") => {
                decoder.structure("fail", VERSION, 3)?;
                let tag = decoder.unsigned("a tag")?;
                let reason = decoder.text(MAX_CODE_BYTES, "a reason")?.to_owned();
                let position = decoder
                    .optional("a position or null", |decoder| decoder.unsigned_u32("a position or null"))?;
                Self::Done { tag, outcome: Outcome::Fail { reason, position } }
            }
            Some("unverifiable") => {
                decoder.structure("unverifiable", VERSION, 2)?;
                let tag = decoder.unsigned("a tag")?;
                let missing = decoder.text(MAX_CODE_BYTES, "what is missing")?.to_owned();
                Self::Done { tag, outcome: Outcome::Unverifiable { missing } }
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a message to a gateway" }),
        };
        decoder.finish()?;
        Ok(message)
    }
}

impl FromGateway {
    /// The one byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        match self {
            Self::Job { tag, claim } => {
                out.structure("job", VERSION, 2);
                out.unsigned(*tag);
                out.bytes(claim);
                let mut bytes = out.into_bytes();
                bytes.resize(size_class(bytes.len()), 0);
                return bytes;
            }
            Self::Idle => out.structure("idle", VERSION, 0),
            Self::Recorded { tag } => {
                out.structure("recorded", VERSION, 1);
                out.unsigned(*tag);
            }
        }
        out.into_bytes()
    }

    /// The inverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`Error::FrameSize`], and those of [`crate::encoding::Decoder`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = start(bytes, MAX_LEASE_BYTES)?;
        let message = match name(bytes) {
            Some("job") => {
                decoder.structure("job", VERSION, 2)?;
                let tag = decoder.unsigned("a tag")?;
                let limit = u64::try_from(MAX_CLAIM_BYTES).unwrap_or(u64::MAX);
                let claim = decoder.bytes(limit, "a claim")?.to_vec();
                // One form: exactly the zeros up to the class, and nothing that could hide in them.
                let offset = decoder.offset();
                let padding = bytes.get(offset..).unwrap_or_default();
                if bytes.len() != size_class(offset) || padding.iter().any(|byte| *byte != 0) {
                    return Err(Error::TrailingBytes { offset, count: padding.len() });
                }
                return Ok(Self::Job { tag, claim });
            }
            Some("idle") => {
                decoder.structure("idle", VERSION, 0)?;
                Self::Idle
            }
            Some("recorded") => {
                decoder.structure("recorded", VERSION, 1)?;
                Self::Recorded { tag: decoder.unsigned("a tag")? }
            }
            _ => return Err(Error::UnknownName { offset: 0, expected: "a message from a gateway" }),
        };
        decoder.finish()?;
        Ok(message)
    }
}

/// Length on the wire of a job of so many bytes.
fn size_class(bytes: usize) -> usize {
    bytes.max(JOB_CLASS_BYTES).next_power_of_two().min(MAX_LEASE_BYTES).max(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_size_classes_with_nothing_hidden_in_them() {
        let encode = |length: usize| FromGateway::Job { tag: 1, claim: vec![7; length] }.encode();
        assert_eq!(encode(0).len(), JOB_CLASS_BYTES);
        assert_eq!(encode(60_000).len(), JOB_CLASS_BYTES);
        assert_eq!(encode(70_000).len(), 2 * JOB_CLASS_BYTES);
        assert_eq!(encode(MAX_CLAIM_BYTES).len(), MAX_LEASE_BYTES);
        for length in [0, 60_000, 70_000, MAX_CLAIM_BYTES] {
            let mut bytes = encode(length);
            assert!(FromGateway::decode(&bytes).is_ok());
            // One zero less, one more, and something else than a zero.
            bytes.pop();
            assert!(FromGateway::decode(&bytes).is_err());
            bytes.extend([0, 0]);
            assert!(FromGateway::decode(&bytes).is_err());
            bytes.pop();
            *bytes.last_mut().unwrap() = 1;
            assert!(FromGateway::decode(&bytes).is_err());
        }
    }

    #[test]
    fn messages_have_one_byte_form() {
        let fail = Outcome::Fail { reason: "output_token".to_owned(), position: Some(3) };
        for outcome in [Outcome::Pass, fail, Outcome::Unverifiable { missing: "model".to_owned() }] {
            let message = ToGateway::Done { tag: 9, outcome };
            assert_eq!(ToGateway::decode(&message.encode()), Ok(message));
        }
        assert_eq!(ToGateway::decode(&ToGateway::Lease.encode()), Ok(ToGateway::Lease));
        let job = FromGateway::Job { tag: 1 << 40, claim: vec![1, 2, 3] };
        for message in [job, FromGateway::Idle, FromGateway::Recorded { tag: 0 }] {
            let bytes = message.encode();
            for cut in 0..bytes.len() {
                assert!(FromGateway::decode(&bytes[..cut]).is_err());
            }
            assert_eq!(FromGateway::decode(&bytes), Ok(message));
        }
    }
}
