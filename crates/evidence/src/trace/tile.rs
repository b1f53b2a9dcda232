//! Tiles: what a leaf is made of, so that two parties who differ about a leaf need show only one tile of it. A row of
//! numbers is cut into tiles of [`TILE_NUMBERS`]; the leaf's hash binds its place, the length of each row and the hash of
//! each tile. One form only for the same numbers.

use protocol::id::{ID_BYTES, MerkleHash};
use protocol::merkle;

use super::LeafPlace;

/// Numbers of a tile, the last one of a row shorter.
pub const TILE_NUMBERS: usize = 1024;
/// blake3 `derive_key` context of a leaf.
pub const LEAF_CONTEXT: &str = "maxwell 2026-11 trace leaf v2";
/// blake3 `derive_key` context of a tile.
pub const TILE_CONTEXT: &str = "maxwell 2026-11 trace tile v1";
/// Longest tile: the width of its numbers, and the numbers.
pub const MAX_TILE_BYTES: usize = 1 + TILE_NUMBERS * NUMBER_BYTES;
/// Bytes of a number.
pub(super) const NUMBER_BYTES: usize = size_of::<i64>();

/// The hash of a tile.
pub type TileHash = [u8; ID_BYTES];

/// The tiles of a row of so many numbers.
#[must_use]
pub fn tiles_of_row(width: usize) -> usize {
    width.div_ceil(TILE_NUMBERS)
}

/// Bytes of a tile: one byte W, the fewest bytes that hold each number, and the numbers (two's complement,
/// little-endian).
#[must_use]
pub fn encode(numbers: &[i64]) -> Vec<u8> {
    let width = width_of(numbers.iter());
    let mut bytes = Vec::with_capacity(1 + numbers.len() * width + NUMBER_BYTES);
    bytes.push(width as u8);
    write_numbers(&mut bytes, numbers, width);
    bytes
}

/// Numbers of a tile that has so many. `None` for any other bytes than those of [`encode`].
#[must_use]
pub fn decode(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let (width, numbers) = bytes.split_first()?;
    let width = usize::from(*width);
    if !(1..=NUMBER_BYTES).contains(&width) || count > TILE_NUMBERS || numbers.len() != count * width {
        return None;
    }
    let decoded: Vec<i64> = numbers.chunks_exact(width).map(number).collect();
    (width_of(decoded.iter()) == width).then_some(decoded)
}

/// The hash of a tile's bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> TileHash {
    blake3::derive_key(TILE_CONTEXT, bytes)
}

/// Hashes of all tiles of a leaf, row after row.
#[must_use]
pub fn hashes_of(rows: &[Vec<i64>]) -> Vec<TileHash> {
    rows.iter().flat_map(|row| row.chunks(TILE_NUMBERS)).map(|tile| hash(&encode(tile))).collect()
}

/// The leaf's hash in the tree, from the lengths of its rows and the hashes of its tiles.
#[must_use]
pub fn leaf_hash(place: LeafPlace, lengths: &[usize], tiles: &[TileHash]) -> MerkleHash {
    let mut hasher = blake3::Hasher::new_derive_key(LEAF_CONTEXT);
    hasher.update(&(place.chunk as u64).to_le_bytes());
    hasher.update(&(place.block as u64).to_le_bytes());
    hasher.update(&[place.operation as u8]);
    hasher.update(&(lengths.len() as u64).to_le_bytes());
    for length in lengths {
        hasher.update(&(*length as u64).to_le_bytes());
    }
    hasher.update(tiles.as_flattened());
    merkle::leaf_hash(hasher.finalize().as_bytes())
}

pub(super) fn write_numbers(bytes: &mut Vec<u8>, numbers: &[i64], width: usize) {
    let start = bytes.len();
    // Whole numbers over the surplus bytes of those before.
    bytes.resize(start + numbers.len() * width + NUMBER_BYTES, 0);
    for (index, number) in numbers.iter().enumerate() {
        bytes[start + index * width..][..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(start + numbers.len() * width);
}

/// The fewest bytes that hold all numbers.
pub(super) fn width_of<'n>(numbers: impl Iterator<Item = &'n i64>) -> usize {
    // A number and its complement need as many bits.
    let magnitudes = numbers.fold(0, |all: i64, number| all | (number ^ (number >> 63)));
    (65 - magnitudes.leading_zeros()).div_ceil(8).max(1) as usize
}

/// The number of at most eight little-endian bytes, with their sign.
pub(super) fn number(bytes: &[u8]) -> i64 {
    let sign = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = if sign { [u8::MAX; NUMBER_BYTES] } else { [0; NUMBER_BYTES] };
    for (whole, byte) in whole.iter_mut().zip(bytes) {
        *whole = *byte;
    }
    i64::from_le_bytes(whole)
}
