//! Real namespaces. Needs root and iproute2.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use twinline_namespaces::{Namespace, NamespaceError, Networks, missing};

/// How long what must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PORT: u16 = 17_003;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 77, 9, 1);

/// False, with a line that says so, where there can be no namespaces; never in CI.
fn possible() -> bool {
    let why = missing();
    if let Some(why) = why {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
        eprintln!("skipped: {why}");
    }
    why.is_none()
}

/// Namespaces on this machine whose names begin so.
fn named(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// What all of a set's names begin with.
fn prefix(networks: &Networks) -> String {
    let name = networks.switch().name();
    name.strip_suffix("switch").expect("so it is named").into()
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A socket that has joined the group on one interface, and waits a second at most.
fn joined(host: &Namespace, interface: Ipv4Addr) -> UdpSocket {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((GROUP, PORT))?;
        socket.join_multicast_v4(&GROUP, &interface)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket)
    };
    host.within(open).expect("entered").expect("joined")
}

/// A socket that sends from an address.
fn sender(host: &Namespace, from: Ipv4Addr) -> UdpSocket {
    let bound = host.within(|| UdpSocket::bind((from, 0)));
    bound.expect("entered").expect("its own address")
}

#[test]
fn what_is_sent_on_a_network_stays_on_it() {
    if !possible() {
        return;
    }
    let mut networks = Networks::new(&["line-a", "line-b"]).expect("root, and ip");
    networks.grow(3).expect("three hosts");
    let heard = |network: usize, host: usize| joined(networks.host(host), networks.address(network, host));
    let (on_a, on_b) = (heard(0, 2), heard(1, 3));
    let from = networks.address(0, 1);
    // A group leaves where a route says.
    networks
        .host(1)
        .batch("ip", "route add 239.0.0.0/8 dev line-a\n")
        .expect("a route");
    let socket = sender(networks.host(1), from);
    socket.send_to(b"here", (GROUP, PORT)).expect("sent");
    let mut buffer = [0; 8];
    let (length, source) = on_a.recv_from(&mut buffer).expect("on line A");
    assert_eq!((length, source.ip()), (4, from.into()));
    let nothing = on_b.recv(&mut buffer).expect_err("not on line B");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_port_that_is_down_carries_nothing_until_it_is_up_again() {
    if !possible() {
        return;
    }
    let mut networks = Networks::new(&["line-a"]).expect("root, and ip");
    networks.grow(2).expect("two hosts");
    let receiver = joined(networks.host(2), networks.address(0, 2));
    networks
        .host(1)
        .batch("ip", "route add 239.0.0.0/8 dev line-a\n")
        .expect("a route");
    let socket = sender(networks.host(1), networks.address(0, 1));
    let mut buffer = [0; 8];
    networks.set_port(0, 2, false).expect("down");
    socket.send_to(b"lost", (GROUP, PORT)).expect("sent");
    assert!(receiver.recv(&mut buffer).is_err());
    networks.set_port(0, 2, true).expect("up");
    socket.send_to(b"back", (GROUP, PORT)).expect("sent");
    assert_eq!(receiver.recv(&mut buffer).expect("up again"), 4);
    assert_eq!(&buffer[..4], b"back");
}

#[test]
fn processes_run_on_their_host_and_a_cable_joins_two_of_them_alone() {
    if !possible() {
        return;
    }
    let mut networks = Networks::new(&[]).expect("root, and ip");
    networks.grow(3).expect("three hosts");
    let [one, two] = networks.connect("cable", 1, 3).expect("a cable");
    let listener = networks.host(3).within(|| TcpListener::bind((two, PORT)));
    let listener = listener.expect("entered").expect("its own address");
    let stream = networks.host(1).within(|| TcpStream::connect((two, PORT)));
    stream.expect("entered").expect("a way there");
    assert_eq!(listener.accept().expect("connected").1.ip(), one);
    let interfaces = |host: usize| {
        let shown = networks.host(host).command("ip").args(["-br", "link"]).output();
        String::from_utf8(shown.expect("ip runs").stdout).expect("text")
    };
    assert!(interfaces(1).contains("cable") && interfaces(3).contains("cable"));
    assert!(!interfaces(2).contains("cable"));
}

#[test]
fn all_is_gone_after_a_panic_too() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::panic::catch_unwind(|| {
        let mut networks = Networks::new(&["line"]).expect("root, and ip");
        networks.grow(2).expect("two hosts");
        networks.also_remove(directory.path()).expect("taken");
        let prefix = prefix(&networks);
        assert_eq!(named(&prefix).len(), 3);
        send.send(prefix).expect("it is received");
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    let prefix = receive.recv().expect("it came to its end");
    assert_eq!(named(&prefix), Vec::<String>::new());
    assert!(!directory.path().exists());
}

/// Not a test by itself: a process that makes as many hosts as it can.
#[test]
fn child_makes_many_hosts() {
    if std::env::var_os("NETWORKS_MANY").is_some() {
        let mut networks = Networks::new(&["a", "b"]).expect("root, and ip");
        networks.grow(200).expect("two hundred hosts");
    }
}

#[test]
fn all_is_gone_after_kill_9_while_hosts_are_being_made() {
    if !possible() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("this"))
        .args(["--exact", "child_makes_many_hosts"])
        .env("NETWORKS_MANY", "1")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let prefix = format!("twinline-{}-", child.id());
    eventually("it is making hosts", || named(&prefix).len() > 5);
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    eventually("its namespaces are removed", || named(&prefix).is_empty());
    // Nobody is left who makes more.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(named(&prefix), Vec::<String>::new());
}

/// Not a test by itself: a process that makes namespaces, says their prefix, and waits to be killed.
#[test]
fn child_makes_networks() {
    let Some(directory) = std::env::var_os("NETWORKS_DIRECTORY") else {
        return;
    };
    let mut networks = Networks::new(&["line"]).expect("root, and ip");
    networks.grow(2).expect("two hosts");
    networks.also_remove(Path::new(&directory)).expect("taken");
    println!("prefix {}", prefix(&networks));
    std::thread::sleep(PATIENCE);
}

/// Starts that process; returns its prefix once its namespaces stand.
fn start_child(directory: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("this"))
        .args(["--exact", "--nocapture", "child_makes_networks"])
        .env("NETWORKS_DIRECTORY", directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let prefix = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("prefix ")?.1.to_string()))
        .expect("it says its prefix");
    (child, prefix)
}

