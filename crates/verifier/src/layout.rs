//! Where everything stands: committed tensors one after the other in one stream, looked-up columns one after the other in trees,
//! tables one after the other in one more tree. All follows from [`Public`] alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::merge::Stream;
use crate::public::{Dims, MAX_RANGE_BITS, NORM_ROW_COLUMNS, Public, Rounded, quotient, triangle};

/// Leaves of a lookup tree: 2^this at most.
pub const TREE_BITS: u32 = 22;
/// Columns of a committed row: 2^this at most.
const MAX_COLUMN_BITS: u32 = 18;
/// Columns that are opened; see `soundness`.
pub const QUERIES: usize = 220;
/// Bits of work before each of two points: table entries' and opened columns'.
pub const WORK_BITS: u32 = 16;

/// A tensor that the prover commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tensor {
    /// How often each table entry is looked up.
    Counts,
    /// (16 scalars, normalized row); see `ops::norm`.
    NormRows,
    /// (block, position, width or the like): a rounded result.
    Out(Rounded),
    /// The high part of its remainder.
    High(Rounded),
    /// (wide row, width or the like): the second limb.
    Wide(Rounded),
    /// (position, head of all blocks): the largest score's low 30 bits.
    PeakLow,
    /// And the rest.
    PeakHigh,
    /// (cell, head of all blocks): distance from the largest score, in steps of the softmax table.
    Distance,
    /// Its softmax weight.
    Weight,
    /// 1 at one of the largest scores of a row, else 0.
    IsPeak,
    /// (position, head of all blocks): half of the sum of the weights.
    HalfSum,
    /// (block, position, query width): attention's output.
    Mixed,
    /// (block, position, ff): the activated gate.
    Activated,
    /// (1, sampled position): the largest logit's low 30 bits.
    LogitPeakLow,
    /// And the rest.
    LogitPeakHigh,
    /// (sampled position, token): high part of the distance from the largest logit, or of its remainder.
    LogitHigh,
    /// (sampled position, token): distance from the largest logit in steps of the sampler's table.
    SampleDistance,
    /// Its weight.
    SampleWeight,
}

/// A tensor's place: rows of `inner` integers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First integer.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// A multiple of the lanes.
    pub inner: usize,
}

/// A column of values that are looked up, or several that are looked up together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site {
    /// The scalars of norms, 16 bits each.
    NormRows,
    /// A rounded result, in its range; the gate together with its activation.
    Out(Rounded),
    /// High part of its remainder.
    High(Rounded),
    /// Second limb of its wide rows.
    Wide(Rounded),
    /// Low part of its remainder, or all.
    Low(Rounded),
    /// Remainder of a score's distance, with the mark of the largest.
    ScoreLow,
    /// Distance, weight, and the mark.
    ScoreWeight,
    /// Half of a sum of weights.
    HalfSum,
    /// What is left when it is doubled.
    Parity,
    /// Attention's output.
    Mixed,
    /// Remainder of its division.
    MixedLow,
    /// How much less that is than the divisor.
    MixedGap,
    /// High part of a distance from the largest logit.
    LogitHigh,
    /// Low part.
    LogitLow,
    /// Distance and weight of a token that may be drawn.
    SampleWeight,
}

/// (a, b, inner): rows of a site are a pair of indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks, or one.
    pub a: usize,
    /// Positions, cells, or the like.
    pub b: usize,
    /// A multiple of the lanes.
    pub inner: usize,
}

/// Some rows of a site in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of this site.
    pub site: Site,
    /// Its shape.
    pub geometry: Geometry,
    /// First row.
    pub first: usize,
    /// Rows.
    pub rows: usize,
    /// First leaf; a multiple of the lanes.
    pub offset: usize,
}

/// The leaves of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// 2^bits leaves.
    pub bits: u32,
    /// In order, without gaps; what is left over looks up a zero of one bit.
    pub pieces: Vec<Piece>,
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// (v) with 0 <= v < 2^bits.
    Range(u32),
    /// (v, 0) with 0 <= v < 2^bits, and (0, 1).
    Marked(u32),
    /// (distance, weight, 0), and (0, largest weight, 1).
    Softmax,
    /// (distance, weight) of the sampler.
    Sampler,
    /// (gate, activated) of 16 bits.
    Activation(i32),
}

/// A table's entries in the tree of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// Which.
    pub table: Table,
    /// First leaf; a multiple of the entries, which are a power of two.
    pub offset: usize,
    /// Entries, 2^bits.
    pub bits: u32,
    /// The leaf of the one marked entry, if there is one.
    pub marked: Option<usize>,
}

