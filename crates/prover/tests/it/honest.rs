//! Honest proofs are accepted.

use model::import::Architecture;
use model::synthetic::SyntheticModel;

use crate::world::{claim, engine};

#[test]
fn a_small_claim_is_proven_and_accepted() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim(&engine, (30..40).collect(), 6);
    let proof = prover::prove(engine.model(), &claim, &|_| {}).expect("a provable claim");
    assert_eq!(verifier::verify(engine.model(), &claim, &proof), Ok(()));
}
