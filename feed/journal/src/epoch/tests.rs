//! The rule of the epoch store, case by case.

use super::*;
use crate::Tail;

const JOURNAL: u64 = 11;
const OTHER_JOURNAL: u64 = 22;

fn holder(host: &str, boot: &str) -> Holder {
    Holder {
        host: host.to_owned(),
        boot: boot.to_owned(),
    }
}

fn tail(session: u32, epoch: u32, next: u64) -> Option<Tail> {
    Some(Tail {
        session,
        epoch,
        epoch_base: 1,
        next,
        ended: false,
    })
}

fn request(session: Option<u32>, tail: Option<Tail>) -> Request {
    Request {
        session,
        tail,
        journal: JOURNAL,
        holder: holder("a", "1"),
        reserve: 1000,
    }
}

/// Session 1 with epoch 1, held by a/1 with `JOURNAL`, sequences below 1001 reserved.
fn first() -> ChannelRecord {
    decide(7, None, &request(None, None)).unwrap().0
}

fn bounds(grant: &Grant) -> (u32, u64, u64, u64) {
    (grant.epoch, grant.valid_end, grant.base, grant.reserved_end)
}

#[test]
fn the_first_session_is_one_or_the_one_asked_for() {
    let (record, grant) = decide(7, None, &request(None, None)).unwrap();
    assert_eq!((grant.session, grant.new_session, grant.channel), (1, true, 7));
    assert_eq!(bounds(&grant), (1, 1, 1, 1001));
    assert_eq!(
        (record.session, record.ended, record.journal),
        (1, false, JOURNAL)
    );
    let (_, grant) = decide(7, None, &request(Some(20260101), None)).unwrap();
    assert_eq!((grant.session, grant.base), (20260101, 1));
    assert_eq!(
        decide(7, None, &request(Some(0), None)).unwrap_err(),
        Refusal::SessionMustGrow { asked: 0, known: 0 }
    );
}

#[test]
fn after_a_kill_the_epoch_goes_on_right_behind_the_journal() {
    let (record, grant) = decide(7, Some(&first()), &request(None, tail(1, 1, 500))).unwrap();
    assert_eq!(bounds(&grant), (2, 500, 500, 1500));
    assert!(!grant.new_session && grant.cuts.is_empty());
    // And again, by the session's number.
    let (_, grant) = decide(7, Some(&record), &request(Some(1), tail(1, 2, 700))).unwrap();
    assert_eq!(bounds(&grant), (3, 700, 700, 1700));
}

#[test]
fn a_reservation_never_shrinks() {
    let record = extend(
        Some(&first()),
        &decide(7, None, &request(None, None)).unwrap().1,
        9000,
    )
    .unwrap();
    let (_, grant) = decide(7, Some(&record), &request(None, tail(1, 1, 500))).unwrap();
    assert_eq!(bounds(&grant), (2, 500, 500, 9000));
}

#[test]
fn after_a_power_cut_or_a_takeover_the_epoch_begins_where_nobody_has_published() {
    for holder in [holder("a", "2"), holder("b", "1")] {
        let asked = Request {
            holder: holder.clone(),
            ..request(None, tail(1, 1, 500))
        };
        let (record, grant) = decide(7, Some(&first()), &asked).unwrap();
        assert_eq!(bounds(&grant), (2, 500, 1001, 2001));
        assert_eq!(record.holder, holder);
    }
}

#[test]
fn another_journal_on_the_same_machine_is_a_takeover() {
    let asked = Request {
        journal: OTHER_JOURNAL,
        ..request(None, tail(1, 1, 300))
    };
    let (_, grant) = decide(7, Some(&first()), &asked).unwrap();
    assert_eq!(bounds(&grant), (2, 300, 1001, 2001));
}

#[test]
fn a_new_session_begins_at_one_and_its_number_must_grow() {
    let (record, grant) = decide(7, Some(&first()), &request(Some(2), tail(1, 1, 500))).unwrap();
    assert_eq!((grant.session, grant.new_session), (2, true));
    assert_eq!(bounds(&grant), (1, 1, 1, 1001));
    assert_eq!(record.epochs.len(), 1);
    let refused = decide(7, Some(&record), &request(Some(1), tail(1, 1, 500))).unwrap_err();
    assert_eq!(refused, Refusal::SessionMustGrow { asked: 1, known: 2 });
    // Nor may it be below what the journal holds.
    let refused = decide(7, Some(&record), &request(Some(3), tail(4, 1, 5))).unwrap_err();
    assert_eq!(refused, Refusal::SessionMustGrow { asked: 3, known: 4 });
}

