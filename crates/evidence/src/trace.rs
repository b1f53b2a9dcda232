//! The commitment to an execution trace: a tree over (chunk of tokens, block, operation), token first, whose root goes
//! into the claim. Nothing here may believe a number: it only says that it is the one that was committed to.
//!
//! A leaf's content is the blake3 hash (derive_key in [`LEAF_CONTEXT`]) of its place and its numbers; the tree above is
//! that of RFC 6962. How many leaves there are follows from the claim and the model, never from a prover.

use engine::trace::{BlockTrace, ChunkTrace};
use model::Model;
use protocol::id::MerkleHash;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::{TraceRoot, merkle};
use rayon::prelude::*;

mod opening;
#[cfg(test)]
mod tests;

pub use self::opening::{MAX_OPENING_BYTES, Opening, OpeningError};

/// Tokens of a leaf: few, so that an opening is small.
pub const LEAF_TOKENS: usize = 4;
/// blake3 `derive_key` context of a leaf.
pub const LEAF_CONTEXT: &str = "maxwell 2026-11 trace leaf v1";

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

    /// Numbers of one leaf with their path; `trace` must hold them.
    #[must_use]
    pub fn open(&self, trace: &ChunkTrace, place: LeafPlace) -> Option<Opening> {
        let index = self.shape.index(place)?;
        let mut opening = Opening::numbers_of(trace, self.shape, place)?;
        opening.path = merkle::inclusion_path(&self.leaves, u64::try_from(index).ok()?)?;
        Some(opening)
    }
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
