//! What a running command shows of itself: a table that is drawn over itself on a terminal, plain lines elsewhere.

use crate::progress::Mode;
use crate::summary::Summary;
use crate::units::{show_count, show_nanos};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const HEAD: [&str; 12] = [
    "",
    "messages",
    "rate/s",
    "of source",
    "time left",
    "lost on A",
    "lost on B",
    "kernel drops",
    "gaps filled",
    "recovered",
    "latency p50",
    "p99",
];

/// Columns that a table is squeezed into at most.
const NARROWEST: u16 = 40;

/// Shows the figures of all parts, again and again.
pub(crate) struct LiveTable {
    style: Style,
    every: Duration,
    last: Option<Instant>,
    /// Lines of the table that stands on the terminal.
    drawn: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Table,
    Lines,
    Silent,
}

impl LiveTable {
    pub(crate) fn new(mode: Mode) -> Self {
        let style = match mode {
            Mode::Auto if std::io::stderr().is_terminal() => Style::Table,
            Mode::Auto | Mode::Human => Style::Lines,
            Mode::Json | Mode::Off => Style::Silent,
        };
        let every = match style {
            Style::Table => Duration::from_millis(250),
            _ => Duration::from_secs(1),
        };
        Self {
            style,
            every,
            last: None,
            drawn: 0,
        }
    }

    /// A line above the table.
    pub(crate) fn say(&mut self, text: &str) {
        if self.style != Style::Silent {
            self.drawn = 0;
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Shows the figures, if it is time; `now` is the last time.
    pub(crate) fn show(&mut self, parts: &[Summary], last: bool) {
        if self.last.is_some_and(|at| at.elapsed() < self.every) && !last {
            return;
        }
        self.last = Some(Instant::now());
        let text = match self.style {
            Style::Silent => return,
            Style::Lines if last => return,
            Style::Lines => lines(parts),
            Style::Table => {
                let (text, drawn) = redrawn(parts, self.drawn);
                self.drawn = drawn;
                text
            }
        };
        let _ = write!(std::io::stderr(), "{text}");
    }
}

/// The table, behind what moves the cursor over the `drawn` lines of the one before; and how many lines it has.
pub(crate) fn redrawn(parts: &[Summary], drawn: usize) -> (String, usize) {
    let up = match drawn {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\x1b[J"),
    };
    let table = table(parts);
    let lines = table.lines().count();
    (up + &table, lines)
}

/// One row a part; a column that nobody fills is left out.
pub(crate) fn table(parts: &[Summary]) -> String {
    let rows: Vec<_> = parts.iter().map(row).collect();
    let filled: Vec<usize> = (0..HEAD.len())
        .filter(|&column| rows.iter().any(|row| !row[column].is_empty()))
        .collect();
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(filled.iter().map(|&column| HEAD[column]));
    // A terminal that does not know its width says 0: no reason to squeeze.
    if table.width().is_some_and(|width| width < NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for row in rows {
        table.add_row(filled.iter().map(|&column| &row[column]));
    }
    format!("{table}\n")
}

fn row(part: &Summary) -> [String; HEAD.len()] {
    let mut row = [const { String::new() }; HEAD.len()];
    row[0].clone_from(&part.command);
    row[1] = show_count(part.messages);
    row[2] = part
        .detail
        .get("rate")
        .and_then(serde_json::Value::as_u64)
        .map_or(String::new(), show_count);
    if let Some((share, left)) = part.source_share() {
        row[3] = format!("{:.0}%", share * 100.0);
        row[4] = show_nanos(left);
    }
    if let Some([a, b]) = part.heard() {
        row[5] = show_count(a.lost);
        row[6] = show_count(b.lost);
        row[7] = show_count(part.kernel_drops());
    }
    if let Some(gaps) = &part.gaps {
        row[8] = show_count(gaps.filled);
    }
    if let Some(delivered) = &part.delivered {
        row[9] = show_count(delivered.recovery);
    }
    if let Some(latency) = &part.latency_ns {
        row[10] = show_nanos(latency.p50);
        row[11] = show_nanos(latency.p99);
    }
    row
}

/// The same for a log: one line a part, without what is empty.
fn lines(parts: &[Summary]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter(|part| part.messages > 0) {
        let cells = row(part);
        let named: Vec<String> = HEAD[1..]
            .iter()
            .zip(&cells[1..])
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(name, cell)| format!("{name} {cell}"))
            .collect();
        text += &format!("{}: {}\n", cells[0], named.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{GapsSummary, LatencySummary};

    #[test]
    fn a_row_has_what_the_part_knows_and_nothing_else() {
        let mut part = Summary::new("listener 1");
        part.messages = 1234;
        part.gaps = Some(GapsSummary {
            filled: 5,
            ..GapsSummary::default()
        });
        part.latency_ns = Some(LatencySummary {
            p50: 4_000,
            p99: 9_000,
            ..LatencySummary::default()
        });
        assert_eq!(
            lines(&[part.clone(), Summary::new("listener 2")]),
            "listener 1: messages 1,234, gaps filled 5, latency p50 4.0 us, p99 9.0 us\n"
        );
        let table = table(&[part]);
        assert!(
            table.contains("gaps filled") && table.contains("1,234"),
            "{table}"
        );
        assert!(!table.contains("lost on A"), "nobody fills it: {table}");
    }
}