#[test]
fn a_session_that_ended_is_not_continued() {
    let (record, grant) = decide(7, None, &request(None, None)).unwrap();
    let ended = end_session(Some(&record), &grant).unwrap();
    let refused = decide(7, Some(&ended), &request(None, tail(1, 1, 500))).unwrap_err();
    assert_eq!(refused, Refusal::Ended { session: 1 });
    // Killed between EndOfSession and the store.
    let mut tail_ended = tail(1, 1, 500);
    tail_ended.as_mut().unwrap().ended = true;
    let refused = decide(7, Some(&record), &request(Some(1), tail_ended)).unwrap_err();
    assert_eq!(refused, Refusal::Ended { session: 1 });
    assert!(decide(7, Some(&ended), &request(Some(2), tail_ended)).is_ok());
}

#[test]
fn a_known_session_is_not_continued_on_a_journal_that_lacks_it() {
    let other = |tail| Request {
        journal: OTHER_JOURNAL,
        ..request(None, tail)
    };
    for tail in [None, tail(1, 1, 500)] {
        let record = ChannelRecord {
            session: 2,
            ..first()
        };
        let refused = decide(7, Some(&record), &other(tail)).unwrap_err();
        assert_eq!(refused, Refusal::EmptyJournal { session: 2 });
    }
}

#[test]
fn killed_before_its_first_packet_a_session_begins_again_on_its_own_journal() {
    let (_, grant) = decide(7, Some(&first()), &request(None, None)).unwrap();
    assert_eq!(bounds(&grant), (2, 1, 1, 1001));
    assert!(grant.new_session);
    // A power cut instead: something may have been sent.
    let asked = Request {
        holder: holder("a", "2"),
        ..request(None, None)
    };
    let (_, grant) = decide(7, Some(&first()), &asked).unwrap();
    assert_eq!(bounds(&grant), (2, 1, 1001, 2001));
}

#[test]
fn a_journal_that_has_seen_more_than_the_store_is_refused() {
    let refused = decide(7, None, &request(None, tail(3, 2, 500))).unwrap_err();
    assert_eq!(refused, Refusal::UnknownToStore { session: 3, epoch: 2 });
    let refused = decide(7, None, &request(Some(3), tail(3, 2, 500))).unwrap_err();
    assert_eq!(refused, Refusal::UnknownToStore { session: 3, epoch: 2 });
    assert!(decide(7, None, &request(Some(4), tail(3, 2, 500))).is_ok());
    for tail in [tail(1, 2, 500), tail(2, 1, 500)] {
        let refused = decide(7, Some(&first()), &request(None, tail)).unwrap_err();
        assert!(matches!(refused, Refusal::UnknownToStore { .. }), "{refused}");
    }
}

#[test]
fn what_an_unseen_epoch_made_void_is_cut() {
    // b took over at 400 while a held up to 500; then a comes back.
    let taken = Request {
        holder: holder("b", "1"),
        journal: OTHER_JOURNAL,
        ..request(None, tail(1, 1, 400))
    };
    let (record, _) = decide(7, Some(&first()), &taken).unwrap();
    let (record, grant) = decide(7, Some(&record), &request(None, tail(1, 1, 500))).unwrap();
    assert_eq!(
        grant.cuts,
        [Cut {
            epoch: 2,
            valid_end: 400
        }]
    );
    assert_eq!(bounds(&grant), (3, 400, 2001, 3001));
    // A journal that holds no more than what is valid is not cut; nor one that saw the epochs start.
    let (_, grant) = decide(7, Some(&record), &request(None, tail(1, 1, 400))).unwrap();
    assert_eq!(grant.cuts, []);
    let (_, grant) = decide(7, Some(&record), &request(None, tail(1, 3, 2500))).unwrap();
    assert_eq!(grant.cuts, []);
}

