//! What an agent and its node say to each other: one JSON object a line, behind the greeting of Firecracker's vsock over Unix
//! sockets (`CONNECT port`, `OK port`). Never reads a line longer than its cap, and never takes a field that it doesn't know.

use market::auction::{Bid, BidId, Bundle, Class, Tier};
use market::ledger::AgentId;
use protocol::settings::SamplingSettings;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Longest line, its end included: an answer of some thousand tokens in hexadecimal.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Longest greeting.
pub const GREETING_BYTES_MAX: usize = 32;
/// The node's service.
pub const PORT: u32 = 5252;

/// Why a line is no message. The connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Too long.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
    /// Not what a connection begins with.
    #[error("expected CONNECT and a port")]
    Greeting,
    /// A port at which nobody listens.
    #[error("nobody listens at port {0}")]
    Port(u32),
    /// Not a message.
    #[error("no message: {0}")]
    Message(String),
}

/// 32 bytes in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex32(pub [u8; 32]);

impl std::fmt::Debug for Hex32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Hex32 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl From<BidId> for Hex32 {
    fn from(id: BidId) -> Self {
        Self(id.0)
    }
}

/// A bid on the wire; whose it is says the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Work that can wait.
    #[serde(default)]
    pub background: bool,
    /// Milliseconds of CPU, milliseconds of GPU, bytes of the bus.
    pub bundle: Bundle,
    /// The most that it pays, in microcredits.
    pub value: u64,
    /// How it will be verified.
    pub tier: WireTier,
    /// In microcredits.
    pub stake: u64,
    /// The bid that it feeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feeds: Option<Hex32>,
}

/// [`Tier`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireTier {
    /// [`Tier::Audited`]
    Audited,
    /// [`Tier::Replayed`]
    Replayed,
}

impl Offer {
    /// The bid of this agent.
    #[must_use]
    pub fn bid(&self, agent: AgentId) -> Bid {
        Bid {
            agent,
            class: if self.background { Class::Background } else { Class::Inference },
            bundle: self.bundle,
            value: self.value,
            tier: match self.tier {
                WireTier::Audited => Tier::Audited,
                WireTier::Replayed => Tier::Replayed,
            },
            stake: self.stake,
            feeds: self.feeds.map(|id| BidId(id.0)),
        }
    }
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Saying {
    /// Here I am.
    Hello,
    /// A sealed bid for an epoch.
    Seal {
        /// The seal.
        id: Hex32,
        /// The epoch.
        epoch: u64,
    },
    /// What was sealed.
    Open {
        /// The bid.
        offer: Offer,
        /// What blinded it.
        blind: Hex32,
    },
    /// The answer to the request that the job was last given.
    Answer {
        /// The job.
        job: Hex32,
        /// The claim's bytes, in hexadecimal.
        claim: String,
    },
}

/// How a request has to be sampled, on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// In thousandths; 0 is greedy.
    pub temperature_milli: u32,
    /// Most tokens.
    pub max_tokens: u32,
}

impl Sampling {
    /// With all filters off.
    #[must_use]
    pub const fn settings(self) -> SamplingSettings {
        SamplingSettings {
            temperature_milli: self.temperature_milli,
            max_tokens: self.max_tokens,
            ..SamplingSettings::greedy()
        }
    }
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The answer to a hello.
    Welcome {
        /// The agent's name.
        agent: String,
        /// Its account.
        account: Hex32,
        /// What is bid for.
        epoch: u64,
        /// What there is in an epoch.
        supply: Bundle,
        /// Most requests of a job.
        requests: u32,
        /// Milliseconds of CPU that a request is expected to take: so many requests fit into a bundle.
        request_cpu_ms: u64,
        /// Microcredits that a request of full length earns.
        request_reward: u64,
        /// A stake that is enough, in microcredits.
        stake: u64,
    },
    /// Bids for this epoch are taken now, sealed.
    Sealing {
        /// The epoch.
        epoch: u64,
        /// What the agent has.
        microcredits: u64,
        /// What it may burn; microseconds of processor time where that stands in.
        microjoules: u64,
    },
    /// Seals have to be opened now.
    Opening {
        /// The epoch.
        epoch: u64,
    },
    /// A bid won: it is a job now, with the bid's name.
    Won {
        /// The job.
        job: Hex32,
        /// Microcredits.
        pays: u64,
        /// Requests that it will be given, one after the other.
        requests: u32,
    },
    /// A bid won nothing.
    Lost {
        /// The bid.
        bid: Hex32,
        /// Why.
        why: String,
    },
    /// Work for a job.
    Request {
        /// The job.
        job: Hex32,
        /// From 0.
        number: u32,
        /// The prompt.
        prompt_ids: Vec<u32>,
        /// How to sample.
        sampling: Sampling,
        /// Makes the answer fresh.
        nonce: Hex32,
    },
    /// What was said is refused; nothing changed.
    Refused {
        /// Why.
        why: String,
    },
    /// A window was measured and paid for.
    Charged {
        /// Taken from the wallet.
        microjoules: u64,
        /// Microcredits for what no claim explains.
        surcharge: u64,
    },
    /// A job was checked.
    Checked {
        /// The job.
        job: Hex32,
        /// Whether an honest run gives its answers; `None` if nobody can say.
        holds: Option<bool>,
    },
    /// The agent's processes get this much from now on.
    Limited {
        /// Thousandths of a processor; `None` is no limit.
        milli: Option<u64>,
    },
    /// The agent ends.
    Stopped {
        /// Why.
        why: String,
    },
}

/// The port of a greeting, its line end included or not.
///
/// # Errors
/// [`WireError::Greeting`].
pub fn greeting(line: &[u8]) -> Result<u32, WireError> {
    let text = std::str::from_utf8(line).map_err(|_| WireError::Greeting)?;
    let digits = text.trim_end_matches('\n').strip_prefix("CONNECT ").ok_or(WireError::Greeting)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WireError::Greeting);
    }
    digits.parse().map_err(|_| WireError::Greeting)
}

/// What answers a greeting.
#[must_use]
pub fn greeted(port: u32) -> String {
    format!("OK {port}\n")
}

/// Reads what an agent says.
///
/// # Errors
/// [`WireError`].
pub fn saying(line: &[u8]) -> Result<Saying, WireError> {
    read(line)
}

/// Reads what a node says.
///
/// # Errors
/// [`WireError`].
pub fn event(line: &[u8]) -> Result<Event, WireError> {
    read(line)
}

/// A message as a line.
#[must_use]
pub fn line(message: &impl Serialize) -> Vec<u8> {
    // Numbers, strings and lists can always be written.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn read<'de, T: Deserialize<'de>>(line: &'de [u8]) -> Result<T, WireError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(WireError::TooLong(LINE_BYTES_MAX));
    }
    serde_json::from_slice(line).map_err(|error| WireError::Message(error.to_string()))
}
