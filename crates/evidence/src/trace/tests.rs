//! Openings lead to the root of exactly the trace that they are from.

use std::sync::Arc;

use engine::kernels::Isa;
use engine::trace::{ChunkTrace, Tracer, width};
use engine::{Engine, EngineOptions};
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::TraceRoot;
use protocol::merkle::MerkleReason;
use protocol::trace::{TraceFault, TraceOperation};

use super::{
    LEAF_TOKENS, LeafPlace, Opening, OpeningError, TraceCheck, TraceShape, TraceTree, gather, places_of, tile,
};

const TOKENS: usize = 22;

fn engine() -> Engine {
    let file = read_gguf(Arc::new(SyntheticModel::tiny(Architecture::Llama).gguf())).expect("whole");
    let formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
    let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
    Engine::new(model, EngineOptions { isa: Isa::best(), threads: 1 }).expect("memory for a tiny model")
}

fn whole(engine: &Engine, chunk: usize) -> Vec<ChunkTrace> {
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 + 3).collect();
    Tracer::whole(engine, &ids, 15, chunk).collect()
}

fn tree(shape: TraceShape, trace: &[ChunkTrace]) -> TraceTree {
    let mut tree = TraceTree::new(shape);
    assert!(trace.iter().all(|chunk| tree.push(chunk)));
    tree
}

/// Every place of the trace's tree, in order.
fn places(shape: TraceShape) -> Vec<LeafPlace> {
    let mut places = Vec::new();
    for chunk in 0..shape.tokens.div_ceil(LEAF_TOKENS) {
        for block in 0..=shape.blocks {
            for operation in engine::trace::BlockTrace::operations_of(block, shape.blocks) {
                places.push(LeafPlace { chunk, block, operation: *operation });
            }
        }
    }
    places
}

#[test]
fn every_leaf_opens_to_the_root() {
    let engine = engine();
    let shape = TraceShape::new(engine.model(), TOKENS);
    let trace = whole(&engine, TOKENS);
    let tree = tree(shape, &trace);
    let root = tree.root().expect("complete");
    let tree = tree.finish().expect("complete");
    assert_eq!(tree.root(), root);
    let places = places(shape);
    assert_eq!((places.len(), shape.leaves()), (6 * 22, 6 * 22));
    for (index, place) in places.iter().enumerate() {
        assert_eq!(shape.index(*place), Some(index));
        let opening = tree.open(&trace[0], *place).expect("there");
        assert_eq!(opening.verify(shape, &root), Ok(()));
        let bytes = opening.encode();
        assert_eq!(Opening::decode(*place, 384, &bytes), Ok(opening.clone()));
        // The numbers are those of the trace.
        let number = if place.operation == TraceOperation::Logits { 1 } else { place.operation as usize };
        for (row, found) in opening.rows.iter().enumerate() {
            let position = place.chunk * LEAF_TOKENS + row;
            assert_eq!(found, trace[0].blocks[place.block].operations[number].row(position));
        }
        // At another place, or with another number, it leads elsewhere.
        let other = Opening { place: places[(index + 1) % places.len()], ..opening.clone() };
        assert!(other.verify(shape, &root).is_err(), "{place:?}");
        let mut changed = opening;
        if let Some(number) = changed.rows.iter_mut().flatten().next() {
            *number ^= 1;
            assert_eq!(changed.verify(shape, &root), Err(OpeningError::Path(MerkleReason::Root)));
        }
    }
}

#[test]
fn the_root_does_not_depend_on_chunks() {
    let engine = engine();
    let shape = TraceShape::new(engine.model(), TOKENS);
    let root = tree(shape, &whole(&engine, TOKENS)).root();
    for chunk in [4, 8, 12] {
        assert_eq!(tree(shape, &whole(&engine, chunk)).root(), root);
    }
    // A part of a leaf, a gap, and a trace that ends early are refused.
    let mut partial = TraceTree::new(shape);
    assert!(!partial.push(&whole(&engine, 5)[0]));
    let trace = whole(&engine, 4);
    assert!(!partial.push(&trace[1]));
    assert!(partial.push(&trace[0]));
    assert!(!partial.push(&trace[0]));
    assert_eq!(partial.root(), None);
    let mut short = trace[1].clone();
    short.blocks.pop();
    assert!(!partial.push(&short));
}

