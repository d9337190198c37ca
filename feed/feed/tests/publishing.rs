//! The publisher over a real journal and epoch store, the time and the lines in the test's hand.

mod common;

use common::*;
use std::time::Duration;
use tempfile::TempDir;
use twinline_feed::publisher::{
    self, Burst, Line, Lines, Phase, PublishError, Publisher, PublisherConfig, Sink, open_without_thread,
};
use twinline_feed::source::EventSink;
use twinline_journal::epoch::{EpochStore, Grant};
use twinline_wire::header::{HEADER_LEN, flags};
use twinline_wire::session::{EndOfSession, EpochStart, SessionStart, SourcePosition};
use twinline_wire::{EventFlags, Frame, Message, Packet};

const MS: u64 = 1_000_000;
const START: u64 = 1_000_000_000_000;

struct Rig {
    dir: TempDir,
    lines: Recorded,
    publisher: Publisher<Recorded>,
    store: Option<(EpochStore, Grant)>,
}

fn rig(config: PublisherConfig, block: u64) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let lines = Recorded::default();
    let mut place = place(dir.path(), "boot");
    place.block = block;
    let (publisher, store) = open_without_thread(config, &place, lines.clone(), START).unwrap();
    Rig {
        dir,
        lines,
        publisher,
        store,
    }
}

fn live(config: PublisherConfig) -> Rig {
    live_with(config, publisher::DEFAULT_BLOCK)
}

fn live_with(config: PublisherConfig, block: u64) -> Rig {
    let config = PublisherConfig {
        lead_in: Duration::ZERO,
        ..config
    };
    let mut rig = rig(config, block);
    rig.publisher.tick(START).unwrap();
    assert_eq!(rig.publisher.phase(), Phase::Live);
    rig.lines.take(Line::A);
    rig
}

fn templates(packet: &Packet<'_>) -> Vec<u16> {
    packet.messages().map(|(_, frame)| frame.template()).collect()
}

#[test]
fn a_new_session_is_announced_and_begins_with_epoch_start_and_session_start() {
    let mut rig = rig(PublisherConfig::default(), publisher::DEFAULT_BLOCK);
    for ms in 0..300 {
        rig.publisher.tick(START + ms * MS).unwrap();
        assert_eq!(rig.publisher.phase(), Phase::LeadIn);
    }
    let beats = rig.lines.take(Line::A);
    assert_eq!(beats.len(), 15);
    for beat in &beats {
        let beat = Packet::parse(beat).unwrap();
        assert!(beat.header().is_heartbeat());
        assert_eq!((beat.sequence(), beat.header().epoch_base.get()), (1, 1));
        assert_eq!((beat.header().session.get(), beat.header().epoch.get()), (1, 1));
    }
    rig.publisher.tick(START + 300 * MS).unwrap();
    assert_eq!(rig.publisher.phase(), Phase::Live);
    let sent = rig.lines.take(Line::A);
    let first = Packet::parse(sent.last().unwrap()).unwrap();
    assert_eq!(templates(&first), [EpochStart::TEMPLATE, SessionStart::TEMPLATE]);
    assert_eq!(first.sequence(), 1);
    let (_, frame) = first.messages().next().unwrap();
    assert_eq!(frame.view::<EpochStart>().unwrap().valid_end.get(), 1);
    let (_, frame) = first.messages().nth(1).unwrap();
    assert_eq!(frame.view::<SessionStart>().unwrap().previous.get(), None);
}

#[test]
fn publishing_during_the_lead_in_ends_it_with_everything_in_order() {
    let mut rig = rig(PublisherConfig::default(), publisher::DEFAULT_BLOCK);
    rig.publisher.publish(&tick(1), START).unwrap();
    let sent = rig.lines.take(Line::A);
    let counts: Vec<_> = sent
        .iter()
        .map(|packet| Packet::parse(packet).unwrap().header().count.get())
        .collect();
    assert_eq!(
        counts,
        [0, 2, 2],
        "a heartbeat, the epoch, the message and its position"
    );
}

