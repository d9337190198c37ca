//! Fields of every type through a hand-made encoder; files that are whole, cut, corrupt or hostile; real data.

use super::layout::length_of;
use super::*;
use crate::source::Recorder;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;
use twinline_wire::field::{
    CrossKind, EventFlags, Field, ImbalanceSide, ModifyAction, Optional, Price, Side, Status, Text, TradeKind,
};
use twinline_wire::{Message, U16, U32, U64, market};

/// A message of ITCH, written as its specification says.
struct Encoder(Vec<u8>);

impl Encoder {
    fn new(kind: u8, locate: u16, time: u64) -> Self {
        let mut bytes = vec![kind];
        bytes.extend(locate.to_be_bytes());
        bytes.extend([0xab, 0xcd]);
        bytes.extend(&time.to_be_bytes()[2..]);
        Self(bytes)
    }
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn text(mut self, value: &str) -> Self {
        self.0.extend(value.as_bytes());
        self
    }
}

const LAST: EventFlags = EventFlags::END_OF_EVENT;
const PRINTED: EventFlags = EventFlags(3);

/// What `message`, of source 9, becomes: exactly one message of ours, an `M`.
fn one<M: Message>(message: Encoder) -> M {
    assert_eq!(
        length_of(message.0[0]),
        Some(message.0.len()),
        "the test's encoder"
    );
    let mut sink = Recorder::default();
    assert_eq!(translate(9, &message.0, &mut sink), Outcome::Published);
    assert_eq!(sink.pending.len(), 1);
    let (template, bytes) = &sink.pending[0];
    assert_eq!(*template, M::TEMPLATE);
    M::read_from_bytes(bytes).unwrap()
}

