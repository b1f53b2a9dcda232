//! Reads a model's tokenizer bundle, so that the gateway has the model's tokens without linking the model. Must never
//! give a tokenizer whose bytes are not those that the whitelist names.
//!
//! Bytes: a CBOR sequence (RFC 8742) of the structure `["maxwell.tokenizer", 1, kind, pre, [tokens], [types], [score
//! bits], [merges], bos | null, eos | null, unknown | null, padding | null, [end ids], add bos, add eos, add space
//! prefix]` and, behind it, the chat template as a byte string, empty where there is none. The model's commitment
//! covers exactly these bytes.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::unwrap_used
)]

use protocol::encoding::Decoder;
use protocol::whitelist::AuthorizedEntry;
use tokenizer::{
    MAX_MERGES, MAX_TEMPLATE_BYTES, MAX_TOKEN_BYTES, MAX_VOCABULARY, MAX_VOCABULARY_BYTES, TokenType,
    Tokenizer, TokenizerKind, TokenizerSpec,
};

#[cfg(test)]
mod tests;

/// Longest tokenizer bundle: 256 MiB. The vocabulary's names have at most 64 MiB; the rest is room for merges.
pub const MAX_TOKENIZER_FILE_BYTES: usize = 256 << 20;

const STRUCTURE_TAG: &str = "maxwell.tokenizer";
const VERSION: u32 = 1;
/// Without the template, which stands behind the structure.
const FIELDS: u64 = 14;
/// Longest merge: two names with a space between.
const MAX_MERGE_BYTES: usize = 2 * MAX_TOKEN_BYTES + 1;
/// Most tokens that end a reply.
const MAX_END_IDS: u64 = 1 << 10;

