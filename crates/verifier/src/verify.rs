//! The verifier's end of the protocol, and the verdict.

use model::Model;
use proof_system::commitment;
use proof_system::field::Ext;
use proof_system::lookup;
use proof_system::sumcheck::{bits, next_claim, variables};
use proof_system::transcript::{Label, Transcript};
use protocol::claim::Claim as ModelClaim;
use rayon::prelude::*;

use crate::channel::{Channel, Claim, Product, Product3, Reduced, TreeEnd, Value, WeightClaim};
use crate::error::Reject;
use crate::layout::{Layout, WORK_BITS};
use crate::merge::{combined, ends, interval_weight_at, interval_weights};
use crate::outline::Outline;
use crate::proof::Proof;
use crate::public::Public;
use crate::soundness::{LEAST_BITS, Soundness};
use crate::vectors::{cut, dot, eq_vector};
use crate::weights::first_wrong;
use crate::{script, statement};

/// Accepts a proof that the model, on the claim's prompt with its settings and seed, gives the claim's tokens, text, end and
/// fingerprints. This is mode a: whoever verifies holds the weights, and reads each once.
///
/// # Errors
/// [`Reject`]: the first thing that does not hold.
pub fn verify(model: &Model, claim: &ModelClaim, proof: &Proof) -> Result<Soundness, Reject> {
    let outline = Outline::of(model);
    statement::check(&outline, claim)?;
    let public = Public::new(&outline, claim, proof.widths.clone())?;
    if !public.widths.are_allowed(&public.dims) {
        return Err(Reject::Widths);
    }
    if !public.draws_are_right() {
        return Err(Reject::Draw);
    }
    let layout = Layout::new(&public);
    let soundness = Soundness::of(&public.dims, &layout, proof.messages.len());
    if soundness.bits() < LEAST_BITS {
        return Err(Reject::Soundness { bits: soundness.bits() });
    }
    let mut transcript = Transcript::new(&statement::statement(claim, &proof.widths));
    transcript.absorb(Label::Commitment, &proof.root);
    let mut reader =
        Reader { public, layout, proof, transcript, read: 0, claims: Vec::new(), weights: Vec::new() };
    script::run(&mut reader)?;
    reader.merge()?;
    if let Some(extra) = proof.messages.len().checked_sub(reader.read).filter(|extra| *extra > 0) {
        return Err(Reject::TooLong { extra });
    }
    match first_wrong(model, &reader.weights) {
        Some(matrix) => Err(Reject::Weights { matrix: name(matrix) }),
        None => Ok(soundness),
    }
}

fn name(matrix: crate::public::Matrix) -> &'static str {
    use crate::public::Matrix;
    match matrix {
        Matrix::Query => "queries",
        Matrix::Key => "keys",
        Matrix::Value => "values",
        Matrix::Output => "attention's output",
        Matrix::Gate => "the gate",
        Matrix::Up => "the up projection",
        Matrix::Down => "the down projection",
        Matrix::Logits => "the logits",
        Matrix::Embedded => "the tokens",
    }
}

struct Reader<'p> {
    public: Public<'p>,
    layout: Layout,
    proof: &'p Proof,
    transcript: Transcript,
    /// Messages so far.
    read: usize,
    claims: Vec<Claim>,
    weights: Vec<WeightClaim>,
}

