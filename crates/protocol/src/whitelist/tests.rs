//! Two parties, their whitelist, and everybody who would like another one.

use super::*;
use crate::group_tree::GroupTree;

const NOW: u64 = 1_790_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn parties() -> [VerifyingKey; 2] {
    [key(1).verifying_key(), key(2).verifying_key()]
}

fn model(byte: u8) -> ModelCommitment {
    ModelCommitment::from_bytes([byte; 32])
}

fn entry(name: &str, byte: u8) -> WhitelistEntry {
    WhitelistEntry {
        name: name.to_owned(),
        model: model(byte),
        numerics: "maxwell-ie5-1".to_owned(),
        template: byte.is_multiple_of(2).then(|| TemplateDigest::from_bytes([9; 32])),
        weights: GroupTree::of(&[byte; 100]).head,
        tokenizer_digest: [byte; 32],
        vocabulary: 49152,
        context: 8192,
        version: 3,
    }
}

fn list() -> Whitelist {
    Whitelist {
        version: 7,
        entries: vec![entry("gemma", 10), entry("llama", 11), entry("qwen", 12)],
        expires_unix_s: Some(NOW + 100),
        revoked: vec![model(11), model(40)],
    }
}

fn signed(list: &Whitelist) -> SignedWhitelist {
    list.sign(&[&key(1), &key(2)]).unwrap()
}

fn authorized() -> AuthorizedWhitelist {
    authorize(&signed(&list()), &parties(), NOW, 0).unwrap()
}

#[test]
fn two_parties_authorize_a_list() {
    let authorized = authorized();
    assert_eq!(authorized.version(), 7);
    assert_eq!(authorized.digest(), blake3::hash(&list().encode()).as_bytes());
    assert_eq!(authorized.by_name("gemma", NOW).unwrap().entry(), &entry("gemma", 10));
    assert_eq!(authorized.by_model(&model(12), NOW).unwrap().entry(), &entry("qwen", 12));
    let names: Vec<String> =
        authorized.admitted(NOW).unwrap().iter().map(|entry| entry.entry().name.clone()).collect();
    assert_eq!(names, ["gemma", "qwen"]);
}

#[test]
fn the_order_of_parties_and_further_signatures_do_not_matter() {
    let mut signed = signed(&list());
    signed.sign(&key(3));
    let [one, other] = parties();
    authorize(&signed, &[other, one], NOW, 0).unwrap();
    // A signature of nobody's is not looked at.
    let foreign = key(4).verifying_key();
    signed.signatures.push((foreign, Signature::from_bytes([0; 64])));
    authorize(&signed, &[one, other], NOW, 0).unwrap();
}

#[test]
fn one_party_alone_authorizes_nothing() {
    let [one, other] = parties();
    let by_one = list().sign(&[&key(1)]).unwrap();
    assert_eq!(authorize(&by_one, &parties(), NOW, 0), Err(Denial::SignatureMissing { party: other }));
    let by_other = list().sign(&[&key(2)]).unwrap();
    assert_eq!(authorize(&by_other, &parties(), NOW, 0), Err(Denial::SignatureMissing { party: one }));
    assert_eq!(authorize(&by_one, &[one, one], NOW, 0), Err(Denial::SameParty { party: one }));
    let unsigned = SignedWhitelist::unsigned(&list()).unwrap();
    assert_eq!(authorize(&unsigned, &parties(), NOW, 0), Err(Denial::SignatureMissing { party: one }));
    // The first party's own signature under the second one's key.
    let mut forged = by_one.clone();
    let signature = forged.signatures[0].1;
    forged.signatures.push((other, signature));
    assert_eq!(authorize(&forged, &parties(), NOW, 0), Err(Denial::SignatureWrong { party: other }));
    // The same twice is one party still.
    let mut twice = by_one;
    twice.signatures.push((one, signature));
    assert_eq!(authorize(&twice, &parties(), NOW, 0), Err(Denial::SignatureMissing { party: other }));
}

#[test]
fn every_changed_bit_of_the_list_is_denied() {
    let honest = signed(&list());
    let [one, _] = parties();
    for bit in 0..honest.bytes.len() * 8 {
        let mut changed = honest.clone();
        changed.bytes[bit / 8] ^= 1 << (bit % 8);
        let denial = Err(Denial::SignatureWrong { party: one });
        assert_eq!(authorize(&changed, &parties(), NOW, 0), denial, "{bit}");
    }
}

