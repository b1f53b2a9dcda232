//! Group commit on a thread of its own, so that nobody who appends waits for the disk. It must never acknowledge a
//! record before a sync that covers it has returned, nor anything after one has failed.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::store::error::StoreError;
use crate::store::log::Log;
use crate::store::pending::Pending;
use crate::store::segment::{ChainHash, Sequence};
use crate::store::{Record, Store};

/// So many records in one sync say that the store is busy: then the next sync waits for more, as long as this one took
/// and at most so long. A sync costs the processor as much as several answers, however much it holds.
const BUSY_RECORDS: usize = 16;
const GATHER_MAX: Duration = Duration::from_millis(4);

/// A store whose pending records are committed by a thread. What is appended while one sync runs shares the next.
///
/// Dropping it commits what is pending and waits for that; [`Committer::close`] does the same and says how it ended.
pub struct Committer {
    shared: Arc<Shared>,
    /// Held by the thread while it writes: a reader may wait for one sync, and delay the next by one read. Appends
    /// do not touch it.
    log: Arc<Mutex<Log>>,
    thread: Option<JoinHandle<()>>,
}

/// A record that was appended and will be durable, for those who wait for it without a thread.
pub struct Promise {
    sequence: Sequence,
    settled: oneshot::Receiver<Result<ChainHash, StoreError>>,
}

/// A record that was appended and will be durable.
#[derive(Clone)]
pub struct Ticket {
    shared: Arc<Shared>,
    sequence: Sequence,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write, or nothing more will come.
    work: Condvar,
    /// Something became durable, or nothing more will.
    settled: Condvar,
}

struct Queue {
    pending: Pending,
    /// Who waits for which record, in the records' order.
    watchers: VecDeque<(Sequence, oneshot::Sender<Result<ChainHash, StoreError>>)>,
    durable: Option<Sequence>,
    /// The failure that ended all writing.
    failure: Option<Arc<StoreError>>,
    /// No more appends; the thread ends when nothing is pending.
    is_closing: bool,
    /// The thread has ended.
    is_ended: bool,
}

