//! Text in columns and in lines of facts, as narrow as the terminal is.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// A cell of a table.
pub(super) type Cell = Span<'static>;
/// Between columns.
const BETWEEN: usize = 2;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// What is fine, what wants attention, what is wrong.
pub(super) const FINE: Style = Style::new().fg(Color::Green);
pub(super) const WARN: Style = Style::new().fg(Color::Yellow);
pub(super) const WRONG: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub(super) const HEAD: Style = Style::new().fg(Color::Cyan);

/// Plain text in a cell.
pub(super) fn plain(text: impl Into<String>) -> Cell {
    Span::raw(text.into())
}

/// Text that stands out.
pub(super) fn styled(text: impl Into<String>, style: Style) -> Cell {
    Span::styled(text.into(), style)
}

/// A table, the most important columns first: empty columns are left out, and at the right those for which there is no
/// room.
pub(super) fn columns(head: &[(&'static str, Side)], rows: &[Vec<Cell>], width: usize) -> Vec<Line<'static>> {
    let cell_width = |row: &Vec<Cell>, column: usize| row.get(column).map_or(0, Span::width);
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut room = width + BETWEEN;
    for (column, (name, _)) in head.iter().enumerate() {
        let widest = rows.iter().map(|row| cell_width(row, column)).max().unwrap_or(0);
        if widest == 0 && !rows.is_empty() {
            continue;
        }
        let wanted = widest.max(name.len()) + BETWEEN;
        if wanted > room && !taken.is_empty() {
            break;
        }
        room = room.saturating_sub(wanted);
        taken.push((column, wanted - BETWEEN));
    }
    let line = |cell: &dyn Fn(usize) -> Cell| {
        let mut spans = Vec::new();
        for (at, &(column, width)) in taken.iter().enumerate() {
            let cell = cell(column);
            let pad = " ".repeat(width - cell.width());
            let between = " ".repeat(if at > 0 { BETWEEN } else { 0 });
            match head[column].1 {
                Side::Left => spans.extend([Span::raw(between), cell, Span::raw(pad)]),
                Side::Right => spans.extend([Span::raw(between + &pad), cell]),
            }
        }
        Line::from(spans)
    };
    let head = line(&|column| styled(head[column].0, HEAD));
    let rows = rows
        .iter()
        .map(|row| line(&|column| row.get(column).cloned().unwrap_or_default()));
    [head].into_iter().chain(rows).collect()
}

/// Facts behind a word that says what they are about, in as many lines as it takes.
pub(super) fn facts(about: &'static str, facts: Vec<Cell>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut spans = vec![styled(about, HEAD)];
    let mut used = about.len();
    for fact in facts.into_iter().filter(|fact| fact.width() > 0) {
        if used + BETWEEN + fact.width() > width && spans.len() > 1 {
            lines.push(Line::from(std::mem::take(&mut spans)));
            spans.push(plain(" ".repeat(about.len())));
            used = about.len();
        }
        used += BETWEEN + fact.width();
        spans.extend([plain(" ".repeat(BETWEEN)), fact]);
    }
    lines.push(Line::from(spans));
    lines
}

/// Lines without their colours. Names come from pages that others write: nothing in them steers a terminal.
pub(super) fn text(lines: &[Line<'_>]) -> String {
    let mut text = String::new();
    for line in lines {
        let whole: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
        let harmless = |c: char| if c.is_control() { '?' } else { c };
        text.extend(whole.trim_end().chars().map(harmless));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: usize) -> String {
        let head = [
            ("name", Side::Left),
            ("none", Side::Right),
            ("count", Side::Right),
            ("more", Side::Right),
        ];
        let rows = [
            vec![plain("a"), plain(""), plain("1,234"), plain("7")],
            vec![plain("listener"), plain(""), plain("5")],
        ];
        text(&columns(&head, &rows, width))
    }

    #[test]
    fn a_table_leaves_out_empty_columns_and_those_that_have_no_room() {
        assert_eq!(
            table(40),
            "name      count  more\na         1,234     7\nlistener      5\n"
        );
        assert_eq!(table(15), "name      count\na         1,234\nlistener      5\n");
        assert_eq!(
            table(3),
            "name\na\nlistener\n",
            "the first column stays, whatever the room"
        );
    }

    #[test]
    fn what_would_steer_a_terminal_is_not_printed() {
        let line = Line::from(plain("desk\x1b[2J\n1"));
        assert_eq!(text(&[line]), "desk?[2J?1\n");
    }

    #[test]
    fn facts_go_on_in_a_line_of_their_own() {
        let all = || vec![plain("one two"), plain(""), plain("three"), plain("four")];
        assert_eq!(text(&facts("gaps", all(), 80)), "gaps  one two  three  four\n");
        assert_eq!(
            text(&facts("gaps", all(), 20)),
            "gaps  one two  three\n      four\n"
        );
        assert_eq!(text(&facts("gaps", all(), 0)).lines().count(), 3);
    }
}
