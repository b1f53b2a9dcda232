//! Finds tokens that are written out in a text, such as `<|im_end|>`. It must never find one that the caller
//! does not allow at that place.

use crate::{TokenType, TokenizerSpec};

/// A token found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// First byte.
    pub(crate) start: usize,
    /// One past the last byte.
    pub(crate) end: usize,
    /// The token.
    pub(crate) token: u32,
}

/// Control, unknown and user-defined tokens, sorted by name.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    sorted: Vec<(Vec<u8>, u32)>,
    first_bytes: [bool; 256],
    user_defined: Vec<u32>,
}

impl SpecialTokens {
    pub(crate) fn new(spec: &TokenizerSpec) -> Self {
        let all = (0_u32..).zip(&spec.tokens).zip(&spec.types);
        let mut sorted: Vec<(Vec<u8>, u32)> = all
            .clone()
            .filter(|((_, name), kind)| kind.is_special() && !name.is_empty())
            .map(|((id, name), _)| (name.clone(), id))
            .collect();
        sorted.sort_unstable();
        let mut first_bytes = [false; 256];
        for first in sorted.iter().filter_map(|(name, _)| name.first()) {
            first_bytes[usize::from(*first)] = true;
        }
        let user_defined =
            all.filter(|(_, kind)| **kind == TokenType::UserDefined).map(|((id, _), _)| id).collect();
        Self { sorted, first_bytes, user_defined }
    }

    /// Whether a token that is found here is ordinary text (user-defined) and not control or unknown.
    pub(crate) fn is_user_defined(&self, token: u32) -> bool {
        self.user_defined.binary_search(&token).is_ok()
    }

    /// The longest token at `start` that `allow` accepts.
    pub(crate) fn longest_at(
        &self,
        text: &str,
        start: usize,
        allow: impl Fn(Found) -> bool,
    ) -> Option<Found> {
        let rest = text.as_bytes().get(start..)?;
        if !self.first_bytes[usize::from(*rest.first()?)] {
            return None;
        }
        let mut longest = None;
        // Those of the sorted names that agree with the text so far.
        let mut agreeing = self.sorted.as_slice();
        for (depth, &byte) in rest.iter().enumerate() {
            let low = agreeing.partition_point(|(name, _)| name.get(depth).is_none_or(|&other| other < byte));
            agreeing = &agreeing[low..];
            let high = agreeing.partition_point(|(name, _)| name.get(depth) == Some(&byte));
            agreeing = &agreeing[..high];
            let Some((shortest, token)) = agreeing.first() else { break };
            if shortest.len() == depth + 1 {
                let found = Found { start, end: start + depth + 1, token: *token };
                if allow(found) {
                    longest = Some(found);
                }
            }
        }
        longest
    }

    /// The first token at or after `from` that `allow` accepts, the longest there.
    pub(crate) fn next(&self, text: &str, from: usize, allow: impl Fn(Found) -> bool) -> Option<Found> {
        (from..text.len()).find_map(|start| self.longest_at(text, start, &allow))
    }
}
