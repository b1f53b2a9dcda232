//! `maxwell generate`: text as it comes, and a claim about it. Never hides which nonce was used or who chose it.

mod settings;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use engine::Request;
use model::Model;
use protocol::id::ID_BYTES;
use protocol::{Claim, ClientSeed, Nonce};
use serde_json::{Value, json};
use tokenizer::{ChatMessage, MAX_TEXT_BYTES, Special, StreamDecoder};

use self::settings::SettingArguments;
use super::Shell;
use crate::generation::{Figures, generate};
use crate::home::write_atomic;
use crate::machine;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished, Misuse};
use crate::random::random_bytes;

/// blake3 `derive_key` context that turns a seed given as words into 32 bytes.
const SEED_TEXT_CONTEXT: &str = "maxwell 2026-11 client seed from text v1";

/// Arguments of `maxwell generate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GenerateArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// What to say to the model; "-" reads it from standard input
    #[arg(short, long, value_name = "TEXT")]
    prompt: String,
    #[command(flatten)]
    settings: SettingArguments,
    /// Seed of the user: 64 hexadecimal digits, or any words. 32 zero bytes if not given
    #[arg(long, value_name = "HEX|TEXT", value_parser = client_seed)]
    seed: Option<ClientSeed>,
    /// Nonce of whoever will check: 64 hexadecimal digits. Drawn at random and shown if not given
    #[arg(long, value_name = "HEX", value_parser = Nonce::from_str)]
    nonce: Option<Nonce>,
    /// The prompt as it is, control tokens included, without the model's chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// System message before the prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Write the claim to this file
    #[arg(long, value_name = "FILE")]
    claim: Option<PathBuf>,
    /// Commit the claim to every number inside the computation, so that parts of it can be audited
    #[arg(long, requires = "claim")]
    trace: bool,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell generate -m smollm2-135m -p \"Why is the sky blue?\"
  maxwell generate -m smollm2-135m -p \"A story about a fox\" -n 128 --temperature 0.8 --claim fox.claim
  maxwell generate -m ./model.gguf -p - --raw < prompt.txt

Without --temperature the likeliest token is taken always (greedy). The text goes to standard output as it comes,
figures go to standard error. The same model, prompt, settings, seed and nonce give the same bits on every machine.";

/// Runs the command.
pub(crate) fn run(arguments: &GenerateArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let settings = arguments.settings.settings()?;
    let prompt = read_prompt(&arguments.prompt)?;
    if let Some(path) = &arguments.claim {
        check_writable(path)?;
    }
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let model = &*opened.model;
    let prompt_ids = encode_prompt(model, &prompt, arguments.system.as_deref(), arguments.raw)?;
    engine::batch::check_prompt(model, &prompt_ids)?;
    let nonce = match arguments.nonce {
        Some(nonce) => nonce,
        None => draw_nonce(shell)?,
    };
    let client_seed = arguments.seed.unwrap_or(ClientSeed::from_bytes([0; ID_BYTES]));
    let engine = opened.engine(arguments.run)?;
    let load_seconds = opened.elapsed().as_secs_f64();
    let request = Request { prompt_ids, settings, nonce, client_seed };

    let mut decoder = StreamDecoder::new(&model.tokenizer);
    let (completed, figures) = generate(&engine, request.clone(), |id| {
        let text = decoder.push(id)?;
        shell.terminal.stream(&text).context("can't write to standard output")
    })?;
    shell.terminal.stream(&format!("{}\n", decoder.finish()))?;
    let mut claim = completed.into_claim(model, request, !arguments.raw);
    if arguments.trace {
        claim.trace = evidence::trace::commit(&engine, &claim).map(|opener| opener.root());
    }
    if let Some(path) = &arguments.claim {
        write_atomic(path, &claim.encode())?;
        shell.terminal.note(format_args!("claim {} written to {}", claim.digest(), path.display()));
    }
    shell.terminal.note(figure_line(&claim, &figures, load_seconds));
    let mut json = claim_json(&claim, &figures);
    json["model"] = json!(opened.display_name());
    json["nonce_source"] = json!(if arguments.nonce.is_some() { "given" } else { "drawn" });
    json["claim"] = json!(arguments.claim);
    json["load_seconds"] = json!(load_seconds);
    json["kernels"] = json!(engine.isa().name());
    json["peak_memory_bytes"] = json!(machine::peak_memory_bytes());
    Ok(Finished { exit: Exit::Ok, json, text: String::new() })
}

