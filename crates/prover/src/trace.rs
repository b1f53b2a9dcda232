//! The execution as integers: every value that the proof speaks about, computed with the engine's kernels for products and the
//! model's operations for the rest. Exact, so it is the trace of any honest run.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use engine::accumulate::KernelAccumulate;
use engine::kernels::Isa;
use model::Model;
use model::fixed_point::isqrt;
use model::ops::Rows;
use model::ops::matmul::Accumulate;
use rayon::prelude::*;
use verifier::Unprovable;
use verifier::layout::{Tensor, rounded_geometry};
use verifier::ops::attention::SCORE_LOW_BITS;
use verifier::ops::norm::{first_row, limbs};
use verifier::public::{
    Dims, Draw, MAX_RANGE_BITS, Matrix, NORM_ROW_COLUMNS, Public, Rounded, Sampler, WIDE, Widths, triangle,
};
use verifier::weights::embedded;

/// All committed tensors but the counts, and what the sumchecks need besides.
#[derive(Debug, Default)]
pub struct Trace {
    /// Row-major, in the layout's shapes.
    pub tensors: BTreeMap<Tensor, Vec<i32>>,
    /// (block, position, width): unrotated queries and keys.
    pub unrotated: BTreeMap<Matrix, Vec<i64>>,
    /// (block, position, ff): products of the up projection.
    pub up: Vec<i64>,
    /// Low remainders, in the shape of their results.
    pub low: BTreeMap<Rounded, Vec<i32>>,
    /// Results that have wide rows, less their second limbs.
    pub narrow: BTreeMap<Rounded, Vec<i32>>,
    /// (cell, head): remainders of distances.
    pub score_low: Vec<i32>,
    /// (position, head): what is left of halved sums.
    pub parity: Vec<i32>,
    /// (position, head): sums of softmax weights.
    pub sums: Vec<i32>,
    /// (block, position, query width): remainders of divisions, and their gaps.
    pub mixed_low: [Vec<i32>; 2],
    /// (sampled position, token): low parts of distances from the largest logit.
    pub logit_low: Vec<i32>,
    /// What the outputs' draws went by.
    pub draws: Vec<Draw>,
    /// Reciprocal of each normalized row.
    pub reciprocals: Vec<i64>,
    /// Root of each.
    pub roots: Vec<i64>,
    /// (position, width): the stream before the first block.
    pub embedded: Vec<i32>,
}

struct Run<'p> {
    model: &'p Model,
    public: &'p Public<'p>,
    accumulate: KernelAccumulate,
    trace: Trace,
}

/// Runs the claim's tokens.
///
/// # Errors
/// [`Unprovable`]: a value that no range covers, or an output that the model does not give.
pub fn trace(model: &Model, public: &Public<'_>) -> Result<Trace, Unprovable> {
    let accumulate = KernelAccumulate::new(Isa::best());
    let mut run = Run { model, public, accumulate, trace: Trace::default() };
    run.prepare();
    let mut x: Vec<i64> = public.ids.iter().flat_map(|id| embedded(model, *id)).collect();
    run.trace.embedded =
        x.iter().map(|v| i32::try_from(*v).map_err(|_| Unprovable::Stream)).collect::<Result<_, _>>()?;
    for block in 0..public.dims.blocks {
        run.attention_half(block, &mut x)?;
        run.mlp_half(block, &mut x)?;
    }
    run.logits(&x)?;
    Ok(run.trace)
}

