//! Messages in batches, and what the messages of one source event have to do with each other.

use super::*;

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
