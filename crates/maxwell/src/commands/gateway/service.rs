//! The gateway as a process of its own: starts its parts, serves until it is told to stop, and ends them in order. Must
//! never end without the last answers written down, and leaves no socket behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gateway::access::Access;
use gateway::http::router;
use gateway::lease_server;
use gateway::listen::{self, Stage};
use gateway::server_link::{self, Command as LinkCommand, LinkConfig};
use gateway::service::{Service, ServiceConfig};
use gateway::state::Mode;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::config::Config;
use super::ready::{LogPlace, Ready};
use super::reload::Reload;
use crate::commands::Shell;
use crate::home::create_folder;
use crate::output::Finished;
use crate::random::random_bytes;
use crate::signals::StopSignal;
use crate::stack::{self, COMMANDS, CONNECT_WITHIN, LOG_FOLDER, Whitelisted};

/// In a server's command: where it connects.
const LINK_PLACEHOLDER: &str = "{link}";

/// Everything that runs.
struct Running {
    service: Arc<Service>,
    config: watch::Receiver<Config>,
    commands: mpsc::Sender<LinkCommand>,
    link: JoinHandle<anyhow::Result<Mode>>,
    stage: watch::Sender<Stage>,
    listening: JoinHandle<()>,
    /// Removed at the end.
    _sockets: Vec<Socket>,
}

/// Serves until a signal.
pub(super) async fn serve(ready: Ready, shell: &Shell) -> anyhow::Result<Finished> {
    let mut stop = StopSignal::new();
    let wanted = ready.config.address;
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("can't listen at {wanted}; is another gateway there?"))?;
    let address = listener.local_addr().context("the port has no address")?;
    let mut running = start(ready, shell, listener).await?;
    say_address(shell, address);
    let mut modes = running.service.watch_mode();
    let mut link_ended = false;
    let failed = loop {
        tokio::select! {
            () = stop.next() => break None,
            ended = &mut running.link, if !link_ended => {
                link_ended = true;
                // A server that was killed or is gone leaves receipts, state and metrics to be looked at.
                if let Err(error) = ended.context("the link's task ended").and_then(|ended| ended) {
                    break Some(error);
                }
            }
            Ok(()) = modes.changed() => {
                let mode = modes.borrow_and_update().name();
                if !mode.starts_with("upload") {
                    tracing::info!(mode, "the server's state");
                    shell.terminal.note(format_args!("the server is in state {mode}"));
                }
            }
        }
    };
    let finished = end(running, link_ended, &mut stop, shell).await?;
    failed.map_or(Ok(finished), Err)
}

fn say_address(shell: &Shell, address: SocketAddr) {
    tracing::info!(%address, "listening");
    shell.terminal.note(format_args!("listening at http://{address}/v1"));
}

async fn start(ready: Ready, shell: &Shell, listener: TcpListener) -> anyhow::Result<Running> {
    let Ready { path, config, whitelisted, receipt_key, rules, epochs, log, link, recomputers } = ready;
    let log_key = log_key(&log)?;
    stack::store_receipt_key(&log.folder, &receipt_key)?;
    let leases = bind_seats(&recomputers, config.recomputers.names.len())?;
    let (mut sockets, listeners): (Vec<_>, Vec<_>) = leases.into_iter().unzip();
    let link_listener = Socket::bind(&link)?;
    sockets.push(link_listener.0);
    let (commands, received) = mpsc::channel(COMMANDS);
    let (mode_sender, mode) = watch::channel(Mode::Off);
    let link_config = whitelisted.link(config.server_times());
    let Whitelisted { entry, tokenizer, .. } = whitelisted;
    let (seed_key, draw_audit_key) = stack::audit_keys()?;
    let service_config = ServiceConfig {
        entry,
        tokenizer,
        key: receipt_key,
        seed_key,
        draw_audit_key,
        policy: config.policy(),
        epochs,
        in_flight_max: config.capacity.in_flight_max,
        recomputers: config.panel(random_bytes()?),
        egress: config.governor(),
        unverifiable: config.unverifiable(),
    };
    let log_path = log.folder.join(LOG_FOLDER);
    let service = stack::open_service(service_config, log_path, log_key, commands.clone(), mode).await?;
    for (seat, listener) in listeners.into_iter().enumerate() {
        tokio::spawn(lease_server::serve(listener, Arc::clone(&service), seat));
    }
    let access = Access::new(rules);
    let (stage, stages) = watch::channel(Stage::Open);
    let routes = router(Arc::clone(&service), Arc::clone(&access));
    let connections_max = config.capacity.connections_max;
    let listening =
        listen::serve(listener, routes, Arc::clone(&service), Arc::clone(&access), connections_max, stages);
    let listening = tokio::spawn(listening);
    let server = Server { command: config.server.command.clone(), socket: link, config: link_config };
    let link = tokio::spawn(server.run(link_listener.1, received, mode_sender));
    let (config_sender, config) = watch::channel(config);
    let (terminal, of) = (shell.terminal, Arc::clone(&service));
    tokio::spawn(Reload { path, config: config_sender, access, service: of, terminal }.run());
    Ok(Running { service, config, commands, link, stage, listening, _sockets: sockets })
}

