//! Real hosts: publisher, recovery service and listeners each in a network namespace of its own, lines A and B on two
//! separate networks. Needs root.

use crate::bed::{Bed, Process, namespaces_are_possible, quiet};
use twinline_namespaces::Networks;

/// The networks by their numbers.
const A: usize = 0;
const B: usize = 1;

#[test]
fn hosts_on_two_networks_have_the_same_stream_though_a_line_dies() {
    if !namespaces_are_possible() {
        return;
    }
    let _quiet = quiet();
    let mut bed = Bed::new();
    bed.lines = ["239.77.9.1:17001@line-a".into(), "239.77.9.2:17002@line-b".into()];
    let mut networks = Networks::new(&["line-a", "line-b"]).expect("root, and ip");
    networks.grow(4).expect("root, and ip");
    let networks = networks;
    let publishing = networks.host(1);
    let recovery = format!("{}:17010", networks.address(B, 1));
    let journal = bed.text("publisher");
    // The recovery service is on the network of line B; the publisher's host loses line A half way.
    let recover = ["recover", "--journal", &journal, "--listen", &recovery];
    let service = Process::start_in(publishing, &recover);
    service.wait_ready();
    let names = ["one", "two", "three"];
    let listeners: Vec<Process> = names
        .iter()
        .zip(2..)
        .map(|(name, host)| {
            let impair = [
                "--recovery",
                &recovery,
                "--impair",
                "loss=1%,both=0.2%,reorder=1%,seed=5",
            ];
            let listener = Process::start_in(networks.host(host), &bed.listen_arguments(name, &impair));
            listener.wait_ready();
            listener
        })
        .collect();
    let source = ["--generate", "60000", "--rate", "15000"];
    let publisher = Process::start_in(publishing, &bed.publish_arguments("publisher", &source));
    publisher.wait_messages(15_000);
    networks.set_port(A, 1, false).expect("ip");
    // One listener loses the other line as well, and with it recovery.
    publisher.wait_messages(25_000);
    networks.set_port(B, 3, false).expect("ip");
    publisher.wait_messages(35_000);
    networks.set_port(B, 3, true).expect("ip");
    publisher.wait_messages(45_000);
    networks.set_port(A, 1, true).expect("ip");
    publisher.wait().expect(0);
    for (index, listener) in listeners.into_iter().enumerate() {
        let done = listener.wait().expect(0);
        let lines = &done.summary["lines"];
        assert!(
            lines["a"]["lost"].as_u64() > Some(10_000),
            "line A was down: {:#}",
            done.summary
        );
        assert!(
            done.summary["notices"]["line_stalled"].as_u64() > Some(0),
            "{:#}",
            done.summary
        );
        if index == 1 {
            assert!(
                done.summary["delivered"]["recovery"].as_u64() > Some(5_000),
                "{:#}",
                done.summary
            );
        }
    }
    service.terminate();
    service.wait().expect(0);
    bed.assert_equal(&names, 60_000);
}
