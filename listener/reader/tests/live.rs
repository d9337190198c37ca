//! A live stream: a writer with a journal and a small ring, and readers that are too slow for it now and then.

mod common;

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

#[test]
fn a_listener_that_ends_and_comes_again_is_told_of_and_nothing_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 5);
    feed.begin_session();
    let mut readers: Vec<_> = [Overrun::Fill, Overrun::Skip]
        .map(|overrun| (attach(&feed, options(Start::Oldest, overrun)), Got::default()))
        .into();
    for _ in 0..3 {
        (0..100).for_each(|_| feed.anything());
        readers.iter_mut().for_each(|(reader, got)| got.drain(reader));
        // The last of it is read only when the listener is gone.
        (0..20).for_each(|_| feed.anything());
        feed.stop();
        for (reader, got) in &mut readers {
            wait_for(got, reader, |got, _| {
                got.writer.last() == Some(&WriterState::Closed)
            });
            assert!(reader.stale().writer);
            assert!(reader.books().all(|book| book.is_stale()));
        }
        feed.start();
        // Before readers come: they have it from the journal, or the ring.
        (0..20).for_each(|_| feed.anything());
        for (reader, got) in &mut readers {
            wait_for(got, reader, |got, _| {
                got.writer.last() == Some(&WriterState::Alive)
            });
            assert!(!reader.stale().writer);
        }
    }
    let written = feed.items();
    for (reader, got) in &mut readers {
        wait_for(got, reader, |got, _| got.items.len() >= written.len());
        assert_eq!(got.items, written);
        assert_eq!(got.writer, [WriterState::Closed, WriterState::Alive].repeat(3));
        assert!(got.missed.is_empty());
        assert_eq!(reader.all_books().unwrap().checksum(), feed.checksum());
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

#[test]
fn a_writer_that_does_not_turn_is_silent_and_alive_again_when_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), 6);
    feed.begin_session();
    let mut reader = attach(&feed, options(Start::Oldest, Overrun::Fill));
    let mut got = Got::default();
    wait_for(&mut got, &mut reader, |got, _| {
        got.writer == [WriterState::Silent]
    });
    assert!(reader.stale().writer && reader.writer() == WriterState::Silent);
    feed.beat();
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 2);
    assert_eq!(got.writer[1], WriterState::Alive);
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 3);
    feed.events(1);
    wait_for(&mut got, &mut reader, |got, _| got.writer.len() == 4);
    assert!(!reader.stale().is_stale());
    got.drain(&mut reader);
    assert_eq!(got.items, feed.items());
}

#[test]
fn a_ring_of_another_layout_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let feed = Feed::new(dir.path(), config(None), 7);
    let path = feed.ring_dir.join(format!("channel-{CHANNEL}.ring"));
    let mut bytes = std::fs::read(&path).unwrap();
    let known = twinline_ring::LAYOUT_VERSION;
    let version = bytes
        .chunks(8)
        .position(|word| word == known.to_ne_bytes())
        .unwrap();
    bytes[8 * version..8 * version + 8].copy_from_slice(&(known + 1).to_ne_bytes());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let error = Reader::attach(&feed.ring_dir, CHANNEL, Options::default()).unwrap_err();
    assert!(error.to_string().contains("layout"), "{error}");
}

/// What a writer's thread does in a run, and how a reader reads.
#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    packets: u64,
    /// A pause of the writer once in so many packets, so that readers get in step.
    pause: u64,
    /// The listener ends and comes again so often.
    restarts: u64,
}

/// Writes in a thread; `done` once all is written.
fn write(mut feed: Feed, run: Run, done: Arc<AtomicBool>) -> thread::JoinHandle<Feed> {
    thread::spawn(move || {
        let mut rng = Dice::new(run.seed ^ 0x5eed);
        let restart = run.packets / (run.restarts + 1);
        for packet in 1..=run.packets {
            feed.anything();
            if rng.below(run.pause) == 0 {
                thread::sleep(Duration::from_micros(rng.below(2000)));
            }
            if packet % restart == 0 && packet < run.packets {
                feed.stop();
                thread::sleep(Duration::from_millis(rng.below(30)));
                feed.start();
            }
        }
        done.store(true, Ordering::Release);
        feed
    })
}

