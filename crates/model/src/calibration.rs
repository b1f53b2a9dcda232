//! Chooses the activation formats: runs the project's own frozen text through the plain operations once,
//! site by site, and places each binary point by the largest accumulator seen. Integers only, no
//! randomness: the same file gives the same formats everywhere, and they are part of the commitment.

use crate::Error;
use crate::bounds::gate_limit_bits;
use crate::fixed_point::rsh;
use crate::formats::{BlockFormats, CalibrationCounts, Formats, Site};
use crate::import::{ModelConfig, Tensors};
use crate::ops::Rows;
use crate::ops::matmul::Accumulate;
use crate::ops::requantize::{ACTIVATION_LIMIT_BITS, NARROW_MAX, is_wide};
use crate::reference::{Network, Sites};
use crate::tables::MAX_GATE_EXPONENT;

/// The text, written for this purpose and never changed: its hash is part of every model commitment.
pub const TEXT: &str = include_str!("calibration/text.txt");
/// Segments of this many tokens are run, each from position 0.
pub const SEGMENT_TOKENS: usize = 256;
/// At most this many segments.
pub const SEGMENTS: usize = 6;
/// Tokens per segment of the first, coarse pass that only looks for the residual stream's size.
const PROBE_TOKENS: usize = 32;
/// The finest residual exponent; a probe starts here.
const MAX_RESIDUAL_EXPONENT: i32 = 14;
/// The residual stream may fill 2^25 of its 2^27 in calibration.
const RESIDUAL_TARGET_BITS: u32 = 25;
/// The finest exponent of any 16-bit activation.
const MAX_EXPONENT: i32 = 12;
/// One row in 64 may be wide at the down projection: its outliers sit on single tokens (research: position
/// 0 reaches 300 times the rest), and a format that fits them would blind all others.
const OUTLIER_ROWS: usize = 64;

/// Cuts the calibration text's ids into segments; the even ones are led by the BOS token if there is one,
/// since most prompts begin with it and outliers sit on the first token.
#[must_use]
pub fn segments(ids: &[u32], bos: Option<u32>, context: u32) -> Vec<Vec<u32>> {
    let length = SEGMENT_TOKENS.min(context as usize).max(2);
    let mut rest = ids;
    let mut segments = Vec::new();
    while !rest.is_empty() && segments.len() < SEGMENTS {
        let lead = bos.filter(|_| segments.len().is_multiple_of(2));
        let (now, later) = rest.split_at(rest.len().min(length - usize::from(lead.is_some())));
        segments.push(lead.into_iter().chain(now.iter().copied()).collect());
        rest = later;
    }
    segments
}

/// Finds the formats for a model. `progress` is told the work done, from 0 to 1000.
///
/// # Errors
/// [`Error::Bound`] if even the best gate format breaks the proven bounds.
pub fn calibrate(
    config: &ModelConfig,
    tensors: &Tensors,
    segments: &[Vec<u32>],
    accumulate: &dyn Accumulate,
    progress: &mut dyn FnMut(u32),
) -> Result<Formats, Error> {
    let full: Vec<&[u32]> = segments.iter().map(Vec::as_slice).collect();
    let probe: Vec<&[u32]> = full.iter().map(|s| &s[..s.len().min(PROBE_TOKENS)]).collect();
    let mut run = |sequences: &[&[u32]], residual: i32, from: u32, to: u32| {
        let mut sites = Calibrator::new(residual, tensors.blocks.len());
        let mut network = Network::new(config, tensors, accumulate);
        let max = network.residual_maximum(sequences, &mut sites, &mut |block| {
            let share = u32::try_from(block * 1000 / tensors.blocks.len()).unwrap_or(1000);
            progress(from + share * (to - from) / 1000);
        });
        sites.counts.residual_max = max;
        sites.counts.tokens = sequences.iter().map(|s| u32::try_from(s.len()).unwrap_or(u32::MAX)).sum();
        sites
    };
    let mut residual = MAX_RESIDUAL_EXPONENT;
    residual = fitting_residual(residual, run(&probe, residual, 0, 100).counts.residual_max);
    loop {
        let sites = run(&full, residual, 100, 1000);
        let fitting = fitting_residual(residual, sites.counts.residual_max);
        if fitting >= residual {
            return sites.into_formats(tensors);
        }
        residual = fitting;
    }
}

/// The largest exponent, at most `exponent`, at which `max` (seen at `exponent`) keeps to the target.
fn fitting_residual(exponent: i32, max: u64) -> i32 {
    let excess = (64 - max.leading_zeros()).saturating_sub(RESIDUAL_TARGET_BITS);
    exponent - i32::try_from(excess).expect("at most 39")
}

/// The largest exponent, at most `cap`, at which twice the largest row maximum (less the outliers) fits 16
/// bits and twice the very largest stays within the activation limit.
#[must_use]
pub fn choose_exponent(row_maxima: &mut [u64], outliers: usize, acc_exponent: i32, cap: i32) -> i32 {
    row_maxima.sort_unstable();
    let at = |rank: usize| {
        let index = row_maxima.len().checked_sub(rank + 1);
        i64::try_from(index.map_or(0, |i| row_maxima[i])).expect("accumulators are below 2^62")
    };
    let (usual, largest) = (2 * at(outliers.min(row_maxima.len().saturating_sub(1))), 2 * at(0));
    let limit = (1_i64 << ACTIVATION_LIMIT_BITS) - 1;
    let fits = |e: i32| rsh(usual, acc_exponent - e) <= NARROW_MAX && rsh(largest, acc_exponent - e) <= limit;
    let mut exponent = cap.min(acc_exponent);
    while !fits(exponent) {
        exponent -= 1;
    }
    exponent
}

/// Chooses each exponent when the pass first reaches its site.
struct Calibrator {
    residual: i32,
    exponents: Vec<[i32; Site::ALL.len()]>,
    counts: CalibrationCounts,
}

impl Calibrator {
    fn new(residual: i32, blocks: usize) -> Self {
        let counts = CalibrationCounts { wide_rows: vec![Default::default(); blocks], ..Default::default() };
        Self { residual, exponents: vec![Default::default(); blocks], counts }
    }

    fn into_formats(self, tensors: &Tensors) -> Result<Formats, Error> {
        let blocks = self.exponents.into_iter().zip(&tensors.blocks).map(|(exponents, block)| {
            Ok(BlockFormats { exponents, gate_limit_bits: gate_limit_bits(&block.up)? })
        });
        let blocks = blocks.collect::<Result<_, Error>>()?;
        Ok(Formats { residual: self.residual, blocks, calibration: self.counts })
    }
}

impl Sites for Calibrator {
    fn residual(&self) -> i32 {
        self.residual
    }

    fn exponent(&mut self, block: usize, site: Site, acc_exponent: i32, products: &Rows) -> i32 {
        let mut maxima: Vec<u64> = products.row_maxima().collect();
        let outliers = if site == Site::DownInput { products.count().div_ceil(OUTLIER_ROWS) } else { 0 };
        let cap = if site == Site::Gate { MAX_GATE_EXPONENT } else { MAX_EXPONENT };
        let exponent = choose_exponent(&mut maxima, outliers, acc_exponent, cap);
        self.exponents[block][site as usize] = exponent;
        exponent
    }

    fn observe(&mut self, block: usize, site: Site, rows: &Rows) {
        let wide = rows.iter().filter(|row| is_wide(row)).count();
        self.counts.wide_rows[block][site as usize] += u32::try_from(wide).unwrap_or(u32::MAX);
    }

    fn limit_bits(&self, _block: usize, _site: Site) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests;
