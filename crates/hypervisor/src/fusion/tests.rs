//! Exact evidence decides alone; no amount of statistical evidence does; nothing counts twice or beyond its cap.

use proptest::prelude::*;

use super::*;

fn word(meter: &str, window: u64, nats: f64, cap: f64) -> Word {
    Word { meter: meter.to_owned(), window, nats, cap }
}

#[test]
fn conclusions() {
    let (fits, contradicts) = ([word("wall", 0, 4.0, 6.0)], [word("wall", 0, -4.0, 6.0)]);
    let cases = [
        (Exact::Holds, &fits[..], Conclusion::Accept),
        (Exact::Holds, &[], Conclusion::Accept),
        (Exact::Holds, &contradicts, Conclusion::AcceptElsewhere),
        (Exact::False, &fits, Conclusion::Reject),
        (Exact::Unknown, &fits, Conclusion::LeansFor),
        (Exact::Unknown, &contradicts, Conclusion::LeansAgainst),
        (Exact::Unknown, &[], Conclusion::Undecided),
    ];
    for (exact, words, conclusion) in cases {
        assert_eq!(fuse(exact, words).conclusion, conclusion, "{exact:?} {words:?}");
    }
}

#[test]
fn saying_it_again_adds_nothing() {
    let once = fuse(Exact::Unknown, &[word("wall", 0, 2.0, 6.0)]);
    let windows: Vec<Word> = (0..100).map(|window| word("wall", window, 2.0, 6.0)).collect();
    assert_eq!(fuse(Exact::Unknown, &windows), once);
    // Two sources on one meter: the one against it counts, or else the stronger one, in any order.
    for (a, b, together) in
        [(2.0, -1.0, -1.0), (-1.0, 2.0, -1.0), (2.0, 3.5, 3.5), (3.5, 2.0, 3.5), (-2.0, -1.0, -2.0)]
    {
        let two = [word("wall", 0, a, 6.0), word("wall", 0, b, 6.0)];
        assert_eq!(fuse(Exact::Unknown, &two).nats, together);
    }
    // Two meters know more than one.
    let meters = [word("wall", 0, 2.0, 6.0), word("gpu", 0, 2.0, 6.0)];
    assert_eq!(fuse(Exact::Unknown, &meters).conclusion, Conclusion::LeansFor);
}

#[test]
fn no_word_counts_beyond_its_cap() {
    assert_eq!(fuse(Exact::Unknown, &[word("wall", 0, -1e9, 2.0)]).nats, -2.0);
    assert_eq!(fuse(Exact::Unknown, &[word("wall", 0, -1e9, -2.0)]).nats, 0.0);
    for nats in [f64::NAN, f64::INFINITY] {
        assert_eq!(fuse(Exact::Unknown, &[word("wall", 0, nats, 2.0)]).nats, 0.0);
    }
}

proptest! {
    /// Whatever the meters say: they never reject, and never turn a rejection into anything else.
    #[test]
    fn meters_never_decide(words in proptest::collection::vec((0_u8..3, 0_u64..4, any::<f64>(), any::<f64>()), 0..40)) {
        let words: Vec<Word> =
            words.iter().map(|(meter, window, nats, cap)| word(&meter.to_string(), *window, *nats, *cap)).collect();
        prop_assert_eq!(fuse(Exact::False, &words).conclusion, Conclusion::Reject);
        let holds = fuse(Exact::Holds, &words).conclusion;
        prop_assert!(matches!(holds, Conclusion::Accept | Conclusion::AcceptElsewhere));
        let unknown = fuse(Exact::Unknown, &words);
        prop_assert!(!matches!(unknown.conclusion, Conclusion::Accept | Conclusion::AcceptElsewhere | Conclusion::Reject));
        prop_assert!(!unknown.nats.is_nan());
    }
}
