//! The words and tables of `maxwell inspect`. Never computes a figure that `--json` does not have.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::formats::Site;
use model::weights::Loss;
use model::{Model, NUMERICS};
use serde_json::{Value, json};

use super::Inspected;
use crate::output::grouped;

/// Sites with their names in JSON and in the table.
const SITES: [(Site, &str, &str); 7] = [
    (Site::QueryRaw, "query_raw", "q raw"),
    (Site::KeyRaw, "key_raw", "k raw"),
    (Site::Query, "query", "query"),
    (Site::Key, "key", "key"),
    (Site::Value, "value", "value"),
    (Site::Gate, "gate", "gate"),
    (Site::DownInput, "down_input", "down in"),
];

/// Exponents per block and site; null where the family has no such site.
pub(super) fn formats_json(model: &Model) -> Value {
    let blocks = model.formats.blocks.iter().map(|block| {
        let mut object = serde_json::Map::new();
        for (site, name, _) in SITES {
            object.insert(name.to_owned(), json!(has_site(model, site).then(|| block.exponent(site))));
        }
        object.insert("gate_limit_bits".to_owned(), json!(block.gate_limit_bits));
        Value::Object(object)
    });
    json!({ "residual": model.formats.residual, "blocks": blocks.collect::<Vec<_>>() })
}

/// What rounding changed, tensor by tensor.
pub(super) fn losses_json(losses: &[Loss]) -> Value {
    let loss = |loss: &Loss| {
        json!({
            "tensor": loss.tensor,
            "exact": loss.exact,
            "rounded": loss.rounded,
            "max_error_bits": (!loss.exact).then_some(loss.max_error_bits),
        })
    };
    losses.iter().map(loss).collect()
}

/// Rows of the calibration text that took a second limb.
pub(super) fn wide_rows(model: &Model) -> u64 {
    model.formats.calibration.wide_rows.iter().flatten().map(|count| u64::from(*count)).sum()
}

fn has_site(model: &Model, site: Site) -> bool {
    model.config.qk_norm || !matches!(site, Site::QueryRaw | Site::KeyRaw)
}

/// The whole report.
pub(super) fn readable(inspected: &Inspected<'_>, verbose: bool) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = write_identity(&mut out, inspected);
    let _ = write_formats(&mut out, &inspected.opened.model);
    let _ = write_bounds(&mut out, inspected, verbose);
    let _ = write_losses(&mut out, &inspected.opened.model.losses, verbose);
    out.trim_end().to_owned()
}

fn write_identity(out: &mut String, inspected: &Inspected<'_>) -> std::fmt::Result {
    let model = &*inspected.opened.model;
    let config = &model.config;
    let template = model.template.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    writeln!(out, "model          {}", inspected.opened.display_name())?;
    writeln!(out, "commitment     {}", model.commitment)?;
    writeln!(out, "weights root   {}", hex::encode(model.weights_root))?;
    writeln!(out, "chat template  {template}")?;
    writeln!(out, "numerics       {NUMERICS}")?;
    writeln!(
        out,
        "shapes         {}: {} blocks, width {}, {} heads of {} on {} key/value heads, feed-forward {}, \
         vocabulary {}, context {}{}",
        config.architecture.family().name,
        config.blocks,
        config.width,
        config.heads,
        config.head_dim,
        config.kv_heads,
        config.ff,
        config.vocab,
        config.context,
        if config.tied_embeddings { ", tied embeddings" } else { "" },
    )?;
    let costs = &inspected.costs;
    writeln!(out, "parameters     {}", grouped(costs.parameters))?;
    writeln!(
        out,
        "bytes          {} in the file, {} packed (read once per token)",
        grouped(inspected.opened.file_bytes),
        grouped(inspected.packed_bytes as u64)
    )?;
    writeln!(
        out,
        "MACs           {} per token ({} of them logits), and {} per position in sight",
        grouped(costs.macs_per_token),
        grouped(costs.logit_macs),
        grouped(costs.attention_macs_per_position)
    )
}

fn write_formats(out: &mut String, model: &Model) -> std::fmt::Result {
    let calibration = &model.formats.calibration;
    writeln!(
        out,
        "\nformats: a value v with exponent e is v * 2^-e; residual stream {}, logits {}",
        model.formats.residual,
        model.logit_exponent()
    )?;
    let sites: Vec<_> = SITES.into_iter().filter(|(site, ..)| has_site(model, *site)).collect();
    write!(out, "  block")?;
    for (_, _, name) in &sites {
        write!(out, " {name:>8}")?;
    }
    writeln!(out, " {:>10} {:>10}", "gate limit", "wide rows")?;
    for (index, block) in model.formats.blocks.iter().enumerate() {
        write!(out, "  {index:>5}")?;
        for (site, ..) in &sites {
            write!(out, " {:>8}", block.exponent(*site))?;
        }
        let wide: u32 = calibration.wide_rows.get(index).into_iter().flatten().sum();
        writeln!(out, " {:>10} {wide:>10}", format!("2^{}", block.gate_limit_bits))?;
    }
    writeln!(
        out,
        "  calibrated on {} tokens; {} rows took a second limb; largest residual {}",
        calibration.tokens,
        wide_rows(model),
        calibration.residual_max
    )
}

fn write_bounds(out: &mut String, inspected: &Inspected<'_>, verbose: bool) -> std::fmt::Result {
    writeln!(out, "\nproven bounds: magnitudes below 2^bits, limit 2^{}", model::bounds::LIMIT_BITS)?;
    if verbose {
        for bound in &inspected.bounds {
            writeln!(out, "  {:<28} {:>2}", bound.what, bound.bits)?;
        }
        return Ok(());
    }
    let mut largest: BTreeMap<&str, u32> = BTreeMap::new();
    for bound in &inspected.bounds {
        let bits = largest.entry(kind(&bound.what)).or_default();
        *bits = bound.bits.max(*bits);
    }
    for (kind, bits) in largest {
        writeln!(out, "  {kind:<28} {bits:>2}")?;
    }
    Ok(())
}

/// Losses of one kind of tensor.
#[derive(Default)]
struct Class {
    tensors: usize,
    rounded: u64,
    worst: Option<i32>,
}

fn write_losses(out: &mut String, losses: &[Loss], verbose: bool) -> std::fmt::Result {
    writeln!(out, "\nimport: block-quantized weights are exact integers; floats are rounded as follows")?;
    let mut classes: BTreeMap<&str, Class> = BTreeMap::new();
    for loss in losses {
        let class = classes.entry(if verbose { &loss.tensor } else { kind(&loss.tensor) }).or_default();
        class.tensors += 1;
        class.rounded += loss.rounded;
        if !loss.exact {
            class.worst =
                Some(class.worst.map_or(loss.max_error_bits, |worst| worst.max(loss.max_error_bits)));
        }
    }
    for (name, class) in classes {
        let tensors = if class.tensors == 1 { "tensor" } else { "tensors" };
        write!(out, "  {name:<28} {:>3} {tensors}: ", class.tensors)?;
        match class.worst {
            None => writeln!(out, "exact")?,
            Some(bits) => {
                writeln!(out, "{} numbers rounded, none by more than 2^{bits}", grouped(class.rounded))?
            }
        }
    }
    Ok(())
}

/// A tensor's name without its block.
fn kind(name: &str) -> &str {
    let behind = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    behind.map_or(name, |(_, kind)| kind)
}
