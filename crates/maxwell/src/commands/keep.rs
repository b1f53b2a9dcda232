//! `maxwell keep`: the parent of one agent's processes. Adopts those that lose their parent, so that no agent gets away
//! from its account, and ends all of them when its standard input ends: also when the node is killed.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hypervisor::family::Processes;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use serde_json::json;

use crate::output::{Exit, Finished};

/// How often processes are looked for that have to end.
const ROUNDS: u32 = 1000;

/// Arguments of `maxwell keep`.
#[derive(Debug, Args)]
pub(crate) struct KeepArguments {
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command. It begins with the first byte on standard input, and ends with its end.
pub(crate) fn run(arguments: &KeepArguments) -> anyhow::Result<Finished> {
    set_child_subreaper(Some(getpid())).context("can't adopt orphans")?;
    let finished =
        |text: &str| Finished { exit: Exit::Ok, json: json!({ "ended": text }), text: String::new() };
    let mut byte = [0];
    if std::io::stdin().lock().read_exact(&mut byte).is_err() {
        return Ok(finished("before it began"));
    }
    let Some((program, rest)) = arguments.command.split_first() else { bail!("no command") };
    let child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("can't start {}", Path::new(program).display()))?;
    std::thread::spawn(|| {
        // Nothing more is ever said: this is the end of whoever started us.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        end_all();
        std::process::exit(0);
    });
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid_number(pid) == child.id() && is_end(status) => break,
            // An orphan that ended.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    end_all();
    Ok(finished("by itself"))
}

fn is_end(status: rustix::process::WaitStatus) -> bool {
    status.exited() || status.signaled()
}

fn pid_number(pid: Pid) -> u32 {
    u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0)
}

/// Ends everything below us.
fn end_all() {
    for _ in 0..ROUNDS {
        let own = std::process::id();
        let Ok(processes) = Processes::read(Path::new("/proc")) else { return };
        let members = processes.below(own);
        if members.len() <= 1 {
            return;
        }
        for member in members.into_iter().filter(|member| *member != own) {
            signal(member, Signal::KILL);
        }
        // Those that ended are in the list until somebody asks for them.
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal; a process that is gone needs none.
pub(super) fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
