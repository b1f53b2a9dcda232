//! SmolLM2-135M-Instruct Q4_1, the published file: the same integers as the program outside, for every
//! kernel. `cargo xtask test` pulls the model first; without it these tests say that they are skipped.

use std::path::PathBuf;
use std::sync::Arc;

use engine::accumulate::KernelAccumulate;
use engine::execute::Chunk;
use engine::kernels::Isa;
use engine::{Engine, EngineOptions};
use model::Model;
use model::commitment::calibrate_file;
use model::formats::Site;
use model::import::read_gguf;
use sha2::{Digest, Sha256};

/// "The quick ..": ids of the outside program's example, beginning with BOS.
const IDS: [u32; 6] = [1, 504, 3575, 282, 4649, 314];
/// Sequences in one batch: 24 tokens.
const COPIES: usize = 4;
/// `oracle/integer_reference.py MODEL --formats FORMATS --ids 1,504,3575,282,4649,314`, field `sha256`:
/// written from docs/numerics.md alone.
const LOGITS_SHA256: &str = "feb4e15c768998478a86d9d17e8b0cb3e75e0e0db102bbf2d8cc9fdaab5a7927";
/// `oracle/integer_reference.py MODEL --calibrate --tokenized IDS`: residual exponent, then down inputs.
const RESIDUAL: i32 = 10;
const DOWN_INPUTS: [i32; 30] = [
    11, 11, 8, 12, 11, 11, 11, 11, 10, 10, 9, 10, 11, 11, 11, 11, 11, 11, 11, 10, 10, 10, 9, 9, 9, 9, 9, 9,
    8, 7,
];

/// The pulled file, or `None` with a word about it.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
fn real_file() -> Option<Arc<Vec<u8>>> {
    let home = std::env::var_os("MAXWELL_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".maxwell")))?;
    let path = home.join("models/smollm2-135m/model.gguf");
    match std::fs::read(&path) {
        Ok(bytes) => Some(Arc::new(bytes)),
        Err(error) => {
            println!("SKIPPED: {}: {error}; `maxwell pull smollm2-135m` fetches it", path.display());
            None
        }
    }
}

#[test]
fn logits_equal_those_of_the_outside_program() {
    let Some(bytes) = real_file() else { return };
    let file = read_gguf(bytes).expect("the published file");
    let formats =
        calibrate_file(&file, &KernelAccumulate::new(Isa::best()), &mut |_| {}).expect("bounds hold");
    assert_eq!(formats.residual, RESIDUAL);
    let down: Vec<i32> = formats.blocks.iter().map(|b| b.exponent(Site::DownInput)).collect();
    assert_eq!(down, DOWN_INPUTS);
    let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
    assert_eq!(model.logit_exponent(), 29);
    for isa in Isa::available() {
        let engine = Engine::new(Arc::clone(&model), EngineOptions { isa, threads: 2 }).expect("memory");
        for chunk in [6, 1] {
            let mut cache = engine.new_cache();
            let mut hash = Sha256::new();
            for ids in IDS.chunks(chunk) {
                let mut chunks = [Chunk { cache: &mut cache, ids, logits_from: 0 }];
                for logits in engine.forward(&mut chunks, |_, logits| logits.to_vec()).results {
                    for logit in logits {
                        hash.update(logit.to_le_bytes());
                    }
                }
            }
            let case = format!("{}, chunks of {chunk}", isa.name());
            assert_eq!(hex::encode(hash.finalize()), LOGITS_SHA256, "{case}");
        }
        // So many tokens at once that the kernels for prefill take them.
        let mut caches = [(); COPIES].map(|()| engine.new_cache());
        let mut chunks: Vec<Chunk<'_>> =
            caches.iter_mut().map(|cache| Chunk { cache, ids: &IDS, logits_from: 0 }).collect();
        let rows = engine.forward(&mut chunks, |_, logits| logits.to_vec()).results;
        assert_eq!(rows.len(), COPIES * IDS.len());
        for rows in rows.chunks(IDS.len()) {
            let bytes: Vec<u8> = rows.iter().flatten().flat_map(|logit| logit.to_le_bytes()).collect();
            assert_eq!(hex::encode(Sha256::digest(bytes)), LOGITS_SHA256, "{}, {COPIES} copies", isa.name());
        }
    }
}
