//! `maxwell tape`: secret points of a model's weights, for a verifier who will talk with the prover instead of holding the model.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use verifier::Outline;
use verifier::tape::{Entry, coordinates, values};
use verifier::weight_stream::WeightStream;

use super::Shell;
use crate::home::write_atomic;
use crate::models;
use crate::output::{Exit, Finished};
use crate::random::random_element;
use crate::tape_file::{MAX_ENTRIES, encode};

/// Arguments of `maxwell tape`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TapeArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    /// Where the tape goes; whoever reads it can fool its owner
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Entries: one is burned by each verification
    #[arg(short = 'n', long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ENTRIES)))]
    entries: u32,
}

const EXAMPLES: &str = "\
Examples:
  maxwell tape smollm2-135m -o my.tape -n 100
  maxwell converse sky.claim sky.proof --listen prover.socket          # the prover
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest --tape my.tape --prover prover.socket

A tape is a secret of its verifier. Each entry serves for one verification and is erased before it is used; two copies of a
tape must never be used. The verdict is for the tape's owner alone: it can't be shown to others.

Exit codes: 0 written, 1 error.";

/// Runs the command.
pub(crate) fn run(arguments: &TapeArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let weights = WeightStream::new(&Outline::of(&opened.model));
    let mut points = Vec::new();
    for _ in 0..arguments.entries {
        let coordinates = 0..coordinates(&weights.stream);
        points.push(coordinates.map(|_| random_element()).collect::<anyhow::Result<Vec<_>>>()?);
    }
    shell.terminal.note(format_args!("reading all weights for {} points", points.len()));
    let began = Instant::now();
    let values = values(&opened.model, &weights, &points);
    let seconds = began.elapsed().as_secs_f64();
    let entries: Vec<Entry> =
        points.into_iter().zip(values).map(|(point, value)| Entry { point, value }).collect();
    let bytes = encode(&opened.model.commitment, &entries);
    write_atomic(&arguments.output, &bytes)?;
    let text = format!(
        "Tape of {} entries for {}, made in {seconds:.2} s: keep it secret\n  {}",
        entries.len(),
        opened.model.commitment,
        arguments.output.display()
    );
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "tape": arguments.output.display().to_string(),
            "entries": entries.len(),
            "bytes": bytes.len(),
            "seconds": seconds,
            "commitment": opened.model.commitment.to_string(),
        }),
        text,
    })
}
