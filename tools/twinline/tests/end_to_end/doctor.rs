//! What `twinline doctor` finds is so, and the commands that it gives mend it: they are run as they stand, in a host that is a
//! network namespace of its own. Needs root for that.

use crate::bed::{Bed, Done, PATIENCE, Process, TWINLINE, run_plain};
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Instant;
use twinline_namespaces::{Namespace, Networks};

const THEMES: [&str; 7] = [
    "kernel",
    "interface",
    "socket",
    "clock",
    "cpu",
    "memory",
    "jitter",
];

/// A command in a namespace with what `/sys` shows of that one's interfaces, which the doctor looks at.
fn within(namespace: &Namespace, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name(), program]);
    command
}

/// Runs a line in a namespace, by a shell.
fn shell_in(namespace: &Namespace, line: &str) -> Output {
    within(namespace, "sh")
        .args(["-c", line])
        .output()
        .expect("ip (iproute2) is installed")
}

#[track_caller]
fn must(output: &Output, line: &str) {
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Two hosts with two networks between them. The one under test has `line-a`, 10.77.1.2, and `line-b`, 10.77.2.2; the other
/// one is the publisher, with 10.77.1.1 and, where line B comes from, 10.77.3.1.
struct Hosts {
    _networks: Networks,
    here: Namespace,
    there: Namespace,
}

impl Hosts {
    fn new() -> Self {
        let mut networks = Networks::new(&[]).expect("root, and ip");
        networks.grow(2).expect("root, and ip");
        let [here, there] = [1, 2].map(|number| networks.host(number).clone());
        for (line, ours, theirs) in [("a", "10.77.1.2", "10.77.1.1"), ("b", "10.77.2.2", "10.77.3.1")] {
            let far = there.name();
            let link = format!("link add name line-{line} type veth peer name line-{line} netns {far}\n");
            here.batch("ip", &link).expect("ip");
            for (host, address) in [(&here, ours), (&there, theirs)] {
                let up = format!("address add {address}/24 dev line-{line}\nlink set dev line-{line} up\n");
                host.batch("ip", &up).expect("ip");
            }
        }
        Self {
            _networks: networks,
            here,
            there,
        }
    }

    #[track_caller]
    fn change(&self, line: &str) {
        must(&shell_in(&self.here, line), line);
    }

    /// What the doctor says here, without looking at jitter.
    fn doctor(&self, arguments: &str) -> Done {
        let mut all = vec!["doctor", "--jitter", "0s"];
        all.extend(arguments.split_whitespace());
        Process::spawn(within(&self.here, TWINLINE), &all, true).wait()
    }

    /// Packets that lines A and B bring within two seconds, while the other host publishes full ones.
    fn heard(&self, lines: [&str; 2]) -> Result<[u64; 2], String> {
        let sent = ["239.77.9.1:17001@line-a", "239.77.9.2:17002@line-b"];
        let bed = Bed::new();
        let journal = bed.text("publisher");
        let publisher = Process::start_in(
            &self.there,
            &[
                "publish",
                "--line-a",
                sent[0],
                "--line-b",
                sent[1],
                "--journal",
                &journal,
                "--generate",
                "2000000",
                "--rate",
                "50k",
                "--segment-size",
                "1MiB",
                "--keep-segments",
                "4",
                "--sync",
                "none",
            ],
        );
        publisher.wait_messages(1);
        let file = bed.text("heard.pcapng");
        let capture = [
            "capture", &file, "--for", "2s", "--line-a", lines[0], "--line-b", lines[1],
        ];
        let done = Process::start_in(&self.here, &capture).wait();
        match done.code() {
            0 => Ok([0, 1].map(|line| {
                let packets = &done.summary["by_line"][line];
                packets.as_u64().unwrap_or_else(|| panic!("{:#}", done.summary))
            })),
            _ => Err(done.stderr.join("\n")),
        }
    }
}

/// A check, where it found something, and the command for it.
type Found = (&'static str, &'static str, &'static str);

/// The findings that are this bad: check, place, command.
fn findings<'d>(done: &'d Done, severity: &str) -> Vec<(&'d str, &'d str, Option<&'d str>)> {
    let all = done.summary["findings"].as_array().expect("it has findings");
    let bad = all.iter().filter(|finding| finding["severity"] == severity);
    let text = |value: &'d Value| value.as_str().expect("a text");
    bad.map(|finding| {
        (
            text(&finding["check"]),
            text(&finding["where"]),
            finding["command"].as_str(),
        )
    })
    .collect()
}

/// Whether this can run: true, or false with the reason said; never false in CI.
fn can_make_hosts() -> bool {
    let lacks = [
        (!rustix::process::geteuid().is_root()).then_some("root"),
        (!is_there("ip")).then_some("the command ip (iproute2)"),
        (!is_there("sysctl")).then_some("the command sysctl (procps)"),
    ];
    let lacks: Vec<&str> = lacks.into_iter().flatten().collect();
    if lacks.is_empty() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "in CI this runs, but {} lacks",
        lacks.join(", ")
    );
    eprintln!("skipped: broken hosts that are mended need {}", lacks.join(", "));
    false
}

