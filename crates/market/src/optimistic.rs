//! Optimistic acceptance: a claim with a stake is final unless somebody proves it false within a window of the log.
//! Never final while a dispute is open, never both final and slashed, and never moved by evidence that others can't
//! check.
//!
//! Rules against games. A challenger who loses, on purpose or not, shortens nobody's window: it gives all others a grace.
//! A claimant who challenges itself gets back at most the reward, never what is burned. Who is challenged and right is
//! paid for its work out of the challenger's bond, so delay costs whoever causes it.

use std::collections::BTreeMap;

use protocol::id::ClaimDigest;

use crate::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, LedgerError, Transfer};

#[cfg(test)]
mod tests;

/// `derive_key` contexts of the keys.
const STAKE_CONTEXT: &str = "maxwell 2026-11 stake v1";
const BOND_CONTEXT: &str = "maxwell 2026-11 bond v1";
const STEP_CONTEXT: &str = "maxwell 2026-11 stake step v1";
/// Open disputes about one claim at a time.
pub const MAX_DISPUTES: usize = 64;
/// A whole, in the shares below.
pub const WHOLE_PPM: u32 = 1_000_000;

/// What it costs to be wrong. In microcredits and log entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The claimant locks this.
    pub stake: u64,
    /// Each challenger locks this.
    pub bond: u64,
    /// Entries of the log within which a challenge must be there.
    pub window: u64,
    /// Entries that are left at least to the others when a challenger has lost.
    pub grace: u64,
    /// What the referee gets of whatever is lost.
    pub fee: u64,
    /// Share of a lost stake, after the fee, that goes to the challenger. At most half, so that whoever challenges
    /// itself loses as much as it gets back.
    pub reward_ppm: u32,
    /// Share of a lost bond, after the fee, that goes to the claimant.
    pub compensation_ppm: u32,
}

/// Why terms make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// The fee is more than what is lost.
    #[error("the referee's fee is more than the stake or the bond")]
    Fee,
    /// A claimant could buy its stake back.
    #[error(
        "the reward is more than half of the stake: a claimant who challenges itself would get most of it back"
    )]
    Reward,
    /// More than all.
    #[error("the compensation is more than the bond")]
    Compensation,
    /// Nobody could challenge.
    #[error("the window is empty")]
    Window,
}

impl Terms {
    /// Checks them.
    ///
    /// # Errors
    /// [`TermsError`].
    pub const fn validate(&self) -> Result<(), TermsError> {
        if self.fee > self.stake || self.fee > self.bond || self.stake == 0 || self.bond == 0 {
            return Err(TermsError::Fee);
        }
        if self.reward_ppm > WHOLE_PPM / 2 {
            return Err(TermsError::Reward);
        }
        if self.compensation_ppm > WHOLE_PPM {
            return Err(TermsError::Compensation);
        }
        if self.window == 0 { Err(TermsError::Window) } else { Ok(()) }
    }
}

/// Who was shown to be wrong. Silence is being wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The claim, or what its maker did in the dispute.
    Claimant,
    /// What the challenger said or did.
    Challenger,
    /// Both: the claim falls, and nobody is rewarded.
    Both,
}

/// Who may believe what a ruling rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Anybody can check it.
    Public,
    /// Only whoever holds the secret: it calls for a public check, and moves nothing.
    Designated,
}

/// How a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be challenged up to this size of the log.
    Open {
        /// The last size at which a challenge is in time.
        until: u64,
    },
    /// The stake is released; nothing can move it.
    Final,
    /// The stake is lost.
    Slashed,
}

/// What a ruling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled {
    /// Amounts moved.
    Settled,
    /// The evidence convinces nobody else: repeat it in public.
    Escalate,
}

/// Why something was refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptimisticError {
    /// The claim is there already.
    #[error("the claim is there already")]
    Known,
    /// There is no such claim.
    #[error("there is no such claim")]
    NoClaim,
    /// It is final or slashed.
    #[error("the claim is settled")]
    Settled,
    /// The window has passed.
    #[error("the window for challenges has passed")]
    TooLate,
    /// It has not passed yet.
    #[error("the window for challenges is still open")]
    TooEarly,
    /// A dispute is open.
    #[error("{0} disputes are still open")]
    Disputed(usize),
    /// The challenger has challenged this claim before.
    #[error("this challenger has challenged the claim before")]
    Again,
    /// As many as may be.
    #[error("at most {MAX_DISPUTES} disputes about a claim are open at a time")]
    TooMany,
    /// Its maker challenges the claim.
    #[error("a claimant can't challenge its own claim")]
    OwnClaim,
    /// There is no such dispute.
    #[error("there is no such dispute")]
    NoDispute,
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Posted {
    claimant: AgentId,
    standing: Standing,
    /// Challengers, and whether their dispute is open.
    challengers: BTreeMap<AgentId, bool>,
}

