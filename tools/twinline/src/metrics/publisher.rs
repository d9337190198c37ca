//! What a publisher shows.

use super::journal;
use super::page::{Labelled, Page};
use super::{Monitored, Standing};
use crate::publish::watch::{Watch, WatchedChannel, WatchedSource};
use std::sync::Arc;
use twinline_feed::publisher::{Line, Phase};

impl Monitored for Arc<Watch> {
    fn fill(&self, page: &mut Page) {
        for channel in &self.channels {
            let number = channel.channel.to_string();
            self::channel(&mut page.of(&[("channel", &number)]), channel);
        }
        for source in &self.sources {
            let number = source.id.to_string();
            self::source(&mut page.of(&[("source", &number)]), source);
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |of: &WatchedChannel| Standing {
            channel: of.channel,
            unready: unready(of),
        };
        self.channels.iter().map(standing).collect()
    }

    fn turns(&self) -> Vec<u64> {
        self.channels.iter().map(|of| of.counters.turns.get()).collect()
    }
}

/// The session is open and the journal takes: or why not.
fn unready(of: &WatchedChannel) -> Vec<String> {
    let mut reasons = Vec::new();
    let phase = match of.counters.phase() {
        None => Some("its thread has not started yet"),
        Some(Phase::LeadIn) => Some("it announces the session and has not opened it yet"),
        Some(Phase::Live) => None,
        Some(Phase::Ending | Phase::Done) => Some("the session has ended: nothing more is published"),
        Some(Phase::Failed) => Some("it has stopped because of an error"),
    };
    reasons.extend(phase.map(String::from));
    if of.journal.counts().waits {
        reasons.push("the journal has no room ready: publishing waits for the disk".into());
    }
    if of.reserve.is_deposed() {
        reasons.push("another publisher has taken over".into());
    } else if let Some(trouble) = of.reserve.trouble() {
        reasons.push(format!("the epoch store gives no more sequences: {trouble}"));
    }
    reasons
}

fn channel(of: &mut Labelled<'_>, channel: &WatchedChannel) {
    let counters = &channel.counters;
    super::service::position(of, channel.session, channel.reserve.next());
    let ended = matches!(counters.phase(), Some(Phase::Ending | Phase::Done));
    super::service::epoch(of, channel.epoch, ended);
    for (name, help, count) in [
        (
            "twinline_published_messages_total",
            "Messages published: market, session, epoch and position messages",
            &counters.messages,
        ),
        (
            "twinline_published_source_messages_total",
            "Source messages published: those that put at least one message into the stream",
            &counters.source_messages,
        ),
        (
            "twinline_published_packets_total",
            "Packets journalled and sent, heartbeats not counted",
            &counters.packets,
        ),
        (
            "twinline_published_heartbeats_total",
            "Heartbeats, each counted once for both lines",
            &counters.heartbeats,
        ),
        (
            "twinline_reserve_stalls_total",
            "Times that publishing was tried and no sequences were reserved",
            &counters.reserve_stalls,
        ),
        (
            "twinline_oversize_source_messages_total",
            "Source messages refused because they do not fit a packet",
            &counters.events_too_large,
        ),
        (
            "twinline_checkpoint_failures_total",
            "Checkpoints that could not be written",
            &counters.checkpoint_failures,
        ),
    ] {
        of.counter(name, help, count.get());
    }
    for line in [Line::A, Line::B] {
        let counts = channel.lines[line.index()].counts();
        let mut of = of.with("line", ["a", "b"][line.index()]);
        for (name, help, count) in [
            (
                "twinline_line_sent_packets_total",
                "Packets and heartbeats that the kernel took for the line",
                counts.sent,
            ),
            ("twinline_line_sent_bytes_total", "Bytes of them", counts.bytes),
            (
                "twinline_line_send_failures_total",
                "Packets and heartbeats that the line did not take",
                counts.dropped + counts.errors,
            ),
            (
                "twinline_line_send_would_block_total",
                "Times that the kernel had no room at once",
                counts.would_block,
            ),
            (
                "twinline_line_sent_bursts_total",
                "Sends that carried several packets",
                counts.bursts,
            ),
            (
                "twinline_line_sent_burst_packets_total",
                "Packets that the kernel took in such sends",
                counts.burst_packets,
            ),
        ] {
            of.counter(name, help, count);
        }
        of.flag(
            "twinline_line_xdp",
            "1 if the line goes through AF_XDP, 0 if through a socket",
            channel.lines[line.index()].transport().is_xdp(),
        );
        of.flag(
            "twinline_line_segmentation",
            "1 while one send may carry several packets: that is not switched off, and was not refused",
            channel.lines[line.index()].segments(),
        );
    }
    journal::fill(
        of,
        counters.bytes.get(),
        &channel.journal.counts(),
        journal::interval(channel.sync),
    );
}

fn source(of: &mut Labelled<'_>, source: &WatchedSource) {
    let retries = &source.retries;
    of.gauge(
        "twinline_source_position",
        "Source messages consumed, those of earlier runs counted",
        retries.position(),
    );
    of.counter(
        "twinline_source_failures_total",
        "Times that the source broke or could not be opened again",
        retries.failures(),
    );
    of.flag(
        "twinline_source_broken",
        "1 while the source is broken and waits for the next attempt",
        retries.is_broken(),
    );
    of.gauge_of(
        "twinline_source_silent_seconds",
        "How long the source has said nothing; 0 once it has ended",
        source.silent().as_secs_f64(),
    );
    of.flag(
        "twinline_source_ended",
        "1 once the source has said everything",
        retries.has_ended(),
    );
}
