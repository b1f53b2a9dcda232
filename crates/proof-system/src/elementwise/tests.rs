//! Vector code against the field's own products.

use super::*;
use crate::field::PRIME;

fn elements(count: u64, seed: u64) -> Vec<Ext> {
    let base = |i: u64| Base::new(i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(seed) % PRIME);
    (0..count).map(|i| Ext::new(base(i + 1), base(i + 77))).collect()
}

#[test]
fn products_are_those_of_the_field_on_every_instruction_set() {
    for isa in Isa::available() {
        for (first, second) in [(0, 5), (1, 1), (31, 31), (32, 40), (100, 97), (256, 256)] {
            let mut a = elements(first, 3);
            let b = elements(second, 5);
            if let Some(last) = a.last_mut() {
                *last = Ext::new(Base::new(PRIME - 1), Base::new(PRIME - 1));
            }
            let expected: Vec<Ext> = a.iter().zip(&b).map(|(a, b)| *a * *b).collect();
            let mut found = vec![Ext::ONE];
            extend_with_products(isa, &a, &b, &mut found);
            assert_eq!(found[1..], expected, "{} of {first}", isa.name());
            assert_eq!(dot(isa, &a, &b), expected.iter().copied().sum(), "{} of {first}", isa.name());
            let mut multiples = Vec::new();
            extend_with_multiples(isa, &a, b[0], &mut multiples);
            assert_eq!(multiples, a.iter().map(|a| *a * b[0]).collect::<Vec<_>>());
            let mut sums = b.clone();
            add_multiples(isa, &a, b[0], &mut sums);
            let sum = |(i, old): (usize, &Ext)| *old + multiples.get(i).copied().unwrap_or_default();
            assert_eq!(sums, b.iter().enumerate().map(sum).collect::<Vec<_>>());
        }
    }
}
