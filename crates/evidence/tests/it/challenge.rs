//! Honest claimants pass every challenge; wrong numbers are found as often as the draw says; late, missing and partial
//! answers are what they are.

use evidence::challenge::{Answered, Challenge, ChallengeError, Commitments, Counts};
use evidence::dispute::party::{Numbers, Party};
use model::import::Architecture;
use model::synthetic::SplitMix64;
use protocol::trace::{TraceFault, TraceOperation};
use protocol::{Claim, Nonce};

use crate::audit::FAMILIES;
use crate::dispute::{Recorded, Subject, leaving};

const DEADLINE: u64 = 100;

fn coins(number: u64) -> [u8; 32] {
    let mut coins = [0; 32];
    coins[..8].copy_from_slice(&number.to_le_bytes());
    coins
}

fn challenge(subject: &Subject, claim: &Claim, number: u64, counts: Counts) -> Challenge {
    Challenge::draw(subject.referee.clone(), claim, &coins(number), counts, DEADLINE).expect("committed")
}

fn answered<N: Numbers>(challenge: &mut Challenge, party: &Party<'_, N>) -> Answered {
    let answer = party.answer_probes(challenge.probes());
    challenge.answer(&answer, DEADLINE).clone()
}

const ALL: Counts = Counts { neurons: 6, rows: 2, checkpoints: 2 };

#[test]
fn honest_claimants_pass() {
    let (mut challenges, mut probes) = (0, 0);
    for architecture in FAMILIES {
        let subject = Subject::tiny(architecture);
        let recorded = Recorded::of(&subject.engine, &subject.claim);
        let party = subject.party(recorded, None);
        for number in 0..250 {
            let mut challenge = challenge(&subject, &subject.claim, number, ALL);
            probes += challenge.probes().len();
            assert_eq!(answered(&mut challenge, &party), Answered::Passed, "{architecture:?} {number}");
            challenges += 1;
        }
        // Who computes the numbers again when asked shows the same.
        let mut challenge = challenge(&subject, &subject.claim, 0, ALL);
        assert_eq!(answered(&mut challenge, &subject.honest()), Answered::Passed);
    }
    println!("{challenges} challenges with {probes} probes, all passed");
}

#[test]
fn an_honest_run_that_left_the_range_is_asked_only_about_what_it_has() {
    let subject = leaving();
    for number in 0..200 {
        let mut challenge = challenge(&subject, &subject.claim, number, ALL);
        assert_eq!(answered(&mut challenge, &subject.honest()), Answered::Passed);
    }
}

