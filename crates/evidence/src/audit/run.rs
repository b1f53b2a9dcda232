//! Whole audits from a trace to a result that says who may believe it. Never calls evidence public whose coins were
//! chosen by anybody.

use engine::trace::{ChunkTrace, width};
use protocol::claim::Claim;
use protocol::trace::{TraceFault, TracePlace};
use protocol::verdict::{Reason, Verdict};

use super::{Audience, AuditCoins, AuditModel, Audited, Auditor, error_bits, transcript};
use crate::Error;
use crate::draw::below;
use crate::field::{CheckField, Goldilocks2, Mersenne61};
use crate::freivalds::Prepared;
use crate::trace::{LeafPlace, Opening, TraceCheck, TraceShape, gather, places_of};

/// blake3 `derive_key` contexts of public coins.
const PUBLIC_VECTORS_CONTEXT: &str = "maxwell 2026-11 public audit vectors v1";
const PUBLIC_ATTENTION_CONTEXT: &str = "maxwell 2026-11 public audit attention v1";
/// blake3 `derive_key` context of the parts that are looked at.
const PARTS_CONTEXT: &str = "maxwell 2026-11 audit parts v1";
/// Hashes that whoever grinds public coins is granted, as a power of two.
const GRINDING_BITS: u32 = 24;
/// Claims, as a power of two, that whoever grinds against secret coins is granted: of each the verdict is told.
const ATTEMPTS_BITS: u32 = 20;

/// Audits the whole trace with secret vectors and fresh secret coins. Designated: worth nothing to others.
///
/// # Errors
/// As [`crate::replay::replay`].
pub fn audit_designated(
    subject: &AuditModel,
    prepared: &Prepared<Mersenne61>,
    claim: &Claim,
    coins: AuditCoins,
    trace: impl Iterator<Item = ChunkTrace>,
) -> Result<Audited, Error> {
    let verdict = audit_whole(subject, prepared, claim, coins, trace)?;
    let error_bits = error_bits::<Mersenne61>(1);
    Ok(Audited { verdict, audience: Audience::Designated, error_bits })
}

/// As [`audit_designated`], after so many attempts of one prover as are granted.
#[must_use]
pub fn designated_bits_adaptive() -> (u32, u32) {
    (ATTEMPTS_BITS, error_bits::<Mersenne61>(1 << ATTEMPTS_BITS))
}

/// Vectors and coins that follow from the claim with its root, so that anybody gets the same ones: Fiat-Shamir. `None`
/// where the claim is not committed to a trace.
#[must_use]
pub fn public_coins(claim: &Claim) -> Option<([u8; 32], AuditCoins)> {
    claim.trace?;
    let digest = claim.digest();
    let coins = |context: &str| blake3::derive_key(context, digest.as_bytes());
    Some((coins(PUBLIC_VECTORS_CONTEXT), AuditCoins { attention: coins(PUBLIC_ATTENTION_CONTEXT) }))
}

/// Audits the whole trace with coins that follow from the claim: anybody may repeat it. `None` where the claim is not
/// committed to a trace.
///
/// # Errors
/// As [`crate::replay::replay`].
pub fn audit_public(
    subject: &AuditModel,
    claim: &Claim,
    trace: impl Iterator<Item = ChunkTrace>,
) -> Result<Option<Audited>, Error> {
    let Some((vectors, coins)) = public_coins(claim) else { return Ok(None) };
    let prepared = Prepared::<Goldilocks2>::new(subject.model(), &vectors);
    let verdict = audit_whole(subject, &prepared, claim, coins, trace)?;
    let error_bits = error_bits::<Goldilocks2>(1 << GRINDING_BITS);
    Ok(Some(Audited { verdict, audience: Audience::Public, error_bits }))
}

fn audit_whole<F: CheckField>(
    subject: &AuditModel,
    prepared: &Prepared<F>,
    claim: &Claim,
    coins: AuditCoins,
    trace: impl Iterator<Item = ChunkTrace>,
) -> Result<Verdict, Error> {
    let mut auditor = match Auditor::new(subject, prepared, claim, coins) {
        Ok(auditor) => auditor,
        Err(verdict) => return Ok(verdict),
    };
    let mut committed = claim.trace.map(|root| (TraceCheck::new(shape_of(subject, claim)), root));
    for chunk in trace {
        if let Some((check, _)) = &mut committed {
            check.push(&chunk);
        }
        auditor.push(&chunk);
        // Behind a fault nothing more is needed, unless the root is.
        if auditor.missing() == 0 && committed.is_none() {
            break;
        }
    }
    let verdict = auditor.finish()?;
    let fault = committed.and_then(|(check, root)| check.finish(&root));
    Ok(match (verdict, fault) {
        // A wrong number says more than that it is not the committed one.
        (Verdict::Accept, Some((place, fault))) => rejected(place, fault),
        (verdict, _) => verdict,
    })
}

/// The size of a claim's trace.
#[must_use]
pub fn shape_of(subject: &AuditModel, claim: &Claim) -> TraceShape {
    TraceShape::new(subject.model(), transcript(subject.model(), claim).0.len())
}

/// Audits some blocks of a trace from openings in the order of [`places_of`], each as bytes. The parts must have been
/// drawn after the claim was there. `None` where the claim is not committed to a trace.
///
/// # Errors
/// As [`crate::replay::replay`].
pub fn audit_parts(
    subject: &AuditModel,
    prepared: &Prepared<Mersenne61>,
    claim: &Claim,
    coins: AuditCoins,
    parts: &[usize],
    mut open: impl FnMut(LeafPlace) -> Vec<u8>,
) -> Result<Option<Verdict>, Error> {
    let Some(root) = claim.trace else { return Ok(None) };
    let mut auditor = match Auditor::of_parts(subject, prepared, claim, coins, parts) {
        Ok(auditor) => auditor,
        Err(verdict) => return Ok(Some(verdict)),
    };
    let (model, shape, parts) = (subject.model(), shape_of(subject, claim), auditor.parts().to_vec());
    let mut openings = Vec::new();
    for place in places_of(shape, &parts) {
        let first = place.place().position as usize;
        let widest = |position| width(model, place.block, place.operation, position);
        let most = (first..first + shape.tokens_of(place.chunk)).map(widest).max().unwrap_or(0);
        let opened = Opening::decode(place, most, &open(place));
        let is_committed = |opening: &Opening| opening.verify(shape, &root).is_ok();
        match opened.ok().filter(is_committed) {
            Some(opening) => openings.push(opening),
            None => return Ok(Some(rejected(place.place(), TraceFault::Commitment))),
        }
    }
    if let Some(trace) = gather(shape, &parts, openings) {
        auditor.push(&trace);
    }
    auditor.finish().map(Some)
}

/// `count` different ones of `parts` parts, in order; every choice equally likely.
#[must_use]
pub fn draw_parts(coins: &[u8; 32], parts: usize, count: usize) -> Vec<usize> {
    let mut stream = blake3::Hasher::new_derive_key(PARTS_CONTEXT).update(coins).finalize_xof();
    let mut all: Vec<usize> = (0..parts).collect();
    for drawn in 0..count.min(parts) {
        let number = below(&mut stream, (parts - drawn) as u64);
        all.swap(drawn, drawn + number as usize);
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

fn rejected(place: TracePlace, fault: TraceFault) -> Verdict {
    Verdict::Reject(Reason::ExecutionTrace { place, fault })
}
