//! Files of every kind of row: whole, resumed, gzipped, malformed; what the stream says of orders that it has not seen.

use super::*;
use crate::source::Recorder;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;
use twinline_wire::Message;

/// Every type of row; orders that entered before (9), that leave in parts (5), and one told otherwise than before (6).
const ROWS: &str = "34200.0,1,5,100,5853300,1\n\
    34200.1,2,5,30,5853300,1\n\
    34200.2,4,5,70,5853300,1\n\
    34200.3,3,9,12,5853200,-1\n\
    34200.4,1,6,10,5853100,-1\n\
    34200.5,3,6,11,5853100,-1\n\
    34200.6,5,0,1,5853250,-1\n\
    34200.7,6,-1,900,5853000,-1\n\
    34200.8,7,0,0,-1,-1\n\
    34200.9,7,0,0,1,-1\n";

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("AAPL_2012-06-21_message_50.csv");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

/// What a file says from a position on, and how it ended.
fn read(content: &[u8], position: u64) -> (Recorder, Result<(), SourceError>) {
    let (_dir, path) = file(content);
    let mut sink = Recorder::default();
    let mut source = match LobsterFile::open(&path, 3, None, Pace::Max) {
        Ok(source) => source,
        Err(error) => return (sink, Err(error)),
    };
    if let Err(error) = source.resume(position) {
        return (sink, Err(error));
    }
    let end = loop {
        match source.poll(0, &mut sink) {
            Ok(SourceState::End) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    let counted: u64 = source.counts().iter().map(|count| count.messages).sum();
    assert_eq!(counted, source.position() - position);
    (sink, end)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn templates(sink: &Recorder) -> Vec<Vec<u16>> {
    let of = |event: &crate::source::recorder::Event| {
        event.messages.iter().map(|(template, _)| *template).collect()
    };
    sink.events.iter().map(of).collect()
}

#[test]
fn each_row_is_an_event_with_what_the_stream_has_not_said_before_it() {
    let (sink, end) = read(ROWS.as_bytes(), 0);
    end.unwrap();
    let [add, delete, execute, modify] = [
        market::AddOrder::TEMPLATE,
        market::DeleteOrder::TEMPLATE,
        market::ExecuteOrder::TEMPLATE,
        market::ModifyOrder::TEMPLATE,
    ];
    let (unseen, trade, status) = (
        market::UnseenOrder::TEMPLATE,
        market::Trade::TEMPLATE,
        market::TradingStatus::TEMPLATE,
    );
    let expected = vec![
        vec![market::InstrumentDefinition::TEMPLATE, add],
        vec![modify],
        vec![execute],
        vec![unseen, delete],
        vec![add],
        vec![unseen, delete],
        vec![trade],
        vec![trade],
        vec![status],
        vec![status],
    ];
    assert_eq!(templates(&sink), expected);
    let positions: Vec<u64> = sink.events.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=10).collect::<Vec<_>>());
}

#[test]
fn header_gzip_line_ends_and_blank_lines_change_nothing() {
    let (plain, _) = read(ROWS.as_bytes(), 0);
    let header = format!("\u{feff}Time,Type,OrderID,Size,Price,Direction\n{ROWS}");
    let windows = ROWS.replace('\n', "\r\n");
    let blank = format!("\n{}\n\n", ROWS.trim_end());
    let packed = gzip(header.as_bytes());
    for content in [header.as_bytes(), windows.as_bytes(), blank.as_bytes(), &packed] {
        let (sink, end) = read(content, 0);
        end.unwrap();
        assert_eq!(sink.events, plain.events);
    }
}

#[test]
fn resumed_anywhere_it_goes_on_as_if_never_stopped() {
    let (whole, _) = read(ROWS.as_bytes(), 0);
    for position in 1..=10 {
        let (rest, end) = read(ROWS.as_bytes(), position);
        end.unwrap();
        assert_eq!(rest.events, whole.events[position as usize..]);
    }
    let (_, end) = read(ROWS.as_bytes(), 11);
    assert!(matches!(
        end,
        Err(SourceError::Short {
            messages: 10,
            position: 11,
            ..
        })
    ));
}

#[test]
fn a_malformed_row_is_named_by_its_line_and_the_rows_before_it_are_said() {
    let broken = format!(
        "time,type,order,size,price,direction\n{}",
        ROWS.replace("34200.3,3", "34200.3,x")
    );
    let (sink, end) = read(broken.as_bytes(), 0);
    assert_eq!(sink.events.len(), 3);
    let error = end.unwrap_err();
    assert!(
        matches!(
            error,
            SourceError::Malformed {
                line: 5,
                messages: 3,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("line 5: the type is \"x\""), "{error}");
    let (_, end) = read(broken.as_bytes(), 7);
    assert!(matches!(end, Err(SourceError::Malformed { line: 5, .. })));
    let (_, end) = read(&[b'1'; 5000], 0);
    assert!(end.unwrap_err().to_string().contains("longer than"));
}

#[test]
fn a_cut_gzip_says_so_behind_the_rows_before() {
    let packed = gzip(ROWS.repeat(2000).as_bytes());
    let (sink, end) = read(&packed[..packed.len() / 2], 0);
    assert!(!sink.events.is_empty());
    assert!(end.unwrap_err().to_string().contains("the gzip data is cut off"));
}

#[test]
fn the_symbol_is_how_the_files_name_begins_unless_it_is_given() {
    assert_eq!(
        symbol_of(Path::new("/data/AAPL_2012-06-21_34200000_message_50.csv")),
        "AAPL"
    );
    assert_eq!(symbol_of(Path::new("aapl-20120621.csv.gz")), "AAPL");
    let (_dir, path) = file(ROWS.as_bytes());
    let symbol = |symbol| LobsterFile::open(&path, 1, symbol, Pace::Max).unwrap().symbol;
    assert_eq!(symbol(None), Text::new(b"AAPL"));
    assert_eq!(symbol(Some("MSFT")), Text::new(b"MSFT"));
}

#[test]
fn a_files_content_says_whether_it_is_one() {
    for (content, is) in [
        (&b"Time,Type\n34200.0,1,5,100,5853300,1\n"[..], true),
        (&gzip(ROWS.as_bytes()), true),
        (b"\x00\x0cS\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00O", false),
        (b"time,bid,ask\n1,2,3\n", false),
    ] {
        let (_dir, path) = file(content);
        assert_eq!(LobsterFile::is_one(&path).unwrap(), is);
    }
}

#[test]
fn how_much_is_read_is_told() {
    let (_dir, path) = file(ROWS.as_bytes());
    let mut source = LobsterFile::open(&path, 1, None, Pace::Max).unwrap();
    source.resume(10).unwrap();
    assert_eq!(source.progress(), Some(1.0));
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, 0);
        let _ = row::parse(&bytes);
    }

    #[test]
    fn no_fields_are_a_panic(fields in proptest::collection::vec("-?[0-9]{0,21}(\\.[0-9]{0,12})?", 0..8)) {
        let _ = row::parse(fields.join(",").as_bytes());
    }
}
