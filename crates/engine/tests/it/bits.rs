//! The engine gives the bits of the plain reference: for every kernel, thread count, chunking and company,
//! for wide rows, and where a value leaves the range.

use engine::cache::KvCache;
use engine::execute::Chunk;
use engine::kernels::Isa;
use engine::{Batch, Completed, Engine, Event, Request};
use model::Model;
use model::formats::{Formats, Site};
use model::import::Architecture;
use model::ops::Rows;
use model::ops::matmul::PlainAccumulate;
use model::ops::requantize::is_wide;
use model::reference::{Forward, Network, Sites, forward};
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::id::{ClientSeed, Nonce};
use protocol::settings::SamplingSettings;

use crate::models::{FAMILIES, K_WEIGHTS, WEIGHTS, engine, import, import_with, random_ids};

fn reference(model: &Model, ids: &[u32]) -> Forward {
    forward(&model.config, &model.tensors, &model.formats, ids, &PlainAccumulate)
}

/// Logits of every position, read in chunks of the given lengths (the last repeats).
fn chunked(engine: &Engine, ids: &[u32], lengths: &[usize]) -> (Vec<i64>, Option<u32>) {
    let mut cache: KvCache = engine.new_cache();
    let mut logits = Vec::new();
    let (mut rest, mut lengths) = (ids, lengths.iter().copied().cycle());
    while !rest.is_empty() {
        let length = lengths.next().expect("cycles").clamp(1, rest.len());
        let mut chunks = [Chunk { cache: &mut cache, ids: &rest[..length], logits_from: 0 }];
        let forward = engine.forward(&mut chunks, |_, logits| logits.to_vec());
        logits.extend(forward.results.concat());
        if let Some(position) = forward.out_of_range[0] {
            return (logits, Some(position));
        }
        rest = &rest[length..];
    }
    (logits, None)
}

/// Every kernel, 1 to 3 threads, and three ways to cut 40 tokens.
fn check(model: &std::sync::Arc<Model>, ids: &[u32], what: &str) {
    let expected = reference(model, ids);
    for isa in Isa::available() {
        for (threads, lengths) in [(1, vec![ids.len()]), (2, vec![1]), (3, vec![17, 3, 1])] {
            let engine = engine(model, isa, threads);
            let (logits, out_of_range) = chunked(&engine, ids, &lengths);
            let case = format!("{what}, {}, {threads} threads, chunks {lengths:?}", isa.name());
            assert_eq!(out_of_range, expected.out_of_range, "{case}");
            assert!(logits == expected.logits.values, "logits differ: {case}");
        }
    }
}

#[test]
fn every_family_gives_the_reference_bits() {
    for architecture in FAMILIES {
        for seed in 1..=3 {
            let synthetic = SyntheticModel { seed, ..SyntheticModel::tiny(architecture) };
            let model = import(&synthetic);
            let ids = random_ids(&mut SplitMix64::new(seed), model.config.vocab, 40);
            check(&model, &ids, &format!("{architecture:?} seed {seed}"));
        }
    }
}

#[test]
fn every_weight_format_gives_the_reference_bits() {
    for weight_type in WEIGHTS {
        let synthetic = SyntheticModel { weight_type, ..SyntheticModel::tiny(Architecture::Llama) };
        let model = import(&synthetic);
        check(
            &model,
            &random_ids(&mut SplitMix64::new(5), model.config.vocab, 40),
            &format!("{weight_type:?}"),
        );
    }
    for weight_type in K_WEIGHTS {
        let model = import(&SyntheticModel::tiny_256(Architecture::Qwen2, weight_type));
        check(
            &model,
            &random_ids(&mut SplitMix64::new(6), model.config.vocab, 24),
            &format!("{weight_type:?}"),
        );
    }
}

#[test]
fn odd_shapes_give_the_reference_bits() {
    for (heads, kv_heads, head_dim, ff) in [(3, 1, 64, 96), (2, 2, 128, 160), (6, 3, 80, 32), (1, 1, 32, 64)]
    {
        let synthetic = SyntheticModel {
            heads,
            kv_heads,
            head_dim,
            ff,
            width: 96,
            ..SyntheticModel::tiny(Architecture::Qwen3)
        };
        let model = import(&synthetic);
        let ids = random_ids(&mut SplitMix64::new(u64::from(head_dim)), model.config.vocab, 33);
        check(&model, &ids, &format!("{heads}/{kv_heads} heads of {head_dim}, ff {ff}"));
    }
}

/// The formats of a model, and how many rows were wide under them.
struct WideRows<'f>(&'f Formats, usize);