/// How one reader reads.
#[derive(Clone, Copy, Debug)]
struct Way {
    overrun: Overrun,
    batches: bool,
    wait: Wait,
    /// It sleeps once in so many events, and saves its position and attaches anew once in so many.
    sleep: u64,
    again: u64,
}

/// Reads until all is written and read.
fn read(ring: &Path, way: Way, seed: u64, done: &AtomicBool) -> (Got, u64, Position) {
    let options = |start| Options {
        wait: way.wait,
        ..options(start, way.overrun)
    };
    let mut rng = Dice::new(seed);
    let mut got = Got::default();
    let mut reader = Reader::attach(ring, CHANNEL, options(Start::Oldest)).unwrap();
    let mut last = Instant::now();
    loop {
        let finished = done.load(Ordering::Acquire);
        let at_most = Duration::from_millis(20);
        let mut any = false;
        if way.batches {
            match reader.next_batch_within(at_most).unwrap() {
                Some(Batch::Messages(messages)) => {
                    any = true;
                    assert!(messages.iter().last().unwrap().ends_event());
                    got.items
                        .extend(messages.iter().map(|message| Item::of_message(&message)));
                }
                Some(Batch::Notice(notice)) => {
                    any = true;
                    got.take_notice(&notice);
                }
                None => {}
            }
        } else if let Some(event) = reader.next_within(at_most).unwrap() {
            any = true;
            got.take(&event);
        }
        let still = got.writer.last().is_none_or(|state| *state == WriterState::Alive) && !any;
        if finished && still {
            let checksum = reader.all_books().unwrap().checksum();
            return (got, checksum, reader.position());
        }
        if any {
            last = Instant::now();
        }
        assert!(
            last.elapsed() < PATIENCE,
            "nothing comes any more: {:?}",
            got.writer
        );
        if rng.below(way.sleep) == 0 {
            thread::sleep(Duration::from_micros(rng.below(5000)));
        }
        if way.again > 0 && rng.below(way.again) == 0 {
            let position = reader.position().to_string().parse().unwrap();
            // While no listener runs there is no ring.
            if let Ok(again) = Reader::attach(ring, CHANNEL, options(Start::At(position))) {
                reader = again;
                got.writer.clear();
            }
        }
    }
}

/// A run with readers of all kinds. Returns how often readers filled, missed something, and saw a listener end.
fn run(seed: u64, pause: u64, restarts: u64, wait: Wait) -> [u64; 3] {
    let dir = tempfile::tempdir().unwrap();
    let mut feed = Feed::new(dir.path(), config(None), seed);
    feed.begin_session();
    let done = Arc::new(AtomicBool::new(false));
    let fill = Way {
        overrun: Overrun::Fill,
        batches: false,
        wait,
        sleep: 300,
        again: 0,
    };
    let skip = Way {
        overrun: Overrun::Skip,
        ..fill
    };
    let ways = [
        fill,
        Way {
            batches: true,
            ..fill
        },
        Way { again: 2000, ..fill },
        skip,
        Way {
            batches: true,
            ..skip
        },
    ];
    let ring = feed.ring_dir.clone();
    let readers = ways.into_iter().enumerate().map(|(number, way)| {
        let (ring, done) = (ring.clone(), Arc::clone(&done));
        thread::spawn(move || read(&ring, way, seed ^ number as u64, &done))
    });
    let readers: Vec<_> = readers.collect();
    let run = Run {
        seed,
        packets: 8000,
        pause,
        restarts,
    };
    let writer = write(feed, run, Arc::clone(&done));
    let got: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let feed = writer.join().unwrap();
    let written = feed.items();
    let mut counts = [0; 3];
    for ((got, checksum, position), way) in got.iter().zip(&ways) {
        assert_eq!(
            (position.session, position.sequence),
            (feed.session, feed.next),
            "{way:?}"
        );
        match way.overrun {
            Overrun::Skip => assert_complement(&written, got),
            Overrun::Fill => {
                assert!(got.missed.is_empty(), "{way:?}: {:?}", got.missed);
                assert_eq!(*checksum, feed.checksum());
                assert_once_in_order(&written, &got.items, way.again > 0);
            }
        }
        counts[0] += got.fills;
        counts[1] += got.missed.len() as u64;
        counts[2] += got.writer.len() as u64 / 2;
    }
    counts
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

#[test]
fn every_reader_has_the_writers_stream_once_and_in_order_or_knows_exactly_what_it_missed() {
    let counts = Cell::new([0; 3]);
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) }, |(
        seed: u64, pause in 20..400_u64, restarts in 0..4_u64, spins: bool,
    )| {
        let wait = if spins { Wait::Spin } else { Wait::Block };
        let (before, more) = (counts.get(), run(seed, pause, restarts, wait));
        counts.set(std::array::from_fn(|at| before[at] + more[at]));
    });
    let counts = counts.get();
    assert!(
        counts.iter().all(|count| *count > 0),
        "fills, misses, ends: {counts:?}"
    );
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

