//! Trees of files as machines: what is found, what it reads, and what is refused by name.

use std::fs;
use std::path::Path;

use super::{Quantity, Sensor, SensorError, cpu_time, hwmon, powercap};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("below the root")).expect("a temporary folder");
    fs::write(path, text).expect("a temporary folder");
}

/// Name, quantity, range and value.
type Found<'s> = (&'s str, Quantity, Option<u64>, Result<i64, SensorError>);

fn found(sensors: &[Sensor]) -> Vec<Found<'_>> {
    sensors.iter().map(|s| (s.name.as_str(), s.quantity, s.range, s.read())).collect()
}

#[test]
fn rapl_zones_are_found_with_their_range() {
    let tree = tempfile::tempdir().expect("a temporary folder");
    assert_eq!(powercap::find(tree.path()), Err(SensorError::Absent));
    let zone = "class/powercap/intel-rapl:0/";
    write(tree.path(), &format!("{zone}name"), "package-0\n");
    write(tree.path(), &format!("{zone}energy_uj"), "123456789\n");
    write(tree.path(), &format!("{zone}max_energy_range_uj"), "262143328850\n");
    write(tree.path(), "class/powercap/intel-rapl:0:0/energy_uj", "nonsense\n");
    write(tree.path(), "class/powercap/intel-rapl/enabled", "1\n");
    let sensors = powercap::find(tree.path()).expect("two zones");
    assert_eq!(
        found(&sensors),
        [
            ("intel-rapl:0 package-0", Quantity::Energy, Some(262_143_328_850), Ok(123_456_789)),
            ("intel-rapl:0:0", Quantity::Energy, None, Err(SensorError::Value)),
        ]
    );
    fs::remove_file(tree.path().join(format!("{zone}energy_uj"))).expect("there");
    assert_eq!(sensors[0].read(), Err(SensorError::Absent), "it has vanished");
}

#[test]
fn chips_are_found_with_their_labels() {
    let tree = tempfile::tempdir().expect("a temporary folder");
    let chip = "class/hwmon/hwmon3/";
    for (file, text) in [
        ("name", "amdgpu\n"),
        ("power1_average", "35000000\n"),
        ("power1_cap", "200000000\n"),
        ("temp1_input", "-1500\n"),
        ("temp1_label", "edge\n"),
        ("energy1_input", "-5\n"),
        ("fan1_input", "900\n"),
    ] {
        write(tree.path(), &format!("{chip}{file}"), text);
    }
    let sensors = hwmon::find(tree.path()).expect("three sensors");
    assert_eq!(
        found(&sensors),
        [
            ("amdgpu power1", Quantity::Power, None, Ok(35_000_000)),
            // Energy below zero is none; a temperature may be.
            ("amdgpu energy1", Quantity::Energy, None, Err(SensorError::Value)),
            ("amdgpu edge", Quantity::Temperature, None, Ok(-1500)),
        ]
    );
    assert_eq!(hwmon::find(&tree.path().join("elsewhere")), Err(SensorError::Absent));
}

#[test]
fn hostile_files_are_no_values() {
    let tree = tempfile::tempdir().expect("a temporary folder");
    let file = "class/powercap/zone/energy_uj";
    for text in ["", "1 2", "NaN", "1e9", "99999999999999999999", "-1", "\u{661}", &"1".repeat(5000)] {
        write(tree.path(), file, text);
        let read = powercap::find(tree.path()).expect("a zone")[0].read();
        assert_eq!(read, Err(SensorError::Value), "{text:.20}");
    }
    fs::write(tree.path().join(file), [0xff, 0xfe]).expect("a temporary folder");
    assert_eq!(powercap::find(tree.path()).expect("a zone")[0].read(), Err(SensorError::Value));
}

#[test]
fn cpu_time_is_read_behind_any_name() {
    let tree = tempfile::tempdir().expect("a temporary folder");
    let stat = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 4 0 100 1 2");
    for name in ["miner", "a) b (c", ") R 1 1 1 1 1 1 1 1 1 1 9 9"] {
        write(tree.path(), "7/stat", &stat(name));
        assert_eq!(cpu_time::of_process(tree.path(), 7), Ok(300), "{name}");
    }
    write(tree.path(), "7/stat", "7 miner S 1");
    assert_eq!(cpu_time::of_process(tree.path(), 7), Err(SensorError::Value));
    assert_eq!(cpu_time::of_process(tree.path(), 8), Err(SensorError::Absent));
    write(tree.path(), "stat", "cpu  10 1 5 100 20 2 3 4 0 0\ncpu0 1 1 1 1\n");
    assert_eq!(cpu_time::of_machine(tree.path()), Ok((25, 145)));
    write(tree.path(), "stat", "cpu  10 1\n");
    assert_eq!(cpu_time::of_machine(tree.path()), Err(SensorError::Value));
    write(tree.path(), "stat", &format!("cpu  {0} {0} 0 0 0 0 0 0\n", u64::MAX));
    assert_eq!(cpu_time::of_machine(tree.path()), Err(SensorError::Value));
}

/// On whatever machine this runs: a process has used time, and the machine more.
#[test]
fn this_process_has_used_time() {
    let procfs = Path::new("/proc");
    if !procfs.join("stat").exists() {
        println!("skipped: there is no /proc here");
        return;
    }
    let mine = cpu_time::of_process(procfs, std::process::id()).expect("this process is there");
    let (busy, all) = cpu_time::of_machine(procfs).expect("the machine is there");
    assert!(mine <= busy && busy <= all);
}