/// The ranges that a trace needs; cuts its wide rows into limbs.
///
/// # Errors
/// [`Unprovable::Range`].
pub fn widths(dims: &Dims, trace: &mut Trace) -> Result<Widths, Unprovable> {
    let extent = |trace: &Trace, tensor: Tensor| {
        let values = trace.tensors.get(&tensor).map(Vec::as_slice).unwrap_or_default();
        values
            .par_iter()
            .copied()
            .reduce(|| 0, |a, b| if b.unsigned_abs() > a.unsigned_abs() { b } else { a })
    };
    let bits = |what, value: i32| {
        let bits = (u32::BITS - value.unsigned_abs().leading_zeros()).max(1);
        if bits > MAX_RANGE_BITS {
            Err(Unprovable::Range { what, value: value.into() })
        } else {
            Ok(bits as u8)
        }
    };
    let is_drawn = trace.tensors.contains_key(&Tensor::SampleDistance);
    let farthest = if is_drawn { Tensor::SampleDistance } else { Tensor::LogitHigh };
    let mut widths = Widths {
        unsigned: [
            bits("distances of scores", extent(trace, Tensor::Distance))?,
            bits("distances of logits", extent(trace, farthest))?,
        ],
        draws: std::mem::take(&mut trace.draws),
        ..Widths::default()
    };
    for (op, rows) in WIDE.into_iter().zip(&mut widths.wide) {
        *rows = cut_wide(dims, op, trace)?;
    }
    for (what, tensor) in [("values", Tensor::Out(Rounded::Value)), ("attention's outputs", Tensor::Mixed)] {
        let value = extent(trace, tensor);
        if i16::try_from(value).is_err() {
            return Err(Unprovable::Range { what, value: value.into() });
        }
    }
    Ok(widths)
}

/// The wide rows of a result. Keeps the second limbs as a tensor, and what is left of the values to be looked up.
fn cut_wide(dims: &Dims, op: Rounded, trace: &mut Trace) -> Result<Vec<u32>, Unprovable> {
    let inner = rounded_geometry(dims, op).inner;
    let values = &trace.tensors[&Tensor::Out(op)];
    let (bits, wide_bits) = (op.narrow_bits(), op.wide_bits());
    let limit = 1_i32 << (bits - 1);
    let is_wide = |row: &[i32]| row.iter().any(|v| *v < -limit || *v >= limit);
    let rows: Vec<usize> =
        (0..values.len() / inner).filter(|row| is_wide(&values[row * inner..][..inner])).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut narrow = values.clone();
    let mut limbs = Vec::with_capacity(rows.len() * inner);
    for row in &rows {
        for value in &mut narrow[row * inner..][..inner] {
            let limb = (*value + limit) >> bits;
            if limb < -(1 << (wide_bits - 1)) || limb >= 1 << (wide_bits - 1) {
                return Err(Unprovable::Range { what: "an activation", value: i64::from(*value) });
            }
            *value -= limb << bits;
            limbs.push(limb);
        }
    }
    trace.tensors.insert(Tensor::Wide(op), limbs);
    trace.narrow.insert(op, narrow);
    Ok(rows.into_iter().map(|row| row as u32).collect())
}

