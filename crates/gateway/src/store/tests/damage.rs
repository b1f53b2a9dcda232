//! Changes to the files: each is found and named, and none gives a wrong record.

use std::collections::BTreeMap;

use super::fault::FaultDisk;
use super::{OPTIONS, check_all, commit, key, open};
use crate::store::{Damage, Sequence, Store, StoreError, StoreKey};

type Image = BTreeMap<String, Vec<u8>>;

/// The files of a store after these commits.
fn image_of(commits: &[u64]) -> Image {
    let disk = FaultDisk::default();
    let (mut store, _) = open(&disk).unwrap();
    let mut next = 0;
    for count in commits {
        commit(&mut store, next, *count).unwrap();
        next += count;
    }
    disk.image()
}

/// Three segments. The last commit is two records in the last one, behind another commit in it.
fn three_segments() -> Image {
    let image = image_of(&[2, 4, 1, 4, 2, 2]);
    assert_eq!(image.keys().collect::<Vec<_>>(), [&name(0), &name(5), &name(10)]);
    image
}

fn name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The error of opening an image.
fn refusal(image: &Image) -> StoreError {
    match open(&FaultDisk::from_image(image)) {
        Ok((store, _)) => panic!("opened with {} records", check_all(&store, "refusal")),
        Err(error) => error,
    }
}

/// Opening must say exactly this.
fn check(image: &Image, segment: u64, offset: u64, what: Damage) {
    let error = refusal(image);
    let found = matches!(
        &error,
        StoreError::Damaged { segment: s, offset: o, what: w }
            if *s == name(segment) && *o == offset && *w == what
    );
    assert!(found, "expected {what:?} at {offset} of {segment}, found {error:?}");
}

/// Offsets at which the records of a segment start, and its length.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![96];
    while offsets[offsets.len() - 1] < bytes.len() {
        let at = offsets[offsets.len() - 1];
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        offsets.push(at + 29 + length as usize);
    }
    offsets
}

