//! What the listener's thread does, turn by turn: the lines, what recovery answers, and now and then a look at what is
//! missing, at the state and at the clock.

use super::Listener;
use crate::arbiter::{Origin, Position};
use crate::fetch::Answer;
use crate::join::StateEvent;
use std::sync::atomic::{AtomicBool, Ordering};
use twinline_journal::failpoint;
use twinline_line::impair::Impairer;
use twinline_wire::Packet;

/// The gap policy looks at the gaps this often, in nanoseconds.
const GAP_TURN: u64 = 200_000;
/// While something is missing it looks this often, in nanoseconds: a gap is asked for as soon as both lines have passed it.
const MISSING_TURN: u64 = 10_000;
/// So much rarer for each packet in the window and each open gap that it has to look at, in nanoseconds: several times
/// what that costs.
const MISSING_SHARE: u64 = 50;
/// While nothing is missing the thread sleeps no longer than this, in nanoseconds, however long it may: stall detection,
/// recovery's heartbeats and the signal to stop are looked for as often.
const QUIET_TURN: u64 = 20_000_000;
/// The counters are published this often, in nanoseconds.
const REPORT_TURN: u64 = 100_000_000;
/// How long a listener that is to return at the session's end waits for both lines to have said everything too, so that
/// what they lost is counted right, in nanoseconds.
const LINE_END_PATIENCE: u64 = 1_000_000_000;
/// Answers taken from the recovery thread before the lines have their turn again.
const ANSWERS: usize = 64;

impl Listener {
    pub(super) fn poll_lines_until(&mut self, stop: &AtomicBool) {
        let (mut gaps_at, mut missing_at, mut report_at) = (0, 0, 0);
        while !stop.load(Ordering::Relaxed) && self.output.record.error.is_none() {
            let now = self.now();
            self.turns += 1;
            let mut worked = self.output.release(now);
            self.release_impaired(now);
            worked |= (0..self.polls).any(|_| self.poll_lines(now)) | self.take_answers(now);
            if now >= gaps_at {
                gaps_at = now + GAP_TURN;
                self.look_after_gaps(now);
                if self.until_end && self.is_done(now) {
                    break;
                }
            } else if now >= missing_at && self.arbiter.is_missing_something() {
                self.ask_for_gaps(now);
                let looked_at = self.arbiter.window_len() + self.policy.open_gaps();
                missing_at = now + MISSING_TURN + MISSING_SHARE * looked_at as u64;
            }
            if now >= report_at {
                report_at = now + REPORT_TURN;
                self.look_after_clock(now);
                self.chase(now);
                self.live.clone().update(|report| self.fill(report));
            }
            if !worked {
                self.idle.idle(self.longest_sleep());
            }
        }
        self.release_impaired(u64::MAX);
    }

    /// What is held still has its moment, although nothing is polled any more: at most twice the hold away.
    pub(super) fn release_held(&mut self) {
        while let Some(wait) = self.output.wait()
            && self.output.record.error.is_none()
        {
            self.idle.idle(wait);
            self.output.release(self.now());
        }
    }

    /// How long the thread may sleep while nothing comes, in nanoseconds.
    fn longest_sleep(&self) -> u64 {
        let waits = self.impairer.is_some()
            || self.policy.open_gaps() > 0
            || self.arbiter.is_missing_something()
            || self.states.is_asking();
        let longest = if waits { GAP_TURN } else { QUIET_TURN };
        let delayed = self.impairer.as_ref().and_then(Impairer::next);
        let delayed = delayed.map_or(longest, |at| at.saturating_sub(self.now()));
        longest.min(delayed).min(self.output.wait().unwrap_or(longest))
    }

    /// True once a session is complete and both lines have said so too, or had their time to.
    fn is_done(&mut self, now: u64) -> bool {
        let position = self.arbiter.position();
        if !position.ended || self.arbiter.is_between() {
            self.ended_at = None;
            return false;
        }
        let ended_at = *self.ended_at.get_or_insert(now);
        now - ended_at > LINE_END_PATIENCE || (0..2).all(|line| self.arbiter.line_high(line) >= position.next)
    }

    /// Takes what a line has; true if there was anything.
    #[inline]
    fn poll_lines(&mut self, now: u64) -> bool {
        let (arbiter, output, impairer) = (&mut self.arbiter, &mut self.output, &mut self.impairer);
        // What one line lacks the other may have by now.
        let both = arbiter.is_missing_something();
        self.poller.poll(now, both, |line, bytes| {
            let next = arbiter.position().next;
            match impairer {
                None => arbiter.on_packet(line.into(), bytes, now, output),
                Some(impairer) => impairer.push(line, bytes, now, &mut |line, bytes| {
                    arbiter.on_packet(line.into(), bytes, now, output);
                }),
            }
            arbiter.position().next != next
        })
    }

