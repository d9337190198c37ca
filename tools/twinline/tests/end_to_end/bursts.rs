//! A source that is faster than packets can be sent one by one: they go out and come in in bursts, or not, and every
//! listener has the publisher's stream.

use crate::bed::{Bed, quiet};

/// As fast as it comes.
const SOURCE: [&str; 4] = ["--generate", "300000", "--rate", "50M"];
const MESSAGES: u64 = 300_000;

/// Publishes with these flags to a listener; returns the sends of line A and line B that carried several packets.
fn bursts(flags: &[&str]) -> [u64; 2] {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen("listener", &["--recovery", &address]);
    let done = bed.publish(&[&SOURCE, flags].concat()).wait().expect(0);
    let heard = listener.wait().expect(0);
    bed.assert_equal(&["listener"], MESSAGES);
    for line in ["a", "b"] {
        let (sent, heard) = (&done.summary["lines"][line], &heard.summary["lines"][line]);
        assert_eq!(sent["send_failures"], 0, "{sent}");
        if heard["kernel_drops"] == 0 {
            assert_eq!(heard["lost"], 0, "{heard}");
        }
    }
    ["a", "b"].map(|line| {
        let bursts = done.summary["lines"][line]["bursts"].as_u64();
        bursts.expect("a publisher says so")
    })
}

#[test]
fn a_fast_source_is_sent_in_bursts_and_heard_whole() {
    let bursts = bursts(&[]);
    assert!(bursts.iter().all(|bursts| *bursts > 100), "{bursts:?}");
}

#[test]
fn without_segmentation_a_fast_source_is_sent_packet_by_packet_and_heard_whole() {
    assert_eq!(bursts(&["--segmentation", "off"]), [0, 0]);
}

#[test]
fn a_limited_line_makes_its_source_wait_and_loses_nothing() {
    let bursts = bursts(&["--line-rate", "400M"]);
    assert!(bursts.iter().all(|bursts| *bursts > 100), "{bursts:?}");
}