#[test]
fn every_flipped_bit_is_found() {
    let image = three_segments();
    let last_offsets = offsets(&image[&name(10)]);
    let last_commit = last_offsets[last_offsets.len() - 3];
    let (mut damaged, mut truncated) = (0, 0);
    for (file, bytes) in &image {
        let starts = offsets(bytes);
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            let context = format!("bit {bit} of {file}");
            let mut flipped = image.clone();
            flipped.get_mut(file).unwrap()[at] ^= 1 << (bit % 8);
            let is_tail = *file == name(10) && at >= last_commit;
            match open(&FaultDisk::from_image(&flipped)) {
                Ok((store, truncated_bytes)) => {
                    assert!(is_tail && truncated_bytes > 0, "{context}");
                    // Everything before the bad record is still there.
                    let whole = starts.iter().filter(|start| **start <= at).count() as u64 - 1;
                    assert_eq!(check_all(&store, &context), 10 + whole, "{context}");
                    truncated += 1;
                }
                Err(StoreError::Damaged { segment, offset, .. }) => {
                    assert!(!is_tail, "{context}");
                    assert_eq!(segment, *file, "{context}");
                    let start = starts.iter().rev().find(|start| **start <= at).copied().unwrap_or(0);
                    assert_eq!(offset, start as u64, "{context}");
                    damaged += 1;
                }
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
    println!("{damaged} flips refused, {truncated} in the last commit truncated");
}

#[test]
fn every_flipped_bit_is_found_by_a_reader() {
    let disk = FaultDisk::from_image(&three_segments());
    let (store, _) = open(&disk).unwrap();
    for (file, bytes) in disk.image() {
        let first: u64 = file[..20].parse().unwrap();
        let starts = offsets(&bytes);
        for bit in 96 * 8..bytes.len() * 8 {
            let at = bit / 8;
            let index = starts.iter().filter(|start| **start <= at).count() - 1;
            disk.flip(&file, bit);
            match store.read(Sequence::from_u64(first + index as u64)) {
                Err(StoreError::Damaged { segment, offset, .. }) => {
                    assert!(segment == file && offset == starts[index] as u64);
                }
                other => panic!("bit {bit} of {file}: {other:?}"),
            }
            disk.flip(&file, bit);
        }
    }
    check_all(&store, "all bits restored");
}

#[test]
fn a_reader_refuses_another_history_under_the_same_key() {
    // Two logs that differ in record 1 only, as after a torn end whose place was given to another record.
    let log = |content: u8| {
        let disk = FaultDisk::default();
        let (mut store, _) = open(&disk).unwrap();
        for content in [0, content] {
            store.append(1, vec![content]).unwrap();
            store.commit().unwrap();
        }
        (store, disk)
    };
    let ((store, disk), (_, other)) = (log(1), log(2));
    disk.replace(&name(0), &other.image()[&name(0)]);
    assert_eq!(store.read(Sequence::FIRST).unwrap().content, [0]);
    let read = store.read(Sequence::from_u64(1));
    assert!(matches!(read, Err(StoreError::Damaged { what: Damage::RecordChain, .. })), "{read:?}");
}

#[test]
fn a_file_cut_anywhere_is_refused_or_truncated() {
    let image = three_segments();
    for (file, bytes) in &image {
        for length in 0..bytes.len() {
            let context = format!("{file} cut to {length}");
            let mut cut = image.clone();
            cut.get_mut(file).unwrap().truncate(length);
            let whole = offsets(bytes).iter().filter(|start| **start <= length).count().saturating_sub(1);
            match open(&FaultDisk::from_image(&cut)) {
                Ok((store, _)) if *file == name(10) => {
                    assert_eq!(check_all(&store, &context), 10 + whole as u64);
                }
                Ok(_) => panic!("{context}: opened"),
                Err(StoreError::Damaged { .. }) => assert_ne!(*file, name(10), "{context}"),
                Err(error) => panic!("{context}: {error}"),
            }
        }
    }
}

#[test]
fn missing_segments_are_found() {
    let without = |first: u64| {
        let mut image = three_segments();
        image.remove(&name(first)).unwrap();
        image
    };
    check(&without(0), 5, 0, Damage::OldestMissing);
    check(&without(5), 10, 0, Damage::HeaderPlace);
    // The newest can be cut off unseen; whoever holds a head sees it.
    let (store, _) = open(&FaultDisk::from_image(&without(10))).unwrap();
    assert_eq!(check_all(&store, "newest segment removed"), 10);

    // After the ring has removed some itself, one more is still missed.
    let mut image = image_of(&[5; 12]);
    let oldest = image.keys().next().unwrap().clone();
    assert_ne!(oldest, name(0));
    image.remove(&oldest);
    let error = refusal(&image);
    assert!(matches!(error, StoreError::Damaged { what: Damage::OldestMissing, .. }), "{error}");
    // A lone segment that is cut within its header is no new store, unless it would be the first.
    let lone = Image::from([(name(10), three_segments()[&name(10)][..50].to_vec())]);
    check(&lone, 10, 0, Damage::HeaderIncomplete);
}

#[test]
fn swapped_and_replayed_segments_are_found() {
    let image = three_segments();
    let put = |to: u64, bytes: &[u8]| {
        let mut changed = image.clone();
        changed.insert(name(to), bytes.to_vec());
        changed
    };
    let mut swapped = put(0, &image[&name(5)]);
    swapped.insert(name(5), image[&name(0)].clone());
    check(&swapped, 0, 0, Damage::HeaderPlace);
    check(&put(10, &image[&name(5)]), 10, 0, Damage::HeaderPlace);
    check(&put(15, &image[&name(10)]), 15, 0, Damage::HeaderPlace);
    // An older copy of a segment, which is whole in itself.
    let older = &image_of(&[2, 4, 1])[&name(5)];
    assert!(image[&name(5)].starts_with(older));
    check(&put(5, older), 10, 0, Damage::HeaderPlace);
    // The same segment of another store with the same key.
    let other_disk = FaultDisk::default();
    let mut other = Store::open_on(other_disk.boxed(), &key(), OPTIONS).unwrap().0;
    for sequence in 0..10 {
        let (kind, mut content) = super::expected(sequence);
        content.iter_mut().for_each(|byte| *byte ^= 1);
        other.append(kind, content).unwrap();
        other.commit().unwrap();
    }
    check(&put(5, &other_disk.image()[&name(5)]), 5, 0, Damage::HeaderChain);
}

#[test]
fn removed_moved_and_forged_records_are_found() {
    let image = three_segments();
    let bytes = &image[&name(5)];
    let at = offsets(bytes);
    let put = |to: u64, bytes: Vec<u8>| {
        let mut changed = image.clone();
        changed.insert(name(to), bytes);
        changed
    };
    // Record 6 taken out of the middle segment.
    let removed = [&bytes[..at[1]], &bytes[at[2]..]].concat();
    check(&put(5, removed), 5, at[1] as u64, Damage::RecordPlace);
    // Records 6 and 7 in each other's place.
    let swapped = [&bytes[..at[1]], &bytes[at[2]..at[3]], &bytes[at[1]..at[2]], &bytes[at[3]..]].concat();
    check(&put(5, swapped), 5, at[1] as u64, Damage::RecordPlace);
    // Another ciphertext under the right CRCs, as somebody without the key would forge it.
    let last = &image[&name(10)];
    let at = offsets(last);
    let record = crate::store::segment::SealedRecord::parse(&last[at[0]..]).unwrap();
    let forged = vec![0; record.ciphertext.len()];
    let mut changed = last[..at[0]].to_vec();
    crate::store::segment::SealedRecord { ciphertext: &forged, ..record }.encode(&mut changed);
    changed.extend_from_slice(&last[at[1]..]);
    check(&put(10, changed), 10, at[0] as u64, Damage::RecordSeal);
    // Another kind under the right CRCs.
    let mut changed = last[..at[0]].to_vec();
    crate::store::segment::SealedRecord { kind: record.kind ^ 1, ..record }.encode(&mut changed);
    changed.extend_from_slice(&last[at[1]..]);
    check(&put(10, changed), 10, at[0] as u64, Damage::RecordSeal);
}

#[test]
fn nothing_is_changed_before_everything_is_verified() {
    // A torn end and, before it, a damaged segment.
    let mut image = three_segments();
    image.get_mut(&name(10)).unwrap().push(1);
    image.get_mut(&name(0)).unwrap()[100] ^= 1;
    let disk = FaultDisk::from_image(&image);
    assert!(open(&disk).is_err());
    assert_eq!(disk.image(), image);
    assert_eq!(disk.state().spent, 0);
}

#[test]
fn foreign_names_are_refused_or_left_alone() {
    let mut image = three_segments();
    image.insert("notes.txt".to_owned(), b"not ours".to_vec());
    assert!(open(&FaultDisk::from_image(&image)).is_ok());
    for foreign in ["x.seg", "5.seg", "+0000000000000000005.seg", "99999999999999999999.seg", ".seg"] {
        let mut image = image.clone();
        image.insert(foreign.to_owned(), vec![]);
        let error = refusal(&image);
        assert!(matches!(error, StoreError::Damaged { what: Damage::Name, .. }), "{foreign}: {error}");
    }
    image.insert(name(u64::MAX), vec![]);
    assert!(matches!(refusal(&image), StoreError::Damaged { what: Damage::HeaderIncomplete, .. }));
}

#[test]
fn another_key_is_refused() {
    for image in [three_segments(), image_of(&[])] {
        let disk = FaultDisk::from_image(&image);
        let other = StoreKey::from_bytes([8; 32]);
        let refused = Store::open_on(disk.boxed(), &other, OPTIONS).err();
        assert!(matches!(refused, Some(StoreError::WrongKey { .. })), "{refused:?}");
        assert_eq!(disk.image(), image);
        open(&disk).unwrap();
    }
}
