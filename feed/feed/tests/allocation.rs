//! The hot path allocates nothing: counted by an allocator that counts.

mod common;

use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use twinline_feed::publisher::{Burst, Line, Lines, open_without_thread};
use twinline_feed::source::Source;
use twinline_journal::Prepare;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BURSTS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator; the count is a plain thread-local number without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's own contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nowhere;

impl Lines for Nowhere {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        BURSTS.set(BURSTS.get() + u64::from(burst.count() > 1));
        burst.count()
    }
}

#[test]
fn publishing_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = place(dir.path(), "boot");
    place.journal_config.segment_size = 32 << 20;
    place.journal_config.prepare = Prepare::Thread;
    place.block = 1 << 20;
    let (mut publisher, _) = open_without_thread(at_once(), &place, Nowhere, 1).unwrap();
    let mut source = TestSource::new(u64::MAX, 8);
    let mut turn = |now: u64| {
        publisher
            .event(now, |sink| source.poll(0, sink))
            .unwrap()
            .unwrap();
        if mix(now / 100_000).is_multiple_of(4) {
            publisher.flush(now).unwrap();
        }
        publisher.tick(now).unwrap();
    };
    (0..1000).for_each(&mut turn);
    let before = ALLOCATIONS.get();
    // A millisecond an event: heartbeats, and what is left for the control thread, are due many times.
    (0..100_000_u64).for_each(|n| turn(n * 1_000_000));
    // A hundred nanoseconds an event: packets go out in bursts.
    (0..200_000_u64).for_each(|n| turn(100_000_000_000 + n * 100));
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(BURSTS.get() > 100);
}
