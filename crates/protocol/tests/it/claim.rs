//! The claim's byte form: one form per claim, one claim per form, nothing accepted beyond its limits.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use protocol::claim::{MAX_CLAIM_BYTES, MAX_OUTPUT_BYTES, MAX_PROMPT_TOKENS};
use protocol::fingerprint::GOLDILOCKS_PRIME;
use protocol::logprobs::{Logprobs, RankedToken, TokenLogprobs};
use protocol::seed::derive_seed;
use protocol::settings::{MAX_OUTPUT_TOKENS, SettingLimit};
use protocol::{
    Claim, ClientSeed, Error, FinishReason, LogitFingerprint, ModelCommitment, Nonce, Reason,
    SamplingSettings, Seed, TemplateDigest, TraceRoot,
};

use crate::samples::{claim, nonce, settings};

/// `vectors.py` prints this.
const CLAIM_HEX: &str = "4d58434c41494d318e6d6d617877656c6c2e636c61696d016d6d617877656c6c2d6965352d31\
58201111111111111111111111111111111111111111111111111111111111111111\
58202222222222222222222222222222222222222222222222222222222222222222\
850117181819012c1a00011170\
89706d617877656c6c2e73657474696e6773011902bc18281a000e7ef019c35019044c1840f5\
5820202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\
5820000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
5820d013839810bc9ee852f8a142d92b8340fd3b7a5951887a263b21739323352810\
82111affffffff826c6f75745f6f665f72616e67650644686920ff\
8282051bffffffff00000000821b000000010000000000";
const DIGEST_HEX: &str = "b96063d6fe887e51cb4b7e7a2974314cbf1fdcb7e135051ceb1a69dc725cf540";

#[test]
fn bytes_and_digest_equal_the_vectors() {
    assert_eq!(hex::encode(claim().encode()), CLAIM_HEX);
    assert_eq!(Claim::decode(&hex::decode(CLAIM_HEX).unwrap()), Ok(claim()));
    assert_eq!(claim().digest().to_string(), DIGEST_HEX);
}

/// Each byte of the sample claim takes each of the 255 other values: a claim cannot be altered unseen, and what is
/// still accepted is the canonical form of what it then says.
#[test]
fn every_changed_byte_is_refused_or_changes_the_claim() {
    let original = claim();
    let mut bytes = original.encode();
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for flip in 1..=255u8 {
            bytes[at] ^= flip;
            if let Ok(changed) = Claim::decode(&bytes) {
                accepted += 1;
                assert_ne!(changed, original, "byte {at} ^ {flip:#x}");
                assert_eq!(changed.encode(), bytes, "byte {at} ^ {flip:#x}");
                assert_ne!(changed.digest(), original.digest(), "byte {at} ^ {flip:#x}");
            }
            bytes[at] ^= flip;
        }
    }
    // Five 32-byte identifiers alone accept every value, so the loop is known to have reached past the refusals.
    assert!(accepted > 5 * 32 * 255, "{accepted}");
}

