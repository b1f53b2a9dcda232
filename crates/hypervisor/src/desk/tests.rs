//! A whole epoch by hand; answers that answer nothing; agents that are silent, late, greedy or false.

use market::economics::{Stakes, WHOLE_PPB};
use market::heat_price::HeatPrice;
use market::ledger::Ledger;
use proptest::prelude::*;
use protocol::claim::{CLAIM_VERSION, FinishReason};
use protocol::fingerprint::LogitFingerprint;
use protocol::seed::derive_seed;

use super::*;
use crate::node::Terms;
use crate::sensors::{Quantity, SECOND_NS};
use crate::thermo::{Calibration, Profile, ProfileKey};
use crate::wire::{Offer, WireTier};

const CREDIT: u64 = 1_000_000;
const EPOCH_NS: u64 = 4 * SECOND_NS;
/// Processor seconds of a token.
const SECONDS: f64 = 0.01;
/// Tokens of an answer and its prompt.
const TOKENS: u64 = 20;
const AIR: Air = Air { temperature_mk: 50_000, headroom_ppm: 1_000_000 };
const ALICE: AgentId = AgentId([1; 32]);
const BOB: AgentId = AgentId([2; 32]);

fn desk(tier_rate_ppb: u64) -> Desk {
    let key = ProfileKey { model: "m".into(), device: "d".into(), count: 1, engine: "e".into() };
    let energy =
        Energy { joules: 100.0 * SECONDS, sigma: 0.0, window_ns: SECOND_NS, gap_ns: 0, updates: 100 };
    let window = Calibration { batch: 1.0, tokens: 100.0, energy };
    let profile = Profile::calibrate(key, Quantity::CpuTime, 0.0, 0.0, &[window; 8]).unwrap();
    let supply = [8_000, 0, 0];
    let gain = 8_000 * tier_rate_ppb / WHOLE_PPB;
    let terms = Terms {
        supply,
        reserve: [1_000, 0, 0],
        heat: HeatPrice { target_mk: 70_000, tau_mk: 8_000 },
        stakes: Stakes {
            gain,
            reward: 8_000,
            margin: 8_000,
            power_ppb: WHOLE_PPB,
            false_alarm_ppb: 0,
            audit_cost: 100,
        },
        interest_ppb: 0,
        proof_discount: 0,
        token_reward: 100,
        expected_uj: [1_000, 0, 0],
        unexplained_joule: 20_000,
        throttled_milli: 100,
    };
    let plan = Plan {
        epoch_ns: EPOCH_NS,
        opening_ns: SECOND_NS,
        greeting_ns: 5 * EPOCH_NS,
        supply,
        requests: 4,
        request_cpu_ms: 200,
        request_reward: 2_000,
        stake: 0,
        sampling: Sampling { temperature_milli: 800, max_tokens: 16 },
        prompts: vec![vec![1, 2, 3, 4], vec![5, 6, 7, 8]],
        model: ModelCommitment::from_bytes([9; ID_BYTES]),
    };
    let node = Node::open(terms, profile, [1; 32], Ledger::default()).unwrap();
    let mut desk = Desk::open(node, plan, [2; 32], 0);
    for (agent, name) in [(ALICE, "alice"), (BOB, "bob")] {
        desk.join(agent, name, [0; 32], (CREDIT, 60 * CREDIT), 0).unwrap();
    }
    desk
}

fn offer(cpu_ms: u64) -> Offer {
    Offer {
        background: false,
        bundle: [cpu_ms, 0, 0],
        value: 4_000,
        tier: WireTier::Audited,
        stake: 0,
        feeds: None,
    }
}

/// An agent's side, with all that it heard.
struct Side {
    agent: AgentId,
    used: f64,
    heard: Vec<Event>,
}

impl Side {
    fn new(desk: &mut Desk, agent: AgentId) -> Self {
        let mut side = Self { agent, used: 0.0, heard: Vec::new() };
        side.say(desk, Saying::Hello, 0);
        side
    }

    fn hear(&mut self, todo: &Todo) {
        let own = todo.told.iter().filter(|(agent, _)| *agent == self.agent);
        self.heard.extend(own.map(|(_, event)| event.clone()));
    }

    fn say(&mut self, desk: &mut Desk, saying: Saying, now_ns: u64) {
        let todo = desk.said(self.agent, saying, self.used, now_ns).unwrap();
        self.hear(&todo);
    }

