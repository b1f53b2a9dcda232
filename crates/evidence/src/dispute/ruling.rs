//! What a referee finds in the claim itself: contradictions, and outputs that do not follow from the claim's own logits.

use protocol::Claim;
use protocol::verdict::{Reason, Verdict};

use super::Fault;
use crate::audit::AuditModel;
use crate::replay::{
    Feed, before_replay, check_claim_without_numbers, check_output, computed_at, left_by_its_own_account,
};

/// Why the claim is false whatever its numbers are.
pub(super) fn statement(subject: &AuditModel, claim: &Claim) -> Option<Reason> {
    match before_replay(subject.model(), claim, None) {
        Some(Verdict::Reject(reason)) => Some(reason),
        Some(Verdict::Accept | Verdict::Undecided(_)) | None => {
            left_by_its_own_account(claim).or_else(|| check_claim_without_numbers(subject.model(), claim))
        }
    }
}

/// Why the claim's output does not follow from the logits that it is committed to.
pub(super) fn output(
    subject: &AuditModel,
    claim: &Claim,
    index: usize,
    position: usize,
    logits: Option<&Vec<i64>>,
) -> Option<Fault> {
    let vocabulary = subject.model().config.vocab as usize;
    // A leaf of another length is not that of a run.
    let Some(logits) = logits.filter(|logits| logits.len() == vocabulary) else {
        return Some(Fault::Form);
    };
    let feed = Feed::new(subject.model(), claim);
    let computed = computed_at(&feed, subject.sampler(), position, logits);
    check_output(claim, index, &computed).map(Fault::Claim)
}
