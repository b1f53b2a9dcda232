//! What a tokenizer is made of, as plain data, and the check that it fits together. It must never accept a
//! vocabulary on which encoding or decoding could later fail for a reason that was visible here.

use std::collections::HashMap;

use crate::Error;

/// Most tokens in a vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// Most bytes in the name of one token.
pub const MAX_TOKEN_BYTES: usize = 1 << 12;
/// Most bytes in the name of a token that is looked for in the text as written (control, unknown, user-defined).
pub const MAX_SPECIAL_BYTES: usize = 1 << 8;
/// Most bytes in all names together.
pub const MAX_VOCABULARY_BYTES: usize = 1 << 26;
/// Most merges.
pub const MAX_MERGES: usize = 1 << 21;
/// Most bytes in a chat template.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 17;
/// Most bytes in a text to encode, and in all messages of a conversation together.
pub const MAX_TEXT_BYTES: usize = 1 << 24;

/// How words become tokens; `tokenizer.ggml.model` in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerKind {
    /// `gpt2`: byte-level, merges by rank.
    Bpe,
    /// `llama`: characters with U+2581 for the space, merges by score, bytes as a fallback.
    SentencePiece,
}

/// What a token is for; `tokenizer.ggml.token_type` in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenType {
    /// Part of ordinary text.
    Normal = 1,
    /// Stands for what the vocabulary cannot write.
    Unknown = 2,
    /// Steers the model, such as `<|im_start|>`; never part of the words of a user.
    Control = 3,
    /// Ordinary text that is always one token.
    UserDefined = 4,
    /// A hole in the vocabulary.
    Unused = 5,
    /// One byte, written `<0x0A>`.
    Byte = 6,
}

impl TokenType {
    /// The type with this number in a GGUF file.
    #[must_use]
    pub fn from_gguf(number: u32) -> Option<Self> {
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }

    /// Whether the token is looked for in the text as written, before words are split.
    pub(crate) fn is_special(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// Everything a tokenizer is made of. A token id is an index into `tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerSpec {
    /// `tokenizer.ggml.model`.
    pub kind: TokenizerKind,
    /// `tokenizer.ggml.pre`: how text is cut into words (see [`crate::known_pre_tokenizers`]). Unused for
    /// [`TokenizerKind::SentencePiece`].
    pub pre: String,
    /// `tokenizer.ggml.tokens`: the names, as UTF-8. For [`TokenizerKind::Bpe`] the names of normal tokens
    /// are written in the byte symbols of GPT-2 (`Ġthe`).
    pub tokens: Vec<Vec<u8>>,
    /// `tokenizer.ggml.token_type`, one for each token.
    pub types: Vec<TokenType>,
    /// `tokenizer.ggml.scores`, one for each token, as the bits of IEEE 754 binary32. Unused (and may be
    /// empty) for [`TokenizerKind::Bpe`].
    pub score_bits: Vec<u32>,
    /// `tokenizer.ggml.merges`: `left right`, most urgent first. Unused for [`TokenizerKind::SentencePiece`].
    pub merges: Vec<Vec<u8>>,
    /// Put before a text if `add_bos`.
    pub bos: Option<u32>,
    /// Put after a text if `add_eos`; ends a reply.
    pub eos: Option<u32>,
    /// Further tokens that end a reply, such as `tokenizer.ggml.eot_token_id`.
    pub end_ids: Vec<u32>,
    /// Stands for what the vocabulary cannot write.
    pub unknown: Option<u32>,
    /// Fills up batches.
    pub padding: Option<u32>,
    /// Whether [`crate::Tokenizer::encode`] puts `bos` first.
    pub add_bos: bool,
    /// Whether [`crate::Tokenizer::encode`] puts `eos` last.
    pub add_eos: bool,
    /// Whether a space is put before a text that follows a special token or nothing. Unused for
    /// [`TokenizerKind::Bpe`].
    pub add_space_prefix: bool,
    /// `tokenizer.chat_template`, in Jinja.
    pub chat_template: Option<String>,
}

impl TokenizerSpec {
    /// Checks what does not depend on the kind of tokenizer.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let count = self.tokens.len();
        if count == 0 || count > MAX_VOCABULARY {
            return Err(Error::VocabularySize { count, max: MAX_VOCABULARY });
        }
        if self.types.len() != count {
            return Err(Error::Lengths { what: "token types", count: self.types.len(), tokens: count });
        }
        let scores_wanted = self.kind == TokenizerKind::SentencePiece || !self.score_bits.is_empty();
        if scores_wanted && self.score_bits.len() != count {
            return Err(Error::Lengths { what: "scores", count: self.score_bits.len(), tokens: count });
        }
        if self.merges.len() > MAX_MERGES {
            return Err(Error::MergeCount { count: self.merges.len(), max: MAX_MERGES });
        }
        self.check_names()?;
        self.check_ids()?;
        match &self.chat_template {
            Some(template) if template.len() > MAX_TEMPLATE_BYTES => {
                Err(Error::TemplateSize { bytes: template.len(), max: MAX_TEMPLATE_BYTES })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), Error> {
        let mut total = 0_usize;
        let mut seen = HashMap::with_capacity(self.tokens.len());
        for ((id, name), kind) in (0_u32..).zip(&self.tokens).zip(&self.types) {
            let max = if kind.is_special() { MAX_SPECIAL_BYTES } else { MAX_TOKEN_BYTES };
            if name.len() > max {
                return Err(Error::TokenSize { id, bytes: name.len(), max });
            }
            total += name.len();
            if total > MAX_VOCABULARY_BYTES {
                return Err(Error::VocabularyBytes { max: MAX_VOCABULARY_BYTES });
            }
            if std::str::from_utf8(name).is_err() {
                return Err(Error::TokenNotUtf8 { id });
            }
            // Files in use have holes with an empty name; they match nothing, so they may repeat.
            if !name.is_empty()
                && let Some(first) = seen.insert(name.as_slice(), id)
            {
                return Err(Error::DuplicateToken { first, second: id });
            }
            if *kind == TokenType::Byte && byte_token(name).is_none() {
                return Err(Error::ByteTokenName { id });
            }
        }
        Ok(())
    }

    fn check_ids(&self) -> Result<(), Error> {
        let named =
            [("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown), ("padding", self.padding)];
        let ends = self.end_ids.iter().map(|&id| ("end", Some(id)));
        for (name, id) in named.into_iter().chain(ends) {
            if let Some(id) = id
                && id as usize >= self.tokens.len()
            {
                return Err(Error::IdOutOfRange { name, id, vocabulary: self.tokens.len() });
            }
        }
        if self.add_bos && self.bos.is_none() {
            return Err(Error::NothingToAdd { flag: "add_bos", id: "bos" });
        }
        if self.add_eos && self.eos.is_none() {
            return Err(Error::NothingToAdd { flag: "add_eos", id: "eos" });
        }
        Ok(())
    }
}

/// The byte that the name of a byte token (`<0x0A>`) writes.
pub(crate) fn byte_token(name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let two_digits = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    two_digits.then(|| u8::from_str_radix(digits, 16).ok())?
}
