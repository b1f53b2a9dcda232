//! Honest epochs of every size have no findings; every change of one has exactly its finding.

use protocol::checkpoint::ModelFloor;
use protocol::keys::SigningKey;
use protocol::lease::Outcome;
use protocol::{Claim, ModelCommitment};

use super::*;
use crate::epochs::OpenEpoch;
use crate::record::{Answered, Dropped, Passed, Record, Started, test_claim};
use crate::sampling::{AuditPolicy, PPB};

const KEY: [u8; 32] = [6; 32];
const RATE: u64 = PPB / 4;

fn gateway() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn party() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

fn claim(tag: u64) -> Claim {
    test_claim(*blake3::hash(&tag.to_le_bytes()).as_bytes())
}

fn started(key: &[u8; 32]) -> Started {
    Started {
        audit_key: audit_key_commitment(key),
        seed_key: [5; 32],
        rate_ppb: RATE,
        models: vec![ModelFloor { model: ModelCommitment::from_bytes([1; 32]), floor_ppb: RATE }],
        beacon_party: Some(party().verifying_key()),
        previous: None,
    }
}

/// A log that is written record by record; the sequence is the place.
#[derive(Clone, Default)]
struct Written(Vec<Record>);

impl Written {
    /// One epoch with answers of these tags, every pick judged, and its end.
    fn epoch(&mut self, key: [u8; 32], tags: std::ops::Range<u64>) -> u64 {
        let epoch = self.open(key, tags);
        self.close(epoch, key);
        epoch
    }

    fn open(&mut self, key: [u8; 32], tags: std::ops::Range<u64>) -> u64 {
        let epoch = self.0.len() as u64;
        let started = started(&key);
        let open = OpenEpoch::new(started.terms(gateway().verifying_key().id(), epoch), key);
        let models = started.models.clone();
        self.0.push(Record::Started(Box::new(started)));
        for tag in tags {
            let mut answered = Answered { tag, picked: false, response: [0; 32], claim: claim(tag) };
            answered.picked = open.samplers().picks(&answered.leaf(&models).unwrap());
            let picked = answered.picked;
            self.0.push(Record::Answered(Box::new(answered)));
            if picked {
                self.0.push(Record::Judged { tag, outcome: Outcome::Pass });
            }
        }
        epoch
    }

    fn close(&mut self, epoch: u64, key: [u8; 32]) {
        self.0.push(Record::Checkpoint { signed: self.signed(epoch, &gateway()) });
        self.0.push(Record::Revealed { epoch, audit_key: key });
    }

    /// The final checkpoint over what is there.
    fn signed(&self, epoch: u64, key: &SigningKey) -> Vec<u8> {
        let history = self.history();
        let past = history.epochs.iter().find(|past| past.epoch == epoch).unwrap();
        let hashes: Vec<MerkleHash> = past.entries.iter().map(|entry| entry.leaf.hash()).collect();
        let size = hashes.len() as u64;
        let terms = past.terms(key.verifying_key().id());
        Checkpoint { terms, size, root: merkle::root(&hashes), is_final: true }.sign(key).unwrap()
    }

    fn history(&self) -> History {
        let mut history = History::new();
        self.0.iter().enumerate().for_each(|(at, record)| history.add(at as u64, record));
        history
    }

    fn audit(&self) -> LogReport {
        audit_log(&self.history(), &gateway().verifying_key(), true)
    }

    fn findings(&self) -> Vec<AuditFinding> {
        self.audit().all_findings().map(|(_, finding)| finding.clone()).collect()
    }

    fn file(&self, epoch: u64) -> EpochFile {
        self.history().export(epoch).unwrap()
    }

    fn find(&self, is: impl Fn(&Record) -> bool) -> usize {
        self.0.iter().position(is).unwrap()
    }

    fn answer(&mut self, tag: u64) -> &mut Answered {
        let found = self.0.iter_mut().find_map(|record| {
            let Record::Answered(answered) = record else { return None };
            (answered.tag == tag).then_some(&mut **answered)
        });
        found.unwrap()
    }
}

