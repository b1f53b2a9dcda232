//! `maxwell verify`: decides whether a proof holds, without running the model. Never takes a failure of its own for a lie.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use proof_system::field::Ext;
use proof_system::field::extension::EXT_BYTES;
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::{Claim, Nonce};
use serde_json::json;
use verifier::encoding::MAX_PROOF_BYTES;
use verifier::soundness::Soundness;
use verifier::tape::{Conversation, HELLO, Turn};
use verifier::verify::verify_trace;
use verifier::weight_stream::WeightStream;
use verifier::{Manifest, Outline, Proof, Reject};

use super::Shell;
use super::converse::PATIENCE;
use super::prove::open_for;
use crate::home::read_bounded;
use crate::models::OpenModel;
use crate::output::{Exit, Finished};
use crate::random::random_element;
use crate::tape_file::TapeFile;

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
    /// Your tape (`maxwell tape`), of which one entry is burned: the prover shows the weights in a conversation, and the proof need not
    /// be made with --thin
    #[arg(long, value_name = "FILE", requires = "manifest", requires = "prover")]
    tape: Option<PathBuf>,
    /// The socket of `maxwell converse`
    #[arg(long, value_name = "SOCKET", requires = "tape")]
    prover: Option<PathBuf>,
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
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest --tape my.tape --prover prover.socket

The model is read, never run: its weights are needed at one random point each. With a manifest (`maxwell manifest`) the
model need not be here at all: the proof opens a commitment to the weights, or the prover shows them in a conversation, which
convinces only who led it.

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
    let (verdict, waited) = match Proof::decode(&bytes) {
        _ if stale => {
            let reason = "the claim carries another nonce than the one that was given out";
            (Err(("reject", reason.to_owned())), Duration::ZERO)
        }
        Ok(proof) => pool.install(|| known.verify(&claim, &proof)),
        Err(malformed) => (Err(("reject", malformed.to_string())), Duration::ZERO),
    };
    let seconds = began.elapsed().saturating_sub(waited).as_secs_f64();
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
            // A conversation convinces only who led it.
            "evidence": if matches!(known, Known::Tape { .. }) { "designated" } else { "public" },
            "mode": known.name(),
            "manifest_digest": known.digest(),
            "security_bits": security,
            "seconds": seconds,
            "waited_seconds": waited.as_secs_f64(),
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
    /// Its manifest, a tape, and where the prover answers.
    Tape { manifest: Box<Manifest>, digest: String, tape: PathBuf, prover: PathBuf },
}

/// Why nothing was accepted: `reject` or `undecided`, and the reason.
type Refusal = (&'static str, String);

impl Known {
    /// The verdict, and how long the prover was waited for.
    fn verify(&self, claim: &Claim, proof: &Proof) -> (Result<Soundness, Refusal>, Duration) {
        let verdict = match self {
            Self::Model(opened) => verifier::verify(&opened.model, claim, proof),
            Self::Manifest(manifest, _) => verifier::verify_thin(manifest, claim, proof),
            Self::Tape { manifest, tape, prover, .. } => {
                let mut waited = Duration::ZERO;
                let verdict = converse(&manifest.outline, [tape, prover], claim, proof, &mut waited);
                // Whoever breaks off a conversation has shown nothing, and nothing is shown about it.
                let verdict = verdict.unwrap_or_else(|broken| Err(("undecided", format!("{broken:#}"))));
                return (verdict, waited);
            }
        };
        (verdict.map_err(refusal), Duration::ZERO)
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Manifest(..) => "manifest",
            Self::Tape { .. } => "tape",
        }
    }

    fn digest(&self) -> Option<&str> {
        match self {
            Self::Model(_) => None,
            Self::Manifest(_, digest) | Self::Tape { digest, .. } => Some(digest),
        }
    }
}

fn refusal(reason: Reject) -> Refusal {
    // Not a lie, but nothing that a proof can say, or this one says to whoever has only a manifest.
    let is_silent = matches!(reason, Reject::Unprovable(_) | Reject::NoWeights);
    (if is_silent { "undecided" } else { "reject" }, reason.to_string())
}

/// Lets the prover show what a proof needs of the weights. The tape's entry is burned before the first coin is given out.
fn converse(
    outline: &Outline,
    [tape, prover]: [&PathBuf; 2],
    claim: &Claim,
    proof: &Proof,
    waited: &mut Duration,
) -> anyhow::Result<Result<Soundness, Refusal>> {
    let pending = match verify_trace(outline, claim, proof) {
        Ok(pending) => pending,
        Err(reason) => return Ok(Err(refusal(reason))),
    };
    let mut stream = UnixStream::connect(prover)
        .with_context(|| format!("the prover does not answer at {}", prover.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[&HELLO[..], claim.digest().as_bytes()].concat())?;
    let (entry, left) = TapeFile::open(tape, &outline.commitment)?.burn()?;
    tracing::debug!(left, "an entry of the tape is burned");
    let mut conversation = Conversation::new(pending, &WeightStream::new(outline), entry, random_element)?;
    while let Turn::Listen(count) = conversation.turn() {
        let began = Instant::now();
        let mut bytes = vec![0; count * EXT_BYTES];
        stream.read_exact(&mut bytes).context("the prover broke off the conversation")?;
        *waited += began.elapsed();
        let elements: Option<Vec<Ext>> =
            bytes.as_chunks().0.iter().map(|bytes| Ext::from_bytes(*bytes)).collect::<Option<_>>();
        let Some(elements) = elements else {
            return Ok(Err(("reject", "the prover said something that is no field element".to_owned())));
        };
        match conversation.hear(&elements) {
            Ok(Some(coin)) => stream.write_all(&coin.to_bytes()).context("the prover is gone")?,
            Ok(None) => {}
            Err(reason) => return Ok(Err(refusal(reason))),
        }
    }
    Ok(conversation.verdict().map_err(refusal))
}

fn known(arguments: &VerifyArguments, shell: &Shell, claim: &Claim) -> anyhow::Result<Known> {
    let Some(path) = &arguments.manifest else {
        return Ok(Known::Model(open_for(shell, arguments.model.as_deref(), claim)?));
    };
    let (manifest, digest) = super::manifest::read(path)?;
    if let Some(expected) = arguments.manifest_digest.as_ref().filter(|e| !e.eq_ignore_ascii_case(&digest)) {
        bail!("{} has the digest {digest}, not {expected}: it is another manifest", path.display());
    }
    let manifest = Box::new(manifest);
    Ok(match (&arguments.tape, &arguments.prover) {
        (Some(tape), Some(prover)) => {
            Known::Tape { manifest, digest, tape: tape.clone(), prover: prover.clone() }
        }
        _ => Known::Manifest(manifest, digest),
    })
}
