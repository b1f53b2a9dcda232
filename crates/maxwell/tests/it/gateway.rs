//! `maxwell gateway` as an operator runs it: the real binary with a tiny model, its own server, and real signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use protocol::FinishReason;
use protocol::fingerprint::LogitFingerprint;
use protocol::link::{FromServer, ToServer, frame, readback_digest};
use serde_json::{Value, json};

use crate::program::{Ran, Stage};

/// Longest wait for anything.
pub(crate) const WAIT: Duration = Duration::from_secs(120);

/// A folder with everything that a gateway needs, made with the commands that make it.
pub(crate) fn prepared() -> Stage {
    let stage = Stage::new();
    let (model, list) = (stage.tiny(), stage.argument("whitelist.cbor"));
    for name in ["alice.key", "bob.key", "gateway.key"] {
        stage.run(&["keygen", &stage.argument(name)]).expect(0);
    }
    stage.run(&["whitelist", "add", &model, "--file", &list]).expect(0);
    for name in ["alice.key", "bob.key"] {
        stage.run(&["whitelist", "sign", "--file", &list, "--key", &stage.argument(name)]).expect(0);
    }
    stage
}

/// A configuration with lines at its top and at its end.
pub(crate) fn config(stage: &Stage, top: &str, end: &str) -> String {
    let text = format!(
        "address = \"127.0.0.1:0\"\nmodel = \"tiny\"\nweights = \"tiny.gguf\"\nreceipt_key = \"gateway.key\"\n{top}\n\
         [whitelist]\nfile = \"whitelist.cbor\"\nparties = [\"alice.key.pub\", \"bob.key.pub\"]\n\
         [log]\nfolder = \"data\"\n[audit]\nrate_ppm = 1000000\n{end}\n"
    );
    // As an editor that replaces the file whole.
    let written = stage.write("gateway.toml.new", text.as_bytes());
    fs::rename(written, stage.path("gateway.toml")).unwrap();
    stage.argument("gateway.toml")
}

/// A server section that starts the real one.
pub(crate) fn server() -> String {
    let program = env!("CARGO_BIN_EXE_maxwell");
    format!("[server]\ncommand = [{program:?}, \"--quiet\", \"serve\", \"--link\", \"{{link}}\"]")
}

pub(crate) fn key(stage: &Stage, name: &str, more: &[&str]) -> String {
    let file = stage.argument("keys.json");
    let json = stage.run(&[&["gateway", "keys", "add", name, "--file", &file, "--json"], more].concat());
    json.expect(0).json()["key"].as_str().unwrap().to_owned()
}

