//! The protocol from the first challenge to the last claim: what is looked up, then one step per operation that brings each
//! value back to committed integers, public ones, or weights. Both ends run this; see `docs/proof.md`.

use proof_system::field::Ext;
use proof_system::sumcheck::bits;
use proof_system::transcript::Label;

use crate::channel::{Channel, Claim, Product, Rows, TreeEnd, Value};
use crate::error::Reject;
use crate::group_weights::{EqTable, GroupWeights, RowWeights, prefix_of_eq};
use crate::layout::{Piece, Site, Table, TablePlace, Tensor, bias_of, table_of, triangle_root};
use crate::ops;
use crate::public::{Public, Rounded, quotient};
use crate::vectors::{cut, dot_integers, eq_vector, outer, power_of_two, total};

/// The steps' state.
pub struct Script<'c, C> {
    /// One end.
    pub channel: &'c mut C,
    /// Claims about reciprocals of normalized rows: weights of all rows, and the sum.
    pub reciprocals: Vec<(Vec<Ext>, Ext)>,
}

/// A value of a site at a point that is a product of one per dimension.
#[derive(Clone, Debug)]
pub struct At {
    /// Weights of rows.
    pub rows: Rows,
    /// The point that numbers groups of lanes.
    pub group_point: Vec<Ext>,
    /// Its weights.
    pub groups: Vec<Ext>,
    /// Weights of lanes.
    pub lanes: Vec<Ext>,
    /// The value.
    pub value: Ext,
}

impl At {
    /// Weights of a whole row.
    #[must_use]
    pub fn inner(&self) -> Vec<Ext> {
        outer(&self.groups, &self.lanes)
    }

    /// The sum of all weights.
    #[must_use]
    pub fn total(&self) -> Ext {
        total(&self.rows.a) * total(&self.rows.b) * total(&self.groups) * total(&self.lanes)
    }
}

/// Runs the protocol.
///
/// # Errors
/// What the channel finds.
pub fn run<C: Channel>(channel: &mut C) -> Result<(), Reject> {
    channel.work()?;
    let beta = channel.draw(Label::LookupColumns);
    let alpha = channel.draw(Label::LookupPoint);
    let ends = channel.trees(alpha, beta)?;
    let mut script = Script { channel, reciprocals: Vec::new() };
    script.compare_sums(&ends)?;
    let (table, trees) = ends.split_last().ok_or(Reject::NotInTable)?;
    script.tables(table, alpha, beta)?;
    for (index, end) in trees.iter().enumerate() {
        script.tree(index, end, alpha, beta)?;
    }
    ops::logits::chosen(&mut script)?;
    ops::logits::fingerprints(&mut script)?;
    ops::sampling::draws(&mut script)?;
    ops::attention::one_peak(&mut script)?;
    ops::norm::scalars(&mut script)?;
    ops::norm::reciprocals(&mut script)
}

