//! A hash tree over the groups of a large object, so that a stream is checked group by group, before it is used.
//! Must never hand out a group that is not the one at its place, or call a stream whole that is short or long.
//!
//! Leaf i is BLAKE3 `derive_key` in [`LEAF_CONTEXT`] over i (8 bytes, little-endian) and the group's bytes; a node
//! is the same in [`NODE_CONTEXT`] over its two children. The tree of n leaves has the largest power of two below n
//! on its left (the shape of RFC 9162 section 2.1.1). The root is `derive_key` in [`ROOT_CONTEXT`] over the object's
//! length, the group's length (8 bytes each, little-endian) and the tree's top.
//!
//! Claim in: (root, length, group length). Claim out: these bytes stand at this place of the one object with that
//! root. Soundness error: that of finding a collision of BLAKE3, about 2^-128 per attempted pair.

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// Length of every group but the last: 1 MiB.
pub const GROUP_BYTES: u32 = 1 << 20;
/// Longest object: 1 TiB, whose leaf hashes have 32 MiB.
pub const MAX_OBJECT_BYTES: u64 = 1 << 40;
/// Longest encoded outboard: the leaf hashes of the longest object, and its header.
pub const MAX_OUTBOARD_BYTES: usize = (32 << 20) + 64;
/// Domain of leaves (BLAKE3 `derive_key` context).
pub const LEAF_CONTEXT: &str = "maxwell 2026-11 group tree leaf v1";
/// Domain of inner nodes (BLAKE3 `derive_key` context).
pub const NODE_CONTEXT: &str = "maxwell 2026-11 group tree node v1";
/// Domain of roots (BLAKE3 `derive_key` context).
pub const ROOT_CONTEXT: &str = "maxwell 2026-11 group tree root v1";

const HASH_BYTES: u64 = 32;
const HEAD_TAG: &str = "maxwell.tree_head";
const HEAD_FIELDS: u64 = 3;
const OUTBOARD_TAG: &str = "maxwell.outboard";
const OUTBOARD_FIELDS: u64 = 1;
const VERSION: u32 = 1;

type Hash = [u8; 32];

/// What names an object: whoever trusts this needs to trust no byte of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Hash over length, group length and all groups.
    pub root: [u8; 32],
    /// Length of the object in bytes.
    pub bytes: u64,
    /// Length of every group but the last, in bytes; [`GROUP_BYTES`].
    pub group_bytes: u32,
}

/// The hashes of all groups in order. Untrusted until [`GroupVerifier::new`] has compared them with a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outboard {
    leaves: Vec<Hash>,
}

/// Both, computed from the object itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTree {
    /// What names the object.
    pub head: TreeHead,
    /// What a verifier of the stream needs beside it.
    pub outboard: Outboard,
}

/// Why a stream is not the object that was ordered. Blame: whoever sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupReason {
    /// A head that this build does not read.
    #[error(
        "the object is cut into groups of {found} bytes, this build reads groups of {supported} bytes only"
    )]
    GroupSize {
        /// In the head.
        found: u32,
        /// [`GROUP_BYTES`].
        supported: u32,
    },
    /// A head that states more than any object has.
    #[error("the object has {bytes} bytes, the limit is {limit}")]
    ObjectSize {
        /// In the head.
        bytes: u64,
        /// [`MAX_OBJECT_BYTES`].
        limit: u64,
    },
    /// Another number of leaf hashes than the object has groups.
    #[error("the outboard has {found} leaf hashes, but the object has {expected} groups")]
    OutboardCount {
        /// In the outboard.
        found: u64,
        /// From the head.
        expected: u64,
    },
    /// The leaf hashes are those of another object.
    #[error("the outboard's leaf hashes do not give the root: they belong to another object")]
    OutboardRoot,
    /// A group out of order, repeated or left out.
    #[error("group {found} was sent, but group {expected} is next: groups come in order, each once")]
    Order {
        /// What was sent.
        found: u64,
        /// What is next.
        expected: u64,
    },
    /// A group after the last one.
    #[error("a group follows the last one: the object has {groups} groups")]
    BehindEnd {
        /// How many the object has.
        groups: u64,
    },
    /// A group that ends early.
    #[error("group {index} has {length} bytes, which is less than its {expected}")]
    GroupShort {
        /// Counted from 0.
        index: u64,
        /// What was sent.
        length: u64,
        /// From the head.
        expected: u64,
    },
    /// A group that goes on.
    #[error("group {index} has {length} bytes, which is more than its {expected}")]
    GroupLong {
        /// Counted from 0.
        index: u64,
        /// What was sent.
        length: u64,
        /// From the head.
        expected: u64,
    },
    /// Other bytes than the object has there.
    #[error("group {index} has other bytes than the object has there")]
    GroupHash {
        /// Counted from 0.
        index: u64,
    },
    /// The stream ended before the object did.
    #[error("the stream ended after {verified} of {bytes} bytes")]
    Incomplete {
        /// Bytes that were verified.
        verified: u64,
        /// In the head.
        bytes: u64,
    },
}

