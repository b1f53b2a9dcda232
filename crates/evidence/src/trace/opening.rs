//! One leaf of a trace with its path: what a prover shows when it is asked for a place. Decoding is total, bounded and
//! canonical, and never takes more numbers than whoever asked expects.
//!
//! Bytes: numbers, then one byte for the length of the path and its hashes. Numbers: one byte W for the bytes of each,
//! the fewest that hold all of them, one byte for the rows, then for each row its length (4 bytes, little-endian) and
//! its numbers (two's complement, little-endian).

use engine::trace::ChunkTrace;
use protocol::TraceRoot;
use protocol::id::{ID_BYTES, MerkleHash};
use protocol::merkle::{self, MAX_PATH_HASHES, MerkleReason};

use super::tile::{self, NUMBER_BYTES, number, width_of, write_numbers};
use super::{LEAF_TOKENS, LeafPlace, TraceShape};

/// Longest opening: 64 MiB, four rows of logits of 2^21 tokens each.
pub const MAX_OPENING_BYTES: usize = 64 << 20;
const LENGTH_BYTES: usize = 4;

/// Numbers of a leaf and the way to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Where they are.
    pub place: LeafPlace,
    /// One row per token.
    pub rows: Vec<Vec<i64>>,
    /// From the leaf up.
    pub path: Vec<MerkleHash>,
}

/// Why an opening is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Longer than any.
    #[error("an opening has at most {MAX_OPENING_BYTES} bytes")]
    Size,
    /// Bytes are missing, left over, or not in the one form that they have.
    #[error("these bytes are no opening")]
    Form,
    /// There is no such leaf in a trace of this claim.
    #[error("the trace has no such leaf")]
    Place,
    /// Not as many rows as the leaf has tokens.
    #[error("the leaf has another number of tokens")]
    Rows,
    /// The path does not lead to the root.
    #[error(transparent)]
    Path(#[from] MerkleReason),
}

impl Opening {
    /// The numbers of a leaf, without a path; `None` if `trace` does not hold them.
    pub(crate) fn numbers_of(trace: &ChunkTrace, shape: TraceShape, place: LeafPlace) -> Option<Self> {
        let first = place.chunk.checked_mul(LEAF_TOKENS)?.checked_sub(trace.start)?;
        let count = shape.tokens_of(place.chunk);
        let block = trace.blocks.iter().find(|block| block.block == place.block)?;
        let is_head = place.block == shape.blocks;
        let number = if is_head && place.operation != protocol::trace::TraceOperation::Residual {
            1
        } else {
            place.operation as usize
        };
        let operation = block.operations.get(number)?;
        (first + count <= trace.count).then(|| Self {
            place,
            rows: (first..first + count).map(|index| operation.row(index).to_vec()).collect(),
            path: Vec::new(),
        })
    }

    /// The leaf's hash in the tree.
    pub(super) fn leaf_hash(&self) -> MerkleHash {
        let lengths: Vec<usize> = self.rows.iter().map(Vec::len).collect();
        tile::leaf_hash(self.place, &lengths, &tile::hashes_of(&self.rows))
    }

    fn write_numbers(&self, bytes: &mut Vec<u8>) {
        let width = width_of(self.rows.iter().flatten());
        bytes.push(width as u8);
        bytes.push(self.rows.len() as u8);
        for row in &self.rows {
            bytes.extend_from_slice(&u32::try_from(row.len()).unwrap_or(u32::MAX).to_le_bytes());
            write_numbers(bytes, row, width);
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_numbers(&mut bytes);
        bytes.push(self.path.len() as u8);
        for hash in &self.path {
            bytes.extend_from_slice(hash.as_bytes());
        }
        bytes
    }

    /// Reads the opening of a place that was asked for, with at most so many numbers in a row.
    ///
    /// # Errors
    /// [`OpeningError::Size`], [`OpeningError::Form`].
    pub fn decode(place: LeafPlace, numbers_max: usize, bytes: &[u8]) -> Result<Self, OpeningError> {
        if bytes.len() > MAX_OPENING_BYTES {
            return Err(OpeningError::Size);
        }
        let decoded = read(place, numbers_max, bytes).ok_or(OpeningError::Form)?;
        // One form only: the same numbers in more bytes would be another leaf.
        if decoded.encode() == bytes { Ok(decoded) } else { Err(OpeningError::Form) }
    }

    /// Whether the numbers are those that a claim with this root is committed to.
    ///
    /// # Errors
    /// [`OpeningError`].
    pub fn verify(&self, shape: TraceShape, root: &TraceRoot) -> Result<(), OpeningError> {
        let index = shape.index(self.place).ok_or(OpeningError::Place)?;
        if self.rows.len() != shape.tokens_of(self.place.chunk) {
            return Err(OpeningError::Rows);
        }
        let (index, size) = (index as u64, shape.leaves() as u64);
        let root = MerkleHash::from_bytes(*root.as_bytes());
        Ok(merkle::verify_inclusion(&self.leaf_hash(), index, size, &self.path, &root)?)
    }
}

fn read(place: LeafPlace, numbers_max: usize, bytes: &[u8]) -> Option<Opening> {
    let (width, rest) = bytes.split_first()?;
    let (count, mut rest) = rest.split_first()?;
    let width = usize::from(*width);
    if !(1..=NUMBER_BYTES).contains(&width) || usize::from(*count) > LEAF_TOKENS {
        return None;
    }
    let mut rows = Vec::with_capacity(usize::from(*count));
    for _ in 0..*count {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length =
            usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= numbers_max)?;
        let (numbers, behind) = behind.split_at_checked(length.checked_mul(width)?)?;
        rows.push(numbers.chunks_exact(width).map(number).collect());
        rest = behind;
    }
    let (length, path) = rest.split_first()?;
    let (hashes, left_over) = path.as_chunks::<ID_BYTES>();
    let is_whole = hashes.len() == usize::from(*length) && left_over.is_empty();
    (is_whole && hashes.len() <= MAX_PATH_HASHES).then(|| Opening {
        place,
        rows,
        path: hashes.iter().map(|hash| MerkleHash::from_bytes(*hash)).collect(),
    })
}
