//! All claims about committed integers as one value of the stream's polynomial: a random combination, then a sumcheck over groups of
//! lanes, least significant variable first, since claims cover ranges. The stream's values of all lanes at the point are sent, and one
//! more random point among lanes is opened. Error: (claims + 2 log groups + lane bits) / |F|.

use proof_system::field::Ext;

use crate::channel::Claim;
use crate::vectors::dot;

/// What a claim's weights come to at a point of the groups, given eq of that point and every group.
#[must_use]
pub fn weight_at(claim: &Claim, eq: &[Ext]) -> Ext {
    eq.get(claim.first..).map_or(Ext::ZERO, |eq| dot(&claim.hi, eq))
}

/// The sum of all claims, each times a power of gamma.
#[must_use]
pub fn combined(claims: &[Claim], gamma: Ext) -> Ext {
    claims.iter().zip(gamma.powers(claims.len())).map(|(claim, power)| claim.value * power).sum()
}
