//! What each message passes on its way, measured piece by piece on one thread: encode, check, arbitrate, journal,
//! hand over to programs in the ring.
//!
//! Machines differ and are noisy, so every figure stands beside a floor of the same round: the barest loop that touches
//! the same packets. Rounds of all pieces are interleaved; the medians are reported.

pub mod book;
pub mod encode;
pub mod fair;
pub mod harness;
pub mod itch_day;
pub mod snapshot;

use std::hint::black_box;
use std::time::{Duration, Instant};
use twinline_journal::{JournalConfig, JournalError, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_listener::arbiter::{Arbiter, ArbiterConfig, Delivery, Notice, Origin, Sink};
use twinline_ring::{Next, RingConfig, RingReader, RingWriter};
use twinline_wire::header::{DEFAULT_PACKET_LEN, checksum};
use twinline_wire::market::AddOrder;
use twinline_wire::session::EpochStart;
use twinline_wire::{Message, OpenPacket, Packet, Stamp};

/// What one piece costs.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The piece.
    pub name: &'static str,
    /// What one unit is: a packet or a message.
    pub unit: &'static str,
    /// Median time of a unit, in nanoseconds.
    pub nanoseconds: f64,
    /// Median of the ratios to the floor of the same round, per packet.
    pub to_floor: f64,
}

/// Packets of one round: they stay in the cache of the second level.
const PACKETS: usize = 256;

/// Measures every piece in `rounds` interleaved rounds, the journal in a directory made for it under the system's
/// temporary one.
///
/// # Errors
/// If the journal or the ring cannot be written.
pub fn micro(rounds: usize) -> Result<Vec<Measure>, Box<dyn std::error::Error>> {
    let packets = packets();
    let messages = packets.iter().map(|packet| packet.1).sum::<usize>() as f64;
    let dir = tempfile::tempdir()?;
    let mut journal = JournalWriter::open(&dir.path().join("journal"), journal_config())?;
    journal.append(&epoch_start())?;
    let mut appended = 2;
    let mut writer = RingWriter::create(dir.path(), &ring_config())?;
    let mut reader = RingReader::open(dir.path(), 1, "micro")?;
    let mut times: [Vec<f64>; 9] = Default::default();
    for _ in 0..rounds {
        let round = [
            time(|| floor(&packets)),
            time(encode),
            time(|| {
                packets
                    .iter()
                    .for_each(|packet| _ = black_box(checksum(&packet.0)))
            }),
            time(|| {
                packets
                    .iter()
                    .for_each(|packet| _ = black_box(Packet::parse(&packet.0)))
            }),
            arbitrate(&packets, false),
            arbitrate(&packets, true),
            append(&mut journal, &mut appended)?,
            write(&packets, &mut writer),
            read(&mut reader),
        ];
        for (all, time) in times.iter_mut().zip(round) {
            all.push(time.as_nanos() as f64 / PACKETS as f64);
        }
    }
    let per_message = messages / PACKETS as f64;
    let pieces = [
        ("floor: walk the headers", "packet", 1.0),
        ("encode full packets, checksum and all", "message", per_message),
        ("checksum of a full packet", "packet", 1.0),
        ("check a full packet: checksum, frames, padding", "packet", 1.0),
        ("arbiter, in order (packets checked before)", "packet", 1.0),
        ("arbiter, duplicate (packets checked before)", "packet", 1.0),
        (
            "encode into the journal, checksum, commit",
            "message",
            per_message,
        ),
        ("write a full packet's messages into the ring", "packet", 1.0),
        ("read them from the ring", "packet", 1.0),
    ];
    let ratio = |piece: &[f64]| {
        median(
            piece
                .iter()
                .zip(&times[0])
                .map(|(time, floor)| time / floor)
                .collect(),
        )
    };
    Ok(pieces
        .iter()
        .zip(&times)
        .map(|((name, unit, divisor), all)| Measure {
            name,
            unit,
            nanoseconds: median(all.clone()) / divisor,
            to_floor: ratio(all),
        })
        .collect())
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: DEFAULT_PACKET_LEN,
        segment_size: 16 << 20,
        sync: SyncPolicy::None,
        retention: Retention {
            segments: Some(4),
            ..Retention::default()
        },
        prepare: Prepare::Thread,
    }
}