#[test]
fn framed_messages_are_published_as_they_are_and_what_is_no_market_message_is_refused() {
    let mut rig = live(PublisherConfig::default());
    let mut given = expected(200);
    for (bytes, position) in given.iter().zip(1..) {
        let (frame, _) = Frame::split(bytes).unwrap();
        let publish = |sink: &mut Sink<'_, Recorded>| {
            sink.push_frame(&frame);
            sink.end_event(SOURCE, position);
        };
        rig.publisher.event(START, publish).unwrap();
    }
    rig.publisher.flush(START).unwrap();
    let mut published = Vec::new();
    let mut refused = 0;
    for bytes in rig.lines.take(Line::B) {
        for (_, frame) in Packet::parse(&bytes).unwrap().messages() {
            if frame.template() != SourcePosition::TEMPLATE {
                published.push(frame.bytes().to_vec());
                continue;
            }
            let result = rig.publisher.event(START, |sink| sink.push_frame(&frame));
            assert!(matches!(
                result,
                Err(PublishError::NotMarketData {
                    name: "SourcePosition"
                })
            ));
            refused += 1;
        }
    }
    // Each was an event of its own; all templates used here end with their flags.
    for frame in &mut given {
        *frame.last_mut().unwrap() |= EventFlags::END_OF_EVENT.0;
    }
    assert_eq!(published, given);
    assert!(refused > 0);
}

#[test]
fn a_message_published_alone_goes_out_at_once_with_its_position() {
    let mut rig = live(PublisherConfig::default());
    for n in 1..=5 {
        rig.publisher.publish(&tick(n), START + n).unwrap();
        let sent = rig.lines.take(Line::B);
        assert_eq!(sent.len(), 1);
        let packet = Packet::parse(&sent[0]).unwrap();
        assert_eq!(packet.header().sending_time.get(), START + n);
        let frames: Vec<_> = packet.messages().map(|(_, frame)| frame).collect();
        let sent = frames[0].view::<twinline_wire::market::PriceTick>().unwrap();
        assert_eq!(sent.source_time.get(), n);
        assert_eq!(sent.flags, EventFlags::END_OF_EVENT);
        assert_eq!(frames[1].view::<SourcePosition>().unwrap().position.get(), n);
    }
    assert_eq!(rig.publisher.position(0), 5);
}

#[test]
fn a_batch_fills_packets_to_the_last_message_that_fits() {
    let mut rig = live(PublisherConfig::default());
    let batch: Vec<_> = (0..1000).map(tick).collect();
    rig.publisher.publish_batch(&batch, START).unwrap();
    let sent = rig.lines.take(Line::A);
    let frame = twinline_wire::market::PriceTick::FRAME_LEN;
    let full = (1408 - HEADER_LEN - SourcePosition::FRAME_LEN) / frame;
    assert_eq!(sent.len(), 1000_usize.div_ceil(full));
    for packet in &sent[..sent.len() - 1] {
        assert_eq!(
            usize::from(Packet::parse(packet).unwrap().header().count.get()),
            full + 1
        );
    }
    assert_eq!(
        sent,
        packets(&rig.dir.path().join("journal"), 1)[1..],
        "the journal's bytes go out"
    );
}

