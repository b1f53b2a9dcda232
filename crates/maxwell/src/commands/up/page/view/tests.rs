//! Statuses in, what people read out. Never a copy of how it is computed: the bounds are from the binomial law.

use serde_json::json;

use super::*;

fn status() -> Value {
    json!({
        "model": "tiny", "commitment": "0123456789abcdef0123", "numerics": "n1", "mode": "serving", "killed": null,
        "requests": 1234, "answers": 1200, "sampled": 120, "pass": 118, "fail": 0, "unverifiable": 0,
        "backlog": 2, "lag_ms": 1250, "alarm": null, "recent": [],
    })
}

#[test]
fn an_honest_run_has_counts_and_a_bound_but_no_alarm() {
    let view = View::of(&status());
    assert_eq!(view.title, "tiny - Maxwell");
    assert_eq!(view.commitment_short, "0123456789abcdef…");
    assert_eq!((view.state.as_str(), view.tone), ("serving", "good"));
    assert_eq!((view.requests.as_str(), view.passed.text.as_str()), ("1,234", "118"));
    assert_eq!((view.passed.tone, view.failed.tone), ("good", "none"));
    assert_eq!((view.backlog.as_str(), view.lag.as_str()), ("2", "the oldest for 1.2 s"));
    // 1 - 0.01^(1/118) = 3.828 %.
    assert_eq!((view.bound.as_str(), view.bound_note.as_str()), ("≤ 3.9 %", "after 118 clean checks"));
    assert_eq!(view.alarm, None);
}

#[test]
fn a_wrong_answer_is_an_alarm_until_and_after_the_server_is_killed() {
    let mut status = status();
    status["fail"] = 1.into();
    status["alarm"] = json!({ "tag": "00ff", "reason": "output_token", "position": 2, "after_ms": 63_250 });
    status["recent"] = json!([
        { "tag": "00ff", "outcome": "fail", "reason": "output_token", "position": 2, "after_ms": 63_250 },
        { "tag": "00fd", "outcome": "unverifiable", "reason": "model_missing", "position": null, "after_ms": 9 },
        { "tag": "00fe", "outcome": "pass", "reason": null, "position": null, "after_ms": 7_384_900 },
    ]);
    let server = |status: &Value| View::of(status).alarm.unwrap().facts.last().unwrap().value.clone();
    assert_eq!(server(&status), "being killed");
    (status["mode"], status["killed"]) = ("killed".into(), "audit".into());
    assert_eq!(server(&status), "killed (audit)");
    let view = View::of(&status);
    assert!(view.title.starts_with("ALARM: "));
    assert_eq!((view.state.as_str(), view.tone), ("killed", "bad"));
    assert_eq!(view.bound, "no bound");
    let rows: Vec<_> = view.verdicts.iter().map(|v| (v.time.as_str(), v.outcome, v.why.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("1:03.2", "wrong", "output_token at 2"),
            ("0:00.0", "not replayed", "model_missing"),
            ("2:03:04.9", "right", "")
        ]
    );
}

#[test]
fn a_server_that_was_killed_without_a_wrong_answer_is_no_accusation() {
    let mut status = status();
    (status["mode"], status["killed"]) = ("killed".into(), "gone".into());
    let alarm = View::of(&status).alarm.unwrap();
    assert_eq!(alarm.headline, "The server was killed");
    assert_eq!(alarm.facts, [Fact { name: "Server", value: "killed (gone)".to_owned() }]);
}

#[test]
fn bounds_are_rounded_up_and_count_what_could_not_be_replayed() {
    // 0 of n: 1 - 0.01^(1/n). 1 of 100: the p with (1-p)^100 + 100 p (1-p)^99 = 0.01, which is 0.06459.
    for (passed, unverifiable, expected) in [
        (0, 0, "≤ 100 %"),
        (1, 0, "≤ 99 %"),
        (2, 0, "≤ 90 %"),
        (12, 0, "≤ 32 %"),
        (99, 1, "≤ 6.5 %"),
        (0, 5, "≤ 100 %"),
        (1_000_000, 0, "≤ 0.00047 %"),
    ] {
        assert_eq!(
            bound(passed, 0, unverifiable).0,
            expected,
            "{passed} passed, {unverifiable} not replayed"
        );
    }
}

#[test]
fn what_a_status_says_is_text_and_never_html() {
    let mut status = status();
    status["model"] = "<script>alert(1)</script>\"'&".into();
    let html = View::of(&status).render().unwrap();
    assert!(!html.contains("<script>alert"), "{html}");
    assert!(html.contains("&#60;script&#62;alert(1)"), "{html}");
}
