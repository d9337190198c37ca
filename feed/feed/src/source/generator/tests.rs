use super::flow::MOST_ORDERS;
use super::*;
use crate::source::Recorder;
use std::collections::{HashMap, HashSet};
use twinline_wire::field::{EventFlags, Side};
use twinline_wire::market::{
    AddOrder, DeleteOrder, ExecuteOrder, InstrumentDefinition, ModifyOrder, PriceTick, ReplaceOrder, Trade,
};
use zerocopy::FromBytes;

fn generator(seed: u64, symbols: u16, messages: u64) -> Generator {
    Generator::new(GeneratorConfig {
        source: 3,
        seed,
        symbols: NonZeroU16::new(symbols).unwrap(),
        messages: Some(messages),
        profile: Profile::ORDERS,
        pace: Pace::Max,
    })
}

fn run(mut generator: Generator) -> (Generator, Recorder) {
    let mut sink = Recorder::default();
    while generator.poll(0, &mut sink).unwrap() == SourceState::Ready {}
    assert_eq!(generator.poll(0, &mut sink).unwrap(), SourceState::End);
    (generator, sink)
}

#[test]
fn the_same_seed_says_the_same_and_another_seed_something_else() {
    let (_, first) = run(generator(1, 10, 5_000));
    let (_, again) = run(generator(1, 10, 5_000));
    let (_, other) = run(generator(2, 10, 5_000));
    assert_eq!(first.events, again.events);
    assert_ne!(first.events, other.events);
}

#[test]
fn a_resumed_run_says_exactly_what_an_uninterrupted_one_would_have_said_next() {
    let (_, whole) = run(generator(1, 10, 2_000));
    for position in [0, 5, 11, 1_000, 2_000] {
        let mut rest = generator(1, 10, 2_000);
        rest.resume(position).unwrap();
        let (rest, sink) = run(rest);
        assert_eq!(sink.events, whole.events[position as usize..]);
        let counted: u64 = rest.counts().iter().map(|count| count.messages).sum();
        assert_eq!(counted, 2_000 - position);
    }
    let error = generator(1, 10, 2_000).resume(2_001).unwrap_err();
    assert!(matches!(error, SourceError::Short { position: 2_001, .. }));
}

#[test]
fn every_kind_comes_and_adds_and_deletes_prevail() {
    let (generator, sink) = run(generator(7, 20, 100_000));
    let counts = generator.counts();
    assert_eq!((sink.events.len(), counts.len()), (100_000, KINDS.len() - 1));
    let of = |kind: &str| counts.iter().find(|count| count.kind == kind).unwrap().messages;
    assert_eq!((of("InstrumentDefinition"), of("TradingStatus")), (20, 1));
    assert!(of("AddOrder") > 40_000 && of("DeleteOrder") > 35_000);
    assert_eq!(counts.iter().map(|count| count.messages).sum::<u64>(), 100_000);
}

/// A book as a listener would build it: order → (instrument, price, quantity, side).
#[derive(Default)]
struct Book {
    instruments: HashSet<u32>,
    orders: HashMap<u64, (u32, i64, u32, Side)>,
    used: HashSet<u64>,
}

impl Book {
    fn enter(&mut self, id: u64, instrument: u32, price: i64, quantity: u32, side: Side) {
        assert!(self.instruments.contains(&instrument), "named before it is used");
        assert!(self.used.insert(id), "order numbers are not used twice");
        assert!(price > 0 && quantity > 0);
        let crosses = |&(other, its_price, _, its_side): &(u32, i64, u32, Side)| {
            other == instrument
                && its_side != side
                && if side == Side::BUY {
                    its_price <= price
                } else {
                    its_price >= price
                }
        };
        assert!(!self.orders.values().any(crosses), "the book never crosses");
        self.orders.insert(id, (instrument, price, quantity, side));
    }

    fn reduce(&mut self, id: u64, instrument: u32, by: u32) {
        let order = self.orders.get_mut(&id).expect("the order is live");
        assert_eq!(order.0, instrument);
        assert!(by > 0 && by <= order.2);
        order.2 -= by;
        if order.2 == 0 {
            self.orders.remove(&id);
        }
    }

