//! The fingerprint's point against an independent implementation, and its coordinates.

use protocol::encoding::{Decoder, Encoder};
use protocol::fingerprint::{ExtensionElement, GOLDILOCKS_PRIME, fingerprint_point};
use protocol::{Error, ModelCommitment, Nonce, SamplingSettings};

use crate::samples::{PROMPT, model, nonce, settings};

#[test]
fn point_equals_the_vector() {
    let point = fingerprint_point(&model(), &nonce(), &PROMPT, &settings());
    assert_eq!((point.c0(), point.c1()), (0xb9e3_36dd_f5c3_d2e8, 0xcab2_9d2a_0c37_3904));
}

#[test]
fn every_argument_moves_the_point() {
    let base = fingerprint_point(&model(), &nonce(), &PROMPT, &settings());
    let other_model = ModelCommitment::from_bytes([0x12; 32]);
    assert_ne!(fingerprint_point(&other_model, &nonce(), &PROMPT, &settings()), base);
    let other_nonce = Nonce::from_bytes([0; 32]);
    assert_ne!(fingerprint_point(&model(), &other_nonce, &PROMPT, &settings()), base);
    assert_ne!(fingerprint_point(&model(), &nonce(), &PROMPT[..4], &settings()), base);
    let other_settings = SamplingSettings { stop_at_end: false, ..settings() };
    assert_ne!(fingerprint_point(&model(), &nonce(), &PROMPT, &other_settings), base);
}

#[test]
fn the_prime_is_goldilocks() {
    assert_eq!(u128::from(GOLDILOCKS_PRIME), (1u128 << 64) - (1 << 32) + 1);
}

#[test]
fn unreduced_coordinates_are_refused() {
    let top = GOLDILOCKS_PRIME - 1;
    assert!(ExtensionElement::new(top, top).is_ok());
    for (c0, c1) in [(GOLDILOCKS_PRIME, 0), (0, GOLDILOCKS_PRIME), (u64::MAX, 0)] {
        assert!(matches!(ExtensionElement::new(c0, c1), Err(Error::UnreducedCoordinate { offset: 0, .. })));
    }
    // p = 1 and 0 written as [1, p]: the same element in another form, hence refused.
    let mut encoder = Encoder::new();
    encoder.array_header(2);
    encoder.unsigned(1);
    encoder.unsigned(GOLDILOCKS_PRIME);
    let bytes = encoder.into_bytes();
    let error = Error::UnreducedCoordinate { offset: 2, value: GOLDILOCKS_PRIME };
    assert_eq!(ExtensionElement::decode(&mut Decoder::new(&bytes)), Err(error));
}
