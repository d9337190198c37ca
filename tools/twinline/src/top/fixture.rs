//! Pages as daemons write them, for tests: everything well, but for what a test changes.

use super::board::Board;
use super::page::Page;
use super::view::View;
use std::time::{Duration, Instant};

/// A metric's name with labels, and its value.
pub(super) type Change<'a> = (&'a str, f64);

const LISTEN: &str = r#"
twinline_epoch{channel="1"} 1
twinline_session_ended{channel="1"} 0
twinline_delivered_messages_total{channel="1",origin="a"} 600
twinline_delivered_messages_total{channel="1",origin="b"} 400
twinline_delivered_messages_total{channel="1",origin="recovery"} 10
twinline_delivery_latency_seconds_bucket{channel="1",le="0.00001"} 500
twinline_delivery_latency_seconds_bucket{channel="1",le="0.00002"} 1000
twinline_delivery_latency_seconds_bucket{channel="1",le="+Inf"} 1010
twinline_behind_messages{channel="1"} 0
twinline_caught_up{channel="1"} 1
twinline_stale{channel="1"} 0
twinline_state_incomplete{channel="1"} 0
twinline_lost_messages_total{channel="1"} 0
twinline_void_messages_total{channel="1"} 0
twinline_missed_sessions_total{channel="1"} 0
twinline_line_messages_total{channel="1",line="a"} 900
twinline_line_messages_total{channel="1",line="b"} 1000
twinline_line_lost_messages{channel="1",line="a"} 110
twinline_line_lost_messages{channel="1",line="b"} 10
twinline_line_stalled{channel="1",line="a"} 0
twinline_line_stalled{channel="1",line="b"} 0
twinline_line_kernel_dropped_packets_total{channel="1",line="a"} 3
twinline_line_kernel_dropped_packets_total{channel="1",line="b"} 0
twinline_line_skew_seconds_bucket{channel="1",line="a",le="0.001"} 7
twinline_line_skew_seconds_bucket{channel="1",line="a",le="+Inf"} 7
twinline_gaps_open{channel="1"} 0
twinline_gaps_filled_total{channel="1"} 5
twinline_recovery_services{channel="1"} 2
twinline_recovery_connected_services{channel="1"} 2
twinline_window_packets{channel="1"} 1
twinline_window_capacity_packets{channel="1"} 4096
twinline_queue_depth{channel="1",queue="requests"} 1
twinline_queue_capacity{channel="1",queue="requests"} 16
twinline_ring_size_bytes{channel="1"} 1000000
twinline_ring_position_bytes_total{channel="1"} 5000000
twinline_ring_reader_lag_bytes{channel="1",reader="bars",pid="7"} 1000
twinline_ring_reader_lag_messages{channel="1",reader="bars",pid="7"} 12
twinline_ring_reader_overruns_total{channel="1",reader="bars",pid="7"} 2
twinline_ring_reader_missed_messages_total{channel="1",reader="bars",pid="7"} 77
twinline_fair_on_time_messages_total{channel="1"} 900
twinline_fair_late_messages_total{channel="1"} 9
twinline_clock_offset_seconds{channel="1"} -0.00002
twinline_clock_plausible{channel="1"} 1
"#;

const PUBLISH: &str = r#"
twinline_published_messages_total{channel="1"} 1000
twinline_published_packets_total{channel="1"} 300
twinline_line_sent_packets_total{channel="1",line="a"} 310
twinline_line_sent_packets_total{channel="1",line="b"} 310
twinline_line_send_failures_total{channel="1",line="a"} 4
twinline_line_send_failures_total{channel="1",line="b"} 4
twinline_reserve_stalls_total{channel="1"} 1
twinline_journal_stalls_total{channel="1"} 1
twinline_journal_bytes_total{channel="1"} 65536
twinline_journal_unsynced_bytes{channel="1"} 512
twinline_journal_last_sync_time_seconds{channel="1"} 5000
twinline_journal_sync_interval_seconds{channel="1"} 0.1
twinline_source_position{source="1"} 1000
twinline_source_broken{source="1"} 0
twinline_source_silent_seconds{source="1"} 0.5
twinline_source_ended{source="1"} 0
"#;

const REPLICA: &str = r#"
twinline_replica_connected{channel="1"} 1
twinline_replica_caught_up{channel="1"} 1
twinline_replica_lag_messages{channel="1"} 3
twinline_replica_contradictions_total{channel="1"} 0
twinline_replica_messages_total{channel="1"} 1000
twinline_service_clients{channel="1"} 2
twinline_service_requests_total{channel="1"} 40
twinline_service_journal_errors_total{channel="1"} 1
twinline_service_rejects_total{channel="1",code="TooOld"} 2
twinline_service_tail_lag_messages{channel="1",client="desk",kind="reader"} 4
"#;

/// The page of a `listen`, `publish` or `replica`.
pub(super) fn page(daemon: &str, changes: &[Change<'_>]) -> Page {
    let own = match daemon {
        "listen" => LISTEN,
        "publish" => PUBLISH,
        _ => REPLICA,
    };
    let mut text = format!(
        "twinline_build_info{{version=\"0.1.0\",daemon=\"{daemon}\"}} 1\nprocess_start_time_seconds 1000\n\
         process_cpu_seconds_total 5\nprocess_resident_memory_bytes 1048576\n"
    );
    for (name, value) in [
        ("healthy", 1),
        ("ready", 1),
        ("turns_total", 9),
        ("session", 1),
        ("next_sequence", 1011),
    ] {
        text += &format!("twinline_{name}{{channel=\"1\"}} {value}\n");
    }
    text += own.trim_start();
    for (name, value) in changes {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.retain(|line| line.rsplit_once(' ').is_none_or(|(known, _)| known != *name));
        text = lines.join("\n") + &format!("\n{name} {value}\n");
    }
    Page::parse(&text).expect("a fixture is right")
}

/// What a board shows that took a daemon's two pages, so far apart.
pub(super) fn view(daemon: &str, before: &[Change<'_>], after: &[Change<'_>], apart: Duration) -> View {
    let start = Instant::now();
    let mut board = Board::new(&["10.0.0.7:9464".into()], Duration::from_secs(1), start);
    board.take(0, start, Ok(page(daemon, before)));
    board.take(0, start + apart, Ok(page(daemon, after)));
    board.view(start + apart, 1_800_000_000_000_000_000)
}
