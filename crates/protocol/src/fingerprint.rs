//! The logit fingerprint and the point at which it is taken. A fingerprint never is a commitment: the point is
//! known to whoever computes the logits, so equal fingerprints must never replace a check of the logits.
//!
//! For output position t the fingerprint is F_t = sum over v of rho^v * logit\[t\]\[v\] in F_p\[X\]/(X^2 - 7), with the
//! Goldilocks prime p = 2^64 - 2^32 + 1 (the proof's field). It is cheap to compute and to prove, and shows a
//! changed weight where no token changes. The arithmetic lives in the crates that compute it.

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;
use crate::id::{ModelCommitment, Nonce};
use crate::settings::SamplingSettings;

#[cfg(test)]
mod tests;

/// The Goldilocks prime, 2^64 - 2^32 + 1.
pub const GOLDILOCKS_PRIME: u64 = 0xffff_ffff_0000_0001;
/// Domain of the point (BLAKE3 `derive_key` context).
pub const POINT_CONTEXT: &str = "maxwell 2026-11 fingerprint point v1";

const STRUCTURE_TAG: &str = "maxwell.fingerprint-point";
const STRUCTURE_VERSION: u32 = 1;
const FIELDS: u64 = 4;

/// c0 + c1 * X in the quadratic extension of the Goldilocks field, both coordinates reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtensionElement {
    c0: u64,
    c1: u64,
}

/// The fingerprint of the logits at one output position.
pub type LogitFingerprint = ExtensionElement;

/// rho, the point at which the logits of one request are evaluated.
pub type FingerprintPoint = ExtensionElement;

impl ExtensionElement {
    /// Refuses coordinates that are not below [`GOLDILOCKS_PRIME`].
    pub fn new(c0: u64, c1: u64) -> Result<Self, Error> {
        match [c0, c1].into_iter().find(|c| *c >= GOLDILOCKS_PRIME) {
            Some(value) => Err(Error::UnreducedCoordinate { offset: 0, value }),
            None => Ok(Self { c0, c1 }),
        }
    }

    /// The coordinate of 1, below the prime.
    pub const fn c0(&self) -> u64 {
        self.c0
    }

    /// The coordinate of X, below the prime.
    pub const fn c1(&self) -> u64 {
        self.c1
    }

    /// Appends the canonical form, an array of both coordinates.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.array_header(2);
        encoder.unsigned(self.c0);
        encoder.unsigned(self.c1);
    }

    /// Reads the canonical form.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.array_exact(2, "the two coordinates of an extension element")?;
        Ok(Self { c0: coordinate(decoder)?, c1: coordinate(decoder)? })
    }
}

/// The point for one request: hashed from the canonical form of model, nonce, prompt and settings, so that it is
/// fixed before the first logit is computed and differs between requests.
pub fn fingerprint_point(
    model: &ModelCommitment,
    nonce: &Nonce,
    prompt_ids: &[u32],
    settings: &SamplingSettings,
) -> FingerprintPoint {
    let mut encoder = Encoder::new();
    encoder.structure(STRUCTURE_TAG, STRUCTURE_VERSION, FIELDS);
    encoder.bytes(model.as_bytes());
    encoder.bytes(nonce.as_bytes());
    encoder.list_u32(prompt_ids);
    settings.encode(&mut encoder);
    let mut stream =
        blake3::Hasher::new_derive_key(POINT_CONTEXT).update(&encoder.into_bytes()).finalize_xof();
    let mut draw = || {
        let mut bytes = [0u8; 8];
        stream.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    ExtensionElement { c0: first_reduced(&mut draw), c1: first_reduced(&mut draw) }
}

/// The next draw that is below the prime. Rejection keeps every residue equally likely; one draw in 2^32 is
/// rejected and the stream is endless, so this ends.
fn first_reduced(mut draw: impl FnMut() -> u64) -> u64 {
    loop {
        let value = draw();
        if value < GOLDILOCKS_PRIME {
            return value;
        }
    }
}

fn coordinate(decoder: &mut Decoder<'_>) -> Result<u64, Error> {
    let offset = decoder.offset();
    let value = decoder.unsigned("a coordinate of an extension element")?;
    if value >= GOLDILOCKS_PRIME {
        return Err(Error::UnreducedCoordinate { offset, value });
    }
    Ok(value)
}