#[test]
fn no_changed_byte_of_an_opening_is_accepted() {
    let engine = engine();
    let shape = TraceShape::new(engine.model(), TOKENS);
    let trace = whole(&engine, TOKENS);
    let tree = tree(shape, &trace);
    let tree = tree.finish().expect("complete");
    let root = tree.root();
    let mut random = SplitMix64::new(8);
    let mut trials = 0;
    for place in [
        LeafPlace { chunk: 0, block: 0, operation: TraceOperation::Key },
        LeafPlace { chunk: 2, block: 1, operation: TraceOperation::Scores },
        LeafPlace { chunk: 5, block: 2, operation: TraceOperation::Logits },
    ] {
        let bytes = tree.open(&trace[0], place).expect("there").encode();
        let most = (0..TOKENS).map(|p| width(engine.model(), place.block, place.operation, p)).max();
        let most = most.expect("tokens");
        let judge = |bytes: &[u8]| {
            Opening::decode(place, most, bytes).and_then(|opening| opening.verify(shape, &root))
        };
        assert_eq!(judge(&bytes), Ok(()));
        for _ in 0..1000 {
            let mut changed = bytes.clone();
            let at = random.below(bytes.len() as u64) as usize;
            changed[at] ^= 1 << random.below(8);
            assert!(judge(&changed).is_err(), "byte {at}");
            assert!(judge(&bytes[..at]).is_err());
            trials += 1;
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(judge(&longer), Err(OpeningError::Form));
        assert_eq!(Opening::decode(place, 3, &bytes), Err(OpeningError::Form));
    }
    println!("{trials} changed openings, all refused");
    // The same numbers in more bytes each.
    let wide = [2, 1, 1, 0, 0, 0, 5, 0, 0];
    let place = LeafPlace { chunk: 0, block: 0, operation: TraceOperation::Key };
    assert_eq!(Opening::decode(place, 9, &wide), Err(OpeningError::Form));
    let narrow = [1, 1, 1, 0, 0, 0, 5, 0];
    assert_eq!(Opening::decode(place, 9, &narrow).map(|opening| opening.rows), Ok(vec![vec![5]]));
    assert_eq!(Opening::decode(place, 9, &[]), Err(OpeningError::Form));
    assert_eq!(Opening::decode(place, 9, &[1, 1, 255, 255, 255, 255]), Err(OpeningError::Form));
}

#[test]
fn places_that_are_not_there_have_no_leaf() {
    let shape = TraceShape { tokens: TOKENS, blocks: 2 };
    let place = |chunk, block, operation| LeafPlace { chunk, block, operation };
    assert_eq!(shape.index(place(6, 0, TraceOperation::Key)), None);
    assert_eq!(shape.index(place(usize::MAX, 0, TraceOperation::Key)), None);
    assert_eq!(shape.index(place(0, 3, TraceOperation::Residual)), None);
    assert_eq!(shape.index(place(0, 2, TraceOperation::Key)), None);
    assert_eq!(shape.index(place(0, 0, TraceOperation::Logits)), None);
    assert_eq!(shape.index(place(5, 2, TraceOperation::Logits)), Some(131));
}

#[test]
fn another_trace_is_not_the_committed_one() {
    let engine = engine();
    let shape = TraceShape::new(engine.model(), TOKENS);
    let trace = whole(&engine, 8);
    let root = tree(shape, &trace).root().expect("complete");
    let check = |trace: &[ChunkTrace], root: &TraceRoot| {
        let mut check = TraceCheck::new(shape);
        trace.iter().for_each(|chunk| check.push(chunk));
        check.finish(root).map(|(_, fault)| fault)
    };
    assert_eq!(check(&trace, &root), None);
    assert_eq!(check(&trace[..2], &root), Some(TraceFault::Length));
    assert_eq!(check(&trace[1..], &root), Some(TraceFault::Length));
    assert_eq!(check(&trace, &TraceRoot::from_bytes([0; 32])), Some(TraceFault::Commitment));
    let mut changed = trace.clone();
    changed[2].blocks[1].operations[9].values[0] += 1;
    assert_eq!(check(&changed, &root), Some(TraceFault::Commitment));
}

/// What is opened for some parts is what a pass that records them gives.
#[test]
fn openings_of_parts_make_their_trace() {
    let engine = engine();
    let shape = TraceShape::new(engine.model(), TOKENS);
    let trace = whole(&engine, TOKENS);
    let opener = tree(shape, &trace).finish().expect("complete");
    let ids: Vec<u32> = (0..TOKENS as u32).map(|i| i * 7 + 3).collect();
    for parts in [vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1, 2], vec![]] {
        let open = |place: &LeafPlace| opener.open(&trace[0], *place).expect("there");
        let openings: Vec<Opening> = places_of(shape, &parts).iter().map(open).collect();
        assert!(openings.iter().all(|opening| opening.verify(shape, &opener.root()).is_ok()));
        let expected = Tracer::new(&engine, &ids, 15, TOKENS, &parts).next().expect("tokens");
        assert_eq!(gather(shape, &parts, openings.clone()), Some(expected));
        if openings.len() > 1 {
            let mut swapped = openings.clone();
            swapped.swap(0, 1);
            assert_eq!(gather(shape, &parts, swapped), None);
            let mut repeated = openings;
            repeated[1] = repeated[0].clone();
            assert_eq!(gather(shape, &parts, repeated), None);
        }
    }
}

