//! `maxwell demo`: one honest claim and five cheats, judged one after the other, and a proof of the honest one. Never shows a
//! verdict that the judge did not give on the claim's bytes.

pub(super) mod cheats;
mod proof;
mod table;

use std::fs;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use engine::{Engine, Request};
use protocol::claim::MAX_CLAIM_BYTES;
use protocol::id::ID_BYTES;
use protocol::settings::PPM;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings, Verdict};
use serde_json::{Value, json};

use self::cheats::{Case, Scene};
use super::Shell;
use super::generate::{claim_json, encode_prompt, random_nonce};
use super::pull::pull_package;
use crate::generation::{Figures, generate};
use crate::home::{read_bounded, write_atomic};
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished};

/// What the demo runs if nothing else is named.
const MODEL: &str = "smollm2-135m";
const PROMPT: &str = "Write a long story about a lighthouse keeper who builds a machine that can think. Describe the \
                      lighthouse, the machine, and what they say to each other on a stormy night.";
/// 0.8.
const TEMPERATURE_MILLI: u32 = 800;

/// Arguments of `maxwell demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArguments {
    /// Another model than smollm2-135m: a pulled name or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=4096))]
    tokens: u32,
    /// The checker's nonce; drawn at random if not given
    #[arg(long, value_name = "HEX", value_parser = Nonce::from_str)]
    nonce: Option<Nonce>,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell demo
  maxwell demo --tokens 64 --json

Exit code 0 only if the honest claim is accepted and all five cheats are rejected for the expected reason, and the honest
claim's proof is accepted for it and rejected for another token.";

/// Runs the command.
pub(crate) fn run(arguments: &DemoArguments, shell: &Shell) -> anyhow::Result<Finished> {
    if arguments.model == MODEL {
        pull_package(shell, MODEL)?;
    }
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let model = &*opened.model;
    let prompt_ids = encode_prompt(model, PROMPT, None, model.template.is_none())?;
    let engine = opened.engine(arguments.run)?;
    let nonce = match arguments.nonce {
        Some(nonce) => nonce,
        None => random_nonce()?,
    };
    let request = Request {
        prompt_ids,
        settings: settings(arguments.tokens),
        nonce,
        client_seed: ClientSeed::from_bytes([0; ID_BYTES]),
    };
    shell.terminal.note(format_args!(
        "honest run: {} tokens at temperature 0.8 on {}",
        arguments.tokens,
        opened.display_name()
    ));
    let (completed, figures) = generate(&engine, request.clone(), |_| Ok(()))?;
    let claim = completed.into_claim(model, request.clone(), model.template.is_some());
    if claim.output_ids.len() < 2 {
        bail!("the model wrote {} tokens, too few to cheat with; run the demo again", claim.output_ids.len());
    }
    let path = shell.home.folder("demo")?.join("honest.claim");
    write_atomic(&path, &claim.encode())?;
    let read = Claim::decode(&read_bounded(&path, MAX_CLAIM_BYTES)?)?;
    fs::remove_file(&path).with_context(|| format!("can't remove {}", path.display()))?;
    let honest = Case::honest(read, nonce);

    let scene = Scene { engine: &engine, request: &request, claim: &claim, run: arguments.run };
    let file = models::read_model_file(&opened.file.path)?;
    let (cheats, weight) = scene.cheats(file, &|what| shell.terminal.note(format_args!("cheat: {what}")))?;
    let rows = [honest].into_iter().chain(cheats).map(|case| judge(&engine, case));
    let rows = rows.collect::<anyhow::Result<Vec<Row>>>()?;
    shell.terminal.note("proving the honest claim");
    let proof = proof::shown(model, &claim);
    let shown = Shown { name: opened.display_name(), claim, figures, rows, weight, proof };
    let exit = if shown.is_as_expected() { Exit::Ok } else { Exit::Error };
    Ok(Finished { exit, json: shown.json(), text: table::readable(&shown) })
}

fn settings(max_tokens: u32) -> SamplingSettings {
    SamplingSettings {
        temperature_milli: TEMPERATURE_MILLI,
        top_k: 0,
        top_p_ppm: PPM,
        min_p_ppm: 0,
        repetition_penalty_milli: 1000,
        max_tokens,
        stop_at_end: true,
    }
}

/// One judged case.
#[derive(Debug)]
struct Row {
    name: &'static str,
    verdict: Verdict,
    seconds: f64,
    /// The verdict and its reason are those that the case must have.
    expected: bool,
}

/// Everything that the demo says.
#[derive(Debug)]
struct Shown {
    name: String,
    claim: Claim,
    figures: Figures,
    rows: Vec<Row>,
    weight: cheats::WeightCheat,
    /// Or why there is none.
    proof: Result<proof::Shown, verifier::Unprovable>,
}

/// Judges the case's bytes as they would come from elsewhere.
fn judge(engine: &Engine, case: Case) -> anyhow::Result<Row> {
    let claim = Claim::decode(&case.claim.encode())?;
    let began = Instant::now();
    let verdict = evidence::replay::replay(engine, &claim, Some(&case.issued))?;
    let seconds = began.elapsed().as_secs_f64();
    let expected = verdict.code() == case.expected;
    Ok(Row { name: case.name, verdict, seconds, expected })
}

impl Shown {
    fn is_as_expected(&self) -> bool {
        let is_proven = self.proof.as_ref().map_or(true, |proof| proof.as_expected);
        is_proven && self.rows.iter().all(|row| row.expected)
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "case": row.name,
                "verdict": match row.verdict {
                    Verdict::Accept => "accept",
                    Verdict::Reject(_) => "reject",
                    Verdict::Undecided(_) => "undecided",
                },
                "reason": (row.verdict != Verdict::Accept).then(|| row.verdict.code()),
                "message": row.verdict.to_string(),
                "position": row.verdict.position(),
                "seconds": row.seconds,
                "as_expected": row.expected,
            })
        };
        let mut json = claim_json(&self.claim, &self.figures);
        json["model"] = json!(self.name);
        json["generation_seconds"] = json!(self.figures.total.as_secs_f64());
        json["replay_seconds"] = json!(self.rows.first().map(|row| row.seconds));
        json["cases"] = self.rows.iter().map(row).collect();
        json["changed_weight"] = json!({
            "tensor": self.weight.tensor,
            "byte": self.weight.byte,
            "tokens_changed": self.weight.tokens_changed,
        });
        json["proof"] = match &self.proof {
            Ok(proof) => proof.json(),
            Err(reason) => json!({ "none": reason.to_string() }),
        };
        json["ok"] = json!(self.is_as_expected());
        json
    }
}
