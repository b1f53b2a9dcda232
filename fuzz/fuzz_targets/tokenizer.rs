//! Any text, and any chat template, on two small vocabularies: encoding loses no byte, the words of a user never
//! become a control token, and templates end.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use model::import::{Architecture, read_gguf};
use model::synthetic::SyntheticModel;
use tokenizer::{ChatMessage, Special, TokenType, Tokenizer, TokenizerKind, TokenizerSpec};

static TOKENIZERS: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| {
    // Gemma 3 is the SentencePiece that adds no space, so decoding gives back the text itself.
    [Architecture::Qwen3, Architecture::Gemma3].map(|architecture| {
        let file = Arc::new(SyntheticModel::tiny(architecture).gguf());
        let imported = read_gguf(file).expect("synthetic models are valid");
        Tokenizer::new(imported.tokenizer).expect("synthetic tokenizers are valid")
    })
});

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let tokenizer = &TOKENIZERS[usize::from(first % 2)];
    // A zero byte separates the chat template from the text; without one there is no template.
    let (template, text) = match rest.iter().position(|&byte| byte == 0) {
        Some(at) => (Some(String::from_utf8_lossy(&rest[..at]).into_owned()), &rest[at + 1..]),
        None => (None, rest),
    };
    let text = String::from_utf8_lossy(text);
    check_text(tokenizer, &text);
    let message = |role: &str| ChatMessage { role: role.to_owned(), content: text.clone().into_owned() };
    let messages = [message("user"), message("assistant")];
    // The names of control tokens in the text are not theirs, so the template's are the only ones.
    let controls = |text: &str| {
        let mut plain = messages.clone();
        plain.iter_mut().for_each(|message| message.content = text.to_owned());
        tokenizer.encode_chat(&plain, true).map(|ids| count_controls(tokenizer, &ids))
    };
    if let Ok(found) = controls(&text) {
        assert_eq!(Ok(found), controls("x"), "the words of a user changed the control tokens");
    }
    if template.is_some() {
        // The second kind has no regular expressions to compile for every input.
        let spec = TokenizerSpec { chat_template: template, ..TOKENIZERS[1].spec().clone() };
        if let Ok(tokenizer) = Tokenizer::new(spec) {
            let _ = tokenizer.encode_chat(&messages, first & 2 == 0);
        }
    }
});

fn check_text(tokenizer: &Tokenizer, text: &str) {
    let Ok(ids) = tokenizer.encode(text, Special::AsText) else { return };
    let bos = usize::from(tokenizer.spec().add_bos);
    assert_eq!(count_controls(tokenizer, &ids), bos, "ordinary text gave a control token");
    let bytes = tokenizer.decode_bytes(&ids).expect("the ids are in the vocabulary");
    // SentencePiece writes spaces as U+2581 and cannot tell its own from one in the text.
    let expected = match tokenizer.spec().kind {
        TokenizerKind::Bpe => text.to_owned(),
        TokenizerKind::SentencePiece => text.replace('\u{2581}', " "),
    };
    assert_eq!(bytes, expected.as_bytes());
    let parsed = tokenizer.encode(text, Special::Parse).expect("it was encoded as text");
    tokenizer.decode_bytes(&parsed).expect("the ids are in the vocabulary");
}

fn count_controls(tokenizer: &Tokenizer, ids: &[u32]) -> usize {
    let types = &tokenizer.spec().types;
    ids.iter().filter(|&&id| types[id as usize] == TokenType::Control).count()
}
