//! The bytes of a segment and their parser. It must never do I/O, panic on foreign bytes, allocate by a length that
//! it has not checked, or pass over a damaged record.
//!
//! Integers are big-endian. A segment is a header and then records without gaps.
//!
//! | header | bytes |
//! |---|---|
//! | magic `MXSTORE` and a zero byte | 8 |
//! | version | 4 |
//! | sequence of the first record | 8 |
//! | first sequence of the oldest segment that was kept when this one was begun | 8 |
//! | chain hash of the record before the first | 32 |
//! | tag: keyed BLAKE3 of all of the above | 32 |
//! | CRC32C of all of the above | 4 |
//!
//! | record | bytes |
//! |---|---|
//! | length of the ciphertext | 4 |
//! | kind | 1 |
//! | sequence | 8 |
//! | batch: sequence of the first record that was written by the same sync | 8 |
//! | CRC32C of the four fields | 4 |
//! | CRC32C of the four fields and the ciphertext | 4 |
//! | ciphertext | length |
//!
//! The batch tells a torn write from damage. A batch is written only after every batch before it was synced, so a
//! bad record can be torn only if no later batch follows. That test must not trust the length of the bad record,
//! which is why the fields have a CRC of their own: every offset behind it is tried.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use std::fmt;

/// First bytes of every segment.
pub const MAGIC: &[u8; 8] = b"MXSTORE\0";
/// The only version there is.
pub const SEGMENT_VERSION: u32 = 1;
/// Bytes of a segment before its first record.
pub const SEGMENT_HEADER_BYTES: u64 = 96;
/// Bytes of the segment header that its tag covers.
const TAGGED_BYTES: usize = 60;
/// Bytes of a record before its ciphertext.
pub const RECORD_HEADER_BYTES: u64 = 29;
/// Bytes that sealing adds to a record's content.
pub const SEAL_BYTES: u64 = 16;
/// Most bytes of content in one record, 16 MiB.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Highest sequence that a segment may hold; leaves room to count on without overflow.
pub const SEQUENCE_MAX: u64 = u64::MAX >> 1;
/// Domain of the chain (BLAKE3 `derive_key` context).
pub const CHAIN_CONTEXT: &str = "maxwell 2026-11 store chain v1";

/// Place of a record in the log, counted from 0 and never used twice for what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// The first record of a new store.
    pub const FIRST: Self = Self(0);

    /// The sequence with this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The sequence `count` places further, if it has a number.
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Digest of a record and, through the hash before it, of every record before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first record of a store.
    pub const GENESIS: Self = Self([0; 32]);

    /// Takes the 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a record that follows the one with this hash.
    pub fn extend(&self, sequence: Sequence, kind: u8, ciphertext: &[u8]) -> Self {
        // The fields before the ciphertext have fixed lengths, so the input has one reading.
        let mut hasher = blake3::Hasher::new_derive_key(CHAIN_CONTEXT);
        hasher.update(&self.0);
        hasher.update(&sequence.0.to_be_bytes());
        hasher.update(&[kind]);
        hasher.update(ciphertext);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for ChainHash {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// What is wrong with a place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A file whose name ends like a segment's but is not 20 digits.
    #[error("the name is not 20 digits and .seg")]
    Name,
    /// The file is larger than any segment.
    #[error("the file is larger than any segment")]
    SegmentSize,
    /// The file ends within its header.
    #[error("the segment header is incomplete")]
    HeaderIncomplete,
    /// The file does not begin like a segment of this version.
    #[error("the segment header has another magic or version")]
    HeaderMagic,
    /// The header's CRC differs.
    #[error("the CRC of the segment header differs")]
    HeaderCrc,
    /// The header is not the one of a segment with this name and place.
    #[error("the segment is not the one that belongs here")]
    HeaderPlace,
    /// The segment before this one is missing or is another one.
    #[error("the chain hash is not that of the record before this segment")]
    HeaderChain,
    /// The oldest segments were removed, and not by the ring.
    #[error("segments before this one are missing")]
    OldestMissing,
    /// The file ends within a record.
    #[error("the record is incomplete")]
    RecordIncomplete,
    /// The CRC of the record's fields differs.
    #[error("the CRC of the record's fields differs")]
    RecordHeaderCrc,
    /// A length that no record has.
    #[error("no record has this length")]
    RecordLength,
    /// Another record than the one that belongs here.
    #[error("the record is not the one that belongs here")]
    RecordPlace,
    /// The record's CRC differs.
    #[error("the CRC of the record differs")]
    RecordCrc,
    /// Key, sequence, kind, chain or ciphertext do not fit one another.
    #[error("the record cannot be unsealed")]
    RecordSeal,
    /// The record changed since it was written or verified.
    #[error("the record's chain hash differs")]
    RecordChain,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Sequence of the first record.
    pub first: Sequence,
    /// First sequence of the oldest segment that was kept when this one was begun.
    pub oldest: Sequence,
    /// Chain hash of the record before the first.
    pub previous: ChainHash,
    /// Tag of the fields above under the store's key; the parser does not know the key and so cannot check it.
    pub tag: [u8; 32],
}

impl SegmentHeader {
    /// The bytes that the tag covers.
    pub fn tagged_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&SEGMENT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.first.0.to_be_bytes());
        bytes.extend_from_slice(&self.oldest.0.to_be_bytes());
        bytes.extend_from_slice(&self.previous.0);
        bytes
    }

    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.tagged_bytes();
        bytes.extend_from_slice(&self.tag);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Damage> {
        let all = cursor.0;
        let incomplete = Damage::HeaderIncomplete;
        let magic: [u8; 8] = cursor.take(incomplete)?;
        let version = u32::from_be_bytes(cursor.take(incomplete)?);
        let first = u64::from_be_bytes(cursor.take(incomplete)?);
        let oldest = u64::from_be_bytes(cursor.take(incomplete)?);
        let previous = ChainHash(cursor.take(incomplete)?);
        let tag: [u8; 32] = cursor.take(incomplete)?;
        let crc = u32::from_be_bytes(cursor.take(incomplete)?);
        if magic != *MAGIC || version != SEGMENT_VERSION {
            return Err(Damage::HeaderMagic);
        }
        let covered = all.get(..TAGGED_BYTES.saturating_add(tag.len())).ok_or(incomplete)?;
        if crc != crc32c::crc32c(covered) {
            return Err(Damage::HeaderCrc);
        }
        if first > SEQUENCE_MAX || oldest > first {
            return Err(Damage::HeaderPlace);
        }
        Ok(Self { first: Sequence(first), oldest: Sequence(oldest), previous, tag })
    }
}

