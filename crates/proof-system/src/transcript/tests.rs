//! Whatever is said changes whatever is drawn.

use super::{Event, Label, Transcript};
use crate::field::{Base, Ext};

fn drawn(transcript: &mut Transcript) -> Ext {
    transcript.challenge(Label::SumcheckPoint)
}

#[test]
fn every_message_label_and_order_changes_the_challenge() {
    type Said = Box<dyn Fn(&mut Transcript)>;
    let said: Vec<Said> = vec![
        Box::new(|_| ()),
        Box::new(|t| t.absorb(Label::Claims, b"ab")),
        Box::new(|t| t.absorb(Label::Commitment, b"ab")),
        Box::new(|t| {
            t.absorb(Label::Claims, b"a");
            t.absorb(Label::Claims, b"b");
        }),
        Box::new(|t| {
            t.absorb(Label::Claims, b"b");
            t.absorb(Label::Claims, b"a");
        }),
        Box::new(|t| t.absorb(Label::Claims, b"abc")),
        Box::new(|t| t.absorb(Label::Claims, b"")),
        Box::new(|t| {
            t.challenge(Label::SumcheckPoint);
        }),
        Box::new(|t| {
            t.challenge(Label::Batching);
        }),
        Box::new(|t| *t = t.fork(0)),
        Box::new(|t| *t = t.fork(1)),
        Box::new(|t| t.join(&[t.fork(0), t.fork(1)])),
        Box::new(|t| t.join(&[t.fork(1), t.fork(0)])),
        Box::new(|t| t.absorb_elements(Label::Claims, &[Ext::ONE])),
        Box::new(|t| t.absorb_elements(Label::Claims, &[Ext::new(Base::ZERO, Base::ONE)])),
    ];
    let mut challenges: Vec<Ext> = said
        .iter()
        .map(|say| {
            let mut transcript = Transcript::new(b"statement");
            say(&mut transcript);
            drawn(&mut transcript)
        })
        .chain([drawn(&mut Transcript::new(b"another"))])
        .collect();
    let count = challenges.len();
    challenges.sort_by_key(|c| c.to_bytes());
    challenges.dedup();
    assert_eq!(challenges.len(), count);
}

#[test]
fn work_is_checked_and_taken_in() {
    let begin = Transcript::new(b"statement");
    let mut prover = begin.clone();
    let nonce = prover.work(8);
    let mut verifier = begin.clone();
    assert!(verifier.check_work(8, nonce));
    assert_eq!(drawn(&mut prover), drawn(&mut verifier));
    // A nonce for another question is as good as any: 1 of 256.
    let wrong = (0..1000).filter(|nonce| begin.clone().check_work(8, *nonce)).count();
    assert!((1..=16).contains(&wrong), "{wrong} of 1000 answers");
    let mut other = begin;
    assert!(other.check_work(0, 0));
    assert_ne!(drawn(&mut other), drawn(&mut verifier));
}

#[test]
fn indices_stay_in_their_range_and_reach_all_of_it() {
    let mut transcript = Transcript::new(b"");
    let mut drawn = transcript.indices(Label::OpeningQueries, 3, 200);
    drawn.sort_unstable();
    drawn.dedup();
    assert_eq!(drawn, (0..8).collect::<Vec<u64>>());
    assert_eq!(transcript.indices(Label::OpeningQueries, 64, 2).len(), 2);
}

#[test]
fn the_inventory_lists_every_call() {
    let mut transcript = Transcript::recording(b"xy");
    transcript.absorb(Label::Claims, b"abc");
    drawn(&mut transcript);
    let mut part = transcript.fork(7);
    drawn(&mut part);
    transcript.join(&[part]);
    assert_eq!(
        transcript.inventory(),
        [
            Event::Absorb(Label::Statement, 2),
            Event::Absorb(Label::Claims, 3),
            Event::Draw(Label::SumcheckPoint),
            Event::Absorb(Label::Join, 32),
            Event::Absorb(Label::Part, 8),
            Event::Draw(Label::SumcheckPoint),
        ]
    );
}
