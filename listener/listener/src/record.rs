//! The listener's own journal: everything delivered goes in before anything else happens with it. Its tail is the
//! restart position, and fills whoever missed something. Behind it the same goes into the ring, for the programs on this host.

use crate::arbiter::{Delivery, Notice, NoticeKind, Position, Sink};
use hdrhistogram::Histogram;
use twinline_book::snapshot::Place;
use twinline_feed::run::unix_now;
use twinline_journal::{JournalError, JournalWatch, JournalWriter};
use twinline_ring::RingWriter;
use twinline_wire::field::Optional;
use twinline_wire::header::{HEADER_LEN, flags};
use twinline_wire::session::{
    ClockEvent, LineEvent, Lost, SessionEvent, SessionsMissed, StateReplaced, Void,
};
use twinline_wire::{Message, OpenPacket, Stamp};

/// Latencies are kept from 1 ns to 100 s, to two digits.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 2).expect("the bounds are constants that make sense")
}

/// How often each notice was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoticeCounts {
    /// Ranges declared lost, the skipped start of a live listener not counted.
    pub lost: u64,
    /// Ranges declared void.
    pub void: u64,
    /// Lines that stalled or went silent together.
    pub line_stalled: u64,
    /// Lines that came back.
    pub line_resumed: u64,
    /// Sessions started.
    pub session_started: u64,
    /// Epochs started after a session's first.
    pub epoch_started: u64,
    /// Sessions delivered to their end.
    pub session_ended: u64,
    /// Sessions overtaken by a newer one without their end.
    pub session_abandoned: u64,
    /// Runs of sessions that were missed as a whole.
    pub sessions_missed: u64,
    /// States replaced by that of a snapshot.
    pub state_replaced: u64,
    /// Times that the clock became implausible, or implausible otherwise.
    pub clock_implausible: u64,
    /// Times that it was plausible again.
    pub clock_plausible: u64,
}

/// The [`Sink`] of the daemon's arbiter: re-frames what is partly new, writes notices, and measures latency.
#[derive(Debug)]
pub struct Record {
    journal: JournalWriter,
    ring: Option<RingWriter>,
    channel: u16,
    /// For packets that are made here: notices, and packets of which only a part is new.
    scratch: Box<[u8]>,
    pub(crate) latency: Histogram<u64>,
    pub(crate) bytes: u64,
    pub(crate) notices: NoticeCounts,
    /// The state that was told of last, until it is asked for.
    replaced: Option<Place>,
    /// The first failure; nothing is written after it, and the daemon stops.
    pub error: Option<JournalError>,
}

impl Record {
    /// A record of `channel`, with packets of up to `max_packet` bytes, that goes on where `journal` ends.
    pub fn new(journal: JournalWriter, channel: u16, max_packet: usize) -> Self {
        Self {
            journal,
            ring: None,
            channel,
            scratch: vec![0; max_packet].into_boxed_slice(),
            latency: latency_histogram(),
            bytes: 0,
            notices: NoticeCounts::default(),
            replaced: None,
            error: None,
        }
    }

    /// What is recorded from now on goes into `ring`, too.
    pub(crate) fn set_ring(&mut self, ring: RingWriter) {
        self.ring = Some(ring);
    }

