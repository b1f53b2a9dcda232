//! Epochs of every size: their trees, their proofs, and which beacons they take.

use protocol::checkpoint::ModelFloor;
use protocol::{ClaimDigest, ModelCommitment};

use super::*;
use crate::sampling::{PPB, audit_key_commitment};

fn gateway() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn party() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

const KEY: [u8; 32] = [3; 32];

fn terms(epoch: u64) -> EpochTerms {
    EpochTerms {
        gateway: gateway().verifying_key().id(),
        epoch,
        audit_key: audit_key_commitment(&KEY),
        seed_key: [4; 32],
        rate_ppb: PPB / 4,
        models: vec![ModelFloor { model: ModelCommitment::from_bytes([1; 32]), floor_ppb: PPB / 4 }],
        beacon_party: Some(party().verifying_key()),
        previous: None,
    }
}

/// An epoch with so many answers, decided by its key.
fn open(epoch: u64, answers: u64) -> OpenEpoch {
    let mut open = OpenEpoch::new(terms(epoch), KEY);
    let samplers = open.samplers();
    for tag in 0..answers {
        let claim = ClaimDigest::from_bytes(*blake3::hash(&tag.to_le_bytes()).as_bytes());
        let leaf = Leaf { tag, model: 0, claim, cost_tokens: 256, picked: false };
        open.push(Leaf { picked: samplers.picks(&leaf), ..leaf }, 100 + tag);
    }
    open
}

fn book(epochs: &[(u64, u64)]) -> EpochBook {
    let mut book = EpochBook::default();
    for (epoch, answers) in epochs {
        let open = open(*epoch, *answers);
        let closed = open.close(&gateway()).unwrap();
        book.begin(open);
        book.keep(closed);
    }
    book
}

fn beacon(book: &EpochBook, epoch: u64, value: u8) -> Vec<u8> {
    Beacon::new(book.find(epoch).unwrap().checkpoint(), [value; 32]).sign(&party())
}

#[test]
fn every_size_has_its_tree_and_grows_out_of_its_opening() {
    for answers in [0, 1, 2, 3, 4, 5, 8, 9, 16, 17] {
        let open = open(7, answers);
        let key = gateway().verifying_key();
        let now = Checkpoint::verify(&open.checkpoint(&gateway()).unwrap(), &key).unwrap();
        let closed = open.close(&gateway()).unwrap();
        let last = Checkpoint::verify(closed.signed(), &key).unwrap();
        assert_eq!((now.size, now.root, now.is_final), (answers, last.root, false));
        assert_eq!((last.size, last.is_final, last.digest()), (answers, true, closed.digest()));
        let opening = terms(7).opening();
        let path = merkle::consistency_path(&closed.hashes, 0).unwrap();
        let grown = merkle::verify_consistency((0, &opening.root), (answers, &last.root), &path);
        assert_eq!(grown, Ok(()));
        for tag in 0..answers {
            let proof = closed.proof(tag).unwrap();
            let leaf = proof.leaf.hash();
            let found = merkle::verify_inclusion(&leaf, proof.index, answers, &proof.path, &last.root);
            assert_eq!((proof.leaf.tag, found), (tag, Ok(())));
        }
        assert_eq!(closed.proof(answers), None);
    }
}

#[test]
fn a_beacon_is_taken_once_and_picks_what_the_first_lottery_did_not() {
    let mut book = book(&[(7, 200)]);
    let right = beacon(&book, 7, 1);
    let BeaconTaken::New(picks) = book.take_beacon(7, &right).unwrap() else { unreachable!("not new") };
    // A quarter of the three quarters that were not picked.
    assert!((20..56).contains(&picks.len()), "{}", picks.len());
    assert!(picks.iter().all(|entry| !entry.leaf.picked && entry.sequence == 100 + entry.leaf.tag));
    // Sent again, because the answer was lost.
    assert_eq!(book.take_beacon(7, &right), Ok(BeaconTaken::Repeated));
    let second = beacon(&book, 7, 2);
    assert_eq!(book.take_beacon(7, &second), Err(BeaconRefused::Second { epoch: 7 }));
    assert_eq!(book.take_beacon(7, &right), Ok(BeaconTaken::Repeated));
}

#[test]
fn beacons_of_others_for_others_and_too_early_are_refused() {
    let mut book = book(&[(7, 20), (8, 20)]);
    book.begin(open(9, 3));
    let (of_seven, of_eight) = (beacon(&book, 7, 1), beacon(&book, 8, 1));
    let (seven, eight) = (book.find(7).unwrap().digest(), book.find(8).unwrap().digest());
    let other = Err(BeaconRefused::OtherCheckpoint { found: eight, expected: seven });
    assert_eq!(book.take_beacon(7, &of_eight), other);
    // For the opening of the same epoch, which was known before there was an answer.
    let early = Beacon::new(&terms(7).opening(), [1; 32]).sign(&party());
    assert!(matches!(book.take_beacon(7, &early), Err(BeaconRefused::OtherCheckpoint { .. })));
    let forged = Beacon::new(book.find(7).unwrap().checkpoint(), [1; 32]).sign(&gateway());
    let reason = book.take_beacon(7, &forged);
    assert!(matches!(reason, Err(BeaconRefused::Signed(SignedReason::OtherKey { .. }))));
    let mut changed = of_seven.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(book.take_beacon(7, &changed), Err(BeaconRefused::Signed(SignedReason::Signature)));
    assert_eq!(book.take_beacon(9, &of_seven), Err(BeaconRefused::Open { epoch: 9 }));
    assert_eq!(book.take_beacon(1, &of_seven), Err(BeaconRefused::UnknownEpoch { epoch: 1 }));
    assert!(matches!(book.take_beacon(7, &[]), Err(BeaconRefused::Signed(SignedReason::Message(_)))));
    // After all that the right ones are taken.
    assert!(matches!(book.take_beacon(7, &of_seven), Ok(BeaconTaken::New(_))));
    assert!(matches!(book.take_beacon(8, &of_eight), Ok(BeaconTaken::New(_))));
}

#[test]
fn without_a_party_there_is_no_beacon() {
    let alone = EpochTerms { beacon_party: None, ..terms(7) };
    let closed = OpenEpoch::new(alone, KEY).close(&gateway()).unwrap();
    let signed = Beacon::new(closed.checkpoint(), [1; 32]).sign(&party());
    let mut book = EpochBook::default();
    book.keep(closed);
    assert_eq!(book.take_beacon(7, &signed), Err(BeaconRefused::NoParty { epoch: 7 }));
}

#[test]
fn the_oldest_epochs_are_forgotten() {
    let epochs: Vec<(u64, u64)> = (0..20).map(|epoch| (epoch, 1)).collect();
    let book = book(&epochs);
    assert_eq!(book.closed().count(), EPOCHS_KEPT);
    assert!(book.find(3).is_none() && book.find(4).is_some() && book.open().is_none());
}
