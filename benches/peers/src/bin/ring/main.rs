//! The ring beside its peers, in one run: rtrb and a bare cache line between threads, iceoryx2 between processes. The
//! machine's noise hits all of them alike: rounds are interleaved, and what counts is the ratio of two figures of the same
//! round. See the package's README.

mod ends;
mod pairs;
mod payload;
mod readers;
mod report;
mod stream;
mod task;

use clap::Parser;
use core_affinity::CoreId;
use pairs::Pairs;
use readers::Groups;
use report::Report;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Measures Twinline's shared-memory ring beside rtrb, iceoryx2 and a bare cache line.
///
/// Exits with 1 if a message came that is not what was sent, and when a peer fails. Figures decide nothing here: on a
/// shared machine, repeat the run and look at the ratios and their intervals.
#[derive(Debug, Parser)]
#[command(name = "ring", version)]
struct Args {
    /// Write the figures to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A few seconds: enough to see that everybody's messages arrive, too short to trust the figures
    #[arg(long)]
    brief: bool,
    /// Rounds of hops, bursts and writes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(5..))]
    rounds: u16,
    /// Seconds that a paced stream must go on without an overrun
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    hold: u16,
    /// Messages that queues and rings hold, rounded up to a power of two: what a paced stream can bear of one end's being
    /// stopped by the machine
    #[arg(long, default_value_t = stream::LEAST_ROOM as u32, value_parser = clap::value_parser!(u32).range(stream::LEAST_ROOM as i64..1 << 24))]
    room: u32,
    /// Leave the paced streams out, which take most of the time
    #[arg(long)]
    no_paced: bool,
    #[arg(long, hide = true)]
    far_end: Option<PathBuf>,
    #[arg(long, hide = true)]
    reader: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    iceoryx2::prelude::set_log_level(iceoryx2::prelude::LogLevel::Error);
    if let Some(dir) = &args.far_end {
        return pairs::far_process(dir);
    }
    if let Some(dir) = &args.reader {
        return readers::reader_process(dir);
    }
    let Some([near, far]) = twinline_peers::two_cores()? else {
        return Ok(());
    };
    let report = measure(&args, near, far)?;
    report.print();
    twinline_peers::say_brief(args.brief);
    Ok(twinline_peers::write_json(args.json.as_deref(), &report)?)
}

fn measure(args: &Args, near: CoreId, far: CoreId) -> Result<Report, Box<dyn Error>> {
    let dir = tempfile::Builder::new()
        .prefix("twinline-peers-")
        .tempdir_in("/dev/shm")?;
    // Children and the rings' helper threads stay where they are started.
    core_affinity::set_for_current(far);
    let mut pairs = Pairs::start(dir.path(), far, args.room.next_power_of_two() as usize)?;
    let rounds = if args.brief { 10 } else { usize::from(args.rounds) };
    let groups = Groups::start(dir.path())?;
    core_affinity::set_for_current(near);
    let hops = stream::hops(&mut pairs, rounds)?;
    let bursts = stream::bursts(&mut pairs, rounds)?;
    let writer = groups.measure(rounds)?;
    let paced = match args.brief || args.no_paced {
        true => Vec::new(),
        false => stream::paced(&mut pairs, Duration::from_secs(args.hold.into()))?,
    };
    Ok(Report {
        rounds,
        hops,
        bursts,
        paced,
        writer,
    })
}
