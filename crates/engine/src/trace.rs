//! The execution trace: the exact numbers inside a forward pass, of chosen blocks and positions, on request. Recording
//! never changes a number, and costs nothing where it is not asked for.

use std::sync::Mutex;

use model::Model;
use model::ops::attention::first_key;
use protocol::trace::TraceOperation;

use crate::Engine;
use crate::cache::KvCache;
use crate::execute::{Chunk, Place};
use crate::ops::attention::Scores;

/// Who is given the numbers of a forward pass. Chosen once per pass, outside of all loops.
pub trait TraceSink: Sync {
    /// False: the compiler leaves all of it out.
    const IS_ON: bool;
    /// Whether the numbers of a block are wanted; the number of blocks stands for what is behind the last one.
    fn wants(&self, block: usize) -> bool;
    /// Some numbers of an operation at a place, from its `from`-th on. Called on any thread.
    fn record(&self, block: usize, operation: TraceOperation, place: Place, from: usize, values: &[i64]);
    /// The residual stream that enters a block.
    fn record_residual(&self, block: usize, place: Place, x: &[i32]);
    /// Scores of one head, from the `from`-th of the place on.
    fn record_scores(&self, block: usize, place: Place, from: usize, scores: Scores<'_>);
}

/// Records nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoTrace;

impl TraceSink for NoTrace {
    const IS_ON: bool = false;
    fn wants(&self, _: usize) -> bool {
        false
    }
    fn record(&self, _: usize, _: TraceOperation, _: Place, _: usize, _: &[i64]) {}
    fn record_residual(&self, _: usize, _: Place, _: &[i32]) {}
    fn record_scores(&self, _: usize, _: Place, _: usize, _: Scores<'_>) {}
}

/// Numbers of one operation, position after position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationTrace {
    /// All of them.
    pub values: Vec<i64>,
    /// Where each position's begin, and behind them where the last one's end.
    pub starts: Vec<usize>,
}

/// Numbers of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTrace {
    /// The block; the number of blocks for what is behind the last one.
    pub block: usize,
    /// As [`TraceOperation::BLOCK`], or [`TraceOperation::HEAD`]; the residual alone where the block was not chosen, but
    /// the one before it.
    pub operations: Vec<OperationTrace>,
}

/// What was recorded of consecutive positions of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkTrace {
    /// The first position.
    pub start: usize,
    /// Positions.
    pub count: usize,
    /// Chosen blocks in order.
    pub blocks: Vec<BlockTrace>,
}

impl OperationTrace {
    fn new(widths: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for width in widths {
            end += width;
            starts.push(end);
        }
        Self { values: vec![0; end], starts }
    }

    /// Numbers of one position, counted from the chunk's first; none if it has none.
    #[must_use]
    pub fn row(&self, index: usize) -> &[i64] {
        let bounds = self.starts.get(index).zip(self.starts.get(index + 1));
        bounds.and_then(|(start, end)| self.values.get(*start..*end)).unwrap_or(&[])
    }

    fn rows_mut(&mut self) -> Vec<LockedRow<'_>> {
        let mut rest = self.values.as_mut_slice();
        let widths = self.starts.windows(2).map(|pair| pair[1] - pair[0]);
        let mut rows = Vec::with_capacity(self.starts.len());
        for width in widths {
            let (row, behind) = rest.split_at_mut(width);
            rows.push(Mutex::new(row));
            rest = behind;
        }
        rows
    }
}

impl BlockTrace {
    /// The operations of block `block` of a model with `blocks`.
    #[must_use]
    pub fn operations_of(block: usize, blocks: usize) -> &'static [TraceOperation] {
        if block < blocks { &TraceOperation::BLOCK } else { &TraceOperation::HEAD }
    }
}

/// How many numbers an operation has at a position.
#[must_use]
pub fn width(model: &Model, block: usize, operation: TraceOperation, position: usize) -> usize {
    let config = &model.config;
    let width = match operation {
        TraceOperation::Residual | TraceOperation::Output | TraceOperation::Down => config.width,
        TraceOperation::Query | TraceOperation::Weighted => config.query_width(),
        TraceOperation::Key | TraceOperation::Value => config.kv_width(),
        TraceOperation::Gate | TraceOperation::Up => config.ff,
        TraceOperation::Logits => config.vocab,
        TraceOperation::Scores => {
            let keys = position + 1 - first_key(position, model.recipe.window(block));
            return keys * config.heads as usize;
        }
    };
    width as usize
}

/// One position's numbers of one operation, written by whichever thread has them.
type LockedRow<'t> = Mutex<&'t mut [i64]>;

/// A recorder's memory: for each chosen block and operation, one row per position.
struct Recorder<'t> {
    start: usize,
    /// (block, operation, position)
    rows: Vec<Option<Vec<Vec<LockedRow<'t>>>>>,
}

impl Recorder<'_> {
    fn with_row(&self, block: usize, operation: usize, place: Place, write: impl FnOnce(&mut [i64])) {
        let rows = self.rows.get(block).and_then(Option::as_ref).and_then(|rows| rows.get(operation));
        let row = place.position.checked_sub(self.start).and_then(|index| rows?.get(index));
        if let Some(row) = row {
            write(&mut row.lock().expect("no thread panics while it copies"));
        }
    }
}

