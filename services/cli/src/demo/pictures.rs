//! Pictures as SVG: the night's loss, and every group before and after it.

use std::{error::Error, path::Path};

use nocturne_lake::Lake;
use nocturne_wire::night::NightReport;
use plotters::{
    coord::Shift,
    prelude::{
        BLACK, ChartBuilder, DrawingArea, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, Rectangle, SVGBackend,
        SeriesLabelPosition, Text, TextStyle, WHITE,
    },
    style::{
        Color,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::figures::{GROUPS, Measured, Report};
use crate::failure::Advise;

const DAY: RGBColor = RGBColor(0xb0, 0xb8, 0xc8);
const NIGHT: RGBColor = RGBColor(0x2f, 0x4b, 0x8f);

/// The loss of each step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Curve {
    pub(super) points: Vec<(f64, f64)>,
}

/// Reads the loss from the night's metrics.
///
/// # Errors
/// When the lake cannot be read, or the metrics are damaged.
pub(super) async fn loss_curve(lake: &Lake, night: Option<&NightReport>) -> anyhow::Result<Curve> {
    let Some(night) = night else { return Ok(Curve::default()) };
    let (doing, hint) = (format!("reading the metrics of night {}", night.night), "the night's record is complete all the same");
    let Some(bytes) = lake.nights().get(&night.night, "metrics.parquet").await.advise(&doing, hint)? else {
        return Ok(Curve::default());
    };
    let rows = nocturne_columns::read_metrics(&bytes).advise(&doing, hint)?;
    Ok(Curve { points: rows.into_iter().filter(|row| row.name == "loss").map(|row| (row.step as f64, row.value)).collect() })
}

/// Draws `loss.svg` and `before-after.svg`.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn draw(out: &Path, report: &Report, measured: &Measured) -> anyhow::Result<()> {
    let told = |error: Box<dyn Error>| anyhow::anyhow!("{error}");
    if measured.loss.points.len() > 1 {
        loss(&out.join("loss.svg"), &measured.loss).map_err(told)?;
    }
    bars(&out.join("before-after.svg"), report).map_err(told)
}

fn loss(file: &Path, curve: &Curve) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (860, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let last = curve.points.last().map_or(1.0, |point| point.0);
    let top = curve.points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&root)
        .caption("What the night learned: loss by training step", ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..last, 0.0..top.max(f64::MIN_POSITIVE))?;
    chart.configure_mesh().x_desc("step").y_desc("loss").light_line_style(WHITE).draw()?;
    chart
        .draw_series(LineSeries::new(curve.points.iter().copied(), DAY.stroke_width(1)))?
        .label("each step")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], DAY));
    chart
        .draw_series(LineSeries::new(smooth(&curve.points), NIGHT.stroke_width(2)))?
        .label("mean of nine")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], NIGHT));
    chart.configure_series_labels().position(SeriesLabelPosition::UpperRight).border_style(BLACK.mix(0.2)).draw()?;
    root.present()?;
    Ok(())
}

/// The mean of each point and its neighbors, four on each side.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const SIDE: usize = 4;
    let mean = |at: usize| {
        let around = &points[at.saturating_sub(SIDE)..(at + SIDE + 1).min(points.len())];
        around.iter().map(|point| point.1).sum::<f64>() / around.len() as f64
    };
    points.iter().enumerate().map(|(at, point)| (point.0, mean(at))).collect()
}

/// Places on the bar picture, in pixels.
const LEFT: i32 = 230;
const TOP: i32 = 56;
const FULL: i32 = 480;
const ROW: i32 = 44;
const BAR: i32 = 15;

fn bars(file: &Path, report: &Report) -> Result<(), Box<dyn Error>> {
    let groups: Vec<_> =
        GROUPS.iter().filter_map(|(_, key)| Some((*key, report.groups.get(key)?))).filter(|(_, group)| group.asked > 0).collect();
    let height = TOP + ROW * groups.len() as i32 + 16;
    let root = SVGBackend::new(file, (860, height.unsigned_abs())).into_drawing_area();
    root.fill(&WHITE)?;
    text(&root, "Right answers before the night (gray) and after it (blue)", (20, 16), 20.0)?;
    for (row, (key, group)) in groups.into_iter().enumerate() {
        let top = TOP + ROW * row as i32;
        text(&root, &key.replace('_', " "), (20, top + 8), 15.0)?;
        bar(&root, top, group.before, DAY)?;
        if let Some(after) = group.after {
            bar(&root, top + BAR + 2, after, NIGHT)?;
        }
    }
    root.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn bar(root: &Area<'_>, top: i32, share: f64, color: RGBColor) -> Result<(), Box<dyn Error>> {
    let right = LEFT + (f64::from(FULL) * share).round() as i32;
    root.draw(&Rectangle::new([(LEFT, top), (right.max(LEFT + 1), top + BAR)], color.filled()))?;
    text(root, &crate::output::percent(share), (right + 8, top + 1), 13.0)
}

fn text(root: &Area<'_>, words: &str, at: (i32, i32), size: f64) -> Result<(), Box<dyn Error>> {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Top));
    root.draw(&Text::new(words.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_curve_keeps_its_steps_and_its_level() {
        let points: Vec<_> = (0..20).map(|step| (f64::from(step), 2.0)).collect();
        assert_eq!(smooth(&points), points);
        assert!(smooth(&[]).is_empty());
    }

    #[test]
    fn a_loss_curve_is_drawn_as_svg() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("loss.svg");
        let curve = Curve { points: (0..50).map(|step| (f64::from(step), 3.0 / f64::from(step + 1))).collect() };
        loss(&file, &curve).expect("drawn");
        let svg = std::fs::read_to_string(&file).expect("written");
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.contains("loss"), "{svg}");
    }
}
