//! The node's rules, as a pure state machine: agents bid, are admitted, work, are metered, checked and settled. Time,
//! energy and verdicts are arguments; what comes out are entries for the ledger and orders for the shell.
//!
//! Exact evidence slashes and stops. Energy and other statistical evidence only makes checks more frequent, bills what
//! was burned, and throttles. No entry is ever made that the ledger does not take, and money is conserved always.

use std::collections::BTreeMap;

use market::auction::{
    Bid, BidId, BidOutcome, Bundle, Class, Epoch, RESOURCES, Refused, Sealed, Tier, clear,
};
use market::economics::{Stakes, WHOLE_PPB};
use market::heat_price::HeatPrice;
use market::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, LedgerError, Transfer};

use crate::energy::Energy;
use crate::thermo::{ClaimedWork, Direction, Outcome, Profile};
use crate::unexplained::{Alarm, Unexplained};

mod books;
mod restart;
#[cfg(test)]
mod tests;

/// `derive_key` contexts.
const ENTRY_CONTEXT: &str = "maxwell 2026-11 node entry v1";
const DRAW_CONTEXT: &str = "maxwell 2026-11 node audit draw v1";
/// Below this sum of evidence, in nats, every answer of the agent is checked.
const SUSPECT_NATS: f64 = -3.0;
/// The sum of evidence stays between these: nobody earns a licence to cheat.
const NATS_SPAN: (f64, f64) = (-12.0, 3.0);
/// Most bids of an agent in an epoch.
pub const BIDS_MAX: usize = 64;
/// Most agents.
pub const AGENTS_MAX: usize = 4096;
/// A hold is so much above what is expected, in thousandths.
const HOLD_MILLI: u128 = 1250;

/// What a node charges and pays.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// What there is in an epoch.
    pub supply: Bundle,
    /// Base prices for the whole supply of each resource, in microcredits.
    pub reserve: Bundle,
    /// How heat raises the price of background work.
    pub heat: HeatPrice,
    /// What a request and an audit are worth.
    pub stakes: Stakes,
    /// What a stake costs in an epoch, in parts per billion.
    pub interest_ppb: u64,
    /// What a proof saves, in microcredits.
    pub proof_discount: u64,
    /// What buyers pay for a token that holds, in microcredits.
    pub token_reward: u64,
    /// Microjoules that a unit of each resource is expected to take, for holds.
    pub expected_uj: Bundle,
    /// Price of a joule that no claim explains, at the target temperature, in microcredits.
    pub unexplained_joule: u64,
    /// What a throttled agent is left, in thousandths of a processor.
    pub throttled_milli: u64,
}

/// Why a request of an agent is refused. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was never funded.
    #[error("unknown agent: it has to be funded first")]
    UnknownAgent,
    /// It was stopped.
    #[error("the agent was stopped")]
    Stopped,
    /// As many as may be.
    #[error("too many")]
    TooMany,
    /// For another epoch, or in the wrong part of it.
    #[error("it is too early or too late for this in the epoch")]
    Phase,
    /// A bid that was not sealed, was changed, or names another agent.
    #[error("this is not what was sealed")]
    Seal,
    /// It has not the joules that the bundle is expected to take.
    #[error("the wallet has not the joules that this is expected to take")]
    Energy,
    /// No such job, or not its own, or it is over.
    #[error("no such open job of this agent")]
    Job,
    /// Not an answer to the request that was given.
    #[error("this does not answer the request that was given")]
    Answer,
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Why an agent was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing left to burn.
    WalletEmpty,
    /// A claim was shown to be false, exactly.
    FalseClaim,
}

/// What the shell has to do with an agent's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As before.
    Run,
    /// Leave it so many thousandths of a processor.
    Throttle(u64),
    /// End it.
    Stop(Stopped),
}

/// A bid that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its name.
    pub job: BidId,
    /// Whose.
    pub agent: AgentId,
    /// What it may use.
    pub bundle: Bundle,
    /// What it pays for it, in microcredits.
    pub pays: u64,
}

/// An epoch's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Who won.
    pub won: Vec<Admission>,
    /// Bids that took no part, whose, and why.
    pub refused: Vec<(BidId, AgentId, Refused)>,
    /// Bids that others outbid, or the reserve, and whose.
    pub lost: Vec<(BidId, AgentId)>,
}

/// What a window of an agent came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Microjoules that it paid for.
    pub charged_uj: u64,
    /// Microcredits for what no claim explains.
    pub surcharge: u64,
    /// What the energy says of what was claimed.
    pub outcome: Outcome,
    /// What the ledger of unexplained joules says.
    pub alarm: Alarm,
    /// Jobs that have to be checked now; all others that were claimed are settled.
    pub checks: Vec<BidId>,
    /// What to do with it.
    pub order: Order,
}