/// The recomputers' sockets: the second and third have the first one's path with a number behind it.
fn bind_seats(first: &Path, seats: usize) -> anyhow::Result<Vec<(Socket, UnixListener)>> {
    let path = |seat: usize| match seat {
        0 => first.to_owned(),
        _ => PathBuf::from(format!("{}-{}", first.display(), seat + 1)),
    };
    (0..seats).map(|seat| Socket::bind(&path(seat))).collect()
}

/// The log's key; at the first start a new one.
fn log_key(log: &LogPlace) -> anyhow::Result<[u8; 32]> {
    create_folder(&log.folder)?;
    if let Some(key) = log.key {
        return Ok(key);
    }
    let key = random_bytes()?;
    stack::store_log_key(&log.key_path, &key)?;
    Ok(key)
}

/// Finishes what runs, writes the end down, and says what came of it all.
async fn end(
    mut running: Running,
    link_ended: bool,
    stop: &mut StopSignal,
    shell: &Shell,
) -> anyhow::Result<Finished> {
    let drain_ms = running.config.borrow().timeouts.drain_ms;
    tracing::info!(drain_ms, "draining");
    shell.terminal.note("finishing the answers that run; a second signal does not wait for them");
    // Before the server is ended on purpose.
    let finished = stack::outcome(&running.service);
    let _ = running.commands.send(LinkCommand::Drain).await;
    running.stage.send_replace(Stage::Drain);
    tokio::select! {
        _ = &mut running.listening => {}
        () = tokio::time::sleep(Duration::from_millis(drain_ms)) => tracing::warn!("answers were cut off"),
        () = stop.next() => {}
    }
    running.stage.send_replace(Stage::Closed);
    if !running.listening.is_finished() {
        let _ = running.listening.await;
    }
    let link = (!link_ended).then_some(running.link);
    stack::end(&running.service, &running.commands, link).await?;
    let status = running.service.status();
    tracing::info!(answers = status["answers"].as_u64(), "ended");
    Ok(Finished {
        json: serde_json::json!({ "status": status, "exit_code": finished.exit.code() }),
        ..finished
    })
}

/// A socket's file, removed when this is dropped.
struct Socket(PathBuf);

impl Socket {
    /// Listens; a socket that a dead gateway left behind is replaced.
    fn bind(path: &Path) -> anyhow::Result<(Self, UnixListener)> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                bail!("{}: another gateway listens there", path.display());
            }
            std::fs::remove_file(path).with_context(|| format!("can't remove {}", path.display()))?;
        }
        let listener = stack::bind(path)?;
        let socket = Self(path.to_owned());
        // Whoever may connect is trusted with sampled answers, or is the server.
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, owner_only)
            .with_context(|| format!("can't close {}", path.display()))?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How the server is obtained.
struct Server {
    command: Option<Vec<String>>,
    socket: PathBuf,
    config: LinkConfig,
}

impl Server {
    /// Starts it or waits for it, and runs its link to the end.
    async fn run(
        self,
        listener: UnixListener,
        mut commands: mpsc::Receiver<LinkCommand>,
        mode: watch::Sender<Mode>,
    ) -> anyhow::Result<Mode> {
        let child = self.command.as_deref().map(|command| spawn(command, &self.socket)).transpose()?;
        let wait = if child.is_some() { CONNECT_WITHIN } else { Duration::MAX };
        let stream = tokio::select! {
            accepted = tokio::time::timeout(wait, listener.accept()) => {
                let accepted = accepted.context("the server was started and did not connect; see its messages")?;
                accepted.context("the server's link failed")?.0
            }
            () = stopped(&mut commands) => return Ok(Mode::Off),
        };
        // One server: another one that connects is turned away.
        drop(listener);
        Ok(self.serve(stream, child, commands, mode).await)
    }

    async fn serve(
        self,
        stream: UnixStream,
        child: Option<Child>,
        commands: mpsc::Receiver<LinkCommand>,
        mode: watch::Sender<Mode>,
    ) -> Mode {
        server_link::run(self.config, stream, child, commands, mode).await
    }
}

/// Until the server is not wanted any more.
async fn stopped(commands: &mut mpsc::Receiver<LinkCommand>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, LinkCommand::Drain | LinkCommand::Kill(_)) {
            return;
        }
    }
}

fn spawn(command: &[String], socket: &Path) -> anyhow::Result<Child> {
    let (program, arguments) = command.split_first().context("server.command names no program")?;
    let mut process = Command::new(program);
    process.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    for argument in arguments {
        if argument == LINK_PLACEHOLDER {
            process.arg(socket);
        } else {
            process.arg(argument);
        }
    }
    process.spawn().with_context(|| format!("server.command: can't start {program}"))
}
