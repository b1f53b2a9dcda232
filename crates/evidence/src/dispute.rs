//! A dispute about a claim: two parties who committed to different traces are led to the first number that they differ
//! about, and the referee redoes that one number from what both agree on. A pure state machine: time is an argument,
//! answers are bytes. Never believes either party, and never lets a party's silence or nonsense cost the other.
//!
//! After Teutsch and Reitwiessner 2017 (verification by bisection) and Arun et al. 2025 (Verde: the first operator of a
//! neural network), with 32-ary rounds. Leaves are ordered token first, so everything before the first difference is
//! agreed, and an input's path is good under either root.

use std::sync::Arc;

use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::verdict::Reason;
use protocol::{Claim, TraceRoot};

use crate::audit::transcript;
use crate::recompute::{NumberPlace, Recomputed, Referee};
use crate::trace::openings::decode_openings;
use crate::trace::tile::{self, TileHash};
use crate::trace::{LEAF_TOKENS, LeafPlace, Opening, TraceShape};

mod message;
pub mod party;
mod ruling;
#[cfg(test)]
mod tests;
mod tree;

pub use self::message::MAX_ANSWER_BYTES;
use self::message::{decode_hashes, decode_place};
pub use self::tree::{Node, ROUND_LEVELS};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whose claim it is.
    Claimant,
    /// Who says that it is false.
    Challenger,
}

impl Side {
    /// Both, the claimant first.
    pub const BOTH: [Self; 2] = [Self::Claimant, Self::Challenger];

    /// Stable machine name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Claimant => "claimant",
            Self::Challenger => "challenger",
        }
    }
}

/// What the challenger says is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accusation {
    /// The trace: an honest one has this root, and leaves the range at this place, if it does.
    Trace {
        /// The challenger's own root.
        root: TraceRoot,
        /// The first number that can't be computed since a value before it is out of range.
        leaves: Option<NumberPlace>,
    },
    /// An output token, its fingerprint or its log-probabilities do not follow from the trace's own logits.
    Output {
        /// Which output token.
        index: u32,
    },
}

/// Why no dispute begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisputeError {
    /// There is nothing to be led through.
    #[error("the claim is not committed to a trace: it can be replayed, but not disputed")]
    NoTrace,
    /// The referee has another model.
    #[error("the referee does not have the claim's model")]
    Model,
    /// The challenger's root is the claim's, and nothing else is said to be false.
    #[error("the challenger's trace is the claimant's: there is nothing to dispute")]
    SameTrace,
    /// There is no such output token.
    #[error("the claim has no output token {0}")]
    NoSuchOutput(u32),
}

/// Why an answer was not taken. The dispute goes on as if it had not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The deadline has passed.
    #[error("the answer is late")]
    Late,
    /// Nothing was asked of this party.
    #[error("it is not this party's turn")]
    NotAsked,
    /// There is an answer already, and the first one counts.
    #[error("this party has answered already")]
    Repeated,
    /// There is an outcome.
    #[error("the dispute has ended")]
    Ended,
}

/// What is asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where does your run leave its range?
    Place,
    /// Which hashes are below this node?
    Children(Node),
    /// Which tiles does this leaf have?
    Tiles(LeafPlace),
    /// Which numbers does this tile have?
    Tile {
        /// The leaf.
        leaf: LeafPlace,
        /// The tile, counted over the leaf's rows.
        tile: usize,
    },
    /// Show the leaves that this number follows from.
    Inputs(NumberPlace),
    /// Show this leaf.
    Leaf(LeafPlace),
}

/// What is wrong with a party's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer before the deadline.
    Silent,
    /// Bytes that are no answer to the question.
    Form,
    /// An answer that is not what the party is committed to.
    Commitment,
    /// Its number is not what its inputs give.
    Number {
        /// What it is committed to.
        shown: i64,
        /// What the inputs give.
        right: i64,
    },
    /// It goes on where the run leaves its range, or says that it leaves it where it does not.
    Range,
    /// The claim contradicts itself or its own logits.
    Claim(Reason),
    /// It agreed to numbers that no run of this model has.
    Impossible(TracePlace, TraceFault),
    /// What it accused the other of is not so.
    Baseless,
}

/// How a dispute ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the claimant did wrong, if anything.
    pub claimant: Option<Fault>,
    /// What the challenger did wrong, if anything.
    pub challenger: Option<Fault>,
    /// The number that decided, if one did.
    pub place: Option<NumberPlace>,
}

