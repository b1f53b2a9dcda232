//! The auction of one epoch: sealed bids for bundles of CPU, GPU and bus, filled greedily by value density, at one
//! uniform price per resource: that of the first bid left out, or the reserve. A pure function in integers.
//!
//! For bidders of one unit of one resource it is the (k+1)st-price auction, in which saying the truth is best (Vickrey
//! 1961; Lehmann, O'Callaghan and Shoham 2002 for greedy bundles). For bundles it is not truthful, and what greed loses
//! against the best allocation is measured. No winner pays more than it bid.

use std::collections::{BTreeMap, HashMap};

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
    fn share(&self, bundle: &[u128; RESOURCES]) -> u128 {
        let part = |(amount, supply): (&u128, &u64)| match supply {
            0 => 0,
            supply => div_up(amount.saturating_mul(SCALE), u128::from(*supply)),
        };
        bundle.iter().zip(&self.supply).map(part).sum()
    }

    /// The reserve of background work: CPU costs what the heat makes of it.
    fn heated(&self) -> Bundle {
        let mut reserve = self.reserve;
        for price in reserve.iter_mut().take(Resource::CpuMs as usize + 1) {
            *price = self.heat.price(*price, self.temperature_mk);
        }
        reserve
    }

    /// What a reserve asks for a bundle, rounded up.
    fn asks(&self, reserve: &Bundle, bundle: &Bundle) -> u128 {
        let parts = bundle.iter().zip(&self.supply).zip(reserve);
        let part = |((amount, supply), price): ((&u64, &u64), &u64)| {
            div_up(u128::from(*amount) * u128::from(*price), u128::from((*supply).max(1)))
        };
        parts.filter(|((amount, _), price)| **amount > 0 && **price > 0).map(part).sum()
    }
}

/// One bid, or a bid with all that feed it.
#[derive(Clone, Debug)]
struct Lot {
    /// Together they may want more than can be counted.
    bundle: [u128; RESOURCES],
    /// After verification.
    value: i128,
    reserve: u128,
    name: BidId,
    /// What it would pay for as much as the whole of one supply: at most 2^104.
    density: u128,
    has_won: bool,
}

/// A bid that takes part.
#[derive(Clone, Copy, Debug)]
struct Entrant {
    /// What verification takes of its value.
    verification: i128,
    reserve: u128,
    /// Which lot it belongs to.
    lot: Option<usize>,
}

/// Clears an epoch. `funds` says what each agent has; whoever is not in it has nothing. The result does not depend on
/// the order of the bids.
#[must_use]
pub fn clear(epoch: &Epoch, bids: &[(BidId, Bid)], funds: &BTreeMap<AgentId, u64>) -> Cleared {
    let index = Index::new(bids);
    let mut entrants = admit(epoch, bids, &index, funds);
    let mut lots = lots(epoch, bids, &index, &mut entrants);
    let name = |at: usize| lots.get(at).map(|lot| lot.name);
    let mut order: Vec<(u128, usize)> = lots.iter().enumerate().map(|(at, lot)| (lot.density, at)).collect();
    order.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| name(a.1).cmp(&name(b.1))));
    let (mut left, mut lost) = (epoch.supply, Vec::new());
    for (_, at) in order {
        let Some(lot) = lots.get_mut(at) else { continue };
        if u128::try_from(lot.value).unwrap_or(0) < lot.reserve {
            // It lost to the reserve, so it is nobody's competition.
            continue;
        }
        if lot.bundle.iter().zip(&left).all(|(wanted, left)| *wanted <= u128::from(*left)) {
            for (left, wanted) in left.iter_mut().zip(&lot.bundle) {
                *left -= u64::try_from(*wanted).unwrap_or(*left);
            }
            lot.has_won = true;
        } else {
            lost.push(at);
        }
    }
    let prices = prices(&lots, &lost);
    let settled = bids.iter().zip(&entrants).map(|((_, bid), entrant)| match entrant {
        Err(refused) => BidOutcome::Refused(*refused),
        Ok(entrant) => match entrant.lot.and_then(|lot| lots.get(lot)).filter(|lot| lot.has_won) {
            Some(_) => BidOutcome::Won { pays: charge(epoch, bid, entrant, &prices) },
            None => BidOutcome::Lost,
        },
    });
    let mut sold = epoch.supply;
    for (sold, left) in sold.iter_mut().zip(left) {
        *sold -= left;
    }
    Cleared { prices, results: settled.collect(), sold }
}

