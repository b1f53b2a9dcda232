//! Texts to ids and back, against the ids that other implementations give.

use tokenizer::{Error, MAX_TEXT_BYTES, Special, StreamDecoder, TokenType, Tokenizer, TokenizerKind};

use crate::fixtures::{bpe, bpe_spec, numbers, sentence_piece, sentence_piece_spec, spec, strings};

fn check(tokenizer: &Tokenizer, text: &str, special: Special, expected: &[u32]) {
    assert_eq!(tokenizer.encode(text, special).unwrap(), expected, "{text:?} {special:?}");
}

fn check_bpe(pre: &str) {
    let fixture = bpe();
    let tokenizer = Tokenizer::new(bpe_spec(pre)).unwrap();
    let expected = &fixture["expected"][pre];
    let texts = strings(&fixture["texts"]);
    assert!(texts.len() >= 200);
    for (number, text) in texts.iter().enumerate() {
        let parsed = &expected["parse"][number];
        check(&tokenizer, text, Special::Parse, &numbers(parsed));
        let as_text = expected["as_text"].get(number.to_string()).unwrap_or(parsed);
        check(&tokenizer, text, Special::AsText, &numbers(as_text));
        assert_eq!(tokenizer.decode_bytes(&numbers(as_text)).unwrap(), text.as_bytes());
    }
}

#[test]
fn smollm_as_hugging_face() {
    check_bpe("smollm");
}

#[test]
fn gpt_2_as_hugging_face() {
    check_bpe("gpt-2");
}

#[test]
fn qwen2_as_hugging_face() {
    check_bpe("qwen2");
}

#[test]
fn llama_bpe_as_hugging_face() {
    check_bpe("llama-bpe");
}

#[test]
fn default_as_hugging_face() {
    check_bpe("default");
}

#[test]
fn plain_texts_as_sentence_piece() {
    let fixture = sentence_piece();
    let texts = strings(&fixture["texts"]);
    let mut checked = 0;
    for model in fixture["models"].as_array().unwrap() {
        let Some(expected) = model.get("sentencepiece") else { continue };
        let tokenizer = Tokenizer::new(sentence_piece_spec(model)).unwrap();
        let bos = tokenizer.spec().bos.filter(|_| tokenizer.spec().add_bos);
        for (number, ids) in expected.as_object().unwrap() {
            let ids: Vec<u32> = bos.into_iter().chain(numbers(ids)).collect();
            check(&tokenizer, &texts[number.parse::<usize>().unwrap()], Special::AsText, &ids);
            checked += 1;
        }
    }
    assert!(checked > 200);
}

#[test]
fn all_texts_as_llama_cpp() {
    let fixture = sentence_piece();
    let texts = strings(&fixture["texts"]);
    let models = fixture["models"].as_array().unwrap();
    for model in models.iter().filter(|model| model.get("parse").is_some()) {
        let tokenizer = Tokenizer::new(sentence_piece_spec(model)).unwrap();
        for (number, text) in texts.iter().enumerate() {
            check(&tokenizer, text, Special::Parse, &numbers(&model["parse"][number]));
            check(&tokenizer, text, Special::AsText, &numbers(&model["as_text"][number]));
        }
    }
}

/// The words of a user are never control tokens, even if merges or scores lead to their names.
#[test]
fn control_tokens_are_not_merged() {
    let tokens = ["<", "/", "s", ">", "</", "</s", "</s>"].map(|name| name.as_bytes().to_vec()).to_vec();
    let mut pieces = spec(TokenizerKind::SentencePiece, tokens);
    pieces.types[6] = TokenType::Control;
    let tokenizer = Tokenizer::new(pieces).unwrap();
    check(&tokenizer, "</s>", Special::AsText, &[5, 3]);
    check(&tokenizer, "</s>", Special::Parse, &[6]);

    let mut whole_words = bpe_spec("llama-bpe");
    let jumps = whole_words.tokens.iter().position(|name| name == "Ġjumps".as_bytes()).unwrap();
    let jumps_id = u32::try_from(jumps).unwrap();
    check(&Tokenizer::new(whole_words.clone()).unwrap(), " jumps", Special::AsText, &[jumps_id]);
    whole_words.types[jumps] = TokenType::Control;
    let ids = Tokenizer::new(whole_words).unwrap().encode(" jumps", Special::AsText).unwrap();
    assert!(!ids.contains(&jumps_id) && ids.len() > 1);
}

