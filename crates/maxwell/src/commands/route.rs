//! `maxwell route`: takes inputs for any listed model and passes each on to a gateway that serves it, or refuses it with a
//! signature. Never passes an answer on whose receipt is not that of the asked model. The decisions are
//! [`recomputer::router`]'s.

mod client;
mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use protocol::VerifyingKey;
use protocol::whitelist::{AuthorizedWhitelist, MAX_SIGNED_WHITELIST_BYTES, SignedWhitelist, authorize};
use serde_json::json;
use tokio::net::TcpListener;

use self::service::{Gateway, Router, now_unix_s};
use super::Shell;
use crate::home::read_bounded;
use crate::keys::{read_signing_key, read_verifying_key};
use crate::output::{Exit, Finished};
use crate::signals::StopSignal;

/// Arguments of `maxwell route`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RouteArguments {
    /// The whitelist
    #[arg(long, value_name = "FILE")]
    whitelist: PathBuf,
    /// A party's public key, mxpk1..., or a file that holds it; give both
    #[arg(long = "party", value_name = "PUB", required = true)]
    parties: Vec<String>,
    /// Deny a list that is older than this version
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    lowest_version: u64,
    /// Signs refusals; from `maxwell keygen`
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// A gateway: where it listens, and the public key of its receipts or that key's file
    #[arg(long = "gateway", value_name = "ADDRESS=PUB", required = true)]
    gateways: Vec<String>,
    /// Where to listen; only this machine, since nobody is asked for a key here
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How long it takes until a model is loaded: when to try again where no gateway serves it
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    load_s: u32,
}

const EXAMPLES: &str = "\
Examples:
  maxwell route --whitelist whitelist.cbor --party alice.key.pub --party bob.key.pub --key router.key \\
    --gateway 127.0.0.1:8080=gateway.key.pub --gateway 127.0.0.1:8081=other.key.pub

An OpenAI client asks at http://127.0.0.1:8090/v1; its API key goes on to the gateway. The answer comes when its receipt
is checked, a stream too: until then nobody knows whose it is. An input that is not routed is refused: 403 not on the
list, 410 revoked or expired, 503 served nowhere now, 429 all full, 502 another model answered. The header
x-maxwell-refusal is the signed refusal in hexadecimal digits; send x-maxwell-nonce, 64 such digits, to find it in it.";

/// Runs the command.
pub(crate) fn run(arguments: &RouteArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if !arguments.listen.ip().is_loopback() {
        bail!("{} is open to other machines; listen at 127.0.0.1", arguments.listen);
    }
    let router = Router {
        list: read_list(arguments)?,
        key: read_signing_key(&arguments.key, shell.terminal)?,
        gateways: arguments.gateways.iter().map(|text| gateway(text)).collect::<anyhow::Result<_>>()?,
        load_s: arguments.load_s,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("can't start threads")?;
    runtime.block_on(serve(arguments.listen, router, shell))
}

fn read_list(arguments: &RouteArguments) -> anyhow::Result<AuthorizedWhitelist> {
    let [one, other] = arguments.parties.as_slice() else {
        bail!("give --party twice: both must have signed")
    };
    let parties = [read_verifying_key(one)?, read_verifying_key(other)?];
    let signed = SignedWhitelist::decode(&read_bounded(&arguments.whitelist, MAX_SIGNED_WHITELIST_BYTES)?)?;
    let list = authorize(&signed, &parties, now_unix_s(), arguments.lowest_version);
    list.with_context(|| format!("{} is denied", arguments.whitelist.display()))
}

fn gateway(text: &str) -> anyhow::Result<Gateway> {
    let (address, key) = text.split_once('=').context("--gateway is ADDRESS=PUB")?;
    let address: SocketAddr = address.parse().with_context(|| format!("{address:?} is no ADDRESS:PORT"))?;
    let key: VerifyingKey = read_verifying_key(key)?;
    Ok(Gateway { address, key })
}

async fn serve(listen: SocketAddr, router: Router, shell: &Shell) -> anyhow::Result<Finished> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("can't listen at {listen}"))?;
    let address = listener.local_addr().context("the port has no address")?;
    shell.terminal.note(format_args!("serving at http://{address}/v1"));
    let router = Arc::new(router);
    let mut stop = StopSignal::new();
    let until = async move { stop.next().await };
    axum::serve(listener, service::routes(router)).with_graceful_shutdown(until).await.context("it ended")?;
    Ok(Finished { exit: Exit::Ok, json: json!({ "address": address.to_string() }), text: "ended".to_owned() })
}
