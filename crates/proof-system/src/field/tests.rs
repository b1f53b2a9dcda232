//! The field against 128-bit remainders and against other people's.

use p3_field::extension::BinomialExtensionField;
use p3_field::{BasedVectorSpace, Field, PrimeCharacteristicRing, PrimeField64, TwoAdicField};
use p3_goldilocks::Goldilocks;
use proptest::prelude::*;

use super::{Base, Ext, PRIME, TWO_ADICITY};

type Theirs = BinomialExtensionField<Goldilocks, 2>;

fn element() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..4,
        (0_u64..4).prop_map(|less| PRIME - less),
        Just(u64::MAX),
        Just(1 << 32)
    ]
}

fn remainder(x: u128) -> u64 {
    u64::try_from(x % u128::from(PRIME)).unwrap()
}

fn theirs(x: Ext) -> Theirs {
    Theirs::from_basis_coefficients_slice(&[x.c0, x.c1].map(|c| Goldilocks::new(c.value()))).unwrap()
}

fn ours(x: Theirs) -> Ext {
    let c: &[Goldilocks] = x.as_basis_coefficients_slice();
    Ext::new(Base::new(c[0].as_canonical_u64()), Base::new(c[1].as_canonical_u64()))
}

proptest! {
    #[test]
    fn base_is_arithmetic_modulo_p(x in element(), y in element(), s in any::<i64>()) {
        let (a, b) = (Base::new(x), Base::new(y));
        let (wide_x, wide_y, p) = (u128::from(x), u128::from(y), u128::from(PRIME));
        prop_assert_eq!((a + b).value(), remainder(wide_x + wide_y));
        prop_assert_eq!((a - b).value(), remainder(wide_x + 2 * p - wide_y));
        prop_assert_eq!((a * b).value(), remainder(u128::from(a.value()) * u128::from(b.value())));
        prop_assert_eq!(a + -a, Base::ZERO);
        prop_assert_eq!(Base::reduce_wide(wide_x << 64 | wide_y).value(), remainder(wide_x << 64 | wide_y));
        let signed = i128::from(s).rem_euclid(i128::from(PRIME));
        prop_assert_eq!(Base::from_signed(s).value(), u64::try_from(signed).unwrap());
        prop_assert_eq!(a.inverse().map(|inverse| inverse * a), (a != Base::ZERO).then_some(Base::ONE));
    }

    #[test]
    fn the_extension_is_that_of_others(x in [element(), element()], y in [element(), element()]) {
        let [a, b] = [x, y].map(|c| Ext::new(Base::new(c[0]), Base::new(c[1])));
        prop_assert_eq!(a * b, ours(theirs(a) * theirs(b)));
        prop_assert_eq!(a + b, ours(theirs(a) + theirs(b)));
        prop_assert_eq!(a - b, ours(theirs(a) - theirs(b)));
        prop_assert_eq!(a.inverse(), theirs(a).try_inverse().map(ours));
        prop_assert_eq!(a.power(x[0] % 1000), ours(theirs(a).exp_u64(x[0] % 1000)));
        prop_assert_eq!(Ext::from_bytes(a.to_bytes()), Some(a));
    }
}

#[test]
fn encodings_that_are_not_reduced_are_refused() {
    for bytes in [u128::from(PRIME), u128::from(PRIME) << 64, u128::MAX] {
        assert_eq!(Ext::from_bytes(bytes.to_le_bytes()), None);
    }
    assert_eq!(Base::from_canonical(PRIME), None);
    assert_eq!(Base::from_canonical(PRIME - 1), Some(-Base::ONE));
}

#[test]
fn roots_of_unity_have_their_order() {
    for bits in 0..=TWO_ADICITY {
        let root = Base::root_of_unity(bits).unwrap();
        assert_eq!(root.power(1 << bits), Base::ONE);
        if bits > 0 {
            assert_eq!(root.power(1 << (bits - 1)), -Base::ONE);
        }
    }
    assert_eq!(Base::root_of_unity(TWO_ADICITY + 1), None);
    assert_eq!(Goldilocks::two_adic_generator(5).exp_u64(32), Goldilocks::ONE);
}