#[test]
fn bos_and_eos_are_added_once() {
    let mut with_both = bpe_spec("gpt-2");
    (with_both.bos, with_both.eos, with_both.add_bos, with_both.add_eos) = (Some(1), Some(2), true, true);
    let tokenizer = Tokenizer::new(with_both).unwrap();
    check(&tokenizer, "", Special::AsText, &[1, 2]);
    let ids = tokenizer.encode("a", Special::AsText).unwrap();
    assert_eq!((ids.first(), ids.last(), ids.len()), (Some(&1), Some(&2), 3));
}

#[test]
fn bytes_of_tokens() {
    let tokenizer = Tokenizer::new(bpe_spec("gpt-2")).unwrap();
    let id = |name: &str| {
        let place = tokenizer.spec().tokens.iter().position(|token| token == name.as_bytes());
        u32::try_from(place.unwrap()).unwrap()
    };
    assert_eq!(&*tokenizer.token_bytes(id("Ġjumps")).unwrap(), b" jumps");
    assert_eq!(&*tokenizer.token_bytes(id("<tool>")).unwrap(), b"<tool>");
    assert_eq!(&*tokenizer.token_bytes(id("<|im_end|>")).unwrap(), b"<|im_end|>");
    assert_eq!(tokenizer.decode_bytes(&[id("<|im_end|>"), id("Ċ"), id("<tool>")]).unwrap(), b"\n<tool>");
    let vocabulary = tokenizer.vocabulary();
    let outside =
        Err(Error::IdOutOfRange { name: "the token", id: vocabulary, vocabulary: vocabulary as usize });
    assert_eq!(tokenizer.decode_bytes(&[0, vocabulary]), outside);
    assert!(tokenizer.token_bytes(u32::MAX).is_err());

    let fixture = sentence_piece();
    let tokenizer = Tokenizer::new(sentence_piece_spec(&fixture["models"][0])).unwrap();
    let ids = tokenizer.encode("a \u{10ffff}", Special::AsText).unwrap();
    assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), " a \u{10ffff}".as_bytes());
}

#[test]
fn ends_of_a_reply() {
    let mut spec = bpe_spec("gpt-2");
    let id = |name: &str| spec.tokens.iter().position(|token| token == name.as_bytes()).unwrap();
    let (end, text_end, start, filename) =
        (id("<|im_end|>"), id("<|endoftext|>"), id("<|im_start|>"), id("<filename>"));
    spec.end_ids = vec![u32::try_from(filename).unwrap()];
    spec.eos = Some(20);
    // The same name on an ordinary token ends nothing.
    spec.types[text_end] = TokenType::Normal;
    let tokenizer = Tokenizer::new(spec).unwrap();
    let ends: Vec<u32> = (0..tokenizer.vocabulary()).filter(|&id| tokenizer.is_end(id)).collect();
    let expected = [end, filename, 20].map(|id| u32::try_from(id).unwrap());
    assert_eq!(ends, expected);
    assert!(!tokenizer.is_end(u32::try_from(start).unwrap()) && !tokenizer.is_end(u32::MAX));
}

