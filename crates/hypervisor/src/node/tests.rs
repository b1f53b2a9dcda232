//! Honest agents earn, cheats lose, miners pay for what they burn, and no order of events makes or loses money.

use market::auction::Class;
use proptest::prelude::*;

use super::*;
use crate::sensors::{Quantity, SECOND_NS};
use crate::thermo::{Calibration, ProfileKey};

const CREDIT: u64 = 1_000_000;
/// Joules of a token, and tokens of a job.
const JOULES: f64 = 0.5;
const TOKENS: u64 = 1000;

fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

pub(super) fn energy(joules: f64) -> Energy {
    Energy { joules, sigma: 0.02 * joules, window_ns: 10 * SECOND_NS, gap_ns: 0, updates: 100 }
}

fn profile() -> Profile {
    let key = ProfileKey { model: "m".into(), device: "d".into(), count: 1, engine: "e".into() };
    let window = Calibration { batch: 1.0, tokens: TOKENS as f64, energy: energy(TOKENS as f64 * JOULES) };
    Profile::calibrate(key, Quantity::Energy, 0.0, 0.0, &[window; 8]).unwrap()
}

fn terms() -> Terms {
    Terms {
        supply: [80_000, 10_000, 1 << 30],
        reserve: [10_000, 10_000, 1000],
        heat: HeatPrice { target_mk: 60_000, tau_mk: 8_000 },
        stakes: Stakes {
            gain: 6_000,
            reward: 10_000,
            margin: 2_000,
            power_ppb: WHOLE_PPB,
            false_alarm_ppb: 0,
            audit_cost: 1_000,
        },
        interest_ppb: 1_000,
        proof_discount: 500,
        token_reward: 10,
        expected_uj: [10_000, 50_000, 0],
        unexplained_joule: 1_000,
        throttled_milli: 100,
    }
}

fn node(secret: u8) -> Node {
    let mut node = Node::open(terms(), profile(), [secret; 32], Ledger::default()).unwrap();
    for number in 1..=3 {
        node.fund(agent(number), [0; 32], 20 * CREDIT, 50_000 * CREDIT).unwrap();
    }
    node
}

fn bid(of: AgentId, tier: Tier) -> Bid {
    let bundle = [1_000, 2_000, 1 << 20];
    Bid { agent: of, class: Class::Inference, bundle, value: 50_000, tier, stake: 100_000, feeds: None }
}

/// One epoch in which these agents bid and win.
fn admitted(node: &mut Node, agents: &[AgentId], tier: Tier) -> Vec<Admission> {
    for of in agents {
        node.seal(*of, Sealed::new(&bid(*of, tier), node.epoch(), &[7; 32])).unwrap();
    }
    node.end_sealing();
    for of in agents {
        node.unseal(bid(*of, tier), &[7; 32]).unwrap();
    }
    let admitted = node.clear(50_000, 500_000);
    assert_eq!(admitted.won.len(), agents.len(), "{admitted:?}");
    admitted.won
}

/// Joules as measured, tokens as claimed.
fn work(node: &mut Node, job: &Admission, joules: f64, tokens: u64) -> Measured {
    node.claim(job.agent, job.job, Claimed { tokens, batch: 1.0 }).unwrap();
    node.measure(job.agent, &energy(joules), 50_000).unwrap()
}

fn credits(node: &Node, of: AgentId) -> u64 {
    node.ledger().balance(Account::Agent(of), Asset::Microcredits)
}

fn conserved(node: &Node) {
    assert!(Asset::ALL.into_iter().all(|asset| node.ledger().sum(asset) == 0));
}

