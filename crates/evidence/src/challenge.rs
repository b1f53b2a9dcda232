//! Challenge and response: numbers of a claimed trace, drawn after the claim is there, to be opened before a deadline,
//! each redone from its own inputs. A pure state machine. Never draws before the commitment is fixed, and never lets a
//! second commitment for the same request try its luck.
//!
//! What a pass means: a trace of which a share f of the drawn kind does not follow from its inputs passes n probes with
//! probability (1 - f)^n. A single changed weight makes a small share of numbers wrong, so a challenge is for gross cheats
//! and for liveness; the audit of the whole trace is for the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::trace::BlockTrace;
use protocol::id::ClaimDigest;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::{Claim, Nonce, TraceRoot};

use crate::audit::transcript;
use crate::draw::below;
use crate::recompute::{NumberPlace, Recomputed, Referee};
use crate::trace::openings::decode_openings;
use crate::trace::{LEAF_TOKENS, LeafPlace, Opening, TraceShape};

/// blake3 `derive_key` context of the positions.
const POSITIONS_CONTEXT: &str = "maxwell 2026-11 challenge positions v1";
/// Most probes of a challenge.
pub const MAX_PROBES: u32 = 4096;
const LENGTH_BYTES: usize = 4;

/// How much is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Single numbers: a position, an operation of a block and one of its numbers, each drawn evenly.
    pub neurons: u32,
    /// All numbers of one operation of one block at one position.
    pub rows: u32,
    /// Whole residual streams between two blocks at one position.
    pub checkpoints: u32,
}

/// One thing that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The number, or the first of the row.
    pub place: NumberPlace,
    /// All numbers of the operation at this position.
    pub is_row: bool,
}

/// How a challenge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// All probes hold.
    Passed,
    /// No answer came before the deadline.
    Missing,
    /// The answer came behind the deadline; it is not looked at.
    Late,
    /// What was answered holds, but not all was.
    Partial {
        /// Probes with an answer.
        answered: u32,
        /// All.
        asked: u32,
    },
    /// An answer is not what the claim is committed to, or does not follow from its inputs.
    Wrong {
        /// The probe.
        probe: u32,
        /// Where.
        place: TracePlace,
        /// What is wrong.
        fault: TraceFault,
    },
}

impl Answered {
    /// Stable machine name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Missing => "missing",
            Self::Late => "late",
            Self::Partial { .. } => "partial",
            Self::Wrong { .. } => "wrong",
        }
    }
}

/// Why there is no challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Nothing is committed to.
    #[error("the claim is not committed to a trace: there is nothing to open")]
    NoTrace,
    /// The verifier has another model.
    #[error("the verifier does not have the claim's model")]
    Model,
    /// Nothing is asked, or too much.
    #[error("a challenge has 1 to {MAX_PROBES} probes")]
    Probes,
    /// The request was answered before with another commitment.
    #[error("this request was claimed before with another commitment, and the first one counts")]
    Recommitted,
    /// The claim has no position before its end.
    #[error("the claim has no position to ask about")]
    Empty,
}

/// Which commitment counts for each request: whoever commits again to get other positions is refused, so that grinding
/// costs one challenge each.
#[derive(Clone, Debug, Default)]
pub struct Commitments {
    first: BTreeMap<Nonce, ClaimDigest>,
}

impl Commitments {
    /// Takes note of a claim; the same claim again is no other.
    ///
    /// # Errors
    /// [`ChallengeError::Recommitted`].
    pub fn admit(&mut self, claim: &Claim) -> Result<(), ChallengeError> {
        let digest = claim.digest();
        let first = self.first.entry(claim.nonce).or_insert(digest);
        if *first == digest { Ok(()) } else { Err(ChallengeError::Recommitted) }
    }

    /// Forgets a request whose claim is settled.
    pub fn settle(&mut self, nonce: &Nonce) {
        self.first.remove(nonce);
    }
}

/// A challenge as whoever made it has it.
pub struct Challenge {
    referee: Arc<Referee>,
    ids: Vec<u32>,
    logits_from: usize,
    shape: TraceShape,
    root: TraceRoot,
    end: Option<usize>,
    probes: Vec<Probe>,
    deadline: u64,
    result: Option<Answered>,
}

