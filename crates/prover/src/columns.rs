//! The columns of every sumcheck, from the trace.

use std::cmp::Ordering;

use proof_system::field::{Base, Ext};
use proof_system::fold::{combine_rows, fold_rows};
use proof_system::kernels::Isa;
use proof_system::multilinear::ExtColumn;
use rayon::prelude::*;
use verifier::channel::{Product, Product3, Rows};
use verifier::layout::{Tensor, rounded_geometry};
use verifier::ops::matmul::{input_of, input_width};
use verifier::ops::norm::first_row;
use verifier::public::{Dims, Matrix, NORM_ROW_COLUMNS, Rounded, triangle};
use verifier::vectors::outer;
use verifier::weights::folded;

use crate::prove::Prover;

/// Rows of the stream, each padded to lanes.
#[must_use]
pub fn padded_rows(stream: &[i32], dims: &Dims) -> Vec<i32> {
    let inner = dims.padded(dims.width);
    let rows = stream.chunks(dims.width);
    rows.flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0, inner - row.len()))).collect()
}

fn column(values: impl IntoIterator<Item = Ext>) -> ExtColumn {
    values.into_iter().collect()
}

fn base_column(values: impl ExactSizeIterator<Item = i64>) -> ExtColumn {
    let count = values.len();
    ExtColumn { c0: values.map(Base::from_signed).collect(), c1: vec![Base::ZERO; count] }
}

