//! Golden bytes: a packet with every template of the lines, every notice, every frame of the recovery protocol, and
//! what they decode to; and the tables and the dump in `docs/protocol.md`. All is kept in files, so that no change of a
//! byte goes unseen, and so that `.ci/sbe_check.py` can decode the same bytes with another project's SBE code.
//!
//! `TWINLINE_REGENERATE=1 cargo test -p twinline-wire --test golden` writes the files anew.

mod annotate;
mod decode;
mod document;
mod samples;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use twinline_wire::message::TEMPLATES;
use twinline_wire::stream::StreamFrame;
use twinline_wire::{Packet, header};

/// A file of this repository.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Holds the file `name` to `content`; writes it instead if told to.
fn keep(name: &str, content: &str) {
    if std::env::var_os("TWINLINE_REGENERATE").is_some() {
        fs::write(path(name), content).expect("the file can be written");
        return;
    }
    let kept = fs::read_to_string(path(name)).unwrap_or_default();
    let differs = kept
        .lines()
        .zip(content.lines())
        .position(|(kept, new)| kept != new);
    assert!(
        kept == content,
        "{name} differs from line {} on; if that is meant, run the test with TWINLINE_REGENERATE=1 and read the diff",
        differs.map_or(kept.lines().count().min(content.lines().count()), |at| at) + 1
    );
}

/// Packets back to back, each at a 64-byte boundary, as in a journal.
fn walk_packets(bytes: &[u8]) -> Vec<Packet<'_>> {
    let mut packets = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let packet = Packet::parse_prefix(&bytes[at..]).expect("a golden packet is sound");
        at += header::align_up(packet.bytes().len());
        packets.push(packet);
    }
    packets
}

fn walk_stream(mut bytes: &[u8]) -> Vec<StreamFrame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, length) = StreamFrame::split(bytes, bytes.len())
            .expect("a golden frame is sound")
            .expect("and whole");
        frames.push(frame);
        bytes = &bytes[length..];
    }
    frames
}

/// The hex files: their name and bytes.
fn files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("line", samples::line_packet()),
        ("notices", samples::notices()),
        ("heartbeats", samples::heartbeats()),
    ]
}

#[test]
fn the_bytes_of_every_template_stay_what_they_are() {
    for (name, bytes) in files() {
        keep(&format!("tests/golden/{name}.hex"), &annotate::packets(&bytes));
    }
    keep("tests/golden/stream.hex", &annotate::stream(&samples::stream()));
}

#[test]
fn what_the_golden_bytes_decode_to_stays_what_it_is() {
    let mut all = serde_json::Map::new();
    for (name, bytes) in files() {
        let packets = walk_packets(&bytes).iter().map(decode::packet).collect();
        all.insert(name.to_owned(), serde_json::Value::Array(packets));
    }
    let stream = samples::stream();
    let frames = walk_stream(&stream).iter().map(decode::stream_frame).collect();
    all.insert("stream".to_owned(), serde_json::Value::Array(frames));
    let text = serde_json::to_string_pretty(&all).expect("JSON can be written");
    keep("tests/golden/expected.json", &(text + "\n"));
}

#[test]
fn no_template_is_left_out() {
    let mut seen = BTreeSet::new();
    for (_, bytes) in files() {
        for packet in walk_packets(&bytes) {
            seen.extend(packet.messages().map(|(_, frame)| frame.template()));
        }
    }
    seen.extend(walk_stream(&samples::stream()).iter().map(StreamFrame::template));
    assert_eq!(seen, TEMPLATES.iter().map(|def| def.template).collect());
}

#[test]
fn an_annotated_dump_holds_the_bytes_that_it_explains() {
    let bytes = samples::line_packet();
    let read: Vec<u8> = annotate::packets(&bytes)
        .lines()
        .filter_map(|line| Some(line.split_once('#')?.0.split_once(':')?.1))
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
        .collect();
    assert_eq!(read, bytes);
}

#[test]
fn the_protocol_document_shows_the_schema_and_a_real_packet() {
    let name = "../../docs/protocol.md";
    let text = fs::read_to_string(path(name)).expect("docs/protocol.md is there");
    keep(name, &document::with_generated_parts(&text));
}