impl<C: Channel> Script<'_, C> {
    /// What both know.
    pub fn public(&self) -> &Public<'_> {
        self.channel.public()
    }

    /// Every looked-up value is in its table if the sums of fractions are the same.
    fn compare_sums(&mut self, ends: &[TreeEnd]) -> Result<(), Reject> {
        let (table, trees) = ends.split_last().ok_or(Reject::NotInTable)?;
        let (mut above, mut below) = (Ext::ZERO, Ext::ONE);
        for end in trees {
            above = above * end.sum.denominator + end.sum.numerator * below;
            below *= end.sum.denominator;
        }
        let (left, right) = (above * table.sum.denominator, table.sum.numerator * below);
        if !self.channel.verifies() || left == right { Ok(()) } else { Err(Reject::NotInTable) }
    }

    /// The leaves of the tables' tree: counts are committed, entries are public.
    fn tables(&mut self, end: &TreeEnd, alpha: Ext, beta: Ext) -> Result<(), Reject> {
        let point = &end.leaves.point;
        if self.channel.verifies() {
            let entries = table_value(self.public(), &self.channel.layout().tables, point, beta);
            self.channel.equal("the tables", end.leaves.denominator, alpha - entries)?;
        }
        let lane_bits = usize::try_from(self.public().dims.lane_bits).unwrap_or(usize::MAX);
        let (high, low) = cut(point, point.len().saturating_sub(lane_bits));
        let rows = self.channel.layout().tensor(Tensor::Counts).rows;
        let claim = Claim {
            first: 0,
            hi: GroupWeights::Slice { point: high.to_vec(), first: 0, count: rows },
            lo: eq_vector(low, self.public().dims.lanes()),
            value: end.leaves.numerator,
        };
        self.channel.claim(claim);
        Ok(())
    }

    /// The leaves of a tree: what each piece contributes, and where that comes from.
    fn tree(&mut self, index: usize, end: &TreeEnd, alpha: Ext, beta: Ext) -> Result<(), Reject> {
        let lane_bits = usize::try_from(self.public().dims.lane_bits).unwrap_or(usize::MAX);
        let point = &end.leaves.point;
        self.channel.equal("numerators of one", end.leaves.numerator, Ext::ONE)?;
        let (high, low) = cut(point, point.len().saturating_sub(lane_bits));
        let lanes = self.public().dims.lanes();
        let lane_weights = eq_vector(low, lanes);
        let pieces = self.channel.layout().trees.get(index).map(|t| t.pieces.clone()).unwrap_or_default();
        let (mut sum, mut rest) = (Ext::ZERO, Ext::ONE);
        let mut values = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            if self.channel.verifies() {
                let all = of_leaves(piece, high, lanes, 0..piece.rows);
                rest -= all;
                sum += beta.power(3) * self.tag_sum(piece, high, &lane_weights)
                    + all * Ext::from_signed(bias_of(self.public(), piece.site));
            }
            for column in 0..piece.site.columns() {
                let value = self.channel.send(Value::Column { tree: index, piece: number, column })?;
                sum += beta.power(u64::try_from(column).unwrap_or(0)) * value;
                values.push(value);
            }
        }
        sum += beta.power(3) * rest * Ext::from_signed(Table::Range(1).tag());
        self.channel.equal("the leaves of a tree", end.leaves.denominator, alpha - sum)?;
        let mut values = values.into_iter();
        for (number, piece) in pieces.iter().enumerate() {
            for column in 0..piece.site.columns() {
                let value = values.next().unwrap_or_default();
                match committed(piece.site, column) {
                    Some(tensor) => {
                        let value = value + self.wide(piece, high, &lane_weights)?;
                        self.committed_piece(piece, tensor, high, &lane_weights, value);
                    }
                    None => {
                        let at = self.flat([index, number, column], piece, high, &lane_weights, value)?;
                        self.dispatch(piece.site, &at)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The sum of the tags of a piece's tables, each times its leaf's weight.
    fn tag_sum(&self, piece: &Piece, point: &[Ext], lane_weights: &[Ext]) -> Ext {
        let public = self.public();
        let lanes = public.dims.lanes();
        let groups = public.dims.groups(piece.geometry.inner);
        if piece.site == Site::ScoreLow {
            let tag = |head| table_of(public, piece.site, ops::attention::block_of(public, head)).tag();
            let tags: Vec<Ext> = (0..groups)
                .map(|g| {
                    dot_integers(
                        lane_weights,
                        (0..lanes).map(|lane| tag(g.wrapping_mul(lanes).wrapping_add(lane))),
                    )
                })
                .collect();
            // Pieces of scores are cut between positions.
            let from = triangle_root(piece.first);
            let positions = triangle_root(piece.first.saturating_add(piece.rows)).saturating_sub(from);
            let rows = RowWeights::cells_of(from, &vec![Ext::ONE; positions]);
            return GroupWeights::rows(rows, &tags).at(point, quotient(piece.offset, lanes));
        }
        let per_block = piece.geometry.b.max(1);
        let (mut sum, mut row) = (Ext::ZERO, 0);
        while row < piece.rows {
            let block = quotient(piece.first.saturating_add(row), per_block);
            let next = block.saturating_add(1).saturating_mul(per_block).saturating_sub(piece.first);
            let own = row..next.min(piece.rows);
            row = own.end;
            let tag = Ext::from_signed(table_of(public, piece.site, block).tag());
            sum += of_leaves(piece, point, lanes, own) * tag;
        }
        sum
    }

    /// What the second limbs of a piece's wide rows add to its narrow values.
    fn wide(&mut self, piece: &Piece, point: &[Ext], lanes: &[Ext]) -> Result<Ext, Reject> {
        let Site::Out(op) = piece.site else { return Ok(Ext::ZERO) };
        if self.public().widths.wide_rows(op).is_empty() {
            return Ok(Ext::ZERO);
        }
        let groups = self.public().dims.groups(piece.geometry.inner);
        let offset = quotient(piece.offset, lanes.len());
        let table = EqTable::new(point);
        let (mut first, mut hi) = (0_usize, Vec::new());
        for row in self.public().widths.wide_rows(op) {
            let row = usize::try_from(*row).unwrap_or(usize::MAX);
            match row.checked_sub(piece.first) {
                Some(own) if own < piece.rows => {
                    let start = offset.saturating_add(own.saturating_mul(groups));
                    hi.extend((start..start.saturating_add(groups)).map(|group| table.at(group)));
                }
                Some(_) => {}
                None => first = first.saturating_add(1),
            }
        }
        if hi.is_empty() {
            return Ok(Ext::ZERO);
        }
        let value = self.committed_groups(Tensor::Wide(op), first, GroupWeights::plain(hi), lanes, None)?;
        Ok(value * power_of_two(op.narrow_bits()))
    }

    fn committed_piece(&mut self, piece: &Piece, tensor: Tensor, point: &[Ext], lanes: &[Ext], value: Ext) {
        let place = self.channel.layout().tensor(tensor);
        let first = place.offset.saturating_add(piece.first.saturating_mul(place.inner));
        let hi = own_weights(piece, point, lanes.len());
        self.channel.claim(Claim { first: self.public().dims.groups(first), hi, lo: lanes.to_vec(), value });
    }

    /// From a point of a tree's leaves to one per dimension of the site.
    fn flat(
        &mut self,
        [tree, number, column]: [usize; 3],
        piece: &Piece,
        point_of_tree: &[Ext],
        lanes: &[Ext],
        value: Ext,
    ) -> Result<At, Reject> {
        let geometry = piece.geometry;
        let groups = self.public().dims.groups(geometry.inner);
        let end = piece.first.saturating_add(piece.rows);
        let (first, blocks, from, positions, before) = if geometry.a > 1 {
            let b = geometry.b.max(1);
            let first = quotient(piece.first, b);
            let blocks = end.div_ceil(b).saturating_sub(first);
            (first, blocks, 0, b, piece.first.saturating_sub(first.saturating_mul(b)))
        } else {
            (0, 1, piece.first, piece.rows, 0)
        };
        // Over whole blocks: rows outside of the piece weigh nothing.
        let count = blocks.saturating_mul(positions).saturating_mul(groups);
        let what = Product::Flat {
            tree,
            piece: number,
            column,
            weights: &own_weights(piece, point_of_tree, lanes.len()),
            before: before.saturating_mul(groups),
            count,
        };
        let (point, [weight, folded]) = self.channel.product(value, &[blocks, positions, groups], what)?;
        let (block_point, rest) = cut(&point, bits(blocks));
        let (position_point, group_point) = cut(rest, bits(positions));
        let (a, b) = (eq_vector(block_point, blocks), eq_vector(position_point, positions));
        let group_weights = eq_vector(group_point, groups);
        if self.channel.verifies() {
            let rows = outer(&a, &b);
            let (own, _) = cut(rows.get(before..).unwrap_or_default(), piece.rows);
            let first = quotient(piece.offset, lanes.len());
            let expected = GroupWeights::rows(own, &group_weights).at(point_of_tree, first);
            self.channel.equal("the weights of leaves", expected, weight)?;
        }
        Ok(At {
            rows: Rows { first, a, from, b },
            group_point: group_point.to_vec(),
            groups: group_weights,
            lanes: lanes.to_vec(),
            value: folded,
        })
    }

    fn dispatch(&mut self, site: Site, at: &At) -> Result<(), Reject> {
        match site {
            Site::Low(op @ (Rounded::AttnNorm | Rounded::MlpNorm | Rounded::FinalNorm)) => {
                ops::norm::low(self, op, at)
            }
            Site::Low(op @ (Rounded::Query | Rounded::Key)) => ops::rope::low(self, op, at),
            Site::Low(op @ (Rounded::Value | Rounded::Gate)) => ops::matmul::low(self, op, at),
            Site::Low(op @ (Rounded::AttnAdd | Rounded::MlpAdd)) => ops::residual::low(self, op, at),
            Site::Low(Rounded::Product) => ops::hadamard::low(self, at),
            Site::ScoreLow => ops::attention::score_low(self, at),
            Site::Parity => ops::attention::parity(self, at),
            Site::MixedLow => ops::attention::mixed(self, at, false),
            Site::MixedGap => ops::attention::mixed(self, at, true),
            Site::LogitLow => ops::logits::low(self, at),
            // All others are committed columns.
            _ => self.channel.equal("a column without a step", Ext::ZERO, Ext::ONE),
        }
    }

    /// The value before it is rounded: `low + 2^k high + 2^s out - half`, at a point of the operation's result.
    ///
    /// # Errors
    /// The channel's.
    pub fn unrounded(&mut self, op: Rounded, at: &At) -> Result<Ext, Reject> {
        let split = self.public().split(op).clone();
        let own = |shifts: &[u32]| -> Vec<Ext> {
            let shifts = shifts.iter().skip(at.rows.first).map(|shift| power_of_two(*shift));
            shifts.zip(&at.rows.a).map(|(power, a)| power * *a).collect()
        };
        let halves: Vec<u32> = split.shift.iter().map(|shift| shift.saturating_sub(1)).collect();
        let rest = total(&at.rows.b) * total(&at.groups) * total(&at.lanes);
        let mut value = at.value - total(&own(&halves)) * rest;
        if split.is_long {
            value += self.committed(Tensor::High(op), &own(&split.low), at)?;
        }
        let shifted = own(&split.shift);
        if matches!(op, Rounded::AttnAdd | Rounded::MlpAdd) {
            let old = outer(&shifted, &at.rows.b);
            value -= ops::norm::stream(self, op, at.rows.row(), &old, [&at.groups, &at.lanes], None)?;
        }
        Ok(value + self.committed(Tensor::Out(op), &shifted, at)?)
    }

    /// A committed tensor at a point, with other weights of blocks.
    ///
    /// # Errors
    /// The channel's.
    pub fn committed(&mut self, tensor: Tensor, a: &[Ext], at: &At) -> Result<Ext, Reject> {
        let first = at.rows.row();
        self.committed_rows(tensor, first, outer(a, &at.rows.b), [&at.groups, &at.lanes], None)
    }

    /// A committed tensor at weights of its rows from `first` on, groups and lanes; the value is sent unless it is known.
    ///
    /// # Errors
    /// The channel's.
    pub fn committed_rows(
        &mut self,
        tensor: Tensor,
        first: usize,
        rows: impl Into<RowWeights>,
        [groups, lanes]: [&[Ext]; 2],
        known: Option<Ext>,
    ) -> Result<Ext, Reject> {
        self.committed_groups(tensor, first, GroupWeights::rows(rows, groups), lanes, known)
    }

    /// The same with weights of (row, group) that need not be products.
    ///
    /// # Errors
    /// The channel's.
    pub fn committed_groups(
        &mut self,
        tensor: Tensor,
        first: usize,
        hi: GroupWeights,
        lanes: &[Ext],
        known: Option<Ext>,
    ) -> Result<Ext, Reject> {
        let place = self.channel.layout().tensor(tensor);
        let first = place.offset.saturating_add(first.saturating_mul(place.inner));
        let first = self.public().dims.groups(first);
        let mut claim = Claim { first, hi, lo: lanes.to_vec(), value: Ext::ZERO };
        claim.value = match known {
            Some(value) => value,
            None => self.channel.send(Value::Committed(&claim))?,
        };
        let value = claim.value;
        self.channel.claim(claim);
        Ok(value)
    }

    /// Checks a public factor at the verifier's end.
    ///
    /// # Errors
    /// [`Reject::Step`].
    pub fn expect(
        &mut self,
        step: &'static str,
        found: Ext,
        expected: impl FnOnce(&Public<'_>) -> Ext,
    ) -> Result<(), Reject> {
        if !self.channel.verifies() {
            return Ok(());
        }
        let expected = expected(self.channel.public());
        self.channel.equal(step, found, expected)
    }
}

/// The weights of a piece's groups, at a point of its tree's.
fn own_weights(piece: &Piece, point: &[Ext], lanes: usize) -> GroupWeights {
    let first = quotient(piece.offset, lanes);
    let count = quotient(piece.rows.saturating_mul(piece.geometry.inner), lanes);
    GroupWeights::Slice { point: point.to_vec(), first, count }
}

/// The sum of the weights of some of a piece's rows.
fn of_leaves(piece: &Piece, point: &[Ext], lanes: usize, rows: std::ops::Range<usize>) -> Ext {
    let first = quotient(piece.offset, lanes);
    let group = |row: usize| first.saturating_add(quotient(row.saturating_mul(piece.geometry.inner), lanes));
    prefix_of_eq(point, group(rows.end)) - prefix_of_eq(point, group(rows.start))
}

/// The tensor that a column of a site is, if it is committed.
#[must_use]
pub fn committed(site: Site, column: usize) -> Option<Tensor> {
    match (site, column) {
        (Site::NormRows, _) => Some(Tensor::NormRows),
        (Site::Out(Rounded::Gate), 1) => Some(Tensor::Activated),
        (Site::Out(op), _) => Some(Tensor::Out(op)),
        (Site::High(op), _) => Some(Tensor::High(op)),
        (Site::Wide(op), _) => Some(Tensor::Wide(op)),
        (Site::ScoreLow, 1) | (Site::ScoreWeight, 2) => Some(Tensor::IsPeak),
        (Site::ScoreWeight, 0) => Some(Tensor::Distance),
        (Site::ScoreWeight, 1) => Some(Tensor::Weight),
        (Site::HalfSum, _) => Some(Tensor::HalfSum),
        (Site::Mixed, _) => Some(Tensor::Mixed),
        (Site::LogitHigh, _) => Some(Tensor::LogitHigh),
        (Site::SampleWeight, 0) => Some(Tensor::SampleDistance),
        (Site::SampleWeight, _) => Some(Tensor::SampleWeight),
        _ => None,
    }
}

/// The entries' polynomial at a point of the tables' tree.
fn table_value(public: &Public<'_>, tables: &[TablePlace], point: &[Ext], beta: Ext) -> Ext {
    let eq_at = |index: usize| -> Ext {
        let bit = |place: usize| index.wrapping_shr(u32::try_from(place).unwrap_or(0)) & 1 == 1;
        let factors =
            point.iter().rev().enumerate().map(|(place, r)| if bit(place) { *r } else { Ext::ONE - *r });
        factors.product()
    };
    let cube = beta.power(3);
    let (mut sum, mut rest) = (Ext::ZERO, Ext::ONE);
    let largest = Ext::from_u64(u64::from(public.tables.exp.first().copied().unwrap_or_default()));
    for place in tables {
        let entry_bits = usize::try_from(place.bits).unwrap_or(usize::MAX);
        let (high, low) = cut(point, point.len().saturating_sub(entry_bits));
        let number = place.offset.wrapping_shr(place.bits);
        let bit = |p: usize| number.wrapping_shr(u32::try_from(p).unwrap_or(0)) & 1 == 1;
        let here: Ext =
            high.iter().rev().enumerate().map(|(p, r)| if bit(p) { *r } else { Ext::ONE - *r }).product();
        let index: Ext = low.iter().fold(Ext::ZERO, |sum, r| sum + sum + *r);
        let tag = cube * Ext::from_signed(place.table.tag());
        let second = match place.table {
            Table::Softmax => {
                let count = 1_usize.wrapping_shl(place.bits).min(public.tables.exp.len());
                dot_integers(&eq_vector(low, count), public.tables.exp.iter().map(|e| i64::from(*e)))
            }
            Table::Activation(exponent) => {
                let table = public.tables.activations.get(&exponent).map(Vec::as_slice).unwrap_or_default();
                dot_integers(&eq_vector(low, table.len()), table.iter().map(|f| i64::from(*f)))
            }
            Table::Sampler => {
                let exp = public.tables.sampler.as_slice();
                let count = 1_usize.wrapping_shl(place.bits).min(exp.len());
                dot_integers(&eq_vector(low, count), exp.iter().map(|e| i64::from(*e)))
            }
            Table::Range(_) | Table::Marked(_) => Ext::ZERO,
        };
        let first = match place.table {
            Table::Activation(_) => index - power_of_two(15),
            _ => index,
        };
        sum += here * (first + beta * second + tag);
        rest -= here;
        if let Some(leaf) = place.marked {
            let marked = match place.table {
                Table::Softmax => beta * largest + beta.power(2),
                _ => beta,
            };
            let here = eq_at(leaf);
            sum += here * (marked + tag);
            rest -= here;
        }
    }
    sum + rest * cube * Ext::from_signed(Table::Range(1).tag())
}
