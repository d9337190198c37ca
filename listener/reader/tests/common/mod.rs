//! A listener's stream in few words: written to a journal and a ring in the order in which a listener does, and kept as the
//! list that every reader must deliver.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use twinline_book::Follower;
use twinline_book::snapshot::{Place, encode, file};
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_reader::{Event, Message, Notice, NoticeKind, Reader};
use twinline_ring::{Origin, RingConfig, RingWriter};
use twinline_wire::field::{Field, LineName, LineState, LossReason, ModifyAction, SessionState, Text};
use twinline_wire::header::flags;
use twinline_wire::market::{AddOrder, DeleteOrder, InstrumentDefinition, ModifyOrder};
use twinline_wire::session::{
    EndOfSession, EpochStart, LineEvent, Lost, SessionEvent, SourcePosition, StateReplaced, Void,
};
use twinline_wire::{EventFlags, Message as _, OpenPacket, Packet, Price, Side, Stamp};

pub(crate) const CHANNEL: u16 = 7;
pub(crate) const SESSION: u32 = 20_260_717;
/// Of the instruments, which are `source 1`'s.
pub(crate) const SYMBOLS: [&str; 4] = ["AAA", "BBB", "CCC", "DDD"];

pub(crate) fn instrument(place: usize) -> u32 {
    1 << 16 | (place as u32 + 1)
}

/// A part of a stream as readers tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message(u32, u32, u64, Vec<u8>),
    /// Session, and the notice's words.
    Notice(u32, String),
}

impl Item {
    pub(crate) fn of_message(message: &Message<'_>) -> Self {
        let bytes = message.frame.bytes().to_vec();
        Self::Message(message.session, message.epoch, message.sequence, bytes)
    }

    /// Of a listener's notice; `None` of what the reader says itself.
    pub(crate) fn of_notice(notice: &Notice<'_>) -> Option<Self> {
        notice.time?;
        Some(Self::Notice(notice.position.session, words(&notice.kind)))
    }

    pub(crate) fn key(&self) -> Option<(u32, u64)> {
        match self {
            Self::Message(session, _, sequence, _) => Some((*session, *sequence)),
            Self::Notice(..) => None,
        }
    }
}

fn words(kind: &NoticeKind<'_>) -> String {
    match kind {
        NoticeKind::Unknown(frame) => format!("Unknown({})", frame.template()),
        kind => format!("{kind:?}"),
    }
}

/// All that there is now.
pub(crate) fn drain(reader: &mut Reader) -> Vec<Item> {
    let mut items = Vec::new();
    while let Some(event) = reader.poll().unwrap() {
        match event {
            Event::Message(message) => items.push(Item::of_message(&message)),
            Event::Notice(notice) => items.extend(Item::of_notice(&notice)),
        }
    }
    items
}

/// What a journal's packets hold.
pub(crate) fn journal_items(dir: &Path) -> Vec<Item> {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut items = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        items.extend(packet_items(&packet));
    }
    items
}

fn packet_items(packet: &Packet<'_>) -> Vec<Item> {
    let (session, epoch) = (packet.header().session.get(), packet.header().epoch.get());
    let local = packet.header().flags & flags::LOCAL != 0;
    let item = |(sequence, frame): (u64, twinline_wire::Frame<'_>)| match local {
        false => Item::Message(session, epoch, sequence, frame.bytes().to_vec()),
        true => Item::Notice(session, notice_words(&frame)),
    };
    packet.messages().map(item).collect()
}

fn notice_words(frame: &twinline_wire::Frame<'_>) -> String {
    macro_rules! try_each {
        ($($variant:ident $type:ident),*) => {
            $(if let Some(notice) = frame.view::<$type>() {
                return words(&NoticeKind::$variant(*notice));
            })*
        };
    }
    try_each!(Lost Lost, Void Void, StateReplaced StateReplaced, Line LineEvent, Session SessionEvent);
    words(&NoticeKind::Unknown(*frame))
}

