//! The bytes, put together by hand; the parser on foreign ones; the key's envelope; the options.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::fault::FaultDisk;
use super::{OPTIONS, key, open};
use crate::store::segment::{Ending, SealedRecord};
use crate::store::{
    Damage, SEGMENT_BYTES_MIN, SealingKey, Sequence, Store, StoreError, StoreKey, StoreOptions, open_key,
    parse_segment, seal_key,
};

/// A record's bytes and its chain hash by the tables of the module, with nothing of the code.
fn record_by_hand(
    sequence: u64,
    batch: u64,
    kind: u8,
    content: &[u8],
    previous: &[u8; 32],
) -> (Vec<u8>, [u8; 32]) {
    let nonce = [[0; 4].as_slice(), &sequence.to_be_bytes()].concat();
    let aad = [sequence.to_be_bytes().as_slice(), &[kind], previous].concat();
    let ciphertext = Aes256GcmSiv::new(&[7; 32].into())
        .encrypt(&Nonce::try_from(nonce.as_slice()).unwrap(), Payload { msg: content, aad: &aad })
        .unwrap();
    let length = u32::try_from(ciphertext.len()).unwrap();
    let fields =
        [length.to_be_bytes().as_slice(), &[kind], &sequence.to_be_bytes(), &batch.to_be_bytes()].concat();
    let covered = [fields.as_slice(), &ciphertext].concat();
    let bytes = [
        fields.as_slice(),
        &crc32c::crc32c(&fields).to_be_bytes(),
        &crc32c::crc32c(&covered).to_be_bytes(),
        &ciphertext,
    ]
    .concat();
    let chained = [previous.as_slice(), &sequence.to_be_bytes(), &[kind], &ciphertext].concat();
    (bytes, blake3::derive_key("maxwell 2026-11 store chain v1", &chained))
}

#[test]
fn the_bytes_are_as_the_tables_say() {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    store.append(3, b"first".to_vec()).unwrap();
    store.commit().unwrap();
    store.append(4, b"".to_vec()).unwrap();
    store.append(5, b"third".to_vec()).unwrap();
    store.commit().unwrap();

    let tag_key = blake3::derive_key("maxwell 2026-11 store segment header v1", &[7; 32]);
    let mut bytes = [b"MXSTORE\0".as_slice(), &1u32.to_be_bytes(), &[0; 8], &[0; 8], &[0; 32]].concat();
    let tag = blake3::keyed_hash(&tag_key, &bytes);
    bytes.extend_from_slice(tag.as_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    let (first, chain) = record_by_hand(0, 0, 3, b"first", &[0; 32]);
    let (second, chain) = record_by_hand(1, 1, 4, b"", &chain);
    let (third, chain) = record_by_hand(2, 1, 5, b"third", &chain);
    bytes.extend([first, second, third].concat());
    assert_eq!(disk.image()["00000000000000000000.seg"], bytes);
    let (head, head_chain) = store.head().unwrap();
    assert_eq!((head.as_u64(), head_chain.as_bytes()), (2, &chain));
}

/// A segment of three commits with one, two and one records.
fn sample() -> Vec<u8> {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    for (next, count) in [(0, 1), (1, 2), (3, 1)] {
        super::commit(&mut store, next, count).unwrap();
    }
    disk.image()["00000000000000000000.seg"].clone()
}

#[test]
fn a_length_is_refused_before_it_is_used() {
    for length in [0, 15, (16 << 20) + 17, u32::MAX] {
        let mut bytes = Vec::new();
        let fields = [length.to_be_bytes().as_slice(), &[0; 17]].concat();
        let crc = crc32c::crc32c(&fields);
        bytes.extend_from_slice(&fields);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes.extend_from_slice(&crc.to_be_bytes());
        assert_eq!(SealedRecord::parse(&bytes), Err(Damage::RecordLength), "{length}");
    }
}

#[test]
fn a_record_out_of_its_place_is_not_accepted() {
    let whole = sample();
    let parsed = parse_segment(&whole).unwrap();
    assert_eq!(parsed.ending, Ending::Whole);
    let (offset, third) = parsed.records[2];
    assert_eq!((third.sequence, third.batch), (Sequence::from_u64(2), Sequence::from_u64(1)));
    // Wrong in one number only, with the right CRCs: sequences, then batches that neither begin nor go on.
    for (sequence, batch) in [(1, 1), (3, 1), (2, 0), (2, 3)] {
        let (sequence, batch) = (Sequence::from_u64(sequence), Sequence::from_u64(batch));
        let mut bytes = whole[..offset as usize].to_vec();
        SealedRecord { sequence, batch, ..third }.encode(&mut bytes);
        let parsed = parse_segment(&bytes).unwrap();
        assert_eq!(parsed.records.len(), 2);
        assert_eq!(parsed.ending, Ending::Torn { offset, what: Damage::RecordPlace });
    }
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_write() {
    for count in [1, 28, 29, 1000] {
        let mut bytes = sample();
        let end = bytes.len() as u64;
        bytes.resize(bytes.len() + count, 0);
        let parsed = parse_segment(&bytes).unwrap();
        assert_eq!(parsed.records.len(), 4);
        assert!(matches!(parsed.ending, Ending::Torn { offset, .. } if offset == end));
    }
}

proptest! {
    #![proptest_config(Config { cases: 500, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_parser_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), keep in 0..400usize) {
        let _ = parse_segment(&bytes);
        let _ = SealedRecord::parse(&bytes);
        // Foreign bytes behind a good beginning.
        let whole = sample();
        let mixed = [&whole[..keep.min(whole.len())], &bytes].concat();
        if let Ok(parsed) = parse_segment(&mixed) {
            for (index, (offset, record)) in parsed.records.iter().enumerate() {
                prop_assert_eq!(record.sequence, Sequence::from_u64(index as u64));
                let mut encoded = Vec::new();
                record.encode(&mut encoded);
                prop_assert!(mixed[*offset as usize..].starts_with(&encoded));
            }
        }
    }

    #[test]
    fn a_record_has_one_reading(
        kind: u8,
        sequence in 0..=u64::MAX,
        batch: u64,
        ciphertext in prop::collection::vec(any::<u8>(), 16..300),
    ) {
        let (sequence, batch) = (Sequence::from_u64(sequence), Sequence::from_u64(batch));
        let record = SealedRecord { kind, sequence, batch, ciphertext: &ciphertext };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        prop_assert_eq!(bytes.len() as u64, record.length());
        prop_assert_eq!(SealedRecord::parse(&bytes), Ok(record));
        bytes.pop();
        prop_assert_eq!(SealedRecord::parse(&bytes), Err(Damage::RecordIncomplete));
    }
}

#[test]
fn an_envelope_opens_with_its_sealing_key_only() {
    let store_key = StoreKey::generate().unwrap();
    let sealing_key = SealingKey::from_bytes([1; 32]);
    let envelope = seal_key(&store_key, &sealing_key).unwrap();
    let again = seal_key(&store_key, &sealing_key).unwrap();
    assert_ne!(envelope, again, "the nonce is random");

    // Only the same key opens the same store.
    let disk = FaultDisk::default();
    Store::open_on(disk.boxed(), &store_key, OPTIONS).unwrap();
    let opened = open_key(&envelope, &sealing_key).unwrap();
    Store::open_on(disk.boxed(), &opened, OPTIONS).unwrap();

    let refused = |bytes: &[u8], key: &SealingKey| matches!(open_key(bytes, key), Err(StoreError::Envelope));
    assert!(refused(&envelope, &SealingKey::from_bytes([2; 32])));
    for length in 0..envelope.len() {
        assert!(refused(&envelope[..length], &sealing_key));
    }
    for bit in 0..envelope.len() * 8 {
        let mut flipped = envelope.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&flipped, &sealing_key));
    }
    assert_eq!(format!("{store_key:?} {sealing_key:?}"), "StoreKey(secret) SealingKey(secret)");
}

