//! Price ticks: each instrument has one a second, and they are spread evenly over the second.
//!
//! The smallest real case: a thousand symbols with a tick a second each are a thousand messages a second.

use super::flow::{self, Kind, LAST, MIDDLES, OPENING};
use crate::source::EventSink;
use std::num::NonZeroU16;
use twinline_line::random::Random;
use twinline_wire::U64;
use twinline_wire::field::Optional;
use twinline_wire::market::PriceTick;

const SECOND: u64 = 1_000_000_000;

/// The ticks, each price a walk of cents.
#[derive(Debug)]
pub(super) struct Ticks {
    source: u16,
    random: Random,
    /// Of each instrument, in cents.
    prices: Vec<u32>,
    /// Messages said: a definition of each instrument, that the market opens, then ticks.
    said: u64,
}

impl Ticks {
    pub(super) fn new(source: u16, seed: u64, symbols: NonZeroU16) -> Self {
        let mut random = Random::new(seed);
        let prices = (0..symbols.get())
            .map(|_| 2_000 + random.below(48_000) as u32)
            .collect();
        Self {
            source,
            random,
            prices,
            said: 0,
        }
    }

    /// Ticks said before the next message.
    fn ticks(&self) -> u64 {
        self.said.saturating_sub(self.prices.len() as u64 + 1)
    }

    /// Source time of the next message.
    #[inline]
    pub(super) fn time(&self) -> u64 {
        let count = self.prices.len() as u64;
        let (second, place) = (self.ticks() / count, self.ticks() % count);
        OPENING + second * SECOND + place * SECOND / count
    }

    /// Pushes the next message and says what it was.
    #[inline]
    pub(super) fn step(&mut self, sink: &mut impl EventSink) -> Kind {
        let (time, count) = (self.time(), self.prices.len() as u64);
        let (said, ticks) = (self.said, self.ticks());
        self.said += 1;
        if said <= count {
            return flow::open((self.source, self.prices.len()), said as usize, time, sink);
        }
        let place = (ticks % count) as usize;
        let price = &mut self.prices[place];
        *price = (*price + self.random.below(3) as u32 - 1).clamp(*MIDDLES.start(), *MIDDLES.end());
        sink.push(&PriceTick {
            source_time: U64::new(time),
            price: flow::cents(*price),
            quantity: Optional::some(U64::new(100 * (1 + self.random.below(9)))),
            instrument: flow::instrument(self.source, place),
            flags: LAST,
        });
        Kind::Tick
    }
}
