//! The header, the example and the library, as a C compiler sees them. Skipped where there is none, but never in CI.

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use twinline::{TwinlineBest, TwinlineError, TwinlineEvent, TwinlineOptions, TwinlineQuote};
use twinline_journal::{JournalConfig, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_reader::{Event, Options, Reader, Start};
use twinline_wire::field::{Price, Side, Text};
use twinline_wire::market::{AddOrder, DeleteOrder, ExecuteOrder, InstrumentDefinition, PriceTick};
use twinline_wire::session::{EndOfSession, EpochStart, Lost};
use twinline_wire::{EventFlags, Message, OpenPacket, Stamp};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where cargo puts the libraries that this test is built beside.
fn libraries() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    own.parent().expect("it is in a directory").to_owned()
}

fn has_compiler() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "CI has a C compiler");
    if !found {
        eprintln!("skipped: there is no C compiler (cc)");
    }
    found
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output
}

/// Compiles `source`, with everything that a compiler can find fault with an error, and links what `link` says.
fn compile(dir: &Path, source: &str, standard: &str, link: &[&str]) -> PathBuf {
    let program = dir.join(format!("program-{}", link.len()));
    let include = here("include");
    let mut command = Command::new("cc");
    command
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(include)
        .arg(here(source));
    command.args(link).arg("-o").arg(&program);
    run(&mut command);
    program
}

macro_rules! fields {
    ($out:ident, $type:ident as $name:literal: $($field:ident),*) => {$(
        writeln!(
            $out,
            "{}.{} {} {}",
            $name,
            stringify!($field),
            offset_of!($type, $field),
            size_of_field(|value: &$type| &value.$field)
        )
        .expect("a string");
    )*};
}

fn size_of_field<T, F>(_: impl Fn(&T) -> &F) -> usize {
    size_of::<F>()
}

#[test]
fn both_compilers_lay_out_the_same_structs() {
    if !has_compiler() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = String::new();
    fields!(expected, TwinlineOptions as "twinline_options": version, start, overrun, wait, books, know_symbols, name,
        position, symbols, symbol_count, templates, template_count);
    fields!(expected, TwinlineEvent as "twinline_event": kind, template_id, origin, ends_event, session, epoch, sequence,
        sending_time, receive_time, instrument, best_changed, block, block_length, begin, end, end_session, writer, text);
    fields!(expected, TwinlineQuote as "twinline_quote": price, quantity, orders);
    fields!(expected, TwinlineBest as "twinline_best": bid, offer, flags, spare);
    writeln!(
        expected,
        "sizes {} {} {} {} {}",
        size_of::<TwinlineOptions>(),
        size_of::<TwinlineEvent>(),
        size_of::<TwinlineQuote>(),
        size_of::<TwinlineBest>(),
        size_of::<TwinlineError>()
    )
    .expect("a string");
    writeln!(
        expected,
        "messages {} {} {}",
        size_of::<AddOrder>(),
        size_of::<PriceTick>(),
        size_of::<Lost>()
    )
    .expect("a string");
    let program = compile(dir.path(), "tests/layout.c", "-std=c99", &[]);
    let output = run(&mut Command::new(program));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

/// A journal with two instruments' orders.
fn record(dir: &Path) {
    let config = JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: 1 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    };
    let mut writer = JournalWriter::open(dir, config).expect("a journal");
    let mut next = 1;
    let mut scratch = vec![0; 1408];
    let mut put = |push: &dyn Fn(&mut OpenPacket, &mut [u8])| {
        let mut open = OpenPacket::new();
        push(&mut open, &mut scratch);
        let stamp = Stamp {
            channel: 1,
            session: 5,
            epoch: 1,
            epoch_base: 1,
            sequence: next,
            sending_time: 1_000 * next,
            ..Stamp::default()
        };
        next += u64::from(open.count());
        let length = open.finish_whole(&mut scratch, stamp, 0);
        writer.append(&scratch[..length]).expect("it is appended");
    };
    let end = EventFlags::END_OF_EVENT;
    put(&|open, out| {
        let start = EpochStart {
            valid_end: 1.into(),
            epoch: 1.into(),
        };
        assert!(open.push(out, &start));
    });
    for (number, symbol) in [(65_537_u32, "AAPL"), (65_538, "MSFT")] {
        put(&|open, out| {
            let definition = InstrumentDefinition {
                instrument: number.into(),
                symbol: Text::new(symbol.as_bytes()),
                flags: end,
                ..InstrumentDefinition::NULL
            };
            assert!(open.push(out, &definition));
        });
    }
    for order in 1..=300_u64 {
        let instrument = 65_537 + (order % 2) as u32;
        put(&|open, out| {
            let add = AddOrder {
                order_id: order.into(),
                price: Price::new((100 + (order * 7 % 13) as i64) * 500_000_000),
                quantity: (order as u32 * 10).into(),
                instrument: instrument.into(),
                side: if order % 3 == 0 { Side::SELL } else { Side::BUY },
                flags: end,
                ..AddOrder::NULL
            };
            assert!(open.push(out, &add));
        });
        if order % 4 == 0 {
            put(&|open, out| {
                let execute = ExecuteOrder {
                    order_id: order.into(),
                    quantity: 5.into(),
                    instrument: instrument.into(),
                    ..ExecuteOrder::NULL
                };
                let delete = DeleteOrder {
                    order_id: (order - 2).into(),
                    instrument: (65_537 + (order % 2) as u32).into(),
                    flags: end,
                    ..DeleteOrder::NULL
                };
                assert!(open.push(out, &execute) && open.push(out, &delete));
            });
        }
    }
    put(&|open, out| {
        assert!(open.push(
            out,
            &EndOfSession {
                source_messages: 300.into()
            }
        ))
    });
}

