//! The recorded numbers are those of the plain reference, for all families, and recording changes nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

use engine::kernels::Isa;
use engine::trace::{ChunkTrace, Tracer};
use model::Model;
use model::formats::{Formats, Site};
use model::import::Architecture;
use model::ops::Rows;
use model::ops::attention::{AttentionRule, attention_sums, divide_round, first_key};
use model::ops::matmul::{Accumulate, PlainAccumulate};
use model::reference::{self, Network, Sites};
use model::synthetic::{SplitMix64, SyntheticModel};
use model::tables;
use model::weights::Weights;
use protocol::trace::TraceOperation;

use crate::models::{FAMILIES, engine, import, import_with, random_ids};

/// What the plain network multiplies: inputs and accumulators by the matrix's name.
#[derive(Default)]
struct Recorded {
    products: RefCell<BTreeMap<String, (Rows, Rows)>>,
    sites: RefCell<BTreeMap<(usize, Site), Rows>>,
}

impl Accumulate for Recorded {
    fn accumulate(&self, weights: &Weights, x: &Rows) -> Rows {
        let acc = PlainAccumulate.accumulate(weights, x);
        self.products.borrow_mut().insert(weights.name().to_owned(), (x.clone(), acc.clone()));
        acc
    }
}

struct ObservedSites<'a>(&'a Formats, &'a Recorded);

impl Sites for ObservedSites<'_> {
    fn residual(&self) -> i32 {
        self.0.residual
    }
    fn exponent(&mut self, block: usize, site: Site, _: i32, _: &Rows) -> i32 {
        self.0.blocks[block].exponent(site)
    }
    fn observe(&mut self, block: usize, site: Site, rows: &Rows) {
        self.1.sites.borrow_mut().insert((block, site), rows.clone());
    }
    fn limit_bits(&self, block: usize, site: Site) -> Option<u32> {
        Some(self.0.blocks[block].limit_bits(site))
    }
}

/// Scores and weighted sums of one head, from the reference's queries, keys and values; that their quotients are what
/// its output matrix was given shows that they are the reference's.
fn check_attention(model: &Model, recorded: &Recorded, block: usize, trace: &ChunkTrace) {
    let config = &model.config;
    let (dim, heads) = (config.head_dim as usize, config.heads as usize);
    let sites = recorded.sites.borrow();
    let [q, k, v] = [Site::Query, Site::Key, Site::Value].map(|site| &sites[&(block, site)]);
    let format = &model.formats.blocks[block];
    let shift = format.exponent(Site::Query) + format.exponent(Site::Key) + model.recipe.score_bits
        - tables::SOFTMAX_STEP_BITS;
    let products = recorded.products.borrow();
    let (outputs, _) = &products[model.tensors.blocks[block].o.name()];
    let operations = &trace.blocks.iter().find(|b| b.block == block).expect("recorded").operations;
    let [scores, weighted] =
        [TraceOperation::Scores, TraceOperation::Weighted].map(|o| &operations[o as usize]);
    for index in 0..trace.count {
        let position = trace.start + index;
        let keys = first_key(position, model.recipe.window(block))..position + 1;
        for head in 0..heads {
            let group = head / (heads / config.kv_heads as usize);
            let part = |rows: &'_ Rows, j: usize, head: usize| rows.row(j)[head * dim..][..dim].to_vec();
            let all = |rows: &Rows| -> Vec<Vec<i64>> { keys.clone().map(|j| part(rows, j, group)).collect() };
            let (all_keys, all_values) = (all(k), all(v));
            let table = tables::exp_short();
            let sums = attention_sums(
                &part(q, position, head),
                &all_keys.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                &all_values.iter().map(Vec::as_slice).collect::<Vec<_>>(),
                AttentionRule { shift, table: &table },
            );
            assert_eq!(scores.row(index)[head * keys.len()..][..keys.len()], sums.scores);
            assert_eq!(weighted.row(index)[head * dim..][..dim], sums.weighted);
            for (d, n) in sums.weighted.iter().enumerate() {
                assert_eq!(outputs.row(position)[head * dim + d], divide_round(*n, sums.sum));
            }
        }
    }
}

