//! What a cheating prover shows, and the exact place at which the audit finds it. The expected place is the first at
//! which its trace differs from that of an honest engine on the same tokens, counted token first.

use std::sync::Arc;

use engine::Engine;
use engine::trace::{BlockTrace, ChunkTrace};
use evidence::field::Mersenne61;
use evidence::replay::{replay, replay_batch};
use evidence::trace::commit;
use model::gguf::Gguf;
use model::import::Architecture;
use model::synthetic::{Encoded, SplitMix64, SyntheticModel};
use protocol::claim::FinishReason;
use protocol::trace::{TraceFault, TraceOperation, TracePlace};
use protocol::verdict::{Reason, Verdict};
use protocol::{Claim, TraceRoot};

use crate::audit::{Audit, FAMILIES, random_request, trace};
use crate::replay::{honest, request, start};

const CHUNK: usize = 16;

fn rejected(place: TracePlace, fault: TraceFault) -> Verdict {
    Verdict::Reject(Reason::ExecutionTrace { place, fault })
}

fn place(position: usize, block: usize, operation: TraceOperation) -> TracePlace {
    TracePlace { position: position as u32, block: block as u32, operation }
}

fn whole(engine: &Engine, claim: &Claim) -> Vec<ChunkTrace> {
    trace(engine, claim, CHUNK).collect()
}

/// The first place at which two traces differ.
fn first_difference(a: &[ChunkTrace], b: &[ChunkTrace]) -> Option<TracePlace> {
    let blocks = a[0].blocks.len() - 1;
    for (a, b) in a.iter().zip(b) {
        for index in 0..a.count {
            for (a_block, b_block) in a.blocks.iter().zip(&b.blocks) {
                let names = BlockTrace::operations_of(a_block.block, blocks);
                for ((name, a_rows), b_rows) in names.iter().zip(&a_block.operations).zip(&b_block.operations)
                {
                    if a_rows.row(index) != b_rows.row(index) {
                        return Some(place(a.start + index, a_block.block, *name));
                    }
                }
            }
        }
    }
    None
}

/// An engine of changed bytes with the honest formats: what runs behind the honest name.
pub(crate) fn cheat(engine: &Engine, bytes: Vec<u8>) -> Engine {
    let cheat = start(bytes, Some(engine.model().formats.clone()));
    assert_ne!(cheat.model().commitment, engine.model().commitment);
    cheat
}

/// Its claim under the honest name.
pub(crate) fn claim_of(cheat: &Engine, engine: &Engine) -> Claim {
    Claim { model: engine.model().commitment, ..honest(cheat, request()) }
}

/// The bytes of a tensor in a file.
pub(crate) fn tensor_range(bytes: &[u8], name: &str) -> std::ops::Range<usize> {
    let file = Gguf::parse(Arc::new(bytes.to_vec())).expect("whole");
    let tensor = file.tensors().iter().find(|t| t.name() == name).expect("there");
    let tensor = tensor.bytes().as_slice();
    let start = bytes.windows(tensor.len()).position(|w| w == tensor).expect("in the file");
    start..start + tensor.len()
}

/// Blocks of 20 bytes of Q4_1: f16 scale, f16 minimum, 16 bytes of quants.
const BLOCK_BYTES: usize = 20;

/// A block's matrices by their names in a file, and the products with them.
pub(crate) const MATRICES: [(&str, TraceOperation); 7] = [
    ("attn_q", TraceOperation::Query),
    ("attn_k", TraceOperation::Key),
    ("attn_v", TraceOperation::Value),
    ("attn_output", TraceOperation::Output),
    ("ffn_gate", TraceOperation::Gate),
    ("ffn_up", TraceOperation::Up),
    ("ffn_down", TraceOperation::Down),
];

/// Wide heads, so that each has whole blocks of the output matrix.
pub(crate) fn wide_heads() -> SyntheticModel {
    SyntheticModel { head_dim: 32, ..SyntheticModel::tiny(Architecture::Llama) }
}

#[test]
fn one_changed_weight_is_found_where_it_first_acts() {
    let mut trials = 0;
    for (matrix, operation) in MATRICES {
        let tiny = SyntheticModel::tiny(Architecture::Llama);
        let engine = start(tiny.gguf(), None);
        let mut audit = Audit::<Mersenne61>::of(&engine);
        let bytes = tiny.gguf();
        let range = tensor_range(&bytes, &format!("blk.1.{matrix}.weight"));
        let mut random = SplitMix64::new(11);
        for _ in 0..8 {
            let mut tampered = bytes.clone();
            let block = random.below((range.len() / BLOCK_BYTES) as u64) as usize;
            // One step of the grid's quants.
            tampered[range.start + block * BLOCK_BYTES + 4 + random.below(16) as usize] ^= 1;
            let cheat = cheat(&engine, tampered);
            let claim = claim_of(&cheat, &engine);
            let shown = whole(&cheat, &claim);
            let first = first_difference(&whole(&engine, &claim), &shown).expect("the weight acts");
            assert_eq!((first.block, first.operation), (1, operation));
            assert_eq!(audit.judge(&claim, shown.into_iter()), rejected(first, TraceFault::Product));
            trials += 1;
        }
    }
    println!("{trials} changed weights, all found");
}

