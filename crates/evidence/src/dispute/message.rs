//! Answers as bytes. What an answer holds follows from the question, so no length is read that was not expected.
//!
//! Hashes: 32 bytes each, as many as were asked for. A place: position, block, index (8 bytes each, little-endian) and
//! the operation's number. Leaves: see [`crate::trace::openings`].

use protocol::TraceRoot;
use protocol::id::{ID_BYTES, MerkleHash};
use protocol::trace::TraceOperation;

use super::Accusation;
use crate::recompute::NumberPlace;
use crate::trace::MAX_OPENING_BYTES;

/// Longest answer: the leaves that one number follows from.
pub const MAX_ANSWER_BYTES: usize = MAX_OPENING_BYTES;

const OUTPUT: u8 = 0;
const TRACE: u8 = 1;
const TRACE_THAT_LEAVES: u8 = 2;

impl Accusation {
    /// One byte for the kind; then the output's number (4 bytes, little-endian), or the root and the place where the run
    /// leaves its range if there is one.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Output { index } => [&[OUTPUT][..], &index.to_le_bytes()].concat(),
            Self::Trace { root, leaves: None } => [&[TRACE][..], root.as_bytes()].concat(),
            Self::Trace { root, leaves: Some(place) } => {
                [&[TRACE_THAT_LEAVES][..], root.as_bytes(), &encode_place(*place)].concat()
            }
        }
    }

    /// Reads the bytes of [`Self::encode`], and no others.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == OUTPUT {
            return Some(Self::Output { index: u32::from_le_bytes(rest.try_into().ok()?) });
        }
        let (root, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let root = TraceRoot::from_bytes(*root);
        match *kind {
            TRACE if rest.is_empty() => Some(Self::Trace { root, leaves: None }),
            TRACE_THAT_LEAVES => Some(Self::Trace { root, leaves: Some(decode_place(rest)?) }),
            _ => None,
        }
    }
}

pub(super) fn encode_hashes<'h>(hashes: impl Iterator<Item = &'h [u8; ID_BYTES]>) -> Vec<u8> {
    hashes.flatten().copied().collect()
}

pub(super) fn decode_hashes(bytes: &[u8], count: usize) -> Option<Vec<MerkleHash>> {
    let (hashes, rest) = bytes.as_chunks::<ID_BYTES>();
    (hashes.len() == count && rest.is_empty())
        .then(|| hashes.iter().map(|hash| MerkleHash::from_bytes(*hash)).collect())
}

pub(super) fn encode_place(place: NumberPlace) -> Vec<u8> {
    let numbers = [place.position, place.block, place.index];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as u64).to_le_bytes()).collect();
    bytes.push(place.operation as u8);
    bytes
}

pub(super) fn decode_place(bytes: &[u8]) -> Option<NumberPlace> {
    let (numbers, operation) = bytes.as_chunks::<8>();
    let ([position, block, index], [operation]) = (numbers, operation) else { return None };
    // The logits stand behind a block's operations.
    let mut operations = TraceOperation::BLOCK.into_iter().chain([TraceOperation::Logits]);
    let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
    Some(NumberPlace {
        position: number(position)?,
        block: number(block)?,
        index: number(index)?,
        operation: operations.find(|known| *known as u8 == *operation)?,
    })
}