impl Run<'_> {
    fn prepare(&mut self) {
        let dims = self.public.dims;
        let zeros = |count: usize| vec![0_i32; count];
        for op in Rounded::ALL {
            let geometry = rounded_geometry(&dims, op);
            let count = geometry.a * geometry.b * geometry.inner;
            self.trace.tensors.insert(Tensor::Out(op), zeros(count));
            self.trace.low.insert(op, zeros(count));
            if self.public.split(op).is_long {
                self.trace.tensors.insert(Tensor::High(op), zeros(count));
            }
        }
        let query = rounded_geometry(&dims, Rounded::Query);
        let query = query.a * query.b * query.inner;
        let ff = rounded_geometry(&dims, Rounded::Gate);
        let ff = ff.a * ff.b * ff.inner;
        for (tensor, count) in [
            (Tensor::NormRows, NORM_ROW_COLUMNS * dims.norm_rows()),
            (Tensor::PeakLow, dims.positions * dims.all_heads()),
            (Tensor::PeakHigh, dims.positions * dims.all_heads()),
            (Tensor::HalfSum, dims.positions * dims.all_heads()),
            (Tensor::Distance, dims.cells() * dims.all_heads()),
            (Tensor::Weight, dims.cells() * dims.all_heads()),
            (Tensor::IsPeak, dims.cells() * dims.all_heads()),
            (Tensor::Mixed, query),
            (Tensor::Activated, ff),
            (Tensor::LogitPeakLow, dims.padded(dims.sampled)),
            (Tensor::LogitPeakHigh, dims.padded(dims.sampled)),
            (Tensor::LogitHigh, dims.sampled * dims.padded(dims.vocab)),
        ] {
            self.trace.tensors.insert(tensor, zeros(count));
        }
        if self.public.sampler.is_some() {
            for tensor in [Tensor::SampleDistance, Tensor::SampleWeight] {
                self.trace.tensors.insert(tensor, zeros(dims.sampled * dims.padded(dims.vocab)));
            }
        }
        self.trace.up = vec![0; ff];
        for (matrix, op) in [(Matrix::Query, Rounded::Query), (Matrix::Key, Rounded::Key)] {
            let geometry = rounded_geometry(&dims, op);
            self.trace.unrotated.insert(matrix, vec![0; geometry.a * geometry.b * geometry.inner]);
        }
        self.trace.score_low = zeros(dims.cells() * dims.all_heads());
        self.trace.parity = zeros(dims.positions * dims.all_heads());
        self.trace.sums = zeros(dims.positions * dims.all_heads());
        self.trace.mixed_low = [zeros(query), zeros(query)];
        self.trace.logit_low = zeros(dims.sampled * dims.padded(dims.vocab));
        self.trace.reciprocals = vec![0; dims.norm_rows()];
        self.trace.roots = vec![0; dims.norm_rows()];
        self.pad_heads();
    }

    /// Heads that only pad look at the first key, which is as far as it can be from nothing.
    fn pad_heads(&mut self) {
        let dims = self.public.dims;
        let largest = self.public.tables.exp.first().copied().unwrap_or_default() as i32;
        let (real, all) = (dims.blocks * dims.heads, dims.all_heads());
        for cell in 0..dims.cells() {
            for head in real..all {
                self.tensor(Tensor::Weight)[cell * all + head] = largest;
            }
        }
        for position in 0..dims.positions {
            for head in real..all {
                self.tensor(Tensor::IsPeak)[triangle(position) * all + head] = 1;
                let sum = largest * (position as i32 + 1);
                self.tensor(Tensor::HalfSum)[position * all + head] = sum / 2;
                self.trace.sums[position * all + head] = sum;
                self.trace.parity[position * all + head] = sum % 2;
            }
        }
    }

    fn tensor(&mut self, tensor: Tensor) -> &mut Vec<i32> {
        self.trace.tensors.get_mut(&tensor).expect("made in the beginning")
    }

    fn products(&self, matrix: Matrix, block: usize, x: &Rows) -> Rows {
        let weights = matrix.weights(self.model, block).expect("blocks of the model");
        self.accumulate.accumulate(weights, x)
    }

    /// Rounds the values of a block, and keeps results and remainders; gives the results.
    fn round(
        &mut self,
        op: Rounded,
        block: usize,
        values: &Rows,
        old: Option<&[i64]>,
    ) -> Result<Rows, Unprovable> {
        let split = self.public.split(op);
        let (shift, low_bits) = (split.shift[block], split.low[block]);
        let is_long = split.is_long;
        let inner = rounded_geometry(&self.public.dims, op).inner;
        let (width, count) = (values.width, values.count());
        let mut results = Rows { width, values: vec![0; values.values.len()] };
        let first = block * count * inner;
        let mut out = std::mem::take(self.tensor(Tensor::Out(op)));
        let mut low = self.trace.low.remove(&op).expect("made in the beginning");
        let mut high = if is_long { std::mem::take(self.tensor(Tensor::High(op))) } else { Vec::new() };
        let half = 1_i64 << (shift - 1);
        let mask = (1_i64 << low_bits) - 1;
        let mut largest = 0_i64;
        for row in 0..count {
            for column in 0..inner {
                let place = first + row * inner + column;
                let value = if column < width { values.values[row * width + column] } else { 0 };
                let rounded = (value + half) >> shift;
                let remainder = value + half - (rounded << shift);
                low[place] = (remainder & mask) as i32;
                if is_long {
                    high[place] = (remainder >> low_bits) as i32;
                }
                let before = old.filter(|_| column < width).map_or(0, |old| old[row * width + column]);
                let result = rounded + before;
                if result.unsigned_abs() > largest.unsigned_abs() {
                    largest = result;
                }
                out[place] = result as i32;
                if column < width {
                    results.values[row * width + column] = result;
                }
            }
        }
        *self.tensor(Tensor::Out(op)) = out;
        self.trace.low.insert(op, low);
        if is_long {
            *self.tensor(Tensor::High(op)) = high;
        }
        if largest.unsigned_abs() > 1 << 29 {
            return Err(Unprovable::Range { what: "an activation", value: largest });
        }
        Ok(results)
    }

    fn norm(&mut self, op: Rounded, block: usize, x: &Rows) -> Result<Rows, Unprovable> {
        let first =
            first_row(&self.public.dims, op) + if op == Rounded::FinalNorm { 0 } else { block * x.count() };
        let weights = self.public.norm_weights(op, block).to_vec();
        let mut products = Rows { width: x.width, values: Vec::with_capacity(x.values.len()) };
        for (index, row) in x.iter().enumerate() {
            let reciprocal = self.norm_row(first + index, row)?;
            products.values.extend(row.iter().zip(&weights).map(|(v, w)| v * reciprocal * i64::from(*w)));
        }
        self.round(op, if op == Rounded::FinalNorm { 0 } else { block }, &products, None)
    }

    fn norm_row(&mut self, row: usize, x: &[i64]) -> Result<i64, Unprovable> {
        let squares: u128 = x.iter().map(|v| u128::from(v.unsigned_abs()).pow(2)).sum();
        let sum = squares + u128::from(self.public.epsilon);
        let root = isqrt(sum) as u64;
        if root >= 1 << 31 {
            return Err(Unprovable::Range { what: "a square sum's root", value: root as i64 });
        }
        let numerator = self.public.numerator as u64;
        let reciprocal = numerator / root;
        let rest = (sum - u128::from(root).pow(2)) as u64;
        let remainder = numerator - reciprocal * root;
        let part = |value: u64, limb: u32| (value >> (16 * limb)) & 0xffff;
        let middle = part(reciprocal, 1) * root;
        let high = part(reciprocal, 2) * root;
        let all = self.public.dims.norm_rows();
        let tensor = self.tensor(Tensor::NormRows);
        let mut set = |first: usize, value: u64, count: usize| {
            for limb in 0..count {
                tensor[(first + limb) * all + row] = part(value, limb as u32) as i32;
            }
        };
        set(limbs::ROOT, root, 2);
        set(limbs::REST, rest, 2);
        set(limbs::REST_GAP, 2 * root - rest, 2);
        set(limbs::RECIPROCAL, reciprocal, 3);
        set(limbs::MIDDLE_PRODUCT, middle, 2);
        set(limbs::HIGH_PRODUCT, high, 1);
        set(limbs::REMAINDER, remainder, 2);
        set(limbs::REMAINDER_GAP, root - 1 - remainder, 2);
        self.trace.reciprocals[row] = reciprocal as i64;
        self.trace.roots[row] = root as i64;
        Ok(reciprocal as i64)
    }

    fn attention_half(&mut self, block: usize, x: &mut Vec<i64>) -> Result<(), Unprovable> {
        let width = self.public.dims.width;
        let rows = Rows { width, values: std::mem::take(x) };
        let normed = self.norm(Rounded::AttnNorm, block, &rows)?;
        let query = self.rotated(Matrix::Query, Rounded::Query, block, &normed)?;
        let key = self.rotated(Matrix::Key, Rounded::Key, block, &normed)?;
        let products = self.products(Matrix::Value, block, &normed);
        let value = self.round(Rounded::Value, block, &products, None)?;
        let mixed = self.attend(block, &query, &key, &value)?;
        let products = self.products(Matrix::Output, block, &mixed);
        *x = self.round(Rounded::AttnAdd, block, &products, Some(&rows.values))?.values;
        Ok(())
    }

    fn rotated(
        &mut self,
        matrix: Matrix,
        op: Rounded,
        block: usize,
        normed: &Rows,
    ) -> Result<Rows, Unprovable> {
        let products = self.products(matrix, block, normed);
        let head_dim = self.public.dims.head_dim;
        let table = &self.public.tables.rotations[usize::from(op == Rounded::Key)];
        let style = self.public.outline.config.rope_style;
        let rotated = products.map_rows(products.width, |position, row| {
            let rotation = table.position(position);
            row.chunks_exact(head_dim)
                .flat_map(|head| model::ops::rope::rotate(head, rotation, style))
                .collect()
        });
        let kept = self.trace.unrotated.get_mut(&matrix).expect("made in the beginning");
        kept[block * products.values.len()..][..products.values.len()].copy_from_slice(&products.values);
        self.round(op, block, &rotated, None)
    }

    fn attend(&mut self, block: usize, query: &Rows, key: &Rows, value: &Rows) -> Result<Rows, Unprovable> {
        let public = self.public;
        let dims = public.dims;
        let (all, dim) = (dims.all_heads(), dims.head_dim);
        let group = dims.heads / dims.kv_heads;
        let shift = public.score_shift[block];
        let first = block * dims.positions * query.width;
        let mut out = Rows { width: query.width, values: Vec::with_capacity(query.values.len()) };
        let mut write = std::mem::take(&mut self.trace);
        let at = |tensors: &mut BTreeMap<Tensor, Vec<i32>>, tensor, place: usize, value: i64| {
            tensors.get_mut(&tensor).expect("made in the beginning")[place] = value as i32;
        };
        let mut farthest = 0;
        let positions: Vec<Vec<Head>> = (0..dims.positions)
            .into_par_iter()
            .map(|position| {
                let head = |head: usize| {
                    let columns = head / group * dim..(head / group + 1) * dim;
                    let own = &query.row(position)[head * dim..(head + 1) * dim];
                    let keys = (0..=position).map(|j| &key.row(j)[columns.clone()]);
                    let values = (0..=position).map(|j| &value.row(j)[columns.clone()]);
                    Head::new(own, keys, values, shift, &public.tables.exp)
                };
                (0..dims.heads).map(head).collect()
            })
            .collect();
        for (position, heads) in positions.into_iter().enumerate() {
            for (head, row) in heads.into_iter().enumerate() {
                let lane = block * dims.heads + head;
                let place = position * all + lane;
                at(&mut write.tensors, Tensor::PeakLow, place, row.peak & ((1 << SCORE_LOW_BITS) - 1));
                at(&mut write.tensors, Tensor::PeakHigh, place, row.peak >> SCORE_LOW_BITS);
                at(&mut write.tensors, Tensor::HalfSum, place, row.sum / 2);
                write.sums[place] = row.sum as i32;
                write.parity[place] = (row.sum % 2) as i32;
                for (j, (distance, low, weight)) in row.cells.iter().enumerate() {
                    let place = (triangle(position) + j) * all + lane;
                    farthest = farthest.max(*distance);
                    at(&mut write.tensors, Tensor::Distance, place, *distance);
                    at(&mut write.tensors, Tensor::Weight, place, *weight);
                    write.score_low[place] = *low as i32;
                }
                at(&mut write.tensors, Tensor::IsPeak, (triangle(position) + row.peak_at) * all + lane, 1);
                for (d, (output, remainder)) in row.outputs.iter().enumerate() {
                    let place = first + position * query.width + head * dim + d;
                    at(&mut write.tensors, Tensor::Mixed, place, *output);
                    write.mixed_low[0][place] = *remainder as i32;
                    write.mixed_low[1][place] = (row.sum - 1 - remainder) as i32;
                    out.values.push(*output);
                }
            }
        }
        self.trace = write;
        if farthest >= 1 << MAX_RANGE_BITS {
            return Err(Unprovable::Range { what: "distances of scores", value: farthest });
        }
        Ok(out)
    }

    fn mlp_half(&mut self, block: usize, x: &mut Vec<i64>) -> Result<(), Unprovable> {
        let width = self.public.dims.width;
        let rows = Rows { width, values: std::mem::take(x) };
        let normed = self.norm(Rounded::MlpNorm, block, &rows)?;
        let products = self.products(Matrix::Gate, block, &normed);
        let gate = self.round(Rounded::Gate, block, &products, None)?;
        let up = self.products(Matrix::Up, block, &normed);
        let inner = rounded_geometry(&self.public.dims, Rounded::Gate).inner;
        let table = &self.public.tables.activations[&self.public.gate_exponent(block)];
        let first = block * gate.count() * inner;
        let mut gated = Rows { width: gate.width, values: Vec::with_capacity(gate.values.len()) };
        let mut activated = std::mem::take(self.tensor(Tensor::Activated));
        for (index, (g, u)) in gate.values.iter().zip(&up.values).enumerate() {
            let Ok(narrow) = i16::try_from(*g) else {
                return Err(Unprovable::Range { what: "the gate", value: *g });
            };
            let f = i64::from(table[usize::from((narrow as u16) ^ 0x8000)]);
            let place = first + index / gate.width * inner + index % gate.width;
            activated[place] = f as i32;
            self.trace.up[place] = *u;
            gated.values.push(f * u);
        }
        *self.tensor(Tensor::Activated) = activated;
        let product = self.round(Rounded::Product, block, &gated, None)?;
        let products = self.products(Matrix::Down, block, &product);
        *x = self.round(Rounded::MlpAdd, block, &products, Some(&rows.values))?.values;
        Ok(())
    }

    fn logits(&mut self, x: &[i64]) -> Result<(), Unprovable> {
        let dims = self.public.dims;
        let values = x[dims.first_sampled * dims.width..][..dims.sampled * dims.width].to_vec();
        let rows = Rows { width: dims.width, values };
        let normed = self.norm(Rounded::FinalNorm, 0, &rows)?;
        let logits = self.products(Matrix::Logits, 0, &normed);
        for (index, row) in logits.iter().enumerate() {
            let peak = row.iter().copied().max().unwrap_or(0);
            let at = row.iter().position(|logit| *logit == peak).unwrap_or(0);
            let chosen = self.public.claim.output_ids[index] as usize;
            self.tensor(Tensor::LogitPeakLow)[index] = (peak & ((1 << SCORE_LOW_BITS) - 1)) as i32;
            self.tensor(Tensor::LogitPeakHigh)[index] = (peak >> SCORE_LOW_BITS) as i32;
            match self.public.sampler.as_ref() {
                Some(sampler) => self.drawn(index, row, sampler, peak, at)?,
                None if at == chosen => self.greedy(index, row, peak)?,
                None => return Err(Unprovable::Output { index }),
            }
        }
        Ok(())
    }

    fn greedy(&mut self, index: usize, row: &[i64], peak: i64) -> Result<(), Unprovable> {
        let inner = self.public.dims.padded(self.public.dims.vocab);
        let low_bits = self.public.logit_low;
        let chosen = self.public.claim.output_ids[index] as usize;
        let mut highest = 0;
        for (id, logit) in row.iter().enumerate() {
            let distance = peak - logit - i64::from(id < chosen);
            highest = highest.max(distance >> low_bits);
            self.trace.logit_low[index * inner + id] = (distance & ((1 << low_bits) - 1)) as i32;
            self.tensor(Tensor::LogitHigh)[index * inner + id] = (distance >> low_bits) as i32;
        }
        in_table("distances of logits", highest)
    }

    fn drawn(
        &mut self,
        index: usize,
        row: &[i64],
        sampler: &Sampler,
        peak: i64,
        at: usize,
    ) -> Result<(), Unprovable> {
        let inner = self.public.dims.padded(self.public.dims.vocab);
        let chosen = self.public.claim.output_ids[index] as usize;
        let mut draw = Draw { peak: at as u32, ..Draw::default() };
        let mut farthest = 0;
        for (id, logit) in row.iter().chain(std::iter::repeat_n(&peak, inner - row.len())).enumerate() {
            let scaled = (peak - logit) * sampler.factor as i64;
            let distance = scaled >> sampler.shift;
            let remainder = scaled - (distance << sampler.shift);
            farthest = farthest.max(distance);
            let weight = self.public.tables.sampler.get(distance as usize).copied().unwrap_or(0);
            let place = index * inner + id;
            self.trace.logit_low[place] = (remainder & ((1 << sampler.low) - 1)) as i32;
            self.tensor(Tensor::LogitHigh)[place] = (remainder >> sampler.low) as i32;
            self.tensor(Tensor::SampleDistance)[place] = distance as i32;
            self.tensor(Tensor::SampleWeight)[place] = weight as i32;
            let weight = u64::from(weight);
            match id.cmp(&chosen) {
                _ if id >= row.len() => {}
                Ordering::Less => draw.before += weight,
                Ordering::Equal => draw.weight = weight,
                Ordering::Greater => {}
            }
            draw.total += if id < row.len() { weight } else { 0 };
        }
        self.trace.draws.push(draw);
        in_table("distances of logits", farthest)
    }
}