impl Committer {
    /// Starts the thread. What is pending in the store is committed at once.
    pub fn start(store: Store) -> Result<Self, StoreError> {
        let Store { log, pending } = store;
        log.check_writable()?;
        let durable = log.head().map(|(sequence, _)| sequence);
        let queue = Queue {
            pending,
            watchers: VecDeque::new(),
            durable,
            failure: None,
            is_closing: false,
            is_ended: false,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), work: Condvar::new(), settled: Condvar::new() });
        let log = Arc::new(Mutex::new(log));
        let (thread_shared, thread_log) = (shared.clone(), log.clone());
        let thread = thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || commit_all(&thread_shared, &thread_log))
            .map_err(|source: io::Error| StoreError::io("start", "the commit thread", source))?;
        Ok(Self { shared, log, thread: Some(thread) })
    }

    /// Takes a record and returns at once. It is durable when its ticket says so.
    pub fn append(&self, kind: u8, content: Vec<u8>) -> Result<Ticket, StoreError> {
        let sequence = self.push(kind, content, None)?;
        Ok(Ticket { shared: self.shared.clone(), sequence })
    }

    /// The same for those who can't block.
    pub fn append_promised(&self, kind: u8, content: Vec<u8>) -> Result<Promise, StoreError> {
        let (watcher, settled) = oneshot::channel();
        let sequence = self.push(kind, content, Some(watcher))?;
        Ok(Promise { sequence, settled })
    }

    fn push(
        &self,
        kind: u8,
        content: Vec<u8>,
        watcher: Option<oneshot::Sender<Result<ChainHash, StoreError>>>,
    ) -> Result<Sequence, StoreError> {
        let mut queue = self.shared.queue();
        queue.check_failure()?;
        if queue.is_closing || queue.is_ended {
            return Err(StoreError::Closed);
        }
        let is_first = queue.pending.is_empty();
        let sequence = queue.pending.push(kind, content)?;
        queue.watchers.extend(watcher.map(|watcher| (sequence, watcher)));
        drop(queue);
        if is_first {
            self.shared.work.notify_one();
        }
        Ok(sequence)
    }

    /// The highest record that is known to be durable.
    pub fn durable(&self) -> Option<Sequence> {
        self.shared.queue().durable
    }

    /// Whether more can be appended: the failure that ended all writing, if there was one.
    pub fn check(&self) -> Result<(), StoreError> {
        self.shared.queue().check_failure()
    }

    /// [`Store::head`]; may wait for one sync.
    pub fn head(&self) -> Option<(Sequence, ChainHash)> {
        lock(&self.log).head()
    }

    /// [`Store::read`]; may wait for one sync.
    pub fn read(&self, sequence: Sequence) -> Result<Record, StoreError> {
        lock(&self.log).read(sequence)
    }

    /// Commits what is pending, ends the thread and gives the highest durable record. The store is closed then,
    /// and tickets of durable records still say so.
    pub fn close(mut self) -> Result<Option<Sequence>, StoreError> {
        self.finish();
        let queue = self.shared.queue();
        queue.check_failure()?;
        if queue.pending.is_settled() { Ok(queue.durable) } else { Err(StoreError::Closed) }
    }

    fn finish(&mut self) {
        self.shared.queue().is_closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows in the queue: `Ended` has run, and what was pending still is.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Promise {
    /// The record's place in the log, whether it is durable or not.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Waits until the record is durable and gives the chain hash up to and including it.
    pub async fn durable(self, timeout: Duration) -> Result<ChainHash, StoreError> {
        match tokio::time::timeout(timeout, self.settled).await {
            Ok(settled) => settled.unwrap_or(Err(StoreError::Closed)),
            Err(_) => Err(StoreError::Timeout { sequence: self.sequence }),
        }
    }
}

impl Ticket {
    /// The record's place in the log, whether it is durable or not.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Waits until the record is durable and gives its sequence. After any write or sync has failed this is an
    /// error for every ticket, even one whose record an earlier sync had covered.
    pub fn wait(&self, timeout: Duration) -> Result<Sequence, StoreError> {
        let undecided = |queue: &mut Queue| {
            queue.failure.is_none() && !queue.is_ended && queue.durable < Some(self.sequence)
        };
        let (queue, _) = self
            .shared
            .settled
            .wait_timeout_while(self.shared.queue(), timeout, undecided)
            .unwrap_or_else(PoisonError::into_inner);
        queue.check_failure()?;
        match queue.durable >= Some(self.sequence) {
            true => Ok(self.sequence),
            false if queue.is_ended => Err(StoreError::Closed),
            false => Err(StoreError::Timeout { sequence: self.sequence }),
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    fn check_failure(&self) -> Result<(), StoreError> {
        self.failure.as_ref().map_or(Ok(()), |cause| Err(StoreError::Poisoned { cause: cause.clone() }))
    }
}

/// Wakes everybody when the thread ends, even by a panic, since nothing will become durable any more.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.is_ended = true;
        let failure = queue.check_failure();
        for (_, watcher) in queue.watchers.drain(..) {
            // Whoever has left does not need to know.
            let _ = watcher.send(Err(failure.clone().err().unwrap_or(StoreError::Closed)));
        }
        drop(queue);
        self.0.settled.notify_all();
    }
}

/// The thread: writes whatever is pending until the committer closes or a write fails.
fn commit_all(shared: &Shared, log: &Mutex<Log>) {
    let _ended = Ended(shared);
    let mut gather = Duration::ZERO;
    loop {
        let mut queue = shared
            .work
            .wait_while(shared.queue(), |queue| queue.pending.is_empty() && !queue.is_closing)
            .unwrap_or_else(PoisonError::into_inner);
        if !gather.is_zero() {
            let gathered = shared.work.wait_timeout_while(queue, gather, |queue| !queue.is_closing);
            queue = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        let entries = queue.pending.take();
        drop(queue);
        if entries.is_empty() {
            return;
        }
        let mut log = lock(log);
        let began = Instant::now();
        let written = log.write(&entries);
        gather = if entries.len() < BUSY_RECORDS { Duration::ZERO } else { began.elapsed().min(GATHER_MAX) };
        let mut queue = shared.queue();
        match written {
            Ok(durable) => {
                queue.durable = durable;
                queue.pending.settle(&entries);
                while let Some((sequence, watcher)) =
                    queue.watchers.pop_front_if(|(sequence, _)| Some(*sequence) <= durable)
                {
                    let _ = watcher.send(log.chain(sequence).ok_or(StoreError::Closed));
                }
            }
            Err(error) => {
                queue.failure = Some(Arc::new(error));
                return;
            }
        }
        drop(queue);
        drop(log);
        shared.settled.notify_all();
    }
}

/// Locks even after a panic elsewhere: the queue is consistent between statements, and the log lists a record only
/// after its sync.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
