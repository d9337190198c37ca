//! What a [`View`] looks like: on a terminal of any size, or as plain text.

mod columns;
mod listener;
mod parts;
mod pictures;
#[cfg(test)]
mod tests;

use super::alarms::{self, Alarm};
use super::keys::{KEYS, Ui};
use super::view::{ChannelView, DaemonView, View};
use crate::units::{show_count, show_nanos};
use columns::{Cell, FINE, HEAD, Side, WARN, WRONG, columns, plain, styled};
use parts::{Body, Part, parts, show_age, state};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};
use std::time::Duration;

/// Columns of plain text: all there are.
const WIDE: usize = 250;

/// Draws what the user chose to see.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, ui: &Ui, every: Duration) {
    let area = frame.area();
    let row = |y, height| Rect { y, height, ..area }.intersection(area);
    frame.render_widget(header(view, ui), row(0, 1));
    let footer = " q quit  Tab daemon  \u{2190}\u{2192} channel  \u{2191}\u{2193} scroll  p pause  ? help";
    frame.render_widget(
        Line::from(styled(footer, HEAD)),
        row(area.height.saturating_sub(1), 1),
    );
    let mut body = row(1, area.height.saturating_sub(2));
    if ui.help {
        return help(frame, body, ui.scroll);
    }
    let daemon = view.daemons.get(ui.page.wrapping_sub(1));
    let said = alarm_lines(view, daemon, (body.height / 4).max(1).into());
    let alarms = Rect {
        height: u16::try_from(said.len()).unwrap_or(body.height).min(body.height),
        ..body
    };
    frame.render_widget(Paragraph::new(said), alarms);
    body = row(body.y + alarms.height, body.height - alarms.height);
    match daemon {
        None => overview(frame, body, view, ui.scroll),
        Some(daemon) => daemon_page(frame, body, view.at_ns, daemon, ui, every),
    }
}

fn header(view: &View, ui: &Ui) -> Line<'static> {
    let title = match view.daemons.get(ui.page.wrapping_sub(1)) {
        None => {
            let up = view.daemons.iter().filter(|daemon| daemon.up).count();
            format!("{up} of {} daemons up", view.daemons.len())
        }
        Some(daemon) => format!("{} {}", daemon.daemon, daemon.address),
    };
    let seconds = view.at_ns / 1_000_000_000;
    let time = format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let paused = if ui.paused { "  PAUSED" } else { "" };
    Line::from(vec![
        styled(" twinline top  ", HEAD),
        styled(title, bold),
        plain(format!("  {time}")),
        styled(paused, WRONG),
    ])
}

/// The alarms of a daemon, or of all with their daemons; at most so many lines, the last of them saying how many more.
fn alarm_lines(view: &View, daemon: Option<&DaemonView>, most: usize) -> Vec<Line<'static>> {
    let mut alarms = view.alarms();
    alarms.retain(|(of, _)| daemon.is_none_or(|daemon| std::ptr::eq(daemon, *of)));
    let mut lines: Vec<Line<'static>> = alarms
        .iter()
        .map(|(of, alarm)| alarm_line(daemon.is_none().then_some(*of), alarm))
        .collect();
    if lines.is_empty() {
        return vec![Line::from(styled(" no alarms", FINE))];
    }
    if lines.len() > most {
        let left = lines.len() - most;
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.spans.insert(0, styled(format!(" (+{left})"), WARN));
        }
    }
    lines
}

fn alarm_line(daemon: Option<&DaemonView>, alarm: &Alarm) -> Line<'static> {
    let style = if alarm.kind.is_grave() { WRONG } else { WARN };
    let mut place = daemon.map_or(String::new(), |daemon| {
        format!("{} {} ", daemon.daemon, daemon.address)
            .trim_start()
            .into()
    });
    if let Some(channel) = alarm.channel {
        place += &format!("channel {channel} ");
    }
    Line::from(vec![
        styled(" ! ", style),
        plain(place),
        styled(alarm.text.clone(), style),
    ])
}

