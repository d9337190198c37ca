//! Files that are whole, cut, corrupt or hostile, and real data.

use super::Encoder;
use crate::source::itch::{ItchFile, translate};
use crate::source::pace::Pace;
use crate::source::{Outcome, Recorder, Source, SourceError, SourceState};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use twinline_wire::field::{CrossKind, ImbalanceSide, Optional, Price};
use twinline_wire::{Message, market};
use zerocopy::FromBytes;

proptest! {
    #[test]
    fn any_bytes_never_panic_and_every_message_is_counted(bytes in proptest::collection::vec(any::<u8>(), 1..4000)) {
        let mut sink = Recorder::default();
        translate(1, &bytes, &mut sink);
        let mut file = from_bytes(bytes);
        while !matches!(file.poll(0, &mut sink), Ok(SourceState::End)) {}
        let counted: u64 = file.counts().iter().map(|count| count.messages).sum();
        prop_assert_eq!(counted, file.position());
    }
}

/// Messages behind their lengths.
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat())
        .collect()
}

/// `n` deletes of orders 0, 1, 2 …: 21 bytes each in a file.
fn deletes(n: u64) -> Vec<Vec<u8>> {
    (0..n)
        .map(|order| Encoder::new(b'D', 1, order).u64(order).0)
        .collect()
}

fn from_bytes(bytes: Vec<u8>) -> ItchFile {
    ItchFile::over(Path::new("memory"), 1, Pace::Max, io::Cursor::new(bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `bytes` as a file that is opened and read to its end, or to where it breaks.
fn read_file(bytes: &[u8]) -> (ItchFile, Recorder, Result<(), SourceError>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut itch = ItchFile::open(file.path(), 1, Pace::Max).unwrap();
    let mut sink = Recorder::default();
    let result = run(&mut itch, &mut sink);
    (itch, sink, result)
}

fn run(source: &mut ItchFile, sink: &mut Recorder) -> Result<(), SourceError> {
    loop {
        match source.poll(0, sink)? {
            SourceState::Ready => {}
            SourceState::End => return Ok(()),
            SourceState::Idle { .. } => unreachable!("at full speed nothing is waited for"),
        }
    }
}

#[test]
fn a_file_is_read_whole_plain_or_gzip_of_one_or_several_members() {
    let bytes = framed(&deletes(20_000));
    let half = 20_000 / 2 * 21 + 5;
    let members = [gzip(&bytes[..half]), gzip(&bytes[half..])].concat();
    for content in [bytes.clone(), gzip(&bytes), members] {
        let (file, sink, result) = read_file(&content);
        result.unwrap();
        assert_eq!((file.position(), sink.events.len()), (20_000, 20_000));
        assert!(
            sink.events
                .iter()
                .zip(1..)
                .all(|(event, position)| event.position == position)
        );
    }
}

#[test]
fn a_cut_file_is_published_up_to_the_cut_and_the_break_is_reported_with_its_offset() {
    let bytes = framed(&deletes(1_000));
    for (cut, messages, reason) in [
        (999 * 21 + 20, 999, "18 bytes of a message of 19"),
        (999 * 21 + 2, 999, "0 bytes of a message of 19"),
        (500 * 21 + 1, 500, "within a message's length"),
    ] {
        let (mut file, mut sink, result) = read_file(&bytes[..cut]);
        let error = result.unwrap_err();
        let SourceError::Broken {
            offset,
            messages: whole,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((offset, whole), (messages * 21, messages));
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(sink.events.len() as u64, messages);
        assert_eq!(file.poll(0, &mut sink).unwrap(), SourceState::End, "told once");
    }
}

#[test]
fn a_gzip_that_is_cut_or_corrupt_breaks_with_what_could_be_read_published() {
    let bytes = framed(&deletes(50_000));
    let whole = gzip(&bytes);
    let (_, sink, result) = read_file(&whole[..whole.len() / 2]);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("the gzip data is cut off"), "{error}");
    assert!(sink.events.len() > 10_000, "{}", sink.events.len());

    let mut wrong_checksum = whole.clone();
    let at = whole.len() - 6;
    wrong_checksum[at] ^= 1;
    let (_, sink, result) = read_file(&wrong_checksum);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("the gzip data is corrupt"), "{error}");
    assert!(error.contains(&format!("byte {}", bytes.len())), "{error}");
    assert_eq!(sink.events.len(), 50_000);

    let garbage_after = [&whole[..], b"garbage"].concat();
    let (_, sink, result) = read_file(&garbage_after);
    assert!(result.is_err());
    assert_eq!(sink.events.len(), 50_000);
}

#[test]
fn a_length_of_zero_breaks_the_file() {
    let mut bytes = framed(&deletes(3));
    bytes.extend([0, 0]);
    bytes.extend(framed(&deletes(3)));
    let (_, sink, result) = read_file(&bytes);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("length 0") && error.contains("byte 63"), "{error}");
    assert!(error.contains("after message 3"), "{error}");
    assert_eq!(sink.events.len(), 3);
}

#[test]
fn a_missing_file_a_directory_and_an_empty_file_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| ItchFile::open(path, 1, Pace::Max).err().unwrap();
    let missing = open(&directory.path().join("none.itch50"));
    assert!(matches!(missing, SourceError::Open { .. }));
    assert!(missing.to_string().contains("none.itch50"));
    assert!(matches!(open(directory.path()), SourceError::Open { .. }));
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(open(empty.path()), SourceError::Empty { .. }));
}

