//! Draws every coin of a log again, once its audit key is revealed: whether the gateway picked exactly what it had
//! bound itself to pick, and whether every pick has an outcome. Pure; never needs the model.

use std::collections::{BTreeMap, BTreeSet};

use protocol::lease::Outcome;

use crate::record::Record;
use crate::sampling::{AuditPolicy, AuditSampler};

/// One run of the gateway, from its start to the revelation of its key.
#[derive(Debug, Default)]
pub struct SamplingAudit {
    commitment: Option<([u8; 32], AuditPolicy)>,
    revealed: Option<[u8; 32]>,
    /// Tag, digest, tokens, and whether it was picked.
    answers: BTreeMap<u64, (protocol::ClaimDigest, u64, bool)>,
    judged: BTreeSet<u64>,
    counts: AuditCounts,
    found: Vec<AuditFinding>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Answers in the log.
    pub answers: u64,
    /// Answers that the log says were picked.
    pub picked: u64,
    /// Picks that were recomputed and right.
    pub passed: u64,
    /// Picks that were recomputed and wrong.
    pub failed: u64,
    /// Picks that could not be recomputed.
    pub unverifiable: u64,
}

/// Something that is not as it has to be. Blame: the gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFinding {
    /// An answer before any start.
    #[error("records come before the gateway's start")]
    NoStart,
    /// The key that was revealed is not the one that was committed to.
    #[error("the revealed audit key is not the committed one")]
    WrongKey,
    /// The key should have been picked and was not.
    #[error("answer {tag:016x} should have been picked and was not")]
    Skipped {
        /// The answer.
        tag: u64,
    },
    /// The answer was picked without a reason.
    #[error("answer {tag:016x} was picked, but its coin says no")]
    Added {
        /// The answer.
        tag: u64,
    },
    /// A tag came twice.
    #[error("answer {tag:016x} is there twice")]
    Twice {
        /// The answer.
        tag: u64,
    },
    /// An outcome for what was not picked or not answered.
    #[error("answer {tag:016x} has an outcome, but was not picked")]
    NotPicked {
        /// The answer.
        tag: u64,
    },
}

/// What a whole run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// How many of what.
    pub counts: AuditCounts,
    /// Picks without an outcome.
    pub waiting: u64,
    /// Whether the key was revealed, so that coins could be checked.
    pub is_revealed: bool,
    /// What is wrong, in the order of the log, then of tags.
    pub findings: Vec<AuditFinding>,
}

