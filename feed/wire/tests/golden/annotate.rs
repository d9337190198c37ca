//! Hex dumps with an explanation of every byte: `offset: bytes # what they are`.

use crate::support::camel;
use std::fmt::Write;
use twinline_wire::PacketHeader;
use twinline_wire::field::Kind;
use twinline_wire::header::{HEADER_LEN, align_up};
use twinline_wire::message::{FRAME_HEADER_LEN, Message, MessageDef, SbeHeader, Value, template, values};
use twinline_wire::recovery::{Range, RangesRequest};
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN};

/// Bytes a line.
const WIDTH: usize = 16;

/// A dump that grows.
struct Dump<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Dump<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            text: String::new(),
        }
    }

    /// The next `length` bytes, explained.
    fn put(&mut self, length: usize, what: &str) {
        for (line, bytes) in self.bytes[self.at..self.at + length].chunks(WIDTH).enumerate() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let what = if line == 0 { what } else { "  …" };
            let offset = self.at + line * WIDTH;
            writeln!(self.text, "{offset:04x}: {:<47} # {what}", hex.join(" ")).expect("a string grows");
        }
        self.at += length;
    }

    fn header(&mut self) {
        let (header, at) = (self.bytes, self.at);
        let number = |offset: usize, size: usize| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(&header[at + offset..at + offset + size]);
            u64::from_le_bytes(word)
        };
        macro_rules! fields {
            ($($name:ident),*) => {
                [$((stringify!($name), std::mem::offset_of!(PacketHeader, $name))),*]
            };
        }
        let fields = fields!(
            magic,
            version,
            flags,
            channel,
            count,
            session,
            epoch,
            sequence,
            sending_time,
            epoch_base,
            length,
            spare,
            checksum
        );
        let ends = fields[1..].iter().map(|(_, end)| *end).chain([HEADER_LEN]);
        for ((name, start), end) in fields.iter().zip(ends) {
            let value = number(*start, end - start);
            let shown = match *name {
                "magic" => "\"TW\"".to_owned(),
                "checksum" => format!("{value:#010x}"),
                _ => value.to_string(),
            };
            self.put(end - start, &format!("{} = {shown}", camel(name)));
        }
    }

    /// A frame's header of this many bytes, and the block; returns the template.
    fn message(&mut self, header_length: usize) -> Option<&'static MessageDef> {
        let sbe_at = self.at + header_length - size_of::<SbeHeader>();
        let word = |at: usize| u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
        let (block_length, id) = (usize::from(word(sbe_at)), word(sbe_at + 2));
        let definition = template(id);
        let name = definition.map_or("unknown", |def| def.name);
        let length = word(self.at);
        let (schema, version) = (word(sbe_at + 4), word(sbe_at + 6));
        self.put(
            header_length,
            &format!("{name}: frame of {length}, block of {block_length}, template {id}, schema {schema} version {version}"),
        );
        let block = &self.bytes[self.at..self.at + block_length];
        let fields = definition.map_or(&[][..], |def| def.fields);
        for (field, (name, value)) in fields.iter().zip(values(definition, block)) {
            self.put(
                field.kind.size(),
                &format!("  {} = {}", camel(name), show(value, field.kind)),
            );
        }
        definition
    }

    /// Zero bytes up to `end`.
    fn padding(&mut self, end: usize, what: &str) {
        self.put(end - self.at, what);
    }
}

fn show(value: Value<'_>, kind: Kind) -> String {
    match (value, kind) {
        (Value::Absent, _) => "absent".to_owned(),
        (Value::Unsigned(number), _) => number.to_string(),
        (Value::Price(price), _) => price.to_string(),
        (Value::Text(text), _) => format!("{text:?}"),
        (Value::Code(name), _) => name.to_owned(),
        (Value::Flags(bits, def), _) => {
            let names: Vec<_> = def
                .values
                .iter()
                .filter(|(bit, _)| bits >> bit & 1 == 1)
                .map(|(_, name)| *name)
                .collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        }
    }
}

/// A dump of packets back to back at 64-byte boundaries.
pub(crate) fn packets(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    while dump.at < bytes.len() {
        let start = dump.at;
        let packet = twinline_wire::Packet::parse_prefix(&bytes[start..]).expect("a golden packet is sound");
        dump.header();
        for _ in packet.messages() {
            dump.message(FRAME_HEADER_LEN);
        }
        dump.padding(start + packet.bytes().len(), "padding");
        dump.padding(align_up(dump.at).min(bytes.len()), "up to the next packet");
    }
    dump.text
}

/// A dump of frames of the recovery protocol.
pub(crate) fn stream(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    while dump.at < bytes.len() {
        let start = dump.at;
        let length = u32::from_le_bytes(bytes[start..start + 4].try_into().expect("four bytes")) as usize;
        let definition = dump
            .message(STREAM_HEADER_LEN)
            .expect("a golden frame is of a known template");
        if definition.template == RangesRequest::TEMPLATE {
            dump.put(size_of::<GroupHeader>(), "  ranges: bytes of an entry, entries");
            while dump.at < start + length {
                dump.put(size_of::<Range>(), "    begin, end");
            }
        }
        while dump.at < start + length {
            let size = u32::from_le_bytes(bytes[dump.at..dump.at + 4].try_into().expect("four bytes"));
            dump.put(4, &format!("  data of {size} bytes"));
            dump.put(size as usize, "    …");
        }
    }
    dump.text
}