/// All places.
#[derive(Clone, Debug)]
pub struct Layout {
    /// In the order of the stream.
    pub tensors: Vec<(Tensor, Place)>,
    /// Integers in the stream.
    pub length: usize,
    /// Trees of looked-up values.
    pub trees: Vec<Tree>,
    /// Tables.
    pub tables: Vec<TablePlace>,
    /// The tables' tree has 2^this leaves.
    pub table_bits: u32,
}

impl Table {
    /// What tells its entries from those of other tables.
    #[must_use]
    pub fn tag(self) -> i64 {
        match self {
            Self::Range(bits) => i64::from(bits),
            Self::Marked(bits) => i64::from(bits).saturating_add(64),
            Self::Softmax => 128,
            Self::Sampler => 129,
            Self::Activation(exponent) => i64::from(exponent).saturating_add(1 << 16),
        }
    }
}

impl Site {
    /// Columns that are looked up together.
    #[must_use]
    pub const fn columns(self) -> usize {
        match self {
            Self::ScoreWeight => 3,
            Self::ScoreLow | Self::SampleWeight | Self::Out(Rounded::Gate) => 2,
            _ => 1,
        }
    }
}

impl Layout {
    /// Lays everything out.
    #[must_use]
    pub fn new(public: &Public<'_>) -> Self {
        let (tables, table_bits) = tables(public);
        let mut layout = Self { tensors: Vec::new(), length: 0, trees: Vec::new(), tables, table_bits };
        let counts = public.dims.groups(1_usize.wrapping_shl(table_bits));
        layout.place(Tensor::Counts, counts, public.dims.lanes());
        for (tensor, geometry) in tensors(&Contents::of(public)) {
            layout.place(tensor, geometry.a.saturating_mul(geometry.b), geometry.inner);
        }
        layout.trees = trees(public);
        layout
    }

    fn place(&mut self, tensor: Tensor, rows: usize, inner: usize) {
        self.tensors.push((tensor, Place { offset: self.length, rows, inner }));
        self.length = self.length.saturating_add(rows.saturating_mul(inner));
    }

    /// A tensor's place; an empty one where this statement does not have it.
    #[must_use]
    pub fn tensor(&self, tensor: Tensor) -> Place {
        let found = self.tensors.iter().find(|(other, _)| *other == tensor);
        found.map_or(Place { offset: 0, rows: 0, inner: 1 }, |(_, place)| *place)
    }

    /// The committed stream.
    #[must_use]
    pub fn stream(&self, lane_bits: u32) -> Stream {
        stream(self.length, lane_bits)
    }
}

/// A stream of so many integers: rows are longer than columns, since a row takes 16 bytes an element and a column 8 a query.
#[must_use]
pub fn stream(length: usize, lane_bits: u32) -> Stream {
    let bits = usize::BITS.saturating_sub(length.leading_zeros());
    let column_bits = bits.div_ceil(2).saturating_add(3).clamp(lane_bits.saturating_add(1), MAX_COLUMN_BITS);
    let shape = proof_system::commitment::Shape::of(length, column_bits, QUERIES, WORK_BITS);
    Stream { length, lane_bits, shape }
}

/// Shape of a rounded result: (block, position, inner).
#[must_use]
pub fn rounded_geometry(dims: &Dims, op: Rounded) -> Geometry {
    let of = |inner| Geometry { a: dims.blocks, b: dims.positions, inner: dims.padded(inner) };
    match op {
        Rounded::AttnNorm | Rounded::MlpNorm | Rounded::AttnAdd | Rounded::MlpAdd => of(dims.width),
        Rounded::FinalNorm => Geometry { a: 1, b: dims.sampled, inner: dims.padded(dims.width) },
        Rounded::Query => of(dims.heads.saturating_mul(dims.head_dim)),
        Rounded::Key | Rounded::Value => of(dims.kv_heads.saturating_mul(dims.head_dim)),
        Rounded::Gate | Rounded::Product => of(dims.ff),
    }
}

/// What decides which tensors and sites there are, and their sizes.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Shapes.
    pub dims: Dims,
    /// Results whose remainders have two parts.
    pub long: BTreeSet<Rounded>,
    /// Wide rows, where there are any.
    pub wide: BTreeMap<Rounded, usize>,
    /// Whether tokens are drawn.
    pub is_drawn: bool,
}

impl Contents {
    /// Of a statement.
    #[must_use]
    pub fn of(public: &Public<'_>) -> Self {
        let long = Rounded::ALL.into_iter().filter(|op| public.split(*op).is_long).collect();
        let rows = |op| public.widths.wide_rows(op).len();
        let wide = Rounded::ALL.into_iter().map(|op| (op, rows(op))).filter(|(_, rows)| *rows > 0).collect();
        Self { dims: public.dims, long, wide, is_drawn: public.sampler.is_some() }
    }

