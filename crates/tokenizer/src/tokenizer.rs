//! The tokenizer: checks a [`TokenizerSpec`] once, then encodes and decodes. It must never encode ordinary
//! text as a control token, or decode a control token as text.

use std::borrow::Cow;

use crate::bpe::Bpe;
use crate::byte_symbols::byte_of;
use crate::chat::ChatTemplate;
use crate::merge::Merger;
use crate::sentence_piece::{SPACE, SentencePiece};
use crate::spec::byte_token;
use crate::special::{Found, SpecialTokens};
use crate::split::Splitter;
use crate::{Error, MAX_TEXT_BYTES, TokenType, TokenizerKind, TokenizerSpec};

/// What the name of a control token in a text means. User-defined tokens are found either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// The token: for texts that the caller wrote.
    Parse,
    /// The characters it is written with: for the words of users.
    AsText,
}

/// Control tokens that end a reply in models that do not say so in their metadata.
const END_NAMES: [&[u8]; 5] = [b"<|im_end|>", b"<|endoftext|>", b"<|eot_id|>", b"<end_of_turn>", b"</s>"];

/// Text to token ids and back. Immutable; threads may share it.
#[derive(Debug)]
pub struct Tokenizer {
    spec: TokenizerSpec,
    words: Words,
    special: SpecialTokens,
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
}

/// How text between special tokens becomes tokens.
#[derive(Debug)]
enum Words {
    Bpe(Splitter, Bpe),
    SentencePiece(SentencePiece),
}

impl Tokenizer {
    /// Checks `spec` and prepares it for use.
    ///
    /// # Errors
    /// Each variant of [`Error`] that speaks of the vocabulary, merges, scores, pre-tokenizer, or the form of
    /// the chat template.
    pub fn new(spec: TokenizerSpec) -> Result<Self, Error> {
        spec.check()?;
        let words = match spec.kind {
            TokenizerKind::Bpe => {
                let splitter = Splitter::new(&spec.pre)?;
                let bpe = Bpe::new(&spec, splitter.ignore_merges)?;
                Words::Bpe(splitter, bpe)
            }
            TokenizerKind::SentencePiece => Words::SentencePiece(SentencePiece::new(&spec)?),
        };
        let named_ends = (0_u32..).zip(&spec.tokens).zip(&spec.types).filter_map(|((id, name), kind)| {
            (*kind == TokenType::Control && END_NAMES.contains(&name.as_slice())).then_some(id)
        });
        let mut ends: Vec<u32> =
            spec.eos.into_iter().chain(spec.end_ids.iter().copied()).chain(named_ends).collect();
        ends.sort_unstable();
        ends.dedup();
        let template = spec.chat_template.as_deref().map(ChatTemplate::new).transpose()?;
        Ok(Self { words, special: SpecialTokens::new(&spec), ends, template, spec })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    /// The number of tokens; ids are below it.
    #[must_use]
    pub fn vocabulary(&self) -> u32 {
        u32::try_from(self.spec.tokens.len()).expect("the check allows 2^20 tokens")
    }

    /// Whether `id` ends a reply: `eos`, the other ends of the spec, and the control tokens that customarily do.
    #[must_use]
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// All ids for which [`Self::is_end`] holds, in order.
    #[must_use]
    pub fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// The tokens of `text`, with `bos` before and `eos` after it if the spec says so.
    ///
    /// # Errors
    /// [`Error::TextSize`], [`Error::NoTokenForByte`], [`Error::Split`].
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        self.encode_within(text, special, usize::MAX)
    }

