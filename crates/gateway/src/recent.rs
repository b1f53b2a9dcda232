//! The latest verdicts, for people who watch. Bounded: it forgets the oldest, so it must never be used as a record; the
//! log is that.

use std::collections::VecDeque;

use protocol::lease::Outcome;
use serde_json::{Value, json};

/// Verdicts that are kept.
pub const VERDICTS_MAX: usize = 50;

/// One verdict of a recomputer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    tag: u64,
    outcome: Outcome,
    after_ms: u64,
}

/// The latest [`VERDICTS_MAX`] verdicts.
#[derive(Debug, Default)]
pub struct RecentVerdicts {
    latest_first: VecDeque<Verdict>,
}

impl RecentVerdicts {
    /// Takes a verdict in, `after_ms` after the gateway's start.
    pub fn add(&mut self, tag: u64, outcome: Outcome, after_ms: u64) {
        self.latest_first.truncate(VERDICTS_MAX - 1);
        self.latest_first.push_front(Verdict { tag, outcome, after_ms });
    }

    /// The latest first.
    pub fn to_json(&self) -> Value {
        let shown = |verdict: &Verdict| {
            let (outcome, reason, position) = match &verdict.outcome {
                Outcome::Pass => ("pass", None, None),
                Outcome::Fail { reason, position } => ("fail", Some(reason), *position),
                Outcome::Unverifiable { missing } => ("unverifiable", Some(missing), None),
            };
            json!({
                "tag": format!("{:016x}", verdict.tag),
                "outcome": outcome,
                "reason": reason,
                "position": position,
                "after_ms": verdict.after_ms,
            })
        };
        self.latest_first.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_come_first_and_the_oldest_are_forgotten() {
        let mut recent = RecentVerdicts::default();
        assert_eq!(recent.to_json(), json!([]));
        for tag in 0..60 {
            recent.add(tag, Outcome::Pass, tag * 10);
        }
        recent.add(255, Outcome::Fail { reason: "output_token".to_owned(), position: Some(2) }, 700);
        recent.add(256, Outcome::Unverifiable { missing: "model_missing".to_owned() }, 800);
        let json = recent.to_json();
        let row = |tag: &str, outcome: &str, reason: Value, position: Value, after_ms: u64| json!({ "tag": tag, "outcome": outcome, "reason": reason, "position": position, "after_ms": after_ms });
        let null = Value::Null;
        let missing = json!("model_missing");
        assert_eq!(json[0], row("0000000000000100", "unverifiable", missing, null.clone(), 800));
        assert_eq!(json[1], row("00000000000000ff", "fail", json!("output_token"), json!(2), 700));
        assert_eq!(json[2], row("000000000000003b", "pass", null.clone(), null, 590));
        assert_eq!(json.as_array().unwrap().len(), VERDICTS_MAX);
    }
}
