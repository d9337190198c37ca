//! Whole streams: what their notices, epochs and sessions do to the books.

mod support;

use twinline_book::{Cause, Follower, Place, ReplaceError, Told, Wanted};
use twinline_wire::field::SessionState;
use twinline_wire::market::PriceTick;
use twinline_wire::session::{EndOfSession, EpochStart, Lost, SessionEvent, StateReplaced, Void};
use twinline_wire::{Message, OpenPacket, Packet, Price, Stamp, flags};

const STAMP: Stamp = Stamp {
    flags: 0,
    channel: 1,
    session: 7,
    epoch: 1,
    epoch_base: 1,
    sequence: 1,
    sending_time: 5,
};

/// A follower, and what it said.
#[derive(Default)]
struct Scene {
    follower: Follower,
    told: Vec<Told>,
}

impl Scene {
    fn packet(&mut self, stamp: Stamp, messages: impl FnOnce(&mut OpenPacket, &mut [u8])) {
        let mut buffer = vec![0; 4096];
        let mut open = OpenPacket::new();
        messages(&mut open, &mut buffer);
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::parse(&buffer[..length]).expect("a sound packet");
        self.follower.packet(&packet, |_, told| self.told.push(told));
    }

    /// Ticks of this epoch from `sequence` up to `end`; the price is the sequence.
    fn ticks(&mut self, stamp: Stamp, end: u64) {
        self.packet(stamp, |open, buffer| {
            for sequence in stamp.sequence..end {
                assert!(open.push(buffer, &tick(sequence)));
            }
        });
    }

    fn epoch_start(&mut self, epoch: u32, base: u64, valid_end: u64) {
        let stamp = Stamp {
            epoch,
            epoch_base: base,
            sequence: base,
            ..STAMP
        };
        self.packet(stamp, |open, buffer| {
            let start = EpochStart {
                valid_end: valid_end.into(),
                epoch: epoch.into(),
            };
            assert!(open.push(buffer, &start));
        });
    }

    fn notice<M: Message>(&mut self, sequence: u64, message: &M) {
        let stamp = Stamp {
            flags: flags::LOCAL,
            sequence,
            ..STAMP
        };
        self.packet(stamp, |open, buffer| assert!(open.push(buffer, message)));
    }

    fn next(&self) -> u64 {
        self.follower.place().sequence
    }

    fn is_valid(&self) -> bool {
        self.follower.books().is_valid()
    }

    /// The price of the last tick.
    fn last(&self) -> Option<i64> {
        let book = self.follower.books().book(65_537)?;
        Some(book.last_tick()?.price.mantissa())
    }
}

fn tick(sequence: u64) -> PriceTick {
    PriceTick {
        instrument: 65_537.into(),
        price: Price::new(sequence as i64),
        ..PriceTick::NULL
    }
}

fn at(sequence: u64) -> Stamp {
    Stamp { sequence, ..STAMP }
}

/// Behind sequences 1..10 of session 7.
fn at_ten() -> Scene {
    let mut scene = Scene::default();
    scene.epoch_start(1, 1, 1);
    scene.ticks(at(2), 10);
    assert_eq!(
        (scene.next(), scene.is_valid(), scene.last()),
        (10, true, Some(9))
    );
    assert_eq!(scene.told, [Told::Session { session: 7 }]);
    scene.told.clear();
    scene
}

fn lost(begin: u64, end: u64) -> Lost {
    Lost {
        begin: begin.into(),
        end: end.into(),
        ..Lost::NULL
    }
}

#[test]
fn messages_are_applied_once_whatever_packets_they_come_in() {
    let mut scene = at_ten();
    scene.ticks(at(8), 13);
    scene.ticks(at(4), 6);
    assert_eq!(
        (scene.next(), scene.last(), scene.follower.skipped()),
        (13, Some(12), 4)
    );
    assert!(scene.is_valid() && scene.told.is_empty());
}

#[test]
fn a_gap_that_nobody_announced_makes_the_books_invalid() {
    let mut scene = at_ten();
    scene.ticks(at(12), 13);
    let missing = Told::Invalid {
        begin: 10,
        end: 12,
        cause: Cause::Missing,
    };
    assert_eq!((scene.told.as_slice(), scene.is_valid()), (&[missing][..], false));
    assert_eq!((scene.next(), scene.last()), (13, Some(12)), "it goes on");
}

#[test]
fn a_session_that_is_met_in_its_middle_is_invalid() {
    let mut scene = Scene::default();
    scene.ticks(at(5), 7);
    assert!(!scene.is_valid());
    assert_eq!(scene.next(), 7);
}

#[test]
fn a_loss_is_told_and_the_stream_goes_on_behind_it() {
    let mut scene = at_ten();
    scene.notice(50, &lost(10, 50));
    let told = Told::Invalid {
        begin: 10,
        end: 50,
        cause: Cause::Lost,
    };
    assert_eq!((scene.told.as_slice(), scene.next()), (&[told][..], 50));
    scene.ticks(at(50), 51);
    assert_eq!(
        (scene.last(), scene.told.len(), scene.is_valid()),
        (Some(50), 1, false)
    );
}

#[test]
fn a_loss_of_what_a_snapshot_holds_is_none() {
    let mut scene = at_ten();
    scene.notice(10, &lost(3, 8));
    assert!(scene.is_valid() && scene.told.is_empty());
}

