//! How `decode` writes what it shows: a table, JSON lines, CSV, LOBSTER's rows.

use super::decoder::{Arrival, Timing};
use super::filter::{Flow, show_time, show_value};
use super::lobster::Lobster;
use crate::exit::Failure;
use crate::show;
use crate::summary::Counts;
use clap::ValueEnum;
use serde_json::{Value as Json, json};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use twinline_line::Line;
use twinline_wire::market::AddOrder;
use twinline_wire::{Frame, Message, Packet, PacketError, flags};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values under a head line.
    Csv,
    /// Rows of LOBSTER's message files, of each message once.
    Lobster,
}

/// A packet, and how it came.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) number: u64,
    pub(crate) line: Option<Line>,
    pub(crate) received: Option<u64>,
    pub(crate) timing: Timing,
}

/// What of it is shown.
#[derive(Clone, Copy)]
pub(crate) enum What<'a> {
    /// A message of it, or a listener's notice.
    Message(u64, Frame<'a>),
    /// Its header.
    Packet,
}

/// Writes rows.
pub(crate) struct Writer {
    out: BufWriter<Box<dyn Write>>,
    format: Format,
    begun: bool,
    /// Session and epoch that the table is in, by channel.
    place: HashMap<u16, (u32, u32)>,
    text: String,
    lobster: Lobster,
    /// The next sequence by channel and session: each message gives its rows once, whatever line brings it.
    next: HashMap<(u16, u32), u64>,
    /// Instruments that rows were written of.
    instruments: HashSet<u32>,
    without_rows: Counts,
    /// Messages that rows were written of.
    rows: u64,
}

impl Writer {
    pub(crate) fn new(format: Format, out: Box<dyn Write>) -> Self {
        Self {
            out: BufWriter::with_capacity(1 << 16, out),
            format,
            begun: false,
            place: HashMap::new(),
            text: String::new(),
            lobster: Lobster::default(),
            next: HashMap::new(),
            instruments: HashSet::new(),
            without_rows: Counts::new(),
            rows: 0,
        }
    }

    pub(crate) fn is_lobster(&self) -> bool {
        self.format == Format::Lobster
    }

    /// Messages that LOBSTER has no row for, by template; and how many instruments rows were written of.
    pub(crate) fn without_rows(&self) -> (&Counts, usize) {
        (&self.without_rows, self.instruments.len())
    }

    /// Messages that LOBSTER's rows were written of.
    pub(crate) fn lobster_rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn flush(&mut self) -> Result<Flow, Failure> {
        let done = self.out.flush();
        went_on(done)
    }

    /// Writes a row.
    pub(crate) fn row(&mut self, row: &Row<'_>, what: What<'_>) -> Result<Flow, Failure> {
        self.text.clear();
        match self.format {
            Format::Table => self.table(row, what),
            Format::Jsonl => {
                let _ = writeln!(self.text, "{}", object(row, what));
            }
            Format::Csv => self.csv(row, what),
            Format::Lobster => {}
        }
        self.write()
    }

    fn write(&mut self) -> Result<Flow, Failure> {
        let done = self.out.write_all(self.text.as_bytes());
        went_on(done)
    }

    /// Follows the orders of a message that has not come before; writes its rows if it is `taken`.
    pub(crate) fn lobster(
        &mut self,
        packet: &Packet<'_>,
        sequence: u64,
        frame: &Frame<'_>,
        taken: bool,
    ) -> Result<Flow, Failure> {
        let header = packet.header();
        if header.flags & flags::LOCAL != 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let next = self
            .next
            .entry((header.channel.get(), header.session.get()))
            .or_default();
        if sequence < *next {
            return Ok(ControlFlow::Continue(()));
        }
        *next = sequence + 1;
        self.text.clear();
        let known = self.lobster.rows(frame, &mut self.text);
        // What a session and its instruments need besides has no row anywhere in LOBSTER's files.
        if taken && !known && frame.template() >= AddOrder::TEMPLATE {
            *self.without_rows.entry(show::name(frame).into()).or_default() += 1;
        }
        if !taken || self.text.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.instruments.extend(frame.instrument());
        self.rows += 1;
        self.write()
    }

    fn table(&mut self, row: &Row<'_>, what: What<'_>) {
        let header = row.packet.header();
        if !self.begun {
            self.begun = true;
            let _ = writeln!(
                self.text,
                "{:<4} {:>12} {:<30} {:>12} {:>12}  message",
                "line", "sequence", "sent (UTC)", "after", "one way"
            );
        }
        let place = (header.session.get(), header.epoch.get());
        if self.place.insert(header.channel.get(), place) != Some(place) {
            let _ = writeln!(
                self.text,
                "-- channel {}, session {}, epoch {} from sequence {}",
                header.channel.get(),
                place.0,
                place.1,
                header.epoch_base.get()
            );
        }
        let sequence = match what {
            What::Message(sequence, _) => sequence,
            What::Packet => row.packet.sequence(),
        };
        let line = row.line.map_or("-".to_string(), |line| line.to_string());
        let _ = write!(
            self.text,
            "{line:<4} {sequence:>12} {:<30} {:>12} {:>12}  ",
            show_time(header.sending_time.get()),
            signed(row.timing.since_previous),
            signed(row.timing.one_way)
        );
        match what {
            What::Message(_, frame) => {
                self.text.push_str(show::name(&frame));
                for (name, value) in frame.values() {
                    let value = show_value(value);
                    if !value.is_empty() {
                        let _ = write!(self.text, " {name}={value}");
                    }
                }
            }
            What::Packet => {
                let _ = write!(
                    self.text,
                    "{} of {} messages, {} bytes{}",
                    kind(row.packet),
                    header.count.get(),
                    header.length.get(),
                    flag_names(header.flags)
                        .iter()
                        .map(|name| format!(", {name}"))
                        .collect::<String>()
                );
            }
        }
        self.text.push('\n');
    }

