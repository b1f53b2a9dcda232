//! The forward pass over a batch of sequence parts: decode, prefill and any mixture of them. Reads as the
//! transformer it runs. The result never depends on how tokens are grouped, split or ordered.
//!
//! Few tokens are worked on together, with the matrices' panels split among threads; many are cut into tiles
//! of tokens, one thread each.

use std::sync::atomic::{AtomicU32, Ordering};

use model::ops::attention::first_key;
use model::ops::embedding::embedding;
use model::ops::requantize::{ACTIVATION_LIMIT_BITS, RESIDUAL_LIMIT_BITS};
use model::recipe::RotationKind;
use model::tables::SHORT_CONTEXT;
use rayon::prelude::*;

use crate::cache::KvCache;
use crate::engine::Engine;
use crate::kernels::{PackedActivations, PackedMatrix, TileBuffer, matmul};
use crate::ops::attention::{AttentionRule, attention};
use crate::ops::hadamard::{GateRule, gated_product};
use crate::ops::requantize::requantize;
use crate::ops::residual;
use crate::ops::rms_norm::Norm;
use crate::ops::rope::rotate_requantize;
use crate::packed::{PackedBlock, Projection};

/// Up to this many tokens are worked on together.
const TOGETHER: usize = 16;
/// Tokens per tile otherwise, at most and at least.
const TILE_MAX: usize = 64;
const TILE_MIN: usize = 8;
/// Keys times query elements from which on attention heads are shared among threads.
const SHARED_ATTENTION: usize = 1 << 19;
/// Rows whose logits are computed together.
const LOGIT_ROWS: usize = 16;

/// The next tokens of one sequence.
#[derive(Debug)]
pub struct Chunk<'c> {
    /// What came before them.
    pub cache: &'c mut KvCache,
    /// The tokens; they must fit the cache.
    pub ids: &'c [u32],
    /// Logits are wanted from this token of the chunk on; `ids.len()` for none.
    pub logits_from: usize,
}

/// Where a row of logits belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the chunk in the batch.
    pub chunk: usize,
    /// Position in the sequence.
    pub position: usize,
}

/// Result of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward<R> {
    /// What `visit` returned, in the order of chunks and positions.
    pub results: Vec<R>,
    /// Of each chunk: the first position whose value left the proven range. Nothing at or after it is in
    /// `results`, and its cache is of no further use.
    pub out_of_range: Vec<Option<u32>>,
}

impl Engine {
    /// Runs the batch and calls `visit` with the logits of every wanted position, on any thread.
    ///
    /// # Panics
    /// If a chunk does not fit its cache or an id is outside the vocabulary; callers check both.
    pub fn forward<R: Send>(
        &self,
        chunks: &mut [Chunk<'_>],
        visit: impl Fn(Place, &mut [i64]) -> R + Sync,
    ) -> Forward<R> {
        self.threads().install(|| {
            let mut pass = Pass::new(self, chunks);
            for index in 0..self.blocks().len() {
                pass.block(index, chunks);
            }
            for chunk in chunks.iter_mut() {
                chunk.cache.advance(chunk.ids.len());
            }
            pass.finish(chunks, &visit)
        })
    }
}

/// One pass over all blocks.
struct Pass<'e> {
    engine: &'e Engine,
    places: Vec<Place>,
    /// Tokens per tile.
    tile: usize,
    /// (token, width): the residual stream.
    x: Vec<i32>,
    /// (token, query width)
    q: Vec<i32>,
    /// (token, key/value width)
    k: Vec<i32>,
    /// (token, key/value width)
    v: Vec<i32>,
    /// Of each chunk: the first position out of range, or `u32::MAX`.
    out_of_range: Vec<AtomicU32>,
}

/// One thread's memory, kept between tiles.
#[derive(Default)]
struct Scratch {
    activations: PackedActivations,
    normed: Vec<i16>,
    wide: Vec<i32>,
    normed_row: Vec<i32>,
    row: Vec<i64>,
    second_row: Vec<i64>,
    first: Products,
    second: Products,
}

thread_local! {
    static SCRATCH: std::cell::Cell<Option<Box<Scratch>>> = const { std::cell::Cell::new(None) };
    static BUFFER: std::cell::Cell<Option<Box<TileBuffer>>> = const { std::cell::Cell::new(None) };
}

/// Lends this thread's scratch; a nested call (a stolen task) gets a fresh one.
fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

fn with_buffer<R>(f: impl FnOnce(&mut TileBuffer) -> R) -> R {
    let mut buffer = BUFFER.take().unwrap_or_default();
    let result = f(&mut buffer);
    BUFFER.set(Some(buffer));
    result
}