    fn apply(&mut self, template: u16, bytes: &[u8]) {
        match template {
            InstrumentDefinition::TEMPLATE => {
                let m = InstrumentDefinition::ref_from_bytes(bytes).unwrap();
                assert!(self.instruments.insert(m.instrument.get()));
            }
            AddOrder::TEMPLATE => {
                let m = AddOrder::ref_from_bytes(bytes).unwrap();
                self.enter(
                    m.order_id.get(),
                    m.instrument.get(),
                    m.price.mantissa(),
                    m.quantity.get(),
                    m.side,
                );
            }
            DeleteOrder::TEMPLATE => {
                let m = DeleteOrder::ref_from_bytes(bytes).unwrap();
                let order = self.orders.remove(&m.order_id.get()).expect("the order is live");
                assert_eq!(order.0, m.instrument.get());
            }
            ExecuteOrder::TEMPLATE => {
                let m = ExecuteOrder::ref_from_bytes(bytes).unwrap();
                self.reduce(m.order_id.get(), m.instrument.get(), m.quantity.get());
            }
            ModifyOrder::TEMPLATE => {
                let m = ModifyOrder::ref_from_bytes(bytes).unwrap();
                self.reduce(m.order_id.get(), m.instrument.get(), m.quantity.get());
                assert!(
                    self.orders.contains_key(&m.order_id.get()),
                    "a reduced order stays"
                );
            }
            ReplaceOrder::TEMPLATE => {
                let m = ReplaceOrder::ref_from_bytes(bytes).unwrap();
                let old = self.orders.remove(&m.order_id.get()).expect("the order is live");
                assert_eq!(old.0, m.instrument.get());
                let price = m.price.mantissa();
                self.enter(m.new_order_id.get(), old.0, price, m.quantity.get(), old.3);
            }
            Trade::TEMPLATE => assert!(Trade::ref_from_bytes(bytes).unwrap().quantity.get() > 0),
            _ => {}
        }
    }
}

#[test]
fn a_book_built_from_it_is_consistent_never_crosses_and_stays_bounded() {
    let (_, sink) = run(generator(5, 4, 50_000));
    let mut book = Book::default();
    let mut most = 0;
    for (event, position) in sink.events.iter().zip(1..) {
        assert_eq!((event.position, event.messages.len()), (position, 1));
        let (template, bytes) = &event.messages[0];
        assert_eq!(
            bytes.last().unwrap() & EventFlags::END_OF_EVENT.0,
            1,
            "flags stand last"
        );
        book.apply(*template, bytes);
        most = most.max(book.orders.len());
    }
    assert!(most > 100 && most <= 4 * MOST_ORDERS, "{most}");
}

#[test]
fn source_time_grows_at_about_twenty_thousand_messages_a_second() {
    let mut generator = generator(1, 10, 100_000);
    let begin = generator.market.time();
    generator.resume(100_000).unwrap();
    let seconds = (generator.market.time() - begin) as f64 / 1e9;
    assert!((4.5..5.5).contains(&seconds), "{seconds}");
}

#[test]
fn each_instrument_ticks_once_a_second_evenly_spread() {
    let mut ticks = Generator::new(GeneratorConfig {
        source: 3,
        seed: 1,
        symbols: NonZeroU16::new(1_000).unwrap(),
        messages: Some(1_001 + 5_000),
        profile: Profile::Ticks,
        pace: Pace::Max,
    });
    ticks.resume(900).unwrap();
    let (ticks, sink) = run(ticks);
    let counts: Vec<u64> = ticks.counts().iter().map(|count| count.messages).collect();
    assert_eq!(counts, [100, 1, 5_000]);
    let ticks = sink.events[101..].iter().map(|event| {
        let (template, bytes) = &event.messages[0];
        assert_eq!(*template, PriceTick::TEMPLATE);
        PriceTick::ref_from_bytes(bytes).unwrap()
    });
    for (place, tick) in (0_u64..).zip(ticks) {
        assert_eq!(tick.source_time.get(), 34_200_000_000_000 + place * 1_000_000);
        assert_eq!(u64::from(tick.instrument.get()), 3 << 16 | (place % 1_000 + 1));
        assert!(tick.price.mantissa() > 0);
    }
}

#[test]
fn a_fixed_rate_is_kept() {
    let mut paced = Generator::new(GeneratorConfig {
        source: 3,
        seed: 1,
        symbols: NonZeroU16::MIN,
        messages: None,
        profile: Profile::ORDERS,
        pace: "1000/s".parse().unwrap(),
    });
    let mut sink = Recorder::default();
    assert_eq!(paced.poll(10, &mut sink).unwrap(), SourceState::Ready);
    assert_eq!(
        paced.poll(10, &mut sink).unwrap(),
        SourceState::Idle { until: 1_000_010 }
    );
    assert_eq!(paced.poll(1_000_010, &mut sink).unwrap(), SourceState::Ready);
    assert_eq!(sink.events.len(), 2);
}
