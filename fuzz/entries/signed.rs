//! What is signed: receipts, checkpoints, beacons, epochs for outsiders, proofs of inclusion, whitelists. The first byte of
//! some inputs says that the rest is a payload, which is then signed here by hand, so that the parsers behind the signature
//! are reached; everything else must be refused unless it is genuine.

use protocol::checkpoint::{EpochTerms, Leaf, ModelFloor};
use protocol::encoding::{Decoder, Encoder};
use protocol::epoch::{EpochFile, InclusionProof, Judgement};
use protocol::group_tree::GroupTree;
use protocol::merkle;
use protocol::receipt::{
    FinishCode, RECEIPT_VERSION, ReceiptMode, RequestTag, request_digest, response_digest,
};
use protocol::whitelist::{WhitelistEntry, authorize};
use protocol::{
    Beacon, ChainHash, Checkpoint, MerkleHash, ModelCommitment, Receipt, SignedWhitelist, SigningKey,
    TemplateDigest, VerifyingKey, Whitelist,
};

use super::messages::claim;

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32])
}

fn verifying_key() -> VerifyingKey {
    key().verifying_key()
}

/// The protected header of COSE: `{1: -8, 4: key id}`.
fn protected() -> Vec<u8> {
    let mut id = Encoder::new();
    id.bytes(verifying_key().id().as_bytes());
    [vec![0xa2, 0x01, 0x27, 0x04], id.into_bytes()].concat()
}

/// COSE_Sign1 (RFC 9052 section 4.2) around a payload, put together by hand.
fn cose(payload: &[u8]) -> Vec<u8> {
    let mut signed = Encoder::new();
    signed.array_header(4);
    signed.text("Signature1");
    signed.bytes(&protected());
    signed.bytes(&[]);
    signed.bytes(payload);
    let signature = key().sign(&signed.into_bytes());
    let bytes = |value: &[u8]| {
        let mut out = Encoder::new();
        out.bytes(value);
        out.into_bytes()
    };
    [vec![0xd2, 0x84], bytes(&protected()), vec![0xa0], bytes(payload), bytes(signature.as_bytes())].concat()
}

/// The project's own envelope around a payload, put together by hand.
fn envelope(payload: &[u8]) -> Vec<u8> {
    let signature = key().sign(&[b"maxwell signed v1\0", payload].concat());
    let mut out = Encoder::new();
    out.structure("maxwell.signed", 1, 3);
    out.bytes(payload);
    out.bytes(verifying_key().id().as_bytes());
    out.bytes(signature.as_bytes());
    out.into_bytes()
}

/// What an envelope of the project holds.
fn payload(signed: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(signed);
    decoder.structure("maxwell.signed", 1, 3).expect("it was signed here");
    decoder.bytes(1 << 16, "a payload").expect("it was signed here").to_vec()
}

/// A genuine message as it is, and its payload to be signed.
fn both(genuine: Vec<u8>, payload: Vec<u8>) -> [Vec<u8>; 2] {
    [[vec![0], genuine].concat(), [vec![1], payload].concat()]
}

/// The message that an input stands for.
fn message(data: &[u8], sign: fn(&[u8]) -> Vec<u8>) -> Option<Vec<u8>> {
    let (choice, data) = data.split_first()?;
    Some(if choice % 2 == 0 { data.to_vec() } else { sign(data) })
}

/// A genuine receipt is one of a few bytes; no other bytes are one.
pub(crate) fn receipt(data: &[u8]) -> bool {
    let Some(bytes) = message(data, cose) else { return false };
    let Ok(receipt) = Receipt::verify(&bytes, &verifying_key()) else { return false };
    receipt.check().expect("verifying checks it");
    assert_eq!(receipt.sign(&key()), Ok(bytes), "two byte forms of one receipt");
    assert!(receipt.to_json().is_object());
    true
}

