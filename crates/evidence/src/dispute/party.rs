//! A party that answers from a trace: what an honest claimant or challenger does. Keeps the tree's hashes, not the
//! numbers: those are recorded again where they are asked for. Never answers what its trace does not say.

use std::collections::BTreeSet;

use engine::Engine;
use engine::trace::{ChunkTrace, Tracer};
use protocol::Claim;
use protocol::id::MerkleHash;
use protocol::trace::TraceOperation;

use super::message::{encode_hashes, encode_place};
use super::{Accusation, Node, Question, ROUND_LEVELS};
use crate::audit::transcript;
use crate::challenge::{Probe, leaves_of};
use crate::recompute::{NumberPlace, Recomputed, Referee};
use crate::trace::openings::encode_openings;
use crate::trace::{COMMIT_TOKENS, LeafPlace, Opening, TraceOpener, chunk_of, tile};

/// Where a party's numbers are.
pub trait Numbers {
    /// The numbers of these blocks, for all tokens, in chunks of whole leaves.
    fn of_blocks(&self, blocks: &[usize]) -> Vec<ChunkTrace>;
}

/// Numbers that are computed again each time: the engine is exact, so they are the same each time.
#[derive(Clone, Copy)]
pub struct OnDemand<'e> {
    /// Computes them.
    pub engine: &'e Engine,
    /// Of this claim.
    pub claim: &'e Claim,
}

impl Numbers for OnDemand<'_> {
    fn of_blocks(&self, blocks: &[usize]) -> Vec<ChunkTrace> {
        let (ids, from) = transcript(self.engine.model(), self.claim);
        Tracer::new(self.engine, &ids, from, COMMIT_TOKENS, blocks).collect()
    }
}

/// One side of a dispute.
pub struct Party<'p, N> {
    referee: &'p Referee,
    opener: TraceOpener,
    numbers: N,
    /// Where its run leaves the range.
    leaves: Option<NumberPlace>,
}

impl<'p, N: Numbers> Party<'p, N> {
    /// With the tree of its trace. `end` is the position at which its run leaves the range.
    #[must_use]
    pub fn new(
        referee: &'p Referee,
        opener: TraceOpener,
        numbers: N,
        ids: &[u32],
        end: Option<usize>,
    ) -> Self {
        let mut party = Self { referee, opener, numbers, leaves: None };
        party.leaves = end.and_then(|position| party.find_end(ids, position));
        party
    }

    /// What it accuses a claim of that has another trace.
    #[must_use]
    pub fn accusation(&self) -> Accusation {
        Accusation::Trace { root: self.opener.root(), leaves: self.leaves }
    }

    /// The answer to a question; nothing where its trace has none.
    #[must_use]
    pub fn answer(&self, question: Question) -> Vec<u8> {
        self.try_answer(question).unwrap_or_default()
    }

    fn try_answer(&self, question: Question) -> Option<Vec<u8>> {
        match question {
            Question::Place => self.leaves.map(encode_place),
            Question::Children(node) => {
                let hash = |node: &Node| self.opener.node(node.start, node.count);
                let hashes: Option<Vec<_>> = node.children(ROUND_LEVELS).iter().map(hash).collect();
                Some(encode_hashes(hashes?.iter().map(MerkleHash::as_bytes)))
            }
            Question::Tiles(leaf) => {
                let rows = self.leaf(leaf, &self.numbers.of_blocks(&[leaf.block]))?.rows;
                Some(encode_hashes(tile::hashes_of(&rows).iter()))
            }
            Question::Tile { leaf, tile } => {
                let rows = self.leaf(leaf, &self.numbers.of_blocks(&[leaf.block]))?.rows;
                let mut tiles = rows.iter().flat_map(|row| row.chunks(tile::TILE_NUMBERS));
                Some(tile::encode(tiles.nth(tile)?))
            }
            Question::Inputs(place) => encode_openings(&self.inputs(place)?),
            Question::Leaf(leaf) => {
                let trace = self.numbers.of_blocks(&[leaf.block]);
                encode_openings(&[self.open(leaf, &trace)?])
            }
        }
    }

    /// The answer to a challenge, with one pass for all of its probes.
    #[must_use]
    pub fn answer_probes(&self, probes: &[Probe]) -> Vec<u8> {
        let leaves: Vec<Vec<LeafPlace>> =
            probes.iter().map(|probe| leaves_of(self.referee, probe.place)).collect();
        let trace = self.trace_of(leaves.iter().flatten());
        let mut bytes = Vec::new();
        for leaves in &leaves {
            let opened: Option<Vec<Opening>> = leaves.iter().map(|leaf| self.open(*leaf, &trace)).collect();
            let answer = opened.and_then(|opened| encode_openings(&opened)).unwrap_or_default();
            bytes.extend_from_slice(&u32::try_from(answer.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(answer);
        }
        bytes
    }

    fn inputs(&self, place: NumberPlace) -> Option<Vec<Opening>> {
        let leaves = self.referee.inputs_of(place);
        let trace = self.trace_of(leaves.iter());
        leaves.into_iter().map(|leaf| self.open(leaf, &trace)).collect()
    }

    /// The trace of all blocks that have these leaves.
    fn trace_of<'l>(&self, leaves: impl Iterator<Item = &'l LeafPlace>) -> Vec<ChunkTrace> {
        let blocks: BTreeSet<usize> = leaves.map(|leaf| leaf.block).collect();
        self.numbers.of_blocks(&blocks.into_iter().collect::<Vec<_>>())
    }

    fn open(&self, leaf: LeafPlace, trace: &[ChunkTrace]) -> Option<Opening> {
        self.opener.open(chunk_of(leaf, trace)?, leaf)
    }

    fn leaf(&self, leaf: LeafPlace, trace: &[ChunkTrace]) -> Option<Opening> {
        Opening::numbers_of(chunk_of(leaf, trace)?, self.opener.shape(), leaf)
    }

    /// The first number at a position that can't be computed.
    fn find_end(&self, ids: &[u32], position: usize) -> Option<NumberPlace> {
        let blocks = self.referee.subject().model().tensors.blocks.len();
        let all: Vec<usize> = (0..=blocks).collect();
        let trace = self.numbers.of_blocks(&all);
        (0..=blocks).find_map(|block| {
            let operations = engine::trace::BlockTrace::operations_of(block, blocks);
            operations.iter().find_map(|operation| {
                let mut place = NumberPlace { position, block, operation: *operation, index: 0 };
                if *operation == TraceOperation::Scores {
                    // With its own key, the last one that the first head sees.
                    let first = crate::recompute::first_key_of(self.referee, place);
                    place.index = position - first;
                }
                let inputs = self.referee.inputs_of(place);
                let inputs: Option<Vec<Opening>> =
                    inputs.into_iter().map(|leaf| self.leaf(leaf, &trace)).collect();
                let found = self.referee.recompute(ids, place, &inputs?);
                matches!(found, Some(Recomputed::Number { left: Some(_), .. })).then_some(place)
            })
        })
    }
}
