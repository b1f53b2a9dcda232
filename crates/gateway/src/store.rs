//! The record of everything that passed: an append-only log in segments, sealed, chained, and a ring of fixed size.
//! It must never lose or change what it acknowledged, return a wrong record, or pass over damage in silence.
//!
//! | part | what it is |
//! |---|---|
//! | [`Store`] | append, commit, read; everything on the caller's thread |
//! | [`Committer`] | a store whose commits run on a thread of their own |
//! | [`segment`] | the bytes of a segment and their parser, without I/O |
//! | [`Disk`] | the files below, so that tests can fail and crash them |
//!
//! The key and the chain show every change but one: whoever can write the folder can cut off the newest records or
//! put back an older copy of all of it. Keep the head elsewhere, signed, and compare [`Record::chain`] with it.

use std::fmt;
use std::path::Path;

mod committer;
mod disk;
mod error;
mod key;
mod log;
mod pending;
mod recovery;
pub mod segment;

#[cfg(test)]
mod tests;

pub use committer::{Committer, Promise, Ticket};
pub use disk::{Disk, FolderDisk};
pub use error::StoreError;
pub use key::{KEY_BYTES, SealingKey, StoreKey, open_key, seal_key};
pub use recovery::Recovered;
pub use segment::{ChainHash, Damage, RECORD_BYTES_MAX, Sequence, parse_segment};

use log::Log;
use pending::Pending;
use segment::{RECORD_HEADER_BYTES, SEAL_BYTES, SEGMENT_HEADER_BYTES};

/// Most bytes of one segment file, 1 GiB; opening reads one segment at a time into memory.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a segment that holds one record without content.
pub const SEGMENT_BYTES_MIN: u64 = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + SEAL_BYTES;

/// The size of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most bytes of one segment file, from [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// Most segments; one more exists for as long as it takes to remove the oldest. At least 2.
    pub segments_max: u32,
    /// Most bytes that may wait for the disk, each record counted as it is written.
    pub pending_bytes_max: u64,
}

impl StoreOptions {
    fn check(&self) -> Result<(), StoreError> {
        let refuse = |what| Err(StoreError::Options { what });
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return refuse("segment_bytes must be from 141 bytes to 1 GiB");
        }
        if self.segments_max < 2 {
            return refuse("segments_max must be 2 or more, or the ring would remove what was just written");
        }
        if self.pending_bytes_max < RECORD_HEADER_BYTES + SEAL_BYTES {
            return refuse("pending_bytes_max must be 45 or more, or no record could be appended");
        }
        Ok(())
    }

    /// Most bytes of content that a record of such a store may have: it must fit in a segment and in what may wait.
    pub fn record_bytes_max(&self) -> u64 {
        let segment = self.segment_bytes.saturating_sub(SEGMENT_BYTES_MIN);
        let pending = self.pending_bytes_max.saturating_sub(RECORD_HEADER_BYTES + SEAL_BYTES);
        RECORD_BYTES_MAX.min(segment).min(pending)
    }
}

/// A record that was read and verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log.
    pub sequence: Sequence,
    /// What it is, in the words of whoever wrote it.
    pub kind: u8,
    /// Digest of it and of every record before it.
    pub chain: ChainHash,
    /// What was appended.
    pub content: Vec<u8>,
}

impl fmt::Debug for Record {
    /// Leaves the content out: it was sealed for a reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, kind, chain, content } = self;
        write!(f, "Record({sequence}, kind {kind}, {} bytes, {chain})", content.len())
    }
}

/// An open store.
pub struct Store {
    log: Log,
    pending: Pending,
}

impl Store {
    /// Opens the store in `folder`, or makes one, and verifies all of it.
    pub fn open(
        folder: &Path,
        key: &StoreKey,
        options: StoreOptions,
    ) -> Result<(Self, Recovered), StoreError> {
        options.check()?;
        Self::open_on(Box::new(FolderDisk::open(folder)?), key, options)
    }

    /// [`Store::open`] on any disk.
    pub fn open_on(
        disk: Box<dyn Disk>,
        key: &StoreKey,
        options: StoreOptions,
    ) -> Result<(Self, Recovered), StoreError> {
        options.check()?;
        let (log, recovered) = recovery::open(disk, key, options)?;
        let pending = Pending::new(log.next(), &options);
        Ok((Self { log, pending }, recovered))
    }

    /// Takes a record into memory and gives the place that it will have. It is lost if the
    /// store is dropped, or the process ends, before [`Store::commit`] has returned.
    pub fn append(&mut self, kind: u8, content: Vec<u8>) -> Result<Sequence, StoreError> {
        self.log.check_writable()?;
        self.pending.push(kind, content)
    }

    /// Makes everything pending durable and gives the highest durable record, if there is any. After an error the
    /// store must be opened again; what was pending then is there up to some record, or not at all.
    pub fn commit(&mut self) -> Result<Option<Sequence>, StoreError> {
        let entries = self.pending.take();
        let durable = self.log.write(&entries)?;
        self.pending.settle(&entries);
        Ok(durable)
    }

    /// The highest durable record and its chain hash, if there is any.
    pub fn head(&self) -> Option<(Sequence, ChainHash)> {
        self.log.head()
    }

    /// The oldest record that the ring keeps; where the first will be, if there is none.
    pub fn oldest(&self) -> Sequence {
        self.log.oldest()
    }

    /// Reads a durable record from the disk and verifies it.
    pub fn read(&self, sequence: Sequence) -> Result<Record, StoreError> {
        self.log.read(sequence)
    }

    /// Every durable record from `sequence` on. Ends after the first error, such as [`StoreError::Gone`].
    pub fn iter_from(&self, sequence: Sequence) -> Records<'_> {
        Records { log: &self.log, next: Some(sequence) }
    }
}

/// The durable records of a store in order; see [`Store::iter_from`].
pub struct Records<'a> {
    log: &'a Log,
    next: Option<Sequence>,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let sequence = self.next.take().filter(|sequence| *sequence < self.log.next())?;
        let record = self.log.read(sequence);
        self.next = if record.is_ok() { sequence.checked_add(1) } else { None };
        Some(record)
    }
}
