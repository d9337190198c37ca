//! The hot path allocates nothing: counted by an allocator that counts.

mod common;

use common::*;
use std::cell::Cell;
use twinline_counting_allocator::{Counting, allocations};
use twinline_feed::publisher::{Burst, Line, Lines, Publisher, open_without_thread};
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

#[test]
fn publishing_allocates_nothing_from_segment_to_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = place(dir.path(), "boot");
    place.journal_config.segment_size = 1 << 20;
    place.journal_config.prepare = Prepare::Thread;
    place.block = 1 << 20;
    let (mut publisher, _) = open_without_thread(at_once(), &place, Nowhere, 1).unwrap();
    let mut source = TestSource::new(u64::MAX, 8);
    let mut turn = |publisher: &mut Publisher<Nowhere>, now: u64| {
        publisher
            .event(now, |sink| source.poll(0, sink))
            .unwrap()
            .unwrap();
        if mix(now / 100_000).is_multiple_of(4) {
            publisher.flush(now).unwrap();
        }
        publisher.tick(now).unwrap();
    };
    let mut now = 0;
    let mut turns = |publisher: &mut Publisher<Nowhere>, count: u64, apart: u64| {
        for _ in 0..count {
            now += apart;
            turn(publisher, now);
        }
    };
    turns(&mut publisher, 1000, 1);
    let (mut allocated, mut segment) = (0, 0);
    for _ in 0..40 {
        // The next two segments are there: a thread that has to wait for one is not on its usual way.
        segment = publisher.journal().location().to_bits() >> 32;
        let second = place.journal.join(format!("{:020}.seg", segment + 2));
        while !second.exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let before = allocations();
        // Heartbeats, and what is left for the control thread, are due many times.
        turns(&mut publisher, 1250, 1_000_000);
        // Packets go out in bursts.
        turns(&mut publisher, 1250, 100);
        allocated += allocations() - before;
    }
    assert_eq!(allocated, 0);
    assert!(segment >= 4, "segments were switched: {segment}");
    assert!(BURSTS.get() > 100, "bursts were sent: {}", BURSTS.get());
}
