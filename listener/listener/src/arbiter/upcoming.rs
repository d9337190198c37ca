//! The session that comes next, while the one before is still being completed: what is known of it, and its packets,
//! which wait in a window of their own, so that it does not begin with a big gap.

use super::window::{Offer, Window};
use super::{Arbiter, Dropped, Origin, Sink, line_index};
use crate::lines::LineTracker;
use twinline_wire::Packet;
use twinline_wire::session::SessionStart;

/// A session that is believed to have begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upcoming {
    pub(super) session: u32,
    pub(super) epoch: u32,
    pub(super) base: u64,
    /// The first sequence seen of it.
    pub(super) first: u64,
    /// More of it was seen than that it is about to begin: recovery services may know it.
    pub(super) published: bool,
}

impl Upcoming {
    /// What a packet says of its session.
    pub(super) fn of(packet: &Packet<'_>) -> Self {
        let header = packet.header();
        Self {
            session: header.session.get(),
            epoch: header.epoch.get(),
            base: header.epoch_base.get(),
            first: packet.sequence(),
            published: !header.is_heartbeat() || packet.sequence() > header.epoch_base.get(),
        }
    }
}

/// Packets of a session that has not begun for us yet.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Whose; 0: nobody's.
    session: u32,
    window: Window,
    /// What each line brought of it.
    lines: [LineTracker; 2],
    /// The session before it, as its start says.
    previous: Option<u32>,
}

impl Ahead {
    pub(super) fn new(packets: usize, max_packet: usize) -> Self {
        Self {
            session: 0,
            window: Window::new(packets, max_packet),
            lines: [LineTracker::new(), LineTracker::new()],
            previous: None,
        }
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    fn begin(&mut self, session: u32) {
        self.session = session;
        self.window.clear();
        self.previous = None;
        self.lines.iter_mut().for_each(LineTracker::forget);
    }
}

impl Arbiter {
    /// The nearest higher session comes next.
    pub(super) fn note_upcoming(&mut self, seen: Upcoming) {
        self.upcoming = Some(match self.upcoming {
            // That one's lead-in is over, whatever became of it.
            Some(known) if known.session < seen.session => Upcoming {
                published: true,
                ..known
            },
            Some(known) if known.session == seen.session => {
                let newer = if known.epoch >= seen.epoch { known } else { seen };
                Upcoming {
                    first: known.first.min(seen.first),
                    published: known.published || seen.published,
                    ..newer
                }
            }
            _ => seen,
        });
    }

    /// Keeps a packet of a higher session until that begins; true if it did. The nearest one's are kept; without room, it
    /// will be asked for.
    pub(super) fn keep_ahead(&mut self, origin: Origin, packet: &Packet<'_>) -> bool {
        let session = packet.header().session.get();
        let ahead = &mut self.ahead;
        if ahead.session <= self.session || session < ahead.session {
            ahead.begin(session);
        }
        if session != ahead.session {
            self.drop_packet(origin, Dropped::NextSession);
            return false;
        }
        let line = line_index(origin);
        if packet.header().is_heartbeat() {
            if let Some(line) = line {
                self.lines[line].heartbeat();
            }
            return false;
        }
        if let Some(line) = line {
            if ahead.lines[line].is_idle() {
                ahead
                    .lines
                    .iter_mut()
                    .for_each(|line| line.start(packet.sequence()));
            }
            ahead.lines[line].messages(packet.sequence(), packet.end());
        }
        if packet.sequence() == packet.header().epoch_base.get()
            && let Some(start) = packet
                .messages()
                .find_map(|(_, frame)| frame.view::<SessionStart>())
        {
            ahead.previous = start.previous.get().map(|previous| previous.get());
        }
        let offer = ahead.window.offer(packet, origin);
        if offer == Offer::Full {
            self.drop_packet(origin, Dropped::NextSession);
        }
        offer == Offer::Kept
    }

    /// Packets that have to wait are counted.
    pub(super) fn count_ahead(&mut self, kept: bool) {
        self.stats.ahead += u64::from(kept);
        self.stats.ahead_peak = self.stats.ahead_peak.max(self.ahead.len());
    }

    /// The session before the upcoming one, if that is known.
    pub(super) fn before_upcoming(&self, session: u32) -> Option<u32> {
        self.ahead.previous.filter(|_| self.ahead.session == session)
    }

    /// The lines' counting goes on with the session that begins.
    pub(super) fn begin_lines(&mut self, upcoming: &Upcoming) {
        if self.ahead.session == upcoming.session && !self.ahead.lines[0].is_idle() {
            let ahead = self.ahead.lines.iter_mut();
            self.lines
                .iter_mut()
                .zip(ahead)
                .for_each(|(line, ahead)| line.go_on(ahead));
        } else if self.upcoming.is_some() {
            // One that has passed: the lines bring nothing of it.
            self.lines.iter_mut().for_each(LineTracker::rest);
        } else {
            self.start_lines(upcoming.first);
        }
    }

    /// Delivers what waited for the session that has begun, as if it came now.
    pub(super) fn play_ahead(&mut self, sink: &mut impl Sink) {
        let session = self.session;
        if self.ahead.session != session {
            return;
        }
        let now = self.last_seen[0].max(self.last_seen[1]);
        let mut window = std::mem::replace(&mut self.ahead.window, Window::empty());
        self.playing = true;
        while let Some(early) = window.pop() {
            if let Ok(packet) = Packet::trusted_prefix(window.bytes(&early))
                && !self.ended
            {
                self.hear(early.origin, packet, now, sink);
            }
        }
        self.playing = false;
        self.ahead.window = window;
        self.ahead.begin(0);
    }
}
