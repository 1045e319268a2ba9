//! Two kinds of pictures as SVG: bars in groups, and lines over a logarithmic or a plain axis.

use std::{error::Error, ops::Range, path::Path};

use plotters::{
    chart::ChartContext,
    coord::{Shift, types::RangedCoordf64},
    prelude::{
        BLACK, Cartesian2d, ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor,
        Rectangle, SVGBackend, Text, TextStyle, WHITE,
    },
    style::{
        Color,
        text_anchor::{HPos, Pos, VPos},
    },
};

/// Colors that people with any color vision tell apart (Okabe and Ito 2008, without black and yellow), and more that most do.
const COLORS: [RGBColor; 10] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0xa0, 0xa0, 0x20),
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0x60, 0x30, 0x90),
];

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar {
    pub(super) value: f64,
    /// Half the width of the interval.
    pub(super) interval: Option<f64>,
}

/// One architecture: a bar in every group, or nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series<T> {
    pub(super) name: String,
    pub(super) values: Vec<T>,
}

/// What stands around a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) caption: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// How an axis of lines runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Plain,
    Logarithmic,
    /// From 0 to 1, shown in percent.
    Share,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        if self == Self::Logarithmic { value.max(f64::MIN_POSITIVE).log2() } else { value }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Plain => format!("{place:.0}"),
            Self::Share => format!("{:.0} %", place * 100.0),
            Self::Logarithmic if place.fract().abs() < 1e-6 => format!("{:.0}", place.exp2()),
            // Between powers of two there is no label.
            Self::Logarithmic => String::new(),
        }
    }

    /// The range that holds these values.
    fn range(self, values: impl Iterator<Item = f64>) -> Range<f64> {
        if self == Self::Share {
            return 0.0..1.0;
        }
        let (least, most) = values
            .map(|value| self.place(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (least, most) = if least.is_finite() { (least.floor(), most.ceil().max(least.floor() + 1.0)) } else { (0.0, 1.0) };
        // Room around the outermost points.
        let room = 0.04 * (most - least);
        least - room..most + room
    }
}

/// Pixels of the names on the right.
const LEGEND_WIDTH: i32 = 170;

type Failed = Box<dyn Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn color(series: usize) -> RGBColor {
    COLORS[series % COLORS.len()]
}

/// Shares as bars, in a group each.
pub(super) fn bars(file: &Path, words: Words<'_>, groups: &[String], series: &[Series<Option<Bar>>]) -> Result<(), Failed> {
    let width = (190 * groups.len() as u32).clamp(760, 1_900);
    let root = SVGBackend::new(file, (width, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let across = 0.0..groups.len().max(1) as f64;
    let mut chart = frame(&root, words, across, 0.0..1.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(6)
        .y_desc(words.y)
        .y_label_formatter(&|share| Scale::Share.label(*share))
        .light_line_style(WHITE)
        .draw()?;
    let bar_width = 0.84 / series.len().max(1) as f64;
    for (at, of) in series.iter().enumerate() {
        let left = |group: usize| group as f64 + 0.08 + at as f64 * bar_width;
        let bars = || of.values.iter().enumerate().filter_map(|(group, bar)| Some((left(group), (*bar)?)));
        let body =
            |(left, bar): (f64, Bar)| Rectangle::new([(left, 0.0), (left + bar_width * 0.9, bar.value)], color(at).filled());
        chart.draw_series(bars().map(body))?;
        for (left, bar) in bars() {
            whisker(&mut chart, left + bar_width * 0.45, bar, bar_width * 0.2, BLACK, |value| value.clamp(0.0, 1.0))?;
        }
    }
    for (group, name) in groups.iter().enumerate() {
        let (x, y) = chart.plotting_area().map_coordinate(&(group as f64 + 0.5, 0.0));
        text(&root, name, (x, y + 8), HPos::Center)?;
    }
    legend(&root, series.iter().map(|of| of.name.as_str()))?;
    root.present()?;
    Ok(())
}

/// Values over an axis, a line each.
pub(super) fn lines(file: &Path, words: Words<'_>, scales: (Scale, Scale), series: &[Series<(f64, Bar)>]) -> Result<(), Failed> {
    let root = SVGBackend::new(file, (760, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let (x, y) = scales;
    let points = || series.iter().flat_map(|of| &of.values);
    let (across, up) = (x.range(points().map(|point| point.0)), y.range(points().map(|point| point.1.value)));
    let labels = |scale: Scale, range: &Range<f64>| match scale {
        Scale::Logarithmic => (range.end - range.start) as usize + 1,
        Scale::Plain | Scale::Share => 6,
    };
    let (x_labels, y_labels, bounds) = (labels(x, &across), labels(y, &up), up.clone());
    let mut chart = frame(&root, words, across, up)?;
    chart
        .configure_mesh()
        .x_labels(x_labels)
        .y_labels(y_labels)
        .x_desc(words.x)
        .y_desc(words.y)
        .x_label_formatter(&|place| x.label(*place))
        .y_label_formatter(&|place| y.label(*place))
        .light_line_style(WHITE)
        .draw()?;
    // Beside each other where intervals would lie on each other.
    let apart =
        if points().any(|point| point.1.interval.is_some()) { 0.01 * (chart.x_range().end - chart.x_range().start) } else { 0.0 };
    for (at, of) in series.iter().enumerate() {
        let beside = apart * (at as f64 - (series.len() as f64 - 1.0) / 2.0);
        let place = |point: &(f64, Bar)| (x.place(point.0) + beside, y.place(point.1.value));
        chart.draw_series(LineSeries::new(of.values.iter().map(place), color(at).stroke_width(2)))?;
        chart.draw_series(of.values.iter().map(|point| Circle::new(place(point), 3, color(at).filled())))?;
        for point in &of.values {
            let within = |value| y.place(value).clamp(bounds.start, bounds.end);
            whisker(&mut chart, place(point).0, point.1, apart * 0.4, color(at), within)?;
        }
    }
    legend(&root, series.iter().map(|of| of.name.as_str()))?;
    root.present()?;
    Ok(())
}

/// A line from end to end of an interval, with a stop at each.
fn whisker(
    chart: &mut Chart<'_, '_>,
    x: f64,
    bar: Bar,
    wide: f64,
    color: RGBColor,
    place: impl Fn(f64) -> f64,
) -> Result<(), Failed> {
    let Some(interval) = bar.interval else { return Ok(()) };
    let (low, high) = (place(bar.value - interval), place(bar.value + interval));
    let stop = |y: f64| vec![(x - wide, y), (x + wide, y)];
    let strokes = [vec![(x, low), (x, high)], stop(low), stop(high)];
    chart.draw_series(strokes.into_iter().map(|stroke| PathElement::new(stroke, color.mix(0.8).stroke_width(1))))?;
    Ok(())
}

/// Names with their colors, on the right of everything.
fn legend<'a>(root: &Area<'_>, names: impl Iterator<Item = &'a str>) -> Result<(), Failed> {
    let left = root.dim_in_pixel().0 as i32 - LEGEND_WIDTH;
    for (at, name) in names.enumerate() {
        let top = 44 + 19 * at as i32;
        root.draw(&Rectangle::new([(left, top), (left + 12, top + 12)], color(at).filled()))?;
        text(root, name, (left + 19, top - 1), HPos::Left)?;
    }
    Ok(())
}

/// What all pictures have: a caption, and room for axes and names.
fn frame<'b, 'c>(root: &'b Area<'c>, words: Words<'_>, x: Range<f64>, y: Range<f64>) -> Result<Chart<'b, 'c>, Failed> {
    Ok(ChartBuilder::on(root)
        .caption(words.caption, ("sans-serif", 18))
        .margin(14)
        .margin_right(LEGEND_WIDTH + 14)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(x, y)?)
}

fn text(root: &Area<'_>, words: &str, at: (i32, i32), side: HPos) -> Result<(), Failed> {
    let style = TextStyle::from(("sans-serif", 13).into_font()).color(&BLACK).pos(Pos::new(side, VPos::Top));
    root.draw(&Text::new(words.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, values: &[(f64, f64)]) -> Series<(f64, Bar)> {
        let bar = |(at, value): &(f64, f64)| (*at, Bar { value: *value, interval: Some(0.1) });
        Series { name: name.to_owned(), values: values.iter().map(bar).collect() }
    }

    #[test]
    fn bars_are_drawn_with_whiskers_names_and_groups() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bars.svg");
        let bar = |value| Some(Bar { value, interval: Some(0.2) });
        let of = |name: &str, values: Vec<_>| Series { name: name.to_owned(), values };
        let all = [of("attention", vec![bar(0.95), bar(0.5)]), of("retention", vec![bar(0.3), None])];
        let words = Words { caption: "mqar", x: "", y: "accuracy" };
        bars(&file, words, &["few".to_owned(), "many".to_owned()], &all).expect("drawn");
        let svg = std::fs::read_to_string(&file).expect("written");
        assert!(["attention", "retention", "few", "many", "100 %"].iter().all(|word| svg.contains(word)), "{svg}");
        // A background, three bars and two in the legend.
        assert_eq!(svg.matches("fill=\"#0072B2\"").count() + svg.matches("fill=\"#E69F00\"").count(), 5, "{svg}");
    }

    #[test]
    fn lines_are_drawn_over_powers_of_two() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines.svg");
        let all = [series("attention", &[(4.0, 1.0), (8.0, 0.9), (16.0, 0.8)]), series("retention", &[(4.0, 0.9), (16.0, 0.1)])];
        lines(&file, Words { caption: "mqar", x: "pairs", y: "accuracy" }, (Scale::Logarithmic, Scale::Share), &all)
            .expect("drawn");
        let svg = std::fs::read_to_string(&file).expect("written");
        assert!(["\n4\n", "\n8\n", "\n16\n", "pairs", "retention"].iter().all(|word| svg.contains(word)), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.matches("<polyline").count() >= 2 + 5, "lines and whiskers: {svg}");
    }

    #[test]
    fn a_picture_of_nothing_is_drawn_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let words = Words { caption: "", x: "", y: "" };
        bars(&folder.path().join("bars.svg"), words, &[], &[]).expect("drawn");
        lines(&folder.path().join("lines.svg"), words, (Scale::Plain, Scale::Logarithmic), &[]).expect("drawn");
    }

    #[test]
    fn a_range_holds_its_values_and_is_never_empty() {
        assert_eq!(Scale::Logarithmic.range([100.0, 3_000.0].into_iter()), 5.76..12.24);
        assert_eq!(Scale::Plain.range([5.0].into_iter()), 4.96..6.04);
        assert_eq!(Scale::Share.range([0.2, 0.3].into_iter()), 0.0..1.0);
    }
}
