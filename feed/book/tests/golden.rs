//! Golden bytes of a snapshot, and the tables of its parts in `docs/protocol.md`: kept in files, so that no change of a
//! byte goes unseen. The dump is explained by walking the bytes by those tables alone, as another reader would.
//!
//! `TWINLINE_REGENERATE=1 cargo test -p twinline-book --test golden` writes the files anew.

mod support;

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use support::{Act, Step, apply, everything};
use twinline_book::Books;
use twinline_book::snapshot::{LAYOUT, Place, decode, encode};
use twinline_wire::Side;
use twinline_wire::message::{TEMPLATES, Value, values};

const DOCUMENT: &str = "../../docs/protocol.md";
const GOLDEN: &str = "tests/golden/snapshot.hex";
/// The messages that a record may have, by the bits that say so.
const MESSAGES: [&str; 6] = [
    "InstrumentDefinition",
    "TradingStatus",
    "PriceTick",
    "Trade",
    "BestBidOffer",
    "Imbalance",
];

/// Holds a file of this repository to `content`; writes it instead if told to.
fn keep(name: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("TWINLINE_REGENERATE").is_some() {
        fs::write(path, content).expect("the file can be written");
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == content,
        "{name} is another; if that is meant, run the test with TWINLINE_REGENERATE=1 and read the diff"
    );
}

fn sample() -> Vec<u8> {
    let mut books = Books::new();
    everything(&mut books, 1 << 16 | 2);
    let add = |id, side, price, quantity| Step {
        instrument: 1 << 16 | 14,
        id,
        act: Act::Add {
            side,
            price,
            quantity,
        },
    };
    for step in [
        add(16_113_575, Side::BUY, 585_330_000_000, 18),
        add(16_113_576, Side::BUY, 585_330_000_000, 100),
        add(16_113_590, Side::BUY, 585_310_000_000, 5),
        add(16_113_584, Side::SELL, 585_910_000_000, 18),
        Step {
            act: Act::Delete,
            ..add(7, Side::BUY, 0, 0)
        },
    ] {
        apply(&mut books, &step, 34_200_004_241_176);
    }
    let place = Place {
        channel: 1,
        session: 20_120_621,
        epoch: 2,
        epoch_base: 1025,
        sequence: 1736,
    };
    encode(&books, &place)
}

/// The bytes that are not explained yet, and what was said of those before.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl Walk<'_> {
    fn put(&mut self, length: usize, what: &str) -> u64 {
        let bytes = &self.bytes[self.at..self.at + length];
        for (line, bytes) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let what = if line == 0 { what } else { "  …" };
            let offset = self.at + line * 16;
            writeln!(self.text, "{offset:04x}: {:<47} # {what}", hex.join(" ")).expect("a string grows");
        }
        self.at += length;
        let mut word = [0; 8];
        let copied = length.min(8);
        word[..copied].copy_from_slice(&bytes[..copied]);
        u64::from_le_bytes(word)
    }

    /// A fixed part; returns its fields as numbers.
    fn part(&mut self, name: &str) -> HashMap<&'static str, u64> {
        let (_, fields) = LAYOUT.iter().find(|(known, _)| *known == name).expect("a part");
        let mut numbers = HashMap::new();
        for field in *fields {
            let mut word = [0; 8];
            let bytes = &self.bytes[self.at..self.at + field.size];
            word[..field.size.min(8)].copy_from_slice(&bytes[..field.size.min(8)]);
            let value = u64::from_le_bytes(word);
            let shown = match field.name {
                "checksum" => format!("{value:#010x}"),
                "magic" | "participant" => format!("{:?}", String::from_utf8_lossy(bytes)),
                _ => value.to_string(),
            };
            self.put(field.size, &format!("{name} {} = {shown}", camel(field.name)));
            numbers.insert(field.name, value);
        }
        numbers
    }

    fn message(&mut self, name: &str) {
        let definition = TEMPLATES.iter().find(|def| def.name == name).expect("a message");
        let block = &self.bytes[self.at..self.at + definition.block_length];
        let mut what = format!("  {name}:");
        for (field, value) in values(Some(definition), block) {
            let shown = match value {
                Value::Absent | Value::Flags(0, _) => continue,
                Value::Unsigned(number) => number.to_string(),
                Value::Price(price) => price.to_string(),
                Value::Text(text) => format!("{text:?}"),
                Value::Code(name) => name.to_owned(),
                Value::Flags(bits, _) => format!("{bits:#04b}"),
            };
            write!(what, " {}={shown}", camel(field)).expect("a string grows");
        }
        self.put(definition.block_length, &what);
    }
}

/// The dump of a snapshot.
fn explained(bytes: &[u8]) -> String {
    let mut walk = Walk {
        bytes,
        at: 0,
        text: String::new(),
    };
    let header = walk.part("header");
    for _ in 0..header["sources"] {
        let source = walk.part("source");
        if source["present"] & 2 != 0 {
            walk.message("TradingStatus");
        }
    }
    for _ in 0..header["instruments"] {
        let head = walk.part("instrument");
        for (bit, message) in MESSAGES.iter().enumerate() {
            if head["present"] & 1 << bit != 0 {
                walk.message(message);
            }
        }
        for _ in 0..head["bid_levels"] + head["offer_levels"] {
            let level = walk.part("level");
            for _ in 0..level["orders"] {
                walk.part("order");
            }
        }
        walk.part("tallies");
    }
    assert_eq!(walk.at, bytes.len());
    walk.text
}

/// A Rust name as the document writes it.
fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(1);
        name + &initial.to_uppercase() + rest
    })
}

fn table(name: &str) -> String {
    let (_, fields) = LAYOUT
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("no part is called {name:?}"));
    let mut out = String::from("| offset | size | field | |\n| ---: | ---: | --- | --- |\n");
    for field in *fields {
        let (name, text) = (camel(field.name), field.text.trim());
        writeln!(out, "| {} | {} | `{name}` | {text} |", field.offset, field.size).expect("a string grows");
    }
    out
}

/// The document with its tables of a snapshot's parts made anew.
fn with_tables(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut tables = 0;
    while let Some((before, after)) = rest.split_once("<!-- layout ") {
        let (name, after) = after.split_once(" -->").expect("a mark is closed");
        let (_, after) = after
            .split_once("<!-- layout end -->")
            .expect("a table is closed");
        write!(
            out,
            "{before}<!-- layout {name} -->\n{}<!-- layout end -->",
            table(name)
        )
        .expect("it grows");
        rest = after;
        tables += 1;
    }
    assert_eq!(tables, LAYOUT.len(), "every part is in {DOCUMENT}, once");
    out + rest
}

#[test]
fn the_bytes_of_a_snapshot_stay_what_they_are() {
    let bytes = sample();
    keep(GOLDEN, &explained(&bytes));
    assert_eq!(decode(&bytes).expect("sound").books.live_orders(), 4);
}

#[test]
fn the_protocol_document_shows_the_parts_of_a_snapshot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = fs::read_to_string(path).expect("docs/protocol.md is there");
    keep(DOCUMENT, &with_tables(&text));
}