    fn wide_geometry(&self, op: Rounded) -> Option<Geometry> {
        let rows = *self.wide.get(&op)?;
        Some(Geometry { a: 1, b: rows, inner: rounded_geometry(&self.dims, op).inner })
    }
}

/// All committed tensors but the counts, in the order of the stream.
#[must_use]
pub fn tensors(contents: &Contents) -> Vec<(Tensor, Geometry)> {
    let dims = &contents.dims;
    let mut all = vec![(Tensor::NormRows, Geometry { a: 1, b: NORM_ROW_COLUMNS, inner: dims.norm_rows() })];
    for op in Rounded::ALL {
        let geometry = rounded_geometry(dims, op);
        all.push((Tensor::Out(op), geometry));
        if contents.long.contains(&op) {
            all.push((Tensor::High(op), geometry));
        }
        all.extend(contents.wide_geometry(op).map(|geometry| (Tensor::Wide(op), geometry)));
    }
    let rows = |b| Geometry { a: 1, b, inner: dims.all_heads() };
    all.extend([Tensor::PeakLow, Tensor::PeakHigh, Tensor::HalfSum].map(|t| (t, rows(dims.positions))));
    all.extend([Tensor::Distance, Tensor::Weight, Tensor::IsPeak].map(|t| (t, rows(dims.cells()))));
    all.push((Tensor::Mixed, rounded_geometry(dims, Rounded::Query)));
    all.push((Tensor::Activated, rounded_geometry(dims, Rounded::Gate)));
    let sampled = Geometry { a: 1, b: 1, inner: dims.padded(dims.sampled) };
    all.extend([Tensor::LogitPeakLow, Tensor::LogitPeakHigh].map(|tensor| (tensor, sampled)));
    all.push((Tensor::LogitHigh, logit_geometry(dims)));
    if contents.is_drawn {
        let both = [Tensor::SampleDistance, Tensor::SampleWeight];
        all.extend(both.map(|tensor| (tensor, logit_geometry(dims))));
    }
    all
}

fn logit_geometry(dims: &Dims) -> Geometry {
    Geometry { a: 1, b: dims.sampled, inner: dims.padded(dims.vocab) }
}

/// All looked-up columns, in the order of the trees.
#[must_use]
pub fn sites(contents: &Contents) -> Vec<(Site, Geometry)> {
    let dims = &contents.dims;
    let mut all = vec![(Site::NormRows, Geometry { a: 1, b: NORM_ROW_COLUMNS, inner: dims.norm_rows() })];
    for op in Rounded::ALL {
        let geometry = rounded_geometry(dims, op);
        all.push((Site::Out(op), geometry));
        if contents.long.contains(&op) {
            all.push((Site::High(op), geometry));
        }
        all.extend(contents.wide_geometry(op).map(|geometry| (Site::Wide(op), geometry)));
        all.push((Site::Low(op), geometry));
    }
    let rows = |b| Geometry { a: 1, b, inner: dims.all_heads() };
    all.extend([Site::HalfSum, Site::Parity].map(|site| (site, rows(dims.positions))));
    all.extend([Site::ScoreLow, Site::ScoreWeight].map(|site| (site, rows(dims.cells()))));
    let mixed = rounded_geometry(dims, Rounded::Query);
    all.extend([Site::Mixed, Site::MixedLow, Site::MixedGap].map(|site| (site, mixed)));
    all.extend([Site::LogitHigh, Site::LogitLow].map(|site| (site, logit_geometry(dims))));
    if contents.is_drawn {
        all.push((Site::SampleWeight, logit_geometry(dims)));
    }
    all
}

/// The rows of a site from `first` on that fit: scores are cut between positions only.
fn fitting(site: Site, geometry: Geometry, first: usize, room: usize) -> usize {
    let rows =
        geometry.a.saturating_mul(geometry.b).saturating_sub(first).min(quotient(room, geometry.inner));
    if !matches!(site, Site::ScoreLow | Site::ScoreWeight) {
        return rows;
    }
    let end = first.saturating_add(rows);
    let last = (0..).take_while(|position| triangle(*position) <= end).last().unwrap_or(0);
    triangle(last).saturating_sub(first)
}