/// What a dispute took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Answers of the claimant and of the challenger; the accusation is the challenger's first.
    pub messages: [u32; 2],
    /// Their bytes, without those of the decided number's inputs.
    pub bytes: [u64; 2],
    /// Bytes of the inputs.
    pub input_bytes: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    Place,
    Children(Node),
    Tiles(LeafPlace),
    Tile { leaf: LeafPlace, tile: usize },
    Inputs { place: NumberPlace, by: Side, shown: Option<[i64; 2]> },
    Leaf { leaf: LeafPlace, index: usize },
    Ended(Outcome),
}

/// A dispute as its referee has it.
pub struct Dispute {
    referee: Arc<Referee>,
    claim: Claim,
    accusation: Accusation,
    ids: Vec<u32>,
    logits_from: usize,
    shape: TraceShape,
    root: TraceRoot,
    /// Where a party's run leaves its range, as it says.
    leaves: [Option<NumberPlace>; 2],
    /// Whether the claimant has shown that it does.
    is_end_shown: bool,
    /// Index of the first leaf about which the parties differ.
    difference: usize,
    /// What each party is committed to at the node, leaf or tile that is asked about.
    hashes: [[u8; 32]; 2],
    phase: Phase,
    answers: [Option<Vec<u8>>; 2],
    deadline: u64,
    window: u64,
    work: Work,
}

impl Dispute {
    /// Opens a dispute. A claim that is false in itself loses at once. `window` is what each answer may take, in the unit
    /// of `now`: entries of the log, not seconds.
    ///
    /// # Errors
    /// [`DisputeError`].
    pub fn open(
        referee: Arc<Referee>,
        claim: Claim,
        accusation: Accusation,
        now: u64,
        window: u64,
    ) -> Result<Self, DisputeError> {
        if claim.model != referee.subject().model().commitment {
            return Err(DisputeError::Model);
        }
        let root = claim.trace.ok_or(DisputeError::NoTrace)?;
        let (ids, logits_from) = transcript(referee.subject().model(), &claim);
        let shape = TraceShape::new(referee.subject().model(), ids.len());
        let mut dispute = Self {
            ids,
            logits_from,
            shape,
            root,
            leaves: [None; 2],
            is_end_shown: false,
            difference: usize::MAX,
            hashes: [*root.as_bytes(); 2],
            phase: Phase::Place,
            answers: [None, None],
            deadline: now.saturating_add(window),
            window,
            work: Work { messages: [0, 1], bytes: [0, accusation.encode().len() as u64], input_bytes: 0 },
            referee,
            claim,
            accusation,
        };
        if let Some(reason) = ruling::statement(dispute.referee.subject(), &dispute.claim) {
            dispute.end(Some(Fault::Claim(reason)), None, None);
            return Ok(dispute);
        }
        match accusation {
            Accusation::Output { index } => {
                let position = dispute.logits_from.saturating_add(index as usize);
                if index as usize >= dispute.claim.output_ids.len() || position >= dispute.ids.len() {
                    return Err(DisputeError::NoSuchOutput(index));
                }
                dispute.phase = Phase::Leaf { leaf: dispute.logits_leaf(position), index: index as usize };
            }
            Accusation::Trace { root: other, leaves } => {
                dispute.hashes[1] = *other.as_bytes();
                dispute.leaves[1] = leaves;
                if other == root && leaves.is_none() && dispute.claimed_end().is_none() {
                    return Err(DisputeError::SameTrace);
                }
                if dispute.claimed_end().is_none() {
                    dispute.begin_tree();
                }
            }
        }
        Ok(dispute)
    }

    /// What is asked of a party now.
    #[must_use]
    pub fn question(&self, side: Side) -> Option<Question> {
        let (asked, question) = match &self.phase {
            Phase::Place => (side == Side::Claimant, Question::Place),
            Phase::Children(node) => (true, Question::Children(*node)),
            Phase::Tiles(leaf) => (true, Question::Tiles(*leaf)),
            Phase::Tile { leaf, tile } => (true, Question::Tile { leaf: *leaf, tile: *tile }),
            Phase::Inputs { place, by, .. } => (side == *by, Question::Inputs(*place)),
            Phase::Leaf { leaf, .. } => (side == Side::Challenger, Question::Leaf(*leaf)),
            Phase::Ended(_) => return None,
        };
        (asked && self.answers[side as usize].is_none()).then_some(question)
    }

