//! Charts as SVG that stands in the page. Their colours are those of the light scheme; the page's style sheet replaces each in
//! the dark one.

use super::super::show;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::fmt::Debug;
use std::ops::Range;
use twinline_benches::harness::result::{Distribution, Timeline};

const INK: RGBColor = RGBColor(0x1c, 0x23, 0x30);
const RULE: RGBColor = RGBColor(0xd8, 0xdd, 0xe6);
/// The series', as `--s0` and on in the style sheet.
pub(super) const SERIES: [RGBColor; 7] = [
    RGBColor(0x7a, 0x85, 0x99),
    RGBColor(0x1f, 0x6f, 0xd6),
    RGBColor(0xc2, 0x41, 0x0c),
    RGBColor(0x0f, 0x8a, 0x6d),
    RGBColor(0x8b, 0x3f, 0xc4),
    RGBColor(0xb0, 0x88, 0x00),
    RGBColor(0xc2, 0x1f, 0x6b),
];
/// Width in units; scaled to the page's. The letters are large so that a phone's scaling leaves them readable.
const WIDTH: u32 = 720;
const LETTERS: i32 = 19;

type Points = Vec<(f64, f64)>;

/// Percentiles: how long the slowest so many of the values took, both axes logarithmic.
pub(super) fn percentiles(all: &[&Distribution]) -> Option<String> {
    let series: Vec<Points> = all
        .iter()
        .map(|of| tail(of))
        .filter(|points| !points.is_empty())
        .collect();
    let (across, up) = (range(&series, |point| point.0)?, range(&series, |point| point.1)?);
    let across = 1.0..across.end.max(10.0);
    let up = up.start * 0.8..up.end * 1.3;
    draw(
        400,
        across.log_scale(),
        up.log_scale(),
        &series,
        ("percentile", &percentile),
        &|value| show::short(value, "ns"),
    )
}

/// Lines over the run's time, of one unit.
pub(super) fn over_time(all: &[&Timeline]) -> Option<String> {
    let series: Vec<Points> = all
        .iter()
        .map(|of| {
            of.points
                .iter()
                .copied()
                .filter(|(_, value)| value.is_finite())
                .collect()
        })
        .collect();
    let (across, up) = (range(&series, |point| point.0)?, range(&series, |point| point.1)?);
    let unit = all.first().map_or("", |of| of.unit.as_str());
    let across = across.start..across.end.max(across.start + 0.1);
    let below = |value: &f64| show::short(*value, "");
    let beside = |value| show::short(value, unit);
    // Of times one that was disturbed would make a flat line of all others.
    if unit == "ns" {
        let up = (up.start * 0.8..up.end * 1.3).log_scale();
        return draw(260, across, up, &series, ("seconds", &below), &beside);
    }
    let up = 0.0..(up.end * 1.1).max(1e-3);
    draw(260, across, up, &series, ("seconds", &below), &beside)
}

/// A distribution by 1/(1 - quantile), up to the last value that it has; the maximum stands there.
fn tail(of: &Distribution) -> Points {
    let last = of.count as f64;
    let inner = of
        .points
        .iter()
        .filter(|(quantile, _)| 1.0 / (1.0 - quantile) < last);
    let most = of.points.last().filter(|_| of.count > 1);
    inner
        .map(|&(quantile, value)| (1.0 / (1.0 - quantile), value))
        .chain(most.map(|&(_, value)| (last, value)))
        .map(|(at, value)| (at, value.max(1) as f64))
        .collect()
}

/// 10 is the 90th percentile, 1,000 the 99.9th; nothing stands between them.
fn percentile(at: &f64) -> String {
    let nines = at.log10();
    match nines.round() {
        round if (nines - round).abs() > 0.01 => String::new(),
        0.0 => "0%".into(),
        round => format!(
            "{:.*}%",
            (round as usize).saturating_sub(2),
            (1.0 - 1.0 / at) * 100.0
        ),
    }
}

/// From the least to the greatest; `None` if there is nothing.
fn range(series: &[Points], of: impl Fn(&(f64, f64)) -> f64) -> Option<Range<f64>> {
    let values = || series.iter().flatten().map(&of);
    let (least, most) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
    Some(least..most)
}

/// Draws series; `None` only if the drawing fails, which into memory it does not.
fn draw<X, Y>(
    height: u32,
    across: X,
    up: Y,
    series: &[Points],
    (what, below): (&str, &dyn Fn(&f64) -> String),
    beside: &dyn Fn(f64) -> String,
) -> Option<String>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    X::Value: Debug,
{
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_right(44)
            .x_label_area_size(56)
            .y_label_area_size(92)
            .build_cartesian_2d(across, up)
            .ok()?;
        let letters = ("sans-serif", LETTERS).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(RULE)
            .light_line_style(TRANSPARENT)
            .label_style(letters.clone())
            .axis_desc_style(letters)
            .x_desc(what)
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|value| below(value))
            .y_label_formatter(&|value| beside(*value))
            .draw()
            .ok()?;
        for (points, color) in series.iter().zip(SERIES.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(3)))
                .ok()?;
        }
        root.present().ok()?;
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_stands_at_each_power_of_ten_and_nowhere_else() {
        let shown = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 20.0].map(|at| percentile(&at));
        assert_eq!(shown, ["0%", "90%", "99%", "99.9%", "99.99%", ""]);
    }

    #[test]
    fn the_style_sheet_knows_every_colour_that_is_drawn() {
        let sheet = include_str!("page.css");
        for RGBColor(red, green, blue) in SERIES.into_iter().chain([INK, RULE]) {
            let name = format!("\"#{red:02X}{green:02X}{blue:02X}\"");
            assert!(sheet.contains(&name), "{name}");
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(percentiles(&[]), None);
        assert_eq!(over_time(&[]), None);
    }
}
