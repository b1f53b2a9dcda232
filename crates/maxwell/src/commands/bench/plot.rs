//! A picture of a bench. Never shows anything that its table does not say.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::quality::Series;
use crate::home::write_atomic;

const SIZE: (u32, u32) = (900, 480);
/// KL below this is drawn as this: the axis is logarithmic.
const FLOOR: f64 = 1e-7;
const COLOURS: [RGBColor; 2] = [RGBColor(31, 90, 160), RGBColor(200, 90, 20)];

/// Mean KL against the position in a sequence, one line per series.
pub(super) fn plot(path: &Path, series: &[Series], sequence: usize) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, series, sequence).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(picture: &mut String, series: &[Series], sequence: usize) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<Vec<(usize, f64)>> = series
        .iter()
        .map(|series| (0..sequence).map(|at| (at, series.mean_kl_at(at, sequence).max(FLOOR))).collect())
        .collect();
    let values = || lines.iter().flatten().map(|(_, kl)| *kl);
    let low = values().fold(f64::INFINITY, f64::min) / 2.0;
    let high = values().fold(FLOOR, f64::max) * 2.0;
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Mean KL(float32 || engine) at each position", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0..sequence, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("position in the sequence")
        .y_desc("nats")
        .y_label_formatter(&|value| format!("{value:.0e}"))
        .draw()?;
    for ((line, series), colour) in lines.into_iter().zip(series).zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(line, &colour))?
            .label(series.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
