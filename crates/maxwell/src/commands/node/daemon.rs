//! The one thread that decides: takes what agents say, time and verdicts to the desk, and does what it says, in this order:
//! entries on disk, orders, words, checks. Nothing is said before what it rests on is on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hypervisor::climate::Climate;
use hypervisor::desk::{Check, Desk, Todo, Window};
use hypervisor::family::Looker;
use hypervisor::meters::Meters;
use hypervisor::node::{Admission, Checked, Order, Stopped};
use hypervisor::sensors::cpu_time;
use hypervisor::store::{BATCH_MAX, Store};
use hypervisor::unexplained::Alarm;
use hypervisor::wire::{Event, line, saying};
use market::auction::BidId;
use market::ledger::{AgentId, Entry};

use super::processes::{AgentProcess, PROCFS, end_strays};
use crate::output::Terminal;

/// How often meters are read.
const TICK: Duration = Duration::from_millis(100);
/// How often new processes are looked for, in ticks.
const LOOK_TICKS: u64 = 5;
/// Epochs that what runs at the end still gets.
const LAST_EPOCHS: u64 = 3;

/// What comes to the thread that decides.
#[derive(Debug)]
pub(super) enum Input {
    Connected { agent: AgentId, connection: u64, process: u32, outbox: SyncSender<Vec<u8>> },
    Line { agent: AgentId, connection: u64, line: Vec<u8> },
    Closed { agent: AgentId, connection: u64 },
    Checked { job: BidId, checked: Checked, seconds: f64 },
    Stop,
}

/// Books entries; when it returns they are on disk.
pub(super) fn on_disk(store: &mut Store, entries: Vec<Entry>) -> anyhow::Result<()> {
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        for result in store.book(entries.by_ref().take(BATCH_MAX).collect())? {
            result.context("the ledger on disk and the node's differ")?;
        }
    }
    Ok(())
}

/// Nanoseconds since a moment.
pub(super) fn since(began: &Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What was counted for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) epochs: u64,
    pub(super) checks: u64,
    pub(super) check_seconds: f64,
    pub(super) seconds: f64,
    /// Processor seconds of the node itself in this time, its checks among them; none where they can't be read.
    pub(super) own_seconds: Option<f64>,
}

/// Processor seconds of this process until now.
fn own_seconds() -> Option<f64> {
    cpu_time::of_process(Path::new(PROCFS), std::process::id()).ok()
}

/// The daemon.
pub(super) struct Daemon {
    pub(super) desk: Desk,
    store: Store,
    agents: BTreeMap<AgentId, AgentProcess>,
    outboxes: BTreeMap<AgentId, (u64, SyncSender<Vec<u8>>)>,
    checker: Sender<Check>,
    meters: Meters,
    pub(super) climate: Climate,
    looker: Looker,
    began: Instant,
    ticks: u64,
    pub(super) counts: Counts,
    terminal: Terminal,
}

impl Daemon {
    pub(super) fn new(
        desk: Desk,
        store: Store,
        agents: BTreeMap<AgentId, AgentProcess>,
        checker: Sender<Check>,
        chassis: (Meters, Climate),
        began: Instant,
        terminal: Terminal,
    ) -> Self {
        let (meters, climate) = chassis;
        Self {
            desk,
            store,
            agents,
            outboxes: BTreeMap::new(),
            checker,
            meters,
            climate,
            looker: Looker::default(),
            began,
            ticks: 0,
            counts: Counts::default(),
            terminal,
        }
    }

