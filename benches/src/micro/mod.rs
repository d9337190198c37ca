//! What each message passes on its way, measured piece by piece on one thread: encode, check, arbitrate, decode,
//! journal, hand over to programs in the ring.
//!
//! Machines differ and are noisy, so every figure stands beside a floor of the same round: the barest loop that touches
//! the same packets. Rounds of all pieces are interleaved; the medians are reported. What the journal's sync policies cost
//! comes behind them, in rounds of its own.

pub mod load;
pub mod pieces;
mod policies;

use crate::harness::median::Median;
use crate::harness::result::Goal;
use load::{Load, ORDERS, PACKETS, SMALL, SMALL_PACKETS};
use pieces::{Books, Listening, Publishing, Shared};
use std::error::Error;
use std::time::{Duration, Instant};

/// What one piece costs.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The piece.
    pub name: &'static str,
    /// What one unit is: a packet or a message.
    pub unit: &'static str,
    /// Time of a unit, in nanoseconds.
    pub nanoseconds: Median,
    /// Ratio to the floor of the same round, of a packet to a packet.
    pub to_floor: Median,
    /// What the time should be, in nanoseconds, if that is said.
    pub goal: Option<Goal>,
}

/// What one unit of a piece is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Packet,
    /// Of which the arbiter has more.
    SmallPacket,
    /// Of the packets that arrive.
    Message,
    /// Of the packets that are encoded: all are orders.
    Order,
}
use Unit::{Message, Order, Packet, SmallPacket};

/// The pieces, in the order in which a round measures them.
const PIECES: [(&str, Unit, Option<Goal>); 13] = [
    ("floor: look at the headers", Packet, None),
    ("encode full packets of orders, checksum and all", Order, None),
    ("checksum of a full packet", Packet, None),
    (
        "frame walk and validation, without checksum",
        Message,
        Some(Goal::at_most(1.0, 3.0)),
    ),
    ("check a full packet whole", Packet, None),
    (
        "arbiter, in order (packets checked before)",
        SmallPacket,
        Some(Goal::at_most(2.0, 5.0)),
    ),
    (
        "arbiter, duplicate (packets checked before)",
        SmallPacket,
        Some(Goal::at_most(2.0, 5.0)),
    ),
    (
        "arbiter, one packet in 16 late, those behind it wait",
        SmallPacket,
        None,
    ),
    ("decode: view each message", Message, None),
    ("keep books of them", Message, None),
    ("encode into the journal, checksum, commit", Order, None),
    ("write a full packet's messages into the ring", Packet, None),
    ("read them from the ring", Packet, None),
];

/// So many rounds of the other pieces for one of the sync policies: the device is slow, and few say how slow.
const ROUNDS_A_SYNC: usize = 10;

/// Measures every piece in `rounds` interleaved rounds, the sync policies in fewer, the journals and the ring in a directory
/// made for them under the system's temporary one.
///
/// # Errors
/// If a journal or the ring cannot be written.
pub fn micro(rounds: usize) -> Result<Vec<Measure>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut load = Load::new(PACKETS);
    let mut small = Load::of_size(SMALL_PACKETS, SMALL);
    let (mut listening, mut late) = (Listening::new(), Listening::new());
    let mut books = Books::new();
    let mut publishing = Publishing::create(&dir.path().join("published"))?;
    let mut ring = Shared::create(dir.path())?;
    let mut times: [Vec<f64>; PIECES.len()] = Default::default();
    for _ in 0..rounds {
        let packets = load.checked();
        let small_packets = small.checked();
        let (warm, measured) = small_packets.split_at(SMALL_PACKETS / 2);
        let mut encoded = Ok(());
        let round = [
            time(|| pieces::floor(&load)),
            time(|| _ = pieces::encode(PACKETS)),
            time(|| pieces::checksums(&load)),
            time(|| pieces::walk(&packets)),
            time(|| pieces::parse(&load)),
            warm_time(|packets| listening.in_order(packets), warm, measured),
            warm_time(|packets| listening.duplicate(packets), warm, measured),
            warm_time(|packets| late.late(packets), warm, measured),
            time(|| pieces::decode(&packets)),
            time(|| books.apply(&packets)),
            time(|| encoded = publishing.encode(PACKETS)),
            time(|| ring.write(&packets)),
            time(|| ring.read()),
        ];
        encoded?;
        for (all, time) in times.iter_mut().zip(round) {
            all.push(time.as_nanos() as f64);
        }
        load.go_on();
        small.go_on();
    }
    let messages = load.messages() as f64;
    let floors: Vec<f64> = times[0].iter().map(|time| time / PACKETS as f64).collect();
    let pieces = PIECES.iter().zip(&times).map(|(&(name, unit, goal), all)| {
        let (packets, units) = match unit {
            Packet => (PACKETS, PACKETS as f64),
            SmallPacket => (SMALL_PACKETS / 2, (SMALL_PACKETS / 2) as f64),
            Message => (PACKETS, messages),
            Order => (PACKETS, (PACKETS * ORDERS) as f64),
        };
        let by = |count: f64| all.iter().map(|time| time / count).collect::<Vec<f64>>();
        Measure {
            name,
            unit: match unit {
                Packet | SmallPacket => "packet",
                Message | Order => "message",
            },
            nanoseconds: Median::of(&by(units)),
            to_floor: Median::of_ratios(&by(packets as f64), &floors),
            goal,
        }
    });
    let mut measures: Vec<_> = pieces.collect();
    measures.extend(policies::measure(rounds.div_ceil(ROUNDS_A_SYNC), dir.path())?);
    Ok(measures)
}

/// The time of `work` on `measured`, right after it was done on `warm`.
fn warm_time<'a>(
    mut work: impl FnMut(&[twinline_wire::Packet<'a>]),
    warm: &[twinline_wire::Packet<'a>],
    measured: &[twinline_wire::Packet<'a>],
) -> Duration {
    work(warm);
    time(|| work(measured))
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_measured() {
        let measures = micro(3).expect("a temporary journal can be written");
        let policies = measures.iter().filter(|measure| measure.name.contains(", sync "));
        assert_eq!((measures.len(), policies.count()), (PIECES.len() + 3, 3));
        assert!(
            measures
                .iter()
                .all(|measure| measure.nanoseconds.median > 0.0 && measure.to_floor.median > 0.0)
        );
    }

    #[test]
    fn the_books_are_as_good_as_empty_behind_the_last_packet() {
        let load = Load::new(PACKETS);
        let packets = load.checked();
        let (most, rest) = packets.split_at(PACKETS / 2);
        let mut books = Books::new();
        for _ in 0..2 {
            books.apply(most);
            assert!(books.live_orders() > 100, "{}", books.live_orders());
            books.apply(rest);
            assert!(books.live_orders() < 2, "{}", books.live_orders());
        }
    }

    #[test]
    fn every_packet_is_delivered_once_whatever_order_it_comes_in() {
        let mut load = Load::new(64);
        let (mut listening, mut late) = (Listening::new(), Listening::new());
        for round in 1..=3 {
            let packets = load.checked();
            listening.in_order(&packets);
            listening.duplicate(&packets);
            late.late(&packets);
            // And the session's start.
            let expected = round * load.messages() as u64 + 1;
            assert_eq!((listening.delivered(), late.delivered()), (expected, expected));
            load.go_on();
        }
    }
}
