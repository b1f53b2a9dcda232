//! Sums of fractions against plain sums, and proofs with one element changed.

use proptest::prelude::*;

use super::{Fraction, FractionTreeProof, Fractions, LeafClaim, Numerators, Reject, prove, verify};
use crate::field::{Base, Ext};
use crate::kernels::Isa;
use crate::multilinear::evaluate;
use crate::transcript::Transcript;

fn numbers(seed: u64, count: usize) -> Vec<Ext> {
    let mut transcript = Transcript::new(&seed.to_le_bytes());
    transcript.challenges(crate::transcript::Label::Batching, count)
}

fn leaves(seed: u64, bits: u32, ones: bool) -> Fractions {
    let count = 1 << bits;
    let denominators = numbers(seed, count).into_iter().collect();
    let numerators = if ones {
        Numerators::Ones
    } else {
        Numerators::Given(numbers(seed + 1, count).into_iter().collect())
    };
    Fractions { numerators, denominators }
}

fn plain(leaves: &Fractions) -> (Vec<Ext>, Vec<Ext>) {
    let q: Vec<Ext> = leaves.denominators.iter().collect();
    let p = match &leaves.numerators {
        Numerators::Ones => vec![Ext::ONE; q.len()],
        Numerators::Given(p) => p.iter().collect(),
    };
    (p, q)
}

fn proven(leaves: Fractions, isa: Isa) -> (FractionTreeProof, LeafClaim) {
    prove(leaves, isa, &mut super::Workspace::default(), &mut Transcript::new(b"tree"))
}

fn verified(proof: &FractionTreeProof, bits: u32) -> Result<(Fraction, LeafClaim), Reject> {
    verify(proof, bits, &mut Transcript::new(b"tree"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn an_honest_tree_ends_in_its_leaves(seed in any::<u32>(), bits in 1_u32..9, ones in any::<bool>()) {
        let leaves = leaves(u64::from(seed), bits, ones);
        let (p, q) = plain(&leaves);
        let (proof, claim) = proven(leaves.clone(), Isa::best());
        for isa in Isa::available() {
            prop_assert_eq!(&(proof.clone(), claim.clone()), &proven(leaves.clone(), isa));
        }
        let (sum, found) = verified(&proof, bits).unwrap();
        prop_assert_eq!(&found, &claim);
        let expected: Ext = p.iter().zip(&q).map(|(p, q)| *p * q.inverse().unwrap()).sum();
        prop_assert_eq!(sum.numerator * sum.denominator.inverse().unwrap(), expected);
        prop_assert_eq!(found.numerator, evaluate(&p, &found.point));
        prop_assert_eq!(found.denominator, evaluate(&q, &found.point));
    }
}

/// Every element of a proof, changed by one.
fn changed(proof: &FractionTreeProof) -> Vec<FractionTreeProof> {
    let mut all = Vec::new();
    let one = Ext::new(Base::ZERO, Base::ONE);
    let mut push = |change: &dyn Fn(&mut FractionTreeProof)| {
        let mut proof = proof.clone();
        change(&mut proof);
        all.push(proof);
    };
    for i in 0..4 {
        push(&|proof| proof.top[i] += one);
    }
    for layer in 0..proof.layers.len() {
        for i in 0..4 {
            push(&|proof| proof.layers[layer].children[i] += one);
        }
        for round in 0..proof.layers[layer].rounds.len() {
            for i in 0..2 {
                push(&|proof| proof.layers[layer].rounds[round][i] += one);
            }
        }
    }
    all
}

#[test]
fn a_change_of_any_element_is_seen() {
    let leaves = leaves(5, 5, false);
    let (p, q) = plain(&leaves);
    let (proof, _) = proven(leaves, Isa::best());
    for (index, changed) in changed(&proof).iter().enumerate() {
        match verified(changed, 5) {
            Err(Reject::Children { .. }) => {}
            // Changes of the last children go on to the leaves, where the values are known.
            Ok((_, claim)) => assert!(
                claim.numerator != evaluate(&p, &claim.point)
                    || claim.denominator != evaluate(&q, &claim.point),
                "change {index}"
            ),
            Err(other) => panic!("change {index}: {other}"),
        }
    }
}

#[test]
fn a_wrong_sum_needs_wrong_leaves() {
    // The prover claims the sum of other leaves: it must follow through to claims about those.
    let (lie, truth) = (leaves(5, 5, false), leaves(6, 5, false));
    let (p, _) = plain(&truth);
    let (_, claim) = verified(&proven(lie, Isa::best()).0, 5).unwrap();
    assert_ne!(claim.numerator, evaluate(&p, &claim.point));
}

#[test]
fn proofs_of_another_shape_are_refused() {
    let (proof, _) = proven(leaves(7, 4, true), Isa::best());
    assert_eq!(verified(&proof, 5), Err(Reject::Layers { expected: 5, found: 4 }));
    assert_eq!(verified(&proof, 3), Err(Reject::Layers { expected: 3, found: 4 }));
    assert_eq!(verified(&proof, 0), Err(Reject::Layers { expected: 0, found: 4 }));
    assert_eq!(verified(&proof, 31), Err(Reject::Layers { expected: 31, found: 4 }));
    for change in [-1_i32, 1] {
        let mut proof = proof.clone();
        let rounds = &mut proof.layers[1].rounds;
        if change < 0 {
            rounds.pop();
        } else {
            rounds.push([Ext::ZERO; 2]);
        }
        let found = rounds.len();
        assert_eq!(verified(&proof, 4), Err(Reject::Rounds { layer: 2, found }));
    }
}

#[test]
fn a_zero_below_the_line_is_refused() {
    let mut leaves = leaves(8, 4, false);
    leaves.denominators.c0[3] = Base::ZERO;
    leaves.denominators.c1[3] = Base::ZERO;
    assert_eq!(verified(&proven(leaves, Isa::best()).0, 4), Err(Reject::ZeroDenominator));
}
