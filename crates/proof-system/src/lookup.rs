//! Sums of fractions by a tree of additions (Papini and Haböck, ePrint 2023/1284): `sum_i p_i / q_i` in one layered circuit whose
//! layers are checked by sumchecks from the root to the leaves. A lookup is such a sum: that of `1 / (alpha - value)` over all looked-up
//! values equals that of `multiplicity / (alpha - entry)` over the table only if every value is an entry, but for an error of at
//! most (values + entries) / |F|.
//!
//! Layer `j` has `2^j` fractions. Fraction i of a layer is the sum of fractions i and i + 2^j of the next one:
//! `p = p_0 q_1 + p_1 q_0` and `q = q_0 q_1`. Claims `p~(r)` and `q~(r)` about a layer are combined by a challenge lambda and reduced by a sumcheck over
//! `eq(r, x) (p_0 q_1 + p_1 q_0 + lambda q_0 q_1)(x)` to four values at one point, hence by a challenge tau to claims about the next layer.
//! Error of a layer with j variables: at most (3 j + 2) / |F|.
//!
//! The factor eq of the bound variables is left out of the claims (Gruen, ePrint 2024/108): a round's polynomial is of degree 2, given by
//! its values at 0 and at infinity; that at 1 follows from the claim.

mod prove;
mod verify;

#[cfg(test)]
mod tests;

pub use self::prove::{Fractions, Numerators, Workspace, prove};
pub use self::verify::{Reject, verify};

use crate::field::Ext;

/// Most variables of a tree: 2^30 leaves.
pub const MAX_BITS: u32 = 30;

/// All messages of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FractionTreeProof {
    /// Both fractions of the first layer: p_0, q_0, p_1, q_1.
    pub top: [Ext; 4],
    /// One reduction per further layer.
    pub layers: Vec<LayerProof>,
}

/// From claims about a layer to claims about the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProof {
    /// Of each round, the polynomial's values at 0 and at infinity (its factor of X^2).
    pub rounds: Vec<[Ext; 2]>,
    /// p_0, q_0, p_1, q_1 at the rounds' point.
    pub children: [Ext; 4],
}

/// What is left to be checked: the values of the leaves' polynomials at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafClaim {
    /// The most significant variable first.
    pub point: Vec<Ext>,
    /// Of the numerators.
    pub numerator: Ext,
    /// Of the denominators.
    pub denominator: Ext,
}

/// A fraction in the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Above.
    pub numerator: Ext,
    /// Below, not zero.
    pub denominator: Ext,
}

/// The sum of both fractions, as one.
fn add([p0, q0, p1, q1]: [Ext; 4]) -> (Ext, Ext) {
    (p0 * q1 + p1 * q0, q0 * q1)
}

/// Children at both ends of the new variable, taken at its challenge.
fn descend([p0, q0, p1, q1]: [Ext; 4], tau: Ext) -> (Ext, Ext) {
    (p0 + tau * (p1 - p0), q0 + tau * (q1 - q0))
}
