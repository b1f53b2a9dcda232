//! Opening a store: every segment is verified before anything is changed. It must never repair what was damaged, skip
//! it, or cut off anything but the end of the last write.
//!
//! What was cut off reached the disk in part, so its sync never returned and nobody was told that it is durable.
//! Recovery cannot know the reverse: damage within the last batch looks like a torn write, and so does a log whose
//! end was removed on purpose. Both show in [`Recovered`] or in the head, which whoever holds a signed head compares.

use std::collections::VecDeque;

use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::key::{Sealer, StoreKey};
use crate::store::log::{Log, Place, Segment, segment_name};
use crate::store::segment::{
    ChainHash, Damage, Ending, ParsedSegment, SEGMENT_HEADER_BYTES, Sequence, parse_segment,
};
use crate::store::{SEGMENT_BYTES_MAX, StoreOptions};

/// What opening a store found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn write that were cut off the end.
    pub truncated_bytes: u64,
}

/// What is to be done once all segments are verified.
#[derive(Default)]
struct Repair {
    /// A last segment whose header is torn, and its length.
    remove: Option<(String, u64)>,
    /// Bytes behind the last good record of the last segment.
    cut_bytes: u64,
    /// Where the last batch of the last segment starts.
    batch_offset: u64,
}

/// Opens the log in `disk`, or begins a new one if it has no segment.
pub(crate) fn open(
    mut disk: Box<dyn Disk>,
    key: &StoreKey,
    options: StoreOptions,
) -> Result<(Log, Recovered), StoreError> {
    let sealer = Sealer::new(key);
    let (segments, repair) = verify(disk.as_ref(), &sealer)?;
    let truncated_bytes = repair.cut_bytes + repair.remove.as_ref().map_or(0, |(_, bytes)| *bytes);
    apply(disk.as_mut(), segments.back(), &repair)?;
    let log = Log::new(disk, sealer, options, segments)?;
    Ok((log, Recovered { truncated_bytes }))
}

/// Reads every segment, oldest first.
fn verify(disk: &dyn Disk, sealer: &Sealer) -> Result<(VecDeque<Segment>, Repair), StoreError> {
    let firsts = list_segments(disk)?;
    let mut segments = VecDeque::new();
    let mut repair = Repair::default();
    let mut oldest = Sequence::from_u64(u64::MAX);
    for (index, &first) in firsts.iter().enumerate() {
        let is_last = index + 1 == firsts.len();
        let name = segment_name(first);
        let damaged = |offset, what| StoreError::Damaged { segment: name.clone(), offset, what };
        let bytes = read_segment(disk, &name)?;
        let before: Option<&Segment> = segments.back();
        let parsed = match parse_segment(&bytes) {
            Ok(parsed) => parsed,
            // Records are written only behind a synced header, so a file this short never held one. That it belongs
            // here is all that can be asked of it.
            Err(_)
                if is_last
                    && bytes.len() as u64 <= SEGMENT_HEADER_BYTES
                    && first == before.map_or(Sequence::FIRST, Segment::next) =>
            {
                repair.remove = Some((name, bytes.len() as u64));
                break;
            }
            Err(what) => return Err(damaged(0, what)),
        };
        check_header(&parsed, &name, first, before, sealer)?;
        oldest = parsed.header.oldest;
        let segment = verify_records(&parsed, name.clone(), sealer)?;
        match parsed.ending {
            Ending::Whole => {}
            Ending::Torn { .. } if is_last => repair.cut_bytes = bytes.len() as u64 - segment.bytes,
            Ending::Torn { offset, what } | Ending::Damaged { offset, what } => {
                return Err(damaged(offset, what));
            }
        }
        repair.batch_offset = batch_offset(&parsed);
        segments.push_back(segment);
    }
    // The newest header names the oldest segment that the ring kept. Older ones than that may still be there.
    if let Some(found) = segments.front().filter(|found| found.first > oldest) {
        let (segment, what) = (found.name.clone(), Damage::OldestMissing);
        return Err(StoreError::Damaged { segment, offset: 0, what });
    }
    Ok((segments, repair))
}

