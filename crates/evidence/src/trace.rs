//! The commitment to an execution trace: a tree over (chunk of tokens, block, operation), token first, whose root goes
//! into the claim. Nothing here may believe a number: it only says that it is the one that was committed to.
//!
//! A leaf's content is the blake3 hash of its place and of the tiles of its numbers: see [`tile`]; the tree above is that
//! of RFC 6962. How many leaves there are follows from the claim and the model, never from a prover.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use engine::Engine;
use engine::trace::{BlockTrace, ChunkTrace, OperationTrace, Tracer};
use model::Model;
use protocol::id::MerkleHash;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::{Claim, TraceRoot, merkle};
use rayon::prelude::*;

use crate::audit::transcript;

mod opening;
pub(crate) mod openings;
#[cfg(test)]
mod tests;
pub mod tile;

pub use self::opening::{MAX_OPENING_BYTES, Opening, OpeningError};

/// Tokens of a leaf: few, so that an opening is small.
pub const LEAF_TOKENS: usize = 4;
/// Tokens of a trace in memory at once; a multiple of [`LEAF_TOKENS`].
pub(crate) const COMMIT_TOKENS: usize = 32;

/// The size of a trace's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceShape {
    tokens: usize,
    blocks: usize,
}

/// Where a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafPlace {
    /// Chunk of [`LEAF_TOKENS`] tokens.
    pub chunk: usize,
    /// The block; the number of blocks for what is behind the last one.
    pub block: usize,
    /// The operation.
    pub operation: TraceOperation,
}

impl LeafPlace {
    /// Its first number, for people.
    #[must_use]
    pub fn place(self) -> TracePlace {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let position = number(self.chunk.saturating_mul(LEAF_TOKENS));
        TracePlace { position, block: number(self.block), operation: self.operation }
    }
}

impl TraceShape {
    /// For so many tokens that are read.
    #[must_use]
    pub fn new(model: &Model, tokens: usize) -> Self {
        Self { tokens, blocks: model.tensors.blocks.len() }
    }

    /// Leaves of the tree.
    #[must_use]
    pub fn leaves(self) -> usize {
        self.tokens.div_ceil(LEAF_TOKENS) * self.per_chunk()
    }

    /// Tokens of a chunk, the last one shorter.
    #[must_use]
    pub fn tokens_of(self, chunk: usize) -> usize {
        self.tokens.saturating_sub(chunk.saturating_mul(LEAF_TOKENS)).min(LEAF_TOKENS)
    }

    /// The leaf's index, or `None` if there is no such leaf.
    #[must_use]
    pub fn index(self, place: LeafPlace) -> Option<usize> {
        if place.block > self.blocks || self.tokens_of(place.chunk) == 0 {
            return None;
        }
        let operations = BlockTrace::operations_of(place.block, self.blocks);
        let number = operations.iter().position(|operation| *operation == place.operation)?;
        Some(place.chunk * self.per_chunk() + place.block * TraceOperation::BLOCK.len() + number)
    }

    /// The leaf at an index.
    #[must_use]
    pub fn place(self, index: usize) -> Option<LeafPlace> {
        let (chunk, within) = (index / self.per_chunk(), index % self.per_chunk());
        let block = (within / TraceOperation::BLOCK.len()).min(self.blocks);
        let number = within - block * TraceOperation::BLOCK.len();
        let operation = *BlockTrace::operations_of(block, self.blocks).get(number)?;
        (self.tokens_of(chunk) > 0).then_some(LeafPlace { chunk, block, operation })
    }

    fn per_chunk(self) -> usize {
        self.blocks * TraceOperation::BLOCK.len() + TraceOperation::HEAD.len()
    }
}

/// The leaves of a trace that is given chunk after chunk.
#[derive(Clone, Debug)]
pub struct TraceTree {
    shape: TraceShape,
    leaves: Vec<MerkleHash>,
}

impl TraceTree {
    /// An empty tree for a trace of this shape.
    #[must_use]
    pub fn new(shape: TraceShape) -> Self {
        Self { shape, leaves: Vec::new() }
    }

