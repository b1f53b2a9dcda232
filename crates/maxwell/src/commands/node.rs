//! `maxwell node`: agents as real processes on this machine. They bid for its processors, run inference on their own
//! engines, and are metered, checked, charged, throttled or stopped by the rules of `hypervisor::node`. Nothing here decides
//! what anybody is paid.

mod calibration;
mod checks;
mod daemon;
mod processes;
mod report;
mod sockets;
mod statement;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hypervisor::desk::Desk;
use hypervisor::meters::{Meters, Roots, roots_below};
use hypervisor::node::Node;
use hypervisor::sensors::Quantity;
use hypervisor::store::Store;
use hypervisor::thermo::Profile;
use market::ledger::AgentId;
use protocol::settings::MAX_OUTPUT_TOKENS;

use self::daemon::{Daemon, Input};
use self::processes::AgentProcess;
use super::{Shell, calibrate};
use crate::home::create_folder;
use crate::models::{self, RunOptions};
use crate::output::{Finished, Misuse};
use crate::random::random_bytes;
use crate::signals::StopSignal;

/// Tells an agent the folder of its socket.
pub(super) const SOCKET_VARIABLE: &str = "MAXWELL_NODE_SOCKET";
/// Tells an agent the model that is sold.
pub(super) const MODEL_VARIABLE: &str = "MAXWELL_NODE_MODEL";
/// `derive_key` context of an account's name.
const NAME_CONTEXT: &str = "maxwell 2026-11 node agent name v1";
const LEDGER_FILE: &str = "ledger.sqlite";
/// Inputs that wait for the one thread that decides.
const QUEUE: usize = 1024;

/// Arguments of `maxwell node`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct NodeArguments {
    #[command(subcommand)]
    what: Option<What>,
    /// The model that is sold
    #[arg(short, long, value_name = "MODEL", required = true)]
    model: Option<String>,
    /// An agent: its name, and the command that it is (an honest one of ours if none)
    #[arg(short, long = "agent", value_name = "NAME[=COMMAND]", required = true, value_parser = tenant)]
    agents: Vec<Tenant>,
    #[command(flatten)]
    settings: Settings,
}

/// How a node runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// The folder of the ledger and the agents' sockets [default: $MAXWELL_HOME/node]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// What a token costs, from `maxwell calibrate`; measured at the start if not given
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Seconds of an epoch
    #[arg(long, value_name = "N", default_value_t = 4.0, value_parser = seconds)]
    epoch_seconds: f64,
    /// End after so many epochs; at Ctrl-C if not given
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_OUTPUT_TOKENS)))]
    tokens: u32,
    /// Processor seconds that each agent is paid at the start
    #[arg(long, value_name = "N", default_value_t = 60.0)]
    cpu_seconds: f64,
    /// Jobs' worth of credits that each agent is paid at the start
    #[arg(long, value_name = "N", default_value_t = 20)]
    credits: u64,
    /// Thousandths of a processor that a throttled agent keeps
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    throttle: u64,
    /// Look for thermometers and meters below FOLDER/sys and FOLDER/proc instead of at this machine
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// No control groups: account by process and throttle by signal
    #[arg(long)]
    no_cgroups: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell node -m smollm2-135m --agent alice --agent bob=\"maxwell agent --mine\" --epochs 12
  maxwell node -m smollm2-135m --agent carol=\"maxwell agent --lie\" --epochs 4 --json
  maxwell node statement alice

An agent is any command that speaks the node's protocol at $MAXWELL_NODE_SOCKET/v.sock (CONNECT 5252) or .../v.sock_5252;
`maxwell agent` is one. Each agent is one family of processes: what any of them uses is charged to it. Without a meter for
each process, processor time stands in for energy: the wallet's joules are then processor seconds, and say so.";

/// What else can be done with a node.
#[derive(Debug, Subcommand)]
enum What {
    /// What an agent paid, earned and was charged, from the ledger
    Statement(statement::StatementArguments),
}

/// One agent to be.
#[derive(Clone, Debug)]
struct Tenant {
    name: String,
    command: String,
}

