//! Receipts against every changed byte, against other keys, and against COSE messages that mean the same but are
//! written otherwise.

use coset::{AsCborValue, CborSerializable, CoseSign1, Header, TaggedCborSerializable, cbor, iana};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::cose::message as cose;
use crate::keys::Signature;

fn key() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

fn receipt() -> Receipt {
    Receipt {
        version: 1,
        gateway: key().verifying_key().id(),
        tag: RequestTag { counter: 70_000, nonce: Nonce::from_bytes([1; 32]) },
        model: ModelCommitment::from_bytes([2; 32]),
        template: Some(TemplateDigest::from_bytes([3; 32])),
        request: RequestDigest::from_bytes([4; 32]),
        response: response_digest(b"Rayleigh scattering."),
        prompt_tokens: 12,
        output_tokens: 300,
        finish: FinishCode::EndToken,
        claim: Some(ClaimDigest::from_bytes([6; 32])),
        chain: ChainHash::from_bytes([7; 32]),
        sequence: 1 << 40,
        issued_unix_ms: 1_790_000_000_123,
        mode: ReceiptMode::Exact,
    }
}

/// The fullest one, to see the limit.
fn fullest() -> Receipt {
    Receipt {
        tag: RequestTag { counter: u64::MAX, nonce: Nonce::from_bytes([0xff; 32]) },
        prompt_tokens: u32::MAX,
        output_tokens: u32::MAX,
        finish: FinishCode::ContextFull,
        sequence: u64::MAX,
        issued_unix_ms: u64::MAX,
        ..receipt()
    }
}

fn verify(bytes: &[u8]) -> Result<Receipt, ReceiptReason> {
    Receipt::verify(bytes, &key().verifying_key())
}

#[test]
fn a_signed_receipt_is_verified() {
    let log_only = Receipt { mode: ReceiptMode::PassThrough, claim: None, template: None, ..receipt() };
    let broken = Receipt { finish: FinishCode::Failed, claim: None, ..receipt() };
    for receipt in [receipt(), fullest(), log_only, broken] {
        let bytes = receipt.sign(&key()).unwrap();
        assert!(bytes.len() < 600, "{}", bytes.len());
        assert_eq!(verify(&bytes), Ok(receipt));
    }
}

/// RFC 9052 written down by hand: what other implementations read, and what is signed.
#[test]
fn the_bytes_are_those_of_rfc_9052() {
    let bytes = receipt().sign(&key()).unwrap();
    let kid = hex::encode(key().verifying_key().id().as_bytes());
    // Tag 18, four items, a header of 38 bytes {1: -8, 4: 32 bytes}, no unprotected header, a payload of two length
    // bytes.
    let lead = format!("d2845826a2012704 5820{kid}a059").replace(' ', "");
    assert!(hex::encode(&bytes).starts_with(&lead), "{}", hex::encode(&bytes));
    let payload = receipt().payload();
    let length = (payload.len() as u16).to_be_bytes();
    let signature = &bytes[bytes.len() - 64..];
    let by_hand = [&hex::decode(&lead).unwrap()[..], &length, &payload, &[0x58, 0x40], signature].concat();
    assert_eq!(by_hand, bytes);
    // Sig_structure = ["Signature1", protected header, h'', payload].
    let header = hex::decode(format!("5826a2012704 5820{kid}").replace(' ', "")).unwrap();
    let signed = [&[0x84, 0x6a], &b"Signature1"[..], &header, &[0x40, 0x59], &length, &payload].concat();
    let signature = Signature::from_bytes(signature.try_into().unwrap());
    assert_eq!(key().verifying_key().verify(&signed, &signature), Ok(()));
}

#[test]
fn every_changed_byte_is_refused() {
    let bytes = receipt().sign(&key()).unwrap();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            assert!(verify(&changed).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
}

#[test]
fn every_prefix_and_every_extension_is_refused() {
    let bytes = receipt().sign(&key()).unwrap();
    for length in 0..bytes.len() {
        assert!(verify(&bytes[..length]).is_err(), "{length}");
    }
    for more in 0..=255 {
        assert!(verify(&[&bytes[..], &[more]].concat()).is_err(), "{more}");
        assert!(verify(&[&[more], &bytes[..]].concat()).is_err(), "{more}");
    }
    let long = vec![0; MAX_RECEIPT_BYTES + 1];
    assert_eq!(verify(&long), Err(ReceiptReason::Size { length: 1025, limit: 1024 }));
}

#[test]
fn another_key_is_named() {
    let bytes = receipt().sign(&key()).unwrap();
    let other = SigningKey::from_seed([6; 32]);
    let expected = ReceiptReason::OtherKey {
        found: key().verifying_key().id().to_string(),
        expected: other.verifying_key().id(),
    };
    assert_eq!(Receipt::verify(&bytes, &other.verifying_key()), Err(expected));
    // The other gateway puts its name on the header, but the payload is not its own.
    let moved = cose(receipt().payload(), other.verifying_key().id());
    let expected =
        ReceiptReason::Gateway { found: key().verifying_key().id(), expected: other.verifying_key().id() };
    let moved = finish_message(moved, &other);
    assert_eq!(Receipt::verify(&moved, &other.verifying_key()), Err(expected.clone()));
    assert_eq!(receipt().sign(&other), Err(expected));
    // The right header and payload, signed by another.
    let forged = finish_message(cose(receipt().payload(), key().verifying_key().id()), &other);
    assert_eq!(verify(&forged), Err(ReceiptReason::Signature));
}

/// Signs a message as it is.
fn finish_message(message: CoseSign1, key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&message.tbs_data(&[])).as_bytes().to_vec();
    CoseSign1 { signature, ..message }.to_tagged_vec().unwrap()
}