#[test]
fn every_prefix_and_every_extension_is_refused() {
    let bytes = claim().encode();
    for length in 0..bytes.len() {
        assert!(Claim::decode(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(Claim::decode(&longer), Err(Error::TrailingBytes { offset: bytes.len(), count: 1 }));
}

#[test]
fn foreign_bytes_are_named() {
    assert_eq!(Claim::decode(b""), Err(Error::ClaimMagic));
    assert_eq!(Claim::decode(b"GGUF\x03\0\0\0and more"), Err(Error::ClaimMagic));
    let mut newer = claim().encode();
    newer[23] = 2;
    let error = Claim::decode(&newer).expect_err("version 2");
    let expected = "byte 23: maxwell.claim has version 2, this build reads version 1 only";
    assert_eq!(error.to_string(), expected);
    let size = Error::ClaimSize { length: MAX_CLAIM_BYTES + 1, limit: MAX_CLAIM_BYTES };
    assert_eq!(Claim::decode(&vec![0; MAX_CLAIM_BYTES + 1]), Err(size));
}

/// A claim that `change` has made wrong is refused in both directions, with the same error.
#[track_caller]
fn check_shape(change: impl FnOnce(&mut Claim), expected: Error) {
    let mut claim = claim();
    change(&mut claim);
    assert_eq!(claim.check_shape(), Err(expected.clone()));
    assert_eq!(Claim::decode(&claim.encode()), Err(expected));
}

#[test]
fn shape() {
    let count = Error::FingerprintCount { fingerprints: 1, outputs: 2 };
    check_shape(|claim| claim.fingerprints.truncate(1), count);
    let count = Error::FingerprintCount { fingerprints: 2, outputs: 0 };
    check_shape(|claim| claim.output_ids.clear(), count);
    for name in ["", "Maxwell", "maxwell ie5", "maxwell\x1b[2J", "ié"] {
        check_shape(|claim| claim.numerics = name.to_owned(), Error::NumericsName);
    }
    let long = Claim { numerics: "a".repeat(65), ..claim() };
    assert_eq!(long.check_shape(), Err(Error::NumericsName));
    assert!(matches!(Claim::decode(&long.encode()), Err(Error::OverLimit { length: 65, limit: 64, .. })));
    let newer = Claim { version: 2, ..claim() };
    assert_eq!(newer.check_shape(), Err(Error::ClaimVersion { found: 2, supported: 1 }));
    assert!(matches!(Claim::decode(&newer.encode()), Err(Error::StructureVersion { found: 2, .. })));
}

/// The fullest claim decodes, and one more of anything does not.
#[test]
fn limits_are_reachable_and_exact() {
    let fingerprint = LogitFingerprint::new(GOLDILOCKS_PRIME - 1, GOLDILOCKS_PRIME - 1).unwrap();
    let full = Claim {
        numerics: "a".repeat(64),
        prompt_ids: vec![u32::MAX; MAX_PROMPT_TOKENS as usize],
        output_ids: vec![u32::MAX; MAX_OUTPUT_TOKENS as usize],
        output_bytes: vec![0; MAX_OUTPUT_BYTES as usize],
        fingerprints: vec![fingerprint; MAX_OUTPUT_TOKENS as usize],
        ..claim()
    };
    let bytes = full.encode();
    assert!(bytes.len() <= MAX_CLAIM_BYTES, "{}", bytes.len());
    assert_eq!(Claim::decode(&bytes).as_ref(), Ok(&full));
    let mut over = full.clone();
    over.prompt_ids.push(0);
    check_over("prompt_ids", "the prompt token ids", &over);
    let mut over = full.clone();
    over.output_bytes.push(0);
    check_over("output_bytes", "the output bytes", &over);
    let mut over = full;
    over.output_ids.push(0);
    check_over("output_ids", "the output token ids", &over);
}

#[track_caller]
fn check_over(field: &str, what: &str, claim: &Claim) {
    let shape = claim.check_shape().expect_err(field);
    assert!(matches!(shape, Error::ClaimField { field: found, .. } if found == field), "{shape}");
    let bytes = claim.encode();
    let error = Claim::decode(&bytes).expect_err(field).to_string();
    assert!(error.contains(what) && error.contains("the limit is"), "{error}");
}

#[test]
fn contradictions_are_seen_without_the_model() {
    let honest = claim();
    assert_eq!(honest.contradiction(), None);
    let greedy_seed = Seed::from_bytes([9; 32]);
    let chosen = Claim { seed: greedy_seed, ..claim() };
    assert_eq!(
        chosen.contradiction(),
        Some(Reason::Seed { claimed: greedy_seed, derived: derive_seed(&nonce(), &honest.client_seed) })
    );
    let replayed = Claim { nonce: Nonce::from_bytes([7; 32]), ..claim() };
    assert!(matches!(replayed.contradiction(), Some(Reason::Seed { .. })));
    let long = Claim { settings: SamplingSettings { max_tokens: 1, ..settings() }, ..claim() };
    assert_eq!(long.contradiction(), Some(Reason::TooManyTokens { tokens: 2, max_tokens: 1 }));
    let hot = Claim { settings: SamplingSettings { temperature_milli: 100_001, ..settings() }, ..claim() };
    let limit =
        SettingLimit { field: "temperature_milli", value: 100_001, min: 10, max: 100_000, also: Some(0) };
    assert_eq!(hot.contradiction(), Some(Reason::SettingLimit(limit)));
    // It still decodes, so that the judge can say what is wrong with it.
    assert_eq!(Claim::decode(&hot.encode()), Ok(hot));
}

fn any_finish() -> impl Strategy<Value = FinishReason> {
    prop_oneof![
        Just(FinishReason::EndToken),
        Just(FinishReason::Length),
        Just(FinishReason::ContextFull),
        any::<u32>().prop_map(|position| FinishReason::OutOfRange { position }),
    ]
}

fn any_settings() -> impl Strategy<Value = SamplingSettings> {
    any::<([u32; 6], bool)>().prop_map(|([t, k, p, m, r, n], stop_at_end)| SamplingSettings {
        temperature_milli: t,
        top_k: k,
        top_p_ppm: p,
        min_p_ppm: m,
        repetition_penalty_milli: r,
        max_tokens: n,
        stop_at_end,
    })
}

fn any_output() -> impl Strategy<Value = Vec<(u32, LogitFingerprint)>> {
    let fingerprint = (0..GOLDILOCKS_PRIME, 0..GOLDILOCKS_PRIME)
        .prop_map(|(c0, c1)| LogitFingerprint::new(c0, c1).unwrap());
    prop::collection::vec((any::<u32>(), fingerprint), 0..30)
}

fn logprobs_of(outputs: usize) -> Logprobs {
    let token = |at: usize| {
        let below_micronats = 1_000_000 + at as u32;
        TokenLogprobs { below_micronats, top: vec![RankedToken { id: at as u32, below_micronats }] }
    };
    Logprobs { top: 1, tokens: (0..outputs).map(token).collect() }
}

#[test]
fn logprobs_are_part_of_the_claim() {
    let plain = claim();
    let with = Claim { logprobs: Some(logprobs_of(2)), ..claim() };
    assert_ne!(with.digest(), plain.digest());
    let bytes = with.encode();
    assert_eq!(Claim::decode(&bytes), Ok(with.clone()));
    for cut in 0..bytes.len() {
        assert!(Claim::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    // One number of the head says whether they are there.
    let mut without = bytes;
    without[8] -= 1;
    assert!(Claim::decode(&without).is_err());
    check_shape(
        |claim| claim.logprobs = Some(logprobs_of(1)),
        Error::LogprobCount { logprobs: 1, top: 1, outputs: 2 },
    );
}

#[test]
fn the_root_of_a_trace_is_part_of_the_claim() {
    let root = TraceRoot::from_bytes([9; 32]);
    for logprobs in [None, Some(logprobs_of(2))] {
        let plain = Claim { logprobs, ..claim() };
        let with = Claim { trace: Some(root), ..plain.clone() };
        assert_ne!(with.digest(), plain.digest());
        let bytes = with.encode();
        assert_eq!(Claim::decode(&bytes), Ok(with));
        for cut in 0..bytes.len() {
            assert!(Claim::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for fewer in 1..3 {
            let mut without = bytes.clone();
            without[8] -= fewer;
            assert!(Claim::decode(&without).is_err());
        }
        // A root of another length.
        let mut short = bytes;
        short.pop();
        let length = short.len() - 32;
        short[length] -= 1;
        assert!(Claim::decode(&short).is_err());
    }
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let ids = any::<[[u8; 32]; 5]>();
    let lists = (prop::collection::vec(any::<u32>(), 0..40), prop::collection::vec(any::<u8>(), 0..300));
    let head = ("[a-z0-9.-]{1,64}", any::<bool>(), any_settings(), any_finish());
    (ids, lists, head, any_output(), any::<[bool; 2]>()).prop_map(|(ids, lists, head, output, more)| Claim {
        version: 1,
        numerics: head.0,
        model: ModelCommitment::from_bytes(ids[0]),
        template: head.1.then(|| TemplateDigest::from_bytes(ids[1])),
        prompt_ids: lists.0,
        settings: head.2,
        client_seed: ClientSeed::from_bytes(ids[2]),
        nonce: Nonce::from_bytes(ids[3]),
        seed: Seed::from_bytes(ids[4]),
        output_ids: output.iter().map(|(id, _)| *id).collect(),
        finish: head.3,
        output_bytes: lists.1,
        fingerprints: output.iter().map(|(_, fingerprint)| *fingerprint).collect(),
        logprobs: more[0].then(|| logprobs_of(output.len())),
        trace: more[1].then(|| TraceRoot::from_bytes(ids[1])),
    })
}

proptest! {
    #![proptest_config(Config {
        rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Config::default()
    })]

    #[test]
    fn every_claim_survives_the_round_trip(claim in any_claim()) {
        prop_assert_eq!(Claim::decode(&claim.encode()), Ok(claim));
    }

    #[test]
    fn accepted_neighbours_are_canonical(
        claim in any_claim(), at in any::<prop::sample::Index>(), byte: u8, cut in 0..3usize
    ) {
        let mut bytes = claim.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.drain(at..bytes.len().min(at + cut));
        if let Ok(claim) = Claim::decode(&bytes) {
            prop_assert_eq!(claim.encode(), bytes);
        }
    }
}
