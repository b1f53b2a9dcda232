//! Keys on the command line and in files. Must never overwrite a key, print a secret, or leave a secret where
//! others may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use protocol::keys::{KEY_TEXT_BYTES, SIGNING_KEY_PREFIX, VERIFYING_KEY_PREFIX};
use protocol::{SigningKey, VerifyingKey};

use crate::home::read_bounded;
use crate::output::{Misuse, Terminal};

/// Largest file of a key: its text and a line break.
const MAX_KEY_FILE_BYTES: usize = 1 << 10;
/// Who may do what with a secret: its owner reads and writes.
#[cfg(unix)]
const SECRET_MODE: u32 = 0o600;

/// Where the public half of a key is.
pub(crate) fn public_path(secret: &Path) -> PathBuf {
    let mut path = secret.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Writes both halves of a new key to files that must not be there yet.
pub(crate) fn store_new(secret: &Path, key: &SigningKey) -> anyhow::Result<()> {
    let public = public_path(secret);
    // The public half first: a secret is not written at all if its place for the other half is taken.
    create(&public, &key.verifying_key().to_string(), Readers::Everybody)?;
    let stored = create(secret, &key.to_secret_text(), Readers::Owner);
    if stored.is_err() {
        // It was made a moment ago and belongs to no key.
        let _ = fs::remove_file(&public);
    }
    stored
}

/// Writes a secret of another kind, as text, to a file that must not be there yet.
pub(crate) fn store_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    create(path, text, Readers::Owner)
}

/// Reads a secret key.
pub(crate) fn read_signing_key(path: &Path, terminal: Terminal) -> anyhow::Result<SigningKey> {
    refuse_secret_text(&path.to_string_lossy())?;
    let text = read_key_text(path)?;
    if others_may_read(path) {
        terminal.note(format_args!(
            "{}: others may read this secret; chmod 600 it, or make a new key",
            path.display()
        ));
    }
    text.parse().with_context(|| path.display().to_string())
}

/// PUB on the command line: `mxpk1...`, or a file that holds it.
pub(crate) fn read_verifying_key(argument: &str) -> anyhow::Result<VerifyingKey> {
    refuse_secret_text(argument)?;
    if argument.starts_with(VERIFYING_KEY_PREFIX) && !Path::new(argument).exists() {
        return argument.parse().with_context(|| argument.to_owned());
    }
    read_key_text(Path::new(argument))?.parse().with_context(|| argument.to_owned())
}

/// Arguments end up in error messages, histories and process lists; a secret among them is lost already.
fn refuse_secret_text(argument: &str) -> Result<(), Misuse> {
    if argument.starts_with(SIGNING_KEY_PREFIX) && argument.len() == KEY_TEXT_BYTES {
        return Err(Misuse(
            "this is a secret key, not a file: others may have seen it on the command line; make a new key, and \
             give the file's name"
                .to_owned(),
        ));
    }
    Ok(())
}

fn read_key_text(path: &Path) -> anyhow::Result<String> {
    let bytes = read_bounded(path, MAX_KEY_FILE_BYTES)?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| anyhow::anyhow!("{} is not the text of a key", path.display()))?;
    Ok(text.trim_end().to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    Owner,
    Everybody,
}

fn create(path: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, readers);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already; a key is never overwritten: give another name", path.display())
        }
        Err(error) => return Err(error).with_context(|| format!("can't create {}", path.display())),
    };
    let written = write_line(&mut file, text);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.with_context(|| format!("can't write {}", path.display()))
}

fn write_line(file: &mut File, text: &str) -> io::Result<()> {
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// From the first moment on: a file that is closed to others later was open to them before.
#[cfg(unix)]
fn restrict(options: &mut OpenOptions, readers: Readers) {
    use std::os::unix::fs::OpenOptionsExt;
    if readers == Readers::Owner {
        options.mode(SECRET_MODE);
    }
}

#[cfg(not(unix))]
fn restrict(_options: &mut OpenOptions, _readers: Readers) {}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_path: &Path) -> bool {
    false
}
