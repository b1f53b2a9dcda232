//! The slow forward pass, made of `ops` alone: what the engine must equal bit for bit. Reads top to bottom
//! as the transformer it defines. Never used to serve, only to define, calibrate and test.

use std::collections::BTreeMap;

use crate::formats::{Formats, Site};
use crate::import::{BlockTensors, ModelConfig, Tensors};
use crate::ops::activation::activate;
use crate::ops::attention::{AttentionRule, attention, first_key};
use crate::ops::embedding::embedding;
use crate::ops::hadamard::gated_product;
use crate::ops::matmul::{Accumulate, add_bias};
use crate::ops::requantize::{RESIDUAL_LIMIT_BITS, in_range, requantize};
use crate::ops::rms_norm::{epsilon_term, output_exponent, rms_norm};
use crate::ops::rope::rotate;
use crate::ops::{Rows, logits, residual};
use crate::recipe::{Recipe, RotationKind};
use crate::tables::{self, ROTATION_BITS, RotationTable};
use crate::weights::{Vector, Weights};

/// Who says where the binary points stand: the formats of a model, or calibration that is choosing them.
pub trait Sites {
    /// Exponent of the residual stream.
    fn residual(&self) -> i32;
    /// Exponent of `site` in `block`, given its unrounded `products`.
    fn exponent(&mut self, block: usize, site: Site, acc_exponent: i32, products: &Rows) -> i32;
    /// Called with the rows after requantization.
    fn observe(&mut self, block: usize, site: Site, rows: &Rows);
    /// Magnitudes at `site` must stay below 2^this; `None` while calibration is still looking.
    fn limit_bits(&self, block: usize, site: Site) -> Option<u32>;
}

impl Sites for &Formats {
    fn residual(&self) -> i32 {
        self.residual
    }

    fn exponent(&mut self, block: usize, site: Site, _: i32, _: &Rows) -> i32 {
        self.blocks[block].exponent(site)
    }

    fn observe(&mut self, _: usize, _: Site, _: &Rows) {}

    fn limit_bits(&self, block: usize, site: Site) -> Option<u32> {
        Some(self.blocks[block].limit_bits(site))
    }
}

/// Result of a forward pass over one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// (token, vocabulary), up to the first position that is out of range.
    pub logits: Rows,
    /// The first position whose value left the proven range, if any.
    pub out_of_range: Option<u32>,
}

/// Runs `ids` from position 0 and gives the logits of every position.
#[must_use]
pub fn forward(
    config: &ModelConfig,
    tensors: &Tensors,
    formats: &Formats,
    ids: &[u32],
    accumulate: &dyn Accumulate,
) -> Forward {
    let mut network = Network::new(config, tensors, accumulate);
    let mut sites = formats;
    let x = network.blocks(&[ids], &mut sites, &mut |_| {});
    let out_of_range = network.out_of_range[0];
    let valid = out_of_range.map_or(ids.len(), |p| p as usize);
    let exponent = output_exponent(config.width, &tensors.output_norm);
    let normed = network.norm(&x, &tensors.output_norm, formats.residual, exponent);
    let normed = Rows { width: normed.width, values: normed.values[..valid * normed.width].to_vec() };
    Forward { logits: logits::logits(tensors.output(), &normed, accumulate), out_of_range }
}

/// The network over a batch of sequences, each from position 0.
pub struct Network<'a> {
    config: &'a ModelConfig,
    tensors: &'a Tensors,
    recipe: Recipe,
    accumulate: &'a dyn Accumulate,
    softmax: [Vec<u32>; 2],
    rotations: BTreeMap<RotationKind, RotationTable>,
    activations: BTreeMap<i32, Vec<i16>>,
    /// Of each row: its sequence and its position.
    places: Vec<(usize, usize)>,
    /// Of each sequence: the first position that is out of range.
    out_of_range: Vec<Option<u32>>,
}

impl<'a> Network<'a> {
    /// Prepares the tables.
    #[must_use]
    pub fn new(config: &'a ModelConfig, tensors: &'a Tensors, accumulate: &'a dyn Accumulate) -> Self {
        Self {
            config,
            tensors,
            recipe: Recipe::new(config),
            accumulate,
            softmax: [tables::exp_short(), tables::exp_long()],
            rotations: BTreeMap::new(),
            activations: BTreeMap::new(),
            places: Vec::new(),
            out_of_range: Vec::new(),
        }
    }

    /// Runs all blocks and gives the largest magnitude that the residual stream reached.
    pub fn residual_maximum(
        &mut self,
        sequences: &[&[u32]],
        sites: &mut dyn Sites,
        progress: &mut dyn FnMut(usize),
    ) -> u64 {
        let mut largest = 0;
        let mut x = self.embed(sequences, sites.residual());
        for index in 0..self.tensors.blocks.len() {
            progress(index);
            self.attention_half(index, &mut x, sites);
            largest = largest.max(x.row_maxima().max().unwrap_or(0));
            self.mlp_half(index, &mut x, sites);
            largest = largest.max(x.row_maxima().max().unwrap_or(0));
        }
        largest
    }