    /// Adds whole chunks: `trace` must hold all blocks, begin where the last one ended, and end at a multiple of
    /// [`LEAF_TOKENS`] or at the last token. False otherwise, and nothing is added.
    #[must_use]
    pub fn push(&mut self, trace: &ChunkTrace) -> bool {
        let start = self.leaves.len() / self.shape.per_chunk() * LEAF_TOKENS;
        let end = trace.start.saturating_add(trace.count);
        let is_next = trace.start == start
            && end <= self.shape.tokens
            && (end == self.shape.tokens || end.is_multiple_of(LEAF_TOKENS))
            && trace.blocks.iter().map(|block| block.block).eq(0..=self.shape.blocks);
        if !is_next {
            return false;
        }
        let first = start / LEAF_TOKENS;
        let chunks = (first..end.div_ceil(LEAF_TOKENS)).into_par_iter();
        let added = chunks.flat_map_iter(|chunk| self.leaves_of(chunk, trace));
        let added: Vec<MerkleHash> = added.collect();
        self.leaves.extend(added);
        true
    }

    fn leaves_of<'t>(
        &self,
        chunk: usize,
        trace: &'t ChunkTrace,
    ) -> impl Iterator<Item = MerkleHash> + use<'t> {
        let shape = self.shape;
        trace.blocks.iter().flat_map(move |block| {
            BlockTrace::operations_of(block.block, shape.blocks).iter().map(move |operation| {
                let place = LeafPlace { chunk, block: block.block, operation: *operation };
                Opening::numbers_of(trace, shape, place).map_or_else(merkle::empty_root, |o| o.leaf_hash())
            })
        })
    }

    /// The root, once all chunks are there.
    #[must_use]
    pub fn root(&self) -> Option<TraceRoot> {
        (self.leaves.len() == self.shape.leaves())
            .then(|| TraceRoot::from_bytes(*merkle::root(&self.leaves).as_bytes()))
    }

    /// Ready to open leaves, once all chunks are there.
    #[must_use]
    pub fn finish(self) -> Option<TraceOpener> {
        let root = self.root()?;
        let mut opener = TraceOpener { shape: self.shape, root, nodes: BTreeMap::new() };
        opener.add(&self.leaves, 0);
        Some(opener)
    }
}

/// Runs a claim's tokens again and commits to every number inside. `None` for a claim that has no tokens to run.
#[must_use]
pub fn commit(engine: &Engine, claim: &Claim) -> Option<TraceOpener> {
    let (ids, from) = transcript(engine.model(), claim);
    let shape = TraceShape::new(engine.model(), ids.len());
    TraceOpener::of(shape, Tracer::whole(engine, &ids, from, COMMIT_TOKENS))
}

/// The chunk that has the numbers of a leaf.
#[must_use]
pub fn chunk_of(leaf: LeafPlace, trace: &[ChunkTrace]) -> Option<&ChunkTrace> {
    let first = leaf.chunk.checked_mul(LEAF_TOKENS)?;
    trace.iter().find(|chunk| (chunk.start..chunk.start + chunk.count).contains(&first))
}

/// A finished tree with its inner nodes, for many openings.
#[derive(Clone, Debug)]
pub struct TraceOpener {
    shape: TraceShape,
    root: TraceRoot,
    /// Hashes of the subtrees by their first leaf and number of leaves.
    nodes: BTreeMap<(usize, usize), MerkleHash>,
}

impl TraceOpener {
    /// Of a whole trace in chunks of whole leaves; `None` for any other, and for one without tokens.
    #[must_use]
    pub fn of<C: Borrow<ChunkTrace>>(shape: TraceShape, trace: impl IntoIterator<Item = C>) -> Option<Self> {
        let mut tree = TraceTree::new(shape);
        let is_whole = trace.into_iter().all(|chunk| tree.push(chunk.borrow()));
        if is_whole && shape.tokens > 0 { tree.finish() } else { None }
    }

    /// What a claim commits to.
    #[must_use]
    pub fn root(&self) -> TraceRoot {
        self.root
    }

    /// The size of the tree.
    #[must_use]
    pub fn shape(&self) -> TraceShape {
        self.shape
    }

    /// The hash of the node above these leaves; `None` if there is no such node.
    #[must_use]
    pub fn node(&self, start: usize, count: usize) -> Option<MerkleHash> {
        self.nodes.get(&(start, count)).copied()
    }

