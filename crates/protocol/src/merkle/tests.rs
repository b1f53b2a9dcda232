//! The tree against the published vectors of Certificate Transparency's reference implementation, and its proofs against
//! every change.

use super::*;

/// Leaves of the reference implementation's tests (`certificate-transparency/merkletree`, `transparency-dev/merkle`).
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
/// Roots of the first 0 to 8 of them.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// Index, size, path.
const INCLUSION: [(u64, usize, &[&str]); 4] = [
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];
/// Earlier size, later size, path.
const CONSISTENCY: [(u64, usize, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn hash(text: &str) -> MerkleHash {
    text.parse().unwrap()
}

fn hashes(texts: &[&str]) -> Vec<MerkleHash> {
    texts.iter().map(|text| hash(text)).collect()
}

fn published_leaves() -> Vec<MerkleHash> {
    LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
}

fn many(count: u32) -> Vec<MerkleHash> {
    (0..count).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect()
}

#[test]
fn roots_and_paths_are_the_published_ones() {
    let leaves = published_leaves();
    for (size, expected) in ROOTS.iter().enumerate() {
        assert_eq!(root(&leaves[..size]), hash(expected), "{size} leaves");
    }
    for (index, size, path) in INCLUSION {
        assert_eq!(inclusion_path(&leaves[..size], index), Some(hashes(path)), "{index} of {size}");
    }
    for (first, second, path) in CONSISTENCY {
        assert_eq!(consistency_path(&leaves[..second], first), Some(hashes(path)), "{first} in {second}");
    }
}

#[test]
fn every_leaf_of_every_size_is_proved_and_nothing_else() {
    for count in 1..=33 {
        let leaves = many(count);
        let (top, size) = (root(&leaves), u64::from(count));
        for index in 0..size {
            let path = inclusion_path(&leaves, index).unwrap();
            let leaf = &leaves[usize::try_from(index).unwrap()];
            assert_eq!(verify_inclusion(leaf, index, size, &path, &top), Ok(()));
            // Another leaf, another place, another size with the same height or not, a shorter or longer path.
            assert_eq!(verify_inclusion(&empty_root(), index, size, &path, &top), Err(MerkleReason::Root));
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(
                    verify_inclusion(leaf, other, size, &path, &top).is_err(),
                    "{index} as {other} of {size}"
                );
            }
            let longer = [&path[..], &[top]].concat();
            let length = longer.len();
            let too_long = verify_inclusion(leaf, index, size, &longer, &top);
            assert_eq!(too_long, Err(MerkleReason::Length { length }));
            if let Some((_, shorter)) = path.split_last() {
                let length = shorter.len();
                let too_short = verify_inclusion(leaf, index, size, shorter, &top);
                assert_eq!(too_short, Err(MerkleReason::Length { length }));
            }
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place] = empty_root();
                assert_eq!(verify_inclusion(leaf, index, size, &changed, &top), Err(MerkleReason::Root));
            }
        }
        assert_eq!(inclusion_path(&leaves, size), None);
        let place = verify_inclusion(&leaves[0], size, size, &[], &top);
        assert_eq!(place, Err(MerkleReason::Place { index: size, size }));
    }
}

#[test]
fn every_beginning_is_proved_and_no_other_tree_is() {
    for count in 0..=33 {
        let leaves = many(count);
        let (top, size) = (root(&leaves), u64::from(count));
        for first in 0..=size {
            let path = consistency_path(&leaves, first).unwrap();
            let before = root(&leaves[..usize::try_from(first).unwrap()]);
            assert_eq!(
                verify_consistency((first, &before), (size, &top), &path),
                Ok(()),
                "{first} in {size}"
            );
            // A leaf before the checkpoint was changed afterwards.
            if let Some(at) = first.checked_sub(1) {
                let mut forked = leaves.clone();
                forked[usize::try_from(at).unwrap()] = empty_root();
                let forked_path = consistency_path(&forked, first).unwrap();
                let result = verify_consistency((first, &before), (size, &root(&forked)), &forked_path);
                assert_eq!(result, Err(MerkleReason::Root), "{first} in {size}");
            }
            let longer = [&path[..], &[top]].concat();
            assert!(verify_consistency((first, &before), (size, &top), &longer).is_err());
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place] = empty_root();
                assert!(verify_consistency((first, &before), (size, &top), &changed).is_err());
                let shorter = &path[..place];
                assert!(verify_consistency((first, &before), (size, &top), shorter).is_err());
            }
        }
        assert_eq!(consistency_path(&leaves, size + 1), None);
        let larger = verify_consistency((size + 1, &top), (size, &top), &[]);
        assert_eq!(larger, Err(MerkleReason::Place { index: size + 1, size }));
    }
}

#[test]
fn a_node_is_no_leaf() {
    let leaves = many(2);
    let content = [&[NODE_PREFIX][..], leaves[0].as_bytes(), leaves[1].as_bytes()].concat();
    assert_ne!(leaf_hash(&content[1..]), root(&leaves));
    assert_ne!(leaf_hash(&content), root(&leaves));
}
