//! Multilinear extensions against their definition.

use proptest::prelude::*;

use super::{eq, eq_table, evaluate};
use crate::field::{Base, Ext};
use crate::kernels::Isa;

fn ext() -> impl Strategy<Value = Ext> {
    [any::<u64>(), any::<u64>()].prop_map(|c| Ext::new(Base::new(c[0]), Base::new(c[1])))
}

/// The bits of an index as a corner of the hypercube, the highest first.
fn corner(index: usize, bits: usize) -> Vec<Ext> {
    (0..bits).rev().map(|bit| Ext::from_u64((index >> bit & 1) as u64)).collect()
}

proptest! {
    #[test]
    fn tables_hold_eq_and_interpolate(point in prop::collection::vec(ext(), 0..7), factor in ext()) {
        let bits = point.len();
        for isa in Isa::available() {
            let table = eq_table(isa, &point, factor);
            for (index, value) in table.iter().enumerate() {
                prop_assert_eq!(value, factor * eq(&point, &corner(index, bits)));
            }
        }
    }

    #[test]
    fn evaluation_is_linear_in_values_and_exact_at_corners(
        values in prop::collection::vec(ext(), 1..33),
        point in prop::collection::vec(ext(), 5),
        corner_index in 0_usize..32,
    ) {
        let at_corner = values.get(corner_index).copied().unwrap_or_default();
        prop_assert_eq!(evaluate(&values, &corner(corner_index, 5)), at_corner);
        let table = eq_table(Isa::PORTABLE, &point, Ext::ONE);
        let sum: Ext = values.iter().zip(table.iter()).map(|(value, weight)| *value * weight).sum();
        prop_assert_eq!(evaluate(&values, &point), sum);
    }
}
