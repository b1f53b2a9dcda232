//! The tree against a plain recursion, and the verifier against every small change. Must not take a hash from the
//! code under test.

use super::*;

/// Group length of the small objects here.
const SMALL: u32 = 16;

fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

/// As the module's documentation words it: the largest power of two below n on the left.
fn reference_top(groups: &[&[u8]], first: u64) -> [u8; 32] {
    match groups {
        [] => derive("maxwell 2026-11 group tree node v1", &[]),
        [group] => derive("maxwell 2026-11 group tree leaf v1", &[&first.to_le_bytes(), group]),
        _ => {
            let mut left = 1;
            while left * 2 < groups.len() {
                left *= 2;
            }
            let one = reference_top(&groups[..left], first);
            let other = reference_top(&groups[left..], first + left as u64);
            derive("maxwell 2026-11 group tree node v1", &[&one, &other])
        }
    }
}

fn reference_root(object: &[u8], group_bytes: u32) -> [u8; 32] {
    let groups: Vec<&[u8]> = object.chunks(group_bytes as usize).collect();
    let (length, size) = (object.len() as u64, u64::from(group_bytes));
    let top = reference_top(&groups, 0);
    derive("maxwell 2026-11 group tree root v1", &[&length.to_le_bytes(), &size.to_le_bytes(), &top])
}

fn object(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 16) as u8).collect()
}

fn small(object: &[u8]) -> GroupTree {
    GroupTree::with_groups_of(object, SMALL)
}

fn verifier(tree: &GroupTree) -> GroupVerifier {
    GroupVerifier::with_any_groups(tree.head, tree.outboard.clone()).unwrap()
}

/// Streams the groups in order.
fn stream<'a>(
    tree: &GroupTree,
    groups: impl IntoIterator<Item = (u64, &'a [u8])>,
) -> Result<VerifiedObject, GroupReason> {
    let mut verifier = verifier(tree);
    for (index, group) in groups {
        let verified = verifier.verify(index, group)?;
        assert_eq!((verified.offset(), verified.bytes()), (index * u64::from(SMALL), group));
    }
    verifier.finish()
}

fn cut(object: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (0..).zip(object.chunks(SMALL as usize))
}

#[test]
fn roots_equal_the_plain_recursion() {
    for length in 0..=16 * 20 {
        let object = object(length);
        let tree = small(&object);
        assert_eq!(tree.head.root, reference_root(&object, SMALL), "{length}");
        assert_eq!(tree.head.groups() as usize, length.div_ceil(16), "{length}");
        let whole = stream(&tree, cut(&object)).unwrap();
        assert_eq!(whole.head(), &tree.head);
    }
}

#[test]
fn groups_of_one_mebibyte() {
    for length in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 7] {
        let object = object(length);
        let tree = GroupTree::of(&object);
        assert_eq!(tree.head.root, reference_root(&object, 1 << 20), "{length}");
        let mut verifier = GroupVerifier::new(tree.head, tree.outboard).unwrap();
        for (index, group) in (0..).zip(object.chunks(1 << 20)) {
            verifier.verify(index, group).unwrap();
        }
        verifier.finish().unwrap();
    }
}

#[test]
fn a_root_binds_length_group_length_and_place() {
    let (zeros, more) = ([0; 32], [0; 33]);
    assert_ne!(small(&zeros).head.root, small(&more).head.root);
    assert_ne!(small(&[]).head.root, small(&[0]).head.root);
    // One group either way.
    assert_ne!(small(&[0; 9]).head.root, GroupTree::with_groups_of(&[0; 9], 32).head.root);
    // Equal groups have different leaves.
    let leaves = small(&zeros).outboard.leaves;
    assert_ne!(leaves[0], leaves[1]);
}

#[test]
fn every_flipped_bit_is_refused_in_its_group() {
    let honest = object(16 * 4 + 5);
    let tree = small(&honest);
    for bit in 0..honest.len() * 8 {
        let mut changed = honest.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let index = (bit / 8 / 16) as u64;
        assert_eq!(stream(&tree, cut(&changed)), Err(GroupReason::GroupHash { index }), "{bit}");
    }
}

