//! The order of scores against that of floating-point numbers.

use proptest::prelude::*;

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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers(one: u32, other: u32) {
        check(f32::from_bits(one), f32::from_bits(other));
    }
}