#[test]
fn only_cuts_that_cut_are_named_and_the_least_valid_end_counts() {
    let epochs = [(1, 1, 1), (2, 400, 1001), (3, 450, 2001), (4, 300, 3001)];
    let record = ChannelRecord {
        epochs: epochs
            .map(|(epoch, valid_end, base)| EpochRecord {
                epoch,
                valid_end,
                base,
            })
            .to_vec(),
        reserved_end: 4001,
        ..first()
    };
    let (_, grant) = decide(7, Some(&record), &request(Some(1), tail(1, 1, 500))).unwrap();
    let cut = |epoch, valid_end| Cut { epoch, valid_end };
    assert_eq!(grant.cuts, [cut(2, 400), cut(4, 300)]);
    assert_eq!(grant.valid_end, 300);
    // Starting the next session, the journal's old one is cut all the same.
    let (_, grant) = decide(7, Some(&record), &request(Some(2), tail(1, 1, 500))).unwrap();
    assert_eq!(grant.cuts, [cut(2, 400), cut(4, 300)]);
    assert_eq!(bounds(&grant), (1, 1, 1, 1001));
}

#[test]
fn an_epoch_that_never_began_keeps_its_base_after_a_kill() {
    // a takes over after a power cut (base 1001) and is killed before EpochStart.
    let asked = Request {
        holder: holder("a", "2"),
        ..request(None, tail(1, 1, 500))
    };
    let (record, grant) = decide(7, Some(&first()), &asked).unwrap();
    assert_eq!(grant.base, 1001);
    let (_, grant) = decide(7, Some(&record), &asked).unwrap();
    assert_eq!(bounds(&grant), (3, 500, 1001, 2001));
}

#[test]
fn a_deposed_holder_cannot_extend_nor_end() {
    let (record, old) = decide(7, None, &request(None, None)).unwrap();
    let (record, new) = decide(7, Some(&record), &request(None, tail(1, 1, 500))).unwrap();
    let deposed = Refusal::Deposed {
        session: 1,
        epoch: 1,
        by_session: 1,
        by_epoch: 2,
    };
    assert_eq!(extend(Some(&record), &old, 5000).unwrap_err(), deposed);
    assert_eq!(end_session(Some(&record), &old).unwrap_err(), deposed);
    assert!(matches!(extend(None, &old, 5000), Err(Refusal::Deposed { .. })));
    assert_eq!(extend(Some(&record), &new, 5000).unwrap().reserved_end, 5000);
    assert_eq!(extend(Some(&record), &new, 5).unwrap().reserved_end, 1500);
    assert!(end_session(Some(&record), &new).unwrap().ended);
}

#[test]
fn numbers_that_run_out_are_refused() {
    let nothing = Request {
        reserve: 0,
        ..request(None, None)
    };
    assert!(matches!(decide(7, None, &nothing), Err(Refusal::Number(_))));
    let all = Request {
        reserve: u64::MAX - 1,
        ..request(None, None)
    };
    assert!(matches!(decide(7, None, &all), Err(Refusal::Number(_))));
    let epochs = vec![EpochRecord {
        epoch: u32::MAX,
        valid_end: 1,
        base: 1,
    }];
    let record = ChannelRecord { epochs, ..first() };
    assert!(matches!(
        decide(7, Some(&record), &request(None, tail(1, 1, 5))),
        Err(Refusal::Number(_))
    ));
}

#[test]
fn a_grant_names_the_session_before_it_also_after_a_restart() {
    let previous = |record: &ChannelRecord, request: Request| decide(7, Some(record), &request).unwrap();
    assert_eq!(decide(7, None, &request(Some(5), None)).unwrap().1.previous, 0);
    let (second, grant) = previous(&first(), request(Some(4), tail(1, 1, 500)));
    assert_eq!((grant.session, grant.previous), (4, 1));
    let (_, again) = previous(&second, request(Some(4), tail(1, 1, 500)));
    assert_eq!((again.session, again.epoch, again.previous), (4, 2, 1));
    // Of session 4 a power cut left nothing in the journal: nothing of it is in any stream.
    let (_, third) = previous(&second, request(Some(9), tail(1, 1, 500)));
    assert_eq!(third.previous, 1);
    // On another journal it is not known what session 4 had.
    let other = Request {
        journal: OTHER_JOURNAL,
        ..request(Some(9), tail(1, 1, 500))
    };
    assert_eq!(previous(&second, other).1.previous, 4);
}

#[test]
fn a_record_written_before_sessions_named_the_one_before_is_read() {
    let mut json = serde_json::to_value(first()).unwrap();
    json.as_object_mut().unwrap().remove("previous");
    assert_eq!(serde_json::from_value::<ChannelRecord>(json).unwrap(), first());
}
