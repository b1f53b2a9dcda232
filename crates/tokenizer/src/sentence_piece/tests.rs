//! The order of scores against that of floating-point numbers.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::order_of_score;

fn check(one: f32, other: f32) {
    let orders = (order_of_score(one.to_bits()), order_of_score(other.to_bits()));
    match one.partial_cmp(&other) {
        // A higher score comes first.
        Some(order) => {
            assert_eq!(orders.0.unwrap().cmp(&orders.1.unwrap()), order.reverse(), "{one} {other}")
        }
        None => assert!(orders.0.is_none() || orders.1.is_none()),
    }
}

#[test]
fn special_numbers() {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for one in numbers {
        for other in numbers {
            check(one, other);
        }
    }
}

proptest! {
    #![proptest_config(Config { rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_numbers(one: u32, other: u32) {
        check(f32::from_bits(one), f32::from_bits(other));
    }
}
