//! What waits for the disk. It must never hold more than its limit, or give out a sequence twice.

use std::mem;

use crate::store::StoreOptions;
use crate::store::error::StoreError;
use crate::store::segment::{RECORD_HEADER_BYTES, SEAL_BYTES, Sequence};

/// A record that is not written yet.
pub(crate) struct Entry {
    pub(crate) kind: u8,
    pub(crate) content: Vec<u8>,
}

/// The records that are not durable yet, in order.
pub(crate) struct Pending {
    entries: Vec<Entry>,
    /// Bytes of `entries` and of what was taken but not settled, as they lie on the disk.
    bytes: u64,
    limit: u64,
    record_limit: u64,
    next: Sequence,
}

impl Pending {
    /// Nothing pending; the next record is `next`.
    pub(crate) fn new(next: Sequence, options: &StoreOptions) -> Self {
        let record_limit = options.record_bytes_max();
        Self { entries: Vec::new(), bytes: 0, limit: options.pending_bytes_max, record_limit, next }
    }

    /// Takes a record, if there is room for it.
    pub(crate) fn push(&mut self, kind: u8, content: Vec<u8>) -> Result<Sequence, StoreError> {
        let bytes = content.len() as u64;
        if bytes > self.record_limit {
            return Err(StoreError::TooLarge { bytes, limit: self.record_limit });
        }
        // An empty record takes room too, so the number of records is bounded as well.
        let pending_bytes = self.bytes + written_bytes(&content);
        if pending_bytes > self.limit {
            return Err(StoreError::Full { pending_bytes: self.bytes, limit: self.limit });
        }
        let sequence = self.next;
        self.next = sequence
            .checked_add(1)
            .expect("segments hold at most 2^63 records, and nobody lives to append as many again");
        self.bytes = pending_bytes;
        self.entries.push(Entry { kind, content });
        Ok(sequence)
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether everything that was pushed is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.bytes == 0
    }

    /// Everything that waits. It counts towards the limit until it is settled.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        mem::take(&mut self.entries)
    }

    /// What was taken is durable.
    pub(crate) fn settle(&mut self, entries: &[Entry]) {
        let settled: u64 = entries.iter().map(|entry| written_bytes(&entry.content)).sum();
        self.bytes = self.bytes.checked_sub(settled).expect("what is settled was pushed before");
    }
}

/// Bytes of a record in its segment.
fn written_bytes(content: &[u8]) -> u64 {
    content.len() as u64 + RECORD_HEADER_BYTES + SEAL_BYTES
}
