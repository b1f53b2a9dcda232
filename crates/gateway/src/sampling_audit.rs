//! Draws every coin of a log again, once its audit key is revealed: whether the gateway picked exactly what it had
//! bound itself to pick, and whether every pick has an outcome. Pure; never needs the model.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ClaimDigest;
use protocol::lease::Outcome;

use crate::record::{Answered, Record};
use crate::sampling::{AuditPolicy, AuditSampler};

/// The runs of a gateway in one log, each from its start to the revelation of its key.
#[derive(Debug, Default)]
pub struct SamplingAudit {
    runs: Vec<Run>,
    answers: BTreeMap<u64, Answer>,
    judged: BTreeSet<u64>,
    counts: AuditCounts,
    found: Vec<AuditFinding>,
}

#[derive(Debug)]
struct Run {
    commitment: [u8; 32],
    policy: AuditPolicy,
    revealed: Option<[u8; 32]>,
    /// Whether it has answers: without any, nobody needs its key.
    is_used: bool,
}

#[derive(Debug)]
struct Answer {
    /// Index into the runs.
    run: Option<usize>,
    digest: ClaimDigest,
    tokens: u64,
    picked: bool,
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
    /// The answer should have been picked and was not.
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
    /// Whether the key of every run with answers was revealed, so that all coins could be checked.
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
                self.runs.push(Run { commitment: *audit_key, policy, revealed: None, is_used: false });
            }
            Record::Answered(answered) => self.answer(answered),
            Record::Judged { tag, outcome } => self.judge(*tag, outcome),
            Record::Killed { .. } => {}
            Record::Revealed { audit_key } => match self.runs.last_mut() {
                Some(run) => run.revealed = Some(*audit_key),
                None => self.found.push(AuditFinding::NoStart),
            },
        }
    }

    fn answer(&mut self, answered: &Answered) {
        match self.runs.last_mut() {
            Some(run) => run.is_used = true,
            None => self.found.push(AuditFinding::NoStart),
        }
        let claim = &answered.claim;
        let tokens = claim.prompt_ids.len().saturating_add(claim.output_ids.len());
        let answer = Answer {
            run: self.runs.len().checked_sub(1),
            digest: claim.digest(),
            tokens: u64::try_from(tokens).unwrap_or(u64::MAX),
            picked: answered.picked,
        };
        if self.answers.insert(answered.tag, answer).is_some() {
            self.found.push(AuditFinding::Twice { tag: answered.tag });
        }
        self.counts.answers += 1;
        self.counts.picked += u64::from(answered.picked);
    }

    fn judge(&mut self, tag: u64, outcome: &Outcome) {
        if !self.answers.get(&tag).is_some_and(|answer| answer.picked) {
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
        let mut samplers = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let sampler = run.revealed.map(|key| AuditSampler::new(key, run.policy));
            let fits = sampler.as_ref().is_none_or(|sampler| sampler.commitment() == run.commitment);
            if !fits {
                self.found.push(AuditFinding::WrongKey);
            }
            samplers.push(sampler.filter(|_| fits));
        }
        for (tag, answer) in &self.answers {
            let Some(sampler) = answer.run.and_then(|run| samplers[run].as_ref()) else { continue };
            match (sampler.picks(&answer.digest, answer.tokens), answer.picked) {
                (true, false) => self.found.push(AuditFinding::Skipped { tag: *tag }),
                (false, true) => self.found.push(AuditFinding::Added { tag: *tag }),
                (true, true) | (false, false) => {}
            }
        }
        let judged = self.counts.passed + self.counts.failed + self.counts.unverifiable;
        AuditReport {
            counts: self.counts,
            waiting: self.counts.picked.saturating_sub(judged),
            is_revealed: self.runs.iter().all(|run| run.revealed.is_some() || !run.is_used),
            findings: self.found,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Claim;

    use super::*;
    use crate::record::test_claim;
    use crate::sampling::PPB;

    const KEY: [u8; 32] = [6; 32];
    const POLICY: AuditPolicy = AuditPolicy { rate_ppb: PPB / 4, floor_ppb: PPB / 4 };

    fn claim(tag: u64) -> Claim {
        test_claim(*blake3::hash(&tag.to_le_bytes()).as_bytes())
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
    fn each_run_is_checked_with_its_own_key() {
        let (first, mut second) = (honest(30), honest(60));
        let AuditPolicy { rate_ppb, floor_ppb } = POLICY;
        let other = AuditSampler::new([9; 32], POLICY);
        // The second run has answers and a key of its own; one pick of the first is judged only then.
        second[0] = Record::Started { audit_key: other.commitment(), rate_ppb, floor_ppb };
        second.retain(|record| !matches!(record, Record::Judged { .. } | Record::Revealed { .. }));
        second.retain(|record| !matches!(record, Record::Answered(answered) if answered.tag < 30));
        for record in &mut second {
            if let Record::Answered(answered) = record {
                answered.picked = other.picks(&answered.claim.digest(), 2);
            }
        }
        let mut records = first;
        let late = records.iter().rposition(|record| matches!(record, Record::Judged { .. })).unwrap();
        let late = records.remove(late);
        records.extend(second);
        records.push(late);
        let unrevealed = audit(&records);
        assert_eq!((unrevealed.findings, unrevealed.is_revealed), (vec![], false));
        records.push(Record::Revealed { audit_key: [9; 32] });
        let report = audit(&records);
        assert_eq!((report.findings, report.is_revealed, report.counts.answers), (vec![], true, 60));
        *records.last_mut().unwrap() = Record::Revealed { audit_key: KEY };
        assert_eq!(audit(&records).findings, [AuditFinding::WrongKey]);
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
