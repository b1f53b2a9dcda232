//! Tiny models and honest claims.

use std::sync::Arc;

use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use engine::{Engine, EngineOptions, Request, complete};
use model::Model;
use model::commitment::calibrate_file;
use model::import::read_gguf;
use model::synthetic::SyntheticModel;
use protocol::claim::Claim;
use protocol::id::{ClientSeed, Nonce};
use protocol::settings::SamplingSettings;

/// An engine for a synthetic model.
pub(crate) fn engine(synthetic: &SyntheticModel) -> Engine {
    let file = read_gguf(Arc::new(synthetic.gguf())).expect("synthetic models are whole");
    let accumulate = KernelAccumulate::new(Isa::best());
    let formats = calibrate_file(&file, &accumulate, &mut |_| {}).expect("bounds hold");
    let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
    Engine::new(model, EngineOptions { isa: Isa::best(), threads: 2 }).expect("memory for a tiny model")
}

/// An honest greedy claim.
pub(crate) fn claim(engine: &Engine, prompt_ids: Vec<u32>, max_tokens: u32) -> Claim {
    claim_at(engine, prompt_ids, max_tokens, 0)
}

/// An honest claim at a temperature in thousandths.
pub(crate) fn claim_at(
    engine: &Engine,
    prompt_ids: Vec<u32>,
    max_tokens: u32,
    temperature_milli: u32,
) -> Claim {
    let mut settings = SamplingSettings { temperature_milli, ..SamplingSettings::greedy() };
    settings.max_tokens = max_tokens;
    settings.stop_at_end = false;
    let nonce = Nonce::from_bytes([3; 32]);
    let request = Request { prompt_ids, settings, nonce, client_seed: ClientSeed::from_bytes([4; 32]) };
    let completed = complete(engine, request.clone(), |_| {}).expect("a valid request");
    completed.into_claim(engine.model(), request, false)
}
