//! The forward pass over a batch of sequence parts: decode, prefill and any mixture of them. Reads as the
//! transformer it runs. The result never depends on how tokens are grouped, split or ordered.
//!
//! Few tokens are worked on together, with the matrices' panels split among threads; many are cut into tiles
//! of tokens, one thread each.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};

use model::ops::embedding::embedding;
use protocol::trace::TraceOperation;
use rayon::prelude::*;

use self::linear::{Order, multiply};
use self::stage::{Scratch, Stage};
use crate::cache::KvCache;
use crate::engine::Engine;
use crate::trace::{NoTrace, TraceSink};

mod linear;
mod stage;

/// Up to this many tokens are worked on together.
const TOGETHER: usize = 16;
/// Tokens per tile otherwise, at most: their activations stay in the second cache.
const TILE_MAX: usize = 96;
/// Tokens that a kernel takes at a time.
const TILE_STEP: usize = 8;
/// So that a thread that is late can hand over work.
const TILES_PER_THREAD: usize = 2;
/// As `TILE_MAX` for logits, of which a row takes much more memory.
const LOGIT_TILE_MAX: usize = 32;

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
        self.forward_traced(chunks, &NoTrace, visit)
    }

    /// As [`Self::forward`]; `trace` is given the exact numbers of the blocks and positions that it wants.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_traced<R: Send, S: TraceSink>(
        &self,
        chunks: &mut [Chunk<'_>],
        trace: &S,
        visit: impl Fn(Place, &mut [i64]) -> R + Sync,
    ) -> Forward<R> {
        self.threads().install(|| {
            let mut pass = Pass::new(self, chunks, trace);
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
struct Pass<'e, S> {
    engine: &'e Engine,
    trace: &'e S,
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

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static LOGITS: Cell<Vec<i64>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's scratch; a nested call (a stolen task) gets a fresh one.
fn with_scratch<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// Tokens per tile, at most about `max`: whole runs of what a kernel takes, and as many tiles for one thread as
/// for the next.
fn tile_size(tokens: usize, max: usize) -> usize {
    let threads = rayon::current_num_threads();
    let tiles = threads * tokens.div_ceil(threads * max).max(TILES_PER_THREAD);
    tokens.div_ceil(tiles).next_multiple_of(TILE_STEP)
}

/// First, last, second, last but one, ..: late tiles see more keys, and threads that take neighbours share the
/// work evenly.
fn early_with_late<T>(tiles: Vec<T>) -> Vec<T> {
    let mut tiles = VecDeque::from(tiles);
    let mut ordered = Vec::with_capacity(tiles.len());
    while let Some(early) = tiles.pop_front() {
        ordered.push(early);
        ordered.extend(tiles.pop_back());
    }
    ordered
}

impl<'e, S: TraceSink> Pass<'e, S> {
    fn new(engine: &'e Engine, chunks: &[Chunk<'_>], trace: &'e S) -> Self {
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
        let tile = if tokens <= TOGETHER { tokens.max(1) } else { tile_size(tokens, TILE_MAX) };
        let (query_width, kv_width) = (config.query_width() as usize, config.kv_width() as usize);
        Self {
            engine,
            trace,
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
            trace: Some(self.trace).filter(|trace| trace.wants(index)),
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
        let mut start = 0;
        for chunk in chunks.iter_mut() {
            let range = start..start + chunk.ids.len();
            chunk.cache.append(
                index,
                &self.k[range.start * kv_width..range.end * kv_width],
                &self.v[range.start * kv_width..range.end * kv_width],
            );
            start = range.end;
        }
        let caches: Vec<&KvCache> = chunks.iter().map(|c| &*c.cache).collect();
        let tiles = self.x.chunks_mut(tile * width).zip(self.q.chunks(tile * query_width)).enumerate();
        early_with_late(tiles.collect()).into_par_iter().for_each(|(number, (x, q))| {
            with_scratch(|scratch| {
                stage.attend(number * tile, q, &caches, x, scratch);
                stage.mlp(number * tile, x, scratch);
            });
        });
    }

    /// Records the last residuals, and the logits of whatever is visited.
    fn visit_recorded<R: Send>(
        &self,
        visit: &(impl Fn(Place, &mut [i64]) -> R + Sync),
    ) -> impl Fn(Place, &mut [i64]) -> R + Sync {
        let end = self.engine.blocks().len();
        let width = self.engine.model().config.width as usize;
        let trace = Some(self.trace).filter(|trace| S::IS_ON && trace.wants(end));
        if let Some(trace) = trace {
            for (place, x) in self.places.iter().zip(self.x.chunks_exact(width)) {
                trace.record_residual(end, *place, x);
            }
        }
        move |place: Place, logits: &mut [i64]| {
            if let Some(trace) = trace {
                trace.record(end, TraceOperation::Logits, place, 0, logits);
            }
            visit(place, logits)
        }
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
        let visit = self.visit_recorded(visit);
        // As in the blocks: few rows share every matrix, many are cut into tiles.
        let split = wanted.len() <= TOGETHER;
        let order = Order { isa: engine.isa(), split, unit: 1 };
        let rows = engine.output().rows();
        let multiply_tile = |tokens: &[usize], scratch: &mut Scratch| {
            scratch.normed.resize(tokens.len() * width, 0);
            for (out, t) in scratch.normed.chunks_mut(width).zip(tokens) {
                engine.output_norm().apply(&self.x[t * width..][..width], out, |v| v as i16);
            }
            let Scratch { activations, normed, products: [products, _], .. } = scratch;
            activations.pack_narrow(engine.isa(), normed, width);
            multiply(order, engine.output(), 0..engine.output().panels(), activations, products);
        };
        let results = if split {
            with_scratch(|scratch| {
                multiply_tile(&wanted, scratch);
                let products = &scratch.products[0];
                let visit_row = |(row, t): (usize, &usize)| {
                    let mut logits = LOGITS.take();
                    products.copy_row(row, &mut logits);
                    let result = visit(self.places[*t], &mut logits[..rows]);
                    LOGITS.set(logits);
                    result
                };
                wanted.par_iter().enumerate().map(visit_row).collect()
            })
        } else {
            let visit_tile = |tokens: &[usize]| {
                with_scratch(|scratch| {
                    multiply_tile(tokens, scratch);
                    let products = &mut scratch.products[0];
                    let visit_row =
                        |(row, t): (usize, &usize)| visit(self.places[*t], &mut products.row(row)[..rows]);
                    tokens.iter().enumerate().map(visit_row).collect::<Vec<R>>()
                })
            };
            wanted.par_chunks(tile_size(wanted.len(), LOGIT_TILE_MAX)).flat_map_iter(visit_tile).collect()
        };
        let out_of_range = (0..chunks.len()).map(|c| Some(limit(c)).filter(|p| *p != u32::MAX)).collect();
        Forward { results, out_of_range }
    }
}
