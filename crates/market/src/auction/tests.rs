//! Who wins and what it pays, what truth is worth, what greed loses, and that no amount breaks anything.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bid, BidId, BidOutcome, Bundle, Class, Cleared, Epoch, Refused, Resource, Sealed, Tier, clear};
use crate::economics::{Infeasible, Stakes, WHOLE_PPB};
use crate::heat_price::HeatPrice;
use crate::ledger::AgentId;

/// Nothing to gain by cheating, so that verification costs nothing.
const HONEST: Stakes =
    Stakes { gain: 0, reward: 0, margin: 0, power_ppb: WHOLE_PPB, false_alarm_ppb: 0, audit_cost: 0 };

fn epoch(supply: Bundle) -> Epoch {
    Epoch {
        supply,
        reserve: [0; 3],
        heat: HeatPrice { target_mk: 70_000, tau_mk: 5000 },
        temperature_mk: 60_000,
        headroom_ppm: 500_000,
        stakes: HONEST,
        interest_ppb: 0,
        proof_discount: 0,
    }
}

fn agent(number: u64) -> AgentId {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&number.to_le_bytes());
    AgentId(name)
}

fn id(number: u64) -> BidId {
    BidId(agent(number).0)
}

fn bid(number: u64, bundle: Bundle, value: u64) -> (BidId, Bid) {
    let bid = Bid {
        agent: agent(number),
        class: Class::Inference,
        bundle,
        value,
        tier: Tier::Audited,
        stake: 0,
        feeds: None,
    };
    (id(number), bid)
}

fn rich(count: u64) -> BTreeMap<AgentId, u64> {
    (0..count).map(|number| (agent(number), u64::MAX)).collect()
}

fn paid(cleared: &Cleared) -> Vec<Option<u64>> {
    let pays = |result: &BidOutcome| match result {
        BidOutcome::Won { pays } => Some(*pays),
        BidOutcome::Lost | BidOutcome::Refused(_) => None,
    };
    cleared.results.iter().map(pays).collect()
}

#[test]
fn winners_pay_the_first_bid_that_is_left_out() {
    let bids: Vec<_> =
        [50, 10, 40, 30, 20].into_iter().zip(0..).map(|(v, n)| bid(n, [0, 1, 0], v * 1000)).collect();
    let cleared = clear(&epoch([0, 3, 0]), &bids, &rich(5));
    assert_eq!(paid(&cleared), [Some(20_000), None, Some(20_000), Some(20_000), None]);
    assert_eq!(cleared.sold, [0, 3, 0]);
    // With room for all the reserve is the price.
    let asking = Epoch { reserve: [0, 15_000 * 6, 0], ..epoch([0, 6, 0]) };
    let cleared = clear(&asking, &bids, &rich(5));
    assert_eq!(paid(&cleared), [Some(15_000), None, Some(15_000), Some(15_000), Some(15_000)]);
}

#[test]
fn heat_prices_background_work_out_and_leaves_what_feeds_a_gpu() {
    let hot = |temperature_mk| Epoch { reserve: [1000, 0, 0], temperature_mk, ..epoch([10, 10, 10]) };
    let background = |number, value| {
        let (name, inference) = bid(number, [1, 0, 0], value);
        (name, Bid { class: Class::Background, ..inference })
    };
    let bids = [background(0, 150), bid(1, [1, 0, 0], 150)];
    assert_eq!(paid(&clear(&hot(70_000), &bids, &rich(2))), [Some(100), Some(100)]);
    // e times as much at 75 degrees.
    assert_eq!(paid(&clear(&hot(75_000), &bids, &rich(2))), [None, Some(100)]);
    assert_eq!(clear(&hot(i64::MAX), &bids, &rich(2)).results[0], BidOutcome::Lost);
}