fn honest() -> CoseSign1 {
    cose(receipt().payload(), key().verifying_key().id())
}

/// Signed by the gateway's own key, and refused all the same.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut CoseSign1), expected: ReceiptReason) {
    let mut message = honest();
    change(&mut message);
    assert_eq!(verify(&finish_message(message, &key())), Err(expected));
}

#[test]
fn other_headers_are_refused() {
    let algorithm = |algorithm| {
        move |message: &mut CoseSign1| {
            message.protected.header.alg = Some(coset::RegisteredLabelWithPrivate::Assigned(algorithm));
        }
    };
    check_refused(algorithm(iana::Algorithm::ES256), ReceiptReason::Algorithm);
    check_refused(|message| message.protected.header.alg = None, ReceiptReason::Algorithm);
    let no_key = ReceiptReason::OtherKey { found: String::new(), expected: key().verifying_key().id() };
    check_refused(|message| message.protected.header.key_id.clear(), no_key);
    let more = |header: &mut Header| header.iv = vec![1];
    check_refused(|message| more(&mut message.protected.header), ReceiptReason::NotCanonical);
    check_refused(|message| more(&mut message.unprotected), ReceiptReason::NotCanonical);
    check_refused(
        |message| message.payload = None,
        ReceiptReason::NotCose { message: "the payload is null".to_owned() },
    );
}

#[test]
fn other_forms_of_the_same_message_are_refused() {
    // Not tagged.
    let untagged = CoseSign1 { signature: signature_of(&honest()), ..honest() }.to_vec().unwrap();
    assert!(matches!(verify(&untagged), Err(ReceiptReason::NotCose { .. })));
    // Another tag.
    let value = CoseSign1 { signature: signature_of(&honest()), ..honest() }.to_cbor_value().unwrap();
    let mut other_tag = Vec::new();
    cbor::into_writer(&cbor::Value::Tag(98, Box::new(value)), &mut other_tag).unwrap();
    assert!(matches!(verify(&other_tag), Err(ReceiptReason::NotCose { .. })));
    // An indefinite array around the same items.
    let bytes = receipt().sign(&key()).unwrap();
    let mut indefinite = bytes.clone();
    indefinite[1] = 0x9f;
    indefinite.push(0xff);
    assert_eq!(verify(&indefinite), Err(ReceiptReason::NotCanonical));
    // The tag in two bytes.
    let long_tag = [&[0xd8, 18], &bytes[1..]].concat();
    assert_eq!(verify(&long_tag), Err(ReceiptReason::NotCanonical));
    // The header's fields in the other order, so signed.
    let kid = key().verifying_key().id();
    let swapped = [&[0xa2, 0x04, 0x58, 0x20], &kid.as_bytes()[..], &[0x01, 0x27]].concat();
    let mut message = honest();
    message.protected.original_data = Some(swapped);
    assert_eq!(verify(&finish_message(message, &key())), Err(ReceiptReason::NotCanonical));
}

fn signature_of(message: &CoseSign1) -> Vec<u8> {
    key().sign(&message.tbs_data(&[])).as_bytes().to_vec()
}

/// Payloads that the gateway's key signed, but that are no receipts.
#[test]
fn other_payloads_are_refused() {
    let payload = |bytes: Vec<u8>| {
        verify(&finish_message(cose(bytes, key().verifying_key().id()), &key())).unwrap_err()
    };
    let honest = receipt().payload();
    assert!(matches!(payload(Vec::new()), ReceiptReason::Payload(Error::Truncated { .. })));
    let longer = [&honest[..], &[0]].concat();
    assert!(matches!(payload(longer), ReceiptReason::Payload(Error::TrailingBytes { .. })));
    let newer = Receipt { version: 2, ..receipt() };
    assert!(matches!(payload(newer.payload()), ReceiptReason::Payload(Error::StructureVersion { .. })));
    let expected = Error::ReceiptVersion { found: 2, supported: 1 };
    assert_eq!(newer.sign(&key()), Err(ReceiptReason::Payload(expected)));
    let text = honest.windows(9).position(|window| window == b"end_token").unwrap();
    let mut unknown = honest.clone();
    unknown[text] = b'x';
    assert!(matches!(payload(unknown), ReceiptReason::Payload(Error::UnknownName { .. })));
    let mode = honest.windows(5).position(|window| window == b"exact").unwrap();
    let mut unknown = honest.clone();
    unknown[mode] = b'x';
    assert!(matches!(payload(unknown), ReceiptReason::Payload(Error::UnknownName { .. })));
}

