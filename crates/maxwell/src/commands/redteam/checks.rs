//! The checks that the red team's cheats meet, each as its user would run it. Must never look at what the cheat was.

use std::sync::Arc;

use engine::Engine;
use engine::trace::ChunkTrace;
use evidence::audit::{
    AuditCoins, AuditModel, audit_designated, audit_parts, audit_public, draw_parts, transcript,
};
use evidence::challenge::{Answered, Challenge, Counts};
use evidence::dispute::party::{Numbers, Party};
use evidence::field::Mersenne61;
use evidence::freivalds::Prepared;
use evidence::recompute::Referee;
use evidence::replay::replay;
use evidence::trace::{LeafPlace, chunk_of};
use model::synthetic::SplitMix64;
use protocol::Verdict;

use super::cheats::{Lie, draw_bytes};
use crate::commands::dispute::play::challenged;

/// Log time that each answer may take; nobody here is late.
const WINDOW: u64 = 1;

/// A check with its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// So many single numbers.
    Challenge(u32),
    /// So many parts of the trace.
    Parts(u32),
    /// The whole trace, secret coins.
    Designated,
    /// The whole trace, coins from the claim.
    Public,
    /// An honest challenger leads the claimant to the first wrong number.
    Dispute,
    /// All again.
    Replay,
}

impl Check {
    /// Stable machine name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Challenge(probes) => format!("challenge {probes}"),
            Self::Parts(parts) => format!("parts {parts}"),
            Self::Designated => "designated".to_owned(),
            Self::Public => "public".to_owned(),
            Self::Dispute => "dispute".to_owned(),
            Self::Replay => "replay".to_owned(),
        }
    }
}

/// Who checks.
pub(super) struct Verifier<'v> {
    pub(super) engine: &'v Engine,
    pub(super) subject: Arc<AuditModel>,
    pub(super) referee: Arc<Referee>,
    pub(super) prepared: Prepared<Mersenne61>,
}

/// A prover's numbers as it recorded them.
pub(crate) struct Shown<'s>(pub(crate) &'s [ChunkTrace]);

impl Numbers for Shown<'_> {
    fn of_blocks(&self, blocks: &[usize]) -> Vec<ChunkTrace> {
        let chunk = |chunk: &ChunkTrace| ChunkTrace {
            start: chunk.start,
            count: chunk.count,
            blocks: chunk.blocks.iter().filter(|block| blocks.contains(&block.block)).cloned().collect(),
        };
        self.0.iter().map(chunk).collect()
    }
}

impl<'v> Verifier<'v> {
    pub(super) fn new(engine: &'v Engine, random: &mut SplitMix64) -> Self {
        let subject = Arc::new(AuditModel::new(engine.model().clone()));
        let referee = Arc::new(Referee::new(Arc::clone(&subject)));
        Self { engine, prepared: Prepared::new(engine.model(), &draw_bytes(random)), subject, referee }
    }

    /// Whether the check finds something wrong.
    pub(super) fn catches(&self, check: Check, lie: &Lie, random: &mut SplitMix64) -> anyhow::Result<bool> {
        let coins = AuditCoins { attention: draw_bytes(random) };
        let is_rejected = |verdict: &Verdict| matches!(verdict, Verdict::Reject(_));
        Ok(match check {
            Check::Challenge(neurons) => self.challenged(neurons, lie, random)? != Answered::Passed,
            Check::Parts(count) => {
                let parts = self.subject.model().tensors.blocks.len() + 1;
                let parts = draw_parts(&draw_bytes(random), parts, count as usize);
                let open = |place: LeafPlace| {
                    let opening = chunk_of(place, &lie.trace).and_then(|chunk| lie.opener.open(chunk, place));
                    opening.map(|opening| opening.encode()).unwrap_or_default()
                };
                let verdict = audit_parts(&self.subject, &self.prepared, &lie.claim, coins, &parts, open)?;
                verdict.as_ref().is_some_and(is_rejected)
            }
            Check::Designated => {
                let trace = lie.trace.iter().cloned();
                let audited = audit_designated(&self.subject, &self.prepared, &lie.claim, coins, trace)?;
                is_rejected(&audited.verdict)
            }
            Check::Public => {
                let audited = audit_public(&self.subject, &lie.claim, lie.trace.iter().cloned())?;
                audited.is_some_and(|audited| is_rejected(&audited.verdict))
            }
            Check::Dispute => {
                let claimant = self.claimant(lie);
                let disputed = challenged(self.engine, &self.referee, &lie.claim, &claimant, WINDOW)?;
                let outcome = disputed.map(|(_, played)| played.outcome);
                outcome.is_some_and(|o| o.claimant.is_some() && o.challenger.is_none())
            }
            Check::Replay => is_rejected(&replay(self.engine, &lie.claim, None)?),
        })
    }

    fn challenged(&self, neurons: u32, lie: &Lie, random: &mut SplitMix64) -> anyhow::Result<Answered> {
        let counts = Counts { neurons, ..Counts::default() };
        let coins = draw_bytes(random);
        let mut challenge = Challenge::draw(Arc::clone(&self.referee), &lie.claim, &coins, counts, WINDOW)?;
        let answer = self.claimant(lie).answer_probes(challenge.probes());
        Ok(challenge.answer(&answer, 0).clone())
    }

    /// What the prover says in a challenge or a dispute.
    pub(super) fn claimant<'l>(&'l self, lie: &'l Lie) -> Party<'l, Shown<'l>> {
        let (ids, _) = transcript(self.subject.model(), &lie.claim);
        Party::new(&self.referee, lie.opener.clone(), Shown(&lie.trace), &ids, None)
    }
}