/// Accumulators of one matrix: (panel, token, 16 rows).
#[derive(Default)]
struct Products {
    tokens: usize,
    panels: Vec<[i64; 16]>,
}

impl Products {
    /// Copies one token's accumulators together.
    fn row<'r>(&self, token: usize, rows: usize, out: &'r mut Vec<i64>) -> &'r mut [i64] {
        out.clear();
        for panel in self.panels.iter().skip(token).step_by(self.tokens) {
            out.extend_from_slice(panel);
        }
        &mut out[..rows]
    }
}

impl<'e> Pass<'e> {
    fn new(engine: &'e Engine, chunks: &[Chunk<'_>]) -> Self {
        let config = &engine.model().config;
        let mut places = Vec::new();
        let mut x = Vec::new();
        for (chunk, part) in chunks.iter().enumerate() {
            assert!(part.ids.len() <= part.cache.room(), "the chunk fits its cache");
            for (offset, id) in part.ids.iter().enumerate() {
                places.push(Place { chunk, position: part.cache.len() + offset });
                let recipe = &engine.model().recipe;
                let residual = engine.model().formats.residual;
                let row = embedding(&engine.model().tensors.embedding, *id, residual, recipe.embedding_scale);
                x.extend(row.iter().map(|v| *v as i32));
            }
        }
        let tokens = places.len();
        let tile = if tokens <= TOGETHER {
            tokens.max(1)
        } else {
            tokens.div_ceil(2 * rayon::current_num_threads()).clamp(TILE_MIN, TILE_MAX)
        };
        let (query_width, kv_width) = (config.query_width() as usize, config.kv_width() as usize);
        Self {
            engine,
            places,
            tile,
            x,
            q: vec![0; tokens * query_width],
            k: vec![0; tokens * kv_width],
            v: vec![0; tokens * kv_width],
            out_of_range: chunks.iter().map(|_| AtomicU32::new(u32::MAX)).collect(),
        }
    }

    fn block(&mut self, index: usize, chunks: &mut [Chunk<'_>]) {
        let config = &self.engine.model().config;
        let (width, query_width, kv_width) =
            (config.width as usize, config.query_width() as usize, config.kv_width() as usize);
        let tile = self.tile;
        let stage = Stage {
            engine: self.engine,
            index,
            block: &self.engine.blocks()[index],
            places: &self.places,
            out_of_range: &self.out_of_range,
            together: self.places.len() <= TOGETHER,
        };
        let q = self.q.par_chunks_mut(tile * query_width);
        let kv = self.k.par_chunks_mut(tile * kv_width).zip(self.v.par_chunks_mut(tile * kv_width));
        let x = self.x.par_chunks(tile * width);
        x.zip(q).zip(kv).enumerate().for_each(|(number, ((x, q), (k, v)))| {
            with_scratch(|scratch| stage.project(number * tile, x, q, k, v, scratch));
        });
        for ((place, k), v) in self.places.iter().zip(self.k.chunks(kv_width)).zip(self.v.chunks(kv_width)) {
            chunks[place.chunk].cache.append(index, k, v);
        }
        let caches: Vec<&KvCache> = chunks.iter().map(|c| &*c.cache).collect();
        let x = self.x.par_chunks_mut(tile * width);
        let q = self.q.par_chunks(tile * query_width);
        x.zip(q).enumerate().for_each(|(number, (x, q))| {
            with_scratch(|scratch| {
                stage.attend(number * tile, q, &caches, x, scratch);
                stage.mlp(number * tile, x, scratch);
            });
        });
    }

    fn finish<R: Send>(
        self,
        chunks: &[Chunk<'_>],
        visit: &(impl Fn(Place, &mut [i64]) -> R + Sync),
    ) -> Forward<R> {
        let engine = self.engine;
        let width = engine.model().config.width as usize;
        let limit = |chunk: usize| self.out_of_range[chunk].load(Ordering::Relaxed);
        let mut first = vec![0; chunks.len()];
        let mut token = 0;
        for (chunk, part) in chunks.iter().enumerate() {
            first[chunk] = token + part.logits_from;
            token += part.ids.len();
        }
        let wanted: Vec<usize> = (0..self.places.len())
            .filter(|t| {
                let place = self.places[*t];
                *t >= first[place.chunk] && place.position < limit(place.chunk) as usize
            })
            .collect();
        let mut results = Vec::with_capacity(wanted.len());
        with_scratch(|scratch| {
            for tokens in wanted.chunks(LOGIT_ROWS) {
                scratch.normed.resize(tokens.len() * width, 0);
                for (out, t) in scratch.normed.chunks_mut(width).zip(tokens) {
                    engine.output_norm().apply(&self.x[t * width..][..width], out, |v| v as i16);
                }
                scratch.activations.pack_narrow(&scratch.normed, width);
                linear(engine, engine.output(), &scratch.activations, true, &mut scratch.first);
                let rows = engine.output().rows();
                let products = &scratch.first;
                let visited = tokens.par_iter().enumerate().map(|(row, t)| {
                    let mut logits = Vec::with_capacity(products.panels.len() / products.tokens * 16);
                    visit(self.places[*t], products.row(row, rows, &mut logits))
                });
                results.par_extend(visited);
            }
        });
        let out_of_range = (0..chunks.len()).map(|c| Some(limit(c)).filter(|p| *p != u32::MAX)).collect();
        Forward { results, out_of_range }
    }
}

/// One block's work on one tile of tokens.
struct Stage<'s> {
    engine: &'s Engine,
    index: usize,
    block: &'s PackedBlock,
    places: &'s [Place],
    out_of_range: &'s [AtomicU32],
    together: bool,
}