    fn blocks(
        &mut self,
        sequences: &[&[u32]],
        sites: &mut dyn Sites,
        progress: &mut dyn FnMut(usize),
    ) -> Rows {
        let mut x = self.embed(sequences, sites.residual());
        for index in 0..self.tensors.blocks.len() {
            progress(index);
            self.attention_half(index, &mut x, sites);
            self.mlp_half(index, &mut x, sites);
        }
        x
    }

    fn embed(&mut self, sequences: &[&[u32]], residual: i32) -> Rows {
        self.out_of_range = vec![None; sequences.len()];
        self.places.clear();
        let mut x = Rows::with_capacity(self.config.width as usize, 0);
        for (sequence, ids) in sequences.iter().enumerate() {
            for (position, id) in ids.iter().enumerate() {
                self.places.push((sequence, position));
                x.values.extend(embedding(
                    &self.tensors.embedding,
                    *id,
                    residual,
                    self.recipe.embedding_scale,
                ));
            }
        }
        x
    }

    fn attention_half(&mut self, index: usize, x: &mut Rows, sites: &mut dyn Sites) {
        let tensors = self.tensors;
        let block = &tensors.blocks[index];
        let exponent = output_exponent(self.config.width, &block.attn_norm);
        let h = self.norm(x, &block.attn_norm, sites.residual(), exponent);
        let (q, query_exponent) = self.rotated(index, Head::Query, &h, exponent, sites);
        let (k, key_exponent) = self.rotated(index, Head::Key, &h, exponent, sites);
        let v = self.linear(&block.v, block.v_bias.as_ref(), &h, exponent);
        let (v, value_exponent) =
            self.requantize_site(index, Site::Value, v, exponent + block.v.grid(), sites);
        let shift = query_exponent + key_exponent + self.recipe.score_bits - tables::SOFTMAX_STEP_BITS;
        let out = self.attend(index, &q, &k, &v, shift);
        let acc = self.linear(&block.o, None, &out, value_exponent);
        self.add_residual(x, acc, block.o.grid() + value_exponent, block.post_attn_norm.as_ref(), sites);
    }

    fn mlp_half(&mut self, index: usize, x: &mut Rows, sites: &mut dyn Sites) {
        let tensors = self.tensors;
        let block = &tensors.blocks[index];
        let exponent = output_exponent(self.config.width, &block.ffn_norm);
        let h = self.norm(x, &block.ffn_norm, sites.residual(), exponent);
        let gate = self.linear(&block.gate, None, &h, exponent);
        let (gate, gate_exponent) =
            self.requantize_site(index, Site::Gate, gate, exponent + block.gate.grid(), sites);
        let up = self.linear(&block.up, None, &h, exponent);
        let activation = self.config.activation;
        let table = self
            .activations
            .entry(gate_exponent)
            .or_insert_with(|| tables::activation_table(activation, gate_exponent));
        let products = gate.map_rows(gate.width, |t, row| {
            let activated: Vec<i64> = row.iter().map(|g| activate(*g, table)).collect();
            gated_product(&activated, up.row(t))
        });
        let exponent = gate_exponent + exponent + block.up.grid();
        let (a, down_exponent) = self.requantize_site(index, Site::DownInput, products, exponent, sites);
        let acc = self.linear(&block.down, None, &a, down_exponent);
        self.add_residual(x, acc, block.down.grid() + down_exponent, block.post_ffn_norm.as_ref(), sites);
    }

    /// Queries or keys: projection, bias, norm of each head where the family has one, rotation.
    fn rotated(
        &mut self,
        index: usize,
        head: Head,
        h: &Rows,
        exponent: i32,
        sites: &mut dyn Sites,
    ) -> (Rows, i32) {
        let tensors = self.tensors;
        let parts = head.parts(&tensors.blocks[index]);
        let mut rows = self.linear(parts.weights, parts.bias, h, exponent);
        let mut exponent = exponent + parts.weights.grid();
        let width = self.config.head_dim as usize;
        if let Some(norm) = parts.norm {
            let (raw, raw_exponent) = self.requantize_site(index, parts.raw_site, rows, exponent, sites);
            let eps = epsilon_term(self.recipe.eps, self.config.head_dim, raw_exponent);
            exponent = output_exponent(self.config.head_dim, norm);
            rows = raw.map_rows(raw.width, |_, row| {
                row.chunks_exact(width).flat_map(|head| rms_norm(head, norm, eps, exponent)).collect()
            });
        }
        let kind = RotationKind { local: self.recipe.is_local(index), query: parts.site == Site::Query };
        let positions = self.places.iter().map(|(_, p)| p + 1).max().unwrap_or(0);
        let (recipe, style) = (&self.recipe, self.config.rope_style);
        let table = self.rotations.entry(kind).or_insert_with(|| recipe.rotation_table(kind, positions));
        let places = &self.places;
        let rotated = rows.map_rows(rows.width, |t, row| {
            let rotation = table.position(places[t].1);
            row.chunks_exact(width).flat_map(|head| rotate(head, rotation, style)).collect()
        });
        self.requantize_site(index, parts.site, rotated, exponent + ROTATION_BITS, sites)
    }

