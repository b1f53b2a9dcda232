//! The gateway's log: records on top of the store. Never says that something is recorded before it is durable.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::ChainHash;

use crate::history::History;
use crate::record::Record;
use crate::store::{Committer, Promise, Sequence, Store, StoreError, Ticket};

/// A disk that takes longer than this for one record is as good as broken.
const DURABLE_WITHIN: Duration = Duration::from_secs(30);

/// Why something is not recorded, or a log not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The store below.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that was sealed with the right key and still is none: another version wrote it.
    #[error("record {sequence} of the log is none that this build reads: {error}")]
    Record {
        /// Its number.
        sequence: u64,
        /// What is wrong with it.
        error: protocol::Error,
    },
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Its number.
    pub sequence: u64,
    /// The chain up to and including it.
    pub chain: ChainHash,
}

/// The open log.
pub struct Log {
    store: Committer,
    waiting: BTreeMap<u64, Vec<u8>>,
    history: History,
}

/// What a log holds, read once from its oldest record to its newest.
///
/// # Errors
/// [`LogError`].
pub fn read_history(store: &Store) -> Result<History, LogError> {
    let mut history = History::new();
    for stored in store.iter_from(store.oldest()) {
        let stored = stored?;
        let sequence = stored.sequence.as_u64();
        history.add(sequence, &decode(sequence, stored.kind, &stored.content)?);
    }
    Ok(history)
}

fn decode(sequence: u64, kind: u8, content: &[u8]) -> Result<Record, LogError> {
    Record::decode(kind, content).map_err(|error| LogError::Record { sequence, error })
}

/// The claim in a record, as a recomputer gets it.
fn claim(record: Record) -> Option<Vec<u8>> {
    match record {
        Record::Answered(answered) => Some(answered.claim.encode()),
        Record::Started(_)
        | Record::Judged { .. }
        | Record::Killed { .. }
        | Record::Revealed { .. }
        | Record::Checkpoint { .. }
        | Record::Beacon { .. }
        | Record::PassBegan { .. }
        | Record::Passed(_)
        | Record::Dropped(_) => None,
    }
}

impl Log {
    /// On an open store, all of which is read once.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn new(store: Store) -> Result<Self, LogError> {
        let history = read_history(&store)?;
        let mut waiting = BTreeMap::new();
        for (tag, sequence) in history.waiting() {
            let stored = store.read(Sequence::from_u64(sequence))?;
            if let Some(claim) = claim(decode(sequence, stored.kind, &stored.content)?) {
                waiting.insert(tag, claim);
            }
        }
        Ok(Self { store: Committer::start(store)?, waiting, history })
    }

    /// What it held when it was opened. Empty from then on.
    pub fn take_history(&mut self) -> History {
        std::mem::take(&mut self.history)
    }

    /// The claim in a record. `None` if the log does not keep it any more.
    ///
    /// # Errors
    /// Those of the store.
    pub fn claim(&self, sequence: u64) -> Result<Option<Vec<u8>>, LogError> {
        match self.store.read(Sequence::from_u64(sequence)) {
            Ok(stored) => Ok(claim(decode(sequence, stored.kind, &stored.content)?)),
            Err(StoreError::Gone { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims that were picked before this start and have no outcome, by tag. Empty from then on.
    pub fn take_waiting(&mut self) -> BTreeMap<u64, Vec<u8>> {
        std::mem::take(&mut self.waiting)
    }

    /// Writes a record and waits until it is durable, together with others that wait.
    ///
    /// # Errors
    /// Those of the store. After one nothing more can be written.
    pub fn append_wait(&self, record: &Record) -> Result<Durable, LogError> {
        self.wait(&self.append(record)?)
    }

    /// Gives a record its place. Records are durable in the order of their places.
    ///
    /// # Errors
    /// Those of the store.
    pub fn append(&self, record: &Record) -> Result<Ticket, LogError> {
        Ok(self.store.append(record.kind(), record.encode())?)
    }

    /// The same for a record that is encoded already, and for those who can't block.
    ///
    /// # Errors
    /// Those of the store.
    pub fn append_encoded(&self, kind: u8, content: Vec<u8>) -> Result<Promise, LogError> {
        Ok(self.store.append_promised(kind, content)?)
    }

    /// Until a record is durable, together with others that wait.
    ///
    /// # Errors
    /// Those of the store. After one nothing more can be written.
    pub async fn durable(&self, promise: Promise) -> Result<Durable, LogError> {
        let sequence = promise.sequence().as_u64();
        let chain = promise.durable(DURABLE_WITHIN).await?;
        Ok(Durable { sequence, chain: ChainHash::from_bytes(*chain.as_bytes()) })
    }

    /// Waits until a record is durable, together with others that wait.
    ///
    /// # Errors
    /// Those of the store. After one nothing more can be written.
    pub fn wait(&self, ticket: &Ticket) -> Result<Durable, LogError> {
        let sequence = ticket.wait(DURABLE_WITHIN)?;
        let chain = self.store.read(sequence)?.chain;
        Ok(Durable { sequence: sequence.as_u64(), chain: ChainHash::from_bytes(*chain.as_bytes()) })
    }

    /// Whether records can be written.
    ///
    /// # Errors
    /// The one that ended all writing.
    pub fn check(&self) -> Result<(), LogError> {
        Ok(self.store.check()?)
    }
}

#[cfg(test)]
mod tests {
    use protocol::lease::Outcome;

    use super::*;
    use crate::record::{Answered, test_claim, test_started};
    use crate::store::{StoreKey, StoreOptions};

    #[test]
    fn picks_without_an_outcome_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let key = StoreKey::from_bytes([5; 32]);
        let options = StoreOptions { segment_bytes: 1 << 20, segments_max: 4, pending_bytes_max: 1 << 20 };
        let open = || Log::new(Store::open(folder.path(), &key, options).unwrap().0).unwrap();
        let log = open();
        log.append_wait(&Record::Started(Box::new(test_started()))).unwrap();
        for (tag, picked) in [(1, true), (2, false), (3, true)] {
            let answered = Answered { tag, picked, response: [0; 32], claim: test_claim([2; 32]) };
            log.append_wait(&Record::Answered(Box::new(answered))).unwrap();
        }
        log.append_wait(&Record::Judged { tag: 1, outcome: Outcome::Pass }).unwrap();
        drop(log);
        let mut log = open();
        assert_eq!(log.take_waiting(), BTreeMap::from([(3, test_claim([2; 32]).encode())]));
        assert!(log.take_waiting().is_empty());
    }
}