impl SamplingAudit {
    /// Before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record in.
    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Started { audit_key, rate_ppb, floor_ppb } => {
                let policy = AuditPolicy { rate_ppb: *rate_ppb, floor_ppb: *floor_ppb };
                self.commitment = Some((*audit_key, policy));
            }
            Record::Answered(answered) => {
                if self.commitment.is_none() {
                    self.found.push(AuditFinding::NoStart);
                }
                let claim = &answered.claim;
                let tokens = claim.prompt_ids.len().saturating_add(claim.output_ids.len());
                let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
                let answer = (claim.digest(), tokens, answered.picked);
                if self.answers.insert(answered.tag, answer).is_some() {
                    self.found.push(AuditFinding::Twice { tag: answered.tag });
                }
                self.counts.answers += 1;
                self.counts.picked += u64::from(answered.picked);
            }
            Record::Judged { tag, outcome } => self.judge(*tag, outcome),
            Record::Killed { .. } => {}
            Record::Revealed { audit_key } => self.revealed = Some(*audit_key),
        }
    }

    fn judge(&mut self, tag: u64, outcome: &Outcome) {
        if !self.answers.get(&tag).is_some_and(|(_, _, picked)| *picked) {
            self.found.push(AuditFinding::NotPicked { tag });
        }
        // Outcomes may come twice; the first one counts.
        if !self.judged.insert(tag) {
            return;
        }
        match outcome {
            Outcome::Pass => self.counts.passed += 1,
            Outcome::Fail { .. } => self.counts.failed += 1,
            Outcome::Unverifiable { .. } => self.counts.unverifiable += 1,
        }
    }

    /// Draws all coins again.
    pub fn finish(mut self) -> AuditReport {
        if let (Some((commitment, policy)), Some(key)) = (self.commitment, self.revealed) {
            let sampler = AuditSampler::new(key, policy);
            if sampler.commitment() == commitment {
                for (tag, (digest, tokens, picked)) in &self.answers {
                    match (sampler.picks(digest, *tokens), picked) {
                        (true, false) => self.found.push(AuditFinding::Skipped { tag: *tag }),
                        (false, true) => self.found.push(AuditFinding::Added { tag: *tag }),
                        (true, true) | (false, false) => {}
                    }
                }
            } else {
                self.found.push(AuditFinding::WrongKey);
            }
        }
        let judged = self.counts.passed + self.counts.failed + self.counts.unverifiable;
        AuditReport {
            counts: self.counts,
            waiting: self.counts.picked.saturating_sub(judged),
            is_revealed: self.revealed.is_some(),
            findings: self.found,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Claim, ClientSeed, FinishReason, ModelCommitment, Nonce, SamplingSettings, Seed};

    use super::*;
    use crate::record::Answered;
    use crate::sampling::PPB;

    const KEY: [u8; 32] = [6; 32];
    const POLICY: AuditPolicy = AuditPolicy { rate_ppb: PPB / 4, floor_ppb: PPB / 4 };

    fn claim(tag: u64) -> Claim {
        Claim {
            version: 1,
            numerics: "test".into(),
            model: ModelCommitment::from_bytes([1; 32]),
            template: None,
            prompt_ids: vec![1, 2],
            settings: SamplingSettings::greedy(),
            client_seed: ClientSeed::from_bytes([0; 32]),
            nonce: Nonce::from_bytes(*blake3::hash(&tag.to_le_bytes()).as_bytes()),
            seed: Seed::from_bytes([0; 32]),
            output_ids: Vec::new(),
            finish: FinishReason::Length,
            output_bytes: Vec::new(),
            fingerprints: Vec::new(),
        }
    }

    /// An honest log of so many answers, all picks judged, the key revealed.
    fn honest(answers: u64) -> Vec<Record> {
        let sampler = AuditSampler::new(KEY, POLICY);
        let AuditPolicy { rate_ppb, floor_ppb } = POLICY;
        let mut records = vec![Record::Started { audit_key: sampler.commitment(), rate_ppb, floor_ppb }];
        for tag in 0..answers {
            let claim = claim(tag);
            let picked = sampler.picks(&claim.digest(), 2);
            records.push(Record::Answered(Box::new(Answered { tag, picked, response: [0; 32], claim })));
            if picked {
                records.push(Record::Judged { tag, outcome: Outcome::Pass });
            }
        }
        records.push(Record::Revealed { audit_key: KEY });
        records
    }

    fn audit(records: &[Record]) -> AuditReport {
        let mut audit = SamplingAudit::new();
        records.iter().for_each(|record| audit.add(record));
        audit.finish()
    }

    #[test]
    fn an_honest_log_has_no_findings() {
        let report = audit(&honest(200));
        assert_eq!((report.findings, report.waiting, report.is_revealed), (vec![], 0, true));
        assert_eq!((report.counts.answers, report.counts.picked), (200, report.counts.passed));
        assert!((20..80).contains(&report.counts.picked));
    }

    #[test]
    fn every_decision_that_is_changed_is_found() {
        let records = honest(60);
        for (index, record) in records.iter().enumerate() {
            let Record::Answered(answered) = record else { continue };
            let (tag, picked) = (answered.tag, answered.picked);
            let mut changed = records.clone();
            let answered = Answered { picked: !picked, ..(**answered).clone() };
            changed[index] = Record::Answered(Box::new(answered));
            let expected = if picked {
                vec![AuditFinding::NotPicked { tag }, AuditFinding::Skipped { tag }]
            } else {
                vec![AuditFinding::Added { tag }]
            };
            assert_eq!(audit(&changed).findings, expected);
        }
    }

    #[test]
    fn keys_that_do_not_fit_and_missing_records_are_found() {
        let mut other_key = honest(5);
        *other_key.last_mut().unwrap() = Record::Revealed { audit_key: [7; 32] };
        assert_eq!(audit(&other_key).findings, [AuditFinding::WrongKey]);
        let unrevealed = &honest(5)[..];
        assert!(!audit(&unrevealed[..unrevealed.len() - 1]).is_revealed);
        let without_start = audit(&honest(1)[1..2]);
        assert_eq!(without_start.findings, [AuditFinding::NoStart]);
        let records = honest(1);
        let twice = [&records[..2], &records[1..2]].concat();
        assert!(audit(&twice).findings.contains(&AuditFinding::Twice { tag: 0 }));
    }
}
