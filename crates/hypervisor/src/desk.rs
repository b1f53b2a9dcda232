//! The node's desk: what agents may say when, the work that winners are given, and the times of an epoch, all over the
//! rules of [`node`](crate::node). Pure: time, processor time, heat and verdicts are arguments; what comes out are words for
//! agents, jobs to check and orders for the shell.
//!
//! A job is given its requests one after the other, so that the node knows how many ran at a time, and each with a nonce
//! that nobody can foresee, so that no old answer fits.

use std::collections::BTreeMap;

use market::auction::{BidId, Bundle, Sealed};
use market::ledger::{Account, AgentId, Asset, Entry};
use protocol::claim::Claim;
use protocol::id::{ClientSeed, ID_BYTES, ModelCommitment, Nonce};

use crate::energy::{Energy, square_sum};
use crate::node::{Admission, Checked, Claimed, Measured, Node, Order, Phase, Refusal, Stopped};
use crate::sensors::cpu_time::TICK_NS;
use crate::unexplained::Alarm;
use crate::wire::{Event, Hex32, Sampling, Saying};

mod answers;
#[cfg(test)]
mod tests;

/// `derive_key` context.
const NONCE_CONTEXT: &str = "maxwell 2026-11 node request nonce v1";
/// Relative deviation of processor time for the same work, from company in the caches.
const PROCESSOR_SIGMA: f64 = 0.05;
/// Ticks by which a window of a family of processes may be off.
const TICKS_OFF: f64 = 3.0;
/// A window ends after so many epochs, whatever is still running.
const WINDOW_EPOCHS: u64 = 3;

/// What a node sells and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Nanoseconds of an epoch.
    pub epoch_ns: u64,
    /// Of these at its end, for opening seals.
    pub opening_ns: u64,
    /// What an agent may use without a word before it has said hello.
    pub greeting_ns: u64,
    /// What there is in an epoch.
    pub supply: Bundle,
    /// Most requests of a job.
    pub requests: u32,
    /// Milliseconds of CPU that one is expected to take.
    pub request_cpu_ms: u64,
    /// What it earns at full length, in microcredits.
    pub request_reward: u64,
    /// A stake that is enough.
    pub stake: u64,
    /// How they are sampled.
    pub sampling: Sampling,
    /// Prompts, given in turn; at least one.
    pub prompts: Vec<Vec<u32>>,
    /// The model that is sold.
    pub model: ModelCommitment,
}

/// The chassis now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Air {
    /// Thousandths of a degree.
    pub temperature_mk: i64,
    /// What is left before it throttles, in parts per million.
    pub headroom_ppm: u32,
}

/// A job whose answers have to be run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The job.
    pub job: BidId,
    /// Whose.
    pub agent: AgentId,
    /// Its answers; each is to the request that was given.
    pub claims: Vec<Claim>,
}

/// What a window came to, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Whose.
    pub agent: AgentId,
    /// Seconds of processor time in it.
    pub seconds: f64,
    /// What the rules made of it.
    pub measured: Measured,
}

/// What the shell has to do, in this order: entries on disk, orders, words, checks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Todo {
    /// New orders.
    pub orders: Vec<(AgentId, Order)>,
    /// Words.
    pub told: Vec<(AgentId, Event)>,
    /// Checks.
    pub checks: Vec<Check>,
    /// Windows that ended.
    pub windows: Vec<Window>,
    /// Who won, if an epoch began.
    pub won: Option<Vec<Admission>>,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    is_here: bool,
    joined_ns: u64,
    from_ns: u64,
    used: f64,
    order: Order,
    paid_tokens: u64,
}

#[derive(Clone, Debug)]
struct Work {
    agent: AgentId,
    requests: u32,
    nonce: Nonce,
    prompt: usize,
    claims: Vec<Claim>,
}

/// The desk.
#[derive(Clone, Debug)]
pub struct Desk {
    node: Node,
    plan: Plan,
    secret: [u8; 32],
    members: BTreeMap<AgentId, Member>,
    work: BTreeMap<BidId, Work>,
    began_ns: u64,
    given: usize,
    is_closing: bool,
}

impl Desk {
    /// Opens at a moment; `secret` makes the nonces.
    #[must_use]
    pub const fn open(node: Node, plan: Plan, secret: [u8; 32], now_ns: u64) -> Self {
        Self {
            node,
            plan,
            secret,
            members: BTreeMap::new(),
            work: BTreeMap::new(),
            began_ns: now_ns,
            given: 0,
            is_closing: false,
        }
    }

    /// The rules, and the ledger under them.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// See [`Node::take_entries`].
    #[must_use]
    pub fn take_entries(&mut self) -> Vec<Entry> {
        self.node.take_entries()
    }

    /// A name, or what an unknown account is called.
    #[must_use]
    pub fn name(&self, agent: AgentId) -> &str {
        self.members.get(&agent).map_or("unknown", |member| &member.name)
    }

    /// Whether an agent joined since the desk was opened.
    #[must_use]
    pub fn has_member(&self, agent: AgentId) -> bool {
        self.members.contains_key(&agent)
    }

