//! Captures made byte by byte, then cut and damaged at every place: what stands before is decoded, nothing panics.

use super::decoder::{Arrival, Decoder, Show};
use super::filter::Filter;
use super::format::{Format, Writer};
use crate::capture::file::{CaptureError, CaptureReader, write_head, write_packet};
use crate::capture::headers;
use crate::summary::Summary;
use proptest::prelude::*;
use serde_json::Value as Json;
use std::io::{Cursor, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use twinline_wire::market::{AddOrder, InstrumentDefinition, PriceTick};
use twinline_wire::session::EpochStart;
use twinline_wire::{Message, OpenPacket, Price, Side, Stamp};

const SENT: u64 = 1_795_509_000_000_000_000;

/// What is in `open`, as a packet.
fn closed(sequence: u64, open: OpenPacket, mut buffer: [u8; 512]) -> Vec<u8> {
    let stamp = Stamp {
        channel: 1,
        session: 3,
        epoch: 1,
        epoch_base: 1,
        sequence,
        sending_time: SENT + sequence * 1_000,
        flags: 0,
    };
    let length = open.finish_whole(&mut buffer, stamp, 0);
    buffer[..length].to_vec()
}

/// A packet of one message.
fn of<M: Message>(sequence: u64, message: &M) -> Vec<u8> {
    let (mut open, mut buffer) = (OpenPacket::new(), [0; 512]);
    assert!(open.push(&mut buffer, message));
    closed(sequence, open, buffer)
}

/// A small session: an epoch, a definition, an order, a heartbeat, a tick.
fn packets() -> Vec<Vec<u8>> {
    let start = EpochStart {
        valid_end: 1.into(),
        epoch: 1.into(),
    };
    let mut definition = InstrumentDefinition::NULL;
    definition.instrument = 65_537.into();
    definition.symbol = twinline_wire::field::Text::new(b"AAPL");
    let mut order = AddOrder::NULL;
    order.source_time = 34_200_000_000_001.into();
    (order.order_id, order.quantity) = (7.into(), 100.into());
    (order.price, order.side) = (Price::new(585_330_000_000), Side::BUY);
    order.instrument = 65_537.into();
    let mut tick = PriceTick::NULL;
    (tick.instrument, tick.price) = (65_538.into(), Price::new(1));
    vec![
        of(1, &start),
        of(2, &definition),
        of(3, &order),
        closed(4, OpenPacket::new(), [0; 512]),
        of(4, &tick),
    ]
}

fn group(line: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(239, 1, 1, line), 17_000 + u16::from(line))
}

fn framed(line: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let source = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 40_000);
    headers::put_on(&mut frame, source, group(line), payload);
    frame
}

/// All packets on line 1 and then on line 2, 250 ns later each; the boundaries of the file's records too.
fn pcapng() -> (Vec<u8>, Vec<usize>) {
    let mut file = Vec::new();
    write_head(&mut file, &["line A", "line B"]).unwrap();
    let mut boundaries = vec![file.len()];
    for (sequence, payload) in (0..).zip(packets()) {
        for line in [0, 1] {
            let time = SENT + sequence * 2_000 + u64::from(line) * 250;
            write_packet(&mut file, usize::from(line), time, &framed(line + 1, &payload)).unwrap();
            boundaries.push(file.len());
        }
    }
    (file, boundaries)
}

