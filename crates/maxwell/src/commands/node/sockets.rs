//! The sockets of one agent, as Firecracker has them for a guest: `v.sock`, where a connection begins with `CONNECT port`,
//! and `v.sock_PORT`, which is where a guest's own connections to that port come out. Reads lines with a cap and a pace, and
//! never waits for a reader that does not read.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use hypervisor::wire::{GREETING_BYTES_MAX, LINE_BYTES_MAX, PORT, WireError, greeted, greeting};
use market::ledger::AgentId;

use super::daemon::Input;
use crate::frames::read_line;
use crate::home::create_folder;

/// Connections of one agent at a time.
const CONNECTIONS_MAX: usize = 4;
/// Lines that wait for an agent to read them; if there are more, it is gone.
const OUTBOX: usize = 512;
/// Between two lines of one connection, so that nobody floods the one thread that decides.
const PACE: Duration = Duration::from_millis(2);
/// How long a connection may take to greet.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// Longest path of a socket.
const PATH_MAX: usize = 107;
/// Numbers connections.
static CONNECTION: AtomicU64 = AtomicU64::new(0);

/// Listens in this folder.
pub(super) fn listen(folder: &Path, agent: AgentId, sender: &SyncSender<Input>) -> anyhow::Result<()> {
    create_folder(folder)?;
    let count = Arc::new(AtomicUsize::new(0));
    for (name, needs_greeting) in [("v.sock".to_owned(), true), (format!("v.sock_{PORT}"), false)] {
        let path = folder.join(name);
        if path.as_os_str().len() > PATH_MAX {
            bail!("{} is too long for a socket: use a shorter --data", path.display());
        }
        // Left by a node that was killed: the ledger's lock says that no other one runs.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("can't listen at {}", path.display()))?;
        let (sender, count) = (sender.clone(), Arc::clone(&count));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if count.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                    count.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (sender, count) = (sender.clone(), Arc::clone(&count));
                std::thread::spawn(move || {
                    if let Err(error) = serve(stream, agent, needs_greeting, &sender) {
                        tracing::debug!(%error, "a connection ended");
                    }
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
    Ok(())
}

fn serve(
    stream: UnixStream,
    agent: AgentId,
    needs_greeting: bool,
    sender: &SyncSender<Input>,
) -> anyhow::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    let process = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
    stream.set_read_timeout(Some(GREETING_TIME))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    if needs_greeting {
        let port = greeting(&read_line(&mut reader, GREETING_BYTES_MAX)?)?;
        if port != PORT {
            return Err(WireError::Port(port).into());
        }
        (&stream).write_all(greeted(port).as_bytes())?;
    }
    stream.set_read_timeout(None)?;
    let connection = CONNECTION.fetch_add(1, Ordering::Relaxed);
    let (outbox, lines) = sync_channel::<Vec<u8>>(OUTBOX);
    sender.send(Input::Connected { agent, connection, process, outbox })?;
    let mut writer = stream.try_clone()?;
    std::thread::spawn(move || {
        for line in lines {
            if writer.write_all(&line).is_err() {
                break;
            }
        }
        // Told to end, or nobody reads: the reader's side ends with it.
        let _ = writer.shutdown(std::net::Shutdown::Both);
    });
    let ended = read_lines(&mut reader, agent, connection, sender);
    sender.send(Input::Closed { agent, connection })?;
    ended
}

fn read_lines(
    reader: &mut impl BufRead,
    agent: AgentId,
    connection: u64,
    sender: &SyncSender<Input>,
) -> anyhow::Result<()> {
    loop {
        let line = read_line(reader, LINE_BYTES_MAX)?;
        if line.is_empty() {
            return Ok(());
        }
        sender.send(Input::Line { agent, connection, line })?;
        std::thread::sleep(PACE);
    }
}
