//! Each game that a claimant or challenger could play, and what it gets from it.

use proptest::prelude::*;
use protocol::id::ClaimDigest;

use super::{
    Evidence, MAX_DISPUTES, Optimistic, OptimisticError, Ruled, Ruling, Standing, Terms, TermsError,
    WHOLE_PPM, bond_of, stake_of,
};
use crate::ledger::{Account, AgentId, Asset, Entry, EntryKey, Ledger, LedgerError, Transfer};

const CLAIM: ClaimDigest = ClaimDigest::from_bytes([7; 32]);
const TERMS: Terms = Terms {
    stake: 1000,
    bond: 100,
    window: 50,
    grace: 10,
    fee: 10,
    reward_ppm: WHOLE_PPM / 2,
    compensation_ppm: WHOLE_PPM / 2,
};
const RICH: u64 = 100_000;

fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

/// A ledger in which agents 0 to 99 are rich.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..100 {
        let transfers = vec![Transfer {
            asset: Asset::Microcredits,
            from: Account::Outside,
            to: Account::Agent(agent(number)),
            amount: RICH,
        }];
        ledger.apply(Entry { key: EntryKey([number; 32]), transfers }).expect("from outside");
    }
    ledger
}

fn has(ledger: &Ledger, number: u8) -> u64 {
    ledger.balance(Account::Agent(agent(number)), Asset::Microcredits)
}

/// Agent 0 has made a claim at log size 0.
fn posted() -> (Ledger, Optimistic) {
    let (mut ledger, mut market) = (ledger(), Optimistic::new(TERMS).expect("sound"));
    market.post(&mut ledger, CLAIM, agent(0), 0).expect("rich");
    (ledger, market)
}

fn public(market: &mut Optimistic, ledger: &mut Ledger, challenger: u8, ruling: Ruling, now: u64) {
    let ruled = market.rule(ledger, &CLAIM, &agent(challenger), ruling, Evidence::Public, now);
    assert_eq!(ruled, Ok(Ruled::Settled));
}

#[test]
fn an_unchallenged_claim_is_final_after_its_window() {
    let (mut ledger, mut market) = posted();
    assert_eq!(has(&ledger, 0), RICH - 1000);
    assert_eq!(ledger.balance(stake_of(&CLAIM), Asset::Microcredits), 1000);
    assert_eq!(market.finalize(&mut ledger, &CLAIM, 50), Err(OptimisticError::TooEarly));
    assert_eq!(market.finalize(&mut ledger, &CLAIM, 51), Ok(()));
    assert_eq!((has(&ledger, 0), market.standing(&CLAIM)), (RICH, Some(Standing::Final)));
    for late in [51, 1000] {
        let refused = market.challenge(&mut ledger, &CLAIM, agent(1), late);
        assert_eq!(refused, Err(OptimisticError::Settled));
    }
    assert_eq!(market.post(&mut ledger, CLAIM, agent(0), 60), Err(OptimisticError::Known));
}

#[test]
fn a_false_claim_loses_its_stake_to_challenger_referee_and_nobody() {
    let (mut ledger, mut market) = posted();
    market.challenge(&mut ledger, &CLAIM, agent(1), 50).expect("the last moment");
    assert_eq!(has(&ledger, 1), RICH - 100);
    public(&mut market, &mut ledger, 1, Ruling::Claimant, 90);
    assert_eq!((has(&ledger, 0), has(&ledger, 1)), (RICH - 1000, RICH + 495));
    assert_eq!(ledger.balance(Account::Operator, Asset::Microcredits), 10);
    assert_eq!(ledger.balance(Account::Burned, Asset::Microcredits), 495);
    assert_eq!(market.standing(&CLAIM), Some(Standing::Slashed));
    assert_eq!(market.finalize(&mut ledger, &CLAIM, 1000), Err(OptimisticError::Settled));
    let again = market.rule(&mut ledger, &CLAIM, &agent(1), Ruling::Claimant, Evidence::Public, 91);
    assert_eq!(again, Err(OptimisticError::Settled));
}

/// A friend of the claimant challenges first and loses on purpose: an honest challenger still has its turn.
#[test]
fn losing_on_purpose_buys_no_finality() {
    let (mut ledger, mut market) = posted();
    market.challenge(&mut ledger, &CLAIM, agent(9), 1).expect("the friend");
    // The honest challenger waits for the dispute that is on.
    assert_eq!(market.finalize(&mut ledger, &CLAIM, 60), Err(OptimisticError::Disputed(1)));
    public(&mut market, &mut ledger, 9, Ruling::Challenger, 60);
    assert_eq!(market.standing(&CLAIM), Some(Standing::Open { until: 70 }));
    assert_eq!(market.finalize(&mut ledger, &CLAIM, 70), Err(OptimisticError::TooEarly));
    market.challenge(&mut ledger, &CLAIM, agent(1), 70).expect("within the grace");
    public(&mut market, &mut ledger, 1, Ruling::Claimant, 99);
    assert_eq!(market.standing(&CLAIM), Some(Standing::Slashed));
    // Together claimant and friend have lost the stake, and of the bond all that is not compensation.
    assert_eq!(has(&ledger, 0) + has(&ledger, 9), 2 * RICH - 1000 - 100 + 45);
    // An early loss does not shorten the window either.
    let (mut ledger, mut market) = posted();
    market.challenge(&mut ledger, &CLAIM, agent(9), 1).expect("the friend");
    public(&mut market, &mut ledger, 9, Ruling::Challenger, 2);
    assert_eq!(market.standing(&CLAIM), Some(Standing::Open { until: 50 }));
}