#[test]
fn readers_go_on_behind_listeners_that_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("ring");
    let mut dice = Dice::new(77);
    let mut readers: Vec<(Reader, Got)> = Vec::new();
    for round in 0..25 {
        let mut writer = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_writer_that_is_to_be_killed"])
            .env(WRITER, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let alive = |readers: &[(Reader, Got)]| {
            let states = readers.iter().flat_map(|(_, got)| &got.writer);
            states.filter(|state| **state == WriterState::Alive).count()
        };
        let (start, before) = (Instant::now(), alive(&readers));
        // Killed at some time after both readers have found it.
        let mut until = None;
        while until.is_none_or(|until| Instant::now() < until) {
            assert!(start.elapsed() < PATIENCE, "no listener in round {round}");
            let found = match round {
                0 => readers.len() == 2,
                _ => alive(&readers) >= before + 2,
            };
            if found {
                until.get_or_insert(Instant::now() + Duration::from_millis(dice.below(40)));
            }
            if readers.is_empty()
                && let Ok(reader) = Reader::attach(&ring, CHANNEL, options(Start::Oldest, Overrun::Fill))
            {
                let other = Reader::attach(&ring, CHANNEL, options(Start::Oldest, Overrun::Skip)).unwrap();
                readers.extend([reader, other].map(|reader| (reader, Got::default())));
            }
            for (reader, got) in &mut readers {
                if dice.below(50) > 0 {
                    got.drain(reader);
                }
            }
            if dice.below(20) == 0 {
                thread::sleep(Duration::from_millis(dice.below(8)));
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        if round % 4 == 0 {
            for (reader, got) in &mut readers {
                wait_for(got, reader, |got, _| {
                    got.writer.last() == Some(&WriterState::Dead)
                });
            }
            if round % 8 == 0 {
                // Somebody tidies up: nothing of the old ring can say that there is a new one.
                std::fs::remove_dir_all(&ring).unwrap();
            }
        }
    }
    let written = journal_items(&dir.path().join("journal"));
    assert!(written.len() > 1000);
    for (reader, got) in &mut readers {
        wait_for(got, reader, |got, _| {
            got.writer.last() == Some(&WriterState::Dead)
        });
        let end = reader.position();
        got.drain(reader);
        assert_eq!(reader.position(), end, "the journal was read to its end");
        let ends = |state| got.writer.iter().filter(|one| **one == state).count();
        assert!(
            ends(WriterState::Dead) >= 6 && ends(WriterState::Replaced) >= 6,
            "{:?}",
            got.writer
        );
    }
    assert_complement(&written, &readers[1].1);
    assert_once_in_order(&written, &readers[0].1.items, false);
}