#[test]
fn an_honest_agent_is_paid_and_charged_what_it_drew() {
    let mut node = node(1);
    let job = admitted(&mut node, &[agent(1)], Tier::Replayed)[0];
    let joules = |node: &Node| node.ledger().balance(Account::Agent(agent(1)), Asset::Microjoules);
    let measured = work(&mut node, &job, TOKENS as f64 * JOULES, TOKENS);
    assert_eq!((measured.charged_uj, measured.surcharge, measured.order), (500 * CREDIT, 0, Order::Run));
    assert!(matches!(measured.outcome, Outcome::Evidence(evidence) if evidence.nats > 0.0));
    assert_eq!(measured.checks, [job.job]);
    assert_eq!(node.checked(job.job, Checked::Holds), Ok(Order::Run));
    assert_eq!(credits(&node, agent(1)), 20 * CREDIT - job.pays + TOKENS * 10);
    assert_eq!(joules(&node), 49_500 * CREDIT);
    assert_eq!(node.checked(job.job, Checked::Holds), Err(Refusal::Job), "settled once");
    conserved(&node);
}

#[test]
fn a_false_claim_costs_the_stake_and_stops_its_agent() {
    let mut node = node(1);
    let job = admitted(&mut node, &[agent(1)], Tier::Replayed)[0];
    work(&mut node, &job, TOKENS as f64 * JOULES, TOKENS);
    assert_eq!(node.checked(job.job, Checked::False), Ok(Order::Stop(Stopped::FalseClaim)));
    assert_eq!(credits(&node, agent(1)), 20 * CREDIT - job.pays - 100_000);
    let sealed = Sealed::new(&bid(agent(1), Tier::Audited), node.epoch(), &[7; 32]);
    assert_eq!(node.seal(agent(1), sealed), Err(Refusal::Stopped));
    conserved(&node);
}

#[test]
fn nobody_is_punished_for_what_nobody_can_say() {
    let mut node = node(1);
    let job = admitted(&mut node, &[agent(1)], Tier::Replayed)[0];
    work(&mut node, &job, TOKENS as f64 * JOULES, TOKENS);
    assert_eq!(node.checked(job.job, Checked::Undecided), Ok(Order::Run));
    assert_eq!(credits(&node, agent(1)), 20 * CREDIT - job.pays, "neither paid nor punished");
}

#[test]
fn half_the_energy_is_suspect_but_no_proof() {
    let mut node = node(1);
    let usual = node.check_ppb(agent(1), Tier::Audited, 100_000);
    for _ in 0..3 {
        let job = admitted(&mut node, &[agent(1)], Tier::Audited)[0];
        let measured = work(&mut node, &job, TOKENS as f64 * JOULES / 2.0, TOKENS);
        assert_eq!(measured.order, Order::Run, "energy alone stops nobody");
        for check in measured.checks {
            node.checked(check, Checked::Holds).unwrap();
        }
    }
    assert!(usual < WHOLE_PPB);
    assert_eq!(node.check_ppb(agent(1), Tier::Audited, 100_000), WHOLE_PPB);
    assert_eq!(node.check_ppb(agent(2), Tier::Audited, 100_000), usual, "others are not");
}

#[test]
fn a_miner_beside_its_inference_is_throttled_and_billed() {
    let mut node = node(1);
    let mut order = Order::Run;
    for _ in 0..12 {
        let job = admitted(&mut node, &[agent(1)], Tier::Audited)[0];
        let measured = work(&mut node, &job, TOKENS as f64 * JOULES * 1.6, TOKENS);
        for check in measured.checks {
            node.checked(check, Checked::Holds).unwrap();
        }
        order = measured.order;
        if order != Order::Run {
            assert!(measured.surcharge > 0);
            break;
        }
    }
    assert_eq!(order, Order::Throttle(100));
    // What it burns beside its answers says nothing about them.
    assert!(node.check_ppb(agent(1), Tier::Audited, 100_000) < WHOLE_PPB);
    conserved(&node);
}