impl Challenge {
    /// Draws probes about a claim. `coins` must have been drawn after the claim was there, and must not be known to the
    /// claimant before; `deadline` is in the unit of `now` in [`Self::answer`].
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn draw(
        referee: Arc<Referee>,
        claim: &Claim,
        coins: &[u8; 32],
        counts: Counts,
        deadline: u64,
    ) -> Result<Self, ChallengeError> {
        let model = referee.subject().model();
        if claim.model != model.commitment {
            return Err(ChallengeError::Model);
        }
        let root = claim.trace.ok_or(ChallengeError::NoTrace)?;
        let asked = u64::from(counts.neurons) + u64::from(counts.rows) + u64::from(counts.checkpoints);
        if asked == 0 || asked > u64::from(MAX_PROBES) {
            return Err(ChallengeError::Probes);
        }
        let (ids, logits_from) = transcript(model, claim);
        let shape = TraceShape::new(model, ids.len());
        let end = claim.finish.out_of_range().map(|position| position as usize);
        // Behind its end a run has no meaning.
        let positions = end.unwrap_or(ids.len()).min(ids.len());
        if positions == 0 {
            return Err(ChallengeError::Empty);
        }
        let digest = claim.digest();
        let mut hasher = blake3::Hasher::new_derive_key(POSITIONS_CONTEXT);
        let mut stream = hasher.update(coins).update(digest.as_bytes()).finalize_xof();
        let mut draw = Draw { referee: &referee, stream: &mut stream, positions, logits_from };
        let mut probes = Vec::with_capacity(asked as usize);
        probes.extend((0..counts.neurons).map(|_| draw.neuron()));
        probes.extend((0..counts.rows).map(|_| draw.row()));
        probes.extend((0..counts.checkpoints).map(|_| draw.checkpoint()));
        Ok(Self { ids, logits_from, shape, root, end, probes, deadline, result: None, referee })
    }

    /// What is asked, in order.
    #[must_use]
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// The claimant's answer: for each probe in order its length (4 bytes, little-endian; 0 for none) and the openings of
    /// its leaf and of that leaf's inputs. The first answer counts.
    pub fn answer(&mut self, bytes: &[u8], now: u64) -> &Answered {
        let result = self.result.take();
        let result =
            result.unwrap_or_else(|| if now > self.deadline { Answered::Late } else { self.judge(bytes) });
        self.result.insert(result)
    }

    /// Time passes without an answer.
    pub fn tick(&mut self, now: u64) -> Option<&Answered> {
        if now > self.deadline && self.result.is_none() {
            self.result = Some(Answered::Missing);
        }
        self.result.as_ref()
    }

    /// The end, if it has come.
    #[must_use]
    pub fn result(&self) -> Option<&Answered> {
        self.result.as_ref()
    }

