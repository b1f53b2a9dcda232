//! Small vectors of weights: what a claim about a tensor multiplies its elements with. Total on every length.

use proof_system::elementwise::{self, extend_with_multiples, extend_with_products};
use proof_system::field::{Base, Ext};
use proof_system::kernels::Isa;
use proof_system::multilinear::eq_table;

/// `eq(point, i)` for the first `count` numbers.
#[must_use]
pub fn eq_vector(point: &[Ext], count: usize) -> Vec<Ext> {
    eq_table(Isa::best(), point, Ext::ONE).iter().take(count).collect()
}

/// All products, those of the first factor's first element first.
#[must_use]
pub fn outer(a: &[Ext], b: &[Ext]) -> Vec<Ext> {
    let isa = Isa::best();
    let mut products = Vec::with_capacity(a.len().saturating_mul(b.len()));
    for a in a {
        extend_with_multiples(isa, b, *a, &mut products);
    }
    products
}

/// Sum of products.
#[must_use]
pub fn dot(a: &[Ext], b: &[Ext]) -> Ext {
    elementwise::dot(Isa::best(), a, b)
}

/// Products of elements of the same place.
#[must_use]
pub fn times(a: &[Ext], b: &[Ext]) -> Vec<Ext> {
    let mut products = Vec::new();
    extend_with_products(Isa::best(), a, b, &mut products);
    products
}

/// All elements times a factor.
#[must_use]
pub fn scaled(a: &[Ext], factor: Ext) -> Vec<Ext> {
    let mut multiples = Vec::new();
    extend_with_multiples(Isa::best(), a, factor, &mut multiples);
    multiples
}

/// `1, x, x^2, ..`, as many as asked for: each pass doubles what is there.
#[must_use]
pub fn powers(x: Ext, count: usize) -> Vec<Ext> {
    let (mut powers, mut next) = (vec![Ext::ONE], x);
    while powers.len() < count {
        let own = powers.clone();
        extend_with_multiples(Isa::best(), &own, next, &mut powers);
        next *= next;
    }
    powers.truncate(count);
    powers
}

/// The sum of all.
#[must_use]
pub fn total(a: &[Ext]) -> Ext {
    a.iter().copied().sum()
}

/// Sum of products with integers.
#[must_use]
pub fn dot_integers(a: &[Ext], b: impl Iterator<Item = i64>) -> Ext {
    a.iter().zip(b).map(|(a, b)| *a * Base::from_signed(b)).sum()
}

/// `2^bits`.
#[must_use]
pub fn power_of_two(bits: u32) -> Ext {
    Ext::from_u64(1_u64.checked_shl(bits).unwrap_or(0))
}

/// `(a, b)` cut where the first part has `count` elements, or all.
#[must_use]
pub fn cut<T>(all: &[T], count: usize) -> (&[T], &[T]) {
    all.split_at(count.min(all.len()))
}