/// A generator of numbers that look random (xorshift).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// The definition of an instrument.
fn definition(place: usize) -> InstrumentDefinition {
    InstrumentDefinition {
        instrument: instrument(place).into(),
        symbol: Text::new(SYMBOLS[place].as_bytes()),
        source: 1.into(),
        flags: EventFlags::END_OF_EVENT,
        ..InstrumentDefinition::NULL
    }
}

/// How a [`Feed`] is made.
#[derive(Clone, Debug)]
pub(crate) struct FeedConfig {
    pub(crate) capacity: Option<usize>,
    pub(crate) segments: Option<usize>,
    pub(crate) segment_size: usize,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            capacity: None,
            segments: None,
            segment_size: 1 << 16,
        }
    }
}

/// What a listener writes.
pub(crate) struct Feed {
    pub(crate) journal_dir: PathBuf,
    pub(crate) ring_dir: PathBuf,
    config: FeedConfig,
    journal: Option<JournalWriter>,
    ring: Option<RingWriter>,
    /// Everything written, for the judge.
    pub(crate) ledger: Arc<Mutex<Vec<Item>>>,
    follower: Follower,
    pub(crate) session: u32,
    epoch: u32,
    base: u64,
    pub(crate) next: u64,
    position: u64,
    orders: Vec<(u32, u64)>,
    pub(crate) rng: Rng,
    buffer: Vec<u8>,
}

impl Feed {
    pub(crate) fn new(dir: &Path, config: FeedConfig, seed: u64) -> Self {
        let mut feed = Self {
            journal_dir: dir.join("journal"),
            ring_dir: dir.join("ring"),
            config,
            journal: None,
            ring: None,
            ledger: Arc::default(),
            follower: Follower::new(),
            session: SESSION,
            epoch: 1,
            base: 1,
            next: 1,
            position: 0,
            orders: Vec::new(),
            rng: Rng::new(seed),
            buffer: vec![0; 2048],
        };
        feed.start();
        if let Some(tail) = feed.journal.as_ref().and_then(JournalWriter::tail) {
            (feed.session, feed.epoch, feed.base, feed.next) =
                (tail.session, tail.epoch, tail.epoch_base, tail.next);
        }
        feed
    }

    /// The listener starts (again).
    pub(crate) fn start(&mut self) {
        self.journal = Some(open_journal(&self.journal_dir, &self.config));
        self.ring = self.config.capacity.map(|capacity| {
            let config = RingConfig {
                channel: CHANNEL,
                capacity,
                max_packet: 1408,
                journal: self.journal_dir.clone(),
            };
            RingWriter::create(&self.ring_dir, &config).unwrap()
        });
    }

    /// The listener ends in good order.
    pub(crate) fn stop(&mut self) {
        self.journal = None;
        self.ring = None;
    }

    pub(crate) fn is_running(&self) -> bool {
        self.journal.is_some()
    }

