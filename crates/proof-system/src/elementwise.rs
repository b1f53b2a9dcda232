//! Products of small vectors of the extension, whose coordinates lie side by side: a verifier's weights. Cut into blocks whose
//! coordinates are taken apart, so that they go through vector registers.

#![expect(clippy::indexing_slicing, reason = "blocks of a fixed size, cut from slices of the same length")]

use crate::field::{Base, Ext};
use crate::kernels::{ExtLanes, Isa, Kernel, Lanes};

#[cfg(test)]
mod tests;

/// Elements of a block.
const BLOCK: usize = 32;

/// Coordinates apart.
type Parts = [[Base; BLOCK]; 2];

/// `sum of a[i] * b[i]`, as far as both go.
#[must_use]
pub fn dot(isa: Isa, a: &[Ext], b: &[Ext]) -> Ext {
    let length = a.len().min(b.len());
    let (a, rest_a) = a[..length].as_chunks::<BLOCK>();
    let (b, rest_b) = b[..length].as_chunks::<BLOCK>();
    let rest: Ext = rest_a.iter().zip(rest_b).map(|(a, b)| *a * *b).sum();
    if a.is_empty() { rest } else { rest + isa.run_wide(Dot { a, b }) }
}

/// `a[i] * b[i]` of two vectors of the same length, or as far as both go, behind what `out` has.
pub fn extend_with_products(isa: Isa, a: &[Ext], b: &[Ext], out: &mut Vec<Ext>) {
    let length = a.len().min(b.len());
    let start = out.len();
    out.resize(start.saturating_add(length), Ext::ZERO);
    let (a, rest_a) = a[..length].as_chunks::<BLOCK>();
    let (b, rest_b) = b[..length].as_chunks::<BLOCK>();
    let (blocks, rest) = out[start..].as_chunks_mut::<BLOCK>();
    for (out, (a, b)) in rest.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *out = *a * *b;
    }
    if !a.is_empty() {
        isa.run_wide(Products { a, b, out: blocks });
    }
}

/// `a[i] * factor`, behind what `out` has.
pub fn extend_with_multiples(isa: Isa, a: &[Ext], factor: Ext, out: &mut Vec<Ext>) {
    let start = out.len();
    out.resize(start.saturating_add(a.len()), Ext::ZERO);
    let (a, rest_a) = a.as_chunks::<BLOCK>();
    let (blocks, rest) = out[start..].as_chunks_mut::<BLOCK>();
    for (out, a) in rest.iter_mut().zip(rest_a) {
        *out = *a * factor;
    }
    if !a.is_empty() {
        isa.run_wide(Multiples { a, factor, out: blocks });
    }
}

/// Adds `a[i] * factor` to `out[i]`, as far as both go.
pub fn add_multiples(isa: Isa, a: &[Ext], factor: Ext, out: &mut [Ext]) {
    let length = a.len().min(out.len());
    let (a, rest_a) = a[..length].as_chunks::<BLOCK>();
    let (out, rest) = out[..length].as_chunks_mut::<BLOCK>();
    for (out, a) in rest.iter_mut().zip(rest_a) {
        *out += *a * factor;
    }
    if !a.is_empty() {
        isa.run_wide(AddMultiples { a, factor, out });
    }
}

struct Dot<'a> {
    a: &'a [[Ext; BLOCK]],
    b: &'a [[Ext; BLOCK]],
}

impl Kernel for Dot<'_> {
    type Output = Ext;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Ext {
        let mut sum = ExtLanes::<L>::splat(Ext::ZERO);
        for (a, b) in self.a.iter().zip(self.b) {
            let (a, b) = (apart(a), apart(b));
            for ((a0, a1), (b0, b1)) in lanes::<L>(&a).zip(lanes::<L>(&b)) {
                sum = sum.add(ExtLanes::load(a0, a1).mul(ExtLanes::load(b0, b1)));
            }
        }
        sum.sum()
    }
}

struct Products<'a> {
    a: &'a [[Ext; BLOCK]],
    b: &'a [[Ext; BLOCK]],
    out: &'a mut [[Ext; BLOCK]],
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        for ((a, b), out) in self.a.iter().zip(self.b).zip(self.out) {
            let (mut a, b) = (apart(a), apart(b));
            let [a0, a1] = &mut a;
            let targets = L::chunks_mut(a0).iter_mut().zip(L::chunks_mut(a1));
            for ((a0, a1), (b0, b1)) in targets.zip(lanes::<L>(&b)) {
                ExtLanes::<L>::load(a0, a1).mul(ExtLanes::load(b0, b1)).store(a0, a1);
            }
            together(&a, out);
        }
    }
}

struct Multiples<'a> {
    a: &'a [[Ext; BLOCK]],
    factor: Ext,
    out: &'a mut [[Ext; BLOCK]],
}

impl Kernel for Multiples<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let factor = ExtLanes::<L>::splat(self.factor);
        for (a, out) in self.a.iter().zip(self.out) {
            let mut a = apart(a);
            let [a0, a1] = &mut a;
            for (a0, a1) in L::chunks_mut(a0).iter_mut().zip(L::chunks_mut(a1)) {
                ExtLanes::<L>::load(a0, a1).mul(factor).store(a0, a1);
            }
            together(&a, out);
        }
    }
}

struct AddMultiples<'a> {
    a: &'a [[Ext; BLOCK]],
    factor: Ext,
    out: &'a mut [[Ext; BLOCK]],
}

impl Kernel for AddMultiples<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let factor = ExtLanes::<L>::splat(self.factor);
        for (a, out) in self.a.iter().zip(self.out) {
            let (a, mut sums) = (apart(a), apart(out));
            let [s0, s1] = &mut sums;
            let targets = L::chunks_mut(s0).iter_mut().zip(L::chunks_mut(s1));
            for ((s0, s1), (a0, a1)) in targets.zip(lanes::<L>(&a)) {
                let product = ExtLanes::<L>::load(a0, a1).mul(factor);
                ExtLanes::load(s0, s1).add(product).store(s0, s1);
            }
            together(&sums, out);
        }
    }
}

#[inline(always)]
fn apart(elements: &[Ext; BLOCK]) -> Parts {
    [elements.map(|element| element.c0), elements.map(|element| element.c1)]
}

#[inline(always)]
fn together([c0, c1]: &Parts, out: &mut [Ext; BLOCK]) {
    for (out, (c0, c1)) in out.iter_mut().zip(c0.iter().zip(c1)) {
        *out = Ext::new(*c0, *c1);
    }
}

#[inline(always)]
fn lanes<'p, L: Lanes>([c0, c1]: &'p Parts) -> impl Iterator<Item = (&'p L::Chunk, &'p L::Chunk)>
where
    L::Chunk: 'p,
{
    L::chunks(c0).iter().zip(L::chunks(c1))
}