/// A record as it lies in its segment: in its place and with the right CRC, but not unsealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedRecord<'a> {
    /// What the record is, in the words of whoever wrote it.
    pub kind: u8,
    /// Its place in the log.
    pub sequence: Sequence,
    /// Sequence of the first record that was written by the same sync.
    pub batch: Sequence,
    /// Its content, sealed.
    pub ciphertext: &'a [u8],
}

impl<'a> SealedRecord<'a> {
    /// Bytes of the record in its segment.
    pub fn length(&self) -> u64 {
        length_u64(self.ciphertext.len()).saturating_add(RECORD_HEADER_BYTES)
    }

    /// Appends the record's bytes to `bytes`. They parse again if the ciphertext is as long as
    /// [`RECORD_BYTES_MAX`] and [`SEAL_BYTES`] permit.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let fields = RecordFields {
            // A longer ciphertext is refused when it is appended; the parser would refuse the replacement.
            length: u32::try_from(self.ciphertext.len()).unwrap_or(u32::MAX),
            kind: self.kind,
            sequence: self.sequence.0,
            batch: self.batch.0,
        };
        let header_crc = fields.crc();
        bytes.extend_from_slice(&fields.length.to_be_bytes());
        bytes.push(fields.kind);
        bytes.extend_from_slice(&fields.sequence.to_be_bytes());
        bytes.extend_from_slice(&fields.batch.to_be_bytes());
        bytes.extend_from_slice(&header_crc.to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c_append(header_crc, self.ciphertext).to_be_bytes());
        bytes.extend_from_slice(self.ciphertext);
    }

    /// Reads the record that begins `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        let mut cursor = Cursor(bytes);
        let (fields, header_crc) = RecordFields::take(&mut cursor)?;
        if header_crc != fields.crc() {
            return Err(Damage::RecordHeaderCrc);
        }
        let crc = u32::from_be_bytes(cursor.take(Damage::RecordIncomplete)?);
        let length = u64::from(fields.length);
        if !(SEAL_BYTES..=RECORD_BYTES_MAX.saturating_add(SEAL_BYTES)).contains(&length) {
            return Err(Damage::RecordLength);
        }
        let length = usize::try_from(length).map_err(|_| Damage::RecordLength)?;
        let ciphertext = cursor.0.get(..length).ok_or(Damage::RecordIncomplete)?;
        if crc != crc32c::crc32c_append(header_crc, ciphertext) {
            return Err(Damage::RecordCrc);
        }
        let (sequence, batch) = (Sequence(fields.sequence), Sequence(fields.batch));
        Ok(Self { kind: fields.kind, sequence, batch, ciphertext })
    }
}