/// All claims under the same terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Optimistic {
    terms: Terms,
    claims: BTreeMap<ClaimDigest, Posted>,
}

impl Optimistic {
    /// No claims yet.
    ///
    /// # Errors
    /// [`TermsError`].
    pub fn new(terms: Terms) -> Result<Self, TermsError> {
        terms.validate()?;
        Ok(Self { terms, claims: BTreeMap::new() })
    }

    /// How a claim stands.
    #[must_use]
    pub fn standing(&self, claim: &ClaimDigest) -> Option<Standing> {
        self.claims.get(claim).map(|posted| posted.standing)
    }

    /// Disputes about a claim that have not ended.
    #[must_use]
    pub fn open_disputes(&self, claim: &ClaimDigest) -> usize {
        self.claims.get(claim).map_or(0, Posted::open)
    }

    /// A claim is made and its stake locked. `now` is the size of the log.
    ///
    /// # Errors
    /// [`OptimisticError`].
    pub fn post(
        &mut self,
        ledger: &mut Ledger,
        claim: ClaimDigest,
        claimant: AgentId,
        now: u64,
    ) -> Result<(), OptimisticError> {
        if self.claims.contains_key(&claim) {
            return Err(OptimisticError::Known);
        }
        let transfer = credits(Account::Agent(claimant), stake_of(&claim), self.terms.stake);
        book(ledger, "post", &claim, None, vec![transfer])?;
        let standing = Standing::Open { until: now.saturating_add(self.terms.window) };
        self.claims.insert(claim, Posted { claimant, standing, challengers: BTreeMap::new() });
        Ok(())
    }

    /// Somebody says that the claim is false, and locks a bond.
    ///
    /// # Errors
    /// [`OptimisticError`].
    pub fn challenge(
        &mut self,
        ledger: &mut Ledger,
        claim: &ClaimDigest,
        challenger: AgentId,
        now: u64,
    ) -> Result<(), OptimisticError> {
        let posted = self.claims.get_mut(claim).ok_or(OptimisticError::NoClaim)?;
        let Standing::Open { until } = posted.standing else { return Err(OptimisticError::Settled) };
        if now > until {
            return Err(OptimisticError::TooLate);
        }
        if challenger == posted.claimant {
            return Err(OptimisticError::OwnClaim);
        }
        if posted.challengers.contains_key(&challenger) {
            return Err(OptimisticError::Again);
        }
        if posted.open() >= MAX_DISPUTES {
            return Err(OptimisticError::TooMany);
        }
        let bond = credits(Account::Agent(challenger), bond_of(claim, &challenger), self.terms.bond);
        book(ledger, "challenge", claim, Some(&challenger), vec![bond])?;
        posted.challengers.insert(challenger, true);
        Ok(())
    }