#[test]
fn a_byte_short_or_long_is_refused_at_any_group() {
    let honest = object(16 * 2 + 5);
    let tree = small(&honest);
    let groups: Vec<(u64, &[u8])> = cut(&honest).collect();
    for (at, &(index, group)) in groups.iter().enumerate() {
        let expected = group.len() as u64;
        let longer = [group, &[0]].concat();
        let mut changed = groups.clone();
        changed[at].1 = &longer;
        let long = GroupReason::GroupLong { index, length: expected + 1, expected };
        assert_eq!(stream(&tree, changed.clone()), Err(long));
        changed[at].1 = &group[..group.len() - 1];
        let short = GroupReason::GroupShort { index, length: expected - 1, expected };
        assert_eq!(stream(&tree, changed.clone()), Err(short));
        changed[at].1 = &[];
        let empty = GroupReason::GroupShort { index, length: 0, expected };
        assert_eq!(stream(&tree, changed), Err(empty));
    }
}

#[test]
fn groups_come_in_order_each_once() {
    let honest = object(16 * 3);
    let tree = small(&honest);
    let groups: Vec<(u64, &[u8])> = cut(&honest).collect();
    let (a, b, c) = (groups[0], groups[1], groups[2]);
    let order = |found, expected| Err(GroupReason::Order { found, expected });
    assert_eq!(stream(&tree, [b, a, c]), order(1, 0));
    assert_eq!(stream(&tree, [a, c]), order(2, 1));
    assert_eq!(stream(&tree, [a, a]), order(0, 1));
    assert_eq!(stream(&tree, [(u64::MAX, a.1)]), order(u64::MAX, 0));
    // Renumbered, the bytes do not fit.
    assert_eq!(stream(&tree, [(0, b.1)]), Err(GroupReason::GroupHash { index: 0 }));
    assert_eq!(stream(&tree, [a, b, c, (3, &[][..])]), Err(GroupReason::BehindEnd { groups: 3 }));
    assert_eq!(stream(&tree, [a, b, c, c]), Err(GroupReason::BehindEnd { groups: 3 }));
    assert_eq!(stream(&tree, [a, b]), Err(GroupReason::Incomplete { verified: 32, bytes: 48 }));
    assert_eq!(stream(&tree, []), Err(GroupReason::Incomplete { verified: 0, bytes: 48 }));
    assert_eq!(stream(&small(&[]), [(0, &[][..])]), Err(GroupReason::BehindEnd { groups: 0 }));
}

/// What was refused once is not made good by what follows.
#[test]
fn a_refusal_is_final() {
    let honest = object(16 * 2);
    let tree = small(&honest);
    let groups: Vec<(u64, &[u8])> = cut(&honest).collect();
    let bad = GroupReason::GroupHash { index: 0 };
    let mut broken = verifier(&tree);
    assert_eq!(broken.verify(0, groups[1].1).unwrap_err(), bad);
    assert_eq!(broken.verify(0, groups[0].1).unwrap_err(), bad);
    assert_eq!(broken.finish(), Err(bad));
    let mut behind = verifier(&tree);
    for (index, group) in groups {
        behind.verify(index, group).unwrap();
    }
    behind.verify(2, &[]).unwrap_err();
    assert_eq!(behind.finish(), Err(GroupReason::BehindEnd { groups: 2 }));
}

