//! The ring's side of a [`Source`]: what is known of its writer, and what is done when it was overrun, or the writer went.

use super::{Found, From, Head, Own, Source};
use crate::{Overrun, ReadError, WriterState};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use twinline_journal::JournalReader;
use twinline_ring::{Liveness, Next, Progress, Record, RingError, RingReader};

/// How often the writer is looked at while it says nothing.
const LOOK: Duration = Duration::from_millis(20);
/// The clock is looked at once in so many polls that find nothing.
const IDLE: u32 = 16;
/// The longest sleep: the writer's death must not be slept through.
const NAP: Duration = Duration::from_millis(50);
/// The same while the writer is gone, and nobody wakes anyone.
const GONE_NAP: Duration = Duration::from_millis(5);

/// A listener's ring.
#[derive(Debug)]
pub(crate) struct Live {
    ring: RingReader,
    state: WriterState,
    /// False from when the journal was at its end until the ring has shown that it goes on from there.
    joined: bool,
    looked: Instant,
    /// Polls in a row that found nothing.
    idle: u32,
}

impl Live {
    pub(crate) fn open(dir: &Path, channel: u16, name: &str) -> Result<Self, RingError> {
        Ok(Self {
            ring: RingReader::open(dir, channel, name)?,
            state: WriterState::Alive,
            joined: false,
            looked: Instant::now(),
            idle: 0,
        })
    }

    /// The journal that the ring names.
    pub(crate) fn open_journal(&self) -> Result<JournalReader, ReadError> {
        open_journal(&self.ring)
    }

    pub(crate) fn state(&self) -> WriterState {
        self.state
    }

    /// True if nothing more will come through this ring.
    pub(crate) fn is_gone(&self) -> bool {
        !matches!(self.state, WriterState::Alive | WriterState::Silent)
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.joined
    }

    pub(crate) fn unjoin(&mut self) {
        self.joined = false;
    }

    /// The record that was found last.
    #[inline]
    pub(crate) fn record(&self) -> Record<'_> {
        self.ring.record()
    }

    pub(crate) fn report(&self, progress: &Progress) {
        self.ring.report(progress);
    }

    /// Whether it is time to look at something again.
    fn is_due(&mut self) -> bool {
        self.idle = self.idle.wrapping_add(1);
        if !self.idle.is_multiple_of(IDLE) {
            return false;
        }
        let now = Instant::now();
        let due = now - self.looked >= LOOK;
        if due {
            self.looked = now;
        }
        due
    }

    pub(crate) fn wait(&mut self, in_ring: bool, at_most: Duration) {
        match in_ring {
            true => self.ring.wait(at_most.min(NAP)),
            false => thread::sleep(at_most.min(GONE_NAP)),
        }
        // Time has passed: the next poll that finds nothing looks at the clock.
        self.idle = IDLE - 1;
    }

    /// The writer is gone. If another one has taken over, its ring is opened, and its journal.
    pub(crate) fn find_successor(&mut self) -> Result<Option<JournalReader>, ReadError> {
        if !self.is_due() {
            return Ok(None);
        }
        let Some(mut ring) = self.ring.successor()? else {
            return Ok(None);
        };
        if !matches!(ring.liveness(), Liveness::Alive | Liveness::Silent) {
            return Ok(None);
        }
        let journal = open_journal(&ring)?;
        self.ring = ring;
        (self.state, self.joined) = (WriterState::Alive, false);
        Ok(Some(journal))
    }
}

/// The journal that a ring names.
fn open_journal(ring: &RingReader) -> Result<JournalReader, ReadError> {
    let journal = JournalReader::open(ring.journal())?;
    if journal.channel() != ring.channel() {
        return Err(ReadError::Channel {
            channel: ring.channel(),
            journal: ring.journal().to_owned(),
            found: journal.channel(),
        });
    }
    Ok(journal)
}

impl Source {
    /// Looks in the ring.
    #[inline]
    pub(super) fn look_in_ring(&mut self) -> Result<Found, ReadError> {
        let Some(live) = &mut self.live else {
            return Ok(Found::Nothing);
        };
        match live.ring.poll() {
            Next::Record(record) => {
                let head = Head::of_record(&record);
                live.idle = 0;
                if !live.joined || live.state != WriterState::Alive {
                    self.goes_on();
                }
                Ok(self.take(head))
            }
            Next::Empty => {
                if !live.joined {
                    self.goes_on();
                    return Ok(Found::Again);
                }
                if live.is_due() {
                    return self.look_at_writer();
                }
                Ok(Found::Nothing)
            }
            Next::Overrun => self.overrun(),
        }
    }

    /// The ring goes on where the journal ended, and its writer lives.
    #[cold]
    fn goes_on(&mut self) {
        let Some(live) = &mut self.live else { return };
        live.joined = true;
        if live.state == WriterState::Silent {
            live.state = WriterState::Alive;
            self.say(Own::Writer(WriterState::Alive));
        }
        if let Some(before) = self.filling.take() {
            let messages = self.messages - before;
            self.progress.filled += messages;
            self.say(Own::Filled { messages });
            self.report();
        }
    }

    /// The ring went round before this reader had read all.
    #[cold]
    fn overrun(&mut self) -> Result<Found, ReadError> {
        let Some(live) = &mut self.live else {
            return Ok(Found::Nothing);
        };
        if !live.joined {
            // The journal has it, and stands where it goes on.
            self.from = From::Journal;
            return Ok(Found::Again);
        }
        self.progress.overruns += 1;
        match self.policy {
            Overrun::Skip => {
                let begun = self.position.session != 0;
                self.skipped_from = self.skipped_from.or(begun.then_some(self.position));
            }
            Overrun::Fill => {
                live.unjoin();
                self.filling = Some(self.messages);
                self.say(Own::Filling);
                self.go_back()?;
            }
        }
        self.report();
        Ok(Found::Again)
    }

    /// Nothing came for a while.
    #[cold]
    fn look_at_writer(&mut self) -> Result<Found, ReadError> {
        self.report();
        let Some(live) = &mut self.live else {
            return Ok(Found::Nothing);
        };
        let state = match live.ring.liveness() {
            Liveness::Alive => WriterState::Alive,
            Liveness::Silent => WriterState::Silent,
            Liveness::Dead => WriterState::Dead,
            Liveness::Closed => WriterState::Closed,
            Liveness::Replaced => WriterState::Replaced,
        };
        if state == live.state {
            return Ok(Found::Nothing);
        }
        live.state = state;
        let gone = live.is_gone();
        self.say(Own::Writer(state));
        if gone {
            // The journal may hold what the writer did not come to put into the ring.
            self.seek_own()?;
        }
        Ok(Found::Again)
    }
}
