//! A recorded journal, a listener's or a publisher's, read through a reader: the same stream, from wherever one begins.

mod common;

use common::*;
use proptest::prelude::*;
use std::path::Path;
use twinline_book::Follower;
use twinline_journal::JournalReader;
use twinline_reader::{
    Batch, Event, Instruments, Missed, NoticeKind, Options, Position, ReadError, Reader, Start,
};
use twinline_wire::field::{EventFlags, LineState};
use twinline_wire::market::{AddOrder, InstrumentDefinition};
use twinline_wire::session::SourcePosition;
use twinline_wire::{Message, OpenPacket};

fn open(dir: &Path, start: Start) -> Reader {
    let options = Options {
        start,
        ..Options::default()
    };
    Reader::open_journal(dir, options).unwrap()
}

/// A journal with something of everything.
fn anything(dir: &Path, seed: u64, packets: usize) -> Feed {
    let mut feed = Feed::new(dir, FeedConfig::default(), seed);
    feed.begin_session();
    (0..packets).for_each(|_| feed.anything());
    feed
}

/// The books that a follower of the journal's packets has.
fn follow(dir: &Path) -> Follower {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut follower = Follower::new();
    loop {
        let mut wanted = None;
        let Some(packet) = reader.next().unwrap() else {
            return follower;
        };
        follower.packet(&packet, |_, told| {
            if let twinline_book::Told::Wanted(snapshot) = told {
                wanted = Some(snapshot);
            }
        });
        if let Some(wanted) = wanted {
            let name = twinline_book::snapshot::file::name(wanted.session, wanted.epoch, wanted.sequence);
            follower
                .replace(twinline_book::snapshot::file::read(&dir.join(name)).unwrap())
                .unwrap();
        }
    }
}

#[test]
fn a_recorded_journal_gives_its_messages_and_notices_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let feed = anything(dir.path(), 1, 3000);
    assert!(feed.session > SESSION, "sessions ended");
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let items = drain(&mut reader);
    assert_eq!(items, journal_items(&feed.journal_dir));
    assert_eq!(items, feed.items());
    assert!(reader.poll().unwrap().is_none(), "it stays at the end");
    assert!(reader.next().unwrap().is_none(), "and does not wait");
}

#[test]
fn books_at_the_end_are_those_of_the_journal_wherever_it_begins() {
    for seed in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let feed = anything(dir.path(), seed, 400);
        let expected = follow(&feed.journal_dir);
        assert_eq!(expected.books().checksum(), feed.checksum());
        for start in [Start::Oldest, Start::Books, Start::Now] {
            let mut reader = open(&feed.journal_dir, start);
            let items = drain(&mut reader);
            let books = reader.all_books().unwrap();
            assert_eq!(books.is_valid(), feed.is_valid(), "seed {seed}, {start:?}");
            assert_eq!(books.checksum(), feed.checksum(), "seed {seed}, {start:?}");
            assert_eq!(start == Start::Now, items.is_empty());
            assert_eq!(reader.symbols().number("CCC"), Some(instrument(2)));
            assert_eq!(reader.symbols().symbol(instrument(3)), Some("DDD"));
        }
    }
}

#[test]
fn what_is_written_behind_the_end_is_read_by_who_stands_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = anything(dir.path(), 2, 50);
    let mut readers: Vec<_> = [Start::Oldest, Start::Books, Start::Now]
        .map(|start| open(&feed.journal_dir, start))
        .into();
    readers.iter_mut().for_each(|reader| drop(drain(reader)));
    let before = feed.items().len();
    (0..50).for_each(|_| feed.anything());
    for reader in &mut readers {
        assert_eq!(drain(reader), feed.items()[before..]);
        assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
    }
}

/// Where the first message behind `position` stands in `items`.
fn place_of(items: &[Item], position: Position) -> usize {
    let key = (position.session, position.sequence);
    items
        .iter()
        .position(|item| item.key().is_some_and(|at| at >= key))
        .unwrap_or(items.len())
}

