//! The rounds: hops, bursts, and the search for the highest rate that holds.

use crate::pairs::{Pairs, Peer};
use crate::payload::{LARGE, SMALL};
use crate::report::{Compared, PacedRate};
use crate::task::Paced;
use std::error::Error;
use std::time::Duration;

/// Batches of a round, and pings of a batch: a batch that was disturbed does not move the round's median.
const BATCHES: usize = 21;
const PINGS: u64 = 64;
/// Messages of a burst: every peer has room for them all.
const BURST: u64 = 96 * 1024;
/// Messages that queues and rings hold at least.
pub(crate) const LEAST_ROOM: usize = 128 * 1024;
const SIZES: [usize; 2] = [SMALL, LARGE];

/// Half a round trip of everybody.
pub(crate) fn hops(pairs: &mut Pairs, rounds: usize) -> Result<Vec<Compared>, Box<dyn Error>> {
    let peers = [
        Peer::Line,
        Peer::Rtrb,
        Peer::RtrbAligned,
        Peer::Ring,
        Peer::Iceoryx,
    ];
    compare(pairs, &peers, rounds, |pairs, peer, size| {
        let (near, pipes) = pairs.get(peer, size).ok_or("no such pair")?;
        near.hop(pipes, BATCHES, PINGS)
    })
}

/// Time a message of a burst.
pub(crate) fn bursts(pairs: &mut Pairs, rounds: usize) -> Result<Vec<Compared>, Box<dyn Error>> {
    let peers = [Peer::Rtrb, Peer::RtrbAligned, Peer::Ring];
    compare(pairs, &peers, rounds, |pairs, peer, size| {
        let (near, pipes) = pairs.get(peer, size).ok_or("no such pair")?;
        near.burst(pipes, BURST)
    })
}

/// Measures each peer with each size in each round; the order turns from round to round.
fn compare(
    pairs: &mut Pairs,
    peers: &[Peer],
    rounds: usize,
    mut measure: impl FnMut(&mut Pairs, Peer, usize) -> Result<f64, Box<dyn Error>>,
) -> Result<Vec<Compared>, Box<dyn Error>> {
    let mut all: Vec<Compared> = SIZES
        .iter()
        .flat_map(|&size| peers.iter().map(move |&peer| Compared::new(peer, size)))
        .collect();
    let count = all.len();
    // A first round, which does not count, faults memory in.
    for round in 0..=rounds {
        for turn in 0..count {
            let compared = &mut all[(round + turn) % count];
            let name = compared.peer.name();
            let time =
                measure(pairs, compared.peer, compared.size).map_err(|error| format!("{name}: {error}"))?;
            if round > 0 {
                compared.times.push((round, time));
            }
        }
    }
    Compared::finish(&mut all);
    Ok(all)
}

/// Where the search begins, and how far it goes at most.
const FIRST: f64 = 4e6;
const STEP: f64 = 1.15;
/// Tries of a short step before it counts as failed, and the time of one.
const TRIES: usize = 3;
/// So many steps in a row must fail: one may have met something else that the machine did.
const FAILED: usize = 3;
const SHORT: Duration = Duration::from_millis(150);
/// A rate that does not hold for long is lowered by so much, so many times. One that fails within a second is not tried for longer.
const DOWN: f64 = 0.9;
const LONG_TRIES: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// The highest rate of rings and queues at which nothing is overrun, or full, for the time `hold`.
pub(crate) fn paced(pairs: &mut Pairs, hold: Duration) -> Result<Vec<PacedRate>, Box<dyn Error>> {
    let mut rates = Vec::new();
    for size in SIZES {
        for peer in [Peer::Rtrb, Peer::Ring] {
            let mut step = |rate: f64, time: Duration| -> Result<Option<Paced>, Box<dyn Error>> {
                let (near, pipes) = pairs.get(peer, size).ok_or("no such pair")?;
                let paced = near
                    .paced(pipes, rate, time)
                    .map_err(|error| format!("{}: {error}", peer.name()))?;
                Ok((paced.overruns == 0 && paced.rate > 0.99 * rate).then_some(paced))
            };
            let mut holds = |rate: f64| -> Result<bool, Box<dyn Error>> {
                for _ in 0..TRIES {
                    if step(rate, SHORT)?.is_some() {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let (mut rate, mut next, mut failed) = (FIRST, FIRST * STEP, 0);
            while failed < FAILED {
                match holds(next)? {
                    true => (rate, failed) = (next, 0),
                    false => failed += 1,
                }
                next *= STEP;
            }
            let mut tried = 0;
            let held = loop {
                tried += 1;
                let brief = step(rate, SECOND.min(hold))?;
                match brief.map(|_| step(rate, hold)).transpose()?.flatten() {
                    Some(paced) => break Some(paced.rate),
                    None if tried == LONG_TRIES => break None,
                    None => rate *= DOWN,
                }
            };
            rates.push(PacedRate {
                peer,
                size,
                rate: held,
                tried,
            });
        }
    }
    Ok(rates)
}
