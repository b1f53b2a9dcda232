//! `maxwell serve`: the inference server. Behind a gateway it starts empty, takes weights over its link into memory,
//! then token ids in, token ids out; with `--model` it stands alone. It is the untrusted party: with `--cheat` it
//! shows why. Nothing it says about itself may ever count.

mod alone;
pub(crate) mod cheat;

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context, bail};
use clap::Args;
use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use engine::{Batch, Engine, Event, Request};
use model::Model;
use model::commitment::calibrate_file;
use model::import::read_gguf;
use protocol::FinishReason;
use protocol::link::{FromServer, MAX_TO_SERVER_BYTES, ToServer, frame, readback_digest};
use serde_json::json;

use self::cheat::{Cheat, Cheater};
use super::Shell;
use crate::frames::read_frame;
use crate::machine;
use crate::models::RunOptions;
use crate::output::{Exit, Finished};

/// Messages that may wait for the engine.
const QUEUE: usize = 1024;
/// Requests at the same time; more are refused.
const SEQUENCES_MAX: usize = 64;

/// Arguments of `maxwell serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArguments {
    /// The gateway's Unix socket: weights and requests come from there
    #[arg(long, value_name = "SOCKET", required_unless_present = "model", conflicts_with = "model")]
    link: Option<PathBuf>,
    /// Stand alone, without a gateway: serve this pulled model or GGUF file to OpenAI clients. Nothing is tagged, recorded or
    /// recomputed
    #[arg(short, long, value_name = "MODEL", conflicts_with = "cheat")]
    model: Option<String>,
    /// Port on this machine for --model; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8081, conflicts_with = "link")]
    port: u16,
    /// Cheat, so that one can watch it get caught
    #[arg(long, value_name = "HOW")]
    cheat: Option<Cheat>,
    #[command(flatten)]
    run: RunOptions,
}

const EXAMPLES: &str = "\
Examples:
  maxwell serve --link gateway.sock
  maxwell serve --link gateway.sock --cheat tamper
  maxwell serve -m smollm2-135m --port 8081

Behind a gateway: the gateway starts this itself (see `maxwell up`). Weights come over the link and stay in memory; nothing is read from
or written to the disk. Ends when the gateway ends the link.";

/// Runs the command.
pub(crate) fn run(arguments: &ServeArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let answers = match (&arguments.link, &arguments.model) {
        (Some(link), _) => behind_gateway(link, arguments)?,
        (None, Some(model)) => alone::run(model, arguments, shell)?,
        (None, None) => bail!("give --link or --model"),
    };
    Ok(Finished { exit: Exit::Ok, json: json!({ "answers": answers }), text: format!("{answers} answers") })
}

fn behind_gateway(link: &Path, arguments: &ServeArguments) -> anyhow::Result<u64> {
    let stream =
        UnixStream::connect(link).with_context(|| format!("can't reach a gateway at {}", link.display()))?;
    let mut link =
        Link { reader: BufReader::new(stream.try_clone().context("can't share the link")?), writer: stream };
    let weights = Arc::new(receive_weights(&mut link)?);
    let (model, cheater) = load(Arc::clone(&weights), arguments.cheat)?;
    let engine = Engine::new(Arc::new(model), arguments.run.engine())?;
    link.send(&FromServer::Ready)?;
    let Link { mut reader, mut writer } = link;
    let (sender, messages) = sync_channel(QUEUE);
    thread::Builder::new()
        .name("link".to_owned())
        .spawn(move || {
            while let Ok(message) = receive(&mut reader) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        })
        .context("can't start a thread")?;
    Ok(serve(&engine, &weights, &messages, cheater, |out| {
        let bytes: Vec<u8> = out.iter().flat_map(|message| frame(&message.encode())).collect();
        writer.write_all(&bytes).is_ok()
    }))
}

/// Both directions of the link.
struct Link {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Link {
    fn send(&mut self, message: &FromServer) -> anyhow::Result<()> {
        self.writer.write_all(&frame(&message.encode())).context("the gateway ended the link")
    }

