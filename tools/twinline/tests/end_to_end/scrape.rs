//! Scrapes a daemon's pages, and reads Prometheus's text format strictly: whatever is not exactly as it should be fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

/// What a daemon answers to a GET: status and body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.into())
}

/// The metrics page of a daemon.
pub(crate) fn metrics(address: &str) -> Page {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    Page::read(&text)
}

/// What Prometheus's own `promtool check metrics` says of a page: nothing.
pub(crate) fn promtool(address: &str) {
    let mut command = Command::new("promtool");
    let command = command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
        assert!(std::env::var_os("CI").is_none(), "in CI promtool must be there");
        eprintln!("skipped: promtool, of the package prometheus, is not there");
        return;
    };
    let (_, page) = get(address, "/metrics");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(page.as_bytes()).expect("it reads");
    drop(stdin);
    let said = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.is_empty(), "{text}");
}

/// Labels by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// A family as the page has it.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    /// What each sample's name adds to the family's (`_bucket`, `_sum`, `_count`, or nothing), its labels and value.
    pub(crate) samples: Vec<(String, Labels, f64)>,
}

impl Family {
    /// The label names that its samples have, `le` left out; all must have the same.
    pub(crate) fn label_names(&self) -> BTreeSet<String> {
        let names = |labels: &Labels| labels.keys().filter(|name| *name != "le").cloned().collect();
        let all: BTreeSet<BTreeSet<String>> =
            self.samples.iter().map(|(_, labels, _)| names(labels)).collect();
        assert_eq!(all.len(), 1, "{self:?}");
        all.into_iter().next().expect("one")
    }
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) families: BTreeMap<String, Family>,
}

impl Page {
    /// The value of the one sample that has these labels among its own.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (family, suffix) = match self.families.contains_key(name) {
            true => (name, ""),
            false => {
                let at = name.rfind('_').expect("a suffix");
                (&name[..at], &name[at..])
            }
        };
        let family = self
            .families
            .get(family)
            .unwrap_or_else(|| panic!("there is no {name}"));
        let is_meant = |(of, has, _): &&(String, Labels, f64)| {
            of == suffix
                && labels
                    .iter()
                    .all(|(name, value)| has.get(*name).is_some_and(|is| is == value))
        };
        let mut meant = family.samples.iter().filter(is_meant);
        let (Some((_, _, value)), None) = (meant.next(), meant.next()) else {
            panic!("not one {name} of {labels:?}: {family:#?}");
        };
        *value
    }

    /// Reads a page.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut page = Self::default();
        let mut open = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                assert!(is_name(name), "{line}");
                open = name.into();
                let family = Family {
                    help: help.into(),
                    ..Family::default()
                };
                let twice = page.families.insert(name.into(), family);
                assert!(twice.is_none(), "{name} is there twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(name, open, "the type stands behind the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let family = page.families.get_mut(name).expect("just made");
                assert!(family.kind.is_empty(), "{line}");
                family.kind = kind.into();
            } else {
                page.sample(&open, line);
            }
        }
        page.families
            .iter()
            .for_each(|(name, family)| check(name, family));
        page
    }

    fn sample(&mut self, open: &str, line: &str) {
        let end = line.find(['{', ' ']).expect("a name");
        let (name, rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let suffix = name
            .strip_prefix(open)
            .unwrap_or_else(|| panic!("{line} stands below {open}"));
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (Labels::new(), rest),
        };
        let value = value.strip_prefix(' ').expect("a space");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let family = self.families.get_mut(open).expect("it is open");
        let twice = family
            .samples
            .iter()
            .any(|(of, has, _)| of == suffix && *has == labels);
        assert!(!twice, "{line} is there twice");
        family.samples.push((suffix.into(), labels, value));
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|&first| letter(first))
        && bytes.iter().all(|&byte| letter(byte) || byte.is_ascii_digit())
}