    /// Tokens of an agent that were paid for.
    #[must_use]
    pub fn paid_tokens(&self, agent: AgentId) -> u64 {
        self.members.get(&agent).map_or(0, |member| member.paid_tokens)
    }

    /// No more bids; what runs may end.
    pub const fn close(&mut self) {
        self.is_closing = true;
    }

    /// Whether nothing runs and nothing is being checked.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.work.is_empty()
    }

    /// When the epoch ends: what each agent used has to be known then.
    #[must_use]
    pub const fn ends_ns(&self) -> u64 {
        self.began_ns.saturating_add(self.plan.epoch_ns)
    }

    /// An agent whose processes begin now, paid into its account.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn join(
        &mut self,
        agent: AgentId,
        name: &str,
        payment: [u8; 32],
        (credits, uj): (u64, u64),
        now_ns: u64,
    ) -> Result<(), Refusal> {
        self.node.fund(agent, payment, credits, uj)?;
        let member = Member {
            name: name.to_owned(),
            is_here: false,
            joined_ns: now_ns,
            from_ns: now_ns,
            used: 0.0,
            order: Order::Run,
            paid_tokens: 0,
        };
        self.members.insert(agent, member);
        Ok(())
    }

    /// An agent says something; `used` is its processor time until now.
    ///
    /// # Errors
    /// [`Refusal`] of the ledger: the shell must stop. Everything else is told to the agent.
    pub fn said(&mut self, agent: AgentId, saying: Saying, used: f64, now_ns: u64) -> Result<Todo, Refusal> {
        let mut todo = Todo::default();
        let result = match saying {
            Saying::Hello => return self.hello(agent, used, now_ns),
            Saying::Seal { id, epoch } => self.node.seal(agent, Sealed { id: BidId(id.0), epoch }),
            Saying::Open { offer, blind } => self.node.unseal(offer.bid(agent), &blind.0).map(drop),
            Saying::Answer { job, claim } => self.answer(agent, BidId(job.0), &claim, &mut todo),
        };
        if let Err(refusal) = result {
            todo.told.push((agent, Event::Refused { why: refusal.to_string() }));
        }
        Ok(todo)
    }

    /// Time goes on: `used` is each agent's processor time until now.
    ///
    /// # Errors
    /// [`Refusal`] of the ledger: the shell must stop.
    pub fn tick(&mut self, now_ns: u64, used: &BTreeMap<AgentId, f64>, air: Air) -> Result<Todo, Refusal> {
        let mut todo = Todo::default();
        let ends_ns = self.ends_ns();
        if now_ns >= ends_ns.saturating_sub(self.plan.opening_ns)
            && self.node.phase() == Phase::Sealing
            && !self.is_closing
        {
            self.node.end_sealing();
            let epoch = self.node.epoch();
            self.tell_all(&mut todo, |_| Event::Opening { epoch });
        }
        if now_ns < ends_ns {
            return Ok(todo);
        }
        let agents: Vec<AgentId> = self.members.keys().copied().collect();
        for agent in agents {
            if self.is_due(agent, now_ns) {
                let used = used.get(&agent).copied().unwrap_or(0.0);
                self.weigh(agent, used, now_ns, air, &mut todo)?;
            }
        }
        self.begin_epoch(now_ns, air, &mut todo);
        Ok(todo)
    }

    /// A check is over.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn checked(&mut self, job: BidId, checked: Checked) -> Result<Todo, Refusal> {
        let mut todo = Todo::default();
        let order = self.node.checked(job, checked)?;
        let Some(work) = self.work.remove(&job) else { return Ok(todo) };
        let holds = match checked {
            Checked::Holds => Some(true),
            Checked::False => Some(false),
            Checked::Undecided => None,
        };
        if holds == Some(true) {
            self.paid(&work);
        }
        todo.told.push((work.agent, Event::Checked { job: job.into(), holds }));
        self.order(work.agent, order, &mut todo);
        self.forget_ended();
        Ok(todo)
    }

    fn hello(&mut self, agent: AgentId, used: f64, now_ns: u64) -> Result<Todo, Refusal> {
        let mut todo = Todo::default();
        let Some(member) = self.members.get_mut(&agent) else { return Err(Refusal::UnknownAgent) };
        if !member.is_here {
            member.is_here = true;
            // Getting ready is paid for, and says nothing about any work.
            let ready = Energy { joules: used - member.used, ..Energy::default() };
            (member.used, member.from_ns) = (used, now_ns);
            let measured = self.node.measure(agent, &ready, 0)?;
            self.order(agent, measured.order, &mut todo);
        }
        let welcome = Event::Welcome {
            agent: self.name(agent).to_owned(),
            account: Hex32(agent.0),
            epoch: self.node.epoch(),
            supply: self.plan.supply,
            requests: self.plan.requests,
            request_cpu_ms: self.plan.request_cpu_ms,
            request_reward: self.plan.request_reward,
            stake: self.plan.stake,
        };
        todo.told.push((agent, welcome));
        if self.node.phase() == Phase::Sealing && !self.is_closing {
            todo.told.push((agent, self.sealing(agent)));
        }
        Ok(todo)
    }

    /// Whether a window of the agent can end: everything that it was given is answered, or it takes too long.
    fn is_due(&self, agent: AgentId, now_ns: u64) -> bool {
        let Some(member) = self.members.get(&agent) else { return false };
        let is_open = |work: &Work| work.agent == agent && !work.is_answered();
        let longest = self.plan.epoch_ns.saturating_mul(WINDOW_EPOCHS);
        !self.work.values().any(is_open) || now_ns.saturating_sub(member.from_ns) >= longest
    }

    fn weigh(
        &mut self,
        agent: AgentId,
        used: f64,
        now_ns: u64,
        air: Air,
        todo: &mut Todo,
    ) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(&agent) else { return Ok(()) };
        let seconds = (used - member.used).max(0.0);
        let window_ns = now_ns.saturating_sub(member.from_ns);
        let counts = member.is_here || now_ns.saturating_sub(member.joined_ns) > self.plan.greeting_ns;
        let energy = Energy {
            joules: seconds,
            sigma: square_sum(PROCESSOR_SIGMA * seconds, TICKS_OFF * TICK_NS as f64 / 1e9),
            window_ns,
            gap_ns: 0,
            updates: if counts { window_ns / TICK_NS } else { 0 },
        };
        (member.used, member.from_ns) = (used.max(member.used), now_ns);
        let claimed: Vec<BidId> = self
            .work
            .iter()
            .filter(|(_, w)| w.agent == agent && w.is_answered())
            .map(|(id, _)| *id)
            .collect();
        let measured = self.node.measure(agent, &energy, air.temperature_mk)?;
        for id in claimed {
            let Some(work) = self.work.get(&id) else { continue };
            if measured.checks.contains(&id) {
                todo.checks.push(Check { job: id, agent, claims: work.claims.clone() });
            } else if !self.node.has_job(&id)
                && let Some(work) = self.work.remove(&id)
            {
                self.paid(&work);
            }
        }
        self.forget_ended();
        if measured.charged_uj > 0 || measured.surcharge > 0 {
            let (microjoules, surcharge) = (measured.charged_uj, measured.surcharge);
            todo.told.push((agent, Event::Charged { microjoules, surcharge }));
        }
        self.order(agent, measured.order, todo);
        if seconds > 0.0 || measured.alarm == Alarm::Unexplained {
            todo.windows.push(Window { agent, seconds, measured });
        }
        Ok(())
    }

    fn begin_epoch(&mut self, now_ns: u64, air: Air, todo: &mut Todo) {
        self.began_ns = now_ns;
        if self.is_closing {
            return;
        }
        let admitted = self.node.clear(air.temperature_mk, air.headroom_ppm);
        for admission in &admitted.won {
            self.give_work(admission, todo);
        }
        let lost = admitted.lost.iter().map(|(bid, owner)| (bid, owner, "outbid".to_owned()));
        let refused = admitted.refused.iter().map(|(bid, owner, why)| (bid, owner, format!("{why:?}")));
        for (bid, owner, why) in lost.chain(refused) {
            todo.told.push((*owner, Event::Lost { bid: Hex32(bid.0), why }));
        }
        self.tell_all(todo, |agent| self.sealing(agent));
        todo.won = Some(admitted.won);
    }

    fn sealing(&self, agent: AgentId) -> Event {
        let has = |asset| self.node.ledger().balance(Account::Agent(agent), asset);
        Event::Sealing {
            epoch: self.node.epoch(),
            microcredits: has(Asset::Microcredits),
            microjoules: has(Asset::Microjoules),
        }
    }

    fn tell(&self, agent: AgentId, event: Event, todo: &mut Todo) {
        let is_open = |member: &Member| member.is_here && !matches!(member.order, Order::Stop(_));
        if self.members.get(&agent).is_some_and(is_open) {
            todo.told.push((agent, event));
        }
    }

    fn tell_all(&self, todo: &mut Todo, event: impl Fn(AgentId) -> Event) {
        for agent in self.members.keys() {
            self.tell(*agent, event(*agent), todo);
        }
    }

    /// Passes an order on, if it is a new one.
    fn order(&mut self, agent: AgentId, order: Order, todo: &mut Todo) {
        let Some(member) = self.members.get_mut(&agent).filter(|member| member.order != order) else {
            return;
        };
        member.order = order;
        todo.orders.push((agent, order));
        let event = match order {
            Order::Run => Event::Limited { milli: None },
            Order::Throttle(milli) => Event::Limited { milli: Some(milli) },
            Order::Stop(Stopped::WalletEmpty) => Event::Stopped { why: "the wallet is empty".to_owned() },
            Order::Stop(Stopped::FalseClaim) => Event::Stopped { why: "a claim was false".to_owned() },
        };
        todo.told.push((agent, event));
    }

    fn paid(&mut self, work: &Work) {
        if let Some(member) = self.members.get_mut(&work.agent) {
            member.paid_tokens = member.paid_tokens.saturating_add(work.tokens());
        }
    }

    /// Jobs that the rules ended: too late, or their agent was stopped.
    fn forget_ended(&mut self) {
        self.work.retain(|id, _| self.node.has_job(id));
    }
}
