//! Where a replay goes: shown, into a journal, into a capture, or onto the lines.

use super::wanted::Range;
use super::{Output, Replay};
use crate::capture::{file, headers};
use crate::decode::{Arrival, Decoder, Format, Show, Writer};
use crate::exit::Failure;
use crate::progress::Progress;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::source::pace::Pacer;
use twinline_journal::{JournalConfig, JournalError, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_line::{LineSender, SendOutcome, SenderOptions};
use twinline_wire::field::LossReason;
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::session::Lost;
use twinline_wire::{OpenPacket, Packet, Stamp, flags};

/// A full socket is tried again after this, and given up after so many times.
const SEND_AGAIN: Duration = Duration::from_micros(200);
const SEND_TRIES: u32 = 5_000;
/// Bytes of a file of the journal that is recorded. Its end makes all of it durable at once.
const SEGMENT: usize = 16 << 20;

/// An open output.
pub(super) enum Sink {
    Show(Box<Decoder>),
    Record(Box<Recorder>),
    Capture { path: PathBuf, out: BufWriter<File> },
    Send(Box<Lines>),
}

impl Sink {
    /// Opens what the arguments name, for packets of `channel`.
    pub(super) fn open(args: &Replay, channel: u16) -> Result<Self, Failure> {
        match args.output() {
            Output::Show => Ok(Self::Show(Box::new(shower(args)))),
            Output::Record(dir) => Recorder::create(dir, channel, args.lines.packet_size)
                .map(|recorder| Self::Record(Box::new(recorder))),
            Output::Capture(path) => {
                let file = OpenOptions::new().write(true).create_new(true).open(path);
                let file = file.map_err(|cause| match cause.kind() {
                    ErrorKind::AlreadyExists => Failure::error(format!(
                        "{} exists: name another file, or remove it first",
                        path.display()
                    )),
                    _ => Failure::error(format!("cannot create {}: {cause}", path.display())),
                })?;
                let mut out = BufWriter::with_capacity(1 << 16, file);
                let path = path.to_owned();
                file::write_head(&mut out, &["replay"]).map_err(|cause| cannot_write(&path, &cause))?;
                Ok(Self::Capture { path, out })
            }
            Output::Send => Lines::open(args).map(|lines| Self::Send(Box::new(lines))),
        }
    }

    /// What follows is of this range.
    pub(super) fn begin(&mut self, range: Range) {
        if let Self::Show(decoder) = self {
            decoder.limit_to(range.session, (range.begin, range.end));
        }
    }

    /// Takes a packet; breaks when stopped.
    pub(super) fn packet(
        &mut self,
        packet: &Packet<'_>,
        number: u64,
        stop: &AtomicBool,
    ) -> Result<ControlFlow<()>, Failure> {
        match self {
            Self::Show(decoder) => {
                return decoder.arrival(&Arrival {
                    bytes: packet.bytes(),
                    number,
                    ..Arrival::default()
                });
            }
            Self::Record(recorder) => recorder.put(packet)?,
            Self::Capture { path, out } => {
                // Made up, as no line was heard: documentation's addresses, the packet's own sending time.
                let from = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1);
                let to = SocketAddrV4::new(Ipv4Addr::new(233, 252, 0, 1), packet.header().channel.get());
                let mut frame = Vec::new();
                headers::put_on(&mut frame, from, to, packet.bytes());
                let time = packet.header().sending_time.get();
                file::write_packet(out, 0, time, &frame).map_err(|cause| cannot_write(path, &cause))?;
            }
            Self::Send(lines) => return lines.put(packet, stop),
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Nothing more comes: everything is written out.
    pub(super) fn finish(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        match self {
            Self::Show(decoder) => decoder.flush().map(|_| ()),
            Self::Record(recorder) => Ok(recorder.journal.sync()?),
            Self::Capture { path, out } => out.flush().map_err(|cause| cannot_write(path, &cause)),
            Self::Send(lines) => {
                if lines.refused > 0 {
                    progress.warn(format!(
                        "{} packets went onto one line only, or onto none: the interface is down or takes no more",
                        lines.refused
                    ));
                }
                Ok(())
            }
        }
    }
}

fn shower(args: &Replay) -> Decoder {
    let stdout = std::io::stdout();
    let format = args.format.unwrap_or(match stdout.is_terminal() {
        true => Format::Table,
        false => Format::Jsonl,
    });
    Decoder::new(
        Default::default(),
        Show::default(),
        None,
        [None, None],
        Writer::new(format, Box::new(stdout)),
    )
}

fn cannot_write(path: &std::path::Path, cause: &std::io::Error) -> Failure {
    Failure::error(format!(
        "cannot write {}: {cause}; free space there, or name another place",
        path.display()
    ))
}

/// Writes a journal. Between ranges it says, as a listener does, that what lies between was skipped.
pub(super) struct Recorder {
    journal: JournalWriter,
    scratch: Vec<u8>,
}

impl Recorder {
    fn create(dir: &std::path::Path, channel: u16, max_packet: usize) -> Result<Self, Failure> {
        let used = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if used {
            return Err(Failure::error(format!(
                "{} is not empty: a replay is recorded into a directory of its own",
                dir.display()
            )));
        }
        let config = JournalConfig {
            channel,
            max_packet,
            segment_size: SEGMENT,
            sync: SyncPolicy::None,
            retention: Retention::default(),
            prepare: Prepare::Thread,
        };
        Ok(Self {
            journal: JournalWriter::open(dir, config)?,
            scratch: vec![0; max_packet],
        })
    }

    fn put(&mut self, packet: &Packet<'_>) -> Result<(), Failure> {
        let header = packet.header();
        let (length, most) = (packet.bytes().len(), self.scratch.len());
        if length > most {
            return Err(Failure::error(format!(
                "a packet has {length} bytes, and the journal is made for {most}: record into a new one with \
                 --packet-size {MAX_PACKET_LEN}"
            )));
        }
        let tail = self
            .journal
            .tail()
            .filter(|tail| tail.session == header.session.get());
        let hole = tail.filter(|tail| tail.next < packet.sequence());
        match self.journal.append(packet.bytes()) {
            Ok(_) => return Ok(()),
            Err(JournalError::NotNext { .. }) if hole.is_some() => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(tail) = hole {
            let skipped = Lost {
                begin: tail.next.into(),
                end: packet.sequence().into(),
                reason: LossReason::SKIPPED,
            };
            let stamp = Stamp {
                flags: flags::LOCAL,
                sequence: tail.next,
                epoch: tail.epoch,
                epoch_base: tail.epoch_base,
                ..Stamp::of(header)
            };
            let mut open = OpenPacket::new();
            open.push(&mut self.scratch, &skipped);
            let length = open.finish_whole(&mut self.scratch, stamp, 0);
            self.journal.append(&self.scratch[..length])?;
        }
        self.journal.append(packet.bytes())?;
        Ok(())
    }
}

/// Sends on both lines, each packet when it is due.
pub(super) struct Lines {
    senders: [LineSender; 2],
    pacer: Pacer,
    start: Instant,
    refused: u64,
}

impl Lines {
    fn open(args: &Replay) -> Result<Self, Failure> {
        args.lines.check()?;
        let options = SenderOptions {
            ttl: args.ttl,
            ..SenderOptions::default()
        };
        Ok(Self {
            senders: [
                LineSender::open(&args.lines.line_a, options)?,
                LineSender::open(&args.lines.line_b, options)?,
            ],
            pacer: Pacer::new(args.pace()),
            start: Instant::now(),
            refused: 0,
        })
    }

    fn put(&mut self, packet: &Packet<'_>, stop: &AtomicBool) -> Result<ControlFlow<()>, Failure> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
            let now = self.start.elapsed().as_nanos() as u64;
            let due = self.pacer.due(now, packet.header().sending_time.get());
            if due <= now {
                break;
            }
            thread::sleep(Duration::from_nanos(due - now).min(Duration::from_millis(50)));
        }
        for _ in 0..packet.header().count.get() {
            self.pacer.count();
        }
        let mut failed = false;
        for sender in &mut self.senders {
            let mut tries = SEND_TRIES;
            loop {
                match sender.send(packet.bytes()) {
                    SendOutcome::Sent => break,
                    SendOutcome::Dropped if tries > 0 => {
                        tries -= 1;
                        thread::sleep(SEND_AGAIN);
                    }
                    SendOutcome::Dropped | SendOutcome::Failed => {
                        failed = true;
                        break;
                    }
                }
            }
        }
        self.refused += u64::from(failed);
        Ok(ControlFlow::Continue(()))
    }
}
