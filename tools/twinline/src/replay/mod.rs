//! `twinline replay`: gets any part of the stream again, from a journal or from recovery services, and shows it, records
//! it, or sends it onto lines.

mod origin;
mod output;
mod recovery;
mod wanted;

use crate::cli::Global;
use crate::decode::{Format, Times, sequences, times};
use crate::exit::{Exit, Failure, Finish};
use crate::line_args::LineArgs;
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use crate::units::{self, show_count};
use clap::{ArgGroup, Args};
use origin::{Journal, Missing, Origin, Span};
use output::Sink;
use recovery::Recovery;
use std::fmt::Write;
use std::io::Read;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twinline_feed::source::pace::Pace;
use wanted::{Range, merged, read_gaps};

/// A list of gaps is no longer than this, in bytes.
const MAX_LIST: u64 = 64 << 20;
/// Missing ranges that people are shown.
const SHOWN: usize = 20;

/// Get any part of the stream again: show it, record it, or send it onto lines.
///
/// It is asked for by sequences, by sending time, or with a list of gaps; without any of these all that there is comes. It
/// comes in whole packets, the very bytes that were on the lines; what is shown is cut to the messages asked for. What
/// could not be had is listed with the reason; unless all of it is void, the exit code is then 3.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("origin").required(true).args(["journal", "recovery"])),
    group(ArgGroup::new("out").args(["record", "pcapng", "send", "format"])),
    after_help = "Examples (the first two make journals and go to them):\n  \
    twinline demo --keep\n  \
    cd \"$(ls -td /tmp/twinline-demo-* | head -1)\"\n  \
    twinline replay --journal publisher --sequence 100..120\n  \
    twinline replay --journal publisher --sequence 1000..2000 --record part && twinline decode part --stats\n  \
    echo 'session 1 5..8' | twinline replay --journal publisher --gaps -\n  \
    twinline replay --journal publisher --send --line-a 239.9.1.1:5001@127.0.0.1 --line-b 239.9.1.2:5001@127.0.0.1 --pace max\n  \
    twinline replay --recovery 10.0.0.5:17010 --time 08:30:00..08:31:00 --pcapng minute.pcapng"
)]
pub(crate) struct Replay {
    /// Read this journal, a publisher's or a listener's
    #[arg(long, value_name = "DIR", help_heading = "From")]
    journal: Option<PathBuf>,
    /// Ask this recovery service; with several the next one is asked for what one has not
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "From")]
    recovery: Vec<SocketAddr>,
    /// Who we are to recovery services
    #[arg(long, value_name = "NAME", default_value = "replay", help_heading = "From")]
    name: String,
    /// Give a recovery service up that says nothing for so long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::duration, help_heading = "From")]
    patience: Duration,
    /// Sequences A up to but not B; may be given several times
    #[arg(long, value_name = "A..B", value_parser = sequences, help_heading = "What")]
    sequence: Vec<(u64, u64)>,
    /// What was sent from FROM up to but not TO, each in UTC (2026-11-24T08:30:00Z), in nanoseconds since 1970, or a time
    /// of the day on which the session began (08:30:00.5); one of the two may be left out
    #[arg(long, value_name = "FROM..TO", value_parser = times, help_heading = "What")]
    time: Option<Times>,
    /// A list of gaps, - for stdin: lines with a range each (100..200, session 3 100..200), or what `listen --print`
    /// prints, of which the loss notices are taken
    #[arg(long, value_name = "FILE", help_heading = "What")]
    gaps: Option<PathBuf>,
    /// The session [default: the newest one]
    #[arg(long, value_name = "NUMBER", help_heading = "What")]
    session: Option<u32>,
    /// How to show it [default: table on a terminal, otherwise jsonl]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Record it into a journal in this directory, which must be new or empty
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    record: Option<PathBuf>,
    /// Write its packets into a capture file, with their sending times and made-up addresses
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pcapng: Option<PathBuf>,
    /// Send it onto both lines
    #[arg(long, help_heading = "Output")]
    send: bool,
    /// How fast to send: max, recorded, or so many times as fast, as in 10x
    #[arg(
        long,
        default_value = "recorded",
        conflicts_with = "rate",
        requires = "send",
        help_heading = "Output"
    )]
    pace: Pace,
    /// Send so many messages a second
    #[arg(long, value_name = "MESSAGES", requires = "send", help_heading = "Output", value_parser = units::rate)]
    rate: Option<NonZeroU64>,
    /// Routers that packets may cross; 1: this network only
    #[arg(long, value_name = "HOPS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..), help_heading = "Output")]
    ttl: u8,
    #[command(flatten)]
    lines: LineArgs,
}

