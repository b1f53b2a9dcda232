//! `maxwell coverage`: the tables of governance section 2.3 as printed, the same numbers in JSON, and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::program::Stage;

/// The line that starts so, without repeated spaces.
#[track_caller]
fn line(text: &str, start: &str) -> String {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = text.lines().map(squeezed).filter(|line| line.starts_with(start));
    lines.next().unwrap_or_else(|| panic!("no line starts with {start:?}:\n{text}"))
}

#[test]
fn plain_coverage_prints_the_tables() {
    let ran = Stage::new().run(&["coverage"]).expect(0);
    assert_eq!(ran.stderr, "");
    let text = ran.stdout;
    for row in [
        // The section's figures, which it rounds to the nearest, rounded up to the number that is enough.
        "1e-5 230,258 460,515 690,773 1,381,545",
        "1e-4 23,025 46,050 69,075 138,149",
        "1e-3 2,302 4,603 6,905 13,809",
        "1e-2 230 459 688 1,375",
        "5e-2 45 90 135 270",
        "400/s (400 H100e) 1e-4 115 s 19 min 3.2 h 32 h",
        "400/s (400 H100e) 1e-3 11.5 s 115 s 19 min 3.2 h",
        "10/s (8 GPUs) 1e-4 77 min 12.8 h 5.3 d 53 d",
        "10/s (8 GPUs) 1e-3 7.7 min 77 min 12.8 h 5.3 d",
        "0.2/s (CPU demo) 1e-2 38 min 6.4 h 2.7 d 27 d",
        "0.2/s (CPU demo) 1e-1 3.8 min 38 min 6.4 h 2.7 d",
        "10,000 3.0e-4 4.6e-4 6.9e-4",
        "cheated answers, ever, at a risk of at most 0.05 51",
        "P of a lottery: 100 of 1,000 requests, 10 cheated 0.653",
        "requests to draw for P = 0.99 368",
    ] {
        assert_eq!(line(&text, row), row);
    }
}

#[test]
fn the_json_has_the_same_numbers() {
    let stage = Stage::new();
    let arguments = ["--requests", "10000", "--cheated", "10", "--sample", "3689", "--eps", "1e-4", "--json"];
    let json = stage.run(&[&["coverage"], &arguments[..]].concat()).expect(0).json();
    assert_eq!(json["cheated_needed"], 46_050);
    assert_eq!(json["lottery"]["sample_needed"], 3689);
    assert!(json["lottery"]["detection"].as_f64().unwrap() >= 0.99);
    assert_eq!(json["covert"], json!({ "risk": 0.05, "answers_max": 512 }));
    // 100,000 units, one answer in 10,000 checked, a replay at 0.13.
    assert!((json["recompute"]["units"].as_f64().unwrap() - 1.3).abs() < 1e-9);
    // The fleet's 1e-4 is not enough here: 460.5 checks of 864,000 answers.
    let floor = json["server"]["eps_floor"].as_f64().unwrap();
    assert!((floor - 460.517 / 864_000.0).abs() < 1e-9, "{floor}");
    assert_eq!(json["server"]["eps_needed"], floor);
    assert_eq!(
        json["tables"]["cheated_needed"]["rows"][0]["answers"],
        json!([230_258, 460_515, 690_773, 1_381_545])
    );
    let seconds = json["tables"]["time"]["rows"][1]["seconds"][0].as_f64().unwrap();
    assert!((seconds - 11.513).abs() < 1e-3);
    assert_eq!(json["tables"]["bounds"]["rows"].as_array().unwrap().len(), 5);
    assert_eq!(json["plot"], Value::Null);
    // More cheated answers than the usual epoch has requests are no mistake.
    let json = stage.run(&["coverage", "--cheated", "4603", "--json"]).expect(0).json();
    assert!((json["cheated"]["detection"].as_f64().unwrap() - 0.99).abs() < 1e-5);
    assert_eq!(json["lottery"]["requests"], 460_300);
}

#[test]
fn ends_of_the_ranges_are_said_in_words_and_null() {
    let stage = Stage::new();
    let nothing = ["coverage", "--eps", "0", "--share", "1e-12", "--cheated", "0"];
    let text = stage.run(&nothing).expect(0).stdout;
    for row in [
        "cheated answers until P = 0.99 no number",
        "P to catch one of 0 cheated answers 0",
        "eps for P = 0.99 at 0 cheated answers not even 1",
        "mean time to the first catch, 1e-12 cheated at 10/s never",
        "eps of that server: the larger of both not even 1",
        "requests to draw for P = 0.99 no number",
        "cheated answers, ever, at a risk of at most 0.05 any number",
    ] {
        assert_eq!(line(&text, row), row);
    }
    let json = stage.run(&[&nothing[..], &["--json"]].concat()).expect(0).json();
    for value in [&json["cheated_needed"], &json["mean_seconds"], &json["server"]["eps_floor"]] {
        assert_eq!(value, &Value::Null);
    }
    let json = stage.run(&["coverage", "--eps", "1", "--json"]).expect(0).json();
    assert_eq!((&json["cheated_needed"], &json["covert"]["answers_max"]), (&json!(1), &json!(0)));
}

#[test]
fn arguments_out_of_range_are_wrong_usage() {
    let stage = Stage::new();
    for (option, value, message) in [
        ("--eps", "1.5", "1.5 is not between 0 and 1"),
        ("--eps", "-0.1", "-0.1 is not between 0 and 1"),
        ("--share", "NaN", "NaN is not between 0 and 1"),
        ("--confidence", "99%", "is not a number"),
        ("--rate", "0", "0 is not a finite number above 0"),
        ("--replay-share", "-1", "-1 is not a finite number above 0"),
        ("--fleet", "inf", "inf is not a finite number above 0"),
        ("--requests", "5", "10 cheated of 5 requests are more than there are"),
        ("--sample", "2000", "2000 drawn of 1000 requests are more than there are"),
        ("--clean", "18446744073709551615", "checks are too many"),
        ("--failed", "2000000000", "failed checks are too many"),
    ] {
        let ran = stage.run(&["coverage", option, value, "--json"]).expect(2);
        assert!(ran.stderr.contains(message), "{option} {value}: {ran:?}");
        assert_eq!(ran.json()["exit_code"], 2);
    }
}

#[test]
fn the_plot_has_a_line_for_every_share() {
    let stage = Stage::new();
    let path = stage.argument("coverage.svg");
    let json = stage
        .run(&["coverage", "--eps", "2e-4", "--power", "0.5", "--plot", &path, "--json"])
        .expect(0)
        .json();
    assert_eq!(json["plot"], path.as_str());
    let picture = fs::read_to_string(&path).unwrap();
    assert!(picture.starts_with("<svg"), "{picture}");
    for words in ["power q = 0.5", "eps = 5e-2", "eps = 1e-5", "eps = 2e-4", "cheated answers"] {
        assert!(picture.contains(words), "{words}");
    }
    // Six lines and their six samples in the legend, beside those of the axes.
    assert!(picture.matches("<polyline").count() >= 12, "{picture}");
    let missing = stage.argument("none/coverage.svg");
    stage.run(&["coverage", "--plot", &missing]).expect(1);
}