    fn seal(&mut self, desk: &mut Desk, offer: Offer) {
        let epoch = desk.node().epoch();
        let id = Sealed::new(&offer.bid(self.agent), epoch, &[3; 32]).id.into();
        self.say(desk, Saying::Seal { id, epoch }, 1);
    }

    fn open(&mut self, desk: &mut Desk, offer: Offer) {
        self.say(desk, Saying::Open { offer, blind: Hex32([3; 32]) }, 1);
    }

    /// The request that was given last.
    fn request(&self) -> (Hex32, Vec<u32>, Sampling, Hex32) {
        let mut requests = self.heard.iter().rev();
        let found = requests.find_map(|event| {
            let Event::Request { job, prompt_ids, sampling, nonce, .. } = event else { return None };
            Some((*job, prompt_ids.clone(), *sampling, *nonce))
        });
        found.expect("a request was given")
    }

    fn claim(&self) -> Claim {
        let (_, prompt_ids, sampling, nonce) = self.request();
        let (nonce, client_seed) = (Nonce::from_bytes(nonce.0), ClientSeed::from_bytes([0; ID_BYTES]));
        let fingerprint = LogitFingerprint::new(0, 0).unwrap();
        Claim {
            version: CLAIM_VERSION,
            numerics: "n".to_owned(),
            model: ModelCommitment::from_bytes([9; ID_BYTES]),
            template: None,
            prompt_ids,
            settings: sampling.settings(),
            client_seed,
            nonce,
            seed: derive_seed(&nonce, &client_seed),
            output_ids: vec![1; 16],
            finish: FinishReason::Length,
            output_bytes: Vec::new(),
            fingerprints: vec![fingerprint; 16],
            logprobs: None,
            trace: None,
        }
    }

    fn answer(&mut self, desk: &mut Desk, claim: &Claim) {
        let job = self.request().0;
        self.say(desk, Saying::Answer { job, claim: hex::encode(claim.encode()) }, 1);
    }

    fn is_refused(&self) -> bool {
        matches!(self.heard.last(), Some(Event::Refused { .. }))
    }
}

/// From sealing to the next epoch.
fn epoch(desk: &mut Desk, sides: &mut [&mut Side], number: u64, cpu_ms: u64) -> Todo {
    for side in sides.iter_mut() {
        side.seal(desk, offer(cpu_ms));
    }
    let opening = desk.tick(number * EPOCH_NS - SECOND_NS, &BTreeMap::new(), AIR).unwrap();
    for side in sides.iter_mut() {
        side.hear(&opening);
        assert!(matches!(side.heard.last(), Some(Event::Opening { .. })), "{:?}", side.heard);
        side.open(desk, offer(cpu_ms));
    }
    boundary(desk, sides, number)
}

fn boundary(desk: &mut Desk, sides: &mut [&mut Side], number: u64) -> Todo {
    let used = sides.iter().map(|side| (side.agent, side.used)).collect();
    let todo = desk.tick(number * EPOCH_NS, &used, AIR).unwrap();
    for side in sides.iter_mut() {
        side.hear(&todo);
    }
    todo
}

/// Answers all that was given; each takes what it should and `more` seconds.
fn work(desk: &mut Desk, side: &mut Side, requests: u64, more: f64) {
    for _ in 0..requests {
        let claim = side.claim();
        side.used += TOKENS as f64 * SECONDS + more;
        side.answer(desk, &claim);
    }
}

#[test]
fn an_honest_job_is_given_answered_measured_and_paid() {
    let mut desk = desk(0);
    let mut alice = Side::new(&mut desk, ALICE);
    let won = epoch(&mut desk, &mut [&mut alice], 1, 800).won.unwrap();
    assert_eq!(won.len(), 1);
    let before = desk.node().ledger().balance(Account::Agent(ALICE), Asset::Microcredits);
    let mut nonces = Vec::new();
    for _ in 0..4 {
        nonces.push(alice.request().3);
        work(&mut desk, &mut alice, 1, 0.0);
    }
    nonces.dedup();
    assert_eq!(nonces.len(), 4, "each request has its own nonce");
    assert!(!alice.is_refused());
    let todo = boundary(&mut desk, &mut [&mut alice], 2);
    assert!(todo.checks.is_empty() && todo.orders.is_empty() && desk.is_idle(), "{todo:?}");
    assert_eq!(desk.paid_tokens(ALICE), 4 * TOKENS);
    let earned = desk.node().ledger().balance(Account::Agent(ALICE), Asset::Microcredits) - before;
    assert_eq!(earned, 4 * TOKENS * 100);
    let charged = 4 * 200_000;
    assert!(
        alice.heard.contains(&Event::Charged { microjoules: charged, surcharge: 0 }),
        "{:?}",
        alice.heard
    );
}