#[test]
fn every_changed_byte_of_the_file_is_refused_or_denied() {
    let honest = signed(&list());
    let bytes = honest.encode();
    assert_eq!(SignedWhitelist::decode(&bytes), Ok(honest));
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(signed) = SignedWhitelist::decode(&changed) {
                assert_eq!(signed.encode(), changed, "byte {at} ^ {flip:#x}");
                assert!(authorize(&signed, &parties(), NOW, 0).is_err(), "byte {at} ^ {flip:#x}");
            }
        }
    }
    for length in 0..bytes.len() {
        assert!(SignedWhitelist::decode(&bytes[..length]).is_err(), "{length}");
    }
    assert!(SignedWhitelist::decode(&[&bytes[..], &[0]].concat()).is_err());
}

/// The signature covers a message of its own kind, not the bare bytes, which might mean something elsewhere.
#[test]
fn a_signature_on_the_bare_bytes_does_not_count() {
    let mut bare = signed(&list());
    let [one, _] = parties();
    for (party, signature) in &mut bare.signatures {
        if *party == one {
            *signature = key(1).sign(&bare.bytes);
        }
    }
    assert_eq!(authorize(&bare, &parties(), NOW, 0), Err(Denial::SignatureWrong { party: one }));
}

#[test]
fn an_expired_list_is_denied_when_read_and_when_used() {
    let end = NOW + 100;
    let expired = |now_unix_s| Denial::Expired { expired_unix_s: end, now_unix_s };
    let signed = signed(&list());
    authorize(&signed, &parties(), end - 1, 0).unwrap();
    assert_eq!(authorize(&signed, &parties(), end, 0), Err(expired(end)));
    let held = authorized();
    assert!(held.by_name("gemma", end - 1).is_ok());
    assert_eq!(held.by_name("gemma", end), Err(expired(end)));
    assert_eq!(held.by_name("nobody", end), Err(expired(end)));
    assert_eq!(held.by_model(&model(10), end + 5), Err(expired(end + 5)));
    assert_eq!(held.admitted(end), Err(expired(end)));
    let lasting = Whitelist { expires_unix_s: None, ..list() };
    let lasting = authorize(&lasting.sign(&[&key(1), &key(2)]).unwrap(), &parties(), u64::MAX, 0).unwrap();
    assert!(lasting.by_name("gemma", u64::MAX).is_ok());
}

#[test]
fn an_older_list_than_the_last_one_is_denied() {
    let signed = signed(&list());
    authorize(&signed, &parties(), NOW, 7).unwrap();
    assert_eq!(authorize(&signed, &parties(), NOW, 8), Err(Denial::Rollback { version: 7, lowest: 8 }));
}

#[test]
fn unknown_and_revoked_are_told_apart() {
    let list = authorized();
    let revoked = |byte| Err(Denial::Revoked { model: model(byte) });
    assert_eq!(list.by_name("llama", NOW), revoked(11));
    assert_eq!(list.by_model(&model(11), NOW), revoked(11));
    // Revoked without an entry.
    assert_eq!(list.by_model(&model(40), NOW), revoked(40));
    assert_eq!(list.by_name("lama", NOW), Err(Denial::UnknownName { name: "lama".to_owned() }));
    assert_eq!(list.by_model(&model(41), NOW), Err(Denial::UnknownModel { model: model(41) }));
}

#[test]
fn a_list_has_one_byte_form() {
    let bytes = list().encode();
    assert_eq!(Whitelist::decode(&bytes), Ok(list()));
    for at in 0..bytes.len() {
        for flip in 1..=255_u8 {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(decoded) = Whitelist::decode(&changed) {
                assert_eq!(decoded.encode(), changed, "byte {at} ^ {flip:#x}");
                assert_ne!(decoded, list(), "byte {at} ^ {flip:#x}");
            }
        }
    }
}

/// A list that `change` has made wrong is neither signed nor read, for the same reason.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut Whitelist), expected: &Error) {
    let mut list = list();
    change(&mut list);
    assert_eq!(list.check().as_ref(), Err(expected));
    assert_eq!(list.sign(&[&key(1)]).as_ref(), Err(expected));
    assert_eq!(Whitelist::decode(&list.encode()).as_ref(), Err(expected));
    // Even if both parties signed it.
    let mut signed = SignedWhitelist { bytes: list.encode(), signatures: Vec::new() };
    signed.sign(&key(1));
    signed.sign(&key(2));
    assert_eq!(authorize(&signed, &parties(), NOW, 0), Err(Denial::Malformed(expected.clone())));
}