/// Whether a table covers a value.
fn in_table(what: &'static str, value: i64) -> Result<(), Unprovable> {
    if value >= 1 << MAX_RANGE_BITS { Err(Unprovable::Range { what, value }) } else { Ok(()) }
}

/// One head at one position.
struct Head {
    peak: i64,
    peak_at: usize,
    sum: i64,
    /// Of each key: distance, its remainder, weight.
    cells: Vec<(i64, i64, i64)>,
    /// Of each element: output, remainder.
    outputs: Vec<(i64, i64)>,
}

impl Head {
    fn new<'r>(
        query: &[i64],
        keys: impl Iterator<Item = &'r [i64]>,
        values: impl Iterator<Item = &'r [i64]>,
        shift: u32,
        exp: &[u32],
    ) -> Self {
        let scores: Vec<i64> = keys.map(|key| query.iter().zip(key).map(|(a, b)| a * b).sum()).collect();
        let peak = scores.iter().copied().max().unwrap_or(0);
        let peak_at = scores.iter().position(|score| *score == peak).unwrap_or(0);
        let cells: Vec<(i64, i64, i64)> = scores
            .iter()
            .map(|score| {
                let difference = peak - score;
                let distance = difference >> shift;
                let weight = usize::try_from(distance).ok().and_then(|d| exp.get(d)).copied().unwrap_or(0);
                (distance, difference - (distance << shift), i64::from(weight))
            })
            .collect();
        let sum: i64 = cells.iter().map(|(_, _, weight)| weight).sum();
        let mut mixed = vec![0_i64; query.len()];
        for (value, (_, _, weight)) in values.zip(&cells) {
            for (mixed, v) in mixed.iter_mut().zip(value) {
                *mixed += weight * v;
            }
        }
        let outputs = mixed
            .into_iter()
            .map(|n| {
                let n = n + sum / 2;
                (n.div_euclid(sum), n.rem_euclid(sum))
            })
            .collect();
        Self { peak, peak_at, sum, cells, outputs }
    }
}
