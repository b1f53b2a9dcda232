//! Towards clients: bodies of requests, stop sequences, events of an upstream, files of API keys.

use gateway::api_keys::{ApiKey, ApiKeys, KeyDigest};
use gateway::limits::Rates;
use gateway::openai::{Prompt, StopFilter, Wanted};
use gateway::sse::EventWatch;
use serde_json::Value;

/// The first byte chooses the endpoint. What is accepted is within all limits, and order and whitespace say nothing.
pub(crate) fn request(data: &[u8]) -> bool {
    let Some((first, body)) = data.split_first() else { return false };
    let is_chat = first % 2 == 0;
    let Ok(wanted) = Wanted::parse(body, is_chat) else { return false };
    wanted.settings.validate().expect("what is accepted is within the limits");
    assert_eq!(matches!(wanted.prompt, Prompt::Chat(_)), is_chat);
    assert!(wanted.stops.len() <= 4 && wanted.stops.iter().all(|stop| (1..=256).contains(&stop.len())));
    assert!(wanted.logprobs.is_none_or(|top| top <= if is_chat { 20 } else { 5 }));
    let value: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
    assert_eq!(Wanted::parse(value.to_string().as_bytes(), is_chat), Ok(wanted.clone()));
    assert_eq!(Wanted::parse(format!("{value:#}").as_bytes(), is_chat), Ok(wanted));
    true
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    [
        r#"0{"model":"m","messages":[{"role":"user","content":"x"}]}"#,
        r#"0{"model":"m","messages":[{"role":"system","content":"a","name":"n"},{"role":"user","content":[{"type":"text","text":"x"}]}],"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,"seed":-7,"stop":["a","bc"],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":3,"n":1,"user":"u"}"#,
        r#"1{"model":"m","prompt":"x"}"#,
        r#"1{"model":"m","prompt":"\u00e9\ud83e\udd80","max_tokens":16,"stop":"\n","logprobs":2,"repetition_penalty":1.1}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// First byte: how many stop sequences follow, each with a zero behind it; second: how the rest is cut. However it is cut, the
/// same text is shown: all before the sequence that is complete first.
pub(crate) fn stop(data: &[u8]) -> bool {
    let [count, size, rest @ ..] = data else { return false };
    let text = String::from_utf8_lossy(rest);
    let mut parts: Vec<&str> = text.splitn(usize::from(count % 5) + 1, '\0').collect();
    let text = parts.pop().unwrap_or_default();
    let stops: Vec<String> = parts.into_iter().filter(|stop| !stop.is_empty()).map(str::to_owned).collect();
    let first_end = (0..=text.len()).filter(|end| text.is_char_boundary(*end)).find_map(|end| {
        stops.iter().filter(|stop| text[..end].ends_with(*stop)).map(|stop| end - stop.len()).min()
    });
    let expected = &text[..first_end.unwrap_or(text.len())];
    for size in [1, usize::from(*size) + 1, text.len().max(1)] {
        let mut filter = StopFilter::new(stops.clone());
        let mut shown = String::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            shown.push_str(&filter.push(&piece.iter().collect::<String>()));
            assert!(expected.starts_with(&shown), "{stops:?} {text:?}: {shown:?} was shown");
        }
        assert_eq!(filter.is_stopped(), first_end.is_some(), "{stops:?} {text:?} by {size}");
        shown.push_str(&filter.finish());
        assert_eq!(shown, expected, "{stops:?} {text:?} by {size}");
    }
    true
}

pub(crate) fn stops() -> Vec<Vec<u8>> {
    [
        "\u{0}\u{0}plain text",
        "\u{1}\u{0}lo w\0hello world",
        "\u{3}\u{1}aab\0abc\0b\0aaaabcaab",
        "\u{2}\u{3}\u{e9}\0\u{1f980}\0caf\u{e9}s",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// However a stream is cut, it has the same flaw. Accepted are streams without one.
pub(crate) fn sse(data: &[u8]) -> bool {
    let Some((size, stream)) = data.split_first() else { return false };
    let flaw = |size: usize| {
        let mut watch = EventWatch::default();
        stream.chunks(size).for_each(|piece| watch.push(piece));
        watch.finish()
    };
    let whole = flaw(stream.len().max(1));
    assert_eq!((flaw(1), flaw(usize::from(*size) + 1)), (whole, whole));
    whole.is_none()
}

pub(crate) fn streams() -> Vec<Vec<u8>> {
    [
        "\u{0}data: {}\n\ndata: [DONE]\n\n",
        "\u{7}data:{\"a\":1}\r\n\r\ndata:[DONE]\r\n\r\n",
        "\u{2}: ping\n\nevent: x\nid: 1\nretry: 5\ndata: {}\n\ndata: [DONE]\n\n: bye\n\n",
        "\u{3}data: 1\r\rdata: [DONE]\r\r",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// What is accepted is written in one form, in which it is accepted again.
pub(crate) fn api_keys(data: &[u8]) -> bool {
    let Ok(keys) = ApiKeys::decode(data) else { return false };
    assert_eq!(ApiKeys::decode(&keys.encode()).as_ref(), Ok(&keys));
    true
}

pub(crate) fn key_files() -> Vec<Vec<u8>> {
    let mut keys = ApiKeys::default();
    let empty = keys.encode();
    let rates = Rates { requests_per_minute: 5.try_into().ok(), tokens_per_minute: None };
    for (name, revoked) in [("alice", false), ("b.o-b_2", true)] {
        let key = ApiKey { name: name.to_owned(), digest: KeyDigest::of(name), rates, revoked };
        keys.add(key).expect("the names differ");
    }
    vec![empty, keys.encode()]
}
