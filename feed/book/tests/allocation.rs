//! Nothing is allocated once the books have reached the day's size. A test binary of its own, for its allocator.

mod support;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{apply, step};
use twinline_book::Books;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_steady_state_allocates_nothing() {
    let mut runner = TestRunner::deterministic();
    let mut steps = Vec::new();
    for _ in 0..20_000 {
        steps.push(step().new_tree(&mut runner).expect("a step").current());
    }
    let mut books = Books::new();
    // The first round opens books and levels and reaches the most that stand at once.
    for step in &steps {
        apply(&mut books, step, 1);
    }
    let before = ALLOCATIONS.get();
    let mut changes = 0;
    for step in &steps {
        changes += u64::from(apply(&mut books, step, 2).is_some());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(changes > 1000, "{changes}");
}
