//! Recomputers that lie, sleep and disagree, each with its near miss.

use protocol::{FinishReason, LogitFingerprint};

use protocol::Claim;

use super::*;
use crate::record::test_claim;

const PASS: Outcome = Outcome::Pass;

fn fail() -> Outcome {
    Outcome::Fail { reason: "output_token".to_owned(), position: Some(1) }
}

fn unverifiable() -> Outcome {
    Outcome::Unverifiable { missing: "model_missing".to_owned() }
}

fn undecided() -> Outcome {
    Outcome::Unverifiable { missing: DISAGREE.to_owned() }
}

fn policy(names: &[&str]) -> PanelPolicy {
    PanelPolicy {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        key: [3; 32],
        ..PanelPolicy::single(1000, 100)
    }
}

fn claim(number: u64) -> Claim {
    let mut claim = test_claim(*blake3::hash(&number.to_le_bytes()).as_bytes());
    claim.output_ids = vec![5, 6, 7, 8];
    claim.fingerprints = (0..4).map(|at| LogitFingerprint::new(number, at).unwrap()).collect();
    claim.finish = FinishReason::Length;
    claim
}

fn with_case(names: &[&str]) -> Panel {
    let mut panel = Panel::new(policy(names));
    panel.add(7, claim(7).encode(), 0).unwrap();
    panel
}

/// Each recomputer takes what it is given and says what it always says, until nobody has anything left; what was
/// decided.
fn run(panel: &mut Panel, says: &[Outcome]) -> (Vec<Decided>, Vec<&'static str>) {
    let (mut decided, mut warnings) = (Vec::new(), Vec::new());
    loop {
        let mut worked = false;
        for (seat, outcome) in says.iter().enumerate() {
            while let Some((tag, _)) = panel.lease(seat, 0) {
                worked = true;
                let ruling = panel.judge(seat, tag, outcome);
                warnings.extend(ruling.warnings.iter().map(Warning::code));
                for case in ruling.decided {
                    assert!(panel.close(case.tag));
                    decided.push(case);
                }
            }
        }
        if !worked {
            return (decided, warnings);
        }
    }
}

#[track_caller]
fn check(names: &[&str], says: &[Outcome], outcome: Option<Outcome>, warnings: &[&str]) {
    let mut panel = with_case(names);
    let expected: Vec<Decided> =
        outcome.map(|outcome| Decided { tag: 7, outcome, is_pick: true }).into_iter().collect();
    assert_eq!(run(&mut panel, says), (expected.clone(), warnings.to_vec()));
    assert_eq!((panel.backlog(), panel.has_open_fail()), (1 - expected.len(), false));
}

#[test]
fn one_alone_decides() {
    for outcome in [PASS, fail(), unverifiable()] {
        check(&["a"], std::slice::from_ref(&outcome), Some(outcome.clone()), &[]);
    }
}

#[test]
fn two_convict_and_one_does_not() {
    let two = ["a", "b"];
    check(&two, &[fail(), fail()], Some(fail()), &["fail_unconfirmed"]);
    // A lying first: the server lives, and people are told.
    check(&two, &[fail(), PASS], Some(undecided()), &["fail_unconfirmed", DISAGREE]);
    // A second that can't tell confirms nothing.
    check(&two, &[fail(), unverifiable()], Some(undecided()), &["fail_unconfirmed", DISAGREE]);
    check(&two, &[unverifiable(), fail()], Some(undecided()), &[DISAGREE]);
    check(&two, &[unverifiable(), PASS], Some(PASS), &[]);
    check(&two, &[unverifiable(), unverifiable()], Some(unverifiable()), &[]);
    // The near miss: what the first passes, the second is not asked.
    check(&two, &[PASS, fail()], Some(PASS), &[]);
}

#[test]
fn a_third_breaks_the_tie() {
    let three = ["a", "b", "c"];
    check(&three, &[fail(), PASS, fail()], Some(fail()), &["fail_unconfirmed", DISAGREE]);
    check(&three, &[fail(), PASS, PASS], Some(PASS), &["fail_unconfirmed", DISAGREE]);
    check(&three, &[fail(), PASS, unverifiable()], Some(undecided()), &["fail_unconfirmed", DISAGREE]);
    check(&three, &[fail(), fail(), PASS], Some(fail()), &["fail_unconfirmed"]);
}

#[test]
fn a_fail_waits_for_a_second_that_sleeps() {
    let mut panel = with_case(&["a", "b"]);
    let ruling = panel.judge(0, 7, &fail());
    assert_eq!(ruling.decided, []);
    assert_eq!(ruling.warnings, [Warning::Unconfirmed { tag: 7, by: "a".to_owned() }]);
    assert!(panel.has_open_fail());
    // Said again, it is no news and no second voice.
    assert_eq!(panel.judge(0, 7, &fail()), Ruling::default());
    // Nor is it one from a place where nobody sits, or about what nobody was given.
    assert_eq!(panel.judge(2, 7, &fail()), Ruling::default());
    assert_eq!(panel.judge(1, 8, &fail()), Ruling::default());
    assert_eq!(panel.judge(1, 7, &fail()).decided.len(), 1);
}

