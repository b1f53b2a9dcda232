//! The fuzz entries of proofs on their first inputs and on many changes of them, without coverage: a smoke test of what the fuzz
//! targets run for hours.

use self::changed::Changed;

#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/changed.rs"]
mod changed;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/mutate.rs"]
mod mutate;
#[expect(unreachable_pub, reason = "the fuzz targets use it as well")]
#[path = "../../../../fuzz/entries/proofs.rs"]
mod proofs;

#[test]
fn changed_proofs() {
    let seeds = &proofs::proofs();
    Changed { name: "proof", run: proofs::proof, seeds, inputs: 2000, least: 500 }.check();
}

#[test]
fn manifests() {
    let seeds = &proofs::manifests();
    Changed { name: "manifest", run: proofs::manifest, seeds, inputs: 20_000, least: 500 }.check_all();
}