/// A group whose bytes are those of the object. Only [`GroupVerifier::verify`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedGroup<'a> {
    offset: u64,
    bytes: &'a [u8],
}

/// Every byte of the object was verified. Only [`GroupVerifier::finish`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedObject {
    head: TreeHead,
}

/// Checks one object as it streams by. The first refusal is final: everything after it is refused alike.
#[derive(Clone, Debug)]
pub struct GroupVerifier {
    head: TreeHead,
    leaves: Vec<Hash>,
    next: u64,
    verified_bytes: u64,
    refused: Option<GroupReason>,
}

impl GroupReason {
    /// Stable machine name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::GroupSize { .. } => "group_size",
            Self::ObjectSize { .. } => "object_size",
            Self::OutboardCount { .. } => "outboard_count",
            Self::OutboardRoot => "outboard_root",
            Self::Order { .. } => "group_order",
            Self::BehindEnd { .. } => "group_behind_end",
            Self::GroupShort { .. } => "group_short",
            Self::GroupLong { .. } => "group_long",
            Self::GroupHash { .. } => "group_hash",
            Self::Incomplete { .. } => "object_incomplete",
        }
    }
}

impl GroupTree {
    /// The tree of an object that is here as a whole, in groups of [`GROUP_BYTES`].
    pub fn of(bytes: &[u8]) -> Self {
        Self::with_groups_of(bytes, GROUP_BYTES)
    }

    /// The same for any group length, which must not be 0.
    fn with_groups_of(bytes: &[u8], group_bytes: u32) -> Self {
        // A group length beyond the address space is one group.
        let size = usize::try_from(group_bytes).unwrap_or(usize::MAX).max(1);
        let leaves: Vec<Hash> =
            (0..).zip(bytes.chunks(size)).map(|(index, group)| leaf_hash(index, group)).collect();
        let length = length_u64(bytes.len());
        let head = TreeHead { root: root_hash(length, group_bytes, &leaves), bytes: length, group_bytes };
        Self { head, outboard: Outboard { leaves } }
    }
}

impl TreeHead {
    /// How many groups the object has.
    pub fn groups(&self) -> u64 {
        // Rounds up: the last group may be short.
        self.bytes.div_ceil(u64::from(self.group_bytes).max(1))
    }

    /// Length of one group; 0 behind the end.
    fn group_length(&self, index: u64) -> u64 {
        let size = u64::from(self.group_bytes);
        self.bytes.saturating_sub(index.saturating_mul(size)).min(size)
    }

    fn check(&self) -> Result<(), GroupReason> {
        if self.group_bytes != GROUP_BYTES {
            return Err(GroupReason::GroupSize { found: self.group_bytes, supported: GROUP_BYTES });
        }
        if self.bytes > MAX_OBJECT_BYTES {
            return Err(GroupReason::ObjectSize { bytes: self.bytes, limit: MAX_OBJECT_BYTES });
        }
        Ok(())
    }

