//! Reading allocates nothing a message: counted by an allocator that counts.

mod common;

use common::*;
use twinline_counting_allocator::{Counting, allocations};
use twinline_reader::{Batch, Event, Instruments, Options, Overrun, Reader, Start};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads all that there is. Returns the messages, and the allocations that it took.
fn read(reader: &mut Reader, batches: bool) -> (u64, u64) {
    let (before, mut messages) = (allocations(), 0);
    loop {
        if batches {
            match reader.poll_batch().unwrap() {
                Some(Batch::Messages(batch)) => messages += batch.iter().count() as u64,
                Some(Batch::Notice(_)) => {}
                None => break,
            }
        } else {
            match reader.poll().unwrap() {
                Some(Event::Message(message)) => {
                    messages += 1;
                    assert!(
                        message.instrument().is_none() || message.book().is_none_or(|book| book.is_valid())
                    );
                }
                Some(Event::Notice(_)) => {}
                None => break,
            }
        }
    }
    (messages, allocations() - before)
}

fn options() -> Options {
    Options {
        start: Start::Oldest,
        overrun: Overrun::Fill,
        instruments: Instruments::these(["AAA", "BBB"]),
        ..Options::default()
    }
}

#[test]
fn a_message_from_the_journal_or_the_ring_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // One segment: a new one is mapped, which allocates, but not a message.
    let config = FeedConfig {
        capacity: Some(1 << 22),
        segment_size: 256 << 20,
        ..FeedConfig::default()
    };
    let mut feed = Feed::new(dir.path(), config, 1);
    feed.begin_session();
    let mut readers: Vec<_> = [false, true]
        .into_iter()
        .flat_map(|batches| {
            let recorded = Reader::open_journal(&feed.journal_dir, options()).unwrap();
            let live = Reader::attach(&feed.ring_dir, CHANNEL, options()).unwrap();
            [(recorded, batches), (live, batches)]
        })
        .collect();
    // The books reach their size.
    for _ in 0..20 {
        (0..1000).for_each(|_| feed.events(4));
        for (reader, batches) in &mut readers {
            read(reader, *batches);
        }
    }
    let mut total = 0;
    for _ in 0..20 {
        (0..1000).for_each(|_| feed.events(4));
        for (reader, batches) in &mut readers {
            let (messages, allocations) = read(reader, *batches);
            assert!(messages > 1000);
            assert_eq!(allocations, 0);
            total += messages;
        }
    }
    assert!(total > 100_000);
}
