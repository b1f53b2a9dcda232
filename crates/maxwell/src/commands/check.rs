//! `maxwell check`: replays a claim and prints the verdict. Never takes a failure of its own for a lie, and never
//! calls an answer fresh whose nonce it was not given.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use model::NUMERICS;
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::{Claim, Missing, Nonce, Reason, Verdict};
use serde_json::{Value, json};

use super::Shell;
use crate::home::read_bounded;
use crate::models::{self, OpenModel, RunOptions};
use crate::output::{Exit, Finished};

/// Arguments of `maxwell check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArguments {
    /// The claim
    #[arg(value_name = "FILE")]
    claim: PathBuf,
    /// The nonce that you gave out for this request: 64 hexadecimal digits. Without it freshness is not checked
    #[arg(long, value_name = "HEX", value_parser = Nonce::from_str)]
    nonce: Option<Nonce>,
    /// The model that was ordered; a claim about another one is rejected. Without it the model that the claim
    /// names is looked for among those that were pulled or used here
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell check sky.claim
  maxwell check sky.claim -m smollm2-135m --nonce $NONCE
  maxwell check sky.claim --json | jq -r .verdict

Exit codes: 0 accepted, 3 rejected (no honest run gives this claim), 4 undecided (the model is not here), 1 the
file is no claim or something failed here, which is nobody's lie.";

/// Runs the command.
pub(crate) fn run(arguments: &CheckArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let bytes = read_bounded(&arguments.claim, MAX_CLAIM_BYTES)?;
    let claim = Claim::decode(&bytes)?;
    let judged = judge(arguments, shell, &claim)?;
    Ok(finished(&claim, arguments.nonce.as_ref(), &judged))
}

/// A verdict and what it took.
#[derive(Debug)]
struct Judged {
    verdict: Verdict,
    /// Of the judging itself, loading left out.
    seconds: f64,
    load_seconds: f64,
}

fn judge(arguments: &CheckArguments, shell: &Shell, claim: &Claim) -> anyhow::Result<Judged> {
    let began = Instant::now();
    let opened = match &arguments.model {
        Some(reference) => Some(models::open(&shell.home, shell.terminal, reference)?),
        None => open_claimed(shell, claim),
    };
    match opened {
        Some(opened) if opened.model.commitment == claim.model => {
            let engine = opened.engine(arguments.run)?;
            let load_seconds = began.elapsed().as_secs_f64();
            let replayed = Instant::now();
            let verdict = evidence::replay::replay(&engine, claim, arguments.nonce.as_ref())?;
            Ok(Judged { verdict, seconds: replayed.elapsed().as_secs_f64(), load_seconds })
        }
        other => {
            let ordered = other.filter(|_| arguments.model.is_some());
            let verdict = judge_without_model(claim, arguments.nonce.as_ref(), ordered.as_ref());
            Ok(Judged { verdict, seconds: 0.0, load_seconds: began.elapsed().as_secs_f64() })
        }
    }
}

/// The model that the claim names, if it is here. A file that can't be opened any more is as good as none.
pub(super) fn open_claimed(shell: &Shell, claim: &Claim) -> Option<OpenModel> {
    let file = models::find_commitment(&shell.home, &claim.model)?;
    match models::open_file(&shell.home, shell.terminal, file) {
        Ok(opened) => Some(opened),
        Err(error) => {
            shell.terminal.note(format_args!("the model was here, but can't be opened: {error:#}"));
            None
        }
    }
}

/// What can be said without the weights. `ordered` is a model that is here but not the claim's.
pub(super) fn judge_without_model(
    claim: &Claim,
    issued: Option<&Nonce>,
    ordered: Option<&OpenModel>,
) -> Verdict {
    if let Some(issued) = issued.filter(|issued| **issued != claim.nonce) {
        return Verdict::Reject(Reason::Nonce { claimed: claim.nonce, issued: *issued });
    }
    if let Some(reason) = claim.contradiction() {
        return Verdict::Reject(reason);
    }
    if claim.numerics != NUMERICS {
        // A commitment covers the numerics, so even the ordered model has another one in another class.
        return Verdict::Undecided(Missing::NumericsVersion(claim.numerics.clone()));
    }
    match ordered {
        Some(opened) => {
            let ordered = opened.model.commitment;
            Verdict::Reject(Reason::Model { claimed: claim.model, ordered })
        }
        None => Verdict::Undecided(Missing::Model(claim.model)),
    }
}

fn finished(claim: &Claim, issued: Option<&Nonce>, judged: &Judged) -> Finished {
    let Judged { verdict, seconds, load_seconds } = judged;
    let fresh = issued.map(|issued| *issued == claim.nonce);
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    let name = match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject(_) => "reject",
        Verdict::Undecided(_) => "undecided",
    };
    let mut text = format!("{}\n  model {}\n", capitalized(verdict), claim.model);
    text.push_str(&match fresh {
        None => "  freshness not checked: no nonce was given\n".to_owned(),
        Some(true) if claim.settings.is_greedy() => {
            "  the nonce is the issued one; at temperature 0 that does not show a fresh computation\n"
                .to_owned()
        }
        Some(true) => "  the nonce is the issued one\n".to_owned(),
        Some(false) => "  the nonce is not the issued one\n".to_owned(),
    });
    text.push_str(&format!(
        "  {tokens} tokens judged in {seconds:.2} s, model loaded in {load_seconds:.2} s"
    ));
    Finished {
        exit: Exit::of(verdict),
        json: json!({
            "verdict": name,
            "reason": (*verdict != Verdict::Accept).then(|| verdict.code()),
            "message": verdict.to_string(),
            "position": verdict.position(),
            "seconds": seconds,
            "load_seconds": load_seconds,
            "tokens": tokens,
            "fresh": fresh.map_or_else(|| json!("not checked"), Value::Bool),
            "greedy": claim.settings.is_greedy(),
            "commitment": claim.model.to_string(),
            "claim_digest": claim.digest().to_string(),
        }),
        text,
    }
}

/// The verdict's sentence with a large first letter.
pub(super) fn capitalized(verdict: &Verdict) -> String {
    let text = verdict.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
