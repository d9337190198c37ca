//! The rules that raise alarms, by the thresholds of [`alarms`](super::alarms).

use super::alarms::{
    Alarm, FULL_SHARE, Kind, LAG_SHARE, LOSSY_MESSAGES, LOSSY_SHARE, SOURCE_SILENT, SYNC_LATE, nanos,
};
use super::look::Look;
use super::view::{ChannelView, HeardLine, Listening, Publishing, Replicating, Serving};
use crate::units::{show_count, show_nanos};

/// What is wrong with a channel.
pub(super) fn of(channel: &ChannelView, look: &Look<'_>) -> Vec<Alarm> {
    let mut found = Found(Vec::new());
    if !channel.healthy {
        found.add(Kind::Hangs, "the channel's thread does not turn over");
    }
    if !channel.ready {
        found.add(Kind::NotReady, "not ready: /readyz says why");
    }
    if let Some(listening) = &channel.listening {
        found.listener(listening, channel.position.ended, look);
    }
    if let Some(publishing) = &channel.publishing {
        found.publisher(publishing, look);
    }
    if let Some(service) = &channel.service {
        found.service(service, look);
    }
    if let Some(replica) = &channel.replica {
        found.replica(replica);
    }
    found.journal(look);
    for alarm in &mut found.0 {
        alarm.channel = Some(channel.position.channel);
    }
    found.0
}

struct Found(Vec<Alarm>);

impl Found {
    fn add(&mut self, kind: Kind, text: impl Into<String>) {
        self.0.push(Alarm::new(kind, text));
    }

    /// If a counter gained something in the last minute, `text` of that.
    fn gained(&mut self, kind: Kind, look: &Look<'_>, counter: &str, text: &str) {
        let gained = look.gained(counter);
        if gained > 0 {
            self.add(kind, format!("{text} {} times", show_count(gained)));
        }
    }

    fn listener(&mut self, listening: &Listening, ended: bool, look: &Look<'_>) {
        let loss = &listening.loss;
        if loss.lost + loss.void + listening.sessions_missed > 0 {
            let state = match listening.state_incomplete {
                true => "the state is incomplete",
                false => "a snapshot replaced the state",
            };
            let sessions = match listening.sessions_missed {
                0 => String::new(),
                missed => format!(", {missed} sessions missed"),
            };
            let (lost, void) = (show_count(loss.lost), show_count(loss.void));
            self.add(
                Kind::MessagesLost,
                format!("{lost} messages lost, {void} void{sessions}: {state}"),
            );
        }
        if listening.stale {
            self.add(Kind::Stale, "both lines are silent");
        }
        for (name, line) in [("a", &listening.lines.a), ("b", &listening.lines.b)] {
            let before = self.0.len();
            self.line(name, line, ended || listening.stale, &look.with("line", name));
            for alarm in &mut self.0[before..] {
                alarm.line = Some(name);
            }
        }
        self.gaps(listening, look);
        let recovery = &listening.recovery;
        if recovery.connected < recovery.services {
            let (connected, services) = (recovery.connected, recovery.services);
            self.add(
                Kind::RecoveryDisconnected,
                format!("{connected} of {services} recovery services connected"),
            );
        }
        self.full(look);
        self.readers(listening, look);
        if let Some(clock) = listening.clock.as_ref().filter(|clock| !clock.plausible) {
            let offset = clock.offset_ns.unwrap_or(0);
            let sign = if offset < 0 { "-" } else { "" };
            self.add(
                Kind::ClockImplausible,
                format!(
                    "the clock's offset to the publisher's is implausible: {sign}{}",
                    show_nanos(offset.unsigned_abs())
                ),
            );
        }
    }

    fn line(&mut self, name: &str, line: &HeardLine, quiet: bool, look: &Look<'_>) {
        let name = name.to_uppercase();
        if line.stalled && !quiet {
            self.add(Kind::LineSilent, format!("line {name} is silent"));
        }
        let lost = look.grew("twinline_line_lost_messages");
        if let Some(share) = line.loss_share
            && share > LOSSY_SHARE
            && lost >= LOSSY_MESSAGES
        {
            let lost = show_count(lost);
            self.add(
                Kind::LineLossy,
                format!("line {name} lost {:.2}% lately, {lost} messages", share * 100.0),
            );
        }
        let dropped = look.gained("twinline_line_kernel_dropped_packets_total");
        if dropped > 0 {
            let dropped = show_count(dropped);
            self.add(
                Kind::KernelDrops,
                format!(
                    "the kernel dropped {dropped} packets of line {name} lately: enlarge --receive-buffer"
                ),
            );
        }
    }

    fn gaps(&mut self, listening: &Listening, look: &Look<'_>) {
        let open_before = look
            .last
            .and_then(|last| last.page.value("twinline_gaps_open", &look.labels));
        let closed: u64 = [
            "twinline_gaps_closed_by_lines_total",
            "twinline_gaps_filled_total",
            "twinline_gaps_lost_total",
            "twinline_gaps_withdrawn_total",
        ]
        .into_iter()
        .filter_map(|counter| look.step(counter))
        .sum();
        if listening.gaps.open > 0 && open_before.is_some_and(|open| open > 0.0) && closed == 0 {
            self.add(
                Kind::GapsOpen,
                format!(
                    "{} gaps stay open, {} messages behind",
                    listening.gaps.open,
                    show_count(listening.behind)
                ),
            );
        }
    }

