//! Times one proof of the real model: `real PROMPT OUTPUT`.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use engine::{Engine, EngineOptions, Request, accumulate::KernelAccumulate, complete, kernels::Isa};
use model::{Model, commitment::calibrate_file, import::read_gguf};
use protocol::{
    claim::Claim,
    id::{ClientSeed, Nonce},
    settings::SamplingSettings,
};
use std::sync::{Arc, Mutex};
use std::time::Instant;
fn main() {
    let args: Vec<u32> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let home = std::env::home_dir().unwrap().join(".maxwell/models/smollm2-135m/model.gguf");
    let file = read_gguf(Arc::new(std::fs::read(home).unwrap())).unwrap();
    let formats = calibrate_file(&file, &KernelAccumulate::new(Isa::best()), &mut |_| {}).unwrap();
    let model = Arc::new(Model::assemble(file, formats).unwrap());
    let engine = Engine::new(Arc::clone(&model), EngineOptions { isa: Isa::best(), threads: 2 }).unwrap();
    let mut settings = SamplingSettings::greedy();
    settings.max_tokens = args[1];
    settings.stop_at_end = false;
    let mut prompt_ids = vec![1u32, 504, 3575, 282, 4649, 314];
    while prompt_ids.len() < args[0] as usize {
        prompt_ids.push(500 + 37 * prompt_ids.len() as u32);
    }
    prompt_ids.truncate(args[0] as usize);
    let request = Request {
        prompt_ids,
        settings,
        nonce: Nonce::from_bytes([3; 32]),
        client_seed: ClientSeed::from_bytes([4; 32]),
    };
    let t = Instant::now();
    let completed = complete(&engine, request.clone(), |_| {}).unwrap();
    let claim: Claim = completed.into_claim(&model, request, false);
    println!("generate {:.3} s", t.elapsed().as_secs_f64());
    let start = Instant::now();
    let last = Mutex::new((Instant::now(), None));
    let proof = prover::prove(&model, &claim, &|phase| {
        let mut last = last.lock().unwrap();
        if let Some(p) = last.1 {
            println!("{p:?} {:.3} s", last.0.elapsed().as_secs_f64());
        }
        *last = (Instant::now(), Some(phase));
    });
    let l = last.lock().unwrap();
    println!("{:?} {:.3} s", l.1, l.0.elapsed().as_secs_f64());
    let proof = match proof {
        Ok(p) => p,
        Err(e) => {
            println!("{e}");
            return;
        }
    };
    println!("prove {:.3} s", start.elapsed().as_secs_f64());
    let trees: usize = proof
        .trees
        .iter()
        .map(|t| 64 + t.layers.iter().map(|l| l.rounds.len() * 32 + 64).sum::<usize>())
        .sum();
    let opening = proof.opening.row.len() * 16
        + proof.opening.columns.iter().map(|c| c.elements.len() * 8 + c.path.len() * 32).sum::<usize>();
    println!(
        "bytes: trees {} ({}) messages {} opening {} widths {:?}",
        trees,
        proof.trees.len(),
        proof.messages.len() * 16,
        opening,
        proof.widths
    );
    for _ in 0..2 {
        let t = Instant::now();
        println!("{:?} verify {:.3} s", verifier::verify(&model, &claim, &proof), t.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .unwrap()
    );
}
