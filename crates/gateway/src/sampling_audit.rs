//! Draws every coin of an epoch again, once its audit key is revealed: whether the gateway picked exactly what it had
//! bound itself to pick, and whether every pick has an outcome. Pure; never needs the model, nor the log's key.
//!
//! [`audit_epoch`] sees what every outsider has: an epoch's file and the gateway's public key. [`audit_log`] does the same
//! for every epoch of a whole log, and looks at what only a log shows.

use std::collections::{BTreeMap, BTreeSet};

use protocol::checkpoint::{Beacon, Checkpoint, EpochTerms, Leaf, SignedReason};
use protocol::epoch::{EpochFile, Judgement};
use protocol::keys::VerifyingKey;
use protocol::{MerkleHash, merkle};

use crate::history::{History, PassRun};
use crate::pick_count::{ALPHA, improbability};
use crate::sampling::{AuditSampler, RATE_MIN_PPB, audit_key_commitment, beacon_picks, policy_of};
use crate::service::TAG_BITS;

#[cfg(test)]
mod tests;

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Answers.
    pub answers: u64,
    /// Answers that the first lottery picked, as the gateway says.
    pub picked: u64,
    /// Answers that only the beacon picked.
    pub beacon_picked: u64,
    /// Picks that were recomputed and right.
    pub passed: u64,
    /// Picks that were recomputed and wrong.
    pub failed: u64,
    /// Picks that could not be recomputed.
    pub unverifiable: u64,
}

/// Something that is not as it has to be. Blame: the gateway.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AuditFinding {
    /// An answer before any start.
    #[error("records come before the gateway's start")]
    NoStart,
    /// The checkpoint is not this gateway's.
    #[error("the checkpoint is not this gateway's: {0}")]
    Checkpoint(SignedReason),
    /// More answers could follow.
    #[error("the checkpoint is not the epoch's final one")]
    NotFinal,
    /// The log has an epoch after this one, but no end of this one.
    #[error("the epoch has no checkpoint, though another one follows")]
    NoCheckpoint,
    /// The checkpoint says something else than the epoch's beginning did.
    #[error("the checkpoint's terms are not those with which the epoch began")]
    OtherTerms,
    /// Answers were left out or added.
    #[error("there are {leaves} answers, but the checkpoint says {size}")]
    Size {
        /// Here.
        leaves: u64,
        /// In the checkpoint.
        size: u64,
    },
    /// An answer, its cost, its decision or its place was changed.
    #[error("the answers are not those of the checkpoint: their tree has another root")]
    Root,
    /// A checkpoint that was seen earlier says something else.
    #[error("an earlier checkpoint of this epoch does not agree: the gateway has shown two histories")]
    Fork,
    /// The key that was revealed is not the one that was committed to.
    #[error("the revealed audit key is not the committed one")]
    WrongKey,
    /// The key was known before the answers were bound.
    #[error("the audit key was revealed before the epoch's checkpoint")]
    RevealedEarly,
    /// Less is audited than any gateway may.
    #[error("a rate or floor of {rate_ppb} in a thousand million is below the least that is allowed")]
    RateTooLow {
        /// Rate or floor.
        rate_ppb: u64,
    },
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
    /// An answer of a model that the epoch does not have.
    #[error("answer {tag:016x} is of a model that the epoch does not have")]
    OtherModel {
        /// The answer.
        tag: u64,
    },
    /// An outcome for what was not picked or not answered.
    #[error("answer {tag:016x} has an outcome, but was not picked")]
    NotPicked {
        /// The answer.
        tag: u64,
    },
    /// Every coin is right, and still there are far too few or too many picks: answers were chosen by their coins.
    #[error(
        "{picked} of {answers} answers were picked where {expected:.1} are expected: an honest gateway does so with a \
         probability of at most {probability:.1e}, less than the {ALPHA:.0e} that raises this alarm"
    )]
    PickCount {
        /// How many were.
        picked: u64,
        /// Of how many.
        answers: u64,
        /// By the rates.
        expected: f64,
        /// Of what is so far off, at most.
        probability: f64,
    },
    /// The beacon is not the party's, or for another checkpoint.
    #[error("the beacon does not belong to this epoch")]
    Beacon,
    /// Records that belong to no epoch.
    #[error("{count} checkpoints, keys or beacons belong to no epoch, or came twice")]
    Strays {
        /// How many.
        count: u64,
    },
}

/// What an epoch shows.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochReport {
    /// Its name, if its checkpoint can be read.
    pub epoch: Option<u64>,
    /// How many of what.
    pub counts: AuditCounts,
    /// Picks without an outcome.
    pub waiting: u64,
    /// Whether the key was revealed, so that the first lottery could be checked.
    pub is_revealed: bool,
    /// Whether there is a beacon, so that the second lottery could be held.
    pub has_beacon: bool,
    /// What is wrong.
    pub findings: Vec<AuditFinding>,
}