    /// Shows the ring's readers that this thread turns.
    #[inline]
    pub(crate) fn beat(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.beat();
        }
    }

    /// Where the journal ends: the arbiter goes on from there.
    pub fn position(&self) -> Option<Position> {
        self.journal.tail().map(|tail| Position {
            session: tail.session,
            epoch: tail.epoch,
            epoch_base: tail.epoch_base,
            next: tail.next,
            ended: tail.ended,
        })
    }

    /// True if messages of the session that the journal ends with are lost or void, and no state replaced them.
    pub fn is_incomplete(&self) -> bool {
        self.journal.is_incomplete()
    }

    /// The state that the journal names since this was called last.
    pub(crate) fn take_replaced(&mut self) -> Option<Place> {
        self.replaced.take()
    }

    /// The journal as other threads may watch it.
    pub(crate) fn watch(&self) -> JournalWatch {
        self.journal.watch()
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.journal.sync()
    }

    fn write(&mut self, delivery: &Delivery<'_>) -> Result<(), JournalError> {
        let packet = &delivery.packet;
        let header = packet.header();
        if delivery.take == header.count.get() {
            self.bytes += packet.bytes().len() as u64;
            self.journal.append(packet.bytes())?;
            return Ok(());
        }
        let mut open = OpenPacket::new();
        let frames = packet
            .messages()
            .skip(usize::from(delivery.skip))
            .take(usize::from(delivery.take));
        for (_, frame) in frames {
            // A part of a packet is no longer than the packet, and the buffer holds the longest.
            open.push_frame(&mut self.scratch, frame.bytes());
        }
        self.append(
            open,
            Stamp {
                sequence: delivery.begin(),
                ..Stamp::of(header)
            },
        )
    }

    fn write_notice<M: Message>(&mut self, notice: &Notice, message: &M) -> Result<(), JournalError> {
        let tail = self.journal.tail().filter(|tail| tail.session == notice.session);
        let stamp = Stamp {
            flags: flags::LOCAL,
            channel: self.channel,
            session: notice.session,
            epoch: notice.epoch,
            epoch_base: notice.epoch_base,
            // A notice stands where the record stands: behind it the position may have moved over a hole already.
            sequence: tail.map_or(notice.next, |tail| tail.next),
            sending_time: unix_now(),
        };
        let mut open = OpenPacket::new();
        open.push(&mut self.scratch, message);
        self.append(open, stamp)?;
        if let Some(ring) = &mut self.ring {
            let location = self.journal.location().to_bits();
            let frame = &self.scratch[HEADER_LEN..][..M::FRAME_LEN];
            ring.notice(&stamp, stamp.sending_time, location, frame);
        }
        Ok(())
    }

    fn append(&mut self, open: OpenPacket, stamp: Stamp) -> Result<(), JournalError> {
        let length = open.finish_whole(&mut self.scratch, stamp, 0);
        self.bytes += length as u64;
        self.journal.append(&self.scratch[..length])?;
        Ok(())
    }

    fn put_notice(&mut self, notice: &Notice) -> Result<(), JournalError> {
        let time = unix_now().into();
        match notice.kind {
            NoticeKind::Lost(span, reason) => self.write_notice(
                notice,
                &Lost {
                    begin: span.begin.into(),
                    end: span.end.into(),
                    reason,
                },
            ),
            NoticeKind::Void(span, epoch) => {
                let void = Void {
                    begin: span.begin.into(),
                    end: span.end.into(),
                    epoch: epoch.into(),
                };
                self.write_notice(notice, &void)
            }
            NoticeKind::Line(line, state) => self.write_notice(notice, &LineEvent { time, line, state }),
            NoticeKind::Session(state) => self.write_notice(notice, &SessionEvent { time, state }),
            NoticeKind::SessionsMissed { begin, end, reason } => self.write_notice(
                notice,
                &SessionsMissed {
                    begin: begin.into(),
                    end: end.into(),
                    reason,
                },
            ),
            NoticeKind::StateReplaced(state) => self.write_notice(
                notice,
                &StateReplaced {
                    sequence: state.sequence.into(),
                    epoch: state.epoch.into(),
                    file: state.file.into(),
                },
            ),
            NoticeKind::Clock { state, offset } => self.write_notice(
                notice,
                &ClockEvent {
                    time,
                    state,
                    offset: offset.map_or(Optional::NONE, |offset| Optional::some(offset.unsigned_abs())),
                },
            ),
        }
    }
}

impl Sink for Record {
    #[inline]
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.write(delivery) {
            self.error = Some(error);
            return;
        }
        // What recovery brings was late by definition: its time is that of the gap, and counts like any other.
        let sent = delivery.packet.header().sending_time.get();
        let now = unix_now();
        if let Some(ring) = &mut self.ring {
            let location = self.journal.location().to_bits();
            ring.messages(
                &delivery.packet,
                delivery.skip,
                delivery.take,
                now,
                delivery.origin.into(),
                location,
            );
        }
        let latency = now.saturating_sub(sent);
        self.latency
            .saturating_record_n(latency.max(1), u64::from(delivery.take));
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.count(notice.kind);
        if let NoticeKind::StateReplaced(state) = notice.kind {
            self.replaced = Some(Place {
                channel: self.channel,
                session: state.session,
                epoch: state.epoch,
                epoch_base: state.epoch_base,
                sequence: state.sequence,
            });
        }
        if self.error.is_none()
            && let Err(error) = self.put_notice(notice)
        {
            self.error = Some(error);
        }
    }
}

impl NoticeCounts {
    /// Each kind by a short name, in snake case, and how often it was given.
    pub fn each(&self) -> [(&'static str, u64); 12] {
        [
            ("lost", self.lost),
            ("void", self.void),
            ("line_stalled", self.line_stalled),
            ("line_resumed", self.line_resumed),
            ("session_started", self.session_started),
            ("epoch_started", self.epoch_started),
            ("session_ended", self.session_ended),
            ("session_abandoned", self.session_abandoned),
            ("sessions_missed", self.sessions_missed),
            ("state_replaced", self.state_replaced),
            ("clock_implausible", self.clock_implausible),
            ("clock_plausible", self.clock_plausible),
        ]
    }

    fn count(&mut self, kind: NoticeKind) {
        use twinline_wire::field::{ClockState, LineState, LossReason, SessionState};
        let counter = match kind {
            NoticeKind::Lost(_, LossReason::SKIPPED) => return,
            NoticeKind::Lost(..) => &mut self.lost,
            NoticeKind::Void(..) => &mut self.void,
            NoticeKind::Line(_, LineState::RESUMED) => &mut self.line_resumed,
            NoticeKind::Line(..) => &mut self.line_stalled,
            NoticeKind::Session(SessionState::STARTED) => &mut self.session_started,
            NoticeKind::Session(SessionState::EPOCH_STARTED) => &mut self.epoch_started,
            NoticeKind::Session(SessionState::ENDED) => &mut self.session_ended,
            NoticeKind::Session(_) => &mut self.session_abandoned,
            NoticeKind::SessionsMissed { .. } => &mut self.sessions_missed,
            NoticeKind::StateReplaced(_) => &mut self.state_replaced,
            NoticeKind::Clock { state, .. } if state == ClockState::PLAUSIBLE => &mut self.clock_plausible,
            NoticeKind::Clock { .. } => &mut self.clock_implausible,
        };
        *counter += 1;
    }
}
