//! Reading allocates nothing: counted by an allocator that counts.

mod common;

use common::*;
use twinline_counting_allocator::{Counting, allocations};
use twinline_reader::{Batch, Event, Instruments, Notice, NoticeKind, Options, Overrun, Reader, Start};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was read, and the allocations that it took.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    messages: u64,
    /// The newest epoch of a message.
    epoch: u32,
    losses: u64,
    /// Messages that the journal filled.
    filled: u64,
    allocations: u64,
}

impl Read {
    /// Reads all that there is.
    fn on(&mut self, reader: &mut Reader, batches: bool) {
        let before = allocations();
        while self.step(reader, batches) {}

        self.allocations += allocations() - before;
    }

    fn step(&mut self, reader: &mut Reader, batches: bool) -> bool {
        if batches {
            match reader.poll_batch().unwrap() {
                Some(Batch::Messages(batch)) => {
                    for message in batch.iter() {
                        (self.messages, self.epoch) = (self.messages + 1, message.epoch);
                    }
                }
                Some(Batch::Notice(notice)) => self.notice(&notice),
                None => return false,
            }
            return true;
        }
        match reader.poll().unwrap() {
            Some(Event::Message(message)) => {
                (self.messages, self.epoch) = (self.messages + 1, message.epoch);
                // Looked up.
                std::hint::black_box(message.book().map(|book| book.is_valid()));
            }
            Some(Event::Notice(notice)) => self.notice(&notice),
            None => return false,
        }
        true
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        match notice.kind {
            NoticeKind::Lost(_) => self.losses += 1,
            NoticeKind::Filled { messages } => self.filled += messages,
            NoticeKind::Missed(_) => panic!("nothing is missed: {notice:?}"),
            _ => {}
        }
    }
}

fn config() -> FeedConfig {
    FeedConfig {
        capacity: Some(1 << 16),
        ..FeedConfig::default()
    }
}

fn options(books: Instruments) -> Options {
    Options {
        start: Start::Oldest,
        overrun: Overrun::Fill,
        instruments: Instruments::these(["AAA", "BBB"]),
        books,
        ..Options::default()
    }
}

/// Readers of the ring and of the journal, one by one and in batches.
fn readers(feed: &Feed, options: &Options) -> Vec<(Reader, bool, Read)> {
    let both = [false, true].into_iter().flat_map(|batches| {
        let recorded = Reader::open_journal(&feed.journal_dir, options.clone()).unwrap();
        let live = Reader::attach(&feed.ring_dir, CHANNEL, options.clone()).unwrap();
        [recorded, live].map(|reader| (reader, batches, Read::default()))
    });
    both.collect()
}

fn segments(feed: &Feed) -> usize {
    let files = std::fs::read_dir(&feed.journal_dir).unwrap().flatten();
    let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "seg"));
    segments.count()
}

/// So many packets, read as they come.
fn in_step(feed: &mut Feed, readers: &mut [(Reader, bool, Read)], packets: u32) {
    for _ in 0..packets {
        feed.events(4);
        readers
            .iter_mut()
            .for_each(|(reader, batches, read)| read.on(reader, *batches));
    }
}

/// Everything that can happen on the way, so many times: loss, new epochs, overruns of the ring that the journal fills over
/// several segments, and back into the ring.
fn go_through(feed: &mut Feed, readers: &mut [(Reader, bool, Read)], times: u32) {
    for _ in 0..times {
        in_step(feed, readers, 100);
        feed.new_epoch(feed.next, feed.next + 10);
        in_step(feed, readers, 100);
        let before = segments(feed);
        (0..1000).for_each(|_| feed.events(4));
        assert!(segments(feed) > before + 2, "the fill goes over several segments");
        in_step(feed, readers, 100);
        feed.lose(5);
        in_step(feed, readers, 100);
    }
}

#[test]
fn reading_allocates_nothing_from_the_first_message_on_through_loss_epochs_fills_and_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(), 1);
    feed.begin_session();
    let mut readers = readers(&feed, &options(Instruments::None));
    // The symbols become known.
    in_step(&mut feed, &mut readers, 1);
    readers.iter_mut().for_each(|(.., read)| *read = Read::default());
    go_through(&mut feed, &mut readers, 5);
    for (reader, _, read) in &readers {
        assert_eq!(read.allocations, 0, "{read:?}");
        assert!(
            read.messages > 10_000 && read.epoch == 6 && read.losses == 5,
            "{read:?}"
        );
        let live = reader.progress().overruns > 0;
        assert_eq!(read.filled > 10_000, live, "{read:?}");
    }
    let overruns: u64 = readers
        .iter()
        .map(|(reader, ..)| reader.progress().overruns)
        .sum();
    assert_eq!(overruns, 2 * 5, "of the two readers of the ring");
}

#[test]
fn keeping_books_allocates_nothing_once_they_have_reached_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(), 1);
    feed.begin_session();
    let mut readers = readers(&feed, &options(Instruments::All));
    in_step(&mut feed, &mut readers, 20_000);
    readers.iter_mut().for_each(|(.., read)| *read = Read::default());
    in_step(&mut feed, &mut readers, 20_000);
    for (reader, _, _) in &readers {
        assert!(reader.books().all(|book| book.is_valid()) && reader.books().count() == SYMBOLS.len());
    }
    go_through(&mut feed, &mut readers, 5);
    for (_, _, read) in &readers {
        assert_eq!(read.allocations, 0, "{read:?}");
        assert!(
            read.messages > 100_000 && read.epoch == 6 && read.losses == 5,
            "{read:?}"
        );
    }
}