#[test]
fn a_dropped_head_and_a_skipped_block_are_found() {
    let tiny = wide_heads();
    let engine = start(tiny.gguf(), None);
    let mut audit = Audit::<Mersenne61>::of(&engine);
    let blocks_per_row = 4 * 32 / 32;
    // A head dropped: its columns of the output matrix weigh nothing.
    for (block, head) in [(0, 0), (0, 3), (1, 1), (1, 2)] {
        let mut bytes = tiny.gguf();
        let range = tensor_range(&bytes, &format!("blk.{block}.attn_output.weight"));
        for row in bytes[range].chunks_exact_mut(BLOCK_BYTES * blocks_per_row) {
            row[head * BLOCK_BYTES..][..BLOCK_BYTES].fill(0);
        }
        let cheat = cheat(&engine, bytes);
        let claim = claim_of(&cheat, &engine);
        let expected = place(0, block, TraceOperation::Output);
        let verdict = audit.judge(&claim, trace(&cheat, &claim, CHUNK));
        assert_eq!(verdict, rejected(expected, TraceFault::Product), "block {block}, head {head}");
    }
    // A block skipped: nothing is added to the stream.
    for block in 0..2 {
        let mut bytes = tiny.gguf();
        for matrix in ["attn_output", "ffn_down"] {
            let range = tensor_range(&bytes, &format!("blk.{block}.{matrix}.weight"));
            bytes[range].fill(0);
        }
        let cheat = cheat(&engine, bytes);
        let claim = claim_of(&cheat, &engine);
        let expected = rejected(place(0, block, TraceOperation::Output), TraceFault::Product);
        assert_eq!(audit.judge(&claim, trace(&cheat, &claim, CHUNK)), expected);
        // The same, and the honest numbers shown for the block: the stream behind it gives it away.
        let mut shown = whole(&cheat, &claim);
        for (shown, honest) in shown.iter_mut().zip(whole(&engine, &claim)) {
            let mut honest = honest.blocks[block].clone();
            honest.operations[0] = shown.blocks[block].operations[0].clone();
            shown.blocks[block] = honest;
        }
        let expected = rejected(place(0, block + 1, TraceOperation::Residual), TraceFault::Carried);
        assert_eq!(audit.judge(&claim, shown.into_iter()), expected);
    }
}

/// One position's keys and values are those of another token, for all that comes after it.
#[test]
fn one_corrupted_cache_entry_is_found_at_the_next_token() {
    for (number, architecture) in FAMILIES.into_iter().enumerate() {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let mut audit = Audit::<Mersenne61>::of(&engine);
        let claim = honest(&engine, request());
        let honest = whole(&engine, &claim);
        for corrupt in [0, 4, 15] {
            let mut poisoned = claim.clone();
            poisoned.prompt_ids[corrupt] = (poisoned.prompt_ids[corrupt] + 100 + number as u32) % 300;
            let after: Vec<ChunkTrace> = trace(&engine, &poisoned, corrupt + 1).collect();
            // Chunks end behind the corrupted position: all before is honest, all after has seen it.
            let mut shown: Vec<ChunkTrace> = trace(&engine, &claim, corrupt + 1).take(1).collect();
            shown.extend(after.into_iter().skip(1));
            let verdict = audit.judge(&claim, shown.into_iter());
            let expected = place(corrupt + 1, 0, TraceOperation::Scores);
            assert_eq!(verdict, rejected(expected, TraceFault::Product), "{architecture:?}");
        }
        assert_eq!(audit.judge(&claim, honest.into_iter()), Verdict::Accept);
    }
}

