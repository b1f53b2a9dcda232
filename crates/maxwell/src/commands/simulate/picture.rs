//! The accelerator's temperature over time, governed and not.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::world::EPOCH_SECONDS;
use crate::home::write_atomic;

const SIZE: (u32, u32) = (900, 420);

/// Draws both.
pub(super) fn plot(path: &Path, scenario: &str, governed: &[f64], blind: &[f64]) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, scenario, governed, blind).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(
    picture: &mut String,
    scenario: &str,
    governed: &[f64],
    blind: &[f64],
) -> Result<(), Box<dyn std::error::Error>> {
    let minutes = |epoch: usize| epoch as f64 * f64::from(EPOCH_SECONDS) / 60.0;
    let both = || governed.iter().chain(blind).copied();
    let (low, high) = (both().fold(f64::INFINITY, f64::min), both().fold(0.0, f64::max));
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Accelerator, scenario {scenario}"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..minutes(governed.len().max(1)), low.min(high) - 1.0..high + 1.0)?;
    chart.configure_mesh().x_desc("minutes").y_desc("degrees Celsius").draw()?;
    for (name, line, colour) in
        [("maxwell", governed, RGBColor(31, 90, 160)), ("throttle blindly", blind, RGBColor(200, 90, 20))]
    {
        let points = line.iter().enumerate().map(|(epoch, celsius)| (minutes(epoch), *celsius));
        chart
            .draw_series(LineSeries::new(points, &colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