    /// A party's answer. The dispute goes on when all who were asked have answered.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing changes then.
    pub fn answer(&mut self, side: Side, bytes: &[u8], now: u64) -> Result<(), AnswerError> {
        if self.outcome().is_some() {
            return Err(AnswerError::Ended);
        }
        if now > self.deadline {
            return Err(AnswerError::Late);
        }
        if self.answers[side as usize].is_some() {
            return Err(AnswerError::Repeated);
        }
        if self.question(side).is_none() {
            return Err(AnswerError::NotAsked);
        }
        // What is longer than any answer is kept as what it is: none.
        let kept = if bytes.len() > MAX_ANSWER_BYTES { &[][..] } else { bytes };
        self.work.messages[side as usize] += 1;
        if matches!(self.phase, Phase::Inputs { .. } | Phase::Leaf { .. }) {
            self.work.input_bytes += bytes.len() as u64;
        } else {
            self.work.bytes[side as usize] += bytes.len() as u64;
        }
        self.answers[side as usize] = Some(kept.to_vec());
        if Side::BOTH.into_iter().all(|side| self.question(side).is_none()) {
            self.go_on(now);
        }
        Ok(())
    }

    /// Time passes: who has not answered by the deadline has lost.
    pub fn tick(&mut self, now: u64) {
        if now > self.deadline && self.outcome().is_none() {
            let silent = |side| self.question(side).is_some().then_some(Fault::Silent);
            let (claimant, challenger) = (silent(Side::Claimant), silent(Side::Challenger));
            self.end(claimant, challenger, None);
        }
    }

