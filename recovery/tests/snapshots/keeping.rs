//! How the books are kept: files, restarts, sessions, and what is void.

use super::*;

#[test]
fn a_service_that_starts_again_goes_on_from_its_newest_file() {
    let every = |config| SnapshotConfig {
        every_messages: 1_000,
        ..config
    };
    let mut bed = Bed::with(Feed::keeping, every);
    bed.feed.start_session(3);
    for _ in 0..100 {
        bed.feed.orders(5, 20);
        bed.keep();
    }
    let files = bed.files();
    assert_eq!(files.len(), 3, "old ones are removed");
    bed.feed.orders(5, 20);
    bed.restart(every);
    bed.keep();
    assert!(bed.count(|stats| &stats.started_at) > 9_000);
    assert!(
        bed.count(|stats| &stats.read) < 1_200,
        "only what is behind the file is read"
    );
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );

    // A file that is damaged, one that is torn, one that is another's: the next older one.
    let mut bytes = fs::read(&files[2]).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], &bytes).expect("written");
    bytes.truncate(middle);
    fs::write(&files[1], &bytes).expect("written");
    bed.restart(every);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.bad_files), 2);
    let (.., older) = file::parse_name(
        files[0]
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name"),
    )
    .expect("a name");
    assert_eq!(bed.count(|stats| &stats.started_at), older);
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );

    for file in bed.files() {
        fs::write(file, b"no snapshot").expect("written");
    }
    bed.restart(every);
    bed.keep();
    assert_eq!(
        bed.count(|stats| &stats.started_at),
        0,
        "then from the session's beginning"
    );
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    assert!(bed.shelf.stats().last_trouble().is_some());
}

#[test]
fn what_a_power_cut_made_void_is_in_no_snapshot() {
    let every = |config| SnapshotConfig {
        every_messages: 100,
        keep: 10,
        ..config
    };
    let mut bed = Bed::with(Feed::keeping, every);
    bed.feed.start_session(3);
    bed.feed.orders(5, 20);
    bed.keep();
    let valid_end = bed.feed.next;
    bed.feed.orders(20, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, valid_end + 1);
    assert_eq!(pair.snapshot().place.epoch, 1);
    let void = bed.files().len();

    bed.feed.power_cut(valid_end, 2_000);
    bed.feed.orders(1, 20);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.went_back), 1);
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    pair.ask(&mut bed, 3, 0);
    let snapshot = pair.snapshot();
    assert_eq!(snapshot.place.epoch, 2, "nobody is sent the void one any more");
    assert_eq!(snapshot.books.checksum(), bed.expected(bed.feed.next));

    // Nor does a service begin with a void file, however far the journal has come by then.
    assert!(void > 1);
    bed.feed.orders(50, 20);
    bed.restart(every);
    bed.keep();
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    assert!(bed.keeper.follower().books().is_valid());
}

#[test]
fn a_service_whose_journal_lacks_the_sessions_beginning_serves_no_wrong_snapshot() {
    let retention = Retention {
        segments: Some(2),
        bytes: None,
        age: None,
    };
    let mut bed = Bed::with(|dir| Feed::open(dir, 1 << 16, retention), |config| config);
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.refused(), RejectCode::NOT_SERVED);
    assert!(
        bed.shelf
            .stats()
            .last_trouble()
            .is_some_and(|trouble| trouble.contains("beginning"))
    );

    // The next session is whole.
    bed.feed.start_session(4);
    bed.feed.orders(10, 20);
    bed.keep();
    pair.ask(&mut bed, 4, 0);
    assert_eq!(pair.snapshot().books.live_orders(), 200);
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.refused(), RejectCode::UNKNOWN_SESSION);

    // A file is gone on from as long as the journal goes on where it ends.
    bed.now += 4_000 * SECOND;
    bed.feed.orders(1, 20);
    bed.keep();
    assert_eq!(bed.files().len(), 1);
    let at = bed.feed.next;
    bed.feed.orders(100, 20);
    bed.restart(|config| config);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.started_at), at);
    bed.feed.orders(1_000, 20);
    bed.restart(|config| config);
    bed.keep();
    pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 4, 0);
    assert_eq!(pair.refused(), RejectCode::NOT_SERVED);
}

#[test]
fn a_session_that_has_ended_is_served_up_to_its_last_message_and_the_one_before_too() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(10, 20);
    bed.feed.end_session();
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, 0);
    let end = bed.feed.next;
    assert_eq!(
        pair.snapshot().place.sequence,
        end - 1,
        "EndOfSession is for the client to see"
    );
    pair.ask(&mut bed, 3, end);
    assert_eq!(pair.refused(), RejectCode::VOID);
    pair.ask(&mut bed, 9, 0);
    assert_eq!(pair.refused(), RejectCode::UNKNOWN_SESSION);

    bed.feed.start_session(4);
    bed.feed.orders(1, 20);
    bed.keep();
    pair.ask(&mut bed, 3, 5);
    assert_eq!(pair.snapshot().place.sequence, end - 1);
}

#[test]
fn two_services_do_not_write_into_one_directory() {
    let mut bed = Bed::with(Feed::keeping, |config| SnapshotConfig {
        every_messages: 10,
        ..config
    });
    let shelf = Shelf::new(&config(&bed.dir));
    let mut other = Keeper::new(
        SnapshotConfig {
            every_messages: 10,
            ..config(&bed.dir)
        },
        CHANNEL,
        Arc::clone(&shelf),
    );
    other.attach(bed.reader());
    bed.feed.start_session(3);
    bed.feed.orders(10, 20);
    bed.keep();
    while other.step(bed.now) != Step::Idle {}
    assert_eq!(bed.count(|stats| &stats.written), 1);
    assert_eq!(shelf.stats().written.load(Ordering::Relaxed), 0);
    assert!(
        shelf
            .stats()
            .last_trouble()
            .is_some_and(|trouble| trouble.contains("another service"))
    );
    assert_eq!(
        other.follower().books().checksum(),
        bed.expected(bed.feed.next),
        "it serves them all the same"
    );
}