fn honest(answers: u64) -> Written {
    let mut written = Written::default();
    written.epoch(KEY, 0..answers);
    written
}

fn audit(file: &EpochFile) -> Vec<AuditFinding> {
    audit_epoch(file, &gateway().verifying_key(), None).findings
}

/// A tag of a picked answer, and one of another.
fn picked_and_not(file: &EpochFile) -> (usize, usize) {
    let picked = file.leaves.iter().position(|leaf| leaf.picked).unwrap();
    (picked, file.leaves.iter().position(|leaf| !leaf.picked).unwrap())
}

#[test]
fn honest_epochs_of_every_size_have_no_findings() {
    for answers in [0, 1, 2, 3, 4, 5, 8, 9, 32, 33, 64, 65, 200] {
        let written = honest(answers);
        let report = written.audit();
        assert_eq!((report.all_findings().count(), report.waiting, report.is_revealed), (0, 0, true));
        assert_eq!((report.counts.answers, report.counts.picked), (answers, report.counts.passed));
        // An outsider finds the same, and so does one who has kept the opening checkpoint.
        let file = EpochFile::decode(&written.file(0).encode()).unwrap();
        let opening = started(&KEY).terms(gateway().verifying_key().id(), 0).opening();
        for earlier in [None, Some(&opening)] {
            let outside = audit_epoch(&file, &gateway().verifying_key(), earlier);
            assert_eq!(outside, report.epochs[0], "{answers}");
        }
    }
    assert!((20..80).contains(&honest(200).audit().counts.picked));
}

#[test]
fn every_decision_that_is_changed_is_found() {
    let written = honest(60);
    let file = written.file(0);
    for (place, leaf) in file.leaves.iter().enumerate() {
        let (tag, picked) = (leaf.tag, leaf.picked);
        // In the file alone: the tree notices too.
        let mut changed = file.clone();
        changed.leaves[place].picked = !picked;
        let decision = if picked { AuditFinding::Skipped { tag } } else { AuditFinding::Added { tag } };
        let mut expected = vec![AuditFinding::Root, decision.clone()];
        expected.extend(picked.then_some(AuditFinding::NotPicked { tag }));
        assert_eq!(audit(&changed), expected);
        // By the gateway itself, which signs the changed tree.
        let mut lying = written.clone();
        lying.answer(tag).picked = !picked;
        let at = lying.find(|record| matches!(record, Record::Checkpoint { .. }));
        let signed = lying.signed(0, &gateway());
        lying.0[at] = Record::Checkpoint { signed };
        assert_eq!(lying.findings(), expected[1..]);
        assert_eq!(audit(&lying.file(0)), expected[1..]);
    }
}

#[test]
fn a_leaf_that_is_left_out_added_moved_or_repeated_is_found() {
    let file = honest(9).file(0);
    let (_, plain) = picked_and_not(&file);
    let mut without = file.clone();
    without.leaves.remove(plain);
    assert_eq!(audit(&without), [AuditFinding::Size { leaves: 8, size: 9 }]);
    let mut moved = file.clone();
    moved.leaves.swap(0, 8);
    assert_eq!(audit(&moved), [AuditFinding::Root]);
    let tag = file.leaves[plain].tag;
    let mut twice = file.clone();
    twice.leaves.push(file.leaves[plain]);
    assert_eq!(audit(&twice), [AuditFinding::Size { leaves: 10, size: 9 }, AuditFinding::Twice { tag }]);
    // Twice in the gateway's own tree: one tag for two answers, of which one can be shown to each asker.
    let mut written = honest(9);
    let last = written.find(|record| matches!(record, Record::Checkpoint { .. }));
    let again =
        written.0[written.find(|record| matches!(record, Record::Answered(a) if a.tag == tag))].clone();
    written.0.insert(last, again);
    let signed = written.signed(0, &gateway());
    written.0[last + 1] = Record::Checkpoint { signed };
    assert_eq!(written.findings(), [AuditFinding::Twice { tag }]);
    // And in two epochs.
    let mut two = honest(9);
    two.epoch([7; 32], 8..12);
    assert_eq!(two.findings(), [AuditFinding::Twice { tag: 8 }]);
}

