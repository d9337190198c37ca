//! A listener's record: the real one, over a real journal, and what it holds in the end. With fair release messages are
//! held before it, and nothing may come to it before its moment.

use crate::powercut;
use crate::publisher::{CHANNEL, SEGMENT};
use crate::rng::Rng;
use std::path::{Path, PathBuf};
use twinline_journal::{
    JournalConfig, JournalError, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy,
};
use twinline_listener::arbiter::Position;
use twinline_listener::arbiter::ranges::Span;
use twinline_listener::fair::{FairConfig, FairRelease, MIN_BUFFER, Times};
use twinline_listener::{Delivery, Notice, Origin, Record, Sink};
use twinline_wire::field::{LossReason, SessionState};
use twinline_wire::header::flags;
use twinline_wire::session::{EndOfSession, Lost, SessionEvent, SessionsMissed, StateReplaced, Void};
use twinline_wire::{Message, Packet};

/// One thing in a listener's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message {
        session: u32,
        epoch: u32,
        sequence: u64,
        /// Where its bytes are.
        at: usize,
        length: usize,
        end_of_session: bool,
    },
    Lost(u32, Span, LossReason),
    Void(u32, Span, u32),
    Session(u32, SessionState),
    /// Said in the session: those before it, from and up to these numbers, are missing.
    Missed(u32, u32, u32, LossReason),
    /// Session, sequence, epoch of the state that replaces what was before.
    Replaced(u32, u64, u32),
}

/// A listener's stream, read back.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) items: Vec<Item>,
    bytes: Vec<u8>,
}

impl Stream {
    /// Reads the journal of a listener.
    pub(crate) fn read(dir: &Path) -> Result<Self, JournalError> {
        let mut stream = Self::default();
        let mut reader = JournalReader::open(dir)?;
        reader.seek_oldest()?;
        while let Some(packet) = reader.next()? {
            stream.add(&packet);
        }
        Ok(stream)
    }

    pub(crate) fn frame(&self, at: usize, length: usize) -> &[u8] {
        &self.bytes[at..at + length]
    }

    fn add(&mut self, packet: &Packet<'_>) {
        let header = packet.header();
        let session = header.session.get();
        for (sequence, frame) in packet.messages() {
            if header.flags & flags::LOCAL == 0 {
                self.items.push(Item::Message {
                    session,
                    epoch: header.epoch.get(),
                    sequence,
                    at: self.bytes.len(),
                    length: frame.bytes().len(),
                    end_of_session: frame.template() == EndOfSession::TEMPLATE,
                });
                self.bytes.extend_from_slice(frame.bytes());
            } else if let Some(lost) = frame.view::<Lost>() {
                let span = Span::new(lost.begin.get(), lost.end.get());
                self.items.push(Item::Lost(session, span, lost.reason));
            } else if let Some(void) = frame.view::<Void>() {
                let span = Span::new(void.begin.get(), void.end.get());
                self.items.push(Item::Void(session, span, void.epoch.get()));
            } else if let Some(missed) = frame.view::<SessionsMissed>() {
                let (begin, end) = (missed.begin.get(), missed.end.get());
                self.items.push(Item::Missed(session, begin, end, missed.reason));
            } else if let Some(event) = frame.view::<SessionEvent>() {
                self.items.push(Item::Session(session, event.state));
            } else if let Some(state) = frame.view::<StateReplaced>() {
                self.items
                    .push(Item::Replaced(session, state.sequence.get(), state.epoch.get()));
            }
        }
    }
}

/// How long messages are held, in nanoseconds: as configured, and in fact (another with a bug planted).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holds {
    pub(crate) configured: u64,
    pub(crate) real: u64,
}

/// Fair release in front of the record, and what comes out of it too early.
struct Fair {
    release: FairRelease,
    hold: u64,
    early: u64,
}

impl Fair {
    fn new(holds: Holds) -> Self {
        Self {
            release: FairRelease::new(FairConfig {
                hold: holds.real,
                buffer: MIN_BUFFER,
            }),
            hold: holds.configured,
            early: 0,
        }
    }

    /// What comes out goes into `record`.
    fn with(
        &mut self,
        record: &mut Record,
        now: u64,
        work: impl FnOnce(&mut FairRelease, Times, &mut Released<'_>),
    ) {
        let times = Times { real: now, mono: now };
        let mut released = Released {
            record,
            now,
            hold: self.hold,
            early: 0,
        };
        work(&mut self.release, times, &mut released);
        self.early += released.early;
    }
}

/// The record behind fair release.
struct Released<'a> {
    record: &'a mut Record,
    now: u64,
    hold: u64,
    early: u64,
}