#[test]
fn a_claim_is_there_exactly_if_it_can_be() {
    let claim = receipt().claim;
    for (mode, finish, claim) in [
        (ReceiptMode::Exact, FinishCode::Length, None),
        (ReceiptMode::Exact, FinishCode::ReaderLeft, None),
        (ReceiptMode::Exact, FinishCode::Failed, claim),
        (ReceiptMode::PassThrough, FinishCode::Length, claim),
        (ReceiptMode::PassThrough, FinishCode::Failed, claim),
    ] {
        let wrong = Receipt { mode, finish, claim, ..receipt() };
        let expected = Err(ReceiptReason::Payload(Error::ReceiptClaim));
        assert_eq!(wrong.sign(&key()), expected, "{wrong:?}");
        let bytes = finish_message(cose(wrong.payload(), wrong.gateway), &key());
        assert_eq!(verify(&bytes), expected.map(|_: Vec<u8>| wrong));
    }
}

/// Each field changes the signed bytes.
#[test]
fn every_field_is_signed() {
    let changes: [fn(&mut Receipt); 15] = [
        |r| r.tag.counter += 1,
        |r| r.tag.nonce = Nonce::from_bytes([0; 32]),
        |r| r.model = ModelCommitment::from_bytes([0; 32]),
        |r| r.template = None,
        |r| r.request = RequestDigest::from_bytes([0; 32]),
        |r| r.response = ResponseDigest::from_bytes([0; 32]),
        |r| r.prompt_tokens += 1,
        |r| r.output_tokens += 1,
        |r| r.finish = FinishCode::Length,
        |r| r.claim = Some(ClaimDigest::from_bytes([0; 32])),
        |r| r.chain = ChainHash::from_bytes([0; 32]),
        |r| r.sequence += 1,
        |r| r.issued_unix_ms += 1,
        |r| r.gateway = KeyId::from_bytes([0; 32]),
        |r| {
            r.mode = ReceiptMode::PassThrough;
            r.claim = None;
        },
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut changed = receipt();
        change(&mut changed);
        assert_ne!(changed.payload(), receipt().payload(), "{at}");
        assert_ne!(changed.to_json(), receipt().to_json(), "{at}");
    }
}

#[test]
fn request_digests_cover_every_part_and_response_digests_every_byte() {
    let (settings, seed, nonce) =
        (SamplingSettings::greedy(), ClientSeed::from_bytes([1; 32]), Nonce::from_bytes([2; 32]));
    let honest = request_digest(&[1, 2, 3], &settings, &seed, &nonce);
    let others = [
        request_digest(&[1, 2], &settings, &seed, &nonce),
        request_digest(&[1, 2, 4], &settings, &seed, &nonce),
        request_digest(&[1, 2, 3], &SamplingSettings { top_k: 1, ..settings }, &seed, &nonce),
        request_digest(&[1, 2, 3], &settings, &ClientSeed::from_bytes([2; 32]), &nonce),
        request_digest(&[1, 2, 3], &settings, &seed, &Nonce::from_bytes([1; 32])),
    ];
    assert!(others.iter().all(|other| *other != honest));
    let mut hasher = ResponseHasher::new();
    hasher.update(b"Rayleigh ");
    hasher.update(b"");
    hasher.update(b"scattering.");
    assert_eq!(hasher.digest(), response_digest(b"Rayleigh scattering."));
    assert_ne!(response_digest(b"Rayleigh scattering"), response_digest(b"Rayleigh scattering."));
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(20_261_125), cases: 2000, failure_persistence: None, ..Config::default() })]

    /// No change of several bytes, and nothing made up, is taken or makes the parser panic.
    #[test]
    fn foreign_bytes_are_refused(
        changes in prop::collection::vec((0..400_usize, 1..=255_u8), 1..6),
        made_up in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let honest = receipt().sign(&key()).unwrap();
        let mut changed = honest.clone();
        for (at, flip) in changes {
            let length = changed.len();
            changed[at % length] ^= flip;
        }
        prop_assert!(changed == honest || verify(&changed).is_err());
        prop_assert!(verify(&made_up).is_err());
        // Behind the bytes that lead every COSE message of this kind.
        let led = [&honest[..4], &made_up].concat();
        prop_assert!(verify(&led).is_err());
    }
}