#[test]
fn a_shortened_window_is_found() {
    let tiny = SyntheticModel::tiny(Architecture::Gemma3);
    let engine = start(tiny.gguf(), None);
    let mut audit = Audit::<Mersenne61>::of(&engine);
    let mut writer = tiny.writer();
    writer.set("gemma3.attention.sliding_window", Encoded::u32(9));
    let cheat = cheat(&engine, writer.finish());
    let claim = claim_of(&cheat, &engine);
    let shown = whole(&cheat, &claim);
    // The tenth token is the first that sees one key less.
    let expected = place(9, 0, TraceOperation::Scores);
    assert_eq!(audit.judge(&claim, shown.clone().into_iter()), rejected(expected, TraceFault::Length));

    // The same in full length: keys outside of the window score so little that they weigh nothing.
    let honest = whole(&engine, &claim);
    let padded: Vec<ChunkTrace> = shown
        .into_iter()
        .zip(honest)
        .map(|(mut shown, honest)| {
            for (block, honest) in shown.blocks.iter_mut().zip(honest.blocks).take(6) {
                let scores = &mut block.operations[TraceOperation::Scores as usize];
                let mut full = honest.operations[TraceOperation::Scores as usize].clone();
                for index in 0..shown.count {
                    let (short, bounds) = (scores.row(index), full.starts[index]..full.starts[index + 1]);
                    let heads = 4;
                    let (have, need) = (short.len() / heads, bounds.len() / heads);
                    for (full, short) in
                        full.values[bounds].chunks_exact_mut(need).zip(short.chunks_exact(have))
                    {
                        full[..need - have].fill(-(1 << 40));
                        full[need - have..].copy_from_slice(short);
                    }
                }
                *scores = full;
            }
            shown
        })
        .collect();
    assert_eq!(audit.judge(&claim, padded.into_iter()), rejected(expected, TraceFault::Product));
}

#[test]
fn a_trace_of_other_tokens_is_found_at_the_first_of_them() {
    let engine = start(SyntheticModel::tiny(Architecture::Llama).gguf(), None);
    let mut audit = Audit::<Mersenne61>::of(&engine);
    let claim = honest(&engine, request());
    // Of another prompt.
    let mut other = claim.clone();
    other.prompt_ids[6] += 1;
    let expected = rejected(place(6, 0, TraceOperation::Residual), TraceFault::Carried);
    assert_eq!(audit.judge(&claim, trace(&engine, &other, CHUNK)), expected);
    // The claim has another output than the trace.
    let prompt = claim.prompt_ids.len();
    let mut forged = claim.clone();
    let computed = forged.output_ids[4];
    forged.output_ids[4] = (computed + 1) % 300;
    let expected = rejected(place(prompt + 4, 0, TraceOperation::Residual), TraceFault::Carried);
    assert_eq!(audit.judge(&forged, trace(&engine, &claim, CHUNK)), expected);
    // An honest trace of a forged output: the sampler says what must stand there.
    let claimed = forged.output_ids[4];
    let expected = Verdict::Reject(Reason::OutputToken { position: 4, claimed, computed });
    assert_eq!(audit.judge(&forged, trace(&engine, &forged, CHUNK)), expected);
    // The last token is never read: its logits alone tell.
    let mut last = claim.clone();
    let computed = last.output_ids[15];
    last.output_ids[15] = (computed + 1) % 300;
    let expected =
        Verdict::Reject(Reason::OutputToken { position: 15, claimed: last.output_ids[15], computed });
    assert_eq!(audit.judge(&last, trace(&engine, &claim, CHUNK)), expected);
}

/// A trial: one number of an honest trace changed, anywhere, by a little or by a lot.
#[test]
fn one_changed_number_is_found_at_its_place() {
    let mut trials = 0;
    for architecture in FAMILIES {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let mut audit = Audit::<Mersenne61>::of(&engine);
        let mut random = SplitMix64::new(3);
        let claim = honest(&engine, random_request(&engine, &mut random, 1));
        let honest = whole(&engine, &claim);
        for _ in 0..500 {
            let mut shown = honest.clone();
            let chunk_index = random.below(shown.len() as u64) as usize;
            let chunk = &mut shown[chunk_index];
            let index = random.below(chunk.count as u64) as usize;
            let block_index = random.below(chunk.blocks.len() as u64) as usize;
            let blocks = chunk.blocks.len() - 1;
            let names = BlockTrace::operations_of(block_index, blocks);
            let number = random.below(names.len() as u64) as usize;
            let rows = &mut chunk.blocks[block_index].operations[number];
            let width = rows.starts[index + 1] - rows.starts[index];
            if width == 0 {
                continue;
            }
            let at = rows.starts[index] + random.below(width as u64) as usize;
            let by = [1, -1, 1 << 20, (1 << 61) - 1, -(1 << 61) + 1][random.below(5) as usize];
            rows.values[at] = rows.values[at].wrapping_add(by);
            let expected = place(chunk.start + index, block_index, names[number]);
            let fault = if names[number] == TraceOperation::Residual {
                TraceFault::Carried
            } else if by.abs() > 1 << 60 {
                // Integers that are equal in the field are kept apart by the bound.
                TraceFault::Bound
            } else {
                TraceFault::Product
            };
            assert_eq!(audit.judge(&claim, shown.into_iter()), rejected(expected, fault));
            trials += 1;
        }
    }
    println!("{trials} changed numbers, all found at their places");
    assert!(trials > 1000);
}