#[test]
fn a_cost_that_is_changed_is_found() {
    let file = honest(9).file(0);
    let (picked, plain) = picked_and_not(&file);
    let mut cheap = file.clone();
    cheap.leaves[picked].cost_tokens = 1;
    // The floor keeps the decision as it is; the tree does not.
    assert_eq!(audit(&cheap), [AuditFinding::Root]);
    let mut dear = file.clone();
    let tag = file.leaves[plain].tag;
    dear.leaves[plain].cost_tokens = 4 * 256;
    assert_eq!(audit(&dear), [AuditFinding::Root, AuditFinding::Skipped { tag }]);
    let mut other = file;
    other.leaves[plain].model = 1;
    assert_eq!(audit(&other), [AuditFinding::Root, AuditFinding::OtherModel { tag }]);
}

#[test]
fn keys_that_do_not_fit_and_reveals_that_are_early_or_missing_are_found() {
    let written = honest(9);
    let mut other_key = written.clone();
    *other_key.0.last_mut().unwrap() = Record::Revealed { epoch: 0, audit_key: [7; 32] };
    assert_eq!(other_key.findings(), [AuditFinding::WrongKey]);
    assert_eq!(audit(&other_key.file(0)), [AuditFinding::WrongKey]);
    let mut unrevealed = written.clone();
    unrevealed.0.pop();
    let report = unrevealed.audit();
    assert_eq!((report.all_findings().count(), report.is_revealed), (0, false));
    let mut early = written.clone();
    let last = early.0.len();
    early.0.swap(last - 1, last - 2);
    assert_eq!(early.findings(), [AuditFinding::RevealedEarly]);
}

#[test]
fn a_checkpoint_of_another_or_of_another_epoch_is_found() {
    let written = honest(9);
    let at = written.find(|record| matches!(record, Record::Checkpoint { .. }));
    let with = |signed: Vec<u8>| {
        let mut changed = written.clone();
        changed.0[at] = Record::Checkpoint { signed };
        changed
    };
    let forged = with(written.signed(0, &party()));
    assert!(matches!(forged.findings()[..], [AuditFinding::Checkpoint(SignedReason::OtherKey { .. })]));
    assert!(matches!(audit(&forged.file(0))[..], [AuditFinding::Checkpoint(SignedReason::OtherKey { .. })]));
    let right = Checkpoint::verify(&written.signed(0, &gateway()), &gateway().verifying_key()).unwrap();
    let open = Checkpoint { is_final: false, ..right.clone() }.sign(&gateway()).unwrap();
    assert_eq!(with(open).findings(), [AuditFinding::NotFinal]);
    // Terms that were changed after the fact: a lower rate, with all decisions redone for it, is not what was begun.
    let mut lower = right.clone();
    lower.terms.epoch = 77;
    assert_eq!(with(lower.sign(&gateway()).unwrap()).findings(), [AuditFinding::OtherTerms]);
    let mut missing = written.clone();
    missing.0.remove(at);
    assert!(missing.findings().contains(&AuditFinding::RevealedEarly));
    missing.epoch([7; 32], 20..22);
    assert!(missing.findings().contains(&AuditFinding::NoCheckpoint));
}

#[test]
fn a_history_that_forks_from_an_earlier_checkpoint_is_found() {
    let written = honest(9);
    let key = gateway().verifying_key();
    let file = written.file(0);
    let terms = started(&KEY).terms(key.id(), 0);
    let hashes: Vec<MerkleHash> = file.leaves.iter().map(Leaf::hash).collect();
    let after =
        |size: usize, root| Checkpoint { terms: terms.clone(), size: size as u64, root, is_final: false };
    for size in 0..=9 {
        let kept = after(size, merkle::root(&hashes[..size]));
        assert_eq!(audit_epoch(&file, &key, Some(&kept)).findings, []);
    }
    let forked = [AuditFinding::Fork];
    let other = after(3, merkle::root(&hashes[1..4]));
    assert_eq!(audit_epoch(&file, &key, Some(&other)).findings, forked);
    let longer = after(10, merkle::root(&hashes));
    assert_eq!(audit_epoch(&file, &key, Some(&longer)).findings, forked);
    // Another key was committed to at first.
    let mut opening = terms.opening();
    opening.terms.audit_key = [0; 32];
    assert_eq!(audit_epoch(&file, &key, Some(&opening)).findings, forked);
}

