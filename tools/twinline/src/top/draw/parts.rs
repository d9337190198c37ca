//! What is said of a channel, part by part.

use super::columns::{Cell, FINE, HEAD, Side, WARN, WRONG, columns, facts, plain, styled};
use crate::summary::{Counts, show_counts};
use crate::top::histogram::Percentiles;
use crate::top::look::Measured;
use crate::top::view::{
    ChannelView, DaemonView, HeardLine, JournalView, Listening, Publishing, Replicating, RingView, Serving,
};
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

fn part(rank: u8, lines: Vec<Line<'static>>) -> Part {
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
fn some(count: u64, name: &str, style: ratatui::style::Style) -> Cell {
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
fn percentiles(measured: Option<&Measured>) -> Option<(Percentiles, bool)> {
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

fn listener(listening: &Listening, width: usize, parts: &mut Vec<Part>) {
    parts.push(part(0, heard_lines(listening, width)));
    parts.push(part(0, gaps(listening, width)));
    parts.push(part(2, delivered(listening, width)));
    parts.push(part(2, recovery(listening, width)));
    parts.push(part(1, latency(listening, width)));
    parts.push(Part {
        rank: 3,
        body: Body::Latency,
    });
    if let Some(ring) = &listening.ring {
        parts.push(part(1, readers(ring, width)));
    }
    if listening.fair.is_some() || listening.clock.is_some() {
        parts.push(part(3, fair(listening, width)));
    }
    parts.push(part(5, queues(listening, width)));
}

fn heard_lines(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let right = |name| (name, Side::Right);
    let head = [
        ("line", Side::Left),
        ("state", Side::Left),
        right("lost"),
        right("lately"),
        right("messages/s"),
        right("won"),
        right("received"),
        right("late"),
        right("double"),
        right("kernel drops"),
        right("behind p50"),
        right("p99"),
        right("refused"),
    ];
    let row = |name: &str, line: &HeardLine| {
        let share = |share: Option<f64>| share.map_or(String::new(), show_share);
        let state = match line.stalled {
            true => styled("silent", WRONG),
            false => styled("up", FINE),
        };
        let skew = percentiles(line.skew_ns.as_ref());
        let skew =
            |pick: fn(Percentiles) -> u64| skew.map_or(String::new(), |(skew, _)| show_nanos(pick(skew)));
        let lost_lately = line.loss_share.is_some_and(|share| share > 0.0);
        vec![
            plain(name),
            state,
            plain(show_count(line.heard.lost)),
            styled(share(line.loss_share), if lost_lately { WARN } else { FINE }),
            plain(line.rate.map_or(String::new(), show_count)),
            plain(share(line.win_share)),
            plain(show_count(line.heard.received)),
            plain(show_count(line.heard.late)),
            plain(show_count(line.heard.duplicate)),
            plain(show_count(line.heard.kernel_drops)),
            plain(skew(|skew| skew.p50)),
            plain(skew(|skew| skew.p99)),
            plain(show_count(line.heard.dropped.values().sum())),
        ]
    };
    let rows = [row("A", &listening.lines.a), row("B", &listening.lines.b)];
    columns(&head, &rows, width)
}

/// `0.25%`.
fn show_share(share: f64) -> String {
    match share * 100.0 {
        whole if whole >= 99.95 || whole == 0.0 => format!("{whole:.0}%"),
        percent => format!("{percent:.2}%"),
    }
}

fn gaps(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let (gaps, total) = (&listening.gaps, &listening.gaps.total);
    let fill = percentiles(gaps.fill_ns.as_ref()).map_or(String::new(), |(fill, _)| {
        format!("in p50 {} p99 {}", show_nanos(fill.p50), show_nanos(fill.p99))
    });
    let open = if gaps.open > 0 { WARN } else { FINE };
    facts(
        "gaps",
        vec![
            styled(format!("{} open", gaps.open), open),
            plain(format!("{} filled", show_count(total.filled))),
            plain(fill),
            some(total.lost, "lost", WRONG),
            plain(format!(
                "{} closed by the lines",
                show_count(total.closed_by_lines)
            )),
            plain(format!("{} withdrawn", show_count(total.withdrawn))),
            plain(format!("{} requests", show_count(total.requests))),
        ],
        width,
    )
}

fn delivered(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let (from, loss) = (&listening.delivered, &listening.loss);
    facts(
        "delivered",
        vec![
            some(loss.lost, "LOST", WRONG),
            some(loss.void, "VOID", WRONG),
            some(listening.sessions_missed, "sessions MISSED", WRONG),
            plain(format!("A {}", show_count(from.line_a))),
            plain(format!("B {}", show_count(from.line_b))),
            plain(format!("recovery {}", show_count(from.recovery))),
            plain(if listening.state_incomplete {
                "state incomplete"
            } else {
                ""
            }),
        ],
        width,
    )
}

fn recovery(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let recovery = &listening.recovery;
    let style = match recovery.connected {
        connected if connected == recovery.services => FINE,
        0 => WRONG,
        _ => WARN,
    };
    let connected = format!("{} of {} connected", recovery.connected, recovery.services);
    facts(
        "recovery",
        vec![
            styled(connected, style),
            some(recovery.failures, "failures", WARN),
            some(recovery.bad_packets, "bad packets", WARN),
            some(listening.gaps.slow_requests, "slow requests", WARN),
            some(recovery.repeated_messages, "messages repeated", HEAD),
        ],
        width,
    )
}

fn latency(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let Some((latency, lately)) = percentiles(listening.latency_ns.as_ref()) else {
        return facts("latency", vec![plain("nothing delivered yet")], width);
    };
    let at = |name: &str, nanos| plain(format!("{name} {}", show_nanos(nanos)));
    facts(
        "latency",
        vec![
            at("p50", latency.p50),
            at("p90", latency.p90),
            at("p99", latency.p99),
            at("p99.9", latency.p99_9),
            plain(if lately {
                "lately"
            } else {
                "since the start, nothing lately"
            }),
        ],
        width,
    )
}

fn readers(ring: &RingView, width: usize) -> Vec<Line<'static>> {
    let mut lines = facts(
        "ring",
        vec![
            plain(show_bytes(ring.size)),
            plain(format!("{} readers", ring.readers.len())),
            plain(format!("{} written", show_bytes(ring.written_bytes))),
        ],
        width,
    );
    if ring.readers.is_empty() {
        return lines;
    }
    let right = |name| (name, Side::Right);
    let head = [
        ("reader", Side::Left),
        right("pid"),
        right("lag"),
        right("messages"),
        right("overruns"),
        right("missed"),
        right("filled"),
    ];
    let rows: Vec<Vec<Cell>> = ring
        .readers
        .iter()
        .map(|reader| {
            let late = |count| {
                let style = if count > 0 { WARN } else { FINE };
                styled(show_count(count), style)
            };
            vec![
                plain(reader.reader.clone()),
                plain(reader.pid.clone()),
                plain(reader.lag_share.map_or(String::new(), show_share)),
                plain(show_count(reader.lag_messages)),
                late(reader.overruns),
                late(reader.missed),
                plain(show_count(reader.filled)),
            ]
        })
        .collect();
    lines.extend(columns(&head, &rows, width));
    lines
}

fn fair(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let mut all = Vec::new();
    if let Some(fair) = &listening.fair {
        let late = if fair.late > 0 { WARN } else { FINE };
        all.push(plain(format!("{} on time", show_count(fair.on_time))));
        all.push(styled(format!("{} late", show_count(fair.late)), late));
        all.push(plain(fair.late_share.map_or(String::new(), |share| {
            format!("{} lately", show_share(share))
        })));
        all.push(plain(
            percentiles(fair.lateness_ns.as_ref()).map_or(String::new(), |(by, _)| {
                format!("by p50 {} p99 {}", show_nanos(by.p50), show_nanos(by.p99))
            }),
        ));
    }
    if let Some(clock) = &listening.clock {
        let style = if clock.plausible { FINE } else { WRONG };
        let offset = clock.offset_ns.map_or("unknown".into(), |offset| {
            let sign = if offset < 0 { "-" } else { "" };
            format!("{sign}{}", show_nanos(offset.unsigned_abs()))
        });
        all.push(styled(format!("clock offset {offset}"), style));
    }
    facts("release", all, width)
}

fn queues(listening: &Listening, width: usize) -> Vec<Line<'static>> {
    let window = |name: &str| listening.window.get(name).copied().unwrap_or(0);
    let mut all = vec![plain(format!(
        "{} of {} packets early, at most {}",
        window("packets"),
        window("capacity"),
        window("peak")
    ))];
    for queue in &listening.queues {
        let (name, depth, capacity) = (&queue.queue, queue.depth, queue.capacity);
        all.push(plain(format!("{name} {depth} of {capacity}")));
    }
    facts("waiting", all, width)
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

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
