//! The tree over an epoch's answers and short proofs about it: RFC 6962 section 2, with SHA-256. Nothing here may hash a
//! leaf and a node alike, or take a proof that is longer than the tree is high.
//!
//! Trees are small enough (see [`crate::checkpoint::MAX_EPOCH_LEAVES`]) to be made anew from their leaves' hashes for
//! each proof. Verification is that of RFC 9162 sections 2.1.3.2 and 2.1.4.2.

use sha2::{Digest, Sha256};

use crate::id::MerkleHash;

#[cfg(test)]
mod tests;

/// Longest proof: one hash for each level of the highest tree that has a size.
pub const MAX_PATH_HASHES: usize = 64;

const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerkleReason {
    /// A place behind the last leaf, or an earlier tree that is larger than the later one.
    #[error("the proof is about place {index}, but the tree has {size}")]
    Place {
        /// The leaf's index, or the earlier tree's size.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Too few or too many hashes for a tree of this size.
    #[error("the proof has {length} hashes, which is not what a tree of this size needs")]
    Length {
        /// How many.
        length: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root: the leaf or the tree was changed")]
    Root,
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> MerkleHash {
    MerkleHash::from_bytes(Sha256::digest([]).into())
}

/// The hash of a leaf.
pub fn leaf_hash(content: &[u8]) -> MerkleHash {
    let mut hasher = Sha256::new();
    hasher.update([LEAF_PREFIX]);
    hasher.update(content);
    MerkleHash::from_bytes(hasher.finalize().into())
}

/// The hash of a node above two others.
pub fn node_hash(left: &MerkleHash, right: &MerkleHash) -> MerkleHash {
    let mut hasher = Sha256::new();
    hasher.update([NODE_PREFIX]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    MerkleHash::from_bytes(hasher.finalize().into())
}

/// Left and right part of two or more leaves: the left one has the largest power of two that leaves something.
pub(crate) fn halves(leaves: &[MerkleHash]) -> Option<(&[MerkleHash], &[MerkleHash])> {
    if leaves.len() < 2 {
        return None;
    }
    leaves.split_at_checked(leaves.len().next_power_of_two() >> 1)
}

/// The root of a tree with these leaves: MTH of RFC 6962.
pub fn root(leaves: &[MerkleHash]) -> MerkleHash {
    match (halves(leaves), leaves.first()) {
        (Some((left, right)), _) => node_hash(&root(left), &root(right)),
        (None, Some(leaf)) => *leaf,
        (None, None) => empty_root(),
    }
}

/// The proof that the leaf at this index is in the tree, from the leaf up: PATH of RFC 6962. `None` if there is no such
/// leaf.
pub fn inclusion_path(leaves: &[MerkleHash], index: u64) -> Option<Vec<MerkleHash>> {
    let mut index = usize::try_from(index).ok().filter(|index| *index < leaves.len())?;
    let (mut part, mut path) = (leaves, Vec::new());
    while let Some((left, right)) = halves(part) {
        match index.checked_sub(left.len()) {
            None => {
                path.push(root(right));
                part = left;
            }
            Some(behind) => {
                path.push(root(left));
                (part, index) = (right, behind);
            }
        }
    }
    path.reverse();
    Some(path)
}

/// The proof that the tree of the first `first` leaves is the beginning of this one: PROOF of RFC 6962, and no hash for
/// the empty tree. `None` if there are fewer leaves.
pub fn consistency_path(leaves: &[MerkleHash], first: u64) -> Option<Vec<MerkleHash>> {
    let mut first = usize::try_from(first).ok().filter(|first| *first <= leaves.len())?;
    if first == 0 {
        return Some(Vec::new());
    }
    let (mut part, mut path, mut is_whole) = (leaves, Vec::new(), true);
    while first < part.len()
        && let Some((left, right)) = halves(part)
    {
        match first.checked_sub(left.len()).filter(|behind| *behind > 0) {
            None => {
                path.push(root(right));
                part = left;
            }
            Some(behind) => {
                path.push(root(left));
                (part, first, is_whole) = (right, behind, false);
            }
        }
    }
    // Whoever checks knows the root of the earlier tree, if that is what is left.
    if !is_whole {
        path.push(root(part));
    }
    path.reverse();
    Some(path)
}

/// Checks a proof of [`inclusion_path`]. Claim in: a leaf's hash, its index, size and root of the tree. Claim out:
/// nothing more; it holds up to collisions of SHA-256.
///
/// # Errors
/// [`MerkleReason`].
pub fn verify_inclusion(
    leaf: &MerkleHash,
    index: u64,
    size: u64,
    path: &[MerkleHash],
    root: &MerkleHash,
) -> Result<(), MerkleReason> {
    let length = path.len();
    let last = size.checked_sub(1).filter(|last| index <= *last && length <= MAX_PATH_HASHES);
    let (mut place, mut last) = (index, last.ok_or(MerkleReason::Place { index, size })?);
    let mut hash = *leaf;
    for other in path {
        if last == 0 {
            return Err(MerkleReason::Length { length });
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(other, &hash);
            skip_lonely(&mut place, &mut last);
        } else {
            hash = node_hash(&hash, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last != 0 {
        return Err(MerkleReason::Length { length });
    }
    if hash == *root { Ok(()) } else { Err(MerkleReason::Root) }
}

/// Checks a proof of [`consistency_path`]. Claim in: sizes and roots of two trees. Claim out: nothing more; it holds up
/// to collisions of SHA-256.
///
/// # Errors
/// [`MerkleReason`].
pub fn verify_consistency(
    first: (u64, &MerkleHash),
    second: (u64, &MerkleHash),
    path: &[MerkleHash],
) -> Result<(), MerkleReason> {
    let (length, (first_size, first_root), (second_size, second_root)) = (path.len(), first, second);
    if first_size > second_size {
        return Err(MerkleReason::Place { index: first_size, size: second_size });
    }
    if length > MAX_PATH_HASHES {
        return Err(MerkleReason::Length { length });
    }
    let ends_here = |is_right: bool| match (length, is_right) {
        (0, true) => Ok(()),
        (0, false) => Err(MerkleReason::Root),
        _ => Err(MerkleReason::Length { length }),
    };
    if first_size == second_size {
        return ends_here(first_root == second_root);
    }
    let Some(mut place) = first_size.checked_sub(1) else { return ends_here(*first_root == empty_root()) };
    let mut last = second_size.saturating_sub(1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    // A whole earlier tree is its own first hash.
    let (start, rest) = if first_size.is_power_of_two() {
        (*first_root, path)
    } else {
        let (start, rest) = path.split_first().ok_or(MerkleReason::Length { length })?;
        (*start, rest)
    };
    let (mut earlier, mut later) = (start, start);
    for other in rest {
        if last == 0 {
            return Err(MerkleReason::Length { length });
        }
        if place & 1 == 1 || place == last {
            earlier = node_hash(other, &earlier);
            later = node_hash(other, &later);
            skip_lonely(&mut place, &mut last);
        } else {
            later = node_hash(&later, other);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    if last != 0 {
        return Err(MerkleReason::Length { length });
    }
    if earlier == *first_root && later == *second_root { Ok(()) } else { Err(MerkleReason::Root) }
}

/// Goes up over the levels at which the last subtree has no other half.
fn skip_lonely(place: &mut u64, last: &mut u64) {
    while *place & 1 == 0 && *place != 0 {
        (*place, *last) = (*place >> 1, *last >> 1);
    }
}
