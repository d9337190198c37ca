//! `twinline decode`: shows what is in a journal, in a capture, or on the lines just now.

mod decoder;
mod filter;
mod format;
mod input;
mod lobster;
mod stats;
#[cfg(test)]
mod tests;

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::journal::journals;
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use clap::Args;
pub(crate) use decoder::{Arrival, Decoder, Show};
pub(crate) use filter::{Filter, Times, sequences, show_time, times};
pub(crate) use format::{Format, Writer, went_on};
pub(crate) use input::open_lines;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use twinline_line::LineAddress;

/// Line A where nothing is said, as `publish` has it.
pub(crate) const LINE_A: &str = "239.77.1.1:17001@127.0.0.1";
/// Line B where nothing is said.
pub(crate) const LINE_B: &str = "239.77.1.2:17002@127.0.0.1";

/// Show what is in a journal, a capture, or on the lines.
///
/// A capture is a pcap or pcapng file as tcpdump, tshark or `twinline capture` write them (plain or gzip; Ethernet, Linux
/// cooked or raw IP). Nothing is arbitrated: both lines' packets are shown as they came. Which line a packet is of, say
/// --line-a and --line-b if given (then all others are skipped), else the names "line A" and "line B" of a capture's
/// interfaces, else its destination: the first one seen is A, the second B.
///
/// Each message is shown with its channel, session, epoch, sequence and sending time, the time since the packet before it
/// on the same line and the one-way time (received minus sent; it is only as right as the clocks are). In a journal no
/// receive times are kept: there the time since the packet before is by sending times.
///
/// Packets that are not ours and malformed ones are counted. A capture that is cut is shown up to there; then the exit code
/// is 1, as the error says where.
#[derive(Debug, Args)]
#[command(after_help = "Examples (the first two make journals and go to them):\n  \
    twinline demo --keep\n  \
    cd \"$(ls -td /tmp/twinline-demo-* | head -1)\"\n  \
    twinline decode publisher --limit 20\n  \
    twinline decode publisher --template AddOrder,DeleteOrder --sequence 100..200 --format jsonl | jq .fields\n  \
    twinline decode listener-1 --stats\n  \
    twinline decode publisher --symbol 65537 --format lobster\n  \
    twinline decode --live --line-a 239.1.1.1:5001@eth0 --line-b 239.1.1.2:5001@eth1 --packets\n  \
    tcpdump -i any -s 2048 -w - udp | twinline decode - --stats")]
pub(crate) struct Decode {
    /// Journals' directories and capture files, one after the other; - is a capture on stdin
    #[arg(
        required_unless_present = "live",
        conflicts_with = "live",
        value_name = "INPUT"
    )]
    inputs: Vec<PathBuf>,
    /// Hear the lines themselves, until stopped
    #[arg(long)]
    live: bool,
    /// Go on with what is added to the journal, of several channels to all of them, until stopped
    #[arg(long, conflicts_with = "live")]
    follow: bool,
    /// Line A: GROUP:PORT, with @INTERFACE if it is heard live [default with --live: 239.77.1.1:17001@127.0.0.1]
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    line_a: Option<LineAddress>,
    /// Line B [default with --live: 239.77.1.2:17002@127.0.0.1]
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    line_b: Option<LineAddress>,
    #[command(flatten)]
    filter: Filter,
    /// How to show it [default: table on a terminal, otherwise jsonl]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Show packets' headers rather than their messages
    #[arg(long, help_heading = "Output")]
    packets: bool,
    /// Show heartbeats too
    #[arg(long, help_heading = "Output")]
    heartbeats: bool,
    /// Show malformed packets too
    #[arg(long, help_heading = "Output")]
    malformed: bool,
    /// Show sums only: packets, messages, rates, gaps and duplicates by line, times, bursts
    #[arg(long, help_heading = "Output")]
    stats: bool,
    /// End after so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Output")]
    limit: Option<u64>,
}

/// Runs `twinline decode`.
pub(crate) fn run(args: &Decode, global: &Global) -> Result<Finish, Failure> {
    args.check()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let stdout = std::io::stdout();
    let format = args.format.unwrap_or(if stdout.is_terminal() {
        Format::Table
    } else {
        Format::Jsonl
    });
    let mut decoder = Decoder::new(
        args.filter.clone(),
        Show {
            packets: args.packets,
            heartbeats: args.heartbeats,
            malformed: args.malformed,
            stats: args.stats,
        },
        args.limit,
        args.lines(),
        Writer::new(format, Box::new(stdout)),
    );
    let read = args.read(&mut decoder, &stop, &mut progress);
    let written = decoder.flush().map(|_| ());
    for remark in decoder.remarks() {
        progress.warn(remark);
    }
    let mut summary = Summary::new("decode");
    decoder.finish(&mut summary);
    summary.warnings = progress.warnings().to_vec();
    summary.silent = !args.stats;
    if args.stats {
        summary.set("stats", decoder.stats.json());
        summary.own_text = decoder.stats.text();
    }
    Ok(match read.and(written) {
        Ok(()) => Finish::success(summary),
        Err(failure) => Finish::failed(summary, failure),
    })
}

impl Decode {
    fn check(&self) -> Result<(), Failure> {
        if self.follow && (self.inputs.len() != 1 || !self.inputs[0].is_dir()) {
            return Err(Failure::usage("--follow takes one journal, and nothing else"));
        }
        if self.packets && self.format == Some(Format::Lobster) {
            return Err(Failure::usage(
                "--format lobster shows messages: leave --packets out",
            ));
        }
        Ok(())
    }

    /// The lines as they are named; live ones always are.
    fn lines(&self) -> [Option<LineAddress>; 2] {
        let named = |line: &Option<LineAddress>, default: &str| match line {
            Some(line) => Some(line.clone()),
            None if self.live => default.parse().ok(),
            None => None,
        };
        [named(&self.line_a, LINE_A), named(&self.line_b, LINE_B)]
    }

    fn read(&self, decoder: &mut Decoder, stop: &AtomicBool, progress: &mut Progress) -> Result<(), Failure> {
        if self.live {
            let [Some(a), Some(b)] = self.lines() else {
                return Err(Failure::usage("--live needs both lines"));
            };
            return input::live(&[a, b], decoder, stop, progress);
        }
        for path in &self.inputs {
            let flow = if path.is_dir() {
                let dirs: Vec<_> = journals(path)?.into_iter().map(|(_, dir)| dir).collect();
                input::journals(&dirs, self.follow, decoder, stop, progress)?
            } else {
                input::capture(path, decoder, stop)?
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}
