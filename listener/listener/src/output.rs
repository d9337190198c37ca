//! Where the arbiter's stream goes: straight into the own journal, or with fair release through that. Reads the clocks
//! that fair release is a state machine of.

use crate::arbiter::{Delivery, Notice, Origin, Sink};
use crate::fair::clock::{ClockState, ClockWatch};
use crate::fair::{FairConfig, FairRelease, FairReport, Times, read_kernel_clock};
use crate::record::Record;
use twinline_feed::run::unix_now;

/// The clock is judged this often, in nanoseconds.
const CLOCK_TURN: u64 = 1_000_000_000;

#[derive(Debug)]
struct Fair {
    release: FairRelease,
    clock: ClockWatch,
    clock_at: u64,
    /// When the line thread's turn began.
    mono: u64,
}

impl Fair {
    fn now(&self) -> Times {
        Times {
            real: unix_now(),
            mono: self.mono,
        }
    }
}

/// The [`Sink`] of the daemon's arbiter.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) record: Record,
    fair: Option<Box<Fair>>,
}

impl Output {
    pub(crate) fn new(record: Record, fair: Option<FairConfig>) -> Self {
        let fair = fair.map(|config| {
            Box::new(Fair {
                release: FairRelease::new(config),
                clock: ClockWatch::new(config.hold),
                clock_at: CLOCK_TURN,
                mono: 0,
            })
        });
        Self { record, fair }
    }

    /// A turn of the line thread begins: releases that whose moment has come. True if there was anything.
    #[inline]
    pub(crate) fn release(&mut self, mono: u64) -> bool {
        let Some(fair) = &mut self.fair else {
            return false;
        };
        fair.mono = mono;
        fair.release.release(fair.now(), &mut self.record)
    }

    /// How long it is until something is to be released, in nanoseconds; `None`: nothing is held.
    pub(crate) fn wait(&self) -> Option<u64> {
        let fair = self.fair.as_ref()?;
        fair.release.wait(fair.now())
    }

    /// True if a notice is held that names a snapshot.
    pub(crate) fn holds_state(&self) -> bool {
        self.fair.as_ref().is_some_and(|fair| fair.release.holds_state())
    }

    /// What is to be said of the clock, and its offset, if that is new. To be called often: looks about once a second.
    pub(crate) fn watch_clock(&mut self, mono: u64) -> Option<(ClockState, Option<i64>)> {
        let fair = self.fair.as_mut().filter(|fair| mono >= fair.clock_at)?;
        fair.clock_at = mono + CLOCK_TURN;
        let state = fair.clock.turn(read_kernel_clock())?;
        Some((state, fair.clock.report().offset))
    }

    /// Brings the part of a report up to date that is of fair release.
    pub(crate) fn fill(&self, report: &mut Option<FairReport>) {
        if let (Some(fair), Some(report)) = (&self.fair, report) {
            fair.release.fill(report);
            report.clock = *fair.clock.report();
        }
    }
}

impl Sink for Output {
    #[inline]
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let Some(fair) = &mut self.fair else {
            return self.record.deliver(delivery);
        };
        // Read anew: what came while this thread was away must not seem to come before it was sent.
        let now = fair.now();
        if delivery.origin != Origin::Recovery && !delivery.waited {
            fair.clock
                .sample(delivery.packet.header().sending_time.get(), now.real);
        }
        fair.release.deliver(delivery, now, &mut self.record);
    }

    fn notice(&mut self, notice: &Notice) {
        match &mut self.fair {
            None => self.record.notice(notice),
            Some(fair) => fair.release.notice(notice, fair.now(), &mut self.record),
        }
    }
}
