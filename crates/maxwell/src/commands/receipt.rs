//! `maxwell receipt`: checks what a gateway signed about an answer. Never says more than the receipt does: that bytes
//! passed through a gateway, not that the model ran.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use protocol::checkpoint::Checkpoint;
use protocol::epoch::{InclusionProof, InclusionReason};
use protocol::receipt::{ReceiptMode, ResponseHasher};
use protocol::{Receipt, ResponseDigest, VerifyingKey};
use serde_json::{Value, json};

use crate::home::read_bounded;
use crate::keys;
use crate::output::{Exit, Finished};

/// Arguments of `maxwell receipt`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptArguments {
    #[command(subcommand)]
    command: ReceiptCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// Check a receipt's signature, and that it is about this response
    Verify(VerifyArguments),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct VerifyArguments {
    /// The receipt
    #[arg(value_name = "FILE")]
    receipt: PathBuf,
    /// The gateway's public key, mxpk1..., or a file that holds it. Get it from whom you trust, not from the answer
    #[arg(long, value_name = "PUB")]
    key: String,
    /// Exactly the bytes that were received; without it only the receipt itself is checked
    #[arg(long, value_name = "FILE")]
    response: Option<PathBuf>,
    /// That the answer is in the tree of its epoch, from /v1/receipts/NAME/proof; with it nobody could leave it out of the
    /// audit
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  maxwell receipt verify answer.receipt --key gateway.key.pub
  maxwell receipt verify answer.receipt --key mxpk1... --response answer.txt
  maxwell receipt verify answer.receipt --key gateway.key.pub --proof answer.proof
  maxwell receipt verify answer.receipt --key gateway.key.pub --json | jq .receipt

A receipt says what passed through the gateway, not that the model ran: for that, `maxwell check` the claim.

Exit codes: 0 genuine, 3 not this gateway's receipt or about another response, 1 something failed here.";

/// Largest file that is looked at; a receipt has less than 1 KiB.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Bytes of a response that are hashed at a time.
const PIECE_BYTES: usize = 1 << 16;

/// Runs the command.
pub(crate) fn run(arguments: &ReceiptArguments) -> anyhow::Result<Finished> {
    let ReceiptCommand::Verify(arguments) = &arguments.command;
    let key = keys::read_verifying_key(&arguments.key)?;
    let bytes = read_bounded(&arguments.receipt, MAX_FILE_BYTES)?;
    let response = arguments.response.as_deref().map(hash_file).transpose()?;
    let proof = arguments.proof.as_deref().map(|path| read_bounded(path, MAX_FILE_BYTES)).transpose()?;
    Ok(match Receipt::verify(&bytes, &key) {
        Err(reason) => rejected(reason.code(), &reason.to_string(), None),
        Ok(receipt) => match response {
            Some(received) if received != receipt.response => {
                let message = format!(
                    "the receipt is about a response with digest {}, but this one has {received}",
                    receipt.response
                );
                rejected("response", &message, Some(&receipt))
            }
            _ => match proof.map(|proof| prove(&proof, &key, &receipt)).transpose() {
                Err(reason) => rejected(reason.code(), &reason.to_string(), Some(&receipt)),
                Ok(proved) => accepted(&receipt, response.is_some(), proved.as_ref()),
            },
        },
    })
}

fn hash_file(path: &Path) -> anyhow::Result<ResponseDigest> {
    let failed = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let mut hasher = ResponseHasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).with_context(failed)? {
            0 => return Ok(hasher.digest()),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// What a proof shows beside the receipt.
struct Proved {
    checkpoint: Checkpoint,
    is_picked: bool,
}

fn prove(bytes: &[u8], key: &VerifyingKey, receipt: &Receipt) -> Result<Proved, InclusionReason> {
    let proof = InclusionProof::decode(bytes).map_err(InclusionReason::Form)?;
    Ok(Proved { checkpoint: proof.verify(key, receipt)?, is_picked: proof.leaf.picked })
}

fn accepted(receipt: &Receipt, response_checked: bool, proved: Option<&Proved>) -> Finished {
    let mode = match receipt.mode {
        ReceiptMode::Exact => "exact: `maxwell check` on the claim tells whether the model ran",
        ReceiptMode::PassThrough => {
            "pass-through: this proves delivery, not computation; nothing here tells whether a model ran"
        }
    };
    let response = if response_checked { "is the given one" } else { "not checked: no --response was given" };
    let claim = receipt.claim.map_or_else(|| "none".to_owned(), |claim| claim.to_string());
    let text = format!(
        "Genuine: this answer passed through gateway {}\n  response {response}\n  model {}\n  claim {claim}\n  \
         request {} with nonce {}, log record {}\n  {} prompt and {} output tokens, finish {}\n  mode {mode}",
        receipt.gateway,
        receipt.model,
        receipt.tag.counter,
        receipt.tag.nonce,
        receipt.sequence,
        receipt.prompt_tokens,
        receipt.output_tokens,
        receipt.finish,
    );
    let message = "genuine: it says what passed through the gateway, not that the model ran";
    let mut json = outcome("accept", None, message, response_checked, Some(receipt));
    let mut text = text;
    if let Some(Proved { checkpoint, is_picked }) = proved {
        let (epoch, size) = (checkpoint.terms.epoch, checkpoint.size);
        let picked = if *is_picked { "picked" } else { "not picked" };
        text.push_str(&format!(
            "\n  in the tree of epoch {epoch} with {size} answers, {picked} for recomputation"
        ));
        json["epoch"] = json!({ "epoch": epoch, "answers": size, "picked": is_picked });
    }
    Finished { exit: Exit::Ok, json, text }
}

fn rejected(reason: &str, message: &str, receipt: Option<&Receipt>) -> Finished {
    Finished {
        exit: Exit::Reject,
        json: outcome("reject", Some(reason), message, receipt.is_some(), receipt),
        text: format!("Rejected: {message}"),
    }
}

fn outcome(
    verdict: &str,
    reason: Option<&str>,
    message: &str,
    response_checked: bool,
    receipt: Option<&Receipt>,
) -> Value {
    json!({
        "verdict": verdict,
        "reason": reason,
        "message": message,
        "response_checked": response_checked,
        "receipt": receipt.map(Receipt::to_json),
    })
}