#[test]
fn a_byte_without_a_token_is_an_error() {
    let mut spec = bpe_spec("smollm");
    let place = spec.tokens.iter().position(|name| name == "ē".as_bytes()).unwrap();
    spec.types[place] = TokenType::Unused;
    spec.merges.retain(|merge| !String::from_utf8_lossy(merge).contains('ē'));
    let tokenizer = Tokenizer::new(spec).unwrap();
    assert_eq!(tokenizer.encode("a\u{13}b", Special::AsText), Err(Error::NoTokenForByte { byte: 0x13 }));
}

#[test]
fn a_text_that_is_too_long_is_an_error() {
    let tokenizer = Tokenizer::new(bpe_spec("gpt-2")).unwrap();
    let text = "a".repeat(MAX_TEXT_BYTES + 1);
    let expected = Err(Error::TextSize { bytes: MAX_TEXT_BYTES + 1, max: MAX_TEXT_BYTES });
    assert_eq!(tokenizer.encode(&text, Special::Parse), expected);
}

/// In quadratic time this would take minutes (`merge::tests::work_grows_with_the_length` counts the steps).
#[test]
fn long_words() {
    let long = 200_000;
    let fixture = sentence_piece();
    let tokenizers = [
        Tokenizer::new(bpe_spec("llama-bpe")).unwrap(),
        Tokenizer::new(sentence_piece_spec(&fixture["models"][0])).unwrap(),
    ];
    for tokenizer in tokenizers {
        for word in ["a", " ", "\n ", "<", "1", "<|im_", "é", "\u{300}"] {
            let text = word.repeat(long / word.len()) + "x";
            let ids = tokenizer.encode(&text, Special::Parse).unwrap();
            let decoded = String::from_utf8(tokenizer.decode_bytes(&ids).unwrap()).unwrap();
            assert_eq!(decoded.trim_start_matches(' '), text.trim_start_matches(' '));
        }
    }
}

/// The limit decides exactly as counting all tokens would, for every text and every kind of tokenizer.
#[test]
fn a_text_within_its_tokens_is_encoded_and_no_other() {
    let models = sentence_piece();
    let mut tokenizers: Vec<Tokenizer> =
        ["smollm", "gpt-2", "llama-bpe", "default"].map(|pre| Tokenizer::new(bpe_spec(pre)).unwrap()).into();
    tokenizers.push(Tokenizer::new(sentence_piece_spec(&models["models"][0])).unwrap());
    let mut texts = strings(&bpe()["texts"]);
    texts.push("a".repeat(5_000));
    texts.push("<|im_end|>".repeat(300));
    for tokenizer in tokenizers {
        for (text, special) in texts.iter().flat_map(|text| [(text, Special::Parse), (text, Special::AsText)])
        {
            let Ok(ids) = tokenizer.encode(text, special) else { continue };
            let count = ids.len();
            assert_eq!(tokenizer.encode_within(text, special, count).unwrap(), ids);
            for most in [count.saturating_sub(1), count / 2, 0] {
                let encoded = tokenizer.encode_within(text, special, most);
                assert_eq!(encoded.is_ok(), most >= count, "{text:?} {most}");
                assert!(matches!(encoded, Ok(_) | Err(Error::TooManyTokens { .. })));
            }
        }
    }
}

#[test]
fn characters_come_whole() {
    let tokenizer = Tokenizer::new(bpe_spec("gpt-2")).unwrap();
    let id =
        |symbol: &str| tokenizer.spec().tokens.iter().position(|name| name == symbol.as_bytes()).unwrap();
    // U+20AC is e2 82 ac; a lone ff is never part of a character.
    let ids = ["â", "Ĥ", "¬", "â", "a", "ÿ", "â", "Ĥ"].map(|symbol| u32::try_from(id(symbol)).unwrap());
    let mut decoder = StreamDecoder::new(&tokenizer);
    let parts: Vec<String> = ids.iter().map(|&id| decoder.push(id).unwrap()).collect();
    assert_eq!(parts, ["", "", "€", "", "\u{fffd}a", "\u{fffd}", "", ""]);
    assert_eq!(decoder.finish(), "\u{fffd}");
}