/// A42: the first passes everything. What it saves is not the second's share.
#[test]
fn a_lying_first_does_not_save_a_cheat_for_the_seconds_share() {
    for (names, caught) in [(vec!["a", "b"], undecided()), (vec!["a", "b", "c"], fail())] {
        let mut panel = Panel::new(PanelPolicy { second_ppb: PPB / 5, jobs_max: 1000, ..policy(&names) });
        for tag in 0..1000 {
            panel.add(tag, claim(tag).encode(), 0).unwrap();
        }
        let (decided, warnings) = run(&mut panel, &[PASS, fail(), fail()]);
        assert_eq!(decided.len(), 1000);
        let found = decided.iter().filter(|case| case.outcome == caught).count();
        // Binomial, 1000 and 0.2: within five standard deviations of 12.6.
        assert!((137..=263).contains(&found), "{found}");
        assert!(warnings.iter().filter(|code| **code == DISAGREE).count() == found);
        // The near miss: a share of nothing finds nothing.
        let mut panel = Panel::new(policy(&names));
        panel.add(7, claim(7).encode(), 0).unwrap();
        assert_eq!(
            run(&mut panel, &[PASS, fail(), fail()]).0,
            [Decided { tag: 7, outcome: PASS, is_pick: true }]
        );
    }
}

/// What a recomputer with the weights sees: whether the claim is one of these, bit for bit.
fn honest(bytes: &[u8]) -> Outcome {
    let given = Claim::decode(bytes).unwrap();
    let right = (0..400).map(claim).find(|right| right.nonce == given.nonce).unwrap();
    if given == right { Outcome::Pass } else { fail() }
}

/// Works through so many picks, with an answer that was not picked after each; warnings and outcomes.
fn examine(panel: &mut Panel, picks: u64, says: impl Fn(&[u8]) -> Outcome) -> (Vec<Warning>, Vec<Outcome>) {
    let (mut warnings, mut outcomes) = (Vec::new(), Vec::new());
    for number in 0..picks {
        panel.offer(2 * number, claim(2 * number).encode());
        panel.add(2 * number + 1, claim(2 * number + 1).encode(), 0).unwrap();
        while let Some((tag, bytes)) = panel.lease(0, 0) {
            let ruling = panel.judge(0, tag, &says(&bytes));
            warnings.extend(ruling.warnings);
            for case in ruling.decided {
                panel.close(case.tag);
                outcomes.push(case.outcome);
            }
        }
    }
    (warnings, outcomes)
}

#[test]
fn a_lazy_recomputer_is_caught_by_canaries_and_an_honest_one_is_not() {
    let policy = PanelPolicy { canary_ppb: PPB / 10, jobs_max: 1000, ..policy(&["a"]) };
    let mut panel = Panel::new(policy.clone());
    let (warnings, outcomes) = examine(&mut panel, 200, |_| PASS);
    assert!(matches!(warnings[..], [Warning::CanaryPassed { .. }]), "{warnings:?}");
    // Its voice is gone: nothing that it says closes anything.
    assert!(outcomes.len() < 100, "{}", outcomes.len());
    assert_eq!(panel.backlog(), 200 - outcomes.len());
    assert!(!panel.report()[0].has_voice);
    // Who says nothing of them is not caught, and passes no pick either.
    let mut panel = Panel::new(policy.clone());
    assert_eq!(examine(&mut panel, 200, |_| unverifiable()), (vec![], vec![unverifiable(); 200]));
    // The honest one finds them all.
    let mut panel = Panel::new(policy);
    assert_eq!(examine(&mut panel, 200, honest), (vec![], vec![PASS; 200]));
    let report = &panel.report()[0];
    assert!((5..=40).contains(&report.canaries) && report.has_voice, "{report:?}");
    assert_eq!(report.picks, 200);
}

#[test]
fn a_canary_differs_in_one_fingerprint_only() {
    let mut panel = Panel::new(PanelPolicy { canary_ppb: PPB, ..policy(&["a"]) });
    panel.offer(2, claim(2).encode());
    panel.add(7, claim(7).encode(), 0).unwrap();
    let (tag, bytes) = panel.lease(0, 0).unwrap();
    assert_eq!(tag, 2);
    let (given, right) = (Claim::decode(&bytes).unwrap(), claim(2));
    let places = given.fingerprints.iter().zip(&right.fingerprints).filter(|(a, b)| a != b);
    assert_eq!(places.count(), 1);
    assert_eq!(Claim { fingerprints: right.fingerprints.clone(), ..given }, right);
    // One answer, one canary.
    assert_eq!(panel.lease(0, 0).unwrap().0, 7);
}

#[test]
fn where_everything_is_picked_canaries_come_from_what_was_checked() {
    let mut panel = Panel::new(PanelPolicy { canary_ppb: PPB, ..policy(&["a"]) });
    panel.add(1, claim(1).encode(), 0).unwrap();
    assert_eq!(run(&mut panel, &[PASS]).0.len(), 1);
    panel.add(3, claim(3).encode(), 0).unwrap();
    assert_eq!(run(&mut panel, &[PASS]), (vec![], vec!["canary_passed"]));
}