impl Sink for Released<'_> {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        if self.now < delivery.packet.header().sending_time.get() + self.hold {
            self.early += u64::from(delivery.take);
        }
        self.record.deliver(delivery);
    }

    fn notice(&mut self, notice: &Notice) {
        self.record.notice(notice);
    }
}

/// A listener's journal, and beside it what the journal does not say: when notices were given.
pub(crate) struct Recorder {
    pub(crate) dir: PathBuf,
    config: JournalConfig,
    record: Option<Record>,
    holds: Option<Holds>,
    /// Made anew at each start: a kill takes what is held.
    fair: Option<Fair>,
    /// Notices with their virtual time.
    pub(crate) notices: Vec<(u64, Notice)>,
    pub(crate) now: u64,
    pub(crate) recovered: u64,
    /// What the listener did, with the virtual time, if that is wanted.
    pub(crate) trace: Option<Vec<(u64, String)>>,
}

impl Recorder {
    pub(crate) fn new(dir: PathBuf, max_packet: usize, holds: Option<Holds>) -> Self {
        let config = JournalConfig {
            channel: CHANNEL,
            max_packet,
            segment_size: SEGMENT,
            sync: SyncPolicy::None,
            retention: Retention::default(),
            prepare: Prepare::Inline,
        };
        Self {
            dir,
            config,
            record: None,
            holds,
            fair: None,
            notices: Vec::new(),
            now: 0,
            recovered: 0,
            trace: None,
        }
    }

    /// Adds to the trace, if there is one.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push((self.now, what()));
        }
    }

    /// Opens the journal, as a listener does that starts. Tells where to go on.
    pub(crate) fn open(&mut self) -> Result<Option<Position>, String> {
        let journal = JournalWriter::open(&self.dir, self.config.clone())
            .map_err(|error| format!("a listener does not start again: {error}"))?;
        let record = Record::new(journal, CHANNEL, self.config.max_packet);
        let position = record.position();
        self.record = Some(record);
        self.fair = self.holds.map(Fair::new);
        Ok(position)
    }

    /// True if the journal says that its state is incomplete.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.record.as_ref().is_some_and(Record::is_incomplete)
    }

    /// Where the journal ends.
    pub(crate) fn position(&self) -> Option<Position> {
        self.record.as_ref().and_then(Record::position)
    }

    /// Everything so far survives a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        let record = self.record.as_mut();
        record.map_or(Ok(()), |record| record.sync().map_err(|error| error.to_string()))
    }

    /// Time passes: what is held and has its moment is recorded.
    pub(crate) fn release(&mut self, now: u64) {
        self.now = now;
        if let (Some(fair), Some(record)) = (&mut self.fair, &mut self.record) {
            fair.with(record, now, |release, times, released| {
                release.release(times, released);
            });
        }
    }

    /// Why a listener had to stop, if it had to; or that it released something before its moment, and did not count it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(fair) = &self.fair
            && fair.early != fair.release.stats().early()
        {
            return Err(format!(
                "a listener released {} messages before their moment: {:?}",
                fair.early,
                fair.release.stats()
            ));
        }
        match self.record.as_ref().and_then(|record| record.error.as_ref()) {
            None => Ok(()),
            Some(error) => Err(format!("a listener cannot write its journal: {error}")),
        }
    }

    /// The listener is killed.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        let killed = powercut::kill(&self.dir, self.record.take());
        killed.map_err(|error| format!("a listener's journal: {error}"))
    }

    /// The listener's power was cut.
    pub(crate) fn spoil(&mut self, rng: &mut Rng) -> Result<(), String> {
        self.close()?;
        powercut::cut(&self.dir, rng, false)
            .map_err(|error| format!("cannot spoil a listener's journal: {error}"))?;
        Ok(())
    }

    /// What the journal holds.
    pub(crate) fn stream(&self) -> Result<Stream, String> {
        Stream::read(&self.dir).map_err(|error| format!("a listener's journal: {error}"))
    }
}

impl Sink for Recorder {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        if delivery.origin == Origin::Recovery {
            self.recovered += u64::from(delivery.take);
        }
        match (&mut self.record, &mut self.fair) {
            (None, _) => {}
            (Some(record), None) => record.deliver(delivery),
            (Some(record), Some(fair)) => fair.with(record, self.now, |release, times, released| {
                release.deliver(delivery, times, released);
            }),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.push((self.now, *notice));
        self.note(|| format!("{notice:?}"));
        match (&mut self.record, &mut self.fair) {
            (None, _) => {}
            (Some(record), None) => record.notice(notice),
            (Some(record), Some(fair)) => fair.with(record, self.now, |release, times, released| {
                release.notice(notice, times, released);
            }),
        }
    }
}
