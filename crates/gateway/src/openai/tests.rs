//! Requests in both forms, refusals with their field, answers, and stop sequences cut anywhere.

use super::*;

fn refuse(body: &str) -> String {
    Wanted::parse(body.as_bytes(), true).unwrap_err().message
}

#[test]
fn a_usual_chat_request() {
    let body = r#"{"model":"m","messages":[{"role":"system","content":"be brief"},
        {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
        "temperature":0.7,"top_p":0.95,"max_tokens":17,"seed":-3,"stream":true,
        "stream_options":{"include_usage":true},"stop":"\n","user":"u","n":1}"#;
    let wanted = Wanted::parse(body.as_bytes(), true).unwrap();
    let message = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    assert_eq!(wanted.prompt, Prompt::Chat(vec![message("system", "be brief"), message("user", "ab")]));
    let settings = wanted.settings;
    assert_eq!((settings.temperature_milli, settings.top_p_ppm, settings.max_tokens), (700, 950_000, 17));
    assert!(wanted.stream && wanted.include_usage && settings.stop_at_end);
    assert_eq!(wanted.stops, ["\n"]);
    let other = Wanted::parse(body.replace("-3", "3").as_bytes(), true).unwrap();
    assert_ne!(other.client_seed, wanted.client_seed);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let with =
        |field: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{field}}}"#);
    assert!(refuse(&with(r#""logit_bias":{}"#)).contains("logit_bias"));
    assert!(refuse(&with(r#""tools":[]"#)).contains("tools"));
    assert!(refuse(&with(r#""model":"twice""#)).contains("duplicate field"));
    assert!(refuse(&with(r#""n":2"#)).contains("one answer"));
    assert!(refuse(&with(r#""temperature":-0.1"#)).contains("temperature"));
    assert!(refuse(&with(r#""temperature":1e300"#)).contains("temperature"));
    assert!(refuse(&with(r#""max_tokens":0"#)).contains("max_tokens"));
    assert!(refuse(&with(r#""max_tokens":1,"max_completion_tokens":1"#)).contains("not both"));
    assert!(refuse(&with(r#""stop":["a","b","c","d","e"]"#)).contains("at most 4"));
    assert!(refuse(&with(r#""stop":"""#)).contains("at most 4"));
    assert!(refuse(r#"{"model":"m","prompt":"x"}"#).contains("messages"));
    assert!(
        refuse(r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","text":""}]}]}"#)
            .contains("text only")
    );
    assert!(Wanted::parse(b"{\"model\":\"\xff\"", true).is_err());
    assert!(Wanted::parse("[".repeat(100_000).as_bytes(), true).is_err());
}

#[test]
fn stop_sequences_are_found_however_the_text_is_cut() {
    for (text, stops, shown, stopped) in [
        ("hello END tail", vec!["END"], "hello ", true),
        ("aab", vec!["ab"], "a", true),
        ("ENENDx", vec!["END"], "EN", true),
        ("no stop EN", vec!["END"], "no stop EN", false),
        ("größe ß", vec!["ß"], "grö", true),
        ("x", vec![], "x", false),
        ("one two", vec!["two", "on"], "", true),
        // The one that is complete first counts, though the other began before it.
        ("xabcy", vec!["abc", "b"], "xa", true),
        ("xabcy", vec!["abc", "c"], "x", true),
    ] {
        let characters: Vec<char> = text.chars().collect();
        for size in 1..=characters.len() {
            let mut filter = StopFilter::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
            let mut seen = String::new();
            for part in characters.chunks(size) {
                seen.push_str(&filter.push(&part.iter().collect::<String>()));
            }
            if !filter.is_stopped() {
                seen.push_str(&filter.finish());
            }
            assert_eq!((seen.as_str(), filter.is_stopped()), (shown, stopped), "{text:?} in {size}");
        }
    }
}

#[test]
fn events_are_json_after_data() {
    let answer = Answer { id: "i".into(), created: 1, model: "m".into(), chat: true };
    let chunk = String::from_utf8(answer.chunk(Some("a\n\"b"), true, None)).unwrap();
    let json: Value = serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(json["choices"][0]["delta"], json!({ "role": "assistant", "content": "a\n\"b" }));
    assert!(chunk.ends_with("\n\n") && chunk.matches('\n').count() == 2);
}
