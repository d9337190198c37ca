//! `twinline book`: what a journal adds up to, before any sequence, from any snapshot, and after a loss.

use crate::bed::{Bed, Done, Process, real_hour, run_plain};
use serde_json::Value;
use std::fs;
use twinline_book::snapshot::{Place, encode, file};
use twinline_book::{Books, Follower};
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_wire::market::{AddOrder, PriceTick};
use twinline_wire::session::{EpochStart, Lost, StateReplaced};
use twinline_wire::{Message, OpenPacket, Price, Side, Stamp, flags};

/// A journal of order flow.
fn published(messages: &str) -> Bed {
    let bed = Bed::new();
    bed.publish(&["--generate", messages, "--linger", "1ms"])
        .wait()
        .expect(0);
    bed
}

/// The summary of `twinline book`.
fn book(arguments: &[&str]) -> Done {
    Process::start(&[&["book"], arguments].concat()).wait()
}

/// The checksum of the only channel.
fn checksum(done: &Done) -> &Value {
    &done.summary["channels"][0]["checksum"]
}

#[test]
fn a_journal_in_one_go_and_from_a_snapshot_on_are_the_same_books() {
    let bed = published("20000");
    let journal = bed.text("publisher");
    let whole = book(&[&journal]).expect(0);
    assert!(
        whole.summary["totals"]["changes"].as_u64() > Some(1000),
        "{whole:#?}"
    );
    assert_eq!(whole.summary["totals"]["invalid"], 0);
    for at in ["2", "777", "9000"] {
        let snapshots = bed.text(&format!("snapshots-{at}"));
        let before = book(&[&journal, "--at", at, "--save", &snapshots]).expect(0);
        assert_eq!(before.summary["position"]["next"].to_string(), at);
        let saved = before.summary["saved"][0].as_str().expect("a path");
        let still = book(&[saved]).expect(0);
        assert_eq!(checksum(&still), checksum(&before));
        assert_eq!(still.summary["channels"], before.summary["channels"]);
        let onwards = book(&[&journal, "--from", saved]).expect(0);
        assert_eq!(onwards.summary["channels"], whole.summary["channels"]);
        let behind = book(&[&journal, "--from", saved, "--at", "1"]).expect(2);
        assert!(behind.stderr.concat().contains("older one"), "{behind:#?}");
    }
}

#[test]
fn changes_are_rows_or_json_and_their_number_is_the_summarys() {
    let bed = published("5000");
    let journal = bed.text("publisher");
    let summary = book(&[&journal]).expect(0).summary;
    let changes = summary["totals"]["changes"].as_u64().expect("a number") as usize;
    let csv = run_plain(&["book", &journal, "--changes"]).expect(0).stdout;
    let mut rows = csv.lines();
    let head = rows.next().expect("a head line");
    assert!(head.starts_with("sequence,source_time,symbol,bid_price,bid_quantity,ask_price,ask_quantity"));
    assert_eq!(rows.count(), changes);
    let one = summary["channels"][0]["instruments"][0].clone();
    let symbol = one["symbol"].as_str().expect("a name");
    let arguments = [
        "book",
        &journal,
        "--changes",
        "--format",
        "jsonl",
        "--symbol",
        symbol,
    ];
    let json = run_plain(&arguments).expect(0).stdout;
    let rows: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len() as u64, one["changes"].as_u64().expect("a number"));
    let last = rows.last().expect("some");
    assert_eq!((&last["bid"], &last["ask"]), (&one["bid"], &one["ask"]));
}

#[test]
fn levels_are_shown_best_first() {
    let bed = published("5000");
    let done = book(&[&bed.text("publisher"), "--depth", "3"]).expect(0);
    let instruments = done.summary["channels"][0]["instruments"]
        .as_array()
        .expect("some")
        .clone();
    assert!(!instruments.is_empty());
    for instrument in instruments {
        let bids = instrument["bids"].as_array().expect("levels");
        assert!(bids.len() <= 3);
        if let Some(best) = bids.first() {
            assert_eq!(best["price"], instrument["bid"]["price"]);
        }
    }
    let shown = run_plain(&["book", &bed.text("publisher"), "--depth", "2"])
        .expect(0)
        .stdout;
    assert!(
        shown.contains("quantity") && shown.contains("checksum"),
        "{shown}"
    );
}

#[test]
fn each_channel_has_its_own_books() {
    let bed = Bed::new();
    let more = [
        "--channels",
        "2",
        "--generate",
        "4000",
        "--symbols",
        "8",
        "--linger",
        "1ms",
    ];
    bed.publish(&more).wait().expect(0);
    let journal = bed.text("publisher");
    let snapshots = bed.text("snapshots");
    let both = book(&[&journal, "--save", &snapshots]).expect(0).summary;
    assert_eq!(both["channels"].as_array().map(Vec::len), Some(2));
    assert_eq!(both["totals"]["instruments"], 8);
    let saved = both["saved"].as_array().expect("paths").clone();
    assert!(saved[1].as_str().expect("a path").contains("channel-2"));
    let second = book(&[&journal, "--channel", "2"]).expect(0).summary;
    assert_eq!(second["channels"][0], both["channels"][1]);
    book(&[&journal, "--at", "5"]).expect(2);
    book(&[&journal, "--channel", "9"]).expect(2);
}

/// A listener's journal, made by hand.
struct Journal {
    writer: JournalWriter,
    next: u64,
}