/// Where each name stands. Sorted and not hashed: agents choose the names.
struct Index {
    /// The first half of a name, and where it is.
    order: Vec<(u128, usize)>,
    is_twice: Vec<bool>,
}

impl Index {
    fn new(bids: &[(BidId, Bid)]) -> Self {
        let mut order: Vec<(u128, usize)> =
            bids.iter().enumerate().map(|(at, (id, _))| (half_of(id), at)).collect();
        order.sort_unstable();
        let mut is_twice = vec![false; bids.len()];
        let name = |at: usize| bids.get(at).map(|(id, _)| *id);
        // Names whose first halves are equal stand together.
        for run in order.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
            let mut names: BTreeMap<Option<BidId>, usize> = BTreeMap::new();
            run.iter().for_each(|(_, at)| *names.entry(name(*at)).or_default() += 1);
            for (_, at) in run {
                if let Some(is_twice) = is_twice.get_mut(*at) {
                    *is_twice = names.get(&name(*at)).is_some_and(|count| *count > 1);
                }
            }
        }
        Self { order, is_twice }
    }

    /// The one bid with a name.
    fn find(&self, bids: &[(BidId, Bid)], id: &BidId) -> Option<usize> {
        let half = half_of(id);
        let first = self.order.partition_point(|(found, _)| *found < half);
        let run = self.order.iter().skip(first).take_while(|(found, _)| *found == half);
        let mut named = run.filter(|(_, at)| bids.get(*at).is_some_and(|(found, _)| found == id));
        named.next().map(|(_, at)| *at).filter(|at| self.is_twice.get(*at) == Some(&false))
    }
}

fn half_of(id: &BidId) -> u128 {
    id.0.first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
}

/// Rounded up. Most numbers fit 64 bits, whose division is much faster.
fn div_up(number: u128, by: u128) -> u128 {
    match (u64::try_from(number), u64::try_from(by)) {
        (Ok(number), Ok(by)) => u128::from(number.div_ceil(by)),
        _ => number.div_ceil(by),
    }
}

/// Who takes part.
fn admit(
    epoch: &Epoch,
    bids: &[(BidId, Bid)],
    index: &Index,
    funds: &BTreeMap<AgentId, u64>,
) -> Vec<Result<Entrant, Refused>> {
    // All bids of an agent together must be covered.
    let mut offered: HashMap<AgentId, u128> = HashMap::new();
    for (_, bid) in bids {
        *offered.entry(bid.agent).or_default() += u128::from(bid.value) + u128::from(bid.stake);
    }
    offered.retain(|agent, offered| *offered > u128::from(funds.get(agent).copied().unwrap_or(0)));
    let bankrupt = offered;
    let heated = epoch.heated();
    let check = |(number, (_, bid)): (usize, &(BidId, Bid))| {
        if number >= MAX_BIDS {
            return Err(Refused::TooMany);
        }
        if index.is_twice.get(number) != Some(&false) {
            return Err(Refused::Duplicate);
        }
        if bid.bundle == [0; RESOURCES] || bid.value == 0 {
            return Err(Refused::Empty);
        }
        if bid.bundle.iter().zip(&epoch.supply).any(|(wanted, supply)| wanted > supply) {
            return Err(Refused::Supply);
        }
        if bankrupt.contains_key(&bid.agent) {
            return Err(Refused::Funds);
        }
        if !epoch.allows(bid.tier) {
            return Err(Refused::Tier);
        }
        let reserve = if bid.class == Class::Background { &heated } else { &epoch.reserve };
        let reserve = epoch.asks(reserve, &bid.bundle);
        Ok(Entrant { verification: epoch.verification(bid)?, reserve, lot: None })
    };
    bids.iter().enumerate().map(check).collect()
}