fn ring_config() -> RingConfig {
    RingConfig {
        channel: 1,
        capacity: 1 << 20,
        max_packet: DEFAULT_PACKET_LEN,
        journal: "none".into(),
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn stamp(sequence: u64) -> Stamp {
    Stamp {
        flags: 0,
        channel: 1,
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence,
        sending_time: 1,
    }
}

fn order(number: u64) -> AddOrder {
    AddOrder {
        order_id: number.into(),
        quantity: 100.into(),
        ..AddOrder::NULL
    }
}

fn epoch_start() -> Vec<u8> {
    let mut buffer = vec![0; DEFAULT_PACKET_LEN];
    let mut open = OpenPacket::new();
    open.push(
        &mut buffer,
        &EpochStart {
            valid_end: 1.into(),
            epoch: 1.into(),
        },
    );
    let length = open.finish_whole(&mut buffer, stamp(1), 0);
    buffer.truncate(length);
    buffer
}

/// Full packets of orders from sequence 2 on, and how many messages each has.
fn packets() -> Vec<(Vec<u8>, usize)> {
    let mut sequence = 2;
    (0..PACKETS)
        .map(|_| {
            let mut buffer = vec![0; DEFAULT_PACKET_LEN];
            let mut open = OpenPacket::new();
            while open.push(&mut buffer, &order(sequence + u64::from(open.count()))) {}
            let length = open.finish_whole(&mut buffer, stamp(sequence), 0);
            buffer.truncate(length);
            sequence += u64::from(open.count());
            (buffer, usize::from(open.count()))
        })
        .collect()
}

/// The least that anything can do with a packet: look at its header.
fn floor(packets: &[(Vec<u8>, usize)]) {
    for (bytes, _) in packets {
        if let Ok(packet) = Packet::trusted_prefix(bytes) {
            black_box(packet.sequence());
        }
    }
}

fn encode() {
    let mut buffer = [0; DEFAULT_PACKET_LEN];
    for sequence in 0..PACKETS as u64 {
        let mut open = OpenPacket::new();
        while open.push(&mut buffer, &order(sequence)) {}
        black_box(open.finish_whole(&mut buffer, stamp(sequence + 1), 0));
    }
}

struct Count(u64);

impl Sink for Count {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.0 += u64::from(delivery.take);
    }

    fn notice(&mut self, _: &Notice) {}
}

/// Both lines bring the same packets: the time of the first to come, or of the second.
fn arbitrate(packets: &[(Vec<u8>, usize)], second: bool) -> Duration {
    let checked: Vec<_> = packets
        .iter()
        .filter_map(|(bytes, _)| Packet::trusted_prefix(bytes).ok())
        .collect();
    let mut arbiter = Arbiter::new(
        ArbiterConfig {
            window: 64,
            ..ArbiterConfig::default()
        },
        None,
        0,
    );
    let mut count = Count(0);
    let start = epoch_start();
    arbiter.on_packet(Origin::LineA, &start, 0, &mut count);
    arbiter.on_packet(Origin::LineB, &start, 0, &mut count);
    let all = |origin, arbiter: &mut Arbiter, count: &mut Count| {
        time(|| {
            checked
                .iter()
                .for_each(|packet| arbiter.on_valid(origin, *packet, 0, count))
        })
    };
    let first = all(Origin::LineA, &mut arbiter, &mut count);
    let again = all(Origin::LineB, &mut arbiter, &mut count);
    black_box(count.0);
    if second { again } else { first }
}

/// Full packets encoded straight into the journal, stamped, checksummed and committed.
fn append(journal: &mut JournalWriter, next: &mut u64) -> Result<Duration, JournalError> {
    let start = Instant::now();
    for _ in 0..PACKETS {
        let slot = journal.slot()?;
        let mut open = OpenPacket::new();
        while open.push(slot, &order(*next)) {}
        let length = open.finish(slot, stamp(*next), 0);
        journal.commit(length, 0);
        *next += u64::from(open.count());
    }
    Ok(start.elapsed())
}

/// All packets' messages into the ring, which holds them all.
fn write(packets: &[(Vec<u8>, usize)], ring: &mut RingWriter) -> Duration {
    let checked: Vec<_> = packets
        .iter()
        .filter_map(|(bytes, count)| Some((Packet::trusted_prefix(bytes).ok()?, *count as u16)))
        .collect();
    time(|| {
        for (number, (packet, count)) in (1..).zip(&checked) {
            ring.messages(packet, 0, *count, 2, twinline_ring::Origin::LineA, number);
        }
    })
}

/// Out of the ring again, all that there is.
fn read(ring: &mut RingReader) -> Duration {
    time(|| {
        while let Next::Record(record) = ring.poll() {
            black_box(record.frames);
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_piece_is_measured() {
        let measures = super::micro(3).expect("a temporary journal can be written");
        assert_eq!(measures.len(), 9);
        assert!(
            measures
                .iter()
                .all(|measure| measure.nanoseconds > 0.0 && measure.to_floor > 0.0)
        );
    }
}