    /// The end, if it has come.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ended(outcome) => Some(outcome),
            Phase::Place
            | Phase::Children(_)
            | Phase::Tiles(_)
            | Phase::Tile { .. }
            | Phase::Inputs { .. }
            | Phase::Leaf { .. } => None,
        }
    }

    /// Until when an answer must be there.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// What it has taken so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// All answers are there.
    fn go_on(&mut self, now: u64) {
        let answers = std::mem::take(&mut self.answers).map(Option::unwrap_or_default);
        self.deadline = now.saturating_add(self.window);
        match self.phase.clone() {
            Phase::Place => self.after_place(&answers[0]),
            Phase::Children(node) => self.after_children(node, &answers),
            Phase::Tiles(leaf) => self.after_tiles(leaf, &answers),
            Phase::Tile { leaf, tile } => self.after_tile(leaf, tile, &answers),
            Phase::Inputs { place, by, shown } => {
                self.after_inputs(place, by, shown, &answers[by as usize]);
            }
            Phase::Leaf { leaf, index } => self.after_leaf(leaf, index, &answers[1]),
            Phase::Ended(_) => {}
        }
    }

    fn after_place(&mut self, answer: &[u8]) {
        let Some(place) = decode_place(answer) else {
            return self.end(Some(Fault::Form), None, None);
        };
        self.leaves[0] = Some(place);
        self.begin_tree();
    }

    fn begin_tree(&mut self) {
        // Whoever says that a run ends must name a place that there is.
        let is_known = |place: &Option<NumberPlace>| {
            place.is_none_or(|place| {
                place.position < self.ids.len()
                    && self.shape.index(place.leaf()).is_some()
                    && place.index < self.referee.width(place.leaf(), place.position)
            })
        };
        let faults = self.leaves.each_ref().map(|place| (!is_known(place)).then_some(Fault::Form));
        if let [None, None] = faults {
            if self.hashes[0] == self.hashes[1] {
                return self.at_difference(usize::MAX);
            }
            self.phase = Phase::Children(Node { start: 0, count: self.shape.leaves() });
            self.descend_if_leaf();
        } else {
            let [claimant, challenger] = faults;
            self.end(claimant, challenger, None);
        }
    }

    fn after_children(&mut self, node: Node, answers: &[Vec<u8>; 2]) {
        let parts = node.children(ROUND_LEVELS);
        let decoded = [0, 1].map(|side| {
            let hashes = decode_hashes(&answers[side], parts.len()).ok_or(Fault::Form)?;
            if *node.hash_of(ROUND_LEVELS, &hashes).as_bytes() == self.hashes[side] {
                Ok(hashes)
            } else {
                Err(Fault::Commitment)
            }
        });
        let Some((first, hashes)) = self.first_difference(decoded) else { return };
        self.hashes = hashes.map(|hash| *hash.as_bytes());
        self.phase = Phase::Children(parts[first]);
        self.descend_if_leaf();
    }

    fn descend_if_leaf(&mut self) {
        let Phase::Children(Node { start, count: 1 }) = self.phase else { return };
        self.at_difference(start);
    }

    /// The first leaf about which they differ is known, or that there is none: of this leaf and the places at which the
    /// parties say that the run ends, whatever comes first is decided first.
    fn at_difference(&mut self, difference: usize) {
        self.difference = difference;
        let index = |place: NumberPlace| self.shape.index(place.leaf());
        let [claimed, accused] = self.leaves.map(|place| place.and_then(|p| Some((index(p)?, p))));
        let claimed = claimed.filter(|(end, _)| !self.is_end_shown && *end <= difference);
        let accused = accused.filter(|(end, _)| *end <= difference);
        match (claimed, accused) {
            (Some((ours, place)), theirs) if theirs.is_none_or(|(theirs, _)| ours <= theirs) => {
                self.phase = Phase::Inputs { place, by: Side::Claimant, shown: None };
            }
            (_, Some((_, place))) => {
                self.phase = Phase::Inputs { place, by: Side::Challenger, shown: None };
            }
            (_, None) => match self.shape.place(difference) {
                Some(leaf) => self.phase = Phase::Tiles(leaf),
                None => self.end(None, Some(Fault::Baseless), None),
            },
        }
    }

    fn after_tiles(&mut self, leaf: LeafPlace, answers: &[Vec<u8>; 2]) {
        let lengths = self.lengths(leaf);
        let count = lengths.iter().map(|length| tile::tiles_of_row(*length)).sum();
        let decoded = [0, 1].map(|side| {
            let hashes = decode_hashes(&answers[side], count).ok_or(Fault::Form)?;
            let tiles: Vec<TileHash> = hashes.iter().map(|hash| *hash.as_bytes()).collect();
            if *tile::leaf_hash(leaf, &lengths, &tiles).as_bytes() == self.hashes[side] {
                Ok(tiles)
            } else {
                Err(Fault::Commitment)
            }
        });
        let Some((tile, hashes)) = self.first_difference(decoded) else { return };
        self.hashes = hashes;
        self.phase = Phase::Tile { leaf, tile };
    }

    fn after_tile(&mut self, leaf: LeafPlace, tile: usize, answers: &[Vec<u8>; 2]) {
        let Some((row, from, count)) = locate(&self.lengths(leaf), tile) else { return };
        let decoded = [0, 1].map(|side| {
            let numbers = tile::decode(&answers[side], count).ok_or(Fault::Form)?;
            if tile::hash(&answers[side]) == self.hashes[side] { Ok(numbers) } else { Err(Fault::Commitment) }
        });
        let Some((first, shown)) = self.first_difference(decoded) else { return };
        let place = NumberPlace {
            position: leaf.chunk * LEAF_TOKENS + row,
            block: leaf.block,
            operation: leaf.operation,
            index: from + first,
        };
        let shown = Some(shown);
        if self.referee.inputs_of(place).is_empty() {
            return self.rule_number(place, shown, &[]);
        }
        self.phase = Phase::Inputs { place, by: Side::Challenger, shown };
    }

    fn after_inputs(&mut self, place: NumberPlace, by: Side, shown: Option<[i64; 2]>, answer: &[u8]) {
        // Everything before the first difference is under both roots; who shows it has the whole tree of its own.
        let root = match (by, self.accusation) {
            (Side::Challenger, Accusation::Trace { root, .. }) => root,
            (Side::Challenger, Accusation::Output { .. }) | (Side::Claimant, _) => self.root,
        };
        let expected = self.referee.inputs_of(place);
        let opened = decode_openings(answer, &expected, |leaf| self.widest(leaf));
        let fault = match &opened {
            None => Some(Fault::Form),
            Some(opened) if opened.iter().any(|o| o.verify(self.shape, &root).is_err()) => {
                Some(Fault::Commitment)
            }
            Some(_) => None,
        };
        match (by, fault, opened) {
            (Side::Claimant, Some(fault), _) => self.end(Some(fault), None, Some(place)),
            (Side::Challenger, Some(fault), _) => self.end(None, Some(fault), Some(place)),
            (_, None, Some(inputs)) => self.rule_number(place, shown, &inputs),
            (_, None, None) => {}
        }
    }

    fn rule_number(&mut self, place: NumberPlace, shown: Option<[i64; 2]>, inputs: &[Opening]) {
        let at = Some(place);
        match (self.referee.recompute(&self.ids, place, inputs), shown) {
            (Some(Recomputed::Number { value, .. }), Some([ours, theirs])) => {
                // Behind the end of a run all logits are zeros.
                let is_behind = place.operation == TraceOperation::Logits
                    && self.claimed_end().is_some_and(|end| place.position >= end);
                let right = if is_behind { 0 } else { value };
                let fault = |shown| (shown != right).then_some(Fault::Number { shown, right });
                self.end(fault(ours), fault(theirs), at);
            }
            (Some(Recomputed::Number { left, .. }), None) => self.rule_end(place, left),
            (Some(Recomputed::Impossible(place, fault)), _) => {
                let fault = Fault::Impossible(place, fault);
                self.end(Some(fault.clone()), Some(fault), at);
            }
            (None, _) => self.end(None, Some(Fault::Form), at),
        }
    }

    /// It was said that the run ends at a place; `left` is the position at which it does.
    fn rule_end(&mut self, place: NumberPlace, left: Option<usize>) {
        let (at, claimed) = (Some(place), self.claimed_end());
        if self.leaves[0] == at && !self.is_end_shown {
            if left != claimed {
                return self.end(Some(Fault::Range), None, at);
            }
            self.is_end_shown = true;
            return self.at_difference(self.difference);
        }
        match left {
            None => self.end(None, Some(Fault::Range), at),
            Some(left) if claimed.is_none_or(|claimed| left < claimed) => {
                self.end(Some(Fault::Range), None, at);
            }
            // That is what the claim says, or behind it.
            Some(_) => self.end(None, Some(Fault::Baseless), at),
        }
    }

    fn after_leaf(&mut self, leaf: LeafPlace, index: usize, answer: &[u8]) {
        let opened = decode_openings(answer, &[leaf], |leaf| self.widest(leaf));
        let Some([opening]) = opened.as_deref() else {
            return self.end(None, Some(Fault::Form), None);
        };
        if opening.verify(self.shape, &self.root).is_err() {
            return self.end(None, Some(Fault::Commitment), None);
        }
        let position = self.logits_from + index;
        let row = opening.rows.get(position - leaf.chunk * LEAF_TOKENS);
        let reason = ruling::output(self.referee.subject(), &self.claim, index, position, row);
        match reason {
            Some(fault) => self.end(Some(fault), None, None),
            None => self.end(None, Some(Fault::Baseless), None),
        }
    }

    /// Where both answers first differ, and what each has there; or the end, for whoever's answer is none.
    fn first_difference<T: Copy + PartialEq>(
        &mut self,
        decoded: [Result<Vec<T>, Fault>; 2],
    ) -> Option<(usize, [T; 2])> {
        match decoded {
            [Ok(ours), Ok(theirs)] => {
                let mut pairs = ours.into_iter().zip(theirs).enumerate();
                let difference = pairs.find(|(_, (ours, theirs))| ours != theirs);
                if difference.is_none() {
                    // Both lead to different hashes, so one of them differs.
                    self.end(None, Some(Fault::Baseless), None);
                }
                difference.map(|(first, (ours, theirs))| (first, [ours, theirs]))
            }
            [ours, theirs] => {
                self.end(ours.err(), theirs.err(), None);
                None
            }
        }
    }

    /// Numbers in each row of a leaf.
    fn lengths(&self, leaf: LeafPlace) -> Vec<usize> {
        self.referee.lengths(self.shape, leaf, self.logits_from)
    }

    fn widest(&self, leaf: LeafPlace) -> usize {
        self.lengths(leaf).into_iter().max().unwrap_or(0)
    }

    fn logits_leaf(&self, position: usize) -> LeafPlace {
        let block = self.referee.subject().model().tensors.blocks.len();
        LeafPlace { chunk: position / LEAF_TOKENS, block, operation: TraceOperation::Logits }
    }

    /// Where the claim says that its run left the range.
    fn claimed_end(&self) -> Option<usize> {
        self.claim.finish.out_of_range().map(|position| position as usize)
    }

    fn end(&mut self, claimant: Option<Fault>, challenger: Option<Fault>, place: Option<NumberPlace>) {
        self.phase = Phase::Ended(Outcome { claimant, challenger, place });
    }
}

/// Row, first number and count of a leaf's tile.
fn locate(lengths: &[usize], tile: usize) -> Option<(usize, usize, usize)> {
    let mut left = tile;
    for (row, length) in lengths.iter().enumerate() {
        let tiles = tile::tiles_of_row(*length);
        if left < tiles {
            let from = left * tile::TILE_NUMBERS;
            return Some((row, from, (length - from).min(tile::TILE_NUMBERS)));
        }
        left -= tiles;
    }
    None
}