#[test]
fn each_epoch_is_checked_with_its_own_key() {
    let mut written = honest(30);
    let late = written.0.remove(written.find(|record| matches!(record, Record::Judged { .. })));
    let epoch = written.open([9; 32], 30..60);
    // A pick of the first epoch is judged only now.
    written.0.push(late);
    let unrevealed = written.audit();
    assert_eq!((unrevealed.all_findings().count(), unrevealed.is_revealed), (0, false));
    written.close(epoch, [9; 32]);
    let report = written.audit();
    let found = (report.all_findings().count(), report.is_revealed, report.counts.answers);
    assert_eq!((found, report.waiting), ((0, true, 60), 0));
    *written.0.last_mut().unwrap() = Record::Revealed { epoch, audit_key: KEY };
    assert_eq!(written.findings(), [AuditFinding::WrongKey]);
    // An answer that was moved into the epoch before, after its key was known.
    let mut moved = honest(30);
    moved.open([9; 32], 30..31);
    let answer = moved.0.pop().unwrap();
    let end = moved.find(|record| matches!(record, Record::Checkpoint { .. }));
    moved.0.insert(end, answer);
    assert!(moved.findings().contains(&AuditFinding::Size { leaves: 31, size: 30 }));
}

#[test]
fn records_without_an_epoch_and_outcomes_without_a_pick_are_found() {
    let without_start = Written(honest(1).0[1..2].to_vec());
    assert_eq!(without_start.findings(), [AuditFinding::NoStart]);
    // The ring has removed the start: nothing is wrong, and nothing is checked.
    let report = audit_log(&without_start.history(), &gateway().verifying_key(), false);
    assert_eq!((report.all_findings().count(), report.unchecked), (0, 1));
    let mut judged = honest(9);
    let (_, plain) = picked_and_not(&judged.file(0));
    let tag = plain as u64;
    judged.0.push(Record::Judged { tag, outcome: Outcome::Pass });
    assert_eq!(judged.findings(), [AuditFinding::NotPicked { tag }]);
    let mut unknown = honest(9);
    unknown.0.push(Record::Judged { tag: 99, outcome: Outcome::Pass });
    assert_eq!(unknown.findings(), [AuditFinding::NotPicked { tag: 99 }]);
    let mut strays = honest(9);
    strays.0.push(Record::Beacon { epoch: 5, signed: vec![] });
    strays.0.push(strays.0[strays.find(|record| matches!(record, Record::Checkpoint { .. }))].clone());
    assert_eq!(strays.findings(), [AuditFinding::Strays { count: 2 }]);
}

#[test]
fn a_rate_below_the_minimum_is_found() {
    let mut written = Written::default();
    let low =
        Started { models: vec![ModelFloor { floor_ppb: 1, ..started(&KEY).models[0] }], ..started(&KEY) };
    written.0.push(Record::Started(Box::new(low)));
    written.close(0, KEY);
    assert_eq!(written.findings(), [AuditFinding::RateTooLow { rate_ppb: 1 }]);
}

