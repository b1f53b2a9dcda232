//! `maxwell up`: server, gateway and recomputer on this machine, from one command. The three are processes of their
//! own, as they would be on machines of their own; this one is the gateway.

mod client;
mod page;
mod selftest;
mod whitelisted;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use gateway::access::{Access, AccessRules};
use gateway::api_keys::{ApiKeys, MAX_API_KEYS_BYTES};
use gateway::governor::GovernorPolicy;
use gateway::http::router;
use gateway::lease_server;
use gateway::listen::{self, Stage};
use gateway::panel::PanelPolicy;
use gateway::sampling::{AuditPolicy, PPB};
use gateway::server_link::{self, Command as LinkCommand, LinkConfig};
use gateway::service::{EpochSettings, Service, ServiceConfig};
use gateway::state::Mode;
use gateway::unverifiable::BudgetPolicy;
use protocol::keys::SigningKey;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use self::page::Page;
use self::whitelisted::whitelist;
use super::Shell;
use super::bench::MODEL;
use super::pull::pull_package;
use super::serve::cheat::Cheat;
use crate::decimal::ppm;
use crate::home::read_bounded;
use crate::models;
use crate::output::Finished;
use crate::random::random_bytes;
use crate::signals::StopSignal;
use crate::stack::{
    self, BACKLOG_MAX, COMMANDS, CONNECT_WITHIN, CONNECTIONS_MAX, IN_FLIGHT_MAX, LEASE_MS, LOG_FOLDER,
    LOG_KEY_FILE, ServerTimes, Whitelisted, bind, outcome,
};

/// What the recomputers are called.
const SEAT_NAMES: [&str; 2] = ["first", "second"];
/// Until requests are answered: upload, calibration, readback.
const SERVING_WITHIN: Duration = Duration::from_secs(600);

/// Arguments of `maxwell up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Start a server that cheats, so that one can watch it get caught
    #[arg(long, value_name = "HOW")]
    cheat: Option<Cheat>,
    /// Send own requests, wait for the outcome, and succeed only if it is the right one
    #[arg(long)]
    selftest: bool,
    /// Requests of the self-test; with --cheat it ends with the alarm
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// Share of answers that are recomputed; long ones are more likely to be
    #[arg(long, value_name = "SHARE", value_parser = ppm, default_value = "0.1")]
    eps: u32,
    /// Start a second recomputer: the server is killed only if both say that it lies
    #[arg(long)]
    second: bool,
    /// Port on this machine; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// Answer only to the API keys in this file of `maxwell gateway keys`; without it everybody on this machine may ask
    #[arg(long, value_name = "FILE", conflicts_with = "selftest")]
    api_keys: Option<PathBuf>,
    /// Keep the log in this new folder; otherwise it is removed at the end
    #[arg(long, value_name = "FOLDER")]
    log: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell up
  maxwell up --cheat tamper
  maxwell up --selftest --cheat quantized --eps 0.25 --json

Any OpenAI client works: base URL http://127.0.0.1:8080/v1, the model's name as model, any API key.
  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
    -d '{\"model\":\"smollm2-135m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'
The header x-maxwell-receipt of an answer names its receipt, at /v1/receipts/NAME. State: /status, /metrics, and
the page http://127.0.0.1:8080/ for people. Ends with Ctrl-C, or when the server is killed and nobody looks at the
page any more.";

