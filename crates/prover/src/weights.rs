//! A commitment to all weights of a model, for verifiers without it; made once for any number of proofs.

use model::Model;
use proof_system::commitment::{Committed, Digest};
use proof_system::kernels::Isa;
use proof_system::transcript::Label;
use rayon::prelude::*;
use verifier::channel::Claim;
use verifier::proof::OpenedWeights;
use verifier::verify::Pending;
use verifier::weight_stream::WeightStream;
use verifier::weights::embedded;
use verifier::{Outline, Unprovable};

use crate::merge;

/// Weights that were committed to.
#[derive(Debug)]
pub struct CommittedWeights {
    stream: WeightStream,
    committed: Committed,
}

impl CommittedWeights {
    /// Commits to a model's weights: about 20 bytes of memory for each while this lives.
    ///
    /// # Errors
    /// [`Unprovable::Stream`]: some token leaves 32 bits.
    pub fn new(model: &Model) -> Result<Self, Unprovable> {
        let stream = WeightStream::new(&Outline::of(model));
        let mut integers = vec![0_i32; stream.stream.length];
        for (matrix, place, per_block) in stream.places() {
            let own = &mut integers[place.offset..][..place.rows * place.inner];
            own.par_chunks_mut(place.inner).enumerate().try_for_each_init(
                Vec::new,
                |row, (index, out)| {
                    let (block, id) = (index / per_block, (index % per_block) as u32);
                    match matrix.weights(model, block) {
                        Some(weights) => weights.row(id, row),
                        None => *row = embedded(model, id),
                    }
                    out.iter_mut().zip(row).try_for_each(|(out, weight)| {
                        *out = i32::try_from(*weight).map_err(|_| Unprovable::Stream)?;
                        Ok(())
                    })
                },
            )?;
        }
        let committed = Committed::new(integers, stream.stream.shape, Isa::best());
        Ok(Self { stream, committed })
    }

    /// What stands for the weights.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.committed.root()
    }

    /// Opens what a proof needs of the weights.
    #[must_use]
    pub fn open(&self, pending: Pending) -> OpenedWeights {
        let claims: Vec<Claim> = pending.weights.iter().map(|claim| self.stream.claim(claim)).collect();
        let mut transcript = pending.transcript;
        transcript.absorb(Label::Commitment, &self.root());
        let (messages, opening) =
            merge::open(&claims, &self.committed, &self.stream.stream, &mut transcript, Isa::best());
        OpenedWeights { messages, opening }
    }
}