/// Whoever holds the key lets only answers out whose coin says no. Every decision is right, and no pick is missing.
#[test]
fn an_epoch_without_picks_is_noticed_by_their_number() {
    let steered = |count: usize| {
        let plain: Vec<u64> =
            honest(400).file(0).leaves.iter().filter(|leaf| !leaf.picked).map(|leaf| leaf.tag).collect();
        let mut written = Written::default();
        let epoch = written.open(KEY, 0..0);
        for tag in &plain[..count] {
            let answered = Answered { tag: *tag, picked: false, response: [0; 32], claim: claim(*tag) };
            written.0.push(Record::Answered(Box::new(answered)));
        }
        written.close(epoch, KEY);
        written.findings()
    };
    // 2 * 0.75^n is below a millionth from 51 on.
    assert_eq!(steered(50), []);
    assert!(matches!(
        steered(51)[..],
        [AuditFinding::PickCount { picked: 0, answers: 51, expected, .. }] if (expected - 12.75).abs() < 1e-9
    ));
}

#[test]
fn the_beacons_picks_are_part_of_the_audit() {
    let mut written = honest(200);
    let file = written.file(0);
    let checkpoint = Checkpoint::verify(&file.checkpoint, &gateway().verifying_key()).unwrap();
    let signed = Beacon::new(&checkpoint, [3; 32]).sign(&party());
    written.0.push(Record::Beacon { epoch: 0, signed });
    let report = written.audit();
    let picks = report.counts.beacon_picked;
    assert!((15..60).contains(&picks), "{picks}");
    assert_eq!((report.all_findings().count(), report.waiting), (0, picks));
    let entries = written.history().epochs[0].beacon_picks();
    for entry in &entries {
        written.0.push(Record::Judged { tag: entry.leaf.tag, outcome: Outcome::Pass });
    }
    let report = written.audit();
    assert_eq!((report.all_findings().count(), report.waiting), (0, 0));
    assert_eq!(report.counts.passed, report.counts.picked + picks);
    assert_eq!(audit_epoch(&written.file(0), &gateway().verifying_key(), None), report.epochs[0]);
    // A beacon of somebody else, or for an earlier state of the epoch.
    for signed in [
        Beacon::new(&checkpoint, [3; 32]).sign(&gateway()),
        Beacon::new(&checkpoint.terms.opening(), [3; 32]).sign(&party()),
    ] {
        let mut forged = written.clone();
        let at = forged.find(|record| matches!(record, Record::Beacon { .. }));
        forged.0[at] = Record::Beacon { epoch: 0, signed };
        assert!(forged.findings().contains(&AuditFinding::Beacon));
    }
}

#[test]
fn a_request_that_is_in_no_record_leaves_a_gap() {
    let check = |written: &Written, is_whole: bool, expected: u64| {
        let report = audit_log(&written.history(), &gateway().verifying_key(), is_whole);
        assert_eq!((report.unaccounted, report.all_findings().count()), (expected, 0));
    };
    let mut written = Written::default();
    let epoch = written.open(KEY, 0..10);
    // Answered, and never written down: every tree and every proof is in order without it.
    let is_missing = |record: &Record| matches!(record, Record::Answered(answered) if answered.tag == 4);
    written.0.retain(|record| !is_missing(record) && !matches!(record, Record::Judged { tag: 4, .. }));
    written.close(epoch, KEY);
    check(&written, true, 1);
    // The near miss: it had no answer, and that is written down.
    let dropped = |tag| {
        let (request, response) = ([1; 32], [2; 32]);
        Record::Dropped(Box::new(Dropped { tag, request, response, reason: "no_room".to_owned() }))
    };
    written.0.push(dropped(4));
    check(&written, true, 0);
    // The next run begins anew; its first two are missing.
    let next = 300 << 24;
    written.0.push(dropped(next + 2));
    check(&written, true, 2);
    written.0.push(dropped(next));
    written.0.push(dropped(next + 1));
    check(&written, true, 0);
    // What a ring has let go of is not missed, what came after it is.
    let mut written = Written::default();
    written.epoch(KEY, 7..9);
    check(&written, false, 0);
    check(&written, true, 7);
    written.0.push(dropped(11));
    check(&written, false, 2);
}

