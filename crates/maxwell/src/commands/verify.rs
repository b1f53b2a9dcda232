//! `maxwell verify`: decides whether a proof holds, without running the model. Never takes a failure of its own for a lie.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::{Claim, Nonce};
use serde_json::json;
use verifier::encoding::MAX_PROOF_BYTES;
use verifier::soundness::Soundness;
use verifier::{Manifest, Proof, Reject};

use super::Shell;
use super::prove::open_for;
use crate::home::read_bounded;
use crate::models::OpenModel;
use crate::output::{Exit, Finished};

/// Arguments of `maxwell verify`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyArguments {
    /// The claim
    #[arg(value_name = "CLAIM")]
    claim: PathBuf,
    /// The proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The model that was ordered; a claim about another one is rejected. Without it the one that the claim names is looked
    /// for among those that were pulled or used here
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// The model's manifest, in place of the model; the proof has to be made with --thin
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    manifest: Option<PathBuf>,
    /// Digest that the manifest must have: 64 hexadecimal digits, from whoever you trust
    #[arg(long, value_name = "HEX", requires = "manifest")]
    manifest_digest: Option<String>,
    /// The nonce that you gave out for this request: 64 hexadecimal digits. Without it freshness is not checked
    #[arg(long, value_name = "HEX", value_parser = Nonce::from_str)]
    nonce: Option<Nonce>,
    /// Threads; one per CPU if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell verify sky.claim sky.proof
  maxwell verify sky.claim sky.proof -m smollm2-135m --nonce $NONCE --json | jq -r .verdict
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest --manifest-digest $DIGEST

The model is read, never run: its weights are needed at one random point each. With a manifest (`maxwell manifest`) the
model need not be here at all: the proof opens a commitment to the weights.

Exit codes: 0 accepted, 3 rejected, 4 the claim is of a kind that no proof covers, or the proof needs the model at hand, 1 a
file can't be read or the model is not here.";

/// Runs the command.
pub(crate) fn run(arguments: &VerifyArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let claim = Claim::decode(&read_bounded(&arguments.claim, MAX_CLAIM_BYTES)?)?;
    let bytes = read_bounded(&arguments.proof, MAX_PROOF_BYTES)?;
    let known = known(arguments, shell, &claim)?;
    let threads = arguments.threads.map_or(0, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("can't start threads")?;
    let began = Instant::now();
    let stale = arguments.nonce.is_some_and(|nonce| nonce != claim.nonce);
    let verdict = match Proof::decode(&bytes) {
        _ if stale => {
            Err(("reject", "the claim carries another nonce than the one that was given out".to_owned()))
        }
        Ok(proof) => pool.install(|| known.verify(&claim, &proof)).map_err(|reason| {
            // Not a lie, but nothing that a proof can say, or this one says to whoever has only a manifest.
            let is_silent = matches!(reason, Reject::Unprovable(_) | Reject::NoWeights);
            (if is_silent { "undecided" } else { "reject" }, reason.to_string())
        }),
        Err(malformed) => Err(("reject", malformed.to_string())),
    };
    let seconds = began.elapsed().as_secs_f64();
    let security = verdict.as_ref().ok().map(|soundness| soundness.bits());
    let (exit, name, message, text) = match verdict {
        Ok(soundness) => (
            Exit::Ok,
            "accept",
            None,
            format!(
                "Accepted: the model gives these tokens for this prompt, with an error of at most 2^-{} ({seconds:.3} s)",
                soundness.bits()
            ),
        ),
        Err(("undecided", reason)) => {
            let text = format!("Undecided: {reason} ({seconds:.3} s)");
            (Exit::Undecided, "undecided", Some(reason), text)
        }
        Err((name, reason)) => {
            let text = format!("Rejected: {reason} ({seconds:.3} s)");
            (Exit::Reject, name, Some(reason), text)
        }
    };
    Ok(Finished {
        exit,
        json: json!({
            "verdict": name,
            "message": message,
            "evidence": "public",
            "mode": known.name(),
            "manifest_digest": known.digest(),
            "security_bits": security,
            "seconds": seconds,
            "proof_bytes": bytes.len(),
            "fresh": arguments.nonce.map(|nonce| nonce == claim.nonce),
            "commitment": claim.model.to_string(),
            "claim_digest": claim.digest().to_string(),
        }),
        text,
    })
}

/// What the verifier has of the model.
enum Known {
    /// All of it.
    Model(OpenModel),
    /// Its manifest, whose bytes have this digest.
    Manifest(Box<Manifest>, String),
}

impl Known {
    fn verify(&self, claim: &Claim, proof: &Proof) -> Result<Soundness, Reject> {
        match self {
            Self::Model(opened) => verifier::verify(&opened.model, claim, proof),
            Self::Manifest(manifest, _) => verifier::verify_thin(manifest, claim, proof),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Manifest(..) => "manifest",
        }
    }

    fn digest(&self) -> Option<&str> {
        match self {
            Self::Model(_) => None,
            Self::Manifest(_, digest) => Some(digest),
        }
    }
}

fn known(arguments: &VerifyArguments, shell: &Shell, claim: &Claim) -> anyhow::Result<Known> {
    let Some(path) = &arguments.manifest else {
        return Ok(Known::Model(open_for(shell, arguments.model.as_deref(), claim)?));
    };
    let (manifest, digest) = super::manifest::read(path)?;
    if let Some(expected) = arguments.manifest_digest.as_ref().filter(|e| !e.eq_ignore_ascii_case(&digest)) {
        bail!("{} has the digest {digest}, not {expected}: it is another manifest", path.display());
    }
    Ok(Known::Manifest(Box::new(manifest), digest))
}
