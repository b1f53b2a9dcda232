//! `maxwell dispute` and `maxwell redteam` on tiny models: who loses, what is moved, and that a record is judged alike.

use std::fs;

use serde_json::{Value, json};

use crate::program::Stage;

/// What each has lost or won.
fn moved(json: &Value) -> [f64; 2] {
    ["claimant_credits", "challenger_credits"].map(|side| json["stake_moved"][side].as_f64().unwrap())
}

#[test]
fn an_honest_claim_stands_and_whoever_lies_about_it_pays() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--trace"]);
    let json = stage.run(&["dispute", &claim, "--json"]).expect(0).json();
    assert_eq!((&json["disputed"], &json["claim"]), (&json!(false), &json!("stands")));
    for (liar, code, claim_is, loser, amounts) in [
        ("claimant", 3, "falls", "claimant_fault", [-1000.0, 499.5]),
        ("challenger", 0, "stands", "challenger_fault", [49.5, -100.0]),
    ] {
        for seed in ["1", "2", "3"] {
            let arguments = ["dispute", &claim, "--liar", liar, "--seed", seed, "--json"];
            let json = stage.run(&arguments).expect(code).json();
            assert_eq!((&json["claim"], &json[loser]), (&json!(claim_is), &json!("number")), "{json}");
            assert!(json["place"]["position"].is_u64(), "{json}");
            let messages = json["messages"].as_array().unwrap();
            assert!(messages.iter().all(|count| count.as_u64() <= Some(8)), "{json}");
            assert_eq!(moved(&json), amounts);
        }
    }
    let text =
        stage.run(&["dispute", &claim, "--liar", "claimant", "--stake", "7", "--bond", "3"]).expect(3).stdout;
    assert!(
        text.contains("claimant is wrong: it is committed to") && text.contains("claimant -7,"),
        "{text}"
    );
}

#[test]
fn cheats_fall() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--ignore-end"]);
    for (cheat, fault) in [
        ("weight", "number"),
        ("eight-bits", "number"),
        ("block", "number"),
        ("prompt", "number"),
        ("sampler", "claim"),
        ("replayed", "claim"),
        ("output", "claim"),
    ] {
        let json = stage.run(&["dispute", &claim, "--cheat", cheat, "--json"]).expect(3).json();
        assert_eq!(
            (&json["claimant_fault"], &json["challenger_fault"]),
            (&json!(fault), &Value::Null),
            "{cheat}: {json}"
        );
        assert_eq!(moved(&json)[0], -1000.0);
    }
}

#[test]
fn a_record_is_judged_by_the_referee_alone() {
    let stage = Stage::new();
    let model = stage.tiny();
    let claim = stage.claim(&model, &["--trace"]);
    let folder = stage.argument("dispute.folder");
    let played =
        stage.run(&["dispute", &claim, "--liar", "claimant", "--record", &folder, "--json"]).expect(3).json();
    let judged = stage.run(&["dispute", "--replay", &folder, "--json"]).expect(3).json();
    for part in ["place", "claimant_fault", "messages", "bytes", "input_bytes", "stake_moved", "reason"] {
        assert_eq!(played[part], judged[part], "{part}");
    }
    // A record is not written over.
    stage.run(&["dispute", &claim, "--liar", "claimant", "--record", &folder]).expect(1);
    // The challenger's last answer is lost: it was silent, and the claim stands.
    let mut answers: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    answers.sort();
    let last = answers.iter().rfind(|path| path.to_string_lossy().ends_with("challenger")).unwrap();
    let answer = fs::read(last).unwrap();
    fs::remove_file(last).unwrap();
    let silent = stage.run(&["dispute", "--replay", &folder, "--json"]).expect(0).json();
    assert_eq!((&silent["challenger_fault"], &silent["claimant_fault"]), (&json!("silent"), &Value::Null));
    // Or cut: its fault as well.
    fs::write(last, &answer[..answer.len() / 2]).unwrap();
    let cut = stage.run(&["dispute", "--replay", &folder, "--json"]).expect(0).json();
    assert_eq!(cut["challenger_fault"], "form");
    fs::write(answers.iter().find(|path| path.ends_with("accusation")).unwrap(), b"nonsense").unwrap();
    let refused = stage.run(&["dispute", "--replay", &folder]).expect(1);
    assert!(refused.stderr.contains("is no accusation"), "{}", refused.stderr);
}

#[test]
fn what_can_not_be_disputed_is_refused() {
    let stage = Stage::new();
    let model = stage.tiny();
    let bare = stage.claim(&model, &[]);
    let refused = stage.run(&["dispute", &bare]).expect(2);
    assert!(refused.stderr.contains("--trace"), "{}", refused.stderr);
    stage.run(&["dispute"]).expect(2);
    stage.run(&["dispute", &bare, "--stake", "0"]).expect(2);
    stage.run(&["dispute", &bare, "--cheat", "weight", "--liar", "claimant"]).expect(2);
    stage.run(&["dispute", "--replay", "nowhere"]).expect(1);
}

#[test]
fn the_red_team_misses_nothing_that_it_must_catch() {
    let stage = Stage::new();
    let arguments = ["redteam", "--trials", "3", "--honest", "1", "--json"];
    let json = stage.run(&arguments).expect(0).json();
    assert_eq!((&json["missed"], &json["false_alarms"]), (&json!(0), &json!(0)));
    // Ten cheats, eight checks.
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(80));
    assert!(json["honest_checks"].as_u64() >= Some(100));
    let text =
        stage.run(&["redteam", "--trials", "1", "--honest", "0", "--cheat", "output"]).expect(0).stdout;
    assert!(text.contains("output       replay                  1/1"), "{text}");
}

#[test]
fn economics_are_solved_and_what_fails_is_named() {
    let stage = Stage::new();
    let json = stage.run(&["economics", "--rate", "0.01", "--json"]).expect(0).json();
    // 0.006 / 0.01 - 0.01 credits.
    assert_eq!(json["solution"]["stake_microcredits"], 590_000);
    let json = stage.run(&["economics", "--stake", "0.59", "--json"]).expect(0).json();
    assert_eq!(json["solution"]["audit_ppb"], 10_000_000);
    let json = stage.run(&["economics", "--stake", "0.001", "--gain", "1", "--json"]).expect(3).json();
    assert!(json["infeasible"].as_str().unwrap().contains("d (S + R) is below g"), "{json}");
    let noisy = ["economics", "--rate", "0.001", "--false-alarm", "0.01", "--margin", "0.00001"];
    let text = stage.run(&noisy).expect(3).stdout;
    assert!(text.contains("eps phi S is above m"), "{text}");
    stage.run(&["economics", "--rate", "1.5"]).expect(3);
    stage.run(&["economics", "--power", "2"]).expect(2);
    let picture = stage.write("stake.svg", b"");
    stage.run(&["economics", "--plot", &picture]).expect(0);
    assert!(fs::read_to_string(&picture).unwrap().contains("<svg"));
}