#[test]
fn messages_without_a_template_move_the_position_and_are_counted_by_type() {
    let short = Encoder::new(b'D', 1, 1).u32(5).0;
    let messages = [
        Encoder::new(b'V', 0, 1).u64(1).u64(2).u64(3).0,
        Encoder::new(b'D', 1, 1).u64(5).0,
        Encoder::new(b'z', 1, 1).0,
        short,
        vec![7],
        Encoder::new(b'D', 1, 1).u64(6).0,
        Encoder::new(b'W', 1, 1).u8(b'1').0,
    ];
    let (file, sink, result) = read_file(&framed(&messages));
    result.unwrap();
    let events: Vec<_> = sink
        .events
        .iter()
        .map(|event| (event.position, event.messages.len()))
        .collect();
    assert_eq!(
        events,
        [(2, 1), (6, 1), (7, 0)],
        "the end is told without a message"
    );
    let counts = file.counts();
    let summary: Vec<_> = counts
        .iter()
        .map(|count| (count.kind.as_str(), count.outcome, count.messages, count.first))
        .collect();
    assert_eq!(
        summary,
        [
            ("0x07", Outcome::UnknownType, 1, 4),
            ("D", Outcome::Published, 2, 1),
            ("D", Outcome::WrongLength, 1, 3),
            ("V", Outcome::NoTemplate, 1, 0),
            ("W", Outcome::NoTemplate, 1, 6),
            ("z", Outcome::UnknownType, 1, 2),
        ]
    );
}

#[test]
fn the_longest_messages_fit_the_buffer() {
    let messages: Vec<_> = (0..10).map(|_| vec![b'z'; 65_535]).chain(deletes(1)).collect();
    let (file, sink, result) = read_file(&framed(&messages));
    result.unwrap();
    assert_eq!((file.position(), sink.events.len()), (11, 1));
}

#[test]
fn a_resumed_run_says_exactly_what_an_uninterrupted_one_would_have_said_next() {
    let bytes = framed(&deletes(100));
    let (_, whole, _) = read_file(&bytes);
    for position in [0, 1, 50, 99, 100] {
        let mut rest = from_bytes(bytes.clone());
        rest.resume(position).unwrap();
        let mut sink = Recorder::default();
        run(&mut rest, &mut sink).unwrap();
        assert_eq!(sink.events, whole.events[position as usize..]);
        assert_eq!(rest.position(), 100);
    }
    let error = from_bytes(bytes).resume(101).unwrap_err();
    assert!(matches!(
        error,
        SourceError::Short {
            messages: 100,
            position: 101,
            ..
        }
    ));
}

