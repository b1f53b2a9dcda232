//! The store on a disk that fails. The oracle is a function of the sequence, or bytes put together by hand.

use super::{Store, StoreError, StoreKey, StoreOptions};

mod committer;
mod crash;
mod damage;
mod fault;
mod format;
mod model;

/// Segments of a few records and a ring of a few segments, so that small tests cross every border.
const OPTIONS: StoreOptions =
    StoreOptions { segment_bytes: 460, segments_max: 3, pending_bytes_max: 1 << 16 };

fn key() -> StoreKey {
    StoreKey::from_bytes([7; 32])
}

fn open(disk: &fault::FaultDisk) -> Result<(Store, u64), StoreError> {
    let (store, recovered) = Store::open_on(disk.boxed(), &key(), OPTIONS)?;
    Ok((store, recovered.truncated_bytes))
}

/// What record number `sequence` holds in these tests.
fn expected(sequence: u64) -> (u8, Vec<u8>) {
    let length = (sequence * 13 % 41) as usize;
    ((sequence % 251) as u8, (0..length).map(|at| (sequence as usize * 31 + at) as u8).collect())
}

/// Appends the next `count` records and commits them; gives the highest durable one.
fn commit(store: &mut Store, next: u64, count: u64) -> Result<Option<u64>, StoreError> {
    for sequence in next..next + count {
        let (kind, content) = expected(sequence);
        let given = store.append(kind, content)?;
        assert_eq!(given.as_u64(), sequence);
    }
    Ok(store.commit()?.map(super::Sequence::as_u64))
}

/// Reads everything and compares it; gives the number of the next record.
fn check_all(store: &Store, context: &str) -> u64 {
    let next = store.head().map_or(0, |(sequence, _)| sequence.as_u64() + 1);
    let mut at = store.oldest().as_u64();
    let mut chain = None;
    for record in store.iter_from(store.oldest()) {
        let record = record.unwrap_or_else(|error| panic!("{context}: record {at}: {error}"));
        let found = (record.sequence.as_u64(), record.kind, record.content);
        let (kind, content) = expected(at);
        assert_eq!(found, (at, kind, content), "{context}");
        chain = Some(record.chain);
        at += 1;
    }
    assert_eq!(at, next, "{context}");
    if chain.is_some() {
        assert_eq!(chain, store.head().map(|(_, chain)| chain), "{context}");
    }
    next
}
