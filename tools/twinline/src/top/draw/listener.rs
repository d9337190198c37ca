//! What is said of a listener, part by part.

use super::columns::{Cell, FINE, HEAD, Side, WARN, WRONG, columns, facts, plain, styled};
use super::parts::{Body, Part, part, percentiles, show_share, some};
use crate::top::histogram::Percentiles;
use crate::top::view::{HeardLine, Listening, RingView};
use crate::units::{show_bytes, show_count, show_nanos};
use ratatui::text::Line;

/// All of them, from top to bottom.
pub(super) fn listener(listening: &Listening, width: usize, parts: &mut Vec<Part>) {
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
