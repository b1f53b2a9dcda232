//! What `maxwell audit` prints: the verdict, and the ladder with what each check costs, excludes and leaves open. Never
//! a figure without saying whether it was measured.

use std::fmt::Write;

use evidence::ladder::{Check, RemainingError, Rung};
use protocol::{Claim, Verdict};
use serde_json::{Value, json};

use super::{Outcome, Ran, adaptive};
use crate::commands::check::capitalized;
use crate::output::{Exit, Finished};

pub(super) fn finished(claim: &Claim, outcome: &Outcome) -> Finished {
    let Outcome { verdict, plan, ran } = outcome;
    let name = match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject(_) => "reject",
        Verdict::Undecided(_) => "undecided",
    };
    let tokens = claim.prompt_ids.len() + claim.output_ids.len();
    let mut text = format!("{}\n  model {}, {tokens} tokens", capitalized(verdict), claim.model);
    if let Some(plan) = plan {
        text.push_str(&ladder(plan.rungs.as_slice(), ran));
    }
    for ran in ran.iter().skip(1) {
        let _ = write!(
            text,
            "\n  repeated by {}, as nobody else can check the first: {}",
            name_of(ran.check),
            ran.verdict
        );
    }
    if let Some(bytes) = ran.iter().find_map(|ran| ran.opening_bytes) {
        let _ = write!(text, "\n  {} bytes were opened, {} per token", bytes, bytes / tokens.max(1));
    }
    let (attempts, bits) = adaptive();
    if ran.iter().any(|ran| ran.check == Check::Designated) {
        let _ =
            write!(text, "\n  over 2^{attempts} attempts of one prover that sees each verdict: 2^-{bits}");
    }
    let json = json!({
        "verdict": name,
        "reason": (*verdict != Verdict::Accept).then(|| verdict.code()),
        "message": verdict.to_string(),
        "position": verdict.position(),
        "commitment": claim.model.to_string(),
        "claim_digest": claim.digest().to_string(),
        "committed": claim.trace.is_some(),
        "tokens": tokens,
        "enough": plan.as_ref().map(|plan| plan.is_enough),
        "ladder": plan.as_ref().map(|plan| plan.rungs.iter().map(rung_json).collect::<Vec<_>>()),
        "ran": ran.iter().map(ran_json).collect::<Vec<_>>(),
    });
    Finished { exit: Exit::of(verdict), json, text }
}

fn ladder(rungs: &[Rung], ran: &[Ran]) -> String {
    let mut text =
        format!("\n  {:<22} {:>10}  {:<16} {}", "check", "seconds", "a lie passes", "what a pass excludes");
    for rung in rungs {
        let measured = ran.iter().find(|ran| ran.check == rung.check);
        let seconds = match measured {
            Some(ran) => format!("{:.4}", ran.seconds),
            None => format!("~{:.4}", rung.cost_us as f64 / 1e6),
        };
        let mark = if measured.is_some() { "*" } else { " " };
        let _ = write!(
            text,
            "\n{mark} {:<22} {seconds:>10}  {:<16} {}",
            name_of(rung.check),
            error_text(rung.error),
            rung.check.excludes()
        );
    }
    text.push_str("\n  * was run; ~ is an estimate");
    text
}

fn name_of(check: Check) -> String {
    match check {
        Check::Parts(1) => "1 part, drawn".to_owned(),
        Check::Parts(count) => format!("{count} parts, drawn"),
        Check::Designated => "products, designated".to_owned(),
        Check::Public => "products, public".to_owned(),
        Check::Statement | Check::Replay => check.code().to_owned(),
    }
}

fn error_text(error: RemainingError) -> String {
    match error {
        RemainingError::None => "never".to_owned(),
        RemainingError::Bits(bits) => format!("2^-{bits}"),
        RemainingError::Share { missed, of } if missed == of => "always".to_owned(),
        RemainingError::Share { missed, of } => format!("{missed} in {of}"),
    }
}

fn rung_json(rung: &Rung) -> Value {
    let (missed, bits) = match rung.error {
        RemainingError::None => (json!(0), Value::Null),
        RemainingError::Bits(bits) => (Value::Null, json!(bits)),
        RemainingError::Share { missed, of } => (json!(f64::from(missed) / f64::from(of)), Value::Null),
    };
    json!({
        "check": rung.check.code(),
        "estimated_us": rung.cost_us,
        "excludes": rung.check.excludes(),
        "error": missed,
        "error_bits": bits,
    })
}

fn ran_json(ran: &Ran) -> Value {
    json!({
        "check": ran.check.code(),
        "verdict": ran.verdict.code(),
        "audience": ran.audience.map(evidence::audit::Audience::code),
        "seconds": ran.seconds,
        "opening_bytes": ran.opening_bytes,
    })
}
