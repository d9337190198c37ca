//! What a listener shows.

use super::journal;
use super::local;
use super::page::{Labelled, Page};
use super::{Monitored, Standing};
use twinline_journal::SyncPolicy;
use twinline_line::Line;
use twinline_listener::arbiter::Dropped;
use twinline_listener::{Live, Report};

/// The channels of a listener.
pub(crate) struct ListenerMetrics {
    /// Number, counters and recovery services of each.
    pub(crate) channels: Vec<(u16, Live, usize)>,
    pub(crate) sync: SyncPolicy,
}

impl Monitored for ListenerMetrics {
    fn fill(&self, page: &mut Page) {
        for (channel, live, services) in &self.channels {
            let report = live.report();
            let channel = channel.to_string();
            let mut of = page.of(&[("channel", &channel)]);
            stream(&mut of, &report);
            for line in Line::ALL {
                let name = ["a", "b"][line.index()];
                self::line(&mut of.with("line", name), &report, line);
            }
            gaps(&mut of, &report);
            recovery(&mut of, &report, *services as u64);
            room(&mut of, &report);
            if let Some(ring) = &report.ring {
                local::ring(&mut of, ring);
            }
            if let Some(fair) = &report.fair {
                local::fair(&mut of, fair);
            }
            journal::fill(
                &mut of,
                report.bytes,
                &report.journal,
                journal::interval(self.sync),
            );
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |(channel, live, _): &(u16, Live, usize)| Standing {
            channel: *channel,
            unready: unready(&live.report()),
        };
        self.channels.iter().map(standing).collect()
    }

    fn turns(&self) -> Vec<u64> {
        self.channels.iter().map(|(_, live, _)| live.turns()).collect()
    }
}

/// Joined, caught up, not stale: or why not.
fn unready(report: &Report) -> Vec<String> {
    let (position, standing) = (&report.position, &report.standing);
    let heard = |line: Line| {
        let stats = &report.lines[line.index()];
        stats.heartbeats + stats.received + stats.duplicate > 0
    };
    let mut reasons = Vec::new();
    if position.session == 0 {
        reasons.push("it waits for a session".into());
    } else if !Line::ALL.into_iter().any(heard) {
        reasons.push("neither line has brought anything yet".into());
    } else if standing.stale {
        reasons.push("both lines are silent".into());
    }
    if standing.awaits_state {
        reasons.push("delivery waits for a snapshot".into());
    } else if position.session > 0 && !standing.caught_up {
        reasons.push(format!(
            "it is {} messages behind what is known to exist",
            standing.behind
        ));
    }
    reasons
}

fn stream(of: &mut Labelled<'_>, report: &Report) {
    let (position, standing, stats) = (&report.position, &report.standing, &report.arbiter);
    super::service::position(of, position.session, position.next);
    super::service::epoch(of, position.epoch, position.ended);
    for (origin, count) in ["a", "b", "recovery"].into_iter().zip(stats.delivered) {
        of.with("origin", origin).counter(
            "twinline_delivered_messages_total",
            "Messages delivered, by who brought them first: a, b or recovery",
            count,
        );
    }
    of.counter(
        "twinline_delivered_packets_total",
        "Packets that delivered at least one message",
        stats.packets,
    );
    of.histogram(
        "twinline_delivery_latency_seconds",
        "Sending time to delivery, of each message delivered, by this host's clock and the publisher's",
        &report.latency,
    );
    of.gauge(
        "twinline_behind_messages",
        "Messages known to exist and not delivered yet",
        standing.behind,
    );
    of.flag(
        "twinline_caught_up",
        "1 if what was known to exist a second ago is delivered",
        standing.caught_up,
    );
    of.flag(
        "twinline_stale",
        "1 while both lines are silent and the session has not ended",
        standing.stale,
    );
    of.flag(
        "twinline_state_incomplete",
        "1 while messages are lost or void and no snapshot has replaced the state",
        standing.incomplete,
    );
    for (notice, count) in report.notices.each() {
        of.with("notice", notice).counter(
            "twinline_notices_total",
            "Notices put into the stream, by kind",
            count,
        );
    }
    of.counter(
        "twinline_lost_messages_total",
        "Messages declared lost: nobody has them",
        stats.lost,
    );
    of.counter(
        "twinline_void_messages_total",
        "Messages delivered and void afterwards",
        stats.void,
    );
    of.counter(
        "twinline_after_loss_messages_total",
        "Messages that arrived after they were declared lost; not delivered",
        stats.after_loss,
    );
    of.counter(
        "twinline_missed_sessions_total",
        "Session numbers declared missed",
        stats.sessions_missed,
    );
}

fn line(of: &mut Labelled<'_>, report: &Report, line: Line) {
    let at = line.index();
    let (stats, socket) = (&report.lines[at], &report.sockets[at]);
    for (name, help, count) in [
        (
            "twinline_line_packets_total",
            "Datagrams taken from the line, good or bad",
            stats.packets,
        ),
        (
            "twinline_line_bytes_total",
            "Bytes of those datagrams",
            stats.bytes,
        ),
        (
            "twinline_line_heartbeats_total",
            "Heartbeats among them",
            stats.heartbeats,
        ),
        (
            "twinline_line_messages_total",
            "Messages that the line brought, each once",
            stats.received,
        ),
        (
            "twinline_line_duplicate_messages_total",
            "Messages that the line brought more than once",
            stats.duplicate,
        ),
        (
            "twinline_line_late_messages_total",
            "Messages that came after later ones of the same line",
            stats.late,
        ),
        (
            "twinline_line_kernel_dropped_packets_total",
            "Packets that the kernel dropped because the line's receive buffer was full; a burst counts as one",
            socket.kernel_drops,
        ),
        (
            "twinline_line_received_bursts_total",
            "Receives that brought several packets",
            socket.bursts,
        ),
    ] {
        of.counter(name, help, count);
    }
    of.gauge(
        "twinline_line_lost_messages",
        "Messages that never came on the line, as far as is known: it falls when they come late",
        stats.lost,
    );
    let dropped = Dropped::ALL
        .iter()
        .map(|why| (why.name(), report.dropped()[at].get(*why)));
    for (reason, count) in dropped.chain([
        ("longer_than_packet_size", socket.truncated),
        ("bad_frame", socket.bad_frames),
    ]) {
        of.with("reason", reason).counter(
            "twinline_line_dropped_packets_total",
            "Packets of the line that were dropped, by reason",
            count,
        );
    }
    of.gauge(
        "twinline_line_receive_buffer_bytes",
        "The line's receive buffer, as the kernel granted it",
        report.buffers[at].granted as u64,
    );
    of.flag(
        "twinline_line_xdp",
        "1 if the line goes through AF_XDP, 0 if through a socket",
        report.transports[at].is_xdp(),
    );
    of.flag(
        "twinline_line_stalled",
        "1 while the line is silent",
        report.standing.stalled[at],
    );
    of.histogram(
        "twinline_line_skew_seconds",
        "How much later than the other line this one brought the same packet: each packet compared is in the histogram of the line that was behind",
        &report.line_behind[at],
    );
    if let Some(fates) = &report.impairer {
        of.counter(
            "twinline_impaired_missing_messages_total",
            "Messages that the impairer kept from arriving on the line",
            fates[at].missing(),
        );
    }
}

fn gaps(of: &mut Labelled<'_>, report: &Report) {
    let gaps = &report.gaps;
    of.gauge("twinline_gaps_open", "Gaps open now", report.open_gaps as u64);
    for (name, help, count) in [
        ("twinline_gaps_opened_total", "Gaps noticed", gaps.opened),
        (
            "twinline_gaps_asked_total",
            "Gaps that a recovery service was asked for, each once",
            gaps.asked,
        ),
        (
            "twinline_gaps_closed_by_lines_total",
            "Gaps that the other line or a late packet closed before they were asked for",
            gaps.closed_by_lines,
        ),
        (
            "twinline_gaps_filled_total",
            "Gaps closed after they were asked for",
            gaps.filled,
        ),
        ("twinline_gaps_lost_total", "Gaps declared lost", gaps.lost),
        (
            "twinline_gaps_withdrawn_total",
            "Gaps that only heartbeats spoke of and that were taken back",
            gaps.withdrawn,
        ),
        (
            "twinline_gap_requests_total",
            "Requests sent to recovery services",
            gaps.requests,
        ),
        (
            "twinline_gap_slow_requests_total",
            "Requests given to another service because the first was slow",
            gaps.slow,
        ),
    ] {
        of.counter(name, help, count);
    }
    of.histogram(
        "twinline_gap_fill_seconds",
        "Time from noticing a gap to its end, of gaps filled",
        &report.gap_fill_times,
    );
}

fn recovery(of: &mut Labelled<'_>, report: &Report, services: u64) {
    of.gauge(
        "twinline_recovery_services",
        "Recovery services configured",
        services,
    );
    of.gauge(
        "twinline_recovery_connected_services",
        "Recovery services connected now",
        report.recovery_connected,
    );
    of.counter(
        "twinline_recovery_failures_total",
        "Connections to recovery services lost or refused",
        report.recovery_failures,
    );
    of.counter(
        "twinline_recovery_bad_packets_total",
        "Packets from recovery services that were not intact",
        report.recovery_bad_packets,
    );
    for why in Dropped::ALL {
        of.with("reason", why.name()).counter(
            "twinline_recovery_dropped_packets_total",
            "Packets from recovery services that were dropped, by reason",
            report.dropped()[2].get(*why),
        );
    }
    of.counter(
        "twinline_recovery_repeated_messages_total",
        "Messages that recovery brought after they were delivered",
        report.arbiter.recovered_again,
    );
    let states = &report.states;
    for (outcome, count) in [
        ("requested", states.requests),
        ("fetched", states.fetched),
        ("late", states.late),
        ("failed", states.failed),
        ("refreshes", states.refreshes),
        ("begun_without", states.begun_without),
    ] {
        of.with("outcome", outcome).counter(
            "twinline_snapshot_fetches_total",
            "Snapshots asked for (requested), and what became of it: fetched, late, failed; refreshes asked for only because of retention, and begun_without",
            count,
        );
    }
}

/// What waits, and how much can.
fn room(of: &mut Labelled<'_>, report: &Report) {
    let [window, capacity] = report.window.map(|packets| packets as u64);
    of.gauge(
        "twinline_window_packets",
        "Early packets that wait in the window",
        window,
    );
    of.gauge(
        "twinline_window_peak_packets",
        "Most that waited at once",
        report.arbiter.window_peak as u64,
    );
    of.gauge("twinline_window_capacity_packets", "Most that can wait", capacity);
    of.counter(
        "twinline_ahead_packets_total",
        "Packets of the next session that waited while the one before was being completed",
        report.arbiter.ahead,
    );
    of.gauge(
        "twinline_ahead_peak_packets",
        "Most of them that waited at once",
        report.arbiter.ahead_peak as u64,
    );
    for (queue, [depth, capacity]) in ["requests", "answers"].into_iter().zip(report.queues) {
        let mut of = of.with("queue", queue);
        of.gauge(
            "twinline_queue_depth",
            "Entries in the queues to and from the recovery thread: requests, answers",
            depth as u64,
        );
        of.gauge(
            "twinline_queue_capacity",
            "Most entries they hold",
            capacity as u64,
        );
    }
}