#[test]
fn all_is_gone_after_kill_9_too() {
    if !possible() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, prefix) = start_child(directory.path());
    assert_eq!(named(&prefix).len(), 3);
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    eventually("its namespaces are removed", || named(&prefix).is_empty());
    eventually("its directory is removed", || !directory.path().exists());
}

#[test]
fn the_next_one_removes_what_is_left_of_a_dead_process_and_nothing_else() {
    if !possible() {
        return;
    }
    let mut dead = Command::new("true").spawn().expect("it starts");
    dead.wait().expect("it ended");
    let [dead, alive] = [dead.id(), std::process::id()].map(|owner| format!("twinline-{owner}-900-1"));
    for name in [&dead, &alive] {
        let added = Command::new("ip").args(["netns", "add", name]).status();
        assert!(added.expect("ip runs").success());
    }
    let networks = Networks::new(&["line"]).expect("root, and ip");
    let is_left = [&dead, &alive].map(|name| !named(name).is_empty());
    drop(networks);
    let removed = Command::new("ip").args(["netns", "delete", &alive]).status();
    assert_eq!(is_left, [false, true]);
    assert!(removed.expect("ip runs").success());
}

#[test]
fn what_cannot_be_is_an_error_that_says_so() {
    if !possible() {
        return;
    }
    assert!(matches!(
        Networks::new(&["a-name-too-long"]),
        Err(NamespaceError::Name(_))
    ));
    let mut networks = Networks::new(&["line"]).expect("root, and ip");
    assert!(matches!(
        networks.grow(1_000),
        Err(NamespaceError::TooMany(1_000))
    ));
    networks.grow(2).expect("two hosts");
    networks.connect("cable", 1, 2).expect("the first");
    let twice = networks
        .connect("cable", 1, 2)
        .expect_err("there is one")
        .to_string();
    assert!(
        twice.contains("link add name cable") && twice.contains("exists"),
        "{twice}"
    );
}
