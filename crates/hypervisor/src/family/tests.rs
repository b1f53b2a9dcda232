//! Trees of files that stand for procfs: families are found by their keeper, time of the ended counts, nothing falls.

use std::fs;

use super::*;

fn stat(root: &Path, number: u32, parent: u32, name: &str, ticks: [i64; 4]) {
    stat_from(root, number, parent, name, ticks, 1);
}

fn stat_from(root: &Path, number: u32, parent: u32, name: &str, ticks: [i64; 4], began: u64) {
    let folder = root.join(number.to_string());
    fs::create_dir_all(&folder).unwrap();
    let [user, system, waited_user, waited_system] = ticks;
    let text = format!(
        "{number} ({name}) S {parent} 1 1 0 -1 4194560 100 0 0 0 {user} {system} {waited_user} {waited_system} 20 0 1 0 {began} 1\n"
    );
    fs::write(folder.join("stat"), text).unwrap();
}

/// Looks and reads, in ticks.
fn ticks(family: &mut Family, root: &Path) -> u64 {
    let processes = Processes::read(root).unwrap();
    let mut looker = Looker::default();
    for _ in 0..2 {
        // The second time from what is open.
        assert_eq!(looker.look(root).unwrap().table, processes.table);
    }
    family.look(&processes);
    let seconds = family.seconds_in(&processes);
    assert_eq!(family.seconds(root), seconds, "both ways count the same, once");
    (seconds * TICKS_PER_SECOND).round() as u64
}

#[test]
fn descendants_count_and_others_do_not() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    stat(root, 1, 0, "init", [900; 4]);
    stat(root, 10, 1, "keeper", [0; 4]);
    stat(root, 11, 10, "agent) R 1 (", [100, 50, 0, 0]);
    stat(root, 12, 11, "child", [30, 0, 20, 0]);
    stat(root, 13, 10, "orphan", [100, 0, 0, 0]);
    stat(root, 20, 1, "other", [7_000, 0, 0, 0]);
    fs::create_dir(root.join("self")).unwrap();
    let mut family = Family::of(10);
    assert_eq!(ticks(&mut family, root), 300);
    assert_eq!(family.members().iter().copied().collect::<Vec<_>>(), [10, 11, 12, 13]);
    assert_eq!(ticks(&mut family, root), 300);
    // The child used 7 more that nobody read, and its parent asked for it: counted once.
    fs::remove_dir_all(root.join("12")).unwrap();
    stat(root, 11, 10, "agent", [100, 50, 57, 0]);
    assert_eq!(ticks(&mut family, root), 307);
    stat(root, 11, 10, "agent", [200, 50, 57, 0]);
    assert_eq!(ticks(&mut family, root), 407);
}

/// Children that burn and end while their parent ignores it: their time is in no process any more, and counts all the same.
#[test]
fn nobody_burns_again_what_an_ended_child_burned() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    stat(root, 10, 1, "keeper", [0; 4]);
    stat(root, 11, 10, "agent", [5, 0, 0, 0]);
    let mut family = Family::of(10);
    for round in 0..5 {
        // The number of the one before, even.
        stat_from(root, 12, 11, "child", [1000, 0, 0, 0], round);
        assert_eq!(ticks(&mut family, root), 5 + 1000 * (round + 1), "round {round}");
        if round % 2 == 0 {
            fs::remove_dir_all(root.join("12")).unwrap();
            assert_eq!(ticks(&mut family, root), 5 + 1000 * (round + 1));
        }
    }
}

#[test]
fn what_ends_two_generations_at_once_counts_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    stat(root, 10, 1, "keeper", [0; 4]);
    stat(root, 11, 10, "agent", [10, 0, 0, 0]);
    stat(root, 12, 11, "child", [100, 0, 0, 0]);
    stat(root, 13, 12, "grandchild", [1000, 0, 0, 0]);
    let mut family = Family::of(10);
    assert_eq!(ticks(&mut family, root), 1110);
    for number in ["12", "13"] {
        fs::remove_dir_all(root.join(number)).unwrap();
    }
    stat(root, 11, 10, "agent", [10, 0, 1103, 0]);
    assert_eq!(ticks(&mut family, root), 1113);
    // Short children that nobody ever read, asked for by their parent.
    stat(root, 11, 10, "agent", [10, 0, 1203, 50]);
    assert_eq!(ticks(&mut family, root), 1263);
}

#[test]
fn broken_lines_and_circles_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    stat(root, 10, 11, "a", [1, 0, -5, 0]);
    stat(root, 11, 10, "b", [2, 0, 0, 0]);
    for (number, text) in
        [(12, ""), (13, "13 (x"), (14, "14 (x) S 10 1"), (15, "15 (x) S y 1 1 1 1 1 1 1 1 1 1 1 1 1")]
    {
        fs::create_dir(root.join(number.to_string())).unwrap();
        fs::write(root.join(number.to_string()).join("stat"), text).unwrap();
    }
    let processes = Processes::read(root).unwrap();
    assert_eq!(processes.below(10).into_iter().collect::<Vec<_>>(), [10, 11]);
    let mut family = Family::of(10);
    family.look(&processes);
    assert!((family.seconds(root) - 0.03).abs() < 1e-9, "a negative field counts nothing");
    assert_eq!(
        Processes::read(&root.join("absent")).unwrap_err(),
        Error::Absent(root.join("absent").display().to_string())
    );
}

#[test]
fn the_kernel_s_own_lines_are_read() {
    let processes = Processes::read(Path::new("/proc")).unwrap();
    assert!(processes.below(std::process::id()).contains(&std::process::id()));
}

#[test]
fn an_open_file_is_that_of_the_process_it_was_opened_for() {
    let root = Path::new("/proc");
    let mut looker = Looker::default();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let has = |looker: &mut Looker, number| looker.look(root).unwrap().table.contains_key(&number);
    assert!(has(&mut looker, child.id()));
    child.kill().unwrap();
    // Nobody has asked for it yet: it is still there, and so is the time it used.
    assert!(has(&mut looker, child.id()));
    child.wait().unwrap();
    assert!(!has(&mut looker, child.id()) && !looker.0.contains_key(&child.id()));
}
