//! Refusals against forgery, replay, and every changed byte.

use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

const NONCE: Nonce = Nonce::from_bytes([7; 32]);

fn refusal(reason: RefusalReason) -> Refusal {
    Refusal {
        router: key().verifying_key().id(),
        nonce: Some(NONCE),
        input: input_digest("/v1/completions", b"{}"),
        model: "smollm2-135m".to_owned(),
        reason,
        retry_after_s: reason.is_passing().then_some(30),
        issued_unix_s: 1_790_000_000,
    }
}

fn verify(bytes: &[u8]) -> Result<Refusal, RefusalFault> {
    Refusal::verify(bytes, &key().verifying_key(), Some(&NONCE), &input_digest("/v1/completions", b"{}"))
}

#[test]
fn a_refusal_is_read_as_it_was_signed() {
    for reason in RefusalReason::ALL {
        let refusal = refusal(reason);
        let bytes = refusal.sign(&key()).unwrap();
        assert!(bytes.len() < 400, "{}", bytes.len());
        assert_eq!(verify(&bytes), Ok(refusal));
    }
    let statuses = RefusalReason::ALL.map(RefusalReason::status);
    assert_eq!(statuses, [403, 410, 410, 503, 429, 502]);
}

#[test]
fn a_forged_refusal_is_refused() {
    let bytes = refusal(RefusalReason::Busy).sign(&key()).unwrap();
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(verify(&changed).is_err(), "byte {at}");
        }
        assert!(verify(&bytes[..at]).is_err());
    }
    assert!(verify(&[&bytes[..], &[0]].concat()).is_err());
    assert_eq!(
        verify(&[0; MAX_REFUSAL_BYTES + 1]),
        Err(RefusalFault::Size { length: MAX_REFUSAL_BYTES + 1 })
    );
    // Somebody else's signature, under their own id and under the router's.
    let other = SigningKey::from_seed([6; 32]);
    let forged = Refusal { router: other.verifying_key().id(), ..refusal(RefusalReason::Busy) };
    let fault = verify(&forged.sign(&other).unwrap()).unwrap_err();
    assert!(matches!(fault, RefusalFault::Cose(CoseReason::OtherKey { .. })), "{fault}");
    assert!(matches!(refusal(RefusalReason::Busy).sign(&other), Err(RefusalFault::Router { .. })));
    let payload = cose::sign(refusal(RefusalReason::Busy).payload(), &other).unwrap();
    assert!(
        Refusal::verify(&payload, &other.verifying_key(), Some(&NONCE), &refusal(RefusalReason::Busy).input)
            .is_err_and(|fault| fault.code() == "router")
    );
}

#[test]
fn a_replayed_refusal_is_about_another_request() {
    let bytes = refusal(RefusalReason::NotServed).sign(&key()).unwrap();
    let public = key().verifying_key();
    let input = refusal(RefusalReason::NotServed).input;
    let check =
        |nonce: Option<&Nonce>, input| Refusal::verify(&bytes, &public, nonce, &input).map_err(|f| f.code());
    assert!(check(Some(&NONCE), input).is_ok());
    assert_eq!(check(Some(&Nonce::from_bytes([8; 32])), input), Err("other_request"));
    assert_eq!(check(None, input), Err("other_request"));
    assert_eq!(check(Some(&NONCE), input_digest("/v1/completions", b"{ }")), Err("other_request"));
    assert_eq!(check(Some(&NONCE), input_digest("/v1/chat/completions", b"{}")), Err("other_request"));
    // Path and body are kept apart.
    assert_ne!(input_digest("/v1/a", b"b"), input_digest("/v1/ab", b""));
}

#[test]
fn what_makes_no_sense_is_not_signed_and_not_read() {
    for (reason, retry_after_s) in [(RefusalReason::Busy, None), (RefusalReason::Revoked, Some(1))] {
        let wrong = Refusal { retry_after_s, ..refusal(reason) };
        assert!(matches!(wrong.sign(&key()), Err(RefusalFault::Payload(_))));
        let bytes = cose::sign(wrong.payload(), &key()).unwrap();
        assert!(matches!(verify(&bytes), Err(RefusalFault::Payload(_))));
    }
    let long =
        Refusal { model: "x".repeat(MAX_ASKED_NAME_BYTES + 1), ..refusal(RefusalReason::NotWhitelisted) };
    assert!(matches!(long.sign(&key()), Err(RefusalFault::Payload(_))));
    let longest = Refusal { model: "x".repeat(MAX_ASKED_NAME_BYTES), ..long };
    assert!(longest.sign(&key()).unwrap().len() <= MAX_REFUSAL_BYTES);
    // A receipt is no refusal, though the same key signed it.
    let bytes = cose::sign(vec![0x80], &key()).unwrap();
    assert!(matches!(verify(&bytes), Err(RefusalFault::Payload(_))));
}