    pub(crate) fn beat(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.beat();
        }
    }

    fn stamp(&self, flags: u8) -> Stamp {
        Stamp {
            flags,
            channel: CHANNEL,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence: self.next,
            sending_time: 1_000_000 + self.next,
        }
    }

    /// Journal first, then ring, then the ledger.
    fn write(&mut self, open: OpenPacket, flags: u8) {
        let stamp = self.stamp(flags);
        let length = open.finish_whole(&mut self.buffer, stamp, 0);
        let packet = Packet::parse(&self.buffer[..length]).unwrap();
        let journal = self.journal.as_mut().unwrap();
        journal.append(packet.bytes()).unwrap();
        let location = journal.location().to_bits();
        // Before a reader can have it.
        self.ledger.lock().unwrap().extend(packet_items(&packet));
        if let Some(ring) = &mut self.ring {
            let (_, frame) = packet.messages().next().unwrap();
            match flags {
                0 => {
                    let origin = [Origin::LineA, Origin::LineB, Origin::Recovery][(self.next % 3) as usize];
                    let count = packet.header().count.get();
                    ring.messages(&packet, 0, count, stamp.sending_time + 5, origin, location);
                }
                _ => ring.notice(&stamp, stamp.sending_time + 5, location, frame.bytes()),
            }
            ring.beat();
        }
        self.follower.packet(&packet, |_, _| {});
        self.next = packet.end();
    }

    /// A packet of these messages.
    pub(crate) fn packet(&mut self, push: impl FnOnce(&mut OpenPacket, &mut [u8])) {
        let mut open = OpenPacket::new();
        push(&mut open, &mut self.buffer);
        self.write(open, 0);
    }

    fn notice<M: twinline_wire::Message>(&mut self, notice: &M) {
        let mut open = OpenPacket::new();
        open.push(&mut self.buffer, notice);
        self.write(open, flags::LOCAL);
    }

    /// A session's first packets: EpochStart and the instruments.
    pub(crate) fn begin_session(&mut self) {
        let start = EpochStart {
            valid_end: self.next.into(),
            epoch: self.epoch.into(),
        };
        self.packet(|open, buffer| assert!(open.push(buffer, &start)));
        (0..SYMBOLS.len()).for_each(|place| self.define(place));
        self.orders.clear();
    }

    pub(crate) fn define(&mut self, place: usize) {
        self.packet(|open, buffer| assert!(open.push(buffer, &definition(place))));
    }

    /// A session ends, and the next one begins.
    pub(crate) fn next_session(&mut self) {
        self.packet(|open, buffer| assert!(open.push(buffer, &EndOfSession::NULL)));
        self.say_session(SessionState::ENDED);
        (self.session, self.epoch, self.base, self.next) = (self.session + 1, 1, 1, 1);
        self.say_session(SessionState::STARTED);
        self.begin_session();
    }

    /// A new epoch begins at `base`; what is at or beyond `valid_end` is void.
    pub(crate) fn new_epoch(&mut self, valid_end: u64, base: u64) {
        let epoch = self.epoch + 1;
        if valid_end < self.next {
            self.notice(&Void {
                begin: valid_end.into(),
                end: self.next.into(),
                epoch: epoch.into(),
            });
        }
        (self.epoch, self.base, self.next) = (epoch, base, base);
        let start = EpochStart {
            valid_end: valid_end.into(),
            epoch: epoch.into(),
        };
        self.packet(|open, buffer| assert!(open.push(buffer, &start)));
    }

    pub(crate) fn say_session(&mut self, state: SessionState) {
        let time = self.next.into();
        self.notice(&SessionEvent { time, state });
    }

    pub(crate) fn say_line(&mut self, state: LineState) {
        let (time, line) = (self.next.into(), LineName::BOTH);
        self.notice(&LineEvent { time, line, state });
    }

    /// `count` messages are lost.
    pub(crate) fn lose(&mut self, count: u64) {
        let (begin, end) = (self.next, self.next + count);
        self.notice(&Lost {
            begin: begin.into(),
            end: end.into(),
            reason: LossReason::TIMED_OUT,
        });
        self.next = end;
    }

    /// A snapshot of the books as they are, named by the stream.
    pub(crate) fn replace_state(&mut self) {
        // The follower of a feed that has just come back knows of nothing yet.
        let place = Place {
            channel: CHANNEL,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence: self.next,
        };
        let mut books = self.follower.books().clone();
        if !books.is_valid() {
            // What somebody knows who lost nothing: here that all orders have left.
            books = twinline_book::Books::new();
            for place in 0..SYMBOLS.len() {
                books.apply_message(&definition(place));
            }
        }
        file::write(&self.journal_dir, &place, &encode(&books, &place)).unwrap();
        self.notice(&StateReplaced {
            sequence: place.sequence.into(),
            epoch: place.epoch.into(),
            file: place.sequence.into(),
        });
        if !self.follower.books().is_valid() {
            let snapshot = twinline_book::Snapshot { place, books };
            self.follower.replace(snapshot).unwrap();
            self.orders.clear();
        }
    }

    /// A packet of a few source events, each of one to three messages, and a position.
    pub(crate) fn events(&mut self, events: u64) {
        let mut open = OpenPacket::new();
        for _ in 0..events {
            let messages = 1 + self.rng.below(3);
            for message in 1..=messages {
                self.push_order(&mut open, message == messages);
            }
        }
        self.push_position(&mut open);
        self.write(open, 0);
    }

    /// One message of an event.
    pub(crate) fn push_order(&mut self, open: &mut OpenPacket, last: bool) {
        let marks = match last {
            true => EventFlags::END_OF_EVENT,
            false => EventFlags::NULL,
        };
        let sequence = self.next + u64::from(open.count());
        let choice = self.rng.below(10);
        let pushed = if (choice < 5 && self.orders.len() < 300) || self.orders.is_empty() {
            let place = self.rng.below(SYMBOLS.len() as u64) as usize;
            self.orders.push((instrument(place), sequence));
            open.push(
                &mut self.buffer,
                &AddOrder {
                    source_time: (1000 * sequence).into(),
                    order_id: sequence.into(),
                    price: Price::new(1_000_000_000 * (90 + self.rng.below(20) as i64)),
                    quantity: (1 + self.rng.below(900) as u32).into(),
                    instrument: instrument(place).into(),
                    participant: Text::default(),
                    side: [Side::BUY, Side::SELL][self.rng.below(2) as usize],
                    flags: marks,
                },
            )
        } else {
            let at = self.rng.below(self.orders.len() as u64) as usize;
            let (instrument, id) = self.orders[at];
            if choice < 9 || self.orders.len() > 200 {
                self.orders.swap_remove(at);
                open.push(
                    &mut self.buffer,
                    &DeleteOrder {
                        source_time: (1000 * sequence).into(),
                        order_id: id.into(),
                        instrument: instrument.into(),
                        flags: marks,
                    },
                )
            } else {
                open.push(
                    &mut self.buffer,
                    &ModifyOrder {
                        source_time: (1000 * sequence).into(),
                        order_id: id.into(),
                        quantity: (1 + self.rng.below(500) as u32).into(),
                        instrument: instrument.into(),
                        action: ModifyAction::SET_KEEP_PRIORITY,
                        flags: marks,
                    },
                )
            }
        };
        assert!(pushed);
    }

    fn push_position(&mut self, open: &mut OpenPacket) {
        self.position += 1;
        let position = SourcePosition {
            position: self.position.into(),
            source: 1.into(),
        };
        assert!(open.push(&mut self.buffer, &position));
    }

    /// What is open, with nothing behind it.
    pub(crate) fn close(&mut self, open: OpenPacket) {
        self.write(open, 0);
    }

    /// Everything written.
    pub(crate) fn items(&self) -> Vec<Item> {
        self.ledger.lock().unwrap().clone()
    }

    /// The books behind everything written.
    pub(crate) fn checksum(&self) -> u64 {
        self.follower.books().checksum()
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.follower.books().is_valid()
    }

    /// Something of everything.
    pub(crate) fn anything(&mut self) {
        match self.rng.below(100) {
            0 => self.say_line(LineState::STALE),
            1 => self.say_line(LineState::RESUMED),
            2 => {
                let count = 1 + self.rng.below(20);
                self.lose(count);
            }
            3 => self.replace_state(),
            4 => {
                let base = self.next + self.rng.below(1000);
                let void = self.rng.below(3).min(self.next - self.base - 1);
                self.new_epoch(self.next - void, base);
            }
            5 if self.rng.below(4) == 0 => self.next_session(),
            _ => {
                let events = 1 + self.rng.below(6);
                self.events(events);
            }
        }
    }
}

pub(crate) fn open_journal(dir: &Path, config: &FeedConfig) -> JournalWriter {
    let config = JournalConfig {
        channel: CHANNEL,
        max_packet: 1408,
        segment_size: config.segment_size,
        sync: SyncPolicy::None,
        retention: Retention {
            segments: config.segments,
            ..Retention::default()
        },
        prepare: Prepare::Inline,
    };
    JournalWriter::open(dir, config).unwrap()
}
