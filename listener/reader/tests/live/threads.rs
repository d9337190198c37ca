//! A writer in a thread, and readers of every kind beside it.

use super::*;

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
