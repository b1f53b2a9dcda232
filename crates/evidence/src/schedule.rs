//! Deep audits: which retained claims are replayed in full, in what order, and how many fit the budget. The draw follows
//! from a seed that is drawn after the claims were fixed, so that anybody who knows it can check every choice. Every
//! claim has a chance above zero, and what was drawn and did not fit comes first the next time.

use std::cmp::Reverse;

use protocol::id::ClaimDigest;

use crate::rate::WHOLE_PPB;

#[cfg(test)]
mod tests;

/// blake3 `derive_key` context of the draws.
const DRAW_CONTEXT: &str = "maxwell 2026-11 deep audit draw v1";
/// Chances are multiplied by at most this for suspicion and value together.
const MAX_WEIGHT: u64 = 1000;

/// A claim that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Which.
    pub claim: ClaimDigest,
    /// What a replay takes, in microseconds.
    pub cost_us: u64,
    /// What it is worth to cheat on it, as a multiple of an ordinary claim; at least 1.
    pub value: u64,
    /// How much its server is suspected, as a multiple of one without suspicion; at least 1.
    pub suspicion: u64,
}

/// A claim that was drawn before and did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The claim.
    pub claim: Retained,
    /// In how many rounds it has waited.
    pub rounds: u32,
}

/// What to replay now and what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// In order.
    pub replay: Vec<Retained>,
    /// Drawn, and not within the budget.
    pub waiting: Vec<Waiting>,
}

/// The chance that a claim is drawn, in billionths: the floor times its value and suspicion, never more than 1.
#[must_use]
pub fn chance_ppb(floor_ppb: u64, claim: &Retained) -> u64 {
    let weight = claim.value.max(1).saturating_mul(claim.suspicion.max(1)).min(MAX_WEIGHT);
    floor_ppb.clamp(1, WHOLE_PPB).saturating_mul(weight).min(WHOLE_PPB)
}

/// Whether a claim is drawn under a seed: anybody can repeat it.
#[must_use]
pub fn is_drawn(seed: &[u8; 32], floor_ppb: u64, claim: &Retained) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key(DRAW_CONTEXT);
    hasher.update(seed).update(claim.claim.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    // Below chance * 2^64.
    let threshold = (u128::from(chance_ppb(floor_ppb, claim)) << 64) / u128::from(WHOLE_PPB);
    u128::from(u64::from_le_bytes(bytes)) < threshold
}

/// Draws from `retained`, and fills the budget: what has waited longest first, then the most valuable and suspected.
/// At least one claim is replayed in each round that has any, however small the budget.
#[must_use]
pub fn round(
    seed: &[u8; 32],
    floor_ppb: u64,
    retained: &[Retained],
    waiting: &[Waiting],
    budget_us: u64,
) -> Round {
    let drawn = retained.iter().filter(|claim| is_drawn(seed, floor_ppb, claim));
    let known = |claim: &&Retained| waiting.iter().all(|waiting| waiting.claim.claim != claim.claim);
    let fresh = drawn.filter(known).map(|claim| Waiting { claim: *claim, rounds: 0 });
    let mut queue: Vec<Waiting> = waiting.iter().copied().chain(fresh).collect();
    queue.sort_by_key(|waiting| {
        let Retained { claim, value, suspicion, .. } = waiting.claim;
        (Reverse(waiting.rounds), Reverse(value.max(1).saturating_mul(suspicion.max(1))), claim)
    });
    queue.dedup_by_key(|waiting| waiting.claim.claim);
    let mut round = Round { replay: Vec::new(), waiting: Vec::new() };
    let mut left = budget_us;
    for waiting in queue {
        if waiting.claim.cost_us <= left || round.replay.is_empty() {
            left = left.saturating_sub(waiting.claim.cost_us);
            round.replay.push(waiting.claim);
        } else {
            round.waiting.push(Waiting { rounds: waiting.rounds.saturating_add(1), ..waiting });
        }
    }
    round
}
