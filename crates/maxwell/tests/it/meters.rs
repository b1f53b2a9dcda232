//! Meters, logs and the simulated market, as people use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Stage, run};

/// 60 W for a minute, then 300 to 302 W that never repeat: a log of one sample a second.
fn log() -> String {
    let sample = |second: u32| {
        // Weyl's sequence: even, and no two blocks alike.
        let noise = f64::from(second) * 0.618_033_988_749_895 % 1.0 * 2.0;
        let watts = if second < 60 { 60.0 + noise / 10.0 } else { 300.0 + noise };
        format!("2026-11-01 10:{:02}:{:02}.000,{watts:.6}\n", second / 60, second % 60)
    };
    format!("timestamp,power.draw [W]\n{}", (0..600).map(sample).collect::<String>())
}

#[test]
fn doctor_names_meters_and_remedies() {
    let stage = Stage::new();
    let zone = stage.path("root/sys/class/powercap/intel-rapl:0");
    fs::create_dir_all(&zone).unwrap();
    for (name, text) in
        [("name", "package-0"), ("energy_uj", "123456789"), ("max_energy_range_uj", "262143328850")]
    {
        fs::write(zone.join(name), text).unwrap();
    }
    let root = stage.argument("root");
    let ran = stage.run(&["doctor", "--root", &root, "--json"]).expect(0).json();
    assert_eq!(ran["evidence_level"], "energy-counter");
    let empty = stage.argument("cwd");
    let ran = stage.run(&["doctor", "--root", &empty]).expect(4);
    assert!(ran.stdout.contains("every energy check is undecided"), "{ran:?}");
}

