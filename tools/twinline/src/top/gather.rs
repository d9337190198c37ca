//! From a daemon's page to what is shown of it: the only place that knows which metric is which figure.

use super::judge;
use super::look::Look;
use super::view::{
    ChannelView, ClockView, DaemonView, FairView, GapsView, HeardLine, JournalView, Lines, Listening,
    Publishing, QueueView, ReaderView, RecoveryView, Replicating, RingView, SentLine, Serving, SourceView,
    TailView,
};
use crate::summary::{Counts, DeliveredSummary, GapsSummary, HeardSummary, LossSummary, Position};

/// The channels of a daemon, as they are named on its page.
pub(super) fn channels<'p>(look: &Look<'p>) -> Vec<&'p str> {
    look.values("twinline_turns_total", "channel")
}

/// Fills in all that the page says.
pub(super) fn fill(view: &mut DaemonView, look: &Look<'_>) {
    let versions = look.values("twinline_build_info", "version");
    view.version = versions.first().copied().unwrap_or_default().to_string();
    view.started_ns = look.nanos("process_start_time_seconds");
    view.cpu_share = look.rate("process_cpu_seconds_total");
    view.memory = look.count("process_resident_memory_bytes");
    view.warnings = look.count("twinline_warnings_total");
    view.channels = channels(look)
        .into_iter()
        .map(|number| channel(&view.daemon, number, &look.with("channel", number), look))
        .collect();
    for (channel, number) in view.channels.iter().zip(channels(look)) {
        let alarms = judge::of(channel, &look.with("channel", number));
        view.alarms.extend(alarms);
    }
    view.alarms.sort_by_key(|alarm| alarm.kind);
}

fn channel(daemon: &str, number: &str, look: &Look<'_>, whole: &Look<'_>) -> ChannelView {
    let of = match daemon {
        "publish" => "twinline_published_messages_total",
        "listen" => "twinline_delivered_messages_total",
        "replica" => "twinline_replica_messages_total",
        _ => "twinline_service_sent_messages_total",
    };
    let listens = daemon == "listen";
    let serves = matches!(daemon, "recover" | "replica");
    ChannelView {
        position: Position {
            channel: number.parse().unwrap_or(0),
            session: u32::try_from(look.count("twinline_session")).unwrap_or(u32::MAX),
            epoch: u32::try_from(look.count("twinline_epoch")).unwrap_or(u32::MAX),
            next: look.count("twinline_next_sequence"),
            ended: look.is_set("twinline_session_ended"),
        },
        healthy: look.is_set("twinline_healthy"),
        ready: look.is_set("twinline_ready"),
        messages: look.count(of),
        rate: rate(look, of),
        publishing: (daemon == "publish").then(|| publishing(look, whole)),
        listening: listens.then(|| listening(look)),
        service: serves.then(|| serving(look)),
        replica: (daemon == "replica").then(|| replicating(look)),
        journal: look.gauge("twinline_journal_bytes_total").map(|_| journal(look)),
    }
}

fn rate(look: &Look<'_>, name: &str) -> Option<u64> {
    look.rate(name).map(|rate| rate.round() as u64)
}

fn publishing(look: &Look<'_>, whole: &Look<'_>) -> Publishing {
    let line = |name| {
        let look = look.with("line", name);
        SentLine {
            packets: look.count("twinline_line_sent_packets_total"),
            bytes: look.count("twinline_line_sent_bytes_total"),
            send_failures: look.count("twinline_line_send_failures_total"),
            would_block: look.count("twinline_line_send_would_block_total"),
            packet_rate: rate(&look, "twinline_line_sent_packets_total"),
            byte_rate: rate(&look, "twinline_line_sent_bytes_total"),
        }
    };
    // Sources are the process's: each may feed all channels.
    let source = |source| {
        let look = whole.with("source", source);
        SourceView {
            source: source.into(),
            position: look.count("twinline_source_position"),
            failures: look.count("twinline_source_failures_total"),
            broken: look.is_set("twinline_source_broken"),
            ended: look.is_set("twinline_source_ended"),
            silent_ns: look.nanos("twinline_source_silent_seconds").unwrap_or(0),
        }
    };
    let sources = whole.values("twinline_source_position", "source");
    Publishing {
        lines: Lines {
            a: line("a"),
            b: line("b"),
        },
        packets: look.count("twinline_published_packets_total"),
        source_messages: look.count("twinline_published_source_messages_total"),
        reserve_stalls: look.count("twinline_reserve_stalls_total"),
        checkpoint_failures: look.count("twinline_checkpoint_failures_total"),
        oversize: look.count("twinline_oversize_source_messages_total"),
        sources: sources.into_iter().map(source).collect(),
    }
}

