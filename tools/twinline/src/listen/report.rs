//! A listener's report as the summary that every command ends with.

use super::Listen;
use crate::line_args::LineArgs;
use crate::summary::{
    Counts, DeliveredSummary, FatesSummary, GapsSummary, HeardSummary, ImpairerSummary, LatencySummary,
    LineSummary, LinesSummary, LossSummary, Position, Summary, TallySummary,
};
use std::time::Instant;
use twinline_line::Line;
use twinline_line::impair::{LineFates, Tally};
use twinline_listener::arbiter::DropCounts;
use twinline_listener::{NoticeCounts, Report};

pub(super) fn summary(args: &Listen, lines: &LineArgs, report: &Report, started: Instant) -> Summary {
    let mut summary = Summary::new("listen");
    summary.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    summary.position = Some(Position {
        channel: lines.channel,
        session: report.position.session,
        epoch: report.position.epoch,
        next: report.position.next,
        ended: report.position.ended,
    });
    summary.messages = report.messages();
    summary.packets = report.arbiter.packets;
    summary.bytes = report.bytes;
    summary.lines = Some(LinesSummary {
        a: line(lines, report, Line::A),
        b: line(lines, report, Line::B),
    });
    summary.gaps = Some(GapsSummary {
        opened: report.gaps.opened,
        closed_by_lines: report.gaps.closed_by_lines,
        filled: report.gaps.filled,
        lost: report.gaps.lost,
        withdrawn: report.gaps.withdrawn,
        requests: report.gaps.requests,
    });
    let [line_a, line_b, recovery] = report.arbiter.delivered;
    summary.delivered = Some(DeliveredSummary {
        line_a,
        line_b,
        recovery,
    });
    summary.loss = Some(LossSummary {
        lost: report.arbiter.lost,
        void: report.arbiter.void,
        after_loss: report.arbiter.after_loss,
    });
    summary.notices = Some(notices(&report.notices));
    summary.latency_ns = Some(LatencySummary::of(&report.latency));
    if let (Some(config), Some(fair)) = (args.fair.config(), &report.fair) {
        summary.fair = Some(super::fair::summary(config, fair));
    }
    summary.recovery = Some(recovery_counts(report));
    if let (Some(spec), Some([a, b])) = (&args.impair, &report.impairer) {
        summary.impairer = Some(ImpairerSummary {
            spec: spec.to_string(),
            a: fates(a),
            b: fates(b),
        });
    }
    summary.set("window_peak", report.arbiter.window_peak);
    summary.set("ahead", report.arbiter.ahead);
    summary.set("ahead_peak", report.arbiter.ahead_peak);
    summary.set("sessions_missed", report.arbiter.sessions_missed);
    let states = &report.states;
    let counts: Counts = [
        ("requests", states.requests),
        ("fetched", states.fetched),
        ("late", states.late),
        ("failed", states.failed),
        ("refreshes", states.refreshes),
        ("begun_without", states.begun_without),
    ]
    .map(|(name, count)| (name.to_string(), count))
    .into();
    summary.set("snapshots", counts);
    if let Some(ring) = &report.ring {
        let counts: Counts = [
            ("bytes", ring.written),
            ("readers", ring.readers.len() as u64),
            ("overruns", ring.overruns),
            ("missed", ring.missed),
            ("filled", ring.filled),
        ]
        .map(|(name, count)| (name.to_string(), count))
        .into();
        summary.set("ring", counts);
    }
    if let Some(trouble) = &report.state_trouble {
        summary.set("last_snapshot_trouble", trouble);
    }
    summary
}

/// Several channels as one: sums on top, each channel's own summary in `channels`.
pub(super) fn together(channels: Vec<Summary>) -> Summary {
    let mut all = Summary::new("listen");
    let (mut gaps, mut delivered, mut loss) = <(GapsSummary, DeliveredSummary, LossSummary)>::default();
    for channel in &channels {
        all.elapsed_ns = all.elapsed_ns.max(channel.elapsed_ns);
        all.messages += channel.messages;
        all.packets += channel.packets;
        all.bytes += channel.bytes;
        if let Some(of) = &channel.gaps {
            gaps.opened += of.opened;
            gaps.closed_by_lines += of.closed_by_lines;
            gaps.filled += of.filled;
            gaps.lost += of.lost;
            gaps.withdrawn += of.withdrawn;
            gaps.requests += of.requests;
        }
        if let Some(of) = &channel.delivered {
            delivered.line_a += of.line_a;
            delivered.line_b += of.line_b;
            delivered.recovery += of.recovery;
        }
        if let Some(of) = &channel.loss {
            loss.lost += of.lost;
            loss.void += of.void;
            loss.after_loss += of.after_loss;
        }
    }
    (all.gaps, all.delivered, all.loss) = (Some(gaps), Some(delivered), Some(loss));
    all.set("channels", channels);
    all
}

fn line(lines: &LineArgs, report: &Report, line: Line) -> LineSummary {
    let (stats, socket) = (&report.lines[line.index()], &report.sockets[line.index()]);
    let mut dropped = drops(&report.dropped()[line.index()]);
    if socket.truncated > 0 {
        dropped.insert("longer_than_packet_size".into(), socket.truncated);
    }
    if socket.bad_frames > 0 {
        dropped.insert("bad_frame".into(), socket.bad_frames);
    }
    LineSummary {
        address: [&lines.line_a, &lines.line_b][line.index()].to_string(),
        io: report.transports[line.index()].name().into(),
        packets: socket.received,
        bytes: socket.bytes,
        sent: None,
        heard: Some(HeardSummary {
            heartbeats: stats.heartbeats,
            received: stats.received,
            duplicate: stats.duplicate,
            lost: stats.lost,
            late: stats.late,
            dropped,
            kernel_drops: socket.kernel_drops,
        }),
    }
}

fn drops(counts: &DropCounts) -> Counts {
    counts
        .iter()
        .map(|(why, count)| (why.name().to_string(), count))
        .collect()
}

fn notices(counts: &NoticeCounts) -> Counts {
    let each = counts.each().map(|(name, count)| (name.to_string(), count));
    each.into()
}

fn recovery_counts(report: &Report) -> Counts {
    let mut counts: Counts = [
        ("connected", report.recovery_connected),
        ("failures", report.recovery_failures),
        ("bad_packets", report.recovery_bad_packets),
        ("delivered_before", report.arbiter.recovered_again),
        ("slow_requests", report.gaps.slow),
    ]
    .map(|(name, count)| (name.to_string(), count))
    .into();
    for (why, count) in report.dropped()[2].iter() {
        counts.insert(format!("dropped {}", why.name()), count);
    }
    counts
}

fn fates(fates: &LineFates) -> FatesSummary {
    FatesSummary {
        missing: fates.missing(),
        lost: tally(fates.lost),
        lost_both: tally(fates.lost_both),
        corrupted: tally(fates.corrupted),
        duplicated: tally(fates.duplicated),
        reordered: tally(fates.reordered),
        passed: tally(fates.passed),
        foreign: fates.foreign,
    }
}

fn tally(tally: Tally) -> TallySummary {
    TallySummary {
        packets: tally.packets,
        messages: tally.messages,
        heartbeats: tally.heartbeats,
    }
}
