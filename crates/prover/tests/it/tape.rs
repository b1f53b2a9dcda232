//! Verifiers with a tape: no model, no commitment, and a conversation with the prover.

use model::Model;
use model::import::Architecture;
use model::synthetic::SyntheticModel;
use proof_system::field::{Base, Ext};
use prover::{Talk, WeightIntegers};
use verifier::soundness::Soundness;
use verifier::tape::{Conversation, Entry, Turn, coordinates, values};
use verifier::verify::{Pending, verify_trace};
use verifier::weight_stream::WeightStream;
use verifier::{Outline, Reject};

use crate::world::{claim, engine};

/// Elements that are the same in every run: SplitMix64.
fn random(seed: u64) -> impl FnMut() -> Ext {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    };
    move || Ext::new(Base::reduce_wide(next().into()), Base::reduce_wide(next().into()))
}

/// A tape of one point.
fn tape(model: &Model, seed: u64) -> Entry {
    let weights = WeightStream::new(&Outline::of(model));
    let point: Vec<Ext> = std::iter::repeat_with(random(seed)).take(coordinates(&weights.stream)).collect();
    let value = values(model, &weights, std::slice::from_ref(&point))[0];
    Entry { point, value }
}

/// A proof of a claim that lacks only the weights.
fn pending(model: &Model, engine: &engine::Engine) -> Pending {
    let claim = claim(engine, (30..36).collect(), 3);
    let proof = prover::prove(model, &claim, &|_| {}).expect("a provable claim");
    verify_trace(&Outline::of(model), &claim, &proof).expect("an honest proof")
}

/// A whole conversation; `change` sees each turn's number and what is said.
fn converse(
    pending: &Pending,
    prover: &Model,
    verifier: (&Model, Entry),
    mut change: impl FnMut(usize, &mut Vec<Ext>),
) -> Result<Soundness, Reject> {
    let weights = WeightStream::new(&Outline::of(verifier.0));
    let mut coins = random(77);
    let coin = || Ok::<_, Reject>(coins());
    let mut conversation = Conversation::new(pending.clone(), &weights, verifier.1, coin)?;
    let (mut turn, mut refused) = (0, None);
    let mut talk = Talk::new(|said: &[Ext]| {
        let mut said = said.to_vec();
        change(turn, &mut said);
        turn += 1;
        conversation.hear(&said).unwrap_or_else(|reason| {
            refused = Some(reason);
            None
        })
    });
    WeightIntegers::new(prover).expect("tokens fit").answer(pending, &mut talk);
    talk.finish();
    match refused {
        Some(reason) => Err(reason),
        None => {
            assert_eq!(conversation.turn(), Turn::Over);
            conversation.verdict()
        }
    }
}

#[test]
fn the_weights_are_shown_in_conversation() {
    for synthetic in [
        SyntheticModel::tiny(Architecture::Llama),
        SyntheticModel {
            tied_embeddings: false,
            heads: 6,
            kv_heads: 3,
            width: 160,
            ..SyntheticModel::tiny(Architecture::Llama)
        },
    ] {
        let engine = engine(&synthetic);
        let model = engine.model();
        let pending = pending(model, &engine);
        let verdict = converse(&pending, model, (model, tape(model, 5)), |_, _| {});
        assert!(verdict.as_ref().is_ok_and(|soundness| soundness.bits() >= 100), "{verdict:?}");
    }
}

/// Each element that is said, changed; and turns that are too short or too long.
#[test]
fn every_changed_word_is_rejected() {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let model = engine.model();
    let pending = pending(model, &engine);
    let mut lengths = Vec::new();
    assert!(converse(&pending, model, (model, tape(model, 5)), |_, said| lengths.push(said.len())).is_ok());
    let mut words = 0;
    for (turn, length) in lengths.iter().enumerate() {
        for place in 0..*length {
            let changed = |now: usize, said: &mut Vec<Ext>| {
                if now == turn {
                    said[place] += Ext::ONE;
                }
            };
            words += 1;
            assert!(converse(&pending, model, (model, tape(model, 5)), changed).is_err(), "{turn}, {place}");
        }
    }
    println!("{words} words of {} turns changed, 0 accepted", lengths.len());
    let short = converse(&pending, model, (model, tape(model, 5)), |turn, said| {
        said.truncate(if turn == 3 { 1 } else { 99 })
    });
    assert!(matches!(short, Err(Reject::TooShort { .. })), "{short:?}");
    let long = converse(&pending, model, (model, tape(model, 5)), |turn, said| {
        said.extend((turn == 3).then_some(Ext::ONE));
    });
    assert_eq!(long, Err(Reject::TooLong { extra: 1 }));
}

/// A prover with other weights answers honestly about them; and a tape of another model's shape.
#[test]
fn other_weights_are_rejected() {
    let honest = engine(&SyntheticModel::tiny(Architecture::Llama));
    let other = engine(&SyntheticModel { seed: 2, ..SyntheticModel::tiny(Architecture::Llama) });
    let pending = pending(other.model(), &other);
    assert!(converse(&pending, other.model(), (other.model(), tape(other.model(), 5)), |_, _| {}).is_ok());
    let verdict = converse(&pending, other.model(), (other.model(), tape(honest.model(), 5)), |_, _| {});
    assert_eq!(verdict, Err(Reject::Weights { matrix: "some matrix" }));
    let mut entry = tape(honest.model(), 5);
    entry.point.pop();
    let verdict = converse(&pending, other.model(), (other.model(), entry), |_, _| {});
    assert_eq!(verdict, Err(Reject::Tape));
}
