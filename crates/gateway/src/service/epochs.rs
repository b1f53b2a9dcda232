//! The service's epochs: beginning and ending them in the log, and beacons. Must never reveal an audit key before its
//! epoch's final checkpoint is durable, nor hand out a beacon's jobs before the beacon is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::ClaimDigest;
use protocol::checkpoint::{ModelFloor, SignedReason};
use protocol::epoch::InclusionProof;
use protocol::keys::VerifyingKey;
use serde_json::{Value, json};

use super::{Busy, Service, lock};
use crate::entropy::EntropyError;
use crate::epochs::{BeaconRefused, BeaconTaken, ClosedEpoch, EPOCHS_KEPT, EpochBook, OpenEpoch};
use crate::history::History;
use crate::log::{Durable, LogError};
use crate::record::{ANSWERED_KIND, Answered, Record, Started};
use crate::sampling::{RateTooLow, audit_key_commitment};
use crate::store::{Promise, Ticket};

/// Draws the key of one epoch.
pub type DrawKey = Box<dyn FnMut() -> Result<[u8; 32], EntropyError> + Send>;

/// How epochs are cut.
#[derive(Clone, Copy, Debug)]
pub struct EpochSettings {
    /// An epoch ends with this many answers, or with the run.
    pub answers_max: usize,
    /// Who draws the beacon of the second lottery, if somebody does.
    pub beacon_party: Option<VerifyingKey>,
}

impl Default for EpochSettings {
    fn default() -> Self {
        Self { answers_max: 4096, beacon_party: None }
    }
}

