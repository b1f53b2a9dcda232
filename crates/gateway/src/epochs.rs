//! The gateway's epochs: the open one, whose key picks what is recomputed, and the closed ones, whose trees are proved
//! from and whose beacons are awaited. Pure. Must never take an answer into a closed epoch, nor two beacons for one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use protocol::checkpoint::{Beacon, Checkpoint, EpochTerms, Leaf, SignedReason};
use protocol::epoch::InclusionProof;
use protocol::keys::{SigningKey, VerifyingKey};
use protocol::merkle;
use protocol::{CheckpointDigest, MerkleHash};

use crate::history::{Entry, PastEpoch};
use crate::sampling::{AuditSampler, beacon_picks, policy_of};

#[cfg(test)]
mod tests;

/// Closed epochs that are kept to prove from and to await a beacon for; older ones are in the log.
pub const EPOCHS_KEPT: usize = 16;

/// Why a beacon is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeaconRefused {
    /// There is no such epoch here.
    #[error("epoch {epoch} is not here, or not any more")]
    UnknownEpoch {
        /// The epoch.
        epoch: u64,
    },
    /// Answers may still follow, so that the beacon could be used to choose them.
    #[error("epoch {epoch} is still open: a beacon is drawn after its final checkpoint")]
    Open {
        /// The epoch.
        epoch: u64,
    },
    /// Nobody was named to draw one.
    #[error("epoch {epoch} began without a party that draws beacons")]
    NoParty {
        /// The epoch.
        epoch: u64,
    },
    /// Not signed by that party.
    #[error("not a beacon of the party that draws them: {0}")]
    Signed(SignedReason),
    /// For another epoch or checkpoint.
    #[error("the beacon is for checkpoint {found}, but the epoch's is {expected}")]
    OtherCheckpoint {
        /// In the beacon.
        found: CheckpointDigest,
        /// The epoch's.
        expected: CheckpointDigest,
    },
    /// Two beacons are one too many: whoever may choose between them may choose what is picked.
    #[error("epoch {epoch} has another beacon already")]
    Second {
        /// The epoch.
        epoch: u64,
    },
}

impl BeaconRefused {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownEpoch { .. } => "unknown_epoch",
            Self::Open { .. } => "epoch_open",
            Self::NoParty { .. } => "no_party",
            Self::Signed(_) => "beacon_signature",
            Self::OtherCheckpoint { .. } => "other_checkpoint",
            Self::Second { .. } => "second_beacon",
        }
    }
}

/// What a beacon that is taken changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeaconTaken {
    /// It is the first one, and these answers are to be recomputed because of it.
    New(Vec<Entry>),
    /// The same one came before.
    Repeated,
}

/// An epoch that takes answers.
#[derive(Clone)]
pub struct OpenEpoch {
    terms: EpochTerms,
    samplers: Arc<Samplers>,
    entries: Vec<Entry>,
    failure: Option<String>,
}

/// The coins of one epoch, for each of its models.
pub struct Samplers {
    /// The epoch.
    pub epoch: u64,
    of_models: Vec<AuditSampler>,
}

impl Samplers {
    /// Whether an answer is recomputed.
    pub fn picks(&self, leaf: &Leaf) -> bool {
        let sampler = usize::try_from(leaf.model).ok().and_then(|model| self.of_models.get(model));
        sampler.is_some_and(|sampler| sampler.picks(&leaf.claim, leaf.cost_tokens))
    }
}

impl OpenEpoch {
    /// Before the first answer, with the key to which the terms commit.
    pub fn new(terms: EpochTerms, key: [u8; 32]) -> Self {
        let policies = (0..).map_while(|model| policy_of(&terms, model));
        let of_models = policies.map(|policy| AuditSampler::new(key, policy)).collect();
        let samplers = Arc::new(Samplers { epoch: terms.epoch, of_models });
        Self { terms, samplers, entries: Vec::new(), failure: None }
    }