#[test]
fn under_load_packets_are_full_and_no_event_is_split() {
    for limit in [256, 1408] {
        let mut rig = live(PublisherConfig {
            packet_limit: limit,
            ..PublisherConfig::default()
        });
        for n in 0..2000 {
            let room = rig.publisher.event(START, |sink| {
                say(n, sink);
                sink.end_event(SOURCE, n + 1);
            });
            room.unwrap();
        }
        rig.publisher.flush(START).unwrap();
        let sent = rig.lines.take(Line::A);
        let mut ends = 0;
        let mut next = 3;
        for bytes in &sent {
            let packet = Packet::parse(bytes).unwrap();
            assert_eq!(packet.sequence(), next);
            next = packet.end();
            assert!(bytes.len() <= limit);
            let frames: Vec<_> = packet.messages().map(|(_, frame)| frame).collect();
            let (position, events) = frames.split_last().unwrap();
            let last = events.last().unwrap();
            assert_eq!(
                *last.bytes().last().unwrap() & 1,
                1,
                "the last message ends its event"
            );
            let position = position.view::<SourcePosition>().unwrap();
            ends += events
                .iter()
                .filter(|frame| frame.bytes().last().unwrap() & 1 == 1)
                .count();
            // Everything up to the position, and nothing beyond, is in the packets so far.
            let said = (0..position.position.get())
                .filter(|&n| messages_of(n) > 0)
                .count();
            assert_eq!(ends, said);
        }
        // The largest event has 4 messages of at most 61 bytes: a packet that was closed had no room for one.
        for bytes in &sent[..sent.len() - 1] {
            assert!(bytes.len() + 4 * 61 > limit, "{} of {limit}", bytes.len());
        }
        assert_eq!(rig.publisher.source_messages(), ends as u64);
        let market = messages(&sent).into_values().filter(|frame| is_market(frame));
        assert!(market.eq(expected(2000)), "everything said, in order");
    }
}

#[test]
fn each_source_in_a_packet_closes_it_with_its_position() {
    let mut rig = live(PublisherConfig {
        packet_limit: 256,
        ..PublisherConfig::default()
    });
    for n in 0..300_u64 {
        let source = (mix(n) % 5) as u16;
        let event = |sink: &mut publisher::Sink<'_, Recorded>| {
            sink.push(&tick(n));
            sink.end_event(source, n + 1);
        };
        rig.publisher.event(START, event).unwrap();
    }
    rig.publisher.flush(START).unwrap();
    let mut n = 0;
    for bytes in rig.lines.take(Line::A) {
        assert!(bytes.len() <= 256);
        let packet = Packet::parse(&bytes).unwrap();
        let mut newest = std::collections::BTreeMap::new();
        let mut positions = std::collections::BTreeMap::new();
        for (_, frame) in packet.messages() {
            if let Some(position) = frame.view::<SourcePosition>() {
                positions.insert(position.source.get(), position.position.get());
            } else {
                assert!(positions.is_empty(), "positions close the packet");
                newest.insert((mix(n) % 5) as u16, n + 1);
                n += 1;
            }
        }
        assert_eq!(newest, positions);
    }
    assert_eq!(n, 300);
}

#[test]
fn an_event_larger_than_a_packet_is_refused_and_the_rest_goes_on() {
    let mut rig = live(PublisherConfig {
        packet_limit: 256,
        ..PublisherConfig::default()
    });
    let mut event = |n: u64, messages: u64| {
        rig.publisher.event(START, |sink| {
            (0..messages).for_each(|m| sink.push(&tick(n * 100 + m)));
            sink.end_event(SOURCE, n);
        })
    };
    event(1, 2).unwrap();
    assert!(matches!(
        event(2, 6),
        Err(PublishError::EventTooLarge { limit: 188 })
    ));
    event(3, 4).unwrap();
    rig.publisher.flush(START).unwrap();
    let times: Vec<_> = messages(&rig.lines.take(Line::A))
        .into_values()
        .filter(|frame| is_market(frame))
        .map(|frame| u64::from_le_bytes(frame[10..18].try_into().unwrap()))
        .collect();
    assert_eq!(times, [100, 101, 300, 301, 302, 303]);
    assert_eq!(rig.publisher.counters().events_too_large.get(), 1);
}

#[test]
fn session_messages_cannot_be_published_by_the_caller() {
    let mut rig = live(PublisherConfig::default());
    let refused = rig.publisher.publish(&SourcePosition::NULL, START);
    assert!(matches!(
        refused,
        Err(PublishError::NotMarketData {
            name: "SourcePosition"
        })
    ));
    rig.publisher.flush(START).unwrap();
    assert!(rig.lines.take(Line::A).is_empty());
}

