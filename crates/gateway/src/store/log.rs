//! The segments on the disk and the index of their records. It must never list a record that is not synced, write
//! after a failed write or sync, or return a record that is not the one that was written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::key::Sealer;
use crate::store::pending::Entry;
use crate::store::segment::{
    ChainHash, Damage, RECORD_HEADER_BYTES, SEAL_BYTES, SEGMENT_HEADER_BYTES, SealedRecord, Sequence,
};
use crate::store::{Record, StoreOptions};

/// The open log.
pub(crate) struct Log {
    disk: Box<dyn Disk>,
    sealer: Sealer,
    options: StoreOptions,
    /// Oldest first; never empty once the log is open.
    segments: VecDeque<Segment>,
    /// The first failure of a write, which ends all writing.
    failure: Option<Arc<StoreError>>,
}

/// One segment, as far as it is synced.
pub(crate) struct Segment {
    /// Name of its file.
    pub(crate) name: String,
    /// Sequence of its first record.
    pub(crate) first: Sequence,
    /// Chain hash of the record before the first.
    pub(crate) previous: ChainHash,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its records in order.
    pub(crate) places: Vec<Place>,
}

/// Where a record is, and its chain hash.
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) chain: ChainHash,
}

/// Records of one batch that are sealed but not written.
struct Staged {
    offset: u64,
    batch: Sequence,
    next: Sequence,
    chain: ChainHash,
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Log {
    /// A log of segments that were verified.
    pub(crate) fn new(
        disk: Box<dyn Disk>,
        sealer: Sealer,
        options: StoreOptions,
        segments: VecDeque<Segment>,
    ) -> Result<Self, StoreError> {
        let mut log = Self { disk, sealer, options, segments, failure: None };
        if log.segments.is_empty() {
            log.begin_segment(Sequence::FIRST, ChainHash::GENESIS)?;
        }
        Ok(log)
    }

    /// The first record that is not durable.
    pub(crate) fn next(&self) -> Sequence {
        self.newest().next()
    }

    /// The highest durable record and its chain hash.
    pub(crate) fn head(&self) -> Option<(Sequence, ChainHash)> {
        let sequence = self.next().as_u64().checked_sub(1).map(Sequence::from_u64)?;
        Some((sequence, self.newest().chain()))
    }

    /// The oldest record that the ring keeps, or would keep if it were written.
    pub(crate) fn oldest(&self) -> Sequence {
        self.segments.front().expect("an open log has a segment").first
    }

    /// Why the log takes no more records, if it does not.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        self.failure.as_ref().map_or(Ok(()), |cause| Err(StoreError::Poisoned { cause: cause.clone() }))
    }

    /// Writes and syncs records; gives the highest durable one. After an error nothing can be written any more,
    /// because what is on the disk is not known.
    pub(crate) fn write(&mut self, entries: &[Entry]) -> Result<Option<Sequence>, StoreError> {
        self.check_writable()?;
        if let Err(error) = self.try_write(entries) {
            self.failure = Some(Arc::new(error.clone()));
            return Err(error);
        }
        Ok(self.head().map(|(sequence, _)| sequence))
    }

    /// The chain hash up to and including a record that is listed.
    pub(crate) fn chain(&self, sequence: Sequence) -> Option<ChainHash> {
        let above = self.segments.partition_point(|segment| segment.first <= sequence);
        let segment = self.segments.get(above.checked_sub(1)?)?;
        let index = usize::try_from(sequence.as_u64() - segment.first.as_u64()).ok()?;
        Some(segment.places.get(index)?.chain)
    }

    /// Reads and verifies one record.
    pub(crate) fn read(&self, sequence: Sequence) -> Result<Record, StoreError> {
        let (oldest, next) = (self.oldest(), self.next());
        if sequence < oldest {
            return Err(StoreError::Gone { sequence, oldest });
        }
        if sequence >= next {
            return Err(StoreError::NotWritten { sequence, next });
        }
        let above = self.segments.partition_point(|segment| segment.first <= sequence);
        let segment = &self.segments[above - 1];
        let index = usize::try_from(sequence.as_u64() - segment.first.as_u64())
            .expect("every record of the segment has its place in memory");
        let place = &segment.places[index];
        let previous = index.checked_sub(1).map_or(segment.previous, |before| segment.places[before].chain);
        let end = segment.places.get(index + 1).map_or(segment.bytes, |behind| behind.offset);
        let length = usize::try_from(end - place.offset).expect("a record was in memory when it was written");

        let mut bytes = vec![0; length];
        self.disk
            .read(&segment.name, place.offset, &mut bytes)
            .map_err(|source| StoreError::io("read", &segment.name, source))?;
        let damaged =
            |what| StoreError::Damaged { segment: segment.name.clone(), offset: place.offset, what };
        let sealed = SealedRecord::parse(&bytes).map_err(damaged)?;
        let chain = previous.extend(sealed.sequence, sealed.kind, sealed.ciphertext);
        if sealed.sequence != sequence || chain != place.chain {
            return Err(damaged(Damage::RecordChain));
        }
        let content = self.sealer.open(sequence, sealed.kind, &previous, sealed.ciphertext);
        let content = content.ok_or_else(|| damaged(Damage::RecordSeal))?;
        Ok(Record { sequence, kind: sealed.kind, chain, content })
    }

