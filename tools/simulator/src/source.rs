//! The market: source events that depend on nothing but seed, session, source and number, so that a publisher that starts
//! again reads the same ones, and a checker can say what the journal must hold.

use crate::rng::Rng;
use twinline_feed::source::EventSink;
use twinline_wire::field::{EventFlags, Optional, Price, Side, Text, TradeKind};
use twinline_wire::market::{AddOrder, DeleteOrder, PriceTick, Trade};
use twinline_wire::{Frame, Message};

/// The source of whole events.
pub(crate) const EVENTS: u16 = 1;
/// The source of single messages, published in process.
pub(crate) const TICKS: u16 = 2;

/// Event `number` (from 0) of [`EVENTS`]: up to five messages; now and then none, only a position.
pub(crate) fn event(seed: u64, session: u32, number: u64, sink: &mut impl EventSink) {
    let mut rng = Rng::mixed(&[seed, u64::from(session), number, 0xe7e7]);
    let count = if rng.one_in(30) { 0 } else { rng.range(1, 5) };
    for at in 1..=count {
        message(&mut rng, number, at == count, sink);
    }
    sink.end_event(EVENTS, number + 1);
}

fn message(rng: &mut Rng, number: u64, last: bool, sink: &mut impl EventSink) {
    let flags = if last {
        EventFlags::END_OF_EVENT
    } else {
        EventFlags::default()
    };
    let source_time = number.into();
    let instrument = (u32::from(EVENTS) << 16 | rng.below(50) as u32).into();
    let price = Price::new(rng.below(1 << 40) as i64);
    match rng.below(3) {
        0 => sink.push(&AddOrder {
            source_time,
            order_id: rng.next().into(),
            price,
            quantity: (rng.next() as u32).into(),
            instrument,
            participant: Text::new(b"SIM"),
            side: Side::BUY,
            flags,
        }),
        1 => sink.push(&DeleteOrder {
            source_time,
            order_id: rng.next().into(),
            instrument,
            flags,
        }),
        _ => sink.push(&Trade {
            source_time,
            match_id: rng.next().into(),
            price,
            quantity: rng.next().into(),
            instrument,
            side: Side::SELL,
            kind: TradeKind::REGULAR,
            flags,
        }),
    }
}

/// Message `number` (from 0) of [`TICKS`], without event flags: the publisher sets them.
pub(crate) fn tick(seed: u64, session: u32, number: u64) -> PriceTick {
    let mut rng = Rng::mixed(&[seed, u64::from(session), number, 0x71c5]);
    PriceTick {
        source_time: number.into(),
        price: Price::new(rng.below(1 << 40) as i64),
        quantity: Optional::some(rng.next() >> 1),
        instrument: (u32::from(TICKS) << 16 | rng.below(50) as u32).into(),
        flags: EventFlags::default(),
    }
}

/// What the market messages of a session in the journal must be, one after the other.
#[derive(Debug)]
pub(crate) struct Expected {
    seed: u64,
    session: u32,
    events: u64,
    ticks: u64,
    open: Vec<Vec<u8>>,
    taken: usize,
}

impl Expected {
    pub(crate) fn new(seed: u64, session: u32) -> Self {
        Self {
            seed,
            session,
            events: 0,
            ticks: 0,
            open: Vec::new(),
            taken: 0,
        }
    }

    /// True if `frame` is the next message of its source.
    pub(crate) fn is_next(&mut self, frame: &Frame<'_>) -> bool {
        if frame.template() == PriceTick::TEMPLATE {
            let mut tick = tick(self.seed, self.session, self.ticks);
            tick.flags = EventFlags::END_OF_EVENT;
            self.ticks += 1;
            return frame.view::<PriceTick>().is_some_and(|read| *read == tick);
        }
        while self.taken == self.open.len() {
            let mut frames = Frames::default();
            event(self.seed, self.session, self.events, &mut frames);
            (self.open, self.taken) = (frames.0, 0);
            self.events += 1;
        }
        self.taken += 1;
        self.open[self.taken - 1] == frame.bytes()
    }

    /// True if the last event begun is whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.taken == self.open.len()
    }
}

/// Collects events as frames.
#[derive(Default)]
struct Frames(Vec<Vec<u8>>);

impl EventSink for Frames {
    fn push<M: Message>(&mut self, message: &M) {
        let mut buffer = [0; 256];
        let mut packet = twinline_wire::OpenPacket::new();
        packet.push(&mut buffer, message);
        self.0
            .push(buffer[twinline_wire::header::HEADER_LEN..packet.len()].to_vec());
    }

    fn push_frame(&mut self, frame: &Frame<'_>) {
        self.0.push(frame.bytes().to_vec());
    }

    fn end_event(&mut self, _: u16, _: u64) {}
}
