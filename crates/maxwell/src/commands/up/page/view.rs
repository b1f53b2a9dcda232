//! What the page shows of a status, as text: written into the page when it is loaded, and pushed when it changes. Pure.
//! Never says that a server is honest; only what was checked, and what that bounds.

use askama::Template;
use recomputer::coverage::{Probability, deviating_share_bound};
use serde::Serialize;
use serde_json::Value;

use crate::output::grouped;

#[cfg(test)]
mod tests;

/// Of the bound on the deviating share.
const CONFIDENCE: f64 = 0.99;
/// Digits of a commitment that are shown.
const COMMITMENT_DIGITS: usize = 16;
/// Of a share in percent.
const DECIMALS_MAX: usize = 9;
/// What a float may be too high by: 99 must not become 100.
const ROUNDING_ERROR: f64 = 1e-9;

/// The whole page. Its names are those in `index.html` and `page.js`.
#[derive(Debug, PartialEq, Serialize, Template)]
#[template(path = "index.html")]
pub(super) struct View {
    title: String,
    model: String,
    commitment: String,
    commitment_short: String,
    numerics: String,
    tone: &'static str,
    mark: &'static str,
    state: String,
    requests: String,
    answers: String,
    sampled: String,
    passed: Count,
    failed: Count,
    unverifiable: Count,
    backlog: String,
    lag: String,
    bound: String,
    bound_note: String,
    alarm: Option<Alarm>,
    verdicts: Vec<Verdict>,
}

/// A number with a colour.
#[derive(Debug, PartialEq, Serialize)]
struct Count {
    text: String,
    tone: &'static str,
}

/// The banner.
#[derive(Debug, PartialEq, Serialize)]
struct Alarm {
    headline: &'static str,
    facts: Vec<Fact>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// A row of the table.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    tone: &'static str,
    mark: &'static str,
    time: String,
    tag: String,
    outcome: &'static str,
    why: String,
}

impl View {
    /// Of [`gateway::service::Service::status`].
    pub(super) fn of(status: &Value) -> Self {
        let number = |name: &str| status[name].as_u64().unwrap_or(0);
        let (model, commitment) = (text(&status["model"]), text(&status["commitment"]));
        let (passed, failed, unverifiable) = (number("pass"), number("fail"), number("unverifiable"));
        let (state, tone) = state(status);
        let (bound, bound_note) = bound(passed, failed, unverifiable);
        let alarm = alarm(status);
        let lag = match number("backlog") {
            0 => "all caught up".to_owned(),
            _ => format!("the oldest for {}.{} s", number("lag_ms") / 1000, number("lag_ms") / 100 % 10),
        };
        Self {
            title: format!("{}{model} - Maxwell", if alarm.is_some() { "ALARM: " } else { "" }),
            commitment_short: shortened(&commitment),
            model,
            commitment,
            numerics: text(&status["numerics"]),
            tone,
            mark: mark(tone),
            state,
            requests: grouped(number("requests")),
            answers: grouped(number("answers")),
            sampled: grouped(number("sampled")),
            passed: Count::new(passed, "good"),
            failed: Count::new(failed, "bad"),
            unverifiable: Count::new(unverifiable, "busy"),
            backlog: grouped(number("backlog")),
            lag,
            bound,
            bound_note,
            alarm,
            verdicts: status["recent"].as_array().into_iter().flatten().map(verdict).collect(),
        }
    }
}

