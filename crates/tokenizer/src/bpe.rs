//! Byte-pair encoding of one word by the ranks of merges. It must never make a control token.
//!
//! Source: Sennrich et al., ACL 2016, section 3.2, on bytes instead of characters (Radford et al., 2019).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::byte_symbols::SYMBOLS;
use crate::merge::{Merger, NO_TOKEN, Piece, Union};
use crate::{Error, TokenType, TokenizerSpec};

/// The merges of a vocabulary, by the ids of their parts.
#[derive(Debug)]
pub(crate) struct Bpe {
    byte_tokens: [u32; 256],
    /// Looked at for every pair of every text, and all keys are from the vocabulary: no need to resist chosen ones.
    unions: HashMap<(u32, u32), Union, RandomState>,
    /// Whole words that are tokens; empty unless they win over the merges.
    words: HashMap<Vec<u8>, u32>,
    /// Bytes of the longest token, at least 1.
    longest: usize,
}

impl Bpe {
    /// Reads the merges. With `ignore_merges` a word that is a token stays whole, merged or not.
    pub(crate) fn new(spec: &TokenizerSpec, ignore_merges: bool) -> Result<Self, Error> {
        let named = (0_u32..).zip(&spec.tokens).zip(&spec.types);
        let ids: HashMap<&[u8], u32> = named
            .filter(|((_, name), kind)| is_written_in_symbols(name, **kind))
            .map(|((id, name), _)| (name.as_slice(), id))
            .collect();
        let byte_tokens = SYMBOLS
            .map(|symbol| ids.get(symbol.encode_utf8(&mut [0; 4]).as_bytes()).copied().unwrap_or(NO_TOKEN));
        let mut unions = HashMap::with_capacity_and_hasher(spec.merges.len(), RandomState::default());
        for (index, merge) in spec.merges.iter().enumerate() {
            // A part is never empty, so the space at the very start would belong to the left part.
            let space =
                merge.iter().skip(1).position(|&byte| byte == b' ').ok_or(Error::MergeForm { index })?;
            let (left, right) = merge.split_at(space + 1);
            let right = right.strip_prefix(b" ").ok_or(Error::MergeForm { index })?;
            if right.is_empty() {
                return Err(Error::MergeForm { index });
            }
            let id = |name: &[u8]| ids.get(name).copied().ok_or(Error::MergeToken { index });
            let parts = (id(left)?, id(right)?);
            let token = id(&[left, right].concat())?;
            let order = u32::try_from(index).map_err(|_| Error::MergeForm { index })?;
            if unions.insert(parts, Union { order, token }).is_some() {
                return Err(Error::DuplicateMerge { index });
            }
        }
        let longest = ids.keys().map(|name| symbols(name)).max().unwrap_or(1).max(1);
        let words = if ignore_merges { ids } else { HashMap::new() };
        let words = words.into_iter().map(|(name, id)| (name.to_vec(), id)).collect();
        Ok(Self { byte_tokens, unions, words, longest })
    }

    /// No word of so many bytes has fewer tokens.
    pub(crate) fn fewest_tokens(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.longest)
    }

    /// Appends the tokens of `word` to `ids`.
    pub(crate) fn encode(&self, word: &[u8], merger: &mut Merger, ids: &mut Vec<u32>) -> Result<(), Error> {
        if let Some(&id) = self.whole_word(word) {
            ids.push(id);
            return Ok(());
        }
        let missing = word.iter().find(|&&byte| self.byte_tokens[usize::from(byte)] == NO_TOKEN);
        if let Some(&byte) = missing {
            return Err(Error::NoTokenForByte { byte });
        }
        let pieces = (0_u32..).zip(word).map(|(start, &byte)| Piece {
            start,
            end: start + 1,
            token: self.byte_tokens[usize::from(byte)],
        });
        let rule = |left: Piece, right: Piece| self.unions.get(&(left.token, right.token)).copied();
        ids.extend(merger.run(pieces, rule).map(|piece| piece.token));
        Ok(())
    }

    fn whole_word(&self, word: &[u8]) -> Option<&u32> {
        if self.words.is_empty() || word.len() > crate::MAX_TOKEN_BYTES {
            return None;
        }
        let name: String = word.iter().map(|&byte| SYMBOLS[usize::from(byte)]).collect();
        self.words.get(name.as_bytes())
    }
}

/// How many symbols, and so bytes, a name has.
fn symbols(name: &[u8]) -> usize {
    String::from_utf8_lossy(name).chars().count()
}

/// Whether a name is written in byte symbols. That of a user-defined token is written as it is, which comes to
/// the same only for printable ASCII.
fn is_written_in_symbols(name: &[u8], kind: TokenType) -> bool {
    let plain = name.iter().all(u8::is_ascii_graphic);
    !name.is_empty() && (kind == TokenType::Normal || kind == TokenType::UserDefined && plain)
}
