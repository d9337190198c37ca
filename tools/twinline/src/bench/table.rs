//! A report as tables for people.

use super::show;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt::Write;
use twinline_benches::harness::result::{Distribution, QUANTILES, Report, Section, Stages};

/// The whole report.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for section in &report.sections {
        text += &of(section);
    }
    let machine = &report.machine;
    let virtually = machine
        .hypervisor
        .as_ref()
        .map_or(String::new(), |name| format!(", virtual ({name})"));
    let _ = writeln!(
        text,
        "on {}, {} cores{virtually}, Linux {}, clock {}; load {:.1} at the beginning; {:.0} s; counter {:+.1} ppm",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.clock_source,
        machine.load,
        report.seconds,
        report.drift.ppm
    );
    if report.brief {
        text += "brief: everything was done once, these figures mean nothing\n";
    }
    text
}

fn of(section: &Section) -> String {
    let mut text = format!("{} ({})\n", section.title, section.name);
    for how in &section.how {
        let _ = writeln!(text, "  {how}");
    }
    if !section.figures.is_empty() {
        let _ = writeln!(text, "{}", figures(section));
    }
    if !section.distributions.is_empty() {
        let _ = writeln!(text, "{}", distributions(&section.distributions));
    }
    for stages in &section.stages {
        let _ = writeln!(text, "{}", parts(stages));
    }
    for missing in &section.not_measured {
        let _ = writeln!(text, "  not measured: {missing}");
    }
    text.push('\n');
    text
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head);
    // A terminal that does not know its width says 0: no reason to squeeze.
    if table.width().is_some_and(|width| width < 40) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// Numbers stand at the right.
fn right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn figures(section: &Section) -> Table {
    let head = ["figure", "value", "95% interval", "goal (limit)", "", "note"];
    let rows = section.figures.iter().map(|figure| {
        [
            figure.name.clone(),
            show::value(figure.value.middle(), &figure.unit),
            show::interval(figure).unwrap_or_default(),
            show::goal(figure).unwrap_or_default(),
            show::reached(figure).unwrap_or_default().into(),
            figure.note.clone().unwrap_or_default(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    // A column that nobody fills is left out.
    let filled: Vec<usize> = (0..head.len())
        .filter(|&column| rows.iter().any(|row| !row[column].is_empty()))
        .collect();
    let mut table = table(&filled.iter().map(|&column| head[column]).collect::<Vec<_>>());
    for row in &rows {
        table.add_row(filled.iter().map(|&column| row[column].as_str()));
    }
    let numbers = filled
        .iter()
        .enumerate()
        .filter(|(_, column)| (1..=3).contains(*column));
    right(&mut table, numbers.map(|(at, _)| at).collect::<Vec<_>>());
    table
}

fn distributions(all: &[Distribution]) -> Table {
    let names = QUANTILES.map(show::quantile);
    let head: Vec<&str> = ["", "count"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut table = table(&head);
    for distribution in all {
        let values = QUANTILES.map(|quantile| show::value(distribution.at(quantile) as f64, "ns"));
        let row = [distribution.name.clone(), distribution.count.to_string()];
        table.add_row(row.into_iter().chain(values));
    }
    right(&mut table, 1..2 + QUANTILES.len());
    table
}

fn parts(stages: &Stages) -> Table {
    let mut table = table(&[&stages.name, "median", "share"]);
    let whole: f64 = stages.parts.iter().map(|part| part.1).sum();
    for (name, time) in &stages.parts {
        table.add_row([
            name.clone(),
            show::value(*time, "ns"),
            format!("{:.0}%", time / whole * 100.0),
        ]);
    }
    right(&mut table, [1, 2]);
    table
}
