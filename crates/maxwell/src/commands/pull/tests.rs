//! Names of pulled models.

use std::path::Path;

use super::name_of;

#[test]
fn a_file_name_becomes_a_plain_name() {
    for (path, expected) in [
        ("/x/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct.q4_1"),
        ("my model (2).gguf", "my-model--2-"),
        (".hidden.gguf", "hidden"),
        ("Ünïcode.gguf", "-n-code"),
    ] {
        assert_eq!(name_of(Path::new(path)), expected);
    }
}
