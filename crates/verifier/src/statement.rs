//! What is being proven, and everything in a claim that can be checked without the proof: it must not contradict itself, and its text
//! and its end must be those of its tokens.

use model::NUMERICS;
use protocol::claim::{Claim, FinishReason};

use crate::error::Reject;
use crate::outline::Outline;
use crate::public::Widths;

/// The version of the protocol; another one says so first.
const VERSION: &[u8] = b"maxwell inference proof 2";

/// What is said before anything else: the protocol's version, all of the claim (model commitment, prompt, settings, seed, nonce, outputs, text,
/// finish reason, fingerprints), and the ranges.
#[must_use]
pub fn statement(claim: &Claim, widths: &Widths) -> Vec<u8> {
    let mut bytes = VERSION.to_vec();
    bytes.extend(widths.unsigned);
    for rows in &widths.wide {
        bytes.extend(u32::try_from(rows.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
    }
    for draw in &widths.draws {
        bytes.extend(draw.peak.to_le_bytes());
        bytes.extend([draw.total, draw.before, draw.weight].iter().flat_map(|sum| sum.to_le_bytes()));
    }
    bytes.extend(claim.encode());
    bytes
}

/// Checks the claim against the model, as far as no computation is needed.
///
/// # Errors
/// [`Reject::Model`], [`Reject::Claim`].
pub fn check(outline: &Outline, claim: &Claim) -> Result<(), Reject> {
    let wrong = |what| Err(Reject::Claim { what });
    if claim.numerics != NUMERICS || claim.model != outline.commitment {
        return Err(Reject::Model);
    }
    if claim.check_shape().is_err() || claim.contradiction().is_some() {
        return wrong("settings, seed or length");
    }
    if claim.template.is_some() && claim.template != outline.template {
        return wrong("template");
    }
    let context = usize::try_from(outline.config.context).unwrap_or(usize::MAX);
    let tokens = claim.prompt_ids.len().saturating_add(claim.output_ids.len());
    if tokens > context {
        return wrong("length, which is beyond the model's context");
    }
    if outline.tokenizer.decode_bytes(&claim.output_ids).ok().as_ref() != Some(&claim.output_bytes) {
        return wrong("text");
    }
    let most = usize::try_from(claim.settings.max_tokens).unwrap_or(usize::MAX);
    for (index, token) in claim.output_ids.iter().enumerate() {
        let outputs = index.saturating_add(1);
        let finish = if claim.settings.stop_at_end && outline.tokenizer.is_end(*token) {
            Some(FinishReason::EndToken)
        } else if outputs >= most {
            Some(FinishReason::Length)
        } else if claim.prompt_ids.len().saturating_add(outputs) >= context {
            Some(FinishReason::ContextFull)
        } else {
            None
        };
        let is_last = outputs == claim.output_ids.len();
        if finish != is_last.then_some(claim.finish) {
            return wrong("end");
        }
    }
    Ok(())
}