fn tenant(text: &str) -> Result<Tenant, String> {
    let (name, command) = text.split_once('=').unwrap_or((text, "maxwell agent"));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(is_plain) {
        return Err("a name is 1 to 32 of a-z, 0-9 and -".to_owned());
    }
    Ok(Tenant { name: name.to_owned(), command: command.to_owned() })
}

fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse().ok().filter(|seconds| (0.5..=3600.0).contains(seconds));
    parsed.ok_or_else(|| "between 0.5 and 3600 seconds".to_owned())
}

/// The account of a name.
fn account(name: &str) -> AgentId {
    AgentId(blake3::derive_key(NAME_CONTEXT, name.as_bytes()))
}

/// The node's folder.
fn folder(shell: &Shell, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(folder) => {
            create_folder(folder)?;
            Ok(folder.to_owned())
        }
        None => shell.home.folder("node"),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &NodeArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if let Some(What::Statement(arguments)) = &arguments.what {
        return statement::run(arguments, shell);
    }
    let settings = &arguments.settings;
    let Some(reference) = &arguments.model else { bail!("no model") };
    check_names(&arguments.agents)?;
    let folder = folder(shell, settings.data.as_deref())?;
    // First, because it is also what keeps a second node out.
    let mut store = Store::open(&folder.join(LEDGER_FILE))?;
    let opened = models::open(&shell.home, shell.terminal, reference)?;
    let engine = opened.engine(RunOptions { threads: Some(1), kernels: None })?;
    let work = terms::Work::of(&opened.model, settings)?;
    let measured = calibration::measure(&engine, &work, shell)?;
    let profile = match &settings.profile {
        Some(path) => processor_profile(path)?,
        None => measured.profile.clone(),
    };
    let terms = terms::Terms::of(&profile, &work, settings, measured.replay_share)?;
    let mut node = Node::open(terms.node.clone(), profile.clone(), random_bytes()?, store.ledger().clone())?;
    daemon::on_disk(&mut store, node.take_entries())?;
    let began = Instant::now();
    let mut desk = Desk::open(node, terms.plan.clone(), random_bytes()?, 0);
    let (sender, receiver) = sync_channel::<Input>(QUEUE);
    let groups = processes::groups(settings.no_cgroups);
    processes::adopt_orphans()?;
    let payment = random_bytes()?;
    let mut agents = std::collections::BTreeMap::new();
    for tenant in &arguments.agents {
        let id = account(&tenant.name);
        desk.join(id, &tenant.name, payment, terms.payment, daemon::since(&began))?;
        let sockets = folder.join("run").join(&tenant.name);
        sockets::listen(&sockets, id, &sender).with_context(|| format!("the sockets of {}", tenant.name))?;
        let process = AgentProcess::start(tenant, &sockets, reference, groups.as_ref())?;
        agents.insert(id, process);
    }
    daemon::on_disk(&mut store, desk.take_entries())?;
    shell.terminal.note(terms.line(&profile, groups.is_some()));
    let checker = checks::start(engine, sender.clone());
    stop_at_signal(sender);
    let roots = settings.root.as_deref().map_or_else(Roots::default, roots_below);
    let chassis = (Meters::open(roots), terms.climate());
    let mut daemon = Daemon::new(desk, store, agents, checker, chassis, began, shell.terminal);
    daemon.run(&receiver, settings.epochs, terms.plan.epoch_ns)?;
    Ok(report::finished(&daemon, &profile, groups.is_some()))
}

fn check_names(agents: &[Tenant]) -> anyhow::Result<()> {
    let mut names: Vec<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Misuse("two agents have the same name".to_owned()).into());
    }
    Ok(())
}

fn processor_profile(path: &Path) -> anyhow::Result<Profile> {
    let profile = calibrate::read_profile(path)?;
    if profile.quantity != Quantity::CpuTime {
        let words = "the profile counts energy of the whole machine; a node needs one of processor time, since no meter here \
                     counts each process: leave --profile out to measure one now";
        return Err(Misuse(words.to_owned()).into());
    }
    Ok(profile)
}

fn stop_at_signal(sender: std::sync::mpsc::SyncSender<Input>) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let mut signal = StopSignal::new();
            loop {
                signal.next().await;
                if sender.send(Input::Stop).is_err() {
                    return;
                }
            }
        });
    });
}
