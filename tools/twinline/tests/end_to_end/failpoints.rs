//! The publisher aborted between any two steps: a restart is right from each.

use crate::bed::{Bed, Process, quiet};

/// More than two of the beds' journal segments, so that they are switched.
const SOURCE: [&str; 6] = ["--generate", "60000", "--rate", "60000", "--linger", "300ms"];
const MESSAGES: u64 = 60_000;

/// Aborts a publisher at a failpoint, restarts it with the same command, and compares.
fn abort_at(failpoint: &str) {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen("listener", &["--recovery", &address]);
    let arguments = bed.publish_arguments("publisher", &SOURCE);
    let aborted = Process::start_with(&arguments, &[("TWINLINE_FAILPOINT", failpoint)], true).wait();
    assert_eq!(aborted.code(), -6, "the failpoint is passed: {aborted:#?}");
    assert!(
        aborted.stderr.iter().any(|line| line.contains("failpoint")),
        "{aborted:#?}"
    );
    let done = Process::start(&arguments).wait().expect(0);
    assert_eq!(done.summary["source"]["published_in_session"], MESSAGES);
    listener.wait().expect(0);
    bed.assert_equal(&["listener"], MESSAGES);
}

macro_rules! failpoints {
    ($($name:ident: $failpoint:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            abort_at($failpoint);
        }
    )*};
}

failpoints! {
    before_the_epoch_store_is_replaced: "epoch.rename:1",
    after_the_stamp_of_the_first_packet: "publisher.stamp:1",
    after_the_stamp: "publisher.stamp:300",
    before_the_commit: "journal.commit.before:300",
    after_the_commit_in_the_journal: "journal.commit.after:300",
    between_commit_and_send: "publisher.after_commit:300",
    after_the_commit_of_the_first_packet: "publisher.after_commit:1",
    between_line_a_and_line_b: "publisher.between_lines:300",
    after_both_lines: "publisher.after_send:300",
    before_the_end_mark_of_a_segment: "journal.switch.before_end:1",
    after_the_end_mark_of_a_segment: "journal.switch.after_end:1",
    between_syncing_and_recording_it: "journal.sync.between:5",
}
