//! `twinline tail`: follows a stream over TCP, for ever, from one of several services.

use crate::cli::Global;
use crate::decode::{Arrival, Decoder, Filter, Format, Show, Writer};
use crate::exit::{Exit, Failure, Finish};
use crate::progress::Progress;
use crate::signals;
use crate::summary::{Position, Summary};
use crate::units;
use clap::{ArgGroup, Args};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twinline_journal::{JournalConfig, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_recovery::client::{ClientEvent, RecoveryClient};
use twinline_recovery::follow::{Action, Follower, Heard, Stuck};
use twinline_recovery::{ClientConfig, Mark, replica};
use twinline_wire::field::TailKind;
use twinline_wire::session::Void;
use twinline_wire::{OpenPacket, Packet, Stamp, flags};

/// How long services are waited for at a time.
const WAIT: Duration = Duration::from_millis(20);
/// Bytes of a file of the journal that is recorded.
const SEGMENT: usize = 16 << 20;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Start,
    Live,
    Sequence(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "live" => Ok(Self::Live),
            _ => match text.parse() {
                Ok(sequence) if sequence > 0 => Ok(Self::Sequence(sequence)),
                _ => Err(format!(
                    "{text:?} is no place to begin: write start, live or a sequence"
                )),
            },
        }
    }
}

/// Follow a stream over TCP: show each message as it is published, or record it.
///
/// It comes in whole packets from a recovery service or a replica, the very bytes that were on the lines, and goes on into
/// the following sessions until it is stopped. When a service fails, the next one is asked, and nothing is left out or
/// comes twice. What a new epoch made void after it was shown, is said with a Void notice (and the exit code is 3); from a
/// recorded journal it is discarded, as the publisher does it.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("out").args(["record", "format"])),
    after_help = "Examples:\n  \
    twinline tail 10.0.0.5:17010 --from start --count 20\n  \
    twinline tail 10.0.0.5:17010 --from start --template SessionStart --limit 1 --format jsonl\n  \
    twinline tail 10.0.0.5:17010,10.0.0.6:17010 --from start --record /tmp/twinline/followed --until-end"
)]
pub(crate) struct Tail {
    /// The services, in the order of preference
    #[arg(value_name = "ADDRESS:PORT", value_delimiter = ',', required = true)]
    services: Vec<SocketAddr>,
    /// Begin with the oldest that is kept (start), with what is published next (live), or with a sequence
    #[arg(
        long,
        value_name = "start|live|SEQUENCE",
        default_value = "live",
        help_heading = "What"
    )]
    from: From,
    /// End before this sequence of the session that it began in
    #[arg(long, value_name = "SEQUENCE", help_heading = "What")]
    to: Option<u64>,
    /// End with the session that it is in
    #[arg(long, help_heading = "What")]
    until_end: bool,
    /// End after so many messages, shown or not; of a packet that is recorded all of them count
    #[arg(long, value_name = "MESSAGES", help_heading = "What")]
    count: Option<u64>,
    #[command(flatten)]
    filter: Filter,
    /// How to show it [default: table on a terminal, otherwise jsonl]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// End after so many messages were shown
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with = "record",
        help_heading = "Output"
    )]
    limit: Option<u64>,
    /// Record it into a journal in this directory; one that was recorded before goes on where it ends, wherever --from says
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    record: Option<PathBuf>,
    /// Most bytes in a packet that is recorded, at least as the publisher has it
    #[arg(long, value_name = "BYTES", default_value = "1408", value_parser = units::size_in_memory, help_heading = "Output")]
    packet_size: usize,
    /// Who we are to services
    #[arg(long, value_name = "NAME", default_value = "tail", help_heading = "Services")]
    name: String,
    /// Leave a service that brings nothing for so long while it or another is further
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration, help_heading = "Services")]
    patience: Duration,
}

/// Where packets go.
enum Sink {
    Show(Box<Decoder>),
    Record(Box<JournalWriter>),
}

/// What was had so far.
#[derive(Debug, Default)]
struct Done {
    messages: u64,
    packets: u64,
    bytes: u64,
    void: u64,
    /// The session that it began in.
    session: Option<u32>,
    over: bool,
}

