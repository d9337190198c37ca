//! What is chosen of a journal, and what is known of its books.

use super::*;

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
