//! The gateway's log: records on top of the store. Never says that something is recorded before it is durable.

use std::time::Duration;

use protocol::id::ChainHash;

use crate::record::Record;
use crate::store::{Committer, Store, StoreError};

/// A disk that takes longer than this for one record is as good as broken.
const DURABLE_WITHIN: Duration = Duration::from_secs(30);

/// Why something is not recorded.
pub type LogError = StoreError;

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
}

impl Log {
    /// On an open store.
    ///
    /// # Errors
    /// Those of [`Committer::start`].
    pub fn new(store: Store) -> Result<Self, LogError> {
        Ok(Self { store: Committer::start(store)? })
    }

    /// Writes a record and waits until it is durable, together with others that wait.
    ///
    /// # Errors
    /// Those of the store. After one nothing more can be written.
    pub fn append_wait(&self, record: &Record) -> Result<Durable, LogError> {
        let sequence = self.store.append(record.kind(), record.encode())?.wait(DURABLE_WITHIN)?;
        let chain = self.store.read(sequence)?.chain;
        Ok(Durable { sequence: sequence.as_u64(), chain: ChainHash::from_bytes(*chain.as_bytes()) })
    }

    /// Whether records can be written.
    ///
    /// # Errors
    /// The one that ended all writing.
    pub fn check(&self) -> Result<(), LogError> {
        self.store.check()
    }
}
