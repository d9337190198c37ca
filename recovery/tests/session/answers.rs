//! How ranges are answered: whole, in order, however the bytes are cut.

use crate::common::pair::{Pair, store};
use crate::common::{Answered, Got};
use crate::{COMPLETE, answered, simple};
use tempfile::TempDir;
use twinline_recovery::{Limits, range};
use twinline_wire::field::RejectCode;

#[test]
fn a_login_says_how_far_the_journal_is() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::new(Limits::default(), store(&dir));
    pair.settle();
    assert_eq!(
        pair.events,
        [Got::Accepted {
            session: 3,
            oldest: 1,
            next: 102
        }]
    );
}

#[test]
fn every_range_comes_as_whole_packets_in_the_order_asked() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    let all = pair.ask(1, 3, &[range(1, 102)]);
    assert_eq!(all, answered(&[(1, 102)], &[], COMPLETE));
    let some = pair.ask(2, 3, &[range(50, 51), range(5, 13), range(102, 103)]);
    let refused = (102, 103, RejectCode::NOT_YET_PUBLISHED);
    assert_eq!(some, answered(&[(42, 52), (2, 22)], &[refused], COMPLETE));
}

#[test]
fn answers_are_the_same_however_the_bytes_are_cut() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    for piece in [1, 7, 64, 1000] {
        let mut pair = Pair::over(&dir, Limits::default());
        pair.piece = piece;
        let ranges = [range(1, 40), range(0, 5), range(90, 200)];
        let expected = [
            (0, 5, RejectCode::MALFORMED),
            (102, 200, RejectCode::NOT_YET_PUBLISHED),
        ];
        assert_eq!(
            pair.ask(1, 3, &ranges),
            answered(&[(1, 42), (82, 102)], &expected, COMPLETE)
        );
    }
}

#[test]
fn several_requests_are_open_at_once_and_answered_in_order() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    for request in 1..=16 {
        let begin = u64::from(request) * 5;
        pair.client
            .request(request, 3, &[range(begin, begin + 5)], 0)
            .expect("allowed");
    }
    assert!(
        pair.client.request(17, 3, &[range(1, 2)], 0).is_err(),
        "more than the service allows"
    );
    assert!(
        pair.client.request(16, 3, &[range(1, 2)], 0).is_err(),
        "still open"
    );
    pair.settle();
    let completed: Vec<u32> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Got::Complete { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(completed, (1..=16).collect::<Vec<_>>());
    assert!(pair.client.open_requests().is_empty());
}

#[test]
fn a_packet_that_was_damaged_is_left_out_and_told() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    pair.client
        .request(1, 3, &[range(1, 102)], 0)
        .expect("it is ready");
    let sent = pair.server.on_bytes(pair.client.output());
    pair.client.consumed(sent);
    let output = pair.server.poll_output(0, &mut pair.store);
    let mut bytes = [output.head, output.packets, output.control].concat();
    // The last message of packet 2..12: behind the head, the first packet's 128 bytes, and the second's header.
    let at = output.head.len() + 128 + 48 + 9 * 20 + 15;
    bytes[at] ^= 1;
    let mut events: Vec<Got> = Vec::new();
    pair.client
        .on_bytes(&bytes, 0, &mut |event| events.push(event.into()));
    assert_eq!(events.iter().filter(|event| **event == Got::BadPacket).count(), 1);
    assert_eq!(
        Answered::of(1, &events),
        answered(&[(1, 2), (12, 102)], &[], COMPLETE)
    );
}
