//! What the publisher's tests share: a deterministic source, lines that remember, and ways to read a journal back.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses a part of it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use twinline_feed::publisher::{Burst, Line, Lines, Place, PublisherConfig};
use twinline_feed::source::{EventSink, Source, SourceError, SourceState, TypeCount};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_wire::field::{EventFlags, Optional, Price, Side, Text};
use twinline_wire::header::HEADER_LEN;
use twinline_wire::market::{AddOrder, DeleteOrder, InstrumentDefinition, PriceTick};
use twinline_wire::{Frame, Message, OpenPacket, Packet, U32, U64};

pub const SOURCE: u16 = 3;
pub const CHANNEL: u16 = 9;

/// A small mixing function: event `n` always has the same content.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Says `total` events of 0 to 4 messages each; is idle after about one in `idle_every`.
#[derive(Debug)]
pub struct TestSource {
    pub next: u64,
    pub total: u64,
    pub idle_every: u64,
    rested: bool,
}

impl TestSource {
    pub fn new(total: u64, idle_every: u64) -> Self {
        Self {
            next: 0,
            total,
            idle_every,
            rested: false,
        }
    }
}

/// How many messages event `n` has.
pub fn messages_of(n: u64) -> u64 {
    mix(n) % 5
}

/// The messages of event `n`, without its end.
pub fn say(n: u64, sink: &mut impl EventSink) {
    let hash = mix(n);
    for message in 0..messages_of(n) {
        match (hash >> 8).wrapping_add(message) % 4 {
            0 => sink.push(&tick(n * 8 + message)),
            1 => sink.push(&AddOrder {
                source_time: U64::new(n),
                order_id: U64::new(n * 8 + message),
                price: Price::new(hash as i64 >> 20),
                quantity: U32::new(hash as u32),
                instrument: U32::new(7),
                participant: Text::default(),
                side: Side::BUY,
                flags: EventFlags::default(),
            }),
            2 => sink.push(&DeleteOrder {
                source_time: U64::new(n),
                order_id: U64::new(n * 8 + message),
                instrument: U32::new(7),
                flags: EventFlags::default(),
            }),
            _ => sink.push(&definition(n, u32::from(SOURCE) << 16 | hash as u32 & 0xFFF)),
        }
    }
}

/// What the first `total` events put into the stream, framed: made without the publisher.
pub fn expected(total: u64) -> Vec<Vec<u8>> {
    struct Collect(Vec<Vec<u8>>);
    impl EventSink for Collect {
        fn push<M: Message>(&mut self, message: &M) {
            let mut buffer = vec![0; HEADER_LEN + M::FRAME_LEN];
            assert!(OpenPacket::new().push(&mut buffer, message));
            self.0.push(buffer.split_off(HEADER_LEN));
        }
        fn push_frame(&mut self, frame: &Frame<'_>) {
            self.0.push(frame.bytes().to_vec());
        }
        fn end_event(&mut self, _: u16, _: u64) {
            // All templates used here end with their flags.
            if let Some(flags) = self.0.last_mut().and_then(|frame| frame.last_mut()) {
                *flags |= EventFlags::END_OF_EVENT.0;
            }
        }
    }
    let mut collect = Collect(Vec::new());
    for n in 0..total {
        say(n, &mut collect);
        collect.end_event(SOURCE, n + 1);
    }
    collect.0
}

/// What names an instrument.
pub fn definition(time: u64, instrument: u32) -> InstrumentDefinition {
    InstrumentDefinition {
        source_time: U64::new(time),
        instrument: U32::new(instrument),
        symbol: Text::new(b"TWIN"),
        lot_size: Optional::NONE,
        price_increment: Optional::NONE,
        source: SOURCE.into(),
        market: Text::default(),
        class: Text::default(),
        flags: EventFlags::default(),
    }
}

pub fn tick(n: u64) -> PriceTick {
    PriceTick {
        source_time: U64::new(n),
        price: Price::new(n as i64),
        quantity: Optional::NONE,
        instrument: U32::new(7),
        flags: EventFlags::default(),
    }
}

