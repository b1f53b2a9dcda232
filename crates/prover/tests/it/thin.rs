//! Verifiers without the model: they have its manifest, and the proof opens the weights.

use model::Model;
use model::import::Architecture;
use model::synthetic::SyntheticModel;
use proof_system::field::{Base, Ext};
use protocol::claim::Claim;
use prover::CommittedWeights;
use rayon::prelude::*;
use verifier::manifest::ManifestError;
use verifier::verify::verify_trace;
use verifier::{Manifest, Outline, Proof, Reject, verify, verify_thin};

use crate::world::{claim, claim_at, engine};

fn committed(model: &Model) -> CommittedWeights {
    CommittedWeights::new(model).expect("tokens fit 32 bits")
}

/// A proof for verifiers without the model.
fn proven(model: &Model, claim: &Claim, weights: &CommittedWeights) -> Proof {
    let mut proof = prover::prove(model, claim, &|_| {}).expect("a provable claim");
    let pending = verify_trace(&Outline::of(model), claim, &proof).expect("an honest proof");
    proof.weights = Some(weights.open(pending));
    proof
}

#[test]
fn the_manifest_is_enough() {
    let tiny = SyntheticModel::tiny(Architecture::Llama);
    // Rows that are no multiple of the lanes, and logits by a matrix of their own.
    let odd = SyntheticModel {
        heads: 3,
        kv_heads: 1,
        head_dim: 64,
        width: 96,
        tied_embeddings: false,
        ..tiny.clone()
    };
    for (number, synthetic) in [tiny, odd].into_iter().enumerate() {
        let engine = engine(&synthetic);
        let model = engine.model();
        let weights = committed(model);
        let manifest = Manifest::new(model, weights.root());
        let bytes = manifest.encode();
        let manifest =
            Manifest::decode(&bytes, |_| Ok(model.tokenizer.spec().clone())).expect("its own bytes");
        assert_eq!(manifest.outline.commitment, model.commitment);
        assert_eq!(manifest.encode(), bytes);
        for temperature in [0, 900] {
            let claim = claim_at(&engine, (30..37).collect(), 4, temperature);
            let proof = proven(model, &claim, &weights);
            assert_eq!(Proof::decode(&proof.encode()).as_ref(), Ok(&proof));
            let verdict = verify_thin(&manifest, &claim, &proof);
            assert!(verdict.as_ref().is_ok_and(|s| s.bits() >= 100), "shape {number}: {verdict:?}");
            assert!(verify(model, &claim, &proof).is_ok(), "and the model is as good");
            let bare = Proof { weights: None, ..proof };
            assert_eq!(verify_thin(&manifest, &claim, &bare), Err(Reject::NoWeights));
        }
    }
}

/// A prover who runs other weights, and opens its own, or those that were committed to.
#[test]
fn other_weights_do_not_open() {
    let honest = engine(&SyntheticModel::tiny(Architecture::Llama));
    let other = engine(&SyntheticModel { seed: 2, ..SyntheticModel::tiny(Architecture::Llama) });
    let weights = committed(honest.model());
    let manifest = Manifest::new(honest.model(), weights.root());
    let own = committed(other.model());
    assert_ne!(own.root(), weights.root());

    let claim = claim(&other, (30..35).collect(), 3);
    let mut proof = prover::prove(other.model(), &claim, &|_| {}).expect("a provable claim");
    assert_eq!(verify_thin(&manifest, &claim, &proof), Err(Reject::NoWeights));
    let pending =
        verify_trace(&Outline::of(other.model()), &claim, &proof).expect("honest but for the weights");
    // Everything of the manifest is the other model's but the weights that the verifier relies on.
    let lie = Manifest { outline: Outline::of(other.model()), ..manifest };
    for opened in [own.open(pending.clone()), weights.open(pending)] {
        proof.weights = Some(opened);
        assert!(matches!(verify_thin(&lie, &claim, &proof), Err(Reject::OpenedWeights(_))));
    }
}

#[test]
fn every_changed_part_of_the_opened_weights_is_rejected() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim(&engine, (30..35).collect(), 3);
    let weights = committed(engine.model());
    let manifest = Manifest::new(engine.model(), weights.root());
    let proof = proven(engine.model(), &claim, &weights);
    assert!(verify_thin(&manifest, &claim, &proof).is_ok());
    let verdict = |change: &dyn Fn(&mut verifier::proof::OpenedWeights)| {
        let mut changed = proof.clone();
        change(changed.weights.as_mut().expect("opened"));
        assert_ne!(changed, proof, "a change that changes nothing");
        match verify_thin(&manifest, &claim, &changed) {
            Err(Reject::OpenedWeights(reason)) => *reason,
            other => panic!("{other:?}"),
        }
    };
    let count = proof.weights.as_ref().expect("opened").messages.len();
    println!("{count} messages changed");
    (0..count).into_par_iter().for_each(|index| {
        verdict(&|opened| opened.messages[index] += Ext::new(Base::ZERO, Base::ONE));
    });
    assert_eq!(verdict(&|o| o.messages.push(Ext::ZERO)), Reject::TooLong { extra: 1 });
    assert!(matches!(verdict(&|o| o.messages.truncate(count - 1)), Reject::TooShort { .. }));
    assert!(matches!(verdict(&|o| o.opening.row[3] += Ext::ONE), Reject::Opening(_)));
    assert!(matches!(verdict(&|o| drop(o.opening.columns.pop())), Reject::Opening(_)));
    assert!(matches!(verdict(&|o| o.opening.columns.swap(0, 1)), Reject::Opening(_)));
    assert!(matches!(verdict(&|o| o.opening.columns[2].elements[1] += Base::ONE), Reject::Opening(_)));
    assert!(matches!(verdict(&|o| o.opening.columns[2].path[0][0] ^= 1), Reject::Opening(_)));
    // The opening of another proof of the same model.
    let other = claim_at(&engine, (30..35).collect(), 2, 0);
    let swapped = Proof { weights: proven(engine.model(), &other, &weights).weights, ..proof.clone() };
    assert!(matches!(verify_thin(&manifest, &claim, &swapped), Err(Reject::OpenedWeights(_))));
}

#[test]
fn bytes_that_are_no_manifest_are_refused() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let model = engine.model();
    let honest = Manifest::new(model, [7; 32]);
    let bytes = honest.encode();
    let decode = |bytes: &[u8]| Manifest::decode(bytes, |_| Ok(model.tokenizer.spec().clone()));
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode(&longer).is_err());
    let mut same = 0;
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        match decode(&changed) {
            Err(_) => {}
            // Whatever reads is another manifest, and says so in its own bytes.
            Ok(manifest) => {
                same += 1;
                assert!(manifest.encode() == changed, "byte {place} from {:?}", &bytes[place - 3..=place]);
            }
        }
    }
    println!("{} bytes changed, {same} of them still read", bytes.len());
    let refused = Manifest::decode(&bytes, |_| Err("unreadable".to_owned()));
    assert!(matches!(refused, Err(ManifestError::Tokenizer { .. })), "{refused:?}");
}
