//! Every field of a proof, changed in every way that its type allows, is rejected; and every claim that is not the proven one.

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use proof_system::field::{Base, Ext};
use protocol::claim::Claim;
use rayon::prelude::*;
use verifier::encoding::Malformed;
use verifier::{Proof, Reject, Unprovable};

use crate::world::{claim, claim_at, engine};

struct Case {
    engine: engine::Engine,
    claim: Claim,
    proof: Proof,
}

fn case() -> Case {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim(&engine, (30..35).collect(), 3);
    let proof = prover::prove(engine.model(), &claim, &|_| {}).expect("a provable claim");
    Case { engine, claim, proof }
}

impl Case {
    fn verdict(&self, change: impl FnOnce(&mut Proof)) -> Result<(), Reject> {
        let mut proof = self.proof.clone();
        change(&mut proof);
        assert_ne!(proof, self.proof, "a change that changes nothing");
        verifier::verify(self.engine.model(), &self.claim, &proof).map(|_| ())
    }
}

#[test]
fn every_changed_message_is_rejected() {
    let case = case();
    let count = case.proof.messages.len();
    let accepted: Vec<usize> = (0..count)
        .into_par_iter()
        .filter(|index| {
            case.verdict(|proof| proof.messages[*index] += Ext::new(Base::ZERO, Base::ONE)).is_ok()
        })
        .collect();
    println!("{count} messages changed, {} accepted", accepted.len());
    assert_eq!(accepted, Vec::<usize>::new());
    // Swapped neighbours, of which some are equal by chance of their meaning.
    let accepted: Vec<usize> = (1..count)
        .into_par_iter()
        .filter(|index| case.proof.messages[*index] != case.proof.messages[index - 1])
        .filter(|index| case.verdict(|proof| proof.messages.swap(*index, index - 1)).is_ok())
        .collect();
    assert_eq!(accepted, Vec::<usize>::new());
}

