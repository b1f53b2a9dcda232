//! The auction of one epoch: sealed bids for bundles of CPU, GPU and bus, filled greedily by value density, at one
//! uniform price per resource: that of the first bid left out, or the reserve. A pure function in integers.
//!
//! For bidders of one unit of one resource it is the (k+1)st-price auction, in which saying the truth is best (Vickrey
//! 1961; Lehmann, O'Callaghan and Shoham 2002 for greedy bundles). For bundles it is not truthful, and what greed loses
//! against the best allocation is measured. No winner pays more than it bid.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::economics::{Infeasible, Stakes};
use crate::heat_price::HeatPrice;
use crate::ledger::AgentId;

mod sealed;
#[cfg(test)]
mod tests;

pub use self::sealed::{BidId, Sealed};

/// What is auctioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Milliseconds of CPU.
    CpuMs,
    /// Milliseconds of GPU.
    GpuMs,
    /// Bytes over the bus.
    BusBytes,
}

/// How many there are.
pub const RESOURCES: usize = 3;
/// One amount of each resource, in the order of [`Resource`].
pub type Bundle = [u64; RESOURCES];
/// Most bids of an epoch.
pub const MAX_BIDS: usize = 1 << 20;
/// Bits behind the point of shares of the supply.
const SHARE_BITS: u32 = 40;
const SCALE: u128 = 1 << SHARE_BITS;

/// What the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Inference, or what feeds it.
    Inference,
    /// Anything that can wait: pays for its heat.
    Background,
}

/// How the work will be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// By audits, as often as the stake makes necessary: pays for them.
    Audited,
    /// Replayed, always: pays for a replay.
    Replayed,
    /// By a proof that comes with it: a discount, since nobody has to check more.
    Proved,
}

/// A bid, as its agent opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// Whose.
    pub agent: AgentId,
    /// What for.
    pub class: Class,
    /// What is wanted, all or nothing.
    pub bundle: Bundle,
    /// The most that it pays for all of it, in microcredits.
    pub value: u64,
    /// How it will be verified.
    pub tier: Tier,
    /// What is lost if it cheats, in microcredits.
    pub stake: u64,
    /// The bid whose work this one feeds: both or none, and together they are worth what both are.
    pub feeds: Option<BidId>,
}

/// Why a bid takes no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing is wanted, or nothing offered.
    Empty,
    /// More than there is of something.
    Supply,
    /// The agent does not have what it offers.
    Funds,
    /// The stake makes cheating pay at any audit rate, or its false alarms too dear.
    Stake(Infeasible),
    /// Verification that the heat does not allow now.
    Tier,
    /// Two bids with the same name.
    Duplicate,
    /// It feeds a bid that is not there, or one that feeds another, or itself.
    Feeds,
    /// More bids than an epoch takes.
    TooMany,
}

/// What came of a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BidOutcome {
    /// It gets its bundle.
    Won {
        /// For the bundle, in microcredits, verification included.
        pays: u64,
    },
    /// Others bid more, or the reserve is above what it offers.
    Lost,
    /// It took no part.
    Refused(Refused),
}

/// What an epoch has and asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// What there is.
    pub supply: Bundle,
    /// Base prices in microcredits for the whole supply of each resource.
    pub reserve: Bundle,
    /// How heat raises the reserve of background work's CPU.
    pub heat: HeatPrice,
    /// The chassis now, in thousandths of a degree.
    pub temperature_mk: i64,
    /// What is left before the chassis throttles, in parts per million of its range.
    pub headroom_ppm: u32,
    /// What a request and an audit are worth, for premiums.
    pub stakes: Stakes,
    /// What a stake costs its owner, in parts per billion and epoch.
    pub interest_ppb: u64,
    /// What a proof saves, in microcredits.
    pub proof_discount: u64,
}

/// Prices and winners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// In microcredits for the whole supply of each resource.
    pub prices: [u128; RESOURCES],
    /// One result for each bid, in the order in which they were given.
    pub results: Vec<BidOutcome>,
    /// What is sold.
    pub sold: Bundle,
}

/// Below this headroom nothing is proved: proving would be the heat that is missing.
const PROOF_HEADROOM_PPM: u32 = 200_000;
/// Below this nothing is replayed for a single agent either.
const REPLAY_HEADROOM_PPM: u32 = 50_000;

impl Epoch {
    /// Whether the heat allows a tier now.
    #[must_use]
    pub fn allows(&self, tier: Tier) -> bool {
        match tier {
            Tier::Audited => true,
            Tier::Replayed => self.headroom_ppm >= REPLAY_HEADROOM_PPM,
            Tier::Proved => self.headroom_ppm >= PROOF_HEADROOM_PPM,
        }
    }

