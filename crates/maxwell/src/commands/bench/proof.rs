//! `maxwell bench proof`: what a proof costs over the number of tokens, beside writing and replaying the same tokens. Must never print a figure
//! of a proof that was not accepted.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use engine::{Engine, Request, complete};
use evidence::replay::replay_delivered;
use model::Model;
use proof_system::field::Ext;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings, Verdict};
use prover::{CommittedWeights, Phase, Talk, WeightIntegers};
use serde_json::{Value, json};
use verifier::layout::{Layout, Tree};
use verifier::public::Public;
use verifier::soundness::Soundness;
use verifier::tape::{Conversation, Entry, coordinates, values};
use verifier::verify::verify_trace;
use verifier::weight_stream::WeightStream;
use verifier::{Manifest, Outline, Proof, Reject};

use super::MODEL;
use crate::commands::Shell;
use crate::models::{self, RunOptions};
use crate::output::{Exit, Finished, grouped};
use crate::random::random_element;

/// How often a proof is verified; the least counts.
const VERIFICATIONS: usize = 5;

/// Arguments of `maxwell bench proof`.
#[derive(Debug, Args)]
pub(crate) struct ProofArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(short, long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=512))]
    prompt: u32,
    /// Tokens of the answer; several make a curve
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [16, 64, 256])]
    outputs: Vec<u32>,
    /// Draw at this temperature, in thousandths
    #[arg(long, value_name = "N", default_value_t = 0)]
    temperature_milli: u32,
    /// Leave out what verifiers without the model need, which takes about 20 bytes of memory a weight
    #[arg(long)]
    no_thin: bool,
    #[command(flatten)]
    run: RunOptions,
}

/// One point of the curve.
struct Point {
    tokens: usize,
    generate_s: f64,
    replay_s: f64,
    prove_s: f64,
    phases: Vec<(Phase, f64)>,
    verify_s: f64,
    bytes: usize,
    committed: usize,
    lookups: usize,
    security_bits: u32,
    peak_memory: Option<u64>,
    claim: Claim,
    proof: Proof,
}

/// What verifiers without the model cost.
struct Thin {
    commit_s: f64,
    manifest_bytes: usize,
    tape_s: f64,
    peak_memory: Option<u64>,
    points: Vec<ThinPoint>,
}

/// One point of the curve.
struct ThinPoint {
    tokens: usize,
    open_s: f64,
    verify_s: f64,
    bytes: usize,
    security_bits: u32,
    talk_s: f64,
    talk_verify_s: f64,
}

/// Runs the bench.
pub(crate) fn run(arguments: &ProofArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let engine = opened.engine(arguments.run)?;
    let mut points = Vec::new();
    for outputs in &arguments.outputs {
        shell.terminal.note(format_args!("{} + {outputs} tokens", arguments.prompt));
        points.push(measure(&engine, arguments, *outputs)?);
    }
    let thin = if arguments.no_thin { None } else { Some(measure_thin(engine.model(), shell, &points)?) };
    let mut text = format!(
        "{}\n{:>7} {:>9} {:>9} {:>9} {:>10} {:>9} {:>12} {:>12} {:>12} {:>5} {:>9}",
        crate::machine::line(),
        "tokens",
        "write s",
        "replay s",
        "prove s",
        "x replay",
        "verify s",
        "bytes",
        "committed",
        "lookups",
        "bits",
        "peak MiB"
    );
    for point in &points {
        text.push_str(&format!(
            "\n{:>7} {:>9.3} {:>9.3} {:>9.2} {:>10.1} {:>9.3} {:>12} {:>12} {:>12} {:>5} {:>9}",
            point.tokens,
            point.generate_s,
            point.replay_s,
            point.prove_s,
            point.prove_s / point.replay_s,
            point.verify_s,
            grouped(point.bytes as u64),
            grouped(point.committed as u64),
            grouped(point.lookups as u64),
            point.security_bits,
            point.peak_memory.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
        ));
    }
    for point in &points {
        let phase = |(phase, seconds): &(Phase, f64)| format!("{phase:?} {seconds:.2} s");
        let phases: Vec<String> = point.phases.iter().map(phase).collect();
        let lookups =
            point.phases.iter().find(|(phase, _)| *phase == Phase::Lookups).map_or(0.0, |(_, s)| *s);
        let commit = point.phases.iter().find(|(phase, _)| *phase == Phase::Commit).map_or(0.0, |(_, s)| *s);
        text.push_str(&format!(
            "\n{:>7}: {}; {:.1} ns a lookup, {:.1} ns a committed integer",
            point.tokens,
            phases.join(", "),
            lookups * 1e9 / point.lookups as f64,
            commit * 1e9 / point.committed as f64
        ));
    }
    if let Some(thin) = &thin {
        text.push_str(&thin.text());
    }
    let json = json!({
        "machine": crate::machine::json(),
        "thin": thin.as_ref().map(Thin::json),
        "prompt": arguments.prompt,
        "temperature_milli": arguments.temperature_milli,
        "points": points.iter().map(Point::json).collect::<Vec<_>>(),
    });
    Ok(Finished { exit: Exit::Ok, json, text })
}

