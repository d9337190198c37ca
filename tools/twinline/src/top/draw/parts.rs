//! What is said of a channel, part by part.

use super::columns::{Cell, FINE, Side, WARN, WRONG, columns, facts, plain, styled};
use super::listener::listener;
use crate::summary::{Counts, show_counts};
use crate::top::alarms::nanos;
use crate::top::histogram::Percentiles;
use crate::top::look::Measured;
use crate::top::view::{ChannelView, DaemonView, JournalView, Publishing, Replicating, Serving};
use crate::units::{show_bytes, show_count, show_nanos};
use ratatui::text::Line;
use std::time::Duration;

/// A part of a daemon's page.
pub(super) struct Part {
    /// What has the lowest stays longest when there is little room.
    pub(super) rank: u8,
    pub(super) body: Body,
}

/// What it shows.
pub(super) enum Body {
    Text(Vec<Line<'static>>),
    /// The latency's past and its histogram, as large as there is room.
    Latency,
}

/// A part of text.
pub(super) fn part(rank: u8, lines: Vec<Line<'static>>) -> Part {
    Part {
        rank,
        body: Body::Text(lines),
    }
}

/// All parts of a channel, from top to bottom.
pub(super) fn parts(daemon: &DaemonView, channel: &ChannelView, at_ns: u64, width: usize) -> Vec<Part> {
    let mut parts = vec![part(2, position(channel, width))];
    if let Some(listening) = &channel.listening {
        listener(listening, width, &mut parts);
    }
    if let Some(publishing) = &channel.publishing {
        parts.push(part(0, sent_lines(publishing, width)));
        parts.push(part(1, publisher(publishing, width)));
        parts.push(part(2, sources(publishing, width)));
    }
    if let Some(replica) = &channel.replica {
        parts.push(part(0, replicating(replica, width)));
    }
    if let Some(service) = &channel.service {
        parts.push(part(0, serving(service, width)));
        if !service.tails.is_empty() {
            parts.push(part(2, tails(service, width)));
        }
        parts.push(part(3, figures("snapshots", &service.snapshots, width)));
    }
    if let Some(own) = &channel.journal {
        parts.push(part(4, journal(own, width)));
    }
    parts.push(part(5, process(daemon, at_ns, width)));
    parts
}

/// `count` with its name, if there are any, in that style.
pub(super) fn some(count: u64, name: &str, style: ratatui::style::Style) -> Cell {
    match count {
        0 => plain(""),
        _ => styled(format!("{} {name}", show_count(count)), style),
    }
}

fn figures(about: &'static str, counts: &Counts, width: usize) -> Vec<Line<'static>> {
    let fact = |(name, count): (&String, &u64)| plain(show_counts([(name, count)].into_iter()));
    facts(about, counts.iter().map(fact).collect(), width)
}

/// Percentiles of the last minute; where nothing was measured in that, since the start.
pub(super) fn percentiles(measured: Option<&Measured>) -> Option<(Percentiles, bool)> {
    let measured = measured?;
    Some(match measured.now {
        Some(now) => (now, true),
        None => (measured.total, false),
    })
}

fn position(channel: &ChannelView, width: usize) -> Vec<Line<'static>> {
    let at = &channel.position;
    let behind = channel.listening.as_ref().map_or(0, |listening| listening.behind);
    facts(
        "channel",
        vec![
            plain(at.channel.to_string()),
            plain(format!("session {}", at.session)),
            plain(match at.epoch {
                0 => String::new(),
                epoch => format!("epoch {epoch}"),
            }),
            plain(format!("next {}", show_count(at.next))),
            plain(rate(channel.rate, "messages")),
            state(channel),
            some(behind, "behind", WARN),
            plain(if at.ended { "the session has ended" } else { "" }),
        ],
        width,
    )
}

fn rate(rate: Option<u64>, what: &str) -> String {
    rate.map_or(String::new(), |rate| format!("{} {what}/s", show_count(rate)))
}

/// How the channel is, in a word or two.
pub(super) fn state(channel: &ChannelView) -> Cell {
    match (channel.healthy, channel.ready) {
        (false, _) => styled("hangs", WRONG),
        (true, false) => styled("not ready", WARN),
        (true, true) => styled("ready", FINE),
    }
}

/// `0.25%`.
pub(super) fn show_share(share: f64) -> String {
    match share * 100.0 {
        whole if whole >= 99.95 || whole == 0.0 => format!("{whole:.0}%"),
        percent => format!("{percent:.2}%"),
    }
}

fn sent_lines(publishing: &Publishing, width: usize) -> Vec<Line<'static>> {
    let right = |name| (name, Side::Right);
    let head = [
        ("line", Side::Left),
        right("not sent"),
        right("packets/s"),
        right("bytes/s"),
        right("packets"),
        right("bytes"),
        right("had no room"),
    ];
    let lines = [("A", &publishing.lines.a), ("B", &publishing.lines.b)];
    let rows = lines.map(|(name, line)| {
        let failed = if line.send_failures > 0 { WRONG } else { FINE };
        vec![
            plain(name),
            styled(show_count(line.send_failures), failed),
            plain(line.packet_rate.map_or(String::new(), show_count)),
            plain(line.byte_rate.map_or(String::new(), show_bytes)),
            plain(show_count(line.packets)),
            plain(show_bytes(line.bytes)),
            plain(show_count(line.would_block)),
        ]
    });
    columns(&head, &rows, width)
}

