//! `maxwell inspect`: what a model is, in figures that follow from its file. Never runs it.

mod report;

use clap::Args;
use engine::{Engine, EngineOptions};
use model::bounds::{self, Bound};
use model::weights::Weights;
use model::{Model, NUMERICS};
use serde_json::{Value, json};

use self::report::{formats_json, losses_json, readable};
use super::Shell;
use crate::models::{self, OpenModel};
use crate::output::{Exit, Finished};

/// Arguments of `maxwell inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArguments {
    /// A pulled model's name, or the path of a GGUF file
    #[arg(value_name = "MODEL")]
    model: String,
    /// Every bound and every loss, not only the largest
    #[arg(long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell inspect smollm2-135m
  maxwell inspect ./Qwen3-0.6B-Q4_0.gguf --verbose
  maxwell inspect smollm2-135m --json | jq .commitment";

/// What a model costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Multiply-accumulates with weights for one token, its logits included.
    pub(crate) macs_per_token: u64,
    /// Those for its logits alone.
    pub(crate) logit_macs: u64,
    /// Multiply-accumulates of attention for each position that a token sees.
    pub(crate) attention_macs_per_position: u64,
    /// Numbers in the file that the model uses.
    parameters: u64,
}

/// Runs the command.
pub(crate) fn run(arguments: &InspectArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let opened = models::open(&shell.home, shell.terminal, &arguments.model)?;
    let model = &opened.model;
    let bounds = bounds::prove(&model.config, &model.tensors, &model.formats)?;
    let packed_bytes = Engine::new(std::sync::Arc::clone(model), EngineOptions::best())?.weight_bytes();
    let inspected = Inspected { opened: &opened, bounds, packed_bytes, costs: Costs::of(model) };
    Ok(Finished { exit: Exit::Ok, json: inspected.json(), text: readable(&inspected, arguments.verbose) })
}

/// Everything that is shown.
#[derive(Debug)]
struct Inspected<'m> {
    opened: &'m OpenModel,
    bounds: Vec<Bound>,
    packed_bytes: usize,
    costs: Costs,
}

impl Inspected<'_> {
    fn json(&self) -> Value {
        let model = &*self.opened.model;
        let config = &model.config;
        let bound = |bound: &Bound| json!({ "what": bound.what, "bits": bound.bits });
        json!({
            "model": self.opened.display_name(),
            "path": self.opened.file.path,
            "file_bytes": self.opened.file_bytes,
            "numerics": NUMERICS,
            "commitment": model.commitment.to_string(),
            "weights_root": hex::encode(model.weights_root),
            "template_digest": model.template.map(|digest| digest.to_string()),
            "shapes": {
                "architecture": config.architecture.family().name,
                "blocks": config.blocks,
                "width": config.width,
                "heads": config.heads,
                "kv_heads": config.kv_heads,
                "head_dim": config.head_dim,
                "ff": config.ff,
                "vocabulary": config.vocab,
                "context": config.context,
                "sliding_window": config.sliding.map(|sliding| sliding.window),
                "tied_embeddings": config.tied_embeddings,
                "qkv_bias": config.qkv_bias,
                "qk_norm": config.qk_norm,
                "post_norms": config.post_norms,
            },
            "formats": formats_json(model),
            "logit_exponent": model.logit_exponent(),
            "bounds": self.bounds.iter().map(bound).collect::<Vec<_>>(),
            "bound_limit_bits": bounds::LIMIT_BITS,
            "macs_per_token": self.costs.macs_per_token,
            "logit_macs": self.costs.logit_macs,
            "attention_macs_per_position": self.costs.attention_macs_per_position,
            "parameters": self.costs.parameters,
            "packed_bytes": self.packed_bytes,
            "losses": losses_json(&model.losses),
            "calibration": {
                "tokens": model.formats.calibration.tokens,
                "residual_max": model.formats.calibration.residual_max,
                "wide_rows": model.formats.calibration.wide_rows,
                "wide_rows_total": report::wide_rows(model),
            },
        })
    }
}

impl Costs {
    /// Counted from the shapes.
    pub(crate) fn of(model: &Model) -> Self {
        let size = |weights: &Weights| u64::from(weights.rows()) * u64::from(weights.cols());
        let (tensors, config) = (&model.tensors, &model.config);
        let matrices = tensors.blocks.iter().flat_map(|b| [&b.q, &b.k, &b.v, &b.o, &b.gate, &b.up, &b.down]);
        let in_blocks: u64 = matrices.map(size).sum();
        let logit_macs = size(tensors.output());
        let embeddings = size(&tensors.embedding) + tensors.output.as_ref().map_or(0, size);
        let vectors = tensors.blocks.iter().flat_map(|b| {
            let optional =
                [&b.q_bias, &b.k_bias, &b.v_bias, &b.q_norm, &b.k_norm, &b.post_attn_norm, &b.post_ffn_norm];
            [Some(&b.attn_norm), Some(&b.ffn_norm)].into_iter().chain(optional.map(Option::as_ref)).flatten()
        });
        let vectors: usize =
            vectors.map(|v| v.values().len()).sum::<usize>() + tensors.output_norm.values().len();
        Self {
            macs_per_token: in_blocks + logit_macs,
            logit_macs,
            attention_macs_per_position: 2 * u64::from(config.query_width()) * u64::from(config.blocks),
            parameters: in_blocks + embeddings + vectors as u64,
        }
    }
}
