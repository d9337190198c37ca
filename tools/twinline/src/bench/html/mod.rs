//! A report as one page that needs nothing else: style and charts stand in it.
//!
//! It is well-formed XML too, so that a test can read it.

mod chart;

use super::show;
use std::fmt::Write;
use twinline_benches::harness::result::{Distribution, Figure, QUANTILES, Report, Section, Stages, Timeline};

/// What stands in every page.
const HOW_TO_READ: &[&str] = &[
    "A ratio to the floor says how much longer our way takes than the barest program that sends and receives the same bytes on \
     the same machine in the same seconds. It can be compared between machines; a bare time cannot.",
    "Each round runs both, one right after the other. A value is the median over the rounds, the interval holds the true median \
     with 95% probability. If the interval of a ratio holds 1, no difference was seen.",
    "Latencies count from the moment a message was meant to be sent. A sender that is held up makes everything behind it late, \
     and that is counted.",
    "In a percentile chart the steps to the right are 90, 99, 99.9% and so on: each is the time that the slowest tenth of the step \
     before needs at least. Its right end is the single worst value. On a machine that others use too, the right half shows them.",
    "Rounds from which the hypervisor or another program took more than 1% of a slice are dropped from both sides and counted; \
     the distribution in which no round is dropped stands beside the others.",
];

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n");
    let _ = writeln!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>Twinline benchmarks</title>\n\
         <style>{}</style>\n</head>\n<body>\n<h1>Twinline benchmarks</h1>",
        include_str!("page.css")
    );
    let _ = writeln!(
        page,
        "<p class=\"soft\">{}, {:.0} seconds</p>",
        show::date(report.started),
        report.seconds
    );
    if report.brief {
        page += "<p class=\"brief\">A brief run: everything was done once, these figures mean nothing.</p>\n";
    }
    goals(&mut page, report);
    for of in &report.sections {
        section(&mut page, of);
    }
    machine(&mut page, report);
    page += "<h2>How to read this</h2>\n";
    list(&mut page, HOW_TO_READ.iter().copied());
    page += "</body>\n</html>\n";
    page
}

fn goals(page: &mut String, report: &Report) {
    let all = || {
        let sections = report.sections.iter();
        sections.flat_map(|section| section.figures.iter().filter(|figure| figure.goal.is_some()))
    };
    if all().next().is_none() {
        return;
    }
    *page += "<h2>Goals</h2>\n<div class=\"wide\"><table>\n<tr><th>figure</th><th class=\"n\">value</th>\
              <th class=\"n\">goal (limit)</th><th></th></tr>\n";
    for figure in all() {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(&figure.name),
            show::value(figure.value.middle(), &figure.unit),
            show::goal(figure).unwrap_or_default(),
            reached(figure)
        );
    }
    *page += "</table></div>\n";
}

fn reached(figure: &Figure) -> String {
    let Some(text) = show::reached(figure) else {
        return String::new();
    };
    let class = match text {
        "reached" => "goal",
        "MISSED" => "missed",
        _ => "within",
    };
    format!("<span class=\"{class}\">{text}</span>")
}

fn section(page: &mut String, section: &Section) {
    let _ = writeln!(
        page,
        "<h2 id=\"{0}\">{1}</h2>",
        escape(&section.name),
        escape(&section.title)
    );
    if !section.how.is_empty() {
        *page += "<details><summary>How it was measured</summary>\n";
        list(page, section.how.iter().map(String::as_str));
        *page += "</details>\n";
    }
    figures(page, section);
    for (name, all) in groups(&section.distributions, |of| &of.name) {
        let keys: Vec<_> = all.iter().map(|of| last(&of.name)).collect();
        drawing(
            page,
            &format!("{name}, percentiles"),
            &keys,
            chart::percentiles(&all),
        );
    }
    distributions(page, &section.distributions);
    for of in &section.stages {
        stages(page, of);
    }
    for (name, all) in groups(&section.timelines, |of| &of.name) {
        let mut units: Vec<&str> = all.iter().map(|of| of.unit.as_str()).collect();
        units.dedup();
        for unit in units {
            let same: Vec<&Timeline> = all.iter().copied().filter(|of| of.unit == unit).collect();
            let keys: Vec<_> = same.iter().map(|of| last(&of.name)).collect();
            drawing(
                page,
                &format!("{name}, over the run"),
                &keys,
                chart::over_time(&same),
            );
        }
    }
    if !section.not_measured.is_empty() {
        *page += "<h3>Not measured</h3>\n";
        list(page, section.not_measured.iter().map(String::as_str));
    }
}

