//! Audits of some blocks: honest ones are accepted, a wrong block is found exactly if it is among them.

use engine::Engine;
use engine::trace::{ChunkTrace, Tracer};
use evidence::audit::{AuditCoins, Auditor, transcript};
use evidence::field::Mersenne61;
use evidence::trace::{TraceShape, TraceTree, gather, places_of};
use model::import::Architecture;
use model::synthetic::{SplitMix64, SyntheticModel};
use protocol::Claim;
use protocol::trace::TraceFault;
use protocol::verdict::{Reason, Verdict};

use crate::audit::{Audit, FAMILIES, random_request, trace};
use crate::replay::{honest, request, start};

fn judge(audit: &Audit<Mersenne61>, claim: &Claim, parts: &[usize], trace: &[ChunkTrace]) -> Verdict {
    let coins = AuditCoins { attention: [9; 32] };
    let mut auditor = match Auditor::of_parts(&audit.subject, &audit.prepared, claim, coins, parts) {
        Ok(auditor) => auditor,
        Err(verdict) => return verdict,
    };
    trace.iter().for_each(|chunk| auditor.push(chunk));
    auditor.finish().expect("this judge can decode")
}

fn recorded(engine: &Engine, claim: &Claim, parts: &[usize], chunk: usize) -> Vec<ChunkTrace> {
    let (ids, from) = transcript(engine.model(), claim);
    Tracer::new(engine, &ids, from, chunk, parts).collect()
}

#[test]
fn honest_parts_are_accepted() {
    let mut audits = 0;
    for architecture in FAMILIES {
        let engine = start(SyntheticModel::tiny(architecture).gguf(), None);
        let audit = Audit::<Mersenne61>::of(&engine);
        let blocks = engine.model().tensors.blocks.len() as u64;
        let mut random = SplitMix64::new(6);
        for number in 0..25 {
            let claim = honest(&engine, random_request(&engine, &mut random, number));
            for _ in 0..4 {
                let parts: Vec<usize> =
                    (0..=blocks).filter(|_| random.below(2) == 0).map(|block| block as usize).collect();
                let trace = recorded(&engine, &claim, &parts, 1 + random.below(40) as usize);
                assert_eq!(judge(&audit, &claim, &parts, &trace), Verdict::Accept, "{parts:?}");
                audits += 1;
            }
        }
    }
    println!("{audits} audits of parts, 0 rejected");
}

/// A trace whose numbers were all honestly computed but one block's: found exactly if that block is looked at, and a
/// block whose output is not what the next one gets is found by either.
#[test]
fn a_wrong_block_is_found_exactly_if_it_is_among_the_parts() {
    let tiny = SyntheticModel { blocks: 5, ..SyntheticModel::tiny(Architecture::Llama) };
    let engine = start(tiny.gguf(), None);
    let audit = Audit::<Mersenne61>::of(&engine);
    let other = start(SyntheticModel { seed: 2, ..tiny }.gguf(), Some(engine.model().formats.clone()));
    let claim = honest(&engine, request());
    let whole: Vec<ChunkTrace> = trace(&engine, &claim, 64).collect();
    let foreign: Vec<ChunkTrace> = trace(&other, &claim, 64).collect();
    let (mut found, mut trials) = (0, 0);
    for wrong in 0..5 {
        // The block's products come from other weights, on the same input.
        let mut shown = whole.clone();
        let operations = &mut shown[0].blocks[wrong].operations;
        operations[1..].clone_from_slice(&foreign[0].blocks[wrong].operations[1..]);
        for looked in 0..=5 {
            let mut parts = shown.clone();
            parts[0].blocks.retain(|block| block.block == looked || block.block == looked + 1);
            if let Some(next) = parts[0].blocks.iter_mut().find(|block| block.block == looked + 1) {
                next.operations.truncate(1);
            }
            let verdict = judge(&audit, &claim, &[looked], &parts);
            trials += 1;
            if looked == wrong {
                assert!(matches!(
                    verdict,
                    Verdict::Reject(Reason::ExecutionTrace { place, fault: TraceFault::Product })
                        if place.block as usize == wrong && place.position == 0
                ));
                found += 1;
            } else {
                assert_eq!(verdict, Verdict::Accept, "wrong {wrong}, looked at {looked}");
            }
        }
    }
    println!("{found} of {trials} looks found the wrong block: 1 in 6, as drawn");
}

#[test]
fn openings_under_the_root_are_audited_like_the_trace() {
    let engine = start(SyntheticModel::tiny(Architecture::Qwen3).gguf(), None);
    let audit = Audit::<Mersenne61>::of(&engine);
    let mut claim = honest(&engine, request());
    let whole: Vec<ChunkTrace> = trace(&engine, &claim, 64).collect();
    let shape = TraceShape::new(engine.model(), whole[0].count);
    let mut tree = TraceTree::new(shape);
    assert!(tree.push(&whole[0]));
    let opener = tree.finish().expect("complete");
    claim.trace = Some(opener.root());
    for parts in [[0].as_slice(), &[1], &[2], &[0, 2]] {
        let open = |place| opener.open(&whole[0], place).expect("there");
        let openings: Vec<_> = places_of(shape, parts).into_iter().map(open).collect();
        let root = claim.trace.expect("set above");
        assert!(openings.iter().all(|opening| opening.verify(shape, &root).is_ok()));
        let gathered = gather(shape, parts, openings).expect("in order");
        assert_eq!(judge(&audit, &claim, parts, &[gathered]), Verdict::Accept);
    }
}