#[test]
fn a_session_without_an_end_stays_where_it_is_and_has_ended_when_it_is_given_up() {
    let mut scene = at_ten();
    scene.notice(10, &lost(10, u64::MAX));
    assert_eq!((scene.next(), scene.is_valid()), (10, false));
    let event = SessionEvent {
        state: SessionState::ABANDONED,
        ..SessionEvent::NULL
    };
    assert!(!scene.follower.has_ended());
    scene.notice(10, &event);
    assert!(scene.follower.has_ended());
}

#[test]
fn an_epoch_that_cuts_nothing_off_goes_on_valid_also_over_what_never_existed() {
    for base in [10, 70] {
        let mut scene = at_ten();
        scene.epoch_start(2, base, 10);
        assert!(scene.is_valid() && scene.told.is_empty(), "base {base}");
        let place = scene.follower.place();
        assert_eq!(
            (place.epoch, place.epoch_base, place.sequence),
            (2, base, base + 1)
        );
        scene.ticks(at(base + 1), base + 3);
        assert_eq!(scene.next(), base + 1, "the old epoch has nothing more to say");
    }
}

#[test]
fn what_an_epoch_cut_off_and_was_applied_makes_the_books_invalid_with_and_without_a_notice() {
    let told = Told::Invalid {
        begin: 7,
        end: 10,
        cause: Cause::Void,
    };
    let mut scene = at_ten();
    scene.epoch_start(2, 70, 7);
    assert_eq!((scene.told.as_slice(), scene.is_valid()), (&[told][..], false));

    let mut scene = at_ten();
    let void = Void {
        begin: 7.into(),
        end: 10.into(),
        epoch: 2.into(),
    };
    scene.notice(10, &void);
    scene.epoch_start(2, 70, 7);
    assert_eq!(
        (scene.told.as_slice(), scene.is_valid()),
        (&[told][..], false),
        "told once"
    );
    assert_eq!(scene.next(), 71);
}

#[test]
fn what_stood_before_an_epoch_and_is_missing_makes_the_books_invalid() {
    let mut scene = at_ten();
    scene.epoch_start(2, 70, 12);
    let missing = Told::Invalid {
        begin: 10,
        end: 12,
        cause: Cause::Missing,
    };
    assert_eq!(scene.told, [missing]);
}

#[test]
fn a_new_session_begins_with_empty_books_that_are_valid_again() {
    let mut scene = at_ten();
    scene.notice(50, &lost(10, 50));
    scene.told.clear();
    let stamp = Stamp { session: 8, ..STAMP };
    scene.ticks(stamp, 3);
    assert_eq!(scene.told, [Told::Session { session: 8 }]);
    assert_eq!((scene.next(), scene.last(), scene.is_valid()), (3, Some(2), true));
    scene.ticks(at(10), 12);
    assert_eq!(scene.last(), Some(2), "the old one is over");
}

#[test]
fn a_snapshot_that_the_stream_names_makes_the_books_valid_again() {
    let mut whole = at_ten();
    whole.ticks(at(10), 50);
    let snapshot = || twinline_book::Snapshot {
        place: Place {
            channel: 1,
            session: 7,
            epoch: 1,
            epoch_base: 1,
            sequence: 50,
        },
        books: whole.follower.books().clone(),
    };
    let replaced = StateReplaced {
        sequence: 50.into(),
        epoch: 1.into(),
        file: 3.into(),
    };
    let mut scene = at_ten();
    scene.notice(50, &lost(10, 50));
    scene.notice(50, &replaced);
    let wanted = Told::Wanted(Wanted {
        session: 7,
        epoch: 1,
        sequence: 50,
        file: 3,
    });
    assert_eq!(scene.told.last(), Some(&wanted));
    scene.follower.replace(snapshot()).expect("it is the one");
    assert_eq!(
        (scene.is_valid(), scene.last(), scene.next()),
        (true, Some(49), 50)
    );
    scene.ticks(at(50), 53);
    assert!(scene.is_valid());
    let old = scene.follower.replace(snapshot());
    assert_eq!(
        old,
        Err(ReplaceError::Old {
            snapshot: 50,
            next: 53
        })
    );

    // Who started from it has nothing to do at the notice.
    let mut scene = Scene {
        follower: Follower::from_snapshot(snapshot()),
        told: Vec::new(),
    };
    scene.notice(50, &lost(10, 50));
    scene.notice(50, &replaced);
    scene.ticks(at(48), 53);
    assert!(scene.told.is_empty() && scene.is_valid());
    assert_eq!(scene.last(), Some(52));
    let mut other = snapshot();
    other.place.session = 6;
    let elsewhere = scene.follower.replace(other);
    assert!(matches!(
        elsewhere,
        Err(ReplaceError::Elsewhere { session: 6, .. })
    ));
}

#[test]
fn the_end_of_a_session_is_seen_and_heartbeats_change_nothing() {
    let mut scene = at_ten();
    scene.packet(at(10), |open, buffer| {
        assert!(open.push(buffer, &EndOfSession::NULL))
    });
    assert!(scene.follower.has_ended());
    let heartbeat = Stamp {
        session: 9,
        sequence: 90,
        ..STAMP
    };
    scene.packet(heartbeat, |_, _| {});
    assert_eq!((scene.next(), scene.follower.place().session), (11, 7));
}
