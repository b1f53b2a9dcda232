//! The meters of this machine, tick by tick. Never adds up counters that count the same joules.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hypervisor::meters::{Look, Meters, Roots, roots_below};
use hypervisor::sensors::{
    Limits, PowerSample, PowerTrace, Quality, Quantity, Reading, SAMPLES_MAX, SECOND_NS, judge_watts,
    prometheus,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{MonitorArguments, heat, picture};
use crate::commands::Shell;
use crate::home::write_atomic;
use crate::output::{Exit, Finished, Misuse};
use crate::signals::StopSignal;

/// An exporter that takes longer has nothing to say.
const SCRAPE_WITHIN: Duration = Duration::from_secs(2);

/// What one tick shows.
#[derive(Clone, Copy, Debug, Default)]
struct Tick {
    watts: Option<f64>,
    processors: Option<f64>,
    celsius: Option<f64>,
}

/// Runs until the time is over or somebody stops it.
pub(super) fn run(arguments: &MonitorArguments, shell: &Shell) -> anyhow::Result<Finished> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(watch(arguments, shell))
}

async fn watch(arguments: &MonitorArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let roots = arguments.root.as_deref().map_or_else(Roots::default, roots_below);
    let exporter = arguments.scrape.as_deref().map(exporter).transpose()?;
    let mut meters = Meters::open(roots);
    let mut trace = PowerTrace { source: "live".to_owned(), ..PowerTrace::default() };
    let mut rows = String::from("time_s,power [W],processors,temperature.gpu\n");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / arguments.hz);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut stop, began) = (StopSignal::new(), Instant::now());
    let mut before: Option<(f64, u64)> = None;
    let (mut looks, mut last) = (0_u64, Vec::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.next() => break,
        }
        let at_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut look = meters.look(at_ns);
        if let Some((address, path)) = &exporter {
            look.readings.extend(scrape(*address, path, at_ns).await.unwrap_or_default());
        }
        let tick = tick(&look, &mut before, at_ns);
        let is_full = trace.samples.len() >= SAMPLES_MAX;
        if !is_full {
            let quality = tick.watts.map_or(Quality::Vanished, |watts| judge_watts(watts, Limits::SERVER));
            let watts = tick.watts.unwrap_or(0.0);
            trace.samples.push(PowerSample { at_ns, watts, celsius: tick.celsius, quality });
            let cell = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
            let _ = writeln!(
                rows,
                "{:.3},{},{},{}",
                at_ns as f64 / 1e9,
                cell(tick.watts),
                cell(tick.processors),
                cell(tick.celsius)
            );
        }
        if looks > 0 {
            shell.terminal.stream(&line(at_ns, tick))?;
        }
        (looks, last) = (looks + 1, look.readings);
        let is_over =
            arguments.seconds.is_some_and(|seconds| at_ns >= u64::from(seconds).saturating_mul(SECOND_NS));
        if is_over || is_full {
            break;
        }
    }
    if let Some(path) = &arguments.record {
        write_atomic(path, rows.as_bytes())?;
    }
    if let Some(path) = &arguments.plot {
        picture::plot(path, &trace)?;
    }
    let found = heat::of(&trace, arguments.limit);
    let json = json!({
        "looks": looks, "readings": last, "samples": trace.samples.len(), "heat": found.as_ref().map(heat::json),
    });
    let text = found.map_or_else(String::new, |found| heat::line(&found, arguments.limit));
    Ok(Finished { exit: Exit::Ok, json, text })
}

/// From one look and the one before.
fn tick(look: &Look, before: &mut Option<(f64, u64)>, at_ns: u64) -> Tick {
    let seconds = look.of(Quantity::CpuTime).next();
    let processors = seconds.zip(*before).and_then(|(now, (then, since))| {
        let elapsed = at_ns.checked_sub(since).filter(|elapsed| *elapsed > 0)?;
        Some((now - then).max(0.0) / (elapsed as f64 / SECOND_NS as f64))
    });
    *before = seconds.map(|seconds| (seconds, at_ns));
    Tick { watts: look.watts(), processors, celsius: look.hottest() }
}

fn line(at_ns: u64, tick: Tick) -> String {
    let cell = |value: Option<f64>, unit: &str| match value {
        Some(value) => format!("{value:>10.2} {unit}"),
        None => format!("{:>10} {unit}", "-"),
    };
    let bar = "#".repeat((tick.processors.unwrap_or(0.0) * 8.0).clamp(0.0, 64.0) as usize);
    format!(
        "{:>8.1} s {} {} {}  {bar}\n",
        at_ns as f64 / 1e9,
        cell(tick.watts, "W"),
        cell(tick.celsius, "C"),
        cell(tick.processors, "processors busy")
    )
}

/// Address and path of an exporter.
fn exporter(argument: &str) -> anyhow::Result<(SocketAddr, String)> {
    let argument = argument.strip_prefix("http://").unwrap_or(argument);
    let (address, path) = argument.split_once('/').unwrap_or((argument, "metrics"));
    let is_path = path.bytes().all(|byte| byte.is_ascii_graphic());
    match address.parse() {
        Ok(address) if is_path => Ok((address, format!("/{path}"))),
        _ => {
            Err(Misuse(format!("{argument} is no address with a path; write it like 127.0.0.1:9400/metrics"))
                .into())
        }
    }
}

async fn scrape(address: SocketAddr, path: &str, at_ns: u64) -> anyhow::Result<Vec<Reading>> {
    tokio::time::timeout(SCRAPE_WITHIN, async {
        let mut stream = TcpStream::connect(address).await?;
        // HTTP/1.0: the answer ends with the connection and comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\naccept: text/plain\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(prometheus::SCRAPE_BYTES_MAX as u64).read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no HTTP")?;
        let (head, body) = answer.split_at(end);
        if !head.starts_with(b"HTTP/1.") || head.get(9..12) != Some(b"200".as_slice()) {
            bail!("the exporter refused");
        }
        Ok(prometheus::parse(body, at_ns, Limits::ACCELERATOR))
    })
    .await
    .context("the exporter is silent")?
}