#[test]
fn an_empty_wallet_stops_and_owes_nothing() {
    let mut node = node(1);
    node.fund(agent(9), [0; 32], CREDIT, 300 * CREDIT).unwrap();
    let job = admitted(&mut node, &[agent(9)], Tier::Audited)[0];
    let measured = work(&mut node, &job, 1_000.0, TOKENS);
    assert_eq!(measured.charged_uj, 300 * CREDIT);
    assert_eq!(node.order(agent(9)), Order::Stop(Stopped::WalletEmpty));
    assert_eq!(node.ledger().balance(Account::Agent(agent(9)), Asset::Microjoules), 0);
    conserved(&node);
}

#[test]
fn background_work_that_was_paid_for_is_explained() {
    let mut node = node(1);
    for _ in 0..20 {
        let mut order = Order::Run;
        let work =
            Bid { class: Class::Background, bundle: [4_000, 0, 0], stake: 0, ..bid(agent(1), Tier::Audited) };
        node.seal(agent(1), Sealed::new(&work, node.epoch(), &[7; 32])).unwrap();
        node.end_sealing();
        node.unseal(work, &[7; 32]).unwrap();
        assert_eq!(node.clear(50_000, 500_000).won.len(), 1);
        // 4000 ms of 10 mJ each, with noise.
        for joules in [39.0, 41.0] {
            order = node.measure(agent(1), &energy(joules / 2.0), 50_000).unwrap().order;
        }
        assert_eq!(order, Order::Run);
    }
    // The same again without a job is not.
    let orders = (0..20).map(|_| node.measure(agent(1), &energy(40.0), 50_000).unwrap().order);
    assert!(orders.last() == Some(Order::Throttle(100)));
}

#[test]
fn a_sleeper_pays_its_price_and_gets_its_stake_back() {
    let mut node = node(1);
    let job = admitted(&mut node, &[agent(1)], Tier::Audited)[0];
    for _ in 0..2 {
        node.end_sealing();
        node.clear(50_000, 500_000);
        node.measure(agent(1), &energy(0.0), 50_000).unwrap();
    }
    assert_eq!(credits(&node, agent(1)), 20 * CREDIT - job.pays);
    let late = node.claim(agent(1), job.job, Claimed { tokens: 1, batch: 1.0 });
    assert_eq!(late, Err(Refusal::Job));
}

#[test]
fn bids_are_what_was_sealed_by_whom_it_was_sealed() {
    let mut node = node(1);
    let sealed = Sealed::new(&bid(agent(1), Tier::Audited), node.epoch(), &[7; 32]);
    assert_eq!(node.unseal(bid(agent(1), Tier::Audited), &[7; 32]), Err(Refusal::Phase));
    assert_eq!(node.seal(agent(8), sealed), Err(Refusal::UnknownAgent));
    node.seal(agent(1), sealed).unwrap();
    assert_eq!(node.seal(agent(2), sealed), Err(Refusal::Seal), "somebody else's");
    let early = Sealed { epoch: node.epoch() + 1, ..sealed };
    assert_eq!(node.seal(agent(2), early), Err(Refusal::Phase));
    node.end_sealing();
    assert_eq!(node.unseal(bid(agent(1), Tier::Replayed), &[7; 32]), Err(Refusal::Seal), "changed");
    node.unseal(bid(agent(1), Tier::Audited), &[7; 32]).unwrap();
    assert_eq!(node.unseal(bid(agent(1), Tier::Audited), &[7; 32]), Err(Refusal::Seal), "once");
}

#[test]
fn joules_are_held_for_all_bids_together() {
    let mut node = node(1);
    // A bundle holds 1.25 (1000 10 mJ + 2000 50 mJ) = 137.5 J.
    node.fund(agent(9), [0; 32], 20 * CREDIT, 200 * CREDIT).unwrap();
    let other = Bid { value: 60_000, ..bid(agent(9), Tier::Audited) };
    for bid in [bid(agent(9), Tier::Audited), other] {
        node.seal(agent(9), Sealed::new(&bid, node.epoch(), &[7; 32])).unwrap();
    }
    node.end_sealing();
    node.unseal(other, &[7; 32]).unwrap();
    assert_eq!(node.unseal(bid(agent(9), Tier::Audited), &[7; 32]), Err(Refusal::Energy));
}

