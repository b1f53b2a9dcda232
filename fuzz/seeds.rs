//! Writes the first inputs of every fuzz target to `corpus/`: small valid files, from which mutations get deep.

use std::fs;
use std::io;
use std::path::Path;

use model::gguf::TensorType;
use model::import::{Architecture, FAMILIES};
use model::synthetic::{CHAT_TEMPLATE, SyntheticModel};
use model::weights::BlockKind;
use protocol::claim::{CLAIM_VERSION, Claim, FinishReason};
use protocol::fingerprint::ExtensionElement;
use protocol::id::{ClientSeed, ModelCommitment, Nonce, Seed, TemplateDigest};
use protocol::settings::SamplingSettings;

#[expect(dead_code, reason = "the seeds alone are used here")]
#[path = "entries/disputes.rs"]
mod disputes;

#[expect(dead_code, reason = "the seeds alone are used here")]
#[path = "entries/meters.rs"]
mod meters;

#[expect(dead_code, reason = "the seeds alone are used here")]
#[path = "entries/proofs.rs"]
mod proofs;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["gguf", "tokenizer", "claim"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    for (family, format) in FAMILIES.iter().zip(BlockKind::ALL) {
        fs::write(corpus.join("gguf").join(family.name), small_model(family.architecture, format).gguf())?;
    }
    for (name, input) in [
        ("byte-level", ["\0", CHAT_TEMPLATE, "\0the <|im_start|>hello\n  \u{e9}\u{4e16}"].concat()),
        ("sentence-piece", "\u{1}the <|im_end|> thing \u{2581}\t\u{1f980}".to_owned()),
    ] {
        fs::write(corpus.join("tokenizer").join(name), input)?;
    }
    for (name, finish) in
        [("length", FinishReason::Length), ("range", FinishReason::OutOfRange { position: 4 })]
    {
        fs::write(corpus.join("claim").join(name), claim(finish).encode())?;
    }
    for entry in &entries::ENTRIES {
        let folder = corpus.join(entry.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (entry.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    for (name, seeds) in [
        ("opening", disputes::openings()),
        ("dispute", disputes::disputes()),
        ("challenge", disputes::challenges()),
        ("proof", proofs::proofs()),
        ("manifest", proofs::manifests()),
        ("power_log", meters::power_logs()),
        ("exporter", meters::exporters()),
        ("profile", meters::profiles()),
        ("node_line", meters::node_lines()),
        ("ledger_entry", meters::entries()),
    ] {
        fs::create_dir_all(corpus.join(name))?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(name).join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}

/// About 20 kB: one block of width 32 in one of the formats with blocks of 32.
fn small_model(architecture: Architecture, format: BlockKind) -> SyntheticModel {
    let tiny = SyntheticModel::tiny(architecture);
    SyntheticModel {
        blocks: 1,
        width: 32,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        ff: 32,
        vocab: tiny.vocabulary.least_size(),
        weight_type: TensorType::Block(format),
        ..tiny
    }
}

fn claim(finish: FinishReason) -> Claim {
    let fingerprint = ExtensionElement::new(1, 2).expect("both are below the prime");
    Claim {
        version: CLAIM_VERSION,
        numerics: "maxwell-ie5-1".to_owned(),
        model: ModelCommitment::from_bytes([1; 32]),
        template: Some(TemplateDigest::from_bytes([2; 32])),
        prompt_ids: vec![1, 504, 3575],
        settings: SamplingSettings { max_tokens: 2, ..SamplingSettings::greedy() },
        client_seed: ClientSeed::from_bytes([3; 32]),
        nonce: Nonce::from_bytes([4; 32]),
        seed: Seed::from_bytes([5; 32]),
        output_ids: vec![282, 4649],
        finish,
        output_bytes: b"hello".to_vec(),
        fingerprints: vec![fingerprint; 2],
        logprobs: None,
        trace: None,
    }
}
