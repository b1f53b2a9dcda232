//! What a log says about its epochs, record by record: to go on after a restart, to export an epoch, and to audit. Pure.
//! Believes nothing and checks nothing; that is [`crate::sampling_audit`]'s.

use std::collections::BTreeMap;

use protocol::checkpoint::{Beacon, EpochTerms, Leaf, ModelFloor};
use protocol::epoch::{EpochFile, Judgement};
use protocol::lease::Outcome;
use protocol::{KeyId, ModelCommitment, VerifyingKey};

use crate::record::{Record, Started};
use crate::sampling::{AuditPolicy, beacon_picks};

/// An answer and where it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is in the epoch's tree.
    pub leaf: Leaf,
    /// Number of its record.
    pub sequence: u64,
}

/// An answer that is in no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treeless {
    /// Its tag.
    pub tag: u64,
    /// Number of its record.
    pub sequence: u64,
    /// Whether it is recomputed.
    pub picked: bool,
}

/// An epoch as far as the log has it.
#[derive(Clone, Debug)]
pub struct PastEpoch {
    /// Its name: number of the record that began it.
    pub epoch: u64,
    /// What was fixed then.
    pub started: Started,
    /// Its answers in order.
    pub entries: Vec<Entry>,
    /// The signed final checkpoint.
    pub checkpoint: Option<Vec<u8>>,
    /// The key of the first lottery.
    pub audit_key: Option<[u8; 32]>,
    /// The signed beacon.
    pub beacon: Option<Vec<u8>>,
    /// The key was there before the checkpoint: answers could still have been chosen with it.
    pub is_revealed_early: bool,
    /// Answers of models that the epoch does not have; they are in no tree.
    pub strangers: Vec<Treeless>,
}

/// All epochs of a log.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order.
    pub epochs: Vec<PastEpoch>,
    /// Outcomes by tag; the first one counts.
    pub judged: BTreeMap<u64, Outcome>,
    /// Answers before the first start that the log still has.
    pub orphans: Vec<Treeless>,
    /// Checkpoints, keys and beacons that belong to no epoch here.
    pub strays: u64,
    /// Tags of requests without an answer.
    pub dropped: std::collections::BTreeSet<u64>,
    /// Runs that passed requests through, in order.
    pub pass_runs: Vec<PassRun>,
}

/// A run that passed requests through, as far as the log has it. It has no tree: whoever holds the log can check it.
#[derive(Clone, Debug)]
pub struct PassRun {
    /// Number of the record that began it.
    pub began: u64,
    /// Commitment to the key that picks.
    pub commitment: [u8; 32],
    /// How many it picks.
    pub policy: AuditPolicy,
    /// What passed, in order.
    pub leaves: Vec<Leaf>,
    /// The key that picked, once the run has ended in order.
    pub audit_key: Option<[u8; 32]>,
}

impl PassRun {
    /// The run as an epoch with one model, of which nothing is known.
    pub(crate) fn terms(&self, gateway: KeyId) -> EpochTerms {
        let model = ModelCommitment::from_bytes([0; 32]);
        EpochTerms {
            gateway,
            epoch: self.began,
            audit_key: self.commitment,
            seed_key: [0; 32],
            rate_ppb: self.policy.rate_ppb,
            models: vec![ModelFloor { model, floor_ppb: self.policy.floor_ppb }],
            beacon_party: None,
            previous: None,
        }
    }
}

impl PastEpoch {
    /// What is signed at the epoch's beginning.
    pub fn terms(&self, gateway: KeyId) -> EpochTerms {
        self.started.terms(gateway, self.epoch)
    }

    /// Answers that the beacon picks and the first lottery did not.
    pub fn beacon_picks(&self) -> Vec<Entry> {
        let Some(party) = self.started.beacon_party else { return Vec::new() };
        let beacon = self.beacon.as_deref().and_then(|signed| Beacon::verify(signed, &party).ok());
        let Some(beacon) = beacon else { return Vec::new() };
        // The gateway's name takes no part in the coins.
        let terms = self.terms(party.id());
        let is_new = |entry: &&Entry| !entry.leaf.picked && beacon_picks(&beacon, &terms, &entry.leaf);
        self.entries.iter().filter(is_new).copied().collect()
    }
}

