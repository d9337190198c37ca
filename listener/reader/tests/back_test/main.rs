//! A recorded journal, a listener's or a publisher's, read through a reader: the same stream, from wherever one begins.

mod books;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod positions;

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

fn messages(items: &[Item]) -> Vec<Item> {
    items
        .iter()
        .filter(|item| item.key().is_some())
        .cloned()
        .collect()
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
fn no_journal_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Reader::open_journal(&dir.path().join("none"), Options::default()).unwrap_err();
    assert!(error.to_string().contains("there is no journal"), "{error}");
    let error = Reader::attach(dir.path(), CHANNEL, Options::default()).unwrap_err();
    assert!(error.to_string().contains("is a listener running"), "{error}");
}