fn messages(items: &[Item]) -> Vec<Item> {
    items
        .iter()
        .filter(|item| item.key().is_some())
        .cloned()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_saved_position_is_resumed_from_with_the_next_message(
        seed in 0..1000_u64, stops in prop::collection::vec(1..200_usize, 1..6), batches: bool, books: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let feed = anything(dir.path(), seed, 150);
        let mut got = Vec::new();
        let mut saved = None::<String>;
        let mut stops = stops.into_iter();
        loop {
            let start = saved.as_ref().map_or(Start::Oldest, |text| Start::At(text.parse().unwrap()));
            let options = Options {
                start,
                books: if books { Instruments::All } else { Instruments::None },
                ..Options::default()
            };
            let mut reader = Reader::open_journal(&feed.journal_dir, options).unwrap();
            let stop = stops.next().map_or(usize::MAX, |more| got.len() + more);
            let mut ended = false;
            while got.len() < stop && !ended {
                if batches {
                    match reader.poll_batch().unwrap() {
                        Some(Batch::Messages(batch)) => got.extend(batch.iter().map(|one| Item::of_message(&one))),
                        Some(Batch::Notice(_)) => {}
                        None => ended = true,
                    }
                } else {
                    match reader.poll().unwrap() {
                        Some(Event::Message(message)) => got.push(Item::of_message(&message)),
                        Some(Event::Notice(_)) => {}
                        None => ended = true,
                    }
                }
            }
            saved = Some(reader.position().to_string());
            if ended {
                if books {
                    prop_assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
                }
                break;
            }
        }
        prop_assert_eq!(got, messages(&feed.items()));
    }

    #[test]
    fn any_position_of_the_past_is_resumed_from(seed in 0..1000_u64, at in 0..3000_usize) {
        let dir = tempfile::tempdir().unwrap();
        let feed = anything(dir.path(), seed, 150);
        let items = feed.items();
        let all = messages(&items);
        let Item::Message(session, epoch, sequence, _) = all[at % all.len()] else { unreachable!() };
        let position = Position { session, epoch, sequence };
        let mut reader = open(&feed.journal_dir, Start::At(position));
        prop_assert_eq!(reader.position(), position);
        let got = drain(&mut reader);
        let expected = &items[place_of(&items, position)..];
        prop_assert_eq!(messages(&got), messages(expected));
        // Notices that stand before the first message may be told again, and none behind it is missing.
        prop_assert!(got.ends_with(expected));
        prop_assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
    }
}

#[test]
fn a_position_that_is_too_old_is_told_what_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let config = FeedConfig {
        segments: Some(2),
        ..FeedConfig::default()
    };
    let mut feed = Feed::new(dir.path(), config, 5);
    feed.begin_session();
    (0..4000).for_each(|_| feed.events(3));
    let held = messages(&journal_items(&feed.journal_dir))[0].key().unwrap().1;
    assert!(held > 1000);
    let position = Position {
        session: SESSION,
        epoch: 1,
        sequence: 17,
    };
    let mut reader = open(&feed.journal_dir, Start::At(position));
    let Some(Event::Notice(notice)) = reader.poll().unwrap() else {
        panic!("a notice first")
    };
    let expected = Missed {
        session: SESSION,
        begin: 17,
        end_session: SESSION,
        end: held,
    };
    assert!(
        matches!(notice.kind, NoticeKind::Missed(missed) if missed == expected),
        "{notice:?}"
    );
    assert_eq!(drain(&mut reader), journal_items(&feed.journal_dir));
    assert!(!reader.all_books().unwrap().is_valid());
}

#[test]
fn a_position_of_a_session_that_is_gone_goes_on_with_the_oldest_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let feed = anything(dir.path(), 6, 20);
    let position = Position {
        session: SESSION - 3,
        epoch: 1,
        sequence: 9,
    };
    let mut reader = open(&feed.journal_dir, Start::At(position));
    let Some(Event::Notice(notice)) = reader.poll().unwrap() else {
        panic!("a notice first")
    };
    let NoticeKind::Missed(missed) = notice.kind else {
        panic!("{notice:?}")
    };
    assert_eq!((missed.session, missed.begin), (SESSION - 3, 9));
    assert_eq!((missed.end_session, missed.end), (SESSION, 1));
    assert!(missed.contains(SESSION - 2, 1) && !missed.contains(SESSION, 1));
    assert_eq!(drain(&mut reader), feed.items());
}

#[test]
fn a_position_of_a_session_to_come_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let feed = anything(dir.path(), 7, 20);
    let position: Position = "20991231:1:5".parse().unwrap();
    let options = Options {
        start: Start::At(position),
        ..Options::default()
    };
    let error = Reader::open_journal(&feed.journal_dir, options).unwrap_err();
    assert!(matches!(error, ReadError::UnknownSession { .. }));
    assert!(error.to_string().contains("20991231:1:5"), "{error}");
}

