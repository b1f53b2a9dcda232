//! The sample values that `../vectors.py` uses too. Must not compute anything that a test checks.

use protocol::{
    Claim, ClientSeed, FinishReason, LogitFingerprint, ModelCommitment, Nonce, SamplingSettings, Seed,
    TemplateDigest,
};

pub(crate) const SEED_HEX: &str = "d013839810bc9ee852f8a142d92b8340fd3b7a5951887a263b21739323352810";
pub(crate) const PROMPT: [u32; 5] = [1, 23, 24, 300, 70000];

pub(crate) fn counting(first: u8) -> [u8; 32] {
    std::array::from_fn(|i| first + u8::try_from(i).unwrap())
}

pub(crate) fn nonce() -> Nonce {
    Nonce::from_bytes(counting(0))
}

pub(crate) fn client_seed() -> ClientSeed {
    ClientSeed::from_bytes(counting(32))
}

pub(crate) fn model() -> ModelCommitment {
    ModelCommitment::from_bytes([0x11; 32])
}

pub(crate) fn settings() -> SamplingSettings {
    SamplingSettings {
        temperature_milli: 700,
        top_k: 40,
        top_p_ppm: 950_000,
        min_p_ppm: 50_000,
        repetition_penalty_milli: 1100,
        max_tokens: 64,
        stop_at_end: true,
    }
}

pub(crate) fn claim() -> Claim {
    Claim {
        version: 1,
        numerics: "maxwell-ie5-1".to_owned(),
        model: model(),
        template: Some(TemplateDigest::from_bytes([0x22; 32])),
        prompt_ids: PROMPT.to_vec(),
        settings: settings(),
        client_seed: client_seed(),
        nonce: nonce(),
        seed: SEED_HEX.parse::<Seed>().unwrap(),
        output_ids: vec![17, u32::MAX],
        finish: FinishReason::OutOfRange { position: 6 },
        output_bytes: b"hi \xff".to_vec(),
        fingerprints: vec![
            LogitFingerprint::new(5, 0xffff_ffff_0000_0000).unwrap(),
            LogitFingerprint::new(1 << 32, 0).unwrap(),
        ],
        logprobs: None,
        trace: None,
    }
}