/// The prompt, from standard input if it is "-".
fn read_prompt(argument: &str) -> anyhow::Result<String> {
    let mut text = argument.to_owned();
    if argument == "-" {
        let limit = MAX_TEXT_BYTES as u64 + 1;
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).context("can't read standard input")?;
        text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                bail!("standard input is not UTF-8 at byte {at}; convert it first");
            }
        };
    }
    if text.is_empty() {
        return Err(Misuse("the prompt is empty; give at least one character".to_owned()).into());
    }
    Ok(text)
}

/// Refuses a claim's path that can't be written before any work is done for it.
fn check_writable(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) || path.is_dir() {
        bail!(
            "can't write the claim to {}: its folder must exist, and it must not be a folder",
            path.display()
        );
    }
    Ok(())
}

/// The prompt's tokens: a conversation of one turn, or the text as it is.
pub(super) fn encode_prompt(
    model: &Model,
    prompt: &str,
    system: Option<&str>,
    raw: bool,
) -> anyhow::Result<Vec<u32>> {
    if raw {
        return Ok(model.tokenizer.encode(prompt, Special::Parse)?);
    }
    let message =
        |role: &str, content: &str| ChatMessage { role: role.to_owned(), content: content.to_owned() };
    let system = system.map(|content| message("system", content));
    let messages: Vec<ChatMessage> = system.into_iter().chain([message("user", prompt)]).collect();
    let encoded = model.tokenizer.encode_chat(&messages, true);
    if matches!(encoded, Err(tokenizer::Error::NoTemplate)) {
        bail!("the model has no chat template; use --raw to give it the prompt as it is");
    }
    Ok(encoded?)
}

/// A nonce of our own: it makes this run unlike others, but shows nobody else that the run is fresh.
fn draw_nonce(shell: &Shell) -> anyhow::Result<Nonce> {
    let nonce = random_nonce()?;
    shell.terminal.note(format_args!(
        "nonce {nonce} (drawn here; to show freshness the verifier must choose it and give it as --nonce)"
    ));
    Ok(nonce)
}

/// 32 bytes from the system.
pub(super) fn random_nonce() -> anyhow::Result<Nonce> {
    Ok(Nonce::from_bytes(random_bytes()?))
}

/// 64 hexadecimal digits as they are, anything else hashed.
pub(super) fn client_seed(text: &str) -> Result<ClientSeed, String> {
    let seed = text.parse::<ClientSeed>();
    Ok(seed
        .unwrap_or_else(|_| ClientSeed::from_bytes(blake3::derive_key(SEED_TEXT_CONTEXT, text.as_bytes()))))
}

/// A claim and the run behind it, for `--json`.
pub(super) fn claim_json(claim: &Claim, figures: &Figures) -> Value {
    let mut json = figures.json();
    let fields = json!({
        "commitment": claim.model.to_string(),
        "text": String::from_utf8_lossy(&claim.output_bytes),
        "output_ids": claim.output_ids,
        "finish": claim.finish.code(),
        "out_of_range_position": claim.finish.out_of_range(),
        "nonce": claim.nonce.to_string(),
        "client_seed": claim.client_seed.to_string(),
        "seed": claim.seed.to_string(),
        "claim_digest": claim.digest().to_string(),
    });
    if let (Some(json), Value::Object(fields)) = (json.as_object_mut(), fields) {
        json.extend(fields);
    }
    json
}

fn figure_line(claim: &Claim, figures: &Figures, load_seconds: f64) -> String {
    let decode = figures.decode_rate().map_or_else(String::new, |rate| format!(", {rate:.1} tok/s decode"));
    format!(
        "{} + {} tokens, {}; {:.1} tok/s prefill{decode}; loaded in {load_seconds:.2} s, first token {:.2} s later; {}",
        figures.prompt_tokens,
        figures.output_tokens,
        claim.finish,
        figures.prefill_rate(),
        figures.first_token.as_secs_f64(),
        match claim.finish.out_of_range() {
            None => "nothing out of range".to_owned(),
            Some(position) => format!("out of range at position {position}"),
        },
    )
}