    fn newest(&self) -> &Segment {
        self.segments.back().expect("an open log has a segment")
    }

    fn try_write(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut staged = self.newest().stage();
        for entry in entries {
            let length = RECORD_HEADER_BYTES + SEAL_BYTES + entry.content.len() as u64;
            // A segment without records has room for any record: `append` refuses larger ones.
            if !staged.is_alone() && staged.end() + length > self.options.segment_bytes {
                let (first, previous) = (staged.next, staged.chain);
                // The full segment is synced before there is another, so only the last one can be torn.
                self.flush(staged)?;
                self.begin_segment(first, previous)?;
                staged = self.newest().stage();
            }
            staged.push(&self.sealer, entry);
        }
        self.flush(staged)
    }

    /// Writes and syncs a batch, and only then lists its records.
    fn flush(&mut self, staged: Staged) -> Result<(), StoreError> {
        if staged.places.is_empty() {
            return Ok(());
        }
        let newest = self.segments.back_mut().expect("an open log has a segment");
        append_all(self.disk.as_mut(), &newest.name, &staged.bytes)?;
        self.disk.sync(&newest.name).map_err(|source| StoreError::io("sync", &newest.name, source))?;
        newest.bytes = staged.end();
        newest.places.extend(staged.places);
        Ok(())
    }

    /// Begins a segment and removes the oldest ones that no longer fit in the ring. The header is synced before any
    /// record is written, so that a segment with a torn header is known to hold none.
    fn begin_segment(&mut self, first: Sequence, previous: ChainHash) -> Result<(), StoreError> {
        let name = segment_name(first);
        let surplus = (self.segments.len() + 1).saturating_sub(self.options.segments_max as usize);
        let oldest = self.segments.get(surplus).map_or(first, |segment| segment.first);
        let header = self.sealer.header(first, oldest, previous).encode();
        self.disk.create(&name).map_err(|source| StoreError::io("create", &name, source))?;
        append_all(self.disk.as_mut(), &name, &header)?;
        self.disk.sync(&name).map_err(|source| StoreError::io("sync", &name, source))?;
        self.sync_folder(&name)?;
        let bytes = SEGMENT_HEADER_BYTES;
        self.segments.push_back(Segment { name, first, previous, bytes, places: Vec::new() });

        for _ in 0..surplus {
            // One removal per sync: were two under way, a crash could undo only the first and leave a gap.
            let removed =
                self.segments.pop_front().expect("there are more segments than the ring holds").name;
            self.disk.remove(&removed).map_err(|source| StoreError::io("remove", &removed, source))?;
            self.sync_folder(&removed)?;
        }
        Ok(())
    }

    fn sync_folder(&mut self, name: &str) -> Result<(), StoreError> {
        self.disk.sync_folder().map_err(|source| StoreError::io("sync the folder of", name, source))
    }
}

impl Segment {
    /// The sequence behind the last record.
    pub(crate) fn next(&self) -> Sequence {
        self.first
            .checked_add(self.places.len() as u64)
            .expect("the parser refuses sequences above 2^63, and nobody lives to append as many again")
    }

    /// Chain hash of the last record.
    pub(crate) fn chain(&self) -> ChainHash {
        self.places.last().map_or(self.previous, |place| place.chain)
    }

    fn stage(&self) -> Staged {
        let next = self.next();
        Staged {
            offset: self.bytes,
            batch: next,
            next,
            chain: self.chain(),
            bytes: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl Staged {
    /// Where the next record would start.
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Whether the segment has no record yet.
    fn is_alone(&self) -> bool {
        self.end() == SEGMENT_HEADER_BYTES
    }

    fn push(&mut self, sealer: &Sealer, entry: &Entry) {
        let sequence = self.next;
        let ciphertext = sealer.seal(sequence, entry.kind, &self.chain, &entry.content);
        let chain = self.chain.extend(sequence, entry.kind, &ciphertext);
        self.places.push(Place { offset: self.end(), chain });
        let record = SealedRecord { kind: entry.kind, sequence, batch: self.batch, ciphertext: &ciphertext };
        record.encode(&mut self.bytes);
        self.chain = chain;
        self.next = sequence.checked_add(1).expect("`Pending` counted up to it");
    }
}

/// File name of the segment that begins with `first`.
pub(crate) fn segment_name(first: Sequence) -> String {
    format!("{first:020}.seg")
}

/// Writes all of `bytes` to the end of a file, in as many writes as the disk takes.
fn append_all(disk: &mut dyn Disk, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match disk.append(name, rest) {
            Ok(0) => return Err(StoreError::io("write", name, io::ErrorKind::WriteZero.into())),
            Ok(written) => rest = rest.get(written..).expect("a write takes at most what it is given"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(StoreError::io("write", name, source)),
        }
    }
    Ok(())
}