fn genuine_receipt(leaf: &Leaf, finish: FinishCode) -> Receipt {
    let claim = claim();
    Receipt {
        version: RECEIPT_VERSION,
        gateway: verifying_key().id(),
        tag: RequestTag { counter: leaf.tag, nonce: claim.nonce },
        model: claim.model,
        template: Some(TemplateDigest::from_bytes([2; 32])),
        request: request_digest(&claim.prompt_ids, &claim.settings, &claim.client_seed, &claim.nonce),
        response: response_digest(b"hello"),
        prompt_tokens: 3,
        output_tokens: 2,
        finish,
        claim: finish.is_complete().then_some(leaf.claim),
        chain: ChainHash::from_bytes([9; 32]),
        sequence: 1 << 40,
        issued_unix_ms: 1_700_000_000_000,
        mode: ReceiptMode::Exact,
    }
}

pub(crate) fn receipts() -> Vec<Vec<u8>> {
    let leaf = leaves(1)[0];
    let seeds = [FinishCode::Length, FinishCode::ReaderLeft].map(|finish| {
        let bytes = genuine_receipt(&leaf, finish).sign(&key()).expect("it is in order");
        let around = 2 + protected().len() + 2 + 1;
        let payload =
            Decoder::new(&bytes[around..]).bytes(1024, "a payload").expect("it was signed here").to_vec();
        both(bytes, payload)
    });
    seeds.concat()
}

fn terms() -> EpochTerms {
    let floor = |byte| ModelFloor { model: ModelCommitment::from_bytes([byte; 32]), floor_ppb: 5 };
    EpochTerms {
        gateway: verifying_key().id(),
        epoch: 300,
        audit_key: [1; 32],
        seed_key: [2; 32],
        rate_ppb: 1000,
        models: vec![floor(1), floor(2)],
        beacon_party: Some(verifying_key()),
        previous: None,
    }
}

fn leaves(count: u64) -> Vec<Leaf> {
    let claim = claim().digest();
    let leaf = |tag| Leaf { tag, model: 0, claim, cost_tokens: 5, picked: tag % 2 == 0 };
    (1..=count).map(leaf).collect()
}

fn genuine_checkpoint(count: u64) -> Checkpoint {
    let hashes: Vec<MerkleHash> = leaves(count).iter().map(Leaf::hash).collect();
    Checkpoint { terms: terms(), size: count, root: merkle::root(&hashes), is_final: true }
}

pub(crate) fn checkpoint(data: &[u8]) -> bool {
    let Some(bytes) = message(data, envelope) else { return false };
    let Ok(checkpoint) = Checkpoint::verify(&bytes, &verifying_key()) else { return false };
    assert_eq!(checkpoint.sign(&key()), Ok(bytes), "two byte forms of one checkpoint");
    true
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    let signed = [0, 5].map(|count| genuine_checkpoint(count).sign(&key()).expect("it is in order"));
    signed.map(|signed| both(signed.clone(), payload(&signed))).concat()
}

pub(crate) fn beacon(data: &[u8]) -> bool {
    let Some(bytes) = message(data, envelope) else { return false };
    let Ok(beacon) = Beacon::verify(&bytes, &verifying_key()) else { return false };
    assert_eq!(beacon.sign(&key()), bytes, "two byte forms of one beacon");
    true
}

fn genuine_beacon() -> Vec<u8> {
    Beacon::new(&genuine_checkpoint(5), [8; 32]).sign(&key())
}

pub(crate) fn beacons() -> Vec<Vec<u8>> {
    both(genuine_beacon(), payload(&genuine_beacon())).to_vec()
}

/// Only the form; what it says is the audit's.
pub(crate) fn epoch_file(data: &[u8]) -> bool {
    let Ok(file) = EpochFile::decode(data) else { return false };
    assert_eq!(file.encode(), data, "two encodings of one epoch");
    let report = gateway::sampling_audit::audit_epoch(&file, &verifying_key(), None);
    // The keys and coins of these epochs are made up, so none is in order, and none takes the audit down.
    assert!(!report.findings.is_empty());
    true
}

