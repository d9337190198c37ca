//! A market made up on the spot: for demonstrations, tests and load, where no file is at hand.
//!
//! What it says is decided by its configuration alone: message n is always the same, so a publisher that was killed
//! goes on where it was, as from a file. It is plausible, not a model of any market; only the times between messages of
//! order flow are a real market's.

mod bursts;
mod flow;
mod ticks;

use super::pace::{Pace, Pacer};
use super::{EventSink, Source, SourceError, SourceState, TypeCount};
use flow::{Flow, KINDS, Kind};
use std::num::{NonZeroU16, NonZeroU64};
use ticks::Ticks;
use twinline_wire::{Frame, Message};

/// The kind of market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Orders that enter, are executed, changed and deleted, in the bursts of a real hour.
    Orders {
        /// Messages a second on average, by the flow's own clock.
        mean_rate: NonZeroU64,
    },
    /// A price of each instrument each second, spread evenly over the second.
    Ticks,
}

impl Profile {
    /// Order flow of 20,000 messages a second.
    pub const ORDERS: Self = Self::Orders {
        mean_rate: NonZeroU64::MIN.saturating_add(19_999),
    };
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorConfig {
    /// The source's number.
    pub source: u16,
    /// Decides all that happens.
    pub seed: u64,
    /// Instruments.
    pub symbols: NonZeroU16,
    /// Messages until the end; `None`: no end.
    pub messages: Option<u64>,
    /// The kind of market.
    pub profile: Profile,
    /// How fast.
    pub pace: Pace,
}

/// What happens on it.
#[derive(Debug)]
enum Market {
    Orders(Box<Flow>),
    Ticks(Ticks),
}

impl Market {
    /// Source time of the next message.
    #[inline]
    fn time(&self) -> u64 {
        match self {
            Self::Orders(flow) => flow.time(),
            Self::Ticks(ticks) => ticks.time(),
        }
    }

    /// Pushes the next message and says what it was.
    #[inline]
    fn step(&mut self, sink: &mut impl EventSink) -> Kind {
        match self {
            Self::Orders(flow) => flow.step(sink),
            Self::Ticks(ticks) => ticks.step(sink),
        }
    }
}

/// A source of made-up market data.
#[derive(Debug)]
pub struct Generator {
    source: u16,
    market: Market,
    pacer: Pacer,
    position: u64,
    end: u64,
    /// By kind: messages, and the position of the first.
    counts: [(u64, u64); KINDS.len()],
}

impl Generator {
    /// One at the beginning of its flow.
    pub fn new(config: GeneratorConfig) -> Self {
        Self {
            source: config.source,
            market: match config.profile {
                Profile::Orders { mean_rate } => Market::Orders(Box::new(Flow::new(
                    config.source,
                    config.seed,
                    config.symbols,
                    mean_rate,
                ))),
                Profile::Ticks => Market::Ticks(Ticks::new(config.source, config.seed, config.symbols)),
            },
            pacer: Pacer::new(config.pace),
            position: 0,
            end: config.messages.unwrap_or(u64::MAX),
            counts: Default::default(),
        }
    }
}

impl Source for Generator {
    fn id(&self) -> u16 {
        self.source
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        if position > self.end {
            return Err(SourceError::Short {
                name: "the generator".into(),
                messages: self.end,
                position,
            });
        }
        while self.position < position {
            self.market.step(&mut Nowhere);
            self.position += 1;
        }
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.position >= self.end {
            return Ok(SourceState::End);
        }
        let due = self.pacer.due(now, self.market.time());
        if due > now {
            return Ok(SourceState::Idle { until: due });
        }
        self.pacer.count();
        let (messages, first) = &mut self.counts[self.market.step(sink) as usize];
        if *messages == 0 {
            *first = self.position;
        }
        *messages += 1;
        self.position += 1;
        sink.end_event(self.source, self.position);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        super::published(&KINDS, &self.counts)
    }

    fn progress(&self) -> Option<f64> {
        (self.end < u64::MAX).then(|| self.position as f64 / self.end.max(1) as f64)
    }
}

/// Where messages go that are generated only to get past them.
struct Nowhere;

impl EventSink for Nowhere {
    fn push<M: Message>(&mut self, _message: &M) {}
    fn push_frame(&mut self, _frame: &Frame<'_>) {}
    fn end_event(&mut self, _source: u16, _position: u64) {}
}

#[cfg(test)]
mod tests;