fn publisher(publishing: &Publishing, width: usize) -> Vec<Line<'static>> {
    facts(
        "published",
        vec![
            plain(format!("{} packets", show_count(publishing.packets))),
            plain(format!(
                "{} source messages",
                show_count(publishing.source_messages)
            )),
            some(publishing.reserve_stalls, "waits for sequences", WRONG),
            some(publishing.checkpoint_failures, "checkpoints failed", WRONG),
            some(publishing.oversize, "refused as too large", WARN),
        ],
        width,
    )
}

fn sources(publishing: &Publishing, width: usize) -> Vec<Line<'static>> {
    let each = publishing.sources.iter().map(|source| {
        let state = match (source.broken, source.ended) {
            (true, _) => ", broken".into(),
            (_, true) => ", ended".into(),
            _ if source.silent_ns > nanos(Duration::from_secs(1)) => {
                format!(", silent for {}", show_nanos(source.silent_ns))
            }
            _ => String::new(),
        };
        let text = format!("{} at {}{state}", source.source, show_count(source.position));
        styled(text, if source.broken { WRONG } else { FINE })
    });
    facts("sources", each.collect(), width)
}

fn replicating(replica: &Replicating, width: usize) -> Vec<Line<'static>> {
    let (connected, style) = match replica.connected {
        true => ("follows an upstream", FINE),
        false => ("follows NO upstream", WRONG),
    };
    let lag = replica.lag_messages.map_or("in another session".into(), |lag| {
        format!("{} behind", show_count(lag))
    });
    facts(
        "replica",
        vec![
            styled(connected, style),
            plain(lag),
            some(replica.contradictions, "CONTRADICTIONS", WRONG),
            plain(format!("durable {}", show_count(replica.durable))),
            plain(format!("released {}", show_count(replica.released))),
            some(replica.switches, "switches", WARN),
            some(replica.discarded, "discarded", WARN),
            some(replica.bad_packets, "bad packets", WARN),
        ],
        width,
    )
}

fn serving(service: &Serving, width: usize) -> Vec<Line<'static>> {
    let sum = |counts: &Counts| counts.values().sum();
    let named = |count: u64, what: &str, by: &Counts| {
        let names: Vec<&str> = by.keys().map(String::as_str).collect();
        some(count, &format!("{what} ({})", names.join(", ")), WARN)
    };
    facts(
        "service",
        vec![
            plain(format!("{} clients", service.clients)),
            plain(format!("{} requests", show_count(service.requests))),
            plain(rate(service.request_rate, "requests")),
            plain(format!("{} tails", service.tails.len())),
            named(sum(&service.rejects), "rejects", &service.rejects),
            named(sum(&service.cuts), "cut", &service.cuts),
            some(service.refused, "turned away", WARN),
            some(service.malformed, "malformed", WARN),
            some(service.journal_errors, "journal errors", WRONG),
            plain(format!("{} messages sent", show_count(service.messages))),
            plain(show_bytes(service.bytes)),
        ],
        width,
    )
}

fn tails(service: &Serving, width: usize) -> Vec<Line<'static>> {
    let head = [
        ("tail", Side::Left),
        ("kind", Side::Left),
        ("behind", Side::Right),
    ];
    let rows: Vec<Vec<Cell>> = service
        .tails
        .iter()
        .map(|tail| {
            vec![
                plain(tail.client.clone()),
                plain(tail.kind.clone()),
                plain(show_count(tail.lag_messages)),
            ]
        })
        .collect();
    columns(&head, &rows, width)
}

fn journal(journal: &JournalView, width: usize) -> Vec<Line<'static>> {
    let sync = percentiles(journal.sync_ns.as_ref()).map_or(String::new(), |(sync, _)| {
        format!(
            "synced in p50 {} p99 {}",
            show_nanos(sync.p50),
            show_nanos(sync.p99)
        )
    });
    facts(
        "journal",
        vec![
            plain(show_bytes(journal.bytes)),
            plain(
                journal
                    .byte_rate
                    .map_or(String::new(), |rate| format!("{}/s", show_bytes(rate))),
            ),
            plain(format!("{} not durable", show_bytes(journal.unsynced_bytes))),
            plain(sync),
            some(journal.stalls, "stalls", WRONG),
        ],
        width,
    )
}

fn process(daemon: &DaemonView, at_ns: u64, width: usize) -> Vec<Line<'static>> {
    let up = daemon.started_ns.map_or(String::new(), |started| {
        format!("up {}", show_age(at_ns.saturating_sub(started)))
    });
    facts(
        "process",
        vec![
            plain(format!("{} {}", daemon.daemon, daemon.version)),
            plain(up),
            plain(
                daemon
                    .cpu_share
                    .map_or(String::new(), |share| format!("{:.0}% of a core", share * 100.0)),
            ),
            plain(format!("{} resident", show_bytes(daemon.memory))),
            some(daemon.warnings, "warnings on its stderr", WARN),
        ],
        width,
    )
}

/// `12 s`, `5 min`, `3 h`, `2 days`.
pub(super) fn show_age(nanos: u64) -> String {
    match nanos / 1_000_000_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
