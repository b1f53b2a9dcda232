//! Answers as bytes. What an answer holds follows from the question, so no length is read that was not expected.
//!
//! Hashes: 32 bytes each, as many as were asked for. A place: position, block, index (8 bytes each, little-endian) and
//! the operation's number. Openings: for each leaf that was asked for its length (4 bytes, little-endian) and its bytes.

use protocol::id::{ID_BYTES, MerkleHash};
use protocol::trace::TraceOperation;

use crate::recompute::NumberPlace;
use crate::trace::{LeafPlace, MAX_OPENING_BYTES, Opening};

/// Longest answer: the leaves that one number follows from.
pub const MAX_ANSWER_BYTES: usize = MAX_OPENING_BYTES;
/// Bytes of a place.
pub(super) const PLACE_BYTES: usize = 3 * 8 + 1;
const LENGTH_BYTES: usize = 4;

const OPERATIONS: [TraceOperation; 11] = [
    TraceOperation::Residual,
    TraceOperation::Query,
    TraceOperation::Key,
    TraceOperation::Value,
    TraceOperation::Scores,
    TraceOperation::Weighted,
    TraceOperation::Output,
    TraceOperation::Gate,
    TraceOperation::Up,
    TraceOperation::Down,
    TraceOperation::Logits,
];

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
    let number = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
    Some(NumberPlace {
        position: number(position)?,
        block: number(block)?,
        index: number(index)?,
        operation: *OPERATIONS.get(usize::from(*operation))?,
    })
}

/// `None` for an opening that is longer than its length can say.
pub(super) fn encode_openings(openings: &[Opening]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for opening in openings {
        let encoded = opening.encode();
        bytes.extend_from_slice(&u32::try_from(encoded.len()).ok()?.to_le_bytes());
        bytes.extend(encoded);
    }
    Some(bytes)
}

/// The openings of these leaves in this order, with at most as many numbers in a row as `widest` says.
pub(super) fn decode_openings(
    bytes: &[u8],
    expected: &[LeafPlace],
    widest: impl Fn(LeafPlace) -> usize,
) -> Option<Vec<Opening>> {
    let mut rest = bytes;
    let mut openings = Vec::with_capacity(expected.len());
    for place in expected {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (opening, behind) = behind.split_at_checked(length)?;
        openings.push(Opening::decode(*place, widest(*place), opening).ok()?);
        rest = behind;
    }
    rest.is_empty().then_some(openings)
}
