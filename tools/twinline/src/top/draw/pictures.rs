//! The latency's past as sparklines, and its histogram as bars.

use super::columns::{FINE, HEAD, styled};
use crate::top::histogram::Histogram;
use crate::top::view::{Listening, Point};
use crate::units::show_nanos;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use std::time::Duration;

/// Rows below which the pictures are left out.
pub(super) const LEAST: u16 = 4;
/// Rows beyond which they say nothing more.
pub(super) const MOST: u16 = 14;
/// Columns that a picture needs.
const NARROWEST: u16 = 30;

/// Draws them side by side, or the past alone if there is no room for both.
pub(super) fn latency(frame: &mut Frame<'_>, area: Rect, listening: &Listening, every: Duration) {
    let both = area.width >= 2 * NARROWEST;
    let past = Rect {
        width: if both { area.width / 2 - 1 } else { area.width },
        ..area
    };
    let upper = Rect {
        height: area.height.div_ceil(2),
        ..past
    };
    let lower = Rect {
        y: past.y + upper.height,
        height: area.height - upper.height,
        ..past
    };
    sparkline(frame, upper, "p99", listening, every, |point| point.p99);
    sparkline(frame, lower, "p50", listening, every, |point| point.p50);
    if both && let Some(now) = &listening.latency_now {
        let x = past.right() + 2;
        let area = Rect {
            x,
            width: area.right() - x,
            ..area
        };
        let lines = bars(now, area.width.into(), area.height.into());
        frame.render_widget(Paragraph::new(lines), area);
    }
}

fn sparkline(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    listening: &Listening,
    every: Duration,
    pick: fn(&Point) -> u64,
) {
    if area.height < 2 {
        return;
    }
    let past = &listening.latency_past;
    let shown = past.len().saturating_sub(area.width.into());
    let values = || past.iter().skip(shown).map(|point| point.as_ref().map(pick));
    let highest = values().flatten().max();
    let title = match highest {
        Some(highest) => format!("{name}, highest {}, {every:?} a column", show_nanos(highest)),
        None => format!("{name}, nothing delivered"),
    };
    frame.render_widget(Line::from(styled(title, HEAD)), Rect { height: 1, ..area });
    let line = Sparkline::default()
        .data(values())
        .max(highest.unwrap_or(1).max(1))
        .style(FINE);
    let below = Rect {
        y: area.y + 1,
        height: area.height - 1,
        ..area
    };
    frame.render_widget(line, below);
}

/// The histogram of the last minute, a bar a line.
pub(super) fn bars(histogram: &Histogram, width: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(styled("messages by latency, lately", HEAD))];
    let bars = histogram.bars(height.saturating_sub(1));
    let total = histogram.count().max(1) as f64;
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1) as f64;
    let room = width.saturating_sub("<= 999.9 us ".len() + " 100.0%".len());
    for (bound, count) in bars {
        let bound = bound.map_or("beyond".into(), |bound| format!("<= {}", show_nanos(bound)));
        let eighths = (count as f64 / most * room as f64 * 8.0).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        bar.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
        // Whatever there is can be seen.
        if bar.is_empty() && count > 0 {
            bar.push('▏');
        }
        let share = count as f64 / total * 100.0;
        lines.push(Line::from(vec![
            Span::raw(format!("{bound:>11} ")),
            styled(bar, FINE),
            Span::raw(format!(" {share:.1}%")),
        ]));
    }
    lines
}