fn figures(page: &mut String, section: &Section) {
    if section.figures.is_empty() {
        return;
    }
    let has_intervals = section
        .figures
        .iter()
        .any(|figure| show::interval(figure).is_some());
    *page += "<div class=\"wide\"><table>\n<tr><th>figure</th><th class=\"n\">value</th>";
    if has_intervals {
        *page += "<th class=\"n\">95% interval</th>";
    }
    *page += "<th></th><th></th></tr>\n";
    for figure in &section.figures {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            escape(&figure.name),
            show::value(figure.value.middle(), &figure.unit)
        );
        if has_intervals {
            let _ = write!(
                page,
                "<td class=\"n\">{}</td>",
                show::interval(figure).unwrap_or_default()
            );
        }
        let _ = writeln!(
            page,
            "<td>{}</td><td class=\"note\">{}</td></tr>",
            reached(figure),
            escape(figure.note.as_deref().unwrap_or_default())
        );
    }
    *page += "</table></div>\n";
}

fn distributions(page: &mut String, all: &[Distribution]) {
    if all.is_empty() {
        return;
    }
    *page += "<div class=\"wide\"><table>\n<tr><th>latency</th><th class=\"n\">count</th>";
    for quantile in QUANTILES {
        let _ = write!(page, "<th class=\"n\">{}</th>", show::quantile(quantile));
    }
    *page += "</tr>\n";
    for of in all {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            escape(&of.name),
            of.count
        );
        for quantile in QUANTILES {
            let _ = write!(
                page,
                "<td class=\"n\">{}</td>",
                show::value(of.at(quantile) as f64, "ns")
            );
        }
        *page += "</tr>\n";
    }
    *page += "</table></div>\n";
}

/// Each stage where it stands in the whole.
fn stages(page: &mut String, of: &Stages) {
    let whole: f64 = of.parts.iter().map(|part| part.1).sum();
    let whole = whole.max(f64::MIN_POSITIVE);
    let _ = writeln!(
        page,
        "<figure>\n<figcaption>{}: medians</figcaption>",
        escape(&of.name)
    );
    let mut before = 0.0;
    for (number, (name, time)) in of.parts.iter().enumerate() {
        let _ = writeln!(
            page,
            "<div class=\"stage\"><span>{}</span><span><b style=\"margin-left:{:.2}%;width:{:.2}%;background:var(--s{})\"></b>\
             </span><span>{}</span></div>",
            escape(name),
            before / whole * 100.0,
            time / whole * 100.0,
            number % chart::SERIES.len(),
            show::value(*time, "ns")
        );
        before += time;
    }
    *page += "</figure>\n";
}

fn drawing(page: &mut String, caption: &str, keys: &[&str], svg: Option<String>) {
    let Some(svg) = svg else { return };
    let _ = writeln!(
        page,
        "<figure>\n<figcaption>{}</figcaption>\n<ul class=\"key\">",
        escape(caption)
    );
    for (number, key) in keys.iter().enumerate() {
        let _ = writeln!(
            page,
            "<li><i style=\"background:var(--s{})\"></i>{}</li>",
            number % chart::SERIES.len(),
            escape(key)
        );
    }
    let _ = writeln!(page, "</ul>\n{}</figure>", svg.trim());
}

fn machine(page: &mut String, report: &Report) {
    let machine = &report.machine;
    let hypervisor = machine.hypervisor.as_deref().unwrap_or("none that says so");
    let facts = [
        ("processor", machine.processor.clone()),
        ("cores", machine.cores.to_string()),
        ("memory", crate::units::show_bytes(machine.memory)),
        ("kernel", format!("Linux {}", machine.kernel)),
        ("hypervisor", hypervisor.into()),
        ("clock source", machine.clock_source.clone()),
        ("load at the beginning", format!("{:.1}", machine.load)),
        (
            "counter against the system's clock",
            format!(
                "{:+.1} parts per million over {:.0} s",
                report.drift.ppm, report.drift.seconds
            ),
        ),
    ];
    *page += "<h2>The machine</h2>\n<dl>\n";
    for (name, value) in facts {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    *page += "</dl>\n";
}

fn list<'t>(page: &mut String, items: impl Iterator<Item = &'t str>) {
    *page += "<ul>\n";
    for item in items {
        let _ = writeln!(page, "<li>{}</li>", escape(item));
    }
    *page += "</ul>\n";
}

/// What is named `group: what`, by group, in order.
fn groups<T>(all: &[T], name: impl Fn(&T) -> &str) -> Vec<(String, Vec<&T>)> {
    let mut groups: Vec<(String, Vec<&T>)> = Vec::new();
    for one in all {
        let group = name(one).rsplit_once(": ").map_or("", |(group, _)| group);
        match groups.iter_mut().find(|(known, _)| known == group) {
            Some((_, members)) => members.push(one),
            None => groups.push((group.into(), vec![one])),
        }
    }
    groups
}

/// Of `group: what` the second.
fn last(name: &str) -> &str {
    name.rsplit_once(": ").map_or(name, |(_, what)| what)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