pub(crate) fn epoch_files() -> Vec<Vec<u8>> {
    let file = EpochFile {
        checkpoint: genuine_checkpoint(5).sign(&key()).expect("it is in order"),
        audit_key: Some([1; 32]),
        beacon: Some(genuine_beacon()),
        leaves: leaves(5),
        judged: vec![(2, Judgement::Pass), (4, Judgement::Fail), (5, Judgement::Unverifiable)],
    };
    let open = EpochFile { audit_key: None, beacon: None, judged: Vec::new(), ..file.clone() };
    vec![file.encode(), open.encode()]
}

/// No other bytes than the genuine ones prove anything about the genuine receipt. Accepted is the form.
pub(crate) fn inclusion(data: &[u8]) -> bool {
    let Ok(proof) = InclusionProof::decode(data) else { return false };
    assert_eq!(proof.encode(), data, "two encodings of one proof");
    for leaf in leaves(5) {
        let receipt = genuine_receipt(&leaf, FinishCode::Length);
        if proof.verify(&verifying_key(), &receipt).is_ok() {
            assert!(inclusions().iter().any(|genuine| genuine == data), "a forged proof");
        }
    }
    true
}

pub(crate) fn inclusions() -> Vec<Vec<u8>> {
    let hashes: Vec<MerkleHash> = leaves(5).iter().map(Leaf::hash).collect();
    let checkpoint = genuine_checkpoint(5).sign(&key()).expect("it is in order");
    let proofs = (0..).zip(leaves(5)).map(|(index, leaf)| InclusionProof {
        checkpoint: checkpoint.clone(),
        index,
        leaf,
        path: merkle::inclusion_path(&hashes, index).expect("it is one of them"),
    });
    proofs.map(|proof| proof.encode()).collect()
}

fn parties() -> [SigningKey; 2] {
    [1, 2].map(|seed| SigningKey::from_seed([seed; 32]))
}

/// The first byte chooses: a list that both parties sign here, or one that is signed already.
pub(crate) fn whitelist(data: &[u8]) -> bool {
    let Some((choice, data)) = data.split_first() else { return false };
    let keys = parties().each_ref().map(SigningKey::verifying_key);
    let signed = if choice % 2 == 0 {
        let Ok(signed) = SignedWhitelist::decode(data) else { return false };
        assert_eq!(signed.encode(), data, "two encodings of one signed list");
        signed
    } else {
        let mut signed = SignedWhitelist { bytes: data.to_vec(), signatures: Vec::new() };
        parties().iter().for_each(|party| signed.sign(party));
        signed
    };
    let Ok(authorized) = authorize(&signed, &keys, 1_700_000_000, 0) else { return false };
    let list = Whitelist::decode(&signed.bytes).expect("it was read already");
    assert_eq!(list.encode(), signed.bytes, "two encodings of one list");
    list.check().expect("decoding checks it");
    for entry in &list.entries {
        let _ = authorized.by_name(&entry.name, 1_700_000_000);
    }
    if choice % 2 == 0 {
        assert_eq!(signed.bytes, genuine_list().encode(), "a list that the parties did not sign");
    }
    true
}

fn genuine_list() -> Whitelist {
    let entry = |name: &str, byte: u8| WhitelistEntry {
        name: name.to_owned(),
        model: ModelCommitment::from_bytes([byte; 32]),
        numerics: "maxwell-ie5-1".to_owned(),
        template: (byte == 1).then(|| TemplateDigest::from_bytes([2; 32])),
        weights: GroupTree::of(b"weights").head,
        tokenizer_digest: [6; 32],
        vocabulary: 259,
        context: 256,
        version: 1,
    };
    Whitelist {
        version: 3,
        entries: vec![entry("large", 1), entry("tiny", 2)],
        expires_unix_s: Some(2_000_000_000),
        revoked: vec![ModelCommitment::from_bytes([9; 32])],
    }
}

pub(crate) fn whitelists() -> Vec<Vec<u8>> {
    let [first, second] = parties();
    let list = genuine_list();
    let signed = list.sign(&[&first, &second]).expect("it is in order").encode();
    both(signed, list.encode()).to_vec()
}
