//! The tokenizer as the file describes it. Decides nothing about text: what the parts mean, and whether they
//! fit together, is the business of the crate `tokenizer`.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use tokenizer::{TokenType, TokenizerKind, TokenizerSpec};

use super::keys::{Keys, printable};
use crate::error::Error;
use crate::gguf::{Array, Gguf};

/// Byte-level tokenizers that begin a text with their first token unless told otherwise (llama.cpp,
/// `llama_vocab::impl::load`).
const BEGINNING_PRE_TOKENIZERS: [&[u8]; 3] = [b"llama3", b"llama-v3", b"llama-bpe"];

/// Reads the `tokenizer.*` entries; `vocab` is the number of rows of the embedding.
pub(super) fn read(gguf: &Gguf, vocab: u32) -> Result<TokenizerSpec, Error> {
    let mut keys = Keys::new(gguf, "tokenizer.ggml");
    let model = keys.text("model")?;
    let kind = match model {
        b"gpt2" => TokenizerKind::Bpe,
        b"llama" => TokenizerKind::SentencePiece,
        _ => {
            return Err(keys.unsupported("model", printable(model), "a tokenizer other than gpt2 and llama"));
        }
    };
    let sentence_piece = kind == TokenizerKind::SentencePiece;
    let pre =
        if sentence_piece { keys.optional_text("pre")?.unwrap_or(b"default") } else { keys.text("pre")? };
    let tokens: Vec<Vec<u8>> =
        keys.array("tokens", "array of string", Array::texts)?.map(<[u8]>::to_vec).collect();
    if usize::try_from(vocab) != Ok(tokens.len()) {
        let tokens = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
        return Err(Error::VocabularyLength { tokens, vocab });
    }
    let types = (0_u64..).zip(keys.array("token_type", "array of i32", Array::i32s)?).map(|(id, number)| {
        let known = u32::try_from(number).ok().and_then(TokenType::from_gguf);
        known.ok_or(Error::TokenType { id, number })
    });
    let types = types.collect::<Result<_, _>>()?;
    let score_bits = match keys.optional_array("scores", "array of f32", Array::f32_bits)? {
        Some(bits) => bits.collect(),
        None if sentence_piece => return Err(Error::MissingKey { key: "tokenizer.ggml.scores".to_owned() }),
        None => Vec::new(),
    };
    let merges = match keys.optional_array("merges", "array of string", Array::texts)? {
        Some(merges) => merges.map(<[u8]>::to_vec).collect(),
        None if sentence_piece => Vec::new(),
        None => return Err(Error::MissingKey { key: "tokenizer.ggml.merges".to_owned() }),
    };
    let mut id = |suffix| keys.optional_size(suffix, 0..=u32::MAX);
    let (bos, eos) = (id("bos_token_id")?, id("eos_token_id")?);
    let (unknown, padding) = (id("unknown_token_id")?, id("padding_token_id")?);
    let end_ids = [id("eot_token_id")?, id("eom_token_id")?].into_iter().flatten().collect();
    Ok(TokenizerSpec {
        kind,
        pre: utf8("tokenizer.ggml.pre", pre)?,
        tokens,
        types,
        score_bits,
        merges,
        bos,
        eos,
        end_ids,
        unknown,
        padding,
        add_bos: keys
            .boolean_or("add_bos_token", sentence_piece || BEGINNING_PRE_TOKENIZERS.contains(&pre))?,
        add_eos: keys.boolean_or("add_eos_token", false)?,
        add_space_prefix: keys.boolean_or("add_space_prefix", sentence_piece)?,
        chat_template: read_template(gguf)?,
    })
}

fn read_template(gguf: &Gguf) -> Result<Option<String>, Error> {
    let template = Keys::new(gguf, "tokenizer").optional_text("chat_template")?;
    template.map(|template| utf8("tokenizer.chat_template", template)).transpose()
}

fn utf8(key: &str, text: &[u8]) -> Result<String, Error> {
    match str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::TextNotUtf8 { key: key.to_owned() }),
    }
}