/// The packets of line 1 as a pcap file, in either byte order and resolution.
fn pcap(big: bool, nanos: bool) -> (Vec<u8>, Vec<usize>) {
    let word = |value: u32| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let half = |value: u16| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let mut file = word(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    file.extend([half(2), half(4)].concat());
    file.extend([word(0), word(0), word(65_535), word(1)].concat());
    let mut boundaries = vec![file.len()];
    for payload in packets() {
        let frame = framed(1, &payload);
        let part = if nanos { 2_000 } else { 2 };
        let length = word(frame.len() as u32);
        file.extend([word((SENT / 1_000_000_000) as u32), word(part), length, length].concat());
        file.extend(frame);
        boundaries.push(file.len());
    }
    (file, boundaries)
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is shown of a capture, the summary, and how reading it ended.
fn decoded(file: &[u8], format: Format, show: Show) -> (String, Summary, Result<(), CaptureError>) {
    let out = Shared::default();
    let writer = Writer::new(format, Box::new(out.clone()));
    let mut decoder = Decoder::new(Filter::default(), show, None, [None, None], writer);
    let read = (|| {
        let mut reader = CaptureReader::new("test", Box::new(Cursor::new(file.to_vec())))?;
        while let Some(packet) = reader.next()? {
            match headers::datagram(packet.interface.link, packet.bytes) {
                Ok(datagram) => {
                    let arrival = Arrival {
                        bytes: datagram.payload,
                        number: packet.number,
                        received: packet.time,
                        destination: Some(datagram.destination),
                        interface: &packet.interface.name,
                    };
                    assert!(decoder.arrival(&arrival).unwrap().is_continue());
                }
                Err(why) => decoder.skip(why),
            }
        }
        Ok(())
    })();
    let mut summary = Summary::new("decode");
    decoder.finish(&mut summary);
    let _ = (decoder.stats.json(), decoder.stats.text(), decoder.remarks());
    assert!(decoder.flush().unwrap().is_continue());
    let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    (text, summary, read)
}

#[test]
fn each_message_of_both_lines_is_shown_with_its_place_and_its_times() {
    let (text, summary, read) = decoded(&pcapng().0, Format::Jsonl, Show::default());
    read.unwrap();
    let rows: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((rows.len(), summary.messages, summary.packets), (8, 8, 10));
    let order = &rows[5];
    assert_eq!(order["name"], "AddOrder");
    assert_eq!((&order["sequence"], &order["line"]), (&3.into(), &"B".into()));
    assert_eq!(
        (&order["session"], &order["epoch"], &order["channel"]),
        (&3.into(), &1.into(), &1.into())
    );
    assert_eq!(order["fields"]["price"], "585.33");
    assert_eq!(order["received"], SENT + 4_250);
    assert_eq!(order["since_previous_ns"], 2_000);
    assert_eq!(order["one_way_ns"], 1_250);
}

#[test]
fn a_burst_that_was_captured_before_it_was_cut_up_is_its_packets() {
    let packet = packets().swap_remove(2);
    let mut file = Vec::new();
    write_head(&mut file, &["line A", "line B"]).unwrap();
    write_packet(
        &mut file,
        0,
        SENT,
        &framed(1, &[&packet[..], &packet, &packet].concat()),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("burst.pcapng");
    std::fs::write(&path, file).unwrap();
    let writer = Writer::new(Format::Jsonl, Box::new(Shared::default()));
    let mut decoder = Decoder::new(Filter::default(), Show::default(), None, [None, None], writer);
    let flow = super::input::capture(&path, &mut decoder, &AtomicBool::new(false)).unwrap();
    assert!(flow.is_continue());
    let mut summary = Summary::new("decode");
    decoder.finish(&mut summary);
    assert_eq!(summary.packets, 3);
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_resolutions() {
    let messages = |file: &[u8]| {
        let (text, _, read) = decoded(file, Format::Jsonl, Show::default());
        read.unwrap();
        text
    };
    let first = messages(&pcap(false, false).0);
    assert_eq!(first.lines().count(), 4);
    assert!(
        first.contains(&format!("\"received\":{}", SENT + 2_000)),
        "{first}"
    );
    for (big, nanos) in [(false, true), (true, false), (true, true)] {
        assert_eq!(messages(&pcap(big, nanos).0), first, "big {big}, nanos {nanos}");
    }
}

#[test]
fn heartbeats_and_packets_are_shown_when_asked_for() {
    let show = Show {
        packets: true,
        heartbeats: true,
        ..Show::default()
    };
    let (text, ..) = decoded(&pcap(false, true).0, Format::Csv, show);
    let kinds: Vec<_> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(kinds, ["packet", "packet", "packet", "heartbeat", "packet"]);
    let (text, ..) = decoded(&pcap(false, true).0, Format::Table, Show::default());
    assert!(
        text.contains("AddOrder source_time=34200000000001 order_id=7 price=585.33"),
        "{text}"
    );
}

#[test]
fn lobster_rows_come_once_though_two_lines_bring_them() {
    let (text, summary, _) = decoded(&pcapng().0, Format::Lobster, Show::default());
    assert_eq!(text, "34200.000000001,1,7,100,5853300,1\n");
    assert_eq!(summary.detail["no_lobster_row"]["PriceTick"], 1);
}

#[test]
fn sums_tell_what_each_line_lacks_and_brings_twice() {
    let mut file = Vec::new();
    write_head(&mut file, &["line A", "line B"]).unwrap();
    let all = packets();
    // Line A: the third packet is missing, the second comes twice. Line B: the second comes after the third.
    for (line, which) in [(0, [0, 1, 1, 4]), (1, [0, 2, 1, 4])] {
        for at in which {
            write_packet(&mut file, line, SENT, &framed(line as u8 + 1, &all[at])).unwrap();
        }
    }
    let out = Writer::new(Format::Jsonl, Box::new(std::io::sink()));
    let mut decoder = Decoder::new(
        Filter::default(),
        Show {
            stats: true,
            ..Show::default()
        },
        None,
        [None, None],
        out,
    );
    let mut reader = CaptureReader::new("test", Box::new(Cursor::new(file))).unwrap();
    while let Some(packet) = reader.next().unwrap() {
        let datagram = headers::datagram(packet.interface.link, packet.bytes).unwrap();
        let arrival = Arrival {
            bytes: datagram.payload,
            interface: &packet.interface.name,
            destination: Some(datagram.destination),
            ..Arrival::default()
        };
        assert!(decoder.arrival(&arrival).unwrap().is_continue());
    }
    let sums = decoder.stats.json();
    let figures = |line: usize| {
        let of = &sums["sessions"][line];
        ["gaps", "missing", "duplicates", "late"].map(|name| of[name].as_u64().unwrap())
    };
    assert_eq!((figures(0), figures(1)), ([1, 1, 1, 0], [1, 0, 0, 1]), "{sums:#}");
    // The definition three times, the order once.
    assert_eq!(sums["by_instrument"]["AAPL"], 4);
}

#[test]
fn a_capture_cut_at_any_byte_is_decoded_up_to_there_and_says_where() {
    for (file, boundaries) in [pcapng(), pcap(false, true), pcap(true, false)] {
        let (whole, ..) = decoded(&file, Format::Jsonl, Show::default());
        for cut in 0..file.len() {
            let (text, _, read) = decoded(&file[..cut], Format::Jsonl, Show::default());
            assert!(whole.starts_with(&text), "cut at {cut}");
            let records = boundaries.iter().filter(|end| **end <= cut).count();
            match read {
                Ok(()) => assert!(boundaries.contains(&cut) || cut < boundaries[0], "cut at {cut}"),
                Err(CaptureError::Cut { packet, offset, .. }) => {
                    assert!(!boundaries.contains(&cut), "cut at {cut}");
                    assert_eq!(packet, records.max(1) as u64, "cut at {cut}");
                    if records > 0 {
                        assert_eq!(offset, boundaries[records - 1] as u64, "cut at {cut}");
                    }
                }
                Err(CaptureError::NotACapture(_)) => assert!(cut < 24, "cut at {cut}"),
                Err(other) => panic!("cut at {cut}: {other}"),
            }
        }
    }
}

#[test]
fn damaged_packets_are_counted_by_reason_and_shown_when_asked_for() {
    let mut file = Vec::new();
    write_head(&mut file, &["lo"]).unwrap();
    let mut damaged = packets().swap_remove(2);
    damaged[60] ^= 1;
    let short = packets()[0][..20].to_vec();
    for payload in [&damaged[..], &short, b"not ours"] {
        write_packet(&mut file, 0, SENT, &framed(1, payload)).unwrap();
    }
    let mut arp = framed(1, b"");
    arp[13] = 6;
    write_packet(&mut file, 0, SENT, &arp).unwrap();
    let show = Show {
        malformed: true,
        ..Show::default()
    };
    let (text, summary, _) = decoded(&file, Format::Jsonl, show);
    assert_eq!(
        summary.detail["malformed"],
        serde_json::json!({ "wrong_checksum": 1, "truncated": 1 })
    );
    assert_eq!(
        summary.detail["skipped"],
        serde_json::json!({ "not_twinline": 1, "not_ipv4": 1 })
    );
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("\"reason\":\"wrong checksum\""), "{text}");
}

proptest! {
    #[test]
    fn no_damage_to_a_capture_is_a_panic(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        format in prop::sample::select(vec![Format::Table, Format::Jsonl, Format::Csv, Format::Lobster]),
    ) {
        let (mut file, _) = match which {
            0 => pcapng(),
            1 => pcap(false, false),
            _ => pcap(true, true),
        };
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let show = Show { packets: false, heartbeats: true, malformed: true, stats: false };
        let _ = decoded(&file, format, show);
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0..4_usize, link in any::<u16>()) {
        let head: &[u8] = [&[][..], &[0xd4, 0xc3, 0xb2, 0xa1], &[0x0a, 0x0d, 0x0d, 0x0a], &[0xa1, 0xb2, 0x3c, 0x4d]][magic];
        let _ = decoded(&[head, &bytes].concat(), Format::Jsonl, Show::default());
        let _ = headers::datagram(link, &bytes);
    }
}
