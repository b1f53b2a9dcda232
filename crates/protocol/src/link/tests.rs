//! Round trips of every message, and refusal of every changed or cut one.

use super::*;
use crate::logprobs::{MAX_TOP, RankedToken};

fn to_server() -> Vec<ToServer> {
    vec![
        ToServer::Weights { bytes: 98_362_432 },
        ToServer::Group { bytes: vec![7; 300] },
        ToServer::Readback {
            challenge: 3,
            key: [9; 32],
            ranges: vec![ByteRange { offset: 1 << 33, length: 4096 }, ByteRange { offset: 0, length: 1 }],
        },
        ToServer::Generate {
            tag: u64::MAX,
            prompt_ids: vec![1, 504, 49_151],
            settings: SamplingSettings::greedy(),
            nonce: Nonce::from_bytes([1; 32]),
            client_seed: ClientSeed::from_bytes([2; 32]),
            logprobs: None,
        },
        ToServer::Generate {
            tag: 6,
            prompt_ids: vec![1],
            settings: SamplingSettings::greedy(),
            nonce: Nonce::from_bytes([1; 32]),
            client_seed: ClientSeed::from_bytes([2; 32]),
            logprobs: Some(20),
        },
        ToServer::Cancel { tag: 5 },
    ]
}

fn from_server() -> Vec<FromServer> {
    vec![
        FromServer::Ready,
        FromServer::Readback { challenge: 3, digest: [4; 32] },
        FromServer::Token {
            tag: 1,
            id: 17,
            fingerprint: LogitFingerprint::new(5, 6).unwrap(),
            logprobs: None,
        },
        longest_token(),
        FromServer::Finished { tag: 1, finish: FinishReason::OutOfRange { position: 70_000 } },
        FromServer::Finished { tag: 2, finish: FinishReason::EndToken },
        FromServer::Refused { tag: 2 },
    ]
}

/// With as many ranked tokens as there may be, all numbers as long as they may be.
fn longest_token() -> FromServer {
    let prime = crate::fingerprint::GOLDILOCKS_PRIME;
    let ranked = RankedToken { id: u32::MAX, below_micronats: u32::MAX };
    FromServer::Token {
        tag: u64::MAX,
        id: u32::MAX,
        fingerprint: LogitFingerprint::new(prime - 1, prime - 1).unwrap(),
        logprobs: Some(TokenLogprobs { below_micronats: u32::MAX, top: vec![ranked; MAX_TOP.into()] }),
    }
}

#[test]
fn messages_have_one_byte_form() {
    for message in to_server() {
        let bytes = message.encode();
        assert_eq!(ToServer::decode(&bytes), Ok(message));
        check_damage(&bytes, |bytes| ToServer::decode(bytes).map(|message| message.encode()));
    }
    for message in from_server() {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX_FROM_SERVER_BYTES);
        assert_eq!(FromServer::decode(&bytes), Ok(message));
        check_damage(&bytes, |bytes| FromServer::decode(bytes).map(|message| message.encode()));
    }
}

/// Cut, lengthened and changed bytes are refused, or are another message with exactly these bytes.
fn check_damage(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Vec<u8>, Error>) {
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err());
    }
    assert!(decode(&[bytes, &[0]].concat()).is_err());
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            if let Ok(again) = decode(&changed) {
                assert_eq!(again, changed);
            }
        }
    }
}

#[test]
fn long_messages_are_refused_before_they_are_read() {
    let limit = MAX_FROM_SERVER_BYTES;
    let expected = Error::FrameSize { length: limit + 1, limit };
    assert_eq!(FromServer::decode(&vec![0; limit + 1]), Err(expected));
    let group = ToServer::Group { bytes: vec![0; (MAX_GROUP_BYTES as usize) + 1] };
    assert!(ToServer::decode(&group.encode()).is_err());
}

#[test]
fn readback_binds_key_ranges_and_bytes() {
    let weights: Vec<u8> = (0..1000_u32).map(|i| (i % 251) as u8).collect();
    let ranges = [ByteRange { offset: 10, length: 20 }, ByteRange { offset: 990, length: 10 }];
    let digest = readback_digest(&weights, &[1; 32], &ranges).unwrap();
    assert_ne!(readback_digest(&weights, &[2; 32], &ranges).unwrap(), digest);
    assert_ne!(readback_digest(&weights, &[1; 32], &ranges[..1]).unwrap(), digest);
    for range in ranges {
        let mut changed = weights.clone();
        changed[range.offset as usize] ^= 1;
        assert_ne!(readback_digest(&changed, &[1; 32], &ranges).unwrap(), digest);
    }
    for (offset, length) in [(981, 20), (1001, 0), (u64::MAX, 1)] {
        assert_eq!(readback_digest(&weights, &[1; 32], &[ByteRange { offset, length }]), None);
    }
}
