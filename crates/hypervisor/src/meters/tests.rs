//! Trees of files as machines: what the doctor says, and what two looks make of the counters.

use std::fs;

use super::*;
use crate::sensors::SECOND_NS;

fn put(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn level(folder: &Path) -> EvidenceLevel {
    evidence_level(&Meters::open(roots_below(folder)).examine(1))
}

#[test]
fn each_machine_has_its_level() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(level(folder.path()), EvidenceLevel::Nothing);
    put(folder.path(), "proc/stat", "cpu  10 1 5 100 20 2 3 4 0 0\n");
    assert_eq!(level(folder.path()), EvidenceLevel::ProcessorTime);
    put(folder.path(), "sys/class/hwmon/hwmon0/power1_input", "0");
    assert_eq!(level(folder.path()), EvidenceLevel::ProcessorTime, "0 W is no meter");
    put(folder.path(), "sys/class/hwmon/hwmon0/power1_input", "35000000");
    assert_eq!(level(folder.path()), EvidenceLevel::PowerSamples);
    put(folder.path(), "sys/class/powercap/intel-rapl:0/energy_uj", "nonsense");
    assert_eq!(level(folder.path()), EvidenceLevel::PowerSamples);
    put(folder.path(), "sys/class/powercap/intel-rapl:0/energy_uj", "1000000");
    assert_eq!(level(folder.path()), EvidenceLevel::EnergyCounter);
}

#[test]
fn what_lacks_has_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = Meters::open(roots_below(folder.path())).examine(1);
    assert!(kinds.iter().filter(|kind| kind.state.is_err()).all(|kind| kind.remedy.is_some()));
    put(folder.path(), "sys/class/hwmon/hwmon0/power1_input", "0");
    let kinds = Meters::open(roots_below(folder.path())).examine(1);
    let hwmon = kinds.iter().find(|kind| kind.name == "hwmon").unwrap();
    assert!(hwmon.remedy.is_some_and(|remedy| remedy.contains("0 W")));
}

#[test]
fn two_looks_give_joules_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, uj: &str| put(folder.path(), &format!("sys/class/powercap/{name}/energy_uj"), uj);
    at("intel-rapl:0", "1000000");
    at("intel-rapl:0:0", "500000");
    let mut meters = Meters::open(roots_below(folder.path()));
    assert!(meters.look(SECOND_NS).steps.is_empty());
    at("intel-rapl:0", "31000000");
    at("intel-rapl:0:0", "20500000");
    let look = meters.look(2 * SECOND_NS);
    let whole: Vec<_> = look.steps.iter().filter(|step| !step.is_part).map(|step| step.step.joules).collect();
    assert_eq!((look.steps.len(), whole), (2, vec![Some(30.0)]));
    fs::remove_file(folder.path().join("sys/class/powercap/intel-rapl:0/energy_uj")).unwrap();
    let look = meters.look(3 * SECOND_NS);
    assert_eq!(look.steps[0].step.quality, Quality::Vanished);
}