impl Source for TestSource {
    fn id(&self) -> u16 {
        SOURCE
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        self.next = position;
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.next >= self.total {
            return Ok(SourceState::End);
        }
        if mix(self.next ^ 0xABCD).is_multiple_of(self.idle_every) && !self.rested {
            self.rested = true;
            return Ok(SourceState::Idle { until: now });
        }
        self.rested = false;
        say(self.next, sink);
        self.next += 1;
        sink.end_event(SOURCE, self.next);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        Vec::new()
    }
}

/// Packets in the order they were sent, each with its line.
pub type Sent = Vec<(Line, Vec<u8>)>;

/// Everything sent on both lines, in order.
#[derive(Clone, Debug, Default)]
pub struct Recorded(pub Arc<Mutex<Sent>>);

impl Lines for Recorded {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let packets = burst.packets().map(|packet| (line, packet.to_vec()));
        self.0.lock().unwrap().extend(packets);
        burst.count()
    }
}

impl Recorded {
    /// What was sent since the last call, on `line`, with heartbeats.
    pub fn take(&self, line: Line) -> Vec<Vec<u8>> {
        let sent = std::mem::take(&mut *self.0.lock().unwrap());
        let of = |wanted| {
            sent.iter()
                .filter(move |(line, _)| *line == wanted)
                .map(|(_, packet)| packet.clone())
        };
        assert!(of(Line::A).eq(of(Line::B)), "both lines carry the same");
        of(line).collect()
    }
}

pub fn holder(boot: &str) -> Holder {
    Holder {
        host: "test".into(),
        boot: boot.into(),
    }
}

/// A publisher's place in `dir`, with small segments.
pub fn place(dir: &Path, boot: &str) -> Place {
    Place {
        journal: dir.join("journal"),
        journal_config: JournalConfig {
            channel: CHANNEL,
            max_packet: 1408,
            segment_size: 64 * 1024,
            sync: SyncPolicy::None,
            retention: Retention::default(),
            prepare: Prepare::Inline,
        },
        store: dir.join("epochs.json"),
        session: None,
        holder: holder(boot),
        block: 1 << 16,
    }
}

/// No waiting before the first packet and after the last.
pub fn at_once() -> PublisherConfig {
    PublisherConfig {
        lead_in: std::time::Duration::ZERO,
        linger: std::time::Duration::ZERO,
        ..PublisherConfig::default()
    }
}

/// All packets of `session`.
pub fn packets(journal: &Path, session: u32) -> Vec<Vec<u8>> {
    let mut reader = JournalReader::open(journal).unwrap();
    let mut packets = Vec::new();
    reader.seek_oldest().unwrap();
    while let Some(packet) = reader.next().unwrap() {
        if packet.header().session.get() == session {
            packets.push(packet.bytes().to_vec());
        }
    }
    packets
}

/// Every message of `packets` by sequence, framed. Panics if a sequence names two different messages.
pub fn messages<'p>(packets: impl IntoIterator<Item = &'p Vec<u8>>) -> BTreeMap<u64, Vec<u8>> {
    let mut messages = BTreeMap::new();
    for bytes in packets {
        let packet = Packet::parse(bytes).expect("a packet of ours is valid");
        for (sequence, frame) in packet.messages() {
            let before = messages.insert(sequence, frame.bytes().to_vec());
            assert!(
                before.is_none_or(|before| before == frame.bytes()),
                "sequence {sequence} twice"
            );
        }
    }
    messages
}

/// True for a framed message that came from a source.
pub fn is_market(frame: &[u8]) -> bool {
    (10..60).contains(&u16::from_le_bytes([frame[4], frame[5]]))
}

/// The source messages of a session in order: what interrupted and uninterrupted runs have in common.
pub fn source_messages(journal: &Path, session: u32) -> Vec<Vec<u8>> {
    let all = messages(&packets(journal, session));
    all.into_values().filter(|frame| is_market(frame)).collect()
}
