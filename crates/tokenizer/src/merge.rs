//! Merges neighbouring pieces of a word, most urgent first, in O(n log n). It must never depend on anything
//! but the pieces and the rule, and never take quadratic time on a long word.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A piece of a word that is a token, or will be part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First byte, counted from the start of the word.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
    /// Its token, or [`NO_TOKEN`].
    pub(crate) token: u32,
}

/// Stands for the token of a piece that is none; never an id, as a vocabulary has at most 2^20 tokens.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// What two neighbours would become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Union {
    /// Smaller is more urgent; of equally urgent ones the leftmost comes first.
    pub(crate) order: u32,
    /// The token of the union.
    pub(crate) token: u32,
}

#[derive(Clone, Copy)]
struct Link {
    piece: Piece,
    prev: u32,
    next: u32,
}

/// Before the first link; the last one points past the end.
const NOWHERE: u32 = u32::MAX;

/// The scratch memory of [`Merger::run`], kept from word to word.
#[derive(Default)]
pub(crate) struct Merger {
    links: Vec<Link>,
    /// (order, index of the left piece, end of the right piece, token of the union).
    candidates: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
}

impl Merger {
    /// Merges neighbours of `pieces` (in order and without gaps) by `rule` until it allows no more.
    pub(crate) fn run(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        rule: impl Fn(Piece, Piece) -> Option<Union>,
    ) -> impl Iterator<Item = Piece> {
        self.links.clear();
        self.candidates.clear();
        let mut count = 0_u32;
        for piece in pieces {
            self.links.push(Link { piece, prev: count.checked_sub(1).unwrap_or(NOWHERE), next: count + 1 });
            count += 1;
        }
        for left in 0..count {
            self.propose(left, &rule);
        }
        while let Some(Reverse((_, left, end, token))) = self.candidates.pop() {
            self.unite(left, end, token, &rule);
        }
        let mut index = 0;
        std::iter::from_fn(move || {
            let link = self.links.get(index as usize)?;
            index = link.next;
            Some(link.piece)
        })
    }

    /// Notes what the piece at `left` and its right neighbour would become.
    fn propose(&mut self, left: u32, rule: &impl Fn(Piece, Piece) -> Option<Union>) {
        let Some(link) = self.links.get(left as usize) else { return };
        let Some(right) = self.links.get(link.next as usize) else { return };
        if let Some(union) = rule(link.piece, right.piece) {
            self.candidates.push(Reverse((union.order, left, right.piece.end, union.token)));
        }
    }

    /// Carries out a proposal unless one of its pieces was merged since: then the left one is empty, or the
    /// neighbour ends elsewhere (pieces only grow, so the same end means the same neighbour).
    fn unite(&mut self, left: u32, end: u32, token: u32, rule: &impl Fn(Piece, Piece) -> Option<Union>) {
        let Link { piece, prev, next } = self.links[left as usize];
        let Some(right) = self.links.get_mut(next as usize) else { return };
        if piece.start == piece.end || right.piece.end != end {
            return;
        }
        let after = right.next;
        right.piece.start = end;
        self.links[left as usize] =
            Link { piece: Piece { start: piece.start, end, token }, prev, next: after };
        if let Some(after) = self.links.get_mut(after as usize) {
            after.prev = left;
        }
        self.propose(prev, rule);
        self.propose(left, rule);
    }
}

#[cfg(test)]
mod tests;