#[test]
fn what_a_crash_left_locked_goes_back() {
    let mut node = node(1);
    let job = admitted(&mut node, &[agent(1), agent(2)], Tier::Audited)[0];
    node.claim(agent(1), job.job, Claimed { tokens: TOKENS, batch: 1.0 }).unwrap();
    // The shell dies here; all it has is the journal.
    let journal = node.take_entries();
    let ledger = Ledger::replay(journal).unwrap();
    assert_eq!(ledger, *node.ledger());
    let mut again = Node::open(terms(), profile(), [1; 32], ledger).unwrap();
    assert_eq!(credits(&again, agent(1)), 20 * CREDIT);
    assert_eq!(again.take_entries().len(), 2);
    assert!(again.epoch() > node.epoch(), "no key of before comes again");
    assert_eq!(admitted(&mut again, &[agent(1)], Tier::Audited).len(), 1);
    conserved(&again);
}

#[test]
fn the_same_payment_comes_once() {
    let mut node = node(1);
    node.fund(agent(1), [0; 32], 20 * CREDIT, 50_000 * CREDIT).unwrap();
    assert_eq!(credits(&node, agent(1)), 20 * CREDIT);
    let other = node.fund(agent(1), [0; 32], 21 * CREDIT, 50_000 * CREDIT);
    assert_eq!(other, Err(Refusal::Ledger(LedgerError::KeyReused)));
    assert_eq!(node.fund(agent(1), [1; 32], u64::MAX, 0), Err(Refusal::Ledger(LedgerError::Overflow)));
}

proptest! {
    /// Whatever agents, meters and checks do, in whatever order: no panic, sums are 0, and the entries that came out make
    /// the same ledger again.
    #[test]
    fn money_is_conserved(events in proptest::collection::vec((0_u8..8, 1_u8..5, any::<u64>(), any::<f64>()), 1..120)) {
        let mut node = node(3);
        let mut journal = Vec::new();
        let mut jobs: Vec<(AgentId, BidId)> = Vec::new();
        for (kind, number, amount, real) in events {
            let of = agent(number);
            let chosen = usize::try_from(amount % 97).unwrap() % jobs.len().max(1);
            let job = jobs.get(chosen).copied().unwrap_or((of, BidId([0; 32])));
            // Few different ones, so that what is sealed is often opened.
            let (value, stake) = (40_000 + amount % 2 * 10_000, amount / 2 % 2 * 100_000);
            let offer = Bid { value, stake, ..bid(of, Tier::Audited) };
            match kind {
                0 => drop(node.fund(of, [(amount % 5) as u8; 32], amount, amount / 3)),
                1 => drop(node.seal(of, Sealed::new(&offer, node.epoch(), &[7; 32]))),
                2 => {
                    node.end_sealing();
                    let _ = node.unseal(offer, &[7; 32]);
                }
                3 => {
                    let won = node.clear((amount % 120_000) as i64, (amount % 1_000_001) as u32).won;
                    jobs.extend(won.iter().map(|won| (won.agent, won.job)));
                }
                4 => drop(node.claim(job.0, job.1, Claimed { tokens: amount, batch: real })),
                5 => drop(node.measure(of, &energy(real), amount as i64)),
                6 => drop(node.checked(job.1, if amount % 2 == 0 { Checked::False } else { Checked::Holds })),
                _ => drop(node.measure(of, &energy((amount % 5_000) as f64), 60_000)),
            }
            journal.extend(node.take_entries());
            prop_assert!(Asset::ALL.into_iter().all(|asset| node.ledger().sum(asset) == 0));
        }
        prop_assert_eq!(Ledger::replay(journal).unwrap(), node.ledger().clone());
    }
}
