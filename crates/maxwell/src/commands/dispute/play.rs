//! Both sides of a dispute in one process, and what each said. Must never let one side see what the other has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::Engine;
use evidence::audit::transcript;
use evidence::dispute::party::{Numbers, OnDemand, Party};
use evidence::dispute::{Accusation, Dispute, Outcome, Question, Side, Work};
use evidence::recompute::Referee;
use evidence::replay::replay;
use evidence::trace::commit;
use protocol::Claim;
use protocol::verdict::{Reason, Verdict};

/// How a dispute went.
pub(crate) struct Played {
    /// The end.
    pub(crate) outcome: Outcome,
    /// Messages and bytes.
    pub(crate) work: Work,
    /// Of the referee alone.
    pub(crate) referee: Duration,
    /// What was said, in order.
    pub(crate) said: Vec<(Side, Question, Vec<u8>)>,
}

/// Where a claim's run leaves the range, as it says.
pub(crate) fn end_of(claim: &Claim) -> Option<usize> {
    claim.finish.out_of_range().and_then(|position| usize::try_from(position).ok())
}

/// An honest challenger against a claimant; `None` if a replay finds nothing to accuse it of.
pub(crate) fn challenged<N: Numbers>(
    engine: &Engine,
    referee: &Arc<Referee>,
    claim: &Claim,
    claimant: &Party<'_, N>,
    window: u64,
) -> anyhow::Result<Option<(Accusation, Played)>> {
    let opener = commit(engine, claim).context("the claim has no tokens")?;
    let (ids, _) = transcript(engine.model(), claim);
    let challenger = Party::new(referee, opener, OnDemand { engine, claim }, &ids, end_of(claim));
    let Some(accusation) = accusation(engine, claim, &challenger)? else { return Ok(None) };
    let played = play(referee, claim, accusation, claimant, &challenger, window)?;
    Ok(Some((accusation, played)))
}

/// What an honest challenger accuses a claim of; `None` if a replay finds nothing wrong.
fn accusation<N: Numbers>(
    engine: &Engine,
    claim: &Claim,
    challenger: &Party<'_, N>,
) -> anyhow::Result<Option<Accusation>> {
    let own = challenger.accusation();
    if let Accusation::Trace { root, leaves } = own
        && (Some(root) != claim.trace || leaves.is_some())
    {
        return Ok(Some(own));
    }
    Ok(match replay(engine, claim, None)? {
        Verdict::Accept | Verdict::Undecided(_) => None,
        Verdict::Reject(
            Reason::OutputToken { position, .. }
            | Reason::LogitFingerprint { position }
            | Reason::Logprob { position },
        ) => Some(Accusation::Output { index: position }),
        // The claim contradicts itself: the referee sees it without a round.
        Verdict::Reject(_) => Some(own),
    })
}

/// Plays a dispute to its end.
pub(crate) fn play<A: Numbers, B: Numbers>(
    referee: &Arc<Referee>,
    claim: &Claim,
    accusation: Accusation,
    claimant: &Party<'_, A>,
    challenger: &Party<'_, B>,
    window: u64,
) -> anyhow::Result<Played> {
    let began = Instant::now();
    let mut dispute = Dispute::open(Arc::clone(referee), claim.clone(), accusation, 0, window)?;
    let (mut spent, mut said) = (began.elapsed(), Vec::new());
    loop {
        if let Some(outcome) = dispute.outcome() {
            return Ok(Played { outcome: outcome.clone(), work: dispute.work(), referee: spent, said });
        }
        let mut is_asked = false;
        for side in Side::BOTH {
            let Some(question) = dispute.question(side) else { continue };
            is_asked = true;
            let answer = match side {
                Side::Claimant => claimant.answer(question),
                Side::Challenger => challenger.answer(question),
            };
            let began = Instant::now();
            dispute.answer(side, &answer, 0)?;
            spent += began.elapsed();
            said.push((side, question, answer));
        }
        if !is_asked {
            bail!("the dispute asks nobody and does not end");
        }
    }
}
