//! What is well-formed for a token, the limits of a whole answer, and one byte form.

use super::*;

fn ranked(ids: &[(u32, u32)]) -> Vec<RankedToken> {
    ids.iter()
        .map(|(id, below_micronats)| RankedToken { id: *id, below_micronats: *below_micronats })
        .collect()
}

fn token(below_micronats: u32, top: &[(u32, u32)]) -> TokenLogprobs {
    TokenLogprobs { below_micronats, top: ranked(top) }
}

#[test]
fn what_cannot_be_right_for_a_token_is_seen() {
    let good = [(4, 10), (2, 20), (9, 20)];
    assert!(token(20, &good).fits(2, 3, 10));
    // A token that is not among the ranked ones may have any value.
    assert!(token(5000, &good).fits(7, 3, 10));
    assert!(token(7, &[]).fits(7, 0, 10));
    // A vocabulary of two has no three best.
    assert!(token(1, &[(1, 1), (0, 2)]).fits(1, 3, 2));
    for (what, wrong, top, vocabulary) in [
        ("another value than its rank", token(21, &good), 3, 10),
        ("too few", token(20, &good), 4, 10),
        ("too many", token(20, &good), 2, 10),
        ("not asked for", token(20, &good), 0, 10),
        ("no such token", token(20, &good), 3, 9),
        ("out of order", token(20, &[(2, 20), (4, 10), (9, 20)]), 3, 10),
        ("twice", token(20, &[(4, 10), (2, 20), (2, 20)]), 3, 10),
    ] {
        assert!(!wrong.fits(2, top, vocabulary), "{what}");
    }
}

#[test]
fn whole_answers_have_one_byte_form_and_a_limit() {
    let logprobs =
        Logprobs { top: 2, tokens: vec![token(0, &[(7, 0), (u32::MAX, u32::MAX)]), token(u32::MAX, &[])] };
    assert_eq!(logprobs.check_shape(2), Ok(()));
    assert!(logprobs.check_shape(1).is_err() && logprobs.check_shape(3).is_err());
    assert!(Logprobs { top: 1, ..logprobs.clone() }.check_shape(2).is_err(), "more than asked for");
    let mut out = Encoder::new();
    logprobs.encode(&mut out);
    let bytes = out.into_bytes();
    let mut decoder = Decoder::new(&bytes);
    assert_eq!(Logprobs::decode(&mut decoder), Ok(logprobs));
    assert_eq!(decoder.finish(), Ok(()));
    for cut in 0..bytes.len() {
        assert!(Logprobs::decode(&mut Decoder::new(&bytes[..cut])).is_err());
    }
    let full = |top: u8, count: u32| Logprobs { top, tokens: vec![token(1, &[]); count as usize] };
    assert_eq!(full(1, MAX_ENTRIES / 2).check_shape(MAX_ENTRIES as usize / 2), Ok(()));
    assert!(full(1, MAX_ENTRIES / 2 + 1).check_shape(MAX_ENTRIES as usize / 2 + 1).is_err());
    assert!(full(MAX_TOP + 1, 1).check_shape(1).is_err());
}
