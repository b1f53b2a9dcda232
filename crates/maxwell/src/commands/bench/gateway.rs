//! `maxwell bench gateway`: what the gateway adds and how much it takes, with recording and sampling on, beside nginx as a plain
//! reverse proxy and LiteLLM on the same mock in the same run. Never measures with anything switched off that production has on.

mod client;
mod mock;
mod peers;
mod picture;
mod report;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use self::client::{Answer, Load, Target, at_rate, one_by_one, saturate};
use self::mock::Pace;
use self::peers::Peers;
use self::report::{Measured, Soak, Streams, Throughput};
use self::stage::{Folder, Gateway};
use crate::commands::Shell;
use crate::machine;
use crate::output::{Exit, Finished};
use crate::progress::{Count, Progress};

/// Tokens of a short answer.
const SHORT_TOKENS: u32 = 8;
/// Requests of one turn with one client, and turns.
const TURN_REQUESTS: usize = 200;
const TURNS: usize = 10;
/// Connections that are kept busy for the most requests per second.
const BUSY_CONNECTIONS: usize = 256;
/// Turns of every contestant there.
const BUSY_TURNS: usize = 5;
/// The first rate of the search, and its steps.
const FIRST_RATE: f64 = 250.0;
const RATE_STEP: f64 = 1.25;
/// Beyond this latency the search ends.
const LAST_P99_MS: f64 = 10.0;
/// Connections of the open loop.
const CONNECTIONS_MAX: usize = 1024;
/// Tokens of a paced stream, and microseconds between them.
const PACED_TOKENS: u32 = 50;
const PACE_US: u64 = 10_000;
/// Of the many streams.
const MANY_TOKENS: u32 = 40;
const MANY_PACE_US: u64 = 250_000;

/// Arguments of `maxwell bench gateway`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GatewayArguments {
    /// Seconds of every step of load
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Streams that are held at the same time
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=4000))]
    streams: u32,
    /// Seconds of steady load over which memory must not grow
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    soak: u64,
    /// Requests per second of the steady load; half of the highest rate with p99 below 10 ms if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    soak_rate: Option<u32>,
    /// Leave nginx and LiteLLM out
    #[arg(long)]
    alone: bool,
    /// Draw how late answers are at each rate to this file
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell bench gateway
  maxwell bench gateway --alone --seconds 1 --soak 10
  maxwell bench gateway --soak 3600 --json
  maxwell bench gateway --alone --plot gateway.svg

Driver, mocks, gateway and peers share this machine's cores, so compare ratios, not figures of other machines. Needs
python3 with venv and pip for nginx and LiteLLM, which are installed once into $MAXWELL_HOME/gateway-peers.";