#[test]
fn a_position_ahead_of_a_journal_that_was_cut_back_waits_for_the_next_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 8);
    feed.begin_session();
    feed.events(2);
    let position = Position {
        session: SESSION,
        epoch: 1,
        sequence: feed.next + 3,
    };
    let mut reader = open(&feed.journal_dir, Start::At(position));
    assert_eq!(drain(&mut reader), []);
    assert_eq!(reader.position(), position);
    (0..5).for_each(|_| feed.events(2));
    let items = feed.items();
    assert_eq!(drain(&mut reader), items[place_of(&items, position)..]);
    let books = reader.all_books().unwrap();
    assert!(books.is_valid());
    assert_eq!(
        books.checksum(),
        feed.checksum(),
        "what was had before is in the books"
    );
}

#[test]
fn a_position_beyond_what_a_later_epoch_left_standing_is_told_what_is_void() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 9);
    feed.begin_session();
    feed.events(4);
    // Had from another listener, before both lost power: here it never came.
    let position = Position {
        session: SESSION,
        epoch: 1,
        sequence: feed.next + 2,
    };
    let valid_end = feed.next;
    feed.new_epoch(valid_end, valid_end + 500);
    feed.events(1);
    let mut reader = open(&feed.journal_dir, Start::At(position));
    let Some(Event::Notice(notice)) = reader.poll().unwrap() else {
        panic!("a notice first")
    };
    let NoticeKind::Void(void) = notice.kind else {
        panic!("{notice:?}")
    };
    assert_eq!((void.begin.get(), void.end.get()), (valid_end, valid_end + 2));
    let items = feed.items();
    assert_eq!(drain(&mut reader), items[place_of(&items, position)..]);
}

#[test]
fn a_filter_delivers_what_is_asked_for_and_hides_no_notice_and_changes_no_book() {
    let dir = tempfile::tempdir().unwrap();
    let feed = anything(dir.path(), 10, 2000);
    let mut by_symbol = None;
    for wanted in [
        Instruments::these(["BBB", "NONE"]),
        Instruments::these([instrument(1)]),
    ] {
        let options = Options {
            start: Start::Oldest,
            instruments: wanted,
            books: Instruments::these(["AAA"]),
            ..Options::default()
        };
        let mut reader = Reader::open_journal(&feed.journal_dir, options).unwrap();
        let items = drain(&mut reader);
        let expected: Vec<_> = feed
            .items()
            .into_iter()
            .filter(|item| match item {
                Item::Notice(..) => true,
                Item::Message(.., bytes) => {
                    let (frame, _) = twinline_wire::Frame::split(bytes).unwrap();
                    frame.template() != SourcePosition::TEMPLATE
                        && frame.instrument().is_none_or(|number| number == instrument(1))
                }
            })
            .collect();
        assert_eq!(items, expected);
        assert_eq!(by_symbol.get_or_insert(items), &expected);
        let whole = follow(&feed.journal_dir);
        let of = |number| whole.books().book(number).unwrap().checksum();
        assert_eq!(reader.book(instrument(0)).unwrap().checksum(), of(instrument(0)));
        assert!(reader.book(instrument(1)).is_none(), "that book is not kept");
        assert_eq!(reader.books().count(), 1);
    }
    let options = Options {
        start: Start::Oldest,
        templates: Some(vec![AddOrder::TEMPLATE]),
        books: Instruments::None,
        ..Options::default()
    };
    let mut reader = Reader::open_journal(&feed.journal_dir, options).unwrap();
    let adds = messages(&drain(&mut reader)).len();
    let expected = feed.items().into_iter().filter(|item| match item {
        Item::Message(.., bytes) => {
            twinline_wire::Frame::split(bytes).unwrap().0.template() == AddOrder::TEMPLATE
        }
        Item::Notice(..) => false,
    });
    assert_eq!(adds, expected.count());
    assert!(reader.all_books().is_none());
    assert_eq!(reader.symbols().len(), SYMBOLS.len());
}

#[test]
fn chosen_books_behind_a_snapshot_hold_nothing_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 11);
    feed.begin_session();
    (0..100).for_each(|_| feed.events(5));
    feed.replace_state();
    (0..100).for_each(|_| feed.events(5));
    let options = Options {
        books: Instruments::these(["DDD"]),
        ..Options::default()
    };
    let mut reader = Reader::open_journal(&feed.journal_dir, options).unwrap();
    let first = reader.position().sequence;
    assert!(first > 500, "it began with the snapshot, at {first}");
    drain(&mut reader);
    let whole = follow(&feed.journal_dir);
    let book = reader.book(instrument(3)).unwrap();
    assert_eq!(
        book.checksum(),
        whole.books().book(instrument(3)).unwrap().checksum()
    );
    assert_eq!(reader.all_books().unwrap().live_orders(), book.live_orders());
    assert!(book.is_valid() && !book.is_stale());
}