impl Stage<'_> {
    /// Norm, queries, keys, values, rotation.
    fn project(
        &self,
        start: usize,
        x: &[i32],
        q: &mut [i32],
        k: &mut [i32],
        v: &mut [i32],
        scratch: &mut Scratch,
    ) {
        self.pack_normed(&self.block.attn_norm, x, scratch);
        self.rotated(start, &self.block.q, true, q, scratch);
        self.rotated(start, &self.block.k, false, k, scratch);
        self.linear(&self.block.v.weights, scratch, false);
        let rows = self.block.v.weights.rows();
        for (t, out) in v.chunks_exact_mut(rows).enumerate() {
            let acc = scratch.first.row(t, rows, &mut scratch.row);
            add_bias(acc, self.block.v.bias.as_deref());
            let kept = requantize(acc, self.block.v.shift, ACTIVATION_LIMIT_BITS, out);
            self.report(start + t, kept);
        }
    }

    fn rotated(
        &self,
        start: usize,
        projection: &Projection,
        query: bool,
        out: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let config = &self.engine.model().config;
        let kind = RotationKind { local: self.block.window.is_some(), query };
        let table = self.engine.rotation(kind);
        self.linear(&projection.weights, scratch, false);
        let rows = projection.weights.rows();
        for (t, out) in out.chunks_exact_mut(rows).enumerate() {
            let acc = scratch.first.row(t, rows, &mut scratch.row);
            add_bias(acc, projection.bias.as_deref());
            if let Some((shift, norm)) = &projection.norm {
                let kept = requantize(acc, *shift, ACTIVATION_LIMIT_BITS, out);
                self.report(start + t, kept);
                let dim = config.head_dim as usize;
                for (acc, raw) in acc.chunks_exact_mut(dim).zip(out.chunks_exact(dim)) {
                    norm.apply(raw, acc, |v| v);
                }
            }
            let rotation = table.position(self.places[start + t].position);
            let kept = rotate_requantize(
                acc,
                rotation,
                config.rope_style,
                projection.shift,
                ACTIVATION_LIMIT_BITS,
                out,
            );
            self.report(start + t, kept);
        }
    }

    /// Attention, output projection, residual.
    fn attend(&self, start: usize, q: &[i32], caches: &[&KvCache], x: &mut [i32], scratch: &mut Scratch) {
        let config = &self.engine.model().config;
        let (dim, query_width) = (config.head_dim as usize, config.query_width() as usize);
        let group = (config.heads / config.kv_heads) as usize;
        scratch.wide.clear();
        scratch.wide.resize(q.len(), 0);
        let attend_head = |(number, (query, out)): (usize, (&[i32], &mut [i32]))| {
            let (t, head) = (number / config.heads as usize, number % config.heads as usize);
            let place = self.places[start + t];
            let keys = first_key(place.position, self.block.window)..place.position + 1;
            let table = self.engine.softmax_table(keys.len() > SHORT_CONTEXT);
            let rule = AttentionRule { shift: self.block.score_shift, table };
            let head = caches[place.chunk].head(self.index, head / group);
            attention(self.engine.isa(), query, head, keys, rule, out);
        };
        let longest = self.places.iter().map(|place| place.position).max().unwrap_or(0);
        if self.together && longest * q.len() > SHARED_ATTENTION {
            q.par_chunks_exact(dim)
                .zip(scratch.wide.par_chunks_exact_mut(dim))
                .enumerate()
                .for_each(attend_head);
        } else {
            q.chunks_exact(dim).zip(scratch.wide.chunks_exact_mut(dim)).enumerate().for_each(attend_head);
        }
        scratch.activations.pack(&scratch.wide, query_width);
        self.linear(&self.block.o, scratch, false);
        self.add_residual(start, self.block.o_shift, self.block.post_attn_norm.as_ref(), x, scratch);
    }

    /// Norm, gate and up, gated product, down projection, residual.
    fn mlp(&self, start: usize, x: &mut [i32], scratch: &mut Scratch) {
        let block = self.block;
        self.pack_normed(&block.ffn_norm, x, scratch);
        self.linear(&block.gate, scratch, false);
        self.linear(&block.up, scratch, true);
        let rows = block.gate.rows();
        let rule = GateRule {
            table: self.engine.activation_table(block.gate_exponent),
            gate_shift: block.gate_shift,
            gate_limit_bits: block.gate_limit_bits,
            product_shift: block.product_shift,
        };
        let tokens = scratch.first.tokens;
        scratch.wide.resize(tokens * rows, 0);
        for (t, out) in scratch.wide.chunks_exact_mut(rows).enumerate() {
            let gate = scratch.first.row(t, rows, &mut scratch.row);
            let up = scratch.second.row(t, rows, &mut scratch.second_row);
            let kept = gated_product(gate, up, rule, out);
            self.report(start + t, kept);
        }
        scratch.activations.pack(&scratch.wide, rows);
        self.linear(&block.down, scratch, false);
        self.add_residual(start, block.down_shift, block.post_ffn_norm.as_ref(), x, scratch);
    }

    fn pack_normed(&self, norm: &Norm, x: &[i32], scratch: &mut Scratch) {
        let width = self.engine.model().config.width as usize;
        scratch.normed.resize(x.len(), 0);
        for (x, out) in x.chunks_exact(width).zip(scratch.normed.chunks_exact_mut(width)) {
            // `output_exponent` leaves no value beyond 16 bits.
            norm.apply(x, out, |v| v as i16);
        }
        scratch.activations.pack_narrow(&scratch.normed, width);
    }

    fn add_residual(
        &self,
        start: usize,
        shift: i32,
        post: Option<&Norm>,
        x: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let width = self.engine.model().config.width as usize;
        for (t, x) in x.chunks_exact_mut(width).enumerate() {
            let acc = scratch.first.row(t, width, &mut scratch.row);
            let kept = match post {
                None => residual::add(x, acc, shift),
                Some(norm) => {
                    scratch.normed_row.resize(width, 0);
                    let kept = requantize(acc, shift, RESIDUAL_LIMIT_BITS, &mut scratch.normed_row);
                    self.report(start + t, kept);
                    norm.apply(&scratch.normed_row, acc, |v| v);
                    residual::add(x, acc, 0)
                }
            };
            self.report(start + t, kept);
        }
    }

    fn linear(&self, weights: &PackedMatrix, scratch: &mut Scratch, second: bool) {
        let out = if second { &mut scratch.second } else { &mut scratch.first };
        linear(self.engine, weights, &scratch.activations, self.together, out);
    }

    fn report(&self, token: usize, in_range: bool) {
        if !in_range {
            let place = self.places[token];
            let position = u32::try_from(place.position).expect("contexts are below 2^32");
            self.out_of_range[place.chunk].fetch_min(position, Ordering::Relaxed);
        }
    }
}