#[test]
fn a_drawn_job_is_paid_after_its_check_and_a_false_one_never() {
    for (checked, paid, is_stopped) in
        [(Checked::Holds, 80, false), (Checked::False, 0, true), (Checked::Undecided, 0, false)]
    {
        let mut desk = desk(WHOLE_PPB);
        let mut alice = Side::new(&mut desk, ALICE);
        epoch(&mut desk, &mut [&mut alice], 1, 800);
        work(&mut desk, &mut alice, 4, 0.0);
        let todo = boundary(&mut desk, &mut [&mut alice], 2);
        let check = todo.checks.first().unwrap();
        assert_eq!((check.claims.len(), desk.paid_tokens(ALICE)), (4, 0));
        let todo = desk.checked(check.job, checked).unwrap();
        alice.hear(&todo);
        assert_eq!(desk.paid_tokens(ALICE), paid);
        assert_eq!(todo.orders == [(ALICE, Order::Stop(Stopped::FalseClaim))], is_stopped);
        assert!(desk.is_idle());
        assert_eq!(desk.checked(check.job, checked), Err(Refusal::Job), "once");
    }
}

#[test]
fn only_an_answer_to_the_request_counts() {
    let mut desk = desk(0);
    let (mut alice, mut bob) = (Side::new(&mut desk, ALICE), Side::new(&mut desk, BOB));
    epoch(&mut desk, &mut [&mut alice, &mut bob], 1, 800);
    let right = alice.claim();
    let wrong = [
        Claim { nonce: bob.claim().nonce, ..right.clone() },
        Claim { prompt_ids: vec![1], ..right.clone() },
        Claim { model: ModelCommitment::from_bytes([8; ID_BYTES]), ..right.clone() },
        Claim { client_seed: ClientSeed::from_bytes([1; ID_BYTES]), ..right.clone() },
        Claim { settings: protocol::SamplingSettings::greedy(), ..right.clone() },
        Claim {
            output_ids: vec![1; 17],
            fingerprints: vec![LogitFingerprint::new(0, 0).unwrap(); 17],
            ..right.clone()
        },
        Claim { output_bytes: vec![b'a'; 8_192], ..right.clone() },
    ];
    for claim in &wrong {
        alice.answer(&mut desk, claim);
        assert!(alice.is_refused(), "{claim:?}");
    }
    let job = alice.request().0;
    for text in ["", "0", "zz", "00"] {
        alice.say(&mut desk, Saying::Answer { job, claim: text.to_owned() }, 1);
        assert!(alice.is_refused(), "{text}");
    }
    bob.say(&mut desk, Saying::Answer { job, claim: hex::encode(right.encode()) }, 1);
    assert!(bob.is_refused(), "the job is another's");
    alice.answer(&mut desk, &right);
    assert!(!alice.is_refused());
    alice.say(&mut desk, Saying::Answer { job, claim: hex::encode(right.encode()) }, 1);
    assert!(alice.is_refused(), "the next request has another nonce");
}

#[test]
fn a_bundle_buys_so_many_requests_and_no_more() {
    for (cpu_ms, requests) in [(100, 0), (200, 1), (799, 3), (4_000, 4)] {
        let mut desk = desk(0);
        let mut alice = Side::new(&mut desk, ALICE);
        epoch(&mut desk, &mut [&mut alice], 1, cpu_ms);
        let given = alice.heard.iter().find_map(|event| {
            let Event::Won { requests, .. } = event else { return None };
            Some(*requests)
        });
        assert_eq!(given, Some(requests), "{cpu_ms}");
    }
}

#[test]
fn who_mines_beside_it_is_throttled_and_billed_and_its_neighbour_is_not() {
    let mut desk = desk(0);
    let (mut alice, mut bob) = (Side::new(&mut desk, ALICE), Side::new(&mut desk, BOB));
    let mut orders = Vec::new();
    for number in 1..=8 {
        let todo = epoch(&mut desk, &mut [&mut alice, &mut bob], number, 800);
        orders.extend(todo.orders);
        work(&mut desk, &mut alice, 4, 0.0);
        work(&mut desk, &mut bob, 4, 0.4);
    }
    assert_eq!(orders, [(BOB, Order::Throttle(100))]);
    assert!(bob.heard.contains(&Event::Limited { milli: Some(100) }));
    let agents = desk.node().agents();
    assert!(agents[&BOB].surcharges > 0 && agents[&ALICE].surcharges == 0);
}

