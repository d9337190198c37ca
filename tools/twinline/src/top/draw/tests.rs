//! Screens of any size: nothing panics, and what is important stays.

use super::*;
use crate::top::fixture;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

const EVERY: Duration = Duration::from_secs(1);

/// A listener whose line A loses, with gaps open; a publisher; a replica; and one that is down.
fn view() -> View {
    let second = Duration::from_secs(1);
    let open = (r#"twinline_gaps_open{channel="1"}"#, 2.0);
    let lossy = [
        open,
        (r#"twinline_line_lost_messages{channel="1",line="a"}"#, 150.0),
        (r#"twinline_line_messages_total{channel="1",line="a"}"#, 1_260.0),
        (
            r#"twinline_delivery_latency_seconds_bucket{channel="1",le="0.00002"}"#,
            1_010.0,
        ),
        (
            r#"twinline_delivery_latency_seconds_bucket{channel="1",le="+Inf"}"#,
            1_020.0,
        ),
        (r#"twinline_recovery_connected_services{channel="1"}"#, 0.0),
    ];
    let mut view = fixture::view("listen", &[open], &lossy, second);
    for daemon in ["publish", "replica"] {
        view.daemons
            .append(&mut fixture::view(daemon, &[], &[], second).daemons);
    }
    view.daemons.push(DaemonView {
        address: "10.0.0.9:9464".into(),
        down: Some(super::super::view::Down {
            for_ns: 12_000_000_000,
            was_up: true,
            reason: "connection refused".into(),
        }),
        alarms: vec![Alarm::new(alarms::Kind::Down, "down: connection refused")],
        ..DaemonView::default()
    });
    view
}

fn screen(width: u16, height: u16, view: &View, ui: &Ui) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, view, ui, EVERY)).unwrap();
    terminal.backend().to_string()
}

fn page(page: usize) -> Ui {
    Ui {
        page,
        ..Ui::default()
    }
}

#[track_caller]
fn assert_shows(screen: &str, expected: &[&str]) {
    for text in expected {
        assert!(screen.contains(text), "{text:?} is not on the screen:\n{screen}");
    }
}

#[test]
fn a_screen_of_any_size_can_be_drawn() {
    let views = [view(), View::default()];
    for view in &views {
        for (width, height) in [
            (1, 1),
            (1, 40),
            (300, 1),
            (2, 2),
            (10, 3),
            (29, 9),
            (30, 40),
            (60, 15),
            (80, 24),
            (300, 100),
        ] {
            for chosen in 0..6 {
                for (help, scroll) in [(false, 0), (false, 7), (true, 0), (true, 60_000)] {
                    let ui = Ui {
                        channel: 9,
                        scroll,
                        help,
                        ..page(chosen)
                    };
                    screen(width, height, view, &ui);
                }
            }
        }
    }
}

#[test]
fn the_smallest_useful_screen_still_shows_alarms_lines_gaps_latency_and_readers() {
    let screen = screen(60, 15, &view(), &page(1));
    assert_shows(
        &screen,
        &[
            "0 of 2 recovery services connected",
            "line A lost 10.00% lately, 40 messages",
            "2 gaps stay open",
            "line  state",
            "A     up      150  10.00%",
            "B     up       10",
            "gaps  2 open  5 filled",
            "latency  p50",
            "reader",
            "q quit",
        ],
    );
}

#[test]
fn a_larger_screen_has_everything() {
    let view = view();
    assert_shows(
        &screen(120, 45, &view, &page(1)),
        &[
            "channel  1  session 1  epoch 1  next 1,011",
            "kernel drops",
            "recovery  0 of 2 connected",
            "p99, highest",
            "p50, highest",
            "messages by latency",
            "<= 20.0 us",
            "bars      7  0.10%        12         2      77",
            "release  900 on time  9 late",
            "clock offset -20.0 us",
            "waiting  1 of 4096 packets early",
            "process  listen 0.1.0",
        ],
    );
    assert_shows(
        &screen(120, 45, &view, &page(2)),
        &[
            "line  not sent",
            "published  300 packets",
            "sources  1 at 1,000",
            "journal  64.0 KiB",
        ],
    );
    assert_shows(
        &screen(120, 45, &view, &page(3)),
        &[
            "replica  follows an upstream  3 behind",
            "service  2 clients",
            "2 rejects (TooOld)",
            "desk  reader       4",
        ],
    );
    assert_shows(
        &screen(120, 45, &view, &page(4)),
        &["down: connection refused", "Down for 12 s."],
    );
}

#[test]
fn the_overview_has_a_line_for_each_daemon_and_the_gravest_alarm_first() {
    for (width, height) in [(60, 15), (120, 40)] {
        let screen = screen(width, height, &view(), &page(0));
        assert_shows(
            &screen,
            &[
                "3 of 4 daemons up",
                "10.0.0.9:9464 down: connection refused",
                "10.0.0.7:9464  listen   ready",
                "10.0.0.7:9464  publish  ready",
                "10.0.0.7:9464  replica  ready",
                "10.0.0.9:9464           down 12 s",
            ],
        );
        let line = screen.lines().nth(1).unwrap();
        assert!(line.contains("10.0.0.9"), "{screen}");
    }
}

#[test]
fn alarms_for_which_there_is_no_room_are_counted() {
    let shown = screen(60, 10, &view(), &page(0));
    assert_shows(&shown, &["(+2)"]);
}

#[test]
fn help_says_what_keys_do_and_what_raises_alarms() {
    let ui = Ui {
        help: true,
        ..page(0)
    };
    let screen = screen(100, 40, &view(), &ui);
    assert_shows(
        &screen,
        &["Tab, Shift-Tab", "line_lossy", "lost 0.1% lately", "kernel_drops"],
    );
}

#[test]
fn a_picture_that_stands_still_says_so() {
    let ui = Ui {
        paused: true,
        ..page(0)
    };
    assert_shows(&screen(60, 15, &view(), &ui), &["PAUSED"]);
}

#[test]
fn scrolling_brings_what_had_no_room() {
    let ui = Ui {
        scroll: 12,
        ..page(1)
    };
    assert_shows(&screen(60, 15, &view(), &ui), &["process  listen"]);
}

#[test]
fn plain_text_has_all_of_it() {
    let text = text(&view());
    for expected in [
        "10.0.0.9:9464 down: connection refused",
        "gaps  2 open",
        "messages by latency",
        "source messages",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains('\x1b'));
}
