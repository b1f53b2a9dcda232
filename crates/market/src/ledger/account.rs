//! What there is, who has it, and what entries are called by. Names only: nothing here may move an amount.

use std::fmt;

use protocol::encoding::{Decoder, Encoder};

/// Bytes of a key and of an agent's name.
const KEY_BYTES: usize = 32;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// Millionths of a joule.
    Microjoules,
    /// Millionths of a credit.
    Microcredits,
}

impl Asset {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Microjoules, Self::Microcredits];

    pub(super) fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|asset| *asset as u64 == number)
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Microjoules => "microjoules",
            Self::Microcredits => "microcredits",
        })
    }
}

/// Who takes part: the hash of a public key, or whatever names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub [u8; KEY_BYTES]);

/// What an entry is called by whoever makes it: the same for the same entry, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey(pub [u8; KEY_BYTES]);

impl EntryKey {
    /// The key of a step of a process: of what, and which step.
    #[must_use]
    pub fn of(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// Who has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where everything comes from and goes to; it owes what all others have.
    Outside,
    /// An agent's own.
    Agent(AgentId),
    /// Locked under a key until somebody rules on it.
    Locked(EntryKey),
    /// Whoever runs the node and the referee.
    Operator,
    /// Nobody's, for ever.
    Burned,
}

impl Account {
    pub(super) fn encode(self, out: &mut Encoder) {
        let (number, name) = match self {
            Self::Outside => (0, None),
            Self::Agent(AgentId(name)) => (1, Some(name)),
            Self::Locked(EntryKey(name)) => (2, Some(name)),
            Self::Operator => (3, None),
            Self::Burned => (4, None),
        };
        out.array_header(1 + usize::from(name.is_some()));
        out.unsigned(number);
        if let Some(name) = name {
            out.bytes(&name);
        }
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Option<Self> {
        let items = decoder.array_header(2, "an account").ok()?;
        let number = decoder.unsigned("the kind of account").ok()?;
        match (number, items) {
            (0, 1) => Some(Self::Outside),
            (1, 2) => Some(Self::Agent(AgentId(decoder.bytes_exact("a name").ok()?))),
            (2, 2) => Some(Self::Locked(EntryKey(decoder.bytes_exact("a key").ok()?))),
            (3, 1) => Some(Self::Operator),
            (4, 1) => Some(Self::Burned),
            _ => None,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |f: &mut fmt::Formatter<'_>, what: &str, name: &[u8; KEY_BYTES]| {
            write!(f, "{what} ")?;
            name.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            Self::Outside => f.write_str("the outside"),
            Self::Agent(AgentId(name)) => short(f, "agent", name),
            Self::Locked(EntryKey(name)) => short(f, "lock", name),
            Self::Operator => f.write_str("the operator"),
            Self::Burned => f.write_str("what is burned"),
        }
    }
}