/// Work that a job claims to have done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claimed {
    /// Tokens, as whoever counts them for the node counted.
    pub tokens: u64,
    /// Requests at a time.
    pub batch: f64,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// An honest run gives this.
    Holds,
    /// None does.
    False,
    /// Nobody can say: neither paid nor punished.
    Undecided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Claimed,
    Checking,
}

#[derive(Clone, Debug, PartialEq)]
struct Job {
    agent: AgentId,
    /// Joules of background work that its bundle is expected to take, and that were not burned yet.
    background: f64,
    tier: Tier,
    pays: u64,
    stake: u64,
    stage: Stage,
    claimed: Option<Claimed>,
    epoch: u64,
}

/// One agent, as the node sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// Why it was stopped, if it was.
    pub stopped: Option<Stopped>,
    /// Joules that no claim explains.
    pub unexplained: Unexplained,
    /// Sum of what its energy said, in nats.
    pub nats: f64,
    /// Answers that were claimed, checked, and shown false.
    pub claims: u64,
    /// Of these, checked.
    pub checks: u64,
    /// Of these, false.
    pub false_claims: u64,
    /// Microjoules that were measured.
    pub measured_uj: u64,
    /// Microcredits of surcharges.
    pub surcharges: u64,
    reserved_uj: u64,
    bids: usize,
    windows: u64,
}

/// Parts of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Bids come in sealed.
    Sealing,
    /// No more seals; they are opened.
    Opening,
}

/// The node.
#[derive(Clone, Debug)]
pub struct Node {
    terms: Terms,
    profile: Profile,
    secret: [u8; 32],
    ledger: Ledger,
    agents: BTreeMap<AgentId, Agent>,
    jobs: BTreeMap<BidId, Job>,
    sealed: BTreeMap<BidId, AgentId>,
    opened: Vec<(BidId, Bid)>,
    phase: Phase,
    epoch: u64,
    pending: Vec<Entry>,
}

impl Node {
    /// A node with a ledger's history; `secret` draws which answers are checked. What was locked for jobs that a crash
    /// ended goes back to whoever locked it.
    ///
    /// # Errors
    /// [`LedgerError`] if the history is not one of a node.
    pub fn open(
        terms: Terms,
        profile: Profile,
        secret: [u8; 32],
        ledger: Ledger,
    ) -> Result<Self, LedgerError> {
        let mut node = Self {
            terms,
            profile,
            secret,
            // Epochs go on behind all that the history knows, so that no key comes twice.
            epoch: ledger.size(),
            agents: restart::agents(&ledger),
            ledger,
            jobs: BTreeMap::new(),
            sealed: BTreeMap::new(),
            opened: Vec::new(),
            phase: Phase::Sealing,
            pending: Vec::new(),
        };
        for entry in restart::releases(&node.ledger) {
            node.book(entry)?;
        }
        Ok(node)
    }

    /// The epoch that is bid for now.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which part of it.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Agents.
    #[must_use]
    pub const fn agents(&self) -> &BTreeMap<AgentId, Agent> {
        &self.agents
    }

    /// Balances.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether this job runs, waits to be measured, or is being checked.
    #[must_use]
    pub fn has_job(&self, job: &BidId) -> bool {
        self.jobs.contains_key(job)
    }