    fn csv(&mut self, row: &Row<'_>, what: What<'_>) {
        if !self.begun {
            self.begun = true;
            self.text.push_str(
                "type,name,channel,session,epoch,sequence,sending_time,flags,line,received,since_previous_ns,one_way_ns,fields\n",
            );
        }
        let header = row.packet.header();
        let (name, sequence, fields) = match what {
            What::Message(sequence, frame) => {
                let fields = frame
                    .values()
                    .map(|(name, value)| format!("{name}={}", show_value(value)));
                (show::name(&frame), sequence, fields.collect::<Vec<_>>().join(";"))
            }
            What::Packet => {
                let fields = format!("count={};length={}", header.count.get(), header.length.get());
                ("", row.packet.sequence(), fields)
            }
        };
        let kind = match what {
            What::Message(..) if header.flags & flags::LOCAL == 0 => "message",
            _ => kind(row.packet),
        };
        let optional = |value: Option<i64>| value.map_or(String::new(), |value| value.to_string());
        let _ = writeln!(
            self.text,
            "{kind},{name},{},{},{},{sequence},{},{},{},{},{},{},{}",
            header.channel.get(),
            header.session.get(),
            header.epoch.get(),
            header.sending_time.get(),
            flag_names(header.flags).join("|"),
            row.line.map_or(String::new(), |line| line.to_string()),
            row.received.map_or(String::new(), |time| time.to_string()),
            optional(row.timing.since_previous),
            optional(row.timing.one_way),
            quoted(&fields)
        );
    }

    /// Shows a malformed packet.
    pub(crate) fn malformed(&mut self, arrival: &Arrival<'_>, error: PacketError) -> Result<Flow, Failure> {
        let head: String = arrival
            .bytes
            .iter()
            .take(48)
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
        self.text.clear();
        let length = arrival.bytes.len();
        let _ = match self.format {
            Format::Table => writeln!(
                self.text,
                "!    malformed: {error}; packet {} of the input, {length} bytes: {head}",
                arrival.number
            ),
            Format::Jsonl => writeln!(
                self.text,
                "{}",
                json!({
                    "type": "malformed",
                    "reason": error.to_string(),
                    "packet": arrival.number,
                    "received": arrival.received,
                    "length": length,
                    "head": head,
                })
            ),
            Format::Csv => writeln!(
                self.text,
                "malformed,,,,,,,,,{},,,reason={error};packet={};length={length};head={head}",
                arrival.received.map_or(String::new(), |time| time.to_string()),
                arrival.number
            ),
            Format::Lobster => Ok(()),
        };
        self.write()
    }
}

/// A reader that went away is no error: the rest is not wanted.
pub(crate) fn went_on(done: std::io::Result<()>) -> Result<Flow, Failure> {
    match done {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(cause) => Err(Failure::error(format!("stdout cannot be written: {cause}"))),
    }
}

/// The JSON of a row: as `listen --print` shows it, and how it came.
fn object(row: &Row<'_>, what: What<'_>) -> Json {
    let header = row.packet.header();
    let mut object = match what {
        What::Message(sequence, frame) => show::object(row.packet, sequence, &frame),
        What::Packet => json!({
            "type": kind(row.packet),
            "session": header.session.get(),
            "epoch": header.epoch.get(),
            "epoch_base": header.epoch_base.get(),
            "sequence": row.packet.sequence(),
            "sending_time": header.sending_time.get(),
            "count": header.count.get(),
            "length": header.length.get(),
        }),
    };
    object["packet"] = row.number.into();
    object["channel"] = header.channel.get().into();
    object["flags"] = flag_names(header.flags).into();
    object["line"] = row.line.map(|line| line.to_string()).into();
    object["received"] = row.received.into();
    object["since_previous_ns"] = row.timing.since_previous.into();
    object["one_way_ns"] = row.timing.one_way.into();
    object
}

fn kind(packet: &Packet<'_>) -> &'static str {
    if packet.header().flags & flags::LOCAL != 0 {
        "notice"
    } else if packet.header().is_heartbeat() {
        "heartbeat"
    } else {
        "packet"
    }
}

fn flag_names(bits: u8) -> Vec<&'static str> {
    [
        (flags::END_OF_SESSION, "EndOfSession"),
        (flags::LOCAL, "Local"),
        (
            !(flags::END_OF_SESSION | flags::LOCAL | flags::SEGMENT_END),
            "Unknown",
        ),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, name)| name)
    .collect()
}

/// Nanoseconds with their sign, in microseconds for people.
fn signed(nanos: Option<i64>) -> String {
    nanos.map_or(String::new(), |nanos| format!("{:.3} us", nanos as f64 / 1e3))
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