fn measure(engine: &Engine, arguments: &ProofArguments, outputs: u32) -> anyhow::Result<Point> {
    let model = engine.model();
    let began = Instant::now();
    let claim = answer(engine, arguments, outputs)?;
    let generate_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    if replay_delivered(engine, &claim, None)? != Verdict::Accept {
        bail!("the replay of an honest claim is not accepted; this is a bug");
    }
    let replay_s = began.elapsed().as_secs_f64();
    let marks = Mutex::new(Vec::new());
    let began = Instant::now();
    let proof = prover::prove(model, &claim, &|phase| {
        if let Ok(mut marks) = marks.lock() {
            marks.push((phase, Instant::now()));
        }
    })?;
    let prove_s = began.elapsed().as_secs_f64();
    let end = Instant::now();
    let marks = marks.into_inner().unwrap_or_default();
    let ends = marks.iter().skip(1).map(|(_, start)| *start).chain([end]);
    let phases = marks
        .iter()
        .zip(ends)
        .map(|((phase, start), end)| (*phase, end.duration_since(*start).as_secs_f64()));
    let phases = phases.collect();
    let outline = Outline::of(model);
    let public = Public::new(&outline, &claim, proof.widths.clone())?;
    let layout = Layout::new(&public);
    let lookups = layout.trees.iter().map(|tree: &Tree| 1_usize << tree.bits).sum();
    let bytes = proof.encode().len();
    let soundness = verifier::verify(model, &claim, &proof)?;
    let verify_s = least_seconds(|| verifier::verify(model, &claim, &proof))?;
    Ok(Point {
        tokens: claim.prompt_ids.len() + claim.output_ids.len(),
        generate_s,
        replay_s,
        prove_s,
        phases,
        verify_s,
        bytes,
        committed: layout.length,
        lookups,
        security_bits: soundness.bits(),
        peak_memory: crate::machine::peak_memory_bytes(),
        claim,
        proof,
    })
}