    fn full(&mut self, look: &Look<'_>) {
        let window = look.share("twinline_window_packets", "twinline_window_capacity_packets");
        let queues = look.values("twinline_queue_depth", "queue").into_iter();
        let queues = queues.map(|queue| {
            let share = look
                .with("queue", queue)
                .share("twinline_queue_depth", "twinline_queue_capacity");
            (format!("the queue of {queue}"), share)
        });
        for (what, share) in queues.chain([("the window of early packets".into(), window)]) {
            if let Some(share) = share.filter(|share| *share > FULL_SHARE) {
                self.add(Kind::NearlyFull, format!("{what} is {:.0}% full", share * 100.0));
            }
        }
    }

    fn readers(&mut self, listening: &Listening, look: &Look<'_>) {
        let readers = listening.ring.iter().flat_map(|ring| &ring.readers);
        for reader in readers {
            let name = format!("reader {} ({})", reader.reader, reader.pid);
            if let Some(share) = reader.lag_share.filter(|share| *share > LAG_SHARE) {
                self.add(
                    Kind::ReaderLagging,
                    format!(
                        "{name} is behind by {:.0}% of the ring, {} messages",
                        share * 100.0,
                        show_count(reader.lag_messages)
                    ),
                );
            }
            let look = look.with("reader", &reader.reader).with("pid", &reader.pid);
            let overruns = look.gained("twinline_ring_reader_overruns_total");
            if overruns > 0 {
                let missed = look.gained("twinline_ring_reader_missed_messages_total");
                self.add(
                    Kind::ReaderOverrun,
                    format!(
                        "{name} was overrun {} times lately, missed {} messages",
                        show_count(overruns),
                        show_count(missed)
                    ),
                );
            }
        }
    }

    fn publisher(&mut self, publishing: &Publishing, look: &Look<'_>) {
        let stalls = [
            ("twinline_reserve_stalls_total", "publishing waited for sequences"),
            (
                "twinline_journal_stalls_total",
                "publishing waited for the journal",
            ),
            (
                "twinline_checkpoint_failures_total",
                "a checkpoint could not be written",
            ),
        ];
        for (counter, text) in stalls {
            self.gained(Kind::PublisherStalled, look, counter, text);
        }
        for (line, name) in [("a", "A"), ("b", "B")] {
            let failed = look
                .with("line", line)
                .gained("twinline_line_send_failures_total");
            if failed > 0 {
                let failed = show_count(failed);
                self.add(
                    Kind::NotSent,
                    format!("line {name} did not take {failed} packets lately"),
                );
                self.0.last_mut().expect("just added").line = Some(line);
            }
        }
        for source in &publishing.sources {
            let number = &source.source;
            if source.broken {
                self.add(Kind::SourceBroken, format!("source {number} is broken"));
            } else if source.silent_ns > nanos(SOURCE_SILENT) && !source.ended {
                let silent = show_nanos(source.silent_ns);
                self.add(
                    Kind::SourceBroken,
                    format!("source {number} has said nothing for {silent}"),
                );
            }
        }
    }

    fn service(&mut self, service: &Serving, look: &Look<'_>) {
        let troubles = [
            (
                "twinline_service_journal_errors_total",
                "the journal could not be read",
            ),
            (
                "twinline_service_snapshot_failures_total",
                "a snapshot could not be made or used",
            ),
            (
                "twinline_service_refused_connections_total",
                "a client was turned away, there are too many",
            ),
            (
                "twinline_service_accept_errors_total",
                "a connection could not be accepted",
            ),
        ];
        for (counter, text) in troubles {
            let text = format!("{text} ({} clients)", service.clients);
            self.gained(Kind::ServiceTroubled, look, counter, &text);
        }
    }

    fn replica(&mut self, replica: &Replicating) {
        if !replica.connected {
            self.add(Kind::ReplicaDisconnected, "no upstream is followed");
        }
        if replica.contradictions > 0 {
            self.add(
                Kind::Contradiction,
                "an upstream contradicts what is held: `twinline diff`",
            );
        }
    }

    /// By what the journal said a while ago, so that no two hosts' clocks are compared.
    fn journal(&mut self, look: &Look<'_>) {
        let (unsynced, synced) = (
            "twinline_journal_unsynced_bytes",
            "twinline_journal_last_sync_time_seconds",
        );
        let interval = look.gauge("twinline_journal_sync_interval_seconds");
        let (Some(interval), Some(earlier)) = (interval, look.window) else {
            return;
        };
        let before = |name| earlier.page.value(name, &look.labels);
        let is_late = earlier.ago.as_secs_f64() > interval + SYNC_LATE.as_secs_f64();
        let stays = look.gauge(synced) == before(synced) && before(unsynced).is_some_and(|bytes| bytes > 0.0);
        if is_late && stays && look.count(unsynced) > 0 {
            self.add(
                Kind::JournalNotSynced,
                format!(
                    "the journal was not made durable for {}",
                    show_nanos(nanos(earlier.ago))
                ),
            );
        }
    }
}
