//! The prover's end of the protocol.

use model::Model;
use proof_system::commitment::Committed;
use proof_system::field::Ext;
use proof_system::fold::fold_rows;
use proof_system::kernels::Isa;
use proof_system::lookup::Workspace;
use proof_system::multilinear::ExtColumn;
use proof_system::sumcheck;
use proof_system::transcript::{Label, Transcript};
use protocol::claim::Claim as ModelClaim;
use rayon::prelude::*;
use verifier::channel::{Channel, Claim, Product, Product3, Reduced, TreeEnd, Value, WeightClaim};
use verifier::layout::{Layout, Tensor, WORK_BITS};
use verifier::public::{Public, Widths};
use verifier::statement::statement;
use verifier::vectors::{dot, eq_vector, outer};
use verifier::{Outline, Proof, Reject, Unprovable, script};

use crate::leaves::{Proven, Sources};
use crate::merge;
use crate::trace::{self, Trace};

/// Where the prover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Runs the tokens.
    Trace,
    /// Counts table entries, encodes and hashes.
    Commit,
    /// Proves lookups.
    Lookups,
    /// Brings every value back to committed ones.
    Steps,
    /// Merges all claims and opens the commitment.
    Open,
    /// Commits to the weights, for verifiers without the model.
    Weights,
    /// Opens them.
    OpenWeights,
}

/// Proves a claim. `progress` is told of every phase that begins.
///
/// # Errors
/// [`Unprovable`].
///
/// # Panics
/// If the trace contradicts itself, which is a bug.
pub fn prove(
    model: &Model,
    claim: &ModelClaim,
    progress: &(dyn Fn(Phase) + Sync),
) -> Result<Proof, Unprovable> {
    progress(Phase::Trace);
    let outline = Outline::of(model);
    let mut public = Public::new(&outline, claim, Widths::default())?;
    let mut trace = trace::trace(model, &public)?;
    public.widths = trace::widths(&public.dims, &mut trace)?;
    if !public.draws_are_right() {
        return Err(Unprovable::Draw);
    }
    Ok(prove_trace(model, public, trace, progress))
}

/// Proves that a trace is one of the claim; a trace that is none gives a proof that does not hold.
///
/// # Panics
/// If a value of the trace is in no table.
pub fn prove_trace(
    model: &Model,
    public: Public<'_>,
    mut trace: Trace,
    progress: &(dyn Fn(Phase) + Sync),
) -> Proof {
    progress(Phase::Commit);
    let isa = Isa::best();
    let layout = Layout::new(&public);
    let mut stream = Vec::with_capacity(layout.length);
    for (tensor, place) in &layout.tensors {
        match trace.tensors.remove(tensor) {
            Some(values) => stream.extend(values),
            None => stream.resize(stream.len() + place.rows * place.inner, 0),
        }
    }
    let counts = Sources { public: &public, layout: &layout, trace: &trace, stream: &stream }.counts();
    let place = layout.tensor(Tensor::Counts);
    stream[place.offset..][..counts.len()].copy_from_slice(&counts);
    let committed = Committed::new(stream, layout.stream(public.dims.lane_bits).shape, isa);
    let mut transcript = Transcript::new(&statement(public.claim, &public.widths));
    transcript.absorb(Label::Commitment, &committed.root());

    progress(Phase::Lookups);
    let mut prover = Prover {
        embedded: crate::columns::padded_rows(&trace.embedded, &public.dims),
        model,
        public,
        layout,
        trace,
        committed,
        transcript,
        isa,
        work: 0,
        trees: Vec::new(),
        messages: Vec::new(),
        claims: Vec::new(),
        pending: None,
        progress,
    };
    script::run(&mut prover).expect("an honest prover meets no reason to stop");
    prover.finish()
}

/// The prover's state.
pub struct Prover<'p> {
    pub(crate) model: &'p Model,
    pub(crate) public: Public<'p>,
    pub(crate) layout: Layout,
    pub(crate) trace: Trace,
    pub(crate) committed: Committed,
    /// (position, padded width): the stream before the first block.
    pub(crate) embedded: Vec<i32>,
    transcript: Transcript,
    pub(crate) isa: Isa,
    work: u64,
    trees: Vec<Proven>,
    messages: Vec<Ext>,
    claims: Vec<Claim>,
    /// Columns whose sum was just sent.
    pending: Option<[ExtColumn; 2]>,
    progress: &'p (dyn Fn(Phase) + Sync),
}