/// A claimant who sees that it is lost challenges itself through a friend: at most half comes back.
#[test]
fn challenging_oneself_returns_at_most_half() {
    let (mut ledger, mut market) = posted();
    assert_eq!(market.challenge(&mut ledger, &CLAIM, agent(0), 1), Err(OptimisticError::OwnClaim));
    market.challenge(&mut ledger, &CLAIM, agent(9), 1).expect("the friend");
    public(&mut market, &mut ledger, 9, Ruling::Claimant, 2);
    let lost = 2 * RICH - has(&ledger, 0) - has(&ledger, 9);
    assert!(2 * lost >= TERMS.stake, "{lost}");
    let greedy = Terms { reward_ppm: WHOLE_PPM / 2 + 1, ..TERMS };
    assert_eq!(Optimistic::new(greedy).err(), Some(TermsError::Reward));
}

#[test]
fn several_challengers_go_on_and_get_their_bonds_back() {
    let (mut ledger, mut market) = posted();
    for challenger in [1, 2, 3] {
        market.challenge(&mut ledger, &CLAIM, agent(challenger), 1).expect("rich");
    }
    assert_eq!(market.challenge(&mut ledger, &CLAIM, agent(2), 2), Err(OptimisticError::Again));
    public(&mut market, &mut ledger, 1, Ruling::Challenger, 3);
    assert_eq!(market.open_disputes(&CLAIM), 2);
    public(&mut market, &mut ledger, 3, Ruling::Claimant, 4);
    assert_eq!([1, 2, 3].map(|n| has(&ledger, n)), [RICH - 100, RICH, RICH + 495]);
    let late = market.rule(&mut ledger, &CLAIM, &agent(2), Ruling::Claimant, Evidence::Public, 5);
    assert_eq!(late, Err(OptimisticError::Settled));
    for challenger in [1, 2, 3] {
        assert_eq!(ledger.balance(bond_of(&CLAIM, &agent(challenger)), Asset::Microcredits), 0);
    }
}

#[test]
fn of_two_liars_neither_gains() {
    let (mut ledger, mut market) = posted();
    market.challenge(&mut ledger, &CLAIM, agent(1), 1).expect("rich");
    market.challenge(&mut ledger, &CLAIM, agent(2), 1).expect("rich");
    public(&mut market, &mut ledger, 1, Ruling::Both, 3);
    assert_eq!([0, 1, 2].map(|n| has(&ledger, n)), [RICH - 1000, RICH - 100, RICH]);
    assert_eq!(ledger.balance(Account::Operator, Asset::Microcredits), 20);
    assert_eq!(ledger.balance(Account::Burned, Asset::Microcredits), 1080);
    assert_eq!(market.standing(&CLAIM), Some(Standing::Slashed));
}

#[test]
fn designated_evidence_moves_nothing() {
    let (mut ledger, mut market) = posted();
    market.challenge(&mut ledger, &CLAIM, agent(1), 1).expect("rich");
    let before = (ledger.clone(), market.clone());
    for ruling in [Ruling::Claimant, Ruling::Challenger, Ruling::Both] {
        let ruled = market.rule(&mut ledger, &CLAIM, &agent(1), ruling, Evidence::Designated, 2);
        assert_eq!(ruled, Ok(Ruled::Escalate));
        assert_eq!((&ledger, &market), (&before.0, &before.1));
    }
    public(&mut market, &mut ledger, 1, Ruling::Claimant, 3);
}

/// What a griefer costs an honest claimant, for what it costs the griefer.
#[test]
fn griefing_is_bounded_by_the_bond() {
    let (mut ledger, mut market) = posted();
    let mut now = 50;
    for griefer in 1..=40 {
        market.challenge(&mut ledger, &CLAIM, agent(griefer), now).expect("within the grace");
        now += 5;
        public(&mut market, &mut ledger, griefer, Ruling::Challenger, now);
        now += TERMS.grace;
        assert_eq!(has(&ledger, griefer), RICH - TERMS.bond);
        // The claimant is paid for each.
        assert_eq!(has(&ledger, 0), RICH - TERMS.stake + u64::from(griefer) * 45);
    }
    market.finalize(&mut ledger, &CLAIM, now + 1).expect("at last");
    // 15 entries of delay for each bond of 100.
    assert_eq!((now - 50) / 40, 15);
}

