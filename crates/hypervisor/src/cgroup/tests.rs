//! A tree of files as the kernel's: what is written where, and who is refused.

use super::*;

#[test]
fn limits_are_written_where_the_kernel_reads_them() {
    let mount = tempfile::tempdir().unwrap();
    assert!(matches!(Groups::open(mount.path(), "m"), Err(Error::Absent(_))));
    fs::write(mount.path().join("cgroup.controllers"), "memory pids\n").unwrap();
    assert!(matches!(Groups::open(mount.path(), "m"), Err(Error::Absent(_))));
    fs::write(mount.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
    let groups = Groups::open(mount.path(), "m").unwrap();
    let group = groups.add("a").unwrap();
    group.admit(42).unwrap();
    group.limit(250).unwrap();
    let read = |name: &str| fs::read_to_string(mount.path().join("m").join(name)).unwrap();
    assert_eq!(
        (read("cgroup.subtree_control"), read("a/cgroup.procs"), read("a/cpu.max")),
        ("+cpu".to_owned(), "42".to_owned(), "25000 100000".to_owned())
    );
    assert!(matches!(group.processor_seconds(), Err(Error::Absent(_))));
    fs::write(mount.path().join("m/a/cpu.stat"), "user_usec 1\nusage_usec 2500000\n").unwrap();
    assert!((group.processor_seconds().unwrap() - 2.5).abs() < 1e-9);
    fs::write(mount.path().join("m/a/cpu.stat"), "usage_usec many\n").unwrap();
    assert!(matches!(group.processor_seconds(), Err(Error::Unreadable(_))));
}

#[test]
fn a_process_leaves_the_group_that_was_handed_over_to_it_and_comes_back() {
    let mount = tempfile::tempdir().unwrap();
    let own = mount.path().join("user/app");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join(CONTROLLERS), "cpu\n").unwrap();
    let read = |name: &str| fs::read_to_string(own.join(name)).unwrap();
    let groups = Groups::delegated(mount.path(), "1:name=systemd:/x\n0::/user/app\n", "m").unwrap();
    assert_eq!((read("m-self/cgroup.procs"), read(PASSED_ON), read("m/cgroup.subtree_control")), {
        let cpu = || "+cpu".to_owned();
        (SELF.to_owned(), cpu(), cpu())
    });
    drop(groups);
    assert_eq!((read(PASSED_ON), read(PROCESSES)), ("-cpu".to_owned(), SELF.to_owned()));
    // In the mount itself there is nothing to leave, and what is no list is none.
    for own in ["0::/\n", "0::/../x\n", "12:cpu:/x\n", ""] {
        assert!(matches!(Groups::delegated(mount.path(), own, "m"), Err(Error::Absent(_))));
    }
}