#[test]
fn an_event_that_was_not_ended_is_dropped() {
    let mut rig = live(PublisherConfig::default());
    rig.publisher.event(START, |sink| sink.push(&tick(1))).unwrap();
    rig.publisher.publish(&tick(2), START).unwrap();
    let sent = messages(&rig.lines.take(Line::A));
    assert_eq!(sent.values().filter(|frame| is_market(frame)).count(), 1);
}

#[test]
fn events_without_messages_move_the_position_and_send_nothing() {
    let mut rig = live(PublisherConfig::default());
    for n in 0..10 {
        rig.publisher
            .event(START, |sink| sink.end_event(SOURCE, n + 1))
            .unwrap();
    }
    rig.publisher.flush(START).unwrap();
    assert!(rig.lines.take(Line::A).is_empty());
    assert_eq!(rig.publisher.position(SOURCE), 10);
    assert_eq!(rig.publisher.committed(SOURCE), 0);
    assert_eq!(rig.publisher.source_messages(), 0);
}

#[test]
fn a_position_is_committed_once_its_packet_is_and_not_before() {
    let mut rig = live(PublisherConfig::default());
    for n in 0..200 {
        let event = |sink: &mut publisher::Sink<'_, Recorded>| {
            sink.push(&tick(n));
            sink.end_event(SOURCE, n + 1);
        };
        rig.publisher.event(START, event).unwrap();
        let on_the_line = rig.lines.take(Line::A);
        let newest = on_the_line.iter().flat_map(|bytes| {
            let packet = Packet::parse(bytes).unwrap();
            let positions = packet.messages().filter_map(|(_, frame)| {
                let position = frame.view::<SourcePosition>()?;
                Some(position.position.get())
            });
            positions.collect::<Vec<_>>()
        });
        if let Some(sent) = newest.last() {
            assert_eq!(rig.publisher.committed(SOURCE), sent);
        }
        assert!(rig.publisher.committed(SOURCE) <= n, "its packet is still open");
    }
    assert!(rig.publisher.committed(SOURCE) > 100);
    rig.publisher.flush(START).unwrap();
    assert_eq!(rig.publisher.committed(SOURCE), 200);
}

