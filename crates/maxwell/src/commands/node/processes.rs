//! An agent's processes: started below a keeper, accounted, made to rest, ended. Where control groups can be made the kernel
//! does it; elsewhere we read every process of the family and send signals.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use hypervisor::cgroup::{Group, Groups};
use hypervisor::family::{Family, Processes};
use hypervisor::limiter::Limiter;
use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::{MODEL_VARIABLE, SOCKET_VARIABLE, Tenant};
use crate::commands::keep::signal;

/// Where the kernel tells of processes.
pub(super) const PROCFS: &str = "/proc";
/// Looks for new members while a family is stopped.
const ROUNDS: u32 = 4;

/// Groups for this node's agents, where they can be made.
pub(super) fn groups(are_unwanted: bool) -> Option<Groups> {
    if are_unwanted {
        return None;
    }
    Groups::of_machine(&format!("maxwell-node-{}", std::process::id())).ok()
}

/// From now on orphans come to this process: an agent that ends its keeper does not get away by that.
pub(super) fn adopt_orphans() -> anyhow::Result<()> {
    set_child_subreaper(Some(getpid())).context("can't adopt orphans")
}

/// Ends whatever descends from this process and belongs to no agent any more.
pub(super) fn end_strays<'a>(processes: &Processes, agents: impl Iterator<Item = &'a AgentProcess>) {
    let own = std::process::id();
    let mut strays = processes.below(own);
    strays.remove(&own);
    for agent in agents {
        strays.remove(&agent.family.head());
        if !agent.is_over {
            strays.retain(|stray| !agent.family.members().contains(stray));
        }
    }
    for stray in strays {
        signal(stray, Signal::KILL);
        // Ours to ask for, if it was an orphan; its parent's otherwise.
        if let Some(pid) = i32::try_from(stray).ok().and_then(Pid::from_raw) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// One agent's.
#[derive(Debug)]
pub(super) struct AgentProcess {
    keeper: Child,
    family: Family,
    group: Option<Group>,
    limiter: Limiter,
    is_resting: bool,
    is_over: bool,
    used: f64,
}

impl AgentProcess {
    /// Starts it. Nothing of it runs before it is in its group.
    pub(super) fn start(
        tenant: &Tenant,
        sockets: &Path,
        model: &str,
        groups: Option<&Groups>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("can't find our own program")?;
        let mut keeper = Command::new(&program);
        keeper.args(["keep", "--", "sh", "-c", &tenant.command]);
        keeper.env(SOCKET_VARIABLE, sockets).env(MODEL_VARIABLE, model);
        if let Some(folder) = program.parent() {
            // So that `maxwell agent` is this very program.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = [folder.to_owned()].into_iter().chain(std::env::split_paths(&path));
            keeper.env("PATH", std::env::join_paths(folders)?);
        }
        let mut keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start {}", tenant.name))?;
        let group = match groups {
            Some(groups) => {
                let group = groups.add(&tenant.name)?;
                group.admit(keeper.id())?;
                Some(group)
            }
            None => None,
        };
        if let Some(stdin) = &mut keeper.stdin {
            stdin.write_all(b"!")?;
        }
        let family = Family::of(keeper.id());
        Ok(Self {
            keeper,
            family,
            group,
            limiter: Limiter::default(),
            is_resting: false,
            is_over: false,
            used: 0.0,
        })
    }

    /// Processor seconds of all that it ever started, until now.
    pub(super) fn used(&mut self) -> f64 {
        let used = match &self.group {
            Some(group) => group.processor_seconds().unwrap_or(self.used),
            None => self.family.seconds(Path::new(PROCFS)),
        };
        self.used = self.used.max(used);
        self.used
    }

    /// What was read last.
    pub(super) const fn last_used(&self) -> f64 {
        self.used
    }

    /// Whether it has a limit that we have to keep it to: then it is read at each tick.
    pub(super) const fn is_governed(&self) -> bool {
        self.group.is_none() && self.limiter.has_limit()
    }

    /// Learns of its processes, and what they used.
    pub(super) fn look(&mut self, processes: &Processes) {
        self.family.look(processes);
        if self.group.is_some() {
            self.used();
        } else {
            self.used = self.used.max(self.family.seconds_in(processes));
        }
    }

    /// Whether a process is one of its own.
    pub(super) fn has(&mut self, process: u32) -> bool {
        if !self.family.members().contains(&process)
            && let Ok(processes) = Processes::read(Path::new(PROCFS))
        {
            self.family.look(&processes);
        }
        self.family.members().contains(&process)
    }

    /// From now on so many thousandths of a processor.
    pub(super) fn limit(&mut self, milli: Option<u64>) {
        match (&self.group, milli) {
            (Some(group), Some(milli)) => drop(group.limit(milli)),
            (Some(group), None) => drop(group.unlimit()),
            (None, milli) => self.limiter.limit(milli),
        }
    }

    /// Lets it rest or go on, as its limit says.
    pub(super) fn govern(&mut self, now_ns: u64) {
        let must_rest = self.limiter.must_rest(now_ns, self.used) && !self.is_over;
        if self.group.is_some() || (!must_rest && !self.is_resting) {
            return;
        }
        let what = if must_rest { Signal::STOP } else { Signal::CONT };
        self.is_resting = must_rest;
        for _ in 0..ROUNDS {
            let before = self.family.members().clone();
            for member in before.iter().filter(|member| **member != self.family.head()) {
                signal(*member, what);
            }
            // A member that was just born is not stopped yet.
            let Ok(processes) = Processes::read(Path::new(PROCFS)) else { return };
            self.family.look(&processes);
            if *self.family.members() == before {
                return;
            }
        }
    }

    /// Whether it ended since this was asked last, and not by us.
    pub(super) fn has_just_ended(&mut self) -> bool {
        !self.is_over && self.is_over()
    }

    /// Whether all of it ended.
    fn is_over(&mut self) -> bool {
        if !self.is_over && matches!(self.keeper.try_wait(), Ok(Some(_)) | Err(_)) {
            self.is_over = true;
        }
        self.is_over
    }

    /// Ends all of it.
    pub(super) fn end(&mut self) {
        self.used();
        if let Some(group) = &self.group {
            drop(group.kill());
        }
        // The keeper ends everything below it when this is closed.
        drop(self.keeper.stdin.take());
        for _ in 0..1000 {
            if self.is_over() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        self.end();
    }
}
