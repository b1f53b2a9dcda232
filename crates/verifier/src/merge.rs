//! All claims about committed integers as one value of the stream's polynomial, in three sumchecks:
//!
//! 1. over groups of lanes, a random combination of all claims, each a product of its weights and of its own range of groups folded over
//!    lanes; least significant variable first, since ranges then shrink by half. It ends in the value of every range at one point z.
//! 2. Ranges overlap: their ends cut the stream into intervals. A combination of the values is a sum over (interval, lane)
//!    of public weights times the interval's lanes at z.
//! 3. over groups, the intervals' weights times eq(z, .), and the stream folded at one point of the lanes.
//!
//! What is left is one value of the stream. Error: (2 claims + 2 intervals + 6 log groups + 2 lane bits) / |F|.

use proof_system::field::Ext;

use crate::channel::Claim;
use crate::group_weights::prefix_of_products;
use crate::vectors::scaled;

/// The sum of all claims, each times a power of gamma.
#[must_use]
pub fn combined(claims: &[Claim], gamma: Ext) -> Ext {
    claims.iter().zip(gamma.powers(claims.len())).map(|(claim, power)| claim.value * power).sum()
}

/// Ends of all intervals: the stream is cut where a claim begins or ends.
#[must_use]
pub fn ends(claims: &[Claim], groups: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = claims
        .iter()
        .flat_map(|claim| [claim.first, claim.first.saturating_add(claim.hi.len())])
        .chain([groups])
        .filter(|end| *end > 0 && *end <= groups)
        .collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// (interval, lane): the sum of the lane weights of all claims that cover the interval, each times a power of gamma.
#[must_use]
pub fn interval_weights(claims: &[Claim], ends: &[usize], lanes: usize, gamma: Ext) -> Vec<Ext> {
    let mut weights = vec![Ext::ZERO; ends.len().saturating_mul(lanes)];
    for (claim, power) in claims.iter().zip(gamma.powers(claims.len())) {
        let own = scaled(&claim.lo, power);
        let first = ends.partition_point(|end| *end <= claim.first);
        let last = ends.partition_point(|end| *end <= claim.first.saturating_add(claim.hi.len()));
        let rows = weights.chunks_mut(lanes.max(1)).skip(first).take(last.saturating_sub(first));
        for row in rows {
            for (sum, weight) in row.iter_mut().zip(&own) {
                *sum += *weight;
            }
        }
    }
    weights
}

/// The sum over all groups of the weight of the group's interval, its eq with z and its eq with another point.
#[must_use]
pub fn interval_weight_at(ends: &[usize], intervals: &[Ext], z: &[Ext], point: &[Ext]) -> Ext {
    let (mut sum, mut before) = (Ext::ZERO, Ext::ZERO);
    for (end, weight) in ends.iter().zip(intervals) {
        let up_to = prefix_of_products(z, point, *end);
        sum += *weight * (up_to - before);
        before = up_to;
    }
    sum
}