/// `a="b",c="d"} 1`: the labels and what stands behind the brace.
fn labels(mut rest: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name), "{name:?}");
        let (mut text, mut chars) = (String::new(), value.char_indices());
        let end = loop {
            match chars.next().expect("the value has an end") {
                (at, '"') => break at + 1,
                (_, '\\') => text.push(match chars.next().expect("something escaped").1 {
                    'n' => '\n',
                    other @ ('\\' | '"') => other,
                    other => panic!("\\{other} is no escape"),
                }),
                (_, other) => text.push(other),
            }
        };
        assert!(
            labels.insert(name.into(), text).is_none(),
            "{name} is there twice"
        );
        let behind = &value[end..];
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return (labels, behind.strip_prefix('}').expect("a brace")),
        }
    }
}

/// That a family is what its type says.
fn check(name: &str, family: &Family) {
    assert!(
        !family.samples.is_empty() && !family.kind.is_empty(),
        "{name} is empty"
    );
    family.label_names();
    assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
    match family.kind.as_str() {
        "counter" => {
            let good = |(suffix, _, value): &(String, Labels, f64)| suffix.is_empty() && *value >= 0.0;
            assert!(family.samples.iter().all(good), "{name}: {family:?}");
        }
        "gauge" => assert!(
            family.samples.iter().all(|(suffix, ..)| suffix.is_empty()),
            "{name}"
        ),
        _ => check_histogram(name, family),
    }
}

fn check_histogram(name: &str, family: &Family) {
    /// What a sample's name adds to the family's, its bound if it is a bucket, its value.
    type Part<'f> = (&'f str, Option<f64>, f64);
    let mut by_labels: BTreeMap<Labels, Vec<Part<'_>>> = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le").map(|bound| bound.parse().expect("a bound"));
        by_labels.entry(labels).or_default().push((suffix, bound, *value));
    }
    for samples in by_labels.values() {
        let of = |wanted: &str| {
            let mut found = samples.iter().filter(|(suffix, ..)| *suffix == wanted);
            let (_, bound, value) = found.next().unwrap_or_else(|| panic!("{name} has no {wanted}"));
            assert!(found.next().is_none() && bound.is_none(), "{name}{wanted}");
            *value
        };
        let buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter(|(suffix, ..)| *suffix == "_bucket")
            .map(|(_, bound, value)| (bound.expect("a bucket has a bound"), *value))
            .collect();
        assert_eq!(samples.len(), buckets.len() + 2, "{name}");
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
            "{name}: {buckets:?}"
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, of("_count"))), "{name}");
        assert!(of("_sum") >= 0.0, "{name}");
    }
}

#[test]
fn the_reader_of_pages_refuses_what_is_not_prometheus_text() {
    let good = "# HELP a_total A b\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"\\\\\\n,}\"} 3\na_total{x=\"2\",y=\"\"} 4\n";
    let page = Page::read(good);
    assert_eq!(page.value("a_total", &[("y", "\"\\\n,}")]), 3.0);
    for (from, to) in [
        ("} 4\n", "} 4"),
        ("} 4", "} four"),
        ("x=\"2\",y=\"\"", "x=\"2\""),
        ("x=\"2\",y=\"\"", "x=\"1\",y=\"\\\"\\\\\\n,}\""),
        ("counter", "meter"),
        ("# TYPE a_total counter\n", ""),
        ("a_total{x=\"2\"", "b_total{x=\"2\""),
        ("} 4", "} -4"),
        ("\\n,", "\\t,"),
        ("a_total", "a"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert!(std::panic::catch_unwind(|| Page::read(&bad)).is_err(), "{bad}");
    }
    let histogram = "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n";
    assert_eq!(Page::read(histogram).value("h_bucket", &[("le", "0.1")]), 2.0);
    for (from, to) in [
        ("} 2", "} 4"),
        ("count 3", "count 2"),
        ("h_sum 4\n", ""),
        ("+Inf", "7"),
    ] {
        let bad = histogram.replace(from, to);
        assert!(std::panic::catch_unwind(|| Page::read(&bad)).is_err(), "{bad}");
    }
}
