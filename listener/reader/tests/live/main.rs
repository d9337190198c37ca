//! A live stream: a writer with a journal and a small ring, and readers that are too slow for it now and then.

#[path = "../common/mod.rs"]
mod common;
mod overruns;
mod threads;
mod writers;

use common::{Rng as Dice, *};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_reader::{
    Batch, Event, Instruments, Missed, NoticeKind, Options, Overrun, Position, Reader, Start, Wait,
    WriterState,
};

/// The smallest ring.
const CAPACITY: usize = 64 * 1024;
/// So long does a test wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(segments: Option<usize>) -> FeedConfig {
    FeedConfig {
        capacity: Some(CAPACITY),
        segments,
        segment_size: 1 << 16,
    }
}

fn options(start: Start, overrun: Overrun) -> Options {
    Options {
        name: "test".into(),
        start,
        overrun,
        ..Options::default()
    }
}

fn attach(feed: &Feed, options: Options) -> Reader {
    Reader::attach(&feed.ring_dir, CHANNEL, options).unwrap()
}

/// What a reader got: what the stream held, and what it said itself.
#[derive(Debug, Default)]
struct Got {
    items: Vec<Item>,
    missed: Vec<Missed>,
    fills: u64,
    filled: u64,
    writer: Vec<WriterState>,
}

impl Got {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Message(message) => self.items.push(Item::of_message(message)),
            Event::Notice(notice) => self.take_notice(notice),
        }
    }

    fn take_notice(&mut self, notice: &twinline_reader::Notice<'_>) {
        match notice.kind {
            NoticeKind::Missed(missed) => self.missed.push(missed),
            NoticeKind::Filling => self.fills += 1,
            NoticeKind::Filled { messages } => self.filled += messages,
            NoticeKind::Writer(state) => self.writer.push(state),
            NoticeKind::HalfEvent { .. } | NoticeKind::SnapshotUnusable(_) => panic!("{notice:?}"),
            // What is void, too: the listener has said so, and nobody says it again.
            _ => self
                .items
                .push(Item::of_notice(notice).expect("a listener's notice")),
        }
    }

    /// All that comes, until nothing does.
    fn drain(&mut self, reader: &mut Reader) {
        while let Some(event) = reader.poll().unwrap() {
            self.take(&event);
        }
    }
}

/// True if what was got and what was missed is what was written, from `from` on: `got` in order, and the messages not got
/// are exactly those named.
fn assert_complement(written: &[Item], got: &Got) {
    let had: HashSet<_> = got.items.iter().filter_map(Item::key).collect();
    for item in written {
        let Some((session, sequence)) = item.key() else {
            continue;
        };
        let named = got.missed.iter().any(|missed| missed.contains(session, sequence));
        assert_eq!(
            named,
            !had.contains(&(session, sequence)),
            "{session}:{sequence}, {:?}",
            got.missed
        );
    }
    // In order, and nothing that was never written: what was got is a subsequence.
    let mut rest = written.iter();
    for item in &got.items {
        assert!(rest.any(|one| one == item), "{item:?} out of its place");
    }
}

fn wait_for(got: &mut Got, reader: &mut Reader, enough: impl Fn(&Got, &Reader) -> bool) {
    let start = Instant::now();
    while !enough(got, reader) {
        assert!(start.elapsed() < PATIENCE, "{:?}", got.writer);
        if let Some(event) = reader.next_within(Duration::from_millis(5)).unwrap() {
            got.take(&event);
        }
    }
}

/// Notices that stand where a reader came again may be told again.
fn assert_once_in_order(written: &[Item], got: &[Item], again: bool) {
    let keys = |items: &[Item]| items.iter().filter_map(Item::key).collect::<Vec<_>>();
    if again {
        return assert!(keys(got) == keys(written), "messages differ");
    }
    // Not compared as a whole: what differs would fill the screen.
    let differs = got.iter().zip(written).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("at {at}: {:?} instead of {:?}", got[at], written[at]);
    }
    assert_eq!(got.len(), written.len());
}

/// Set in a process that is only there to write, and to be killed.
const WRITER: &str = "TWINLINE_READER_TEST_WRITER";

#[test]
fn the_writer_that_is_to_be_killed() {
    let Some(dir) = std::env::var_os(WRITER) else {
        return;
    };
    let mut feed = Feed::new(Path::new(&dir), config(None), std::process::id().into());
    if feed.next == 1 {
        feed.begin_session();
    }
    // Until it is killed, but not for ever.
    for packet in 0..200_000_u64 {
        feed.anything();
        if packet.is_multiple_of(40) {
            thread::sleep(Duration::from_micros(300));
        }
    }
}
