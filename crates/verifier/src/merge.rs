//! All claims about committed integers as one value of the stream's polynomial, in three sumchecks:
//!
//! 1. over groups of lanes, a random combination of all claims, each a product of its weights and of its own range of groups folded over
//!    lanes; least significant variable first, since ranges then shrink by half. It ends in the value of every range at one point z.
//! 2. Ranges overlap: their ends cut the stream into intervals. A combination of the values is a sum over (interval, lane)
//!    of public weights times the interval's lanes at z.
//! 3. over groups, the intervals' weights times eq(z, .), and the stream folded at one point of the lanes.
//!
//! What is left is one value of the stream. Error: (2 claims + 2 intervals + 6 log groups + 2 lane bits) / |F|.

use proof_system::commitment::{self, Digest, Opening, Shape};
use proof_system::field::Ext;
use proof_system::sumcheck::{bits, variables};
use proof_system::transcript::{Coins, Label};
use rayon::prelude::*;

use crate::channel::Claim;
use crate::error::Reject;
use crate::group_weights::prefix_of_products;
use crate::said::Said;
use crate::vectors::{cut, dot, eq_vector, scaled};

/// A committed stream of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// A multiple of the lanes.
    pub length: usize,
    /// Each group has 2^this integers.
    pub lane_bits: u32,
    /// Of the committed matrix.
    pub shape: Shape,
}

impl Stream {
    /// Integers of a group.
    #[must_use]
    pub const fn lanes(&self) -> usize {
        1_usize.wrapping_shl(self.lane_bits)
    }

    /// Groups of lanes.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.length.wrapping_shr(self.lane_bits)
    }

    /// A point of the matrix from one of the groups and one of the lanes.
    #[must_use]
    pub fn point(&self, groups: &[Ext], lanes: &[Ext]) -> Vec<Ext> {
        let all = self.shape.row_bits().saturating_add(self.shape.column_bits);
        let known = groups.len().saturating_add(lanes.len());
        let mut point = vec![Ext::ZERO; usize::try_from(all).unwrap_or(0).saturating_sub(known)];
        point.extend_from_slice(groups);
        point.extend_from_slice(lanes);
        point
    }
}

/// Checks all claims about a stream.
///
/// # Errors
/// [`Reject`]: what does not hold.
pub fn verify(
    said: &mut Said<'_>,
    claims: &[Claim],
    stream: &Stream,
    root: &Digest,
    opening: &Opening,
) -> Result<(), Reject> {
    let Left { groups, lanes, value } = reduce(said, claims, stream)?;
    let point = stream.point(&groups, &lanes);
    Ok(commitment::verify(root, stream.shape, &point, value, opening, &mut said.transcript)?)
}

/// What is left of all claims: the stream's polynomial has this value at one point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The point that numbers groups.
    pub groups: Vec<Ext>,
    /// And lanes.
    pub lanes: Vec<Ext>,
    /// The value.
    pub value: Ext,
}

/// Reduces all claims about a stream to one value.
///
/// # Errors
/// [`Reject`]: what does not hold.
pub fn reduce<C: Coins>(said: &mut Said<'_, C>, claims: &[Claim], stream: &Stream) -> Result<Left, Reject> {
    let (lanes, groups) = (stream.lanes(), stream.groups());
    let gamma = said.transcript.challenge(Label::Batching);
    let (mut z, value) = said.rounds::<2>(combined(claims, gamma), bits(groups))?;
    // The last variable is the most significant one.
    z.reverse();
    let mut ranges = Vec::with_capacity(claims.len());
    for _ in claims {
        ranges.extend(said.message::<1>()?);
    }
    said.transcript.absorb_elements(Label::Claims, &ranges);
    let weights: Vec<Ext> = claims.par_iter().map(|claim| claim.hi.at(&z, claim.first)).collect();
    let terms = gamma.powers(claims.len());
    let expected = terms.iter().zip(&weights).zip(&ranges).map(|((power, w), r)| *power * *w * *r).sum();
    said.equal("the sum of all claims", expected, value)?;

    let gamma = said.transcript.challenge(Label::Batching);
    let value = dot(&ranges, &gamma.powers(ranges.len()));
    let ends = ends(claims, groups);
    let (point, [weight, value]) = said.sumcheck::<2>(value, variables(&[ends.len(), lanes]))?;
    let (interval_point, lane_point) = cut(&point, bits(ends.len()));
    let (intervals, row) = (eq_vector(interval_point, ends.len()), eq_vector(lane_point, lanes));
    let all = interval_weights(claims, &ends, lanes, gamma);
    let expected = all.chunks(lanes).zip(&intervals).map(|(own, w)| dot(own, &row) * *w).sum();
    said.equal("the weights of intervals", expected, weight)?;

    let (group_point, [weight, opened]) = said.sumcheck::<2>(value, bits(groups))?;
    let expected = interval_weight_at(&ends, &intervals, &z, &group_point);
    said.equal("the weights of groups", expected, weight)?;
    Ok(Left { groups: group_point, lanes: lane_point.to_vec(), value: opened })
}

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