#[test]
fn what_feeds_a_bid_is_worth_what_the_bid_is() {
    // One millisecond of CPU for two: alone the feeder would lose it.
    let feeder = |value| {
        let (name, alone) = bid(1, [1, 0, 0], value);
        (name, Bid { feeds: Some(id(0)), ..alone })
    };
    let bids = [bid(0, [0, 1, 0], 1_000_000), feeder(10), bid(2, [1, 0, 0], 5000)];
    let cleared = clear(&epoch([1, 1, 1]), &bids, &rich(3));
    let paid = paid(&cleared);
    assert!(paid[0].is_some() && paid[1].is_some() && paid[2].is_none(), "{paid:?}");
    // Without its GPU bid it has nothing to feed; and none feeds itself, or what feeds another.
    let gone = [feeder(10), bid(2, [1, 0, 0], 5000)];
    let refused = BidOutcome::Refused(Refused::Feeds);
    assert_eq!(clear(&epoch([1, 1, 1]), &gone, &rich(3)).results, [refused, BidOutcome::Won { pays: 0 }]);
    // Together they want more than can be counted.
    let much =
        [bid(0, [0, 1, 1], 1000), (id(1), Bid { feeds: Some(id(0)), ..bid(1, [0, 0, u64::MAX], 10).1 })];
    assert_eq!(clear(&epoch([1, 1, u64::MAX]), &much, &rich(2)).results, [BidOutcome::Lost; 2]);
    let (name, own) = bid(0, [1, 0, 0], 10);
    let own = [(name, Bid { feeds: Some(name), ..own })];
    assert_eq!(clear(&epoch([1, 1, 1]), &own, &rich(1)).results, [refused]);
}

#[test]
fn verification_is_paid_for_and_proofs_are_cheaper() {
    let dear = Epoch {
        stakes: Stakes { gain: 1000, reward: 0, margin: 1000, audit_cost: 500, ..HONEST },
        proof_discount: 200,
        reserve: [0, 8000, 0],
        ..epoch([0, 8, 0])
    };
    let with = |number, tier, stake| {
        let (name, plain) = bid(number, [0, 1, 0], 5000);
        (name, Bid { tier, stake, ..plain })
    };
    let bids = [
        with(0, Tier::Proved, 0),
        with(1, Tier::Replayed, 0),
        with(2, Tier::Audited, 1_000_000),
        with(3, Tier::Audited, 2000),
        with(4, Tier::Audited, 10),
    ];
    let cleared = clear(&dear, &bids, &rich(5));
    // 1000 for the unit; a discount, a replay, an audit of a thousandth, of half, and none that is enough.
    assert_eq!(paid(&cleared), [Some(800), Some(1500), Some(1001), Some(1250), None]);
    assert!(matches!(
        cleared.results[4],
        BidOutcome::Refused(Refused::Stake(Infeasible::Gain { stake: 1000 }))
    ));
    // Little headroom: no proofs, then no replays.
    let warm = Epoch { headroom_ppm: 100_000, ..dear.clone() };
    assert_eq!(clear(&warm, &bids, &rich(5)).results[0], BidOutcome::Refused(Refused::Tier));
    let hot = Epoch { headroom_ppm: 0, ..dear };
    assert_eq!(clear(&hot, &bids, &rich(5)).results[1], BidOutcome::Refused(Refused::Tier));
    assert!(matches!(clear(&hot, &bids, &rich(5)).results[2], BidOutcome::Won { .. }));
}