    /// Numbers of one leaf with their path; `trace` must hold them.
    #[must_use]
    pub fn open(&self, trace: &ChunkTrace, place: LeafPlace) -> Option<Opening> {
        let index = self.shape.index(place)?;
        let mut opening = Opening::numbers_of(trace, self.shape, place)?;
        let (mut start, mut count) = (0, self.shape.leaves());
        while count > 1 {
            let left = count.next_power_of_two() / 2;
            let other = if index < start + left {
                let other = (start + left, count - left);
                count = left;
                other
            } else {
                let other = (start, left);
                (start, count) = (start + left, count - left);
                other
            };
            opening.path.push(*self.nodes.get(&other)?);
        }
        opening.path.reverse();
        Some(opening)
    }

    fn add(&mut self, leaves: &[MerkleHash], start: usize) -> MerkleHash {
        let hash = match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                let left_hash = self.add(left, start);
                merkle::node_hash(&left_hash, &self.add(right, start + left.len()))
            }
        };
        self.nodes.insert((start, leaves.len()), hash);
        hash
    }
}

/// The leaves that an audit of these parts needs: all of their operations, and the residuals that leave them.
#[must_use]
pub fn places_of(shape: TraceShape, parts: &[usize]) -> Vec<LeafPlace> {
    let mut places = Vec::new();
    for chunk in 0..shape.tokens.div_ceil(LEAF_TOKENS) {
        for block in 0..=shape.blocks {
            let follows = block.checked_sub(1).is_some_and(|before| parts.contains(&before));
            let operations = BlockTrace::operations_of(block, shape.blocks);
            let wanted =
                if parts.contains(&block) { operations } else { &operations[..usize::from(follows)] };
            places.extend(wanted.iter().map(|operation| LeafPlace { chunk, block, operation: *operation }));
        }
    }
    places
}

/// Puts the numbers of [`places_of`] together again. `None` if they are others, or in another order.
#[must_use]
pub fn gather(shape: TraceShape, parts: &[usize], openings: Vec<Opening>) -> Option<ChunkTrace> {
    let places = places_of(shape, parts);
    if !openings.iter().map(|opening| opening.place).eq(places.iter().copied()) {
        return None;
    }
    let mut blocks: BTreeMap<usize, Vec<OperationTrace>> = BTreeMap::new();
    for opening in openings {
        let operations = BlockTrace::operations_of(opening.place.block, shape.blocks);
        let number = operations.iter().position(|operation| *operation == opening.place.operation)?;
        let rows = blocks.entry(opening.place.block).or_default();
        if rows.len() <= number {
            rows.push(OperationTrace { values: Vec::new(), starts: vec![0] });
        }
        let operation = rows.get_mut(number)?;
        for row in opening.rows {
            operation.values.extend(row);
            operation.starts.push(operation.values.len());
        }
    }
    let blocks = blocks.into_iter().map(|(block, operations)| BlockTrace { block, operations }).collect();
    Some(ChunkTrace { start: 0, count: shape.tokens, blocks })
}

/// Compares a whole trace with the root that the claim is committed to.
#[derive(Clone, Debug)]
pub struct TraceCheck {
    tree: TraceTree,
    fault: Option<TracePlace>,
}

impl TraceCheck {
    /// For a trace of this shape.
    #[must_use]
    pub fn new(shape: TraceShape) -> Self {
        Self { tree: TraceTree::new(shape), fault: None }
    }

    /// The next part of the trace.
    pub fn push(&mut self, trace: &ChunkTrace) {
        if self.fault.is_none() && !self.tree.push(trace) {
            let position = u32::try_from(trace.start).unwrap_or(u32::MAX);
            self.fault = Some(TracePlace { position, block: 0, operation: TraceOperation::Residual });
        }
    }

    /// Where the trace is not the committed one; the whole of it is meant where only the roots differ.
    #[must_use]
    pub fn finish(&self, root: &TraceRoot) -> Option<(TracePlace, TraceFault)> {
        let whole = TracePlace { position: 0, block: 0, operation: TraceOperation::Residual };
        match (self.fault, self.tree.root()) {
            (Some(place), _) => Some((place, TraceFault::Length)),
            (None, None) => Some((whole, TraceFault::Length)),
            (None, Some(found)) => (found != *root).then_some((whole, TraceFault::Commitment)),
        }
    }
}
