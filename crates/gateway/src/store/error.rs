//! Why the store refuses or fails. An error must never hide that something acknowledged was lost.

use std::io;
use std::sync::Arc;

use crate::store::segment::{Damage, Sequence};

/// Every way in which the store refuses or fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Options that no store can have.
    #[error("store options: {what}")]
    Options {
        /// What to change.
        what: &'static str,
    },
    /// Another process, or another part of this one, has the store open.
    #[error("the store {folder} is open elsewhere; close it there first")]
    Locked {
        /// The store's folder.
        folder: String,
    },
    /// The disk has no room left.
    #[error("cannot {operation} {file}: the disk is full; make room and open the store again")]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
    },
    /// The disk failed.
    #[error("cannot {operation} {file}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Something that was written once is not there or not the same any more.
    #[error("{segment}, byte {offset}: {what}; nothing was changed")]
    Damaged {
        /// Name of the segment file.
        segment: String,
        /// Where in the file the damage begins.
        offset: u64,
        /// What is wrong there.
        what: Damage,
    },
    /// The segment is whole, but not of this key.
    #[error("{segment} was not written with this key")]
    WrongKey {
        /// Name of the segment file.
        segment: String,
    },
    /// The ring has removed the record.
    #[error("record {sequence} is gone; the oldest that is kept is {oldest}")]
    Gone {
        /// The record.
        sequence: Sequence,
        /// The oldest that is kept.
        oldest: Sequence,
    },
    /// The record is not durable yet.
    #[error("record {sequence} is not written; the next one will be {next}")]
    NotWritten {
        /// The record.
        sequence: Sequence,
        /// The first that is not durable.
        next: Sequence,
    },
    /// Too much is waiting for the disk.
    #[error("{pending_bytes} bytes wait for the disk, of at most {limit}; wait and append again")]
    Full {
        /// Bytes that wait.
        pending_bytes: u64,
        /// Most that may wait.
        limit: u64,
    },
    /// The record can never be written.
    #[error("the record has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Bytes of the record.
        bytes: u64,
        /// Most that a record of this store may have.
        limit: u64,
    },
    /// An earlier write failed, so what is on the disk is not known until the store is opened again.
    #[error("the store failed before and must be opened again: {cause}")]
    Poisoned {
        /// The first failure.
        #[source]
        cause: Arc<StoreError>,
    },
    /// The record was not durable in time; it still may become so.
    #[error("record {sequence} was not durable in time")]
    Timeout {
        /// The record.
        sequence: Sequence,
    },
    /// The committer was closed.
    #[error("the committer is closed")]
    Closed,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {reason}")]
    Random {
        /// What the system said.
        reason: String,
    },
    /// An envelope that this sealing key does not open.
    #[error("the envelope of the store key is damaged or was sealed with another key")]
    Envelope,
}

impl StoreError {
    /// What an I/O error becomes.
    pub(crate) fn io(operation: &'static str, file: &str, source: io::Error) -> Self {
        let file = file.to_owned();
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return Self::DiskFull { operation, file };
        }
        Self::Io { operation, file, source: Arc::new(source) }
    }
}
