//! `maxwell manifest`: what a verifier without the model needs of it. Never says that a model is good: whoever uses a manifest trusts its maker as
//! they would trust the maker of the file.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use prover::CommittedWeights;
use serde_json::json;
use verifier::Manifest;
use verifier::manifest::MAX_MANIFEST_BYTES;

use super::Shell;
use crate::home::{read_bounded, write_atomic};
use crate::models;
use crate::output::{Exit, Finished, grouped};

/// Arguments of `maxwell manifest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManifestArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    /// Where the manifest goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  maxwell manifest smollm2-135m -o smollm2.manifest
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest

A manifest has a model's shapes, tokenizer, norms and formats, and a commitment to all of its weights: about one megabyte
for a model of any size. With it, proofs made by `maxwell prove --thin` are verified without the model. It is trusted
like the model's file: make it yourself, or compare the printed digest with one that you trust.

Exit codes: 0 written, 1 error.";

/// Runs the command.
pub(crate) fn run(arguments: &ManifestArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    shell.terminal.note(format_args!("committing to the weights"));
    let began = Instant::now();
    let weights = CommittedWeights::new(&opened.model)?;
    let seconds = began.elapsed().as_secs_f64();
    let manifest = Manifest::new(&opened.model, weights.root());
    let bytes = manifest.encode();
    write_atomic(&arguments.output, &bytes)?;
    let digest = blake3::hash(&bytes).to_string();
    let root = hex::encode(manifest.root);
    let commitment = opened.model.commitment.to_string();
    let text = format!(
        "Manifest of {commitment}: {} bytes, weights committed in {seconds:.2} s\n  digest {digest}\n  {}",
        grouped(bytes.len() as u64),
        arguments.output.display()
    );
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "manifest": arguments.output.display().to_string(),
            "bytes": bytes.len(),
            "digest": digest,
            "weights_commitment": root,
            "commitment": commitment,
            "seconds": seconds,
            "peak_memory_bytes": crate::machine::peak_memory_bytes(),
        }),
        text,
    })
}

/// A manifest that somebody made, and the digest of its bytes.
pub(super) fn read(path: &std::path::Path) -> anyhow::Result<(Manifest, String)> {
    let bytes = read_bounded(path, MAX_MANIFEST_BYTES)?;
    let manifest = Manifest::decode(&bytes, |bundle| {
        gateway::tokenizer_file::decode_tokenizer(bundle).map_err(|reason| reason.to_string())
    })
    .map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
    Ok((manifest, blake3::hash(&bytes).to_string()))
}
