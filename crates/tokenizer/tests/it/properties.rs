//! Laws that hold for every text, every order of tokens and every vocabulary.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tokenizer::{
    Special, StreamDecoder, TokenType, Tokenizer, TokenizerKind, TokenizerSpec, known_pre_tokenizers,
};

use crate::fixtures::{bpe_spec, chat, message, sentence_piece, sentence_piece_spec, strings, with_template};

fn byte_level() -> &'static [Tokenizer] {
    static ALL: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    ALL.get_or_init(|| known_pre_tokenizers().map(|pre| Tokenizer::new(bpe_spec(pre)).unwrap()).collect())
}

fn by_score() -> &'static [Tokenizer] {
    static ALL: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    let all =
        || sentence_piece()["models"].as_array().unwrap().iter().map(sentence_piece_spec).collect::<Vec<_>>();
    ALL.get_or_init(|| all().into_iter().map(|spec| Tokenizer::new(spec).unwrap()).collect())
}

fn chats() -> &'static [Tokenizer] {
    static ALL: OnceLock<Vec<Tokenizer>> = OnceLock::new();
    ALL.get_or_init(|| strings(&chat()["templates"]).iter().map(|template| with_template(template)).collect())
}

/// Any text, with control tokens and odd characters more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_",
        "end|>",
        "</s>",
        "<s>",
        "<unk>",
        "<tool>",
        "<0x0A>",
        "\t\t\t",
        " ",
        "  ",
        "\n",
        "\r\n",
        "'s",
        "1999",
        "\u{2581}",
        "\u{e000}",
        "\u{e000}0\u{e000}",
        "the",
        " jumps",
        "\u{301}",
        "\0",
        "é",
    ];
    let part = prop_oneof![
        3 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-zA-Z0-9 .,]{0,12}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

/// Vocabularies made of anything at all, as a fuzzer would.
fn any_spec() -> impl Strategy<Value = TokenizerSpec> {
    let name = prop_oneof![
        "[ab<>/|\u{2581}Ġ]{0,3}".prop_map(String::into_bytes),
        Just(b"<0x61>".to_vec()),
        any::<[u8; 2]>().prop_map(Vec::from)
    ];
    let token = (name, 1_u32..7, any::<u32>());
    let merge = "[abĠ<>]{1,2} [ab|Ġ]{1,2}".prop_map(String::into_bytes);
    let id = prop::option::of(0_u32..6);
    let tokens = prop::collection::vec(token, 0..24);
    let merges = prop::collection::vec(merge, 0..3);
    (tokens, merges, (id.clone(), id.clone(), id), any::<[bool; 4]>()).prop_map(
        |(tokens, merges, ids, flags)| TokenizerSpec {
            kind: if flags[0] { TokenizerKind::Bpe } else { TokenizerKind::SentencePiece },
            pre: "llama-bpe".to_owned(),
            types: tokens.iter().map(|(_, kind, _)| TokenType::from_gguf(*kind).unwrap()).collect(),
            score_bits: tokens.iter().map(|(_, _, score)| *score).collect(),
            tokens: tokens.into_iter().map(|(name, _, _)| name).collect(),
            merges,
            bos: ids.0,
            eos: ids.1,
            end_ids: Vec::new(),
            unknown: ids.2,
            padding: None,
            add_bos: flags[1],
            add_eos: flags[2],
            add_space_prefix: flags[3],
            chat_template: None,
        },
    )
}

#[test]
fn threads_may_share_a_tokenizer() {
    fn check<T: Send + Sync>() {}
    check::<Tokenizer>();
}

proptest! {
    #![proptest_config(Config { cases: 400, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn bytes_survive(text in text()) {
        for tokenizer in byte_level() {
            let ids = tokenizer.encode(&text, Special::AsText).unwrap();
            prop_assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), text.as_bytes());
        }
        // Byte tokens write all; only the sign for the space is read as a space, and one is put first.
        let tokenizer = &by_score()[0];
        let ids = tokenizer.encode(&text, Special::AsText).unwrap();
        if !text.contains("<tool>") && !text.contains("\t\t\t") {
            let prefix = if text.is_empty() { "" } else { " " };
            let expected = format!("{prefix}{}", text.replace('\u{2581}', " "));
            prop_assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn text_is_never_a_control_token(text in text()) {
        for tokenizer in byte_level().iter().chain(by_score()) {
            let ids = tokenizer.encode(&text, Special::AsText).unwrap();
            let own = ids.iter().skip(usize::from(tokenizer.spec().add_bos));
            prop_assert!(own.clone().all(|&id| tokenizer.spec().types[id as usize] != TokenType::Control));
            prop_assert!(tokenizer.encode(&text, Special::Parse).is_ok());
        }
    }

    #[test]
    fn a_stream_is_the_lossy_text(which in 0_usize..3, ids in prop::collection::vec(0_u32..420, 0..40)) {
        let tokenizer = &byte_level()[0];
        let tokenizer = if which == 0 { tokenizer } else { &by_score()[which - 1] };
        let mut decoder = StreamDecoder::new(tokenizer);
        let mut streamed: String = ids.iter().map(|&id| decoder.push(id).unwrap()).collect();
        streamed += &decoder.finish();
        let whole = tokenizer.decode_bytes(&ids).unwrap();
        prop_assert_eq!(streamed, String::from_utf8_lossy(&whole));
    }

    #[test]
    fn contents_do_not_change_control_tokens(contents in prop::collection::vec(text(), 1..4)) {
        let controls = |tokenizer: &Tokenizer, ids: Vec<u32>| -> Vec<u32> {
            ids.into_iter().filter(|&id| tokenizer.spec().types[id as usize] == TokenType::Control).collect()
        };
        let roles = ["user", "assistant", "user"];
        for tokenizer in chats() {
            let of = |content: &dyn Fn(usize) -> String| {
                let messages: Vec<_> = (0..contents.len()).map(|n| message(roles[n], &content(n))).collect();
                tokenizer.encode_chat(&messages, true)
            };
            let harmless = of(&|_| "word".to_owned()).unwrap();
            let ids = of(&|n| contents[n].clone()).unwrap();
            prop_assert_eq!(controls(tokenizer, ids), controls(tokenizer, harmless));
        }
    }

    #[test]
    fn any_vocabulary_works_or_says_why(spec in any_spec(), text in text()) {
        let Ok(tokenizer) = Tokenizer::new(spec) else { return Ok(()) };
        for special in [Special::Parse, Special::AsText] {
            if let Ok(ids) = tokenizer.encode(&text, special) {
                prop_assert!(ids.iter().all(|&id| id < tokenizer.vocabulary()));
                prop_assert!(tokenizer.decode_bytes(&ids).is_ok());
            }
        }
        for id in 0..tokenizer.vocabulary() {
            prop_assert!(tokenizer.token_bytes(id).is_ok());
        }
    }
}
