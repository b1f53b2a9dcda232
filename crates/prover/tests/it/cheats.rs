//! Provers that lie in their trace or run another model, and go on honestly from there: each is rejected.

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use prover::trace::{self, Trace};
use verifier::layout::Tensor;
use verifier::public::{Public, Rounded, Widths};
use verifier::{Outline, Reject, verify};

use crate::world::{claim, engine};

/// The verdict on a trace that was changed before it was committed to.
fn verdict(change: impl FnOnce(&mut Trace)) -> Result<(), Reject> {
    let engine = engine(&SyntheticModel::tiny(Architecture::Llama));
    let claim = claim(&engine, (30..35).collect(), 3);
    let outline = Outline::of(engine.model());
    let mut public = Public::new(&outline, &claim, Widths::default()).expect("a provable claim");
    let mut trace = trace::trace(engine.model(), &public).expect("an honest trace");
    public.widths = trace::widths(&public.dims, &mut trace).expect("an honest trace");
    change(&mut trace);
    let proof = prover::prove::prove_trace(engine.model(), public, trace, &|_| {});
    verify(engine.model(), &claim, &proof).map(|_| ())
}

fn add(trace: &mut Trace, tensor: Tensor, index: usize, value: i32) {
    trace.tensors.get_mut(&tensor).expect("a committed tensor")[index] += value;
}

#[test]
fn an_unchanged_trace_is_accepted() {
    assert_eq!(verdict(|_| ()), Ok(()));
}

#[test]
fn results_that_are_off_by_one_are_rejected() {
    for op in Rounded::ALL {
        let verdict = verdict(|trace| add(trace, Tensor::Out(op), 3, 1));
        assert!(verdict.is_err(), "{op:?}");
        println!("{op:?}: {}", verdict.expect_err("just seen"));
    }
    for tensor in [Tensor::Mixed, Tensor::Activated, Tensor::HalfSum, Tensor::Weight, Tensor::Distance] {
        assert!(verdict(|trace| add(trace, tensor, 3, 1)).is_err(), "{tensor:?}");
    }
}

/// Result and remainder fit each other, but the remainder leaves its range.
#[test]
fn a_remainder_out_of_range_is_rejected() {
    let found = verdict(|trace| {
        add(trace, Tensor::Out(Rounded::Value), 5, -1);
        // One step of the result is worth all of the remainder's range.
        let low = trace.low.get_mut(&Rounded::Value).expect("low remainders");
        low[5] += 1 << 16;
    });
    assert!(found.is_err(), "{found:?}");
}

/// The largest score is claimed to be larger than it is, and all distances fit it.
#[test]
fn a_maximum_that_is_not_attained_is_rejected() {
    let found = verdict(|trace| {
        add(trace, Tensor::PeakLow, 0, 1);
        trace.score_low[0] += 1;
    });
    assert_eq!(found, Err(Reject::NotInTable), "the marked cell must have distance zero");
    // Nor is there a row without a mark.
    let found = verdict(|trace| {
        add(trace, Tensor::PeakLow, 0, 1);
        trace.score_low[0] += 1;
        add(trace, Tensor::IsPeak, 0, -1);
    });
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn a_largest_logit_that_is_not_the_chosen_ones_is_rejected() {
    let found = verdict(|trace| {
        add(trace, Tensor::LogitPeakLow, 1, 1);
        let inner = trace.logit_low.len() / 3;
        trace.logit_low[inner..2 * inner].iter_mut().for_each(|low| *low += 1);
    });
    assert!(found.is_err(), "{found:?}");
}

#[test]
fn wrong_scalars_of_a_norm_are_rejected() {
    let rows = |trace: &Trace| trace.tensors[&Tensor::NormRows].len() / 16;
    for column in 0..16 {
        let found = verdict(|trace| {
            let place = column * rows(trace) + 1;
            add(trace, Tensor::NormRows, place, 1);
        });
        assert!(found.is_err(), "limb {column}");
    }
}

#[test]
fn another_block_output_another_position_and_other_heads_are_rejected() {
    let swap = |tensor: Tensor, width: usize, a: usize, b: usize| {
        verdict(move |trace| {
            let values = trace.tensors.get_mut(&tensor).expect("a committed tensor");
            for column in 0..width {
                values.swap(a * width + column, b * width + column);
            }
        })
    };
    // Rows of (block, position): a block skipped, positions shifted; then heads of a row.
    assert!(swap(Tensor::Out(Rounded::MlpAdd), 64, 0, 7).is_err());
    assert!(swap(Tensor::Out(Rounded::Key), 32, 1, 2).is_err());
    assert!(swap(Tensor::Out(Rounded::Query), 16, 0, 1).is_err());
    // The first position sees one key, so heads that share it have the same output there.
    assert!(swap(Tensor::Mixed, 16, 0, 2).is_err());
}

/// A whole other model, honest to itself: its weights are not those of the commitment.
#[test]
fn other_weights_are_rejected_by_the_matrix() {
    let honest = engine(&SyntheticModel::tiny(Architecture::Llama));
    let other = engine(&SyntheticModel { seed: 2, ..SyntheticModel::tiny(Architecture::Llama) });
    let mut claim = claim(&other, (30..35).collect(), 3);
    let proof = prover::prove(other.model(), &claim, &|_| {}).expect("a provable claim");
    assert!(verify(other.model(), &claim, &proof).is_ok());
    assert_eq!(verify(honest.model(), &claim, &proof), Err(Reject::Model));
    claim.model = honest.model().commitment;
    assert!(verify(honest.model(), &claim, &proof).is_err());
}