impl Journal {
    fn append(&mut self, flags: u8, push: impl FnOnce(&mut OpenPacket, &mut [u8])) {
        let mut buffer = vec![0; 1408];
        let mut open = OpenPacket::new();
        push(&mut open, &mut buffer);
        let stamp = Stamp {
            flags,
            channel: 1,
            session: 7,
            epoch: 1,
            epoch_base: 1,
            sequence: self.next,
            sending_time: 1,
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        self.writer.append(&buffer[..length]).expect("it follows");
        self.next += u64::from(if flags == 0 { open.count() } else { 0 });
    }

    fn put<M: Message>(&mut self, flags: u8, message: &M) {
        self.append(flags, |open, buffer| assert!(open.push(buffer, message)));
    }
}

/// An order of instrument 65,537 that bids `price`.
fn order(id: u64, price: i64) -> AddOrder {
    AddOrder {
        source_time: 0.into(),
        order_id: id.into(),
        price: Price::new(price * 1_000_000_000),
        quantity: 10.into(),
        instrument: 65_537.into(),
        side: Side::BUY,
        ..AddOrder::NULL
    }
}

#[test]
fn a_loss_makes_books_invalid_until_a_snapshot_that_the_journal_names_replaces_them() {
    let bed = Bed::new();
    let path = bed.path("listener");
    let config = JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: 1 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    };
    let mut journal = Journal {
        writer: JournalWriter::open(&path, config).expect("it can be made"),
        next: 1,
    };
    journal.put(
        0,
        &EpochStart {
            valid_end: 1.into(),
            epoch: 1.into(),
        },
    );
    journal.put(0, &order(1, 5));
    let lost = Lost {
        begin: 3.into(),
        end: 6.into(),
        ..Lost::NULL
    };
    journal.next = 6;
    journal.put(flags::LOCAL, &lost);
    journal.put(0, &order(2, 7));
    let text = bed.text("listener");
    let invalid = book(&[&text]).expect(3);
    assert_eq!(invalid.summary["totals"]["invalid"], 1);
    assert!(
        invalid.summary["warnings"][0]
            .as_str()
            .expect("one")
            .contains("3..6 are lost")
    );
    let refused = book(&[&text, "--save", &bed.text("snapshots")]).expect(3);
    assert!(!bed.path("snapshots").exists(), "{refused:#?}");

    let replaced = StateReplaced {
        sequence: 7.into(),
        epoch: 1.into(),
        file: 1.into(),
    };
    journal.put(flags::LOCAL, &replaced);
    journal.put(0, &order(3, 6));
    journal.put(
        0,
        &PriceTick {
            instrument: 65_537.into(),
            ..PriceTick::NULL
        },
    );
    let missing = book(&[&text]).expect(3);
    let warnings = missing.summary["warnings"].to_string();
    assert!(warnings.contains("stay invalid"), "{warnings}");

    let mut books = Books::new();
    books.apply_message(&order(1, 5));
    books.apply_message(&order(2, 7));
    books.apply_message(&order(9, 8));
    let place = Place {
        channel: 1,
        session: 7,
        epoch: 1,
        epoch_base: 1,
        sequence: 7,
    };
    file::write(&bed.path("elsewhere"), &place, &encode(&books, &place)).expect("written");
    let whole = book(&[&text, "--snapshots", &bed.text("elsewhere")]).expect(0);
    let instrument = &whole.summary["channels"][0]["instruments"][0];
    assert_eq!(
        (&instrument["bid"]["price"], &instrument["live_orders"]),
        (&"8".into(), &4.into())
    );
    fs::rename(
        bed.path("elsewhere").join(file::name(7, 1, 7)),
        path.join(file::name(7, 1, 7)),
    )
    .expect("the same file system");
    let beside = book(&[&text]).expect(0);
    assert_eq!(beside.summary["channels"], whole.summary["channels"]);
}

#[test]
fn what_is_neither_a_journal_nor_a_snapshot_is_an_error_that_says_so() {
    let bed = Bed::new();
    let text = bed.text("file.twb");
    fs::write(
        &text,
        b"something else, long enough for the header of a snapshot of ours, that is",
    )
    .expect("written");
    let done = book(&[&text]).expect(1);
    assert!(done.stderr.concat().contains("no snapshot of ours"), "{done:#?}");
    book(&[&text, "--at", "5"]).expect(2);
    book(&[&bed.text("nothing")]).expect(1);
}

#[test]
fn the_real_hour_has_the_books_that_others_found_in_it() {
    let Some(itch) = real_hour() else { return };
    let bed = Bed::new();
    let source = ["--from", itch.to_str().expect("UTF-8"), "--linger", "1ms"];
    bed.publish(&source).wait().expect(0);
    let totals = book(&[&bed.text("publisher")]).expect(0).summary["totals"].clone();
    assert_eq!(
        (&totals["changes"], &totals["live_orders"]),
        (&23_457.into(), &380.into())
    );
    assert_eq!(
        (&totals["unseen_orders"], &totals["crossed"]),
        (&84.into(), &0.into())
    );

    // Before each of some sequences, a follower of our own stands where the command does.
    let mut reader = JournalReader::open(&bed.path("publisher")).expect("it is there");
    let mut follower = Follower::new();
    while let Some(packet) = reader.next().expect("it is whole") {
        follower.packet(&packet, |_, _| {});
        let at = follower.place().sequence;
        if at > 40_000 {
            let done = book(&[&bed.text("publisher"), "--at", &at.to_string()]).expect(0);
            assert_eq!(*checksum(&done), format!("{:016x}", follower.books().checksum()));
            break;
        }
    }
}