#[test]
fn bids_that_can_not_be_are_refused_by_name() {
    let small = epoch([10, 10, 10]);
    let refused =
        |bids: &[(BidId, Bid)], funds: &BTreeMap<AgentId, u64>| clear(&small, bids, funds).results[0];
    let name = |why| BidOutcome::Refused(why);
    assert_eq!(refused(&[bid(0, [0; 3], 5)], &rich(1)), name(Refused::Empty));
    assert_eq!(refused(&[bid(0, [1, 0, 0], 0)], &rich(1)), name(Refused::Empty));
    assert_eq!(refused(&[bid(0, [11, 0, 0], 5)], &rich(1)), name(Refused::Supply));
    assert_eq!(refused(&[bid(0, [u64::MAX; 3], u64::MAX)], &rich(1)), name(Refused::Supply));
    assert_eq!(refused(&[bid(0, [1, 0, 0], 5), bid(0, [1, 0, 0], 6)], &rich(1)), name(Refused::Duplicate));
    // Bankrupt, and two bids that together are more than there is.
    assert_eq!(refused(&[bid(0, [1, 0, 0], 5)], &BTreeMap::new()), name(Refused::Funds));
    let two = [bid(0, [1, 0, 0], 5), (id(7), Bid { agent: agent(0), ..bid(7, [1, 0, 0], 6).1 })];
    assert_eq!(refused(&two, &BTreeMap::from([(agent(0), 10)])), name(Refused::Funds));
    assert_eq!(refused(&two, &BTreeMap::from([(agent(0), 11)])), BidOutcome::Won { pays: 0 });
}

#[test]
fn a_sealed_bid_is_that_bid_only() {
    let (_, plain) = bid(0, [1, 2, 3], 4);
    let sealed = Sealed::new(&plain, 9, &[1; 32]);
    assert!(sealed.opens(&plain, &[1; 32]));
    assert!(!sealed.opens(&plain, &[2; 32]), "the blind hides it");
    assert!(!Sealed { epoch: 10, ..sealed }.opens(&plain, &[1; 32]), "and binds the epoch");
    for other in [
        Bid { value: 5, ..plain },
        Bid { bundle: [1, 2, 4], ..plain },
        Bid { stake: 1, ..plain },
        Bid { tier: Tier::Proved, ..plain },
        Bid { class: Class::Background, ..plain },
        Bid { agent: agent(1), ..plain },
        Bid { feeds: Some(id(3)), ..plain },
    ] {
        assert!(!sealed.opens(&other, &[1; 32]));
    }
}

/// Value less payment of bidder 0, who is worth `worth` to itself.
fn utility(supply: u64, worth: u64, said: u64, others: &[u64]) -> i128 {
    let mut bids = vec![bid(0, [0, 1, 0], said)];
    bids.extend(others.iter().zip(1..).map(|(value, number)| bid(number, [0, 1, 0], *value)));
    match clear(&epoch([0, supply, 0]), &bids, &rich(bids.len() as u64)).results[0] {
        BidOutcome::Won { pays } => i128::from(worth) - i128::from(pays),
        BidOutcome::Lost | BidOutcome::Refused(_) => 0,
    }
}

/// The best that any allocation is worth, by trying all.
fn optimum(epoch: &Epoch, bids: &[(BidId, Bid)]) -> u128 {
    (0_u32..1 << bids.len())
        .filter_map(|chosen| {
            let chosen = bids.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            let (mut sum, mut value) = ([0_u64; 3], 0);
            for (_, (_, bid)) in chosen {
                sum.iter_mut().zip(bid.bundle).for_each(|(sum, amount)| *sum += amount);
                value += u128::from(bid.value);
            }
            sum.iter().zip(epoch.supply).all(|(sum, supply)| *sum <= supply).then_some(value)
        })
        .max()
        .unwrap_or(0)
}

/// 2,000 random epochs of 10 bundles: what greed keeps of the best allocation.
#[test]
fn greed_loses_little_on_bundles() {
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let (mut worst, mut sum, mut trials) = (1.0_f64, 0.0, 0.0);
    for _ in 0..2000 {
        let small = epoch([20, 20, 20]);
        let bids: Vec<_> = (0..10)
            .map(|number| bid(number, [below(10), 1 + below(9), below(10)], 100 + below(10_000)))
            .collect();
        let cleared = clear(&small, &bids, &rich(10));
        let won = bids.iter().zip(&cleared.results).filter(|(_, r)| matches!(r, BidOutcome::Won { .. }));
        let value: u128 = won.map(|((_, bid), _)| u128::from(bid.value)).sum();
        let share = value as f64 / optimum(&small, &bids) as f64;
        (worst, sum, trials) = (worst.min(share), sum + share, trials + 1.0);
    }
    println!("greedy bundles keep {:.3} of the best in the mean, {worst:.3} at the worst", sum / trials);
    assert!(sum / trials > 0.9 && worst > 0.4);
}