proptest! {
    #[test]
    fn the_fields_of_every_order_message_come_through(
        locate: u16, time in 0..1u64 << 48, order: u64, new_order: u64, shares: u32, price: u32, id: u64,
        buy: bool, printable: bool,
    ) {
        let begin = |kind| Encoder::new(kind, locate, time);
        let source_time = U64::new(time);
        let instrument = U32::new(9 << 16 | u32::from(locate));
        let (order_id, match_id, quantity) = (U64::new(order), U64::new(id), U32::new(shares));
        let our_price = Price::new(i64::from(price) * 100_000);
        let (letter, side) = if buy { (b'B', Side::BUY) } else { (b'S', Side::SELL) };
        let mut added = market::AddOrder {
            source_time, order_id, price: our_price, quantity, instrument, participant: Text::default(), side,
            flags: LAST,
        };
        let add = |kind| begin(kind).u64(order).u8(letter).u32(shares).text("AAPL    ").u32(price);
        prop_assert_eq!(one::<market::AddOrder>(add(b'A')), added);
        added.participant = Text::new(b"LEHM");
        prop_assert_eq!(one::<market::AddOrder>(add(b'F').text("LEHM")), added);

        let mut executed = market::ExecuteOrder {
            source_time, order_id, match_id, price: Optional::NONE, quantity, instrument, flags: PRINTED,
        };
        prop_assert_eq!(one::<market::ExecuteOrder>(begin(b'E').u64(order).u32(shares).u64(id)), executed);
        executed.price = Optional::some(our_price);
        executed.flags = if printable { PRINTED } else { LAST };
        let print = if printable { b'Y' } else { b'N' };
        let message = begin(b'C').u64(order).u32(shares).u64(id).u8(print).u32(price);
        prop_assert_eq!(one::<market::ExecuteOrder>(message), executed);

        prop_assert_eq!(one::<market::ModifyOrder>(begin(b'X').u64(order).u32(shares)), market::ModifyOrder {
            source_time, order_id, quantity, instrument, action: ModifyAction::REDUCE_BY, flags: LAST,
        });
        prop_assert_eq!(one::<market::DeleteOrder>(begin(b'D').u64(order)), market::DeleteOrder {
            source_time, order_id, instrument, flags: LAST,
        });
        let message = begin(b'U').u64(order).u64(new_order).u32(shares).u32(price);
        prop_assert_eq!(one::<market::ReplaceOrder>(message), market::ReplaceOrder {
            source_time, order_id, new_order_id: U64::new(new_order), price: our_price, quantity, instrument,
            flags: LAST,
        });
    }

    #[test]
    fn the_fields_of_every_trade_message_come_through(
        locate: u16, time in 0..1u64 << 48, shares: u64, price in 1..=u32::MAX, id: u64, paired: u64, far: u32,
        cross in 0usize..5, direction in 0usize..5,
    ) {
        let begin = |kind| Encoder::new(kind, locate, time);
        let source_time = U64::new(time);
        let instrument = U32::new(9 << 16 | u32::from(locate));
        let our_price = |price: u32| Price::new(i64::from(price) * 100_000);
        let message = begin(b'P').u64(0).u8(b'B').u32(shares as u32).text("AAPL    ").u32(price).u64(id);
        let mut trade = market::Trade {
            source_time, match_id: U64::new(id), price: our_price(price), quantity: U64::new(u64::from(shares as u32)),
            instrument, side: Side::NULL, kind: TradeKind::NON_DISPLAYED, flags: PRINTED,
        };
        prop_assert_eq!(one::<market::Trade>(message), trade);
        let (letter, kind) = [
            (b'O', TradeKind::OPENING_CROSS), (b'C', TradeKind::CLOSING_CROSS), (b'H', TradeKind::HALT_CROSS),
            (b'I', TradeKind::OTHER_CROSS), (b'A', TradeKind::OTHER_CROSS),
        ][cross];
        (trade.quantity, trade.kind) = (U64::new(shares), kind);
        let message = begin(b'Q').u64(shares).text("AAPL    ").u32(price).u64(id).u8(letter);
        prop_assert_eq!(one::<market::Trade>(message), trade);
        prop_assert_eq!(one::<market::TradeCancel>(begin(b'B').u64(id)), market::TradeCancel {
            source_time, match_id: U64::new(id), instrument, flags: LAST,
        });

        let (way, side) = [
            (b'B', ImbalanceSide::BUY), (b'S', ImbalanceSide::SELL), (b'N', ImbalanceSide::NONE),
            (b'O', ImbalanceSide::INSUFFICIENT), (b'P', ImbalanceSide::PAUSED),
        ][direction];
        let (letter, cross) = [
            (b'O', CrossKind::OPENING), (b'C', CrossKind::CLOSING), (b'H', CrossKind::HALT), (b'A', CrossKind::OTHER),
            (b'A', CrossKind::OTHER),
        ][cross];
        let message = begin(b'I').u64(paired).u64(shares).u8(way).text("AAPL    ")
            .u32(far).u32(0).u32(price).u8(letter).u8(b'L');
        let far_price = if far == 0 { Optional::NONE } else { Optional::some(our_price(far)) };
        prop_assert_eq!(one::<market::Imbalance>(message), market::Imbalance {
            source_time, paired_quantity: U64::new(paired), imbalance_quantity: U64::new(shares), far_price,
            near_price: Optional::NONE, reference_price: Optional::some(our_price(price)), instrument, side, cross,
            flags: LAST,
        });
    }

    #[test]
    fn any_bytes_never_panic_and_every_message_is_counted(bytes in proptest::collection::vec(any::<u8>(), 1..4000)) {
        let mut sink = Recorder::default();
        translate(1, &bytes, &mut sink);
        let mut file = from_bytes(bytes);
        while !matches!(file.poll(0, &mut sink), Ok(SourceState::End)) {}
        let counted: u64 = file.counts().iter().map(|count| count.messages).sum();
        prop_assert_eq!(counted, file.position());
    }

    #[test]
    fn any_body_behind_any_letter_never_panics(kind: u8, body in proptest::collection::vec(any::<u8>(), 50)) {
        let length = layout::length_of(kind).unwrap_or(20);
        let mut message = body;
        message.truncate(length);
        message[0] = kind;
        let outcome = translate(1, &message, &mut Recorder::default());
        prop_assert_ne!(outcome, Outcome::WrongLength);
        prop_assert_eq!(outcome == Outcome::UnknownType, layout::length_of(kind).is_none());
    }
}