#[test]
fn heartbeats_come_only_when_idle_and_name_the_next_sequence() {
    let mut rig = live(PublisherConfig::default());
    let mut now = START;
    let mut next = 3;
    let mut last_sent = START;
    for step in 0..3000_u64 {
        now += mix(step) % (30 * MS);
        if mix(step).is_multiple_of(4) {
            rig.publisher.publish(&tick(step), now).unwrap();
        }
        rig.publisher.tick(now).unwrap();
        for bytes in rig.lines.take(Line::A) {
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.sequence(), next);
            if packet.header().is_heartbeat() {
                assert!(now - last_sent >= 100 * MS);
            }
            next = packet.end();
            last_sent = now;
        }
        assert!(now - last_sent < 130 * MS);
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_the_heartbeats() {
    let mut rig = live(PublisherConfig::default());
    let now = START - 900_000 * MS;
    rig.publisher.tick(now).unwrap();
    rig.publisher.tick(now + 100 * MS).unwrap();
    assert_eq!(rig.lines.take(Line::A).len(), 1);
}

#[test]
fn the_end_of_the_session_is_said_once_and_heartbeats_repeat_it_for_the_linger_time() {
    let mut rig = live(PublisherConfig::default());
    rig.publisher.publish_batch(&[tick(1); 40], START).unwrap();
    rig.publisher.end_session(START).unwrap();
    let sent = rig.lines.take(Line::A);
    let last = Packet::parse(sent.last().unwrap()).unwrap();
    let (_, frame) = last.messages().next().unwrap();
    assert_eq!(frame.view::<EndOfSession>().unwrap().source_messages.get(), 40);
    let end = last.end();
    for ms in 0..=4000 {
        rig.publisher.tick(START + ms * MS).unwrap();
    }
    assert_eq!(rig.publisher.phase(), Phase::Done);
    let beats = rig.lines.take(Line::A);
    assert_eq!(beats.len(), 150);
    for beat in &beats {
        let beat = Packet::parse(beat).unwrap();
        assert_eq!(
            (beat.sequence(), beat.header().flags),
            (end, flags::END_OF_SESSION)
        );
    }
    let refused = rig.publisher.publish(&tick(2), START);
    assert!(matches!(refused, Err(PublishError::Ended { session: 1 })));
}

#[test]
fn publishing_stops_before_the_reserved_end_and_goes_on_when_it_is_extended() {
    let mut rig = live_with(PublisherConfig::default(), publisher::MIN_BLOCK);
    let (store, grant) = rig.store.take().unwrap();
    let mut said = 0;
    let stopped = loop {
        match rig.publisher.publish(&tick(said), START) {
            Ok(()) => said += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(stopped, PublishError::OutOfReserve { .. }), "{stopped}");
    let next = rig.publisher.next_sequence();
    assert!(next <= grant.reserved_end && next + 200 > grant.reserved_end);
    rig.lines.take(Line::A);
    rig.publisher.flush(START).unwrap();
    rig.publisher.publish(&tick(said), START).unwrap_err();
    assert!(rig.lines.take(Line::A).is_empty());
    let end = store.extend(&grant, grant.reserved_end + 4096).unwrap();
    rig.publisher.extend_reservation(end);
    rig.publisher.publish(&tick(said), START).unwrap();
    let sent = rig.lines.take(Line::A);
    assert_eq!(Packet::parse(&sent[0]).unwrap().sequence(), next);
}

#[test]
fn a_deposed_publisher_sends_no_more_packets() {
    let mut rig = live(PublisherConfig::default());
    rig.publisher.publish(&tick(1), START).unwrap();
    let event = |sink: &mut publisher::Sink<'_, Recorded>| {
        sink.push(&tick(2));
        sink.end_event(SOURCE, 1);
    };
    rig.publisher.event(START, event).unwrap();
    rig.publisher.reserve().depose();
    rig.publisher.extend_reservation(1 << 40);
    rig.lines.take(Line::A);
    assert!(matches!(
        rig.publisher.flush(START),
        Err(PublishError::Deposed { .. })
    ));
    assert!(matches!(
        rig.publisher.publish(&tick(2), START),
        Err(PublishError::Deposed { .. })
    ));
    assert!(matches!(
        rig.publisher.end_session(START),
        Err(PublishError::Deposed { .. })
    ));
    assert!(matches!(
        rig.publisher.tick(START + 100 * MS),
        Err(PublishError::Deposed { .. })
    ));
    rig.publisher.tick(START + 200 * MS).unwrap();
    assert!(rig.lines.take(Line::A).is_empty());
}

#[test]
fn packet_limits_that_cannot_be_are_refused() {
    for limit in [0, 128, 200, 1472, 8960] {
        let dir = tempfile::tempdir().unwrap();
        let config = PublisherConfig {
            packet_limit: limit,
            ..PublisherConfig::default()
        };
        let opened = open_without_thread(config, &place(dir.path(), "boot"), Recorded::default(), START);
        assert!(opened.is_err(), "{limit}");
    }
}

/// A line that takes nothing.
struct Dead;

impl Lines for Dead {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        if line == Line::A { burst.count() } else { 0 }
    }
}

#[test]
fn what_a_line_does_not_take_is_counted_and_published_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    let (mut publisher, _) = open_without_thread(at_once(), &place, Dead, START).unwrap();
    publisher.publish_batch(&[tick(1); 10], START).unwrap();
    let counters = publisher.counters();
    assert_eq!(counters.send_failures[0].get(), 0);
    assert_eq!(counters.send_failures[1].get(), 3, "a heartbeat and two packets");
    assert_eq!(source_messages(&place.journal, 1).len(), 10);
    assert_eq!(counters.messages.get(), 13);
    assert_eq!(counters.packets.get(), 2);
}
