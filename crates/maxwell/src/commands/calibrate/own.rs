//! Runs a model here at several batches and reads the meters, or the process's own time where there is none.

use std::path::Path;
use std::time::Instant;

use engine::{Batch, Engine, Event, Request};
use hypervisor::energy::Energy;
use hypervisor::meters::{EvidenceLevel, Meters, Roots, evidence_level};
use hypervisor::sensors::{Quantity, cpu_time};
use hypervisor::thermo::{Calibration, Profile, ProfileKey};
use protocol::id::ID_BYTES;
use protocol::settings::SamplingSettings;
use protocol::{ClientSeed, Nonce};

use super::CalibrateArguments;
use crate::commands::Shell;
use crate::commands::generate::encode_prompt;
use crate::models::{self, RunOptions};
use crate::progress::{Count, Progress};

const PROMPT: &str = "Explain in a few sentences why the sky is blue and the sunset is red.";
/// Tokens of each answer.
const TOKENS: u32 = 48;
/// Seconds over which the idle machine is read.
const IDLE_SECONDS: u64 = 5;
/// Of the processor's time, relative: ticks are short against a run, what varies is the machine.
const PROCESSOR_SIGMA: f64 = 0.05;

/// Measures.
pub(super) fn profile(
    key: ProfileKey,
    arguments: &CalibrateArguments,
    shell: &Shell,
) -> anyhow::Result<Profile> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let engine = opened.engine(RunOptions { threads: None, kernels: None })?;
    let mut meters = Meters::open(Roots::default());
    let has_counter = evidence_level(&meters.examine(0)) == EvidenceLevel::EnergyCounter;
    let prompt =
        encode_prompt(&opened.model, PROMPT, None, opened.model.tokenizer.encode_chat(&[], true).is_err())?;
    let began = Instant::now();
    let idle = if has_counter {
        shell.terminal.note("reading the idle machine");
        meters.look(now(&began));
        std::thread::sleep(std::time::Duration::from_secs(IDLE_SECONDS));
        joules(&mut meters, &began).map_or(0.0, |joules| joules / IDLE_SECONDS as f64)
    } else {
        0.0
    };
    let total = u64::from(arguments.runs) * arguments.batches.len() as u64;
    let (progress, mut done) = (Progress::new(shell.terminal, "calibrating", Count::Steps(total)), 0);
    let mut windows = Vec::new();
    for batch in &arguments.batches {
        for _ in 0..arguments.runs {
            let (start_ns, before) = (now(&began), own_seconds()?);
            meters.look(start_ns);
            let tokens = generate(&engine, &prompt, *batch)?;
            let window_ns = now(&began).saturating_sub(start_ns);
            let used = if has_counter { joules(&mut meters, &began) } else { Some(own_seconds()? - before) };
            if let Some(used) = used {
                // A run is one reading from its start to its end, and ends when its counter does.
                let energy = Energy {
                    joules: used,
                    sigma: PROCESSOR_SIGMA * used,
                    window_ns,
                    gap_ns: 0,
                    updates: u64::MAX,
                };
                windows.push(Calibration { batch: f64::from(*batch), tokens, energy });
            }
            done += 1;
            progress.set(done);
        }
    }
    let quantity = if has_counter { Quantity::Energy } else { Quantity::CpuTime };
    Ok(Profile::calibrate(key, quantity, idle, 0.02 * idle, &windows)?)
}

/// Answers of one batch; the tokens that were read and written.
fn generate(engine: &Engine, prompt: &[u32], requests: u16) -> anyhow::Result<f64> {
    let mut batch = Batch::new(engine);
    let settings = SamplingSettings { max_tokens: TOKENS, ..SamplingSettings::greedy() };
    for number in 0..requests {
        batch.add(Request {
            prompt_ids: prompt.to_vec(),
            settings,
            nonce: Nonce::from_bytes([u8::try_from(number).unwrap_or(u8::MAX); ID_BYTES]),
            client_seed: ClientSeed::from_bytes([0; ID_BYTES]),
        })?;
    }
    let mut tokens = prompt.len() * usize::from(requests);
    while !batch.is_empty() {
        tokens += batch.step().iter().filter(|event| matches!(event, Event::Token { .. })).count();
    }
    Ok(tokens as f64)
}

fn joules(meters: &mut Meters, began: &Instant) -> Option<f64> {
    let look = meters.look(now(began));
    let whole: Option<Vec<f64>> =
        look.steps.iter().filter(|step| !step.is_part).map(|step| step.step.joules).collect();
    whole.filter(|joules| !joules.is_empty()).map(|joules| joules.iter().sum())
}

fn own_seconds() -> anyhow::Result<f64> {
    Ok(cpu_time::of_process(Path::new("/proc"), std::process::id())?)
}

fn now(began: &Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
