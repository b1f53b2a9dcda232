//! The demo's proof: the honest claim is proven, verified without running the model, and rejected with one token changed.

use std::time::Instant;

use model::Model;
use protocol::Claim;
use serde_json::{Value, json};
use verifier::{Proof, Unprovable};

/// What came out.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) bytes: usize,
    pub(super) security_bits: u32,
    pub(super) prove_seconds: f64,
    pub(super) verify_seconds: f64,
    /// The proof's bytes were accepted for the claim, and rejected for a claim with another token.
    pub(super) as_expected: bool,
}

/// Proves the claim and judges the proof's bytes; says why where no proof covers the model.
pub(super) fn shown(model: &Model, claim: &Claim) -> Result<Shown, Unprovable> {
    let began = Instant::now();
    let bytes = prover::prove(model, claim, &|_| {})?.encode();
    let prove_seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let verdict = Proof::decode(&bytes).map(|proof| verifier::verify(model, claim, &proof));
    let verify_seconds = began.elapsed().as_secs_f64();
    let security_bits = verdict.as_ref().ok().and_then(|v| v.as_ref().ok()).map_or(0, |s| s.bits());
    let mut changed = claim.clone();
    if let Some(id) = changed.output_ids.last_mut() {
        *id ^= 1;
    }
    changed.output_bytes = model.tokenizer.decode_bytes(&changed.output_ids).unwrap_or_default();
    let other = Proof::decode(&bytes).map(|proof| verifier::verify(model, &changed, &proof));
    let as_expected = security_bits > 0 && !matches!(other, Ok(Ok(_)));
    Ok(Shown { bytes: bytes.len(), security_bits, prove_seconds, verify_seconds, as_expected })
}

impl Shown {
    pub(super) fn json(&self) -> Value {
        json!({
            "bytes": self.bytes,
            "security_bits": self.security_bits,
            "prove_seconds": self.prove_seconds,
            "verify_seconds": self.verify_seconds,
            "as_expected": self.as_expected,
        })
    }
}