/// Why a bundle was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerFileError {
    /// Longer than any bundle.
    #[error("the tokenizer bundle has {length} bytes, the limit is {limit}")]
    Size {
        /// Its length.
        length: usize,
        /// [`MAX_TOKENIZER_FILE_BYTES`].
        limit: usize,
    },
    /// Another bundle than the whitelist names.
    #[error("the tokenizer bundle has the digest {found}, but the whitelist names {expected}")]
    Digest {
        /// Of the bytes, in hexadecimal digits.
        found: String,
        /// In the whitelist, in hexadecimal digits.
        expected: String,
    },
    /// Not the canonical bytes of a bundle.
    #[error(transparent)]
    Encoding(#[from] protocol::Error),
    /// A number that names no kind of tokenizer or token.
    #[error("byte {offset}: {number} is no {what}")]
    UnknownNumber {
        /// Where the number starts.
        offset: usize,
        /// What it should be.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// Names that are too long altogether.
    #[error("the names of all tokens have more than {limit} bytes")]
    VocabularyBytes {
        /// Most bytes allowed.
        limit: usize,
    },
    /// A chat template that is not text.
    #[error("the chat template is not UTF-8")]
    TemplateNotUtf8,
    /// Parts that do not fit together.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// Another number of tokens than the whitelist says.
    #[error("the tokenizer has {found} tokens, but the whitelist says {expected}")]
    Vocabulary {
        /// In the bundle.
        found: u32,
        /// In the whitelist.
        expected: u32,
    },
}

/// The tokenizer of a whitelisted model, from bytes of any source.
///
/// # Errors
/// All of [`TokenizerFileError`].
pub fn open_tokenizer(bytes: &[u8], entry: &AuthorizedEntry) -> Result<Tokenizer, TokenizerFileError> {
    let entry = entry.entry();
    check_size(bytes)?;
    let found = blake3::hash(bytes);
    if *found.as_bytes() != entry.tokenizer_digest {
        let expected = blake3::Hash::from_bytes(entry.tokenizer_digest).to_string();
        return Err(TokenizerFileError::Digest { found: found.to_string(), expected });
    }
    let tokenizer = Tokenizer::new(decode_tokenizer(bytes)?)?;
    if tokenizer.vocabulary() != entry.vocabulary {
        let (found, expected) = (tokenizer.vocabulary(), entry.vocabulary);
        return Err(TokenizerFileError::Vocabulary { found, expected });
    }
    Ok(tokenizer)
}

/// Reads a bundle. Whether its parts fit together, [`Tokenizer::new`] says.
///
/// # Errors
/// [`TokenizerFileError`] without `Digest`, `Tokenizer` and `Vocabulary`.
pub fn decode_tokenizer(bytes: &[u8]) -> Result<TokenizerSpec, TokenizerFileError> {
    check_size(bytes)?;
    let mut decoder = Decoder::new(bytes);
    decoder.structure(STRUCTURE_TAG, VERSION, FIELDS)?;
    let kind = decode_kind(&mut decoder)?;
    let pre = decoder.text(length_u64(MAX_TOKEN_BYTES), "the pre-tokenizer's name")?.to_owned();
    let tokens = decode_tokens(&mut decoder)?;
    let types = decode_types(&mut decoder)?;
    let score_bits = decoder.list_u32(length_u64(MAX_VOCABULARY), "the scores' bits, 32 each")?;
    let merges = decode_merges(&mut decoder)?;
    let mut id = |expected| {
        decoder.optional(expected, |decoder| decoder.unsigned_u32(expected)).map_err(TokenizerFileError::from)
    };
    let bos = id("the bos token or null")?;
    let eos = id("the eos token or null")?;
    let unknown = id("the unknown token or null")?;
    let padding = id("the padding token or null")?;
    let end_ids = decoder.list_u32(MAX_END_IDS, "the end tokens")?;
    let add_bos = decoder.boolean("whether bos is added")?;
    let add_eos = decoder.boolean("whether eos is added")?;
    let add_space_prefix = decoder.boolean("whether a space is added")?;
    let template = decoder.bytes(length_u64(MAX_TEMPLATE_BYTES), "the chat template")?;
    decoder.finish()?;
    let template = std::str::from_utf8(template).map_err(|_| TokenizerFileError::TemplateNotUtf8)?;
    Ok(TokenizerSpec {
        kind,
        pre,
        tokens,
        types,
        score_bits,
        merges,
        bos,
        eos,
        end_ids,
        unknown,
        padding,
        add_bos,
        add_eos,
        add_space_prefix,
        // An empty template writes nothing, so it is as good as none; the bytes do not tell them apart.
        chat_template: (!template.is_empty()).then(|| template.to_owned()),
    })
}

fn check_size(bytes: &[u8]) -> Result<(), TokenizerFileError> {
    if bytes.len() > MAX_TOKENIZER_FILE_BYTES {
        return Err(TokenizerFileError::Size { length: bytes.len(), limit: MAX_TOKENIZER_FILE_BYTES });
    }
    Ok(())
}

fn decode_kind(decoder: &mut Decoder<'_>) -> Result<TokenizerKind, TokenizerFileError> {
    let offset = decoder.offset();
    match decoder.unsigned("the kind of tokenizer")? {
        0 => Ok(TokenizerKind::Bpe),
        1 => Ok(TokenizerKind::SentencePiece),
        number => Err(TokenizerFileError::UnknownNumber { offset, what: "kind of tokenizer", number }),
    }
}

fn decode_tokens(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, TokenizerFileError> {
    let count = decoder.array_header(length_u64(MAX_VOCABULARY), "the tokens")?;
    let mut tokens = Vec::with_capacity(count);
    let mut total = 0_usize;
    for _ in 0..count {
        let name = decoder.bytes(length_u64(MAX_TOKEN_BYTES), "a token's name")?;
        total = total.saturating_add(name.len());
        if total > MAX_VOCABULARY_BYTES {
            return Err(TokenizerFileError::VocabularyBytes { limit: MAX_VOCABULARY_BYTES });
        }
        tokens.push(name.to_vec());
    }
    Ok(tokens)
}

fn decode_types(decoder: &mut Decoder<'_>) -> Result<Vec<TokenType>, TokenizerFileError> {
    let count = decoder.array_header(length_u64(MAX_VOCABULARY), "the token types")?;
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = decoder.offset();
        let number = decoder.unsigned_u32("a token type")?;
        let unknown = TokenizerFileError::UnknownNumber { offset, what: "token type", number: number.into() };
        types.push(TokenType::from_gguf(number).ok_or(unknown)?);
    }
    Ok(types)
}

fn decode_merges(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, TokenizerFileError> {
    let count = decoder.array_header(length_u64(MAX_MERGES), "the merges")?;
    let mut merges = Vec::with_capacity(count);
    for _ in 0..count {
        merges.push(decoder.bytes(length_u64(MAX_MERGE_BYTES), "a merge")?.to_vec());
    }
    Ok(merges)
}

fn length_u64(length: usize) -> u64 {
    // Rust has no target with a wider usize; nothing has this limit then, and the file's length is capped.
    u64::try_from(length).unwrap_or(u64::MAX)
}