#[test]
fn the_doctor_looks_at_every_theme_and_says_so_as_json_and_as_text() {
    let done = Process::start(&["doctor", "lo", "--jitter", "10ms"]).wait();
    let all = done.summary["findings"].as_array().expect("it has findings");
    for theme in THEMES {
        assert!(
            all.iter().any(|finding| finding["theme"] == theme),
            "{theme}: {:#}",
            done.summary
        );
    }
    for finding in all {
        for field in ["check", "theme", "where", "severity", "found", "why"] {
            let text = finding[field].as_str().unwrap_or_default();
            assert!(!text.is_empty() && !text.contains('\n'), "{field}: {finding:#}");
        }
        let theme = finding["theme"].as_str().expect("a text");
        assert!(
            finding["check"]
                .as_str()
                .expect("a text")
                .starts_with(&format!("{theme}."))
        );
    }
    let counts = &done.summary["counts"];
    let of = |severity: &str| counts[severity].as_u64().expect("a count");
    for severity in ["loss", "slow", "note", "ok"] {
        assert_eq!(of(severity), findings(&done, severity).len() as u64);
    }
    // What else runs here may be losing something just now.
    assert_eq!(done.code(), if of("loss") > 0 { 8 } else { 0 }, "{done:#?}");
    assert_eq!(done.summary["interfaces"][0]["name"], "lo");
    assert!(done.summary["jitter"][0]["measured"]["elapsed_ns"].as_u64() >= Some(10_000_000));

    let text = run_plain(&["doctor", "lo", "--jitter", "0s"]).stdout;
    for part in [
        "Kernel\n",
        "Interfaces\n",
        "Clocks\n",
        "Cores\n",
        "Memory\n",
        "not measured",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let last = text.lines().last().expect("a line");
    for part in [" would lose data, ", " cost time, ", " fine"] {
        assert!(last.contains(part), "{last}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_a_wrong_argument() {
    let done = run_plain(&["doctor", "nosuch9"]).expect(2);
    assert!(
        done.stderr[0].contains("nosuch9") && done.stderr[0].contains("lo"),
        "{done:?}"
    );
}

#[test]
fn a_listener_without_rights_is_told_that_its_receive_buffer_would_be_small() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("it is there");
    let more = (limit.trim().parse::<u64>().expect("a number") + 1).to_string();
    if !(rustix::process::geteuid().is_root() && is_there("setpriv")) {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI this runs as root, with setpriv"
        );
        eprintln!("skipped: to give up rights needs root and the command setpriv");
        return;
    }
    let said = Command::new("setpriv")
        .args([
            "--bounding-set",
            "-net_admin",
            "--inh-caps",
            "-net_admin",
            TWINLINE,
        ])
        .args([
            "doctor",
            "lo",
            "--jitter",
            "0s",
            "--json",
            "--receive-buffer",
            &more,
        ])
        .output()
        .expect("it starts");
    assert_eq!(said.status.code(), Some(8), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let found = said["findings"].as_array().expect("it has findings").iter();
    let command = format!("sysctl -w net.core.rmem_max={more}");
    assert!(
        found
            .into_iter()
            .any(|finding| finding["check"] == "socket.receive_buffer"
                && finding["severity"] == "loss"
                && finding["command"] == command.as_str()),
        "{said:#}"
    );
}

#[test]
fn the_commands_that_the_doctor_gives_mend_what_it_found() {
    if !can_make_hosts() {
        return;
    }
    let hosts = Hosts::new();
    // What is broken, the flags, and what must be found, with where and the command.
    let cases: [(&str, &str, &[Found]); 12] = [
        ("true", "line-a line-b", &[]),
        (
            "ip link set dev line-b down",
            "line-b",
            &[("interface.up", "line-b", "ip link set dev line-b up")],
        ),
        (
            "ip link set dev line-b mtu 1000",
            "line-a line-b",
            &[("interface.mtu", "line-b", "ip link set dev line-b mtu 1500")],
        ),
        (
            "true",
            "line-a line-b --packet-size 8896",
            &[
                ("interface.mtu", "line-a", "ip link set dev line-a mtu 8924"),
                ("interface.mtu", "line-b", "ip link set dev line-b mtu 8924"),
            ],
        ),
        // What lies below an interface is looked at with it.
        (
            "ip link add name over.7 type bridge && ip link set dev line-b master over.7 && \
             ip address add 10.77.7.2/24 dev over.7 && ip link set dev line-b down",
            "over.7",
            &[
                ("interface.up", "over.7", "ip link set dev over.7 up"),
                ("interface.up", "line-b", "ip link set dev line-b up"),
            ],
        ),
        (
            "sysctl -w net.ipv4.conf.over/7.rp_filter=1",
            "over.7",
            &[(
                "interface.reverse_path",
                "over.7",
                "sysctl -w net.ipv4.conf.over/7.rp_filter=2",
            )],
        ),
        // No sender named, and no default route through it.
        (
            "ip link delete over.7 && sysctl -w net.ipv4.conf.line-b.rp_filter=1",
            "line-b",
            &[(
                "interface.reverse_path",
                "line-b",
                "sysctl -w net.ipv4.conf.line-b.rp_filter=2",
            )],
        ),
        // Line A's network is the way to the sender on line B.
        (
            "ip route add 10.77.3.0/24 dev line-a && sysctl -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.line-b.rp_filter=0",
            "--line-a 239.77.9.1:17001@line-a --line-b 239.77.9.2:17002@line-b --sender 10.77.1.1 --sender 10.77.3.1",
            &[(
                "interface.reverse_path",
                "line-b",
                "sysctl -w net.ipv4.conf.line-b.rp_filter=2",
            )],
        ),
        // The loose filter wants a way to the sender, whichever.
        (
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
            "line-b --sender 10.99.0.1",
            &[(
                "interface.reverse_path",
                "line-b",
                "ip route add 10.99.0.1/32 dev line-b",
            )],
        ),
        // A sender has a route of its own, through the interface of its own line.
        (
            "true",
            "--line-a 239.77.9.1:17001@line-a --line-b 239.77.9.2:17002@line-b --sender 10.98.1.1 --sender 10.98.2.1",
            &[
                (
                    "interface.reverse_path",
                    "line-a",
                    "ip route add 10.98.1.1/32 dev line-a",
                ),
                (
                    "interface.reverse_path",
                    "line-b",
                    "ip route add 10.98.2.1/32 dev line-b",
                ),
            ],
        ),
        (
            "true",
            "--line-a 239.77.9.1:17001 --line-b 239.77.9.2:17002@line-b",
            &[(
                "interface.multicast_route",
                "line 239.77.9.1:17001",
                "ip route add 239.77.9.0/24 dev line-a",
            )],
        ),
        (
            "sysctl -w net.ipv4.igmp_max_memberships=0 net.ipv4.igmp_max_msf=1",
            "line-b --sender 10.99.0.1 --sender 10.77.2.1",
            &[
                (
                    "socket.memberships",
                    "host",
                    "sysctl -w net.ipv4.igmp_max_memberships=200",
                ),
                ("socket.senders", "host", "sysctl -w net.ipv4.igmp_max_msf=64"),
            ],
        ),
    ];
    for (broken, flags, expected) in cases {
        hosts.change(broken);
        let ill = hosts.doctor(flags);
        let found = findings(&ill, "loss");
        let wanted: Vec<_> = expected
            .iter()
            .map(|&(check, place, command)| (check, place, Some(command)))
            .collect();
        assert_eq!(found, wanted, "{broken}; doctor {flags}");
        assert_eq!(ill.code(), if expected.is_empty() { 0 } else { 8 }, "{ill:#?}");
        assert_eq!(
            ill.code() == 8,
            ill.summary["outcome"] == "this host would lose data"
        );
        for (_, _, command) in expected {
            hosts.change(command);
        }
        // An interface that was brought up takes a moment.
        let deadline = Instant::now() + PATIENCE;
        let mut well = hosts.doctor(flags);
        while well.code() != 0 && Instant::now() < deadline {
            well = hosts.doctor(flags);
        }
        assert!(
            findings(&well, "loss").is_empty(),
            "{broken}; doctor {flags}: {:#}",
            well.summary
        );
        assert_eq!(well.summary["outcome"], "nothing found that would lose data");
        well.expect(0);
    }
    // What costs time, too.
    if !is_there("ethtool") {
        assert!(std::env::var_os("CI").is_none(), "in CI ethtool is there");
        eprintln!("skipped: to mend offloads needs the command ethtool");
        return;
    }
    hosts.change("ip link add name many numrxqueues 4 numtxqueues 4 type veth peer name other numrxqueues 4 numtxqueues 4");
    hosts.change("ip link set dev many up && ip link set dev other up && ethtool -L many rx 4");
    hosts.change("ethtool -K many rx-udp-gro-forwarding on");
    let slow = [
        (
            "interface.queues",
            "many",
            "ethtool -L many combined 1 || ethtool -L many rx 1",
        ),
        (
            "interface.offloads",
            "many",
            "ethtool -K many rx-udp-gro-forwarding off",
        ),
    ];
    let found = |done: &Done| {
        let found = findings(done, "slow").into_iter();
        let of_it = found.filter(|(_, place, _)| *place == "many");
        of_it
            .map(|(check, _, command)| (check.to_owned(), command.map(ToOwned::to_owned)))
            .collect::<Vec<_>>()
    };
    let wanted = slow.map(|(check, _, command)| (check.to_owned(), Some(command.to_owned())));
    assert_eq!(found(&hosts.doctor("many")), wanted);
    for (_, _, command) in slow {
        hosts.change(command);
    }
    assert_eq!(found(&hosts.doctor("many")), []);
}

#[test]
fn an_interface_without_an_address_is_a_loss_to_its_line_and_all_else_is_looked_at_just_the_same() {
    if !can_make_hosts() {
        return;
    }
    let hosts = Hosts::new();
    hosts.change("ip address flush dev line-b && ip link set dev line-b mtu 1000");
    let lines = "--line-a 239.77.9.1:17001@line-a --line-b 239.77.9.2:17002@line-b";
    let command = "ip address add ADDRESS/PREFIX dev line-b";
    for flags in [lines, "line-a line-b"] {
        let done = hosts.doctor(flags).expect(8);
        assert_eq!(
            findings(&done, "loss"),
            [
                ("interface.address", "line-b", Some(command)),
                ("interface.mtu", "line-b", Some("ip link set dev line-b mtu 1500")),
            ],
            "doctor {flags}"
        );
    }
    hosts.change("ip link set dev line-b mtu 1500");
    hosts.change(&command.replace("ADDRESS/PREFIX", "10.77.2.2/24"));
    hosts.doctor(lines).expect(0);
    // A part of a bond or bridge has none, and needs none.
    hosts.change("ip address flush dev line-b && ip link add name over type bridge && ip link set dev line-b master over");
    hosts.change("ip address add 10.77.2.2/24 dev over && ip link set dev over up");
    let done = hosts.doctor("over line-b");
    let losses = findings(&done, "loss");
    assert!(
        losses.iter().all(|(check, ..)| *check != "interface.address"),
        "{losses:#?}"
    );
}

#[test]
fn an_interface_that_nobody_named_loses_nothing_and_is_left_out_where_nothing_is_at_its_other_end() {
    if !can_make_hosts() {
        return;
    }
    let hosts = Hosts::new();
    // As of containers that do not run, and of a VPN.
    hosts.change("ip link add name idle type veth peer name idle-end && ip address add 10.77.8.1/24 dev idle && ip link set dev idle up");
    hosts.change("ip link set dev line-b mtu 1420 && sysctl -w net.ipv4.conf.line-b.rp_filter=1");
    let done = hosts.doctor("").expect(0);
    let notes = findings(&done, "note");
    for check in ["interface.mtu", "interface.reverse_path"] {
        assert!(
            notes.iter().any(|note| (note.0, note.1) == (check, "line-b")),
            "{check}: {notes:#?}"
        );
    }
    let all = done.summary["findings"].as_array().expect("it has findings");
    let told = all
        .iter()
        .find(|finding| finding["check"] == "interface.named")
        .expect("it says what it left out");
    let text = told["found"].as_str().expect("a text");
    assert!(
        text.contains("line-a, line-b") && text.ends_with(": idle"),
        "{text}"
    );
    assert!(all.iter().all(|finding| finding["where"] != "idle"), "{all:#?}");
    // Named, both would lose.
    let named = hosts.doctor("idle line-b").expect(8);
    let losses: Vec<_> = findings(&named, "loss")
        .iter()
        .map(|(check, place, _)| (*check, *place))
        .collect();
    for loss in [("interface.up", "idle"), ("interface.mtu", "line-b")] {
        assert!(losses.contains(&loss), "{losses:#?}");
    }
}

#[test]
fn lines_that_bring_nothing_bring_everything_once_the_host_is_mended() {
    if !can_make_hosts() {
        return;
    }
    let hosts = Hosts::new();
    let lines = ["239.77.9.1:17001", "239.77.9.2:17002@line-b"];
    // Line A has no way to its group; line B comes from a network that is reached through line A's; and no group may be joined.
    hosts.change("ip route add 10.77.3.0/24 dev line-a && sysctl -w net.ipv4.conf.all.rp_filter=1");
    let flags = format!(
        "--line-a {} --line-b {} --sender 10.77.1.1 --sender 10.77.3.1",
        lines[0], lines[1]
    );
    let error = hosts.heard(lines).expect_err("line A has no route");
    assert!(error.contains("no route"), "{error}");
    mend(&hosts, &flags, "interface.multicast_route");
    let [a, b] = hosts.heard(lines).expect("both can be joined");
    assert!(a > 0 && b == 0, "A {a}, B {b}: the filter drops B");
    mend(&hosts, &flags, "interface.reverse_path");
    let [a, b] = hosts.heard(lines).expect("both can be joined");
    assert!(a > 0 && b > 0, "A {a}, B {b}");
    hosts.change("sysctl -w net.ipv4.igmp_max_memberships=0");
    let error = hosts.heard(lines).expect_err("no group can be joined");
    assert!(error.contains("too many groups"), "{error}");
    mend(&hosts, &flags, "socket.memberships");
    let [a, b] = hosts.heard(lines).expect("both can be joined");
    assert!(a > 0 && b > 0, "A {a}, B {b}");
    hosts.doctor(&flags).expect(0);
}

#[test]
fn a_line_from_a_sender_without_a_route_is_lost_to_a_loose_filter_until_that_sender_has_one() {
    if !can_make_hosts() {
        return;
    }
    let hosts = Hosts::new();
    let lines = ["239.77.9.1:17001@line-a", "239.77.9.2:17002@line-b"];
    hosts.change("sysctl -w net.ipv4.conf.all.rp_filter=2");
    let [a, b] = hosts.heard(lines).expect("both can be joined");
    assert!(a > 0 && b == 0, "A {a}, B {b}: no route leads to B's sender");
    let flags = format!("--line-a {} --line-b {}", lines[0], lines[1]);
    let unasked = hosts.doctor(&flags).expect(0);
    let said = ("interface.reverse_path", "line-b", None);
    assert!(findings(&unasked, "note").contains(&said), "{unasked:#?}");
    // Line A's sender is taken on both interfaces; that is no help to line B.
    let flags = format!("{flags} --sender 10.77.1.1 --sender 10.77.3.1");
    mend(&hosts, &flags, "interface.reverse_path");
    let [a, b] = hosts.heard(lines).expect("both can be joined");
    assert!(a > 0 && b > 0, "A {a}, B {b}");
    hosts.doctor(&flags).expect(0);
}

/// Runs the command that the doctor gives for what a check found.
fn mend(hosts: &Hosts, flags: &str, check: &str) {
    let done = hosts.doctor(flags).expect(8);
    let found = findings(&done, "loss");
    let command = found.iter().find(|(name, ..)| *name == check);
    let command = command.and_then(|(_, _, command)| *command);
    hosts.change(command.unwrap_or_else(|| panic!("no command for {check}: {found:#?}")));
}