/// A running gateway; it is killed at the end if it has not ended.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: String,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Gateway {
    pub(crate) fn start(stage: &Stage, config: &str, more: &[&str]) -> Self {
        let mut command = stage.command(&stage.home());
        command.args(["gateway", "--config", config, "--json", "--log-format", "json"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let mut gateway = Self { child, address: String::new(), lines, seen: Vec::new() };
        let listening = gateway.until(|event| event["message"] == "listening");
        gateway.address = listening["address"].as_str().unwrap().to_owned();
        gateway
    }

    /// With its server up.
    pub(crate) fn serving(stage: &Stage, config: &str) -> Self {
        let mut gateway = Self::start(stage, config, &[]);
        gateway.until(|event| event["mode"] == "serving");
        gateway
    }

    /// Waits for a line of the log; each is one JSON object.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + WAIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("it does not come: {:#?}", self.seen)
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            self.seen.push(line);
            if wanted(&event) {
                return event;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Until it ends by itself.
    pub(crate) fn end(mut self) -> Ran {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap();
        self.seen.extend(self.lines.iter());
        Ran { code, stdout, stderr: std::mem::take(&mut self.seen).join("\n") }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        read(self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")))
    }

    fn asking(&self, key: &str, fields: &Value) -> TcpStream {
        let mut body = json!({ "model": "tiny", "prompt": "the end", "max_tokens": 8, "temperature": 0.8 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let body = body.to_string();
        self.send(&format!(
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn ask(&self, key: &str) -> String {
        read(self.asking(key, &json!({})))
    }

    /// Waits until a key is taken, or not any more: a reload takes a moment.
    fn wait_for_key(&self, key: &str, status: u16) {
        let head =
            format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}");
        let began = Instant::now();
        loop {
            let answer = read(self.send(&format!("{head}\r\n\r\n")));
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                return;
            }
            assert!(began.elapsed() < WAIT, "{status} does not come: {answer}");
        }
    }

    /// Waits until nobody new is let in: closing takes a moment.
    fn wait_until_closed(&self) {
        let began = Instant::now();
        while TcpStream::connect(&self.address).is_ok() {
            assert!(began.elapsed() < WAIT, "still open");
        }
    }

    fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn check_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

fn audit(stage: &Stage) -> Value {
    stage.run(&["log", "audit-sampling", &stage.argument("data"), "--json"]).expect(0).json()
}

#[test]
fn a_whole_life_with_a_server_of_its_own() {
    let stage = prepared();
    let secret = key(&stage, "alice", &["--requests-per-minute", "3"]);
    let path = config(&stage, "api_keys = \"keys.json\"", &server());
    let gateway = Gateway::serving(&stage, &path);
    check_status(&gateway.ask("wrong"), 401);
    for left in [2, 1] {
        let answer = gateway.ask(&secret);
        check_status(&answer, 200);
        assert!(answer.contains(&format!("x-ratelimit-remaining-requests: {left}\r\n")), "{answer}");
    }
    assert_eq!(gateway.metric("maxwell_time_to_first_token_seconds_count"), 2);
    assert_eq!(gateway.metric("maxwell_rejected_total{reason=\"api_key\"}"), 1);
    // The log and the sockets are there while it runs, and a second gateway is refused.
    let second = stage.run(&["gateway", "--config", &path]).expect(1);
    assert!(second.stderr.contains("another gateway"), "{second:?}");
    gateway.signal("-TERM");
    let ran = gateway.end().expect(0);
    assert_eq!((&ran.json()["status"]["answers"], &ran.json()["status"]["sampled"]), (&2.into(), &2.into()));
    assert!(!stage.path("data/link").exists() && !stage.path("data/lease").exists());
    let json = audit(&stage);
    assert_eq!((&json["answers"], &json["picked"], &json["revealed"]), (&2.into(), &2.into(), &true.into()));
    assert!(!ran.stderr.contains(&secret), "a key is in the log");
    // The same folder goes on, and what waits for recomputation is there again.
    let gateway = Gateway::serving(&stage, &path);
    assert_eq!(gateway.metric("maxwell_backlog"), 2);
    gateway.signal("-INT");
    gateway.end().expect(0);
}

#[test]
fn a_server_may_connect_by_itself_and_a_recomputer_too() {
    let stage = prepared();
    let path = config(&stage, "", "");
    let mut gateway = Gateway::start(&stage, &path, &[]);
    check_status(&gateway.get("/health"), 503);
    check_status(&gateway.ask("any"), 503);
    let spawn = |arguments: &[&str]| {
        let mut command = stage.command(&stage.home());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut server = spawn(&["serve", "--link", &stage.argument("data/link")]);
    gateway.until(|event| event["mode"] == "serving");
    check_status(&gateway.ask("any"), 200);
    let mut recomputer =
        spawn(&["recompute", "--gateway", &stage.argument("data/lease"), "-m", &stage.argument("tiny.gguf")]);
    let began = Instant::now();
    while gateway.metric("maxwell_recomputed_pass_total") == 0 {
        assert!(began.elapsed() < WAIT, "it is not recomputed");
    }
    // A second server has no place.
    assert!(UnixStream::connect(stage.path("data/link")).is_err());
    // The server is gone: that is a kill, and the gateway stays to show it.
    server.kill().unwrap();
    server.wait().unwrap();
    gateway.until(|event| event["mode"] == "killed");
    check_status(&gateway.ask("any"), 503);
    assert_eq!(gateway.metric("maxwell_kill_reason{reason=\"gone\"}"), 1);
    gateway.signal("-TERM");
    let ran = gateway.end().expect(1);
    assert_eq!(ran.json()["status"]["killed"], "gone");
    recomputer.wait().unwrap();
}

#[test]
fn a_gateway_that_waits_for_its_server_can_be_stopped() {
    let stage = prepared();
    let gateway = Gateway::start(&stage, &config(&stage, "", ""), &[]);
    gateway.signal("-TERM");
    let ran = gateway.end().expect(0);
    assert_eq!(ran.json()["status"]["answers"], 0);
    assert_eq!(audit(&stage)["revealed"], true);
}

#[test]
fn a_server_that_cannot_be_started_is_an_error() {
    let stage = prepared();
    let path = config(&stage, "", "[server]\ncommand = [\"no-such-program\"]");
    let ran = stage.run(&["gateway", "--config", &path]).expect(1);
    assert!(ran.stderr.contains("server.command: can't start no-such-program"), "{ran:?}");
}

#[test]
fn keys_limits_and_timeouts_change_while_it_runs_and_nothing_else() {
    let stage = prepared();
    let first = key(&stage, "first", &[]);
    let path = config(&stage, "api_keys = \"keys.json\"", &server());
    let mut gateway = Gateway::serving(&stage, &path);
    check_status(&gateway.ask(&first), 200);
    // A new key, and one that is taken back.
    let second = key(&stage, "second", &["--requests-per-minute", "100"]);
    gateway.wait_for_key(&second, 200);
    let file = stage.argument("keys.json");
    stage.run(&["gateway", "keys", "revoke", "first", "--file", &file]).expect(0);
    gateway.wait_for_key(&first, 401);
    let (ok, failed) = ("maxwell_reloads_total{result=\"ok\"}", "maxwell_reloads_total{result=\"failed\"}");
    assert_eq!((gateway.metric(ok), gateway.metric(failed)), (2, 0));
    // What is wrong is refused whole, and all stays as it is.
    let third = key(&stage, "third", &[]);
    gateway.wait_for_key(&third, 200);
    for (top, end, says) in [
        ("api_keys = \"keys.json\"\nno_such_field = 1", "", "no_such_field"),
        ("api_keys = \"no-such-file\"", &*server(), "no-such-file"),
        (
            "api_keys = \"keys.json\"",
            &*format!("floor_ppm = 500\n{}", server()),
            "audit.floor_ppm can't change",
        ),
        ("api_keys = \"keys.json\"", "", "server.command can't change"),
    ] {
        config(&stage, top, end);
        gateway.until(|event| event["error"].as_str().is_some_and(|error| error.contains(says)));
        check_status(&gateway.ask(&third), 200);
    }
    assert_eq!((gateway.metric(ok), gateway.metric(failed)), (3, 4));
    // A limit for keys without their own, at once and at a signal.
    config(&stage, "api_keys = \"keys.json\"", &format!("{}\n[limits]\nrequests_per_minute = 1", server()));
    gateway.signal("-HUP");
    gateway.until(|event| event["message"] == "configuration reloaded");
    check_status(&gateway.ask(&third), 200);
    let answer = gateway.ask(&third);
    check_status(&answer, 429);
    assert!(
        answer.contains("x-ratelimit-limit-requests: 1\r\n") && answer.contains("retry-after: "),
        "{answer}"
    );
    check_status(&gateway.ask(&second), 200);
    gateway.signal("-TERM");
    gateway.end().expect(0);
}

/// A server that the test plays, so that it answers when the test wants.
struct Played {
    stream: UnixStream,
    tag: u64,
}

impl Played {
    /// Up to the first request.
    fn boot(stage: &Stage) -> Self {
        let stream = UnixStream::connect(stage.path("data/link")).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut server = Self { stream, tag: 0 };
        let mut weights = Vec::new();
        let ToServer::Weights { bytes } = server.receive() else { panic!("no weights") };
        while weights.len() < usize::try_from(bytes).unwrap() {
            let ToServer::Group { bytes } = server.receive() else { panic!("no group") };
            weights.extend(bytes);
        }
        server.say(FromServer::Ready);
        let ToServer::Readback { challenge, key, ranges } = server.receive() else { panic!("no challenge") };
        let digest = readback_digest(&weights, &key, &ranges).unwrap();
        server.say(FromServer::Readback { challenge, digest });
        server
    }

    fn receive(&mut self) -> ToServer {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut bytes).unwrap();
        ToServer::decode(&bytes).unwrap()
    }

    fn say(&mut self, message: FromServer) {
        self.stream.write_all(&frame(&message.encode())).unwrap();
    }

    /// Takes a request and gives its first token.
    fn begin(&mut self) {
        let ToServer::Generate { tag, .. } = self.receive() else { panic!("no request") };
        self.tag = tag;
        self.token();
    }

    fn token(&mut self) {
        let fingerprint = LogitFingerprint::new(1, 2).unwrap();
        self.say(FromServer::Token { tag: self.tag, id: 97, fingerprint, logprobs: None });
    }
}

/// A gateway with a played server and an answer that has begun.
fn with_an_answer_that_runs(stage: &Stage, end: &str) -> (Gateway, Played, BufReader<TcpStream>) {
    let mut gateway = Gateway::start(stage, &config(stage, "", end), &[]);
    let mut server = Played::boot(stage);
    gateway.until(|event| event["mode"] == "serving");
    let client = gateway.asking("any", &json!({ "stream": true, "max_tokens": 2 }));
    server.begin();
    let mut client = BufReader::new(client);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(client.read_line(&mut line).unwrap() > 0, "no first token");
    }
    (gateway, server, client)
}

fn rest(mut client: BufReader<TcpStream>) -> String {
    let mut rest = String::new();
    // An answer that is cut off may end with an error.
    let _ = client.read_to_string(&mut rest);
    rest
}

#[test]
fn a_stop_finishes_the_answers_that_run() {
    let stage = prepared();
    let (mut gateway, mut server, client) = with_an_answer_that_runs(&stage, "");
    gateway.signal("-TERM");
    gateway.until(|event| event["message"] == "draining");
    gateway.wait_until_closed();
    server.token();
    server.say(FromServer::Finished { tag: server.tag, finish: FinishReason::Length });
    assert!(rest(client).contains("data: [DONE]"));
    let ran = gateway.end().expect(0);
    assert_eq!(ran.json()["status"]["answers"], 1);
    assert!(!ran.stderr.contains("cut off"), "{}", ran.stderr);
    assert_eq!(audit(&stage)["findings"], json!([]));
}

fn check_cut(end: &str, second_signal: bool) {
    let stage = prepared();
    let (mut gateway, mut server, client) = with_an_answer_that_runs(&stage, end);
    gateway.signal("-TERM");
    gateway.until(|event| event["message"] == "draining");
    if second_signal {
        gateway.signal("-TERM");
    }
    assert_eq!(server.receive(), ToServer::Cancel { tag: server.tag });
    server.say(FromServer::Finished { tag: server.tag, finish: FinishReason::ReaderLeft });
    assert!(!rest(client).contains("[DONE]"), "no gap is followed by a proper end");
    let ran = gateway.end().expect(0);
    // What was delivered is written down, and before the end of the log.
    assert_eq!(ran.json()["status"]["answers"], 1);
    let json = audit(&stage);
    assert_eq!(
        (&json["answers"], &json["revealed"], &json["findings"]),
        (&1.into(), &true.into(), &json!([]))
    );
}

#[test]
fn a_stop_does_not_wait_forever() {
    check_cut("[timeouts]\ndrain_ms = 50", false);
}

#[test]
fn a_second_signal_does_not_wait() {
    check_cut("[timeouts]\ndrain_ms = 600000", true);
}

#[test]
fn a_cheating_server_is_killed_and_the_exit_code_says_so() {
    let stage = prepared();
    let server = server().replace("\"--link\"", "\"--cheat\", \"tamper\", \"--link\"");
    let mut gateway = Gateway::serving(&stage, &config(&stage, "", &server));
    let lease = stage.argument("data/lease");
    let mut recomputer = stage.command(&stage.home());
    recomputer.args(["recompute", "--gateway", &lease, "-m", &stage.argument("tiny.gguf")]);
    let mut recomputer = recomputer.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    check_status(&gateway.ask("any"), 200);
    gateway.until(|event| event["mode"] == "killed");
    assert_eq!(gateway.metric("maxwell_kill_reason{reason=\"audit\"}"), 1);
    check_status(&gateway.ask("any"), 503);
    gateway.signal("-TERM");
    let ran = gateway.end().expect(3);
    assert_eq!(ran.json()["status"]["alarm"]["reason"], "output_token");
    recomputer.wait().unwrap();
}

#[test]
fn a_check_says_what_is_wrong_and_starts_nothing() {
    let stage = prepared();
    key(&stage, "alice", &[]);
    let path = config(&stage, "api_keys = \"keys.json\"", &server());
    let check = |code: i32| stage.run(&["gateway", "--config", &path, "--check", "--json"]).expect(code);
    let json = check(0).json();
    assert_eq!(
        (&json["model"], &json["api_keys"], &json["new_log"]),
        (&"tiny".into(), &1.into(), &true.into())
    );
    assert!(!stage.path("data").exists(), "a check makes nothing");
    let wrong = |top: &str, end: &str, says: &str| {
        config(&stage, top, end);
        let ran = check(1);
        assert!(ran.json()["error"].as_str().is_some_and(|error| error.contains(says)), "{says}: {ran:?}");
        config(&stage, "", "");
    };
    wrong("api_keys = \"gateway.key\"", "", "no file of API keys");
    wrong("", "[sockets]\nlink = \"x\"\nrecomputers = \"x\"", "the same");
    wrong("", &format!("[sockets]\nlink = \"{}\"", "x".repeat(108)), "shorter");
    let change = |from: &str, to: &str, says: &str| {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(from, to)).unwrap();
        let ran = check(1);
        assert!(ran.json()["error"].as_str().is_some_and(|error| error.contains(says)), "{says}: {ran:?}");
        fs::write(&path, text).unwrap();
    };
    change("\"bob.key.pub\"", "\"gateway.key.pub\"", "has not signed");
    change("\"bob.key.pub\"", "\"alice.key.pub\"", "two different keys");
    change("\"bob.key.pub\"", "\"no.pub\"", "no.pub");
    change("\"tiny\"", "\"other\"", "other");
    change("parties", "lowest_version = 2\nparties", "version 2 was seen");
    change("\"tiny.gguf\"", "\"bob.key\"", "it is another file");
    change("\"tiny.gguf\"", "\"no.gguf\"", "no.gguf");
    change("\"gateway.key\"", "\"gateway.key.pub\"", "receipt_key");
    change("[audit]", "[audits]", "audits");
    for ending in ["tokenizer", "outboard"] {
        let found = fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().path());
        let file =
            found.into_iter().find(|path| path.extension().is_some_and(|found| found == ending)).unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[1..]).unwrap();
        assert!(check(1).stderr.contains(ending));
        fs::remove_file(&file).unwrap();
        assert!(check(1).stderr.contains("copy it along"));
        fs::write(&file, bytes).unwrap();
    }
    check(0);
    // A log without its key.
    fs::create_dir_all(stage.path("data/log")).unwrap();
    assert!(check(1).stderr.contains("without it nobody can read the log"));
    // The wrong way to call it.
    stage.run(&["gateway"]).expect(2);
    stage.run(&["gateway", "--config", &stage.argument("none.toml")]).expect(1);
}

#[test]
fn keys_are_made_listed_and_taken_back() {
    let stage = Stage::new();
    let file = stage.argument("keys.json");
    let keys = |arguments: &[&str], code: i32| {
        stage.run(&[&["gateway", "keys"], arguments, &["--file", &file, "--json"]].concat()).expect(code)
    };
    keys(&["list"], 1);
    let made = keys(&["add", "alice", "--requests-per-minute", "5"], 0).json();
    let secret = made["key"].as_str().unwrap();
    assert_eq!((secret.len(), &secret[..5], &made["requests_per_minute"]), (69, "mxak1", &5.into()));
    let plain = stage.run(&["gateway", "keys", "add", "bob", "--file", &file]).expect(0).stdout;
    assert!(plain.starts_with("mxak1") && plain.trim() != secret, "the key alone, for a script");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(secret) && !text.contains(plain.trim()));
    let before = text;
    assert!(keys(&["add", "alice"], 1).stderr.contains("there is a key \"alice\" already"));
    keys(&["add", "a b"], 1);
    keys(&["add", "carol", "--tokens-per-minute", "0"], 2);
    keys(&["revoke", "carol"], 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(keys(&["revoke", "bob"], 0).json()["changed"], true);
    assert_eq!(keys(&["revoke", "bob"], 0).json()["changed"], false);
    let list = keys(&["list"], 0);
    assert_eq!(
        list.json()["keys"],
        json!([
            { "name": "alice", "requests_per_minute": 5, "tokens_per_minute": null, "revoked": false },
            { "name": "bob", "requests_per_minute": null, "tokens_per_minute": null, "revoked": true },
        ])
    );
    let shown = stage.run(&["gateway", "keys", "list", "--file", &file]).expect(0).stdout;
    assert!(shown.contains("alice") && shown.contains("revoked"), "{shown}");
}

/// Changes at the same time do not lose each other.
#[test]
fn keys_that_are_made_together_are_all_there() {
    let stage = Stage::new();
    let file = stage.argument("keys.json");
    let children: Vec<Child> = (0..8)
        .map(|index| {
            let mut command = stage.command(&stage.home());
            command.args(["gateway", "keys", "add", &format!("key{index}"), "--file", &file]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = stage.run(&["gateway", "keys", "list", "--file", &file, "--json"]).expect(0).json();
    assert_eq!(list["keys"].as_array().unwrap().len(), 8);
}
