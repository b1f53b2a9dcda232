//! Both ways of summing against `model::fingerprint`, at the edges of their bounds.

use super::*;
use model::synthetic::SplitMix64;

const MAX_ELEMENT: u64 = PRIME - 1;

fn check(point: Element, logits: &[i64], case: &str) {
    let point = FingerprintPoint::new(point[0], point[1]).expect("below p");
    let powers = model::fingerprint::powers(&point, logits.len());
    let expected = model::fingerprint::fingerprint(logits, &powers);
    assert_eq!(Fingerprinter::new(&point, logits.len()).fingerprint(logits), expected, "{case}");
}

#[test]
fn powers_are_those_of_the_extension() {
    let mut random = SplitMix64::new(3);
    let mut any = || random.below(PRIME);
    for point in [[0, 0], [1, 0], [0, 1], [MAX_ELEMENT, MAX_ELEMENT], [any(), any()], [any(), any()]] {
        let expected = FingerprintPoint::new(point[0], point[1]).expect("below p");
        assert_eq!(powers(point, 3000), model::fingerprint::powers(&expected, 3000), "{point:?}");
    }
}

#[test]
fn products_at_the_edges_are_reduced() {
    let edges = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, MAX_ELEMENT - 1, MAX_ELEMENT];
    for a in edges {
        for b in edges {
            assert_eq!(multiply_base(a, b), model::fingerprint::multiply_base(a, b), "{a} * {b}");
            assert_eq!(add_base(a, b), model::fingerprint::add_base(a, b), "{a} + {b}");
        }
    }
}

#[test]
fn largest_sums_of_both_ways_are_exact() {
    let point = [MAX_ELEMENT, MAX_ELEMENT - 5];
    for logit in [-FAST_LOGIT, FAST_LOGIT - 1, FAST_LOGIT, -FAST_LOGIT - 1, i64::MIN, i64::MAX, 0, -1] {
        for count in [1, RUN - 1, RUN, RUN + 1, 1000] {
            check(point, &vec![logit; count], &format!("{count} times {logit}"));
        }
    }
    // More than a chunk.
    for logit in [-FAST_LOGIT, i64::MIN] {
        check(point, &vec![logit; CHUNK + 77], &format!("a chunk of {logit}"));
    }
}

#[test]
fn random_logits_of_every_size_are_exact() {
    let mut random = SplitMix64::new(5);
    for bits in [1, 30, 36, 44, 45, 63] {
        let logits: Vec<i64> =
            (0..700).map(|_| random.below(1 << bits).cast_signed() - (1 << (bits - 1))).collect();
        check([random.below(PRIME), random.below(PRIME)], &logits, &format!("{bits} bits"));
    }
}