fn add_bias(acc: &mut [i64], bias: Option<&[i64]>) {
    if let Some(bias) = bias {
        for (acc, bias) in acc.iter_mut().zip(bias) {
            *acc += bias;
        }
    }
}

/// All panels of one matrix, on this thread or on all.
fn linear(engine: &Engine, weights: &PackedMatrix, x: &PackedActivations, split: bool, out: &mut Products) {
    /// Panels per task: enough work to be worth a hand-over.
    const PANELS_PER_TASK: usize = 12;
    /// The kernels take expanded panels in pairs; more would push the products out of the first cache.
    const PANELS_AT_ONCE: usize = 2;
    let tokens = x.tokens();
    out.tokens = tokens;
    out.panels.resize(weights.panels() * tokens, [0; 16]);
    let task = |(number, out): (usize, &mut [[i64; 16]]), per_task: usize| {
        let start = number * per_task;
        let panels = start..start + out.len() / tokens;
        with_buffer(|buffer| {
            out.copy_from_slice(matmul(engine.isa(), weights, panels, x, 0..tokens, buffer));
        });
    };
    if split {
        let per_task = weights.panels().div_ceil(4 * rayon::current_num_threads()).max(PANELS_PER_TASK);
        let tasks = out.panels.par_chunks_mut(per_task * tokens).enumerate();
        tasks.for_each(|item| task(item, per_task));
    } else {
        out.panels
            .chunks_mut(PANELS_AT_ONCE * tokens)
            .enumerate()
            .for_each(|item| task(item, PANELS_AT_ONCE));
    }
}
