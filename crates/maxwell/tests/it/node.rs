//! The node with real processes: an honest agent is paid, one that mines beside its inference is throttled or stopped for
//! what it burned, one that claims what it did not compute loses its stake, one that hides its work is charged all the same,
//! and nothing outlives a node that is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::Value;

use crate::program::Stage;

pub(crate) fn agent<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["agents"].as_array().unwrap().iter().find(|agent| agent["agent"] == name).unwrap()
}

#[test]
fn honest_agents_are_paid_miners_and_liars_are_caught() {
    let stage = Stage::new();
    let model = stage.tiny();
    let mut arguments =
        vec!["node", "-m", &model, "--epochs", "9", "--epoch-seconds", "1", "--cpu-seconds", "5"];
    arguments.extend(["--data", "n", "--agent", "alice", "--agent", "bob=maxwell agent --mine 2"]);
    arguments.extend(["--agent", "carol=maxwell agent --lie", "--json"]);
    let ran = stage.run(&arguments).expect(0);
    let report = ran.json();
    let alice = agent(&report, "alice");
    assert!(alice["paid_tokens"].as_u64().unwrap() > 0, "{ran:?}");
    assert_eq!(alice["false_claims"], 0);
    assert_eq!(agent(&report, "carol")["state"], "stopped: false claim", "{ran:?}");
    let bob = agent(&report, "bob");
    assert!(["throttled", "stopped: wallet empty"].contains(&bob["state"].as_str().unwrap()), "{ran:?}");
    assert!(bob["unexplained_seconds"].as_f64() > alice["unexplained_seconds"].as_f64(), "{ran:?}");

    let statement = stage.run(&["node", "statement", "bob", "--data", "n", "--json"]).expect(0).json();
    let lines = statement["lines"].as_array().unwrap();
    let charged = lines.iter().filter(|line| line["what"] == "charged" && line["asset"] == "joules");
    let charged: i64 = charged.map(|line| line["change_millionths"].as_i64().unwrap()).sum();
    let locked = lines.iter().filter(|line| line["what"] == "locked for a job").count();
    assert!(charged < 0 || locked > 0, "{statement}");
    stage.run(&["node", "statement", "nobody", "--data", "n"]).expect(1);
}

/// A shell whose work leaves its family: all of it has to be charged, and to end with the node.
const RUNAWAY: &str = "eve=(setsid sh -c 'while :; do :; done' &); sleep 1000";

#[test]
fn what_an_agent_hides_is_charged_and_ends_with_the_node() {
    let stage = Stage::new();
    let model = stage.tiny();
    let home = stage.home();
    let mut command = stage.command(&home);
    command.args(["node", "-m", &model, "--epoch-seconds", "0.5", "--cpu-seconds", "2", "--data", "n"]);
    command.args(["--agent", RUNAWAY, "--epochs", "40"]);
    let mut node = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // It has never said hello, and burns what it was paid all the same.
    let lines = BufReader::new(node.stderr.take().unwrap()).lines().map_while(Result::ok);
    let stopped = lines.into_iter().find(|line| line.contains("eve is stopped: its wallet is empty"));
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(stopped.is_some());
    // A second node takes the ledger of the first, which had no time to end well.
    let again =
        ["node", "-m", &model, "--epochs", "1", "--epoch-seconds", "0.5", "--data", "n", "--agent", "alice"];
    stage.run(&again).expect(0);
}

/// Processes with this word in their command.
fn with(word: &str) -> Vec<String> {
    let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).into_owned())
    });
    commands.filter(|command| command.contains(word)).collect()
}

#[test]
fn an_agent_that_ends_its_keeper_does_not_get_away() {
    let stage = Stage::new();
    let model = stage.tiny();
    // A word that no other test has.
    let word = stage.argument("runaway");
    let agent =
        format!("eve=kill -9 $PPID; (setsid sh -c 'while :; do :; done; : {word}' &); while :; do :; done");
    let arguments =
        ["node", "-m", &model, "--epochs", "4", "--epoch-seconds", "0.5", "--data", "n", "--agent", &agent];
    let ran = stage.run(&arguments).expect(0);
    assert!(ran.stderr.contains("eve: its processes ended"), "{ran:?}");
    assert_eq!(with(&word), Vec::<String>::new());
}

