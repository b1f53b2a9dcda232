//! A binary hash tree over as many leaves as a power of two. Leaves and nodes are hashed under different keys, so that none can stand
//! for the other.

use crate::field::Base;

/// A hash.
pub type Digest = [u8; 32];

const LEAF_CONTEXT: &str = "maxwell 2026-11 committed column v1";
const NODE_CONTEXT: &str = "maxwell 2026-11 committed node v1";

/// Hashes leaves and nodes.
#[derive(Clone, Copy)]
pub(super) struct TreeHasher {
    leaf_key: Digest,
    node_key: Digest,
}

impl TreeHasher {
    pub(super) fn new() -> Self {
        Self {
            leaf_key: blake3::derive_key(LEAF_CONTEXT, &[]),
            node_key: blake3::derive_key(NODE_CONTEXT, &[]),
        }
    }

    /// Of a column's elements, 8 bytes each.
    pub(super) fn leaf(&self, elements: impl Iterator<Item = Base>, buffer: &mut Vec<u8>) -> Digest {
        buffer.clear();
        for element in elements {
            buffer.extend_from_slice(&element.value().to_le_bytes());
        }
        self.leaf_bytes(buffer)
    }

    /// The same of elements that are bytes already.
    pub(super) fn leaf_bytes(&self, elements: &[u8]) -> Digest {
        *blake3::keyed_hash(&self.leaf_key, elements).as_bytes()
    }

    pub(super) fn node(&self, left: &Digest, right: &Digest) -> Digest {
        let mut both = [0; 64];
        let (first, second) = both.split_at_mut(32);
        first.copy_from_slice(left);
        second.copy_from_slice(right);
        *blake3::keyed_hash(&self.node_key, &both).as_bytes()
    }

    /// The root that a leaf and its siblings have. The path must be as long as the tree is high.
    pub(super) fn root(&self, leaf: Digest, index: u64, path: &[Digest]) -> Digest {
        path.iter().zip(0_u32..).fold(leaf, |node, (sibling, level)| {
            if index.wrapping_shr(level) & 1 == 0 {
                self.node(&node, sibling)
            } else {
                self.node(sibling, &node)
            }
        })
    }
}

/// All levels of a tree, the leaves first.
#[derive(Clone, Debug)]
pub(super) struct HashTree {
    levels: Vec<Vec<Digest>>,
}

impl HashTree {
    /// Over a power of two of leaves.
    pub(super) fn new(leaves: Vec<Digest>, hasher: &TreeHasher) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let pairs = level.as_chunks::<2>().0;
            let next = pairs.iter().map(|[left, right]| hasher.node(left, right)).collect();
            levels.push(next);
        }
        Self { levels }
    }

    pub(super) fn root(&self) -> Digest {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// The siblings from a leaf up.
    pub(super) fn path(&self, index: u64) -> Vec<Digest> {
        let below_root = self.levels.iter().take(self.levels.len().saturating_sub(1));
        below_root
            .zip(0_u32..)
            .filter_map(|(level, height)| {
                let sibling = usize::try_from(index.wrapping_shr(height) ^ 1).ok()?;
                level.get(sibling).copied()
            })
            .collect()
    }
}
