//! Text to token ids and back, and chat templates, from the plain data a GGUF file carries. It must never
//! read a file or a clock, panic on foreign bytes, or let the words of a user become a control token.

mod bpe;
mod byte_symbols;
mod chat;
mod error;
mod merge;
mod sentence_piece;
mod spec;
mod special;
mod split;
mod stream;
mod tokenizer;

pub use chat::{ChatMessage, KNOWN_ROLES, MAX_MESSAGES, MAX_RENDERED_BYTES, MAX_TAG_TOKENS};
pub use error::Error;
pub use spec::{
    MAX_MERGES, MAX_SPECIAL_BYTES, MAX_TEMPLATE_BYTES, MAX_TEXT_BYTES, MAX_TOKEN_BYTES, MAX_VOCABULARY,
    MAX_VOCABULARY_BYTES, TokenType, TokenizerKind, TokenizerSpec,
};
pub use split::known_pre_tokenizers;
pub use stream::StreamDecoder;
pub use tokenizer::{Special, Tokenizer};