/// Runs `twinline tail`.
pub(crate) fn run(args: &Tail, global: &Global) -> Result<Finish, Failure> {
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let channel = args.filter.channel().unwrap_or(1);
    let (mut sink, mut follower) = args.open(channel)?;
    let mut client = RecoveryClient::new(&ClientConfig::new(&args.name, channel), &args.services)?;
    let mut done = Done::default();
    progress.ready(None, "following");
    let followed = args.follow(
        &mut client,
        &mut follower,
        &mut sink,
        &mut done,
        &stop,
        &mut progress,
    );
    client.close();
    let written = match &mut sink {
        Sink::Show(decoder) => decoder.flush().map(|_| ()),
        Sink::Record(journal) => journal.sync().map_err(Failure::from),
    };
    let mut summary = figures(&done, &follower, channel);
    if let Sink::Show(decoder) = &mut sink {
        decoder.finish(&mut summary);
        summary.silent = true;
    }
    summary.warnings = progress.warnings().to_vec();
    Ok(match followed.and(written) {
        Ok(()) if done.void > 0 && matches!(sink, Sink::Show(_)) => Finish::with(summary, Exit::Loss),
        Ok(()) => Finish::success(summary),
        Err(failure) => Finish::failed(summary, failure),
    })
}

fn figures(done: &Done, follower: &Follower, channel: u16) -> Summary {
    let mut summary = Summary::new("tail");
    summary.messages = done.messages;
    summary.packets = done.packets;
    summary.bytes = done.bytes;
    summary.position = follower.held().map(|held| Position {
        channel,
        session: held.tail.session,
        epoch: held.tail.epoch,
        next: held.tail.next,
        ended: held.tail.ended,
    });
    let counters = follower.counters();
    summary.set("void", done.void);
    summary.set("tails", counters.tails);
    summary.set("switches", counters.switches);
    summary.set("contradictions", counters.contradictions);
    summary
}

impl Tail {
    fn open(&self, channel: u16) -> Result<(Sink, Follower), Failure> {
        let services = self.services.len();
        let begin = match (self.from, self.filter.session()) {
            (From::Start, Some(session)) => Mark::new(session, 1),
            (From::Sequence(sequence), Some(session)) => Mark::new(session, sequence),
            _ => Mark::default(),
        };
        let Some(dir) = &self.record else {
            let stdout = std::io::stdout();
            let format = self.format.unwrap_or(match stdout.is_terminal() {
                true => Format::Table,
                false => Format::Jsonl,
            });
            let decoder = Decoder::new(
                self.filter.clone(),
                Show::default(),
                self.limit,
                [None, None],
                Writer::new(format, Box::new(stdout)),
            );
            let follower = Follower::new(services, None, begin, self.patience);
            return Ok((Sink::Show(Box::new(decoder)), follower));
        };
        let journal = JournalWriter::open(dir, self.journal(channel))?;
        let held = replica::last_held(dir, &journal)?;
        let follower = Follower::new(services, held, begin, self.patience);
        Ok((Sink::Record(Box::new(journal)), follower))
    }

    fn journal(&self, channel: u16) -> JournalConfig {
        JournalConfig {
            channel,
            max_packet: self.packet_size,
            segment_size: SEGMENT,
            sync: SyncPolicy::Every(Duration::from_millis(100)),
            retention: Retention::default(),
            prepare: Prepare::Thread,
        }
    }

