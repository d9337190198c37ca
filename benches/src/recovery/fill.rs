//! One gap: from the moment it may be asked for to the delivery of what fills it, at a real listener.
//!
//! A full packet is kept from both lines, then one goes out on both: the listener may ask once it came on the second. The
//! time runs from just before that is sent, by the system's clock, to the time that the listener's ring gives the fill.

use super::bed::{Bed, Feed, Listening, Way};
use super::{Options, Result, bare, figure, ratio};
use crate::harness::clock::Clock;
use crate::harness::pairs::Pairs;
use crate::harness::result::{Distribution, Goal, Section, Value};
use crate::harness::slice::{Slice, latencies};
use std::collections::HashMap;
use std::thread;
use std::time::Duration;
use twinline_feed::run::unix_now;
use twinline_listener::GapConfig;
use twinline_recovery::Range;
use twinline_ring::{Next, Origin};
use twinline_wire::recovery::{Data, RangesRequest, RequestComplete};
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN};

/// From one gap, or one bare request, to the next: what the one before woke has gone to sleep again.
const APART: Duration = Duration::from_millis(1);
/// Ticks that fill a packet of the default size, or nearly.
const FULL: usize = 32;

/// What is measured in a round, the floor first.
const CANDIDATES: [(&str, Candidate); 6] = [
    (
        "bare request and reply",
        Candidate::Bare {
            client_spins: true,
            server_spins: false,
            apart: APART,
        },
    ),
    ("gap to filled", Candidate::Gap(Way::Both)),
    (
        "bare, both ends sleep",
        Candidate::Bare {
            client_spins: false,
            server_spins: false,
            apart: APART,
        },
    ),
    (
        "bare, both ends spin",
        Candidate::Bare {
            client_spins: true,
            server_spins: true,
            apart: APART,
        },
    ),
    (
        "bare, back to back",
        Candidate::Bare {
            client_spins: true,
            server_spins: false,
            apart: Duration::ZERO,
        },
    ),
    ("gap to filled, one line silent", Candidate::Gap(Way::OnlyA)),
];

#[derive(Clone, Copy)]
enum Candidate {
    Bare {
        client_spins: bool,
        server_spins: bool,
        apart: Duration,
    },
    /// The packet behind the gap goes this way.
    Gap(Way),
}

pub(super) fn run(options: &Options, section: &mut Section) -> Result<()> {
    let clock = Clock::new();
    let bed = Bed::new()?;
    let mut feed = bed.publish()?;
    let service = super::bed::on_core(super::bed::CORE, || bed.serve())?;
    let before = feed.next();
    feed.publish(FULL, Way::Both, unix_now())?;
    let packet = super::bed::bytes_of(&bed.journal(), before, feed.next())?.len();
    let sizes = sizes(packet);
    let mut pairs = Pairs::default();
    let mut lost = 0;
    for round in 0..options.rounds {
        let mut slices = Vec::new();
        // A listener spins on its core: it runs only while it is measured.
        let mut listening = None;
        for (_, candidate) in &CANDIDATES {
            slices.push(match *candidate {
                Candidate::Bare {
                    client_spins,
                    server_spins,
                    apart,
                } => {
                    listening = None;
                    let waits = bare::Waits {
                        client_spins,
                        server_spins,
                    };
                    bare::request_reply(waits, sizes, options.gaps, apart, &clock)?
                }
                Candidate::Gap(way) => {
                    let listening = match &mut listening {
                        Some(listening) => listening,
                        none => none.insert(bed.listen(&service)?),
                    };
                    gaps(&mut feed, listening, way, options.gaps, &clock)?
                }
            });
        }
        lost += slices.iter().map(|slice| slice.lost).sum::<u64>();
        // The first round warms up.
        if round > 0 || options.rounds < 3 {
            pairs.push(slices);
        }
    }
    if lost > 0 {
        return Err(format!("{lost} gaps were not filled by recovery").into());
    }
    report(&pairs, sizes, section);
    Ok(())
}

/// Bytes of a request for one range and of its whole answer, with a packet of so many bytes in it.
fn sizes(packet: usize) -> [usize; 2] {
    let request =
        STREAM_HEADER_LEN + size_of::<RangesRequest>() + size_of::<GroupHeader>() + size_of::<Range>();
    let data = STREAM_HEADER_LEN + size_of::<Data>() + 4 + packet;
    [request, data + STREAM_HEADER_LEN + size_of::<RequestComplete>()]
}

/// So many gaps of one packet, one after the other.
fn gaps(feed: &mut Feed, listening: &mut Listening, way: Way, count: usize, clock: &Clock) -> Result<Slice> {
    // Whatever came before is delivered, and both lines speak.
    feed.publish(1, Way::Both, unix_now())?;
    listening.wait_delivered(feed.next())?;
    while !matches!(listening.ring.poll(), Next::Empty) {}
    let began = clock.now();
    let mut asked = HashMap::new();
    super::bed::on_core(super::bed::CORE, || {
        for _ in 0..count {
            let sequence = feed.next();
            feed.publish(FULL, Way::Neither, unix_now())?;
            asked.insert(sequence, feed.publish(1, way, unix_now())?);
            thread::sleep(match way {
                Way::Both => APART,
                _ => APART + Duration::from_nanos(GapConfig::default().reorder),
            });
        }
        Ok(())
    })?;
    feed.publish(1, Way::Both, unix_now())?;
    listening.wait_delivered(feed.next())?;
    let took = clock.now() - began;
    let mut latency = latencies();
    while let Next::Record(record) = listening.ring.poll() {
        if record.origin == Origin::Recovery
            && let Some(since) = asked.remove(&record.sequence)
        {
            latency.saturating_record(record.receive_time.saturating_sub(since).max(1));
        }
    }
    Ok(Slice {
        began,
        took,
        latency,
        stolen: 0,
        lost: asked.len() as u64,
    })
}

fn report(pairs: &Pairs, [request, reply]: [usize; 2], section: &mut Section) {
    section.how.push(format!(
        "Gap to filled: a full packet is kept from both lines and the next one sent on both; from just before it is sent on \
         the second line, which lets the gap be asked for, to the fill in the listener's ring. So it holds one way over the \
         line, request, answer, own journal and ring. The floor is one TCP request of {request} bytes and its reply of {reply}, \
         the same as recovery's: the one that asks spins on its socket, as the listener does, the one that answers sleeps in \
         the kernel, as the service does; {APART:?} apart, like the gaps."
    ));
    let goal = Goal::at_most(3.0, 10.0);
    section.figures.push(ratio(
        "gap to filled, p50 to a bare request and reply",
        pairs.ratio(1, 0, 0.5),
        Some(goal),
        None,
    ));
    section.figures.push(ratio(
        "gap to filled, p99 to a bare request and reply",
        pairs.ratio(1, 0, 0.99),
        None,
        None,
    ));
    for (other, (name, _)) in CANDIDATES.iter().enumerate().skip(2).take(3) {
        section.figures.push(ratio(
            &format!("gap to filled, p50 to {name}"),
            pairs.ratio(1, other, 0.5),
            None,
            None,
        ));
    }
    for (candidate, (name, _)) in CANDIDATES.iter().enumerate() {
        section.figures.push(figure(
            &format!("{name}, p50"),
            "ns",
            Value::Median(pairs.quantile(candidate, 0.5)),
            None,
            (candidate == 5).then(|| {
                let wait = Duration::from_nanos(GapConfig::default().reorder);
                format!("holds the reorder wait of {wait:?}: the other line could still bring it")
            }),
        ));
        section
            .distributions
            .push(Distribution::of(*name, &pairs.latency(candidate)));
    }
}
