//! Lanes against the field, on numbers at the edges of every carry.

use proptest::prelude::*;

use super::{ExtLanes, Isa, Kernel, Lanes};
use crate::field::{Base, Ext, PRIME};

const COUNT: usize = 64;

/// Results of two columns, element by element; each goes through lanes that are not reduced.
struct Everything<'a> {
    x: &'a [Base],
    y: &'a [Base],
}

fn everything(x: Base, y: Base) -> [Base; 4] {
    let product = x * y;
    [product + product, x + y + (y + y), x - y - x * x, product * Base::new(7)]
}

impl Kernel for Everything<'_> {
    type Output = [Vec<Base>; 4];

    #[inline(always)]
    fn run<L: Lanes>(self) -> Self::Output {
        let mut out = [const { Vec::new() }; 4].map(|_: Vec<Base>| vec![Base::ZERO; self.x.len()]);
        let [a, b, c, d] = out.each_mut().map(|column| L::chunks_mut(column));
        for (i, (x, y)) in L::chunks(self.x).iter().zip(L::chunks(self.y)).enumerate() {
            let (x, y) = (L::load(x), L::load(y));
            let product = x.mul(y);
            product.add(product).store(&mut a[i]);
            x.add(y).add(y.add(y)).store(&mut b[i]);
            x.sub(y).sub(x.mul(x)).store(&mut c[i]);
            product.times_seven().store(&mut d[i]);
        }
        out
    }
}

/// `sum a * b` over the extension, of columns taken as both coordinates.
struct Inner<'a> {
    a: [&'a [Base]; 2],
    b: [&'a [Base]; 2],
}

impl Kernel for Inner<'_> {
    type Output = Ext;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Ext {
        let [a, b] = [self.a, self.b].map(|column| column.map(L::chunks));
        let mut sum = ExtLanes::<L>::splat(Ext::ZERO);
        for ((a0, a1), (b0, b1)) in a[0].iter().zip(a[1]).zip(b[0].iter().zip(b[1])) {
            sum = sum.add(ExtLanes::load(a0, a1).mul(ExtLanes::<L>::load(b0, b1)));
        }
        sum.sum()
    }
}

fn element() -> impl Strategy<Value = Base> {
    prop_oneof![
        any::<u64>().prop_map(Base::new),
        (0_u64..4).prop_map(Base::new),
        (1_u64..4).prop_map(|less| Base::new(PRIME - less)),
        (0_u64..8).prop_map(|more| Base::new((1 << 32) - 4 + more)),
        (0_u64..4).prop_map(|more| Base::new((1 << 63) + more)),
    ]
}

proptest! {
    #[test]
    fn every_instruction_set_computes_in_the_field(
        x in prop::collection::vec(element(), COUNT),
        y in prop::collection::vec(element(), COUNT),
    ) {
        for isa in Isa::available() {
            let out = isa.run(COUNT, Everything { x: &x, y: &y });
            for i in 0..COUNT {
                let expected = everything(x[i], y[i]);
                for (column, expected) in out.iter().zip(expected) {
                    prop_assert_eq!(column[i], expected, "{} at {}", isa.name(), i);
                }
            }
            let (half_x, half_y) = (x.split_at(COUNT / 2), y.split_at(COUNT / 2));
            let a = [half_x.0, half_x.1];
            let b = [half_y.0, half_y.1];
            let pairs = (0..COUNT / 2).map(|i| Ext::new(a[0][i], a[1][i]) * Ext::new(b[0][i], b[1][i]));
            prop_assert_eq!(isa.run(COUNT / 2, Inner { a, b }), pairs.sum::<Ext>(), "{}", isa.name());
        }
    }
}
