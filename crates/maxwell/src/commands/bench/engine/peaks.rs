//! What this machine can do at best: products per second and bytes per second. Never longer than a second each.

use std::time::{Duration, Instant};

use ::engine::kernels::Isa;
use ::engine::kernels::huge_buffer::{HugeBuffer, Line};
use ::engine::kernels::peak::{product_peak, read_all};
use anyhow::Context;
use rayon::prelude::*;

/// Larger than most caches; a machine whose cache is larger measures its cache.
const BUFFER_BYTES: usize = 512 << 20;
/// Rounds of the product loop: some 100 ms.
const ITERATIONS: u64 = 40_000_000;
/// The best of so many counts.
const REPEATS: usize = 3;

/// The best that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peaks {
    /// Multiply-accumulates of 16-bit numbers per second; `None` where there is no loop for it.
    pub(super) macs_per_second: Option<f64>,
    /// Bytes read per second.
    pub(super) bytes_per_second: f64,
}

impl Peaks {
    /// Measures on so many threads at once.
    pub(super) fn measure(isa: Isa, threads: usize) -> anyhow::Result<Self> {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("can't start threads")?;
        let mut buffer = HugeBuffer::zeroed(BUFFER_BYTES / size_of::<Line>())?;
        // Touched, so that every page is there, and not with zeros, which the system may share.
        buffer.iter_mut().enumerate().for_each(|(index, line)| line.0[0] = index as u8);
        Ok(pool.install(|| Self {
            macs_per_second: best(|| {
                (0..threads).into_par_iter().map(|_| product_peak(isa, ITERATIONS)).sum()
            }),
            bytes_per_second: best(|| {
                let part = buffer.len().div_ceil(threads);
                std::hint::black_box(buffer.par_chunks(part).map(read_all).reduce(|| 0, |a, b| a ^ b));
                BUFFER_BYTES as u64
            })
            .unwrap_or(0.0),
        }))
    }
}

/// The most per second that `work` did; `None` if it does nothing.
fn best(mut work: impl FnMut() -> u64) -> Option<f64> {
    let mut timed = || {
        let began = Instant::now();
        let count = work();
        count as f64 / began.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
    };
    let most = (0..REPEATS).map(|_| timed()).fold(0.0, f64::max);
    (most > 0.0).then_some(most)
}
