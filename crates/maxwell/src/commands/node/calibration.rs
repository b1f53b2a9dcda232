//! What a token costs here, alone and in company: beside neighbours that wear out caches and memory the same work takes more
//! processor time than alone, and an honest agent must not be billed for that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::{Engine, Request};
use evidence::replay::replay;
use hypervisor::energy::Energy;
use hypervisor::sensors::{Quantity, cpu_time};
use hypervisor::thermo::{Calibration, Profile, ProfileKey};
use protocol::id::ID_BYTES;
use protocol::{Claim, ClientSeed, Nonce};

use super::terms::Work;
use crate::commands::Shell;
use crate::progress::{Count, Progress};

/// Runs, every second one in company.
const RUNS: u64 = 8;
/// A run has at least this much processor time, so that the kernel's ticks are short against it.
const RUN_SECONDS: f64 = 0.5;
/// Numbers that each thread of the company reads again and again: 32 MiB, more than a share of any cache.
const COMPANY_NUMBERS: u64 = 4 << 20;

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) profile: Profile,
    /// What a replay takes of what the answer took.
    pub(super) replay_share: f64,
}

/// Measures.
pub(super) fn measure(engine: &Engine, work: &Work, shell: &Shell) -> anyhow::Result<Measured> {
    let progress = Progress::new(shell.terminal, "calibrating", Count::Steps(RUNS));
    let (mut windows, mut generated, mut replayed) = (Vec::new(), 0.0, 0.0);
    for run in 0..RUNS {
        let company = (run % 2 == 1).then(Company::start);
        let (mut tokens, mut seconds) = (0.0, 0.0);
        let began = Instant::now();
        let mut number = 0;
        while seconds < RUN_SECONDS && began.elapsed() < Duration::from_secs_f64(RUN_SECONDS * 8.0) {
            let (claim, used) = timed(company.as_ref(), || answer(engine, work, run, number))?;
            let claim = claim?;
            tokens += (claim.prompt_ids.len() + claim.output_ids.len()) as f64;
            seconds += used;
            number += 1;
            if number == 1 {
                generated += used;
                replayed += timed(company.as_ref(), || replay(engine, &claim, None))?.1;
            }
        }
        let window_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let energy = Energy { joules: seconds, sigma: 0.0, window_ns, gap_ns: 0, updates: u64::MAX };
        windows.push(Calibration { batch: 1.0, tokens, energy });
        progress.set(run + 1);
    }
    let key = ProfileKey {
        model: work.model.to_string(),
        device: "this machine".to_owned(),
        count: 1,
        engine: "maxwell".to_owned(),
    };
    let profile = Profile::calibrate(key, Quantity::CpuTime, 0.0, 0.0, &windows)
        .context("the model is too small to be measured by processor time")?;
    // Ticks hide what a tiny model takes: then a replay is taken to cost what the answer did.
    let replay_share = if generated > 0.1 { replayed / generated } else { 1.0 };
    Ok(Measured { profile, replay_share })
}

fn answer(engine: &Engine, work: &Work, run: u64, number: u64) -> anyhow::Result<Claim> {
    let prompts = work.prompts.len().max(1);
    let prompt = work.prompts.get(usize::try_from(number).unwrap_or(0) % prompts);
    let mut nonce = [0; ID_BYTES];
    for (byte, number) in nonce.iter_mut().zip(run.to_le_bytes().into_iter().chain(number.to_le_bytes())) {
        *byte = number;
    }
    let request = Request {
        prompt_ids: prompt.cloned().unwrap_or_default(),
        settings: work.sampling.settings(),
        nonce: Nonce::from_bytes(nonce),
        client_seed: ClientSeed::from_bytes([0; ID_BYTES]),
    };
    let completed = engine::batch::complete(engine, request.clone(), |_| {})?;
    Ok(completed.into_claim(engine.model(), request, engine.model().template.is_some()))
}

/// A result and the processor seconds of this process that it took, its company's left out.
fn timed<T>(company: Option<&Company>, work: impl FnOnce() -> T) -> anyhow::Result<(T, f64)> {
    let before = own_seconds(company)?;
    let result = work();
    Ok((result, (own_seconds(company)? - before).max(0.0)))
}

fn own_seconds(company: Option<&Company>) -> anyhow::Result<f64> {
    let whole = cpu_time::of_process(Path::new("/proc"), std::process::id())?;
    Ok(whole - company.map_or(Ok(0.0), Company::seconds)?)
}

/// Threads that keep all processors and the memory busy.
struct Company {
    is_over: Arc<AtomicBool>,
    threads: Vec<(u32, JoinHandle<()>)>,
}

impl Company {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let thread = |_| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let flag = Arc::clone(&is_over);
            let thread = std::thread::spawn(move || {
                let id = u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap_or(0);
                let numbers: Vec<u64> = (0..COMPANY_NUMBERS).collect();
                if sender.send(id).is_err() {
                    return;
                }
                while !flag.load(Ordering::Relaxed) {
                    std::hint::black_box(numbers.iter().fold(0_u64, |sum, number| sum.wrapping_add(*number)));
                }
            });
            (receiver.recv().unwrap_or(0), thread)
        };
        let threads = (0..processors).map(thread).collect();
        Self { is_over, threads }
    }

    fn seconds(&self) -> anyhow::Result<f64> {
        let folder = Path::new("/proc").join(std::process::id().to_string()).join("task");
        let times = self.threads.iter().map(|(id, _)| Ok(cpu_time::of_process(&folder, *id)?));
        times.sum()
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for (_, thread) in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