    /// What was fixed at its beginning.
    pub fn terms(&self) -> &EpochTerms {
        &self.terms
    }

    /// Its coins.
    pub fn samplers(&self) -> Arc<Samplers> {
        Arc::clone(&self.samplers)
    }

    /// Why no epoch can follow, if none can.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// No epoch can follow this one.
    pub fn fail(&mut self, failure: String) {
        self.failure = Some(failure);
    }

    /// How many answers it has.
    pub fn size(&self) -> usize {
        self.entries.len()
    }

    /// Takes an answer, whose record has this number.
    pub fn push(&mut self, leaf: Leaf, sequence: u64) {
        self.entries.push(Entry { leaf, sequence });
    }

    /// The key, once it may be revealed.
    pub fn key(&self) -> Option<[u8; 32]> {
        self.samplers.of_models.first().map(|sampler| *sampler.key())
    }

    /// The state of the tree now, signed: as long as more can follow, an earlier state of the final one.
    ///
    /// # Errors
    /// [`SignedReason`] if a limit is broken.
    pub fn checkpoint(&self, key: &SigningKey) -> Result<Vec<u8>, SignedReason> {
        let hashes: Vec<MerkleHash> = self.entries.iter().map(|entry| entry.leaf.hash()).collect();
        checkpoint(&self.terms, &hashes, false).sign(key)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`SignedReason`] if a limit is broken.
    pub fn close(&self, key: &SigningKey) -> Result<ClosedEpoch, SignedReason> {
        ClosedEpoch::new(self.terms.clone(), self.entries.clone(), key)
    }
}

fn checkpoint(terms: &EpochTerms, hashes: &[MerkleHash], is_final: bool) -> Checkpoint {
    let size = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
    Checkpoint { terms: terms.clone(), size, root: merkle::root(hashes), is_final }
}

/// An epoch with its final checkpoint.
#[derive(Clone, Debug)]
pub struct ClosedEpoch {
    checkpoint: Checkpoint,
    digest: CheckpointDigest,
    signed: Vec<u8>,
    entries: Vec<Entry>,
    hashes: Vec<MerkleHash>,
    places: HashMap<u64, usize>,
    beacon: Option<Vec<u8>>,
}

impl ClosedEpoch {
    fn new(terms: EpochTerms, entries: Vec<Entry>, key: &SigningKey) -> Result<Self, SignedReason> {
        let hashes: Vec<MerkleHash> = entries.iter().map(|entry| entry.leaf.hash()).collect();
        let checkpoint = checkpoint(&terms, &hashes, true);
        let signed = checkpoint.sign(key)?;
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.leaf.tag, place)).collect();
        let digest = checkpoint.digest();
        Ok(Self { checkpoint, digest, signed, entries, hashes, places, beacon: None })
    }

    /// An epoch of an earlier run, whether it had its checkpoint by then or not.
    ///
    /// # Errors
    /// [`SignedReason`] if a limit is broken.
    pub fn of_past(past: &PastEpoch, key: &SigningKey) -> Result<Self, SignedReason> {
        let closed = Self::new(past.terms(key.verifying_key().id()), past.entries.clone(), key)?;
        Ok(Self { beacon: past.beacon.clone(), ..closed })
    }

    /// Its name.
    pub fn epoch(&self) -> u64 {
        self.checkpoint.terms.epoch
    }

    /// The final checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its digest.
    pub fn digest(&self) -> CheckpointDigest {
        self.digest
    }

    /// The same, signed.
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Whether it has a beacon.
    pub fn has_beacon(&self) -> bool {
        self.beacon.is_some()
    }

    /// That an answer is in it. `None` if it is not.
    pub fn proof(&self, tag: u64) -> Option<InclusionProof> {
        let place = *self.places.get(&tag)?;
        let index = u64::try_from(place).ok()?;
        Some(InclusionProof {
            checkpoint: self.signed.clone(),
            index,
            leaf: self.entries.get(place)?.leaf,
            path: merkle::inclusion_path(&self.hashes, index)?,
        })
    }

    /// Takes a beacon.
    ///
    /// # Errors
    /// [`BeaconRefused`]; nothing has changed then.
    fn take_beacon(&mut self, signed: &[u8]) -> Result<BeaconTaken, BeaconRefused> {
        let epoch = self.epoch();
        let party: VerifyingKey =
            self.checkpoint.terms.beacon_party.ok_or(BeaconRefused::NoParty { epoch })?;
        let beacon = Beacon::verify(signed, &party).map_err(BeaconRefused::Signed)?;
        if beacon.epoch != epoch || beacon.checkpoint != self.digest {
            return Err(BeaconRefused::OtherCheckpoint { found: beacon.checkpoint, expected: self.digest });
        }
        match &self.beacon {
            Some(first) if *first == signed => return Ok(BeaconTaken::Repeated),
            Some(_) => return Err(BeaconRefused::Second { epoch }),
            None => self.beacon = Some(signed.to_vec()),
        }
        let terms = &self.checkpoint.terms;
        // What the first lottery picked is recomputed anyway.
        let is_new = |entry: &&Entry| !entry.leaf.picked && beacon_picks(&beacon, terms, &entry.leaf);
        Ok(BeaconTaken::New(self.entries.iter().filter(is_new).copied().collect()))
    }
}

