//! The same bytes everywhere, and models worth running: weights of the intended size, a tokenizer that works.

use std::sync::Arc;

use tokenizer::{Special, Tokenizer};

use super::*;
use crate::import::{ImportedFile, read_gguf};
use crate::weights::Weights;

fn import(model: &SyntheticModel) -> ImportedFile {
    read_gguf(Arc::new(model.gguf())).unwrap()
}

/// The values are those of Vigna's splitmix64.c for the seed 1234567.
#[test]
fn splitmix64_equals_its_reference() {
    let mut random = SplitMix64::new(1_234_567);
    let found = [(); 5].map(|()| random.next_u64());
    let expected = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    assert_eq!(found, expected);
}

/// Digests made once; a change of a byte changes every commitment and golden value downstream.
#[test]
fn a_seed_gives_the_same_file_everywhere() {
    for (architecture, digest) in [
        (Architecture::Llama, "88eedc01a51a9291"),
        (Architecture::Qwen2, "e1d1a006f98e639b"),
        (Architecture::Qwen3, "75af1d57a0c3306b"),
        (Architecture::Gemma3, "cfde6d8adbba47cf"),
    ] {
        let file = SyntheticModel::tiny(architecture).gguf();
        assert_eq!(&blake3::hash(&file).to_hex()[..16], digest, "{architecture:?}");
    }
    let other = SyntheticModel { seed: 2, ..SyntheticModel::tiny(Architecture::Llama) };
    assert_ne!(other.gguf(), SyntheticModel::tiny(Architecture::Llama).gguf());
}

/// Mean and mean square of W * sqrt(cols) are near 0 and 1.
fn check_distribution(weights: &Weights, kind: TensorType) {
    let (mut sum, mut squares, mut row) = (0.0, 0.0, Vec::new());
    for r in 0..weights.rows() {
        weights.row(r, &mut row);
        for value in row.iter().map(|&value| value as f64 * 2.0_f64.powi(-weights.grid())) {
            sum += value;
            squares += value * value;
        }
    }
    let (rows, cols) = (f64::from(weights.rows()), f64::from(weights.cols()));
    let (mean, mean_square) = (sum / rows / cols.sqrt(), squares / rows);
    assert!(mean.abs() < 0.03, "{kind:?}: mean {mean}");
    assert!((0.9..1.2).contains(&mean_square), "{kind:?}: mean square {mean_square}");
}

#[test]
fn weights_have_a_plausible_size() {
    let blocks = BlockKind::ALL.map(TensorType::Block);
    let floats = [FloatKind::F32, FloatKind::F16, FloatKind::BF16].map(TensorType::Float);
    for kind in blocks.into_iter().chain(floats) {
        let imported = import(&SyntheticModel::tiny_256(Architecture::Llama, kind));
        check_distribution(&imported.tensors.blocks[0].q, kind);
        check_distribution(&imported.tensors.blocks[0].down, kind);
    }
}

#[test]
fn tokenizers_work() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Gemma3] {
        let tokenizer = Tokenizer::new(import(&SyntheticModel::tiny(architecture)).tokenizer).unwrap();
        for text in ["hello the and is in", "\u{e9}\u{4e16} \0\u{7f}~", "  x\n\ny"] {
            let ids = tokenizer.encode(text, Special::AsText).unwrap();
            assert_eq!(tokenizer.decode_bytes(&ids).unwrap(), text.as_bytes(), "{architecture:?}");
        }
        let spec = tokenizer.spec();
        let ids = tokenizer.encode(" the", Special::AsText).unwrap();
        let names: Vec<&[u8]> = ids.iter().map(|&id| spec.tokens[id as usize].as_slice()).collect();
        let space = if architecture == Architecture::Gemma3 { "\u{2581}" } else { "\u{120}" };
        assert_eq!(names.last().unwrap(), &format!("{space}the").as_bytes(), "merges apply: {names:?}");
        let start = tokenizer.encode("<|im_start|>", Special::Parse).unwrap();
        assert_eq!(spec.tokens[*start.last().unwrap() as usize], b"<|im_start|>");
    }
}

#[test]
fn vocabularies_have_room_for_padding() {
    for (kind, size) in [(VocabularyKind::ByteLevel, 279), (VocabularyKind::SentencePiece, 377)] {
        assert_eq!(kind.least_size(), size);
        let model =
            SyntheticModel { vocabulary: kind, vocab: size, ..SyntheticModel::tiny(Architecture::Llama) };
        assert_eq!(import(&model).tokenizer.tokens.len() as u32, size);
    }
}