fn listening(look: &Look<'_>) -> Listening {
    let delivered = |origin| {
        look.with("origin", origin)
            .count("twinline_delivered_messages_total")
    };
    let latency = "twinline_delivery_latency_seconds";
    Listening {
        lines: Lines {
            a: heard(look, "a"),
            b: heard(look, "b"),
        },
        stale: look.is_set("twinline_stale"),
        caught_up: look.is_set("twinline_caught_up"),
        behind: look.count("twinline_behind_messages"),
        delivered: DeliveredSummary {
            line_a: delivered("a"),
            line_b: delivered("b"),
            recovery: delivered("recovery"),
        },
        loss: LossSummary {
            lost: look.count("twinline_lost_messages_total"),
            void: look.count("twinline_void_messages_total"),
            after_loss: look.count("twinline_after_loss_messages_total"),
        },
        sessions_missed: look.count("twinline_missed_sessions_total"),
        state_incomplete: look.is_set("twinline_state_incomplete"),
        notices: look.counts("twinline_notices_total", "notice"),
        gaps: gaps(look),
        recovery: RecoveryView {
            services: look.count("twinline_recovery_services"),
            connected: look.count("twinline_recovery_connected_services"),
            failures: look.count("twinline_recovery_failures_total"),
            bad_packets: look.count("twinline_recovery_bad_packets_total"),
            repeated_messages: look.count("twinline_recovery_repeated_messages_total"),
        },
        snapshots: look.counts("twinline_snapshot_fetches_total", "outcome"),
        window: named(
            look,
            &[
                ("packets", "twinline_window_packets"),
                ("peak", "twinline_window_peak_packets"),
                ("capacity", "twinline_window_capacity_packets"),
            ],
        ),
        queues: queues(look),
        latency_ns: look.measured(latency),
        latency_past: Default::default(),
        latency_now: look.histogram_now(latency),
        ring: ring(look),
        fair: fair(look),
        clock: look.flag("twinline_clock_plausible").map(|plausible| ClockView {
            offset_ns: look
                .gauge("twinline_clock_offset_seconds")
                .map(|seconds| (seconds * 1e9) as i64),
            plausible,
        }),
    }
}

fn heard(channel: &Look<'_>, name: &'static str) -> HeardLine {
    let look = channel.with("line", name);
    let received = "twinline_line_messages_total";
    let lost = look.grew("twinline_line_lost_messages");
    let sent = (lost + look.gained(received)) as f64;
    let delivered = channel.gained("twinline_delivered_messages_total") as f64;
    let won = channel
        .with("origin", name)
        .gained("twinline_delivered_messages_total") as f64;
    HeardLine {
        packets: look.count("twinline_line_packets_total"),
        bytes: look.count("twinline_line_bytes_total"),
        heard: HeardSummary {
            heartbeats: look.count("twinline_line_heartbeats_total"),
            received: look.count(received),
            duplicate: look.count("twinline_line_duplicate_messages_total"),
            lost: look.count("twinline_line_lost_messages"),
            late: look.count("twinline_line_late_messages_total"),
            dropped: look.counts("twinline_line_dropped_packets_total", "reason"),
            kernel_drops: look.count("twinline_line_kernel_dropped_packets_total"),
        },
        stalled: look.is_set("twinline_line_stalled"),
        rate: rate(&look, received),
        loss_share: (sent > 0.0).then(|| lost as f64 / sent),
        win_share: (delivered > 0.0).then(|| won / delivered),
        skew_ns: look.measured("twinline_line_skew_seconds"),
        receive_buffer: look.count("twinline_line_receive_buffer_bytes"),
        impaired_missing: look
            .gauge("twinline_impaired_missing_messages_total")
            .map(|missing| missing as u64),
    }
}

fn gaps(look: &Look<'_>) -> GapsView {
    GapsView {
        open: look.count("twinline_gaps_open"),
        total: GapsSummary {
            opened: look.count("twinline_gaps_opened_total"),
            closed_by_lines: look.count("twinline_gaps_closed_by_lines_total"),
            filled: look.count("twinline_gaps_filled_total"),
            lost: look.count("twinline_gaps_lost_total"),
            withdrawn: look.count("twinline_gaps_withdrawn_total"),
            requests: look.count("twinline_gap_requests_total"),
        },
        asked: look.count("twinline_gaps_asked_total"),
        slow_requests: look.count("twinline_gap_slow_requests_total"),
        fill_ns: look.measured("twinline_gap_fill_seconds"),
    }
}

/// Metrics that are on the page, each under a shorter name.
fn named(look: &Look<'_>, names: &[(&str, &str)]) -> Counts {
    let named = names.iter().filter_map(|(name, metric)| {
        let value = look.gauge(metric)?;
        Some(((*name).to_string(), value as u64))
    });
    named.collect()
}

fn queues(look: &Look<'_>) -> Vec<QueueView> {
    let queue = |queue| {
        let look = look.with("queue", queue);
        QueueView {
            queue: queue.into(),
            depth: look.count("twinline_queue_depth"),
            capacity: look.count("twinline_queue_capacity"),
        }
    };
    let queues = look.values("twinline_queue_depth", "queue");
    queues.into_iter().map(queue).collect()
}