impl Reader<'_> {
    fn next<const K: usize>(&mut self) -> Result<[Ext; K], Reject> {
        let mut message = [Ext::ZERO; K];
        let end = self.read.saturating_add(K);
        let found = self.proof.messages.get(self.read..end).ok_or(Reject::TooShort { message: self.read })?;
        message.copy_from_slice(found);
        self.read = end;
        Ok(message)
    }

    fn sumcheck<const K: usize>(&mut self, mut claim: Ext, variables: usize) -> Result<Reduced<K>, Reject> {
        let mut point = Vec::with_capacity(variables);
        for _ in 0..variables {
            let message = self.next::<K>()?;
            let (x, next) = next_claim(message, claim, &mut self.transcript);
            point.push(x);
            claim = next;
        }
        let values = self.next::<K>()?;
        self.transcript.absorb_elements(Label::Claims, &values);
        self.equal("a sumcheck", claim, values.into_iter().product())?;
        Ok((point, values))
    }

    /// All claims about the stream, and its opening.
    fn merge(&mut self) -> Result<(), Reject> {
        let dims = self.public.dims;
        let (lanes, groups) = (dims.lanes(), dims.groups(self.layout.length));
        let gamma = self.draw(Label::Batching);
        let claims = std::mem::take(&mut self.claims);
        let mut value = combined(&claims, gamma);
        let mut point = Vec::new();
        for _ in 0..bits(groups) {
            let message = self.next::<2>()?;
            let (x, next) = next_claim(message, value, &mut self.transcript);
            point.push(x);
            value = next;
        }
        // The last variable is the most significant one.
        point.reverse();
        let z = point;
        let mut ranges = Vec::with_capacity(claims.len());
        for _ in &claims {
            ranges.extend(self.next::<1>()?);
        }
        self.transcript.absorb_elements(Label::Claims, &ranges);
        let weights: Vec<Ext> = claims.par_iter().map(|claim| claim.hi.at(&z, claim.first)).collect();
        let terms = gamma.powers(claims.len());
        let expected = terms.iter().zip(&weights).zip(&ranges).map(|((power, w), r)| *power * *w * *r).sum();
        self.equal("the sum of all claims", expected, value)?;

        let gamma = self.draw(Label::Batching);
        let value = dot(&ranges, &gamma.powers(ranges.len()));
        let ends = ends(&claims, groups);
        let (point, [weight, value]) = self.sumcheck::<2>(value, variables(&[ends.len(), lanes]))?;
        let (interval_point, lane_point) = cut(&point, bits(ends.len()));
        let (intervals, row) = (eq_vector(interval_point, ends.len()), eq_vector(lane_point, lanes));
        let all = interval_weights(&claims, &ends, lanes, gamma);
        let expected = all.chunks(lanes).zip(&intervals).map(|(own, w)| dot(own, &row) * *w).sum();
        self.equal("the weights of intervals", expected, weight)?;

        let (group_point, [weight, opened]) = self.sumcheck::<2>(value, bits(groups))?;
        let expected = interval_weight_at(&ends, &intervals, &z, &group_point);
        self.equal("the weights of groups", expected, weight)?;

        let shape = self.layout.shape(dims.lane_bits);
        let all = shape.row_bits().saturating_add(shape.column_bits).saturating_sub(dims.lane_bits);
        let missing = usize::try_from(all).unwrap_or(0).saturating_sub(group_point.len());
        let mut point = vec![Ext::ZERO; missing];
        point.extend(group_point);
        point.extend_from_slice(lane_point);
        let (root, opening) = (&self.proof.root, &self.proof.opening);
        Ok(commitment::verify(root, shape, &point, opened, opening, &mut self.transcript)?)
    }
}

impl Channel for Reader<'_> {
    fn public(&self) -> &Public<'_> {
        &self.public
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn verifies(&self) -> bool {
        true
    }

    fn draw(&mut self, label: Label) -> Ext {
        self.transcript.challenge(label)
    }

    fn work(&mut self) -> Result<(), Reject> {
        if self.transcript.check_work(WORK_BITS, self.proof.work) { Ok(()) } else { Err(Reject::Work) }
    }

    fn trees(&mut self, _: Ext, _: Ext) -> Result<Vec<TreeEnd>, Reject> {
        let bits: Vec<u32> =
            self.layout.trees.iter().map(|tree| tree.bits).chain([self.layout.table_bits]).collect();
        if self.proof.trees.len() != bits.len() {
            return Err(Reject::Trees { found: self.proof.trees.len(), expected: bits.len() });
        }
        let mut forks = Vec::new();
        let mut ends = Vec::new();
        for (index, (proof, bits)) in self.proof.trees.iter().zip(bits).enumerate() {
            let mut fork = self.transcript.fork(u64::try_from(index).unwrap_or(u64::MAX));
            let (sum, leaves) = lookup::verify(proof, bits, &mut fork)
                .map_err(|reason| Reject::Tree { tree: index, reason })?;
            forks.push(fork);
            ends.push(TreeEnd { sum, leaves });
        }
        self.transcript.join(&forks);
        Ok(ends)
    }

    fn send(&mut self, _: Value<'_>) -> Result<Ext, Reject> {
        let [value] = self.next::<1>()?;
        self.transcript.absorb_elements(Label::Claims, &[value]);
        Ok(value)
    }

    fn product(&mut self, claim: Ext, dimensions: &[usize], _: Product<'_>) -> Result<Reduced<2>, Reject> {
        self.sumcheck(claim, variables(dimensions))
    }

    fn product3(&mut self, claim: Ext, dimensions: &[usize], _: Product3<'_>) -> Result<Reduced<3>, Reject> {
        self.sumcheck(claim, variables(dimensions))
    }

    fn equal(&mut self, step: &'static str, a: Ext, b: Ext) -> Result<(), Reject> {
        if a == b { Ok(()) } else { Err(Reject::Step { step, message: self.read }) }
    }

    fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    fn weights(&mut self, claim: WeightClaim) {
        self.weights.push(claim);
    }
}
