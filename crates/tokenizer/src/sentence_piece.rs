//! Byte-pair encoding of a text by the scores of tokens, as SentencePiece models of type BPE do. It must
//! never make a control token, and never depend on the order of tokens with equal scores.
//!
//! Source: Kudo and Richardson, EMNLP 2018 (SentencePiece), and the tokenizer `SPM` of llama.cpp: the pair of
//! neighbours whose union has the highest score is merged first, the leftmost of equal ones.

use std::collections::HashMap;

use crate::merge::{Merger, NO_TOKEN, Piece, Union};
use crate::spec::byte_token;
use crate::{Error, TokenType, TokenizerSpec};

/// Stands for the space in the names of tokens.
pub(crate) const SPACE: char = '\u{2581}';

/// The tokens of a vocabulary, by name, with the order of their scores.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    /// Ordinary tokens. An empty name matches nothing.
    unions: HashMap<Vec<u8>, Union>,
    longest: usize,
    byte_tokens: [u32; 256],
    unknown: Option<u32>,
}

impl SentencePiece {
    /// Reads names and scores. The unknown token is used only if its type is not control: what a user writes
    /// must not become a control token.
    pub(crate) fn new(spec: &TokenizerSpec) -> Result<Self, Error> {
        let mut unions = HashMap::new();
        let mut byte_tokens = [NO_TOKEN; 256];
        for (((token, name), kind), &bits) in
            (0_u32..).zip(&spec.tokens).zip(&spec.types).zip(&spec.score_bits)
        {
            let order = order_of_score(bits).ok_or(Error::ScoreNotANumber { id: token })?;
            // The name of a user-defined token is written as it is, so one with U+2581 is not for spaces.
            let plain = !String::from_utf8_lossy(name).contains(SPACE);
            if *kind == TokenType::Normal || *kind == TokenType::UserDefined && plain {
                unions.insert(name.clone(), Union { order, token });
            } else if *kind == TokenType::Byte
                && let Some(byte) = byte_token(name)
            {
                byte_tokens[usize::from(byte)] = token;
            }
        }
        let longest = unions.keys().map(Vec::len).max().unwrap_or(0);
        let is_control = |id: u32| spec.types.get(id as usize) == Some(&TokenType::Control);
        Ok(Self { unions, longest, byte_tokens, unknown: spec.unknown.filter(|&id| !is_control(id)) })
    }

    /// Appends the tokens of `text`, whose spaces are written [`SPACE`], to `ids`.
    pub(crate) fn encode(&self, text: &str, merger: &mut Merger, ids: &mut Vec<u32>) -> Result<(), Error> {
        let token = |name: &[u8]| self.unions.get(name).map_or(NO_TOKEN, |union| union.token);
        let pieces = text.char_indices().map(|(start, symbol)| {
            let end = start + symbol.len_utf8();
            // A text has at most 2^24 bytes, each of which may be a space that grows to three.
            Piece { start: start as u32, end: end as u32, token: token(&text.as_bytes()[start..end]) }
        });
        let bytes = |piece: Piece| &text.as_bytes()[piece.start as usize..piece.end as usize];
        let rule = |left: Piece, right: Piece| {
            let union = Piece { end: right.end, ..left };
            if bytes(union).len() > self.longest { None } else { self.unions.get(bytes(union)).copied() }
        };
        let mut after_unknown = false;
        for piece in merger.run(pieces, rule) {
            let known = piece.token != NO_TOKEN;
            if known {
                ids.push(piece.token);
            } else if !self.encode_bytes(bytes(piece), ids) {
                // A run of unknown characters is one unknown token, as in SentencePiece.
                if !after_unknown {
                    let byte = bytes(piece).first().copied().unwrap_or_default();
                    ids.push(self.unknown.ok_or(Error::NoTokenForByte { byte })?);
                }
                after_unknown = true;
                continue;
            }
            after_unknown = false;
        }
        Ok(())
    }

    /// Appends the tokens of single bytes, if there is one for each; tells whether it did.
    fn encode_bytes(&self, bytes: &[u8], ids: &mut Vec<u32>) -> bool {
        let tokens = bytes.iter().map(|&byte| self.byte_tokens[usize::from(byte)]);
        let all = tokens.clone().all(|token| token != NO_TOKEN);
        if all {
            ids.extend(tokens);
        }
        all
    }
}

/// Turns the bits of a binary32 into a number that is smaller for higher scores; `None` if it is not a number.
/// Both zeros are equal, as they compare equal.
fn order_of_score(bits: u32) -> Option<u32> {
    const SIGN: u32 = 1 << 31;
    const INFINITY: u32 = 0x7f80_0000;
    let magnitude = bits & !SIGN;
    if magnitude > INFINITY {
        return None;
    }
    Some(if bits & SIGN == 0 { SIGN - magnitude } else { SIGN + magnitude })
}

#[cfg(test)]
mod tests;
