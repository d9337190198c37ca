//! A large part of the journal for one client, beside a bare stream of the same bytes.

use super::clients::Clients;
use super::feed::{Feed, bytes_of};
use super::{Options, bare, figure, ratio, seconds};
use crate::harness::bed::Bed;
use crate::harness::error::BenchError;
use crate::harness::median::Median;
use crate::harness::result::{Goal, Section, Value};
use crate::harness::threads::on_core;
use crate::harness::watch::Watch;
use std::time::Duration;

pub(super) fn run(options: &Options, section: &mut Section, watch: &Watch) -> Result<(), BenchError> {
    let bed = Bed::new(&options.bed)?;
    let mut feed = Feed::open(&bed)?;
    let from = feed.next();
    // A tick in a full packet has 40 bytes and a little more.
    while (feed.next() - from) * 40 < options.replay {
        feed.fill(10_000)?;
    }
    let to = feed.next();
    let bytes = bytes_of(&bed.publisher_journal(), from, to)?;
    let service = on_core("service", options.core(0), || bed.serve())?;
    let (mut ours, mut bare): (Vec<Duration>, Vec<Duration>) = Default::default();
    let rounds = options.rounds.min(20);
    let cores = [options.core(0), options.core(1)];
    for round in 0..=rounds {
        watch.step("recovery, bulk replay: round", round, rounds)?;
        let received = on_core("client", cores[1], || {
            Clients::connect(service.address, 1)?.ask(from, to)
        })?;
        let stream = bare::stream(&bytes, 1, cores)?;
        if received.bytes > bytes.len() as u64 || received.bytes * 20 < bytes.len() as u64 * 19 {
            return Err(BenchError::Broken(
                "the client was not sent what is in the journal".into(),
            ));
        }
        // The first round warms up.
        if round > 0 {
            ours.push(received.took);
            bare.push(stream);
        }
    }
    let (ours, bare) = (seconds(&ours), seconds(&bare));
    section.how.push(format!(
        "Bulk replay: one client asks the service for {} MiB of journal, two requests of 900,000 messages open at a time, \
         and checks every packet; beside it a bare stream of the same bytes from memory, in writes and reads of 256 KiB, whose \
         reader adds all words up. {rounds} rounds.",
        bytes.len() >> 20
    ));
    section.figures.push(ratio(
        "bulk replay, rate to a bare stream",
        Median::of_ratios(&bare, &ours),
        Some(Goal::at_least(0.7, 0.4)),
        None,
    ));
    let rate = |times: &[f64]| {
        let rates: Vec<f64> = times.iter().map(|time| bytes.len() as f64 / time / 1e6).collect();
        Value::Median(Median::of(&rates))
    };
    section
        .figures
        .push(figure("bulk replay", "MB/s", rate(&ours), None, None));
    section
        .figures
        .push(figure("bare stream", "MB/s", rate(&bare), None, None));
    Ok(())
}