/// When the first is silenced, its open word counts no more and the second speaks for it.
#[test]
fn who_lost_its_voice_is_replaced() {
    let mut panel = Panel::new(PanelPolicy { canary_ppb: PPB, ..policy(&["a", "b"]) });
    panel.add(7, claim(7).encode(), 0).unwrap();
    assert_eq!(panel.judge(0, 7, &fail()).decided, []);
    panel.offer(2, claim(2).encode());
    panel.add(9, claim(9).encode(), 0).unwrap();
    assert_eq!(panel.lease(0, 0).unwrap().0, 2);
    let ruling = panel.judge(0, 2, &PASS);
    assert_eq!(ruling.warnings, [Warning::CanaryPassed { tag: 2, by: "a".to_owned() }]);
    assert!(panel.lease(0, 0).is_none() && !panel.has_open_fail());
    assert_eq!(panel.judge(0, 9, &fail()), Ruling::default());
    // Its own canary first.
    assert_eq!(panel.lease(1, 0).unwrap().0, 2);
    assert_eq!(panel.judge(1, 2, &fail()), Ruling::default());
    assert_eq!(panel.judge(1, 7, &PASS).decided, [Decided { tag: 7, outcome: PASS, is_pick: true }]);
    assert_eq!(panel.judge(1, 9, &PASS).decided, [Decided { tag: 9, outcome: PASS, is_pick: true }]);
}

/// Slots of one recomputer as somebody at the wire sees them: when, and of which size class.
fn seen(picked: impl Fn(u64) -> bool, says: impl Fn(&[u8]) -> Outcome) -> Vec<(u64, usize)> {
    let mut panel = Panel::new(PanelPolicy { slot_ms: 100, canary_ppb: PPB / 20, ..policy(&["a"]) });
    let mut slots = Vec::new();
    for now_ms in 0..30_000 {
        if now_ms % 70 == 3 && now_ms < 14_000 {
            let number = now_ms / 70;
            if picked(number) {
                panel.add(number, claim(number).encode(), now_ms).unwrap();
            } else {
                panel.offer(number, claim(number).encode());
            }
        }
        // It asks in every millisecond.
        if let Some((tag, claim)) = panel.lease(0, now_ms) {
            let outcome = says(&claim);
            let job = protocol::lease::FromGateway::Job { tag, claim };
            slots.push((now_ms, job.encode().len()));
            for case in panel.judge(0, tag, &outcome).decided {
                assert_eq!(case.outcome, PASS);
                panel.close(case.tag);
            }
        }
    }
    assert_eq!(panel.backlog(), 0);
    slots
}

#[test]
fn slots_look_the_same_with_picks_and_without() {
    // Many, in bursts, and one only: the first answer is the first job of each.
    let many = seen(|number| number % 40 < 15, honest);
    let few = seen(|number| number == 100, honest);
    assert_eq!(many, few);
    // The first answer came in the first slot; from then on each slot begins with a job.
    assert_eq!((many.len(), many[0].0), (300, 3));
    assert!(many.iter().skip(1).zip(1..).all(|(slot, number)| *slot == (number * 100, many[0].1)));
    assert_eq!(seen(|_| false, honest), few);
}

#[test]
fn a_dummy_that_is_wrong_is_a_cheat_found() {
    let paced = PanelPolicy { slot_ms: 100, ..policy(&["a", "b"]) };
    let mut panel = Panel::new(paced);
    panel.offer(4, claim(4).encode());
    let (tag, _) = panel.lease(0, 0).unwrap();
    assert_eq!(tag, 4);
    // One voice is not enough here either; the case is no pick.
    assert_eq!(panel.judge(0, 4, &fail()).decided, []);
    assert_eq!((panel.backlog(), panel.has_open_fail()), (0, true));
    assert_eq!(panel.lease(1, 0).unwrap().0, 4);
    assert_eq!(panel.judge(1, 4, &fail()).decided, [Decided { tag: 4, outcome: fail(), is_pick: false }]);
    assert!(panel.close(4) && !panel.has_open_fail());
    // The near miss: a right one leaves nothing behind.
    panel.offer(6, claim(6).encode());
    let (tag, _) = panel.lease(1, 100).unwrap();
    assert_eq!(panel.judge(1, tag, &PASS), Ruling::default());
}

#[test]
fn the_limit_counts_picks_but_not_promises() {
    let mut panel = Panel::new(PanelPolicy { jobs_max: 1, ..policy(&["a"]) });
    assert!(panel.add_promised(5, claim(5).encode(), 0) && !panel.add_promised(5, claim(5).encode(), 0));
    assert!(panel.has_room(1) && !panel.has_room(2));
    panel.add(6, claim(6).encode(), 10).unwrap();
    assert_eq!(panel.add(8, claim(8).encode(), 10), Err(SpoolFull { jobs: 2 }));
    assert_eq!((panel.backlog(), panel.lag_ms(50)), (2, 50));
    assert_eq!(run(&mut panel, &[PASS]).0.len(), 2);
    assert_eq!((panel.backlog(), panel.lag_ms(50)), (0, 0));
}
