//! `maxwell cost`: what a proof of so many tokens needs, for any model or shape, before it is made. Every second is named as predicted.

use clap::Args;
use serde_json::json;
use verifier::cost::{Cost, preset, usual_contents};
use verifier::layout::Contents;
use verifier::public::Dims;

use super::Shell;
use crate::models;
use crate::output::{Exit, Finished, Misuse, grouped};

/// Constraints of a value that is shown in its range bit by bit.
const CONSTRAINTS_PER_RANGE: u64 = 17;

/// Arguments of `maxwell cost`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CostArguments {
    /// A pulled model's name, the path of a GGUF file, or a shape: 7b, 13b, 70b
    #[arg(value_name = "MODEL|SHAPE")]
    model: String,
    /// Tokens that are run
    #[arg(long, value_name = "T", default_value_t = 276, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    tokens: u32,
    /// Tokens of these that are outputs, whose logits are proven; all but 20 if not given
    #[arg(long, value_name = "N")]
    outputs: Option<u32>,
    /// Tokens are drawn, not the likeliest
    #[arg(long)]
    drawn: bool,
    /// Nanoseconds a lookup takes; measure yours with `maxwell bench proof`
    #[arg(long, value_name = "NS", default_value_t = 20.0)]
    ns_lookup: f64,
    /// Nanoseconds a committed integer takes, its share of merging and opening included
    #[arg(long, value_name = "NS", default_value_t = 24.0)]
    ns_committed: f64,
    /// Multiplications per nanosecond of the native forward pass
    #[arg(long, value_name = "N", default_value_t = 250.0)]
    native_rate: f64,
    /// One block only, without logits
    #[arg(long)]
    block: bool,
}

const EXAMPLES: &str = "\
Examples:
  maxwell cost smollm2-135m
  maxwell cost 7b --tokens 256 --block
  maxwell cost 70b --tokens 512 --drawn --json

Counts are those of the prover's own layout. Seconds are predictions: counts times the rates given, which were measured on
two cores with AVX-512; verifying reads each weight once.";

/// Runs the command.
pub(crate) fn run(arguments: &CostArguments, shell: &Shell) -> anyhow::Result<Finished> {
    let mut dims = match preset(&arguments.model) {
        Some(dims) => dims,
        None => dims_of(&models::open(&shell.home, shell.terminal, &arguments.model)?.model.config),
    };
    let positions = arguments.tokens as usize;
    dims.positions = positions;
    dims.sampled = arguments.outputs.map_or(positions.saturating_sub(20).max(1), |n| n as usize);
    if dims.sampled > positions {
        return Err(Misuse(format!("{} outputs are more than {positions} tokens", dims.sampled)).into());
    }
    if arguments.block {
        (dims.blocks, dims.sampled, dims.vocab) = (1, 1, dims.lanes());
    }
    let contents: Contents = usual_contents(dims, arguments.drawn);
    let cost = Cost::of(&contents);
    let constraints = cost.constraints(CONSTRAINTS_PER_RANGE);
    let prove =
        (cost.lookups as f64 * arguments.ns_lookup + cost.committed as f64 * arguments.ns_committed) / 1e9;
    let native = cost.multiplications as f64 / arguments.native_rate / 1e9;
    let of =
        if arguments.block { format!("one block of {}", arguments.model) } else { arguments.model.clone() };
    let text = format!(
        "One forward pass of {of} over {positions} tokens needs {} constraints as a circuit; proven here it takes {prove:.1} s \
         against {native:.2} s native ({:.1}x), both predicted.\n  {:>18} multiplications, free but for one sumcheck a matrix\n  \
         {:>18} committed integers, {:.1} ns each\n  {:>18} lookups, {:.1} ns each",
        grouped(constraints),
        prove / native,
        grouped(cost.multiplications),
        grouped(cost.committed),
        arguments.ns_committed,
        grouped(cost.lookups),
        arguments.ns_lookup,
    );
    Ok(Finished {
        exit: Exit::Ok,
        json: json!({
            "model": arguments.model,
            "tokens": positions,
            "outputs": dims.sampled,
            "blocks": dims.blocks,
            "multiplications": cost.multiplications,
            "committed_integers": cost.committed,
            "lookups": cost.lookups,
            "constraints": constraints,
            "predicted_prove_s": prove,
            "predicted_native_s": native,
            "predicted_ratio": prove / native,
        }),
        text,
    })
}

fn dims_of(config: &model::import::ModelConfig) -> Dims {
    Dims {
        blocks: config.blocks as usize,
        positions: 1,
        sampled: 1,
        first_sampled: 0,
        width: config.width as usize,
        heads: config.heads as usize,
        kv_heads: config.kv_heads as usize,
        head_dim: config.head_dim as usize,
        ff: config.ff as usize,
        vocab: config.vocab as usize,
        lane_bits: config.head_dim.trailing_zeros().min(6),
    }
}
