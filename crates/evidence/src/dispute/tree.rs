//! Nodes of a trace's tree by the leaves below them, and what is some levels below a node. The tree is that of RFC 6962:
//! its shape follows from the number of leaves alone.

use protocol::id::MerkleHash;
use protocol::merkle;

/// Levels of the tree that one round goes down.
pub const ROUND_LEVELS: u32 = 5;

/// A node: the leaves below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The first.
    pub start: usize,
    /// How many, at least one.
    pub count: usize,
}

impl Node {
    /// The nodes `levels` below this one, from left to right; leaves that end earlier are among them.
    #[must_use]
    pub fn children(self, levels: u32) -> Vec<Self> {
        match self.halves().filter(|_| levels > 0) {
            Some(halves) => halves.into_iter().flat_map(|half| half.children(levels - 1)).collect(),
            None => vec![self],
        }
    }

    /// The node's hash from those of its [`Self::children`]; with too few of them it is some other hash.
    #[must_use]
    pub fn hash_of(self, levels: u32, hashes: &[MerkleHash]) -> MerkleHash {
        self.fold(levels, &mut hashes.iter().copied())
    }

    fn fold(self, levels: u32, hashes: &mut impl Iterator<Item = MerkleHash>) -> MerkleHash {
        match self.halves().filter(|_| levels > 0) {
            Some([left, right]) => {
                let left = left.fold(levels - 1, hashes);
                merkle::node_hash(&left, &right.fold(levels - 1, hashes))
            }
            None => hashes.next().unwrap_or_else(merkle::empty_root),
        }
    }

    fn halves(self) -> Option<[Self; 2]> {
        if self.count < 2 {
            return None;
        }
        let left = self.count.next_power_of_two() / 2;
        let right = Self { start: self.start + left, count: self.count - left };
        Some([Self { start: self.start, count: left }, right])
    }
}
