//! The fuzz entries of checks on their first inputs and on many changes of them, without coverage: a smoke test of what
//! the fuzz targets run for hours.

use self::changed::Changed;

#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/changed.rs"]
mod changed;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/disputes.rs"]
mod disputes;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/mutate.rs"]
mod mutate;

#[test]
fn openings() {
    let seeds = &disputes::openings();
    Changed { name: "opening", run: disputes::opening, seeds, inputs: 100_000, least: 5000 }.check_all();
}

#[test]
fn disputes_of_any_answers() {
    let seeds = disputes::disputes();
    let decided = seeds.iter().filter(|seed| disputes::dispute(seed)).count();
    assert_eq!(decided, seeds.len() - 1, "all but the one about an output are decided by a number");
    let seeds = &seeds;
    Changed { name: "dispute", run: disputes::dispute, seeds, inputs: 20_000, least: 100 }.check();
}

#[test]
fn answers_to_a_challenge() {
    let seeds = &disputes::challenges();
    Changed { name: "challenge", run: disputes::challenge, seeds, inputs: 20_000, least: 100 }.check_all();
}
