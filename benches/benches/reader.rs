//! `cargo bench -p twinline-benches --bench reader`: what a message costs the program that reads it, from a journal and from a ring.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_reader::{Batch, Event, Instruments, Options, Reader, Start};
use twinline_ring::{Origin, RingConfig, RingWriter};
use twinline_wire::market::PriceTick;
use twinline_wire::session::EpochStart;
use twinline_wire::{EventFlags, Message, OpenPacket, Packet, Price, Stamp};

const CHANNEL: u16 = 1;
const ROUNDS: usize = 15;
/// Messages of a round: as many as a ring of 16 MiB holds, and few enough to stay in the cache, so that reading is measured and
/// not the memory.
const MESSAGES: u64 = 40_000;

type Failed = Box<dyn std::error::Error>;

/// A stream of ticks of a hundred instruments.
struct Stream {
    next: u64,
    buffer: Vec<u8>,
}

impl Stream {
    fn stamp(&self) -> Stamp {
        Stamp {
            channel: CHANNEL,
            session: 1,
            epoch: 1,
            epoch_base: 1,
            sequence: self.next,
            sending_time: 1_000_000 + self.next,
            flags: 0,
        }
    }

    fn packet(&mut self, messages: u64) -> Packet<'_> {
        let (mut open, stamp) = (OpenPacket::new(), self.stamp());
        if self.next == 1 {
            let start = EpochStart {
                valid_end: 1.into(),
                epoch: 1.into(),
            };
            open.push(&mut self.buffer, &start);
        }
        for sequence in self.next..self.next + messages {
            let tick = PriceTick {
                source_time: sequence.into(),
                price: Price::new(sequence as i64 % 1000),
                instrument: (1 << 16 | (sequence % 100 + 1) as u32).into(),
                flags: EventFlags::END_OF_EVENT,
                ..PriceTick::NULL
            };
            open.push(&mut self.buffer, &tick);
        }
        let length = open.finish_whole(&mut self.buffer, stamp, 0);
        let packet = Packet::trusted_prefix(&self.buffer[..length]).expect("just made");
        self.next = packet.end();
        packet
    }
}

fn options(start: Start, books: Instruments) -> Options {
    Options {
        start,
        books,
        symbols: false,
        ..Options::default()
    }
}

/// Reads all that there is; how many messages that were.
fn read(reader: &mut Reader, batches: bool) -> Result<u64, Failed> {
    let mut messages = 0;
    match batches {
        false => {
            while let Some(event) = reader.poll()? {
                if let Event::Message(message) = event {
                    messages += 1;
                    black_box(message.instrument());
                }
            }
        }
        true => {
            while let Some(batch) = reader.poll_batch()? {
                if let Batch::Messages(batch) = batch {
                    for message in batch {
                        messages += 1;
                        black_box(message.instrument());
                    }
                }
            }
        }
    }
    Ok(messages)
}

fn print(name: &str, rounds: &mut [f64]) {
    rounds.sort_by(f64::total_cmp);
    println!("{name:<64} {:>7.1} ns a message", rounds[rounds.len() / 2]);
}

fn journal(dir: &Path) -> Result<JournalWriter, Failed> {
    let config = JournalConfig {
        channel: CHANNEL,
        max_packet: 1408,
        segment_size: 128 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    };
    Ok(JournalWriter::open(dir, config)?)
}

fn over_journal(messages: u64) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut writer = journal(dir.path())?;
    let mut stream = Stream {
        next: 1,
        buffer: vec![0; 2048],
    };
    while stream.next < MESSAGES {
        writer.append(stream.packet(messages).bytes())?;
    }
    let mut rounds = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let mut time = |at: usize, read: &mut dyn FnMut() -> Result<u64, Failed>| -> Result<(), Failed> {
            let start = Instant::now();
            let messages = read()?;
            rounds[at].push(start.elapsed().as_nanos() as f64 / messages as f64);
            Ok(())
        };
        time(0, &mut || {
            let (mut reader, mut messages) = (JournalReader::open(dir.path())?, 0);
            while let Some(packet) = reader.next()? {
                for (_, frame) in packet.messages() {
                    messages += 1;
                    black_box(frame.instrument());
                }
            }
            Ok(messages)
        })?;
        let options = |books| options(Start::Oldest, books);
        for (at, books, batches) in [
            (1, Instruments::None, false),
            (2, Instruments::None, true),
            (3, Instruments::All, true),
        ] {
            let mut reader = Reader::open_journal(dir.path(), options(books))?;
            time(at, &mut || read(&mut reader, batches))?;
        }
    }
    let names = [
        "the bare packets",
        "one by one",
        "in batches",
        "in batches, with books",
    ];
    for (name, rounds) in names.iter().zip(&mut rounds) {
        print(&format!("journal, {messages} a packet: {name}"), rounds);
    }
    Ok(())
}

fn over_ring(messages: u64) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut writer = journal(&dir.path().join("journal"))?;
    let config = RingConfig {
        channel: CHANNEL,
        capacity: 16 << 20,
        max_packet: 1408,
        journal: dir.path().join("journal"),
    };
    let ring = dir.path().join("ring");
    let mut ring_writer = RingWriter::create(&ring, &config)?;
    let mut stream = Stream {
        next: 1,
        buffer: vec![0; 2048],
    };
    let attach = |books| Reader::attach(&ring, CHANNEL, options(Start::Oldest, books));
    let mut readers = [
        (attach(Instruments::None)?, false),
        (attach(Instruments::None)?, true),
        (attach(Instruments::All)?, true),
    ];
    let mut rounds = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        let end = stream.next + MESSAGES;
        while stream.next < end {
            let count = if round == 0 { 1 } else { messages };
            let packet = stream.packet(count);
            writer.append(packet.bytes())?;
            let (count, location) = (packet.header().count.get(), writer.location().to_bits());
            ring_writer.messages(&packet, 0, count, 7, Origin::LineA, location);
        }
        for ((reader, batches), rounds) in readers.iter_mut().zip(&mut rounds) {
            let start = Instant::now();
            let messages = read(reader, *batches)?;
            if round > 0 {
                rounds.push(start.elapsed().as_nanos() as f64 / messages as f64);
            }
            assert_eq!(reader.progress().overruns, 0, "the ring holds a round");
        }
    }
    let names = ["one by one", "in batches", "in batches, with books"];
    for (name, rounds) in names.iter().zip(&mut rounds) {
        print(&format!("ring, {messages} a record: {name}"), rounds);
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    for messages in [1, 25] {
        over_journal(messages)?;
        over_ring(messages)?;
    }
    Ok(())
}