    /// A dispute has ended. All amounts move in one entry.
    ///
    /// # Errors
    /// [`OptimisticError`].
    pub fn rule(
        &mut self,
        ledger: &mut Ledger,
        claim: &ClaimDigest,
        challenger: &AgentId,
        ruling: Ruling,
        evidence: Evidence,
        now: u64,
    ) -> Result<Ruled, OptimisticError> {
        let terms = self.terms;
        let posted = self.claims.get_mut(claim).ok_or(OptimisticError::NoClaim)?;
        let Standing::Open { until } = posted.standing else { return Err(OptimisticError::Settled) };
        if posted.challengers.get(challenger) != Some(&true) {
            return Err(OptimisticError::NoDispute);
        }
        if evidence == Evidence::Designated {
            return Ok(Ruled::Escalate);
        }
        let mut transfers = Vec::new();
        let bond = bond_of(claim, challenger);
        match ruling {
            Ruling::Challenger => {
                split(&mut transfers, bond, terms.bond, &terms, posted.claimant, terms.compensation_ppm);
                book(ledger, "rule", claim, Some(challenger), transfers)?;
                // Others may have held back since somebody was at it.
                posted.standing = Standing::Open { until: until.max(now.saturating_add(terms.grace)) };
                posted.challengers.insert(*challenger, false);
            }
            Ruling::Claimant | Ruling::Both => {
                let stake = stake_of(claim);
                let (reward, returned) = match ruling {
                    Ruling::Claimant => (terms.reward_ppm, true),
                    Ruling::Both | Ruling::Challenger => (0, false),
                };
                split(&mut transfers, stake, terms.stake, &terms, *challenger, reward);
                if !returned {
                    split(&mut transfers, bond, terms.bond, &terms, posted.claimant, 0);
                }
                // Whoever else is still at it has nothing left to prove.
                let open = posted.challengers.iter().filter(|(_, is_open)| **is_open);
                for (other, _) in open.filter(|(other, _)| returned || *other != challenger) {
                    transfers.push(credits(bond_of(claim, other), Account::Agent(*other), terms.bond));
                }
                book(ledger, "rule", claim, Some(challenger), transfers)?;
                posted.standing = Standing::Slashed;
                posted.challengers.values_mut().for_each(|is_open| *is_open = false);
            }
        }
        Ok(Ruled::Settled)
    }

    /// Nobody has shown the claim to be false in time: the stake goes back.
    ///
    /// # Errors
    /// [`OptimisticError`].
    pub fn finalize(
        &mut self,
        ledger: &mut Ledger,
        claim: &ClaimDigest,
        now: u64,
    ) -> Result<(), OptimisticError> {
        let posted = self.claims.get_mut(claim).ok_or(OptimisticError::NoClaim)?;
        let Standing::Open { until } = posted.standing else { return Err(OptimisticError::Settled) };
        if now <= until {
            return Err(OptimisticError::TooEarly);
        }
        match posted.open() {
            0 => {}
            open => return Err(OptimisticError::Disputed(open)),
        }
        let back = credits(stake_of(claim), Account::Agent(posted.claimant), self.terms.stake);
        book(ledger, "finalize", claim, None, vec![back])?;
        posted.standing = Standing::Final;
        Ok(())
    }
}

impl Posted {
    fn open(&self) -> usize {
        self.challengers.values().filter(|is_open| **is_open).count()
    }
}

/// Where a claim's stake is locked.
#[must_use]
pub fn stake_of(claim: &ClaimDigest) -> Account {
    Account::Locked(EntryKey::of(STAKE_CONTEXT, &[claim.as_bytes()]))
}

/// Where a challenger's bond is locked.
#[must_use]
pub fn bond_of(claim: &ClaimDigest, challenger: &AgentId) -> Account {
    Account::Locked(EntryKey::of(BOND_CONTEXT, &[claim.as_bytes(), &challenger.0]))
}

/// What was lost: the fee to the operator, a share of the rest to somebody, what remains to nobody.
fn split(
    transfers: &mut Vec<Transfer>,
    from: Account,
    lost: u64,
    terms: &Terms,
    to: AgentId,
    share_ppm: u32,
) {
    let rest = lost.saturating_sub(terms.fee);
    let share = u128::from(rest) * u128::from(share_ppm) / u128::from(WHOLE_PPM);
    let share = u64::try_from(share).unwrap_or(rest).min(rest);
    let parts =
        [(Account::Operator, lost - rest), (Account::Agent(to), share), (Account::Burned, rest - share)];
    let there = parts.into_iter().filter(|(_, amount)| *amount > 0);
    transfers.extend(there.map(|(to, amount)| credits(from, to, amount)));
}

fn credits(from: Account, to: Account, amount: u64) -> Transfer {
    Transfer { asset: Asset::Microcredits, from, to, amount }
}

fn book(
    ledger: &mut Ledger,
    step: &str,
    claim: &ClaimDigest,
    challenger: Option<&AgentId>,
    transfers: Vec<Transfer>,
) -> Result<(), LedgerError> {
    let who = challenger.map_or(&[][..], |challenger| &challenger.0);
    let key = EntryKey::of(STEP_CONTEXT, &[step.as_bytes(), claim.as_bytes(), who]);
    ledger.apply(Entry { key, transfers }).map(|_| ())
}