#[test]
fn the_fields_of_every_state_message_come_through() {
    let about = |kind: u8| Encoder::new(kind, 77, 34_200_000_000_123);
    let expect = |instrument, status, reason: &str| market::TradingStatus {
        source_time: U64::new(34_200_000_000_123),
        instrument: U32::new(instrument),
        status,
        reason: Text::new(reason.as_bytes()),
        flags: LAST,
    };
    for (letter, status, reason) in [
        (b'O', Status::START_OF_MESSAGES, ""),
        (b'S', Status::START_OF_SYSTEM_HOURS, ""),
        (b'Q', Status::START_OF_MARKET_HOURS, ""),
        (b'M', Status::END_OF_MARKET_HOURS, ""),
        (b'E', Status::END_OF_SYSTEM_HOURS, ""),
        (b'C', Status::END_OF_MESSAGES, ""),
        (b'A', Status::OTHER, "A"),
    ] {
        assert_eq!(
            one::<market::TradingStatus>(about(b'S').u8(letter)),
            expect(9 << 16, status, reason)
        );
    }
    for (letter, status, reason) in [
        (b'H', Status::HALTED, "T1"),
        (b'P', Status::PAUSED, "LUDP"),
        (b'Q', Status::QUOTATION_ONLY, ""),
        (b'T', Status::TRADING, "T3"),
    ] {
        let message = about(b'H')
            .text("AAPL    ")
            .u8(letter)
            .u8(b' ')
            .text(&format!("{reason:4}"));
        assert_eq!(
            one::<market::TradingStatus>(message),
            expect(9 << 16 | 77, status, reason)
        );
    }
    for (letter, status) in [
        (b'H', Status::OPERATIONAL_HALT),
        (b'T', Status::OPERATIONAL_RESUME),
    ] {
        let message = about(b'h').text("AAPL    ").u8(b'X').u8(letter);
        assert_eq!(
            one::<market::TradingStatus>(message),
            expect(9 << 16 | 77, status, "X")
        );
    }
    let directory = about(b'R')
        .text("AAPL    ")
        .text("QN")
        .u32(100)
        .text("NCZ P")
        .text("NN1N")
        .u32(0)
        .u8(b'N');
    assert_eq!(
        one::<market::InstrumentDefinition>(directory),
        market::InstrumentDefinition {
            source_time: U64::new(34_200_000_000_123),
            instrument: U32::new(9 << 16 | 77),
            symbol: Text::new(b"AAPL"),
            lot_size: Optional::some(100),
            price_increment: Optional::NONE,
            source: U16::new(9),
            market: Text::new(b"Q"),
            class: Text::new(b"CZ"),
            flags: LAST,
        }
    );
}

#[test]
fn every_type_of_the_specification_has_an_outcome_and_no_other_letter_has() {
    let with_template = b"SRHhAFECXDUPQBI";
    for (kind, length) in layout::TYPES {
        let mut message = vec![0; length];
        message[0] = kind;
        let mut sink = Recorder::default();
        let expected = if with_template.contains(&kind) {
            Outcome::Published
        } else {
            Outcome::NoTemplate
        };
        assert_eq!(
            translate(1, &message, &mut sink),
            expected,
            "{}",
            char::from(kind)
        );
        assert_eq!(sink.pending.len(), usize::from(expected == Outcome::Published));
        message.push(0);
        assert_eq!(translate(1, &message, &mut sink), Outcome::WrongLength);
        assert_eq!(
            translate(1, &message[..length - 1], &mut sink),
            Outcome::WrongLength
        );
    }
    assert_eq!(translate(1, b"Z", &mut Recorder::default()), Outcome::UnknownType);
    assert_eq!(translate(1, b"", &mut Recorder::default()), Outcome::WrongLength);
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
    ItchFile::new(
        Path::new("memory"),
        1,
        Pace::Max,
        Box::new(io::Cursor::new(bytes)),
    )
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
    let reader = Box::new(io::Cursor::new(framed(&messages)));
    let mut file = ItchFile::new(Path::new("memory"), 1, Pace::Recorded(1.0), reader);
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