fn any_bid() -> impl Strategy<Value = Bid> {
    let amount = prop_oneof![0..12_u64, Just(u64::MAX), any::<u64>()];
    let value = prop_oneof![0..10_000_u64, Just(u64::MAX), any::<u64>()];
    let tier = prop_oneof![Just(Tier::Audited), Just(Tier::Replayed), Just(Tier::Proved)];
    let class = prop_oneof![Just(Class::Inference), Just(Class::Background)];
    let feeds = prop::option::weighted(0.3, (0..12_u64).prop_map(id));
    (0..8_u64, class, prop::array::uniform3(amount), value.clone(), tier, value, feeds).prop_map(
        |(number, class, bundle, value, tier, stake, feeds)| Bid {
            agent: agent(number),
            class,
            bundle,
            value,
            tier,
            stake,
            feeds,
        },
    )
}

proptest! {
    #[test]
    fn for_one_unit_of_one_resource_truth_is_best(
        supply in 1..5_u64,
        worth in 0..2000_u64,
        said in 0..2000_u64,
        others in prop::collection::vec(1..2000_u64, 0..8),
    ) {
        let honest = utility(supply, worth.max(1), worth.max(1), &others);
        prop_assert!(honest >= 0);
        prop_assert!(utility(supply, worth.max(1), said.max(1), &others) <= honest);
    }

    #[test]
    fn any_bids_keep_to_supply_and_to_what_they_offer(
        bids in prop::collection::vec(any_bid(), 0..12),
        supply in prop::array::uniform3(prop_oneof![0..30_u64, Just(u64::MAX)]),
        reserve in prop::array::uniform3(any::<u64>()),
        temperature_mk in any::<i64>(),
        headroom_ppm in any::<u32>(),
        gain in any::<u64>(),
        funds in any::<u64>(),
    ) {
        let stakes = Stakes { gain, reward: gain / 3, audit_cost: gain, margin: u64::MAX, ..HONEST };
        let epoch = Epoch {
            reserve, temperature_mk, headroom_ppm, stakes, interest_ppb: gain, proof_discount: gain, ..epoch(supply)
        };
        let bids: Vec<(BidId, Bid)> = bids.into_iter().zip(0..).map(|(bid, number)| (id(number), bid)).collect();
        let funds: BTreeMap<AgentId, u64> = (0..8).map(|number| (agent(number), funds)).collect();
        let cleared = clear(&epoch, &bids, &funds);
        let mut sold = [0_u128; 3];
        for ((_, bid), result) in bids.iter().zip(&cleared.results) {
            if let BidOutcome::Won { pays } = result {
                prop_assert!(*pays <= bid.value);
                sold.iter_mut().zip(bid.bundle).for_each(|(sold, amount)| *sold += u128::from(amount));
            }
        }
        for (sold, (said, supply)) in sold.iter().zip(cleared.sold.iter().zip(supply)) {
            prop_assert_eq!(*sold, u128::from(*said));
            prop_assert!(*said <= supply);
        }
        // In another order the same.
        let mut turned = bids.clone();
        turned.reverse();
        let mut results = clear(&epoch, &turned, &funds).results;
        results.reverse();
        prop_assert_eq!(results, cleared.results);
    }
}

#[test]
fn resources_have_their_places() {
    assert_eq!([Resource::CpuMs, Resource::GpuMs, Resource::BusBytes].map(|r| r as usize), [0, 1, 2]);
}