    fn follow(
        &self,
        client: &mut RecoveryClient,
        follower: &mut Follower,
        sink: &mut Sink,
        done: &mut Done,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let started = Instant::now();
        let now = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        done.session = follower.held().map(|held| held.tail.session);
        done.over = self.until_end && follower.held().is_some_and(|held| held.tail.ended);
        let mut placed = follower.held().is_some();
        while !stop.load(Ordering::Relaxed) && !done.over {
            placed = placed || self.place(follower);
            while placed && let Some(action) = follower.next_action(now()) {
                match action {
                    Action::Leave { service } => client.leave(service),
                    Action::Tail {
                        service,
                        request_id,
                        from,
                    } => {
                        if client.tail(service, request_id, from, TailKind::READER).is_err() {
                            follower.not_asked(service, now());
                        }
                    }
                }
            }
            let mut result = Ok(());
            client.poll(WAIT, &mut |service, event: ClientEvent<'_>| {
                if result.is_ok()
                    && !done.over
                    && let Heard::Packet { packet, cut } = follower.on_event(service, &event, now())
                {
                    result = self.take(&packet, cut, follower, sink, done);
                }
            })?;
            result?;
            if let Sink::Show(decoder) = sink
                && decoder.flush()?.is_break()
            {
                return Ok(());
            }
            for text in follower.take_warnings() {
                progress.warn(self.in_words(&text));
            }
            if !placed && started.elapsed() > self.patience {
                progress.warn("no service has let us in yet: they are tried again and again");
            }
            progress.figures(|| figures(done, follower, self.filter.channel().unwrap_or(1)));
            if let Some(stuck) = follower.stuck() {
                return Err(explain(&stuck));
            }
        }
        Ok(())
    }

    /// Where to begin, as soon as that is known.
    fn place(&self, follower: &mut Follower) -> bool {
        let newest = follower.newest();
        let answered = (0..self.services.len()).any(|service| follower.head(service).is_some());
        match self.from {
            _ if !answered => return false,
            From::Start => {}
            From::Live if newest.session > 0 => follower.begin_at(newest),
            // There is nothing yet: from the first that comes.
            From::Live => {}
            From::Sequence(_) if self.filter.session().is_some() => {}
            From::Sequence(sequence) if newest.session > 0 => {
                follower.begin_at(Mark::new(newest.session, sequence));
            }
            // Of which session, only a service that has one can tell.
            From::Sequence(_) => return false,
        }
        true
    }

    fn take(
        &self,
        packet: &Packet<'_>,
        cut: Option<u64>,
        follower: &mut Follower,
        sink: &mut Sink,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let session = packet.header().session.get();
        let began = *done.session.get_or_insert(session);
        if let Some(to) = self.to
            && ((session == began && packet.sequence() >= to) || session > began)
        {
            done.over = true;
            return Ok(());
        }
        if let Some(from) = cut {
            let held = follower.held().map_or(from, |held| held.tail.next);
            done.void += held - from;
            match sink {
                Sink::Record(journal) => drop(journal.discard_from(from)?),
                Sink::Show(decoder) => show_void(decoder, packet, from, held)?,
            }
        }
        done.packets += 1;
        done.bytes += packet.bytes().len() as u64;
        done.messages += u64::from(packet.header().count.get());
        let flow = match sink {
            Sink::Record(journal) => {
                journal.append(packet.bytes())?;
                ControlFlow::Continue(())
            }
            Sink::Show(decoder) => decoder.arrival(&Arrival {
                bytes: packet.bytes(),
                number: done.packets,
                ..Arrival::default()
            })?,
        };
        follower.taken(packet);
        let ended = follower.held().is_some_and(|held| held.tail.ended);
        let counted = self.count.is_some_and(|count| done.messages >= count);
        let reached = self.to.is_some_and(|to| packet.end() >= to);
        done.over = flow.is_break() || counted || reached || (self.until_end && ended);
        Ok(())
    }

    /// Names services by their addresses.
    fn in_words(&self, text: &str) -> String {
        crate::replica::in_words(text, &self.services)
    }
}

/// Shows that what was shown from `from` to `held` is void.
fn show_void(decoder: &mut Decoder, packet: &Packet<'_>, from: u64, held: u64) -> Result<(), Failure> {
    let header = packet.header();
    let void = Void {
        begin: from.into(),
        end: held.into(),
        epoch: header.epoch,
    };
    let stamp = Stamp {
        flags: flags::LOCAL,
        sequence: held,
        ..Stamp::of(header)
    };
    let mut buffer = [0; 256];
    let mut open = OpenPacket::new();
    open.push(&mut buffer, &void);
    let length = open.finish_whole(&mut buffer, stamp, 0);
    let _ = decoder.arrival(&Arrival {
        bytes: &buffer[..length],
        ..Arrival::default()
    })?;
    Ok(())
}

fn explain(stuck: &Stuck) -> Failure {
    match stuck {
        Stuck::TooOld { at, oldest } => {
            let oldest = match oldest {
                Some(oldest) => format!(
                    "the oldest that is kept is session {} sequence {}: go on there with --session {} --from {}",
                    oldest.session, oldest.next, oldest.session, oldest.next
                ),
                None => "begin anew with --from start".into(),
            };
            Failure {
                exit: Exit::Loss,
                text: format!(
                    "no service keeps session {} from {} on any more: {oldest}",
                    at.session, at.next
                ),
            }
        }
        Stuck::Contradicted => Failure {
            exit: Exit::Differ,
            text: "what the services have contradicts what was had before: compare with `twinline diff`"
                .into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_read() {
        assert_eq!("start".parse(), Ok(From::Start));
        assert_eq!("live".parse(), Ok(From::Live));
        assert_eq!("17".parse(), Ok(From::Sequence(17)));
        for wrong in ["0", "-1", "now", ""] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }
}
