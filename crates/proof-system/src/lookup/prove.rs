//! Makes a tree's proof. Owns its leaves: all layers are folded in place.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the prover's own columns, whose lengths are powers of two that it made"
)]

use std::collections::BTreeMap;

use super::{FractionTreeProof, LayerProof, LeafClaim, MAX_BITS, descend};
use crate::field::{Base, Ext};
use crate::kernels::{ExtLanes, Isa, Kernel, Lanes};
use crate::multilinear::{ExtColumn, fill_eq_table};
use crate::transcript::{Label, Transcript};

/// What stands above the leaves' lines.
#[derive(Clone, Debug)]
pub enum Numerators {
    /// One each: looked-up values.
    Ones,
    /// Multiplicities of a table's entries, or anything else.
    Given(ExtColumn),
}

/// The leaves of a tree.
#[derive(Clone, Debug)]
pub struct Fractions {
    /// Above.
    pub numerators: Numerators,
    /// Below, `2^bits` of them, at least two.
    pub denominators: ExtColumn,
}

/// Columns of earlier trees, to be used again: fresh memory costs more than what is computed in it.
#[derive(Debug, Default)]
pub struct Workspace {
    free: BTreeMap<usize, Vec<ExtColumn>>,
}

impl Workspace {
    /// A column of this length, with anything in it.
    #[must_use]
    pub fn take(&mut self, length: usize) -> ExtColumn {
        self.free.get_mut(&length).and_then(Vec::pop).unwrap_or_else(|| ExtColumn::zeros(length))
    }

    /// Takes a column that is of no more use.
    pub fn give(&mut self, column: ExtColumn) {
        self.free.entry(column.len()).or_default().push(column);
    }
}

/// Proves the sum of the fractions, and keeps their columns for the next tree.
///
/// # Panics
/// If the number of leaves is not a power of two from 2 to `2^MAX_BITS`, or numerators are missing.
#[must_use]
pub fn prove(
    leaves: Fractions,
    isa: Isa,
    workspace: &mut Workspace,
    transcript: &mut Transcript,
) -> (FractionTreeProof, LeafClaim) {
    let count = leaves.denominators.len();
    assert!(count.is_power_of_two() && (2..=1 << MAX_BITS).contains(&count), "{count} leaves");
    let mut layers = vec![leaves];
    while layers[layers.len() - 1].denominators.len() > 2 {
        let next = layers[layers.len() - 1].sums(isa, workspace);
        layers.push(next);
    }
    let last = layers.pop().expect("the leaves at least");
    let ([p0, q0], [p1, q1]) = (last.fraction(0), last.fraction(1));
    let top = [p0, q0, p1, q1];
    last.recycle(workspace);
    transcript.absorb_elements(Label::LookupRoot, &top);
    let tau = transcript.challenge(Label::Batching);
    let (numerator, denominator) = descend(top, tau);
    let mut claim = LeafClaim { point: vec![tau], numerator, denominator };
    let mut proof = FractionTreeProof { top, layers: Vec::new() };
    while let Some(layer) = layers.pop() {
        let (messages, next) = prove_layer(layer, &claim.point, isa, workspace, transcript);
        proof.layers.push(messages);
        claim = next;
    }
    (proof, claim)
}

impl Fractions {
    /// The fractions `i` and `i + half` added: half as many.
    fn sums(&self, isa: Isa, workspace: &mut Workspace) -> Self {
        let half = self.denominators.len() / 2;
        let mut numerators = workspace.take(half);
        let mut denominators = workspace.take(half);
        let out = [&mut numerators, &mut denominators].map(|c| [c.c0.as_mut_slice(), c.c1.as_mut_slice()]);
        let q = halves(&self.denominators);
        match &self.numerators {
            Numerators::Ones => isa.run(half, AddOnes { q, out }),
            Numerators::Given(p) => isa.run(half, AddFractions { p: halves(p), q, out }),
        }
        Self { numerators: Numerators::Given(numerators), denominators }
    }

    fn recycle(self, workspace: &mut Workspace) {
        workspace.give(self.denominators);
        if let Numerators::Given(numerators) = self.numerators {
            workspace.give(numerators);
        }
    }