/// Why an epoch does not begin or end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EpochError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No key.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The checkpoint can't be signed.
    #[error("the epoch's checkpoint can't be signed: {0}")]
    Checkpoint(#[from] SignedReason),
    /// Too little would be recomputed.
    #[error(transparent)]
    RateTooLow(#[from] RateTooLow),
    /// The beacon is not taken.
    #[error(transparent)]
    Beacon(#[from] BeaconRefused),
    /// The last epoch has ended.
    #[error("the last epoch has ended")]
    Ended,
}

/// Whether an answer's place in its epoch can be proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofState {
    /// It is there.
    Done(Box<InclusionProof>),
    /// Its epoch is still open.
    Pending,
    /// Never, or too long ago.
    Unknown,
}

/// An epoch that has got its last record's place, and whose key is still to be revealed.
struct Ending {
    epoch: u64,
    key: Option<[u8; 32]>,
    last: Ticket,
}

/// An answer that has its place in the log and in its epoch.
struct Placed {
    promise: Promise,
    /// If it was the last one of its epoch.
    ending: Option<Ending>,
    is_picked: bool,
}

impl Service {
    /// Ends what an earlier run left open, and begins the first epoch. Gives its name.
    pub(super) fn begin(&self, history: &History) -> Result<u64, EpochError> {
        self.policy.check()?;
        let key = (lock(&self.draw_audit_key))()?;
        let mut book = lock(&self.epochs);
        let kept = history.epochs.len().saturating_sub(EPOCHS_KEPT);
        for past in history.epochs.iter().skip(kept) {
            let closed = ClosedEpoch::of_past(past, &self.key)?;
            match &past.checkpoint {
                // Of a run that was cut off: its key is lost with it, but its answers are bound now.
                None => drop(self.log.append(&checkpoint_record(&closed))?),
                Some(signed) if signed == closed.signed() => {}
                Some(_) => {
                    tracing::warn!(past.epoch, "an epoch was signed with another key and is left to the log");
                    continue;
                }
            }
            book.keep(closed);
        }
        let ticket = self.open_next(&mut book, key)?;
        drop(book);
        self.log.wait(&ticket)?;
        Ok(ticket.sequence().as_u64())
    }

    /// Begins an epoch with this key; durable with the ticket.
    fn open_next(&self, book: &mut EpochBook, key: [u8; 32]) -> Result<Ticket, EpochError> {
        let started = Started {
            audit_key: audit_key_commitment(&key),
            seed_key: self.seed_commitment,
            rate_ppb: self.policy.rate_ppb,
            models: vec![ModelFloor { model: self.entry.entry().model, floor_ppb: self.policy.floor_ppb }],
            beacon_party: self.epoch_settings.beacon_party,
            previous: book.closed().next_back().map(ClosedEpoch::digest),
        };
        let ticket = self.log.append(&Record::Started(Box::new(started.clone())))?;
        let terms = started.terms(self.key.verifying_key().id(), ticket.sequence().as_u64());
        book.begin(OpenEpoch::new(terms, key));
        Ok(ticket)
    }

    /// Whether there is an epoch for an answer.
    pub(super) fn check_epoch(&self) -> Result<(), Busy> {
        let book = lock(&self.epochs);
        let open = book.open().ok_or_else(|| Busy::Epoch(EpochError::Ended.to_string()))?;
        match open.failure() {
            Some(failure) => Err(Busy::Epoch(failure.to_owned())),
            None => Ok(()),
        }
    }

    /// Gives an answer its place in the log and in its epoch, decides whether it is picked, and waits until that is
    /// durable. Says whether it is picked. `claim` are the bytes of its claim, and `digest` is theirs.
    pub(super) async fn write_answer(
        self: &Arc<Self>,
        answered: Answered,
        claim: &[u8],
        digest: ClaimDigest,
    ) -> Result<(Durable, bool), EpochError> {
        let Placed { promise, ending, is_picked } = self.place_answer(answered, claim, digest)?;
        let durable = self.log.durable(promise).await?;
        if let Some(ending) = ending {
            let service = Arc::clone(self);
            let revealed = tokio::task::spawn_blocking(move || service.reveal(ending));
            revealed.await.map_err(|_| EpochError::Ended)??;
        }
        Ok((durable, is_picked))
    }

    /// The first half, which waits for nobody.
    fn place_answer(
        &self,
        mut answered: Answered,
        claim: &[u8],
        digest: ClaimDigest,
    ) -> Result<Placed, EpochError> {
        loop {
            let open = |book: &EpochBook| {
                let open = book.open().ok_or(EpochError::Ended)?;
                Ok::<_, EpochError>((open.samplers(), open.terms().models.clone()))
            };
            let (samplers, models) = open(&lock(&self.epochs))?;
            answered.picked = false;
            let Some(leaf) = answered.leaf_of(digest, &models) else {
                return Err(SignedReason::Payload(protocol::Error::ModelOrder).into());
            };
            // The record is long, so it is written while others may go on.
            answered.picked = samplers.picks(&leaf);
            let leaf = protocol::checkpoint::Leaf { picked: answered.picked, ..leaf };
            let content = answered.encode_around(claim);
            let mut book = lock(&self.epochs);
            let open = book.open_mut().ok_or(EpochError::Ended)?;
            if open.terms().epoch != samplers.epoch {
                // The epoch ended in between: another key decides.
                continue;
            }
            let promise = self.log.append_encoded(ANSWERED_KIND, content)?;
            open.push(leaf, promise.sequence().as_u64());
            let is_full = open.size() >= self.epoch_settings.answers_max && open.failure().is_none();
            let ending = if is_full { self.roll(&mut book) } else { None };
            drop(book);
            return Ok(Placed { promise, ending, is_picked: answered.picked });
        }
    }

    /// Ends the open epoch and begins the next one. If that can't be done, the epoch stays open for the answers that are
    /// being written, and no request is taken any more.
    fn roll(&self, book: &mut EpochBook) -> Option<Ending> {
        let rolled = (lock(&self.draw_audit_key))().map_err(EpochError::from).and_then(|key| {
            let ending = self.close(book)?;
            self.open_next(book, key)?;
            Ok(ending)
        });
        match rolled {
            Ok(ending) => Some(ending),
            Err(error) => {
                tracing::error!(%error, "no epoch can be begun: no more requests");
                if let Some(open) = book.open_mut() {
                    open.fail(error.to_string());
                }
                None
            }
        }
    }

    /// Gives the final checkpoint its place in the log.
    fn close(&self, book: &mut EpochBook) -> Result<Ending, EpochError> {
        let open = book.open().ok_or(EpochError::Ended)?;
        let (closed, key) = (open.close(&self.key)?, open.key());
        let last = self.log.append(&checkpoint_record(&closed))?;
        let epoch = closed.epoch();
        book.keep(closed);
        Ok(Ending { epoch, key, last })
    }

    /// Reveals the key of an epoch once its checkpoint is durable.
    fn reveal(&self, ending: Ending) -> Result<(), EpochError> {
        self.log.wait(&ending.last)?;
        if let Some(audit_key) = ending.key {
            self.log.append_wait(&Record::Revealed { epoch: ending.epoch, audit_key })?;
        }
        Ok(())
    }

    /// Ends the last epoch.
    pub(super) fn end_last(&self) -> Result<(), EpochError> {
        let ending = self.close(&mut lock(&self.epochs))?;
        self.reveal(ending)
    }

    /// The proof that an answer is in its epoch.
    pub fn proof(&self, tag: u64) -> ProofState {
        let book = lock(&self.epochs);
        match book.proof(tag) {
            Some(proof) => ProofState::Done(Box::new(proof)),
            None if book.is_in_open(tag) => ProofState::Pending,
            None => ProofState::Unknown,
        }
    }

    /// The signed checkpoint of an epoch: the final one of a closed epoch, the state now of the open one.
    pub fn checkpoint(&self, epoch: u64) -> Option<Vec<u8>> {
        let book = lock(&self.epochs);
        match book.open() {
            Some(open) if open.terms().epoch == epoch => open.checkpoint(&self.key).ok(),
            _ => book.find(epoch).map(|closed| closed.signed().to_vec()),
        }
    }

    /// The epochs that are remembered, for people and for whoever draws beacons.
    pub fn epochs(&self) -> Value {
        let book = lock(&self.epochs);
        let closed = book.closed().map(|closed| {
            json!({
                "epoch": closed.epoch(),
                "answers": closed.checkpoint().size,
                "final": true,
                "root": closed.checkpoint().root.to_string(),
                "checkpoint": closed.digest().to_string(),
                "beacon": closed.has_beacon(),
            })
        });
        let open = book.open().map(|open| {
            json!({
                "epoch": open.terms().epoch,
                "answers": open.size(),
                "final": false,
                "root": null,
                "checkpoint": null,
                "beacon": false,
            })
        });
        closed.chain(open).collect()
    }

    /// Takes the other party's beacon for an epoch: what it picks goes to the recomputers. Gives how many that is, or
    /// `None` if the same beacon came before. Blocks on the disk.
    ///
    /// # Errors
    /// [`EpochError::Beacon`], and those of the log.
    pub fn take_beacon(&self, epoch: u64, signed: &[u8]) -> Result<Option<usize>, EpochError> {
        let (ticket, picks) = {
            let mut book = lock(&self.epochs);
            let BeaconTaken::New(picks) = book.take_beacon(epoch, signed)? else { return Ok(None) };
            let record = Record::Beacon { epoch, signed: signed.to_vec() };
            (self.log.append(&record)?, picks)
        };
        self.log.wait(&ticket)?;
        let mut added = 0;
        for entry in picks {
            let tag = entry.leaf.tag;
            let Some(claim) = self.log.claim(entry.sequence)? else {
                tracing::warn!(tag, "a beacon picked what the log does not keep any more");
                continue;
            };
            if lock(&self.audit.panel).add_promised(tag, claim, self.now_ms()) {
                added += 1;
                self.counters.sampled.fetch_add(1, Ordering::Relaxed);
                self.counters.beacon_sampled.fetch_add(1, Ordering::Relaxed);
            }
        }
        tracing::info!(epoch, added, "a beacon was taken");
        Ok(Some(added))
    }
}

fn checkpoint_record(closed: &ClosedEpoch) -> Record {
    Record::Checkpoint { signed: closed.signed().to_vec() }
}
