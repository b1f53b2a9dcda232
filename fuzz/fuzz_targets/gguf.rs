//! Any bytes as a GGUF file: import returns, and what it accepts can be read without a panic.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use model::gguf::{Gguf, Value};
use model::import::read_gguf;

fuzz_target!(|data: &[u8]| {
    let file = Arc::new(data.to_vec());
    if let Ok(gguf) = Gguf::parse(Arc::clone(&file)) {
        let used: usize = gguf.tensors().iter().map(|tensor| tensor.bytes().as_slice().len()).sum();
        assert!(used <= data.len());
        for (_, value) in gguf.entries() {
            if let Value::Array(array) = value
                && let Some(texts) = array.texts()
            {
                assert_eq!(texts.count() as u64, array.count());
            }
        }
    }
    let Ok(imported) = read_gguf(file) else { return };
    let embedding = &imported.tensors.embedding;
    let mut row = Vec::new();
    embedding.row(embedding.rows() - 1, &mut row);
    assert!(row.iter().all(|&weight| i32::try_from(weight).is_ok()));
    for block in &imported.tensors.blocks {
        for weights in [&block.q, &block.k, &block.v, &block.o, &block.gate, &block.up, &block.down] {
            weights.max_row_l1();
        }
    }
    // A vocabulary that was read may still not fit together; that, too, is an error and not a panic.
    let _ = tokenizer::Tokenizer::new(imported.tokenizer);
});