    fn look_after_gaps(&mut self, now: u64) {
        self.output.record.beat();
        self.arbiter.tick(now, &mut self.output);
        self.ask_for_gaps(now);
        self.look_after_state(now);
    }

    fn ask_for_gaps(&mut self, now: u64) {
        let fetcher = &self.fetcher;
        self.policy.on_drained(self.poller.drained());
        self.policy
            .tick(&mut self.arbiter, now, &mut self.output, |request| {
                if let Some(fetcher) = fetcher {
                    fetcher.ask(request);
                }
            });
    }

    /// Asks for a state where one is wanted, and takes what came.
    fn look_after_state(&mut self, now: u64) {
        let Some(fetcher) = &self.state_fetcher else {
            return;
        };
        let (arbiter, states, output) = (&mut self.arbiter, &mut self.states, &mut self.output);
        while let Some(event) = fetcher.event() {
            match event {
                StateEvent::Connected { id } => {
                    if let Some(request) = states.on_connected(id, arbiter, now) {
                        fetcher.ask(request);
                    }
                }
                StateEvent::Ready { id, state } => {
                    if !states.on_state(id, state, arbiter, output.record.bytes, now, output) {
                        fetcher.discard(state);
                    }
                }
                StateEvent::Failed { id, failure } => states.on_failed(id, failure, arbiter, now, output),
            }
        }
        let progress = fetcher.progress();
        if progress != self.state_progress {
            self.state_progress = progress;
            states.on_progress(now);
        }
        if let Some(place) = output.record.take_replaced() {
            failpoint::hit("state.named");
            fetcher.named(place);
        }
        // Naming one removes other files, and ends a fetch: it comes first, also where its notice is held.
        if !output.holds_state() {
            let written = output.record.bytes;
            states.tick(arbiter, written, now, output, |connect| fetcher.connect(connect));
        }
    }

    /// Says so in the stream where the clock that messages are released by becomes implausible, or plausible again.
    fn look_after_clock(&mut self, now: u64) {
        if self.arbiter.position().session != 0
            && let Some((state, offset)) = self.output.watch_clock(now)
        {
            self.arbiter.say_clock(state, offset, &mut self.output);
        }
    }

    /// Lets go what the impairer has held back until `now`.
    fn release_impaired(&mut self, now: u64) {
        let (arbiter, output) = (&mut self.arbiter, &mut self.output);
        if let Some(impairer) = &mut self.impairer {
            impairer.poll(now, &mut |line, bytes| {
                arbiter.on_packet(line.into(), bytes, now, output)
            });
        }
    }

    /// Takes what the recovery thread has; true if there was anything.
    fn take_answers(&mut self, now: u64) -> bool {
        let Some(fetcher) = &self.fetcher else {
            return false;
        };
        let (arbiter, policy, output) = (&mut self.arbiter, &mut self.policy, &mut self.output);
        for taken in 0..ANSWERS {
            let Some(answer) = fetcher.answer() else {
                return taken > 0;
            };
            match answer {
                Answer::Connected { service } => policy.on_connected(service),
                Answer::Disconnected { service } => policy.on_disconnected(service),
                Answer::Packet {
                    request,
                    buffer,
                    length,
                } => {
                    // The recovery client has checked it.
                    if let Ok(packet) = Packet::trusted_prefix(&buffer[..length]) {
                        arbiter.on_valid(Origin::Recovery, packet, now, output);
                    }
                    policy.on_progress(request, now);
                    fetcher.give_back(buffer);
                }
                Answer::Reject { request, refusal } => {
                    policy.on_reject(request, refusal, arbiter, now, output)
                }
                Answer::Complete { request } => policy.on_complete(request),
                Answer::Head {
                    session,
                    epoch,
                    epoch_base,
                    next,
                } => {
                    arbiter.on_service_head(session, epoch, epoch_base, next, output);
                }
            }
        }
        true
    }

    /// Looks how far delivery is behind what is known to exist.
    fn chase(&mut self, now: u64) {
        let Position { session, next, .. } = self.arbiter.position();
        // Between two sessions, the next one is behind as a whole.
        let end = match self.arbiter.is_between() {
            true => (self.arbiter.wanted_session(), u64::MAX),
            false => (session, self.arbiter.known_end()),
        };
        self.chase.look((session, next), end, now);
    }
}