#[test]
fn a_snapshot_that_the_journal_does_not_name_is_not_begun_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 12);
    feed.begin_session();
    (0..10).for_each(|_| feed.events(5));
    feed.replace_state();
    let named = feed.next;
    (0..10).for_each(|_| feed.events(5));
    let place = twinline_book::snapshot::Place {
        channel: CHANNEL,
        session: SESSION,
        epoch: 1,
        epoch_base: 1,
        sequence: feed.next - 3,
    };
    let bytes = twinline_book::snapshot::encode(&twinline_book::Books::new(), &place);
    twinline_book::snapshot::file::write(&feed.journal_dir, &place, &bytes).unwrap();
    let mut reader = open(&feed.journal_dir, Start::Books);
    assert_eq!(reader.position().sequence, named);
    drain(&mut reader);
    assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
}

#[test]
fn a_snapshot_that_cannot_be_read_is_told_of_and_books_stay_invalid() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 13);
    feed.begin_session();
    feed.events(3);
    feed.lose(5);
    feed.replace_state();
    let name = twinline_book::snapshot::file::name(SESSION, 1, feed.next);
    std::fs::write(feed.journal_dir.join(name), b"not one").unwrap();
    feed.events(3);
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let mut told = false;
    while let Some(event) = reader.poll().unwrap() {
        if let Event::Notice(notice) = event
            && let NoticeKind::SnapshotUnusable(why) = notice.kind
        {
            told = why.contains("snapshot");
        }
    }
    assert!(told);
    assert!(!reader.all_books().unwrap().is_valid());
}

#[test]
fn lines_that_are_silent_make_books_stale_until_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 14);
    feed.begin_session();
    feed.events(9);
    feed.say_line(LineState::STALE);
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    drain(&mut reader);
    assert!(reader.stale().lines && reader.books().all(|book| book.is_stale()));
    feed.say_line(LineState::RESUMED);
    drain(&mut reader);
    assert!(!reader.stale().is_stale() && reader.books().all(|book| !book.is_stale()));
}

#[test]
fn a_symbol_that_no_instrument_can_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Feed::new(dir.path(), FeedConfig::default(), 15);
    for symbol in ["", "SEVENTEEN LETTERS", "AB "] {
        let options = Options {
            instruments: Instruments::these([symbol]),
            ..Options::default()
        };
        let error = Reader::open_journal(&feed.journal_dir, options).unwrap_err();
        assert!(matches!(error, ReadError::Symbol { .. }), "{error}");
    }
}

/// The messages of batches, and whether each ended where an event does; what was said of half events.
fn batches(reader: &mut Reader) -> (Vec<Item>, Vec<(u64, u64)>) {
    let (mut items, mut halves) = (Vec::new(), Vec::new());
    while let Some(batch) = reader.poll_batch().unwrap() {
        match batch {
            Batch::Messages(messages) => {
                let last = messages.iter().last().expect("a batch is not empty");
                assert!(last.ends_event(), "a batch ends at an event's end");
                for message in messages {
                    let change = messages.changes().iter().find(|(at, _)| *at == message.sequence);
                    assert_eq!(message.change, change.map(|(_, change)| *change));
                    items.push(Item::of_message(&message));
                }
            }
            Batch::Notice(notice) => match notice.kind {
                NoticeKind::HalfEvent { begin, end } => halves.push((begin, end)),
                _ => items.extend(Item::of_notice(&notice)),
            },
        }
    }
    (items, halves)
}

#[test]
fn batches_hold_the_same_as_single_events() {
    let dir = tempfile::tempdir().unwrap();
    let feed = anything(dir.path(), 16, 2000);
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let (items, halves) = batches(&mut reader);
    assert_eq!(items, feed.items());
    assert_eq!(halves, []);
    assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
}

/// An event in two packets: `first` messages, then `second`.
fn in_two(feed: &mut Feed, first: u64, second: u64, between: impl FnOnce(&mut Feed)) {
    let mut open = OpenPacket::new();
    feed.push_order(&mut open, true);
    (0..first).for_each(|_| feed.push_order(&mut open, false));
    feed.close(open);
    between(feed);
    let mut open = OpenPacket::new();
    (1..=second).for_each(|message| feed.push_order(&mut open, message == second));
    feed.push_order(&mut open, true);
    feed.close(open);
}

