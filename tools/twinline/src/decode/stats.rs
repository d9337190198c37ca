//! The sums of `decode --stats`: what was in the packets, how fast they came, what each line missed or brought twice.

use super::decoder::Timing;
use crate::show;
use crate::summary::{Counts, LatencySummary, show_counts};
use crate::units::{show_bytes, show_count, show_nanos};
use hdrhistogram::Histogram;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use twinline_line::Line;
use twinline_wire::session::EpochStart;
use twinline_wire::{Frame, Packet, flags};

/// Largest value that percentiles tell apart, in nanoseconds: an hour.
const LARGEST: u64 = 3_600_000_000_000;
/// The spans of time whose busiest one is looked for.
const BURSTS: [(&str, u64); 2] = [("1ms", 1_000_000), ("1s", 1_000_000_000)];

/// All sums.
#[derive(Debug, Default)]
pub(super) struct Stats {
    by_line: BTreeMap<Option<Line>, LineStats>,
    sequences: BTreeMap<(u16, u32, Option<Line>), Sequences>,
    by_template: Counts,
    by_instrument: Counts,
    span: Option<(u64, u64)>,
    bursts: [Burst; 2],
    packets: u64,
    messages: u64,
    bytes: u64,
}

#[derive(Debug)]
struct LineStats {
    packets: u64,
    heartbeats: u64,
    messages: u64,
    bytes: u64,
    since_previous: Histogram<u64>,
    one_way: Histogram<u64>,
    /// Packets that were received before they were sent: the clocks differ.
    negative: u64,
}

impl Default for LineStats {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LARGEST, 3).expect("the bounds are right");
        Self {
            packets: 0,
            heartbeats: 0,
            messages: 0,
            bytes: 0,
            since_previous: histogram(),
            one_way: histogram(),
            negative: 0,
        }
    }
}

/// The busiest span of time.
#[derive(Debug, Default)]
struct Burst {
    inside: VecDeque<(u64, u64)>,
    messages: u64,
    most: u64,
    at: u64,
}

impl Burst {
    fn add(&mut self, time: u64, messages: u64, span: u64) {
        self.inside.push_back((time, messages));
        self.messages += messages;
        while let Some(&(first, count)) = self.inside.front()
            && first.saturating_add(span) <= time
        {
            self.messages -= count;
            self.inside.pop_front();
        }
        if self.messages > self.most {
            (self.most, self.at) = (self.messages, time);
        }
    }
}

/// What of a session one line brought.
#[derive(Debug, Default)]
struct Sequences {
    first: u64,
    next: u64,
    epoch: u32,
    /// Ranges that were passed over, by beginning.
    missing: BTreeMap<u64, u64>,
    gaps: u64,
    duplicates: u64,
    late: u64,
}

impl Sequences {
    fn packet(&mut self, packet: &Packet<'_>) {
        let (begin, end) = (packet.sequence(), packet.end());
        let header = packet.header();
        if self.next == 0 {
            (self.first, self.next, self.epoch) = (begin, end, header.epoch.get());
            return;
        }
        if header.epoch.get() > self.epoch {
            self.epoch = header.epoch.get();
            // Sequences between the epochs never existed; the epoch's first message says where the old one ended.
            let start = packet.messages().next();
            let valid = start.and_then(|(_, frame)| Some(frame.view::<EpochStart>()?.valid_end.get()));
            if let Some(valid) = valid {
                self.pass_over(valid.min(header.epoch_base.get()));
            }
            self.next = self.next.max(header.epoch_base.get());
        }
        if header.is_heartbeat() {
            return self.pass_over(begin);
        }
        let known = self.next;
        self.pass_over(begin);
        for sequence in begin..end.min(known) {
            self.again(sequence);
        }
        self.next = self.next.max(end);
    }

    /// A sequence below the next one came: late, or twice.
    fn again(&mut self, sequence: u64) {
        let found = self
            .missing
            .range(..=sequence)
            .next_back()
            .map(|(begin, end)| (*begin, *end));
        let Some((begin, end)) = found.filter(|(_, end)| sequence < *end) else {
            // What came before the first packet seen is neither.
            self.duplicates += u64::from(sequence >= self.first);
            return;
        };
        self.late += 1;
        self.missing.remove(&begin);
        if begin < sequence {
            self.missing.insert(begin, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
    }

    fn pass_over(&mut self, to: u64) {
        if to > self.next {
            self.missing.insert(self.next, to);
            self.gaps += 1;
            self.next = to;
        }
    }

    fn lost(&self) -> u64 {
        self.missing.iter().map(|(begin, end)| end - begin).sum()
    }
}

impl Stats {
    /// Counts a packet.
    pub(super) fn packet(
        &mut self,
        packet: &Packet<'_>,
        line: Option<Line>,
        received: Option<u64>,
        timing: Timing,
    ) {
        let header = packet.header();
        let notice = header.flags & flags::LOCAL != 0;
        if !notice {
            let key = (header.channel.get(), header.session.get(), line);
            self.sequences.entry(key).or_default().packet(packet);
        }
        let sums = self.by_line.entry(line).or_default();
        sums.packets += 1;
        sums.bytes += packet.bytes().len() as u64;
        sums.heartbeats += u64::from(header.is_heartbeat());
        sums.messages += u64::from(header.count.get());
        if let Some(since) = timing.since_previous {
            sums.since_previous
                .saturating_record(u64::try_from(since).unwrap_or(0));
        }
        match timing.one_way.map(u64::try_from) {
            Some(Ok(nanos)) => sums.one_way.saturating_record(nanos),
            Some(Err(_)) => sums.negative += 1,
            None => {}
        }
        let time = received.unwrap_or(header.sending_time.get());
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
        for (burst, (_, span)) in self.bursts.iter_mut().zip(BURSTS) {
            burst.add(time, u64::from(header.count.get()), span);
        }
        self.packets += 1;
        self.bytes += packet.bytes().len() as u64;
    }

    /// Counts a message that passed the filters.
    pub(super) fn message(
        &mut self,
        packet: &Packet<'_>,
        frame: &Frame<'_>,
        instrument: Option<u32>,
        symbol: Option<&str>,
    ) {
        self.messages += u64::from(packet.header().flags & flags::LOCAL == 0);
        count(&mut self.by_template, show::name(frame));
        match (instrument, symbol) {
            (_, Some(symbol)) => count(&mut self.by_instrument, symbol),
            (Some(number), None) => count(&mut self.by_instrument, &number.to_string()),
            (None, None) => {}
        }
    }

    fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9)
    }

