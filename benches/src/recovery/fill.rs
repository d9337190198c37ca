//! One gap: from the moment it may be asked for to the delivery of what fills it, at a real listener.
//!
//! A full packet is kept from both lines, then one goes out on both: the listener may ask once it came on the second. The
//! time runs from just before that is sent, by the system's clock, to the time that the listener's ring gives the fill.

use super::feed::{Feed, Way, bytes_of};
use super::watching::Watching;
use super::{Options, bare, figure, ratio};
use crate::harness::bed::Bed;
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::pairs::Pairs;
use crate::harness::result::{Distribution, Goal, Section, Value};
use crate::harness::slice::{Slice, latencies};
use crate::harness::threads::on_core;
use crate::harness::watch::Watch;
use std::collections::HashMap;
use std::thread;
use std::time::Duration;
use twinline_feed::run::unix_now;
use twinline_listener::GapConfig;
use twinline_recovery::Range;
use twinline_ring::Origin;
use twinline_wire::recovery::{Data, RangesRequest, RequestComplete};
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN};

/// From one gap, or one bare request, to the next: what the one before woke has gone to sleep again.
const APART: Duration = Duration::from_millis(1);
/// Ticks that fill a packet of the default size, or nearly.
const FULL: usize = 32;

const fn bare(client_spins: bool, server_spins: bool, apart: Duration) -> Candidate {
    let waits = bare::Waits {
        client_spins,
        server_spins,
    };
    Candidate::Bare(waits, apart)
}

/// What is measured in a round, the floor first.
const CANDIDATES: [(&str, Candidate); 6] = [
    ("bare request and reply", bare(true, false, APART)),
    ("gap to filled", Candidate::Gap(Way::Both)),
    ("bare, both ends sleep", bare(false, false, APART)),
    ("bare, both ends spin", bare(true, true, APART)),
    ("bare, back to back", bare(true, false, Duration::ZERO)),
    ("gap to filled, one line silent", Candidate::Gap(Way::OnlyA)),
];
const ONE_LINE: usize = 5;

#[derive(Clone, Copy)]
enum Candidate {
    /// How both ends wait, and how far the requests are apart.
    Bare(bare::Waits, Duration),
    /// The packet behind the gap goes this way.
    Gap(Way),
}

pub(super) fn run(options: &Options, section: &mut Section, watch: &Watch) -> Result<(), BenchError> {
    let clock = Clock::new();
    let bed = Bed::new(&options.bed)?;
    let mut feed = Feed::open(&bed)?;
    let service = on_core("service", options.core(0), || bed.serve())?;
    let before = feed.next();
    feed.publish(FULL, Way::Both, unix_now())?;
    let sizes = sizes(bytes_of(&bed.publisher_journal(), before, feed.next())?.len());
    let mut watching = Watching::open(&bed, &service)?;
    let mut pairs = Pairs::default();
    // The first round warms up.
    for round in 0..=options.rounds {
        watch.step("recovery, gap to filled: round", round, options.rounds)?;
        let mut slices = Vec::new();
        for (_, candidate) in &CANDIDATES {
            slices.push(match *candidate {
                Candidate::Bare(waits, apart) => {
                    // It spins on the core that the bare client is to have.
                    let _halted = watching.listening.halt()?;
                    let cores = [options.core(0), options.core(1)];
                    bare::request_reply(waits, sizes, options.gaps, apart, cores, &clock)?
                }
                Candidate::Gap(way) => gaps(&mut feed, &mut watching, way, options, &clock)?,
            });
        }
        if let Some(slice) = slices.iter().find(|slice| slice.lost > 0) {
            let lost = slice.lost;
            return Err(BenchError::Broken(format!(
                "{lost} gaps were not filled by recovery"
            )));
        }
        if round > 0 {
            pairs.push(slices);
        }
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
fn gaps(
    feed: &mut Feed,
    watching: &mut Watching,
    way: Way,
    options: &Options,
    clock: &Clock,
) -> Result<Slice, BenchError> {
    // Whatever came before is delivered, and both lines speak.
    watching.catch_up(feed)?;
    watching.records(|_| {})?;
    let began = clock.now();
    let mut asked = HashMap::new();
    on_core("publisher", options.core(0), || {
        for _ in 0..options.gaps {
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
    watching.catch_up(feed)?;
    let took = clock.now() - began;
    let mut latency = latencies();
    watching.records(|record| {
        if record.origin == Origin::Recovery
            && let Some(since) = asked.remove(&record.sequence)
        {
            latency.saturating_record(record.receive_time.saturating_sub(since).max(1));
        }
    })?;
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
    section.figures.push(ratio(
        "gap to filled, p50 to a bare request and reply",
        pairs.ratio(1, 0, 0.5),
        Some(Goal::at_most(3.0, 10.0)),
        None,
    ));
    section.figures.push(ratio(
        "gap to filled, p99 to a bare request and reply",
        pairs.ratio(1, 0, 0.99),
        None,
        None,
    ));
    for (other, (name, _)) in CANDIDATES.iter().enumerate().take(ONE_LINE).skip(2) {
        section.figures.push(ratio(
            &format!("gap to filled, p50 to {name}"),
            pairs.ratio(1, other, 0.5),
            None,
            None,
        ));
    }
    let wait = Duration::from_nanos(GapConfig::default().reorder);
    let note = format!("holds the reorder wait of {wait:?}: the other line could still bring it");
    for (candidate, (name, _)) in CANDIDATES.iter().enumerate() {
        section.figures.push(figure(
            &format!("{name}, p50"),
            "ns",
            Value::Median(pairs.quantile(candidate, 0.5)),
            None,
            (candidate == ONE_LINE).then(|| note.clone()),
        ));
        section
            .distributions
            .push(Distribution::of(*name, &pairs.latency(candidate)));
    }
}