fn scrolled(lines: Vec<Line<'static>>, scroll: u16) -> Paragraph<'static> {
    let last = u16::try_from(lines.len().saturating_sub(1)).unwrap_or(u16::MAX);
    Paragraph::new(lines).scroll((scroll.min(last), 0))
}

fn overview(frame: &mut Frame<'_>, area: Rect, view: &View, scroll: u16) {
    let mut lines = table(view, area.width.into());
    // The head stays.
    let rows = lines.split_off(1);
    frame.render_widget(
        Paragraph::new(lines),
        Rect {
            height: area.height.min(1),
            ..area
        },
    );
    let below = Rect {
        y: area.y + area.height.min(1),
        height: area.height.saturating_sub(1),
        ..area
    };
    frame.render_widget(scrolled(rows, scroll), below);
}

/// All daemons, a line a channel.
fn table(view: &View, width: usize) -> Vec<Line<'static>> {
    let right = |name| (name, Side::Right);
    let head = [
        ("address", Side::Left),
        ("daemon", Side::Left),
        ("state", Side::Left),
        right("alarms"),
        right("channel"),
        right("rate/s"),
        right("lost A"),
        right("lost B"),
        right("gaps"),
        right("p50"),
        right("p99"),
        right("readers"),
        right("next"),
    ];
    let mut rows = Vec::new();
    for daemon in &view.daemons {
        let begin = |state: Cell, alarms: usize| {
            let style = if alarms > 0 { WRONG } else { FINE };
            vec![
                plain(daemon.address.clone()),
                plain(daemon.daemon.clone()),
                state,
                styled(alarms.to_string(), style),
            ]
        };
        if let Some(down) = &daemon.down {
            let state = format!("down {}", show_age(down.for_ns));
            rows.push(begin(styled(state, WRONG), daemon.alarms.len()));
        } else if daemon.channels.is_empty() {
            rows.push(begin(plain(if daemon.up { "starts" } else { "asked" }), 0));
        }
        for channel in &daemon.channels {
            let number = channel.position.channel;
            let own = |alarm: &&Alarm| alarm.channel == Some(number);
            let mut row = begin(state(channel), daemon.alarms.iter().filter(own).count());
            row.extend(channel_cells(channel));
            rows.push(row);
        }
    }
    columns(&head, &rows, width)
}

fn channel_cells(channel: &ChannelView) -> Vec<Cell> {
    let mut cells = vec![
        plain(channel.position.channel.to_string()),
        plain(channel.rate.map_or(String::new(), show_count)),
    ];
    match &channel.listening {
        None => cells.resize(cells.len() + 6, Cell::default()),
        Some(listening) => {
            let latency = listening.latency_ns.and_then(|latency| latency.now);
            let lines = &listening.lines;
            let readers = listening.ring.as_ref().map(|ring| ring.readers.len());
            cells.extend([
                plain(show_count(lines.a.heard.lost)),
                plain(show_count(lines.b.heard.lost)),
                plain(listening.gaps.open.to_string()),
                plain(latency.map_or(String::new(), |now| show_nanos(now.p50))),
                plain(latency.map_or(String::new(), |now| show_nanos(now.p99))),
                plain(readers.map_or(String::new(), |readers| readers.to_string())),
            ]);
        }
    }
    cells.push(plain(show_count(channel.position.next)));
    cells
}

fn daemon_page(frame: &mut Frame<'_>, area: Rect, at_ns: u64, daemon: &DaemonView, ui: &Ui, every: Duration) {
    let shown = ui.channel.min(daemon.channels.len().saturating_sub(1));
    let Some(channel) = daemon.channels.get(shown) else {
        return frame.render_widget(Paragraph::new(absent(daemon)), area);
    };
    let mut parts = parts(daemon, channel, at_ns, area.width.into());
    if daemon.channels.len() > 1 {
        let numbers = daemon.channels.iter().enumerate().map(|(at, channel)| {
            let style = if at == shown { WRONG } else { Style::new() };
            styled(channel.position.channel.to_string(), style)
        });
        let line = columns::facts("channels", numbers.collect(), area.width.into());
        parts.insert(
            0,
            Part {
                rank: 2,
                body: Body::Text(line),
            },
        );
    }
    if ui.scroll > 0 {
        let texts = parts.into_iter().filter_map(|part| match part.body {
            Body::Text(lines) => Some(lines),
            Body::Latency => None,
        });
        return frame.render_widget(scrolled(texts.flatten().collect(), ui.scroll), area);
    }
    let mut y = area.y;
    for (part, height) in fit(parts, area.height) {
        let place = Rect { y, height, ..area }.intersection(area);
        match (part.body, &channel.listening) {
            (Body::Text(lines), _) => frame.render_widget(Paragraph::new(lines), place),
            (Body::Latency, Some(listening)) => pictures::latency(frame, place, listening, every),
            (Body::Latency, None) => {}
        }
        y += height;
    }
}