#[test]
fn every_changed_part_of_a_tree_is_rejected() {
    let case = case();
    let mut places = Vec::new();
    for (tree, proof) in case.proof.trees.iter().enumerate() {
        places.extend((0..4).map(|index| (tree, usize::MAX, index)));
        for (layer, proof) in proof.layers.iter().enumerate() {
            places.extend((0..2 * proof.rounds.len() + 4).map(|index| (tree, layer, index)));
        }
    }
    let changed = |proof: &mut Proof, (tree, layer, index): (usize, usize, usize)| {
        let tree = &mut proof.trees[tree];
        let Some(layer) = tree.layers.get_mut(layer) else {
            tree.top[index] += Ext::ONE;
            return;
        };
        let rounds = 2 * layer.rounds.len();
        if index < rounds {
            layer.rounds[index / 2][index % 2] += Ext::ONE;
        } else {
            layer.children[index - rounds] += Ext::ONE;
        }
    };
    let accepted: Vec<_> =
        places.par_iter().filter(|place| case.verdict(|proof| changed(proof, **place)).is_ok()).collect();
    println!("{} places of trees changed, {} accepted", places.len(), accepted.len());
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn lengths_and_the_rest_are_rejected_by_name() {
    let case = case();
    let trees = case.proof.trees.len();
    let step = |verdict: Result<(), Reject>| matches!(verdict, Err(Reject::Step { .. }));
    assert!(matches!(
        case.verdict(|p| p.messages.truncate(p.messages.len() - 1)),
        Err(Reject::TooShort { .. })
    ));
    assert_eq!(case.verdict(|p| p.messages.push(Ext::ZERO)), Err(Reject::TooLong { extra: 1 }));
    assert!(case.verdict(|p| p.messages.insert(0, Ext::ONE)).is_err());
    let found = trees - 1;
    assert_eq!(case.verdict(|p| drop(p.trees.pop())), Err(Reject::Trees { found, expected: trees }));
    let again = case.proof.trees[0].clone();
    let found = trees + 1;
    assert_eq!(case.verdict(|p| p.trees.push(again)), Err(Reject::Trees { found, expected: trees }));
    assert!(matches!(case.verdict(|p| p.trees.swap(0, 1)), Err(Reject::Tree { tree: 0, .. })));
    assert!(matches!(case.verdict(|p| drop(p.trees[0].layers.pop())), Err(Reject::Tree { tree: 0, .. })));
    assert_eq!(case.verdict(|p| p.work ^= 1), Err(Reject::Work));
    assert_eq!(case.verdict(|p| p.root[0] ^= 1), Err(Reject::Work), "another question");
    assert!(case.verdict(|p| p.widths.unsigned[0] += 1).is_err());
    assert_eq!(case.verdict(|p| p.widths.unsigned[1] = 23), Err(Reject::Widths));
    assert_eq!(case.verdict(|p| p.widths.unsigned[1] = 0), Err(Reject::Widths));
    assert_eq!(case.verdict(|p| p.widths.wide[2] = vec![1 << 20]), Err(Reject::Widths));
    assert_eq!(case.verdict(|p| p.widths.wide[2] = vec![2, 1]), Err(Reject::Widths));
    assert!(case.verdict(|p| p.widths.wide[2] = vec![1]).is_err());
    assert!(matches!(case.verdict(|p| p.opening.row[5] += Ext::ONE), Err(Reject::Opening(_))));
    assert!(matches!(case.verdict(|p| drop(p.opening.columns.pop())), Err(Reject::Opening(_))));
    assert!(matches!(
        case.verdict(|p| p.opening.columns[3].elements[1] += Base::ONE),
        Err(Reject::Opening(_))
    ));
    assert!(step(case.verdict(|p| p.messages[0] += Ext::ONE)));
}

#[test]
fn other_claims_are_rejected() {
    let case = case();
    let judge = |change: &dyn Fn(&mut Claim)| {
        let mut claim = case.claim.clone();
        change(&mut claim);
        verifier::verify(case.engine.model(), &claim, &case.proof).map(|_| ())
    };
    let text = |claim: &mut Claim| {
        claim.output_bytes =
            case.engine.model().tokenizer.decode_bytes(&claim.output_ids).expect("known ids");
    };
    for index in 0..case.claim.output_ids.len() {
        let changed = judge(&|claim| {
            claim.output_ids[index] ^= 1;
            text(claim);
        });
        assert!(changed.is_err(), "output {index}");
    }
    for index in 0..case.claim.prompt_ids.len() {
        assert!(judge(&|claim| claim.prompt_ids[index] ^= 1).is_err(), "prompt token {index}");
    }
    assert!(judge(&|claim| claim.fingerprints.swap(0, 1)).is_err());
    assert_eq!(judge(&|claim| claim.output_bytes.push(b'x')), Err(Reject::Claim { what: "text" }));
    assert_eq!(judge(&|claim| claim.settings.max_tokens += 1), Err(Reject::Claim { what: "end" }));
    let seed = protocol::id::Seed::from_bytes([9; 32]);
    assert_eq!(judge(&|claim| claim.seed = seed), Err(Reject::Claim { what: "settings, seed or length" }));
    let model = protocol::id::ModelCommitment::from_bytes([9; 32]);
    assert_eq!(judge(&|claim| claim.model = model), Err(Reject::Model));
    // Another conversation: nonce and seed fit each other.
    let other = judge(&|claim| {
        claim.nonce = protocol::id::Nonce::from_bytes([8; 32]);
        claim.seed = protocol::seed::derive_seed(&claim.nonce, &claim.client_seed);
    });
    assert!(other.is_err());
}

/// A sampler that was biased: another token, with sums that would draw it.
#[test]
fn a_draw_that_is_not_the_models_is_rejected() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim_at(&engine, (30..35).collect(), 3, 900);
    let proof = prover::prove(engine.model(), &claim, &|_| {}).expect("a provable claim");
    let judge = |change: &dyn Fn(&mut verifier::public::Draw)| {
        let mut proof = proof.clone();
        change(&mut proof.widths.draws[1]);
        verifier::verify(engine.model(), &claim, &proof).map(|_| ())
    };
    assert_eq!(judge(&|_| ()), Ok(()));
    assert_eq!(judge(&|draw| draw.weight = 0), Err(Reject::Draw));
    assert_eq!(judge(&|draw| draw.total = 1 << 48), Err(Reject::Draw));
    assert_eq!(judge(&|draw| draw.peak = 1 << 30), Err(Reject::Draw));
    assert!(judge(&|draw| draw.weight += 1).is_err());
    assert!(judge(&|draw| draw.total += 1).is_err());
    assert!(judge(&|draw| draw.before += 1).is_err());
    assert!(judge(&|draw| draw.peak ^= 1).is_err());
    let mut fewer = proof.clone();
    fewer.widths.draws.pop();
    assert_eq!(verifier::verify(engine.model(), &claim, &fewer), Err(Reject::Draw));
    // The rule of the draw is followed, with sums that are not the logits'.
    let mut other = claim.clone();
    other.output_ids[2] ^= 1;
    other.output_bytes = engine.model().tokenizer.decode_bytes(&other.output_ids).expect("known ids");
    assert!(matches!(prover::prove(engine.model(), &other, &|_| {}), Err(Unprovable::Draw)));
    let mut forged = proof.clone();
    forged.widths.draws[2] = verifier::public::Draw { before: 0, weight: 1 << 40, ..forged.widths.draws[2] };
    assert!(matches!(
        verifier::verify(engine.model(), &other, &forged),
        Err(Reject::Work | Reject::Step { .. })
    ));
}

#[test]
fn bytes_that_are_no_proof_are_refused_at_their_place() {
    let case = case();
    let bytes = case.proof.encode();
    assert_eq!(Proof::decode(b"something else"), Err(Malformed::Magic));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Proof::decode(&longer), Err(Malformed::Trailing { offset: bytes.len() }));
    for length in (0..bytes.len()).step_by(bytes.len() / 200) {
        assert!(Proof::decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    // Every element beyond the prime is refused, and so is every length that is not there.
    let mut refused = 0;
    for offset in (16..bytes.len() - 8).step_by(bytes.len() / 500) {
        let mut changed = bytes.clone();
        changed[offset..offset + 8].fill(0xff);
        match Proof::decode(&changed) {
            Err(_) => refused += 1,
            Ok(proof) => assert!(verifier::verify(case.engine.model(), &case.claim, &proof).is_err()),
        }
    }
    println!(
        "{refused} of about 500 overwritten places are refused by the decoder, the rest by the verifier"
    );
}
