//! A market made up on the spot: for demonstrations, tests and load, where no file is at hand.
//!
//! The order flow is decided by seed and number of symbols alone: message n is always the same, so a publisher that was
//! killed goes on where it was, as from a file. It is plausible, not a model of any market.

mod flow;

use super::pace::{Pace, Pacer};
use super::{EventSink, Outcome, Source, SourceError, SourceState, TypeCount};
use flow::{Flow, KINDS};
use std::num::NonZeroU16;
use twinline_wire::{Frame, Message};

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
    /// How fast. The flow's own clock runs at about 20,000 messages a second, in bursts.
    pub pace: Pace,
}

/// A source of made-up order flow.
#[derive(Debug)]
pub struct Generator {
    source: u16,
    flow: Flow,
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
            flow: Flow::new(config.source, config.seed, config.symbols),
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
            self.flow.step(&mut Nowhere);
            self.position += 1;
        }
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.position >= self.end {
            return Ok(SourceState::End);
        }
        let due = self.pacer.due(now, self.flow.time());
        if due > now {
            return Ok(SourceState::Idle { until: due });
        }
        self.pacer.count();
        let (messages, first) = &mut self.counts[self.flow.step(sink) as usize];
        if *messages == 0 {
            *first = self.position;
        }
        *messages += 1;
        self.position += 1;
        sink.end_event(self.source, self.position);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        KINDS
            .iter()
            .zip(self.counts)
            .filter(|(_, (messages, _))| *messages > 0)
            .map(|(kind, (messages, first))| TypeCount {
                kind: (*kind).into(),
                outcome: Outcome::Published,
                messages,
                first,
            })
            .collect()
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
