//! A daemon's metrics page as it was read: Prometheus's text format, strictly, into samples that can be looked up.

use super::histogram::Histogram;
use std::collections::HashMap;

/// What a daemon said, at one moment.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: HashMap<String, Vec<Sample>>,
}

#[derive(Debug, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    value: f64,
}

/// Labels that a sample must have, others aside.
pub(super) type Wanted<'a> = [(&'a str, &'a str)];

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let (_, value) = self.labels.iter().find(|(label, _)| label == name)?;
        Some(value)
    }

    fn has(&self, wanted: &Wanted<'_>) -> bool {
        wanted.iter().all(|(name, value)| self.label(name) == Some(value))
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// In words, with the line, if it is not in the format.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, sample) =
                sample(line).map_err(|why| format!("line {} of the page: {why}: {line:?}", at + 1))?;
            match page.families.get_mut(name) {
                Some(samples) => samples.push(sample),
                None => drop(page.families.insert(name.into(), vec![sample])),
            }
        }
        Ok(page)
    }

    fn samples<'p>(&'p self, name: &str, wanted: &'p Wanted<'p>) -> impl Iterator<Item = &'p Sample> {
        let samples = self.families.get(name).map_or(&[][..], Vec::as_slice);
        samples.iter().filter(|sample| sample.has(wanted))
    }

    /// The value of a metric, the sum if several have these labels.
    pub(super) fn value(&self, name: &str, wanted: &Wanted<'_>) -> Option<f64> {
        let values = self.samples(name, wanted).map(|sample| sample.value);
        values.reduce(|sum, value| sum + value)
    }

    /// The values of a label that a metric has, in their order on the page, each once.
    pub(super) fn labels<'p>(&'p self, name: &str, wanted: &'p Wanted<'p>, label: &str) -> Vec<&'p str> {
        let mut values = Vec::new();
        for value in self
            .samples(name, wanted)
            .filter_map(|sample| sample.label(label))
        {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// A histogram; the buckets of several with these labels are added up.
    pub(super) fn histogram(&self, name: &str, wanted: &Wanted<'_>) -> Option<Histogram> {
        let bucket = format!("{name}_bucket");
        let mut cumulative: Vec<(f64, f64)> = Vec::new();
        for sample in self.samples(&bucket, wanted) {
            let bound = sample.label("le")?.parse().ok()?;
            match cumulative.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => cumulative.push((bound, sample.value)),
            }
        }
        Histogram::from_cumulative(cumulative)
    }
}

/// `name{label="value",...} value [timestamp]`.
fn sample(line: &str) -> Result<(&str, Sample), &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a metric's name is missing");
    }
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        (labels, rest) = self::labels(inner)?;
    }
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("the value is missing")?;
    let value = value.parse().map_err(|_| "the value is no number")?;
    if words.next().is_some_and(|time| time.parse::<i64>().is_err()) || words.next().is_some() {
        return Err("something stands behind the value");
    }
    Ok((name, Sample { labels, value }))
}

type Labels = Vec<(String, String)>;

/// What stands between the braces, and what stands behind them.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        let (name, value) = rest.split_once('=').ok_or("a label has no value")?;
        let value = value
            .trim_start()
            .strip_prefix('"')
            .ok_or("a label's value is not quoted")?;
        let (value, behind) = quoted(value)?;
        labels.push((name.trim().into(), value));
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("labels are not ended with a brace"),
        }
    }
}

/// A label's value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                _ => return Err("a backslash stands before what needs none"),
            },
            c => value.push(c),
        }
    }
    Err("a label's value has no end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_read_with_labels_escapes_and_special_values() {
        let page = Page::parse(
            "# HELP twinline_x_total Some \"help\" {text}\n# TYPE twinline_x_total counter\n\
             twinline_x_total{channel=\"1\",line=\"a\"} 12\n\
             twinline_x_total{channel=\"1\", line=\"b\",} 3e2 1700000000000\n\
             \n\
             process_start_time_seconds 1.5e9\n\
             twinline_odd{reader=\"a \\\"b\\\" \\\\ \\n}\"} +Inf\n\
             twinline_nan{} NaN\n",
        )
        .unwrap();
        assert_eq!(
            page.value("twinline_x_total", &[("line", "a"), ("channel", "1")]),
            Some(12.0)
        );
        assert_eq!(page.value("twinline_x_total", &[("channel", "1")]), Some(312.0));
        assert_eq!(page.value("twinline_x_total", &[("channel", "2")]), None);
        assert_eq!(page.value("process_start_time_seconds", &[]), Some(1.5e9));
        assert_eq!(
            page.labels("twinline_odd", &[], "reader"),
            ["a \"b\" \\ \n}".to_string()]
        );
        assert_eq!(page.value("twinline_odd", &[]), Some(f64::INFINITY));
        assert!(page.value("twinline_nan", &[]).unwrap().is_nan());
        assert_eq!(
            page.labels("twinline_x_total", &[("channel", "1")], "line"),
            ["a", "b"]
        );
    }

    #[test]
    fn what_is_not_in_the_format_is_named_with_its_line() {
        for wrong in [
            "x",
            "x one",
            "x 1 2 3",
            "x 1 soon",
            "1x 1",
            "{a=\"b\"} 1",
            "x{a=b} 1",
            "x{a=\"b} 1",
            "x{a=\"b\"",
            "x{a=\"b\" c=\"d\"} 1",
            "x{a} 1",
            "x{a=\"\\t\"} 1",
            "<html>",
        ] {
            let error = Page::parse(&format!("good 1\n{wrong}\n")).unwrap_err();
            assert!(error.starts_with("line 2 of the page: "), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z_{}\",=\\\\ \n0-9.#é]{0,80}") {
            let _ = Page::parse(&text);
        }
    }
}