impl History {
    /// Before the first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record in.
    pub fn add(&mut self, sequence: u64, record: &Record) {
        match record {
            Record::Started(started) => self.epochs.push(PastEpoch {
                epoch: sequence,
                started: (**started).clone(),
                entries: Vec::new(),
                checkpoint: None,
                audit_key: None,
                beacon: None,
                is_revealed_early: false,
                strangers: Vec::new(),
            }),
            Record::Answered(answered) => {
                let treeless = Treeless { tag: answered.tag, sequence, picked: answered.picked };
                match self.epochs.last_mut() {
                    Some(epoch) => match answered.leaf(&epoch.started.models) {
                        Some(leaf) => epoch.entries.push(Entry { leaf, sequence }),
                        None => epoch.strangers.push(treeless),
                    },
                    None => self.orphans.push(treeless),
                }
            }
            Record::Judged { tag, outcome } => {
                self.judged.entry(*tag).or_insert_with(|| outcome.clone());
            }
            Record::Killed { .. } => {}
            Record::Passed(passed) => match self.pass_runs.last_mut() {
                Some(run) => run.leaves.push(passed.leaf()),
                None => self.orphans.push(Treeless { tag: passed.tag, sequence, picked: passed.picked }),
            },
            Record::Dropped(dropped) => {
                self.dropped.insert(dropped.tag);
            }
            Record::PassBegan { audit_key, rate_ppb, floor_ppb, .. } => self.pass_runs.push(PassRun {
                began: sequence,
                commitment: *audit_key,
                policy: AuditPolicy { rate_ppb: *rate_ppb, floor_ppb: *floor_ppb },
                leaves: Vec::new(),
                audit_key: None,
            }),
            Record::Checkpoint { signed } => match self.epochs.last_mut() {
                Some(epoch) if epoch.checkpoint.is_none() => epoch.checkpoint = Some(signed.clone()),
                _ => self.strays += 1,
            },
            Record::Revealed { epoch, audit_key } => match self.epoch_mut(*epoch) {
                Some(epoch) => {
                    epoch.is_revealed_early = epoch.checkpoint.is_none();
                    epoch.audit_key = Some(*audit_key);
                }
                None => match self.pass_runs.iter_mut().rfind(|run| run.began == *epoch) {
                    Some(run) if run.audit_key.is_none() => run.audit_key = Some(*audit_key),
                    Some(_) | None => self.strays += 1,
                },
            },
            Record::Beacon { epoch, signed } => match self.epoch_mut(*epoch) {
                Some(epoch) if epoch.beacon.is_none() => epoch.beacon = Some(signed.clone()),
                _ => self.strays += 1,
            },
        }
    }

    fn epoch_mut(&mut self, name: u64) -> Option<&mut PastEpoch> {
        self.epochs.iter_mut().rfind(|epoch| epoch.epoch == name)
    }

    /// Every tag that ends in a record, whether with an answer or without.
    pub fn ended(&self) -> std::collections::BTreeSet<u64> {
        let treeless = self.orphans.iter().chain(self.epochs.iter().flat_map(|epoch| &epoch.strangers));
        let answered = self.epochs.iter().flat_map(|epoch| &epoch.entries).map(|entry| entry.leaf.tag);
        let passed = self.pass_runs.iter().flat_map(|run| &run.leaves).map(|leaf| leaf.tag);
        answered
            .chain(passed)
            .chain(treeless.map(|answer| answer.tag))
            .chain(self.dropped.iter().copied())
            .collect()
    }

    /// Tags and record numbers of what has to be recomputed and was not yet.
    pub fn waiting(&self) -> Vec<(u64, u64)> {
        let mut all: Vec<(u64, u64)> = Vec::new();
        let treeless = |all: &mut Vec<(u64, u64)>, answers: &[Treeless]| {
            all.extend(
                answers.iter().filter(|answer| answer.picked).map(|answer| (answer.tag, answer.sequence)),
            );
        };
        treeless(&mut all, &self.orphans);
        for epoch in &self.epochs {
            treeless(&mut all, &epoch.strangers);
            let first = epoch.entries.iter().filter(|entry| entry.leaf.picked).copied();
            all.extend(first.chain(epoch.beacon_picks()).map(|entry| (entry.leaf.tag, entry.sequence)));
        }
        all.retain(|(tag, _)| !self.judged.contains_key(tag));
        all
    }

    /// An epoch that has its final checkpoint, for outsiders.
    pub fn export(&self, name: u64) -> Option<EpochFile> {
        let epoch = self.epochs.iter().find(|epoch| epoch.epoch == name)?;
        Some(EpochFile {
            checkpoint: epoch.checkpoint.clone()?,
            audit_key: epoch.audit_key,
            beacon: epoch.beacon.clone(),
            leaves: epoch.entries.iter().map(|entry| entry.leaf).collect(),
            judged: self.judged_in(epoch),
        })
    }

    /// Outcomes of an epoch's answers, in the order of the tree.
    pub fn judged_in(&self, epoch: &PastEpoch) -> Vec<(u64, Judgement)> {
        self.judged_of(epoch.entries.iter().map(|entry| entry.leaf.tag))
    }

    /// Outcomes of these answers.
    pub(crate) fn judged_of(&self, tags: impl Iterator<Item = u64>) -> Vec<(u64, Judgement)> {
        tags.filter_map(|tag| Some((tag, judgement(self.judged.get(&tag)?)))).collect()
    }

    /// Who draws the beacon of an epoch.
    pub fn beacon_party(&self, name: u64) -> Option<VerifyingKey> {
        self.epochs.iter().find(|epoch| epoch.epoch == name)?.started.beacon_party
    }
}

fn judgement(outcome: &Outcome) -> Judgement {
    match outcome {
        Outcome::Pass => Judgement::Pass,
        Outcome::Fail { .. } => Judgement::Fail,
        Outcome::Unverifiable { .. } => Judgement::Unverifiable,
    }
}
