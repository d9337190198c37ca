//! From an arrival, which is bytes that came from somewhere, to what is shown and counted of it.

use super::filter::{Filter, Flow, Symbols};
use super::format::{Row, What, Writer};
use super::stats::Stats;
use crate::exit::Failure;
use crate::summary::{Counts, Summary};
use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::ops::ControlFlow;
use twinline_line::{Line, LineAddress};
use twinline_wire::header::MAGIC;
use twinline_wire::{Packet, PacketError, flags};

/// Bytes that may be a packet, and what is known of how they came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival<'a> {
    /// The datagram, or the packet of a journal.
    pub(crate) bytes: &'a [u8],
    /// Its number in the capture, from 1; of other inputs, how many came before it and itself.
    pub(crate) number: u64,
    /// When it was received, in nanoseconds since the Unix epoch.
    pub(crate) received: Option<u64>,
    /// Where it was sent to.
    pub(crate) destination: Option<SocketAddrV4>,
    /// The capture's name of the interface that it came on.
    pub(crate) interface: &'a str,
}

/// Times of a packet beside those of others, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// Since the packet before it of the same channel and line: by receive time, or in a journal by sending time.
    pub(crate) since_previous: Option<i64>,
    /// Receive time minus sending time.
    pub(crate) one_way: Option<i64>,
}

/// What to show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Show {
    /// Packets' headers rather than messages.
    pub(crate) packets: bool,
    /// Heartbeats too.
    pub(crate) heartbeats: bool,
    /// Malformed packets too.
    pub(crate) malformed: bool,
    /// Nothing but the sums.
    pub(crate) stats: bool,
}

/// Decodes arrivals in order.
pub(crate) struct Decoder {
    filter: Filter,
    show: Show,
    limit: u64,
    lines: Lines,
    symbols: Symbols,
    writer: Writer,
    pub(super) stats: Stats,
    /// Time of the last packet by channel and line.
    last: HashMap<(u16, Option<Line>), u64>,
    /// Packets without a message of ours, by why.
    skipped: Counts,
    malformed: Counts,
    packets: u64,
    bytes: u64,
    messages: u64,
    shown: u64,
}

impl Decoder {
    pub(crate) fn new(
        filter: Filter,
        show: Show,
        limit: Option<u64>,
        lines: [Option<LineAddress>; 2],
        writer: Writer,
    ) -> Self {
        Self {
            filter,
            show,
            limit: limit.unwrap_or(u64::MAX),
            lines: Lines {
                named: lines,
                seen: HashMap::new(),
            },
            symbols: Symbols::default(),
            writer,
            stats: Stats::default(),
            last: HashMap::new(),
            skipped: Counts::new(),
            malformed: Counts::new(),
            packets: 0,
            bytes: 0,
            messages: 0,
            shown: 0,
        }
    }

    /// From now on only these sequences of this session are shown.
    pub(crate) fn limit_to(&mut self, session: u32, sequences: (u64, u64)) {
        self.filter.limit_to(session, sequences);
    }

    /// Counts a captured packet that holds no datagram for us.
    pub(crate) fn skip(&mut self, why: &str) {
        *self.skipped.entry(why.into()).or_default() += 1;
    }

    /// What was written so far is seen.
    pub(crate) fn flush(&mut self) -> Result<Flow, Failure> {
        self.writer.flush()
    }

    /// Takes an arrival; breaks if no more are wanted.
    pub(crate) fn arrival(&mut self, arrival: &Arrival<'_>) -> Result<Flow, Failure> {
        if self.lines.are_others(arrival) {
            self.skip("other_destination");
            return Ok(ControlFlow::Continue(()));
        }
        if !arrival.bytes.starts_with(&MAGIC.to_le_bytes()) {
            self.skip("not_twinline");
            return Ok(ControlFlow::Continue(()));
        }
        let packet = match Packet::parse(arrival.bytes) {
            Ok(packet) => packet,
            Err(error) => return self.malformed(arrival, error),
        };
        if packet.header().flags & flags::SEGMENT_END != 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let line = self.lines.of(arrival, packet.header().channel.get());
        let timing = self.timing(&packet, arrival, line);
        self.symbols.learn(&packet);
        let taken = self.filter.takes_packet(&packet, line);
        if taken {
            self.packets += 1;
            self.bytes += arrival.bytes.len() as u64;
            self.stats.packet(&packet, line, arrival.received, timing);
        }
        let row = Row {
            packet: &packet,
            number: arrival.number,
            line,
            received: arrival.received,
            timing,
        };
        if packet.header().is_heartbeat() {
            let wanted = taken && self.show.heartbeats && self.filter.takes_empty(&packet);
            return if wanted {
                self.put(&row, What::Packet)
            } else {
                Ok(ControlFlow::Continue(()))
            };
        }
        self.messages_of(&row, taken)
    }