#[test]
fn order_names_and_uniqueness() {
    let order = |list, by, index| Error::ListOrder { list, by, index };
    check_refused(|list| list.entries.swap(1, 2), &order("entries", "name", 2));
    check_refused(|list| list.entries[1].name = "gemma".to_owned(), &order("entries", "name", 1));
    check_refused(|list| list.revoked.swap(0, 1), &order("revoked models", "bytes", 1));
    check_refused(|list| list.revoked[1] = model(11), &order("revoked models", "bytes", 1));
    check_refused(|list| list.entries[2].model = model(10), &Error::DuplicateModel { model: model(10) });
    for name in ["", ".hidden", "Gemma", "../gemma", "ge mma", "gémma"] {
        check_refused(|list| list.entries[0].name = name.to_owned(), &Error::ModelName);
    }
    check_refused(|list| list.entries[0].numerics = String::new(), &Error::NumericsName);
}

#[test]
fn limits_are_reachable_and_exact() {
    let name = |at: u32| format!("{}-{at:04}", "n".repeat(59));
    let id = |at: u32| {
        let mut bytes = [0xff; 32];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        ModelCommitment::from_bytes(bytes)
    };
    let fullest = |at: u32| WhitelistEntry {
        name: name(at),
        model: id(at),
        numerics: "n".repeat(64),
        template: Some(TemplateDigest::from_bytes([1; 32])),
        weights: TreeHead { bytes: 1 << 40, ..entry("x", 1).weights },
        vocabulary: u32::MAX,
        context: u32::MAX,
        version: u64::MAX,
        ..entry("x", 1)
    };
    let mut full = Whitelist {
        version: u64::MAX,
        entries: (0..1024).map(fullest).collect(),
        expires_unix_s: Some(u64::MAX),
        revoked: (0..4096).map(id).collect(),
    };
    let bytes = full.encode();
    assert!(bytes.len() <= MAX_WHITELIST_BYTES, "{}", bytes.len());
    assert_eq!(Whitelist::decode(&bytes).as_ref(), Ok(&full));
    let mut signed = SignedWhitelist::unsigned(&full).unwrap();
    (0..8).for_each(|seed| signed.sign(&key(seed)));
    let bytes = signed.encode();
    assert!(bytes.len() <= MAX_SIGNED_WHITELIST_BYTES);
    assert_eq!(SignedWhitelist::decode(&bytes).as_ref(), Ok(&signed));
    signed.sign(&key(8));
    assert!(matches!(SignedWhitelist::decode(&signed.encode()), Err(Error::OverLimit { length: 9, .. })));
    full.revoked.push(id(4096));
    let expected = Error::WhitelistLength { list: "revoked models", length: 4097, limit: 4096 };
    assert_eq!(full.check(), Err(expected));
    assert!(matches!(Whitelist::decode(&full.encode()), Err(Error::OverLimit { length: 4097, .. })));
    full.entries.push(fullest(1024));
    let expected = Error::WhitelistLength { list: "entries", length: 1025, limit: 1024 };
    assert_eq!(full.check(), Err(expected));
    assert!(matches!(Whitelist::decode(&full.encode()), Err(Error::OverLimit { length: 1025, .. })));
    assert!(matches!(
        Whitelist::decode(&vec![0; MAX_WHITELIST_BYTES + 1]),
        Err(Error::MessageSize { what: "whitelist", .. })
    ));
}

#[test]
fn signing_again_replaces_and_sorts() {
    let mut signed = SignedWhitelist::unsigned(&list()).unwrap();
    for seed in [2, 1, 3, 2, 1] {
        signed.sign(&key(seed));
    }
    assert_eq!(signed.signatures.len(), 3);
    assert!(signed.signatures.is_sorted_by(|(one, _), (other, _)| one < other));
    assert_eq!(SignedWhitelist::decode(&signed.encode()).as_ref(), Ok(&signed));
    let [one, other] = parties();
    assert!(signed.is_signed_by(&one) && signed.is_signed_by(&other));
    assert!(!signed.is_signed_by(&key(9).verifying_key()));
    signed.signatures.reverse();
    assert!(matches!(
        SignedWhitelist::decode(&signed.encode()),
        Err(Error::ListOrder { list: "signatures", .. })
    ));
    signed.bytes.push(0);
    assert!(!signed.is_signed_by(&one));
}