/// Runs the command.
pub(crate) fn run(arguments: &UpArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if arguments.model == MODEL && models::find(&shell.home, MODEL).is_err() {
        pull_package(shell, MODEL)?;
    }
    let access = Access::new(access_rules(arguments)?);
    let whitelisted = whitelist(shell, models::find(&shell.home, &arguments.model)?)?;
    let folder = RunFolder::new(arguments.log.as_deref(), &shell.home.folder("up")?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start threads")?;
    runtime.block_on(up(arguments, shell, whitelisted, access, &folder))
}

/// Who may ask, and how much.
fn access_rules(arguments: &UpArguments) -> anyhow::Result<AccessRules> {
    let keys = match &arguments.api_keys {
        Some(path) => {
            let bytes = read_bounded(path, MAX_API_KEYS_BYTES)?;
            Some(ApiKeys::decode(&bytes).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    Ok(AccessRules { keys, ..AccessRules::default() })
}

/// Sockets and log of one run.
struct RunFolder {
    path: PathBuf,
    keep: bool,
}

impl RunFolder {
    fn new(log: Option<&Path>, parent: &Path) -> anyhow::Result<Self> {
        let path = match log {
            Some(path) => path.to_owned(),
            None => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                parent.join(format!("{}-{}", now.as_millis(), std::process::id()))
            }
        };
        std::fs::create_dir(&path)
            .with_context(|| format!("can't make the folder {}; name a new one", path.display()))?;
        Ok(Self { path, keep: log.is_some() })
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Everything that runs.
struct Running {
    service: Arc<Service>,
    address: SocketAddr,
    commands: mpsc::Sender<LinkCommand>,
    link: tokio::task::JoinHandle<anyhow::Result<Mode>>,
    recomputers: Vec<Child>,
    page: Page,
    stage: watch::Sender<Stage>,
}

async fn up(
    arguments: &UpArguments,
    shell: &Shell,
    whitelisted: Whitelisted,
    access: Arc<Access>,
    folder: &RunFolder,
) -> anyhow::Result<Finished> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))
        .await
        .with_context(|| format!("port {} is taken; give another --port", arguments.port))?;
    shell.terminal.note("starting: the gateway checks the weights and uploads them, the server loads them");
    let mut running = start(arguments, whitelisted, access, folder, listener).await?;
    let mut modes = running.service.watch_mode();
    wait_until_serving(&mut modes).await?;
    let address = running.address;
    shell.terminal.note(format_args!("serving at http://{address}/v1"));
    shell.terminal.note(format_args!("watch it at http://{address}/"));
    let outcome = if arguments.selftest {
        selftest::run(arguments, shell, &running.service, address).await?
    } else {
        serve_until_stopped(shell, &mut running, &mut modes).await
    };
    for recomputer in &mut running.recomputers {
        let _ = recomputer.start_kill();
        let _ = recomputer.wait().await;
    }
    running.stage.send_replace(Stage::Closed);
    stack::end(&running.service, &running.commands, Some(running.link)).await?;
    Ok(outcome)
}

/// Starts the three, and the API.
async fn start(
    arguments: &UpArguments,
    whitelisted: Whitelisted,
    access: Arc<Access>,
    folder: &RunFolder,
    listener: TcpListener,
) -> anyhow::Result<Running> {
    let weights = whitelisted.weights.clone();
    let (commands, received) = mpsc::channel(COMMANDS);
    let (mode_sender, mode) = watch::channel(Mode::Off);
    let (config, stream, child) = start_server(arguments, &whitelisted, folder).await?;
    let run = server_link::run(config, stream, Some(child), received, mode_sender);
    let link = tokio::spawn(async { Ok(run.await) });
    let config = service_config(arguments, whitelisted)?;
    let store_key: [u8; 32] = random_bytes()?;
    if folder.keep {
        // Whoever may read the log's folder may read the log: here both are the operator.
        stack::store_log_key(&folder.path.join(LOG_KEY_FILE), &store_key)?;
        stack::store_receipt_key(&folder.path, &config.key)?;
    }
    let log = folder.path.join(LOG_FOLDER);
    let service = stack::open_service(config, log, store_key, commands.clone(), mode).await?;
    let mut recomputers = Vec::new();
    for seat in 0..=usize::from(arguments.second) {
        let lease_path = folder.path.join(format!("lease-{seat}"));
        tokio::spawn(lease_server::serve(bind(&lease_path)?, Arc::clone(&service), seat));
        let mut recomputer = program()?;
        recomputer.args(["recompute", "--gateway"]).arg(&lease_path).arg("-m").arg(&weights);
        recomputers.push(spawn(&mut recomputer)?);
    }
    let address = listener.local_addr().context("the port has no address")?;
    let page = Page::new(Arc::clone(&service));
    let routes = router(Arc::clone(&service), Arc::clone(&access)).merge(page.routes());
    let (stage, stages) = watch::channel(Stage::Open);
    tokio::spawn(listen::serve(listener, routes, Arc::clone(&service), access, CONNECTIONS_MAX, stages));
    Ok(Running { service, address, commands, link, recomputers, page, stage })
}

/// Starts the server's process, and waits until it has connected.
async fn start_server(
    arguments: &UpArguments,
    whitelisted: &Whitelisted,
    folder: &RunFolder,
) -> anyhow::Result<(LinkConfig, UnixStream, Child)> {
    let link_path = folder.path.join("link");
    let link_listener = bind(&link_path)?;
    let mut server = program()?;
    server.args(["serve", "--link"]).arg(&link_path);
    if let Some(cheat) = arguments.cheat.and_then(|cheat| cheat.to_possible_value()) {
        server.args(["--cheat", cheat.get_name()]);
    }
    let child = spawn(&mut server)?;
    let accepted = tokio::time::timeout(CONNECT_WITHIN, link_listener.accept()).await;
    let (stream, _) = accepted.context("the server did not connect")?.context("the server's link failed")?;
    Ok((whitelisted.link(ServerTimes::default()), stream, child))
}

/// Fresh keys for this run.
fn service_config(arguments: &UpArguments, whitelisted: Whitelisted) -> anyhow::Result<ServiceConfig> {
    let rate_ppb = (u64::from(arguments.eps) * 1000).min(PPB);
    let (seed_key, draw_audit_key) = stack::audit_keys()?;
    Ok(ServiceConfig {
        entry: whitelisted.entry,
        tokenizer: whitelisted.tokenizer,
        key: SigningKey::from_seed(random_bytes()?),
        seed_key,
        draw_audit_key,
        policy: AuditPolicy { rate_ppb, floor_ppb: rate_ppb },
        epochs: EpochSettings::default(),
        in_flight_max: IN_FLIGHT_MAX,
        recomputers: PanelPolicy {
            names: SEAT_NAMES
                .iter()
                .take(1 + usize::from(arguments.second))
                .map(|name| (*name).to_owned())
                .collect(),
            second_ppb: PPB / 10,
            canary_ppb: PPB / 20,
            key: random_bytes()?,
            ..PanelPolicy::single(LEASE_MS, BACKLOG_MAX)
        },
        egress: GovernorPolicy::default(),
        unverifiable: BudgetPolicy::default(),
    })
}

/// This program, to be started again as another party.
fn program() -> anyhow::Result<Command> {
    let path = std::env::current_exe().context("this program does not know its own path")?;
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).arg("--quiet");
    Ok(command)
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    command.spawn().context("can't start this program again")
}

async fn wait_until_serving(modes: &mut watch::Receiver<Mode>) -> anyhow::Result<()> {
    let settled = |mode: &Mode| matches!(mode, Mode::Serving | Mode::Killed(_) | Mode::Bricked);
    let waited = tokio::time::timeout(SERVING_WITHIN, modes.wait_for(settled)).await;
    match *waited.context("the server was not ready in time")?.context("the server ended")? {
        Mode::Serving => Ok(()),
        Mode::Killed(reason) => bail!("the server was killed before it served: {}", reason.code()),
        mode @ (Mode::Off
        | Mode::Upload { .. }
        | Mode::Loading
        | Mode::Readback
        | Mode::Drain
        | Mode::Bricked) => {
            bail!("the server is {}", mode.name())
        }
    }
}

/// Until Ctrl-C, or until the server is killed and nobody looks at the page any more.
async fn serve_until_stopped(
    shell: &Shell,
    running: &mut Running,
    modes: &mut watch::Receiver<Mode>,
) -> Finished {
    shell.terminal.note("Ctrl-C ends it");
    let ended = |mode: &Mode| matches!(mode, Mode::Off | Mode::Killed(_) | Mode::Bricked);
    let mut stop = StopSignal::new();
    tokio::select! {
        () = stop.next() => {}
        _ = modes.wait_for(ended) => watched_to_the_end(shell, &running.page).await,
    }
    outcome(&running.service)
}

/// Whoever watches can see how it ended.
async fn watched_to_the_end(shell: &Shell, page: &Page) {
    if !page.has_viewers() {
        return;
    }
    shell.terminal.note("the server has ended; the page stays until it is closed, or Ctrl-C");
    let mut stop = StopSignal::new();
    tokio::select! {
        () = stop.next() => {}
        () = page.all_left() => {}
    }
}
