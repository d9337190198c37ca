//! The lines beside their peers, in one run: a bare multicast socket, Twinline from publish call to own journal, Aeron, and
//! ZeroMQ over PGM. Everybody sends the same messages over loopback multicast from one core to the other. The machine's
//! noise hits all of them alike: rounds are interleaved, and what counts is the ratio of two figures of the same round.
//! See the package's README.

mod aeron;
mod ends;
mod latency;
mod libzmq;
mod place;
mod throughput;
mod twinline;
mod udp;
mod zeromq;

use clap::Parser;
use core_affinity::CoreId;
use ends::{Bench, Receives, Sends, serve};
use place::Place;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use twinline_benches::harness::clock::Clock;
use twinline_benches::harness::result::Section;
use twinline_line::LineAddress;

/// Whatever goes wrong, from any of them and on any thread.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who is measured, in the order in which both ends of each stand in their lists.
pub(crate) const NAMES: [&str; 4] = ["bare UDP", "Twinline", "Aeron", "ZeroMQ epgm"];
pub(crate) const FLOOR: usize = 0;
pub(crate) const TWINLINE: usize = 1;
pub(crate) const AERON: usize = 2;
pub(crate) const ZEROMQ: usize = 3;

/// Rounds of a brief run.
const BRIEF_ROUNDS: u16 = 3;
/// Both ends are opened within this, or never.
const OPENING: Duration = Duration::from_secs(30);
/// Each connection is tried so often before anything is measured.
const TRIES: usize = 5;

/// Measures Twinline's lines beside Aeron and ZeroMQ, and all of them beside a bare multicast socket.
///
/// Exits with 1 if a message came that is not what was sent, and when a peer fails. Figures decide nothing here: on a
/// shared machine, repeat the run and look at the ratios and their intervals.
#[derive(Debug, Parser)]
#[command(name = "lines", version)]
struct Args {
    /// Write the figures to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A few seconds: enough to see that everybody's messages arrive, too short to trust the figures
    #[arg(long)]
    brief: bool,
    /// Rounds of latency, a fifth of a second each
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,
    /// Messages a second whose latency is measured
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    rate: u32,
    /// Searches for each one's highest rate; 0: none
    #[arg(long, default_value_t = 5)]
    searches: u16,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let Some([near, far]) = twinline_peers::two_cores()? else {
        return Ok(());
    };
    let sections = measure(&args, near, far)?;
    sections.iter().for_each(twinline_peers::print);
    twinline_peers::say_brief(args.brief);
    Ok(twinline_peers::write_json(args.json.as_deref(), &sections)?)
}

/// Where everybody's connections are.
struct Places {
    floor: Place,
    lines: [Place; 2],
    aeron: Place,
    zeromq: Place,
}

impl Places {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            floor: Place::new(0)?,
            lines: [Place::new(1)?, Place::new(2)?],
            aeron: Place::new(3)?,
            zeromq: Place::new(4)?,
        })
    }

    fn lines(&self) -> Result<[LineAddress; 2], Failure> {
        Ok([self.lines[0].line()?, self.lines[1].line()?])
    }

    fn receivers(&self, dir: &Path) -> Result<Vec<Box<dyn Receives>>, Failure> {
        Ok(vec![
            Box::new(udp::receiver(self.floor.0)?),
            Box::new(twinline::receiver(dir, &self.lines()?)?),
            Box::new(aeron::receiver(dir, self.aeron.0)?),
            Box::new(zeromq::receiver(self.zeromq.0)?),
        ])
    }

    fn senders(&self, dir: &Path) -> Result<Vec<Box<dyn Sends>>, Failure> {
        Ok(vec![
            Box::new(udp::sender(self.floor.0)?),
            Box::new(twinline::sender(dir, &self.lines()?)?),
            Box::new(aeron::sender(dir, self.aeron.0)?),
            Box::new(zeromq::sender(self.zeromq.0)?),
        ])
    }
}

fn measure(args: &Args, near: CoreId, far: CoreId) -> Result<Vec<Section>, Failure> {
    // Journals and Aeron's streams in memory: a disk is not what is measured.
    let dir = tempfile::Builder::new()
        .prefix("twinline-peers-")
        .tempdir_in("/dev/shm")?;
    let places = Places::new()?;
    let clock = Clock::new();
    let done = AtomicBool::new(false);
    let (orders, to_do) = channel();
    let (answer, answers) = channel();
    let (opened, ready) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let answer = answer;
            let to_do = to_do;
            // Opened here, used here: not all of them may change threads. Helper threads start before the core is chosen.
            if let Some(mut ends) = open(&opened, places.receivers(dir.path())) {
                serve(far, &clock, &mut ends, &to_do, &answer, &done);
            }
        });
        ready.recv_timeout(OPENING)??;
        let ends = places.senders(dir.path())?;
        core_affinity::set_for_current(near);
        let mut bench = Bench {
            clock: clock.clone(),
            ends,
            orders,
            answers,
            done: &done,
            slices: 0,
        };
        for candidate in 0..NAMES.len() {
            connect(&mut bench, candidate)?;
        }
        let rounds = if args.brief { BRIEF_ROUNDS } else { args.rounds };
        let mut sections = vec![
            latency::beside_aeron(&mut bench, rounds, args.rate.into())?,
            latency::beside_zeromq(&mut bench, rounds, args.rate.into())?,
        ];
        if args.searches > 0 {
            sections.push(throughput::measure(&mut bench, args.brief, args.searches)?);
        }
        let drift = clock.check();
        match drift.is_sound() {
            true => Ok(sections),
            false => Err(format!("the time stamp counter cannot be trusted: {} ppm", drift.ppm).into()),
        }
    })
}

/// Says whether the ends are open, and gives them if they are.
fn open(
    opened: &Sender<Result<(), Failure>>,
    ends: Result<Vec<Box<dyn Receives>>, Failure>,
) -> Option<Vec<Box<dyn Receives>>> {
    let (said, ends) = match ends {
        Ok(ends) => (Ok(()), Some(ends)),
        Err(error) => (Err(error), None),
    };
    opened.send(said).ok().and(ends)
}

/// Sends a few messages until all of them arrive: everybody has found its other end then.
fn connect(bench: &mut Bench<'_>, candidate: usize) -> Result<(), Failure> {
    for _ in 0..TRIES {
        if bench.arrives(candidate)? {
            return Ok(());
        }
    }
    Err(format!("{}: messages do not arrive", NAMES[candidate]).into())
}
