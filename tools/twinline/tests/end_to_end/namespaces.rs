//! Real hosts: publisher, recovery service and listeners each in a network namespace of its own, lines A and B on two
//! separate networks. Needs root.

use crate::bed::{Bed, Process, quiet};
use std::process::Command;

/// Runs `ip` with these words; what it says is the error.
fn ip(words: &str) {
    let done = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .expect("ip (iproute2) is installed");
    assert!(
        done.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A switch for each line, and hosts with interfaces `line-a` and `line-b`; gone when dropped.
struct Networks {
    prefix: String,
    hosts: u32,
}

impl Networks {
    /// Host `n` has the addresses 10.77.1.n and 10.77.2.n.
    fn new(hosts: u32) -> Self {
        let networks = Self {
            prefix: format!("tw{}", std::process::id()),
            hosts,
        };
        let switch = networks.switch();
        ip(&format!("netns add {switch}"));
        for line in ["a", "b"] {
            ip(&format!(
                "-n {switch} link add name line-{line} type bridge mcast_snooping 0"
            ));
            ip(&format!("-n {switch} link set dev line-{line} up"));
        }
        for host in 1..=hosts {
            let name = networks.host(host);
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set dev lo up"));
            for (line, net) in [("a", 1), ("b", 2)] {
                ip(&format!(
                    "-n {switch} link add name {line}{host} type veth peer name line-{line} netns {name}"
                ));
                ip(&format!(
                    "-n {switch} link set dev {line}{host} master line-{line} up"
                ));
                ip(&format!(
                    "-n {name} address add 10.77.{net}.{host}/24 dev line-{line}"
                ));
                ip(&format!("-n {name} link set dev line-{line} up"));
            }
        }
        networks
    }

    fn switch(&self) -> String {
        format!("{}s", self.prefix)
    }

    fn host(&self, host: u32) -> String {
        format!("{}h{host}", self.prefix)
    }

    /// Takes the port of a host on a line down, or up again.
    fn port(&self, line: &str, host: u32, state: &str) {
        ip(&format!("-n {} link set dev {line}{host} {state}", self.switch()));
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        let names = (1..=self.hosts)
            .map(|host| self.host(host))
            .chain([self.switch()]);
        for name in names {
            // Not all may have been made.
            let _ = Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}

#[test]
fn hosts_on_two_networks_have_the_same_stream_though_a_line_dies() {
    let root = rustix::process::geteuid().is_root();
    let has_ip = Command::new("ip").arg("-V").output().is_ok();
    if !(root && has_ip) {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this runs as root, with iproute2"
        );
        eprintln!("skipped: network namespaces need root and the command ip (iproute2)");
        return;
    }
    let _quiet = quiet();
    let mut bed = Bed::new();
    bed.lines = ["239.77.9.1:17001@line-a".into(), "239.77.9.2:17002@line-b".into()];
    let networks = Networks::new(4);
    let publishing = networks.host(1);
    let journal = bed.text("publisher");
    // The recovery service is on the network of line B; the publisher's host loses line A half way.
    let recover = ["recover", "--journal", &journal, "--listen", "10.77.2.1:17010"];
    let service = Process::start_in(&publishing, &recover);
    service.wait_ready();
    let names = ["one", "two", "three"];
    let listeners: Vec<Process> = names
        .iter()
        .zip(2..)
        .map(|(name, host)| {
            let impair = [
                "--recovery",
                "10.77.2.1:17010",
                "--impair",
                "loss=1%,both=0.2%,reorder=1%,seed=5",
            ];
            let listener = Process::start_in(&networks.host(host), &bed.listen_arguments(name, &impair));
            listener.wait_ready();
            listener
        })
        .collect();
    let source = ["--generate", "60000", "--rate", "15000"];
    let publisher = Process::start_in(&publishing, &bed.publish_arguments("publisher", &source));
    publisher.wait_messages(15_000);
    networks.port("a", 1, "down");
    // One listener loses the other line as well, and with it recovery.
    publisher.wait_messages(25_000);
    networks.port("b", 3, "down");
    publisher.wait_messages(35_000);
    networks.port("b", 3, "up");
    publisher.wait_messages(45_000);
    networks.port("a", 1, "up");
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
