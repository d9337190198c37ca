//! Pages in, figures and alarms out.

use super::alarms::{Kind, rules};
use super::board::Board;
use super::fixture::{Change, page, view};
use super::view::{ChannelView, Listening, View};
use super::{exit, target};
use crate::exit::Exit;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn channel(view: &View) -> &ChannelView {
    &view.daemons[0].channels[0]
}

fn listening(view: &View) -> &Listening {
    channel(view).listening.as_ref().expect("it is a listener")
}

fn kinds(view: &View) -> BTreeSet<Kind> {
    view.alarms().iter().map(|(_, alarm)| alarm.kind).collect()
}

#[test]
fn counts_are_totals_rates_since_the_last_look_and_shares_of_the_last_minute() {
    let view = view(
        "listen",
        &[],
        &[
            (
                r#"twinline_delivered_messages_total{channel="1",origin="a"}"#,
                900.0,
            ),
            (
                r#"twinline_delivered_messages_total{channel="1",origin="b"}"#,
                500.0,
            ),
            (r#"twinline_line_messages_total{channel="1",line="a"}"#, 1_260.0),
            (r#"twinline_line_lost_messages{channel="1",line="a"}"#, 150.0),
            (r#"twinline_line_messages_total{channel="1",line="b"}"#, 1_400.0),
            (
                r#"twinline_delivery_latency_seconds_bucket{channel="1",le="+Inf"}"#,
                1_020.0,
            ),
            (
                r#"twinline_delivery_latency_seconds_bucket{channel="1",le="0.00002"}"#,
                1_010.0,
            ),
        ],
        2 * SECOND,
    );
    let (channel, listening) = (channel(&view), listening(&view));
    assert_eq!((channel.messages, channel.rate), (1_410, Some(200)));
    let [a, b] = [&listening.lines.a, &listening.lines.b];
    assert_eq!((a.heard.received, a.heard.lost, a.rate), (1_260, 150, Some(180)));
    assert_eq!((a.loss_share, b.loss_share), (Some(0.1), Some(0.0)));
    assert_eq!((a.win_share, b.win_share), (Some(0.75), Some(0.25)));
    let latency = listening.latency_ns.unwrap();
    assert_eq!(latency.total.count, 1_020);
    let now = latency.now.unwrap();
    assert_eq!((now.count, now.p50), (10, 15_000), "between the two bounds");
    assert_eq!(listening.latency_past.len(), 2);
    assert_eq!(listening.latency_past[1].unwrap().p50, 15_000);
    assert_eq!(listening.ring.as_ref().unwrap().readers[0].lag_messages, 12);
    assert_eq!(listening.clock.as_ref().unwrap().offset_ns, Some(-20_000));
}

#[test]
fn a_daemon_that_was_started_anew_begins_anew() {
    let restarted = [
        ("process_start_time_seconds", 2_000.0),
        (
            r#"twinline_delivered_messages_total{channel="1",origin="a"}"#,
            5_000.0,
        ),
        (
            r#"twinline_line_kernel_dropped_packets_total{channel="1",line="a"}"#,
            90.0,
        ),
    ];
    let view = view("listen", &[], &restarted, SECOND);
    assert_eq!(channel(&view).messages, 5_410);
    assert_eq!(channel(&view).rate, None, "there is nothing to compare it with");
    assert_eq!(kinds(&view), BTreeSet::new());
}

#[test]
fn a_counter_that_falls_counts_from_nothing() {
    let fell = [(
        r#"twinline_delivered_messages_total{channel="1",origin="a"}"#,
        40.0,
    )];
    let view = view("listen", &[], &fell, SECOND);
    assert_eq!(
        channel(&view).rate,
        Some(450),
        "the sum of all origins fell to that"
    );
}

/// What must raise an alarm: the daemon, its pages before and after, how far apart.
type Case = (
    Kind,
    &'static str,
    Vec<Change<'static>>,
    Vec<Change<'static>>,
    Duration,
);

fn cases() -> Vec<Case> {
    let listen = |kind, name, value| (kind, "listen", vec![], vec![(name, value)], SECOND);
    let publish = |kind, name, value| (kind, "publish", vec![], vec![(name, value)], SECOND);
    let replica = |kind, name, value| (kind, "replica", vec![], vec![(name, value)], SECOND);
    let open = |count| (r#"twinline_gaps_open{channel="1"}"#, count);
    vec![
        listen(Kind::Hangs, r#"twinline_healthy{channel="1"}"#, 0.0),
        listen(Kind::NotReady, r#"twinline_ready{channel="1"}"#, 0.0),
        listen(
            Kind::MessagesLost,
            r#"twinline_lost_messages_total{channel="1"}"#,
            1.0,
        ),
        listen(
            Kind::MessagesLost,
            r#"twinline_void_messages_total{channel="1"}"#,
            1.0,
        ),
        listen(
            Kind::MessagesLost,
            r#"twinline_missed_sessions_total{channel="1"}"#,
            1.0,
        ),
        listen(Kind::Stale, r#"twinline_stale{channel="1"}"#, 1.0),
        listen(
            Kind::LineSilent,
            r#"twinline_line_stalled{channel="1",line="b"}"#,
            1.0,
        ),
        listen(
            Kind::LineLossy,
            r#"twinline_line_lost_messages{channel="1",line="b"}"#,
            20.0,
        ),
        listen(
            Kind::KernelDrops,
            r#"twinline_line_kernel_dropped_packets_total{channel="1",line="a"}"#,
            4.0,
        ),
        (Kind::GapsOpen, "listen", vec![open(2.0)], vec![open(2.0)], SECOND),
        listen(
            Kind::RecoveryDisconnected,
            r#"twinline_recovery_connected_services{channel="1"}"#,
            1.0,
        ),
        listen(
            Kind::NearlyFull,
            r#"twinline_window_packets{channel="1"}"#,
            4_000.0,
        ),
        listen(
            Kind::NearlyFull,
            r#"twinline_queue_depth{channel="1",queue="requests"}"#,
            15.0,
        ),
        listen(
            Kind::ReaderLagging,
            r#"twinline_ring_reader_lag_bytes{channel="1",reader="bars",pid="7"}"#,
            600_000.0,
        ),
        listen(
            Kind::ReaderOverrun,
            r#"twinline_ring_reader_overruns_total{channel="1",reader="bars",pid="7"}"#,
            3.0,
        ),
        listen(
            Kind::ClockImplausible,
            r#"twinline_clock_plausible{channel="1"}"#,
            0.0,
        ),
        publish(
            Kind::PublisherStalled,
            r#"twinline_reserve_stalls_total{channel="1"}"#,
            2.0,
        ),
        publish(
            Kind::PublisherStalled,
            r#"twinline_journal_stalls_total{channel="1"}"#,
            2.0,
        ),
        publish(
            Kind::NotSent,
            r#"twinline_line_send_failures_total{channel="1",line="b"}"#,
            5.0,
        ),
        publish(Kind::SourceBroken, r#"twinline_source_broken{source="1"}"#, 1.0),
        publish(
            Kind::SourceBroken,
            r#"twinline_source_silent_seconds{source="1"}"#,
            11.0,
        ),
        (Kind::JournalNotSynced, "publish", vec![], vec![], 6 * SECOND),
        replica(
            Kind::ReplicaDisconnected,
            r#"twinline_replica_connected{channel="1"}"#,
            0.0,
        ),
        replica(
            Kind::Contradiction,
            r#"twinline_replica_contradictions_total{channel="1"}"#,
            1.0,
        ),
        replica(
            Kind::ServiceTroubled,
            r#"twinline_service_journal_errors_total{channel="1"}"#,
            2.0,
        ),
    ]
}

#[test]
fn a_daemon_that_is_well_has_no_alarm() {
    for daemon in ["listen", "publish", "replica"] {
        let view = view(daemon, &[], &[], SECOND);
        assert_eq!(kinds(&view), BTreeSet::new(), "{daemon}: {view:?}");
        assert_eq!(exit(&view), Exit::Success);
    }
}

#[test]
fn each_alarm_is_raised_by_what_the_help_says_and_by_nothing_else() {
    let mut raised = BTreeSet::from([Kind::Down]);
    for (kind, daemon, before, after, apart) in cases() {
        let view = view(daemon, &before, &after, apart);
        assert_eq!(kinds(&view), BTreeSet::from([kind]), "{daemon} {after:?}");
        raised.insert(kind);
    }
    let raised: Vec<String> = raised
        .into_iter()
        .map(|kind| serde_json::to_value(kind).unwrap().as_str().unwrap().into())
        .collect();
    let listed: Vec<&str> = rules().into_iter().map(|(name, _)| name).collect();
    assert_eq!(raised, listed, "the gravest first, all of them");
}

#[test]
fn an_alarm_names_the_line_and_says_how_much() {
    let lost = [(r#"twinline_line_lost_messages{channel="1",line="b"}"#, 30.0)];
    let view = view("listen", &[], &lost, SECOND);
    let alarm = &view.daemons[0].alarms[0];
    assert_eq!((alarm.channel, alarm.line), (Some(1), Some("b")));
    assert_eq!(alarm.text, "line B lost 100.00% lately, 20 messages");
}

#[test]
fn what_is_over_or_passes_by_itself_is_no_alarm() {
    let ended = (r#"twinline_session_ended{channel="1"}"#, 1.0);
    let silent = (r#"twinline_line_stalled{channel="1",line="a"}"#, 1.0);
    let open = (r#"twinline_gaps_open{channel="1"}"#, 3.0);
    let filled = (r#"twinline_gaps_filled_total{channel="1"}"#, 6.0);
    let few = (r#"twinline_line_lost_messages{channel="1",line="a"}"#, 119.0);
    let fewer = (r#"twinline_line_lost_messages{channel="1",line="a"}"#, 0.0);
    let cases: [(&str, Vec<Change<'_>>, Vec<Change<'_>>); 5] = [
        (
            "a line is silent once the session has ended",
            vec![],
            vec![ended, silent],
        ),
        ("a gap has just been noticed", vec![], vec![open]),
        ("gaps come and go", vec![open], vec![open, filled]),
        ("a packet is on its way on one line", vec![], vec![few]),
        ("what was late has come", vec![], vec![fewer]),
    ];
    for (what, before, after) in cases {
        let view = view("listen", &before, &after, SECOND);
        assert_eq!(kinds(&view), BTreeSet::new(), "{what}");
    }
}

#[test]
fn what_happened_more_than_a_minute_ago_is_no_alarm_any_more() {
    let dropped = [(
        r#"twinline_line_kernel_dropped_packets_total{channel="1",line="a"}"#,
        9.0,
    )];
    let start = Instant::now();
    let mut board = Board::new(&["x:1".into()], SECOND, start);
    board.take(0, start, Ok(page("listen", &[])));
    let mut last = start;
    let mut seen = Vec::new();
    for second in 1..=90 {
        last = start + second * SECOND;
        board.take(0, last, Ok(page("listen", &dropped)));
        seen.push(!kinds(&board.view(last, 0)).is_empty());
    }
    assert!(seen[..55].iter().all(|alarm| *alarm), "{seen:?}");
    assert!(seen[70..].iter().all(|alarm| !*alarm), "{seen:?}");
    assert!(listening(&board.view(last, 0)).latency_past.len() == 91);
}

#[test]
fn a_daemon_that_does_not_answer_is_down_since_then_and_up_when_it_does() {
    let start = Instant::now();
    let targets = ["a:1".to_string(), "b:2".to_string(), "c:3".to_string()];
    let mut board = Board::new(&targets, SECOND, start);
    let asked = board.view(start, 0);
    assert!(
        asked
            .daemons
            .iter()
            .all(|daemon| !daemon.up && daemon.down.is_none())
    );
    board.take(0, start, Ok(page("listen", &[])));
    board.take(1, start, Err("connection refused".into()));
    board.take(0, start + SECOND, Err("no answer within 2 s".into()));
    board.take(0, start + 4 * SECOND, Err("connection refused".into()));
    // The third one hangs in looking up its name, say.
    let view = board.view(start + 10 * SECOND, 0);
    let down: Vec<_> = view
        .daemons
        .iter()
        .map(|daemon| daemon.down.clone().unwrap())
        .collect();
    assert_eq!(down[0].for_ns, 9_000_000_000);
    assert_eq!(
        (down[0].reason.as_str(), down[0].was_up),
        ("connection refused", true)
    );
    assert!(!down[1].was_up);
    assert_eq!(down[2].reason, "it neither answers nor refuses");
    assert_eq!(view.daemons[0].daemon, "listen", "what it was is still known");
    assert!(view.daemons[0].channels.is_empty(), "but not how it is");
    assert_eq!(exit(&view), Exit::Peer);
    board.take(0, start + 11 * SECOND, Ok(page("listen", &[])));
    assert!(board.view(start + 11 * SECOND, 0).daemons[0].up);
}

#[test]
fn the_exit_code_is_that_of_the_gravest_alarm() {
    let lossy = (r#"twinline_line_lost_messages{channel="1",line="b"}"#, 30.0);
    let lost = (r#"twinline_lost_messages_total{channel="1"}"#, 1.0);
    assert_eq!(exit(&view("listen", &[], &[lossy], SECOND)), Exit::Alarm);
    assert_eq!(exit(&view("listen", &[], &[lossy, lost], SECOND)), Exit::Loss);
}

#[test]
fn every_metric_that_is_read_is_one_that_the_table_has() {
    let table = include_str!("../../../../docs/metrics.md");
    let sources = [
        include_str!("gather.rs"),
        include_str!("judge.rs"),
        include_str!("board.rs"),
        include_str!("scrape.rs"),
    ];
    let mut names = BTreeSet::new();
    for source in sources.iter().flat_map(|source| source.split('"')) {
        let is_name = source.starts_with("twinline_") || source.starts_with("process_");
        if is_name
            && source
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            names.insert(source);
        }
    }
    assert!(names.len() > 80, "{names:?}");
    for name in names {
        assert!(table.contains(&format!("\n| `{name}` |")), "{name}");
    }
}

#[test]
fn targets_are_addresses_names_or_ports_of_this_host() {
    assert_eq!(target("9464"), Ok("127.0.0.1:9464".into()));
    for right in ["10.0.0.7:9464", "desk1.example:9464", "[::1]:9464"] {
        assert_eq!(target(right), Ok(right.into()));
    }
    for wrong in [
        "",
        "0",
        "desk1",
        "desk1:",
        ":9464",
        "desk1:x",
        "desk1:99999",
        "desk1:0",
    ] {
        assert!(target(wrong).is_err(), "{wrong}");
    }
}
