//! What a listener shows of the programs on its host: the ring, its readers, and fair release with its clock.

use super::page::{Labelled, seconds};
use std::collections::HashMap;
use twinline_listener::{FairReport, RingReport};
use twinline_wire::field::ClockState;

pub(super) fn ring(of: &mut Labelled<'_>, ring: &RingReport) {
    of.gauge(
        "twinline_ring_size_bytes",
        "Bytes of records that the ring holds",
        ring.capacity,
    );
    of.gauge(
        "twinline_ring_readers",
        "Programs that read the ring",
        ring.readers.len() as u64,
    );
    for (name, help, count) in [
        (
            "twinline_ring_position_bytes_total",
            "Bytes of records written to the ring",
            ring.written,
        ),
        (
            "twinline_ring_overruns_total",
            "Times that the ring went round before a reader had read all, of all readers, those that are gone included",
            ring.overruns,
        ),
        (
            "twinline_ring_missed_messages_total",
            "Messages that readers missed for good and were told of, those that are gone included",
            ring.missed,
        ),
        (
            "twinline_ring_filled_messages_total",
            "Messages that readers took from the journal after an overrun, those that are gone included",
            ring.filled,
        ),
    ] {
        of.counter(name, help, count);
    }
    let mut met: HashMap<(&str, u32), u32> = HashMap::new();
    for reader in &ring.readers {
        // Two readers of a process may have one name; a page must not name a metric twice.
        let times = met.entry((&reader.name, reader.process)).or_default();
        *times += 1;
        let name = match times {
            1 => reader.name.clone(),
            times => format!("{} #{times}", reader.name),
        };
        let mut of = of.with("reader", &name);
        let mut of = of.with("pid", &reader.process.to_string());
        of.gauge(
            "twinline_ring_reader_lag_bytes",
            "Bytes of records that the reader has not read yet",
            reader.lag_bytes,
        );
        of.gauge(
            "twinline_ring_reader_lag_messages",
            "Messages that the reader has not read yet",
            reader.lag_messages,
        );
        of.counter(
            "twinline_ring_reader_overruns_total",
            "Times that the ring went round before the reader had read all",
            reader.progress.overruns,
        );
        of.counter(
            "twinline_ring_reader_missed_messages_total",
            "Messages that the reader missed for good and was told of",
            reader.progress.missed,
        );
        of.counter(
            "twinline_ring_reader_filled_messages_total",
            "Messages that the reader took from the journal after an overrun",
            reader.progress.filled,
        );
    }
}

pub(super) fn fair(of: &mut Labelled<'_>, fair: &FairReport) {
    let stats = &fair.stats;
    of.counter(
        "twinline_fair_on_time_messages_total",
        "Messages that came before their moment and were released at it",
        stats.on_time,
    );
    of.counter(
        "twinline_fair_late_messages_total",
        "Messages that came past their moment and were released at once",
        stats.late,
    );
    for (reason, count) in [("full", stats.early_full), ("clock", stats.early_limit)] {
        of.with("reason", reason).counter(
            "twinline_fair_early_messages_total",
            "Messages released before their moment: the buffer was full, or they had been held for twice the hold, as the clock was set back",
            count,
        );
    }
    of.histogram(
        "twinline_fair_lateness_seconds",
        "How long past their moment the late ones came",
        &fair.lateness,
    );
    of.histogram(
        "twinline_fair_overshoot_seconds",
        "How long after their moment those on time were released",
        &fair.overshoot,
    );
    of.gauge(
        "twinline_fair_held_packets",
        "Packets held until their moment",
        fair.held_packets,
    );
    of.gauge(
        "twinline_fair_held_bytes",
        "Bytes of those packets",
        fair.held_bytes,
    );
    if let Some(offset) = fair.clock.offset {
        let sign = if offset < 0 { -1.0 } else { 1.0 };
        of.gauge_of(
            "twinline_clock_offset_seconds",
            "Lowest receive time minus sending time of the last ten seconds: the clocks' difference and the fastest way together",
            sign * seconds(offset.unsigned_abs()),
        );
    }
    of.flag(
        "twinline_clock_plausible",
        "1 if nothing speaks against this host's clock",
        fair.clock.state == ClockState::PLAUSIBLE,
    );
}