impl Sites for WideRows<'_> {
    fn residual(&self) -> i32 {
        self.0.residual
    }

    fn exponent(&mut self, block: usize, site: Site, _: i32, _: &Rows) -> i32 {
        self.0.blocks[block].exponent(site)
    }

    fn observe(&mut self, _: usize, _: Site, rows: &Rows) {
        self.1 += rows.iter().filter(|row| is_wide(row)).count();
    }

    fn limit_bits(&self, block: usize, site: Site) -> Option<u32> {
        Some(self.0.blocks[block].limit_bits(site))
    }
}

/// Formats finer than calibration chose make rows wide: the second limb must carry the same numbers.
#[test]
fn wide_rows_give_the_reference_bits() {
    for architecture in [Architecture::Llama, Architecture::Qwen3, Architecture::Gemma3] {
        for (site, finer) in Site::ALL.map(|site| (site, if site == Site::DownInput { 8 } else { 6 })) {
            let model = import_with(&SyntheticModel::tiny(architecture), |formats| {
                for block in &mut formats.blocks {
                    block.exponents[site as usize] += finer;
                }
            });
            let ids = random_ids(&mut SplitMix64::new(9), model.config.vocab, 21);
            let mut sites = WideRows(&model.formats, 0);
            Network::new(&model.config, &model.tensors, &PlainAccumulate).residual_maximum(
                &[&ids],
                &mut sites,
                &mut |_| {},
            );
            let exists = model.config.qk_norm || !matches!(site, Site::QueryRaw | Site::KeyRaw);
            assert!(sites.1 > 0 || !exists, "{architecture:?}: no row was wide at {}", site.name());
            check(&model, &ids, &format!("{architecture:?}, {} wide rows at {}", sites.1, site.name()));
        }
    }
}

/// Still finer ones leave the range, at the same first position for every way to compute it.
#[test]
fn out_of_range_positions_are_the_same_for_all() {
    let mut seen = 0;
    for site in [Site::Query, Site::Value, Site::Gate, Site::DownInput] {
        for finer in [7, 8, 9, 10, 11, 12] {
            let model = import_with(&SyntheticModel::tiny(Architecture::Llama), |formats| {
                formats.blocks[1].exponents[site as usize] += finer;
            });
            let ids =
                random_ids(&mut SplitMix64::new(u64::from(finer.unsigned_abs())), model.config.vocab, 30);
            seen += u32::from(reference(&model, &ids).out_of_range.is_some_and(|p| p > 0));
            check(&model, &ids, &format!("{} finer by {finer}", site.name()));
        }
    }
    assert!(seen > 2, "the formats must leave the range after position 0 in some case, did in {seen}");
}

fn request(model: &Model, random: &mut SplitMix64, number: u8) -> Request {
    let mut settings = SamplingSettings::greedy();
    settings.temperature_milli = 500 * u32::from(number % 4);
    settings.repetition_penalty_milli = 1000 + 100 * u32::from(number % 3);
    settings.max_tokens = 12;
    settings.stop_at_end = number.is_multiple_of(2);
    let length = 3 + random.below(40) as usize;
    Request {
        prompt_ids: random_ids(random, model.config.vocab, length),
        settings,
        nonce: Nonce::from_bytes([number; 32]),
        client_seed: ClientSeed::from_bytes([7; 32]),
    }
}

fn alone(engine: &Engine, request: Request) -> Completed {
    engine::complete(engine, request, |_| {}).expect("a valid request")
}

/// Requests that join at different steps, with small prefill chunks, give what each gives alone.
#[test]
fn company_and_chunking_change_nothing() {
    for architecture in [Architecture::Llama, Architecture::Gemma3] {
        let model = import(&SyntheticModel::tiny(architecture));
        let engine = engine(&model, Isa::best(), 2);
        let mut random = SplitMix64::new(11);
        let requests: Vec<Request> = (0..6).map(|n| request(&model, &mut random, n)).collect();
        let mut batch = Batch::with_prefill_chunk(&engine, 7);
        let mut waiting = requests.iter().cloned();
        let mut finished = std::collections::BTreeMap::new();
        loop {
            // One more joins at each step.
            if let Some(request) = waiting.next() {
                batch.add(request).expect("a valid request");
            }
            for event in batch.step() {
                if let Event::Finished { sequence, completed } = event {
                    finished.insert(sequence, completed);
                }
            }
            if batch.is_empty() && waiting.len() == 0 {
                break;
            }
        }
        for (number, request) in requests.into_iter().enumerate() {
            let expected = alone(&engine, request);
            assert_eq!(finished[&(number as u64)], expected, "{architecture:?} request {number}");
        }
    }
}
