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

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
#[derive(Debug)]
pub struct Counting;

/// How often this thread has asked for memory so far, or for more of it. 0 for ever if [`Counting`] is not the allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: passes everything on to the system's allocator; the count is a plain thread-local number without a destructor, so
// that reading it neither allocates nor can come too late.
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
}