#[test]
fn a_paced_file_waits_until_a_message_is_due_and_says_when_that_is() {
    let times = [1_000, 1_010, 1_500];
    let messages: Vec<_> = times.map(|time| Encoder::new(b'D', 1, time).u64(time).0).into();
    let reader = io::Cursor::new(framed(&messages));
    let mut file = ItchFile::over(Path::new("memory"), 1, Pace::Recorded(1.0), reader);
    let mut sink = Recorder::default();
    let mut said = |now| {
        let state = file.poll(now, &mut sink).unwrap();
        (state, sink.events.len())
    };
    assert_eq!(said(70), (SourceState::Ready, 1));
    assert_eq!(said(70), (SourceState::Idle { until: 80 }, 1));
    assert_eq!(said(79), (SourceState::Idle { until: 80 }, 1));
    assert_eq!(said(80), (SourceState::Ready, 2));
    assert_eq!(said(600), (SourceState::Ready, 3));
    assert_eq!(said(600), (SourceState::End, 3));
}

/// A file of the shared data, or `None`, said in a line, in a clone without it. In CI it must be there.
fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let path = root.join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{} must be there in CI",
        path.display()
    );
    println!("skipped: {} is not there", path.display());
    None
}

/// Reads a file of the shared data to its end: how many of each letter, all of them published.
fn published_letters(name: &str) -> Option<(Vec<(String, u64)>, Recorder)> {
    let mut file = ItchFile::open(&shared(name)?, 1, Pace::Max).unwrap();
    let mut sink = Recorder::default();
    run(&mut file, &mut sink).unwrap();
    let counts = file.counts();
    assert!(counts.iter().all(|count| count.outcome == Outcome::Published));
    assert_eq!(sink.events.last().unwrap().position, file.position());
    Some((
        counts
            .into_iter()
            .map(|count| (count.kind, count.messages))
            .collect(),
        sink,
    ))
}

#[test]
fn the_real_hour_is_accounted_for_message_by_message() {
    let Some((counts, sink)) = published_letters("aapl-20120621-0930-1030.itch50.gz") else {
        return;
    };
    let expected = [
        ("A", 44_256),
        ("D", 41_004),
        ("E", 4_067),
        ("H", 1),
        ("P", 2_201),
        ("R", 1),
        ("S", 4),
        ("X", 469),
    ];
    assert_eq!(counts, expected.map(|(kind, n)| (kind.to_string(), n)));
    assert_eq!(sink.events.len(), 92_003);
    assert!(sink.events.iter().all(|event| event.messages.len() == 1));
    let (template, bytes) = &sink.events[1].messages[0];
    assert_eq!(*template, market::InstrumentDefinition::TEMPLATE);
    let instrument = market::InstrumentDefinition::ref_from_bytes(bytes).unwrap();
    assert_eq!(
        (instrument.symbol.as_str(), instrument.instrument.get()),
        ("AAPL", 1 << 16 | 1)
    );
}

#[test]
fn real_messages_of_the_other_types_are_published_too() {
    let Some((counts, sink)) = published_letters("nasdaq-20191230-first-1000.itch50") else {
        return;
    };
    let letters: String = counts.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!((letters.as_str(), sink.events.len()), ("ACDEFIPQSUX", 1_000));
    let imbalance = sink
        .events
        .iter()
        .flat_map(|event| &event.messages)
        .find(|(template, _)| *template == market::Imbalance::TEMPLATE);
    let imbalance = market::Imbalance::ref_from_bytes(&imbalance.unwrap().1).unwrap();
    assert_eq!(
        (
            imbalance.paired_quantity.get(),
            imbalance.imbalance_quantity.get()
        ),
        (79, 0)
    );
    assert_eq!(imbalance.side, ImbalanceSide::NONE);
    assert_eq!(
        imbalance.reference_price,
        Optional::some(Price::new(29_630_000_000))
    );
    assert_eq!(imbalance.cross, CrossKind::OPENING);
}
