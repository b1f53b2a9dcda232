//! Sealed bids: a hash first, the bid later. Nobody can see a bid before all are in, and nobody can change one after.

use super::{Bid, Class, Tier};

/// blake3 `derive_key` context of a seal.
const SEAL_CONTEXT: &str = "maxwell 2026-11 sealed bid v1";

/// The name of a bid: its seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BidId(pub [u8; 32]);

/// A bid of which only the seal is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The seal.
    pub id: BidId,
    /// For which epoch.
    pub epoch: u64,
}

impl Sealed {
    /// Seals a bid for an epoch. `blind` must be random, or the bid can be guessed.
    #[must_use]
    pub fn new(bid: &Bid, epoch: u64, blind: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(SEAL_CONTEXT);
        hasher.update(&epoch.to_le_bytes()).update(blind).update(&bid.agent.0);
        let class = match bid.class {
            Class::Inference => 0,
            Class::Background => 1,
        };
        let tier = match bid.tier {
            Tier::Audited => 0,
            Tier::Replayed => 1,
            Tier::Proved => 2,
        };
        hasher.update(&[class, tier, u8::from(bid.feeds.is_some())]);
        for number in bid.bundle.iter().chain([&bid.value, &bid.stake]) {
            hasher.update(&number.to_le_bytes());
        }
        if let Some(BidId(fed)) = bid.feeds {
            hasher.update(&fed);
        }
        Self { id: BidId(*hasher.finalize().as_bytes()), epoch }
    }

    /// Whether this is the bid that was sealed.
    #[must_use]
    pub fn opens(&self, bid: &Bid, blind: &[u8; 32]) -> bool {
        Self::new(bid, self.epoch, blind) == *self
    }
}
