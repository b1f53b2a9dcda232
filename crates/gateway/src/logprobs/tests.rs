//! Both of OpenAI's forms, exact numbers, and tokens that are no text.

use super::*;

fn shown(bytes: &[u8], below: u32, start: usize) -> ShownLogprobs {
    let top = vec![(b"a".to_vec(), 751_347), (vec![0xff], 1_000_001)];
    ShownLogprobs { chosen: (bytes.to_vec(), below), top, start, start_characters: start }
}

#[test]
fn a_conversation() {
    let one = |token: &str, logprob: f64, bytes: &[u8]| json!({ "token": token, "logprob": logprob, "bytes": bytes });
    let mut token = one("ß", 0.0, &[0xc3, 0x9f]);
    token["top_logprobs"] = json!([one("a", -0.751347, b"a"), one("\u{fffd}", -1.000001, &[0xff])]);
    assert_eq!(
        logprobs_json(true, &[shown("ß".as_bytes(), 0, 0)]),
        json!({ "content": [token], "refusal": null })
    );
    // The largest is written in full, and zero has no sign.
    assert_eq!(number(u32::MAX).to_string(), "-4294.967295");
    assert_eq!(number(0).to_string(), "0.0");
}

#[test]
fn a_text() {
    let top = json!({ "a": -0.751347, "bytes:\\xff": -1.000001 });
    let mut with_itself = top.clone();
    with_itself["b"] = json!(-2.0);
    assert_eq!(
        logprobs_json(false, &[shown(b"a", 751_347, 0), shown(b"b", 2_000_000, 1)]),
        json!({
            "tokens": ["a", "b"],
            "token_logprobs": [-0.751347, -2.0],
            "top_logprobs": [top, with_itself],
            "text_offset": [0, 1],
        })
    );
}
