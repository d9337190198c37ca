//! A publishing thread allocates nothing once its publisher is open: counted by an allocator that counts.

mod common;

use common::*;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use twinline_counting_allocator::{Counting, allocations};
use twinline_feed::publisher::{
    Burst, Line, Lines, Opened, Phase, Place, Publisher, PublisherConfig, open, open_without_thread,
};
use twinline_feed::run::{RunConfig, RunEnd, run, unix_now};
use twinline_feed::source::Source;
use twinline_journal::Prepare;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static BURSTS: Cell<u64> = const { Cell::new(0) };
}

struct Nowhere;

impl Lines for Nowhere {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        BURSTS.set(BURSTS.get() + u64::from(burst.count() > 1));
        burst.count()
    }
}

/// As in production: with a thread that makes the next segment.
fn threaded(mut place: Place) -> Place {
    place.journal_config.prepare = Prepare::Thread;
    place.block = 1 << 20;
    place
}

/// Publishes events, so many nanoseconds apart.
fn turns(publisher: &mut Publisher<Nowhere>, source: &mut TestSource, now: &mut u64, count: u64, apart: u64) {
    for _ in 0..count {
        *now += apart;
        publisher
            .event(*now, |sink| source.poll(0, sink))
            .unwrap()
            .unwrap();
        if mix(*now / 100_000).is_multiple_of(4) {
            publisher.flush(*now).unwrap();
        }
        publisher.tick(*now).unwrap();
    }
}

#[test]
fn publishing_allocates_nothing_through_segments_a_new_epoch_a_sessions_end_and_the_next_ones_begin() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = threaded(place(dir.path(), "boot"));
    let (mut now, mut allocated, mut epochs) = (0, 0, Vec::new());
    // The first one dies in its session, the second one ends it.
    for (session, ends) in [(1, false), (1, true), (2, false)] {
        place.session = Some(session);
        let opened = open_without_thread(PublisherConfig::default(), &place, Nowhere, now);
        let (mut publisher, held) = opened.unwrap();
        let mut source = TestSource::new(u64::MAX, 8);
        source.resume(publisher.position(SOURCE)).unwrap();
        let first = publisher.journal().location().to_bits() >> 32;
        let before = allocations();
        while publisher.phase() == Phase::LeadIn {
            now += 1_000_000;
            publisher.tick(now).unwrap();
        }
        for _ in 0..10 {
            // Heartbeats, and what is left for the control thread, are due many times.
            turns(&mut publisher, &mut source, &mut now, 1250, 1_000_000);
            // Packets go out in bursts.
            turns(&mut publisher, &mut source, &mut now, 1250, 100);
        }
        if ends {
            publisher.end_session(now).unwrap();
            while publisher.phase() != Phase::Done {
                now += 1_000_000;
                publisher.tick(now).unwrap();
            }
        }
        allocated += allocations() - before;
        let segments = (publisher.journal().location().to_bits() >> 32) - first;
        assert!(segments >= 4, "segments were switched: {segments}");
        assert!(publisher.counters().heartbeats.get() > 10);
        epochs.push((publisher.session(), publisher.epoch()));
        drop(publisher);
        let (store, grant) = held.expect("the session is not complete");
        if ends {
            store.end_session(&grant).unwrap();
        }
    }
    assert_eq!(allocated, 0);
    assert!(BURSTS.get() > 100, "bursts were sent: {}", BURSTS.get());
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
    let sessions: Vec<u32> = epochs.iter().map(|(session, _)| *session).collect();
    assert_eq!(sessions, [1, 1, 2]);
}

/// Says when so many bursts were sent.
struct Until<'s>(u64, &'s AtomicBool);

impl Lines for Until<'_> {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        self.0 = self.0.saturating_sub(1);
        self.1.store(self.0 == 0, Ordering::Relaxed);
        burst.count()
    }
}

#[test]
fn the_publishing_thread_allocates_nothing_from_its_first_turn_in_an_epoch_to_its_last() {
    let dir = tempfile::tempdir().unwrap();
    let place = threaded(place(dir.path(), "boot"));
    let mut published = 0;
    for epoch in 1..=3 {
        let stop = AtomicBool::new(false);
        let opened = open(at_once(), &place, Until(2000, &stop), unix_now()).unwrap();
        let Opened {
            mut publisher,
            reserver,
        } = opened;
        let (mut source, config) = (TestSource::new(u64::MAX, 8), RunConfig::default());
        let before = allocations();
        let end = run(&mut publisher, reserver, &mut source, &config, &stop);
        assert_eq!(allocations() - before, 0, "in epoch {epoch}");
        assert_eq!(end.unwrap(), RunEnd::Stopped);
        assert_eq!(publisher.epoch(), epoch);
        assert!(publisher.source_messages() > published + 1000);
        published = publisher.source_messages();
        let segment = publisher.journal().location().to_bits() >> 32;
        assert!(
            segment >= 2 * u64::from(epoch),
            "segments were switched: {segment}"
        );
    }
}
