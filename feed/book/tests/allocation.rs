//! Nothing is allocated once the books have reached the day's size. A test binary of its own, for its allocator.

mod support;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use support::{apply, step};
use twinline_book::Books;
use twinline_counting_allocator::{Counting, allocations};

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
    let before = allocations();
    let mut changes = 0;
    for step in &steps {
        changes += u64::from(apply(&mut books, step, 2).is_some());
    }
    assert_eq!(allocations() - before, 0);
    assert!(changes > 1000, "{changes}");
}
