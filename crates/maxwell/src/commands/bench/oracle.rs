//! The outside programs that the benches compare with: installs them once, talks to them over pipes. Never lets
//! their numbers into anything but a bench.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::Shell;
use crate::home::{create_folder, write_atomic};
use crate::progress::{Count, Progress};

/// The python of an environment that has the packages already.
const PYTHON_VARIABLE: &str = "MAXWELL_ORACLE_PYTHON";
/// What the environment must hold.
const REQUIREMENTS: &str = include_str!("../../../../../oracle/requirements.txt");
/// The programs; they are part of this one, so that it works anywhere.
const SCRIPTS: [(&str, &str); 3] = [
    ("float_reference.py", include_str!("../../../../../oracle/float_reference.py")),
    ("llama_cpp.py", include_str!("../../../../../oracle/llama_cpp.py")),
    ("pipe.py", include_str!("../../../../../oracle/pipe.py")),
];
const VENV_HELP: &str = "the oracles need python3 (3.11 or newer) with venv and pip (Debian and Ubuntu: apt install \
                         python3-venv python3-pip), or MAXWELL_ORACLE_PYTHON set to the python of an environment \
                         that has the packages of oracle/requirements.txt";

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Float32 in numpy.
    FloatReference,
    /// llama.cpp.
    LlamaCpp,
}

/// Python and the programs, ready to run.
#[derive(Debug)]
pub(super) struct Oracles {
    python: PathBuf,
    scripts: PathBuf,
    quiet: bool,
}

impl Oracles {
    /// Writes the programs and, the first time, installs what they need.
    pub(super) fn prepare(shell: &Shell) -> anyhow::Result<Self> {
        let scripts = shell.home.folder("oracle")?;
        for (name, text) in SCRIPTS {
            let path = scripts.join(name);
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                write_atomic(&path, text.as_bytes())?;
            }
        }
        let named = std::env::var_os(PYTHON_VARIABLE).filter(|value| !value.is_empty());
        let python = match named {
            Some(python) => PathBuf::from(python),
            None => install(shell)?,
        };
        Ok(Self { python, scripts, quiet: shell.terminal.is_quiet() })
    }

    /// A command that runs one program.
    pub(super) fn command(&self, script: Script) -> Command {
        let name = match script {
            Script::FloatReference => "float_reference.py",
            Script::LlamaCpp => "llama_cpp.py",
        };
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name)).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        if self.quiet {
            command.stderr(Stdio::null());
        }
        command
    }

    /// Starts a program on a model and speaks the pipe protocol of `oracle/pipe.py` with it.
    pub(super) fn start(&self, script: Script, model: &Path) -> anyhow::Result<Pipe> {
        let mut command = self.command(script);
        command.arg(model).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("can't start {}", self.python.display()))?;
        let input = child.stdin.take().context("the oracle has a standard input")?;
        let output = child.stdout.take().context("the oracle has a standard output")?;
        Ok(Pipe { child, input, output, script })
    }
}

/// A running program that answers logits.
#[derive(Debug)]
pub(super) struct Pipe {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    script: Script,
}

impl Pipe {
    /// Raw logits of every position of one sequence: (position, vocabulary).
    pub(super) fn logits(&mut self, ids: &[u32], vocabulary: usize) -> anyhow::Result<Vec<f32>> {
        self.ask(ids, vocabulary).with_context(|| {
            format!("the oracle {:?} failed; what it wrote on standard error says why", self.script)
        })
    }

    fn ask(&mut self, ids: &[u32], vocabulary: usize) -> anyhow::Result<Vec<f32>> {
        let count = u32::try_from(ids.len()).context("too many tokens")?;
        let request: Vec<u8> = [count].iter().chain(ids).flat_map(|word| word.to_le_bytes()).collect();
        self.input.write_all(&request)?;
        self.input.flush()?;
        let mut head = [0; 4];
        self.output.read_exact(&mut head)?;
        let found = u32::from_le_bytes(head);
        if usize::try_from(found) != Ok(vocabulary) {
            bail!("it has {found} tokens in its vocabulary, the model has {vocabulary}");
        }
        let mut bytes = vec![0; ids.len() * vocabulary * 4];
        self.output.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Ends the program as the protocol says.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        self.input.write_all(&[0; 4])?;
        drop(self.input);
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{:?} ended with {status}", self.script);
        }
        Ok(())
    }
}

/// The environment's python; the environment is made again if the requirements changed.
fn install(shell: &Shell) -> anyhow::Result<PathBuf> {
    let _lock = shell.home.lock()?;
    let venv = shell.home.folder("oracle-venv")?;
    let python = venv.join("bin").join("python");
    let mark = venv.join("installed.txt");
    if python.exists() && fs::read_to_string(&mark).ok().as_deref() == Some(REQUIREMENTS) {
        return Ok(python);
    }
    fs::remove_dir_all(&venv).with_context(|| format!("can't remove {}", venv.display()))?;
    create_folder(&venv)?;
    let progress =
        Progress::new(shell.terminal, "installing numpy, gguf and llama.cpp (once)", Count::Unknown);
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&venv);
    run(&mut create, &venv, &progress)?;
    let list = venv.join("requirements.txt");
    write_atomic(&list, REQUIREMENTS.as_bytes())?;
    let mut fill = Command::new(&python);
    fill.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]);
    fill.arg("--only-binary=:all:").arg("-r").arg(&list);
    run(&mut fill, &venv, &progress)?;
    write_atomic(&mark, REQUIREMENTS.as_bytes())?;
    Ok(python)
}

/// Runs one step, its temporary files in the environment's folder.
fn run(command: &mut Command, venv: &Path, progress: &Progress) -> anyhow::Result<()> {
    command
        .env("TMPDIR", venv)
        .current_dir(venv)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("python3 is missing; {VENV_HELP}"),
        Err(error) => return Err(error).context("can't start python3"),
    };
    loop {
        if let Some(status) = child.try_wait().context("can't wait for python3")? {
            if !status.success() {
                bail!("installing the oracles failed ({status}); {VENV_HELP}");
            }
            return Ok(());
        }
        progress.set(0);
        thread::sleep(Duration::from_millis(200));
    }
}