    fn fraction(&self, index: usize) -> [Ext; 2] {
        let numerator = match &self.numerators {
            Numerators::Ones => Ext::ONE,
            Numerators::Given(p) => Ext::new(p.c0[index], p.c1[index]),
        };
        [numerator, Ext::new(self.denominators.c0[index], self.denominators.c1[index])]
    }
}

/// Both coordinates of both halves.
fn halves(column: &ExtColumn) -> [[&[Base]; 2]; 2] {
    let half = column.len() / 2;
    [[&column.c0[..half], &column.c1[..half]], [&column.c0[half..], &column.c1[half..]]]
}

struct AddFractions<'a> {
    p: [[&'a [Base]; 2]; 2],
    q: [[&'a [Base]; 2]; 2],
    out: [[&'a mut [Base]; 2]; 2],
}

impl Kernel for AddFractions<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let [p, q] = [self.p, self.q].map(|halves| halves.map(|half| half.map(L::chunks)));
        let [[p_out0, p_out1], [q_out0, q_out1]] = self.out.map(|column| column.map(L::chunks_mut));
        for i in 0..p_out0.len() {
            let [p0, p1] = [0, 1].map(|half| ExtLanes::<L>::load(&p[half][0][i], &p[half][1][i]));
            let [q0, q1] = [0, 1].map(|half| ExtLanes::<L>::load(&q[half][0][i], &q[half][1][i]));
            p0.mul(q1).add(p1.mul(q0)).store(&mut p_out0[i], &mut p_out1[i]);
            q0.mul(q1).store(&mut q_out0[i], &mut q_out1[i]);
        }
    }
}

struct AddOnes<'a> {
    q: [[&'a [Base]; 2]; 2],
    out: [[&'a mut [Base]; 2]; 2],
}

impl Kernel for AddOnes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let q = self.q.map(|half| half.map(L::chunks));
        let [[p_out0, p_out1], [q_out0, q_out1]] = self.out.map(|column| column.map(L::chunks_mut));
        for i in 0..p_out0.len() {
            let [q0, q1] = [0, 1].map(|half| ExtLanes::<L>::load(&q[half][0][i], &q[half][1][i]));
            q0.add(q1).store(&mut p_out0[i], &mut p_out1[i]);
            q0.mul(q1).store(&mut q_out0[i], &mut q_out1[i]);
        }
    }
}

fn prove_layer(
    mut layer: Fractions,
    r: &[Ext],
    isa: Isa,
    workspace: &mut Workspace,
    transcript: &mut Transcript,
) -> (LayerProof, LeafClaim) {
    let lambda = transcript.challenge(Label::Batching);
    let mut eq = workspace.take(1 << (r.len() - 1));
    fill_eq_table(isa, &r[1..], Ext::ONE, &mut eq);
    let [q0, q1] = halves_mut(&mut layer.denominators);
    let (rounds, mut point, children) = match &mut layer.numerators {
        Numerators::Ones => {
            let (rounds, point, [q0, q1]) =
                sumcheck::<2, OnesTerm>([q0, q1], r, &mut eq, lambda, isa, transcript);
            (rounds, point, [Ext::ONE, q0, Ext::ONE, q1])
        }
        Numerators::Given(p) => {
            let [p0, p1] = halves_mut(p);
            sumcheck::<4, FractionTerm>([p0, q0, p1, q1], r, &mut eq, lambda, isa, transcript)
        }
    };
    layer.recycle(workspace);
    workspace.give(eq);
    transcript.absorb_elements(Label::Claims, &children);
    let tau = transcript.challenge(Label::Batching);
    point.insert(0, tau);
    let (numerator, denominator) = descend(children, tau);
    (LayerProof { rounds, children }, LeafClaim { point, numerator, denominator })
}

/// Both coordinates of one polynomial's values.
type Values<'a> = [&'a mut [Base]; 2];

fn halves_mut(column: &mut ExtColumn) -> [Values<'_>; 2] {
    let half = column.len() / 2;
    let (low0, high0) = column.c0.split_at_mut(half);
    let (low1, high1) = column.c1.split_at_mut(half);
    [[low0, low1], [high0, high1]]
}

/// What is summed over the hypercube, times eq: of degree 2 in the children's values.
trait Term<const K: usize> {
    /// The homogeneous part of degree 2: the factor of X^2 where the values are slopes.
    fn leading<L: Lanes>(values: [ExtLanes<L>; K], lambda: ExtLanes<L>) -> ExtLanes<L>;
    /// All of it.
    fn value<L: Lanes>(values: [ExtLanes<L>; K], lambda: ExtLanes<L>) -> ExtLanes<L>;
}

/// `p_0 q_1 + p_1 q_0 + lambda q_0 q_1`.
struct FractionTerm;

impl Term<4> for FractionTerm {
    #[inline(always)]
    fn leading<L: Lanes>([p0, q0, p1, q1]: [ExtLanes<L>; 4], lambda: ExtLanes<L>) -> ExtLanes<L> {
        p0.mul(q1).add(p1.add(lambda.mul(q1)).mul(q0))
    }

    #[inline(always)]
    fn value<L: Lanes>(values: [ExtLanes<L>; 4], lambda: ExtLanes<L>) -> ExtLanes<L> {
        Self::leading(values, lambda)
    }
}

/// The same where both numerators are one: `q_1 + q_0 + lambda q_0 q_1`.
struct OnesTerm;

impl Term<2> for OnesTerm {
    #[inline(always)]
    fn leading<L: Lanes>([q0, q1]: [ExtLanes<L>; 2], lambda: ExtLanes<L>) -> ExtLanes<L> {
        lambda.mul(q0).mul(q1)
    }

    #[inline(always)]
    fn value<L: Lanes>([q0, q1]: [ExtLanes<L>; 2], lambda: ExtLanes<L>) -> ExtLanes<L> {
        q0.add(q1).add(lambda.mul(q0).mul(q1))
    }
}

/// In: `sum over x of eq(r, x) term(x) = claim`. Out: the rounds' messages, their point, and the polynomials' values there.
fn sumcheck<const K: usize, T: Term<K>>(
    mut columns: [Values<'_>; K],
    r: &[Ext],
    // Of the variables after the first one; each round drops one more.
    eq: &mut ExtColumn,
    lambda: Ext,
    isa: Isa,
    transcript: &mut Transcript,
) -> (Vec<[Ext; 2]>, Vec<Ext>, [Ext; K]) {
    let (mut rounds, mut point) = (Vec::new(), Vec::new());
    let mut length = 1 << r.len();
    let first = Round::<K, T>::new(&mut columns, [&mut eq.c0, &mut eq.c1], lambda);
    let mut message = isa.run(length / 2, first);
    loop {
        transcript.absorb_elements(Label::SumcheckRound, &message);
        let x = transcript.challenge(Label::SumcheckPoint);
        rounds.push(message);
        point.push(x);
        if length == 2 {
            let values = columns.map(|[c0, c1]| {
                let [low, high] = [0, 1].map(|i| Ext::new(c0[i], c1[i]));
                low + x * (high - low)
            });
            return (rounds, point, values);
        }
        let [c0, c1] = [&mut eq.c0, &mut eq.c1].map(|c| &mut c[..length / 2]);
        let shortened = columns.each_mut().map(|column| column.each_mut().map(|c| &mut c[..length]));
        let fold = Fold::<K, T>::new(shortened, [c0, c1], lambda, x);
        message = isa.run(length / 4, fold);
        length /= 2;
    }
}

/// The first round's message.
struct Round<'a, const K: usize, T> {
    low: [[&'a [Base]; 2]; K],
    high: [[&'a [Base]; 2]; K],
    eq: [&'a [Base]; 2],
    lambda: Ext,
    term: std::marker::PhantomData<T>,
}

impl<'a, const K: usize, T> Round<'a, K, T> {
    fn new(columns: &'a mut [Values<'_>; K], eq: [&'a mut Vec<Base>; 2], lambda: Ext) -> Self {
        let half = eq[0].len();
        let columns = columns.each_ref().map(|column| column.each_ref().map(|c| c.split_at(half)));
        Self {
            low: columns.map(|column| column.map(|(low, _)| low)),
            high: columns.map(|column| column.map(|(_, high)| high)),
            eq: eq.map(|c| &c[..]),
            lambda,
            term: std::marker::PhantomData,
        }
    }
}

impl<const K: usize, T: Term<K>> Kernel for Round<'_, K, T> {
    type Output = [Ext; 2];

    #[inline(always)]
    fn run<L: Lanes>(self) -> [Ext; 2] {
        let [low, high] = [self.low, self.high].map(|half| half.map(|column| column.map(L::chunks)));
        let eq = self.eq.map(L::chunks);
        let lambda = ExtLanes::<L>::splat(self.lambda);
        let mut sums = [ExtLanes::<L>::splat(Ext::ZERO); 2];
        for i in 0..eq[0].len() {
            let weight = ExtLanes::load(&eq[0][i], &eq[1][i]);
            let at = |half: &[[&[L::Chunk]; 2]; K]| half.map(|c| ExtLanes::<L>::load(&c[0][i], &c[1][i]));
            let (low, high) = (at(&low), at(&high));
            accumulate::<K, T, L>(&mut sums, weight, low, high, lambda);
        }
        sums.map(ExtLanes::sum)
    }
}

/// Binds a variable and gives the next round's message in one pass.
struct Fold<'a, const K: usize, T> {
    /// Of each polynomial and coordinate, the quarters: two variables.
    columns: [[[&'a mut [Base]; 4]; 2]; K],
    /// Both halves.
    eq: [[&'a mut [Base]; 2]; 2],
    lambda: Ext,
    x: Ext,
    term: std::marker::PhantomData<T>,
}

impl<'a, const K: usize, T> Fold<'a, K, T> {
    fn new(columns: [Values<'a>; K], eq: Values<'a>, lambda: Ext, x: Ext) -> Self {
        let quarters = |column: &'a mut [Base]| {
            let (low, high) = column.split_at_mut(column.len() / 2);
            let ((a, b), (c, d)) = (low.split_at_mut(low.len() / 2), high.split_at_mut(high.len() / 2));
            [a, b, c, d]
        };
        let halves = |column: &'a mut [Base]| <[_; 2]>::from(column.split_at_mut(column.len() / 2));
        Self {
            columns: columns.map(|column| column.map(quarters)),
            eq: eq.map(halves),
            lambda,
            x,
            term: std::marker::PhantomData,
        }
    }
}

impl<const K: usize, T: Term<K>> Kernel for Fold<'_, K, T> {
    type Output = [Ext; 2];

    #[inline(always)]
    fn run<L: Lanes>(self) -> [Ext; 2] {
        let mut columns = self.columns.map(|column| column.map(|c| c.map(L::chunks_mut)));
        let [eq0, eq1] = self.eq.map(|c| c.map(L::chunks_mut));
        let (lambda, x) = (ExtLanes::<L>::splat(self.lambda), ExtLanes::<L>::splat(self.x));
        let mut sums = [ExtLanes::<L>::splat(Ext::ZERO); 2];
        for i in 0..eq0[0].len() {
            let [eq_low, eq_high] = [0, 1].map(|half| ExtLanes::load(&eq0[half][i], &eq1[half][i]));
            let weight = eq_low.add(eq_high);
            weight.store(&mut eq0[0][i], &mut eq1[0][i]);
            let bound = columns.each_mut().map(|[c0, c1]| {
                [0, 1].map(|quarter| {
                    let low = ExtLanes::<L>::load(&c0[quarter][i], &c1[quarter][i]);
                    let high = ExtLanes::load(&c0[quarter + 2][i], &c1[quarter + 2][i]);
                    let bound = low.add(x.mul(high.sub(low)));
                    bound.store(&mut c0[quarter][i], &mut c1[quarter][i]);
                    bound
                })
            });
            let (low, high) = (bound.map(|halves| halves[0]), bound.map(|halves| halves[1]));
            accumulate::<K, T, L>(&mut sums, weight, low, high, lambda);
        }
        sums.map(ExtLanes::sum)
    }
}

/// Adds one point of the hypercube to both numbers of a message.
#[inline(always)]
fn accumulate<const K: usize, T: Term<K>, L: Lanes>(
    sums: &mut [ExtLanes<L>; 2],
    weight: ExtLanes<L>,
    low: [ExtLanes<L>; K],
    high: [ExtLanes<L>; K],
    lambda: ExtLanes<L>,
) {
    let mut slopes = high;
    for (slope, low) in slopes.iter_mut().zip(low) {
        *slope = slope.sub(low);
    }
    sums[0] = sums[0].add(weight.mul(T::value(low, lambda)));
    sums[1] = sums[1].add(weight.mul(T::leading(slopes, lambda)));
}
