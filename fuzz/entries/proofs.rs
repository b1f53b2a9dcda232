//! Of proofs: their bytes, and a model's manifest. A module of its own, since the serving path's tests must not link the engine.

use std::sync::{Arc, OnceLock};

use engine::kernels::Isa;
use engine::{Engine, EngineOptions, Request, complete};
use model::Model;
use model::commitment::calibrate_file;
use model::import::{Architecture, read_gguf};
use model::ops::matmul::PlainAccumulate;
use model::synthetic::SyntheticModel;
use protocol::{Claim, ClientSeed, Nonce, SamplingSettings};
use prover::CommittedWeights;
use verifier::verify::verify_trace;
use verifier::{Manifest, Outline, Proof, verify, verify_thin};

/// Bytes of one change: where, and what is flipped.
const CHANGE: usize = 5;

/// A tiny model, an honest claim, and its proof with opened weights.
struct Subject {
    model: Arc<Model>,
    manifest: Manifest,
    claim: Claim,
    proof: Proof,
    bytes: Vec<u8>,
}

fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    SUBJECT.get_or_init(|| {
        let file = read_gguf(Arc::new(SyntheticModel::tiny(Architecture::Llama).gguf())).expect("whole");
        let formats = calibrate_file(&file, &PlainAccumulate, &mut |_| {}).expect("bounds hold");
        let model = Arc::new(Model::assemble(file, formats).expect("bounds hold"));
        let options = EngineOptions { isa: Isa::best(), threads: 1 };
        let engine = Engine::new(Arc::clone(&model), options).expect("memory for a tiny model");
        let mut settings = SamplingSettings::greedy();
        settings.max_tokens = 2;
        settings.stop_at_end = false;
        let request = Request {
            prompt_ids: vec![30, 31],
            settings,
            nonce: Nonce::from_bytes([1; 32]),
            client_seed: ClientSeed::from_bytes([2; 32]),
        };
        let completed = complete(&engine, request.clone(), |_| {}).expect("a valid request");
        let claim = completed.into_claim(&model, request, false);
        let mut proof = prover::prove(&model, &claim, &|_| {}).expect("a provable claim");
        let pending = verify_trace(&Outline::of(&model), &claim, &proof).expect("an honest proof");
        let weights = CommittedWeights::new(&model).expect("tokens fit");
        proof.weights = Some(weights.open(pending));
        let manifest = Manifest::new(&model, weights.root());
        let bytes = proof.encode();
        Subject { model, manifest, claim, proof, bytes }
    })
}

/// First byte: 0 for the bytes of a proof, 1 for changes of an honest one that are verified with the manifest, anything else for changes that are
/// verified with the model. No change is accepted, and what reads has one form only.
pub fn proof(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else { return false };
    if *mode == 0 {
        let Ok(proof) = Proof::decode(rest) else { return false };
        assert!(proof.encode() == rest, "one form only");
        return true;
    }
    let subject = subject();
    let mut bytes = subject.bytes.clone();
    for change in rest.chunks_exact(CHANGE) {
        let Some(([a, b, c, d], [flip])) = change.split_first_chunk().map(|(at, flip)| (*at, flip)) else {
            break;
        };
        let at = u32::from_le_bytes([a, b, c, d]) as usize % bytes.len();
        bytes[at] ^= flip;
    }
    let Ok(proof) = Proof::decode(&bytes) else { return false };
    assert!(proof.encode() == bytes, "one form only");
    let bare = |proof: &Proof| Proof { weights: None, ..proof.clone() };
    if *mode == 1 {
        let verdict = verify_thin(&subject.manifest, &subject.claim, &proof);
        assert_eq!(verdict.is_ok(), proof == subject.proof, "only the honest proof is accepted");
    } else {
        let verdict = verify(&subject.model, &subject.claim, &proof);
        assert_eq!(
            verdict.is_ok(),
            bare(&proof) == bare(&subject.proof),
            "only the honest proof is accepted"
        );
    }
    true
}

/// Changes all over the proof.
pub fn proofs() -> Vec<Vec<u8>> {
    let length = subject().bytes.len() as u32;
    let change = |part: u32| [&(length / 12 * part).to_le_bytes()[..], &[1]].concat();
    (0..12).flat_map(|part| [1, 2].map(|mode| [&[mode][..], &change(part)].concat())).collect()
}

/// The bytes of a manifest. What reads has one form only, and names the model that its parts make.
pub fn manifest(data: &[u8]) -> bool {
    let subject = subject();
    let spec = || subject.model.tokenizer.spec().clone();
    let Ok(manifest) = Manifest::decode(data, |_| Ok(spec())) else { return false };
    let same = manifest.outline.commitment == subject.model.commitment;
    assert_eq!(same, manifest.weights_root == subject.manifest.weights_root && has_same_parts(&manifest));
    true
}

fn has_same_parts(manifest: &Manifest) -> bool {
    let honest = &subject().manifest.outline;
    manifest.outline.config == honest.config && manifest.outline.formats == honest.formats
}

/// The honest one.
pub fn manifests() -> Vec<Vec<u8>> {
    vec![subject().manifest.encode()]
}
