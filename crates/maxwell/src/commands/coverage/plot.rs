//! A picture of the chance to catch a cheat. Never shows another formula than the figures do.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;
use recomputer::coverage::{Probability, Sampling, detection, whole_cheated_needed};

use super::numbers::share;
use crate::home::write_atomic;

const SIZE: (u32, u32) = (900, 480);
const CHECKED_SHARES: [f64; 5] = [5e-2, 1e-2, 1e-3, 1e-4, 1e-5];
const COLOURS: [RGBColor; 5] = [
    RGBColor(120, 60, 140),
    RGBColor(30, 130, 70),
    RGBColor(31, 90, 160),
    RGBColor(90, 90, 90),
    RGBColor(170, 140, 20),
];
const OWN_COLOUR: RGBColor = RGBColor(200, 90, 20);
const POINTS_PER_DECADE: f64 = 40.0;
/// The axis ends here at least, and at most.
const CHEATED_MAX: (u64, u64) = (1_000_000, 1_000_000_000_000_000);

/// Chance of a catch over cheated answers, one line per eps; that of `sampling` is thicker.
pub(super) fn plot(path: &Path, sampling: Sampling) -> anyhow::Result<()> {
    let mut picture = String::new();
    draw(&mut picture, sampling).map_err(|error| anyhow!("can't draw the plot: {error}"))?;
    write_atomic(path, picture.as_bytes()).context("can't write the plot")
}

fn draw(picture: &mut String, own: Sampling) -> Result<(), Box<dyn std::error::Error>> {
    let most = whole_cheated_needed(own, Probability::new(0.999)?).unwrap_or(0);
    let most = most.clamp(CHEATED_MAX.0, CHEATED_MAX.1);
    let root = SVGBackend::with_string(picture, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let caption = format!("Chance to catch a cheat, power q = {}", share(own.power));
    let mut chart = ChartBuilder::on(&root)
        .caption(caption, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((1.0..most as f64).log_scale(), 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc("cheated answers")
        .y_desc("chance")
        .x_label_formatter(&|value| format!("{value:e}"))
        .y_label_formatter(&|value| format!("{value:.1}"))
        .draw()?;
    let others = CHECKED_SHARES.into_iter().zip(COLOURS).filter(|(eps, _)| *eps != own.checked_share.get());
    for (eps, colour) in others {
        let sampling = Sampling { checked_share: Probability::new(eps)?, power: own.power };
        chart
            .draw_series(LineSeries::new(line(sampling, most), &colour))?
            .label(format!("eps = {eps:e}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .draw_series(LineSeries::new(line(own, most), OWN_COLOUR.stroke_width(3)))?
        .label(format!("eps = {:e}", own.checked_share.get()))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], OWN_COLOUR.stroke_width(3)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

/// Points at whole numbers of answers, evenly spread over the decades.
fn line(sampling: Sampling, most: u64) -> Vec<(f64, f64)> {
    let steps = ((most as f64).log10() * POINTS_PER_DECADE).ceil() as u32;
    let at = |step: u32| (10.0_f64.powf(f64::from(step) / POINTS_PER_DECADE).round() as u64).min(most);
    let mut counts: Vec<u64> = (0..=steps).map(at).collect();
    counts.dedup();
    counts.into_iter().map(|cheated| (cheated as f64, detection(sampling, cheated))).collect()
}