#[test]
fn a_socket_is_for_its_own_agent_and_refuses_nonsense() {
    let stage = Stage::new();
    let model = stage.tiny();
    let home = stage.home();
    let mut command = stage.command(&home);
    command.args(["node", "-m", &model, "--data", "n", "--agent", "eve=sleep 1000", "--epochs", "40"]);
    let mut node = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(node.stderr.take().unwrap()).lines().map_while(Result::ok);
    // The terms are told when all sockets are there.
    assert!(lines.any(|line| line.contains("a job: ")));
    let folder = stage.path("cwd").join("n/run/eve");
    // We are not of its family.
    let connect = |name: &str| UnixStream::connect(folder.join(name)).unwrap();
    let mut stranger = connect("v.sock");
    stranger.write_all(b"CONNECT 5252\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stranger).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("OK 5252\n") && answer.contains("another agent"), "{answer}");
    for greeting in [&b"CONNECT 1\n"[..], b"GET / HTTP/1.1\n", &[b'x'; 100]] {
        let mut stream = connect("v.sock");
        stream.write_all(greeting).unwrap();
        let mut answer = Vec::new();
        // Closed, or reset because we sent more than was read.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    let busy = stage.run(&["node", "-m", &model, "--data", "n", "--agent", "alice"]).expect(1);
    assert!(busy.stderr.contains("another process has the ledger open"), "{busy:?}");
    node.kill().unwrap();
    node.wait().unwrap();
}

#[test]
fn a_hot_chassis_prices_out_what_can_wait() {
    let stage = Stage::new();
    let model = stage.tiny();
    let root = stage.path("root/sys/class/hwmon/hwmon0");
    std::fs::create_dir_all(&root).unwrap();
    let root_argument = stage.argument("root");
    let tokens = |degrees: &str, data: &str| {
        std::fs::write(root.join("temp1_input"), degrees).unwrap();
        let mut arguments =
            vec!["node", "-m", &model, "--epochs", "3", "--epoch-seconds", "1", "--data", data];
        arguments.extend(["--agent", "alice", "--agent", "dora=maxwell agent --background"]);
        arguments.extend(["--root", &root_argument, "--json"]);
        let report = stage.run(&arguments).expect(0).json();
        assert_eq!(report["priced_celsius"].as_f64().unwrap() * 1e3, degrees.parse::<f64>().unwrap());
        ["alice", "dora"].map(|name| agent(&report, name)["paid_tokens"].as_u64().unwrap() > 0)
    };
    assert_eq!(tokens("94000", "hot"), [true, false]);
    assert_eq!(tokens("60000", "cool"), [true, true]);
}

#[test]
fn arguments_that_make_no_sense() {
    let stage = Stage::new();
    let model = stage.tiny();
    let cases: [(&[&str], &str); 6] = [
        (&["node", "-m", "x"], "--agent"),
        (&["node", "--agent", "alice"], "--model"),
        (&["node", "-m", &model, "--agent", "Alice"], "a-z"),
        (&["node", "-m", &model, "--agent", "a", "--agent", "a"], "same name"),
        (&["node", "-m", &model, "--agent", "a", "--epoch-seconds", "0"], "0.5"),
        (&["node", "-m", &model, "--agent", "a", "--tokens", "5000"], "tokens"),
    ];
    for (arguments, word) in cases {
        let ran = stage.run(arguments).expect(2);
        assert!(ran.stderr.contains(word), "{ran:?}");
    }
    let profile = stage.write("p.json", b"{}");
    let ran = stage.run(&["node", "-m", &model, "--agent", "a", "--profile", &profile]).expect(1);
    assert!(ran.stderr.contains("is no profile"), "{ran:?}");
    stage.run(&["node", "statement", "alice", "--data", "empty"]).expect(1);
}
