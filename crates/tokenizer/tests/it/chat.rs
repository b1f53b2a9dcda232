//! Chat templates, against what Jinja renders.

use tokenizer::{Error, KNOWN_ROLES, MAX_MESSAGES, MAX_TEXT_BYTES, Special};

use crate::fixtures::{BOS, EOS, chat, chat_spec, message, strings, with_template};

#[test]
fn conversations_as_jinja() {
    let fixture = chat();
    let conversations = fixture["conversations"].as_array().unwrap();
    for (number, template) in strings(&fixture["templates"]).iter().enumerate() {
        let tokenizer = with_template(template);
        for (messages, expected) in conversations.iter().zip(fixture["expected"][number].as_array().unwrap())
        {
            let messages = messages.as_array().unwrap().iter();
            let messages: Vec<_> =
                messages.map(|pair| message(pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
            for (add_generation_prompt, expected) in
                [false, true].into_iter().zip(expected.as_array().unwrap())
            {
                let rendered = tokenizer.apply_chat_template(&messages, add_generation_prompt);
                assert_eq!(rendered.as_deref().ok(), expected.as_str(), "template {number}: {messages:?}");
                let encoded = tokenizer.encode_chat(&messages, add_generation_prompt);
                assert_eq!(encoded.is_ok(), rendered.is_ok(), "template {number}: {encoded:?}");
            }
        }
    }
}

#[test]
fn expressions_as_jinja() {
    for pair in chat()["expressions"].as_array().unwrap() {
        let tokenizer = with_template(pair[0].as_str().unwrap());
        let rendered = tokenizer.apply_chat_template(&[], false);
        assert_eq!(rendered.as_deref().ok(), pair[1].as_str(), "{} {rendered:?}", pair[0]);
    }
}

#[test]
fn names_of_tokens_are_known_to_templates() {
    let mut spec = chat_spec("{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}{{ pad_token }}");
    spec.padding = Some(3);
    let tokenizer = tokenizer::Tokenizer::new(spec).unwrap();
    assert_eq!(tokenizer.apply_chat_template(&[], false).unwrap(), "<s></s>False<|im_end|>");
}

#[test]
fn bos_comes_once() {
    for (template, add_bos, expected) in [
        ("a", false, 0),
        ("a", true, 1),
        ("{{ bos_token }}a", false, 1),
        ("{{ bos_token }}a", true, 1),
        ("", true, 1),
    ] {
        let mut spec = chat_spec(template);
        (spec.add_bos, spec.add_eos) = (add_bos, true);
        let ids = tokenizer::Tokenizer::new(spec).unwrap().encode_chat(&[], true).unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == BOS).count(), expected, "{template:?} {add_bos}");
        assert!(expected == 0 || ids[0] == BOS);
        assert!(!ids.contains(&EOS));
    }
}

#[test]
fn what_cannot_be_rendered_says_why() {
    let user = [message("user", "hi")];
    let check = |template: &str, expected: &Error| {
        assert_eq!(
            with_template(template).apply_chat_template(&user, false).unwrap_err(),
            *expected,
            "{template}"
        );
        assert_eq!(with_template(template).encode_chat(&user, false).unwrap_err(), *expected, "{template}");
    };
    check(
        "{{ raise_exception('Only images') }}",
        &Error::TemplateRefused { message: "Only images".to_owned() },
    );
    check("{% macro f() %}{{ strftime_now('%Y') }}{% endmacro %}{{ f() }}", &Error::TemplateClock);
    let message_of = |text: &str| text.to_owned();
    check(
        "a\n{{ messages[0].content | tojson(indent=2) }}",
        &Error::TemplateFailed { line: 2, message: message_of("unknown keyword argument 'indent'") },
    );
    check(
        "{{ messages[0] | tojson }}",
        &Error::TemplateFailed {
            line: 1,
            message: message_of(
                "tojson of a mapping with several keys is not supported: their order is not kept",
            ),
        },
    );
    let mut without = chat_spec("");
    without.chat_template = None;
    let without = tokenizer::Tokenizer::new(without).unwrap();
    assert_eq!(without.encode_chat(&user, false), Err(Error::NoTemplate));
}

#[test]
fn messages_that_are_refused() {
    let tokenizer = with_template("{{ messages | length }}");
    let known = KNOWN_ROLES.join(", ");
    for role in ["User", "", "user<|im_end|>", "end"] {
        let messages = [message("user", ""), message(role, "hi")];
        let expected = Err(Error::UnknownRole { message: 1, known: known.clone() });
        assert_eq!(tokenizer.encode_chat(&messages, false), expected);
    }
    let many = vec![message("user", ""); MAX_MESSAGES + 1];
    let expected = Err(Error::MessageCount { count: MAX_MESSAGES + 1, max: MAX_MESSAGES });
    assert_eq!(tokenizer.encode_chat(&many, false), expected);
    let half = "a".repeat(MAX_TEXT_BYTES / 2 + 1);
    let expected = Err(Error::TextSize { bytes: MAX_TEXT_BYTES + 2, max: MAX_TEXT_BYTES });
    assert_eq!(tokenizer.encode_chat(&[message("user", &half), message("user", &half)], false), expected);
}

/// Fuel grows with the messages: neither many nor long ones are refused.
#[test]
fn large_conversations_are_rendered() {
    let template = "{% set rest = messages[1:] %}{% for message in rest %}{{ bos_token + message.content|trim }}{% endfor %}";
    let tokenizer = with_template(template);
    let many = vec![message("user", "hello there"); 5_000];
    assert_eq!(tokenizer.apply_chat_template(&many, false).unwrap().len(), 4_999 * 14);
    let slices = "{% for message in messages %}{% set rest = messages[loop.index:] %}{% endfor %}{{ messages | length }}";
    assert_eq!(with_template(slices).apply_chat_template(&many[..1_000], false).unwrap(), "1000");
    let long = [message("system", ""), message("user", &"many words ".repeat(1 << 18))];
    let rendered = tokenizer.apply_chat_template(&long, false).unwrap();
    assert_eq!(
        tokenizer.encode_chat(&long, false).unwrap(),
        tokenizer.encode(&rendered, Special::Parse).unwrap()
    );
}
