//! What a run says, for people and for machines.

use crate::pairs::Peer;
use crate::readers::WriterCost;
use serde::Serialize;
use twinline_benches::harness::median::Median;
use twinline_peers::interval;

/// A peer's figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) peer: Peer,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Nanoseconds of each round.
    #[serde(skip)]
    pub(crate) times: Vec<(usize, f64)>,
    pub(crate) nanoseconds: Option<Median>,
    /// Against rtrb with the same message in the same round; its faster variant where there are two.
    pub(crate) to_rtrb: Option<Median>,
    /// Against iceoryx2, likewise.
    pub(crate) to_iceoryx2: Option<Median>,
}

impl Compared {
    pub(crate) fn new(peer: Peer, size: usize) -> Self {
        Self {
            peer,
            size,
            times: Vec::new(),
            nanoseconds: None,
            to_rtrb: None,
            to_iceoryx2: None,
        }
    }

    /// The times in the order of rounds.
    fn series(&self) -> Vec<f64> {
        self.times.iter().map(|time| time.1).collect()
    }

    /// Works out medians and ratios.
    pub(crate) fn finish(all: &mut [Self]) {
        let found = |peer: Peer, size: usize, all: &[Self]| {
            all.iter()
                .find(|other| (other.peer, other.size) == (peer, size))
                .map(Self::series)
        };
        let snapshot = all.to_vec();
        for compared in all {
            let times = compared.series();
            compared.nanoseconds = Some(Median::of(&times));
            let ratio = |to: Option<Vec<f64>>| to.map(|to| Median::of_ratios(&times, &to));
            let rtrb = [Peer::Rtrb, Peer::RtrbAligned].map(|peer| found(peer, compared.size, &snapshot));
            let fastest = rtrb
                .into_iter()
                .flatten()
                .min_by(|one, other| Median::of(one).median.total_cmp(&Median::of(other).median));
            compared.to_rtrb = ratio(fastest);
            compared.to_iceoryx2 = ratio(found(Peer::Iceoryx, compared.size, &snapshot));
        }
    }
}

/// The highest rate that held.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PacedRate {
    pub(crate) peer: Peer,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages a second; none if even the lowest rate that was tried did not hold.
    pub(crate) rate: Option<f64>,
    /// Rates that were tried for the whole time.
    pub(crate) tried: usize,
}

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rounds: usize,
    pub(crate) hops: Vec<Compared>,
    pub(crate) bursts: Vec<Compared>,
    pub(crate) paced: Vec<PacedRate>,
    pub(crate) writer: Vec<WriterCost>,
}

impl Report {
    pub(crate) fn print(&self) {
        println!(
            "medians of {} interleaved rounds; ratios of figures of the same round, with 95% intervals",
            self.rounds
        );
        println!("\nhop, half a round trip\n");
        table(&self.hops);
        println!("\nstream, messages one right behind the other\n");
        table(&self.bursts);
        if !self.paced.is_empty() {
            println!("\nstream, the highest paced rate without an overrun\n");
        }
        for rate in &self.paced {
            let other = self
                .paced
                .iter()
                .find(|other| (other.peer, other.size) == (Peer::Rtrb, rate.size));
            let ratio = other.and_then(|other| Some(other.rate? / rate.rate?));
            println!(
                "{:<36} {:>3} B {:>9} {:>12}   {}",
                rate.peer.name(),
                rate.size,
                rate.rate
                    .map_or("none".into(), |rate| format!("{:.1} ns", 1e9 / rate)),
                rate.rate
                    .map_or("held".into(), |rate| format!("{:.1} M/s", rate / 1e6)),
                ratio.map_or(String::new(), |ratio| format!("{ratio:.2} x rtrb")),
            );
        }
        println!("\nwriter's own time a record, readers attached that sleep until there is something\n");
        for cost in &self.writer {
            println!(
                "{:>3} readers {:>34} {:>9} ns   {} x none",
                cost.readers,
                format!("{} records read", cost.read),
                format!("{:.1}", cost.nanoseconds.median),
                interval(&cost.ratio)
            );
        }
    }
}

fn table(all: &[Compared]) {
    for compared in all {
        let ratio = |ratio: &Option<Median>, to: &str| {
            ratio
                .as_ref()
                .map_or(String::new(), |ratio| format!("{} x {to}", interval(ratio)))
        };
        println!(
            "{:<36} {:>3} B {:>9}   {:<30} {}",
            compared.peer.name(),
            compared.size,
            compared
                .nanoseconds
                .map_or(String::new(), |time| format!("{:.1} ns", time.median)),
            ratio(&compared.to_rtrb, "rtrb"),
            ratio(&compared.to_iceoryx2, "iceoryx2"),
        );
    }
}
