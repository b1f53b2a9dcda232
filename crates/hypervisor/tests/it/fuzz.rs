//! The fuzz entries of the node on their first inputs and on many changes of them, without coverage: a smoke test of what the
//! fuzz targets run for hours.

use self::changed::Changed;

#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/changed.rs"]
mod changed;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/meters.rs"]
mod meters;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/mutate.rs"]
mod mutate;

fn check(name: &str, run: fn(&[u8]) -> bool, seeds: &[Vec<u8>]) {
    Changed { name, run, seeds, inputs: 20_000, least: 50 }.check_all();
}

#[test]
fn power_logs() {
    check("power_log", meters::power_log, &meters::power_logs());
}

#[test]
fn exporters() {
    check("exporter", meters::exporter, &meters::exporters());
}

#[test]
fn profiles() {
    check("profile", meters::profile, &meters::profiles());
}

#[test]
fn node_lines() {
    check("node_line", meters::node_line, &meters::node_lines());
}

#[test]
fn ledger_entries() {
    check("entry", meters::entry, &meters::entries());
}