/// A library that stands for NVIDIA's, compiled here; without a C compiler there is none.
fn nvml(stage: &Stage) -> Option<PathBuf> {
    let folder = stage.path("nvml");
    fs::create_dir(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nvml/fake.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(folder.join("libnvidia-ml.so.1"));
    match compiler.arg(source).status() {
        Ok(status) => {
            assert!(status.success());
            Some(folder)
        }
        Err(_) => skip(),
    }
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests should see that some were left out")]
fn skip() -> Option<PathBuf> {
    println!("SKIPPED: no cc compiles the library that stands for NVML");
    None
}

#[test]
fn accelerators_are_read_through_nvml_and_a_lost_one_is_told() {
    let stage = Stage::new();
    let Some(library) = nvml(&stage) else { return };
    let with_library = |arguments: &[&str]| {
        run(stage.command(&stage.home()).env("LD_LIBRARY_PATH", &library).args(arguments)).expect(0).json()
    };
    let doctor = with_library(&["doctor", "--json"]);
    assert_eq!(doctor["evidence_level"], "energy-counter");
    let kind = doctor["meters"].as_array().unwrap().iter().find(|kind| kind["name"] == "NVML").unwrap();
    let of = |source: &str| {
        let readings = kind["readings"].as_array().unwrap();
        let found = readings.iter().find(|reading| reading["source"] == format!("nvml/{source}"));
        found.map(|reading| {
            (reading["value"].as_f64().unwrap(), reading["quality"].as_str().unwrap().to_owned())
        })
    };
    let good = |value: f64| Some((value, "Good".to_owned()));
    let expected = [
        ("0/power", 250.0),
        ("0/temperature", 61.0),
        ("0/clock", 1.41e9),
        ("0/busy", 0.87),
        ("0/process/4242", 0.8),
        ("0/bus_sent", 3000.0 * 1024.0),
        ("0/bus_got", 3001.0 * 1024.0),
    ];
    for (source, value) in expected {
        assert_eq!(of(source), good(value), "{source}: {kind:#}");
    }
    assert_eq!(of("1/power"), Some((0.0, "Vanished".to_owned())));
    assert_eq!(of("1/busy"), None, "it has no such counter");
    // The counter's joules, not the power beside it as well.
    let monitor = with_library(&["monitor", "--seconds", "2", "--record", "r.csv", "--json"]);
    assert!(monitor["samples"].as_u64().unwrap() > 2, "{monitor}");
    let recorded = fs::read_to_string(stage.path("cwd/r.csv")).unwrap();
    let watts: Vec<f64> =
        recorded.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok()).collect();
    assert!(watts.iter().all(|watts| (watts - 250.0).abs() < 25.0), "{recorded}");
}

#[test]
fn a_log_is_watched_drawn_and_calibrated_from() {
    let stage = Stage::new();
    let path = stage.write("log.csv", log().as_bytes());
    let plot = stage.argument("power.svg");
    let ran = stage.run(&["monitor", "--replay", &path, "--plot", &plot, "--json"]).expect(0).json();
    // 60 W for 60 s, 301 W for 539 s, by the trapezoid rule.
    assert!((ran["joules"].as_f64().unwrap() - 165_959.0).abs() < 50.0, "{ran}");
    assert!(fs::read_to_string(&plot).unwrap().contains("<svg"));
    let profile = stage.argument("p.json");
    let calibrate =
        ["calibrate", "-m", "m", "--log", &path, "--tokens-per-second", "100", "-o", &profile, "--json"];
    let ran = stage.run(&calibrate).expect(0).json();
    let joules = ran["profile"]["points"][0]["joules_per_token"].as_f64().unwrap();
    assert!((joules - 2.41).abs() < 0.05, "(301 - 60) W over 100 tokens a second: {joules}");
    let broken = stage.write("broken.csv", b"\xff\xfe\x00nothing");
    stage.run(&["monitor", "--replay", &broken]).expect(1);
    stage.run(&["calibrate", "-m", "m", "--log", &path, "--tokens-per-second", "0"]).expect(2);
}

#[test]
fn what_is_left_of_the_heat_is_forecast() {
    let stage = Stage::new();
    // 500 J and 5 W a degree around 20 C: 300 W would end at 80 C, with a time of 100 s.
    let (mut celsius, mut text) = (20.0_f64, "time_s,power [W],temperature.gpu\n".to_owned());
    for second in 0..240 {
        let watts = if second < 100 {
            100.0
        } else if second < 180 {
            30.0
        } else {
            300.0
        };
        celsius += (watts - 5.0 * (celsius - 20.0)) / 500.0;
        text.push_str(&format!("{second}.0,{watts:.1},{celsius:.3}\n"));
    }
    let path = stage.write("hot.csv", text.as_bytes());
    let heat = stage.run(&["monitor", "--replay", &path, "--limit", "75", "--json"]).expect(0).json()["heat"]
        .clone();
    let number = |name: &str| heat[name].as_f64().unwrap();
    assert!((number("settles_at") - 80.0).abs() < 2.0, "{heat}");
    assert!((number("watts_at_limit") - 275.0).abs() < 10.0, "{heat}");
    let left = 100.0 * ((80.0 - celsius) / 5.0).ln();
    assert!((number("seconds_to_limit") - left).abs() < 0.15 * left, "{heat} {left}");
}

#[test]
fn the_simulated_market_says_the_same_twice() {
    let stage = Stage::new();
    let arguments = [
        "simulate",
        "market",
        "--scenario",
        "miners",
        "--hours",
        "1",
        "--seeds",
        "1",
        "--seed",
        "7",
        "--json",
    ];
    let once = stage.run(&arguments).expect(0).stdout;
    assert_eq!(once, stage.run(&arguments).expect(0).stdout);
    let json: serde_json::Value = serde_json::from_str(&once).unwrap();
    assert_eq!(json["scenarios"][0]["scenario"], "miners");
}

#[test]
fn a_log_is_weighed_against_work_and_claims() {
    let stage = Stage::new();
    let path = stage.write("log.csv", log().as_bytes());
    let profile = stage.argument("p.json");
    stage
        .run(&["calibrate", "-m", "m", "--log", &path, "--tokens-per-second", "100", "-o", &profile])
        .expect(0);
    let weigh = |tokens: &str, more: &[&str], code: i32| {
        let mut arguments =
            vec!["weigh", &path, "--profile", &profile, "--tokens", tokens, "--load", "70..590", "--json"];
        arguments.extend(more);
        stage.run(&arguments).expect(code).json()
    };
    // 520 s at 100 tokens a second.
    let right = weigh("52000", &[], 4);
    assert_eq!(right["conclusion"], "LeansFor", "{right}");
    assert_eq!(right["windows"].as_array().unwrap().len(), 8);
    for wrong in ["26000", "104000"] {
        assert_eq!(weigh(wrong, &[], 4)["conclusion"], "LeansAgainst", "meters alone never reject");
    }
    let claim = stage.claim(&stage.tiny(), &[]);
    assert_eq!(weigh("52000", &["--claim", &claim], 0)["conclusion"], "Accept");
    assert_eq!(weigh("104000", &["--claim", &claim], 0)["conclusion"], "AcceptElsewhere");
    let mut lie = protocol::Claim::decode(&fs::read(&claim).unwrap()).unwrap();
    lie.output_ids[0] ^= 1;
    let lie = stage.write("lie.claim", &lie.encode());
    assert_eq!(weigh("52000", &["--claim", &lie], 3)["conclusion"], "Reject");
    // The first four minutes again and again.
    let first: Vec<String> =
        log().lines().skip(1).take(240).map(|line| line.split(',').next_back().unwrap().to_owned()).collect();
    let again = |second: usize| {
        format!("2026-11-01 10:{:02}:{:02}.000,{}\n", second / 60, second % 60, first[second % 240])
    };
    let replayed = stage.write(
        "again.csv",
        format!("timestamp,power.draw [W]\n{}", (0..600).map(again).collect::<String>()).as_bytes(),
    );
    let arguments =
        ["weigh", &replayed, "--profile", &profile, "--tokens", "52000", "--load", "320..470", "--json"];
    let ran = stage.run(&arguments).expect(4).json();
    assert_eq!(ran["windows"][0]["seen_before"], true, "{ran}");
    assert_ne!(ran["conclusion"], "LeansFor");
    stage.run(&["weigh", &path, "--profile", &path, "--tokens", "1"]).expect(1);
    stage.run(&["weigh", &path, "--profile", &profile, "--tokens", "1", "--load", "1..5"]).expect(2);
}