/// Checks all of an epoch with nothing but the gateway's public key. `earlier` is a checkpoint of the same epoch that
/// the auditor has kept, if they have one: the opening one shows that the key was fixed before the first answer.
pub fn audit_epoch(file: &EpochFile, key: &VerifyingKey, earlier: Option<&Checkpoint>) -> EpochReport {
    let mut findings = Vec::new();
    let terms = match Checkpoint::verify(&file.checkpoint, key) {
        Ok(checkpoint) => {
            check_tree(&checkpoint, &file.leaves, earlier, &mut findings);
            Some(checkpoint)
        }
        Err(reason) => {
            findings.push(AuditFinding::Checkpoint(reason));
            None
        }
    };
    let beacon = terms.as_ref().and_then(|checkpoint| check_beacon(checkpoint, file, &mut findings));
    let terms = terms.map(|checkpoint| checkpoint.terms);
    let report = Decisions {
        leaves: &file.leaves,
        terms: terms.as_ref(),
        audit_key: file.audit_key.as_ref(),
        beacon: beacon.as_ref(),
        judged: &file.judged,
    };
    report.check(findings)
}

/// The tree is the checkpoint's, and an earlier checkpoint is its beginning.
fn check_tree(
    checkpoint: &Checkpoint,
    leaves: &[Leaf],
    earlier: Option<&Checkpoint>,
    findings: &mut Vec<AuditFinding>,
) {
    if !checkpoint.is_final {
        findings.push(AuditFinding::NotFinal);
    }
    let hashes: Vec<MerkleHash> = leaves.iter().map(Leaf::hash).collect();
    let size = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
    if size != checkpoint.size {
        findings.push(AuditFinding::Size { leaves: size, size: checkpoint.size });
    } else if merkle::root(&hashes) != checkpoint.root {
        findings.push(AuditFinding::Root);
    }
    if let Some(earlier) = earlier {
        let beginning = usize::try_from(earlier.size).ok().and_then(|size| hashes.get(..size));
        let agrees = earlier.terms == checkpoint.terms
            && beginning.is_some_and(|beginning| merkle::root(beginning) == earlier.root);
        if !agrees {
            findings.push(AuditFinding::Fork);
        }
    }
}

fn check_beacon(
    checkpoint: &Checkpoint,
    file: &EpochFile,
    findings: &mut Vec<AuditFinding>,
) -> Option<Beacon> {
    let signed = file.beacon.as_deref()?;
    let party = checkpoint.terms.beacon_party;
    let beacon = party.and_then(|party| Beacon::verify(signed, &party).ok());
    let fits =
        |beacon: &Beacon| beacon.epoch == checkpoint.terms.epoch && beacon.checkpoint == checkpoint.digest();
    let beacon = beacon.filter(fits);
    if beacon.is_none() {
        findings.push(AuditFinding::Beacon);
    }
    beacon
}

/// The decisions about an epoch's answers, and what they follow from.
struct Decisions<'a> {
    leaves: &'a [Leaf],
    terms: Option<&'a EpochTerms>,
    audit_key: Option<&'a [u8; 32]>,
    beacon: Option<&'a Beacon>,
    judged: &'a [(u64, Judgement)],
}

