//! How far apart the servers have a message: every listener hands its stream to a program on its host through a ring,
//! whose records say when. All hosts of the lab are one machine with one clock, so those times can be compared.
//!
//! What it says is of this machine: the servers share its few cores, and a parked listener wakes when its time is over.

use crate::summary::LatencySummary;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;
use twinline_ring::{Kind, Liveness, Next, RingReader};

/// Messages that are noted at most; of more, every second, third and so on.
const MOST: u64 = 200_000;
/// No spread is larger, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// Reads all servers' rings.
pub(super) struct Watch {
    channel: u16,
    servers: Vec<Server>,
    /// Sequences that are a multiple of it are noted.
    every: u64,
    times: HashMap<u64, Times>,
}

struct Server {
    dir: PathBuf,
    reader: Option<RingReader>,
    /// The next sequence that is new: a ring that is opened again begins with what was read before.
    next: u64,
}

/// When servers had a message, in nanoseconds since the Unix epoch.
struct Times {
    sent: u64,
    first: u64,
    last: u64,
    servers: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Spread {
    /// From the first server that had a message to the last.
    pub(super) first_to_last_ns: LatencySummary,
    /// From its sending to when the last had it.
    pub(super) sending_to_last_ns: LatencySummary,
    /// Messages that were looked at, but whose time at some server is not known: its ring was not there, or was overrun.
    pub(super) not_measured: u64,
}

impl Watch {
    /// The rings in these directories, one a server, of a stream of about so many messages.
    pub(super) fn new(channel: u16, dirs: Vec<PathBuf>, messages: u64) -> Self {
        let server = |dir| Server {
            dir,
            reader: None,
            next: 0,
        };
        Self {
            channel,
            servers: dirs.into_iter().map(server).collect(),
            every: messages.div_ceil(MOST).max(1),
            times: HashMap::new(),
        }
    }

    /// Reads what is new. A ring that is not there yet, or no longer, is opened when it is.
    pub(super) fn look(&mut self) {
        for server in &mut self.servers {
            if server.reader.is_none() {
                server.reader = RingReader::open(&server.dir, self.channel, "lab").ok();
            }
            let Some(reader) = &mut server.reader else {
                continue;
            };
            loop {
                match reader.poll() {
                    Next::Record(record) if record.kind == Kind::Messages => {
                        for (sequence, _) in record.messages() {
                            if sequence < server.next {
                                continue;
                            }
                            server.next = sequence + 1;
                            if sequence.is_multiple_of(self.every) {
                                let times = self.times.entry(sequence).or_insert(Times {
                                    sent: record.sending_time,
                                    first: u64::MAX,
                                    last: 0,
                                    servers: 0,
                                });
                                times.first = times.first.min(record.receive_time);
                                times.last = times.last.max(record.receive_time);
                                times.servers += 1;
                            }
                        }
                    }
                    Next::Record(_) | Next::Overrun => {}
                    Next::Empty => break,
                }
            }
            if matches!(
                reader.liveness(),
                Liveness::Dead | Liveness::Closed | Liveness::Replaced
            ) {
                server.reader = None;
            }
        }
    }

    /// What came of it.
    pub(super) fn end(mut self) -> Spread {
        self.look();
        let (mut spread, mut latest) = (histogram(), histogram());
        let mut not_measured = 0;
        for times in self.times.values() {
            if times.servers < self.servers.len() {
                not_measured += 1;
                continue;
            }
            spread.saturating_record((times.last - times.first).max(1));
            latest.saturating_record(times.last.saturating_sub(times.sent).max(1));
        }
        Spread {
            first_to_last_ns: LatencySummary::of(&spread),
            sending_to_last_ns: LatencySummary::of(&latest),
            not_measured,
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are valid")
}
