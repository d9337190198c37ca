//! Books held to a naive model, through everything that can happen and much that cannot.

mod support;

use proptest::prelude::*;
use std::collections::HashMap;
use support::{Act, Model, Step, apply, assert_shows, step};
use twinline_book::{Best, Books};
use twinline_wire::Side;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn books_show_what_the_naive_model_shows_and_report_each_change_once(
        steps in prop::collection::vec(step(), 1..300)
    ) {
        let mut books = Books::new();
        let mut models: HashMap<u32, Model> = HashMap::new();
        for (time, step) in (1..).zip(&steps) {
            let model = models.entry(step.instrument).or_default();
            let before = model.best();
            model.step(step);
            let change = apply(&mut books, step, time);
            let expected = (model.best() != before).then(|| model.best());
            prop_assert_eq!(change.map(|change| change.best), expected);
            if let Some(change) = change {
                prop_assert_eq!((change.instrument, change.source_time), (step.instrument, time));
            }
            assert_shows(&books, step.instrument, model);
        }
        for (instrument, model) in &models {
            assert_shows(&books, *instrument, model);
        }
        let live: usize = models.values().flat_map(|model| &model.sides).flatten().map(|level| level.1.len()).sum();
        prop_assert_eq!(books.live_orders(), live);
    }

    #[test]
    fn a_checksum_depends_on_the_state_alone(
        steps in prop::collection::vec(step(), 1..200),
        other in prop::collection::vec(step(), 0..200)
    ) {
        let mut plain = Books::new();
        // The same messages of each instrument, among others and in other memory.
        let mut mixed = Books::new();
        mixed.reserve(10_000);
        for step in &other {
            apply(&mut mixed, &Step { instrument: step.instrument + 100, ..*step }, 1);
        }
        for (time, step) in (1..).zip(&steps) {
            apply(&mut plain, step, time);
            apply(&mut mixed, step, time);
            // Comes and goes without a trace, but for having been counted.
            let passing = Step { id: 1000 + time, act: Act::Add { side: Side::BUY, price: 5, quantity: 1 }, ..*step };
            apply(&mut mixed, &passing, time);
            apply(&mut mixed, &Step { act: Act::Delete, ..passing }, time);
        }
        for book in plain.iter() {
            let twin = mixed.book(book.instrument()).expect("the same messages");
            prop_assert_eq!(book.checksum(), twin.checksum());
        }
    }
}

fn one(id: u64, act: Act) -> Step {
    Step {
        instrument: 65_537,
        id,
        act,
    }
}

fn add(price: i64, quantity: u32) -> Act {
    Act::Add {
        side: Side::BUY,
        price,
        quantity,
    }
}

fn queue(books: &Books) -> Vec<(u64, i64, u32)> {
    let book = books.book(65_537).expect("it was named");
    book.orders(Side::BUY)
        .map(|order| (order.id, order.price.mantissa(), order.quantity))
        .collect()
}

#[test]
fn an_order_keeps_its_place_or_loses_it_as_the_message_says() {
    let mut books = Books::new();
    for id in 1..=3 {
        apply(&mut books, &one(id, add(10, 100)), 1);
    }
    let acts = [
        (
            1,
            Act::Modify {
                action: 1,
                quantity: 40,
            },
            vec![(1, 10, 60), (2, 10, 100), (3, 10, 100)],
        ),
        (
            2,
            Act::Modify {
                action: 2,
                quantity: 500,
            },
            vec![(1, 10, 60), (2, 10, 500), (3, 10, 100)],
        ),
        (
            1,
            Act::Modify {
                action: 3,
                quantity: 70,
            },
            vec![(2, 10, 500), (3, 10, 100), (1, 10, 70)],
        ),
        (
            3,
            Act::Execute {
                quantity: 99,
                printed: true,
            },
            vec![(2, 10, 500), (3, 10, 1), (1, 10, 70)],
        ),
        (
            2,
            Act::Replace {
                new: 4,
                price: 10,
                quantity: 5,
            },
            vec![(3, 10, 1), (1, 10, 70), (4, 10, 5)],
        ),
        (
            3,
            Act::Replace {
                new: 3,
                price: 11,
                quantity: 6,
            },
            vec![(3, 11, 6), (1, 10, 70), (4, 10, 5)],
        ),
        (
            1,
            Act::Execute {
                quantity: 70,
                printed: true,
            },
            vec![(3, 11, 6), (4, 10, 5)],
        ),
        // The number is taken: the older order leaves.
        (
            3,
            Act::Replace {
                new: 4,
                price: 10,
                quantity: 8,
            },
            vec![(4, 10, 8)],
        ),
        (4, add(9, 1), vec![(4, 9, 1)]),
    ];
    for (id, act, expected) in acts {
        apply(&mut books, &one(id, act), 2);
        assert_eq!(queue(&books), expected, "after {act:?} of {id}");
    }
    let book = books.book(65_537).expect("it was named");
    assert_eq!(book.tallies().duplicate_orders, 2);
    assert_eq!((book.traded().trades, book.traded().volume), (2, 169));
}

#[test]
fn a_book_from_which_all_orders_left_is_empty_and_says_so() {
    let mut books = Books::new();
    apply(&mut books, &one(1, add(10, 100)), 1);
    let change = apply(&mut books, &one(1, Act::Delete), 2).expect("the best bid went");
    assert_eq!(change.best, Best::default());
    assert_eq!((books.live_orders(), queue(&books).len()), (0, 0));
}

#[test]
fn one_number_on_two_instruments_is_two_orders() {
    let mut books = Books::new();
    apply(&mut books, &one(1, add(10, 100)), 1);
    let other = Step {
        instrument: 65_538,
        ..one(1, add(11, 7))
    };
    apply(&mut books, &other, 1);
    assert_eq!(books.live_orders(), 2);
    apply(
        &mut books,
        &Step {
            act: Act::Delete,
            ..other
        },
        1,
    );
    assert_eq!(queue(&books), [(1, 10, 100)]);
}
