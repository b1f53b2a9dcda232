//! Trees of files that stand for procfs: families are found by their keeper, time of the ended counts, nothing falls.

use std::fs;

use super::*;

fn stat(root: &Path, number: u32, parent: u32, name: &str, ticks: [i64; 4]) {
    let folder = root.join(number.to_string());
    fs::create_dir_all(&folder).unwrap();
    let [user, system, waited_user, waited_system] = ticks;
    let text = format!(
        "{number} ({name}) S {parent} 1 1 0 -1 4194560 100 0 0 0 {user} {system} {waited_user} {waited_system} 20 0 1 0 1\n"
    );
    fs::write(folder.join("stat"), text).unwrap();
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
    family.look(&Processes::read(root).unwrap());
    assert_eq!(family.members().iter().copied().collect::<Vec<_>>(), [10, 11, 12, 13]);
    assert!((family.seconds(root) - 3.0).abs() < 1e-9);
    // The child ends between two looks: nobody has its time for a moment, then its parent has.
    fs::remove_dir_all(root.join("12")).unwrap();
    assert!((family.seconds(root) - 3.0).abs() < 1e-9);
    stat(root, 11, 10, "agent", [100, 50, 50, 0]);
    assert!((family.seconds(root) - 3.0).abs() < 1e-9);
    stat(root, 11, 10, "agent", [200, 50, 50, 0]);
    assert!((family.seconds(root) - 4.0).abs() < 1e-9);
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