#[test]
fn options_and_sizes_are_checked() {
    let refused = |options| {
        let result = Store::open_on(FaultDisk::default().boxed(), &key(), options);
        matches!(result.err(), Some(StoreError::Options { .. }))
    };
    assert!(refused(StoreOptions { segment_bytes: SEGMENT_BYTES_MIN - 1, ..OPTIONS }));
    assert!(refused(StoreOptions { segment_bytes: (1 << 30) + 1, ..OPTIONS }));
    assert!(refused(StoreOptions { segments_max: 1, ..OPTIONS }));
    assert!(refused(StoreOptions { pending_bytes_max: 44, ..OPTIONS }));

    // The largest record fills a segment; one byte more is refused.
    let (mut store, _) = open(&FaultDisk::default()).unwrap();
    let limit = OPTIONS.record_bytes_max() as usize;
    assert_eq!(limit, 460 - 96 - 29 - 16);
    store.append(1, vec![1; limit]).unwrap();
    let large = store.append(1, vec![1; limit + 1]);
    assert!(matches!(large, Err(StoreError::TooLarge { limit: found, .. }) if found == limit as u64));
    store.append(2, vec![2; limit]).unwrap();
    assert_eq!(store.commit().unwrap(), Some(Sequence::from_u64(1)));

    // What waits is bounded, records without content too.
    let options = StoreOptions { pending_bytes_max: 3 * 45, ..OPTIONS };
    let (mut store, _) = Store::open_on(FaultDisk::default().boxed(), &key(), options).unwrap();
    for _ in 0..2 {
        for _ in 0..3 {
            store.append(1, vec![]).unwrap();
        }
        assert!(matches!(store.append(1, vec![]), Err(StoreError::Full { pending_bytes: 135, limit: 135 })));
        store.commit().unwrap();
    }
    assert_eq!(store.head().unwrap().0, Sequence::from_u64(5));
}
