//! The summary as a few lines for people.

use super::{Counts, LineSummary, SourceSummary, Summary};
use crate::units::{show_bytes, show_count, show_nanos};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write;

impl Summary {
    /// The figures as a few lines for people.
    pub(crate) fn text(&self) -> String {
        if self.silent || !self.own_text.is_empty() {
            return self.own_text.clone();
        }
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let outcome = self.outcome.as_deref().unwrap_or("running");
        write!(out, "{}: {outcome}", self.command)?;
        if let Some(at) = &self.position {
            let end = if at.ended { ", complete" } else { "" };
            write!(
                out,
                "; channel {}, session {}, epoch {}, next sequence {}{end}",
                at.channel,
                at.session,
                at.epoch,
                show_count(at.next)
            )?;
        }
        writeln!(out)?;
        if self.messages > 0 {
            writeln!(
                out,
                "  {} messages in {} packets, {}, in {}",
                show_count(self.messages),
                show_count(self.packets),
                show_bytes(self.bytes),
                show_nanos(self.elapsed_ns)
            )?;
        }
        if let Some(source) = &self.source {
            write_source(out, "source", source)?;
        }
        for (number, source) in self
            .parts::<BTreeMap<String, SourceSummary>>("sources")
            .unwrap_or_default()
        {
            write_source(out, &format!("source {number}"), &source)?;
        }
        for channel in self.parts::<Vec<Summary>>("channels").unwrap_or_default() {
            channel.write_channel(out)?;
        }
        if let Some(lines) = &self.lines {
            write_line(out, "A", &lines.a)?;
            write_line(out, "B", &lines.b)?;
        }
        if let (Some(delivered), Some(gaps)) = (&self.delivered, &self.gaps) {
            writeln!(
                out,
                "  delivered: {} from line A, {} from line B, {} from recovery",
                show_count(delivered.line_a),
                show_count(delivered.line_b),
                show_count(delivered.recovery)
            )?;
            writeln!(
                out,
                "  gaps: {} opened, {} filled, {} closed by the lines, {} withdrawn, {} lost",
                gaps.opened, gaps.filled, gaps.closed_by_lines, gaps.withdrawn, gaps.lost
            )?;
        }
        if let Some(loss) = self.loss.as_ref().filter(|loss| loss.lost + loss.void > 0) {
            writeln!(out, "  NOT delivered: {} lost, {} void", loss.lost, loss.void)?;
        }
        if let Some(latency) = &self.latency_ns {
            writeln!(
                out,
                "  latency (sending time to delivery): p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                show_nanos(latency.p50),
                show_nanos(latency.p90),
                show_nanos(latency.p99),
                show_nanos(latency.p99_9),
                show_nanos(latency.max)
            )?;
        }
        if let Some(counts) = &self.recovery {
            let counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
            if !counts.is_empty() {
                writeln!(out, "  recovery: {}", show_counts(counts.into_iter()))?;
            }
        }
        self.write_ring(out)?;
        for warning in &self.warnings {
            writeln!(out, "  warning: {warning}")?;
        }
        Ok(())
    }

    /// What is particular to the command, as it was set.
    fn parts<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.detail.get(name).and_then(|parts| T::deserialize(parts).ok())
    }

    /// One of several channels.
    fn write_channel(&self, out: &mut String) -> std::fmt::Result {
        let Some(at) = &self.position else { return Ok(()) };
        writeln!(
            out,
            "  channel {}: session {}, epoch {}, next sequence {}, {} messages in {} packets",
            at.channel,
            at.session,
            at.epoch,
            show_count(at.next),
            show_count(self.messages),
            show_count(self.packets)
        )?;
        if let Some(lines) = &self.lines {
            write_line(out, "A", &lines.a)?;
            write_line(out, "B", &lines.b)?;
        }
        self.write_ring(out)
    }

    fn write_ring(&self, out: &mut String) -> std::fmt::Result {
        if let Some(counts) = self.parts::<Counts>("ring") {
            writeln!(out, "  ring: {}", show_counts(counts.iter()))?;
        }
        Ok(())
    }
}

fn write_source(out: &mut String, name: &str, source: &SourceSummary) -> std::fmt::Result {
    writeln!(
        out,
        "  {name}: {} messages from {} on ({})",
        show_count(source.messages),
        show_count(source.resumed_at),
        show_counts(source.by_type.iter())
    )?;
    for (kind, not) in &source.not_published {
        writeln!(
            out,
            "  {name}: {} of type {kind} counted only, the first at {}: {}",
            not.messages, not.first, not.why
        )?;
    }
    Ok(())
}

fn write_line(out: &mut String, name: &str, line: &LineSummary) -> std::fmt::Result {
    write!(
        out,
        "  line {name} {}: {} datagrams",
        line.address,
        show_count(line.packets)
    )?;
    if let Some(sent) = line.sent.as_ref().filter(|sent| sent.send_failures > 0) {
        write!(out, ", {} NOT sent", sent.send_failures)?;
    }
    if let Some(heard) = &line.heard {
        write!(
            out,
            "; messages: {} received, {} duplicate, {} late, {} lost; kernel dropped {} datagrams",
            show_count(heard.received),
            show_count(heard.duplicate),
            show_count(heard.late),
            show_count(heard.lost),
            show_count(heard.kernel_drops)
        )?;
        if !heard.dropped.is_empty() {
            write!(out, "; refused: {}", show_counts(heard.dropped.iter()))?;
        }
    }
    writeln!(out)
}

/// `A 44,256, D 41,004`.
pub(crate) fn show_counts<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let parts: Vec<_> = counts
        .map(|(name, count)| format!("{name} {}", show_count(*count)))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::LossSummary;

    #[test]
    fn the_text_names_what_was_not_delivered() {
        let mut summary = Summary::new("listen");
        summary.loss = Some(LossSummary {
            lost: 3,
            ..LossSummary::default()
        });
        assert!(summary.text().contains("NOT delivered: 3 lost"));
    }
}
