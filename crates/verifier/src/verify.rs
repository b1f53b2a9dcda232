//! The verifier's end of the protocol, and the verdict.

use model::Model;
use proof_system::field::Ext;
use proof_system::lookup::{self, FractionTreeProof};
use proof_system::sumcheck::variables;
use proof_system::transcript::{Label, Transcript};
use protocol::claim::Claim as ModelClaim;
use rayon::prelude::*;

use crate::channel::{Channel, Claim, Product, Product3, Reduced, TreeEnd, Value, WeightClaim};
use crate::error::Reject;
use crate::layout::{Layout, WORK_BITS};
use crate::manifest::Manifest;
use crate::outline::Outline;
use crate::proof::Proof;
use crate::public::Public;
use crate::said::Said;
use crate::soundness::Soundness;
use crate::weight_stream::WeightStream;
use crate::weights::first_wrong;
use crate::{merge, script, statement};

/// Accepts a proof that the model, on the claim's prompt with its settings and seed, gives the claim's tokens, text, end and
/// fingerprints. This is mode a: whoever verifies holds the weights, and reads each once.
///
/// # Errors
/// [`Reject`]: the first thing that does not hold.
pub fn verify(model: &Model, claim: &ModelClaim, proof: &Proof) -> Result<Soundness, Reject> {
    let pending = verify_trace(&Outline::of(model), claim, proof)?;
    match first_wrong(model, &pending.weights) {
        Some(matrix) => Err(Reject::Weights { matrix: name(matrix) }),
        None => Ok(pending.soundness),
    }
}

/// The same in mode c: whoever verifies has only the model's manifest, with a commitment to the weights, and the proof opens it.
///
/// # Errors
/// [`Reject`]: the first thing that does not hold.
pub fn verify_thin(manifest: &Manifest, claim: &ModelClaim, proof: &Proof) -> Result<Soundness, Reject> {
    let opened = proof.weights.as_ref().ok_or(Reject::NoWeights)?;
    let pending = verify_trace(&manifest.outline, claim, proof)?;
    let stream = WeightStream::new(&manifest.outline);
    let soundness = pending.soundness.with_weights(&stream.stream, opened.messages.len()).checked()?;
    let claims: Vec<Claim> = pending.weights.iter().map(|claim| stream.claim(claim)).collect();
    let mut transcript = pending.transcript;
    transcript.absorb(Label::Commitment, &manifest.root);
    let mut said = Said::new(&opened.messages, transcript);
    merge::verify(&mut said, &claims, &stream.stream, &manifest.root, &opened.opening)
        .and_then(|()| said.finish())
        .map_err(|reason| Reject::OpenedWeights(Box::new(reason)))?;
    Ok(soundness)
}

/// A proof that holds if the weights have these values.
#[derive(Clone, Debug)]
pub struct Pending {
    /// How likely something false got this far.
    pub soundness: Soundness,
    /// What the weights have to be.
    pub weights: Vec<WeightClaim>,
    /// Everything that was said and drawn.
    pub transcript: Transcript,
}

/// Checks everything but the weights.
///
/// # Errors
/// [`Reject`]: the first thing that does not hold.
pub fn verify_trace(outline: &Outline, claim: &ModelClaim, proof: &Proof) -> Result<Pending, Reject> {
    statement::check(outline, claim)?;
    let public = Public::new(outline, claim, proof.widths.clone())?;
    if !public.widths.are_allowed(&public.dims) {
        return Err(Reject::Widths);
    }
    if !public.draws_are_right() {
        return Err(Reject::Draw);
    }
    let layout = Layout::new(&public);
    let soundness = Soundness::of(&public.dims, &layout, proof.messages.len()).checked()?;
    let mut transcript = Transcript::new(&statement::statement(claim, &proof.widths));
    transcript.absorb(Label::Commitment, &proof.root);
    let said = Said::new(&proof.messages, transcript);
    let mut reader = Reader { public, layout, proof, said, claims: Vec::new(), weights: Vec::new() };
    script::run(&mut reader)?;
    let stream = reader.layout.stream(reader.public.dims.lane_bits);
    let Reader { mut said, claims, weights, .. } = reader;
    merge::verify(&mut said, &claims, &stream, &proof.root, &proof.opening)?;
    Ok(Pending { soundness, weights, transcript: said.finish()? })
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
    said: Said<'p>,
    claims: Vec<Claim>,
    weights: Vec<WeightClaim>,
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
        self.said.transcript.challenge(label)
    }

    fn work(&mut self) -> Result<(), Reject> {
        if self.said.transcript.check_work(WORK_BITS, self.proof.work) { Ok(()) } else { Err(Reject::Work) }
    }

    fn trees(&mut self, _: Ext, _: Ext) -> Result<Vec<TreeEnd>, Reject> {
        let bits: Vec<u32> =
            self.layout.trees.iter().map(|tree| tree.bits).chain([self.layout.table_bits]).collect();
        if self.proof.trees.len() != bits.len() {
            return Err(Reject::Trees { found: self.proof.trees.len(), expected: bits.len() });
        }
        let transcript = &self.said.transcript;
        let verify = |(index, (proof, bits)): (usize, (&FractionTreeProof, u32))| {
            let mut fork = transcript.fork(u64::try_from(index).unwrap_or(u64::MAX));
            let (sum, leaves) = lookup::verify(proof, bits, &mut fork)
                .map_err(|reason| Reject::Tree { tree: index, reason })?;
            Ok((fork, TreeEnd { sum, leaves }))
        };
        // All are checked side by side; the first one that fails is told.
        let verified: Vec<Result<_, Reject>> =
            self.proof.trees.par_iter().zip(bits).enumerate().map(verify).collect();
        let (forks, ends): (Vec<Transcript>, Vec<TreeEnd>) =
            verified.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        self.said.transcript.join(&forks);
        Ok(ends)
    }

    fn send(&mut self, _: Value<'_>) -> Result<Ext, Reject> {
        self.said.value()
    }

    fn product(&mut self, claim: Ext, dimensions: &[usize], _: Product<'_>) -> Result<Reduced<2>, Reject> {
        self.said.sumcheck(claim, variables(dimensions))
    }

    fn product3(&mut self, claim: Ext, dimensions: &[usize], _: Product3<'_>) -> Result<Reduced<3>, Reject> {
        self.said.sumcheck(claim, variables(dimensions))
    }

    fn equal(&mut self, step: &'static str, a: Ext, b: Ext) -> Result<(), Reject> {
        self.said.equal(step, a, b)
    }

    fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    fn weights(&mut self, claim: WeightClaim) {
        self.weights.push(claim);
    }
}