impl Prover<'_> {
    /// The two columns of a product.
    pub(crate) fn columns(&self, what: Product<'_>) -> [ExtColumn; 2] {
        match what {
            Product::Flat { tree, piece, column: number, weights, before, count } => {
                let values = self.whole_blocks([tree, piece, number], count);
                let mut whole = vec![Ext::ZERO; before];
                whole.extend(weights.spread());
                whole.resize(count, Ext::ZERO);
                [column(whole), column(values)]
            }
            Product::Matmul { matrix, rows, out } => self.matmul(matrix, rows, out),
            Product::NormScale { op, rows, inner } => self.norm_scale(op, rows, inner),
            Product::NormWeights { op, rows, inner } => self.norm_weights(op, rows, inner),
            Product::Squares { op, rows } => self.squares(op, rows),
            Product::Rotated { matrix, rows, heads, weights } => {
                [column(weights.iter().copied()), self.rotated(matrix, rows, heads, weights.len())]
            }
            Product::Scores { from, cells, heads } => self.scores(from, cells, heads),
            Product::Heads { tensor, from, rows, heads } => {
                let inner = heads.len();
                let rows = rows.spread();
                let integers = &self.sources().tensor(tensor)[from * inner..][..rows.len() * inner];
                [column(heads.iter().copied()), column(combine_tall(self.isa, integers, inner, &rows))]
            }
            Product::Mixed { rows, heads, elements } => self.mixed(rows, heads, elements),
            Product::MixedSums { rows, heads, elements } => self.mixed_sums(rows, heads, elements),
            Product::Chosen { rows } => self.chosen(rows),
            Product::Draws { factors } => self.draws(factors),
            Product::Reciprocals { weights } => {
                let reciprocals = base_column(self.trace.reciprocals.iter().copied());
                [column(weights.iter().copied()), reciprocals]
            }
        }
    }

    /// The three columns of a product.
    pub(crate) fn columns3(&self, what: Product3<'_>) -> [ExtColumn; 3] {
        match what {
            Product3::Gated { rows, inner } => {
                let width = inner.len();
                let weights = outer(&outer(&rows.a, &rows.b), inner);
                let range = rows.row() * width..rows.row() * width + weights.len();
                let gates = &self.sources().tensor(Tensor::Activated)[range.clone()];
                [
                    column(weights),
                    base_column(gates.iter().map(|v| i64::from(*v))),
                    base_column(self.trace.up[range].iter().copied()),
                ]
            }
            Product3::NormRows { weights, factors } => {
                let limbs = self.sources().tensor(Tensor::NormRows);
                let inner = limbs.len() / NORM_ROW_COLUMNS;
                [
                    column(weights.iter().copied()),
                    base_column(self.trace.roots.iter().copied()),
                    column(combine_rows(self.isa, limbs, inner, factors)),
                ]
            }
        }
    }

    /// A piece's column, folded over lanes at its tree's point, with the rest of its first and last block: those rows
    /// weigh nothing, but they are part of the polynomial that the piece ends in.
    fn whole_blocks(&self, [tree, number, column]: [usize; 3], groups: usize) -> Vec<Ext> {
        let piece = &self.layout.trees[tree].pieces[number];
        let geometry = piece.geometry;
        let own = self.folded([tree, number, column]);
        if geometry.a == 1 {
            return own.to_vec();
        }
        let per_row = geometry.inner / self.public.dims.lanes();
        let first = piece.first / geometry.b * geometry.b;
        let lane_weights = self.lane_weights(tree);
        let source = self.sources().column(piece.site, column);
        let fold = |rows: std::ops::Range<usize>| {
            fold_rows(
                self.isa,
                &source[rows.start * geometry.inner..rows.end * geometry.inner],
                &lane_weights,
            )
        };
        let mut values = fold(first..piece.first);
        values.extend(own);
        values.extend(fold(piece.first + piece.rows..first + groups / per_row));
        values
    }

    fn matmul(&self, matrix: Matrix, rows: &Rows, out: &[Ext]) -> [ExtColumn; 2] {
        let inner = input_width(&self.public, matrix);
        let input = self.sources().tensor(input_of(matrix));
        let parts: Vec<[Vec<Ext>; 2]> = (0..rows.a.len())
            .into_par_iter()
            .map(|index| {
                let mut weights = folded(self.model, matrix, rows.first + index, &[out]).remove(0);
                weights.resize(inner, Ext::ZERO);
                let weights = weights.iter().map(|w| *w * rows.a[index]).collect();
                let first = (rows.row() + index * rows.b.len()) * inner;
                let integers = &input[first..][..rows.b.len() * inner];
                [weights, combine_rows(self.isa, integers, inner, &rows.b)]
            })
            .collect();
        let (weights, inputs): (Vec<_>, Vec<_>) = parts.into_iter().map(|[w, i]| (w, i)).unzip();
        [column(weights.concat()), column(inputs.concat())]
    }

    /// Rows of a norm's input: (position, padded width).
    fn norm_input(&self, op: Rounded, block: usize, from: usize, count: usize) -> &[i32] {
        let dims = &self.public.dims;
        let inner = dims.padded(dims.width);
        let rows = |tensor, first: usize| &self.sources().tensor(tensor)[first * inner..][..count * inner];
        match op {
            Rounded::AttnNorm if block == 0 => &self.embedded[from * inner..][..count * inner],
            Rounded::AttnNorm => rows(Tensor::Out(Rounded::MlpAdd), (block - 1) * dims.positions + from),
            Rounded::MlpNorm => rows(Tensor::Out(Rounded::AttnAdd), block * dims.positions + from),
            _ => {
                let last = (dims.blocks - 1) * dims.positions;
                rows(Tensor::Out(Rounded::MlpAdd), last + dims.first_sampled + from)
            }
        }
    }

    fn norm_scale(&self, op: Rounded, rows: &Rows, inner: &[Ext]) -> [ExtColumn; 2] {
        let first = first_row(&self.public.dims, op) + rows.row();
        let count = rows.a.len() * rows.b.len();
        let reciprocals = base_column(self.trace.reciprocals[first..first + count].iter().copied());
        let scaled: Vec<Vec<Ext>> = (rows.first..)
            .zip(&rows.a)
            .map(|(block, a)| {
                let weights = self.weighted(op, block, inner);
                let input = self.norm_input(op, block, rows.from, rows.b.len());
                let folded = fold_rows(self.isa, input, &weights);
                folded.iter().zip(&rows.b).map(|(v, b)| *v * *b * *a).collect()
            })
            .collect();
        [reciprocals, column(scaled.concat())]
    }

    /// Weights of a row times the norm's weights.
    fn weighted(&self, op: Rounded, block: usize, inner: &[Ext]) -> Vec<Ext> {
        let own = self.public.norm_weights(op, block);
        let own = own.iter().copied().chain(std::iter::repeat(0));
        inner.iter().zip(own).map(|(weight, w)| *weight * Base::from_signed(i64::from(w))).collect()
    }

    fn norm_weights(&self, op: Rounded, rows: &Rows, inner: &[Ext]) -> [ExtColumn; 2] {
        let (mut weights, mut inputs) = (Vec::new(), Vec::new());
        for (block, a) in (rows.first..).zip(&rows.a) {
            weights.extend(self.weighted(op, block, inner).iter().map(|w| *w * *a));
            let input = self.norm_input(op, block, rows.from, rows.b.len());
            inputs.extend(combine_rows(self.isa, input, inner.len(), &rows.b));
        }
        [column(weights), column(inputs)]
    }

    fn squares(&self, op: Rounded, rows: &[Ext]) -> [ExtColumn; 2] {
        let geometry = rounded_geometry(&self.public.dims, op);
        let integers: Vec<i32> =
            (0..geometry.a).flat_map(|block| self.norm_input(op, block, 0, geometry.b)).copied().collect();
        let plain = base_column(integers.iter().map(|v| i64::from(*v)));
        let mut weighted = ExtColumn::zeros(integers.len());
        let inner = geometry.inner;
        weighted
            .c0
            .par_chunks_mut(inner)
            .zip(weighted.c1.par_chunks_mut(inner))
            .zip(plain.c0.par_chunks(inner).zip(rows))
            .for_each(|((c0, c1), (row, weight))| {
                for ((c0, c1), v) in c0.iter_mut().zip(c1).zip(row) {
                    *c0 = weight.c0 * *v;
                    *c1 = weight.c1 * *v;
                }
            });
        [weighted, plain]
    }

    fn rotated(&self, matrix: Matrix, rows: &Rows, heads: &[Ext], count: usize) -> ExtColumn {
        let dim = self.public.dims.head_dim;
        let values = &self.trace.unrotated[&matrix];
        let width = heads.len() * dim;
        let mut out = vec![Ext::ZERO; count];
        out.par_chunks_mut(dim).enumerate().for_each(|(position, out)| {
            for (index, a) in rows.a.iter().enumerate() {
                let row = &values[(rows.row() + index * rows.b.len() + position) * width..][..width];
                for (head, weight) in row.chunks_exact(dim).zip(heads) {
                    let weight = *weight * *a;
                    for (out, v) in out.iter_mut().zip(head) {
                        *out += weight * Base::from_signed(*v);
                    }
                }
            }
        });
        column(out)
    }

    fn scores(&self, from: usize, cells: &[Ext], heads: &[Ext]) -> [ExtColumn; 2] {
        let dims = self.public.dims;
        let count = verifier::layout::triangle_root(triangle(from) + cells.len()) - from;
        let (dim, group) = (dims.head_dim, dims.heads / dims.kv_heads);
        let (query, key) = (
            self.sources().tensor(Tensor::Out(Rounded::Query)),
            self.sources().tensor(Tensor::Out(Rounded::Key)),
        );
        let (query_width, key_width) = (dims.heads * dim, dims.kv_heads * dim);
        let parts: Vec<[ExtColumn; 2]> = (0..dims.blocks)
            .into_par_iter()
            .map(|block| {
                let mut queries = ExtColumn::zeros(dims.heads * count * dim);
                let mut keys = ExtColumn::zeros(dims.heads * count * dim);
                for offset in 0..count {
                    let position = from + offset;
                    let start = triangle(position) - triangle(from);
                    let row = &query[(block * dims.positions + position) * query_width..][..query_width];
                    let earlier = &key[block * dims.positions * key_width..][..(position + 1) * key_width];
                    let own = combine_rows(self.isa, earlier, key_width, &cells[start..=start + position]);
                    for head in 0..dims.heads {
                        let weight = heads[block * dims.heads + head];
                        let place = (head * count + offset) * dim;
                        for d in 0..dim {
                            let value = weight * Base::from_signed(i64::from(row[head * dim + d]));
                            queries.c0[place + d] = value.c0;
                            queries.c1[place + d] = value.c1;
                            let value = own[head / group * dim + d];
                            keys.c0[place + d] = value.c0;
                            keys.c1[place + d] = value.c1;
                        }
                    }
                }
                [queries, keys]
            })
            .collect();
        let (mut queries, mut keys) = (ExtColumn::default(), ExtColumn::default());
        for [q, k] in parts {
            queries.c0.extend(q.c0);
            queries.c1.extend(q.c1);
            keys.c0.extend(k.c0);
            keys.c1.extend(k.c1);
        }
        [queries, keys]
    }

    fn mixed(&self, rows: &Rows, heads: &[Ext], [groups, lanes]: [&[Ext]; 2]) -> [ExtColumn; 2] {
        let dims = self.public.dims;
        let (all, group) = (dims.all_heads(), dims.heads / dims.kv_heads);
        let count = rows.from + rows.b.len();
        let elements = outer(groups, lanes);
        let value = self.sources().tensor(Tensor::Out(Rounded::Value));
        let width = dims.kv_heads * dims.head_dim;
        let mut values = vec![Ext::ZERO; count * all];
        for (block, a) in (rows.first..).zip(&rows.a) {
            let own = &value[block * dims.positions * width..][..count * width];
            let folded = fold_rows(self.isa, own, &elements);
            for j in 0..count {
                for (head, weight) in heads.iter().enumerate() {
                    let v = folded[j * dims.kv_heads + head / group];
                    values[j * all + block * dims.heads + head] = v * *weight * *a;
                }
            }
        }
        let weight = self.sources().tensor(Tensor::Weight);
        let sums: Vec<Vec<Ext>> = (0..count)
            .into_par_iter()
            .map(|j| {
                let first = rows.from.max(j);
                let mut integers = Vec::with_capacity((count - first) * all);
                for position in first..count {
                    integers.extend_from_slice(&weight[(triangle(position) + j) * all..][..all]);
                }
                combine_rows(self.isa, &integers, all, &rows.b[first - rows.from..])
            })
            .collect();
        [column(values), column(sums.concat())]
    }

    fn mixed_sums(&self, rows: &Rows, heads: &[Ext], [groups, lanes]: [&[Ext]; 2]) -> [ExtColumn; 2] {
        let dims = self.public.dims;
        let (all, positions) = (dims.all_heads(), rows.b.len());
        let elements = outer(groups, lanes);
        let output = self.sources().tensor(Tensor::Mixed);
        let width = dims.heads * dims.head_dim;
        let mut outputs = vec![Ext::ZERO; positions * all];
        for (index, (block, a)) in (rows.first..).zip(&rows.a).enumerate() {
            let first = (rows.row() + index * positions) * width;
            let folded = fold_rows(self.isa, &output[first..][..positions * width], &elements);
            for (position, b) in rows.b.iter().enumerate() {
                for (head, weight) in heads.iter().enumerate() {
                    let place = position * all + block * dims.heads + head;
                    outputs[place] = folded[position * dims.heads + head] * *weight * *a * *b;
                }
            }
        }
        let sums = &self.trace.sums[rows.from * all..][..positions * all];
        [column(outputs), base_column(sums.iter().map(|v| i64::from(*v)))]
    }

    fn draws(&self, factors: &[[Ext; 3]]) -> [ExtColumn; 2] {
        let dims = self.public.dims;
        let inner = dims.padded(dims.vocab);
        let mut weights = ExtColumn::zeros(factors.len() * inner);
        let rows = weights.c0.par_chunks_mut(inner).zip(weights.c1.par_chunks_mut(inner));
        rows.zip(factors).zip(&self.public.claim.output_ids).for_each(|(((c0, c1), factors), id)| {
            let [all, before, own] = *factors;
            for (v, (c0, c1)) in c0.iter_mut().zip(c1).enumerate().take(dims.vocab) {
                let weight = match v.cmp(&(*id as usize)) {
                    Ordering::Less => all + before,
                    Ordering::Equal => all + own,
                    Ordering::Greater => all,
                };
                (*c0, *c1) = (weight.c0, weight.c1);
            }
        });
        let drawn = self.sources().tensor(Tensor::SampleWeight);
        [weights, base_column(drawn.iter().map(|v| i64::from(*v)))]
    }

    fn chosen(&self, rows: &[Ext]) -> [ExtColumn; 2] {
        let dims = self.public.dims;
        let inner = dims.padded(dims.width);
        let mut weights = Vec::with_capacity(rows.len() * inner);
        let mut row = Vec::new();
        for (id, weight) in self.public.peaks().iter().zip(rows) {
            self.model.output().row(*id, &mut row);
            row.resize(inner, 0);
            weights.extend(row.iter().map(|w| *weight * Base::from_signed(*w)));
        }
        let normed = self.sources().tensor(Tensor::Out(Rounded::FinalNorm));
        [column(weights), base_column(normed.iter().map(|v| i64::from(*v)))]
    }
}

/// [`combine_rows`] of many short rows, in parallel.
pub(crate) fn combine_tall(isa: Isa, integers: &[i32], columns: usize, weights: &[Ext]) -> Vec<Ext> {
    let parts = integers.par_chunks(columns << 10).zip(weights.par_chunks(1 << 10));
    let add = |a: Vec<Ext>, b: Vec<Ext>| a.iter().zip(&b).map(|(a, b)| *a + *b).collect();
    parts
        .map(|(rows, weights)| combine_rows(isa, rows, columns, weights))
        .reduce(|| vec![Ext::ZERO; columns], add)
}