fn trees(public: &Public<'_>) -> Vec<Tree> {
    // The largest row of any site fits a tree.
    let dims = &public.dims;
    let row =
        dims.padded(dims.vocab).max(dims.norm_rows()).max(dims.positions.saturating_mul(dims.all_heads()));
    let tree_bits = TREE_BITS.max(row.next_power_of_two().trailing_zeros());
    let capacity = 1_usize.wrapping_shl(tree_bits);
    let (mut trees, mut pieces, mut used) = (Vec::new(), Vec::new(), 0_usize);
    for (site, geometry) in sites(&Contents::of(public)) {
        let all = geometry.a.saturating_mul(geometry.b);
        let mut first = 0;
        while first < all {
            let rows = fitting(site, geometry, first, capacity.saturating_sub(used));
            if rows == 0 {
                trees.push(Tree { bits: tree_bits, pieces: std::mem::take(&mut pieces) });
                used = 0;
                continue;
            }
            pieces.push(Piece { site, geometry, first, rows, offset: used });
            used = used.saturating_add(rows.saturating_mul(geometry.inner));
            first = first.saturating_add(rows);
        }
    }
    let bits = used.next_power_of_two().trailing_zeros().max(dims.lane_bits.saturating_add(1));
    trees.push(Tree { bits, pieces });
    trees
}

/// The table of a site in a block; of scores, in the block of a head.
#[must_use]
pub fn table_of(public: &Public<'_>, site: Site, block: usize) -> Table {
    let unsigned =
        |index: usize| Table::Range(public.widths.unsigned.get(index).copied().map_or(1, u32::from));
    let of = |bits: &[u32]| bits.get(block).copied().unwrap_or(0);
    match site {
        Site::NormRows | Site::Mixed => Table::Range(16),
        Site::Out(Rounded::Gate) => Table::Activation(public.gate_exponent(block)),
        Site::Out(op) => Table::Range(op.narrow_bits()),
        Site::Wide(op) => Table::Range(op.wide_bits()),
        Site::High(op) => Table::Range(of(&public.split(op).high)),
        Site::Low(op) => Table::Range(of(&public.split(op).low)),
        Site::ScoreLow => Table::Marked(of(&public.score_shift)),
        Site::ScoreWeight => Table::Softmax,
        Site::HalfSum | Site::MixedLow | Site::MixedGap => Table::Range(public.sum_bits),
        Site::Parity => Table::Range(1),
        Site::LogitHigh => {
            public.sampler.as_ref().map_or_else(|| unsigned(1), |sampler| Table::Range(sampler.high))
        }
        Site::LogitLow => {
            Table::Range(public.sampler.as_ref().map_or(public.logit_low, |sampler| sampler.low))
        }
        Site::SampleWeight => Table::Sampler,
    }
}

/// What is added to a committed value before it is looked up, so that its range begins at zero.
#[must_use]
pub fn bias_of(public: &Public<'_>, site: Site) -> i64 {
    let is_signed = match site {
        Site::Out(op) => op != Rounded::Gate,
        Site::Mixed | Site::Wide(_) => true,
        _ => false,
    };
    match table_of(public, site, 0) {
        Table::Range(bits) if is_signed => 1_i64.wrapping_shl(bits.saturating_sub(1)),
        _ => 0,
    }
}

fn tables(public: &Public<'_>) -> (Vec<TablePlace>, u32) {
    let blocks = public.dims.blocks;
    let mut used: Vec<Table> = sites(&Contents::of(public))
        .into_iter()
        .flat_map(|(site, geometry)| {
            let count = if site == Site::ScoreLow { blocks } else { geometry.a };
            (0..count).map(move |block| table_of(public, site, block))
        })
        .chain([Table::Range(1)])
        .collect();
    let bits = |table: Table| match table {
        Table::Range(bits) | Table::Marked(bits) => bits,
        Table::Softmax => public.widths.unsigned.first().copied().map_or(1, u32::from),
        Table::Sampler => public.widths.unsigned.get(1).copied().map_or(1, u32::from),
        Table::Activation(_) => 16,
    };
    // The largest first, so that each begins at a multiple of its size.
    used.sort_by_key(|table| (std::cmp::Reverse(bits(*table)), *table));
    used.dedup();
    let mut places = Vec::new();
    let mut end = 0_usize;
    for table in used {
        let bits = bits(table).min(MAX_RANGE_BITS);
        places.push(TablePlace { table, offset: end, bits, marked: None });
        end = end.saturating_add(1_usize.wrapping_shl(bits));
    }
    for place in &mut places {
        if matches!(place.table, Table::Marked(_) | Table::Softmax) {
            place.marked = Some(end);
            end = end.saturating_add(1);
        }
    }
    let table_bits = end.next_power_of_two().trailing_zeros();
    (places, table_bits.max(public.dims.lane_bits.saturating_add(1)))
}

/// The position whose cells begin at this one.
#[must_use]
pub fn triangle_root(cell: usize) -> usize {
    (0..).take_while(|position| triangle(*position) <= cell).last().unwrap_or(0)
}
