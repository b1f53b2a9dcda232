//! `maxwell converse`: the prover's end of conversations about a proof's weights, for verifiers with a tape. Learns nothing that it could use
//! against the next verifier: each draws its own coins.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use proof_system::field::Ext;
use proof_system::field::extension::EXT_BYTES;
use protocol::Claim;
use protocol::claim::MAX_CLAIM_BYTES;
use prover::{Talk, WeightIntegers};
use serde_json::json;
use verifier::encoding::MAX_PROOF_BYTES;
use verifier::tape::HELLO;
use verifier::verify::{Pending, verify_trace};
use verifier::{Outline, Proof};

use super::Shell;
use super::prove::open_for;
use crate::home::read_bounded;
use crate::output::{Exit, Finished};

/// A verifier who says nothing for this long is gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `maxwell converse`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConverseArguments {
    /// The claim
    #[arg(value_name = "CLAIM")]
    claim: PathBuf,
    /// Its proof
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// Where verifiers connect: a Unix socket that is made and removed
    #[arg(long, value_name = "SOCKET")]
    listen: PathBuf,
    /// The model; without it the one that the claim names is looked for among those that were pulled or used here
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// End after so many conversations
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
}

const EXAMPLES: &str = "\
Examples:
  maxwell converse sky.claim sky.proof --listen prover.socket
  maxwell verify sky.claim sky.proof --manifest smollm2.manifest --tape my.tape --prover prover.socket

Exit codes: 0 all conversations were held, 1 error.";

/// Runs the command.
pub(crate) fn run(arguments: &ConverseArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let claim = Claim::decode(&read_bounded(&arguments.claim, MAX_CLAIM_BYTES)?)?;
    let proof = Proof::decode(&read_bounded(&arguments.proof, MAX_PROOF_BYTES)?)?;
    let opened = open_for(shell, arguments.model.as_deref(), &claim)?;
    let pending =
        verify_trace(&Outline::of(&opened.model), &claim, &proof).context("the proof does not hold")?;
    let weights = WeightIntegers::new(&opened.model)?;
    let listener = UnixListener::bind(&arguments.listen)
        .with_context(|| format!("can't listen at {}", arguments.listen.display()))?;
    let _removed = Removed(&arguments.listen);
    shell.terminal.note(format_args!("listening at {}", arguments.listen.display()));
    let (mut held, mut left) = (0_u32, 0_u32);
    let began = Instant::now();
    while held < arguments.count {
        let (stream, _) = listener.accept().context("can't accept a verifier")?;
        match talk(stream, &claim, &pending, &weights) {
            Ok(()) => held += 1,
            Err(reason) => {
                left += 1;
                tracing::warn!(%reason, "a verifier left");
            }
        }
    }
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({ "held": held, "left": left, "seconds": began.elapsed().as_secs_f64() }),
        text: format!("{held} conversations held, {left} broken off"),
    })
}

/// Removes the socket at the end.
struct Removed<'a>(&'a PathBuf);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

fn talk(
    mut stream: UnixStream,
    claim: &Claim,
    pending: &Pending,
    weights: &WeightIntegers,
) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut hello = [0; HELLO.len() + 32];
    stream.read_exact(&mut hello)?;
    let (magic, digest) = hello.split_at(HELLO.len());
    if magic != HELLO || digest != claim.digest().as_bytes() {
        bail!("it asked about something else");
    }
    let mut talk = Talk::new(|said: &[Ext]| {
        let bytes: Vec<u8> = said.iter().flat_map(|element| element.to_bytes()).collect();
        stream.write_all(&bytes).ok()?;
        let mut coin = [0; EXT_BYTES];
        stream.read_exact(&mut coin).ok()?;
        Ext::from_bytes(coin)
    });
    weights.answer(pending, &mut talk);
    if talk.finish() { Ok(()) } else { bail!("it broke off the conversation") }
}
