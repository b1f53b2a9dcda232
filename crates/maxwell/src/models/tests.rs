//! The cache of formats and the registry of commitments, on tiny models in a temporary home.

use std::fs;
use std::sync::Arc;

use model::import::Architecture;
use model::synthetic::SyntheticModel;

use super::{ModelFile, check_name, find, find_commitment, formats_key, import, load_formats, open};
use crate::home::Home;
use crate::output::Terminal;

fn quiet() -> Terminal {
    Terminal::new(false, true)
}

fn tiny() -> Vec<u8> {
    SyntheticModel::tiny(Architecture::Llama).gguf()
}

#[test]
fn cached_formats_are_those_of_the_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let bytes = Arc::new(tiny());
    let first = import(&home, quiet(), Arc::clone(&bytes)).unwrap();
    let key = formats_key(&bytes);
    assert_eq!(load_formats(&home, &key).as_ref(), Some(&first.formats));
    let second = import(&home, quiet(), bytes).unwrap();
    assert_eq!(second.commitment, first.commitment);
}

#[test]
fn a_damaged_cache_is_ignored_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let bytes = Arc::new(tiny());
    let honest = import(&home, quiet(), Arc::clone(&bytes)).unwrap();
    let path = home.formats(&formats_key(&bytes));
    let whole = fs::read(&path).unwrap();
    for damaged in
        [Vec::new(), whole[..whole.len() - 1].to_vec(), flipped(&whole, 20), flipped(&whole, whole.len() - 1)]
    {
        fs::write(&path, &damaged).unwrap();
        let again = import(&home, quiet(), Arc::clone(&bytes)).unwrap();
        assert_eq!(again.commitment, honest.commitment);
        assert_eq!(fs::read(&path).unwrap(), whole, "written again");
    }
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

#[test]
fn a_commitment_leads_to_its_file_until_the_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(&folder.path().join("home"));
    let path = folder.path().join("x.gguf");
    fs::write(&path, tiny()).unwrap();
    let opened = open(&home, quiet(), path.to_str().unwrap()).unwrap();
    let found = find_commitment(&home, &opened.model.commitment);
    assert_eq!(found, Some(ModelFile { name: None, path: path.clone() }));
    fs::remove_file(&path).unwrap();
    assert_eq!(find_commitment(&home, &opened.model.commitment), None);
}

#[test]
fn names_never_leave_the_folder_of_models() {
    for name in ["a", "smollm2-135m", "x_1.2"] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    let long = "a".repeat(65);
    for name in ["", ".", "..", ".x", "a/b", "../x", "A", "ä", "a b", &long] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
}

#[test]
fn an_unknown_model_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = find(&Home::at(folder.path()), "nothing").unwrap_err().to_string();
    assert!(error.contains("\"nothing\"") && error.contains("maxwell pull"), "{error}");
}