fn check_model(model: &std::sync::Arc<Model>, ids: &[u32], chunk: usize, isa: Isa) {
    let recorded = Recorded::default();
    let (config, tensors) = (&model.config, &model.tensors);
    Network::new(config, tensors, &recorded).residual_maximum(
        &[ids],
        &mut ObservedSites(&model.formats, &recorded),
        &mut |_| {},
    );
    let reference = reference::forward(config, tensors, &model.formats, ids, &recorded);
    let valid = reference.out_of_range.map_or(ids.len(), |p| p as usize);
    let engine = engine(model, isa, 2);
    let (blocks, mut seen) = (config.blocks as usize, 0);
    for mut trace in Tracer::whole(&engine, ids, 0, chunk) {
        assert_eq!(trace.start, seen);
        seen += trace.count;
        trace.count = trace.count.min(valid.saturating_sub(trace.start));
        for block in 0..blocks {
            let tensors = &tensors.blocks[block];
            let operations = &trace.blocks[block].operations;
            for (operation, weights) in [
                (TraceOperation::Query, &tensors.q),
                (TraceOperation::Key, &tensors.k),
                (TraceOperation::Value, &tensors.v),
                (TraceOperation::Output, &tensors.o),
                (TraceOperation::Gate, &tensors.gate),
                (TraceOperation::Up, &tensors.up),
                (TraceOperation::Down, &tensors.down),
            ] {
                let products = recorded.products.borrow();
                let (_, acc) = &products[weights.name()];
                for index in 0..trace.count {
                    let found = operations[operation as usize].row(index);
                    assert_eq!(found, acc.row(trace.start + index), "block {block} {operation}");
                }
            }
            check_attention(model, &recorded, block, &trace);
        }
        let logits = &trace.blocks[blocks].operations[1];
        for index in 0..trace.count {
            assert_eq!(logits.row(index), reference.logits.row(trace.start + index));
        }
    }
    assert_eq!(seen, ids.len());
}

#[test]
fn recorded_numbers_are_those_of_the_reference() {
    for architecture in FAMILIES {
        for (seed, chunk) in [(1, 64), (2, 3), (3, 20)] {
            let model = import(&SyntheticModel { seed, ..SyntheticModel::tiny(architecture) });
            let ids = random_ids(&mut SplitMix64::new(seed), model.config.vocab, 50);
            for isa in Isa::available() {
                check_model(&model, &ids, chunk, isa);
            }
        }
    }
}

/// Formats that are too fine make wide rows and positions out of range: the same numbers before those.
#[test]
fn wide_rows_are_recorded_whole() {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    let model = import_with(&tiny, |formats| {
        for block in &mut formats.blocks {
            for site in [Site::Query, Site::Key, Site::Value] {
                block.exponents[site as usize] += 5;
            }
        }
    });
    let ids = random_ids(&mut SplitMix64::new(9), model.config.vocab, 40);
    check_model(&model, &ids, 7, Isa::best());
}

/// Chosen blocks only, and the rest of the pass is as without a trace.
#[test]
fn chosen_blocks_are_those_of_the_whole_trace() {
    let model = import(&SyntheticModel::tiny(Architecture::Gemma3));
    let engine = engine(&model, Isa::best(), 2);
    let ids = random_ids(&mut SplitMix64::new(4), model.config.vocab, 33);
    let whole: Vec<ChunkTrace> = Tracer::whole(&engine, &ids, 30, 10).collect();
    let chosen: Vec<ChunkTrace> = Tracer::new(&engine, &ids, 30, 10, &[6, 1, 3, 1]).collect();
    assert_eq!(whole.len(), 4);
    for (whole, chosen) in whole.iter().zip(&chosen) {
        // Of the blocks behind them what enters.
        let expected = [(1, true), (2, false), (3, true), (4, false), (6, true)].map(|(block, is_chosen)| {
            let mut block = whole.blocks[block].clone();
            block.operations.truncate(if is_chosen { 10 } else { 1 });
            block
        });
        assert_eq!(chosen.blocks, expected);
    }
    let logits = &whole[3].blocks[6].operations[1];
    assert_eq!((0..3).map(|i| logits.row(i).len()).collect::<Vec<_>>(), [384, 384, 384]);
    assert!(whole[2].blocks[6].operations[1].values.is_empty());
}
