//! An allocator that counts: how tests assert that a thread allocates nothing.
//!
//! A test binary makes it its allocator and compares [`allocations`] before and after, on the thread that it asks about:
//!
//! ```
//! use twinline_counting_allocator::{Counting, allocations};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let before = allocations();
//! let text = String::from("one");
//! assert_eq!(allocations() - before, 1);
//! # drop(text);
//! ```
//!
//! Of a thread that runs on its own, [`watched`] makes the count one that another thread can read.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Where the count goes, too.
    static WATCHED: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

/// The system's allocator, with a count for each thread.
#[derive(Debug)]
pub struct Counting;

/// How often this thread has asked for memory so far, or for more of it. 0 for ever if [`Counting`] is not the allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// The calling thread's [`allocations`], for other threads to read: from now on, and what it was at the end once the thread has
/// ended. Takes some memory that is never given back.
pub fn watched() -> &'static AtomicU64 {
    if let Some(watched) = WATCHED.get() {
        return watched;
    }
    let watched: &AtomicU64 = Box::leak(Box::default());
    watched.store(allocations(), Ordering::Relaxed);
    WATCHED.set(Some(watched));
    watched
}

fn count() {
    let count = ALLOCATIONS.get() + 1;
    ALLOCATIONS.set(count);
    if let Some(watched) = WATCHED.get() {
        watched.store(count, Ordering::Relaxed);
    }
}

// SAFETY: passes everything on to the system's allocator; the count is kept in plain thread-local values without a destructor,
// so that reading them neither allocates nor can come too late, and in memory that is never given back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's own contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's own contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn what_a_thread_allocates_grows_and_zeroes_is_counted_there_and_nowhere_else() {
        let before = allocations();
        let mut values = vec![1_u64];
        values.reserve_exact(8);
        let zeros = vec![0_u8; 100];
        assert_eq!(allocations() - before, 3, "{values:?} {}", zeros.len());
        drop((values, zeros));
        assert_eq!(allocations() - before, 3, "giving back is not counted");
        let here = allocations();
        let there = std::thread::spawn(|| {
            let before = allocations();
            let boxed = std::hint::black_box(Box::new(1_u64));
            drop(boxed);
            allocations() - before
        });
        let spawned = allocations() - here;
        assert_eq!(there.join().ok(), Some(1));
        assert!(spawned > 0, "the thread itself was made here");
    }

    #[test]
    fn what_a_watched_thread_allocates_is_seen_by_another_while_it_runs_and_when_it_has_ended() {
        use std::sync::mpsc::channel;
        let (say, said) = channel();
        let (go, goes) = channel::<u64>();
        let thread = std::thread::spawn(move || {
            let count = watched();
            assert!(std::ptr::eq(watched(), count), "there is one for each thread");
            say.send(count).unwrap();
            for boxes in goes {
                let before = allocations();
                (0..boxes).for_each(|value| drop(std::hint::black_box(Box::new(value))));
                assert_eq!(allocations() - before, boxes);
                assert_eq!(count.load(Ordering::Relaxed), allocations());
                say.send(count).unwrap();
            }
            allocations()
        });
        let count = said.recv().unwrap();
        let mut last = count.load(Ordering::Relaxed);
        for boxes in [1, 100] {
            go.send(boxes).unwrap();
            said.recv().unwrap();
            let now = count.load(Ordering::Relaxed);
            assert!(now >= last + boxes, "{last} {now}");
            last = now;
        }
        drop((go, said));
        assert_eq!(thread.join().ok(), Some(count.load(Ordering::Relaxed)));
    }
}