#[test]
fn the_poor_the_many_and_the_unknown_are_refused() {
    let (mut ledger, mut market) = posted();
    let stranger = agent(200);
    let overdrawn = market.challenge(&mut ledger, &CLAIM, stranger, 1);
    assert!(matches!(
        overdrawn,
        Err(OptimisticError::Ledger(LedgerError::Overdrawn { has: 0, needs: 100, .. }))
    ));
    let other = ClaimDigest::from_bytes([8; 32]);
    assert!(matches!(market.post(&mut ledger, other, stranger, 1), Err(OptimisticError::Ledger(_))));
    assert_eq!(market.standing(&other), None);
    assert_eq!(market.challenge(&mut ledger, &other, agent(1), 1), Err(OptimisticError::NoClaim));
    assert_eq!(market.finalize(&mut ledger, &other, 1), Err(OptimisticError::NoClaim));
    let none = market.rule(&mut ledger, &CLAIM, &stranger, Ruling::Claimant, Evidence::Public, 1);
    assert_eq!(none, Err(OptimisticError::NoDispute));
    for number in 1..=MAX_DISPUTES {
        market.challenge(&mut ledger, &CLAIM, agent(number as u8), 1).expect("room");
    }
    assert_eq!(market.challenge(&mut ledger, &CLAIM, agent(99), 1), Err(OptimisticError::TooMany));
    assert_eq!(market.challenge(&mut ledger, &CLAIM, agent(98), 51), Err(OptimisticError::TooLate));
    // The claim falls with all of them open, in one entry.
    public(&mut market, &mut ledger, 1, Ruling::Claimant, 2);
    assert_eq!(has(&ledger, 64), RICH);
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    let refused = |terms: Terms| terms.validate().err();
    assert_eq!(refused(TERMS), None);
    assert_eq!(refused(Terms { fee: 101, ..TERMS }), Some(TermsError::Fee));
    assert_eq!(refused(Terms { stake: 0, fee: 0, ..TERMS }), Some(TermsError::Fee));
    assert_eq!(refused(Terms { window: 0, ..TERMS }), Some(TermsError::Window));
    assert_eq!(refused(Terms { compensation_ppm: u32::MAX, ..TERMS }), Some(TermsError::Compensation));
}

#[derive(Clone, Debug)]
enum Step {
    Post(u8, u8),
    Challenge(u8, u8),
    Rule(u8, u8, Ruling, Evidence),
    Finalize(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let ruling = prop_oneof![Just(Ruling::Claimant), Just(Ruling::Challenger), Just(Ruling::Both)];
    let evidence = prop_oneof![4 => Just(Evidence::Public), 1 => Just(Evidence::Designated)];
    prop_oneof![
        (0..3_u8, 0..5_u8).prop_map(|(claim, agent)| Step::Post(claim, agent)),
        (0..3_u8, 0..5_u8).prop_map(|(claim, agent)| Step::Challenge(claim, agent)),
        (0..3_u8, 0..5_u8, ruling, evidence).prop_map(|(c, a, r, e)| Step::Rule(c, a, r, e)),
        (0..3_u8).prop_map(Step::Finalize),
        (0..40_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn money_is_conserved_and_no_claim_is_both(steps in prop::collection::vec(step(), 0..120)) {
        let (mut ledger, mut market, mut now) = (ledger(), Optimistic::new(TERMS).expect("sound"), 0);
        let claim = |number: u8| ClaimDigest::from_bytes([number; 32]);
        let mut ended: [Option<Standing>; 3] = [None; 3];
        for step in steps {
            let _ = match step {
                Step::Post(c, a) => market.post(&mut ledger, claim(c), agent(a), now).map(|()| Ruled::Settled),
                Step::Challenge(c, a) => {
                    market.challenge(&mut ledger, &claim(c), agent(a), now).map(|()| Ruled::Settled)
                }
                Step::Rule(c, a, r, e) => market.rule(&mut ledger, &claim(c), &agent(a), r, e, now),
                Step::Finalize(c) => {
                    let open = market.open_disputes(&claim(c));
                    let done = market.finalize(&mut ledger, &claim(c), now).map(|()| Ruled::Settled);
                    prop_assert!(done.is_err() || open == 0);
                    done
                }
                Step::Wait(entries) => {
                    now += entries;
                    Ok(Ruled::Settled)
                }
            };
            prop_assert_eq!(ledger.sum(Asset::Microcredits), 0);
            for number in 0..3_u8 {
                let standing = market.standing(&claim(number));
                let is_open = matches!(standing, Some(Standing::Open { .. }));
                // What is locked is locked for a reason, and no more than that.
                let staked = ledger.balance(stake_of(&claim(number)), Asset::Microcredits);
                prop_assert_eq!(staked, if is_open { TERMS.stake } else { 0 });
                let bonds = (0..5).map(|a| ledger.balance(bond_of(&claim(number), &agent(a)), Asset::Microcredits));
                let expected = market.open_disputes(&claim(number)) as u64 * TERMS.bond;
                prop_assert_eq!(bonds.sum::<u64>(), expected);
                let known = &mut ended[usize::from(number)];
                prop_assert!(known.is_none() || *known == standing, "an end is an end");
                if !is_open {
                    *known = standing;
                }
            }
        }
    }
}
