//! From wherever one goes on: positions of the past, of what is gone, and of what is yet to come.

use super::*;

/// Where the first message behind `position` stands in `items`.
fn place_of(items: &[Item], position: Position) -> usize {
    let key = (position.session, position.sequence);
    items
        .iter()
        .position(|item| item.key().is_some_and(|at| at >= key))
        .unwrap_or(items.len())
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