    fn rate(&self, count: u64) -> u64 {
        let seconds = self.seconds();
        if seconds > 0.0 {
            (count as f64 / seconds) as u64
        } else {
            0
        }
    }

    /// For machines.
    pub(super) fn json(&self) -> Json {
        let lines: Vec<_> = self
            .by_line
            .iter()
            .map(|(line, sums)| {
                json!({
                    "line": line.map(|line| line.to_string()),
                    "packets": sums.packets,
                    "heartbeats": sums.heartbeats,
                    "messages": sums.messages,
                    "bytes": sums.bytes,
                    "since_previous_ns": percentiles(&sums.since_previous),
                    "one_way_ns": percentiles(&sums.one_way),
                    "one_way_negative": sums.negative,
                })
            })
            .collect();
        let sessions: Vec<_> = self
            .sequences
            .iter()
            .map(|((channel, session, line), of)| {
                json!({
                    "channel": channel,
                    "session": session,
                    "line": line.map(|line| line.to_string()),
                    "first": of.first,
                    "next": of.next,
                    "gaps": of.gaps,
                    "missing": of.lost(),
                    "duplicates": of.duplicates,
                    "late": of.late,
                })
            })
            .collect();
        let bursts: Vec<_> = self
            .bursts
            .iter()
            .zip(BURSTS)
            .map(|(burst, (span, _))| json!({ "span": span, "messages": burst.most, "until": burst.at }))
            .collect();
        json!({
            "first_time": self.span.map(|span| span.0),
            "last_time": self.span.map(|span| span.1),
            "packets_per_second": self.rate(self.packets),
            "messages_per_second": self.rate(self.messages),
            "bytes_per_second": self.rate(self.bytes),
            "by_template": self.by_template,
            "by_instrument": self.by_instrument,
            "lines": lines,
            "sessions": sessions,
            "bursts": bursts,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} messages in {} packets, {}, in {:.3} s: {} messages/s, {} packets/s, {}/s",
            show_count(self.messages),
            show_count(self.packets),
            show_bytes(self.bytes),
            self.seconds(),
            show_count(self.rate(self.messages)),
            show_count(self.rate(self.packets)),
            show_bytes(self.rate(self.bytes))
        )?;
        writeln!(out, "  by template: {}", show_counts(self.by_template.iter()))?;
        let mut instruments: Vec<_> = self.by_instrument.iter().collect();
        instruments.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let more = instruments.len().saturating_sub(10);
        instruments.truncate(10);
        write!(out, "  by instrument: {}", show_counts(instruments.into_iter()))?;
        writeln!(
            out,
            "{}",
            if more > 0 {
                format!(" and {more} more (--json has all)")
            } else {
                String::new()
            }
        )?;
        for (line, sums) in &self.by_line {
            let name = line.map_or("all".to_string(), |line| format!("line {line}"));
            writeln!(
                out,
                "  {name}: {} packets, {} of them heartbeats, {} messages, {}",
                show_count(sums.packets),
                show_count(sums.heartbeats),
                show_count(sums.messages),
                show_bytes(sums.bytes)
            )?;
            write_percentiles(out, "between packets", &sums.since_previous)?;
            write_percentiles(out, "one way", &sums.one_way)?;
            if sums.negative > 0 {
                writeln!(
                    out,
                    "    {} packets were received before they were sent: the clocks differ",
                    show_count(sums.negative)
                )?;
            }
        }
        for ((channel, session, line), of) in &self.sequences {
            writeln!(
                out,
                "  channel {channel}, session {session}{}: sequences {}..{}; {} gaps, {} missing, {} late, {} twice",
                line.map_or(String::new(), |line| format!(", line {line}")),
                of.first,
                of.next,
                show_count(of.gaps),
                show_count(of.lost()),
                show_count(of.late),
                show_count(of.duplicates)
            )?;
        }
        for (burst, (span, _)) in self.bursts.iter().zip(BURSTS) {
            writeln!(
                out,
                "  busiest {span}: {} messages, until {}",
                show_count(burst.most),
                super::filter::show_time(burst.at)
            )?;
        }
        Ok(())
    }
}

fn count(counts: &mut Counts, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.into(), 1);
        }
    }
}

fn percentiles(of: &Histogram<u64>) -> Option<LatencySummary> {
    (!of.is_empty()).then(|| LatencySummary::of(of))
}

fn write_percentiles(out: &mut String, name: &str, of: &Histogram<u64>) -> std::fmt::Result {
    let Some(of) = percentiles(of) else { return Ok(()) };
    writeln!(
        out,
        "    {name}: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        show_nanos(of.p50),
        show_nanos(of.p90),
        show_nanos(of.p99),
        show_nanos(of.p99_9),
        show_nanos(of.max)
    )
}
