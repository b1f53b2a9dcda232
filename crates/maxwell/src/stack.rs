//! The parts of a gateway, as `maxwell up` and `maxwell gateway` start and end them. Must never reveal the audit key
//! before the last answer is written down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use gateway::entropy::Entropy;
use gateway::log::Log;
use gateway::server_link::{Command as LinkCommand, LinkConfig};
use gateway::service::{DrawKey, Service, ServiceConfig};
use gateway::state::{KillReason, Limits, Mode};
use gateway::store::{Store, StoreKey, StoreOptions};
use protocol::SigningKey;
use protocol::group_tree::GroupVerifier;
use protocol::whitelist::AuthorizedEntry;
use serde_json::{Value, json};
use tokenizer::Tokenizer;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::home::read_bounded;
use crate::keys::store_secret;
use crate::output::{Exit, Finished};

/// The answers kept: 16 segments of 64 MiB.
pub(crate) const STORE: StoreOptions =
    StoreOptions { segment_bytes: 64 << 20, segments_max: 16, pending_bytes_max: 64 << 20 };
/// In the folder of a log that is kept: its key, as it is.
pub(crate) const LOG_KEY_FILE: &str = "log.key";
/// In the same folder: the gateway's public key, for whoever reads the log.
pub(crate) const RECEIPT_KEY_FILE: &str = "receipt.pub";
/// In the same folder: the log.
pub(crate) const LOG_FOLDER: &str = "log";
/// Requests at the same time, if nothing else is said.
pub(crate) const IN_FLIGHT_MAX: usize = 32;
/// Connections at the same time, if nothing else is said.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Sampled answers that may wait, if nothing else is said.
pub(crate) const BACKLOG_MAX: usize = 1024;
/// A recomputer that takes longer has lost its job, if nothing else is said.
pub(crate) const LEASE_MS: u64 = 60_000;
/// Messages to the link that may wait.
pub(crate) const COMMANDS: usize = 256;
/// A server that was started and has not connected by then is broken.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// A server that has nothing to finish any more, and a log that has, get so long to end.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A model that may run, and what the gateway needs of it.
pub(crate) struct Whitelisted {
    pub(crate) entry: AuthorizedEntry,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) verifier: GroupVerifier,
    /// The file.
    pub(crate) weights: PathBuf,
}

/// How long a server may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerTimes {
    /// From the last group of weights to ready.
    pub(crate) load_ms: u64,
    /// From a challenge to its answer.
    pub(crate) readback_ms: u64,
    /// From one token of a request to the next.
    pub(crate) silence_ms: u64,
}

impl Default for ServerTimes {
    fn default() -> Self {
        Self { load_ms: 300_000, readback_ms: 10_000, silence_ms: 120_000 }
    }
}

impl Whitelisted {
    /// What the link to a server of this model is started with.
    pub(crate) fn link(&self, times: ServerTimes) -> LinkConfig {
        let about = self.entry.entry();
        let ServerTimes { load_ms, readback_ms, silence_ms } = times;
        LinkConfig {
            limits: Limits {
                weights_bytes: about.weights.bytes,
                vocabulary: about.vocabulary,
                context: about.context,
                load_ms,
                readback_ms,
                silence_ms,
            },
            end_tokens: self.tokenizer.end_tokens().iter().copied().collect(),
            head: about.weights,
            verifier: self.verifier.clone(),
            weights: self.weights.clone(),
        }
    }
}

/// Listens at a Unix socket.
pub(crate) fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    UnixListener::bind(path).with_context(|| {
        format!(
            "can't listen at {}; a socket's path has at most 107 bytes, its folder must be there, and nothing else \
             may have its name",
            path.display()
        )
    })
}

/// K_seed, and what draws the keys of the epochs: both from the system's source, which is tested before it is used and
/// while it is.
pub(crate) fn audit_keys() -> anyhow::Result<([u8; 32], DrawKey)> {
    let mut entropy = Entropy::system()?;
    let seed_key = entropy.draw()?;
    Ok((seed_key, Box::new(move || entropy.draw())))
}

/// Opens the log in a folder and starts the service on it.
pub(crate) async fn open_service(
    config: ServiceConfig,
    log: PathBuf,
    key: [u8; 32],
    commands: mpsc::Sender<LinkCommand>,
    mode: watch::Receiver<Mode>,
) -> anyhow::Result<Arc<Service>> {
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<Arc<Service>> {
        let (store, _) = Store::open(&log, &StoreKey::from_bytes(key), STORE)
            .with_context(|| format!("can't open the log in {}", log.display()))?;
        Ok(Service::start(config, Log::new(store)?, commands, mode)?)
    });
    opened.await.context("the log's thread ended")?
}

/// Writes the key of a log to a file that must not be there yet. Whoever may read it may read the log.
pub(crate) fn store_log_key(path: &Path, key: &[u8; 32]) -> anyhow::Result<()> {
    store_secret(path, &hex::encode(key))
}

/// Writes the gateway's public key beside its log.
pub(crate) fn store_receipt_key(folder: &Path, key: &SigningKey) -> anyhow::Result<()> {
    let path = folder.join(RECEIPT_KEY_FILE);
    std::fs::write(&path, format!("{}\n", key.verifying_key()))
        .with_context(|| format!("can't write {}", path.display()))
}

/// Reads the key of a log that is kept.
pub(crate) fn read_log_key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text = String::from_utf8_lossy(&read_bounded(path, 128)?).trim_end().to_owned();
    let mut key = [0; 32];
    hex::decode_to_slice(&text, &mut key).with_context(|| format!("{} is no key", path.display()))?;
    Ok(key)
}

/// Ends the server and then the log, with the last epoch's end and its key. No connection may be served any more.
pub(crate) async fn end(
    service: &Arc<Service>,
    commands: &mpsc::Sender<LinkCommand>,
    link: Option<JoinHandle<anyhow::Result<Mode>>>,
) -> anyhow::Result<()> {
    // The link may have ended already.
    let _ = commands.send(LinkCommand::Drain).await;
    if let Some(mut link) = link
        && tokio::time::timeout(END_WITHIN, &mut link).await.is_err()
    {
        let _ = commands.send(LinkCommand::Kill(KillReason::Operator)).await;
        let _ = link.await;
    }
    if tokio::time::timeout(END_WITHIN, service.finish_answers()).await.is_err() {
        bail!("the last answers could not be written down in time, so the audit key is not revealed");
    }
    let service = Arc::clone(service);
    let ended = tokio::task::spawn_blocking(move || service.ended());
    Ok(ended.await.context("the log's thread ended")??)
}

/// What came of it all: exit code 3 after an alarm, 1 after another kill.
pub(crate) fn outcome(service: &Service) -> Finished {
    let status = service.status();
    let killed = status["killed"] != Value::Null;
    let text = match service.alarm() {
        Some(alarm) => format!(
            "ALARM: answer {:016x} is not what the model gives ({}); the server was killed",
            alarm.tag, alarm.reason
        ),
        None if killed => format!("the server was killed: {}", status["killed"]),
        None => format!(
            "{} answers, {} sampled, {} recomputed and right",
            status["answers"], status["sampled"], status["pass"]
        ),
    };
    let exit = if service.alarm().is_some() {
        Exit::Reject
    } else if killed {
        Exit::Error
    } else {
        Exit::Ok
    };
    Finished { exit, json: json!({ "status": status, "exit_code": exit.code() }), text }
}
