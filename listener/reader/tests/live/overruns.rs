//! Readers that fall behind the ring, or come late to it.

use super::*;

#[test]
fn a_reader_in_step_has_what_the_ring_has_with_times_and_origin() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 1);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    got.drain(&mut reader);
    let before = got.items.len();
    assert!(!reader.stale().is_stale());
    let mut origins = std::collections::BTreeSet::new();
    for _ in 0..500 {
        feed.anything();
        while let Some(event) = reader.poll().unwrap() {
            if let Event::Message(message) = &event {
                assert_eq!(message.receive_time, Some(message.sending_time + 5));
                origins.insert(message.origin.unwrap());
            }
            got.take(&event);
        }
    }
    assert_eq!(got.items, feed.items());
    assert!(got.items.len() > before);
    assert_eq!(origins.len(), 3);
    assert_eq!((got.fills, got.missed.len()), (0, 0));
    assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
}

#[test]
fn an_overrun_is_filled_from_the_journal_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 2);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    got.drain(&mut reader);
    for round in 1..=5 {
        let before = feed.next;
        let session = feed.session;
        (0..1500).for_each(|_| feed.anything());
        got.drain(&mut reader);
        assert_eq!(got.fills, round);
        assert!(feed.session > session || feed.next > before);
        (0..10).for_each(|_| feed.anything());
        got.drain(&mut reader);
        assert_eq!(got.fills, round, "in step again");
    }
    assert_eq!(got.items, feed.items());
    assert!(got.filled > 1000 && got.missed.is_empty());
    assert_eq!(reader.progress().filled, got.filled);
    assert_eq!(reader.progress().overruns, 5);
    assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
    assert!(!reader.stale().behind);
}

#[test]
fn an_overrun_before_the_first_message_of_a_session_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 3);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    got.drain(&mut reader);
    feed.next_session();
    let begun = (feed.session, 1);
    while (reader.position().session, reader.position().sequence) != begun {
        got.take(&reader.poll().unwrap().unwrap());
    }
    (0..1500).for_each(|_| feed.anything());
    got.drain(&mut reader);
    assert_eq!((got.fills, got.missed.len()), (1, 0), "{:?}", got.missed);
    assert_eq!(got.items, feed.items());
}

#[test]
fn who_skips_is_told_exactly_what_it_missed_and_has_the_newest() {
    for seed in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let mut feed = Feed::new(dir.path(), config(None), seed);
        feed.begin_session();
        let mut reader = attach(&feed, options(Start::Oldest, Overrun::Skip));
        let mut got = Got::default();
        got.drain(&mut reader);
        for _ in 0..4 {
            (0..1500).for_each(|_| feed.anything());
            got.drain(&mut reader);
            (0..5).for_each(|_| feed.anything());
            got.drain(&mut reader);
        }
        assert_eq!(got.missed.len(), 4);
        assert_complement(&feed.items(), &got);
        assert_eq!(got.items.last(), feed.items().last());
        assert_eq!(reader.progress().overruns, 4);
    }
}

#[test]
fn who_skips_misses_no_symbol() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 9);
    feed.begin_session();
    let options = Options {
        instruments: Instruments::these(["BBB"]),
        books: Instruments::None,
        ..options(Start::Oldest, Overrun::Skip)
    };
    let mut reader = attach(&feed, options);
    let mut got = Got::default();
    got.drain(&mut reader);
    feed.say_line(twinline_wire::field::LineState::STALE);
    got.drain(&mut reader);
    assert!(reader.stale().lines);
    feed.say_line(twinline_wire::field::LineState::RESUMED);
    feed.next_session();
    (0..3000).for_each(|_| feed.events(4));
    got.drain(&mut reader);
    assert_eq!(got.missed.len(), 1);
    assert_eq!(reader.symbols().number("BBB"), Some(instrument(1)));
    assert!(!reader.stale().lines, "messages come from lines");
    let before = got.items.len();
    (0..20).for_each(|_| feed.events(4));
    got.drain(&mut reader);
    assert!(got.items.len() > before, "the filter knows its symbol");
}

#[test]
fn what_retention_took_before_an_overrun_was_filled_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(Some(2)), 3);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    got.drain(&mut reader);
    (0..6000).for_each(|_| feed.events(4));
    got.drain(&mut reader);
    assert_eq!((got.fills, got.missed.len()), (1, 1));
    assert!(got.missed[0].len().unwrap() > 10_000);
    assert_complement(&feed.items(), &got);
    assert!(!reader.all_books().unwrap().is_valid());
    assert_eq!(reader.progress().missed, got.missed[0].len().unwrap());
}

#[test]
fn who_attaches_late_has_the_journal_and_then_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 4);
    feed.begin_session();
    (0..3000).for_each(|_| feed.anything());
    let written = feed.items();
    let mut got = [Start::Oldest, Start::Books, Start::Now].map(|start| {
        let reader = attach(&feed, options(start, Overrun::Fill));
        (start, reader, Got::default())
    });
    let bare = Options {
        books: Instruments::None,
        symbols: false,
        ..options(Start::Now, Overrun::Fill)
    };
    let mut bare = (attach(&feed, bare), Got::default());
    let now = written.len();
    (0..100).for_each(|_| feed.anything());
    bare.1.drain(&mut bare.0);
    assert_eq!(bare.1.items, feed.items()[now..]);
    let end = Position {
        session: feed.session,
        ..bare.0.position()
    };
    for (start, reader, got) in &mut got {
        got.drain(reader);
        match start {
            Start::Oldest => assert_eq!(got.items, feed.items()),
            Start::Now => assert_eq!(got.items, feed.items()[now..]),
            _ => assert!(feed.items().ends_with(&got.items) && got.items.len() > 100),
        }
        assert_eq!(got.fills, 0, "{start:?}");
        assert_eq!(reader.position(), end);
        assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
        assert_eq!(reader.symbols().number("AAA"), Some(instrument(0)));
    }
}
