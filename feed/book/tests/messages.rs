//! What the messages do that are no orders: definitions, states, trades, prices.

mod support;

use support::{Act, Step, apply, everything};
use twinline_book::{Books, Quote};
use twinline_wire::field::{EventFlags, Field, Optional, Status, TradeKind};
use twinline_wire::market::{BestBidOffer, ExecuteOrder, Trade, TradeCancel, UnseenOrder};
use twinline_wire::{Message, Price, Side};

const ONE: u32 = 65_537;

fn offered(books: &mut Books) {
    let act = Act::Add {
        side: Side::SELL,
        price: 20,
        quantity: 10,
    };
    let step = Step {
        instrument: ONE,
        id: 1,
        act,
    };
    apply(books, &step, 1);
}

#[test]
fn the_last_of_each_kind_is_kept_and_an_instrument_is_found_by_its_symbol() {
    let mut books = Books::new();
    everything(&mut books, ONE);
    everything(&mut books, ONE + 1);
    let book = books.find_symbol("S65538").expect("it was defined");
    assert_eq!(book.instrument(), ONE + 1);
    assert!(books.find_symbol("S1").is_none() && books.book(1).is_none());
    assert_eq!(book.status().map(|status| status.status), Some(Status::TRADING));
    assert_eq!(book.last_tick().map(|tick| tick.price), Some(Price::new(11)));
    assert_eq!(book.last_trade().map(|trade| trade.match_id.get()), Some(77));
    assert!(book.last_imbalance().is_some() && book.last_quote().is_some());
    assert_eq!((book.traded().trades, book.tallies().trade_cancels), (1, 1));
}

#[test]
fn a_source_has_a_position_and_a_status_of_its_whole_market() {
    let mut books = Books::new();
    everything(&mut books, ONE);
    let status = books.market_status(1).expect("it was told");
    assert_eq!(status.status, Status::START_OF_MARKET_HOURS);
    assert_eq!(books.sources().len(), 1);
    assert_eq!(books.sources()[0].position, Some(1234));
    assert!(books.market_status(2).is_none());
    let own = books
        .book(ONE)
        .and_then(|book| book.status().map(|status| status.status));
    assert_eq!(own, Some(Status::TRADING), "an instrument keeps its own");
}

#[test]
fn a_printed_execution_is_a_trade_at_the_orders_price_unless_it_names_one() {
    let mut books = Books::new();
    offered(&mut books);
    let mut execution = ExecuteOrder {
        order_id: 1.into(),
        match_id: 5.into(),
        quantity: 4.into(),
        instrument: ONE.into(),
        flags: EventFlags::PRINTABLE,
        ..ExecuteOrder::NULL
    };
    books.apply_message(&execution);
    let last = |books: &Books| {
        *books
            .book(ONE)
            .and_then(|book| book.last_trade())
            .expect("a trade")
    };
    assert_eq!(
        (last(&books).price, last(&books).quantity.get()),
        (Price::new(20), 4)
    );
    assert_eq!(
        (last(&books).side, last(&books).kind),
        (Side::SELL, TradeKind::NULL)
    );
    execution.price = Optional::some(Price::new(19));
    books.apply_message(&execution);
    assert_eq!(last(&books).price, Price::new(19));
    execution.flags = EventFlags::NULL;
    execution.quantity = 1.into();
    execution.match_id = 6.into();
    books.apply_message(&execution);
    assert_eq!(last(&books).match_id.get(), 5, "not printed, so no trade");
    let book = books.book(ONE).expect("it is there");
    assert_eq!((book.traded().trades, book.traded().volume), (2, 8));
    assert_eq!(book.best().offer.map(|quote| quote.quantity), Some(1));
}

#[test]
fn a_broken_trade_is_the_last_one_no_more_but_stays_in_the_volume() {
    let mut books = Books::new();
    let trade = |id: u64| Trade {
        match_id: id.into(),
        quantity: 5.into(),
        instrument: ONE.into(),
        ..Trade::NULL
    };
    let cancel = |id: u64| TradeCancel {
        match_id: id.into(),
        instrument: ONE.into(),
        ..TradeCancel::NULL
    };
    books.apply_message(&trade(3));
    books.apply_message(&cancel(2));
    assert!(
        books.book(ONE).expect("there").last_trade().is_some(),
        "another one"
    );
    books.apply_message(&cancel(3));
    assert!(books.book(ONE).expect("there").last_trade().is_none());
    books.apply_message(&trade(0));
    books.apply_message(&cancel(0));
    let book = books.book(ONE).expect("there");
    assert!(book.last_trade().is_some(), "0 is no number of a match");
    assert_eq!((book.traded().volume, book.tallies().trade_cancels), (10, 3));
}

#[test]
fn a_sources_own_best_shows_as_long_as_no_order_stands() {
    let mut books = Books::new();
    let quote = BestBidOffer {
        bid_price: Optional::some(Price::new(9)),
        bid_quantity: 3.into(),
        offer_price: Optional::NONE,
        instrument: ONE.into(),
        ..BestBidOffer::NULL
    };
    let shown = Quote {
        price: Price::new(9),
        quantity: 3,
    };
    let change = books.apply_message(&quote).expect("it changes");
    assert_eq!((change.best.bid, change.best.offer), (Some(shown), None));
    assert_eq!(books.apply_message(&quote), None, "the same again");
    offered(&mut books);
    let best = books.book(ONE).expect("there").best();
    assert_eq!(
        (best.bid, best.offer.map(|quote| quote.quantity)),
        (None, Some(10))
    );
    let gone = Step {
        instrument: ONE,
        id: 1,
        act: Act::Delete,
    };
    let change = apply(&mut books, &gone, 1).expect("the quote shows again");
    assert_eq!(change.best.bid, Some(shown));
}

#[test]
fn an_order_that_was_never_seen_shows_nowhere_and_is_counted_when_something_happens_to_it() {
    let mut books = Books::new();
    let unseen = UnseenOrder {
        instrument: ONE.into(),
        ..UnseenOrder::NULL
    };
    assert_eq!(books.apply_message(&unseen), None);
    assert!(books.book(ONE).is_none());
    let step = Step {
        instrument: ONE,
        id: 1,
        act: Act::Delete,
    };
    assert_eq!(apply(&mut books, &step, 1), None);
    let book = books.book(ONE).expect("something was said of it");
    assert_eq!((book.tallies().unseen_orders, book.live_orders()), (1, 0));
}

#[test]
fn invalid_books_go_on_and_say_so() {
    let mut books = Books::new();
    offered(&mut books);
    books.invalidate();
    everything(&mut books, ONE + 1);
    assert!(books.iter().all(|book| !book.is_valid()) && !books.is_valid());
    assert_eq!(books.iter().count(), 2);
}