    /// What verification takes of a bid's value; negative for a discount.
    fn verification(&self, bid: &Bid) -> Result<i128, Refused> {
        match bid.tier {
            Tier::Audited => {
                let premium = self.stakes.premium(bid.stake, self.interest_ppb).map_err(Refused::Stake)?;
                Ok(i128::from(premium))
            }
            Tier::Replayed => Ok(i128::from(self.stakes.audit_cost)),
            Tier::Proved => Ok(-i128::from(self.proof_discount)),
        }
    }

    /// The part of all supplies together that a bundle takes, times 2^40, rounded up.
    fn share(&self, bundle: &Bundle) -> u128 {
        let part = |(amount, supply): (&u64, &u64)| match supply {
            0 => 0,
            supply => (u128::from(*amount) * SCALE).div_ceil(u128::from(*supply)),
        };
        bundle.iter().zip(&self.supply).map(part).sum()
    }

    /// What the reserve asks for a bundle, rounded up.
    fn reserve_of(&self, class: Class, bundle: &Bundle) -> u128 {
        let mut total = 0;
        for (index, ((amount, supply), base)) in
            bundle.iter().zip(&self.supply).zip(&self.reserve).enumerate()
        {
            let is_heated = class == Class::Background && index == Resource::CpuMs as usize;
            let price = if is_heated { self.heat.price(*base, self.temperature_mk) } else { *base };
            total += (u128::from(*amount) * u128::from(price)).div_ceil(u128::from((*supply).max(1)));
        }
        total
    }
}

/// One bid, or a bid with all that feed it.
#[derive(Clone, Debug)]
struct Lot {
    /// Indices of the bids.
    bids: Vec<usize>,
    bundle: Bundle,
    /// After verification.
    value: u128,
    reserve: u128,
    share: u128,
    name: BidId,
}

impl Lot {
    /// What it would pay for as much as the whole of one supply: at most 2^104.
    fn density(&self) -> u128 {
        self.value.saturating_mul(SCALE) / self.share.max(1)
    }
}

/// Clears an epoch. `funds` says what each agent has; whoever is not in it has nothing. The result does not depend on
/// the order of the bids.
#[must_use]
pub fn clear(epoch: &Epoch, bids: &[(BidId, Bid)], funds: &BTreeMap<AgentId, u64>) -> Cleared {
    let mut results: Vec<BidOutcome> = admit(epoch, bids, funds);
    let mut lots = lots(epoch, bids, &mut results);
    lots.sort_by_cached_key(|lot| (Reverse(lot.density()), lot.name));
    let mut left = epoch.supply;
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for lot in lots {
        if lot.value < lot.reserve {
            // It lost to the reserve, so it is nobody's competition.
            continue;
        }
        if lot.bundle.iter().zip(&left).all(|(wanted, left)| wanted <= left) {
            for (left, wanted) in left.iter_mut().zip(&lot.bundle) {
                *left -= wanted;
            }
            won.push(lot);
        } else {
            lost.push(lot);
        }
    }
    let prices = prices(&won, &lost);
    for lot in &won {
        charge(epoch, bids, lot, &prices, &mut results);
    }
    let mut sold = epoch.supply;
    for (sold, left) in sold.iter_mut().zip(left) {
        *sold -= left;
    }
    Cleared { prices, results, sold }
}

/// Who takes part: `Lost` until it wins.
fn admit(epoch: &Epoch, bids: &[(BidId, Bid)], funds: &BTreeMap<AgentId, u64>) -> Vec<BidOutcome> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<BidId> = bids.iter().map(|(id, _)| *id).filter(|id| !seen.insert(*id)).collect();
    // All bids of an agent together must be covered.
    let mut offered: BTreeMap<AgentId, u128> = BTreeMap::new();
    for (_, bid) in bids {
        *offered.entry(bid.agent).or_default() += u128::from(bid.value) + u128::from(bid.stake);
    }
    let check = |(number, (id, bid)): (usize, &(BidId, Bid))| {
        let has = funds.get(&bid.agent).copied().unwrap_or(0);
        let refused = if number >= MAX_BIDS {
            Some(Refused::TooMany)
        } else if twice.contains(id) {
            Some(Refused::Duplicate)
        } else if bid.bundle == [0; RESOURCES] || bid.value == 0 {
            Some(Refused::Empty)
        } else if bid.bundle.iter().zip(&epoch.supply).any(|(wanted, supply)| wanted > supply) {
            Some(Refused::Supply)
        } else if offered.get(&bid.agent).is_some_and(|offered| *offered > u128::from(has)) {
            Some(Refused::Funds)
        } else if !epoch.allows(bid.tier) {
            Some(Refused::Tier)
        } else {
            epoch.verification(bid).err()
        };
        refused.map_or(BidOutcome::Lost, BidOutcome::Refused)
    };
    bids.iter().enumerate().map(check).collect()
}

