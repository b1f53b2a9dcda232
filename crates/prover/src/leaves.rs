//! Looked-up values: how often each table entry is needed, and the trees of fractions.

use proof_system::field::{Base, Ext};
use proof_system::fold::fold_rows;
use proof_system::kernels::Isa;
use proof_system::lookup::{self, FractionTreeProof, Fractions, Numerators, Workspace};
use proof_system::multilinear::ExtColumn;
use proof_system::transcript::Transcript;
use rayon::prelude::*;
use verifier::channel::TreeEnd;
use verifier::layout::{Layout, Piece, Site, Table, TablePlace, Tensor, Tree, bias_of, table_of};
use verifier::ops::attention::block_of;
use verifier::public::Public;
use verifier::script::committed;
use verifier::vectors::eq_vector;

use crate::trace::Trace;

/// Where the integers of a looked-up column are.
pub struct Sources<'t> {
    /// What both know.
    pub public: &'t Public<'t>,
    /// Where everything stands.
    pub layout: &'t Layout,
    /// What is not committed.
    pub trace: &'t Trace,
    /// What is.
    pub stream: &'t [i32],
}

/// A proven tree.
pub struct Proven {
    /// Its messages.
    pub proof: FractionTreeProof,
    /// Where it ends.
    pub end: TreeEnd,
    /// The transcript's end.
    pub fork: Transcript,
    /// Of each piece and column: its groups of lanes, folded at the leaves' point.
    pub folded: Vec<Vec<Vec<Ext>>>,
}

