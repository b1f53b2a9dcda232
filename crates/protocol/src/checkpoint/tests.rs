//! Checkpoints and beacons: one byte form, one signer, and every changed byte refused.

use super::*;

fn gateway() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn party() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

pub(crate) fn terms() -> EpochTerms {
    EpochTerms {
        gateway: gateway().verifying_key().id(),
        epoch: 7,
        audit_key: [3; 32],
        seed_key: [4; 32],
        rate_ppb: 100_000_000,
        models: vec![
            ModelFloor { model: ModelCommitment::from_bytes([5; 32]), floor_ppb: 1000 },
            ModelFloor { model: ModelCommitment::from_bytes([6; 32]), floor_ppb: 2000 },
        ],
        beacon_party: Some(party().verifying_key()),
        previous: Some(CheckpointDigest::from_bytes([8; 32])),
    }
}

fn last() -> Checkpoint {
    Checkpoint { terms: terms(), size: 3, root: MerkleHash::from_bytes([9; 32]), is_final: true }
}

#[test]
fn checkpoints_have_one_byte_form_and_one_signer() {
    let key = gateway().verifying_key();
    let sparse = EpochTerms { beacon_party: None, previous: None, ..terms() };
    for checkpoint in [last(), terms().opening(), sparse.opening()] {
        let bytes = checkpoint.sign(&gateway()).unwrap();
        assert!(bytes.len() <= MAX_CHECKPOINT_BYTES);
        assert_eq!(Checkpoint::verify(&bytes, &key), Ok(checkpoint));
        for place in 0..bytes.len() {
            assert!(Checkpoint::verify(&bytes[..place], &key).is_err());
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(Checkpoint::verify(&changed, &key).is_err(), "byte {place}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Checkpoint::verify(&longer, &key), Err(SignedReason::Message(_))));
        let other = Checkpoint::verify(&bytes, &party().verifying_key());
        assert!(matches!(other, Err(SignedReason::OtherKey { .. })));
    }
}

#[test]
fn a_checkpoint_of_another_is_refused_even_if_it_names_this_gateway() {
    let key = gateway().verifying_key();
    // Signed by another who writes the gateway's id beside the signature.
    let mut forged = signed::sign(&last().payload(), &party());
    let (theirs, ours) = (party().verifying_key().id(), key.id());
    let at = forged.windows(32).position(|window| window == theirs.as_bytes()).unwrap();
    forged[at..at + 32].copy_from_slice(ours.as_bytes());
    assert_eq!(Checkpoint::verify(&forged, &key), Err(SignedReason::Signature));
    // The gateway neither signs in another's name, nor what breaks a limit.
    assert!(matches!(last().sign(&party()), Err(SignedReason::OtherKey { .. })));
    let large = Checkpoint { size: MAX_EPOCH_LEAVES + 1, ..last() };
    assert!(matches!(large.sign(&gateway()), Err(SignedReason::Payload(Error::EpochLimits { .. }))));
    let mut twice = last();
    twice.terms.models[1].model = twice.terms.models[0].model;
    assert_eq!(twice.sign(&gateway()), Err(SignedReason::Payload(Error::ModelOrder)));
    twice.terms.models.clear();
    assert!(matches!(twice.sign(&gateway()), Err(SignedReason::Payload(Error::EpochLimits { .. }))));
    // A beacon is no checkpoint, whoever signed it.
    let beacon = Beacon::new(&last(), [1; 32]).sign(&gateway());
    assert!(matches!(Checkpoint::verify(&beacon, &key), Err(SignedReason::Payload(_))));
}

#[test]
fn the_digest_covers_every_field() {
    let base = last();
    let mut all = vec![base.digest()];
    let mut changed = |change: &dyn Fn(&mut Checkpoint)| {
        let mut other = base.clone();
        change(&mut other);
        all.push(other.digest());
    };
    changed(&|c| c.terms.gateway = KeyId::from_bytes([0; 32]));
    changed(&|c| c.terms.epoch += 1);
    changed(&|c| c.terms.audit_key[0] ^= 1);
    changed(&|c| c.terms.seed_key[0] ^= 1);
    changed(&|c| c.terms.rate_ppb += 1);
    changed(&|c| c.terms.models[1].floor_ppb += 1);
    changed(&|c| c.terms.models.truncate(1));
    changed(&|c| c.terms.beacon_party = None);
    changed(&|c| c.terms.previous = None);
    changed(&|c| c.size += 1);
    changed(&|c| c.root = merkle::empty_root());
    changed(&|c| c.is_final = false);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn beacons_have_one_byte_form_and_bind_the_checkpoint() {
    let key = party().verifying_key();
    let beacon = Beacon::new(&last(), [7; 32]);
    let bytes = beacon.sign(&party());
    assert!(bytes.len() <= MAX_BEACON_BYTES);
    assert_eq!(Beacon::verify(&bytes, &key), Ok(beacon));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Beacon::verify(&changed, &key).is_err(), "byte {place}");
        assert!(Beacon::verify(&bytes[..place], &key).is_err());
    }
    let other = Beacon::verify(&bytes, &gateway().verifying_key());
    assert!(matches!(other, Err(SignedReason::OtherKey { .. })));
    let elsewhere = Beacon::new(&terms().opening(), [7; 32]);
    assert_ne!(beacon.lottery_key(), elsewhere.lottery_key());
    assert_ne!(beacon.lottery_key(), Beacon::new(&last(), [8; 32]).lottery_key());
}

#[test]
fn leaves_have_one_byte_form() {
    let leaf = Leaf {
        tag: u64::MAX,
        model: u32::MAX,
        claim: ClaimDigest::from_bytes([1; 32]),
        cost_tokens: u64::MAX,
        picked: true,
    };
    let bytes = leaf.encode();
    assert!(bytes.len() <= MAX_LEAF_BYTES);
    assert_eq!(Leaf::decode_from(&mut Decoder::new(&bytes)), Ok(leaf));
    for place in 0..bytes.len() {
        assert!(Leaf::decode_from(&mut Decoder::new(&bytes[..place])).is_err());
    }
    assert_ne!(Leaf { picked: false, ..leaf }.hash(), leaf.hash());
    assert_ne!(Leaf { cost_tokens: 1, ..leaf }.hash(), leaf.hash());
}