/// What the example is to print, by the Rust library.
fn expected(journal: &Path) -> String {
    let options = Options {
        start: Start::Oldest,
        ..Options::default()
    };
    let mut reader = Reader::open_journal(journal, options).expect("the journal is there");
    let mut out = String::new();
    while let Some(event) = reader.poll().expect("it can be read") {
        let Event::Message(message) = event else { continue };
        let (Some(_), Some(book)) = (message.change, message.book()) else {
            continue;
        };
        let quote = |quote: Option<twinline_reader::book::Quote>| match quote {
            None => " -".to_owned(),
            Some(quote) => {
                let price = quote.price.mantissa();
                format!(
                    " {}@{}.{:09}",
                    quote.quantity,
                    price / 1_000_000_000,
                    price % 1_000_000_000
                )
            }
        };
        let best = book.best();
        let crossed = if best.is_crossed() { " crossed" } else { "" };
        let place = format!("{}:{}:{}", message.session, message.epoch, message.sequence);
        let (bid, offer) = (quote(best.bid), quote(best.offer));
        writeln!(out, "{place} {}{bid}{offer}{crossed}", book.symbol()).expect("a string");
    }
    out
}

#[test]
fn the_example_prints_what_the_rust_library_says_statically_and_dynamically_linked() {
    if !has_compiler() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    record(&journal);
    let expected = expected(&journal);
    assert!(expected.lines().count() > 20, "{expected}");
    let libraries = libraries();
    let archive = libraries.join("libtwinline.a");
    let archive = archive.to_str().expect("a path in UTF-8");
    let search = format!("-L{}", libraries.display());
    let system = ["-lpthread", "-ldl", "-lm"];
    let statically = [&[archive][..], &system].concat();
    let dynamically = [search.as_str(), "-ltwinline"];
    for link in [&statically[..], &dynamically] {
        let program = compile(dir.path(), "examples/best_bid_offer.c", "-std=c99", link);
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", &libraries)
            .arg("journal")
            .arg(&journal);
        let output = run(&mut command);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{link:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("position 5:1:"), "{error}");
        let one = run(command.arg("MSFT"));
        let of_one: String = expected
            .lines()
            .filter(|line| line.contains("MSFT"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(String::from_utf8_lossy(&one.stdout), of_one);
    }
    let program = dir.path().join("program-2");
    let mut command = Command::new(program);
    command
        .env("LD_LIBRARY_PATH", &libraries)
        .args(["ring", "/nowhere", "1"]);
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && error.contains("is a listener running"),
        "{error}"
    );
}

#[test]
fn the_headers_are_cplusplus_too() {
    if !has_compiler() || Command::new("c++").arg("--version").output().is_err() {
        return;
    }
    let mut command = Command::new("c++");
    command
        .args([
            "-std=c++11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fsyntax-only",
            "-x",
            "c++",
            "-I",
        ])
        .arg(here("include"))
        .arg(here("include/twinline.h"));
    // A header that is compiled by itself earns a warning about that alone.
    let output = command.output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || error.contains("pragma once"),
        "{error}"
    );
}