/// Puts bids and what feeds them together.
fn lots(epoch: &Epoch, bids: &[(BidId, Bid)], results: &mut [BidOutcome]) -> Vec<Lot> {
    let index: BTreeMap<BidId, usize> = bids.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut orphans = Vec::new();
    for (at, (_, bid)) in bids.iter().enumerate() {
        if results.get(at) != Some(&BidOutcome::Lost) {
            continue;
        }
        match bid.feeds {
            None => members.entry(at).or_default().push(at),
            Some(fed) => {
                let fed = index.get(&fed).copied().filter(|fed| {
                    let is_root = bids.get(*fed).is_some_and(|(_, bid)| bid.feeds.is_none());
                    *fed != at && is_root && results.get(*fed) == Some(&BidOutcome::Lost)
                });
                match fed {
                    Some(fed) => members.entry(fed).or_default().push(at),
                    None => orphans.push(at),
                }
            }
        }
    }
    for at in orphans {
        if let Some(result) = results.get_mut(at) {
            *result = BidOutcome::Refused(Refused::Feeds);
        }
    }
    members.into_values().filter_map(|bids_of_lot| lot(epoch, bids, bids_of_lot)).collect()
}

fn lot(epoch: &Epoch, bids: &[(BidId, Bid)], members: Vec<usize>) -> Option<Lot> {
    let (mut bundle, mut value, mut reserve) = ([0_u64; RESOURCES], 0_i128, 0_u128);
    let mut name: Option<BidId> = None;
    for at in &members {
        let (id, bid) = bids.get(*at)?;
        for (sum, amount) in bundle.iter_mut().zip(&bid.bundle) {
            // What is more than can be counted fits no supply.
            *sum = sum.saturating_add(*amount);
        }
        value += i128::from(bid.value) - epoch.verification(bid).ok()?;
        reserve += epoch.reserve_of(bid.class, &bid.bundle);
        name = Some(name.map_or(*id, |name| name.min(*id)));
    }
    let value = u128::try_from(value).unwrap_or(0);
    Some(Lot { bids: members, share: epoch.share(&bundle), bundle, value, reserve, name: name? })
}

/// Of each resource: the density of the best lot that wanted it and was left out, but not above that of any winner, so
/// that no winner pays more than it bid.
fn prices(won: &[Lot], lost: &[Lot]) -> [u128; RESOURCES] {
    let mut prices = [0; RESOURCES];
    for (resource, price) in prices.iter_mut().enumerate() {
        let wants = |lot: &&Lot| lot.bundle.get(resource).is_some_and(|amount| *amount > 0);
        let Some(least) = won.iter().filter(wants).map(Lot::density).min() else { continue };
        let left_out = lost.iter().filter(wants).map(Lot::density);
        *price = left_out.filter(|density| *density <= least).max().unwrap_or(0);
    }
    prices
}

/// What the winners of a lot pay: the prices or the reserve, whichever is more, and their verification.
fn charge(
    epoch: &Epoch,
    bids: &[(BidId, Bid)],
    lot: &Lot,
    prices: &[u128; RESOURCES],
    results: &mut [BidOutcome],
) {
    for at in &lot.bids {
        let Some((_, bid)) = bids.get(*at) else { continue };
        let parts = bid.bundle.iter().zip(&epoch.supply).zip(prices);
        let price: u128 = parts
            .map(|((amount, supply), price)| {
                let share = (u128::from(*amount) * SCALE).div_ceil(u128::from((*supply).max(1)));
                // A density below 2^104 times a share of at most 2^40: in two parts, so that nothing overflows.
                (price >> SHARE_BITS) * share + ((price & (SCALE - 1)) * share).div_ceil(SCALE)
            })
            .sum();
        let asked = price.max(epoch.reserve_of(bid.class, &bid.bundle));
        let verification = epoch.verification(bid).unwrap_or(0);
        let pays = i128::try_from(asked).unwrap_or(i128::MAX).saturating_add(verification).max(0);
        // A feeder's own value may be less than its reserve: the lot pays together, each at most what it offered.
        let pays = u64::try_from(pays).unwrap_or(u64::MAX).min(bid.value);
        if let Some(result) = results.get_mut(*at) {
            *result = BidOutcome::Won { pays };
        }
    }
}
