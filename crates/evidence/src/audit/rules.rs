//! The constants of everything in a block that is not a product, from the model alone: shifts, norms, biases, tables.
//! Derived here a second time, not taken from the engine whose numbers are in question.

use std::collections::BTreeMap;

use engine::ops::hadamard::GateRule;
use engine::ops::rms_norm::Norm;
use model::Model;
use model::formats::Site;
use model::import::BlockTensors;
use model::ops::rms_norm::{epsilon_term, output_exponent};
use model::recipe::RotationKind;
use model::tables::{self, ROTATION_BITS, RotationTable, SOFTMAX_STEP_BITS};
use model::weights::Vector;

/// Of a whole model.
pub(crate) struct Rules {
    pub(crate) blocks: Vec<BlockRules>,
    pub(crate) output_norm: Norm,
    softmax: [Vec<u32>; 2],
    activations: BTreeMap<i32, Vec<i16>>,
    rotations: BTreeMap<RotationKind, RotationTable>,
}

/// Of one block.
pub(crate) struct BlockRules {
    pub(crate) attn_norm: Norm,
    pub(crate) query: HeadRules,
    pub(crate) key: HeadRules,
    pub(crate) value_bias: Option<Vec<i64>>,
    pub(crate) value_shift: i32,
    pub(crate) score_shift: i32,
    pub(crate) window: Option<u32>,
    pub(crate) output_shift: i32,
    pub(crate) post_attn_norm: Option<Norm>,
    pub(crate) ffn_norm: Norm,
    gate_exponent: i32,
    gate_shift: i32,
    gate_limit_bits: u32,
    product_shift: i32,
    pub(crate) down_shift: i32,
    pub(crate) post_ffn_norm: Option<Norm>,
}

/// From accumulators to queries or keys.
pub(crate) struct HeadRules {
    pub(crate) bias: Option<Vec<i64>>,
    /// The shift before the norm of each head, and the norm.
    pub(crate) norm: Option<(i32, Norm)>,
    pub(crate) shift: i32,
    pub(crate) rotation: RotationKind,
}

impl Rules {
    /// For sequences of at most `positions` tokens.
    pub(crate) fn new(model: &Model, positions: usize) -> Self {
        let blocks: Vec<BlockRules> =
            (0..model.tensors.blocks.len()).map(|block| BlockRules::new(model, block)).collect();
        let gates: BTreeMap<i32, ()> = blocks.iter().map(|block| (block.gate_exponent, ())).collect();
        let activation = model.config.activation;
        let kinds: BTreeMap<RotationKind, ()> =
            blocks.iter().flat_map(|b| [(b.query.rotation, ()), (b.key.rotation, ())]).collect();
        let (width, norm) = (model.config.width, &model.tensors.output_norm);
        Self {
            output_norm: stream_norm(model, norm, output_exponent(width, norm)),
            softmax: [tables::exp_short(), tables::exp_long()],
            activations: gates.keys().map(|e| (*e, tables::activation_table(activation, *e))).collect(),
            rotations: kinds.keys().map(|k| (*k, model.recipe.rotation_table(*k, positions))).collect(),
            blocks,
        }
    }

    pub(crate) fn softmax(&self, keys: usize) -> &[u32] {
        &self.softmax[usize::from(keys > tables::SHORT_CONTEXT)]
    }

    pub(crate) fn rotation(&self, kind: RotationKind, position: usize) -> &[[i16; 2]] {
        self.rotations[&kind].position(position)
    }

    pub(crate) fn gate(&self, block: &BlockRules) -> GateRule<'_> {
        GateRule {
            table: &self.activations[&block.gate_exponent],
            gate_shift: block.gate_shift,
            gate_limit_bits: block.gate_limit_bits,
            product_shift: block.product_shift,
        }
    }
}

impl BlockRules {
    fn new(model: &Model, index: usize) -> Self {
        let block = &model.tensors.blocks[index];
        let format = &model.formats.blocks[index];
        let stream = model.formats.residual;
        let [query, key, value] = [Site::Query, Site::Key, Site::Value].map(|site| format.exponent(site));
        let [gate, down] = [Site::Gate, Site::DownInput].map(|site| format.exponent(site));
        let attn_in = output_exponent(model.config.width, &block.attn_norm);
        let ffn_in = output_exponent(model.config.width, &block.ffn_norm);
        let post = |norm: &Option<Vector>| norm.as_ref().map(|norm| stream_norm(model, norm, stream));
        Self {
            attn_norm: stream_norm(model, &block.attn_norm, attn_in),
            query: HeadRules::new(model, index, block, true),
            key: HeadRules::new(model, index, block, false),
            value_bias: bias(block.v_bias.as_ref(), attn_in + block.v.grid()),
            value_shift: attn_in + block.v.grid() - value,
            score_shift: query + key + model.recipe.score_bits - SOFTMAX_STEP_BITS,
            window: model.recipe.window(index),
            output_shift: value + block.o.grid() - stream,
            post_attn_norm: post(&block.post_attn_norm),
            ffn_norm: stream_norm(model, &block.ffn_norm, ffn_in),
            gate_exponent: gate,
            gate_shift: ffn_in + block.gate.grid() - gate,
            gate_limit_bits: format.gate_limit_bits,
            product_shift: gate + ffn_in + block.up.grid() - down,
            down_shift: down + block.down.grid() - stream,
            post_ffn_norm: post(&block.post_ffn_norm),
        }
    }
}

impl HeadRules {
    fn new(model: &Model, index: usize, block: &BlockTensors, query: bool) -> Self {
        let format = &model.formats.blocks[index];
        let (weights, biases, head_norm, raw, site) = if query {
            (&block.q, &block.q_bias, &block.q_norm, Site::QueryRaw, Site::Query)
        } else {
            (&block.k, &block.k_bias, &block.k_norm, Site::KeyRaw, Site::Key)
        };
        let product = output_exponent(model.config.width, &block.attn_norm) + weights.grid();
        let dim = model.config.head_dim;
        let norm = head_norm.as_ref().map(|norm| {
            let raw = format.exponent(raw);
            let exponent = output_exponent(dim, norm);
            let norm = Norm::new(norm, epsilon_term(model.recipe.eps, dim, raw), exponent);
            (product - raw, norm, exponent)
        });
        let exponent = norm.as_ref().map_or(product, |(_, _, exponent)| *exponent);
        Self {
            bias: bias(biases.as_ref(), product),
            norm: norm.map(|(shift, norm, _)| (shift, norm)),
            shift: exponent + ROTATION_BITS - format.exponent(site),
            rotation: RotationKind { local: model.recipe.is_local(index), query },
        }
    }
}

/// A norm on the residual stream.
fn stream_norm(model: &Model, weight: &Vector, out_exponent: i32) -> Norm {
    let epsilon = epsilon_term(model.recipe.eps, model.config.width, model.formats.residual);
    Norm::new(weight, epsilon, out_exponent)
}

/// In units of the accumulator.
fn bias(bias: Option<&Vector>, acc_exponent: i32) -> Option<Vec<i64>> {
    let bias = bias?;
    let shift = bias.exponent() - acc_exponent;
    Some(bias.values().iter().map(|v| model::fixed_point::rsh(i64::from(*v), shift)).collect())
}