/// The least of some runs: what a verifier takes where nothing else runs.
fn least_seconds(run: impl Fn() -> Result<Soundness, Reject>) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..VERIFICATIONS {
        let began = Instant::now();
        run()?;
        least = least.min(began.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn measure_thin(model: &Model, shell: &Shell, points: &[Point]) -> anyhow::Result<Thin> {
    shell.terminal.note(format_args!("committing to the weights"));
    let began = Instant::now();
    let weights = CommittedWeights::new(model)?;
    let commit_s = began.elapsed().as_secs_f64();
    let bytes = Manifest::new(model, weights.root()).encode();
    let manifest = Manifest::decode(&bytes, |_| Ok(model.tokenizer.spec().clone()))?;
    let mut thin =
        Thin { commit_s, manifest_bytes: bytes.len(), tape_s: 0.0, peak_memory: None, points: Vec::new() };
    for point in points {
        let mut proof = point.proof.clone();
        let pending = verify_trace(&manifest.outline, &point.claim, &proof)?;
        let began = Instant::now();
        proof.weights = Some(weights.open(pending));
        let open_s = began.elapsed().as_secs_f64();
        let soundness = verifier::verify_thin(&manifest, &point.claim, &proof)?;
        let verify_s = least_seconds(|| verifier::verify_thin(&manifest, &point.claim, &proof))?;
        thin.points.push(ThinPoint {
            tokens: point.tokens,
            open_s,
            verify_s,
            bytes: proof.encode().len(),
            security_bits: soundness.bits(),
            talk_s: 0.0,
            talk_verify_s: f64::INFINITY,
        });
    }
    drop(weights);
    measure_talks(model, &manifest, points, &mut thin)?;
    thin.peak_memory = crate::machine::peak_memory_bytes();
    Ok(thin)
}

/// An honest answer to a prompt of arbitrary tokens.
fn answer(engine: &Engine, arguments: &ProofArguments, outputs: u32) -> anyhow::Result<Claim> {
    let vocabulary = engine.model().config.vocab;
    let settings = SamplingSettings {
        max_tokens: outputs,
        stop_at_end: false,
        temperature_milli: arguments.temperature_milli,
        ..SamplingSettings::greedy()
    };
    let prompt_ids = (0..arguments.prompt).map(|at| (at * 7919 + 1) % vocabulary).collect();
    let request = Request {
        prompt_ids,
        settings,
        nonce: Nonce::from_bytes([1; 32]),
        client_seed: ClientSeed::from_bytes([0; 32]),
    };
    let completed = complete(engine, request.clone(), |_| {})?;
    Ok(completed.into_claim(engine.model(), request, false))
}

/// Conversations with a verifier who has a tape; its own time alone counts for it.
fn measure_talks(
    model: &Model,
    manifest: &Manifest,
    points: &[Point],
    thin: &mut Thin,
) -> anyhow::Result<()> {
    let stream = WeightStream::new(&manifest.outline);
    let integers = WeightIntegers::new(model)?;
    for (point, out) in points.iter().zip(&mut thin.points) {
        for _ in 0..VERIFICATIONS {
            let secret: Vec<Ext> =
                (0..coordinates(&stream.stream)).map(|_| random_element()).collect::<anyhow::Result<_>>()?;
            let began = Instant::now();
            let value = values(model, &stream, std::slice::from_ref(&secret)).remove(0);
            thin.tape_s = began.elapsed().as_secs_f64();
            let began = Instant::now();
            let pending = verify_trace(&manifest.outline, &point.claim, &point.proof)?;
            let mut first = began.elapsed();
            // The prover has its own.
            let own = pending.clone();
            let began = Instant::now();
            let entry = Entry { point: secret, value };
            let mut talk = Conversation::new(pending, &stream, entry, random_element)?;
            first += began.elapsed();
            let began = Instant::now();
            let mut prover = Talk::new(|said: &[Ext]| talk.hear(said).ok().flatten());
            integers.answer(&own, &mut prover);
            prover.finish();
            out.talk_s = began.elapsed().as_secs_f64();
            let began = Instant::now();
            talk.verdict()?;
            out.talk_verify_s = out.talk_verify_s.min((first + began.elapsed()).as_secs_f64());
        }
    }
    Ok(())
}

impl Thin {
    fn text(&self) -> String {
        let mut text = format!(
            "\nwithout the model: weights committed once in {:.2} s, manifest of {} bytes, an entry of a tape in {:.2} s, peak {} MiB\n{:>7} {:>9} {:>9} {:>12} {:>5} {:>9} {:>13}",
            self.commit_s,
            grouped(self.manifest_bytes as u64),
            self.tape_s,
            self.peak_memory.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
            "tokens",
            "open s",
            "verify s",
            "bytes",
            "bits",
            "talk s",
            "talk verify s",
        );
        for point in &self.points {
            text.push_str(&format!(
                "\n{:>7} {:>9.2} {:>9.3} {:>12} {:>5} {:>9.2} {:>13.3}",
                point.tokens,
                point.open_s,
                point.verify_s,
                grouped(point.bytes as u64),
                point.security_bits,
                point.talk_s,
                point.talk_verify_s,
            ));
        }
        text
    }

    fn json(&self) -> Value {
        let points = self.points.iter().map(|point| {
            json!({
                "tokens": point.tokens,
                "open_s": point.open_s,
                "verify_s": point.verify_s,
                "bytes": point.bytes,
                "security_bits": point.security_bits,
                "talk_s": point.talk_s,
                "talk_verify_s": point.talk_verify_s,
            })
        });
        json!({
            "commit_s": self.commit_s,
            "manifest_bytes": self.manifest_bytes,
            "tape_entry_s": self.tape_s,
            "peak_memory_bytes": self.peak_memory,
            "points": points.collect::<Vec<_>>(),
        })
    }
}

impl Point {
    fn json(&self) -> Value {
        json!({
            "tokens": self.tokens,
            "generate_s": self.generate_s,
            "replay_s": self.replay_s,
            "prove_s": self.prove_s,
            "phases": self.phases.iter().map(|(phase, s)| json!({ "phase": format!("{phase:?}"), "seconds": s })).collect::<Vec<_>>(),
            "verify_s": self.verify_s,
            "bytes": self.bytes,
            "committed_integers": self.committed,
            "lookups": self.lookups,
            "security_bits": self.security_bits,
            "peak_memory_bytes": self.peak_memory,
        })
    }
}