fn ring(look: &Look<'_>) -> Option<RingView> {
    look.gauge("twinline_ring_size_bytes")?;
    let lag = "twinline_ring_reader_lag_bytes";
    let size = look.count("twinline_ring_size_bytes");
    let mut readers = Vec::new();
    for reader in look.values(lag, "reader") {
        let of_name = look.with("reader", reader);
        for pid in of_name.values(lag, "pid") {
            let look = of_name.with("pid", pid);
            let lag_bytes = look.count(lag);
            readers.push(ReaderView {
                reader: reader.into(),
                pid: pid.into(),
                lag_bytes,
                lag_messages: look.count("twinline_ring_reader_lag_messages"),
                lag_share: (size > 0).then(|| lag_bytes as f64 / size as f64),
                overruns: look.count("twinline_ring_reader_overruns_total"),
                missed: look.count("twinline_ring_reader_missed_messages_total"),
                filled: look.count("twinline_ring_reader_filled_messages_total"),
            });
        }
    }
    // Who is furthest behind stands where it is seen.
    readers.sort_by_key(|reader| std::cmp::Reverse(reader.lag_bytes));
    Some(RingView {
        size,
        written_bytes: look.count("twinline_ring_position_bytes_total"),
        readers,
    })
}

fn fair(look: &Look<'_>) -> Option<FairView> {
    let (on_time, late) = (
        "twinline_fair_on_time_messages_total",
        "twinline_fair_late_messages_total",
    );
    look.gauge(on_time)?;
    let (timely, tardy) = (look.gained(on_time) as f64, look.gained(late) as f64);
    Some(FairView {
        on_time: look.count(on_time),
        late: look.count(late),
        late_share: (timely + tardy > 0.0).then(|| tardy / (timely + tardy)),
        lateness_ns: look.measured("twinline_fair_lateness_seconds"),
    })
}

fn serving(look: &Look<'_>) -> Serving {
    let lag = "twinline_service_tail_lag_messages";
    let mut tails = Vec::new();
    for client in look.values(lag, "client") {
        let of_name = look.with("client", client);
        for kind in of_name.values(lag, "kind") {
            tails.push(TailView {
                client: client.into(),
                kind: kind.into(),
                lag_messages: of_name.with("kind", kind).count(lag),
            });
        }
    }
    tails.sort_by_key(|tail| std::cmp::Reverse(tail.lag_messages));
    Serving {
        clients: look.count("twinline_service_clients"),
        connections: look.count("twinline_service_connections_total"),
        refused: look.count("twinline_service_refused_connections_total"),
        requests: look.count("twinline_service_requests_total"),
        request_rate: rate(look, "twinline_service_requests_total"),
        messages: look.count("twinline_service_sent_messages_total"),
        packets: look.count("twinline_service_sent_packets_total"),
        bytes: look.count("twinline_service_sent_bytes_total"),
        rejects: look.counts("twinline_service_rejects_total", "code"),
        cuts: look.counts("twinline_service_cuts_total", "reason"),
        malformed: look.count("twinline_service_malformed_total"),
        journal_errors: look.count("twinline_service_journal_errors_total"),
        tails,
        snapshots: named(
            look,
            &[
                ("made", "twinline_service_snapshots_made_total"),
                ("bytes", "twinline_service_snapshot_bytes"),
                ("sequence", "twinline_service_snapshot_sequence"),
                ("failures", "twinline_service_snapshot_failures_total"),
                ("requests", "twinline_service_snapshot_requests_total"),
                ("served", "twinline_service_snapshots_served_total"),
                ("transfers", "twinline_service_snapshot_transfers"),
                ("lag", "twinline_service_books_lag_messages"),
                ("live_orders", "twinline_service_books_live_orders"),
            ],
        ),
    }
}

fn replicating(look: &Look<'_>) -> Replicating {
    Replicating {
        connected: look.is_set("twinline_replica_connected"),
        caught_up: look.is_set("twinline_replica_caught_up"),
        lag_messages: look.gauge("twinline_replica_lag_messages").map(|lag| lag as u64),
        upstream: look.count("twinline_replica_upstream_next_sequence"),
        durable: look.count("twinline_replica_durable_sequence"),
        acknowledged: look.count("twinline_replica_acknowledged_sequence"),
        released: look.count("twinline_replica_released_sequence"),
        discarded: look.count("twinline_replica_discarded_messages_total"),
        switches: look.count("twinline_replica_switches_total"),
        contradictions: look.count("twinline_replica_contradictions_total"),
        bad_packets: look.count("twinline_replica_bad_packets_total"),
    }
}

fn journal(look: &Look<'_>) -> JournalView {
    JournalView {
        bytes: look.count("twinline_journal_bytes_total"),
        byte_rate: rate(look, "twinline_journal_bytes_total"),
        unsynced_bytes: look.count("twinline_journal_unsynced_bytes"),
        stalls: look.count("twinline_journal_stalls_total"),
        sync_ns: look.measured("twinline_journal_sync_seconds"),
    }
}
