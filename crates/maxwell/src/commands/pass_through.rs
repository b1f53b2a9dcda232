//! `maxwell pass-through`: a gateway in front of any other OpenAI-compatible server. Must never listen to strangers without
//! keys, and never say more than that bytes passed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use gateway::access::{Access, AccessRules};
use gateway::listen::{self, Stage};
use gateway::log::Log;
use gateway::pass_through::{PassThrough, PassThroughConfig, router};
use gateway::sampling::{AuditPolicy, PPB};
use gateway::store::{Store, StoreKey};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Shell;
use super::gateway::read_api_keys;
use crate::home::create_folder;
use crate::keys::read_signing_key;
use crate::output::{Exit, Finished};
use crate::random::random_bytes;
use crate::signals::StopSignal;
use crate::stack::{
    CONNECTIONS_MAX, IN_FLIGHT_MAX, LOG_FOLDER, LOG_KEY_FILE, STORE, audit_keys, read_log_key, store_log_key,
    store_receipt_key,
};

/// Arguments of `maxwell pass-through`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PassThroughArguments {
    /// Where the other server listens
    #[arg(long, value_name = "IP:PORT")]
    upstream: SocketAddr,
    /// Where clients connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Signs receipts, from `maxwell keygen`
    #[arg(long, value_name = "FILE")]
    receipt_key: PathBuf,
    /// Folder of the log; made at the first start, with a new log.key in it
    #[arg(long, value_name = "FOLDER")]
    log: PathBuf,
    /// Who may ask, from `maxwell gateway keys`; without it everybody on this machine
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Milliseconds until the other server must begin an answer, and from one piece of it to the next
    #[arg(long, value_name = "MS", default_value_t = 120_000, value_parser = clap::value_parser!(u64).range(1..))]
    silence_ms: u64,
}

const EXAMPLES: &str = "\
Examples:
  maxwell pass-through --upstream 127.0.0.1:8000 --receipt-key gateway.key --log data

A receipt of such a gateway proves delivery, not computation: no answer can be recomputed, so the verdict about each is
Undecided.";

/// Runs the command.
pub(crate) fn run(arguments: &PassThroughArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if !arguments.address.ip().is_loopback() && arguments.api_keys.is_none() {
        bail!("{} is open to other machines: give --api-keys", arguments.address);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start threads")?;
    runtime.block_on(serve(arguments, shell))
}

async fn serve(arguments: &PassThroughArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let mut stop = StopSignal::new();
    let keys = arguments.api_keys.as_deref().map(read_api_keys).transpose()?;
    let access = Access::new(AccessRules { keys, ..AccessRules::default() });
    let pass = start(arguments, shell, Arc::clone(&access)).await?;
    let listener = TcpListener::bind(arguments.address).await;
    let listener = listener.with_context(|| format!("can't listen at {}", arguments.address))?;
    let address = listener.local_addr().context("the port has no address")?;
    let (stage, stages) = watch::channel(Stage::Open);
    let routes = router(Arc::clone(&pass));
    let served = listen::serve(listener, routes, Arc::clone(&pass), access, CONNECTIONS_MAX, stages);
    let listening = tokio::spawn(served);
    shell.terminal.note(format_args!("serving at http://{address}/v1"));
    stop.next().await;
    stage.send_replace(Stage::Drain);
    tokio::select! {
        () = stop.next() => {}
        () = stage.closed() => {}
    }
    stage.send_replace(Stage::Closed);
    listening.await.context("the connections' task ended")?;
    pass.end().await?;
    Ok(Finished { exit: Exit::Ok, json: json!({ "ended": true }), text: "ended".to_owned() })
}

async fn start(
    arguments: &PassThroughArguments,
    shell: &Shell,
    access: Arc<Access>,
) -> anyhow::Result<Arc<PassThrough>> {
    let key = read_signing_key(&arguments.receipt_key, shell.terminal)?;
    let folder = arguments.log.clone();
    create_folder(&folder)?;
    let (key_path, log_path) = (folder.join(LOG_KEY_FILE), folder.join(LOG_FOLDER));
    if !key_path.exists() {
        if log_path.exists() {
            bail!("{} is not there, and without it nobody can read the log", key_path.display());
        }
        store_log_key(&key_path, &random_bytes()?)?;
    }
    let log_key = read_log_key(&key_path)?;
    store_receipt_key(&folder, &key)?;
    let (seed_key, mut draw_audit_key) = audit_keys()?;
    let silence = Duration::from_millis(arguments.silence_ms);
    let config = PassThroughConfig {
        upstream: arguments.upstream,
        key,
        seed_key,
        audit_key: draw_audit_key()?,
        policy: AuditPolicy { rate_ppb: PPB / 10, floor_ppb: PPB / 10 },
        in_flight_max: IN_FLIGHT_MAX,
        head_within: silence,
        idle_within: silence,
    };
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let (store, _) = Store::open(&log_path, &StoreKey::from_bytes(log_key), STORE)
            .with_context(|| format!("can't open the log in {}", log_path.display()))?;
        Ok(PassThrough::start(config, Log::new(store)?, access)?)
    });
    opened.await.context("the log's thread ended")?
}
