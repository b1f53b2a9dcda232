//! Power over time as a picture. Gaps and unusable samples break the line.

use std::path::Path;

use anyhow::{Context, anyhow};
use hypervisor::sensors::{PowerSample, PowerTrace, SECOND_NS};
use plotters::prelude::*;

use crate::home::write_atomic;

const SIZE: (u32, u32) = (1000, 420);
/// Points of the line at most; more could not be told apart.
const POINTS_MAX: usize = 4000;

/// Draws a trace.
pub(in crate::commands) fn plot(path: &Path, trace: &PowerTrace) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, trace).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(picture: &mut String, trace: &PowerTrace) -> Result<(), Box<dyn std::error::Error>> {
    let (from, until) = trace.span().unwrap_or_default();
    let seconds = |at_ns: u64| at_ns.saturating_sub(from) as f64 / SECOND_NS as f64;
    let usable = trace.samples.iter().filter(|sample| sample.quality.is_usable());
    let most = usable.map(|sample| sample.watts).fold(1.0, f64::max);
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Power", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..seconds(until).max(1.0), 0.0..most * 1.05)?;
    chart.configure_mesh().x_desc("seconds").y_desc("watts").draw()?;
    let step = trace.samples.len().div_ceil(POINTS_MAX).max(1);
    let colour = RGBColor(31, 90, 160);
    let points: Vec<&PowerSample> = trace.samples.iter().step_by(step).collect();
    for line in points.split(|sample| !sample.quality.is_usable()).filter(|line| !line.is_empty()) {
        let line: Vec<(f64, f64)> = line.iter().map(|sample| (seconds(sample.at_ns), sample.watts)).collect();
        chart.draw_series(LineSeries::new(line, &colour))?;
    }
    root.present()?;
    Ok(())
}