    /// [`Self::encode`] of a text that may have at most so many tokens: one that is longer costs no more than them.
    ///
    /// # Errors
    /// Those, and [`Error::TooManyTokens`].
    pub fn encode_within(&self, text: &str, special: Special, most: usize) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.spec.bos.filter(|_| self.spec.add_bos).into_iter().collect();
        let allow = |found: Found| special == Special::Parse || self.special.is_user_defined(found.token);
        self.encode_into(text, allow, &mut ids, most)?;
        ids.extend(self.spec.eos.filter(|_| self.spec.add_eos));
        check_count(ids, most)
    }

    /// Appends the tokens of `text` to `ids`; special tokens only where `allow` accepts them. Ends soon after there are
    /// more than `most`.
    pub(crate) fn encode_into(
        &self,
        text: &str,
        allow: impl Fn(Found) -> bool,
        ids: &mut Vec<u32>,
        most: usize,
    ) -> Result<(), Error> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::TextSize { bytes: text.len(), max: MAX_TEXT_BYTES });
        }
        let mut merger = Merger::default();
        let mut done = 0;
        while let Some(found) = self.special.next(text, done, &allow) {
            self.encode_words(&text[done..found.start], &mut merger, ids, most)?;
            ids.push(found.token);
            if ids.len() > most {
                return Err(Error::TooManyTokens { most });
            }
            done = found.end;
        }
        self.encode_words(&text[done..], &mut merger, ids, most)
    }

    /// Appends the tokens of a text that stands between special tokens.
    fn encode_words(
        &self,
        text: &str,
        merger: &mut Merger,
        ids: &mut Vec<u32>,
        most: usize,
    ) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        match &self.words {
            Words::Bpe(splitter, bpe) => splitter.split(text, &mut |word| {
                if ids.len().saturating_add(bpe.fewest_tokens(word.len())) > most {
                    return Err(Error::TooManyTokens { most });
                }
                bpe.encode(word.as_bytes(), merger, ids)
            }),
            Words::SentencePiece(pieces) => {
                let prefix = if self.spec.add_space_prefix { " " } else { "" };
                let escaped = [prefix, text].concat().replace(' ', SPACE.encode_utf8(&mut [0; 4]));
                pieces.encode(&escaped, merger, ids)
            }
        }
    }

    /// The bytes of the text that `ids` stand for; control, unknown and unused tokens give nothing. The bytes
    /// of two sequences one after the other are the bytes of the whole. If the spec adds a space before texts,
    /// it is there.
    ///
    /// # Errors
    /// [`Error::IdOutOfRange`].
    pub fn decode_bytes(&self, ids: &[u32]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for &id in ids {
            match self.token(id)?.1 {
                TokenType::Normal | TokenType::UserDefined | TokenType::Byte => {
                    bytes.extend_from_slice(&self.token_bytes(id)?);
                }
                TokenType::Control | TokenType::Unknown | TokenType::Unused => {}
            }
        }
        Ok(bytes)
    }

    /// The bytes that one token is written with; the name of a control, unknown or unused one.
    ///
    /// # Errors
    /// [`Error::IdOutOfRange`].
    pub fn token_bytes(&self, id: u32) -> Result<Cow<'_, [u8]>, Error> {
        let (name, kind) = self.token(id)?;
        let text = std::str::from_utf8(name).map_err(|_| Error::TokenNotUtf8 { id })?;
        Ok(match (kind, self.spec.kind) {
            (TokenType::Byte, _) => Cow::Owned(byte_token(name).into_iter().collect()),
            (TokenType::Normal, TokenizerKind::Bpe) => {
                // A name with a character that is no byte symbol was added as it is written.
                let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
                bytes.map_or(Cow::Borrowed(name), Cow::Owned)
            }
            (TokenType::Normal, TokenizerKind::SentencePiece) => {
                Cow::Owned(text.replace(SPACE, " ").into_bytes())
            }
            (TokenType::Control | TokenType::Unknown | TokenType::UserDefined | TokenType::Unused, _) => {
                Cow::Borrowed(name)
            }
        })
    }

    fn token(&self, id: u32) -> Result<(&[u8], TokenType), Error> {
        let name = self.spec.tokens.get(id as usize);
        let kind = self.spec.types.get(id as usize);
        name.zip(kind).map(|(name, kind)| (name.as_slice(), *kind)).ok_or(Error::IdOutOfRange {
            name: "the token",
            id,
            vocabulary: self.spec.tokens.len(),
        })
    }

    pub(crate) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    pub(crate) fn template(&self) -> Result<&ChatTemplate, Error> {
        self.template.as_ref().ok_or(Error::NoTemplate)
    }

    /// The name of a token as text, for the chat template.
    pub(crate) fn name(&self, id: Option<u32>) -> Option<&str> {
        let (name, _) = self.token(id?).ok()?;
        std::str::from_utf8(name).ok()
    }
}

/// The tokens, if they are not too many.
pub(crate) fn check_count(ids: Vec<u32>, most: usize) -> Result<Vec<u32>, Error> {
    if ids.len() > most { Err(Error::TooManyTokens { most }) } else { Ok(ids) }
}