impl Count {
    /// Without a colour at 0.
    fn new(count: u64, tone: &'static str) -> Self {
        Self { text: grouped(count), tone: if count > 0 { tone } else { "none" } }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The first digits; it is ASCII, but nothing here relies on it.
fn shortened(commitment: &str) -> String {
    match commitment.get(..COMMITMENT_DIGITS) {
        Some(first) if first.len() < commitment.len() => format!("{first}…"),
        _ => commitment.to_owned(),
    }
}

fn mark(tone: &str) -> &'static str {
    match tone {
        "good" => "✓",
        "busy" => "…",
        "bad" => "✗",
        _ => "○",
    }
}

/// The server's state, and its colour.
fn state(status: &Value) -> (String, &'static str) {
    let mode = text(&status["mode"]);
    let (word, tone) = match mode.as_str() {
        "serving" => ("serving", "good"),
        "upload" => ("receiving the weights", "busy"),
        "loading" => ("loading the model", "busy"),
        "readback" => ("proving what it loaded", "busy"),
        "drain" => ("finishing its last answers", "busy"),
        "killed" => ("killed", "bad"),
        "bricked" => ("killed for good", "bad"),
        other => (other, "none"),
    };
    (word.to_owned(), tone)
}

/// The banner, if an answer was wrong or the server was killed for another reason.
fn alarm(status: &Value) -> Option<Alarm> {
    let killed = status["killed"].as_str();
    let (headline, mut facts) = match (&status["alarm"], killed) {
        (Value::Null, None) => return None,
        (Value::Null, Some(_)) => ("The server was killed", Vec::new()),
        (alarm, _) => {
            let mut facts = vec![
                Fact { name: "Reason", value: text(&alarm["reason"]) },
                Fact { name: "Answer", value: text(&alarm["tag"]) },
            ];
            if let Some(position) = alarm["position"].as_u64() {
                facts.push(Fact { name: "Position", value: position.to_string() });
            }
            facts.push(Fact { name: "Found, since start", value: clock(&alarm["after_ms"]) });
            ("ALARM: an answer is not what the model gives", facts)
        }
    };
    let server = killed.map_or_else(|| "being killed".to_owned(), |reason| format!("killed ({reason})"));
    facts.push(Fact { name: "Server", value: server });
    Some(Alarm { headline, facts })
}

fn verdict(verdict: &Value) -> Verdict {
    let (outcome, tone) = match verdict["outcome"].as_str() {
        Some("pass") => ("right", "good"),
        Some("fail") => ("wrong", "bad"),
        _ => ("not replayed", "busy"),
    };
    let mut why = text(&verdict["reason"]);
    if let Some(position) = verdict["position"].as_u64() {
        why.push_str(&format!(" at {position}"));
    }
    let mark = if tone == "busy" { "?" } else { mark(tone) };
    Verdict { tone, mark, time: clock(&verdict["after_ms"]), tag: text(&verdict["tag"]), outcome, why }
}

/// Minutes, seconds and tenths, after hours if there are some.
fn clock(after_ms: &Value) -> String {
    let tenths = after_ms.as_u64().unwrap_or(0) / 100;
    let (hours, minutes, seconds, tenth) =
        (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60, tenths % 10);
    match hours {
        0 => format!("{minutes}:{seconds:02}.{tenth}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}.{tenth}"),
    }
}

/// Upper bound on the share of deviating answers, and what it rests on. What could not be replayed may deviate.
fn bound(passed: u64, failed: u64, unverifiable: u64) -> (String, String) {
    if failed > 0 {
        return ("no bound".to_owned(), "an answer was wrong".to_owned());
    }
    let checked = passed.saturating_add(unverifiable);
    let share = Probability::new(CONFIDENCE)
        .and_then(|confidence| deviating_share_bound(checked, unverifiable, confidence));
    let note = match (passed, unverifiable) {
        (0, 0) => "nothing checked yet".to_owned(),
        (_, 0) => format!("after {} clean {}", grouped(passed), if passed == 1 { "check" } else { "checks" }),
        _ => format!("after {} checks, {} not replayed", grouped(checked), grouped(unverifiable)),
    };
    match share {
        Ok(share) => (format!("≤ {} %", percent_up(share)), note),
        Err(_) => ("unknown".to_owned(), note),
    }
}

/// A share in percent with about two digits, rounded up, so that it stays an upper bound.
fn percent_up(share: f64) -> String {
    let percent = share * 100.0;
    let (mut decimals, mut scale) = (0, 1.0);
    while percent * scale < 10.0 && decimals < DECIMALS_MAX {
        (decimals, scale) = (decimals + 1, scale * 10.0);
    }
    format!("{:.decimals$}", (percent * scale - ROUNDING_ERROR).ceil() / scale)
}