    /// Entries since the last call, in order: they must be on disk before anything that came with them is said or done.
    #[must_use]
    pub fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.pending)
    }

    /// Money and joules for an agent from outside; `key` names the payment, so that the same one comes once.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn fund(&mut self, agent: AgentId, key: [u8; 32], credits: u64, uj: u64) -> Result<(), Refusal> {
        if !self.agents.contains_key(&agent) && self.agents.len() >= AGENTS_MAX {
            return Err(Refusal::TooMany);
        }
        let transfers: Vec<Transfer> = [(Asset::Microcredits, credits), (Asset::Microjoules, uj)]
            .into_iter()
            .filter(|(_, amount)| *amount > 0)
            .map(|(asset, amount)| Transfer {
                asset,
                from: Account::Outside,
                to: Account::Agent(agent),
                amount,
            })
            .collect();
        self.book(Entry { key: EntryKey::of(ENTRY_CONTEXT, &[b"fund", &agent.0, &key]), transfers })?;
        self.agents.entry(agent).or_default();
        Ok(())
    }

    /// A sealed bid for this epoch.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn seal(&mut self, agent: AgentId, sealed: Sealed) -> Result<(), Refusal> {
        let known = self.agents.get_mut(&agent).ok_or(Refusal::UnknownAgent)?;
        if known.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        if self.phase != Phase::Sealing || sealed.epoch != self.epoch {
            return Err(Refusal::Phase);
        }
        if known.bids >= BIDS_MAX {
            return Err(Refusal::TooMany);
        }
        if self.sealed.contains_key(&sealed.id) {
            return Err(Refusal::Seal);
        }
        known.bids += 1;
        self.sealed.insert(sealed.id, agent);
        Ok(())
    }

    /// No more seals.
    pub fn end_sealing(&mut self) {
        self.phase = Phase::Opening;
    }

    /// Opens a sealed bid; the joules that it is expected to take must be there for all of the agent's bids together.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn unseal(&mut self, bid: Bid, blind: &[u8; 32]) -> Result<BidId, Refusal> {
        if self.phase != Phase::Opening {
            return Err(Refusal::Phase);
        }
        let sealed = Sealed::new(&bid, self.epoch, blind);
        if self.sealed.get(&sealed.id) != Some(&bid.agent) {
            return Err(Refusal::Seal);
        }
        let hold = self.hold_uj(&bid.bundle);
        let has = self.ledger.balance(Account::Agent(bid.agent), Asset::Microjoules);
        let agent = self.agents.get_mut(&bid.agent).ok_or(Refusal::UnknownAgent)?;
        if agent.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        let reserved = agent.reserved_uj.checked_add(hold).filter(|reserved| *reserved <= has);
        agent.reserved_uj = reserved.ok_or(Refusal::Energy)?;
        // Opened once.
        self.sealed.remove(&sealed.id);
        self.opened.push((sealed.id, bid));
        Ok(sealed.id)
    }

    /// Clears the epoch at this heat, locks what the winners pay, stake and are expected to burn, and begins the next one.
    pub fn clear(&mut self, gpu_mk: i64, headroom_ppm: u32) -> Admitted {
        let epoch = Epoch {
            supply: self.terms.supply,
            reserve: self.terms.reserve,
            heat: self.terms.heat,
            temperature_mk: gpu_mk,
            headroom_ppm,
            stakes: self.terms.stakes,
            interest_ppb: self.terms.interest_ppb,
            proof_discount: self.terms.proof_discount,
        };
        let balance = |agent: &AgentId| self.ledger.balance(Account::Agent(*agent), Asset::Microcredits);
        let funds = self.agents.keys().map(|agent| (*agent, balance(agent))).collect();
        let bids = std::mem::take(&mut self.opened);
        let cleared = clear(&epoch, &bids, &funds);
        let mut admitted = Admitted::default();
        for ((id, bid), result) in bids.iter().zip(cleared.results) {
            match result {
                BidOutcome::Won { pays } => match self.admit(*id, bid, pays) {
                    Ok(admission) => admitted.won.push(admission),
                    // The auction checked the funds of all bids together, so this is a bid without a price and a stake.
                    Err(_) => admitted.refused.push((*id, bid.agent, Refused::Funds)),
                },
                BidOutcome::Lost => admitted.lost.push((*id, bid.agent)),
                BidOutcome::Refused(why) => admitted.refused.push((*id, bid.agent, why)),
            }
        }
        for agent in self.agents.values_mut() {
            (agent.reserved_uj, agent.bids) = (0, 0);
        }
        self.sealed.clear();
        self.phase = Phase::Sealing;
        self.epoch = self.epoch.saturating_add(1);
        admitted
    }

    fn admit(&mut self, id: BidId, bid: &Bid, pays: u64) -> Result<Admission, LedgerError> {
        let hold = self.hold_uj(&bid.bundle);
        let credits = pays.saturating_add(bid.stake);
        let (from, to) = (Account::Agent(bid.agent), books::lock(&id));
        let transfers = [(Asset::Microcredits, credits), (Asset::Microjoules, hold)]
            .into_iter()
            .filter(|(_, amount)| *amount > 0)
            .map(|(asset, amount)| Transfer { asset, from, to, amount })
            .collect();
        self.book(Entry { key: books::key(b"admit", &id), transfers })?;
        let job = Job {
            agent: bid.agent,
            background: if bid.class == Class::Background { hold as f64 / 1e6 } else { 0.0 },
            tier: bid.tier,
            pays,
            stake: bid.stake,
            stage: Stage::Running,
            claimed: None,
            epoch: self.epoch,
        };
        self.jobs.insert(id, job);
        Ok(Admission { job: id, agent: bid.agent, bundle: bid.bundle, pays })
    }

    /// A job says what it did.
    ///
    /// # Errors
    /// [`Refusal::Job`].
    pub fn claim(&mut self, agent: AgentId, job: BidId, claimed: Claimed) -> Result<(), Refusal> {
        let found = self.jobs.get_mut(&job).filter(|job| job.agent == agent && job.stage == Stage::Running);
        let found = found.ok_or(Refusal::Job)?;
        (found.stage, found.claimed) = (Stage::Claimed, Some(claimed));
        if let Some(agent) = self.agents.get_mut(&agent) {
            agent.claims = agent.claims.saturating_add(1);
        }
        Ok(())
    }

    /// A window of an agent's energy, above what the idle machine takes: charges it, weighs it against what was claimed
    /// in it, and says which of the claims have to be checked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn measure(&mut self, agent: AgentId, energy: &Energy, gpu_mk: i64) -> Result<Measured, Refusal> {
        let claimed = self.claimed_by(agent);
        let work: Vec<ClaimedWork> = claimed.iter().map(|(_, work)| *work).collect();
        let rest = self.less_background(agent, energy);
        let state = self.agents.get_mut(&agent).ok_or(Refusal::UnknownAgent)?;
        let pairs: Vec<(&Profile, ClaimedWork)> = work.iter().map(|work| (&self.profile, *work)).collect();
        let before = state.unexplained.joules;
        let alarm = state.unexplained.book(&self.profile, &pairs, &rest);
        let outcome = self.profile.judge(whole(&work), &rest);
        state.nats = (state.nats + against_the_claim(&outcome)).clamp(NATS_SPAN.0, NATS_SPAN.1);
        state.windows = state.windows.saturating_add(1);
        let more = (state.unexplained.joules - before).max(0.0);
        let measured_uj = microjoules(energy.joules);
        state.measured_uj = state.measured_uj.saturating_add(measured_uj);
        let charged_uj = self.charge(agent, measured_uj)?;
        let surcharge = if alarm == Alarm::Unexplained { self.surcharge(agent, more, gpu_mk)? } else { 0 };
        if charged_uj < measured_uj {
            self.stop(agent, Stopped::WalletEmpty)?;
        }
        let mut checks = Vec::new();
        for (id, _) in claimed {
            if self.is_drawn(&id) { self.begin_check(&id, &mut checks) } else { self.settle(&id, true)? }
        }
        self.end_idle_jobs(agent)?;
        let order = self.order(agent);
        Ok(Measured { charged_uj, surcharge, outcome, alarm, checks, order })
    }

    /// A check is over.
    ///
    /// # Errors
    /// [`Refusal::Job`] if no such check was asked for.
    pub fn checked(&mut self, job: BidId, checked: Checked) -> Result<Order, Refusal> {
        let found = self.jobs.get(&job).filter(|found| found.stage == Stage::Checking).ok_or(Refusal::Job)?;
        let agent = found.agent;
        match checked {
            Checked::Holds => self.settle(&job, true)?,
            Checked::Undecided => self.settle(&job, false)?,
            Checked::False => {
                if let Some(agent) = self.agents.get_mut(&agent) {
                    agent.false_claims = agent.false_claims.saturating_add(1);
                }
                self.slash(&job)?;
                self.stop(agent, Stopped::FalseClaim)?;
            }
        }
        Ok(self.order(agent))
    }

    /// What the shell has to do with an agent now.
    #[must_use]
    pub fn order(&self, agent: AgentId) -> Order {
        match self.agents.get(&agent) {
            Some(Agent { stopped: Some(why), .. }) => Order::Stop(*why),
            Some(agent) if agent.unexplained.alarm() == Alarm::Unexplained => {
                Order::Throttle(self.terms.throttled_milli)
            }
            Some(_) | None => Order::Run,
        }
    }

    /// How often an answer of this agent is checked now, in parts per billion.
    #[must_use]
    pub fn check_ppb(&self, agent: AgentId, tier: Tier, stake: u64) -> u64 {
        let is_suspect = self.agents.get(&agent).is_some_and(|agent| agent.nats < SUSPECT_NATS);
        match tier {
            _ if is_suspect => WHOLE_PPB,
            // A proof is checked always: it costs milliseconds.
            Tier::Replayed | Tier::Proved => WHOLE_PPB,
            Tier::Audited => self.terms.stakes.least_rate(stake).unwrap_or(WHOLE_PPB),
        }
    }
}

/// What speaks for or against the claimed work. Too much energy does not: it is billed, and says nothing about the answer.
fn against_the_claim(outcome: &Outcome) -> f64 {
    match outcome {
        Outcome::Evidence(evidence) if evidence.direction == Direction::TooMuch => evidence.nats.max(0.0),
        Outcome::Evidence(evidence) => evidence.nats,
        Outcome::Undecided(_) => 0.0,
    }
}

/// All that was claimed in one window, as one.
fn whole(work: &[ClaimedWork]) -> ClaimedWork {
    let tokens: f64 = work.iter().map(|work| work.tokens).sum();
    let weighted: f64 = work.iter().map(|work| work.tokens * work.batch).sum();
    ClaimedWork { tokens, batch: if tokens > 0.0 { weighted / tokens } else { 0.0 } }
}

/// Whole microjoules of a measured energy; what is not a number is nothing.
fn microjoules(joules: f64) -> u64 {
    if joules.is_finite() && joules > 0.0 { (joules * 1e6) as u64 } else { 0 }
}