#[test]
fn a_wrong_outboard_is_refused_before_the_first_group() {
    let tree = small(&object(16 * 5));
    let start = |leaves: Vec<[u8; 32]>| {
        GroupVerifier::with_any_groups(tree.head, Outboard { leaves }).map(|_| ()).unwrap_err()
    };
    let honest = tree.outboard.leaves.clone();
    for bit in 0..honest.len() * 256 {
        let mut changed = honest.clone();
        changed[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        assert_eq!(start(changed), GroupReason::OutboardRoot, "{bit}");
    }
    let mut swapped = honest.clone();
    swapped.swap(0, 1);
    assert_eq!(start(swapped), GroupReason::OutboardRoot);
    let count = |found| GroupReason::OutboardCount { found, expected: 5 };
    assert_eq!(start(honest[..4].to_vec()), count(4));
    assert_eq!(start([&honest[..], &honest[..1]].concat()), count(6));
    assert_eq!(start(Vec::new()), count(0));
    // Inner nodes shown as the leaves of a shorter object.
    let node = |one: usize, other: usize| derive(NODE_CONTEXT, &[&honest[one], &honest[other]]);
    let inner = Outboard { leaves: vec![node(0, 1), node(2, 3), honest[4]] };
    let head = TreeHead { bytes: 16 * 3, ..tree.head };
    assert_eq!(GroupVerifier::with_any_groups(head, inner).map(|_| ()), Err(GroupReason::OutboardRoot));
}

#[test]
fn a_wrong_head_is_refused() {
    let tree = GroupTree::of(&object(40));
    let start = |head| GroupVerifier::new(head, tree.outboard.clone()).map(|_| ()).unwrap_err();
    assert_eq!(start(TreeHead { root: [0; 32], ..tree.head }), GroupReason::OutboardRoot);
    assert_eq!(start(TreeHead { bytes: 41, ..tree.head }), GroupReason::OutboardRoot);
    for group_bytes in [0, 1, GROUP_BYTES - 1, u32::MAX] {
        let expected = GroupReason::GroupSize { found: group_bytes, supported: GROUP_BYTES };
        assert_eq!(start(TreeHead { group_bytes, ..tree.head }), expected);
    }
    let expected = GroupReason::ObjectSize { bytes: MAX_OBJECT_BYTES + 1, limit: MAX_OBJECT_BYTES };
    assert_eq!(start(TreeHead { bytes: MAX_OBJECT_BYTES + 1, ..tree.head }), expected);
}

#[test]
fn heads_and_outboards_have_one_byte_form() {
    let tree = GroupTree::of(&object((2 << 20) + 3));
    let mut encoder = Encoder::new();
    tree.head.encode(&mut encoder);
    let head = encoder.into_bytes();
    assert_eq!(TreeHead::decode(&mut Decoder::new(&head)), Ok(tree.head));
    let bytes = tree.outboard.encode();
    assert_eq!(Outboard::decode(&bytes, &tree.head), Ok(tree.outboard.clone()));
    for length in 0..bytes.len() {
        assert!(Outboard::decode(&bytes[..length], &tree.head).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Outboard::decode(&longer, &tree.head), Err(Error::TrailingBytes { .. })));
    // As many hashes as the head has groups, no more and no fewer.
    let shorter = TreeHead { bytes: 2 << 20, ..tree.head };
    assert!(matches!(
        Outboard::decode(&bytes, &shorter),
        Err(Error::OverLimit { length: 96, limit: 64, .. })
    ));
    let longer = TreeHead { bytes: (3 << 20) + 1, ..tree.head };
    assert_eq!(Outboard::decode(&bytes, &longer), Err(Error::OutboardLength { length: 96, expected: 128 }));
    let other = TreeHead { group_bytes: 1 << 10, ..tree.head };
    assert!(matches!(Outboard::decode(&bytes, &other), Err(Error::TreeHead(GroupReason::GroupSize { .. }))));
}

#[test]
fn the_longest_outboard_fits_its_limit() {
    let hashes = MAX_OBJECT_BYTES.div_ceil(u64::from(GROUP_BYTES)) * HASH_BYTES;
    let header = Outboard { leaves: Vec::new() }.encode().len() as u64;
    // A length of 32 bits takes 4 bytes more than an inline one.
    assert!(hashes + header + 4 <= MAX_OUTBOARD_BYTES as u64);
}