/// Where an operation stands among those of its block.
fn index_of(operation: TraceOperation) -> usize {
    if operation == TraceOperation::Logits { 1 } else { operation as usize }
}

impl TraceSink for Recorder<'_> {
    const IS_ON: bool = true;

    fn wants(&self, block: usize) -> bool {
        self.rows.get(block).is_some_and(Option::is_some)
    }

    fn record(&self, block: usize, operation: TraceOperation, place: Place, from: usize, values: &[i64]) {
        self.with_row(block, index_of(operation), place, |row| {
            // The last slice of a matrix may hold rows of padding.
            let take = values.len().min(row.len() - from);
            row[from..from + take].copy_from_slice(&values[..take]);
        });
    }

    fn record_residual(&self, block: usize, place: Place, x: &[i32]) {
        self.with_row(block, index_of(TraceOperation::Residual), place, |row| {
            for (row, x) in row.iter_mut().zip(x) {
                *row = i64::from(*x);
            }
        });
    }

    fn record_scores(&self, block: usize, place: Place, from: usize, scores: Scores<'_>) {
        self.with_row(block, index_of(TraceOperation::Scores), place, |row| {
            let row = &mut row[from..];
            match scores {
                Scores::Narrow(scores) => {
                    for (row, score) in row.iter_mut().zip(scores) {
                        *row = i64::from(*score);
                    }
                }
                Scores::Wide(scores) => row[..scores.len()].copy_from_slice(scores),
            }
        });
    }
}

/// Goes through the tokens of one sequence again and gives its trace, chunk after chunk. The engine is exact, so these
/// are the numbers of the run that is in question, whoever ran it and however it was batched.
pub struct Tracer<'e> {
    engine: &'e Engine,
    cache: KvCache,
    ids: Vec<u32>,
    logits_from: usize,
    chunk: usize,
    /// Block, and whether all of it is wanted.
    blocks: Vec<(usize, bool)>,
    /// Whether a value left its range: behind that all logits are zeros, however the tokens are cut into chunks.
    has_left: bool,
}

impl<'e> Tracer<'e> {
    /// The trace of `ids`, logits from position `logits_from` on, `chunk` tokens at a time, of these blocks (the number
    /// of blocks for what is behind the last one), and of the residuals that leave them.
    #[must_use]
    pub fn new(engine: &'e Engine, ids: &[u32], logits_from: usize, chunk: usize, blocks: &[usize]) -> Self {
        let (cache, chunk) = (engine.new_cache(), chunk.max(1));
        let total = engine.model().config.blocks as usize;
        let blocks = (0..=total).filter_map(|block| {
            let follows = block.checked_sub(1).is_some_and(|before| blocks.contains(&before));
            let is_chosen = blocks.contains(&block);
            (is_chosen || follows).then_some((block, is_chosen))
        });
        let blocks = blocks.collect();
        Self { engine, cache, ids: ids.to_vec(), logits_from, chunk, blocks, has_left: false }
    }

    /// All blocks, and what is behind the last one.
    #[must_use]
    pub fn whole(engine: &'e Engine, ids: &[u32], logits_from: usize, chunk: usize) -> Self {
        let blocks: Vec<usize> = (0..=engine.model().config.blocks as usize).collect();
        Self::new(engine, ids, logits_from, chunk, &blocks)
    }

    fn empty(&self, start: usize, count: usize) -> ChunkTrace {
        let model = self.engine.model();
        let total = model.config.blocks as usize;
        let block = |(block, is_chosen): &(usize, bool)| {
            let operation = |operation: &TraceOperation| {
                OperationTrace::new((start..start + count).map(|position| {
                    let is_there = *operation != TraceOperation::Logits || position >= self.logits_from;
                    if is_there { width(model, *block, *operation, position) } else { 0 }
                }))
            };
            let operations = BlockTrace::operations_of(*block, total);
            let operations = if *is_chosen { operations } else { &operations[..1] };
            let operations = operations.iter().map(operation).collect();
            BlockTrace { block: *block, operations }
        };
        ChunkTrace { start, count, blocks: self.blocks.iter().map(block).collect() }
    }
}

impl Iterator for Tracer<'_> {
    type Item = ChunkTrace;

    fn next(&mut self) -> Option<ChunkTrace> {
        let start = self.cache.len();
        let count = self.chunk.min(self.ids.len().saturating_sub(start));
        if count == 0 {
            return None;
        }
        let mut trace = self.empty(start, count);
        let mut rows: Vec<Option<_>> = Vec::new();
        rows.resize_with(self.engine.model().config.blocks as usize + 1, || None);
        for block in &mut trace.blocks {
            if let Some(rows) = rows.get_mut(block.block) {
                *rows = Some(block.operations.iter_mut().map(OperationTrace::rows_mut).collect());
            }
        }
        let recorder = Recorder { start, rows };
        let ids = &self.ids[start..start + count];
        let wanted_from = self.logits_from.saturating_sub(start).min(count);
        let logits_from = if self.has_left { count } else { wanted_from };
        let mut chunks = [Chunk { cache: &mut self.cache, ids, logits_from }];
        let forward = self.engine.forward_traced(&mut chunks, &recorder, |_, _| ());
        self.has_left |= forward.out_of_range.iter().any(Option::is_some);
        drop(recorder);
        Some(trace)
    }
}
