//! The ring through its public face: in one process and across several, with writers and readers that are killed.

mod places;
mod processes;
mod reading;

use crate::{Kind, Next, Origin, Record, RingConfig, RingReader, RingWriter};
use std::path::Path;
use twinline_wire::market::PriceTick;
use twinline_wire::{Message, OpenPacket, Optional, Packet, Price, Stamp};

const CHANNEL: u16 = 7;

fn config(dir: &Path) -> RingConfig {
    RingConfig {
        channel: CHANNEL,
        capacity: crate::MIN_CAPACITY,
        max_packet: 1408,
        journal: dir.join("journal"),
    }
}

fn create(dir: &Path) -> RingWriter {
    RingWriter::create(dir, &config(dir)).expect("a ring")
}

/// Spreads a number's bits, so that each word of a message can be checked by itself.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// The message `sequence`: every field follows from the sequence.
fn tick(sequence: u64) -> PriceTick {
    PriceTick {
        source_time: sequence.into(),
        price: Price::new((mix(sequence) >> 1) as i64),
        quantity: Optional::some(mix(!sequence) >> 1),
        instrument: (mix(sequence) as u32).into(),
        ..PriceTick::NULL
    }
}

/// Writes packets of ticks whose sizes follow from their sequences.
struct Source {
    writer: RingWriter,
    next: u64,
    session: u32,
    scratch: Vec<u8>,
}

impl Source {
    fn new(writer: RingWriter, next: u64) -> Self {
        Self {
            writer,
            next,
            session: 3,
            scratch: vec![0; 1408],
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            channel: CHANNEL,
            session: self.session,
            epoch: 2,
            epoch_base: 1,
            sequence: self.next,
            sending_time: 1_000_000 + self.next,
            ..Stamp::default()
        }
    }

    fn packet(&mut self, count: u64) {
        let mut open = OpenPacket::new();
        for sequence in self.next..self.next + count {
            assert!(open.push(&mut self.scratch, &tick(sequence)));
        }
        let stamp = self.stamp();
        let length = open.finish_whole(&mut self.scratch, stamp, 0);
        let packet = Packet::trusted_prefix(&self.scratch[..length]).expect("a packet");
        let received = 1_000_000 + self.next + 500;
        self.writer
            .messages(&packet, 0, count as u16, received, Origin::LineB, self.next);
        self.next += count;
    }

    /// A packet whose size is what its sequence makes it: 1 to 30 messages.
    fn any(&mut self) {
        self.packet(1 + mix(self.next) % 30);
    }
}

/// Checks every message of a record by itself, without what the ring says of it, then against that. Returns the sequences.
fn check(record: &Record<'_>) -> std::ops::Range<u64> {
    assert_eq!(record.kind, Kind::Messages);
    let mut end = record.sequence;
    for (sequence, frame) in record.messages() {
        let message = frame.view::<PriceTick>().expect("a tick");
        let own = message.source_time.get();
        assert_eq!(*message, tick(own), "a torn message");
        assert_eq!(own, sequence, "a message of another place");
        end = sequence + 1;
    }
    let bytes = (end - record.sequence) as usize * PriceTick::FRAME_LEN;
    assert_eq!(record.frames.len(), bytes, "a part of a message");
    assert_eq!(record.sending_time, 1_000_000 + record.sequence);
    assert_eq!(record.receive_time, record.sending_time + 500);
    assert_eq!((record.session, record.epoch, record.epoch_base), (3, 2, 1));
    record.sequence..end
}

/// Reads what there is; every record is checked. Returns the sequences of each, and how often it was overrun.
fn drain(reader: &mut RingReader) -> (Vec<std::ops::Range<u64>>, u64) {
    let (mut read, mut overruns) = (Vec::new(), 0);
    loop {
        match reader.poll() {
            Next::Record(record) => read.push(check(&record)),
            Next::Overrun => overruns += 1,
            Next::Empty => return (read, overruns),
        }
    }
}