impl Prover<'_> {
    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources {
            public: &self.public,
            layout: &self.layout,
            trace: &self.trace,
            stream: self.committed.integers(),
        }
    }

    /// A piece's column, folded over lanes at its tree's point.
    pub(crate) fn folded(&self, [tree, piece, column]: [usize; 3]) -> &[Ext] {
        &self.trees[tree].folded[piece][column]
    }

    /// Weights of lanes at a tree's point.
    pub(crate) fn lane_weights(&self, tree: usize) -> Vec<Ext> {
        let point = &self.trees[tree].end.leaves.point;
        let (_, low) = point.split_at(point.len() - self.public.dims.lane_bits as usize);
        eq_vector(low, self.public.dims.lanes())
    }

    fn say(&mut self, values: &[Ext]) {
        self.transcript.absorb_elements(Label::Claims, values);
        self.messages.extend(values);
    }

    fn sumcheck<const K: usize>(
        &mut self,
        claim: Ext,
        dimensions: &[usize],
        columns: [ExtColumn; K],
    ) -> Reduced<K> {
        let (messages, point, values) =
            sumcheck::prove(columns, dimensions, claim, self.isa, &mut self.transcript);
        self.messages.extend(messages.into_iter().flatten());
        self.say(&values);
        (point, values)
    }

    fn finish(mut self) -> Proof {
        (self.progress)(Phase::Open);
        let stream = self.layout.stream(self.public.dims.lane_bits);
        let claims = std::mem::take(&mut self.claims);
        let (messages, opening) =
            merge::open(&claims, &self.committed, &stream, &mut self.transcript, self.isa);
        self.messages.extend(messages);
        Proof {
            widths: self.public.widths.clone(),
            root: self.committed.root(),
            work: self.work,
            trees: self.trees.into_iter().map(|tree| tree.proof).collect(),
            messages: self.messages,
            opening,
            weights: None,
        }
    }
}

impl Channel for Prover<'_> {
    fn public(&self) -> &Public<'_> {
        &self.public
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn verifies(&self) -> bool {
        false
    }

    fn draw(&mut self, label: Label) -> Ext {
        self.transcript.challenge(label)
    }

    fn work(&mut self) -> Result<(), Reject> {
        self.work = self.transcript.work(WORK_BITS);
        Ok(())
    }

    fn trees(&mut self, alpha: Ext, beta: Ext) -> Result<Vec<TreeEnd>, Reject> {
        let sources = self.sources();
        let fork = |index: usize| self.transcript.fork(index as u64);
        let trees = self.layout.trees.par_iter().enumerate();
        let trees = || -> Vec<Proven> {
            trees
                .map_init(Workspace::default, |workspace, (index, tree)| {
                    sources.prove_tree(tree, [alpha, beta], self.isa, workspace, fork(index))
                })
                .collect()
        };
        let count = self.layout.trees.len();
        let tables = || sources.prove_tables(alpha, beta, self.isa, fork(count));
        // The longest one first.
        let (tables, mut proven) = rayon::join(tables, trees);
        proven.push(tables);
        let forks: Vec<Transcript> = proven.iter().map(|tree| tree.fork.clone()).collect();
        self.transcript.join(&forks);
        let ends = proven.iter().map(|tree| tree.end.clone()).collect();
        self.trees = proven;
        (self.progress)(Phase::Steps);
        Ok(ends)
    }

    fn send(&mut self, what: Value<'_>) -> Result<Ext, Reject> {
        let value = match what {
            Value::Column { tree, piece, column } => {
                let place = self.layout.trees[tree].pieces[piece];
                let lanes = self.public.dims.lanes();
                let point = &self.trees[tree].end.leaves.point;
                let high = &point[..point.len() - self.public.dims.lane_bits as usize];
                let weights = eq_vector(high, 1 << high.len());
                dot(&weights[place.offset / lanes..], self.folded([tree, piece, column]))
            }
            Value::Committed(claim) => {
                let lanes = self.public.dims.lanes();
                let integers = &self.committed.integers()[claim.first * lanes..][..claim.hi.len() * lanes];
                dot(&claim.hi.spread(), &fold_rows(self.isa, integers, &claim.lo))
            }
            Value::Embedded { first, rows, inner: [groups, lanes] } => {
                let weights = outer(groups, lanes);
                let integers = &self.embedded[first * weights.len()..][..rows.len() * weights.len()];
                dot(rows, &fold_rows(self.isa, integers, &weights))
            }
            Value::Sum(product) => {
                let columns = self.columns(product);
                let value = columns[0].iter().zip(columns[1].iter()).map(|(a, b)| a * b).sum();
                self.pending = Some(columns);
                value
            }
        };
        self.say(&[value]);
        Ok(value)
    }

    fn product(&mut self, claim: Ext, dimensions: &[usize], what: Product<'_>) -> Result<Reduced<2>, Reject> {
        let columns = self.pending.take().unwrap_or_else(|| self.columns(what));
        Ok(self.sumcheck(claim, dimensions, columns))
    }

    fn product3(
        &mut self,
        claim: Ext,
        dimensions: &[usize],
        what: Product3<'_>,
    ) -> Result<Reduced<3>, Reject> {
        let columns = self.columns3(what);
        Ok(self.sumcheck(claim, dimensions, columns))
    }

    fn equal(&mut self, _: &'static str, _: Ext, _: Ext) -> Result<(), Reject> {
        // What does not hold is the verifier's to find.
        Ok(())
    }

    fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    fn weights(&mut self, _: WeightClaim) {}
}
