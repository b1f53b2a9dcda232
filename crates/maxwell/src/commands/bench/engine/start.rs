//! Start and memory of a fresh process: this binary, started again. Never counts the time of a cold cache of
//! formats: whoever runs the bench has opened the model before.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::models::RunOptions;

/// Its answer begins with a word at once.
const PROMPT: &str = "What is the capital of France?";

/// Fresh processes.
#[derive(Debug, Default)]
pub(super) struct StartRuns {
    /// From before the process exists to the first byte of text.
    pub(super) first_token_seconds: Vec<f64>,
    /// The most memory that a process held.
    pub(super) peak_memory_bytes: Option<u64>,
}

impl StartRuns {
    /// Starts `generate` so many times, and once more for its memory.
    pub(super) fn measure(model: &str, run: RunOptions, runs: u16) -> anyhow::Result<Self> {
        let mut measured = Self::default();
        for _ in 0..runs {
            measured.first_token_seconds.push(first_token(model, run)?);
        }
        let output =
            generate(model, run)?.arg("--json").output().context("can't start this program again")?;
        let json: Value = serde_json::from_slice(&output.stdout).context("generate printed no JSON")?;
        measured.peak_memory_bytes = json["peak_memory_bytes"].as_u64();
        Ok(measured)
    }
}

fn first_token(model: &str, run: RunOptions) -> anyhow::Result<f64> {
    let mut command = generate(model, run)?;
    let began = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().context("can't start this program again")?;
    let mut output = child.stdout.take().context("the child has a standard output")?;
    let mut first = [0];
    let read = output.read(&mut first)?;
    let seconds = began.elapsed().as_secs_f64();
    // The rest, so that the child does not write to a closed pipe.
    output.read_to_end(&mut Vec::new())?;
    if !child.wait()?.success() || read == 0 {
        bail!("generate failed when it was started again; run it by hand");
    }
    Ok(seconds)
}

fn generate(model: &str, run: RunOptions) -> anyhow::Result<Command> {
    let mut command =
        Command::new(std::env::current_exe().context("this program does not know its own path")?);
    command.args(["generate", "-m", model, "-p", PROMPT, "-n", "16", "--quiet"]);
    if let Some(threads) = run.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if let Some(kernels) = run.kernels {
        command.args(["--kernels", kernels.name()]);
    }
    command.stdin(Stdio::null());
    Ok(command)
}