    fn messages_of(&mut self, row: &Row<'_>, taken: bool) -> Result<Flow, Failure> {
        let mut of_packet = 0;
        for (sequence, frame) in row.packet.messages() {
            let taken = taken && self.filter.takes_message(sequence, &frame, &self.symbols);
            if taken {
                self.messages += 1;
                of_packet += 1;
                let number = frame.instrument();
                let symbol = number.and_then(|number| self.symbols.name(number));
                self.stats.message(row.packet, &frame, number, symbol);
            }
            if self.writer.is_lobster() && !self.show.stats {
                // Orders are followed whether their rows are shown or not.
                if self
                    .writer
                    .lobster(row.packet, sequence, &frame, taken)?
                    .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                self.shown = self.writer.lobster_rows();
            } else if taken && !self.show.packets && self.put(row, What::Message(sequence, frame))?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if self.shown >= self.limit {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.show.packets && of_packet > 0 && !self.writer.is_lobster() {
            return self.put(row, What::Packet);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows a row, unless only sums are wanted.
    fn put(&mut self, row: &Row<'_>, what: What<'_>) -> Result<Flow, Failure> {
        self.shown += 1;
        if !self.show.stats && self.writer.row(row, what)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        Ok(if self.shown >= self.limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn malformed(&mut self, arrival: &Arrival<'_>, error: PacketError) -> Result<Flow, Failure> {
        *self
            .malformed
            .entry(error.to_string().replace(' ', "_"))
            .or_default() += 1;
        if !self.show.malformed || self.show.stats {
            return Ok(ControlFlow::Continue(()));
        }
        self.writer.malformed(arrival, error)
    }

    fn timing(&mut self, packet: &Packet<'_>, arrival: &Arrival<'_>, line: Option<Line>) -> Timing {
        let sent = packet.header().sending_time.get();
        let now = arrival.received.unwrap_or(sent);
        let before = self.last.insert((packet.header().channel.get(), line), now);
        Timing {
            since_previous: before.map(|before| now.wrapping_sub(before) as i64),
            one_way: arrival
                .received
                .map(|received| received.wrapping_sub(sent) as i64),
        }
    }

    /// Writes what was done into the summary.
    pub(crate) fn finish(&mut self, summary: &mut Summary) {
        summary.messages = self.messages;
        summary.packets = self.packets;
        summary.bytes = self.bytes;
        summary.set("shown", self.shown);
        summary.set("skipped", &self.skipped);
        summary.set("malformed", &self.malformed);
        let (without, instruments) = self.writer.without_rows();
        if self.writer.is_lobster() {
            summary.set("no_lobster_row", without);
            summary.set("lobster_instruments", instruments);
        }
    }

    /// Malformed and skipped packets in words, for people; nothing if there were none.
    pub(crate) fn remarks(&self) -> Vec<String> {
        use crate::summary::show_counts;
        let mut remarks = Vec::new();
        if !self.malformed.is_empty() {
            remarks.push(format!(
                "malformed packets: {} (--malformed shows them)",
                show_counts(self.malformed.iter())
            ));
        }
        if !self.skipped.is_empty() {
            remarks.push(format!(
                "packets that are not ours: {}",
                show_counts(self.skipped.iter())
            ));
        }
        let (without, instruments) = self.writer.without_rows();
        if self.writer.is_lobster() && instruments > 1 {
            remarks.push(format!(
                "the rows are of {instruments} instruments, and LOBSTER's format does not name them: choose with --symbol"
            ));
        }
        if self.writer.is_lobster() && !without.is_empty() {
            remarks.push(format!(
                "messages that have no row in LOBSTER's format: {}",
                show_counts(without.iter())
            ));
        }
        remarks
    }
}

/// Tells on which line a packet came.
struct Lines {
    /// As the command line names them.
    named: [Option<LineAddress>; 2],
    /// Destinations of each channel in the order in which they were seen.
    seen: HashMap<u16, Vec<SocketAddrV4>>,
}

impl Lines {
    fn is_at(&self, line: Line, destination: SocketAddrV4) -> bool {
        self.named[line.index()]
            .as_ref()
            .is_some_and(|named| named.group == *destination.ip() && named.port == destination.port())
    }

    /// True if the lines are named and this is neither.
    fn are_others(&self, arrival: &Arrival<'_>) -> bool {
        let named = self.named.iter().any(Option::is_some);
        arrival
            .destination
            .is_some_and(|to| named && !Line::ALL.iter().any(|line| self.is_at(*line, to)))
    }

    /// By the addresses on the command line; else by the name of the capture's interface; else by destination, the first
    /// one seen of a channel being line A's.
    fn of(&mut self, arrival: &Arrival<'_>, channel: u16) -> Option<Line> {
        let to = arrival.destination?;
        if self.named.iter().any(Option::is_some) {
            return Line::ALL.into_iter().find(|line| self.is_at(*line, to));
        }
        match arrival.interface {
            "line A" | "line-a" => return Some(Line::A),
            "line B" | "line-b" => return Some(Line::B),
            _ => {}
        }
        let seen = self.seen.entry(channel).or_default();
        let at = seen.iter().position(|known| *known == to).unwrap_or_else(|| {
            // More than two tell no line; they need not be remembered.
            if seen.len() < 2 {
                seen.push(to);
                seen.len() - 1
            } else {
                2
            }
        });
        Line::ALL.get(at).copied()
    }
}
