//! Logits, only where a token is sampled, and their maximum: no logit is above the largest, and that of one id is equal. At temperature
//! 0 that id is the output, and no lower id has an equal logit. Fingerprints are linear in the logits.

use proof_system::field::{Base, Ext};
use proof_system::sumcheck::bits;
use proof_system::transcript::Label;
use protocol::fingerprint::{ExtensionElement, fingerprint_point};

use crate::channel::{Channel, Outputs, Product, Rows, WeightClaim};
use crate::error::Reject;
use crate::layout::Tensor;
use crate::ops::attention::{SCORE_LOW_BITS, at_heads};
use crate::ops::matmul::products;
use crate::public::{Matrix, Rounded};
use crate::script::{At, Script};
use crate::vectors::{cut, eq_vector, power_of_two, powers, scaled, times, total};

/// The low part of a distance from the largest logit.
///
/// # Errors
/// The channel's.
pub fn low<C: Channel>(script: &mut Script<'_, C>, at: &At) -> Result<(), Reject> {
    let dims = script.public().dims;
    let inner = at.inner();
    let (real, _) = cut(&inner, dims.vocab);
    let rows = &at.rows.b;
    let largest = largest(script, at.rows.from, &scaled(rows, total(real)))?;
    let high = script.committed_rows(Tensor::LogitHigh, at.rows.from, rows, [&at.groups, &at.lanes], None)?;
    let value = match script.public().sampler.clone() {
        None => {
            let below = strictly_above(script, at.rows.from, rows, real);
            largest - below - at.value - high * power_of_two(script.public().logit_low)
        }
        Some(sampler) => {
            let inner = [at.groups.as_slice(), at.lanes.as_slice()];
            let steps = script.committed_rows(Tensor::SampleDistance, at.rows.from, rows, inner, None)?;
            let scaled = at.value + high * power_of_two(sampler.low) + steps * power_of_two(sampler.shift);
            // The factor is not zero.
            largest - scaled * Ext::from_u64(sampler.factor).inverse().unwrap_or_default()
        }
    };
    products(script, Matrix::Logits, &at.rows, real, value)
}

/// Weighted sum of the largest logits of some sampled positions.
fn largest<C: Channel>(script: &mut Script<'_, C>, from: usize, rows: &[Ext]) -> Result<Ext, Reject> {
    let dims = script.public().dims;
    let mut weights = vec![Ext::ZERO; from];
    weights.extend_from_slice(rows);
    weights.resize(dims.padded(dims.sampled), Ext::ZERO);
    let low = at_heads(script, Tensor::LogitPeakLow, 0, vec![Ext::ONE], &weights)?;
    let high = at_heads(script, Tensor::LogitPeakHigh, 0, vec![Ext::ONE], &weights)?;
    Ok(low + high * power_of_two(SCORE_LOW_BITS))
}

/// Weights of ids below the chosen one, whose logits must be less than the largest by one at least.
fn strictly_above<C: Channel>(script: &Script<'_, C>, from: usize, rows: &[Ext], inner: &[Ext]) -> Ext {
    let mut prefixes = vec![Ext::ZERO];
    let mut sum = Ext::ZERO;
    for weight in inner {
        sum += *weight;
        prefixes.push(sum);
    }
    let chosen = script.public().claim.output_ids.iter().skip(from);
    let prefix = |id: u32| usize::try_from(id).ok().and_then(|id| prefixes.get(id)).copied();
    rows.iter().zip(chosen).map(|(weight, id)| *weight * prefix(*id).unwrap_or_default()).sum()
}

/// The largest logit is that of the chosen id.
///
/// # Errors
/// The channel's.
pub fn chosen<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    let dims = script.public().dims;
    let gamma = script.channel.draw(Label::Batching);
    let rows = gamma.powers(dims.sampled);
    let value = largest(script, 0, &rows)?;
    let (groups, lanes) = (dims.groups(dims.padded(dims.width)), dims.lanes());
    let what = Product::Chosen { rows: &rows };
    let (point, [weight, normed]) = script.channel.product(value, &[dims.sampled, groups, lanes], what)?;
    let (row_point, rest) = cut(&point, bits(dims.sampled));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = eq_vector(row_point, dims.sampled);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.channel.weights(WeightClaim {
        matrix: Matrix::Logits,
        first: 0,
        blocks: vec![Ext::ONE],
        out: Outputs::Some(script.public().peaks().into_iter().zip(times(&rows, &own)).collect()),
        input: [group_weights.clone(), lane_weights.clone()],
        value: weight,
    });
    let inner = [group_weights.as_slice(), lane_weights.as_slice()];
    script.committed_rows(Tensor::Out(Rounded::FinalNorm), 0, own, inner, Some(normed))?;
    Ok(())
}

/// The claimed fingerprints are those of the logits.
///
/// # Errors
/// The channel's.
pub fn fingerprints<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    let gamma = script.channel.draw(Label::Batching);
    let dims = script.public().dims;
    let rows = gamma.powers(dims.sampled);
    let element = |e: &ExtensionElement| Ext::new(Base::new(e.c0()), Base::new(e.c1()));
    let claim = script.public().claim;
    let value = claim.fingerprints.iter().zip(&rows).map(|(f, weight)| element(f) * *weight).sum();
    let point = fingerprint_point(&claim.model, &claim.nonce, &claim.prompt_ids, &claim.settings);
    let out = powers(element(&point), dims.vocab);
    let rows = Rows { first: 0, a: vec![Ext::ONE], from: 0, b: rows };
    products(script, Matrix::Logits, &rows, &out, value)
}