impl<'t> Sources<'t> {
    /// A committed tensor.
    #[must_use]
    pub fn tensor(&self, tensor: Tensor) -> &'t [i32] {
        let place = self.layout.tensor(tensor);
        &self.stream[place.offset..][..place.rows * place.inner]
    }

    /// A column of a site, in the shape of the site.
    #[must_use]
    pub fn column(&self, site: Site, column: usize) -> &'t [i32] {
        if let Site::Out(op) = site
            && column == 0
            && let Some(narrow) = self.trace.narrow.get(&op)
        {
            return narrow;
        }
        if let Some(tensor) = committed(site, column) {
            return self.tensor(tensor);
        }
        match site {
            Site::Low(op) => &self.trace.low[&op],
            Site::ScoreLow => &self.trace.score_low,
            Site::Parity => &self.trace.parity,
            Site::MixedLow => &self.trace.mixed_low[0],
            Site::MixedGap => &self.trace.mixed_low[1],
            Site::LogitLow => &self.trace.logit_low,
            _ => unreachable!("all other columns are committed"),
        }
    }

    fn part(&self, piece: &Piece, column: usize) -> &'t [i32] {
        let inner = piece.geometry.inner;
        &self.column(piece.site, column)[piece.first * inner..][..piece.rows * inner]
    }

    /// How often each entry of the tables is looked up.
    #[must_use]
    pub fn counts(&self) -> Vec<i32> {
        let leaves = 1_usize << self.layout.table_bits;
        let add = |mut counts: Vec<i32>, tree: &Tree| {
            for piece in &tree.pieces {
                self.count(piece, &mut counts);
            }
            let used: usize = tree.pieces.iter().map(|piece| piece.rows * piece.geometry.inner).sum();
            let padding = place_of(self.layout, Table::Range(1));
            counts[padding.offset] += ((1 << tree.bits) - used) as i32;
            counts
        };
        let sum = |mut a: Vec<i32>, b: Vec<i32>| {
            for (a, b) in a.iter_mut().zip(b) {
                *a += b;
            }
            a
        };
        let parts =
            self.layout.trees.par_chunks(self.layout.trees.len().div_ceil(rayon::current_num_threads()));
        parts
            .map(|trees| trees.iter().fold(vec![0; leaves], add))
            .reduce_with(sum)
            .unwrap_or_else(|| vec![0; leaves])
    }

    fn count(&self, piece: &Piece, counts: &mut [i32]) {
        let inner = piece.geometry.inner;
        let bias = bias_of(self.public, piece.site);
        let columns: Vec<&[i32]> = (0..piece.site.columns()).map(|column| self.part(piece, column)).collect();
        let of_heads: Vec<TablePlace> = if piece.site == Site::ScoreLow {
            (0..inner).map(|head| self.place(piece.site, block_of(self.public, head))).collect()
        } else {
            Vec::new()
        };
        for row in 0..piece.rows {
            let block = (piece.first + row) / piece.geometry.b;
            let place = self.place(piece.site, block);
            let first = &columns[0][row * inner..][..inner];
            match piece.site {
                Site::ScoreLow => {
                    let marks = &columns[1][row * inner..][..inner];
                    for ((value, mark), place) in first.iter().zip(marks).zip(&of_heads) {
                        counts[entry(place, i64::from(*value), *mark == 1)] += 1;
                    }
                }
                Site::ScoreWeight => {
                    let marks = &columns[2][row * inner..][..inner];
                    for (value, mark) in first.iter().zip(marks) {
                        counts[entry(&place, i64::from(*value), *mark == 1)] += 1;
                    }
                }
                _ => {
                    let bias = if matches!(place.table, Table::Activation(_)) { 1 << 15 } else { bias };
                    for value in first {
                        counts[place.offset + (i64::from(*value) + bias) as usize] += 1;
                    }
                }
            }
        }
    }

    fn place(&self, site: Site, block: usize) -> TablePlace {
        place_of(self.layout, table_of(self.public, site, block))
    }

    /// Proves one tree of looked-up values.
    #[must_use]
    pub fn prove_tree(
        &self,
        tree: &Tree,
        [alpha, beta]: [Ext; 2],
        isa: Isa,
        workspace: &mut Workspace,
        mut fork: Transcript,
    ) -> Proven {
        let mut leaves = workspace.take(1 << tree.bits);
        let cube = beta.power(3);
        let padding = alpha - cube * Ext::from_signed(Table::Range(1).tag());
        let mut end = 0;
        for piece in &tree.pieces {
            end = piece.offset + piece.rows * piece.geometry.inner;
            self.fill(piece, alpha, beta, &mut leaves);
        }
        leaves.c0[end..].fill(padding.c0);
        leaves.c1[end..].fill(padding.c1);
        let fractions = Fractions { numerators: Numerators::Ones, denominators: leaves };
        let (proof, claim) = lookup::prove(fractions, isa, workspace, &mut fork);
        let lanes = self.public.dims.lanes();
        let (_, low) = claim.point.split_at(claim.point.len() - self.public.dims.lane_bits as usize);
        let lane_weights = eq_vector(low, lanes);
        let of_piece = |piece: &Piece| -> Vec<Vec<Ext>> {
            let columns = 0..piece.site.columns();
            columns.map(|column| fold_rows(isa, self.part(piece, column), &lane_weights)).collect()
        };
        let folded = tree.pieces.iter().map(of_piece).collect();
        let end = TreeEnd { sum: root(&proof), leaves: claim };
        Proven { proof, end, fork, folded }
    }

    fn fill(&self, piece: &Piece, alpha: Ext, beta: Ext, leaves: &mut ExtColumn) {
        let inner = piece.geometry.inner;
        let columns: Vec<&[i32]> = (0..piece.site.columns()).map(|column| self.part(piece, column)).collect();
        let bias = Ext::from_signed(bias_of(self.public, piece.site));
        let (square, cube) = (beta.power(2), beta.power(3));
        let constant = |block: usize| {
            alpha - bias - cube * Ext::from_signed(table_of(self.public, piece.site, block).tag())
        };
        let of_heads: Vec<Ext> = if piece.site == Site::ScoreLow {
            (0..inner).map(|head| constant(block_of(self.public, head))).collect()
        } else {
            Vec::new()
        };
        for row in 0..piece.rows {
            let own = constant((piece.first + row) / piece.geometry.b);
            let range = row * inner..(row + 1) * inner;
            let out = piece.offset + range.start..piece.offset + range.end;
            let first = &columns[0][range.clone()];
            let (c0, c1) = (&mut leaves.c0[out.clone()], &mut leaves.c1[out]);
            if columns.len() == 1 {
                c1.fill(own.c1);
                for (out, value) in c0.iter_mut().zip(first) {
                    *out = own.c0 - Base::from_signed(i64::from(*value));
                }
                continue;
            }
            for (lane, value) in first.iter().enumerate() {
                let own = of_heads.get(lane).copied().unwrap_or(own);
                let mut leaf = own - Ext::from_signed(i64::from(*value));
                let second = columns[1][range.start + lane];
                if second != 0 {
                    leaf -= beta * Base::from_signed(i64::from(second));
                }
                if columns.len() == 3 && columns[2][range.start + lane] != 0 {
                    leaf -= square * Base::from_signed(i64::from(columns[2][range.start + lane]));
                }
                c0[lane] = leaf.c0;
                c1[lane] = leaf.c1;
            }
        }
    }

    /// Proves the tree of tables.
    #[must_use]
    pub fn prove_tables(&self, alpha: Ext, beta: Ext, isa: Isa, mut fork: Transcript) -> Proven {
        let leaves = 1_usize << self.layout.table_bits;
        let cube = beta.power(3);
        let tag = |table: Table| alpha - cube * Ext::from_signed(table.tag());
        let padding = tag(Table::Range(1));
        let mut column = ExtColumn { c0: vec![padding.c0; leaves], c1: vec![padding.c1; leaves] };
        let largest = i64::from(self.public.tables.exp.first().copied().unwrap_or_default());
        for place in &self.layout.tables {
            let own = tag(place.table);
            let activations = match place.table {
                Table::Activation(exponent) => self.public.tables.activations[&exponent].as_slice(),
                _ => &[],
            };
            for (index, (c0, c1)) in places(&mut column, place).enumerate() {
                let number = Ext::from_u64(index as u64);
                let entry = match place.table {
                    Table::Range(_) | Table::Marked(_) => number,
                    Table::Softmax => {
                        let weight = self.public.tables.exp.get(index).copied().unwrap_or(0);
                        number + beta * Base::new(u64::from(weight))
                    }
                    Table::Sampler => {
                        let weight = self.public.tables.sampler.get(index).copied().unwrap_or(0);
                        number + beta * Base::new(u64::from(weight))
                    }
                    Table::Activation(_) => {
                        number - Ext::from_u64(1 << 15)
                            + beta * Base::from_signed(i64::from(activations[index]))
                    }
                };
                let leaf = own - entry;
                (*c0, *c1) = (leaf.c0, leaf.c1);
            }
            if let Some(marked) = place.marked {
                let entry = match place.table {
                    Table::Softmax => beta * Base::from_signed(largest) + beta.power(2),
                    _ => beta,
                };
                let leaf = own - entry;
                column.c0[marked] = leaf.c0;
                column.c1[marked] = leaf.c1;
            }
        }
        let counts = self.tensor(Tensor::Counts);
        let numerators = ExtColumn {
            c0: counts.iter().map(|count| Base::from_signed(i64::from(*count))).collect(),
            c1: vec![Base::ZERO; counts.len()],
        };
        let fractions = Fractions { numerators: Numerators::Given(numerators), denominators: column };
        let (proof, leaves) = lookup::prove(fractions, isa, &mut Workspace::default(), &mut fork);
        let end = TreeEnd { sum: root(&proof), leaves };
        Proven { proof, end, fork, folded: Vec::new() }
    }
}

fn place_of(layout: &Layout, table: Table) -> TablePlace {
    *layout.tables.iter().find(|place| place.table == table).expect("every site's table is laid out")
}

fn entry(place: &TablePlace, value: i64, is_marked: bool) -> usize {
    match place.marked {
        Some(marked) if is_marked => marked,
        _ => place.offset + value as usize,
    }
}

/// The leaves of a table.
fn places<'c>(
    column: &'c mut ExtColumn,
    place: &TablePlace,
) -> impl Iterator<Item = (&'c mut Base, &'c mut Base)> {
    let range = place.offset..place.offset + (1 << place.bits);
    column.c0[range.clone()].iter_mut().zip(&mut column.c1[range])
}

/// The sum of a proven tree.
fn root(proof: &FractionTreeProof) -> lookup::Fraction {
    let [p0, q0, p1, q1] = proof.top;
    lookup::Fraction { numerator: p0 * q1 + p1 * q0, denominator: q0 * q1 }
}