impl Decisions<'_> {
    fn check(&self, mut findings: Vec<AuditFinding>) -> EpochReport {
        self.check_rates(&mut findings);
        self.check_coins(&mut findings);
        self.check_count(&mut findings);
        let beacon_picked: BTreeSet<u64> = match (self.beacon, self.terms) {
            (Some(beacon), Some(terms)) => {
                let is_new = |leaf: &&Leaf| !leaf.picked && beacon_picks(beacon, terms, leaf);
                self.leaves.iter().filter(is_new).map(|leaf| leaf.tag).collect()
            }
            _ => BTreeSet::new(),
        };
        let mut counts = AuditCounts {
            answers: count(self.leaves.len()),
            picked: count(self.leaves.iter().filter(|leaf| leaf.picked).count()),
            beacon_picked: count(beacon_picked.len()),
            ..AuditCounts::default()
        };
        let picked: BTreeSet<u64> =
            self.leaves.iter().filter(|leaf| leaf.picked).map(|leaf| leaf.tag).collect();
        let mut judged = BTreeSet::new();
        for (tag, judgement) in self.judged {
            if !picked.contains(tag) && !beacon_picked.contains(tag) {
                findings.push(AuditFinding::NotPicked { tag: *tag });
            } else if judged.insert(*tag) {
                match judgement {
                    Judgement::Pass => counts.passed += 1,
                    Judgement::Fail => counts.failed += 1,
                    Judgement::Unverifiable => counts.unverifiable += 1,
                }
            }
        }
        let wanted = count(picked.len()).saturating_add(counts.beacon_picked);
        EpochReport {
            epoch: self.terms.map(|terms| terms.epoch),
            counts,
            waiting: wanted.saturating_sub(count(judged.len())),
            is_revealed: self.audit_key.is_some(),
            has_beacon: self.beacon.is_some(),
            findings,
        }
    }

    fn check_rates(&self, findings: &mut Vec<AuditFinding>) {
        let Some(terms) = self.terms else { return };
        let rates = terms.models.iter().map(|floor| floor.floor_ppb).chain([terms.rate_ppb]);
        if let Some(rate_ppb) = rates.min().filter(|rate| *rate < RATE_MIN_PPB) {
            findings.push(AuditFinding::RateTooLow { rate_ppb });
        }
    }

    /// Each decision is the one that the key gives.
    fn check_coins(&self, findings: &mut Vec<AuditFinding>) {
        let mut tags = BTreeSet::new();
        let twice = self.leaves.iter().filter(|leaf| !tags.insert(leaf.tag));
        findings.extend(twice.map(|leaf| AuditFinding::Twice { tag: leaf.tag }));
        let Some(terms) = self.terms else { return };
        let samplers = match self.audit_key {
            Some(key) if audit_key_commitment(key) != terms.audit_key => {
                findings.push(AuditFinding::WrongKey);
                return;
            }
            Some(key) => {
                let policies = (0..).map_while(|model| policy_of(terms, model));
                policies.map(|policy| AuditSampler::new(*key, policy)).collect()
            }
            None => Vec::new(),
        };
        for leaf in self.leaves {
            let model = usize::try_from(leaf.model).unwrap_or(usize::MAX);
            if model >= terms.models.len() {
                findings.push(AuditFinding::OtherModel { tag: leaf.tag });
            }
            let Some(sampler) = samplers.get(model) else { continue };
            match (sampler.picks(&leaf.claim, leaf.cost_tokens), leaf.picked) {
                (true, false) => findings.push(AuditFinding::Skipped { tag: leaf.tag }),
                (false, true) => findings.push(AuditFinding::Added { tag: leaf.tag }),
                (true, true) | (false, false) => {}
            }
        }
    }

    /// As many were picked as the rates make likely.
    fn check_count(&self, findings: &mut Vec<AuditFinding>) {
        let Some(terms) = self.terms else { return };
        let rate = |leaf: &Leaf| Some(policy_of(terms, leaf.model)?.rate_ppb(leaf.cost_tokens));
        let rates: Vec<u64> = self.leaves.iter().filter_map(rate).collect();
        let picked = count(self.leaves.iter().filter(|leaf| leaf.picked).count());
        let found = improbability(&rates, picked);
        if found.probability < ALPHA {
            findings.push(AuditFinding::PickCount {
                picked,
                answers: count(self.leaves.len()),
                expected: found.expected,
                probability: found.probability,
            });
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// What a whole log shows.
#[derive(Clone, Debug, PartialEq)]
pub struct LogReport {
    /// Sums over all epochs.
    pub counts: AuditCounts,
    /// Picks without an outcome.
    pub waiting: u64,
    /// Whether the key of every epoch with answers was revealed.
    pub is_revealed: bool,
    /// Tags before recorded ones of the same run that end in no record. Those that run, or ran when the gateway crashed,
    /// are such; if there are more, requests were answered and not written down.
    pub unaccounted: u64,
    /// Answers whose epoch began before the oldest record that the log keeps.
    pub unchecked: u64,
    /// One for each epoch, in order.
    pub epochs: Vec<EpochReport>,
    /// What is wrong with no epoch in particular.
    pub findings: Vec<AuditFinding>,
}

impl LogReport {
    /// Everything that is wrong, with the epoch's name where it has one.
    pub fn all_findings(&self) -> impl Iterator<Item = (Option<u64>, &AuditFinding)> {
        let of_epochs = self
            .epochs
            .iter()
            .flat_map(|report| report.findings.iter().map(move |finding| (report.epoch, finding)));
        self.findings.iter().map(|finding| (None, finding)).chain(of_epochs)
    }
}

/// Checks every epoch of a log. `is_whole` says that the log still has its first record.
pub fn audit_log(history: &History, key: &VerifyingKey, is_whole: bool) -> LogReport {
    let mut findings = Vec::new();
    if is_whole && !history.orphans.is_empty() {
        findings.push(AuditFinding::NoStart);
    }
    if is_whole && history.strays > 0 {
        findings.push(AuditFinding::Strays { count: history.strays });
    }
    let unchecked = if is_whole { 0 } else { count(history.orphans.len()) };
    let mut seen = BTreeMap::new();
    let last = history.epochs.last().map(|epoch| epoch.epoch);
    let mut epochs = Vec::new();
    for past in &history.epochs {
        let terms = past.terms(key.id());
        let mut report = match history.export(past.epoch) {
            Some(file) => {
                let opening = terms.opening();
                let mut report = audit_epoch(&file, key, None);
                let signed = Checkpoint::verify(&file.checkpoint, key).ok();
                if signed.is_some_and(|signed| signed.terms != opening.terms) {
                    report.findings.push(AuditFinding::OtherTerms);
                }
                report
            }
            None => {
                let leaves: Vec<Leaf> = past.entries.iter().map(|entry| entry.leaf).collect();
                let judged = history.judged_in(past);
                let decisions = Decisions {
                    leaves: &leaves,
                    terms: Some(&terms),
                    audit_key: past.audit_key.as_ref(),
                    beacon: None,
                    judged: &judged,
                };
                let is_left = last != Some(past.epoch);
                decisions.check(is_left.then_some(AuditFinding::NoCheckpoint).into_iter().collect())
            }
        };
        report.epoch = Some(past.epoch);
        if past.is_revealed_early {
            report.findings.push(AuditFinding::RevealedEarly);
        }
        let strangers = past.strangers.iter().map(|answer| AuditFinding::OtherModel { tag: answer.tag });
        report.findings.extend(strangers);
        for entry in &past.entries {
            let tag = entry.leaf.tag;
            // Within one epoch it was found already.
            if seen.insert(tag, past.epoch).is_some_and(|epoch| epoch != past.epoch) {
                report.findings.push(AuditFinding::Twice { tag });
            }
        }
        epochs.push(report);
    }
    epochs.extend(history.pass_runs.iter().map(|run| audit_pass_run(history, run, key, &mut seen)));
    let orphans: BTreeSet<u64> = history.orphans.iter().map(|answer| answer.tag).collect();
    let unknown = history.judged.keys().filter(|tag| !seen.contains_key(*tag) && !orphans.contains(*tag));
    if is_whole {
        findings.extend(unknown.map(|tag| AuditFinding::NotPicked { tag: *tag }));
    }
    LogReport { unaccounted: unaccounted(history, is_whole), unchecked, ..summed(epochs, findings) }
}

/// Checks the decisions about what passed through in one run.
fn audit_pass_run(
    history: &History,
    run: &PassRun,
    key: &VerifyingKey,
    seen: &mut BTreeMap<u64, u64>,
) -> EpochReport {
    let terms = run.terms(key.id());
    let judged = history.judged_of(run.leaves.iter().map(|leaf| leaf.tag));
    let decisions = Decisions {
        leaves: &run.leaves,
        terms: Some(&terms),
        audit_key: run.audit_key.as_ref(),
        beacon: None,
        judged: &judged,
    };
    let mut report = decisions.check(Vec::new());
    for leaf in &run.leaves {
        if seen.insert(leaf.tag, run.began).is_some_and(|began| began != run.began) {
            report.findings.push(AuditFinding::Twice { tag: leaf.tag });
        }
    }
    report
}

/// Tags rise by one within a run, whose number is in their high bits. What the log does not keep any more is not missed.
fn unaccounted(history: &History, is_whole: bool) -> u64 {
    let mut missing = 0_u64;
    let mut before: Option<u64> = None;
    for tag in history.ended() {
        let run_first = tag >> TAG_BITS << TAG_BITS;
        let expected = match before {
            Some(before) if before >= run_first => before.saturating_add(1),
            None if !is_whole => tag,
            Some(_) | None => run_first,
        };
        missing = missing.saturating_add(tag.saturating_sub(expected));
        before = Some(tag);
    }
    missing
}

fn summed(epochs: Vec<EpochReport>, findings: Vec<AuditFinding>) -> LogReport {
    let mut counts = AuditCounts::default();
    for report in &epochs {
        counts.answers += report.counts.answers;
        counts.picked += report.counts.picked;
        counts.beacon_picked += report.counts.beacon_picked;
        counts.passed += report.counts.passed;
        counts.failed += report.counts.failed;
        counts.unverifiable += report.counts.unverifiable;
    }
    LogReport {
        counts,
        waiting: epochs.iter().map(|report| report.waiting).sum(),
        is_revealed: epochs.iter().all(|report| report.is_revealed || report.counts.answers == 0),
        unaccounted: 0,
        unchecked: 0,
        epochs,
        findings,
    }
}
