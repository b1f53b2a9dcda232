//! The table of keys: who gets what again, and what is forgotten when.

use super::*;
use crate::api_keys::KeyDigest;

fn client(name: &str) -> Client {
    Client::Key(KeyDigest::of(name))
}

fn name(key: u64) -> Name {
    (client("alice"), *blake3::hash(&key.to_le_bytes()).as_bytes())
}

fn nonce(value: u8) -> Nonce {
    Nonce::from_bytes([value; 32])
}

fn kept(tag: u64, length: usize) -> Kept {
    Kept { tag, is_stream: false, bytes: Bytes::from(vec![7; length]), headers: HeaderMap::new() }
}

const REQUEST: [u8; 32] = [1; 32];

#[test]
fn a_retry_keeps_its_nonce_until_it_is_answered_and_then_its_answer() {
    let mut table = RetryTable::default();
    assert_eq!(table.begin(name(1), REQUEST, 0), Ok(Begun::Ask(None)));
    assert_eq!(table.begin(name(1), REQUEST, 1), Err(KeyRefused::Running));
    table.asked(&name(1), nonce(5));
    // Cut off again and again: never another nonce.
    for now_ms in 2..6 {
        table.cut(&name(1));
        assert_eq!(table.begin(name(1), REQUEST, now_ms), Ok(Begun::Ask(Some(nonce(5)))));
        assert_eq!(table.begin(name(1), REQUEST, now_ms), Err(KeyRefused::Running));
    }
    table.done(&name(1), kept(9, 3));
    table.cut(&name(1));
    for now_ms in 6..9 {
        assert_eq!(table.begin(name(1), REQUEST, now_ms), Ok(Begun::Again(kept(9, 3))));
    }
}

#[test]
fn a_request_that_was_never_asked_leaves_nothing() {
    let mut table = RetryTable::default();
    table.begin(name(1), REQUEST, 0).unwrap();
    table.cut(&name(1));
    // It was refused, so it may be corrected.
    assert_eq!(table.begin(name(1), [2; 32], 5), Ok(Begun::Ask(None)));
    table.asked(&name(1), nonce(5));
    table.cut(&name(1));
    // The time runs from the second one.
    assert_eq!(table.begin(name(1), [2; 32], WINDOW_MS + 1), Ok(Begun::Ask(Some(nonce(5)))));
    table.cut(&name(1));
    assert_eq!(table.begin(name(1), REQUEST, WINDOW_MS + 5), Ok(Begun::Ask(None)));
}

#[test]
fn another_request_and_another_client_get_nothing_of_it() {
    let mut table = RetryTable::default();
    table.begin(name(1), REQUEST, 0).unwrap();
    table.asked(&name(1), nonce(5));
    assert_eq!(table.begin(name(1), [2; 32], 1), Err(KeyRefused::OtherRequest));
    table.done(&name(1), kept(9, 3));
    assert_eq!(table.begin(name(1), [2; 32], 2), Err(KeyRefused::OtherRequest));
    let others = (client("bob"), name(1).1);
    assert_eq!(table.begin(others, REQUEST, 3), Ok(Begun::Ask(None)));
    assert_eq!(table.begin((Client::Anybody, name(1).1), REQUEST, 3), Ok(Begun::Ask(None)));
    assert_eq!(table.begin(name(2), REQUEST, 3), Ok(Begun::Ask(None)));
    assert_eq!(table.begin(name(1), REQUEST, 4), Ok(Begun::Again(kept(9, 3))));
}

#[test]
fn keys_are_forgotten_by_time_by_number_and_by_size() {
    let mut table = RetryTable::default();
    for key in 0..KEYS_MAX as u64 + 2 {
        table.begin(name(key), REQUEST, 0).unwrap();
        table.asked(&name(key), nonce(5));
        table.done(&name(key), kept(key, 1));
    }
    assert_eq!((table.entries.len(), table.bytes), (KEYS_MAX, KEYS_MAX));
    assert_eq!(table.begin(name(2), REQUEST, WINDOW_MS - 1), Ok(Begun::Again(kept(2, 1))));
    assert_eq!(table.begin(name(3), REQUEST, WINDOW_MS), Ok(Begun::Ask(None)));
    assert_eq!((table.entries.len(), table.bytes), (1, 0));
    let mut table = RetryTable::default();
    for key in 0..ANSWERS_BYTES_MAX.div_ceil(ANSWER_BYTES_MAX) as u64 + 1 {
        table.begin(name(key), REQUEST, 0).unwrap();
        table.done(&name(key), kept(key, ANSWER_BYTES_MAX));
    }
    assert_eq!(table.bytes, ANSWERS_BYTES_MAX);
    assert_eq!(table.begin(name(0), REQUEST, 1), Ok(Begun::Ask(None)));
    assert_eq!(table.begin(name(1), REQUEST, 1), Ok(Begun::Again(kept(1, ANSWER_BYTES_MAX))));
}

#[test]
fn keys_have_a_form_and_long_answers_are_not_kept() {
    let retries = Retries::new();
    let begin = |key: &[u8], body: &[u8]| retries.begin(Client::Anybody, b"", key, &[0], body);
    let long = [b'k'; KEY_BYTES_MAX + 1];
    for key in [&b""[..], b"a b", b"a\x7f", "\u{e9}".as_bytes(), &long] {
        assert!(matches!(begin(key, b"{}"), Err(KeyRefused::Form)), "{key:?}");
    }
    for (key, length) in [(&long[1..], ANSWER_BYTES_MAX), (b"other", ANSWER_BYTES_MAX + 1)] {
        let Ok(Retry::Ask(mut ticket, None)) = begin(key, b"{}") else { unreachable!("not new") };
        ticket.asked(nonce(1));
        (0..length / 64 + 1).for_each(|at| ticket.keep(&[7; 64][..(length - at * 64).min(64)]));
        ticket.done(5, true);
        match begin(key, b"{}") {
            Ok(Retry::Again(kept)) => assert_eq!((kept.bytes.len(), length), (ANSWER_BYTES_MAX, length)),
            Err(error) => assert_eq!((error, length), (KeyRefused::TooLong { tag: 5 }, ANSWER_BYTES_MAX + 1)),
            Ok(Retry::Ask(..)) => unreachable!("forgotten"),
        }
    }
    // The same body for another route is another request.
    assert!(matches!(
        retries.begin(Client::Anybody, b"", b"other", &[1], b"{}"),
        Err(KeyRefused::OtherRequest)
    ));
}
