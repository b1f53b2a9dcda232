//! Reads the files that the scripts in tests/oracle wrote, and builds small vocabularies by hand.

use std::sync::OnceLock;

use serde_json::Value;
use tokenizer::{ChatMessage, TokenType, Tokenizer, TokenizerKind, TokenizerSpec};

/// What Hugging Face tokenizers made of texts (bpe.py).
pub(crate) fn bpe() -> Value {
    parse(include_str!("../fixtures/bpe.json"))
}

/// What SentencePiece and llama.cpp made of texts (sentence_piece.py).
pub(crate) fn sentence_piece() -> Value {
    parse(include_str!("../fixtures/sentence_piece.json"))
}

/// What Jinja made of chat templates (chat.py).
pub(crate) fn chat() -> Value {
    parse(include_str!("../fixtures/chat.json"))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the oracles write JSON")
}

pub(crate) fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

pub(crate) fn numbers(list: &Value) -> Vec<u32> {
    list.as_array().unwrap().iter().map(|item| u32::try_from(item.as_u64().unwrap()).unwrap()).collect()
}

fn names(list: &Value) -> Vec<Vec<u8>> {
    strings(list).into_iter().map(String::into_bytes).collect()
}

fn types(list: &Value) -> Vec<TokenType> {
    numbers(list).into_iter().map(|number| TokenType::from_gguf(number).unwrap()).collect()
}

/// The small byte-level vocabulary, cut in the way `pre`.
pub(crate) fn bpe_spec(pre: &str) -> TokenizerSpec {
    let fixture = bpe();
    TokenizerSpec {
        pre: pre.to_owned(),
        types: types(&fixture["types"]),
        merges: names(&fixture["merges"]),
        ..spec(TokenizerKind::Bpe, names(&fixture["tokens"]))
    }
}

/// The vocabulary of a model in the fixture of SentencePiece.
pub(crate) fn sentence_piece_spec(model: &Value) -> TokenizerSpec {
    let with = &model["with"];
    let id = |name: &str| Some(u32::try_from(with[name].as_u64().unwrap()).unwrap());
    TokenizerSpec {
        types: types(&with["types"]),
        score_bits: numbers(&with["score_bits"]),
        bos: id("bos"),
        eos: id("eos"),
        unknown: id("unknown"),
        add_bos: with["add_bos"].as_bool().unwrap(),
        add_space_prefix: with["add_space_prefix"].as_bool().unwrap(),
        ..spec(TokenizerKind::SentencePiece, names(&with["tokens"]))
    }
}

/// A vocabulary of normal tokens, with nothing else set.
pub(crate) fn spec(kind: TokenizerKind, tokens: Vec<Vec<u8>>) -> TokenizerSpec {
    TokenizerSpec {
        kind,
        pre: "gpt-2".to_owned(),
        types: vec![TokenType::Normal; tokens.len()],
        score_bits: vec![0; tokens.len()],
        tokens,
        merges: Vec::new(),
        bos: None,
        eos: None,
        end_ids: Vec::new(),
        unknown: None,
        padding: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
        chat_template: None,
    }
}

/// Control tokens of [`chat_spec`], as ids.
pub(crate) const BOS: u32 = 0;
pub(crate) const EOS: u32 = 1;

/// All bytes, a few merges, and the control tokens that the chat templates of the fixtures write.
pub(crate) fn chat_spec(template: &str) -> TokenizerSpec {
    let controls = [
        "<s>",
        "</s>",
        "<|im_start|>",
        "<|im_end|>",
        "<|user|>",
        "<|assistant|>",
        "<|system|>",
        "<|eot_id|>",
        "<|head|>",
        "<|/head|>",
        "<start_of_turn>",
        "<end_of_turn>",
    ];
    static BYTES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let symbol = |name: &Vec<u8>| String::from_utf8_lossy(name).chars().count() == 1;
        names(&bpe()["tokens"]).into_iter().filter(symbol).collect()
    });
    let tokens: Vec<Vec<u8>> =
        controls.iter().map(|name| name.as_bytes().to_vec()).chain(bytes.iter().cloned()).collect();
    let mut made = spec(TokenizerKind::Bpe, tokens);
    made.types[..controls.len()].fill(TokenType::Control);
    for (name, kind) in
        [("\n\n", TokenType::UserDefined), ("he", TokenType::Normal), ("ĠĠ", TokenType::Normal)]
    {
        made.tokens.push(name.as_bytes().to_vec());
        made.types.push(kind);
    }
    made.score_bits.clear();
    made.merges = vec![b"h e".to_vec(), "Ġ Ġ".as_bytes().to_vec()];
    made.chat_template = Some(template.to_owned());
    (made.bos, made.eos) = (Some(BOS), Some(EOS));
    made
}

pub(crate) fn with_template(template: &str) -> Tokenizer {
    Tokenizer::new(chat_spec(template)).unwrap()
}

pub(crate) fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage { role: role.to_owned(), content: content.to_owned() }
}
