//! Other people's clients and servers with a gateway as an operator runs it: the official `openai` package, curl,
//! llama.cpp. Must never be left out unseen: without them the tests say so, and `cargo xtask test` installs what Python needs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::gateway::{Gateway, config, key, prepared, server};
use crate::program::Stage;
use crate::running::Running;

/// The environment that `cargo xtask test` makes from `tests/clients/requirements.txt`.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv/bin/python");
    if python.is_file() { Some(python) } else { skip("`cargo xtask test` installs the Python clients") }
}

fn curl() -> Option<PathBuf> {
    let found = Command::new("curl").arg("--version").stdout(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) { Some("curl".into()) } else { skip("curl is missing") }
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests should see that some were left out")]
fn skip(reason: &str) -> Option<PathBuf> {
    println!("SKIPPED: tests with other people's clients are left out: {reason}");
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a program that reads this.
fn run(command: &mut Command, input: &str) -> Output {
    // Nothing here may go through a proxy.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Its standard output, if it succeeded.
fn succeed(command: &mut Command, input: &str) -> String {
    let output = run(command, input);
    assert!(output.status.success(), "{command:?}: {output:#?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A gateway with a key without limits and one for a single request.
fn gateway() -> (Stage, Gateway, [String; 2]) {
    let stage = prepared();
    let good = key(&stage, "good", &[]);
    let limited = key(&stage, "limited", &["--requests-per-minute", "1"]);
    let path = config(&stage, "api_keys = \"keys.json\"", &server());
    let gateway = Gateway::serving(&stage, &path);
    (stage, gateway, [good, limited])
}

#[test]
fn the_openai_package_is_answered() {
    let Some(python) = python() else { return };
    let (_stage, gateway, keys) = gateway();
    let mut command = Command::new(python);
    command.arg(script("openai_client.py")).args([&format!("http://{}/v1", gateway.address), "tiny"]);
    let passed = succeed(&mut command, &keys.join("\n"));
    let expected = ["models", "whole", "streamed", "asynchronous", "headers", "errors", "limits"];
    assert_eq!(passed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_described_interface_is_the_one_that_is_spoken() {
    let Some(python) = python() else { return };
    let stage = prepared();
    let gateway = Gateway::serving(&stage, &config(&stage, "", &server()));
    let url = format!("http://{}/openapi.json", gateway.address);
    let mut command = Command::new(python);
    command.current_dir(stage.path("cwd")).args(["-m", "schemathesis.cli", "run", &url, "--no-color"]);
    command.args(["--seed", "20261126", "--max-examples", "40", "--phases", "examples,coverage,fuzzing"]);
    // A request may be well-formed and still too long for the context; and without keys nobody is refused for one.
    command.args([
        "--exclude-checks",
        "positive_data_acceptance,ignored_auth",
        "--generation-database",
        "none",
    ]);
    let said = succeed(&mut command, "");
    assert!(said.contains("Selected: 6/6"), "not all operations were tested: {said}");
}

/// llama.cpp's server; it ends with its standard input.
struct LlamaCpp {
    child: Child,
    address: String,
}

impl LlamaCpp {
    fn start(python: &Path, model: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(script("llama_server.py")).arg(model);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("http://")?.to_owned()));
        Self { child, address: address.expect("it says where it listens") }
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another engine behind a gateway: its clients see what they would see without it, every answer has a receipt, and
/// nothing is said about what was computed.
#[test]
fn llama_cpp_is_passed_through() {
    let Some(python) = python() else { return };
    let stage = Stage::new();
    let upstream = LlamaCpp::start(&python, &stage.tiny());
    let (key, log) = (stage.argument("gateway.key"), stage.argument("data"));
    stage.run(&["keygen", &key]).expect(0);
    let at = |name: &str| stage.argument(name);
    let public = at("gateway.key.pub");
    let (receipt, response) = (stage.path("receipt"), stage.path("response"));
    let (receipt_path, response_path) = (at("receipt"), at("response"));
    let arguments = ["pass-through", "--upstream", &upstream.address, "--address", "127.0.0.1:0"];
    let mut passing =
        Running::start(stage, &[&arguments[..], &["--receipt-key", &key, "--log", &log]].concat());
    let mut command = Command::new(&python);
    command.arg(script("pass_client.py")).arg(format!("http://{}/v1", passing.address));
    let passed = succeed(&mut command, "");
    let expected = ["models", "whole", "streamed", "asynchronous", "tools", "errors"];
    assert_eq!(passed.lines().collect::<Vec<_>>(), expected);
    // The receipt is about the bytes that came.
    let asked = json!({ "prompt": "the end", "max_tokens": 4, "n_probs": 2, "temperature": 0 });
    let (head, body) = passing.post("/v1/completions", &asked);
    assert!(body.contains("predicted_per_second"), "what only this server says is there: {body}");
    let tag = head.lines().find_map(|line| line.strip_prefix("x-maxwell-receipt: ")).unwrap().to_owned();
    let bytes = loop {
        let answer = passing.get_bytes(&format!("/v1/receipts/{tag}"));
        if !answer.is_empty() && !answer.starts_with(b"not durable") {
            break answer;
        }
    };
    std::fs::write(receipt, bytes).unwrap();
    std::fs::write(response, body).unwrap();
    let verify =
        ["receipt", "verify", &receipt_path, "--key", &public, "--response", &response_path, "--json"];
    let verified = passing.stage.run(&verify).expect(0).json();
    assert_eq!(verified["receipt"]["mode"], "pass-through", "{verified}");
    // What was picked is undecided, by the gateway's log and by its audit.
    passing.stop();
    let audited = passing.stage.run(&["log", "audit-sampling", &log, "--key", &public, "--json"]);
    let audited = audited.expect(0).json();
    assert_eq!((&audited["answers"], &audited["findings"]), (&json!(9), &json!([])), "{audited}");
    assert_eq!((&audited["unverifiable"], &audited["waiting"]), (&audited["picked"], &json!(0)));
}

/// A curl that asks for a completion; its body comes from the standard input.
fn asking(curl: &Path, gateway: &Gateway, key: &str) -> Command {
    let mut command = Command::new(curl);
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--data-binary", "@-"]);
    command.args([
        "--header",
        &format!("authorization: Bearer {key}"),
        "--header",
        "content-type: application/json",
    ]);
    command.arg(format!("http://{}/v1/completions", gateway.address));
    command
}

fn body(fields: &Value) -> String {
    let mut body = json!({ "model": "tiny", "prompt": "the end", "max_tokens": 4, "temperature": 0 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

#[test]
fn curl_is_answered() {
    let Some(curl) = curl() else { return };
    let (_stage, gateway, [key, _]) = gateway();
    let whole = succeed(asking(&curl, &gateway, &key).arg("--fail"), &body(&json!({})));
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let streamed = succeed(
        asking(&curl, &gateway, &key).args(["--fail", "--no-buffer"]),
        &body(&json!({ "stream": true })),
    );
    let events: Vec<&str> =
        streamed.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let chunks = chunks.iter().map(|chunk| serde_json::from_str::<Value>(chunk).unwrap());
    let pieces: Vec<String> =
        chunks.map(|chunk| chunk["choices"][0]["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(pieces.concat(), text);
    // A key that nobody holds: curl's exit code for an HTTP error.
    let refused = run(asking(&curl, &gateway, "nobody").arg("--fail"), &body(&json!({})));
    assert_eq!(refused.status.code(), Some(22), "{refused:?}");
}

#[test]
fn curl_keeps_its_connection_and_waits_for_the_word_to_continue() {
    let Some(curl) = curl() else { return };
    let (_stage, gateway, [key, _]) = gateway();
    // The same request twice over one connection.
    let url = format!("http://{}/v1/completions", gateway.address);
    let mut twice = asking(&curl, &gateway, &key);
    twice.args(["--write-out", "\n%{num_connects} %{http_code}\n", &url]);
    let said = succeed(&mut twice, &body(&json!({})));
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(lines, ["1 200", "0 200"], "{said}");
    // A large body: curl sends it only when the gateway says that it may.
    let large = body(&json!({ "user": "u".repeat(2 << 20) }));
    let mut continued = asking(&curl, &gateway, &key);
    continued.args(["--verbose", "--header", "expect: 100-continue", "--expect100-timeout", "50"]);
    let output = run(&mut continued, &large);
    let heard = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && heard.contains("< HTTP/1.1 100 Continue"), "{heard}");
    assert!(heard.contains("< HTTP/1.1 200 OK"), "{heard}");
    // And not at all if it says that it is too large.
    let mut refused = asking(&curl, &gateway, &key);
    refused.args(["--verbose", "--header", "expect: 100-continue", "--expect100-timeout", "50"]);
    let output = run(&mut refused, &body(&json!({ "user": "u".repeat(17 << 20) })));
    let heard = String::from_utf8(output.stderr).unwrap();
    assert!(heard.contains("< HTTP/1.1 413 ") && !heard.contains("100 Continue"), "{heard}");
}
