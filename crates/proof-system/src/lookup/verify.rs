//! Checks a tree's proof. Total on foreign bytes: whatever is wrong has a name.

use super::{Fraction, FractionTreeProof, LayerProof, LeafClaim, MAX_BITS, add, descend};
use crate::field::Ext;
use crate::transcript::{Label, Transcript};

/// Why a tree's proof is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The verifier knows how many layers there are.
    #[error("a tree of {expected} layers has {found}")]
    Layers {
        /// As many as the leaves have variables.
        expected: u32,
        /// In the proof.
        found: usize,
    },
    /// A layer has one round per variable.
    #[error("layer {layer} has {found} rounds")]
    Rounds {
        /// From the root.
        layer: usize,
        /// In the proof.
        found: usize,
    },
    /// The values at the point are not those that the rounds end in.
    #[error("layer {layer} does not end in its children's values")]
    Children {
        /// From the root.
        layer: usize,
    },
    /// A sum over zero is no number.
    #[error("the sum's denominator is zero")]
    ZeroDenominator,
    /// Has a chance of 2^-128 with honest challenges.
    #[error("layer {layer} met a challenge of zero")]
    ZeroChallenge {
        /// From the root.
        layer: usize,
    },
}

/// Checks the proof of a tree with `2^bits` leaves.
///
/// # Errors
/// [`Reject`], with the layer.
pub fn verify(
    proof: &FractionTreeProof,
    bits: u32,
    transcript: &mut Transcript,
) -> Result<(Fraction, LeafClaim), Reject> {
    let expected = bits.checked_sub(1).filter(|_| bits <= MAX_BITS);
    let found = proof.layers.len();
    if expected.is_none_or(|expected| u32::try_from(found) != Ok(expected)) {
        return Err(Reject::Layers { expected: bits, found: found.saturating_add(1) });
    }
    transcript.absorb_elements(Label::LookupRoot, &proof.top);
    let (numerator, denominator) = add(proof.top);
    if denominator == Ext::ZERO {
        return Err(Reject::ZeroDenominator);
    }
    let tau = transcript.challenge(Label::Batching);
    let (numerator_claim, denominator_claim) = descend(proof.top, tau);
    let mut claim =
        LeafClaim { point: vec![tau], numerator: numerator_claim, denominator: denominator_claim };
    for (index, layer) in proof.layers.iter().enumerate() {
        claim = verify_layer(layer, index.saturating_add(1), claim, transcript)?;
    }
    Ok((Fraction { numerator, denominator }, claim))
}

fn verify_layer(
    proof: &LayerProof,
    layer: usize,
    claim: LeafClaim,
    transcript: &mut Transcript,
) -> Result<LeafClaim, Reject> {
    if proof.rounds.len() != claim.point.len() {
        return Err(Reject::Rounds { layer, found: proof.rounds.len() });
    }
    let lambda = transcript.challenge(Label::Batching);
    let inverses = batch_inverse(&claim.point).ok_or(Reject::ZeroChallenge { layer })?;
    let mut sum = claim.numerator + lambda * claim.denominator;
    let mut point = Vec::with_capacity(claim.point.len().saturating_add(1));
    point.push(Ext::ZERO);
    for ((round, r), inverse) in proof.rounds.iter().zip(&claim.point).zip(inverses) {
        transcript.absorb_elements(Label::SumcheckRound, round);
        let x = transcript.challenge(Label::SumcheckPoint);
        let [at_zero, leading] = *round;
        let at_one = (sum - (Ext::ONE - *r) * at_zero) * inverse;
        sum = at_zero + x * (at_one - at_zero - leading + x * leading);
        point.push(x);
    }
    let (p, q) = add(proof.children);
    if sum != p + lambda * q {
        return Err(Reject::Children { layer });
    }
    transcript.absorb_elements(Label::Claims, &proof.children);
    let tau = transcript.challenge(Label::Batching);
    if let Some(first) = point.first_mut() {
        *first = tau;
    }
    let (numerator, denominator) = descend(proof.children, tau);
    Ok(LeafClaim { point, numerator, denominator })
}

/// The inverses of all elements by one inversion (Montgomery's trick); nothing if one of them is zero.
fn batch_inverse(elements: &[Ext]) -> Option<Vec<Ext>> {
    let products: Vec<Ext> = elements
        .iter()
        .scan(Ext::ONE, |product, element| {
            let before = *product;
            *product *= *element;
            Some(before)
        })
        .collect();
    let all = products.last().copied().unwrap_or(Ext::ONE) * elements.last().copied().unwrap_or(Ext::ONE);
    let mut rest = all.inverse()?;
    let mut inverses: Vec<Ext> = elements
        .iter()
        .zip(&products)
        .rev()
        .map(|(element, before)| {
            let inverse = rest * *before;
            rest *= *element;
            inverse
        })
        .collect();
    inverses.reverse();
    Some(inverses)
}
