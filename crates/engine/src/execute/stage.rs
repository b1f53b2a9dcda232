//! One block's work on one tile of tokens, in the order of the transformer. Every operation is finished on a
//! slice of rows as soon as the matrix product is there.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use model::ops::attention::first_key;
use model::ops::requantize::{ACTIVATION_LIMIT_BITS, RESIDUAL_LIMIT_BITS};
use model::recipe::RotationKind;
use model::tables::SHORT_CONTEXT;
use protocol::trace::TraceOperation;
use rayon::prelude::*;

use super::Place;
use super::linear::{Order, Products, linear};
use crate::cache::KvCache;
use crate::engine::Engine;
use crate::kernels::{PackedActivations, PackedMatrix};
use crate::ops::attention::{AttentionRule, attention, attention_observed};
use crate::ops::hadamard::{GateRule, gated_product};
use crate::ops::requantize::requantize;
use crate::ops::residual;
use crate::ops::rms_norm::Norm;
use crate::ops::rope::rotate_requantize;
use crate::packed::{PackedBlock, Projection};
use crate::trace::TraceSink;

/// Keys times query elements from which on attention heads are shared among threads.
const SHARED_ATTENTION: usize = 1 << 19;

/// One thread's memory, kept between tiles.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) activations: PackedActivations,
    pub(super) normed: Vec<i16>,
    pub(super) products: [Products; 2],
    wide: Vec<i32>,
}

/// One block and where the tokens are.
pub(super) struct Stage<'s, S> {
    pub(super) engine: &'s Engine,
    /// If this block is recorded.
    pub(super) trace: Option<&'s S>,
    pub(super) index: usize,
    pub(super) block: &'s PackedBlock,
    pub(super) places: &'s [Place],
    pub(super) out_of_range: &'s [AtomicU32],
    /// Few tokens: every matrix is split among all threads.
    pub(super) together: bool,
}

