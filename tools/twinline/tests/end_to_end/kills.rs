//! A publisher that is killed again and again publishes what an uninterrupted one does.

use crate::bed::{Bed, Process, quiet, real_hour};
use std::thread;
use std::time::Duration;

const KILLS: u32 = 20;

/// The source's arguments, and how many messages it has.
fn source() -> (Vec<String>, u64) {
    match real_hour() {
        Some(path) => (vec!["--from".into(), path.display().to_string()], 92_003),
        None => (vec!["--generate".into(), "92003".into()], 92_003),
    }
}

#[test]
fn a_publisher_killed_twenty_times_publishes_what_an_uninterrupted_one_does() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (source, messages) = source();
    let mut arguments: Vec<&str> = source.iter().map(String::as_str).collect();
    arguments.extend(["--rate", "30000"]);

    let (_service, address) = bed.recover("127.0.0.1:0");
    let impair = ["loss=2%,both=0.5%,dup=1%,reorder=1%,seed=7", "seed=1"];
    let names = ["one", "two"];
    let listeners = [0, 1].map(|at| bed.listen(names[at], &["--recovery", &address, "--impair", impair[at]]));

    // Killed at any time: while it opens, in the lead-in, while it publishes.
    let mut random = 88172645463325252_u64;
    for _ in 0..KILLS {
        let mut publisher = bed.publish(&arguments);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_millis(20 + random % 180));
        assert!(publisher.is_running(), "it is killed, it does not end");
        publisher.kill();
        assert_eq!(publisher.wait().code(), -9);
    }
    let last = bed.publish(&arguments).wait().expect(0);
    assert!(last.summary["position"]["epoch"].as_u64() > Some(5), "{last:#?}");
    assert!(
        last.summary["source"]["resumed_at"].as_u64() > Some(0),
        "{last:#?}"
    );
    assert_eq!(last.summary["source"]["published_in_session"], messages);
    for listener in listeners {
        listener.wait().expect(0);
    }
    bed.assert_equal(&names, messages);

    // The same source without interruption, on other lines.
    let calm = Bed::new();
    let mut arguments = source;
    arguments.extend(["--linger".into(), "1ms".into()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    calm.publish(&arguments).wait().expect(0);
    let journals = [
        calm.text("publisher"),
        bed.text("publisher"),
        bed.text("one"),
        bed.text("two"),
    ];
    let mut diff = vec!["diff".to_string(), "--source-messages".into()];
    diff.extend(journals);
    let done = Process::start(&diff).wait().expect(0);
    assert_eq!(done.summary["publisher"]["source_messages"], messages);
}