    /// Appends the canonical form.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.structure(HEAD_TAG, VERSION, HEAD_FIELDS);
        encoder.bytes(&self.root);
        encoder.unsigned(self.bytes);
        encoder.unsigned(u64::from(self.group_bytes));
    }

    /// Reads a head that this build can verify with.
    ///
    /// # Errors
    /// [`Error::TreeHead`] for another group length or too long an object; those of the decoder.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.structure(HEAD_TAG, VERSION, HEAD_FIELDS)?;
        let root = decoder.bytes_exact("the tree's root")?;
        let bytes = decoder.unsigned("the object's length in bytes")?;
        let group_bytes = decoder.unsigned_u32("the group length in bytes, 32 bits")?;
        let head = Self { root, bytes, group_bytes };
        head.check().map_err(Error::TreeHead)?;
        Ok(head)
    }
}

impl Outboard {
    /// How many leaf hashes there are.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// The canonical bytes: `["maxwell.outboard", 1, all hashes one behind the other]`.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.structure(OUTBOARD_TAG, VERSION, OUTBOARD_FIELDS);
        encoder.bytes(self.leaves.as_flattened());
        encoder.into_bytes()
    }

    /// Reads the outboard of the object with this head: exactly as many hashes as it has groups.
    ///
    /// # Errors
    /// [`Error::TreeHead`] for a head that this build does not read; [`Error::OutboardLength`] for another number
    /// of hashes; those of the decoder.
    pub fn decode(bytes: &[u8], head: &TreeHead) -> Result<Self, Error> {
        head.check().map_err(Error::TreeHead)?;
        let expected = head.groups().saturating_mul(HASH_BYTES);
        let mut decoder = Decoder::new(bytes);
        decoder.structure(OUTBOARD_TAG, VERSION, OUTBOARD_FIELDS)?;
        let hashes = decoder.bytes(expected, "the leaf hashes")?;
        decoder.finish()?;
        let length = length_u64(hashes.len());
        if length != expected {
            return Err(Error::OutboardLength { length, expected });
        }
        let (leaves, _) = hashes.as_chunks::<32>();
        Ok(Self { leaves: leaves.to_vec() })
    }
}

impl GroupVerifier {
    /// Compares the leaf hashes with the head; from here on a group needs its own hash only.
    ///
    /// # Errors
    /// [`GroupReason::GroupSize`], [`GroupReason::ObjectSize`], [`GroupReason::OutboardCount`] and
    /// [`GroupReason::OutboardRoot`].
    pub fn new(head: TreeHead, outboard: Outboard) -> Result<Self, GroupReason> {
        head.check()?;
        Self::with_any_groups(head, outboard)
    }

    /// The same for any group length.
    fn with_any_groups(head: TreeHead, outboard: Outboard) -> Result<Self, GroupReason> {
        let Outboard { leaves } = outboard;
        let (found, expected) = (length_u64(leaves.len()), head.groups());
        if found != expected {
            return Err(GroupReason::OutboardCount { found, expected });
        }
        if root_hash(head.bytes, head.group_bytes, &leaves) != head.root {
            return Err(GroupReason::OutboardRoot);
        }
        Ok(Self { head, leaves, next: 0, verified_bytes: 0, refused: None })
    }

