//! Sampled answers that wait to be recomputed, as leases: given out at least once, counted exactly once. Pure: time
//! is an argument. Never forgets a job that has no outcome; when it is full, it says so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Jobs and what became of them.
#[derive(Debug)]
pub struct Spool {
    jobs: BTreeMap<u64, Job>,
    lease_ms: u64,
    jobs_max: usize,
    /// Jobs that don't count towards the limit.
    promised: usize,
}

#[derive(Debug)]
struct Job {
    claim: Vec<u8>,
    is_promised: bool,
    since_ms: u64,
    /// Until when somebody has it.
    leased_until_ms: Option<u64>,
}

impl Job {
    fn is_free(&self, now_ms: u64) -> bool {
        self.leased_until_ms.is_none_or(|until| until <= now_ms)
    }
}

/// There is no room for another job: answers have to wait until the recomputer has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{jobs} sampled answers wait for recomputation, as many as may; wait, or add a recomputer")]
pub struct SpoolFull {
    /// How many wait.
    pub jobs: usize,
}

/// What an outcome changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is the first one for this tag.
    First,
    /// There was one before, or the tag was never sampled; nothing changed.
    Ignored,
}

impl Spool {
    /// An empty one. A lease that is not answered within `lease_ms` is given out again.
    pub fn new(lease_ms: u64, jobs_max: usize) -> Self {
        Self { jobs: BTreeMap::new(), lease_ms, jobs_max, promised: 0 }
    }

    /// Adds a sampled answer that waits since `now_ms`.
    ///
    /// # Errors
    /// [`SpoolFull`].
    pub fn add(&mut self, tag: u64, claim: Vec<u8>, now_ms: u64) -> Result<(), SpoolFull> {
        if !self.has_room(1) {
            return Err(SpoolFull { jobs: self.jobs.len() });
        }
        let job = Job { claim, is_promised: false, since_ms: now_ms, leased_until_ms: None };
        self.jobs.entry(tag).or_insert(job);
        Ok(())
    }

    /// Adds an answer that has to be recomputed whatever the limit says: an earlier run or a beacon has bound the gateway
    /// to it. It takes no room from others. False if it waits already.
    pub fn add_promised(&mut self, tag: u64, claim: Vec<u8>, now_ms: u64) -> bool {
        let Entry::Vacant(place) = self.jobs.entry(tag) else { return false };
        place.insert(Job { claim, is_promised: true, since_ms: now_ms, leased_until_ms: None });
        self.promised += 1;
        true
    }

    /// The oldest job that nobody has, now leased.
    pub fn lease(&mut self, now_ms: u64) -> Option<(u64, &[u8])> {
        let (tag, job) = self.jobs.iter_mut().find(|(_, job)| job.is_free(now_ms))?;
        job.leased_until_ms = Some(now_ms.saturating_add(self.lease_ms));
        Some((*tag, &job.claim))
    }

    /// Whether there is a job that nobody has.
    pub fn has_free(&self, now_ms: u64) -> bool {
        self.jobs.values().any(|job| job.is_free(now_ms))
    }

    /// A job has its outcome, which the caller has recorded durably.
    pub fn done(&mut self, tag: u64) -> Recorded {
        match self.jobs.remove(&tag) {
            Some(job) => {
                self.promised -= usize::from(job.is_promised);
                Recorded::First
            }
            None => Recorded::Ignored,
        }
    }

    /// Jobs without an outcome.
    pub fn backlog(&self) -> usize {
        self.jobs.len()
    }

    /// How long the oldest job without an outcome waits; 0 if there is none.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        let oldest = self.jobs.values().map(|job| job.since_ms).min();
        oldest.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// Whether the job waits for an outcome.
    pub fn contains(&self, tag: u64) -> bool {
        self.jobs.contains_key(&tag)
    }

    /// Whether so many more jobs would find room.
    pub fn has_room(&self, jobs: usize) -> bool {
        let counted = self.jobs.len().saturating_sub(self.promised);
        counted.saturating_add(jobs) <= self.jobs_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_run_out_and_outcomes_count_once() {
        let mut spool = Spool::new(100, 2);
        assert_eq!(spool.lag_ms(50), 0);
        spool.add(7, vec![1], 0).unwrap();
        spool.add(9, vec![2], 30).unwrap();
        assert_eq!(spool.add(10, vec![3], 40), Err(SpoolFull { jobs: 2 }));
        assert_eq!(spool.lag_ms(50), 50);
        assert_eq!(spool.lease(0), Some((7, &[1][..])));
        assert_eq!(spool.lease(0), Some((9, &[2][..])));
        assert_eq!(spool.lease(99), None);
        assert_eq!(spool.lease(100), Some((7, &[1][..])));
        assert_eq!(spool.done(7), Recorded::First);
        assert_eq!(spool.done(7), Recorded::Ignored);
        assert_eq!(spool.done(8), Recorded::Ignored);
        assert_eq!((spool.backlog(), spool.lag_ms(50)), (1, 20));
        assert_eq!(spool.lease(1000), Some((9, &[2][..])));
    }

    #[test]
    fn what_was_promised_takes_no_room() {
        let mut spool = Spool::new(100, 1);
        assert!(spool.add_promised(5, vec![5], 0) && spool.add_promised(6, vec![6], 0));
        assert!(!spool.add_promised(5, vec![9], 0));
        assert!(spool.has_room(1) && !spool.has_room(2));
        spool.add(7, vec![7], 0).unwrap();
        assert_eq!(spool.add(8, vec![8], 0), Err(SpoolFull { jobs: 3 }));
        assert_eq!(
            (spool.done(5), spool.done(7), spool.done(6)),
            (Recorded::First, Recorded::First, Recorded::First)
        );
        assert!(spool.has_room(1) && !spool.has_room(2));
    }
}
