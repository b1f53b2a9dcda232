//! Nodes below nodes, and answers as bytes.

use protocol::TraceRoot;
use protocol::id::MerkleHash;
use protocol::merkle;
use protocol::trace::TraceOperation;

use super::Accusation;
use super::message::{decode_hashes, decode_place, encode_place};
use super::tree::Node;
use crate::recompute::NumberPlace;
use crate::trace::LeafPlace;
use crate::trace::openings::decode_openings;

/// The tree of `protocol::merkle`, which is checked against the RFC's own vectors, is the oracle.
#[test]
fn hashes_below_a_node_lead_to_it() {
    for count in (1..70).chain([127, 128, 129, 1000]) {
        let leaf = |index: usize| MerkleHash::from_bytes([index as u8; 32]);
        let leaves: Vec<MerkleHash> = (0..count).map(leaf).collect();
        for levels in 0..6 {
            let node = Node { start: 0, count };
            let children = node.children(levels);
            assert!(children.len() <= 1 << levels);
            // They are all leaves, in order.
            let mut next = 0;
            for child in &children {
                assert_eq!(child.start, next);
                next += child.count;
            }
            assert_eq!(next, count);
            let hash = |child: &Node| merkle::root(&leaves[child.start..child.start + child.count]);
            let hashes: Vec<MerkleHash> = children.iter().map(hash).collect();
            assert_eq!(node.hash_of(levels, &hashes), merkle::root(&leaves));
            if hashes.len() > 1 {
                let mut changed = hashes.clone();
                changed[1] = leaf(77);
                assert_ne!(node.hash_of(levels, &changed), merkle::root(&leaves));
                assert_ne!(node.hash_of(levels, &hashes[1..]), merkle::root(&leaves));
            }
        }
    }
}

#[test]
fn places_come_back() {
    let place = NumberPlace { position: 5, block: 300, operation: TraceOperation::Logits, index: 1 << 40 };
    let bytes = encode_place(place);
    assert_eq!((bytes.len(), decode_place(&bytes)), (25, Some(place)));
    assert_eq!(decode_place(&bytes[1..]), None);
    assert_eq!(decode_place(&[&bytes[..], &[0]].concat()), None);
    let mut unknown = bytes;
    unknown[24] = 11;
    assert_eq!(decode_place(&unknown), None);
}

#[test]
fn no_length_is_believed() {
    assert_eq!(decode_hashes(&[0; 64], 1), None);
    assert_eq!(decode_hashes(&[0; 63], 2), None);
    assert_eq!(decode_hashes(&[0; 64], usize::MAX), None);
    assert_eq!(decode_hashes(&[], 0), Some(Vec::new()));
    let leaf = LeafPlace { chunk: 0, block: 0, operation: TraceOperation::Query };
    for bytes in [&[][..], &[255; 4], &[255; 100], &[0, 0, 0, 0], &[2, 0, 0, 0, 1], &[3, 0, 0, 0, 1, 1, 0]] {
        assert_eq!(decode_openings(bytes, &[leaf], |_| 4), None);
    }
    assert_eq!(decode_openings(&[0], &[], |_| 4), None);
}

#[test]
fn accusations_come_back() {
    let root = TraceRoot::from_bytes([5; 32]);
    let place = NumberPlace { position: 5, block: 3, operation: TraceOperation::Down, index: 7 };
    for accusation in [
        Accusation::Output { index: 9 },
        Accusation::Trace { root, leaves: None },
        Accusation::Trace { root, leaves: Some(place) },
    ] {
        let bytes = accusation.encode();
        assert_eq!(Accusation::decode(&bytes), Some(accusation));
        for end in 0..bytes.len() {
            assert_ne!(Accusation::decode(&bytes[..end]), Some(accusation));
        }
        assert_eq!(Accusation::decode(&[&bytes[..], &[0]].concat()), None);
    }
    assert_eq!(Accusation::decode(&[3; 33]), None);
}