    fn judge(&self, bytes: &[u8]) -> Answered {
        let (mut rest, mut answered) = (bytes, 0);
        for (number, probe) in self.probes.iter().enumerate() {
            let wrong = |(place, fault)| Answered::Wrong { probe: number as u32, place, fault };
            // What ends early has answered what is before.
            let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
                return if rest.is_empty() {
                    self.partial(answered)
                } else {
                    wrong((probe.place.place(), TraceFault::Length))
                };
            };
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            let Some((answer, behind)) = behind.split_at_checked(length) else {
                return wrong((probe.place.place(), TraceFault::Length));
            };
            rest = behind;
            if answer.is_empty() {
                continue;
            }
            if let Err(fault) = self.check(*probe, answer) {
                return wrong(fault);
            }
            answered += 1;
        }
        let last = self.probes.len().saturating_sub(1);
        match self.probes.get(last).filter(|_| !rest.is_empty()) {
            Some(probe) => {
                Answered::Wrong { probe: last as u32, place: probe.place.place(), fault: TraceFault::Length }
            }
            None => self.partial(answered),
        }
    }

    fn partial(&self, answered: u32) -> Answered {
        let asked = self.probes.len() as u32;
        match answered {
            0 => Answered::Missing,
            answered if answered < asked => Answered::Partial { answered, asked },
            _ => Answered::Passed,
        }
    }

    fn check(&self, probe: Probe, answer: &[u8]) -> Result<(), (TracePlace, TraceFault)> {
        let place = probe.place;
        let fault = |fault| Err((place.place(), fault));
        let leaves = leaves_of(&self.referee, place);
        let lengths = |leaf| self.referee.lengths(self.shape, leaf, self.logits_from);
        let widest = |leaf: LeafPlace| lengths(leaf).into_iter().max().unwrap_or(0);
        let Some(opened) = decode_openings(answer, &leaves, widest) else {
            return fault(TraceFault::Length);
        };
        if opened.iter().any(|opening| opening.verify(self.shape, &self.root).is_err()) {
            return fault(TraceFault::Commitment);
        }
        let Some((own, inputs)) = opened.split_first() else { return fault(TraceFault::Length) };
        let row = own.rows.get(place.position - place.leaf().chunk * LEAF_TOKENS);
        let row = row.map_or(&[][..], Vec::as_slice);
        if row.len() != self.referee.length(place.leaf(), place.position, self.logits_from) {
            return fault(TraceFault::Length);
        }
        let asked = if probe.is_row { 0..row.len() } else { place.index..place.index + 1 };
        asked.into_iter().try_for_each(|index| self.check_number(NumberPlace { index, ..place }, row, inputs))
    }

    fn check_number(
        &self,
        place: NumberPlace,
        row: &[i64],
        inputs: &[Opening],
    ) -> Result<(), (TracePlace, TraceFault)> {
        match self.referee.recompute(&self.ids, place, inputs) {
            Some(Recomputed::Number { left: Some(left), .. }) if self.end.is_none_or(|end| left < end) => {
                Err((place.place(), TraceFault::Bound))
            }
            Some(Recomputed::Number { value, .. }) if row.get(place.index) == Some(&value) => Ok(()),
            Some(Recomputed::Number { .. }) => {
                let is_carried = place.operation == TraceOperation::Residual;
                let fault = if is_carried { TraceFault::Carried } else { TraceFault::Product };
                Err((place.place(), fault))
            }
            Some(Recomputed::Impossible(place, fault)) => Err((place, fault)),
            None => Err((place.place(), TraceFault::Length)),
        }
    }
}

/// The leaves that answer a probe: its own, and those that its numbers follow from. All numbers of a row follow from the
/// same ones, but for scores.
pub(crate) fn leaves_of(referee: &Referee, place: NumberPlace) -> Vec<LeafPlace> {
    std::iter::once(place.leaf()).chain(referee.inputs_of(place)).collect()
}

struct Draw<'d> {
    referee: &'d Referee,
    stream: &'d mut blake3::OutputReader,
    positions: usize,
    logits_from: usize,
}

impl Draw<'_> {
    fn neuron(&mut self) -> Probe {
        let mut place = self.place(|_| true);
        let width = self.referee.length(place.leaf(), place.position, self.logits_from);
        place.index = below(self.stream, width as u64) as usize;
        Probe { place, is_row: false }
    }

    fn row(&mut self) -> Probe {
        // Each score has a key of its own: their rows would need all of them.
        let place = self.place(|operation| operation != TraceOperation::Scores);
        Probe { place, is_row: true }
    }

    fn checkpoint(&mut self) -> Probe {
        Probe { place: self.place(|operation| operation == TraceOperation::Residual), is_row: true }
    }

    /// A position and one of the operations of all blocks that have numbers there.
    fn place(&mut self, wanted: impl Fn(TraceOperation) -> bool) -> NumberPlace {
        let position = below(self.stream, self.positions as u64) as usize;
        let blocks = self.referee.subject().model().tensors.blocks.len();
        let mut places = Vec::new();
        for block in 0..=blocks {
            for operation in BlockTrace::operations_of(block, blocks) {
                let place = NumberPlace { position, block, operation: *operation, index: 0 };
                let is_there = self.referee.length(place.leaf(), position, self.logits_from) > 0;
                if is_there && wanted(*operation) {
                    places.push(place);
                }
            }
        }
        places[below(self.stream, places.len() as u64) as usize]
    }
}
