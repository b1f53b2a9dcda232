//! Several leaves that were asked for, as bytes: for each its length (4 bytes, little-endian) and its opening. Which
//! leaves they are follows from the question, so nothing is read that was not expected.

use super::{LeafPlace, Opening};

const LENGTH_BYTES: usize = 4;

/// `None` for an opening that is longer than its length can say.
pub(crate) fn encode_openings(openings: &[Opening]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for opening in openings {
        let encoded = opening.encode();
        bytes.extend_from_slice(&u32::try_from(encoded.len()).ok()?.to_le_bytes());
        bytes.extend(encoded);
    }
    Some(bytes)
}

/// The openings of these leaves in this order, with at most as many numbers in a row as `widest` says.
pub(crate) fn decode_openings(
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
