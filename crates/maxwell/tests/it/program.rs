//! The binary in a home and a working folder of its own. Never inherits a variable that changes what it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::import::Architecture;
use model::synthetic::SyntheticModel;
use protocol::Claim;
use serde_json::Value;
use tempfile::TempDir;

/// A nonce that tests give.
pub(crate) const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A folder with a home, a working folder, and room for files.
pub(crate) struct Stage {
    folder: TempDir,
}

/// What one run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as exactly one JSON object.
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not one JSON value ({error}): {self:?}"));
        assert!(value.is_object(), "{self:?}");
        value
    }

    /// The same, after checking the exit code.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(stage.path("cwd")).unwrap();
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Writes a file and gives its path as an argument.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.argument(name)
    }

    pub(crate) fn argument(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A tiny model's file.
    pub(crate) fn tiny(&self) -> String {
        self.write("tiny.gguf", &tiny().gguf())
    }

    /// The command, its home set.
    pub(crate) fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_maxwell"));
        command
            .env_clear()
            .env("MAXWELL_HOME", home)
            .env("HOME", self.path("user"))
            .current_dir(self.path("cwd"));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(&self.home());
        command.args(arguments);
        run(&mut command)
    }

    /// Generates with a tiny model at temperature 0.8 and gives the claim's path.
    pub(crate) fn claim(&self, model: &str, more: &[&str]) -> String {
        let path = self.argument("x.claim");
        let mut arguments = vec!["generate", "-m", model, "-p", "the end", "-n", "8", "--temperature", "0.8"];
        arguments.extend(["--nonce", NONCE, "--claim", &path]);
        arguments.extend(more);
        self.run(&arguments).expect(0);
        path
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().expect("the binary was not killed"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A tiny model with room for the demo's prompt.
pub(crate) fn tiny() -> SyntheticModel {
    SyntheticModel { context: 512, ..SyntheticModel::tiny(Architecture::Llama) }
}

pub(crate) fn read_claim(path: &str) -> Claim {
    Claim::decode(&fs::read(path).unwrap()).unwrap()
}

/// All files below a folder, sorted, relative to it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
