//! A picture of how late answers are at each rate. Never shows anything that the table does not say.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::client::Load;
use crate::home::write_atomic;

const SIZE: (u32, u32) = (900, 480);
const SHARES: [(f64, &str, RGBColor); 3] = [
    (0.5, "half", RGBColor(31, 90, 160)),
    (0.9, "9 of 10", RGBColor(30, 130, 70)),
    (0.99, "99 of 100", RGBColor(200, 90, 20)),
];
/// Milliseconds: the axis is logarithmic.
const SHORTEST_MS: f64 = 0.05;

/// Milliseconds of all but the slowest answers over requests per second.
pub(super) fn plot(path: &Path, loads: &[Load]) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, loads).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(picture: &mut String, loads: &[Load]) -> Result<(), Box<dyn std::error::Error>> {
    let line = |share: f64| -> Vec<(f64, f64)> {
        // A rate at which nothing was answered has no latency.
        let points = loads.iter().map(|load| (load.rate, load.latency_ms(share)));
        points.filter(|(_, ms)| ms.is_finite()).map(|(rate, ms)| (rate, ms.max(SHORTEST_MS))).collect()
    };
    let lines = SHARES.map(|(share, ..)| line(share));
    let points = || lines.iter().flatten();
    let low = points().map(|(rate, _)| *rate).fold(f64::INFINITY, f64::min);
    let high = points().map(|(rate, _)| *rate).fold(low, f64::max);
    let longest = points().map(|(_, ms)| *ms).fold(1.0, f64::max) * 1.5;
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Whole answers through the gateway, the mock's time included", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((low..high * 1.05).log_scale(), (SHORTEST_MS..longest).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("requests per second")
        .y_desc("milliseconds")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for ((_, name, colour), line) in SHARES.into_iter().zip(lines) {
        chart
            .draw_series(LineSeries::new(line.clone(), &colour))?
            .label(format!("{name} are faster"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
        chart.draw_series(line.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