/// The fields of a record's header.
struct RecordFields {
    length: u32,
    kind: u8,
    sequence: u64,
    batch: u64,
}

impl RecordFields {
    fn crc(&self) -> u32 {
        let crc = crc32c::crc32c(&self.length.to_be_bytes());
        let crc = crc32c::crc32c_append(crc, &[self.kind]);
        let crc = crc32c::crc32c_append(crc, &self.sequence.to_be_bytes());
        crc32c::crc32c_append(crc, &self.batch.to_be_bytes())
    }

    /// The fields and the CRC that stands behind them, which is still to be compared.
    fn take(cursor: &mut Cursor<'_>) -> Result<(Self, u32), Damage> {
        let incomplete = Damage::RecordIncomplete;
        let fields = Self {
            length: u32::from_be_bytes(cursor.take(incomplete)?),
            kind: u8::from_be_bytes(cursor.take(incomplete)?),
            sequence: u64::from_be_bytes(cursor.take(incomplete)?),
            batch: u64::from_be_bytes(cursor.take(incomplete)?),
        };
        Ok((fields, u32::from_be_bytes(cursor.take(incomplete)?)))
    }
}

/// What follows the last good record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing.
    Whole,
    /// A bad record and no sign of a later batch: a write that was cut off, if this is the last segment.
    Torn {
        /// Where the bad record starts.
        offset: u64,
        /// What is wrong with it.
        what: Damage,
    },
    /// A bad record and a later batch behind it: the bad one was synced once.
    Damaged {
        /// Where the bad record starts.
        offset: u64,
        /// What is wrong with it.
        what: Damage,
    },
}

/// A segment whose header and records have their places and CRCs. Neither tag nor chain nor seals were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedSegment<'a> {
    /// Its header.
    pub header: SegmentHeader,
    /// The good records up to the ending, each with the offset at which it starts.
    pub records: Vec<(u64, SealedRecord<'a>)>,
    /// What follows them.
    pub ending: Ending,
}

/// Reads a segment. An error speaks of its header, at offset 0.
///
/// The list of records needs no limit: each takes [`RECORD_HEADER_BYTES`] of the input or more.
pub fn parse_segment(bytes: &[u8]) -> Result<ParsedSegment<'_>, Damage> {
    let mut cursor = Cursor(bytes);
    let header = SegmentHeader::take(&mut cursor)?;
    let mut rest = cursor.0;
    let mut offset = SEGMENT_HEADER_BYTES;
    let mut records = Vec::new();
    let mut next = header.first;
    let mut batch = None;
    while !rest.is_empty() {
        let record = match SealedRecord::parse(rest).and_then(|record| in_place(record, next, batch)) {
            Ok(record) => record,
            Err(what) if later_batch(rest, next) => {
                return Ok(ParsedSegment { header, records, ending: Ending::Damaged { offset, what } });
            }
            Err(what) => {
                return Ok(ParsedSegment { header, records, ending: Ending::Torn { offset, what } });
            }
        };
        records.push((offset, record));
        // Neither can saturate: the sequence is at most SEQUENCE_MAX, the offset at most the input's length.
        next = Sequence(next.0.saturating_add(1));
        batch = Some(record.batch);
        offset = offset.saturating_add(record.length());
        rest =
            usize::try_from(record.length()).ok().and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    Ok(ParsedSegment { header, records, ending: Ending::Whole })
}

/// The record if it is number `expected` and either begins a batch or continues `batch`.
fn in_place(
    record: SealedRecord<'_>,
    expected: Sequence,
    batch: Option<Sequence>,
) -> Result<SealedRecord<'_>, Damage> {
    let batch_fits = record.batch == expected || batch == Some(record.batch);
    if record.sequence == expected && expected.0 <= SEQUENCE_MAX && batch_fits {
        Ok(record)
    } else {
        Err(Damage::RecordPlace)
    }
}

/// Whether the fields of a record stand anywhere in `bytes` whose batch began after `bad`.
fn later_batch(bytes: &[u8], bad: Sequence) -> bool {
    let mut rest = bytes;
    loop {
        if let Ok((fields, crc)) = RecordFields::take(&mut Cursor(rest))
            && fields.batch > bad.0
            && fields.sequence >= fields.batch
            && fields.crc() == crc
        {
            return true;
        }
        match rest.split_first() {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
}

/// The bytes that are still to be read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self, incomplete: Damage) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(incomplete)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// A length in memory as the integer that errors and the index hold.
fn length_u64(length: usize) -> u64 {
    // Rust has no target with a wider usize.
    u64::try_from(length).unwrap_or(u64::MAX)
}
