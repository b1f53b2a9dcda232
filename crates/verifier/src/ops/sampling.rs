//! The draw at a temperature above 0, by the inverse of the cumulative distribution in id order: the sum of all weights, that of the ids before the
//! output's, and the output's own are said in the clear and bound to the weights by one sumcheck over (sampled position, token).

use proof_system::field::Ext;
use proof_system::sumcheck::bits;
use proof_system::transcript::Label;

use crate::channel::{Channel, Product};
use crate::error::Reject;
use crate::layout::Tensor;
use crate::script::Script;
use crate::vectors::{cut, eq_vector, outer};

/// What each of a position's three sums weighs: by position, then all, before, own.
#[must_use]
pub fn factors(gammas: [Ext; 3], positions: &[Ext]) -> Vec<[Ext; 3]> {
    positions.iter().map(|position| gammas.map(|gamma| gamma * *position)).collect()
}

/// The sums that draws went by are those of the weights.
///
/// # Errors
/// The channel's.
pub fn draws<C: Channel>(script: &mut Script<'_, C>) -> Result<(), Reject> {
    if script.public().sampler.is_none() {
        return Ok(());
    }
    let dims = script.public().dims;
    let positions = script.channel.draw(Label::Batching).powers(dims.sampled);
    let gammas: [Ext; 3] = std::array::from_fn(|_| script.channel.draw(Label::Batching));
    let factors = factors(gammas, &positions);
    let sums = script.public().widths.draws.iter().map(|draw| [draw.total, draw.before, draw.weight]);
    let value = sums
        .zip(&factors)
        .flat_map(|(sums, factors)| sums.into_iter().zip(*factors))
        .map(|(sum, factor)| Ext::from_u64(sum) * factor)
        .sum();
    let (groups, lanes) = (dims.groups(dims.padded(dims.vocab)), dims.lanes());
    let what = Product::Draws { factors: &factors };
    let (point, [weight, drawn]) = script.channel.product(value, &[dims.sampled, groups, lanes], what)?;
    let (row_point, rest) = cut(&point, bits(dims.sampled));
    let (group_point, lane_point) = cut(rest, bits(groups));
    let own = eq_vector(row_point, dims.sampled);
    let (group_weights, lane_weights) = (eq_vector(group_point, groups), eq_vector(lane_point, lanes));
    script.expect("the weights of draws", weight, |public| {
        let inner = outer(&group_weights, &lane_weights);
        let mut prefixes = vec![Ext::ZERO];
        let mut sum = Ext::ZERO;
        for weight in inner.iter().take(dims.vocab) {
            sum += *weight;
            prefixes.push(sum);
        }
        let at = |list: &[Ext], id: u32| {
            usize::try_from(id).ok().and_then(|id| list.get(id)).copied().unwrap_or_default()
        };
        let rows = public.claim.output_ids.iter().zip(&factors).zip(&own);
        rows.map(|((id, [all, before, chosen]), own)| {
            *own * (*all * sum + *before * at(&prefixes, *id) + *chosen * at(&inner, *id))
        })
        .sum()
    })?;
    let inner = [group_weights.as_slice(), lane_weights.as_slice()];
    script.committed_rows(Tensor::SampleWeight, 0, &own, inner, Some(drawn))?;
    Ok(())
}
