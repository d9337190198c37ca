//! What a publisher says besides its sources' messages: how an epoch and a session begin and end, and heartbeats.

use super::config::nanos;
use super::sending::After;
use super::{Burst, Line, Lines, Phase, PublishError, Publisher, failed};
use twinline_wire::field::{Optional, Text};
use twinline_wire::header::{HEADER_LEN, flags};
use twinline_wire::session::{EndOfSession, EpochStart, SessionStart};
use twinline_wire::{OpenPacket, U32, U64};

impl<L: Lines> Publisher<L> {
    /// Ends the lead-in, if that is what goes on: from here on events are taken.
    #[cold]
    pub(super) fn go_live(&mut self, now: u64) -> Result<(), PublishError> {
        match self.phase {
            Phase::Live => Ok(()),
            Phase::Failed => Err(PublishError::Stopped),
            Phase::Ending | Phase::Done => Err(PublishError::Ended {
                session: self.stamp.session,
            }),
            Phase::LeadIn => self.open_epoch(now),
        }
    }

    /// The first packet of the epoch: EpochStart, and in a new session SessionStart.
    fn open_epoch(&mut self, now: u64) -> Result<(), PublishError> {
        self.check_end(self.stamp.sequence + 2)?;
        if self.sent.is_none() {
            self.heartbeat(now);
        }
        if self.new_session {
            self.journal
                .start_session()
                .map_err(|error| failed(&mut self.phase, error))?;
            self.new_session = false;
            let start = SessionStart {
                trading_date: self.config.trading_date.map_or(Optional::NONE, Optional::some),
                source_time_origin: self
                    .config
                    .source_time_origin
                    .map_or(Optional::NONE, Optional::some),
                publisher: Text::new(self.config.name.as_bytes()),
                previous: match self.previous {
                    0 => Optional::NONE,
                    previous => Optional::some(previous),
                },
            };
            self.first_packet(Some(&start), now)?;
        } else {
            self.first_packet(None, now)?;
        }
        self.phase = Phase::Live;
        Ok(())
    }

    fn first_packet(&mut self, session: Option<&SessionStart>, now: u64) -> Result<(), PublishError> {
        let epoch = EpochStart {
            valid_end: U64::new(self.valid_end),
            epoch: U32::new(self.stamp.epoch),
        };
        self.commit(now, After::Nothing, |_, slot| {
            let mut packet = OpenPacket::new();
            packet.push(slot, &epoch);
            if let Some(session) = session {
                packet.push(slot, session);
            }
            packet
        })
    }

    /// Does what is due at `now`: heartbeats, the end of the lead-in, the end of the linger time. Call it every few
    /// milliseconds while nothing is published.
    ///
    /// # Errors
    /// If the first packet cannot be published, or another publisher took over.
    #[inline]
    pub fn tick(&mut self, now: u64) -> Result<(), PublishError> {
        self.counters.turns.add(1);
        self.counters.phase.set(self.phase as u64);
        self.send_overdue(now);
        let interval = match self.phase {
            Phase::Live => self.config.heartbeat_interval,
            Phase::LeadIn | Phase::Ending => self.config.announce_interval,
            Phase::Done | Phase::Failed => return Ok(()),
        };
        let due = match &mut self.sent {
            Some(sent) => elapsed(sent, now) >= nanos(interval),
            None => true,
        };
        if due && self.reserve.is_deposed() {
            self.send_unsent(now);
            self.phase = Phase::Failed;
            return Err(self.reserve_error());
        }
        if due {
            self.heartbeat(now);
        }
        match self.phase {
            Phase::LeadIn if elapsed(&mut self.since, now) >= nanos(self.config.lead_in) => {
                self.open_epoch(now)
            }
            Phase::Ending if elapsed(&mut self.since, now) >= nanos(self.config.linger) => {
                self.phase = Phase::Done;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A packet without messages, not journalled: what comes next on this line.
    fn heartbeat(&mut self, now: u64) {
        self.send_unsent(now);
        self.stamp.sending_time = now;
        let mut packet = [0; HEADER_LEN];
        OpenPacket::new().finish_whole(&mut packet, self.stamp, 0);
        let packet = Burst::one(&packet);
        let a = self.lines.send(Line::A, packet);
        let b = self.lines.send(Line::B, packet);
        self.sent = Some(now);
        self.counters.heartbeats.add(1);
        self.count_failures(1, [a, b]);
    }

    /// Sends what is open and then the session's last message. From here on [`tick`](Self::tick) sends the heartbeats
    /// that say so. The caller then tells the epoch store ([`Reserver::end_session`](super::Reserver::end_session)).
    ///
    /// # Errors
    /// If it cannot; see [`PublishError`].
    pub fn end_session(&mut self, now: u64) -> Result<(), PublishError> {
        self.go_live(now)?;
        self.flush(now)?;
        self.check_end(self.stamp.sequence + 1)?;
        let end = EndOfSession {
            source_messages: U64::new(self.source_messages),
        };
        self.commit(now, After::Nothing, |_, slot| {
            let mut packet = OpenPacket::new();
            packet.push(slot, &end);
            packet
        })?;
        self.stamp.flags = flags::END_OF_SESSION;
        self.phase = Phase::Ending;
        self.since = now;
        // What the caller tells the epoch store next must not outlive what it speaks of.
        self.journal
            .sync()
            .map_err(|error| failed(&mut self.phase, error))
    }
}

/// Nanoseconds from `since` to `now`. Where the clock was set back, counting begins again.
fn elapsed(since: &mut u64, now: u64) -> u64 {
    if now < *since {
        *since = now;
    }
    now - *since
}
