//! Honest answers are never taken for cheats, whole or cut where their reader left.

use std::sync::Arc;

use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use engine::{Engine, EngineOptions, Request, complete};
use evidence::replay::{replay, replay_batch, replay_delivered};
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::lease::Outcome;
use protocol::seed::derive_seed;
use protocol::{Claim, ClientSeed, FinishReason, ModelCommitment, Nonce, SamplingSettings, Verdict};

/// False alarms are counted over so many answers.
const ANSWERS: u64 = 2_000;

fn engine() -> Engine {
    let file = read_gguf(Arc::new(SyntheticModel::tiny(Architecture::Llama).gguf())).unwrap();
    let formats = calibrate_file(&file, &KernelAccumulate::new(Isa::best()), &mut |_| {}).unwrap();
    let model = Arc::new(Model::assemble(file, formats).unwrap());
    Engine::new(model, EngineOptions { isa: Isa::best(), threads: 1 }).unwrap()
}

fn answer(engine: &Engine, number: u64) -> Claim {
    let mut random = SplitMix64::new(number);
    let mut settings = SamplingSettings::greedy();
    settings.temperature_milli = [0, 700, 1500][(number % 3) as usize];
    settings.max_tokens = 1 + random.below(8) as u32;
    let nonce = Nonce::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
    let vocabulary = u64::from(engine.model().config.vocab);
    let prompt_ids = (0..1 + random.below(24)).map(|_| random.below(vocabulary) as u32).collect();
    let request = Request { prompt_ids, settings, nonce, client_seed: ClientSeed::from_bytes([9; 32]) };
    let completed = complete(engine, request.clone(), |_| {}).unwrap();
    completed.into_claim(engine.model(), request, false)
}

/// What the gateway writes down when the reader leaves after so many tokens.
fn cut(engine: &Engine, mut claim: Claim, tokens: usize) -> Claim {
    claim.output_ids.truncate(tokens);
    claim.fingerprints.truncate(tokens);
    claim.output_bytes = engine.model().tokenizer.decode_bytes(&claim.output_ids).unwrap();
    claim.finish = FinishReason::ReaderLeft;
    claim
}

#[test]
fn honest_answers_raise_no_alarm() {
    let engine = engine();
    let mut false_alarms = 0;
    for number in 0..ANSWERS {
        let claim = answer(&engine, number);
        // Every third reader leaves somewhere, at the end too.
        let tokens = claim.output_ids.len();
        let claim = if number % 3 == 0 && tokens > 0 {
            cut(&engine, claim, 1 + (number / 3) as usize % tokens)
        } else {
            claim
        };
        let verdict = replay_delivered(&engine, &claim, Some(&claim.nonce)).unwrap();
        false_alarms += u64::from(Outcome::of(&verdict) != Outcome::Pass);
    }
    println!("{ANSWERS} honest answers, {false_alarms} false alarms");
    assert_eq!(false_alarms, 0);
}

/// Honest ones and cheats of every kind side by side: nobody's verdict depends on the company.
#[test]
fn a_batch_has_the_verdicts_of_single_replays() {
    let engine = engine();
    let mut claims = Vec::new();
    for number in 0..60 {
        let mut claim = answer(&engine, number);
        match number % 6 {
            0 | 1 => {}
            2 => claim.output_ids[0] ^= 1,
            3 => claim.fingerprints.swap(0, claim.output_ids.len() - 1),
            4 => claim.output_bytes.push(b'x'),
            // Known without a forward pass: it has no place in it.
            _ => claim.model = ModelCommitment::from_bytes([9; 32]),
        }
        claims.push(claim);
    }
    let alone: Vec<_> = claims.iter().map(|claim| replay_delivered(&engine, claim, None).unwrap()).collect();
    assert!(alone.contains(&Verdict::Accept));
    for size in [1, 7, 60] {
        let together: Vec<_> = claims
            .chunks(size)
            .flat_map(|part| replay_batch(&engine, &part.iter().collect::<Vec<_>>()))
            .map(Result::unwrap)
            .collect();
        assert_eq!(together, alone, "in batches of {size}");
    }
    assert!(replay_batch(&engine, &[]).is_empty());
}

#[test]
fn a_cut_answer_is_the_gateways_word_only_and_still_checked() {
    let engine = engine();
    let whole = (0..).map(|number| answer(&engine, number)).find(|claim| claim.output_ids.len() > 4).unwrap();
    let claim = cut(&engine, whole, 3);
    assert_eq!(replay_delivered(&engine, &claim, None).unwrap(), Verdict::Accept);
    // From anybody else it is an excuse.
    let Verdict::Reject(reason) = replay(&engine, &claim, None).unwrap() else { panic!("accepted") };
    assert_eq!(reason.code(), "ends_early");
    for position in 0..3 {
        let mut changed = claim.clone();
        changed.output_ids[position] ^= 1;
        changed.output_bytes = engine.model().tokenizer.decode_bytes(&changed.output_ids).unwrap();
        let outcome = Outcome::of(&replay_delivered(&engine, &changed, None).unwrap());
        assert!(matches!(outcome, Outcome::Fail { position: Some(at), .. } if at as usize <= position));
    }
    let mut reseeded = claim;
    reseeded.nonce = Nonce::from_bytes([1; 32]);
    reseeded.seed = derive_seed(&reseeded.nonce, &reseeded.client_seed);
    assert_ne!(replay_delivered(&engine, &reseeded, None).unwrap(), Verdict::Accept);
}