    fn attend(&self, index: usize, q: &Rows, k: &Rows, v: &Rows, shift: i32) -> Rows {
        let (width, group) =
            (self.config.head_dim as usize, (self.config.heads / self.config.kv_heads) as usize);
        let window = self.recipe.window(index);
        q.map_rows(q.width, |t, row| {
            let position = self.places[t].1;
            let keys = t - position + first_key(position, window)..t + 1;
            let table = &self.softmax[usize::from(keys.len() > tables::SHORT_CONTEXT)];
            let rule = AttentionRule { shift, table };
            let heads = row.chunks_exact(width).enumerate();
            heads
                .flat_map(|(head, query)| {
                    let columns = head / group * width..(head / group + 1) * width;
                    let keys: Vec<&[i64]> = keys.clone().map(|j| &k.row(j)[columns.clone()]).collect();
                    let values: Vec<&[i64]> =
                        (t + 1 - keys.len()..t + 1).map(|j| &v.row(j)[columns.clone()]).collect();
                    attention(query, &keys, &values, rule)
                })
                .collect()
        })
    }

    fn linear(&self, weights: &Weights, bias: Option<&Vector>, x: &Rows, exponent: i32) -> Rows {
        let mut acc = self.accumulate.accumulate(weights, x);
        if let Some(bias) = bias {
            add_bias(&mut acc, exponent + weights.grid(), bias);
        }
        acc
    }

    fn norm(&self, x: &Rows, weight: &Vector, x_exponent: i32, out_exponent: i32) -> Rows {
        let eps = epsilon_term(self.recipe.eps, self.config.width, x_exponent);
        x.map_rows(x.width, |_, row| rms_norm(row, weight, eps, out_exponent))
    }

    fn requantize_site(
        &mut self,
        index: usize,
        site: Site,
        mut rows: Rows,
        acc_exponent: i32,
        sites: &mut dyn Sites,
    ) -> (Rows, i32) {
        let exponent = sites.exponent(index, site, acc_exponent, &rows);
        requantize(&mut rows, acc_exponent - exponent);
        sites.observe(index, site, &rows);
        if let Some(bits) = sites.limit_bits(index, site) {
            self.check_range(&mut rows, bits);
        }
        (rows, exponent)
    }

    /// Adds a half's contribution to the stream; families with post-norms normalize it first.
    fn add_residual(
        &mut self,
        x: &mut Rows,
        mut acc: Rows,
        exponent: i32,
        post_norm: Option<&Vector>,
        sites: &mut dyn Sites,
    ) {
        let stream = sites.residual();
        let enforce = sites.limit_bits(0, Site::Value).is_some();
        let mut shift = exponent - stream;
        if let Some(norm) = post_norm {
            requantize(&mut acc, shift);
            if enforce {
                self.check_range(&mut acc, RESIDUAL_LIMIT_BITS);
            }
            acc = self.norm(&acc, norm, stream, stream);
            shift = 0;
        }
        for t in 0..x.count() {
            residual::add(x.row_mut(t), acc.row(t), shift);
        }
        if enforce {
            self.check_range(x, RESIDUAL_LIMIT_BITS);
        }
    }

    /// Marks the first position of each sequence that leaves the range and clears its row: nothing after it
    /// has a meaning, and nothing before it depends on it.
    fn check_range(&mut self, rows: &mut Rows, limit_bits: u32) {
        for t in 0..rows.count() {
            if !in_range(rows.row(t), limit_bits) {
                let (sequence, position) = self.places[t];
                let position = u32::try_from(position).expect("contexts are below 2^32");
                let first = &mut self.out_of_range[sequence];
                *first = Some(first.map_or(position, |p| p.min(position)));
                rows.row_mut(t).fill(0);
            }
        }
    }
}

/// Queries and keys take the same way through different tensors.
#[derive(Clone, Copy)]
enum Head {
    Query,
    Key,
}

struct HeadParts<'a> {
    weights: &'a Weights,
    bias: Option<&'a Vector>,
    norm: Option<&'a Vector>,
    raw_site: Site,
    site: Site,
}

impl Head {
    fn parts(self, block: &BlockTensors) -> HeadParts<'_> {
        match self {
            Self::Query => HeadParts {
                weights: &block.q,
                bias: block.q_bias.as_ref(),
                norm: block.q_norm.as_ref(),
                raw_site: Site::QueryRaw,
                site: Site::Query,
            },
            Self::Key => HeadParts {
                weights: &block.k,
                bias: block.k_bias.as_ref(),
                norm: block.k_norm.as_ref(),
                raw_site: Site::KeyRaw,
                site: Site::Key,
            },
        }
    }
}

#[cfg(test)]
mod tests;
