//! Log-probabilities of output tokens as exact integers, so that whoever computes them again finds the same ones. Must
//! never be taken for right because they are well-formed: only a replay tells.
//!
//! They are of the model's own distribution: at temperature 1, before penalties and thresholds. A value is how far the
//! natural logarithm lies below 0, in millionths of a nat, rounded down; what does not fit is `u32::MAX`.

use std::collections::BTreeSet;

use crate::encoding::{Decoder, Encoder};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// Most tokens that are ranked beside one output token.
pub const MAX_TOP: u8 = 20;
/// Most values of one claim: each output token has its own and those of the tokens ranked beside it.
pub const MAX_ENTRIES: u32 = 1 << 17;

/// A token that could have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankedToken {
    /// The token.
    pub id: u32,
    /// Its logarithm below 0.
    pub below_micronats: u32,
}

/// Beside one output token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLogprobs {
    /// Of the token that was chosen.
    pub below_micronats: u32,
    /// The most likely tokens, the best first, at equal logits the lower id: as many as were asked for, or the whole
    /// vocabulary.
    pub top: Vec<RankedToken>,
}

/// Of a whole output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logprobs {
    /// How many ranked tokens were asked for.
    pub top: u8,
    /// One for each output token.
    pub tokens: Vec<TokenLogprobs>,
}

/// How many values an answer of so many tokens has.
pub fn entries(top: u8, tokens: u32) -> u64 {
    u64::from(top).saturating_add(1).saturating_mul(u64::from(tokens))
}

impl TokenLogprobs {
    /// Whether these could be right for output token `id`, which is all that can be seen without the model.
    pub fn fits(&self, id: u32, top: u8, vocabulary: u32) -> bool {
        let wanted = usize::try_from(u32::from(top).min(vocabulary)).unwrap_or(usize::MAX);
        let ids: BTreeSet<u32> = self.top.iter().map(|ranked| ranked.id).collect();
        let chosen = self.top.iter().find(|ranked| ranked.id == id);
        self.top.len() == wanted
            && ids.len() == wanted
            && ids.last().is_none_or(|last| *last < vocabulary)
            && self.top.is_sorted_by_key(|ranked| ranked.below_micronats)
            && chosen.is_none_or(|chosen| chosen.below_micronats == self.below_micronats)
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.array_header(2);
        out.unsigned(u64::from(self.below_micronats));
        out.array_header(self.top.len());
        for RankedToken { id, below_micronats } in &self.top {
            out.array_header(2);
            out.unsigned(u64::from(*id));
            out.unsigned(u64::from(*below_micronats));
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.array_exact(2, "a log-probability and the ranked tokens")?;
        let below_micronats = decoder.unsigned_u32("a log-probability, 32 bits")?;
        let count = decoder.array_header(u64::from(MAX_TOP), "the ranked tokens")?;
        let mut top = Vec::with_capacity(count);
        for _ in 0..count {
            decoder.array_exact(2, "a token and its log-probability")?;
            let id = decoder.unsigned_u32("a token id, 32 bits")?;
            let below_micronats = decoder.unsigned_u32("a log-probability, 32 bits")?;
            top.push(RankedToken { id, below_micronats });
        }
        Ok(Self { below_micronats, top })
    }
}

impl Logprobs {
    /// Length limits, and one element for each output token.
    pub(crate) fn check_shape(&self, outputs: usize) -> Result<(), Error> {
        let tokens = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let within = self.top <= MAX_TOP && entries(self.top, tokens) <= u64::from(MAX_ENTRIES);
        let all_short = self.tokens.iter().all(|token| token.top.len() <= usize::from(self.top));
        if !within || !all_short || self.tokens.len() != outputs {
            return Err(Error::LogprobCount { logprobs: self.tokens.len(), top: self.top, outputs });
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.array_header(2);
        out.unsigned(u64::from(self.top));
        out.array_header(self.tokens.len());
        for token in &self.tokens {
            token.encode(out);
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Error> {
        decoder.array_exact(2, "how many ranked tokens, and the log-probabilities")?;
        let top = decode_top(decoder)?;
        let count = decoder.array_header(u64::from(MAX_ENTRIES), "the log-probabilities")?;
        let mut tokens = Vec::with_capacity(count);
        for _ in 0..count {
            tokens.push(TokenLogprobs::decode(decoder)?);
        }
        Ok(Self { top, tokens })
    }
}

/// How many ranked tokens are asked for.
pub(crate) fn decode_top(decoder: &mut Decoder<'_>) -> Result<u8, Error> {
    let offset = decoder.offset();
    let top = decoder.unsigned("how many ranked tokens")?;
    let limit = u64::from(MAX_TOP);
    u8::try_from(top).ok().filter(|top| *top <= MAX_TOP).ok_or(Error::OverLimit {
        offset,
        what: "how many ranked tokens",
        length: top,
        limit,
    })
}
