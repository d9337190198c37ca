//! Is the clock that messages are released by the publisher's, as far as that shows? A state machine without I/O.
//!
//! What shows is the lowest difference of receive time and sending time over the last seconds: the clocks' offset and the
//! least time that a packet takes. It cannot be below zero, and where it is over the hold nothing can be released in time.
//! And the kernel knows whether somebody synchronises the clock. Many hosts whose clock is right tell their kernel
//! nothing (virtual machines and containers above all), so its word counts only where it has said otherwise before.

pub use twinline_wire::field::ClockState;

/// The lowest difference is taken over so many turns.
const TURNS: usize = 10;
/// Nothing came.
const NONE: i64 = i64::MAX;

/// The kernel's opinion of the real-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody synchronises it.
    pub synchronised: bool,
    /// How far it may be off, in nanoseconds, as whoever synchronises it says.
    pub max_error: u64,
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReport {
    /// What was said of it last; [`ClockState::PLAUSIBLE`] where nothing speaks against it.
    pub state: ClockState,
    /// Lowest receive time minus sending time of the last ten seconds, in nanoseconds; `None`: nothing came.
    pub offset: Option<i64>,
    /// The kernel's opinion; `None`: it does not say.
    pub kernel: Option<KernelClock>,
}

impl Default for ClockReport {
    fn default() -> Self {
        Self {
            state: ClockState::PLAUSIBLE,
            offset: None,
            kernel: None,
        }
    }
}

/// The state machine.
#[derive(Debug)]
pub struct ClockWatch {
    hold: i64,
    /// The lowest difference of each turn.
    lowest: [i64; TURNS],
    /// The turn that is under way.
    turn: usize,
    /// The kernel has said that somebody synchronises the clock.
    was_synchronised: bool,
    report: ClockReport,
}

impl ClockWatch {
    /// For messages that are held for so long, in nanoseconds.
    pub fn new(hold: u64) -> Self {
        Self {
            hold: i64::try_from(hold).unwrap_or(i64::MAX),
            lowest: [NONE; TURNS],
            turn: 0,
            was_synchronised: false,
            report: ClockReport::default(),
        }
    }

    /// A packet that was sent then came now, straight from a line.
    #[inline]
    pub fn sample(&mut self, sent: u64, now: u64) {
        let difference = now.wrapping_sub(sent) as i64;
        self.lowest[self.turn] = self.lowest[self.turn].min(difference);
    }

    /// A second is over. Returns what is to be said of the clock if that is new.
    pub fn turn(&mut self, kernel: Option<KernelClock>) -> Option<ClockState> {
        let lowest = self.lowest.into_iter().min().filter(|lowest| *lowest != NONE);
        self.turn = (self.turn + 1) % TURNS;
        self.lowest[self.turn] = NONE;
        (self.report.offset, self.report.kernel) = (lowest, kernel);
        let state = self.judge(lowest, kernel);
        self.was_synchronised |= kernel.is_some_and(|kernel| kernel.synchronised);
        let is_new = state != self.report.state;
        self.report.state = state;
        is_new.then_some(state)
    }

    fn judge(&self, lowest: Option<i64>, kernel: Option<KernelClock>) -> ClockState {
        let is_unsynchronised = self.was_synchronised && kernel.is_some_and(|kernel| !kernel.synchronised);
        match lowest {
            Some(..0) => ClockState::BEHIND,
            Some(lowest) if lowest > self.hold => ClockState::AHEAD,
            // Where nothing comes, what was seen last still holds.
            None if matches!(self.report.state, ClockState::BEHIND | ClockState::AHEAD) => self.report.state,
            _ if is_unsynchronised => ClockState::UNSYNCHRONISED,
            _ => ClockState::PLAUSIBLE,
        }
    }

    /// What is known.
    pub fn report(&self) -> &ClockReport {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCHRONISED: Option<KernelClock> = Some(KernelClock {
        synchronised: true,
        max_error: 1_000,
    });
    const UNSYNCHRONISED: Option<KernelClock> = Some(KernelClock {
        synchronised: false,
        max_error: 16_000_000_000,
    });

    #[test]
    fn one_packet_that_comes_before_it_was_sent_makes_the_clock_implausible_for_ten_seconds() {
        let mut watch = ClockWatch::new(1_000);
        watch.sample(100, 400);
        assert_eq!(watch.turn(None), None);
        assert_eq!(watch.report().offset, Some(300));
        watch.sample(100, 99);
        assert_eq!(watch.turn(None), Some(ClockState::BEHIND));
        assert_eq!(watch.report().offset, Some(-1));
        for _ in 0..9 {
            watch.sample(100, 200);
            assert_eq!(watch.turn(None), None);
        }
        watch.sample(100, 200);
        assert_eq!(watch.turn(None), Some(ClockState::PLAUSIBLE));
        assert_eq!(watch.report().offset, Some(100));
    }

    #[test]
    fn a_clock_is_ahead_only_if_even_the_fastest_packet_comes_past_its_moment() {
        let mut watch = ClockWatch::new(1_000);
        watch.sample(0, 1_001);
        assert_eq!(watch.turn(None), Some(ClockState::AHEAD));
        watch.sample(0, 1_000);
        assert_eq!(watch.turn(None), Some(ClockState::PLAUSIBLE));
        watch.sample(0, 5_000);
        assert_eq!(watch.turn(None), None, "a slow one among them says nothing");
    }

    #[test]
    fn what_was_seen_last_holds_while_nothing_comes() {
        let mut watch = ClockWatch::new(1_000);
        watch.sample(10, 0);
        assert_eq!(watch.turn(None), Some(ClockState::BEHIND));
        for _ in 0..30 {
            assert_eq!(watch.turn(SYNCHRONISED), None);
        }
        assert_eq!(
            (watch.report().offset, watch.report().state),
            (None, ClockState::BEHIND)
        );
        watch.sample(0, 10);
        assert_eq!(watch.turn(None), Some(ClockState::PLAUSIBLE));
    }

    #[test]
    fn a_kernel_that_never_called_the_clock_synchronised_is_not_asked_for_its_opinion() {
        let mut watch = ClockWatch::new(1_000);
        for kernel in [UNSYNCHRONISED, None, UNSYNCHRONISED] {
            assert_eq!(watch.turn(kernel), None);
            assert_eq!(watch.report().kernel, kernel);
        }
        assert_eq!(watch.turn(SYNCHRONISED), None);
        assert_eq!(watch.turn(None), None, "no word is no word against it");
        assert_eq!(watch.turn(UNSYNCHRONISED), Some(ClockState::UNSYNCHRONISED));
        watch.sample(5, 0);
        assert_eq!(
            watch.turn(UNSYNCHRONISED),
            Some(ClockState::BEHIND),
            "what packets show counts first"
        );
        assert_eq!(watch.turn(SYNCHRONISED), None);
    }
}
