//! The sumcheck over all claims about the stream; see `verifier::merge`. Each claim keeps its own range of groups, which shrinks by half
//! in every round.

use proof_system::commitment::{Committed, Opening};
use proof_system::field::Ext;
use proof_system::fold::fold_rows;
use proof_system::kernels::Isa;
use proof_system::sumcheck::{self, bits, next_claim};
use proof_system::transcript::{Coins, Label, Transcript};
use rayon::prelude::*;
use verifier::channel::Claim;
use verifier::merge::{Stream, combined, ends, interval_weights};
use verifier::vectors::{dot, eq_vector};

use crate::columns::combine_tall;

/// All messages about a stream's claims, and its opening.
pub fn open(
    claims: &[Claim],
    committed: &Committed,
    stream: &Stream,
    transcript: &mut Transcript,
    isa: Isa,
) -> (Vec<Ext>, Opening) {
    let (messages, groups, lanes) = reduce(claims, committed.integers(), stream, transcript, isa);
    let point = stream.point(&groups, &lanes);
    let row_bits = committed.shape().row_bits() as usize;
    let opening = committed.open(&point[..row_bits], transcript);
    (messages, opening)
}

/// All messages about a stream's claims, and the point that is left, of groups and of lanes.
pub fn reduce<C: Coins>(
    claims: &[Claim],
    integers: &[i32],
    stream: &Stream,
    transcript: &mut C,
    isa: Isa,
) -> (Vec<Ext>, Vec<Ext>, Vec<Ext>) {
    let (lanes, groups) = (stream.lanes(), stream.groups());
    let integers = &integers[..stream.length];
    let gamma = transcript.challenge(Label::Batching);
    let powers = gamma.powers(claims.len());
    let term = |(claim, power): (&Claim, &Ext)| {
        let own = &integers[claim.first * lanes..][..claim.hi.len() * lanes];
        Term::new(claim.first, &claim.hi.spread(), fold_rows(isa, own, &claim.lo), *power)
    };
    let terms = claims.par_iter().zip(&powers).map(term).collect();
    let (first, point, ranges) = prove(terms, bits(groups), combined(claims, gamma), transcript);
    let mut messages: Vec<Ext> = first.into_iter().flatten().chain(ranges.iter().copied()).collect();
    transcript.absorb_elements(Label::Claims, &ranges);

    let gamma = transcript.challenge(Label::Batching);
    let mut step = |value, dimensions: &[usize], columns: [Vec<Ext>; 2], transcript: &mut C| {
        let columns = columns.map(|column| column.into_iter().collect());
        let (rounds, point, values) = sumcheck::prove(columns, dimensions, value, isa, transcript);
        messages.extend(rounds.into_iter().flatten().chain(values));
        transcript.absorb_elements(Label::Claims, &values);
        let [_, value] = values;
        (point, value)
    };
    let value = dot(&ranges, &gamma.powers(ranges.len()));
    let eq = eq_vector(&point, groups);
    let ends = ends(claims, groups);
    let weights = interval_weights(claims, &ends, lanes, gamma);
    let sums = interval_lanes(isa, integers, lanes, &ends, &eq);
    let (point, value) = step(value, &[ends.len(), lanes], [weights, sums], transcript);
    let (interval_point, lane_point) = point.split_at(bits(ends.len()));
    let weights = interval_weights_of_groups(&ends, &eq_vector(interval_point, ends.len()), &eq);
    let values = fold_rows(isa, integers, &eq_vector(lane_point, lanes));
    let (group_point, _) = step(value, &[groups], [weights, values], transcript);
    (messages, group_point, lane_point.to_vec())
}

/// A claim's weights and values from its first group on.
pub struct Term {
    first: usize,
    weights: Vec<Ext>,
    values: Vec<Ext>,
}

impl Term {
    /// Weights times `factor`, and the stream's groups folded over lanes.
    #[must_use]
    pub fn new(first: usize, weights: &[Ext], values: Vec<Ext>, factor: Ext) -> Self {
        Self { first, weights: weights.iter().map(|w| *w * factor).collect(), values }
    }

    /// Whole pairs: what lies outside is zero.
    fn align(&mut self) {
        if self.first % 2 == 1 {
            self.first -= 1;
            self.weights.insert(0, Ext::ZERO);
            self.values.insert(0, Ext::ZERO);
        }
        if self.weights.len() % 2 == 1 {
            self.weights.push(Ext::ZERO);
            self.values.push(Ext::ZERO);
        }
    }

    fn message(&self) -> [Ext; 2] {
        let pairs = self.weights.as_chunks::<2>().0.iter().zip(self.values.as_chunks::<2>().0);
        pairs.fold([Ext::ZERO; 2], |[zero, leading], ([w0, w1], [v0, v1])| {
            [zero + *w0 * *v0, leading + (*w1 - *w0) * (*v1 - *v0)]
        })
    }

    fn fold(&mut self, x: Ext) {
        for column in [&mut self.weights, &mut self.values] {
            let half = column.len() / 2;
            for i in 0..half {
                let (low, high) = (column[2 * i], column[2 * i + 1]);
                column[i] = low + x * (high - low);
            }
            column.truncate(half);
        }
        self.first /= 2;
    }
}

/// Messages, point (the most significant variable first), and the values of all ranges there.
pub fn prove(
    mut terms: Vec<Term>,
    variables: usize,
    mut claim: Ext,
    transcript: &mut impl Coins,
) -> (Vec<[Ext; 2]>, Vec<Ext>, Vec<Ext>) {
    let (mut messages, mut point) = (Vec::new(), Vec::new());
    for _ in 0..variables {
        let add = |a: [Ext; 2], b: [Ext; 2]| [a[0] + b[0], a[1] + b[1]];
        let message = terms
            .par_iter_mut()
            .map(|term| {
                term.align();
                term.message()
            })
            .reduce(|| [Ext::ZERO; 2], add);
        let (x, next) = next_claim(message, claim, transcript);
        messages.push(message);
        point.push(x);
        claim = next;
        terms.par_iter_mut().for_each(|term| term.fold(x));
    }
    point.reverse();
    let values = terms.iter().map(|term| term.values.first().copied().unwrap_or_default()).collect();
    (messages, point, values)
}

/// (interval, lane): the stream's lanes, summed over the interval's groups with these weights.
pub fn interval_lanes(isa: Isa, stream: &[i32], lanes: usize, ends: &[usize], weights: &[Ext]) -> Vec<Ext> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let ranges: Vec<(usize, usize)> = starts.zip(ends.iter().copied()).collect();
    let sum = |(start, end): &(usize, usize)| {
        combine_tall(isa, &stream[start * lanes..end * lanes], lanes, &weights[*start..*end])
    };
    ranges.par_iter().map(sum).collect::<Vec<_>>().concat()
}

/// Per group, the weight of its interval times `eq`.
#[must_use]
pub fn interval_weights_of_groups(ends: &[usize], intervals: &[Ext], eq: &[Ext]) -> Vec<Ext> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let spread = |(start, (end, weight)): (usize, (&usize, &Ext))| {
        eq[start..*end].iter().map(|e| *e * *weight).collect::<Vec<_>>()
    };
    starts.zip(ends.iter().zip(intervals)).flat_map(spread).collect()
}