#[test]
fn a_silent_agent_has_its_time_to_get_ready_and_no_more() {
    let mut desk = desk(0);
    let mut used = BTreeMap::new();
    let mut orders = Vec::new();
    for number in 1..=12 {
        used.insert(BOB, number as f64 * 3.0);
        let todo = desk.tick(number * EPOCH_NS, &used, AIR).unwrap();
        assert!(number > 5 || todo.orders.is_empty(), "{number}: {:?}", todo.orders);
        orders.extend(todo.orders);
        assert!(todo.told.iter().all(|(_, event)| !matches!(event, Event::Sealing { .. })), "nobody listens");
    }
    assert_eq!(orders, [(BOB, Order::Throttle(100))]);
    let charged = 60 * CREDIT - desk.node().ledger().balance(Account::Agent(BOB), Asset::Microjoules);
    assert_eq!(charged, 36 * CREDIT, "it is charged from the first");
}

#[test]
fn a_job_that_is_never_answered_ends() {
    let mut desk = desk(0);
    let mut alice = Side::new(&mut desk, ALICE);
    epoch(&mut desk, &mut [&mut alice], 1, 800);
    work(&mut desk, &mut alice, 3, 0.0);
    for number in 2..=4 {
        assert!(!desk.is_idle());
        boundary(&mut desk, &mut [&mut alice], number);
    }
    assert!(desk.is_idle());
    let claim = alice.claim();
    alice.answer(&mut desk, &claim);
    assert!(alice.is_refused());
    assert_eq!(desk.paid_tokens(ALICE), 0, "three quarters of a job are nothing");
}

#[test]
fn a_desk_that_closes_takes_no_bids_and_lets_jobs_end() {
    let mut desk = desk(0);
    let mut alice = Side::new(&mut desk, ALICE);
    epoch(&mut desk, &mut [&mut alice], 1, 800);
    desk.close();
    work(&mut desk, &mut alice, 4, 0.0);
    let todo = boundary(&mut desk, &mut [&mut alice], 2);
    assert!(todo.won.is_none() && desk.is_idle());
    assert_eq!(desk.paid_tokens(ALICE), 4 * TOKENS);
}

proptest! {
    /// Whatever agents say and whenever: no panic, no error that ends the node, money conserved.
    #[test]
    fn no_order_of_words_breaks_it(steps in proptest::collection::vec((0_u8..7, any::<bool>(), 0_u64..4), 1..150)) {
        let mut desk = desk(WHOLE_PPB / 2);
        let mut sides = [Side::new(&mut desk, ALICE), Side::new(&mut desk, BOB)];
        let (mut now, mut checks) = (0, Vec::new());
        for (what, who, amount) in steps {
            let side = &mut sides[usize::from(who)];
            match what {
                0 => side.say(&mut desk, Saying::Hello, now),
                1 => side.seal(&mut desk, offer(200 * (amount + 1))),
                2 => side.open(&mut desk, offer(200 * (amount + 1))),
                3 if side.heard.iter().any(|event| matches!(event, Event::Request { .. })) => {
                    let claim = side.claim();
                    side.used += amount as f64 * 0.1;
                    side.answer(&mut desk, &claim);
                }
                4 => side.say(&mut desk, Saying::Answer { job: Hex32([0; 32]), claim: "00".to_owned() }, now),
                5 => {
                    if let Some(job) = checks.pop() {
                        let checked = if amount == 0 { Checked::False } else { Checked::Holds };
                        let todo = desk.checked(job, checked).unwrap();
                        side.hear(&todo);
                    }
                }
                _ => {
                    now += (amount + 1) * SECOND_NS;
                    let used = sides.iter().map(|side| (side.agent, side.used)).collect();
                    let todo = desk.tick(now, &used, AIR).unwrap();
                    checks.extend(todo.checks.iter().map(|check| check.job));
                    for side in &mut sides {
                        side.hear(&todo);
                    }
                }
            }
            prop_assert!(Asset::ALL.into_iter().all(|asset| desk.node().ledger().sum(asset) == 0));
        }
    }
}