/// Where it goes.
enum Output<'a> {
    Show,
    Record(&'a Path),
    Capture(&'a Path),
    Send,
}

impl Replay {
    fn output(&self) -> Output<'_> {
        match (&self.record, &self.pcapng) {
            (Some(dir), _) => Output::Record(dir),
            (_, Some(path)) => Output::Capture(path),
            _ if self.send => Output::Send,
            _ => Output::Show,
        }
    }

    fn pace(&self) -> Pace {
        self.rate.map_or(self.pace, Pace::PerSecond)
    }

    fn origin(&self) -> Result<Origin, Failure> {
        let Some(dir) = &self.journal else {
            let recovery = Recovery::connect(&self.recovery, &self.name, self.lines.channel, self.patience)?;
            return Ok(Origin::Recovery(recovery));
        };
        Ok(Origin::Journal(Journal::open(dir)?))
    }

    /// All that is asked for, in order.
    fn wanted(&self, origin: &mut Origin) -> Result<Vec<Range>, Failure> {
        if let Some(path) = &self.gaps {
            if !self.sequence.is_empty() || self.time.is_some() {
                return Err(Failure::usage(
                    "--gaps says what is wanted: leave --sequence and --time out",
                ));
            }
            return self.gaps(path, origin);
        }
        // Whole ranges need not be looked up.
        if let (Some(session), None, false) = (self.session, self.time, self.sequence.is_empty())
            && self.sequence.iter().all(|(_, end)| *end < u64::MAX)
        {
            return Ok(merged(self.ranges(session, (0, u64::MAX))));
        }
        let span = origin.span(self.session)?;
        let (begin, end) = match self.time {
            Some(times) => between(origin, span, times)?,
            None => (span.oldest, span.next),
        };
        if self.sequence.is_empty() {
            let session = span.session;
            return Ok(merged(vec![Range { session, begin, end }]));
        }
        let within = match self.time {
            Some(_) => (begin, end),
            None => (0, span.next),
        };
        Ok(merged(self.ranges(span.session, within)))
    }

    /// The sequences asked for. Ends that are left open are the session's; what was asked for in so many words stays,
    /// so that it is told where it is missing.
    fn ranges(&self, session: u32, (begin, end): (u64, u64)) -> Vec<Range> {
        let cut = |(from, to): &(u64, u64)| Range {
            session,
            begin: (*from).max(begin).max(1),
            end: if *to == u64::MAX || self.time.is_some() {
                (*to).min(end)
            } else {
                *to
            },
        };
        self.sequence.iter().map(cut).collect()
    }

    fn gaps(&self, path: &Path, origin: &mut Origin) -> Result<Vec<Range>, Failure> {
        let mut text = String::new();
        let read = if path == Path::new("-") {
            std::io::stdin().take(MAX_LIST).read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(MAX_LIST).read_to_string(&mut text))
        };
        read.map_err(|cause| {
            Failure::error(format!(
                "cannot read the list of gaps {}: {cause}",
                path.display()
            ))
        })?;
        let session = match self.session {
            Some(session) => Some(session),
            None => origin.span(None).ok().map(|span| span.session),
        };
        read_gaps(&text, session).map(merged).map_err(Failure::usage)
    }
}