    fn receive(&mut self) -> anyhow::Result<ToServer> {
        receive(&mut self.reader)
    }
}

fn receive(reader: &mut impl Read) -> anyhow::Result<ToServer> {
    let bytes = read_frame(reader, MAX_TO_SERVER_BYTES)?.context("the gateway ended the link")?;
    Ok(ToServer::decode(&bytes)?)
}

fn receive_weights(link: &mut Link) -> anyhow::Result<Vec<u8>> {
    let ToServer::Weights { bytes } = link.receive()? else { bail!("the gateway began without weights") };
    let limit = machine::memory_bytes().unwrap_or(u64::MAX);
    if bytes > limit {
        bail!("the gateway offers {bytes} bytes of weights; this machine has {limit} bytes of memory");
    }
    let bytes = usize::try_from(bytes).context("the weights are too large for this machine")?;
    let mut weights = Vec::new();
    weights.try_reserve_exact(bytes).context("no memory for the weights")?;
    while weights.len() < bytes {
        let ToServer::Group { bytes: group } = link.receive()? else {
            bail!("the gateway broke the upload off")
        };
        weights.extend_from_slice(&group);
    }
    if weights.len() != bytes {
        bail!("the gateway sent {} bytes of weights instead of {bytes}", weights.len());
    }
    Ok(weights)
}

fn load(weights: Arc<Vec<u8>>, cheat: Option<Cheat>) -> anyhow::Result<(Model, Cheater)> {
    let file = read_gguf(Arc::clone(&weights))?;
    let formats = calibrate_file(&file, &KernelAccumulate::new(Isa::best()), &mut |_| {})?;
    let model = Model::assemble(file, formats)?;
    let model = match cheat {
        Some(cheat) => cheat::change_model(cheat, model, weights)?,
        None => model,
    };
    let cheater = Cheater::new(cheat, model.tokenizer.end_tokens());
    Ok((model, cheater))
}

/// Serves until no more messages come, or nobody takes what is said; the number of answers.
fn serve(
    engine: &Engine,
    weights: &[u8],
    messages: &Receiver<ToServer>,
    mut cheater: Cheater,
    mut say: impl FnMut(Vec<FromServer>) -> bool,
) -> u64 {
    let mut serving = Serving { batch: Batch::new(engine), tags: BTreeMap::new(), answers: 0 };
    loop {
        let mut out = Vec::new();
        // Nothing to compute: wait. Else take what is there and go on.
        let first = if serving.batch.is_empty() {
            match messages.recv() {
                Ok(message) => Some(message),
                Err(_) => return serving.answers,
            }
        } else {
            None
        };
        for message in first.into_iter().chain(messages.try_iter()) {
            out.extend(serving.message(message, weights, &mut cheater));
        }
        if !serving.batch.is_empty() {
            out.extend(serving.step(&mut cheater));
        }
        if !say(out) {
            return serving.answers;
        }
    }
}

/// The requests that run.
struct Serving<'e> {
    batch: Batch<'e>,
    /// Tag of each sequence.
    tags: BTreeMap<u64, u64>,
    answers: u64,
}

impl Serving<'_> {
    fn message(&mut self, message: ToServer, weights: &[u8], cheater: &mut Cheater) -> Vec<FromServer> {
        match message {
            ToServer::Generate { tag, prompt_ids, settings, nonce, client_seed, logprobs } => {
                let request = Request { prompt_ids, settings, nonce, client_seed };
                let request = match cheater.request(tag, request, logprobs) {
                    Ok(request) => request,
                    Err(answer) => return answer,
                };
                if self.tags.len() >= SEQUENCES_MAX {
                    return vec![FromServer::Refused { tag }];
                }
                match self.batch.add_with_logprobs(request, logprobs) {
                    Ok(sequence) => {
                        self.tags.insert(sequence, tag);
                        Vec::new()
                    }
                    Err(error) => {
                        tracing::warn!(%error, "request refused");
                        vec![FromServer::Refused { tag }]
                    }
                }
            }
            ToServer::Cancel { tag } => {
                let sequence = self.tags.iter().find(|(_, of)| **of == tag).map(|(sequence, _)| *sequence);
                // It may have finished meanwhile; the gateway has the answer then.
                let Some(sequence) = sequence else { return Vec::new() };
                self.tags.remove(&sequence);
                self.batch.cancel(sequence);
                vec![FromServer::Finished { tag, finish: FinishReason::ReaderLeft }]
            }
            ToServer::Readback { challenge, key, ranges } => {
                let digest = readback_digest(weights, &key, &ranges).unwrap_or_default();
                vec![FromServer::Readback { challenge, digest }]
            }
            ToServer::Weights { .. } | ToServer::Group { .. } => {
                tracing::warn!("weights while serving");
                Vec::new()
            }
        }
    }

    fn step(&mut self, cheater: &mut Cheater) -> Vec<FromServer> {
        let mut out = Vec::new();
        for event in self.batch.step() {
            match event {
                Event::Token { sequence, id, fingerprint, logprobs } => {
                    let tag = self.tags[&sequence];
                    out.push(cheater.token(tag, id, fingerprint, logprobs));
                }
                Event::Finished { sequence, completed } => {
                    if let Some(tag) = self.tags.remove(&sequence) {
                        self.answers += 1;
                        cheater.finished(tag, &completed);
                        out.push(FromServer::Finished { tag, finish: completed.finish });
                    }
                }
            }
        }
        out
    }
}
