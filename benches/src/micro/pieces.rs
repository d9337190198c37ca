//! The pieces. Each does its work once over all packets; who calls it takes the time, or counts instructions.

use super::load::{Load, ORDERS, epoch_start, order, stamp};
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use twinline_journal::{JournalConfig, JournalError, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_listener::arbiter::{Arbiter, ArbiterConfig, Delivery, Notice, Origin, Sink};
use twinline_ring::{Next, RingConfig, RingReader, RingWriter};
use twinline_wire::header::{DEFAULT_PACKET_LEN, checksum};
use twinline_wire::market::{AddOrder, DeleteOrder, ExecuteOrder, ReplaceOrder};
use twinline_wire::{Message, OpenPacket, Packet};

/// The least that anything can do with a packet: look at its header.
#[inline(never)]
pub fn floor(load: &Load) {
    for bytes in load.each() {
        if let Ok(packet) = Packet::trusted_prefix(bytes) {
            black_box(packet.sequence());
        }
    }
}

/// Fills packets with orders and finishes them, checksum and all. Returns how many orders that were.
#[inline(never)]
pub fn encode(packets: usize) -> usize {
    let mut buffer = [0; DEFAULT_PACKET_LEN];
    for sequence in 0..packets as u64 {
        let mut open = OpenPacket::new();
        while open.push(&mut buffer, &order(sequence)) {}
        black_box(open.finish_whole(&mut buffer, stamp(sequence + 1), 0));
    }
    packets * ORDERS
}

/// The checksums alone.
#[inline(never)]
pub fn checksums(load: &Load) {
    load.each().for_each(|bytes| _ = black_box(checksum(bytes)));
}

/// Everything that is checked of a packet but its checksum.
#[inline(never)]
pub fn walk(packets: &[Packet<'_>]) {
    packets
        .iter()
        .for_each(|packet| _ = black_box(packet.is_consistent()));
}

/// Everything that is checked of a packet.
#[inline(never)]
pub fn parse(load: &Load) {
    load.each()
        .for_each(|bytes| _ = black_box(Packet::parse(bytes).is_ok()));
}

/// Looks into each message by its template.
#[inline(never)]
pub fn decode(packets: &[Packet<'_>]) {
    let mut sum = 0_u64;
    for packet in packets {
        for (sequence, frame) in packet.messages() {
            let number = match frame.template() {
                AddOrder::TEMPLATE => frame.view::<AddOrder>().map(|message| message.order_id),
                DeleteOrder::TEMPLATE => frame.view::<DeleteOrder>().map(|message| message.order_id),
                ExecuteOrder::TEMPLATE => frame.view::<ExecuteOrder>().map(|message| message.order_id),
                ReplaceOrder::TEMPLATE => frame.view::<ReplaceOrder>().map(|message| message.order_id),
                _ => None,
            };
            sum = sum.wrapping_add(sequence ^ number.map_or(0, |number| number.get()));
        }
    }
    black_box(sum);
}

/// The books that the messages add up to. The last packets empty them, so that the same ones can come again.
#[derive(Debug)]
pub struct Books(twinline_book::Books);

impl Default for Books {
    fn default() -> Self {
        Self::new()
    }
}

impl Books {
    /// Empty ones.
    pub fn new() -> Self {
        Self(twinline_book::Books::new())
    }

    /// Applies every message.
    #[inline(never)]
    pub fn apply(&mut self, packets: &[Packet<'_>]) {
        for packet in packets {
            for (_, frame) in packet.messages() {
                black_box(self.0.apply(&frame));
            }
        }
    }

    /// Orders that are live.
    pub fn live_orders(&self) -> usize {
        self.0.live_orders()
    }
}

#[derive(Debug, Default)]
struct Count(u64);

impl Sink for Count {
    #[inline]
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.0 += u64::from(delivery.take);
    }

    fn notice(&mut self, _: &Notice) {}
}

/// An arbiter in the middle of a session.
#[derive(Debug)]
pub struct Listening {
    arbiter: Arbiter,
    count: Count,
    now: u64,
}

impl Default for Listening {
    fn default() -> Self {
        Self::new()
    }
}

impl Listening {
    /// Both lines have brought the session's start.
    pub fn new() -> Self {
        let config = ArbiterConfig {
            window: 64,
            ..ArbiterConfig::default()
        };
        let mut listening = Self {
            arbiter: Arbiter::new(config, None, 0),
            count: Count::default(),
            now: 0,
        };
        let start = epoch_start();
        for line in [Origin::LineA, Origin::LineB] {
            listening.arbiter.on_packet(line, &start, 0, &mut listening.count);
        }
        listening
    }

    /// Messages delivered.
    pub fn delivered(&self) -> u64 {
        self.count.0
    }

    #[inline(always)]
    fn bring(&mut self, line: Origin, packet: &Packet<'_>, at: usize) {
        let now = self.now + 100 * at as u64;
        self.arbiter.on_valid(line, *packet, now, &mut self.count);
    }

    /// So much time has passed.
    fn turn(&mut self, time: u64) {
        self.now += time;
        self.arbiter.tick(self.now, &mut self.count);
    }

    /// Line A brings the packets, each the next one.
    #[inline(never)]
    pub fn in_order(&mut self, packets: &[Packet<'_>]) {
        for (at, packet) in packets.iter().enumerate() {
            self.bring(Origin::LineA, packet, at);
        }
        self.turn(100 * packets.len() as u64);
    }

    /// Line B brings what line A has brought.
    #[inline(never)]
    pub fn duplicate(&mut self, packets: &[Packet<'_>]) {
        for (at, packet) in packets.iter().enumerate() {
            self.bring(Origin::LineB, packet, at);
        }
        self.turn(100 * packets.len() as u64);
    }

    /// Line A loses one packet in 16, and line B brings it when four behind it wait.
    #[inline(never)]
    pub fn late(&mut self, packets: &[Packet<'_>]) {
        for packets in packets.chunks(16) {
            for (at, packet) in packets.iter().enumerate() {
                if at != 4 {
                    self.bring(Origin::LineA, packet, at);
                }
                if at == 8 {
                    self.bring(Origin::LineB, &packets[4], at);
                }
            }
            self.now += 1_600;
        }
        self.turn(0);
    }
}

/// A listener's own journal.
#[derive(Debug)]
pub struct Own(pub(super) JournalWriter);

impl Own {
    /// In the directory `dir`, made durable as `sync` says.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path, sync: SyncPolicy) -> Result<Self, JournalError> {
        let mut journal = JournalWriter::open(dir, journal_config(sync))?;
        journal.append(&epoch_start())?;
        Ok(Self(journal))
    }

    /// Copies the packets into it, as they are.
    ///
    /// # Errors
    /// If the journal cannot be written.
    #[inline(never)]
    pub fn append(&mut self, packets: &[Packet<'_>]) -> Result<(), JournalError> {
        for packet in packets {
            self.0.append(packet.bytes())?;
        }
        Ok(())
    }
}

/// A publisher's journal.
#[derive(Debug)]
pub struct Publishing {
    journal: JournalWriter,
    next: u64,
}

impl Publishing {
    /// In the directory `dir`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path) -> Result<Self, JournalError> {
        let mut journal = JournalWriter::open(dir, journal_config(SyncPolicy::None))?;
        journal.append(&epoch_start())?;
        Ok(Self { journal, next: 2 })
    }

    /// Encodes full packets of orders straight into the journal: stamped, checksummed, committed.
    ///
    /// # Errors
    /// If the journal cannot be written.
    #[inline(never)]
    pub fn encode(&mut self, packets: usize) -> Result<(), JournalError> {
        for _ in 0..packets {
            let slot = self.journal.slot()?;
            let mut open = OpenPacket::new();
            while open.push(slot, &order(self.next)) {}
            let length = open.finish(slot, stamp(self.next), 0);
            self.journal.commit(length, 0);
            self.journal.make_ready();
            self.next += u64::from(open.count());
        }
        Ok(())
    }
}

fn journal_config(sync: SyncPolicy) -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: DEFAULT_PACKET_LEN,
        segment_size: 16 << 20,
        sync,
        retention: Retention {
            segments: Some(4),
            ..Retention::default()
        },
        prepare: Prepare::Thread,
    }
}

/// A ring with one reader.
#[derive(Debug)]
pub struct Shared {
    writer: RingWriter,
    reader: RingReader,
}

impl Shared {
    /// In the directory `dir`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let config = RingConfig {
            channel: 1,
            capacity: 1 << 20,
            max_packet: DEFAULT_PACKET_LEN,
            journal: "none".into(),
        };
        Ok(Self {
            writer: RingWriter::create(dir, &config)?,
            reader: RingReader::open(dir, 1, "micro")?,
        })
    }

    /// Writes all packets' messages; the ring holds them all.
    #[inline(never)]
    pub fn write(&mut self, packets: &[Packet<'_>]) {
        for (number, packet) in (1..).zip(packets) {
            let count = packet.header().count.get();
            self.writer
                .messages(packet, 0, count, 2, twinline_ring::Origin::LineA, number);
        }
    }

    /// Reads all that there is.
    #[inline(never)]
    pub fn read(&mut self) {
        while let Next::Record(record) = self.reader.poll() {
            black_box(record.frames);
        }
    }
}
