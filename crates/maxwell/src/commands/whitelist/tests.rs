//! The tokenizer bundle between the model crate, which writes it, and the gateway crate, which reads it: this is
//! the only crate that links both.

use gateway::tokenizer_file::decode_tokenizer;
use model::commitment::encode_tokenizer;
use model::import::{Architecture, read_gguf};
use model::synthetic::{Encoded, SyntheticModel, VocabularyKind};

#[test]
fn the_gateway_reads_the_tokenizer_that_the_model_has() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gemma3]
    {
        for vocabulary in [VocabularyKind::ByteLevel, VocabularyKind::SentencePiece] {
            let synthetic = SyntheticModel { vocabulary, ..SyntheticModel::tiny(architecture) };
            let spec = read_gguf(synthetic.gguf().into()).unwrap().tokenizer;
            let bundle = encode_tokenizer(&spec);
            assert_eq!(decode_tokenizer(&bundle), Ok(spec), "{architecture:?} {vocabulary:?}");
        }
    }
}

#[test]
fn a_model_without_a_template_has_none_in_its_bundle() {
    let mut writer = SyntheticModel::tiny(Architecture::Llama).writer();
    writer.remove("tokenizer.chat_template");
    let spec = read_gguf(writer.finish().into()).unwrap().tokenizer;
    assert_eq!(spec.chat_template, None);
    assert_eq!(decode_tokenizer(&encode_tokenizer(&spec)), Ok(spec));
    // An empty one has the same bytes; `whitelist add` refuses such a model.
    writer.set("tokenizer.chat_template", Encoded::text(""));
    let spec = read_gguf(writer.finish().into()).unwrap().tokenizer;
    assert_ne!(decode_tokenizer(&encode_tokenizer(&spec)), Ok(spec));
}
