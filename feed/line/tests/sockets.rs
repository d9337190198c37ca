//! Lines over real sockets on the loopback interface.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use twinline_line::{
    Burst, DEFAULT_RECEIVE_BUFFER, LineAddress, LineError, LineHealth, LineReceiver, LineSender,
    ReceiverOptions, SendOutcome, SenderOptions, SocketReceiver,
};
use twinline_wire::{OpenPacket, Stamp};

/// A group and port on loopback that other tests, and other runs of these tests, do not use.
fn address(test: u8, group: u8) -> LineAddress {
    let process = std::process::id();
    LineAddress {
        group: Ipv4Addr::new(239, 100 + group, test, process as u8),
        port: 20_000 + (process % 100) as u16 * 100 + u16::from(test),
        interface: Some("lo".into()),
    }
}

fn sender(address: &LineAddress) -> LineSender {
    LineSender::open(address, SenderOptions::default()).unwrap()
}

fn receiver(address: &LineAddress) -> SocketReceiver {
    SocketReceiver::open(address, &ReceiverOptions::default()).unwrap()
}

/// Waits for the next datagram: loopback delivers before the send returns, but a softirq may be put off.
fn next(receiver: &SocketReceiver) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    for _ in 0..200 {
        if let Some(length) = receiver.recv(&mut buffer) {
            return Some(buffer[..length].to_vec());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

#[test]
fn both_lines_on_one_port_carry_their_own_packets_only() {
    let (a, b) = (address(1, 0), address(1, 1));
    assert_eq!(a.port, b.port);
    let (from_a, from_b) = (receiver(&a), receiver(&b));
    let (mut to_a, mut to_b) = (sender(&a), sender(&b));
    for n in 0..100u8 {
        assert_eq!(to_a.send(&[b'a', n]), SendOutcome::Sent);
        assert_eq!(to_b.send(&[b'b', n]), SendOutcome::Sent);
    }
    for n in 0..100u8 {
        assert_eq!(next(&from_a).unwrap(), [b'a', n]);
        assert_eq!(next(&from_b).unwrap(), [b'b', n]);
    }
    assert_eq!(from_a.recv(&mut [0; 64]), None);
    let counts = (to_a.state().counts(), from_a.state().counts());
    assert_eq!((counts.0.sent, counts.0.bytes, counts.0.errors), (100, 200, 0));
    assert_eq!(
        (counts.1.received, counts.1.bytes, counts.1.kernel_drops),
        (100, 200, 0)
    );
}

#[test]
fn a_group_that_another_socket_joined_is_not_heard_nor_is_what_comes_to_the_port_alone() {
    let (ours, foreign) = (address(2, 0), address(2, 1));
    let (from_ours, from_foreign) = (receiver(&ours), receiver(&foreign));
    sender(&foreign).send(b"foreign");
    assert_eq!(next(&from_foreign).unwrap(), b"foreign");
    drop(from_foreign);
    let unicast = UdpSocket::bind("127.0.0.1:0").unwrap();
    unicast
        .send_to(b"to the port, not to the group", ("127.0.0.1", ours.port))
        .unwrap();
    sender(&ours).send(b"ours");
    assert_eq!(next(&from_ours).unwrap(), b"ours");
    assert_eq!(from_ours.recv(&mut [0; 64]), None);
}

#[test]
fn several_receivers_hear_the_same_line() {
    let line = address(3, 0);
    let all: Vec<_> = (0..4).map(|_| receiver(&line)).collect();
    sender(&line).send(b"to all");
    for one in &all {
        assert_eq!(next(one).unwrap(), b"to all");
    }
}

#[test]
fn a_source_specific_join_hears_its_source_only() {
    let line = address(4, 0);
    let join = |source: Ipv4Addr| {
        let options = ReceiverOptions {
            sources: vec![source],
            ..ReceiverOptions::default()
        };
        SocketReceiver::open(&line, &options).unwrap()
    };
    let right = join(Ipv4Addr::LOCALHOST);
    let other = join(Ipv4Addr::new(127, 0, 0, 9));
    sender(&line).send(b"from 127.0.0.1");
    assert_eq!(next(&right).unwrap(), b"from 127.0.0.1");
    assert_eq!(other.recv(&mut [0; 64]), None);
}

#[test]
fn the_receive_buffer_is_what_was_asked_for_or_a_warning_names_the_sysctl() {
    let limit: usize = std::fs::read_to_string("/proc/sys/net/core/rmem_max")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let small = ReceiverOptions {
        receive_buffer: limit.min(64 << 10),
        ..ReceiverOptions::default()
    };
    let report = SocketReceiver::open(&address(5, 0), &small)
        .unwrap()
        .state()
        .buffer();
    assert_eq!(report.granted, report.asked);
    assert_eq!(report.warning(), None);

    let report = receiver(&address(5, 1)).state().buffer();
    assert_eq!(report.asked, DEFAULT_RECEIVE_BUFFER);
    if report.granted < report.asked {
        let warning = report.warning().unwrap();
        assert!(
            warning.contains("sysctl -w net.core.rmem_max=33554432"),
            "{warning}"
        );
    }
    let short = twinline_line::BufferReport {
        asked: 8 << 20,
        granted: 212_992,
    };
    assert!(
        short
            .warning()
            .unwrap()
            .contains("sysctl -w net.core.rmem_max=8388608")
    );
}

#[test]
fn what_does_not_fit_the_receive_buffer_is_counted_as_kernel_drops() {
    let line = address(6, 0);
    let small = ReceiverOptions {
        receive_buffer: 16 << 10,
        ..ReceiverOptions::default()
    };
    let (from, mut to) = (SocketReceiver::open(&line, &small).unwrap(), sender(&line));
    for _ in 0..200 {
        to.send(&[7; 1400]);
    }
    let mut received = 0;
    while next(&from).is_some() {
        received += 1;
        if received + from.state().counts().kernel_drops == 200 {
            break;
        }
    }
    assert!(received > 0 && received < 200, "{received}");
    assert_eq!(received + from.state().counts().kernel_drops, 200);
}

#[test]
fn a_datagram_longer_than_the_buffer_is_counted_and_is_no_packet() {
    let line = address(7, 0);
    let (from, mut to) = (receiver(&line), sender(&line));
    to.send(&[1; 3000]);
    to.send(&[2; 2048]);
    assert_eq!(next(&from).unwrap(), []);
    assert_eq!(next(&from).unwrap(), [2; 2048]);
    let counts = from.state().counts();
    assert_eq!((counts.received, counts.truncated, counts.bytes), (2, 1, 5048));
}

#[test]
fn a_port_that_a_program_does_not_share_is_refused_with_what_to_do() {
    let line = address(8, 0);
    let _holder = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, line.port)).unwrap();
    let error = SocketReceiver::open(&line, &ReceiverOptions::default()).unwrap_err();
    assert!(matches!(error, LineError::PortInUse { .. }), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn a_group_that_is_not_multicast_and_an_interface_that_is_not_there_are_refused_by_both_ends() {
    let mut wrong = address(9, 0);
    wrong.group = Ipv4Addr::new(10, 0, 0, 1);
    let send = |line: &LineAddress| LineSender::open(line, SenderOptions::default()).unwrap_err();
    let receive = |line: &LineAddress| SocketReceiver::open(line, &ReceiverOptions::default()).unwrap_err();
    assert!(matches!(send(&wrong), LineError::NotMulticast { .. }));
    assert!(matches!(receive(&wrong), LineError::NotMulticast { .. }));
    let mut wrong = address(9, 1);
    wrong.interface = Some("nosuch9".into());
    assert!(matches!(send(&wrong), LineError::NoInterface { .. }));
    assert!(matches!(receive(&wrong), LineError::NoInterface { .. }));
}

#[test]
fn a_send_that_fails_is_counted_and_told_once_a_change() {
    let line = address(10, 0);
    let mut to = sender(&line);
    assert!(to.state().health_change().is_none());
    let too_long = vec![0; 65_508];
    assert_eq!(to.send(&too_long), SendOutcome::Failed);
    assert_eq!(to.send(&too_long), SendOutcome::Failed);
    assert!(matches!(to.state().health_change(), Some(LineHealth::Failing(_))));
    assert!(to.state().health_change().is_none());
    assert_eq!(to.send(b"well"), SendOutcome::Sent);
    assert!(matches!(to.state().health_change(), Some(LineHealth::Well)));
    assert!(to.state().health_change().is_none());
    assert_eq!((to.state().counts().errors, to.state().counts().sent), (2, 1));
}

/// The size of the packets in the tests of bursts.
const SIZE: usize = 1408;

/// A packet of ours of `length` bytes.
fn packet(sequence: u64, length: usize) -> Vec<u8> {
    let stamp = Stamp {
        channel: 1,
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence,
        ..Stamp::default()
    };
    let mut bytes = vec![0; length];
    OpenPacket::new().finish_whole(&mut bytes, stamp, length);
    bytes
}

fn bursting(address: &LineAddress, segmentation: bool) -> LineSender {
    let options = SenderOptions {
        segmentation,
        ..SenderOptions::default()
    };
    LineSender::open(address, options).unwrap()
}

/// A receiver that takes bursts.
fn taking(address: &LineAddress) -> LineReceiver {
    LineReceiver::open(address, &ReceiverOptions::default(), SIZE).unwrap()
}

/// What the receiver has, a list of packets for each receive.
fn receives(receiver: &mut LineReceiver, longest: usize) -> Vec<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    let mut packets = Vec::new();
    while receiver.receive(longest, |packet| packets.push(packet.to_vec())) {
        all.push(std::mem::take(&mut packets));
    }
    all
}

#[test]
fn a_burst_goes_in_one_send_comes_in_one_receive_and_is_single_packets_to_all_others() {
    let line = address(11, 0);
    let (mut bursts, singles) = (taking(&line), receiver(&line));
    let mut to = bursting(&line, true);
    let mut sent: Vec<Vec<u8>> = (0..46).map(|n| packet(n + 1, SIZE)).collect();
    *sent.last_mut().unwrap() = packet(46, 100);
    let bytes = sent.concat();
    assert_eq!(Burst::most(SIZE), 46);
    assert_eq!(to.send(&packet(100, 200)), SendOutcome::Sent);
    assert_eq!(to.send_burst(Burst::new(&bytes, SIZE)), 46);
    assert_eq!(to.send(&packet(101, SIZE)), SendOutcome::Sent);
    assert!(to.state().segments());
    let alone = |packet| vec![packet];
    assert_eq!(
        receives(&mut bursts, SIZE),
        [alone(packet(100, 200)), sent.clone(), alone(packet(101, SIZE))]
    );
    let mut each = sent.clone();
    each.insert(0, packet(100, 200));
    each.push(packet(101, SIZE));
    for wanted in each {
        assert_eq!(next(&singles).unwrap(), wanted);
    }
    let (from, to) = (bursts.state().counts(), to.state().counts());
    assert_eq!((to.sent, to.bursts, to.burst_packets), (48, 1, 46));
    assert_eq!((from.received, from.bursts, from.truncated), (48, 1, 0));
    assert_eq!((from.bytes, to.bytes), (bytes.len() as u64 + 1608, from.bytes));
}

#[test]
fn without_segmentation_a_burst_is_a_send_for_each_of_its_packets() {
    let line = address(12, 0);
    let mut from = taking(&line);
    let sent: Vec<Vec<u8>> = (0..5).map(|n| packet(n + 1, SIZE)).collect();
    let mut to = bursting(&line, false);
    assert_eq!(to.send_burst(Burst::new(&sent.concat(), SIZE)), 5);
    let each: Vec<_> = sent.iter().map(|packet| vec![packet.clone()]).collect();
    assert_eq!(receives(&mut from, SIZE), each);
    let counts = to.state().counts();
    assert_eq!((counts.sent, counts.bursts, counts.burst_packets), (5, 0, 0));
}

#[test]
fn what_is_no_burst_of_ours_stays_one_datagram() {
    let line = address(13, 0);
    let (mut from, mut to) = (taking(&line), sender(&line));
    let trailing = [packet(1, 200), vec![0; 50]].concat();
    let short = packet(1, 64)[..30].to_vec();
    let foreign = vec![7; 5000];
    let mut wrong_length = packet(1, 200);
    wrong_length[40..42].copy_from_slice(&3u16.to_le_bytes());
    for datagram in [&trailing, &short, &foreign, &wrong_length] {
        to.send(datagram);
    }
    let expected = [vec![trailing], vec![short], vec![foreign], vec![wrong_length]];
    assert_eq!(receives(&mut from, 5000), expected);
    assert_eq!(from.state().counts().received, 4);
}

#[test]
fn packets_that_are_too_long_are_counted_one_by_one_and_are_no_packets() {
    let line = address(14, 0);
    let (mut from, mut to) = (taking(&line), bursting(&line, true));
    let long: Vec<u8> = (0..4).flat_map(|n| packet(n + 1, SIZE)).collect();
    to.send_burst(Burst::new(&long, SIZE));
    to.send(&packet(5, 192));
    assert_eq!(receives(&mut from, 192), [[Vec::new()], [packet(5, 192)]]);
    let counts = from.state().counts();
    assert_eq!((counts.received, counts.truncated), (5, 4));
}