#[test]
fn traces_of_the_wrong_shape_are_faults() {
    let engine = start(SyntheticModel::tiny(Architecture::Llama).gguf(), None);
    let mut audit = Audit::<Mersenne61>::of(&engine);
    let claim = honest(&engine, request());
    let honest = whole(&engine, &claim);
    let mut check = |expected: TracePlace, change: &dyn Fn(&mut Vec<ChunkTrace>)| {
        let mut shown = honest.clone();
        change(&mut shown);
        assert_eq!(audit.judge(&claim, shown.into_iter()), rejected(expected, TraceFault::Length));
    };
    check(place(0, 0, TraceOperation::Residual), &|trace| trace.clear());
    check(place(0, 0, TraceOperation::Residual), &|trace| trace[0].start = 1);
    check(place(0, 0, TraceOperation::Residual), &|trace| trace[0].count = 0);
    check(place(0, 0, TraceOperation::Residual), &|trace| trace[0].count = usize::MAX);
    check(place(16, 0, TraceOperation::Residual), &|trace| trace.truncate(1));
    check(place(16, 0, TraceOperation::Residual), &|trace| trace.swap(1, 2));
    check(place(32, 0, TraceOperation::Residual), &|trace| trace[2].count += 1);
    check(place(16, 0, TraceOperation::Residual), &|trace| drop(trace[1].blocks.pop()));
    check(place(16, 0, TraceOperation::Residual), &|trace| trace[1].blocks.swap(0, 1));
    check(place(0, 1, TraceOperation::Down), &|trace| drop(trace[0].blocks[1].operations.pop()));
    check(place(0, 0, TraceOperation::Gate), &|trace| trace[0].blocks[0].operations[7].starts.clear());
    check(place(2, 0, TraceOperation::Gate), &|trace| {
        trace[0].blocks[0].operations[7].starts[3] = usize::MAX
    });
    check(place(15, 1, TraceOperation::Query), &|trace| {
        trace[0].blocks[1].operations[1].values.truncate(16 * 64 - 1);
    });
    check(place(19, 2, TraceOperation::Logits), &|trace| trace[1].blocks[2].operations[1].values.clear());
}

/// 10,000 audits of honest traces under fresh coins: none may be rejected.
#[test]
fn no_false_alarm() {
    let mut audits = 0;
    for architecture in FAMILIES {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let mut audit = Audit::<Mersenne61>::of(&engine);
        let mut random = SplitMix64::new(21);
        for number in 0..25 {
            let claim = honest(&engine, random_request(&engine, &mut random, number));
            let shown: Vec<ChunkTrace> = trace(&engine, &claim, 1 + random.below(60) as usize).collect();
            for _ in 0..100 {
                assert_eq!(audit.judge(&claim, shown.iter()), Verdict::Accept, "{architecture:?}");
                audits += 1;
            }
        }
    }
    println!("{audits} honest audits, 0 rejected");
    assert!(audits >= 10_000);
}

/// A server that stops where it likes and says that its reader left, and one whose output is right but whose trace is not.
#[test]
fn what_a_claim_says_beside_its_output_is_checked_as_well() {
    let engine = start(SyntheticModel::tiny(Architecture::Llama).gguf(), None);
    let mut audit = Audit::<Mersenne61>::of(&engine);
    let honest_claim = honest(&engine, request());
    let mut left = honest_claim.clone();
    left.output_ids.truncate(5);
    left.fingerprints.truncate(5);
    left.output_bytes = engine.model().tokenizer.decode_bytes(&left.output_ids).expect("known");
    left.finish = FinishReason::ReaderLeft;
    let shown = whole(&engine, &left);
    let verdict = audit.judge(&left, shown.into_iter());
    assert!(matches!(verdict, Verdict::Reject(Reason::EndsEarly { .. })), "{verdict}");
    // The root of other numbers.
    let root = commit(&engine, &honest_claim).expect("tokens").root();
    let right = Claim { trace: Some(root), ..honest_claim.clone() };
    let wrong = Claim { trace: Some(TraceRoot::from_bytes([9; 32])), ..honest_claim };
    let expected = rejected(place(0, 0, TraceOperation::Residual), TraceFault::Commitment);
    assert_eq!(replay(&engine, &right, None), Ok(Verdict::Accept));
    assert_eq!(replay(&engine, &wrong, None), Ok(expected.clone()));
    let batch: Vec<_> = replay_batch(&engine, &[&right, &wrong, &right]);
    assert_eq!(batch, [Ok(Verdict::Accept), Ok(expected), Ok(Verdict::Accept)]);
}