/// A run that passed requests through, as its gateway writes it down.
fn pass_run(count: u64) -> Vec<Record> {
    let policy = AuditPolicy { rate_ppb: PPB / 2, floor_ppb: PPB / 2 };
    let sampler = AuditSampler::new([9; 32], policy);
    let mut records = vec![Record::PassBegan {
        audit_key: sampler.commitment(),
        rate_ppb: policy.rate_ppb,
        floor_ppb: policy.floor_ppb,
        upstream: "127.0.0.1:1".to_owned(),
    }];
    for tag in 0..count {
        let mut passed = Passed {
            tag,
            picked: false,
            request: [1; 32],
            response: [2; 32],
            request_bytes: tag,
            response_bytes: 5,
            finish: "delivered".to_owned(),
            flaw: None,
        };
        let leaf = passed.leaf();
        passed.picked = sampler.picks(&leaf.claim, leaf.cost_tokens);
        let outcome = Outcome::Unverifiable { missing: "exact_engine".to_owned() };
        let verdict = passed.picked.then_some(Record::Judged { tag, outcome });
        records.push(Record::Passed(Box::new(passed)));
        records.extend(verdict);
    }
    records.push(Record::Revealed { epoch: 0, audit_key: [9; 32] });
    records
}

fn audit_passed(records: &[Record]) -> LogReport {
    let mut history = History::new();
    for (sequence, record) in (0..).zip(records) {
        history.add(sequence, record);
    }
    audit_log(&history, &gateway().verifying_key(), true)
}

#[test]
fn the_picks_of_what_passed_through_are_checked_too() {
    let honest = pass_run(200);
    let report = audit_passed(&honest);
    assert_eq!((report.all_findings().count(), report.waiting, report.unaccounted), (0, 0, 0));
    assert!(report.is_revealed && report.counts.answers == 200);
    assert_eq!(report.counts.picked, report.counts.unverifiable);
    assert!((60..140).contains(&report.counts.picked), "{}", report.counts.picked);
    let findings = |records: &[Record]| -> Vec<AuditFinding> {
        audit_passed(records).all_findings().map(|(_, finding)| finding.clone()).collect()
    };
    let first = |wanted: bool| {
        honest
            .iter()
            .position(|record| matches!(record, Record::Passed(passed) if passed.picked == wanted))
            .unwrap()
    };
    let flipped = |place: usize| {
        let mut records = honest.clone();
        let Record::Passed(passed) = &mut records[place] else { unreachable!() };
        passed.picked = !passed.picked;
        (passed.tag, records)
    };
    // A pick that is hidden has a verdict left over; hidden with it, it is found all the same.
    let (tag, mut records) = flipped(first(true));
    assert_eq!(findings(&records), [AuditFinding::Skipped { tag }, AuditFinding::NotPicked { tag }]);
    records.remove(first(true) + 1);
    assert_eq!(findings(&records), [AuditFinding::Skipped { tag }]);
    let (tag, records) = flipped(first(false));
    assert_eq!(findings(&records), [AuditFinding::Added { tag }]);
    assert_eq!(audit_passed(&records).waiting, 1);
    // Another key, none yet, one of no run, an answer twice, one that is left out.
    let with_end = |end: Option<Record>| {
        let mut records = honest.clone();
        records.pop();
        records.extend(end);
        records
    };
    let key = |epoch, audit_key| Some(Record::Revealed { epoch, audit_key });
    assert_eq!(findings(&with_end(key(0, [8; 32]))), [AuditFinding::WrongKey]);
    assert_eq!(findings(&with_end(key(1, [9; 32]))), [AuditFinding::Strays { count: 1 }]);
    let unrevealed = audit_passed(&with_end(None));
    assert_eq!((unrevealed.all_findings().count(), unrevealed.is_revealed), (0, false));
    let place = first(false);
    let twice = [&honest[..place], &honest[place..=place], &honest[place..]].concat();
    let Record::Passed(passed) = &honest[place] else { unreachable!() };
    assert_eq!(findings(&twice), [AuditFinding::Twice { tag: passed.tag }]);
    let missing = [&honest[..place], &honest[place + 1..]].concat();
    assert_eq!(audit_passed(&missing).unaccounted, 1);
}