/// The sequences of `span` that were sent within `times`.
fn between(origin: &mut Origin, span: Span, times: Times) -> Result<(u64, u64), Failure> {
    let Some(day) = origin.begin_time(span)? else {
        return Ok((span.oldest, span.oldest));
    };
    let (from, to) = times.on_day_of(day);
    let begin = from.map_or(Ok(span.oldest), |time| origin.sequence_at(span, time))?;
    let end = to.map_or(Ok(span.next), |time| origin.sequence_at(span, time))?;
    Ok((begin, end))
}

/// Runs `twinline replay`.
pub(crate) fn run(args: &Replay, global: &Global) -> Result<Finish, Failure> {
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let mut origin = args.origin()?;
    let wanted = args.wanted(&mut origin)?;
    let mut sink = Sink::open(args, origin.channel())?;
    let mut done = Done::default();
    let played = play(&wanted, &mut origin, &mut sink, &stop, &mut progress, &mut done);
    let finished = sink.finish(&mut progress);
    let mut summary = done.summary();
    summary.set("asked", &wanted);
    summary.set("missing", &done.missing);
    summary.warnings = progress.warnings().to_vec();
    summary.silent = matches!(args.output(), Output::Show);
    if !summary.silent {
        summary.own_text = done.text();
    }
    for missing in done.missing.iter().take(SHOWN).filter(|_| summary.silent) {
        progress.warn(format!("missing: {}: {}", missing.range, missing.reason));
    }
    let exit = match done.missing.iter().all(|missing| missing.void) {
        true => Exit::Success,
        false => Exit::Loss,
    };
    Ok(match played.and(finished) {
        Ok(()) => Finish::with(summary, exit),
        Err(failure) => Finish::failed(summary, failure),
    })
}

/// What was played.
#[derive(Debug, Default)]
struct Done {
    messages: u64,
    packets: u64,
    bytes: u64,
    missing: Vec<Missing>,
}

impl Done {
    fn summary(&self) -> Summary {
        let mut summary = Summary::new("replay");
        summary.messages = self.messages;
        summary.packets = self.packets;
        summary.bytes = self.bytes;
        summary
    }

    /// Notes what is missing, behind all others; what adjoins and has the same reason becomes one.
    fn miss(&mut self, missing: Missing) {
        if let Some(last) = self.missing.last_mut()
            && (last.range.session, last.range.end) == (missing.range.session, missing.range.begin)
            && last.reason == missing.reason
        {
            last.range.end = missing.range.end;
        } else {
            self.missing.push(missing);
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "replay: {} messages asked for and had, in {} packets\n",
            show_count(self.messages),
            show_count(self.packets)
        );
        for missing in self.missing.iter().take(SHOWN) {
            let _ = writeln!(text, "missing: {}: {}", missing.range, missing.reason);
        }
        if self.missing.len() > SHOWN {
            let _ = writeln!(
                text,
                "and {} more missing ranges: --json has all",
                self.missing.len() - SHOWN
            );
        }
        text
    }
}

fn play(
    wanted: &[Range],
    origin: &mut Origin,
    sink: &mut Sink,
    stop: &AtomicBool,
    progress: &mut Progress,
    done: &mut Done,
) -> Result<(), Failure> {
    // A packet may reach into two ranges; whoever takes whole packets takes it once.
    let mut last = None;
    for range in wanted {
        sink.begin(*range);
        let shown = matches!(sink, Sink::Show(_));
        let missing = origin.fetch(*range, &mut |packet| {
            let place = (packet.header().session.get(), packet.sequence());
            done.messages += packet.end().min(range.end) - packet.sequence().max(range.begin);
            if last == Some(place) && !shown {
                return Ok(ControlFlow::Continue(()));
            }
            last = Some(place);
            done.packets += 1;
            done.bytes += packet.bytes().len() as u64;
            let flow = sink.packet(packet, done.packets, stop)?;
            progress.figures(|| done.summary());
            Ok(match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => flow,
            })
        })?;
        for missing in missing {
            done.miss(missing);
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::error("it was stopped before everything was played"));
        }
    }
    Ok(())
}