/// The gate's numbers of one block are invented: of a position's operations two do not follow from their inputs, the
/// gate itself and the product that it goes into.
#[test]
fn wrong_numbers_are_found_as_often_as_the_draw_says() {
    let subject = Subject::tiny(Architecture::Llama);
    let mut lie = Recorded::of(&subject.engine, &subject.claim);
    for chunk in &mut lie.0 {
        let gate = &mut chunk.blocks[0].operations[TraceOperation::Gate as usize];
        gate.values.iter_mut().for_each(|value| *value = -*value + 1);
    }
    let claim = subject.committed(&lie);
    let party = subject.party(lie, None);
    let tokens = (claim.prompt_ids.len() + claim.output_ids.len() - 1) as f64;
    // Operations per position: ten of each of two blocks, the last residual, and logits from the last prompt token on.
    let shares = (0..tokens as usize).map(|p| 2.0 / if p + 1 < claim.prompt_ids.len() { 21.0 } else { 22.0 });
    let share = shares.sum::<f64>() / tokens;
    for neurons in [1, 4, 16] {
        let (trials, mut found) = (1000, 0);
        for number in 0..trials {
            let counts = Counts { neurons, ..Counts::default() };
            let mut challenge = challenge(&subject, &claim, number, counts);
            match answered(&mut challenge, &party) {
                Answered::Passed => {}
                Answered::Wrong { place, fault: TraceFault::Product, .. } => {
                    assert!(matches!(place.operation, TraceOperation::Gate | TraceOperation::Down));
                    assert_eq!(place.block, 0);
                    found += 1;
                }
                other @ (Answered::Missing
                | Answered::Late
                | Answered::Partial { .. }
                | Answered::Wrong { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
        let expected = 1.0 - (1.0 - share).powi(neurons as i32);
        let measured = f64::from(found) / trials as f64;
        let deviation = (expected * (1.0 - expected) / trials as f64).sqrt();
        println!("{neurons} neurons: {measured:.3} found, {expected:.3} expected, {trials} trials");
        // A down number whose gate value is rounded away follows from the invented gate as well.
        assert!((measured - expected).abs() < 4.0 * deviation, "{measured} against {expected}");
    }
}

#[test]
fn late_missing_partial_and_wrong_are_different() {
    let subject = Subject::tiny(Architecture::Llama);
    let party = subject.honest();
    let make = || challenge(&subject, &subject.claim, 7, ALL);
    let answer = party.answer_probes(make().probes());
    let mut late = make();
    assert_eq!(late.tick(DEADLINE), None);
    assert_eq!(*late.answer(&answer, DEADLINE + 1), Answered::Late);
    let mut missing = make();
    assert_eq!(missing.tick(DEADLINE + 1), Some(&Answered::Missing));
    assert_eq!(*missing.answer(&answer, DEADLINE), Answered::Missing, "what came first counts");
    assert_eq!(*make().answer(&[], 0), Answered::Missing);
    assert_eq!(*make().answer(&[0; 40], 0), Answered::Missing, "ten times nothing");
    // Some probes without an answer.
    let first = 4 + u32::from_le_bytes(answer[..4].try_into().expect("four")) as usize;
    let partial = Answered::Partial { answered: 1, asked: 10 };
    assert_eq!(*make().answer(&answer[..first], 0), partial);
    let rest = [&[0; 4], &answer[first..]].concat();
    assert_eq!(*make().answer(&rest, 0), Answered::Partial { answered: 9, asked: 10 });
    // The first answer counts.
    let mut twice = make();
    assert_eq!(*twice.answer(&answer[..first], 0), partial);
    assert_eq!(*twice.answer(&answer, 0), partial);
    // Cut, changed, and too long.
    let is_wrong = |bytes: &[u8]| matches!(make().answer(bytes, 0), Answered::Wrong { .. });
    assert!(is_wrong(&answer[..first + 2]) && is_wrong(&[&answer[..], &[0]].concat()));
    assert!(is_wrong(&answer[..first + 30]) && is_wrong(&[255; 40]));
    let mut random = SplitMix64::new(41);
    for _ in 0..500 {
        let mut changed = answer.clone();
        let at = random.below(answer.len() as u64) as usize;
        changed[at] ^= 1 << random.below(8);
        assert!(is_wrong(&changed), "byte {at}");
    }
}

#[test]
fn positions_follow_from_coins_and_commitment() {
    let subject = Subject::tiny(Architecture::Llama);
    let counts = Counts { neurons: 20, rows: 20, checkpoints: 20 };
    let of = |claim: &Claim, number| challenge(&subject, claim, number, counts).probes().to_vec();
    let probes = of(&subject.claim, 1);
    assert_eq!(probes, of(&subject.claim, 1));
    assert_ne!(probes, of(&subject.claim, 2));
    let other = Claim { trace: Some(protocol::TraceRoot::from_bytes([3; 32])), ..subject.claim.clone() };
    assert_ne!(probes, of(&other, 1), "another commitment is asked about other numbers");
    assert!(probes[20..].iter().all(|probe| probe.is_row));
    assert!(probes[40..].iter().all(|probe| probe.place.operation == TraceOperation::Residual));
}

#[test]
fn a_second_commitment_to_the_same_request_is_refused() {
    let subject = Subject::tiny(Architecture::Llama);
    let mut commitments = Commitments::default();
    assert_eq!(commitments.admit(&subject.claim), Ok(()));
    assert_eq!(commitments.admit(&subject.claim), Ok(()), "the same again");
    let other = Claim { trace: Some(protocol::TraceRoot::from_bytes([3; 32])), ..subject.claim.clone() };
    assert_eq!(commitments.admit(&other), Err(ChallengeError::Recommitted));
    let fresh = Claim { nonce: Nonce::from_bytes([8; 32]), ..other.clone() };
    assert_eq!(commitments.admit(&fresh), Ok(()));
    commitments.settle(&subject.claim.nonce);
    assert_eq!(commitments.admit(&other), Ok(()));
}

#[test]
fn challenges_that_make_no_sense_are_refused() {
    let subject = Subject::tiny(Architecture::Llama);
    let draw = |claim: &Claim, counts| {
        Challenge::draw(subject.referee.clone(), claim, &coins(1), counts, DEADLINE).err()
    };
    assert_eq!(draw(&subject.claim, Counts::default()), Some(ChallengeError::Probes));
    let many = Counts { neurons: u32::MAX, rows: u32::MAX, checkpoints: u32::MAX };
    assert_eq!(draw(&subject.claim, many), Some(ChallengeError::Probes));
    let bare = Claim { trace: None, ..subject.claim.clone() };
    assert_eq!(draw(&bare, ALL), Some(ChallengeError::NoTrace));
    let other = Claim { model: protocol::id::ModelCommitment::from_bytes([0; 32]), ..subject.claim.clone() };
    assert_eq!(draw(&other, ALL), Some(ChallengeError::Model));
}
