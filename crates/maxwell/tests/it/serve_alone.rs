//! `maxwell serve --model`: the OpenAI API without a gateway, on a tiny model.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::program::{NONCE, Stage, read_claim};
use crate::running::Running;

const TEXT: &str = "the end";

fn body(more: Value) -> Value {
    let mut body = json!({ "model": "tiny", "temperature": 0, "max_tokens": 12,
        "messages": [{ "role": "user", "content": TEXT }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The text that `maxwell generate` writes for the same prompt, whose settings are the same.
fn generated(stage: &Stage, model: &str) -> String {
    let path = stage.argument("greedy.claim");
    stage
        .run(&[
            "generate",
            "-m",
            model,
            "-p",
            TEXT,
            "-n",
            "12",
            "--temperature",
            "0",
            "--nonce",
            NONCE,
            "--claim",
            &path,
        ])
        .expect(0);
    String::from_utf8_lossy(&read_claim(&path).output_bytes).into_owned()
}

#[test]
fn answers_are_those_of_the_engine_whole_and_streamed() {
    let stage = Stage::new();
    let model = stage.tiny();
    let expected = generated(&stage, &model);
    let server = Running::start(stage, &["serve", "-m", &model, "--port", "0"]);
    let (head, whole) = server.post("/v1/chat/completions", &body(json!({})));
    assert!(head.starts_with("http/1.1 200") && !head.contains("x-maxwell-receipt"), "{head} {whole}");
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(expected.starts_with(text) && !text.is_empty(), "{text:?} of {expected:?}");
    let streamed = body(json!({ "stream": true, "stream_options": { "include_usage": true } })).to_string();
    let stream = server.send(&format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{streamed}",
        streamed.len()
    ));
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    let events: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let events: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let joined: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(joined, text);
    assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
    // Log-probabilities change nothing else, and are those of the same tokens.
    let (_, with) =
        server.post("/v1/chat/completions", &body(json!({ "logprobs": true, "top_logprobs": 2 })));
    let with: Value = serde_json::from_str(&with).unwrap();
    assert_eq!(with["choices"][0]["message"], whole["choices"][0]["message"]);
    let content = with["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert!(!content.is_empty() && content.iter().all(|token| token["top_logprobs"][1]["logprob"].is_f64()));
    // Control tokens have a name and no text.
    let texts = content.iter().filter(|token| !token["token"].as_str().unwrap().starts_with("<|"));
    let bytes = texts.flat_map(|token| token["bytes"].as_array().unwrap());
    let bytes: Vec<u8> = bytes.map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[test]
fn what_is_wrong_is_refused_by_name() {
    let stage = Stage::new();
    let model = stage.tiny();
    let server = Running::start(stage, &["serve", "-m", &model, "--port", "0"]);
    for (more, status, word) in [
        (json!({ "model": "other" }), 404, "other"),
        (json!({ "tools": [] }), 400, "tools"),
        (json!({ "messages": [{ "role": "user", "content": "x ".repeat(4000) }] }), 400, "context"),
    ] {
        let (head, answer) = server.post("/v1/chat/completions", &body(more));
        assert!(head.starts_with(&format!("http/1.1 {status}")) && answer.contains(word), "{head} {answer}");
    }
    assert!(server.get("/v1/models").1.contains("commitment"));
    assert!(server.get("/health").1.contains("alone"));
    assert!(server.get("/v1/receipts/0000000000000000").0.starts_with("http/1.1 404"));
}

#[test]
fn a_server_is_behind_a_gateway_or_alone() {
    let stage = Stage::new();
    stage.run(&["serve"]).expect(2);
    stage.run(&["serve", "-m", "tiny", "--link", "x"]).expect(2);
    stage.run(&["serve", "-m", "tiny", "--cheat", "tamper"]).expect(2);
}