/// The parts for which there is room, in their order, with their heights: the important ones first, each whole or (of a
/// long list) as much as fits; the pictures take what is left.
fn fit(parts: Vec<Part>, height: u16) -> Vec<(Part, u16)> {
    let wanted = |part: &Part| match &part.body {
        Body::Text(lines) => u16::try_from(lines.len()).unwrap_or(u16::MAX),
        Body::Latency => pictures::LEAST,
    };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&at| parts[at].rank);
    let mut heights = vec![0; parts.len()];
    let mut left = height;
    for at in order {
        let wants = wanted(&parts[at]);
        let is_text = matches!(parts[at].body, Body::Text(_));
        if wants <= left || (is_text && left > 0) {
            heights[at] = wants.min(left);
            left -= heights[at];
        }
    }
    for (part, height) in parts.iter().zip(&mut heights) {
        if matches!(part.body, Body::Latency) && *height > 0 {
            let more = left.min(pictures::MOST - *height);
            *height += more;
            left -= more;
        }
    }
    let mut fitted: Vec<(Part, u16)> = parts.into_iter().zip(heights).collect();
    fitted.retain(|(_, height)| *height > 0);
    // Empty lines between parts where there is room for all of them.
    let between = u16::try_from(fitted.len().saturating_sub(1)).unwrap_or(u16::MAX);
    if left >= between {
        fitted
            .iter_mut()
            .rev()
            .skip(1)
            .for_each(|(_, height)| *height += 1);
    }
    fitted
}

/// In place of a daemon's figures.
fn absent(daemon: &DaemonView) -> Vec<Line<'static>> {
    let text = match &daemon.down {
        None if daemon.up => "It is up, and has no channel yet.".into(),
        None => "It was asked, and has not answered yet.".into(),
        Some(down) => {
            let age = show_age(down.for_ns);
            let before = match down.was_up {
                true => "",
                false => " at least: it has not answered since top was started",
            };
            format!("Down for {age}{before}.")
        }
    };
    vec![Line::from(plain(format!(" {text}")))]
}

fn help(frame: &mut Frame<'_>, area: Rect, scroll: u16) {
    let mut lines = Vec::new();
    for (key, what) in KEYS {
        lines.push(Line::from(vec![styled(format!(" {key:<16}"), HEAD), plain(what)]));
    }
    lines.push(Line::from(styled(
        " Counts since the start, rates since the last look, shares and percentiles of the last minute (lately).",
        WARN,
    )));
    lines.push(Line::from(styled(" Alarms, the gravest first:", HEAD)));
    for (name, what) in alarms::rules() {
        lines.push(Line::from(vec![
            styled(format!(" {name:<22}"), WARN),
            plain(what),
        ]));
    }
    frame.render_widget(Clear, area);
    frame.render_widget(scrolled(lines, scroll), area);
}

/// All of it as text: what is wrong, all daemons, then each by itself.
pub(super) fn text(view: &View) -> String {
    let mut lines = alarm_lines(view, None, usize::MAX);
    lines.push(Line::default());
    lines.extend(table(view, WIDE));
    for daemon in &view.daemons {
        for channel in &daemon.channels {
            lines.push(Line::default());
            let title = format!("{} {}", daemon.daemon, daemon.address);
            lines.push(Line::from(plain(title)));
            for part in parts(daemon, channel, view.at_ns, WIDE) {
                match (part.body, &channel.listening) {
                    (Body::Text(text), _) => lines.extend(text),
                    (Body::Latency, Some(listening)) => lines.extend(
                        listening
                            .latency_now
                            .iter()
                            .flat_map(|now| pictures::bars(now, 60, usize::from(pictures::MOST))),
                    ),
                    (Body::Latency, None) => {}
                }
            }
        }
    }
    columns::text(&lines)
}