    /// Until so many epochs are over, or somebody says stop; what runs then may end.
    pub(super) fn run(
        &mut self,
        inputs: &Receiver<Input>,
        epochs: Option<u64>,
        epoch_ns: u64,
    ) -> anyhow::Result<()> {
        let own_before = own_seconds();
        let mut closes_ns = None;
        let mut next = Instant::now() + TICK;
        loop {
            match inputs.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Input::Stop) if closes_ns.is_some() => bail!("stopped at once; the ledger is whole"),
                Ok(Input::Stop) => closes_ns = Some(self.close()),
                Ok(input) => self.take(input)?,
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + TICK;
                    self.tick()?;
                }
                Err(RecvTimeoutError::Disconnected) => bail!("nobody can reach the node any more"),
            }
            if epochs.is_some_and(|most| self.counts.epochs >= most) && closes_ns.is_none() {
                closes_ns = Some(self.close());
            }
            if let Some(closed_ns) = closes_ns {
                let is_late = since(&self.began) > closed_ns.saturating_add(epoch_ns * LAST_EPOCHS);
                if self.desk.is_idle() || is_late {
                    break;
                }
            }
        }
        self.counts.seconds = self.began.elapsed().as_secs_f64();
        self.counts.own_seconds = own_seconds().zip(own_before).map(|(after, before)| after - before);
        for agent in self.agents.values_mut() {
            agent.end();
        }
        if let Ok(processes) = self.looker.look(Path::new(PROCFS)) {
            end_strays(&processes, self.agents.values());
        }
        Ok(())
    }

    fn close(&mut self) -> u64 {
        self.terminal.note("no more bids; what runs may end");
        self.desk.close();
        since(&self.began)
    }

    fn take(&mut self, input: Input) -> anyhow::Result<()> {
        match input {
            Input::Connected { agent, connection, process, outbox } => {
                let is_own = self.agents.get_mut(&agent).is_some_and(|agent| agent.has(process));
                if is_own && !self.outboxes.contains_key(&agent) {
                    self.outboxes.insert(agent, (connection, outbox));
                } else {
                    let why = if is_own {
                        "there is a connection already"
                    } else {
                        "this socket is another agent's"
                    };
                    // Whoever it is may not read it; then it is not told.
                    let _ = outbox.try_send(line(&Event::Refused { why: why.to_owned() }));
                }
                Ok(())
            }
            Input::Line { agent, connection, line: bytes } => {
                if self.outboxes.get(&agent).map(|(open, _)| *open) != Some(connection) {
                    return Ok(());
                }
                match saying(&bytes) {
                    Ok(saying) => {
                        let used = self.agents.get_mut(&agent).map_or(0.0, AgentProcess::used);
                        let todo = self.desk.said(agent, saying, used, since(&self.began))?;
                        self.carry_out(todo)
                    }
                    Err(error) => {
                        self.say(agent, &Event::Refused { why: error.to_string() });
                        self.outboxes.remove(&agent);
                        Ok(())
                    }
                }
            }
            Input::Closed { agent, connection } => {
                if self.outboxes.get(&agent).map(|(open, _)| *open) == Some(connection) {
                    self.outboxes.remove(&agent);
                }
                Ok(())
            }
            Input::Checked { job, checked, seconds } => {
                self.counts.checks += 1;
                self.counts.check_seconds += seconds;
                let todo = self.desk.checked(job, checked)?;
                self.carry_out(todo)
            }
            Input::Stop => Ok(()),
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let now_ns = since(&self.began);
        // Reading all of them is most of what a node costs: at each tick only those that must be kept to a limit are read.
        let is_whole = self.ticks.is_multiple_of(LOOK_TICKS) || now_ns >= self.desk.ends_ns();
        if is_whole && let Ok(processes) = self.looker.look(Path::new(PROCFS)) {
            for (id, agent) in &mut self.agents {
                agent.look(&processes);
                if agent.has_just_ended() {
                    self.terminal.note(format_args!("{}: its processes ended", self.desk.name(*id)));
                }
            }
            end_strays(&processes, self.agents.values());
        }
        self.ticks += 1;
        let mut used = BTreeMap::new();
        for (id, agent) in &mut self.agents {
            if agent.is_governed() {
                agent.used();
            }
            used.insert(*id, agent.last_used());
            agent.govern(now_ns);
        }
        self.climate.see(&self.meters.look(now_ns), now_ns);
        let todo = self.desk.tick(now_ns, &used, self.climate.air())?;
        self.carry_out(todo)
    }

    fn carry_out(&mut self, todo: Todo) -> anyhow::Result<()> {
        on_disk(&mut self.store, self.desk.take_entries())?;
        for (agent, order) in &todo.orders {
            self.order(*agent, *order);
        }
        for (agent, event) in &todo.told {
            self.say(*agent, event);
        }
        for (agent, order) in &todo.orders {
            if let (Order::Stop(_), Some(agent)) = (order, self.agents.get_mut(agent)) {
                agent.end();
            }
        }
        for check in todo.checks {
            self.checker.send(check).context("the checker ended")?;
        }
        for window in &todo.windows {
            self.terminal.note(self.window_line(window));
        }
        if let Some(won) = &todo.won {
            self.counts.epochs += 1;
            if !won.is_empty() {
                self.terminal.note(self.epoch_line(won));
            }
        }
        Ok(())
    }

    fn order(&mut self, agent: AgentId, order: Order) {
        let name = self.desk.name(agent).to_owned();
        let words = match order {
            Order::Run => "runs again".to_owned(),
            Order::Throttle(milli) => format!("is throttled to {milli}/1000 of a processor"),
            Order::Stop(Stopped::WalletEmpty) => "is stopped: its wallet is empty".to_owned(),
            Order::Stop(Stopped::FalseClaim) => "is stopped: a claim was false, its stake is gone".to_owned(),
        };
        self.terminal.note(format_args!("{name} {words}"));
        let Some(process) = self.agents.get_mut(&agent) else { return };
        match order {
            Order::Run => process.limit(None),
            Order::Throttle(milli) => process.limit(Some(milli)),
            Order::Stop(_) => {}
        }
    }

    /// Never waits: an agent that does not read is disconnected.
    fn say(&mut self, agent: AgentId, event: &Event) {
        if let Some((_, outbox)) = self.outboxes.get(&agent)
            && outbox.try_send(line(event)).is_err()
        {
            self.outboxes.remove(&agent);
        }
    }

    fn window_line(&self, window: &Window) -> String {
        let name = self.desk.name(window.agent);
        let unexplained =
            self.desk.node().agents().get(&window.agent).map_or(0.0, |agent| agent.unexplained.sum);
        let alarm = match window.measured.alarm {
            Alarm::Quiet => String::new(),
            Alarm::Unexplained => format!(
                ", more than its claims explain: {:.3} credits for it",
                window.measured.surcharge as f64 / 1e6
            ),
        };
        format!(
            "  {name} used {:.2} s of processors (unexplained: {unexplained:.1} deviations){alarm}",
            window.seconds
        )
    }

    fn epoch_line(&self, won: &[Admission]) -> String {
        let winners: Vec<String> = won
            .iter()
            .map(|won| {
                let [cpu_ms, ..] = won.bundle;
                format!("{} {cpu_ms} ms for {:.4}", self.desk.name(won.agent), won.pays as f64 / 1e6)
            })
            .collect();
        format!("epoch {}: {}", self.counts.epochs, winners.join(", "))
    }
}
