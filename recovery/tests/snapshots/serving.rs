//! How snapshots are asked for, and how they come.

use super::*;

#[test]
fn a_snapshot_is_the_state_below_its_sequence_and_comes_in_parts() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let limits = Limits {
        max_data: 20_000,
        ..Limits::default()
    };
    let mut pair = Pair::new(&bed, limits);
    pair.ask(&mut bed, 3, 0);
    let snapshot = pair.snapshot();
    assert_eq!(snapshot.place.sequence, bed.feed.next);
    assert_eq!(snapshot.books.checksum(), bed.expected(bed.feed.next));
    assert_eq!(snapshot.books.live_orders(), 8_000);
    let parts = pair
        .events
        .iter()
        .filter(|event| matches!(event, Got::Part { .. }));
    assert!(parts.count() > 5);
    assert!(matches!(
        pair.events.last(),
        Some(Got::Complete {
            request: 5,
            status: CompleteStatus::COMPLETE
        })
    ));

    // It stays the same while the journal grows, and is made anew once it is too far behind.
    bed.feed.orders(10, 20);
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.snapshot().place, snapshot.place);
    let end = bed.feed.next;
    pair.ask(&mut bed, 3, end);
    let newer = pair.snapshot();
    assert_eq!(newer.place.sequence, bed.feed.next);
    assert_eq!(newer.books.checksum(), bed.expected(bed.feed.next));
    assert_eq!(bed.count(|stats| &stats.made), 2);
    assert_eq!(bed.count(|stats| &stats.served), 3);
}

#[test]
fn many_clients_share_one_snapshot_and_cost_no_more_memory_for_it() {
    let mut bed = Bed::with(Feed::keeping, |config| SnapshotConfig {
        max_transfers: 20,
        ..config
    });
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let mut pairs: Vec<Pair> = (0..20).map(|_| Pair::new(&bed, Limits::default())).collect();
    let before = pairs[0].server.memory();
    for pair in &mut pairs {
        pair.client.request_snapshot(5, 3, 0, bed.now).expect("ready");
        let sent = pair.server.on_bytes(pair.client.output());
        pair.client.consumed(sent);
        // They wait, or have a part to send and send nothing of it.
        assert!(
            pair.server
                .poll_output(bed.now, &mut pair.store)
                .packets
                .is_empty()
        );
    }
    bed.keep();
    for pair in &mut pairs {
        assert!(
            !pair
                .server
                .poll_output(bed.now, &mut pair.store)
                .packets
                .is_empty()
        );
        assert_eq!(pair.server.memory(), before);
    }
    assert_eq!(bed.count(|stats| &stats.made), 1);
    assert_eq!(bed.count(|stats| &stats.transfers), 20);

    // There is no room for one more, until one is through.
    let mut late = Pair::new(&bed, Limits::default());
    late.ask(&mut bed, 3, 0);
    assert_eq!(late.refused(), RejectCode::OVER_LIMITS);
    pairs[0].settle(bed.now);
    assert_eq!(pairs[0].snapshot().books.live_orders(), 8_000);
    late.ask(&mut bed, 3, 0);
    assert_eq!(late.snapshot().books.live_orders(), 8_000);
    drop(pairs);
    assert_eq!(
        bed.count(|stats| &stats.transfers),
        0,
        "who leaves gives the place back"
    );
}

#[test]
fn a_request_ahead_of_the_books_waits_for_them_and_not_for_ever() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(1, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    let wanted = bed.feed.next + 20;
    pair.ask(&mut bed, 3, wanted);
    assert_eq!(pair.events, [], "it waits");
    bed.feed.orders(1, 20);
    bed.keep();
    pair.settle(bed.now);
    assert_eq!(pair.snapshot().place.sequence, wanted);

    pair.ask(&mut bed, 3, wanted + 1);
    assert_eq!(pair.events, []);
    bed.now += 3 * SECOND;
    pair.settle(bed.now);
    let refused: Vec<Got> = pair
        .events
        .iter()
        .filter(|event| !matches!(event, Got::Heartbeat { .. }))
        .cloned()
        .collect();
    assert!(
        matches!(
            refused[..],
            [
                Got::Reject {
                    code: RejectCode::NOT_YET_PUBLISHED,
                    retry: 1..,
                    ..
                },
                Got::Complete { .. }
            ]
        ),
        "{refused:?}"
    );
}

#[test]
fn gap_fill_and_a_snapshot_take_turns_on_one_connection() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let limits = Limits {
        max_data: 9_000,
        ..Limits::default()
    };
    let mut pair = Pair::new(&bed, limits);
    pair.client.request_snapshot(5, 3, 0, bed.now).expect("ready");
    pair.settle(bed.now);
    bed.keep();
    pair.client
        .request(6, 3, &[range(2, 1_000)], bed.now)
        .expect("ready");
    pair.settle(bed.now);
    let at = |wanted: fn(&Got) -> bool| {
        let found = |event: &Got| wanted(event);
        let first = pair.events.iter().position(found).expect("it came");
        (first, pair.events.iter().rposition(found).expect("it came"))
    };
    let parts = at(|event| matches!(event, Got::Part { .. }));
    let packets = at(|event| matches!(event, Got::Packet { .. }));
    assert!(
        parts.0 < packets.1 && packets.0 < parts.1,
        "{parts:?} {packets:?}"
    );
    assert!(
        packets.1 < parts.1,
        "the short answer does not wait for the long one"
    );
    assert_eq!(pair.snapshot().books.checksum(), bed.expected(bed.feed.next));
}

/// A part as a hostile service could send it.
fn part(change: impl FnOnce(&mut SnapshotPart), bytes: &[u8]) -> Vec<u8> {
    let mut block = SnapshotPart {
        request_id: 5.into(),
        session: 3.into(),
        epoch: 1.into(),
        sequence: 100.into(),
        total_length: 1_000.into(),
        offset: 0.into(),
    };
    change(&mut block);
    let mut buffer = vec![0; 4096];
    let length = stream::put_with_data(&mut buffer, &block, &[bytes]).expect("there is room");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_client_takes_only_the_next_part_of_the_snapshot_that_it_asked_for() {
    let bed = Bed::new();
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("another session", part(|part| part.session = 4.into(), &[0; 10])),
        ("too old", part(|part| part.sequence = 49.into(), &[0; 10])),
        (
            "longer than is taken",
            part(|part| part.total_length = u64::MAX.into(), &[0; 10]),
        ),
        (
            "not the first part",
            part(|part| part.offset = 10.into(), &[0; 10]),
        ),
        ("empty", part(|_| (), &[])),
        (
            "more than all",
            part(|part| part.total_length = 9.into(), &[0; 10]),
        ),
        (
            "of another request",
            part(|part| part.request_id = 6.into(), &[0; 10]),
        ),
        (
            "twice the same",
            [part(|_| (), &[0; 10]), part(|_| (), &[0; 10])].concat(),
        ),
        (
            "of another snapshot",
            [
                part(|_| (), &[0; 10]),
                part(
                    |part| (part.offset, part.sequence) = (10.into(), 101.into()),
                    &[0; 10],
                ),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in hostile {
        let mut pair = Pair::new(&bed, Limits::default());
        pair.client.request_snapshot(5, 3, 50, 0).expect("ready");
        let events = &mut pair.events;
        pair.client
            .on_bytes(&bytes, 0, &mut |event| events.push(event.into()));
        assert_eq!(pair.events.last(), Some(&Got::Closed("protocol")), "{what}");
    }
}