impl<S: TraceSink> Stage<'_, S> {
    /// Norm, queries, keys, values, rotation.
    pub(super) fn project(
        &self,
        start: usize,
        x: &[i32],
        q: &mut [i32],
        k: &mut [i32],
        v: &mut [i32],
        scratch: &mut Scratch,
    ) {
        if let Some(trace) = self.trace() {
            let width = self.engine.model().config.width as usize;
            for (t, x) in x.chunks_exact(width).enumerate() {
                trace.record_residual(self.index, self.places[start + t], x);
            }
        }
        self.pack_normed(&self.block.attn_norm, x, scratch);
        self.rotated(start, &self.block.q, true, q, scratch);
        self.rotated(start, &self.block.k, false, k, scratch);
        let Projection { weights, bias, shift, .. } = &self.block.v;
        let width = weights.rows();
        linear(self.order(1), [weights], &scratch.activations, &mut scratch.products, |t, rows, [acc]| {
            self.record(TraceOperation::Value, start + t, &rows, acc);
            add_bias(acc, bias.as_ref().map(|bias| &bias[rows.clone()]));
            let out = &mut v[t * width..][rows];
            self.report(start + t, requantize(acc, *shift, ACTIVATION_LIMIT_BITS, out));
        });
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
        let (dim, style) = (config.head_dim as usize, config.rope_style);
        let table = self.engine.rotation(RotationKind { local: self.block.window.is_some(), query });
        let Projection { weights, bias, norm, shift } = projection;
        let operation = if query { TraceOperation::Query } else { TraceOperation::Key };
        let width = weights.rows();
        linear(self.order(dim), [weights], &scratch.activations, &mut scratch.products, |t, rows, [acc]| {
            self.record(operation, start + t, &rows, acc);
            add_bias(acc, bias.as_ref().map(|bias| &bias[rows.clone()]));
            let out = &mut out[t * width..][rows];
            if let Some((raw_shift, norm)) = norm {
                self.report(start + t, requantize(acc, *raw_shift, ACTIVATION_LIMIT_BITS, out));
                for (acc, raw) in acc.chunks_exact_mut(dim).zip(out.chunks_exact(dim)) {
                    norm.apply(raw, acc, |v| v);
                }
            }
            let rotation = table.position(self.places[start + t].position);
            let kept = rotate_requantize(acc, rotation, style, *shift, ACTIVATION_LIMIT_BITS, out);
            self.report(start + t, kept);
        });
    }

    /// Attention, output projection, residual.
    pub(super) fn attend(
        &self,
        start: usize,
        q: &[i32],
        caches: &[&KvCache],
        x: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let config = &self.engine.model().config;
        let (dim, query_width) = (config.head_dim as usize, config.query_width() as usize);
        let group = (config.heads / config.kv_heads) as usize;
        scratch.wide.resize(q.len(), 0);
        let attend_head = |(number, (query, out)): (usize, (&[i32], &mut [i32]))| {
            let (t, head) = (number / config.heads as usize, number % config.heads as usize);
            let place = self.places[start + t];
            let keys = first_key(place.position, self.block.window)..place.position + 1;
            let table = self.engine.softmax_table(keys.len() > SHORT_CONTEXT);
            let rule = AttentionRule { shift: self.block.score_shift, table };
            let head = caches[place.chunk].head(self.index, head / group);
            let Some(trace) = self.trace() else {
                return attention(self.engine.isa(), query, head, keys, rule, out);
            };
            let (number, count) = (number % config.heads as usize, keys.len());
            attention_observed(self.engine.isa(), query, head, keys, rule, out, |scores, weighted| {
                trace.record_scores(self.index, place, number * count, scores);
                trace.record(self.index, TraceOperation::Weighted, place, number * dim, weighted);
            });
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
        scratch.activations.pack(self.engine.isa(), &scratch.wide, query_width);
        let post = self.block.post_attn_norm.as_ref();
        let operation = TraceOperation::Output;
        self.add_residual(start, operation, &self.block.o, self.block.o_shift, post, x, scratch);
    }

    /// Norm, gate and up, gated product, down projection, residual.
    pub(super) fn mlp(&self, start: usize, x: &mut [i32], scratch: &mut Scratch) {
        let block = self.block;
        self.pack_normed(&block.ffn_norm, x, scratch);
        let width = block.gate.rows();
        let rule = GateRule {
            table: self.engine.activation_table(block.gate_exponent),
            gate_shift: block.gate_shift,
            gate_limit_bits: block.gate_limit_bits,
            product_shift: block.product_shift,
        };
        let Scratch { activations, products, wide, .. } = scratch;
        wide.resize(activations.tokens() * width, 0);
        linear(self.order(1), [&block.gate, &block.up], activations, products, |t, rows, [gate, up]| {
            self.record(TraceOperation::Gate, start + t, &rows, gate);
            self.record(TraceOperation::Up, start + t, &rows, up);
            let out = &mut wide[t * width..][rows];
            self.report(start + t, gated_product(gate, up, rule, out));
        });
        activations.pack(self.engine.isa(), wide, width);
        let (operation, post) = (TraceOperation::Down, block.post_ffn_norm.as_ref());
        self.add_residual(start, operation, &block.down, block.down_shift, post, x, scratch);
    }

    fn pack_normed(&self, norm: &Norm, x: &[i32], scratch: &mut Scratch) {
        let width = self.engine.model().config.width as usize;
        scratch.normed.resize(x.len(), 0);
        for (x, out) in x.chunks_exact(width).zip(scratch.normed.chunks_exact_mut(width)) {
            // `output_exponent` leaves no value beyond 16 bits.
            norm.apply(x, out, |v| v as i16);
        }
        scratch.activations.pack_narrow(self.engine.isa(), &scratch.normed, width);
    }

    /// `x += W a`, through a norm if there is one.
    #[expect(clippy::too_many_arguments, reason = "the residual of two halves")]
    fn add_residual(
        &self,
        start: usize,
        operation: TraceOperation,
        weights: &PackedMatrix,
        shift: i32,
        post: Option<&Norm>,
        x: &mut [i32],
        scratch: &mut Scratch,
    ) {
        let width = weights.rows();
        let Scratch { activations, products, wide, .. } = scratch;
        let Some(norm) = post else {
            return linear(self.order(1), [weights], activations, products, |t, rows, [acc]| {
                self.record(operation, start + t, &rows, acc);
                let x = &mut x[t * width..][rows];
                self.report(start + t, residual::add(x, acc, shift));
            });
        };
        // A norm needs whole rows.
        wide.resize(activations.tokens() * width, 0);
        linear(self.order(1), [weights], activations, products, |t, rows, [acc]| {
            self.record(operation, start + t, &rows, acc);
            let out = &mut wide[t * width..][rows];
            self.report(start + t, requantize(acc, shift, RESIDUAL_LIMIT_BITS, out));
        });
        let mut normed = vec![0; width];
        for (t, (x, raw)) in x.chunks_exact_mut(width).zip(wide.chunks_exact(width)).enumerate() {
            norm.apply(raw, &mut normed, |v| v);
            self.report(start + t, residual::add(x, &normed, 0));
        }
    }

    /// `unit` rows have to be finished together.
    fn order(&self, unit: usize) -> Order {
        Order { isa: self.engine.isa(), split: self.together, unit }
    }

    /// The sink, if this block is recorded; with [`crate::trace::NoTrace`] the compiler knows that it is not.
    #[inline(always)]
    fn trace(&self) -> Option<&S> {
        if S::IS_ON { self.trace } else { None }
    }

    #[inline(always)]
    fn record(&self, operation: TraceOperation, token: usize, rows: &Range<usize>, acc: &[i64]) {
        if let Some(trace) = self.trace() {
            trace.record(self.index, operation, self.places[token], rows.start, acc);
        }
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