/// The epochs that are remembered.
#[derive(Default)]
pub struct EpochBook {
    open: Option<OpenEpoch>,
    /// Oldest first.
    closed: VecDeque<ClosedEpoch>,
}

impl EpochBook {
    /// The epoch that takes answers, if one does.
    pub fn open(&self) -> Option<&OpenEpoch> {
        self.open.as_ref()
    }

    /// The same, to be changed.
    pub fn open_mut(&mut self) -> Option<&mut OpenEpoch> {
        self.open.as_mut()
    }

    /// Begins the next epoch.
    pub fn begin(&mut self, epoch: OpenEpoch) {
        self.open = Some(epoch);
    }

    /// Keeps an epoch that has ended; if it is the open one, there is none then.
    pub fn keep(&mut self, closed: ClosedEpoch) {
        if self.open.as_ref().is_some_and(|open| open.terms.epoch == closed.epoch()) {
            self.open = None;
        }
        self.closed.push_back(closed);
        if self.closed.len() > EPOCHS_KEPT {
            self.closed.pop_front();
        }
    }

    /// The closed epochs, oldest first.
    pub fn closed(&self) -> impl DoubleEndedIterator<Item = &ClosedEpoch> {
        self.closed.iter()
    }

    /// One of them.
    pub fn find(&self, epoch: u64) -> Option<&ClosedEpoch> {
        self.closed.iter().find(|closed| closed.epoch() == epoch)
    }

    /// That an answer is in a closed epoch.
    pub fn proof(&self, tag: u64) -> Option<InclusionProof> {
        self.closed.iter().rev().find_map(|closed| closed.proof(tag))
    }

    /// Whether the open epoch has an answer, so that its proof is still to come.
    pub fn is_in_open(&self, tag: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.entries.iter().any(|entry| entry.leaf.tag == tag))
    }

    /// Takes a beacon for one of the closed epochs.
    ///
    /// # Errors
    /// [`BeaconRefused`]; nothing has changed then.
    pub fn take_beacon(&mut self, epoch: u64, signed: &[u8]) -> Result<BeaconTaken, BeaconRefused> {
        if self.open.as_ref().is_some_and(|open| open.terms.epoch == epoch) {
            return Err(BeaconRefused::Open { epoch });
        }
        let found = self.closed.iter_mut().find(|closed| closed.epoch() == epoch);
        found.ok_or(BeaconRefused::UnknownEpoch { epoch })?.take_beacon(signed)
    }
}
