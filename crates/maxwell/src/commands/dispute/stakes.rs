//! What a ruling does to the two parties' money: a ledger of its own for one dispute. Never moves anything but by the
//! rules of `market::optimistic`.

use evidence::dispute::Outcome;
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, Transfer};
use market::optimistic::{Evidence, Optimistic, Ruling, Standing, Terms, WHOLE_PPM};
use protocol::Claim;

use crate::output::Misuse;

/// A credit in the ledger's unit.
const CREDIT: u64 = 1_000_000;
/// Entries of the log for a challenge, and for others when one has lost.
const WINDOW: u64 = 1000;
const GRACE: u64 = 100;
const CLAIMANT: AgentId = AgentId([1; 32]);
const CHALLENGER: AgentId = AgentId([2; 32]);

/// Terms with half of what is lost for whoever was right, and a hundredth of the bond for the referee.
pub(super) fn terms(stake: u32, bond: u32) -> anyhow::Result<Terms> {
    let (stake, bond) = (u64::from(stake) * CREDIT, u64::from(bond) * CREDIT);
    let half = WHOLE_PPM / 2;
    let fee = bond.min(stake) / 100;
    let terms =
        Terms { stake, bond, window: WINDOW, grace: GRACE, fee, reward_ppm: half, compensation_ppm: half };
    terms.validate().map_err(|error| Misuse(error.to_string()))?;
    Ok(terms)
}

/// What each has after all, in microcredits, less what it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) claimant: i128,
    pub(super) challenger: i128,
    pub(super) referee: u64,
    pub(super) burned: u64,
    pub(super) standing: Standing,
}

/// Posts, challenges, rules and waits.
pub(super) fn settle(claim: &Claim, terms: Terms, outcome: &Outcome) -> anyhow::Result<Moved> {
    let mut ledger = Ledger::default();
    let purses = [(CLAIMANT, terms.stake), (CHALLENGER, terms.bond)];
    for (number, (agent, amount)) in purses.into_iter().enumerate() {
        let transfer = Transfer {
            asset: Asset::Microcredits,
            from: Account::Outside,
            to: Account::Agent(agent),
            amount,
        };
        let key = EntryKey::of("maxwell 2026-11 purse v1", &[&[number as u8]]);
        ledger.apply(Entry { key, transfers: vec![transfer] })?;
    }
    let digest = claim.digest();
    let mut market = Optimistic::new(terms)?;
    market.post(&mut ledger, digest, CLAIMANT, 0)?;
    market.challenge(&mut ledger, &digest, CHALLENGER, 1)?;
    let ruling = match (&outcome.claimant, &outcome.challenger) {
        (Some(_), None) => Ruling::Claimant,
        (Some(_), Some(_)) => Ruling::Both,
        (None, _) => Ruling::Challenger,
    };
    market.rule(&mut ledger, &digest, &CHALLENGER, ruling, Evidence::Public, 2)?;
    if ruling == Ruling::Challenger {
        market.finalize(&mut ledger, &digest, WINDOW + GRACE + 1)?;
    }
    let has = |account| ledger.balance(account, Asset::Microcredits);
    Ok(Moved {
        claimant: i128::from(has(Account::Agent(CLAIMANT))) - i128::from(terms.stake),
        challenger: i128::from(has(Account::Agent(CHALLENGER))) - i128::from(terms.bond),
        referee: has(Account::Operator),
        burned: has(Account::Burned),
        standing: market.standing(&digest).unwrap_or(Standing::Final),
    })
}

/// In credits.
pub(super) fn credits(micro: i128) -> f64 {
    micro as f64 / CREDIT as f64
}