/// Runs the command.
pub(super) fn run(arguments: &GatewayArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let peers = if arguments.alone { None } else { Some(Peers::prepare(shell)?) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let measured =
        runtime.context("can't start threads")?.block_on(measure(arguments, peers.as_ref(), shell))?;
    if let Some(path) = &arguments.plot {
        picture::plot(path, &measured.frontier)?;
    }
    Ok(Finished { exit: Exit::Ok, json: measured.json(), text: measured.readable() })
}

async fn measure(
    arguments: &GatewayArguments,
    peers: Option<&Peers>,
    shell: &Shell,
) -> anyhow::Result<Measured> {
    let machine = (machine::line(), machine::json());
    let folder = Folder::new(shell)?;
    let pace = Pace::default();
    let upstream = mock::serve_http(Arc::clone(&pace)).await?;
    let gateway = Gateway::start(folder.path(), Arc::clone(&pace)).await?;
    let direct = Target { address: upstream, ..gateway.target.clone() };
    let step = Duration::from_secs(arguments.seconds);
    let progress = Progress::new(shell.terminal, "measuring", Count::Steps(6));
    let alone = in_turns(&direct, &gateway.target).await?;
    progress.set(1);
    let throughput = throughput(&gateway.target, &direct, peers, folder.path(), step).await?;
    progress.set(2);
    // What was picked in the step before is judged first: one verdict takes a sync, and would be measured as latency.
    gateway.check().await?;
    let frontier = frontier(&gateway.target, step).await;
    progress.set(3);
    pace.store(PACE_US, Ordering::Relaxed);
    let request = direct.request(PACED_TOKENS, true);
    let paced = [
        one_by_one(&direct, &request, 10).await.context("paced streams of the mock")?,
        one_by_one(&gateway.target, &request, 10).await.context("paced streams of the gateway")?,
    ];
    progress.set(4);
    pace.store(MANY_PACE_US, Ordering::Relaxed);
    let streams = many_streams(&gateway, arguments.streams).await;
    pace.store(0, Ordering::Relaxed);
    progress.set(5);
    let fastest = frontier.iter().filter(|load| load.latency_ms(0.99) <= LAST_P99_MS).map(|load| load.rate);
    let rate = arguments.soak_rate.map_or(fastest.fold(FIRST_RATE, f64::max) / 2.0, f64::from);
    gateway.check().await?;
    let soak = soak(&gateway, rate, Duration::from_secs(arguments.soak)).await;
    gateway.check().await?;
    progress.set(6);
    Ok(Measured { machine, alone, throughput, frontier, paced, streams, soak })
}

/// One client without and with the gateway in turns, whole and streamed: `[whole, streamed][without, with]`.
async fn in_turns(direct: &Target, gateway: &Target) -> anyhow::Result<[[Vec<Answer>; 2]; 2]> {
    let mut answers: [[Vec<Answer>; 2]; 2] = Default::default();
    for _ in 0..TURNS {
        for (stream, answers) in [false, true].into_iter().zip(&mut answers) {
            for (target, answers) in [direct, gateway].into_iter().zip(answers) {
                let request = target.request(SHORT_TOKENS, stream);
                answers.extend(one_by_one(target, &request, TURN_REQUESTS).await?);
            }
        }
    }
    Ok(answers)
}

/// The most requests per second of everyone, in turns.
async fn throughput(
    gateway: &Target,
    direct: &Target,
    peers: Option<&Peers>,
    folder: &std::path::Path,
    step: Duration,
) -> anyhow::Result<Throughput> {
    let mut contestants = vec![("mock", direct.clone()), ("maxwell", gateway.clone())];
    let mut processes = Vec::new();
    if let Some(peers) = peers {
        let (nginx, target) = peers.nginx(folder, direct.address).await?;
        contestants.push(("nginx", target));
        let (litellm, target) = peers.litellm(folder, direct.address, machine::cpus()).await?;
        contestants.push(("litellm", target));
        processes.extend([nginx, litellm]);
    }
    let mut rates: Throughput = contestants.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for _ in 0..BUSY_TURNS {
        for ((name, target), (_, rates)) in contestants.iter().zip(&mut rates) {
            let request = target.request(SHORT_TOKENS, false);
            let rate = saturate(target, &request, BUSY_CONNECTIONS, step).await;
            rates.push(rate.with_context(|| format!("requests to {name}"))?);
        }
    }
    drop(processes);
    Ok(rates)
}

/// Higher and higher rates until answers are late, twice: a shared disk is late now and then at any rate.
async fn frontier(gateway: &Target, step: Duration) -> Vec<Load> {
    let request = gateway.request(SHORT_TOKENS, false);
    let (mut rate, mut loads) = (FIRST_RATE, Vec::new());
    loop {
        let is_late = |load: &Load| load.failed > 0 || load.latency_ms(0.99) > LAST_P99_MS;
        let mut load = at_rate(gateway, &request, rate, step, CONNECTIONS_MAX).await;
        if is_late(&load) {
            load = at_rate(gateway, &request, rate, step, CONNECTIONS_MAX).await;
        }
        let is_last = is_late(&load);
        loads.push(load);
        if is_last {
            return loads;
        }
        rate *= RATE_STEP;
    }
}

/// All at the same time, each to its end.
async fn many_streams(gateway: &Gateway, count: u32) -> Streams {
    let request = gateway.target.request(MANY_TOKENS, true);
    // All begin within a second, and each takes ten.
    let load =
        at_rate(&gateway.target, &request, f64::from(count), Duration::from_secs(1), count as usize).await;
    let complete = load.answers.iter().filter(|answer| answer.gaps.len() + 1 >= MANY_TOKENS as usize).count();
    Streams { asked: count, complete, load, memory_bytes: gateway.process.memory_bytes() }
}

/// Memory before and after steady load, once caches and rings are warm.
async fn soak(gateway: &Gateway, rate: f64, duration: Duration) -> Soak {
    let request = gateway.target.request(SHORT_TOKENS, false);
    let mut memory = Vec::new();
    let mut failed = 0;
    for _ in 0..10 {
        let load = at_rate(&gateway.target, &request, rate, duration / 10, CONNECTIONS_MAX).await;
        failed += load.failed;
        memory.extend(gateway.process.memory_bytes());
    }
    Soak { rate, seconds: duration.as_secs(), failed, memory_bytes: memory }
}
