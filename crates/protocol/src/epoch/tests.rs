//! An epoch's file and a receipt's place in it: one byte form, and every change of either refused.

use super::*;
use crate::checkpoint::{EpochTerms, ModelFloor};
use crate::id::{ChainHash, ClaimDigest, ModelCommitment, Nonce, RequestDigest, ResponseDigest};
use crate::keys::SigningKey;
use crate::receipt::{FinishCode, RECEIPT_VERSION, ReceiptMode, RequestTag};

fn key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn leaves() -> Vec<Leaf> {
    let leaf = |tag: u64| Leaf {
        tag,
        model: 0,
        claim: ClaimDigest::from_bytes([u8::try_from(tag).unwrap(); 32]),
        cost_tokens: 10 + tag,
        picked: tag.is_multiple_of(2),
    };
    (0..5).map(leaf).collect()
}

fn checkpoint() -> Checkpoint {
    let hashes: Vec<MerkleHash> = leaves().iter().map(Leaf::hash).collect();
    let model = ModelCommitment::from_bytes([5; 32]);
    let terms = EpochTerms {
        gateway: key().verifying_key().id(),
        epoch: 1,
        audit_key: [3; 32],
        seed_key: [4; 32],
        rate_ppb: 1,
        models: vec![ModelFloor { model, floor_ppb: 1 }],
        beacon_party: None,
        previous: None,
    };
    Checkpoint { terms, size: 5, root: merkle::root(&hashes), is_final: true }
}

fn proof(index: u64) -> InclusionProof {
    let hashes: Vec<MerkleHash> = leaves().iter().map(Leaf::hash).collect();
    InclusionProof {
        checkpoint: checkpoint().sign(&key()).unwrap(),
        index,
        leaf: leaves()[usize::try_from(index).unwrap()],
        path: merkle::inclusion_path(&hashes, index).unwrap(),
    }
}

fn receipt(leaf: &Leaf) -> Receipt {
    Receipt {
        version: RECEIPT_VERSION,
        gateway: key().verifying_key().id(),
        tag: RequestTag { counter: leaf.tag, nonce: Nonce::from_bytes([0; 32]) },
        model: ModelCommitment::from_bytes([5; 32]),
        template: None,
        request: RequestDigest::from_bytes([0; 32]),
        response: ResponseDigest::from_bytes([0; 32]),
        prompt_tokens: 4,
        output_tokens: u32::try_from(leaf.cost_tokens).unwrap() - 4,
        finish: FinishCode::EndToken,
        claim: Some(leaf.claim),
        chain: ChainHash::from_bytes([0; 32]),
        sequence: 9,
        issued_unix_ms: 0,
        mode: ReceiptMode::Exact,
    }
}

#[test]
fn every_answer_of_an_epoch_is_proved_by_its_own_proof_only() {
    let key = key().verifying_key();
    for index in 0..5 {
        let proof = proof(index);
        let bytes = proof.encode();
        assert!(bytes.len() <= MAX_INCLUSION_BYTES);
        assert_eq!(InclusionProof::decode(&bytes).as_ref(), Ok(&proof));
        assert_eq!(proof.verify(&key, &receipt(&proof.leaf)), Ok(checkpoint()));
        for other in leaves().iter().filter(|other| other.tag != proof.leaf.tag) {
            let result = proof.verify(&key, &receipt(other));
            assert_eq!(result, Err(InclusionReason::Field { field: "tag" }));
        }
        for cut in 0..bytes.len() {
            assert!(InclusionProof::decode(&bytes[..cut]).is_err());
        }
    }
    // What failed has no claim in its receipt, and is in the tree all the same.
    let failed = Receipt { claim: None, finish: FinishCode::Failed, ..receipt(&leaves()[2]) };
    assert_eq!(proof(2).verify(&key, &failed), Ok(checkpoint()));
}

#[test]
fn every_field_of_leaf_and_receipt_is_compared() {
    let key = key().verifying_key();
    let (proof, right) = (proof(2), receipt(&leaves()[2]));
    let field = |field| Err(InclusionReason::Field { field });
    let check = |receipt: Receipt, expected| assert_eq!(proof.verify(&key, &receipt), expected);
    check(Receipt { claim: Some(ClaimDigest::from_bytes([0; 32])), ..right.clone() }, field("claim"));
    check(Receipt { output_tokens: right.output_tokens + 1, ..right.clone() }, field("cost"));
    check(Receipt { model: ModelCommitment::from_bytes([6; 32]), ..right.clone() }, field("model"));
    let gateway = SigningKey::from_seed([9; 32]).verifying_key().id();
    check(Receipt { gateway, ..right.clone() }, field("gateway"));
    // The leaf was changed so that it fits the receipt: then it is not in the tree.
    let cheap = Receipt { output_tokens: right.output_tokens - 1, ..right.clone() };
    let leaf = Leaf { cost_tokens: proof.leaf.cost_tokens - 1, ..proof.leaf };
    let changed = InclusionProof { leaf, ..proof.clone() };
    assert_eq!(changed.verify(&key, &cheap), Err(InclusionReason::Merkle(MerkleReason::Root)));
    let flipped = InclusionProof { leaf: Leaf { picked: false, ..proof.leaf }, ..proof.clone() };
    assert_eq!(flipped.verify(&key, &right), Err(InclusionReason::Merkle(MerkleReason::Root)));
}

#[test]
fn a_proof_needs_the_final_checkpoint_of_this_gateway() {
    let right = receipt(&leaves()[2]);
    let other = SigningKey::from_seed([9; 32]);
    let result = proof(2).verify(&other.verifying_key(), &right);
    assert!(matches!(result, Err(InclusionReason::Checkpoint(SignedReason::OtherKey { .. }))));
    let open = Checkpoint { is_final: false, ..checkpoint() }.sign(&key()).unwrap();
    let open = InclusionProof { checkpoint: open, ..proof(2) };
    assert_eq!(open.verify(&key().verifying_key(), &right), Err(InclusionReason::NotFinal));
}

#[test]
fn files_have_one_byte_form() {
    let file = EpochFile {
        checkpoint: checkpoint().sign(&key()).unwrap(),
        audit_key: Some([1; 32]),
        beacon: Some(vec![1, 2]),
        leaves: leaves(),
        judged: vec![(0, Judgement::Pass), (2, Judgement::Fail), (4, Judgement::Unverifiable)],
    };
    let empty = EpochFile { audit_key: None, beacon: None, leaves: vec![], judged: vec![], ..file.clone() };
    for file in [file, empty] {
        let bytes = file.encode();
        assert_eq!(EpochFile::decode(&bytes).as_ref(), Ok(&file));
        for cut in 0..bytes.len() {
            assert!(EpochFile::decode(&bytes[..cut]).is_err());
        }
        assert!(EpochFile::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