/// First sequences of all segments in order.
fn list_segments(disk: &dyn Disk) -> Result<Vec<Sequence>, StoreError> {
    let mut firsts = Vec::new();
    for name in disk.list().map_err(|source| StoreError::io("list", "the store's folder", source))? {
        if !name.ends_with(".seg") {
            continue;
        }
        let number = name.strip_suffix(".seg").and_then(|digits| digits.parse().ok());
        match number.map(Sequence::from_u64) {
            Some(first) if segment_name(first) == name => firsts.push(first),
            _ => return Err(StoreError::Damaged { segment: name, offset: 0, what: Damage::Name }),
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn read_segment(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, StoreError> {
    let error = |source| StoreError::io("read", name, source);
    let length = disk.length(name).map_err(error)?;
    if length > SEGMENT_BYTES_MAX {
        return Err(StoreError::Damaged { segment: name.to_owned(), offset: 0, what: Damage::SegmentSize });
    }
    let mut bytes = vec![0; usize::try_from(length).expect("at most 1 GiB")];
    disk.read(name, 0, &mut bytes).map_err(error)?;
    Ok(bytes)
}

/// The header belongs to this key, this name and the segment before.
fn check_header(
    parsed: &ParsedSegment<'_>,
    name: &str,
    first: Sequence,
    before: Option<&Segment>,
    sealer: &Sealer,
) -> Result<(), StoreError> {
    let header = &parsed.header;
    let damaged = |what| Err(StoreError::Damaged { segment: name.to_owned(), offset: 0, what });
    if !sealer.made(header) {
        return Err(StoreError::WrongKey { segment: name.to_owned() });
    }
    if header.first != first || before.is_some_and(|before| before.next() != first) {
        return damaged(Damage::HeaderPlace);
    }
    let genesis = (first == Sequence::FIRST).then_some(ChainHash::GENESIS);
    if before.map(Segment::chain).or(genesis).is_some_and(|chain| chain != header.previous) {
        return damaged(Damage::HeaderChain);
    }
    Ok(())
}

/// Every record unseals, which also proves the chain: the hash before it is part of what was sealed.
fn verify_records(parsed: &ParsedSegment<'_>, name: String, sealer: &Sealer) -> Result<Segment, StoreError> {
    let mut chain = parsed.header.previous;
    let mut bytes = SEGMENT_HEADER_BYTES;
    let mut places = Vec::with_capacity(parsed.records.len());
    for &(offset, record) in &parsed.records {
        if sealer.open(record.sequence, record.kind, &chain, record.ciphertext).is_none() {
            return Err(StoreError::Damaged { segment: name, offset, what: Damage::RecordSeal });
        }
        chain = chain.extend(record.sequence, record.kind, record.ciphertext);
        places.push(Place { offset, chain });
        bytes = offset + record.length();
    }
    Ok(Segment { name, first: parsed.header.first, previous: parsed.header.previous, bytes, places })
}

/// Where the last batch starts; 0 if there is no record, so that the header counts as the last batch.
fn batch_offset(parsed: &ParsedSegment<'_>) -> u64 {
    let batch = parsed.records.last().map(|(_, record)| record.batch);
    parsed.records.iter().find(|(_, record)| Some(record.batch) == batch).map_or(0, |(offset, _)| *offset)
}

/// Makes the files durably equal to what was verified.
fn apply(disk: &mut dyn Disk, newest: Option<&Segment>, repair: &Repair) -> Result<(), StoreError> {
    if let Some((name, _)) = &repair.remove {
        disk.remove(name).map_err(|source| StoreError::io("remove", name, source))?;
    }
    if let Some(Segment { name, bytes, .. }) = newest {
        if repair.cut_bytes > 0 {
            disk.truncate(name, *bytes).map_err(|source| StoreError::io("truncate", name, source))?;
        }
        // The last batch was read, but perhaps only from the page cache: its writer may have died before the sync,
        // or the sync failed and left the pages marked clean (Rebello et al., USENIX ATC 2020), so that syncing them
        // again does nothing. Writing the same bytes makes them dirty. A sector holds the same before and after, so
        // a crash in between takes nothing from a batch that was durable already.
        let length = usize::try_from(bytes - repair.batch_offset).expect("the segment was in memory");
        let mut batch = vec![0; length];
        disk.read(name, repair.batch_offset, &mut batch)
            .and_then(|()| disk.rewrite(name, repair.batch_offset, &batch))
            .and_then(|()| disk.sync(name))
            .map_err(|source| StoreError::io("sync", name, source))?;
    }
    disk.sync_folder().map_err(|source| StoreError::io("sync", "the store's folder", source))
}