    /// Checks the next group. `index` is which one the sender says it is, counted from 0.
    ///
    /// # Errors
    /// [`GroupReason::BehindEnd`], [`GroupReason::Order`], [`GroupReason::GroupShort`],
    /// [`GroupReason::GroupLong`] and [`GroupReason::GroupHash`]; after the first one always the same one.
    pub fn verify<'a>(&mut self, index: u64, bytes: &'a [u8]) -> Result<VerifiedGroup<'a>, GroupReason> {
        if let Some(reason) = &self.refused {
            return Err(reason.clone());
        }
        self.check_next(index, bytes).inspect_err(|reason| self.refused = Some(reason.clone()))
    }

    fn check_next<'a>(&mut self, index: u64, bytes: &'a [u8]) -> Result<VerifiedGroup<'a>, GroupReason> {
        let groups = self.head.groups();
        if self.next >= groups {
            return Err(GroupReason::BehindEnd { groups });
        }
        if index != self.next {
            return Err(GroupReason::Order { found: index, expected: self.next });
        }
        let (length, expected) = (length_u64(bytes.len()), self.head.group_length(index));
        match length.cmp(&expected) {
            std::cmp::Ordering::Less => return Err(GroupReason::GroupShort { index, length, expected }),
            std::cmp::Ordering::Greater => return Err(GroupReason::GroupLong { index, length, expected }),
            std::cmp::Ordering::Equal => {}
        }
        let leaf = usize::try_from(index).ok().and_then(|at| self.leaves.get(at));
        if leaf != Some(&leaf_hash(index, bytes)) {
            return Err(GroupReason::GroupHash { index });
        }
        let offset = self.verified_bytes;
        // Neither sum leaves its type: both are bounded by the object's length.
        self.verified_bytes = offset.saturating_add(length);
        self.next = index.saturating_add(1);
        Ok(VerifiedGroup { offset, bytes })
    }

    /// Checks any one group again, outside of the stream: for whoever reads a part of the object later.
    ///
    /// # Errors
    /// [`GroupReason::BehindEnd`] and [`GroupReason::GroupHash`], which other lengths give too.
    pub fn recheck(&self, index: u64, bytes: &[u8]) -> Result<(), GroupReason> {
        let leaf = usize::try_from(index).ok().and_then(|at| self.leaves.get(at));
        let leaf = leaf.ok_or(GroupReason::BehindEnd { groups: self.head.groups() })?;
        let fits =
            length_u64(bytes.len()) == self.head.group_length(index) && *leaf == leaf_hash(index, bytes);
        if fits { Ok(()) } else { Err(GroupReason::GroupHash { index }) }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// The earlier refusal if there was one; [`GroupReason::Incomplete`] if bytes are missing.
    pub fn finish(self) -> Result<VerifiedObject, GroupReason> {
        if let Some(reason) = self.refused {
            return Err(reason);
        }
        if self.verified_bytes != self.head.bytes {
            return Err(GroupReason::Incomplete { verified: self.verified_bytes, bytes: self.head.bytes });
        }
        Ok(VerifiedObject { head: self.head })
    }
}

impl<'a> VerifiedGroup<'a> {
    /// Where the group starts in the object.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The group's bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl VerifiedObject {
    /// Which object it is.
    pub const fn head(&self) -> &TreeHead {
        &self.head
    }
}

/// The index keeps equal groups at different places apart.
fn leaf_hash(index: u64, group: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(LEAF_CONTEXT);
    hasher.update(&index.to_le_bytes());
    hasher.update(group);
    *hasher.finalize().as_bytes()
}

fn root_hash(bytes: u64, group_bytes: u32, leaves: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
    hasher.update(&bytes.to_le_bytes());
    hasher.update(&u64::from(group_bytes).to_le_bytes());
    hasher.update(&top_hash(leaves));
    *hasher.finalize().as_bytes()
}

/// Pairs neighbours level by level; one that has none moves up as it is. The empty tree's top is the node of nothing.
fn top_hash(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [alone] => *alone,
                _ => blake3::derive_key(NODE_CONTEXT, pair.as_flattened()),
            })
            .collect();
    }
    level.first().copied().unwrap_or_else(|| blake3::derive_key(NODE_CONTEXT, &[]))
}

/// A length in memory as the integer that is hashed.
fn length_u64(length: usize) -> u64 {
    // Rust has no target with a wider usize.
    u64::try_from(length).unwrap_or(u64::MAX)
}