/// A leaf is known from its tiles alone, and each tile from its bytes alone.
#[test]
fn a_leaf_is_its_tiles() {
    let place = LeafPlace { chunk: 1, block: 2, operation: TraceOperation::Logits };
    let row = |length: i64, step: i64| (0..length).map(|i| i * step).collect::<Vec<i64>>();
    let rows = vec![vec![], row(2500, 3), row(1024, -(1 << 40)), row(1, 0)];
    let opening = Opening { place, rows: rows.clone(), path: Vec::new() };
    let tiles = tile::hashes_of(&rows);
    assert_eq!(tiles.len(), 3 + 1 + 1);
    let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
    assert_eq!(tiles.len(), lengths.iter().map(|length| tile::tiles_of_row(*length)).sum::<usize>());
    assert_eq!(tile::leaf_hash(place, &lengths, &tiles), opening.leaf_hash());
    // Other lengths, another place, another order.
    let moved = [2500, 0, 1024, 1];
    assert_ne!(tile::leaf_hash(place, &moved, &tiles), opening.leaf_hash());
    let other = LeafPlace { chunk: 2, ..place };
    assert_ne!(tile::leaf_hash(other, &lengths, &tiles), opening.leaf_hash());
    let mut swapped = tiles.clone();
    swapped.swap(0, 1);
    assert_ne!(tile::leaf_hash(place, &lengths, &swapped), opening.leaf_hash());
    let bytes = tile::encode(&rows[1][1024..2048]);
    assert_eq!(tile::hash(&bytes), tiles[1]);
    assert_eq!(tile::decode(&bytes, 1024).as_deref(), Some(&rows[1][1024..2048]));
    for (bytes, count) in [(&bytes[..], 1023), (&bytes[1..], 1024), (&[], 0), (&[9], 0), (&[2, 5, 0], 1)] {
        assert_eq!(tile::decode(bytes, count), None);
    }
    assert_eq!(tile::decode(&[1, 5], 1), Some(vec![5]));
    assert_eq!(tile::decode(&[1], usize::MAX), None);
}
