//! Honest proofs are accepted, whatever the shape; what is not covered yet is refused by name before any work.

use model::import::Architecture;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::settings::SamplingSettings;
use verifier::cost::Cost;
use verifier::layout::{Contents, Layout, Tensor};
use verifier::public::{Public, Widths};
use verifier::{Outline, Proof, Unprovable};

use crate::world::{claim, claim_at, engine};

fn accepted(synthetic: &SyntheticModel, prompt: Vec<u32>, outputs: u32) {
    let engine = engine(synthetic);
    let claim = claim(&engine, prompt, outputs);
    let proof = prover::prove(engine.model(), &claim, &|_| {}).expect("a provable claim");
    let bytes = proof.encode();
    assert_eq!(Proof::decode(&bytes).as_ref(), Ok(&proof));
    let soundness = verifier::verify(engine.model(), &claim, &proof).expect("an honest proof");
    assert!(soundness.bits() >= 100, "{soundness:?}");
}

#[test]
fn a_small_claim_is_proven_and_accepted() {
    accepted(&SyntheticModel::tiny(Architecture::Llama), (30..40).collect(), 6);
}

#[test]
fn one_token_in_and_one_out() {
    accepted(&SyntheticModel::tiny(Architecture::Llama), vec![35], 1);
}

#[test]
fn odd_shapes_are_accepted() {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    let shapes = [
        SyntheticModel { blocks: 1, heads: 3, kv_heads: 1, head_dim: 32, width: 96, ..tiny.clone() },
        SyntheticModel { blocks: 3, heads: 10, kv_heads: 5, ff: 96, vocab: 391, ..tiny.clone() },
        SyntheticModel { tied_embeddings: false, heads: 6, kv_heads: 3, width: 160, seed: 5, ..tiny.clone() },
        SyntheticModel { head_dim: 64, heads: 2, kv_heads: 2, width: 128, ff: 192, ..tiny },
    ];
    let mut random = SplitMix64::new(17);
    for (number, shape) in shapes.iter().enumerate() {
        let prompt = (0..1 + random.below(20)).map(|_| random.below(380) as u32).collect();
        println!("shape {number}");
        accepted(shape, prompt, 1 + random.below(5) as u32);
    }
}

#[test]
fn drawn_tokens_are_accepted() {
    let shapes = [
        SyntheticModel::tiny(Architecture::Llama),
        SyntheticModel { vocab: 391, tied_embeddings: false, ..SyntheticModel::tiny(Architecture::Llama) },
    ];
    for (number, shape) in shapes.iter().enumerate() {
        let engine = engine(shape);
        let mut outputs = std::collections::BTreeSet::new();
        for temperature in [500, 1000, 3000] {
            let claim = claim_at(&engine, (30..36).collect(), 5, temperature);
            outputs.insert(claim.output_ids.clone());
            let proof = prover::prove(engine.model(), &claim, &|_| {}).expect("a provable claim");
            assert_eq!(Proof::decode(&proof.encode()).as_ref(), Ok(&proof));
            let verdict = verifier::verify(engine.model(), &claim, &proof);
            assert!(verdict.is_ok(), "shape {number}, temperature {temperature}: {verdict:?}");
        }
        assert!(outputs.len() > 1, "temperatures draw differently");
    }
}

/// The tree of lookups is cut between blocks and inside of them.
#[test]
fn many_positions_take_many_trees() {
    let synthetic = SyntheticModel { ff: 512, blocks: 3, ..SyntheticModel::tiny(Architecture::Llama) };
    accepted(&synthetic, (20..110).collect(), 7);
}

#[test]
fn what_proofs_do_not_cover_is_refused_by_name() {
    for architecture in [Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3] {
        let engine = engine(&SyntheticModel::tiny(architecture));
        let claim = claim(&engine, vec![40, 41], 2);
        let refused = prover::prove(engine.model(), &claim, &|_| {});
        assert!(matches!(refused, Err(Unprovable::Model { .. })), "{architecture:?}: {refused:?}");
    }
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let honest = claim(&engine, vec![40, 41], 2);
    let warm = SamplingSettings { temperature_milli: 700, ..honest.settings };
    for (name, settings) in [
        ("top-k", SamplingSettings { top_k: 40, ..warm }),
        ("top-p", SamplingSettings { top_p_ppm: 900_000, ..warm }),
        ("min-p", SamplingSettings { min_p_ppm: 50_000, ..warm }),
    ] {
        let claim = protocol::claim::Claim { settings, ..honest.clone() };
        assert_eq!(prover::prove(engine.model(), &claim, &|_| {}), Err(Unprovable::Setting { name }));
    }
    let mut penalized = honest;
    penalized.settings.repetition_penalty_milli = 1100;
    let name = "a repetition penalty";
    assert_eq!(prover::prove(engine.model(), &penalized, &|_| {}), Err(Unprovable::Setting { name }));
}

/// The cost model counts what the prover's layout has, and multiplications by their definition.
#[test]
fn costs_are_those_of_the_layout() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim(&engine, (30..40).collect(), 6);
    let outline = Outline::of(engine.model());
    let public =
        Public::new(&outline, &claim, Widths { unsigned: [12, 12], ..Widths::default() }).expect("provable");
    let layout = Layout::new(&public);
    let cost = Cost::of(&Contents::of(&public));
    let counts = layout.tensor(Tensor::Counts);
    assert_eq!(cost.committed, (layout.length - counts.rows * counts.inner) as u64);
    let pieces = layout.trees.iter().flat_map(|tree| &tree.pieces);
    assert_eq!(cost.lookups, pieces.map(|piece| (piece.rows * piece.geometry.inner) as u64).sum::<u64>());
    // Two blocks, 15 positions: q, o of 64 x 64, k, v of 64 x 32, three of 64 x 128; scores and sums of 120 cells; 6 logits.
    let block = 15 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128) + 2 * 64 * 120;
    assert_eq!(cost.multiplications, 2 * block + 6 * 64 * 384);
}
