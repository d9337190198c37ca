//! Distributions as HdrHistogram's percentile files, which its plotters read. Values are nanoseconds.

use std::fmt::Write;
use twinline_benches::harness::result::Distribution;

/// The file of a distribution.
pub(super) fn text(of: &Distribution) -> String {
    let mut text = format!(
        "{:>14} {:>17} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for &(quantile, value) in &of.points {
        let below = (quantile * of.count as f64).round();
        let _ = match quantile < 1.0 {
            true => writeln!(
                text,
                "{value:>14.3} {quantile:>17.12} {below:>10} {:>14.2}",
                1.0 / (1.0 - quantile)
            ),
            false => writeln!(text, "{value:>14.3} {quantile:>17.12} {below:>10}"),
        };
    }
    let most = of.points.last().map_or(0, |last| last.1);
    let _ = writeln!(
        text,
        "#[Mean    = {:>14.3}, StdDeviation   = {:>14.3}]\n#[Max     = {most:>14.3}, Total count    = {:>14}]",
        of.mean, of.deviation, of.count
    );
    text
}

/// The file's name, behind the section's.
pub(super) fn name(section: &str, of: &Distribution) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    let words: String = of.name.chars().map(plain).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    format!("{section}-{}.hgrm", words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_line_a_percentile_and_ends_with_the_maximum() {
        let of = Distribution {
            name: "65 B, 50000/s: floor".into(),
            count: 1_000,
            mean: 12.5,
            deviation: 3.25,
            points: vec![(0.0, 10), (0.5, 12), (1.0, 99)],
        };
        let text = text(&of);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines[3], ["12", "0.500000000000", "500", "2.00"]);
        assert_eq!(lines[4], ["99", "1.000000000000", "1000"]);
        assert!(
            text.contains("#[Max     =             99, Total count    =           1000]"),
            "{text}"
        );
        assert_eq!(name("latency", &of), "latency-65-B-50000-s-floor.hgrm");
    }
}
