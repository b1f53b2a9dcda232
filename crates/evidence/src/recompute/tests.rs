//! Every number of an honest trace follows from the leaves before it, and from no others.

use std::sync::Arc;

use engine::kernels::Isa;
use engine::trace::{ChunkTrace, Tracer};
use engine::{Engine, EngineOptions};
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::trace::{TraceFault, TraceOperation};

use super::{NumberPlace, Recomputed, Referee};
use crate::audit::AuditModel;
use crate::trace::{LeafPlace, Opening, TraceShape};

const TOKENS: usize = 22;
const LOGITS_FROM: usize = 15;

struct Subject {
    referee: Referee,
    ids: Vec<u32>,
    shape: TraceShape,
    trace: ChunkTrace,
}

fn subject(architecture: Architecture) -> Subject {
    let file = read_gguf(Arc::new(SyntheticModel::tiny(architecture).gguf())).expect("whole");
    let formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
    let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
    let engine = Engine::new(model.clone(), EngineOptions { isa: Isa::best(), threads: 1 }).expect("memory");
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 + 3).collect();
    let trace = Tracer::whole(&engine, &ids, LOGITS_FROM, TOKENS).next().expect("tokens");
    let shape = TraceShape::new(&model, TOKENS);
    Subject { referee: Referee::new(Arc::new(AuditModel::new(model))), ids, shape, trace }
}

impl Subject {
    fn leaf(&self, place: LeafPlace) -> Opening {
        Opening::numbers_of(&self.trace, self.shape, place).expect("there")
    }

    fn inputs(&self, place: NumberPlace) -> Vec<Opening> {
        self.referee.inputs_of(place).into_iter().map(|leaf| self.leaf(leaf)).collect()
    }

    fn number(&self, place: NumberPlace) -> Option<i64> {
        self.leaf(place.leaf()).rows[place.position % 4].get(place.index).copied()
    }

    fn draw(&self, random: &mut SplitMix64) -> NumberPlace {
        let blocks = self.trace.blocks.len() as u64;
        let block = random.below(blocks) as usize;
        let operations = engine::trace::BlockTrace::operations_of(block, blocks as usize - 1);
        let operation = operations[random.below(operations.len() as u64) as usize];
        let first = if operation == TraceOperation::Logits { LOGITS_FROM } else { 0 };
        let position = first + random.below((TOKENS - first) as u64) as usize;
        let mut place = NumberPlace { position, block, operation, index: 0 };
        place.index = random.below(self.referee.width(place.leaf(), position) as u64) as usize;
        place
    }
}

const FAMILIES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3];

/// The engine's kernels are the oracle: they share no code with the referee's one row.
#[test]
fn each_number_follows_from_its_inputs() {
    let mut numbers = 0;
    for architecture in FAMILIES {
        let subject = subject(architecture);
        let mut random = SplitMix64::new(12);
        for _ in 0..2000 {
            let place = subject.draw(&mut random);
            let inputs = subject.inputs(place);
            for input in &inputs {
                let before = subject.shape.index(input.place) < subject.shape.index(place.leaf());
                assert!(before, "{place:?} needs {:?}", input.place);
            }
            let expected = Recomputed::Number { value: subject.number(place).expect("there"), left: None };
            assert_eq!(subject.referee.recompute(&subject.ids, place, &inputs), Some(expected), "{place:?}");
            numbers += 1;
        }
    }
    println!("{numbers} numbers recomputed, all equal");
}

#[test]
fn hostile_inputs_are_named_and_never_computed_with() {
    for architecture in FAMILIES {
        let subject = subject(architecture);
        let mut random = SplitMix64::new(13);
        let (mut bounds, mut lengths) = (0, 0);
        for _ in 0..500 {
            let place = subject.draw(&mut random);
            let mut inputs = subject.inputs(place);
            if inputs.is_empty() {
                continue;
            }
            let which = random.below(inputs.len() as u64) as usize;
            let extreme = [i64::MIN, i64::MAX, 1 << 62, -(1 << 61)][random.below(4) as usize];
            for number in inputs[which].rows.iter_mut().flatten() {
                *number = extreme;
            }
            match subject.referee.recompute(&subject.ids, place, &inputs) {
                Some(Recomputed::Impossible(at, TraceFault::Bound)) => {
                    assert_eq!(at.operation, inputs[which].place.operation);
                    bounds += 1;
                }
                other => panic!("{place:?}: {other:?}"),
            }
            inputs[which].rows.iter_mut().for_each(|row| row.truncate(row.len() - 1));
            match subject.referee.recompute(&subject.ids, place, &inputs) {
                Some(Recomputed::Impossible(at, TraceFault::Length)) => {
                    assert_eq!(at.operation, inputs[which].place.operation);
                    lengths += 1;
                }
                other => panic!("{place:?}: {other:?}"),
            }
            inputs[which].rows.clear();
            assert!(matches!(
                subject.referee.recompute(&subject.ids, place, &inputs),
                Some(Recomputed::Impossible(_, TraceFault::Length))
            ));
            inputs.pop();
            assert_eq!(subject.referee.recompute(&subject.ids, place, &inputs), None);
        }
        assert!(bounds > 100 && lengths > 100);
    }
}

#[test]
fn values_that_leave_the_range_end_the_run_at_their_position() {
    for architecture in FAMILIES {
        let subject = subject(architecture);
        let place = NumberPlace { position: 9, block: 0, operation: TraceOperation::Down, index: 3 };
        let mut inputs = subject.inputs(place);
        let honest = subject.referee.recompute(&subject.ids, place, &inputs);
        assert!(matches!(honest, Some(Recomputed::Number { left: None, .. })));
        // Within the bounds of both matrices, but their product is beyond what an activation may be.
        for (input, matrix) in [(0, 4), (1, 5)] {
            inputs[input].rows[1][0] = (1 << subject.referee.bits[0][matrix]) - 1;
        }
        let found = subject.referee.recompute(&subject.ids, place, &inputs);
        assert_eq!(found, Some(Recomputed::Number { value: 0, left: Some(9) }), "{architecture:?}");
    }
}

#[test]
fn places_that_are_not_there_have_no_number() {
    let subject = subject(Architecture::Llama);
    let place = |position, block, operation, index| NumberPlace { position, block, operation, index };
    let vocab = subject.referee.subject().model().config.vocab as usize;
    use TraceOperation as Op;
    for place in [
        place(TOKENS, 0, Op::Residual, 0),
        place(usize::MAX, 0, Op::Residual, 0),
        place(0, 3, Op::Residual, 0),
        place(0, usize::MAX, Op::Query, 0),
        place(0, 2, Op::Query, 0),
        place(0, 0, Op::Logits, 0),
        place(0, 0, Op::Residual, 64),
        place(20, 2, Op::Logits, vocab),
        place(3, 1, Op::Scores, 16),
    ] {
        let known = |leaf: &LeafPlace| Opening::numbers_of(&subject.trace, subject.shape, *leaf);
        let inputs: Vec<Opening> = subject.referee.inputs_of(place).iter().filter_map(known).collect();
        assert_eq!(subject.referee.recompute(&subject.ids, place, &inputs), None, "{place:?}");
    }
}