/// Puts bids and what feeds them together.
fn lots(
    epoch: &Epoch,
    bids: &[(BidId, Bid)],
    index: &Index,
    entrants: &mut [Result<Entrant, Refused>],
) -> Vec<Lot> {
    let mut lots: Vec<Lot> = Vec::with_capacity(bids.len());
    for ((id, bid), entrant) in bids.iter().zip(entrants.iter_mut()) {
        let Ok(entrant) = entrant else { continue };
        if bid.feeds.is_none() {
            entrant.lot = Some(lots.len());
            lots.push(Lot {
                bundle: bid.bundle.map(u128::from),
                value: i128::from(bid.value) - entrant.verification,
                reserve: entrant.reserve,
                name: *id,
                density: 0,
                has_won: false,
            });
        }
    }
    for (at, (id, bid)) in bids.iter().enumerate() {
        let Some(fed) = bid.feeds else { continue };
        // What feeds another bid, or itself, has no lot yet when it is looked for: it can't be fed.
        let root = index
            .find(bids, &fed)
            .filter(|fed| *fed != at && bids.get(*fed).is_some_and(|(_, fed)| fed.feeds.is_none()));
        let lot = root.and_then(|root| entrants.get(root)?.as_ref().ok()?.lot);
        let Some(entrant) = entrants.get_mut(at) else { continue };
        let Ok(found) = entrant else { continue };
        let Some(joined) = lot.and_then(|lot| lots.get_mut(lot)) else {
            *entrant = Err(Refused::Feeds);
            continue;
        };
        found.lot = lot;
        for (sum, amount) in joined.bundle.iter_mut().zip(&bid.bundle) {
            *sum += u128::from(*amount);
        }
        joined.value += i128::from(bid.value) - found.verification;
        joined.reserve += found.reserve;
        joined.name = joined.name.min(*id);
    }
    for lot in &mut lots {
        let value = u128::try_from(lot.value).unwrap_or(0);
        let (value, share) = (value.saturating_mul(SCALE), epoch.share(&lot.bundle).max(1));
        lot.density = match (u64::try_from(value), u64::try_from(share)) {
            (Ok(value), Ok(share)) => u128::from(value / share),
            _ => value / share,
        };
    }
    lots
}

/// Of each resource: the density of the best lot that wanted it and was left out, but not above that of any winner, so
/// that no winner pays more than it bid.
fn prices(lots: &[Lot], lost: &[usize]) -> [u128; RESOURCES] {
    let mut prices = [0; RESOURCES];
    for (resource, price) in prices.iter_mut().enumerate() {
        let wants = |lot: &&Lot| lot.bundle.get(resource).is_some_and(|amount| *amount > 0);
        let won = lots.iter().filter(|lot| lot.has_won);
        let Some(least) = won.filter(wants).map(|lot| lot.density).min() else { continue };
        let left_out = lost.iter().filter_map(|at| lots.get(*at)).filter(wants).map(|lot| lot.density);
        *price = left_out.filter(|density| *density <= least).max().unwrap_or(0);
    }
    prices
}

/// What a winner pays: the prices or the reserve, whichever is more, and its verification.
fn charge(epoch: &Epoch, bid: &Bid, entrant: &Entrant, prices: &[u128; RESOURCES]) -> u64 {
    let parts = bid.bundle.iter().zip(&epoch.supply).zip(prices);
    let price: u128 = parts
        .filter(|((amount, _), price)| **amount > 0 && **price > 0)
        .map(|((amount, supply), price)| {
            let share = div_up(u128::from(*amount) * SCALE, u128::from((*supply).max(1)));
            // A density below 2^104 times a share of at most 2^40: in two parts, so that nothing overflows.
            let low = (price & (SCALE - 1)) * share;
            (price >> SHARE_BITS) * share + (low >> SHARE_BITS) + u128::from(low & (SCALE - 1) != 0)
        })
        .sum();
    let asked = price.max(entrant.reserve);
    let pays = i128::try_from(asked).unwrap_or(i128::MAX).saturating_add(entrant.verification).max(0);
    // A feeder's own value may be less than its reserve: the lot pays together, each at most what it offered.
    u64::try_from(pays).unwrap_or(u64::MAX).min(bid.value)
}