#[test]
fn an_event_that_comes_in_parts_is_in_one_batch_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 17);
    feed.begin_session();
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let before = batches(&mut reader).0.len();
    let journal = feed.journal_dir.clone();
    let mut open = OpenPacket::new();
    feed.push_order(&mut open, true);
    feed.push_order(&mut open, false);
    feed.close(open);
    let whole = feed.next - 1;
    assert_eq!(batches(&mut reader).0.len(), 1, "the half waits");
    assert_eq!(reader.position().sequence, whole, "and is not had yet");
    feed.say_line(LineState::RESUMED);
    let mut open = OpenPacket::new();
    feed.push_order(&mut open, false);
    feed.close(open);
    assert_eq!(batches(&mut reader).0.len(), 1, "only the notice");
    // A single step gives what a batch waits for.
    let mut other = Reader::open_journal(
        &journal,
        Options {
            start: Start::At(reader.position()),
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(batches(&mut other).0.len(), 1);
    let mut open = OpenPacket::new();
    feed.push_order(&mut open, true);
    feed.push_order(&mut open, false);
    feed.close(open);
    let (items, halves) = batches(&mut reader);
    assert_eq!((items.len(), halves.len()), (3, 0));
    assert_eq!(messages(&drain(&mut other)).len(), 4, "also the half behind");
    assert_eq!(messages(&drain(&mut reader)).len(), 1);
    assert_eq!(reader.position().sequence, feed.next);
    assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
    assert!(before > 0);
}

#[test]
fn half_an_event_is_in_no_batch_and_in_no_book() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 18);
    feed.begin_session();
    in_two(&mut feed, 3, 2, |_| {});
    let half = feed.next + 1;
    in_two(&mut feed, 2, 3, |feed| feed.lose(4));
    feed.events(2);
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let (items, halves) = batches(&mut reader);
    assert_eq!(halves, [(half, half + 2)]);
    let expected: Vec<_> = feed
        .items()
        .into_iter()
        .filter(|item| {
            item.key()
                .is_none_or(|(_, sequence)| !(half..half + 2).contains(&sequence))
        })
        .collect();
    assert_eq!(items, expected);
    assert!(!reader.all_books().unwrap().is_valid());
}

#[test]
fn a_source_that_marks_no_events_is_not_waited_for_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 19);
    feed.begin_session();
    for _ in 0..50 {
        let mut open = OpenPacket::new();
        (0..15).for_each(|_| feed.push_order(&mut open, false));
        feed.close(open);
    }
    feed.events(1);
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let (items, halves) = batches(&mut reader);
    assert!(!halves.is_empty());
    let withheld: u64 = halves.iter().map(|(begin, end)| end - begin).sum();
    assert_eq!(items.len() as u64 + withheld, feed.items().len() as u64);
}

#[test]
fn a_publishers_journal_is_read_like_a_listeners() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 20);
    feed.begin_session();
    (0..500).for_each(|_| feed.events(3));
    let end = feed.next;
    feed.new_epoch(end, end + 100);
    (0..50).for_each(|_| feed.events(3));
    let mut reader = open(&feed.journal_dir, Start::Books);
    assert_eq!(drain(&mut reader), feed.items());
    let books = reader.all_books().unwrap();
    assert!(books.is_valid());
    assert_eq!(books.checksum(), feed.checksum());
    assert_eq!(reader.position().epoch, 2);
}

#[test]
fn messages_know_their_symbol_book_and_end_of_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), FeedConfig::default(), 21);
    feed.begin_session();
    (0..50).for_each(|_| feed.events(3));
    let mut reader = open(&feed.journal_dir, Start::Oldest);
    let (mut changes, mut ends) = (0, 0);
    while let Some(event) = reader.poll().unwrap() {
        let Event::Message(message) = event else { continue };
        assert_eq!((message.receive_time, message.origin), (None, None));
        if let Some(number) = message.instrument() {
            let place = (number & 0xffff) as usize - 1;
            assert_eq!(message.symbol(), Some(SYMBOLS[place]));
            let book = message.book().unwrap();
            if let Some(change) = message.change {
                assert_eq!(change.best, book.best());
                changes += 1;
            }
            let flags = message.frame.event_flags().unwrap();
            assert_eq!(message.ends_event(), flags.0 & EventFlags::END_OF_EVENT.0 != 0);
            ends += u64::from(message.ends_event());
        }
        if message.frame.template() == InstrumentDefinition::TEMPLATE {
            assert!(matches!(
                message.market(),
                twinline_reader::Market::InstrumentDefinition(definition) if definition.source.get() == 1
            ));
        }
    }
    assert!(changes > 20 && ends > 100);
}

#[test]
fn no_journal_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Reader::open_journal(&dir.path().join("none"), Options::default()).unwrap_err();
    assert!(error.to_string().contains("there is no journal"), "{error}");
    let error = Reader::attach(dir.path(), CHANNEL, Options::default()).unwrap_err();
    assert!(error.to_string().contains("is a listener running"), "{error}");
}
