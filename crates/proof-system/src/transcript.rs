//! The Fiat-Shamir transcript: every message of the prover goes in before the next challenge comes out. Prover and verifier
//! run the same calls, so a message that is not absorbed by both, or absorbed under another name, changes every later challenge.
//! Never gives a challenge that does not depend on everything said so far.
//!
//! State: 32 bytes. Absorbing a message replaces it by `blake3_keyed(state, label || message)`; a challenge is read from
//! the output stream of `blake3_keyed(state, label)`, of which the first 32 bytes are the next state. Labels have a fixed length.

use crate::field::Ext;
use crate::field::extension::EXT_BYTES;

#[cfg(test)]
mod tests;

/// Domain of the first state (BLAKE3 `derive_key` context).
pub const CONTEXT: &str = "maxwell 2026-11 inference proof transcript v1";
/// Bytes of a state.
pub const STATE_BYTES: usize = 32;

/// What is absorbed or drawn. The byte is part of every hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Label {
    /// What is to be proven, before anything else.
    Statement = 1,
    /// Which of several independent parts a transcript is about.
    Part = 2,
    /// Root of committed columns.
    Commitment = 3,
    /// Values at a point.
    Claims = 4,
    /// Combines several claims into one.
    Batching = 5,
    /// One round's polynomial of a sumcheck.
    SumcheckRound = 6,
    /// The point of one round.
    SumcheckPoint = 7,
    /// The fractions at the top of a lookup tree.
    LookupRoot = 8,
    /// Where table entries become numbers.
    LookupPoint = 9,
    /// Combines the columns of a table.
    LookupColumns = 10,
    /// A combination of committed rows.
    OpeningRow = 11,
    /// The columns that are opened.
    OpeningQueries = 12,
    /// The answer to a proof-of-work question.
    WorkNonce = 13,
    /// A proof-of-work question.
    Work = 14,
    /// What independent parts have said in the end.
    Join = 15,
}

/// One call, for the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes went in.
    Absorb(Label, usize),
    /// Something was drawn.
    Draw(Label),
}

/// The state between prover and verifier.
#[derive(Clone, Debug)]
pub struct Transcript {
    state: [u8; STATE_BYTES],
    /// What was said and drawn, where somebody wants to know.
    inventory: Option<Vec<Event>>,
}

/// What a prover's messages go into and where challenges come from: a transcript, or a verifier in conversation.
pub trait Coins {
    /// Takes in elements.
    fn absorb_elements(&mut self, label: Label, elements: &[Ext]);
    /// An element that depends on nothing that is said later.
    fn challenge(&mut self, label: Label) -> Ext;
}

impl Coins for Transcript {
    fn absorb_elements(&mut self, label: Label, elements: &[Ext]) {
        Self::absorb_elements(self, label, elements);
    }

    fn challenge(&mut self, label: Label) -> Ext {
        Self::challenge(self, label)
    }
}

impl Transcript {
    /// Begins with the statement: everything that the verifier knows and the prover must not choose later.
    #[must_use]
    pub fn new(statement: &[u8]) -> Self {
        let mut transcript = Self { state: blake3::derive_key(CONTEXT, &[]), inventory: None };
        transcript.absorb(Label::Statement, statement);
        transcript
    }

    /// The same, keeping a list of all calls.
    #[must_use]
    pub fn recording(statement: &[u8]) -> Self {
        let mut transcript = Self::new(statement);
        transcript.inventory = Some(vec![Event::Absorb(Label::Statement, statement.len())]);
        transcript
    }

    /// All calls so far, if they are kept.
    #[must_use]
    pub fn inventory(&self) -> &[Event] {
        self.inventory.as_deref().unwrap_or_default()
    }

    /// Takes in a message.
    pub fn absorb(&mut self, label: Label, message: &[u8]) {
        if let Some(inventory) = &mut self.inventory {
            inventory.push(Event::Absorb(label, message.len()));
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.state);
        hasher.update(&[label.byte()]);
        hasher.update(message);
        self.state = *hasher.finalize().as_bytes();
    }

    /// Takes in elements.
    pub fn absorb_elements(&mut self, label: Label, elements: &[Ext]) {
        let mut bytes = Vec::with_capacity(elements.len().saturating_mul(EXT_BYTES));
        for element in elements {
            bytes.extend_from_slice(&element.to_bytes());
        }
        self.absorb(label, &bytes);
    }

    /// A uniform element of the extension, but for a bias of 2^-64.
    pub fn challenge(&mut self, label: Label) -> Ext {
        let mut bytes = [0; 32];
        self.draw(label, &mut bytes);
        Ext::from_random(bytes)
    }

    /// Several elements.
    pub fn challenges(&mut self, label: Label, count: usize) -> Vec<Ext> {
        (0..count).map(|_| self.challenge(label)).collect()
    }

    /// Numbers below a power of two, not necessarily distinct.
    pub fn indices(&mut self, label: Label, bits: u32, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count.saturating_mul(8)];
        self.draw(label, &mut bytes);
        let mask = 1_u64.checked_shl(bits).map_or(u64::MAX, |range| range.wrapping_sub(1));
        bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number) & mask).collect()
    }

    /// A transcript of its own for one of several parts that do not depend on each other. Their ends must be joined.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        let mut fork = self.clone();
        fork.inventory = self.inventory.as_ref().map(|_| Vec::new());
        fork.absorb(Label::Part, &part.to_le_bytes());
        fork
    }

    /// Takes in all that the parts have said.
    pub fn join(&mut self, parts: &[Self]) {
        let states: Vec<u8> = parts.iter().flat_map(|part| part.state).collect();
        self.absorb(Label::Join, &states);
        if let Some(inventory) = &mut self.inventory {
            inventory.extend(parts.iter().flat_map(|part| part.inventory().iter().copied()));
        }
    }

    /// Looks for an answer to a question whose chance is 2^-`bits`, and takes it in. Whoever tries another message has to look
    /// again, which makes all that follows harder to cheat by as many bits.
    #[must_use]
    pub fn work(&mut self, bits: u32) -> u64 {
        let question = self.question();
        let nonce = (0..u64::MAX).find(|nonce| is_answer(&question, *nonce, bits)).unwrap_or_default();
        self.absorb(Label::WorkNonce, &nonce.to_le_bytes());
        nonce
    }

    /// Checks the answer, and takes it in.
    #[must_use]
    pub fn check_work(&mut self, bits: u32, nonce: u64) -> bool {
        let question = self.question();
        self.absorb(Label::WorkNonce, &nonce.to_le_bytes());
        is_answer(&question, nonce, bits)
    }

    fn question(&mut self) -> [u8; STATE_BYTES] {
        let mut question = [0; STATE_BYTES];
        self.draw(Label::Work, &mut question);
        question
    }

    fn draw(&mut self, label: Label, out: &mut [u8]) {
        if let Some(inventory) = &mut self.inventory {
            inventory.push(Event::Draw(label));
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.state);
        // An absorbed message never begins like this: its first byte is that of a label, which is below this one.
        hasher.update(&[0xff, label.byte()]);
        let mut stream = hasher.finalize_xof();
        stream.fill(&mut self.state);
        stream.fill(out);
    }
}

impl Label {
    #[expect(clippy::as_conversions, reason = "the number of a variant")]
    const fn byte(self) -> u8 {
        self as u8
    }
}

fn is_answer(question: &[u8; STATE_BYTES], nonce: u64, bits: u32) -> bool {
    let hash = blake3::keyed_hash(question, &nonce.to_le_bytes());
    let (first, _) = hash.as_bytes().split_at(8);
    let number = first.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number.leading_zeros() >= bits
}
