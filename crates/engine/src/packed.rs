//! A model made ready to run: matrices in panels, norms and tables prepared. Built once; never changes a
//! number.

use std::collections::BTreeMap;

use model::Model;
use model::formats::Site;
use model::import::BlockTensors;
use model::ops::rms_norm::{epsilon_term, output_exponent};
use model::recipe::RotationKind;
use model::tables::{self, ROTATION_BITS, RotationTable, SOFTMAX_STEP_BITS};
use model::weights::Vector;
use rayon::prelude::*;

use crate::Error;
use crate::kernels::PackedMatrix;
use crate::ops::rms_norm::Norm;

/// One transformer block.
#[derive(Debug)]
pub(crate) struct PackedBlock {
    pub(crate) attn_norm: Norm,
    pub(crate) q: Projection,
    pub(crate) k: Projection,
    pub(crate) v: Projection,
    pub(crate) o: PackedMatrix,
    pub(crate) post_attn_norm: Option<Norm>,
    pub(crate) ffn_norm: Norm,
    pub(crate) gate: PackedMatrix,
    pub(crate) up: PackedMatrix,
    pub(crate) down: PackedMatrix,
    pub(crate) post_ffn_norm: Option<Norm>,
    /// Shift from scores to softmax table steps.
    pub(crate) score_shift: i32,
    /// Shift from the output projection's accumulator to the residual stream.
    pub(crate) o_shift: i32,
    pub(crate) gate_shift: i32,
    pub(crate) gate_limit_bits: u32,
    pub(crate) gate_exponent: i32,
    pub(crate) product_shift: i32,
    pub(crate) down_shift: i32,
    /// Keys in sight, itself included; `None` for all.
    pub(crate) window: Option<u32>,
}

/// A projection to queries, keys or values.
#[derive(Debug)]
pub(crate) struct Projection {
    pub(crate) weights: PackedMatrix,
    /// Bias in units of the accumulator.
    pub(crate) bias: Option<Vec<i64>>,
    /// Norm of each head: the shift before it, and the norm.
    pub(crate) norm: Option<(i32, Norm)>,
    /// Shift to the site's exponent, the rotation's bits included.
    pub(crate) shift: i32,
}

/// Tables shared by all blocks.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) softmax: [Vec<u32>; 2],
    pub(crate) activations: BTreeMap<i32, Vec<i16>>,
    pub(crate) rotations: BTreeMap<RotationKind, RotationTable>,
}

impl Tables {
    pub(crate) fn new(model: &Model, context: u32) -> Self {
        let exponents = model.formats.blocks.iter().map(|b| b.exponent(Site::Gate));
        let activation = model.config.activation;
        let activations = exponents.map(|e| (e, ())).collect::<BTreeMap<_, ()>>();
        let activations = activations
            .into_par_iter()
            .map(|(e, ())| (e, tables::activation_table(activation, e)))
            .collect::<Vec<_>>();
        let locals = if model.config.sliding.is_some() { vec![false, true] } else { vec![false] };
        let kinds =
            locals.into_iter().flat_map(|local| [false, true].map(|query| RotationKind { local, query }));
        let rotations = kinds
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|kind| (kind, model.recipe.rotation_table(kind, context as usize)))
            .collect::<Vec<_>>();
        Self {
            softmax: [tables::exp_short(), tables::exp_long()],
            activations: activations.into_iter().collect(),
            rotations: rotations.into_iter().collect(),
        }
    }
}

impl PackedBlock {
    pub(crate) fn new(model: &Model, index: usize) -> Result<Self, Error> {
        let block = &model.tensors.blocks[index];
        let (config, formats) = (&model.config, &model.formats);
        let (format, stream) = (&formats.blocks[index], formats.residual);
        let attn_in = output_exponent(config.width, &block.attn_norm);
        let mlp_in = output_exponent(config.width, &block.ffn_norm);
        let [gate, down_in] = [Site::Gate, Site::DownInput].map(|s| format.exponent(s));
        let [query, key, value] = [Site::Query, Site::Key, Site::Value].map(|s| format.exponent(s));
        Ok(Self {
            attn_norm: norm(model, &block.attn_norm, attn_in),
            q: query_or_key(model, index, block, true)?,
            k: query_or_key(model, index, block, false)?,
            v: Projection {
                weights: PackedMatrix::pack(&block.v)?,
                bias: block.v_bias.as_ref().map(|b| bias(b, attn_in + block.v.grid())),
                norm: None,
                shift: attn_in + block.v.grid() - value,
            },
            o: PackedMatrix::pack(&block.o)?,
            post_attn_norm: block.post_attn_norm.as_ref().map(|n| norm(model, n, stream)),
            ffn_norm: norm(model, &block.ffn_norm, mlp_in),
            gate: PackedMatrix::pack(&block.gate)?,
            up: PackedMatrix::pack(&block.up)?,
            down: PackedMatrix::pack(&block.down)?,
            post_ffn_norm: block.post_ffn_norm.as_ref().map(|n| norm(model, n, stream)),
            score_shift: query + key + model.recipe.score_bits - SOFTMAX_STEP_BITS,
            o_shift: value + block.o.grid() - stream,
            gate_shift: mlp_in + block.gate.grid() - gate,
            gate_limit_bits: format.gate_limit_bits,
            gate_exponent: gate,
            product_shift: gate + mlp_in + block.up.grid() - down_in,
            down_shift: down_in + block.down.grid() - stream,
            window: model.recipe.window(index),
        })
    }
}

/// A norm on the residual stream.
pub(crate) fn norm(model: &Model, weight: &Vector, out_exponent: i32) -> Norm {
    let epsilon = epsilon_term(model.recipe.eps, model.config.width, model.formats.residual);
    Norm::new(weight, epsilon, out_exponent)
}

fn query_or_key(model: &Model, index: usize, block: &BlockTensors, query: bool) -> Result<Projection, Error> {
    let format = &model.formats.blocks[index];
    let (weights, biases, head_norm, raw, site) = if query {
        (&block.q, &block.q_bias, &block.q_norm, Site::QueryRaw, Site::Query)
    } else {
        (&block.k, &block.k_bias, &block.k_norm, Site::KeyRaw, Site::Key)
    };
    let mut exponent = output_exponent(model.config.width, &block.attn_norm) + weights.grid();
    let bias = biases.as_ref().map(|b| bias(b, exponent));
    let norm = head_norm.as_ref().map(|norm| {
        let (raw_exponent, dim) = (format.exponent(raw), model.config.head_dim);
        let shift = exponent - raw_exponent;
        exponent = output_exponent(dim, norm);
        (shift, Norm::new(norm, epsilon_term(model.recipe.eps, dim, raw_exponent), exponent))
    });
    let shift = exponent + ROTATION_BITS - format.exponent(site);
    Ok(Projection { weights: PackedMatrix::pack(weights)?, bias, norm, shift })
}

fn bias(bias: &Vector, acc_exponent: i32) -> Vec<i64> {
    let shift = bias.exponent() - acc_exponent;
    bias.values().iter().map(|v| model::fixed_point::rsh(i64::from(*v), shift)).collect()
}
