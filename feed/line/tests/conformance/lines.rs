//! What every pair of transports does alike.

use crate::bed::{
    LONGEST, RECEIVERS, RECEIVING, Receiver, SENDERS, SENDING, XDP, hearing, hosts, line, open, packet,
    sender, until,
};
use std::net::Ipv4Addr;
use twinline_counting_allocator::allocations;
use twinline_line::{Burst, Io, LineHealth, LineReceiver, ReceiverOptions, SendOutcome, SenderOptions};
use twinline_namespaces::Networks;
use twinline_wire::header::PacketHeader;
use zerocopy::FromBytes;

/// Runs `check` with each pair.
fn pairs(networks: &Networks, check: impl Fn(&Networks, Io, Receiver)) {
    for io in SENDERS {
        for receiver in RECEIVERS {
            eprintln!("from {io:?} to {receiver:?}");
            check(networks, io, receiver);
        }
    }
}

#[test]
fn both_lines_carry_their_own_packets_only_in_order() {
    let Some(networks) = hosts(2) else { return };
    pairs(&networks, |networks, io, receiver| {
        let mut from = [0, 1].map(|network| hearing(networks, &line(network), receiver));
        let mut to = [0, 1].map(|network| sender(networks, &line(network), io));
        let packets = |network: usize| (0..200).map(move |n| packet(1_000 * network as u64 + n, 64));
        let mut came = [Vec::new(), Vec::new()];
        for (n, both) in packets(0).zip(packets(1)).enumerate() {
            for (to, packet) in to.iter_mut().zip([both.0, both.1]) {
                assert_eq!(to.send(&packet), SendOutcome::Sent);
            }
            // Never more on their way than the kernel has room for.
            if n % 8 == 7 {
                for (came, from) in came.iter_mut().zip(&mut from) {
                    came.extend(from.next(8));
                }
            }
        }
        for (network, from) in from.iter_mut().enumerate() {
            assert!(came[network].iter().cloned().eq(packets(network)));
            let counts = from.state().counts();
            assert_eq!((counts.received, counts.bytes), (200, 200 * 64));
            assert_eq!((counts.kernel_drops, counts.bad_frames, counts.errors), (0, 0, 0));
        }
        let counts = to[0].state().counts();
        assert_eq!(
            (counts.sent, counts.bytes, counts.dropped, counts.errors),
            (200, 200 * 64, 0, 0)
        );
    });
}

#[test]
fn packets_of_every_size_up_to_the_mtu_arrive_whole_and_a_longer_one_is_an_error_that_is_told() {
    let Some(networks) = hosts(2) else { return };
    pairs(&networks, |networks, io, receiver| {
        let mut from = hearing(networks, &line(0), receiver);
        let mut to = sender(networks, &line(0), io);
        let packet = |length: usize| -> Vec<u8> { (0..length).map(|at| (at * 7 + length) as u8).collect() };
        for length in 1..=LONGEST {
            assert_eq!(to.send(&packet(length)), SendOutcome::Sent);
            assert_eq!(from.next(1), [packet(length)]);
        }
        assert_eq!(to.send(&packet(LONGEST + 1)), SendOutcome::Failed);
        assert!(matches!(to.state().health_change(), Some(LineHealth::Failing(_))));
        assert_eq!(to.send(b"well"), SendOutcome::Sent);
        assert!(matches!(to.state().health_change(), Some(LineHealth::Well)));
        assert_eq!(from.next(1), [b"well"]);
    });
}

#[test]
fn a_burst_arrives_packet_by_packet() {
    let Some(networks) = hosts(2) else { return };
    pairs(&networks, |networks, io, receiver| {
        // The kernel cuts a burst up only at the interface: a generic program sees it whole, and no frame has room for it.
        if (io, receiver) == (Io::Socket, Receiver::Generic) {
            return;
        }
        let mut from = hearing(networks, &line(0), receiver);
        let mut to = sender(networks, &line(0), io);
        let packets: Vec<Vec<u8>> = (0..46).map(|n| vec![n; 1408]).collect();
        assert_eq!(to.send_burst(Burst::new(&packets.concat(), 1408)), 46);
        let came = from.next(if receiver == Receiver::Socket { 1 } else { 46 });
        match receiver {
            // What is no packet of ours stays as it came: the size of a burst is in its packets.
            Receiver::Socket if came.len() == 1 => assert_eq!(from.state().counts().truncated, 1),
            _ => assert_eq!(came, packets),
        }
        let counts = to.state().counts();
        assert_eq!((counts.sent, counts.bursts, counts.burst_packets), (46, 1, 46));
    });
}

#[test]
fn neither_end_allocates_while_packets_come_single_and_in_bursts_and_find_no_room() {
    let Some(networks) = hosts(2) else { return };
    pairs(&networks, |networks, io, receiver| {
        let small = ReceiverOptions {
            receive_buffer: 256 << 10,
            ..receiver.options()
        };
        let mut from = networks
            .host(RECEIVING)
            .within(|| LineReceiver::open(&line(0), &small, LONGEST))
            .unwrap()
            .unwrap();
        let mut to = sender(networks, &line(0), io);
        let packets = [7; 10 * 1000];
        let (before, mut came) = (allocations(), 0);
        for round in 0..2_000 {
            to.send(&packets[..100]);
            to.send_burst(Burst::new(&packets, 1000));
            // For a while nobody takes them.
            if !(500..700).contains(&round) {
                while from.receive(LONGEST, |_| came += 1) {}
            }
        }
        let after = allocations();
        assert_eq!(after - before, 0);
        assert!(came > 1_500, "{came}");
        assert!(from.state().counts().kernel_drops > 0);
    });
}

#[test]
fn what_finds_no_room_is_counted_and_afterwards_everything_comes_again() {
    let Some(networks) = hosts(2) else { return };
    pairs(&networks, |networks, io, receiver| {
        let small = ReceiverOptions {
            receive_buffer: 256 << 10,
            ..receiver.options()
        };
        let mut from = open(networks, RECEIVING, &line(0), &small).unwrap();
        let mut to = sender(networks, &line(0), io);
        let mut heard = 0;
        for _ in 0..3 {
            for n in 0..5_000u64 {
                assert_eq!(to.send(&packet(n, 1024)), SendOutcome::Sent);
            }
            let packets = from.now();
            let numbers: Vec<u64> = packets
                .iter()
                .map(|packet| PacketHeader::ref_from_prefix(packet).unwrap().0.sequence.get())
                .collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "in order");
            assert!((64..4_900).contains(&numbers.len()), "{}", numbers.len());
            assert_eq!(to.send(&packet(9_999, 64)), SendOutcome::Sent);
            assert_eq!(from.next(1), [packet(9_999, 64)]);
            heard += numbers.len() as u64 + 1;
        }
        let counts = from.state().counts();
        assert_eq!(counts.received, heard);
        match receiver {
            // What the kernel had put together it drops, and counts, as one.
            Receiver::Socket => assert!((1..=15_003 - heard).contains(&counts.kernel_drops), "{counts:?}"),
            _ => assert_eq!(counts.kernel_drops, 15_003 - heard, "{counts:?}"),
        }
    });
}

#[test]
fn what_an_interface_without_its_carrier_drops_is_not_counted_as_sent() {
    let Some(networks) = hosts(2) else { return };
    let mut from = hearing(&networks, &line(0), Receiver::Native);
    let mut to = sender(&networks, &line(0), Io::Xdp);
    networks.set_port(0, SENDING, false).unwrap();
    for n in 0..100 {
        assert_eq!(to.send(&packet(n, 64)), SendOutcome::Dropped);
    }
    let burst: Vec<u8> = (100..140).flat_map(|n| packet(n, 64)).collect();
    assert_eq!(to.send_burst(Burst::new(&burst, 64)), 0);
    let counts = to.state().counts();
    assert_eq!((counts.sent, counts.dropped, counts.errors), (0, 140, 0));
    networks.set_port(0, SENDING, true).unwrap();
    until(|| to.send(&packet(200, 64)) == SendOutcome::Sent);
    assert_eq!(from.next(1), [packet(200, 64)]);
    let counts = to.state().counts();
    assert_eq!((counts.sent, counts.bytes), (1, 64));
}

#[test]
fn a_packet_longer_than_expected_is_counted_and_is_no_packet() {
    let Some(networks) = hosts(2) else { return };
    for receiver in RECEIVERS {
        let mut to = sender(&networks, &line(0), Io::Socket);
        let mut opened = networks
            .host(RECEIVING)
            .within(|| LineReceiver::open(&line(0), &receiver.options(), 100))
            .unwrap()
            .unwrap();
        for (packet, expected) in [(vec![1; 101], vec![]), (vec![2; 100], vec![2; 100])] {
            to.send(&packet);
            let mut came = Vec::new();
            until(|| opened.receive(100, |packet| came.push(packet.to_vec())));
            assert_eq!(came, [expected]);
        }
        let counts = opened.state().counts();
        assert_eq!((counts.received, counts.truncated, counts.bytes), (2, 1, 201));
    }
}

#[test]
fn a_source_specific_join_hears_its_source_only() {
    let Some(networks) = hosts(3) else { return };
    for receiver in RECEIVERS {
        let only = |host: usize| ReceiverOptions {
            sources: vec![Ipv4Addr::new(10, 0, 0, 1), networks.address(0, host)],
            ..receiver.options()
        };
        for (host, heard) in [(1, true), (3, false)] {
            let mut from = open(&networks, RECEIVING, &line(0), &only(host)).unwrap();
            let mut to = sender(&networks, &line(0), Io::Socket);
            to.send(b"from the first host");
            if heard {
                assert_eq!(from.next(1), [b"from the first host"]);
                continue;
            }
            // What the third host sends later is heard, so the other was not on its way.
            let mut third = networks
                .host(3)
                .within(|| twinline_line::LineSender::open(&line(0), SenderOptions::default()))
                .unwrap()
                .unwrap();
            third.send(b"from the third");
            assert_eq!(from.next(1), [b"from the third"]);
        }
    }
}

#[test]
fn a_group_stays_joined_as_long_as_it_is_heard() {
    let Some(networks) = hosts(2) else { return };
    let joined = || {
        let groups = networks
            .host(RECEIVING)
            .within(|| std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap())
            .unwrap();
        // 239.77.5.1, as the kernel writes it.
        groups.contains("01054DEF")
    };
    for receiver in RECEIVERS {
        let from = hearing(&networks, &line(0), receiver);
        assert!(joined(), "{receiver:?}");
        drop(from);
        // A process that another test starts just now may have the socket open for a moment more.
        until(|| !joined());
    }
}

#[test]
fn a_line_that_was_closed_can_be_opened_again_at_once_and_by_the_other_transport() {
    let Some(networks) = hosts(2) else { return };
    let order = [
        Receiver::Native,
        Receiver::Socket,
        Receiver::Generic,
        Receiver::Native,
        Receiver::Native,
    ];
    let mut state = None;
    for (round, receiver) in order.into_iter().enumerate() {
        let mut from = hearing(&networks, &line(0), receiver);
        let mut to = sender(&networks, &line(0), SENDERS[round % 2]);
        to.send(&[round as u8]);
        assert_eq!(from.next(1), [[round as u8]]);
        // One that still reads the counts does not keep the queue.
        state = Some(from.state().clone());
    }
    assert_eq!(state.map(|state| state.counts().received), Some(1));
}

#[test]
fn a_receiver_takes_what_comes_by_each_of_its_queues_and_leaves_the_other_queues_alone() {
    let Some(networks) = hosts(2) else { return };
    // Two queues each, in namespaces of which the bridge knows nothing.
    let (one, two) = (networks.host(1), networks.host(2));
    let link = format!(
        "link add wide numtxqueues 2 numrxqueues 2 type veth peer name wide numtxqueues 2 numrxqueues 2 netns {}\n",
        two.name()
    );
    one.batch("ip", &link).unwrap();
    one.batch("ip", "address add 10.99.0.1/24 dev wide\nlink set wide up\n")
        .unwrap();
    two.batch("ip", "address add 10.99.0.2/24 dev wide\nlink set wide up\n")
        .unwrap();
    let line: twinline_line::LineAddress = "239.77.5.9:17009@wide".parse().unwrap();
    let by = |queue: u32| SenderOptions {
        io: Io::Xdp,
        queue,
        ..SenderOptions::default()
    };
    let mut to = [0, 1].map(|queue| {
        one.within(|| twinline_line::LineSender::open(&line, by(queue)))
            .unwrap()
            .unwrap()
    });
    for receiver in XDP {
        let all = receiver.options();
        let mut from = open(&networks, RECEIVING, &line, &all).unwrap();
        for n in 0..10u8 {
            to[usize::from(n % 2)].send(&[n]);
        }
        let mut came: Vec<u8> = from.next(10).concat();
        came.sort_unstable();
        assert_eq!(came, (0..10).collect::<Vec<u8>>(), "{receiver:?}");
        drop(from);
        // To a generic program all that comes through a veth pair comes by queue 0.
        if receiver == Receiver::Generic {
            continue;
        }
        let second = ReceiverOptions {
            queues: vec![1],
            ..all
        };
        let mut from = open(&networks, RECEIVING, &line, &second).unwrap();
        for n in 0..10u8 {
            to[usize::from(n % 2)].send(&[n]);
        }
        assert_eq!(from.next(5).concat(), [1, 3, 5, 7, 9], "{receiver:?}");
    }
    let third = ReceiverOptions {
        queues: vec![2],
        ..Receiver::Native.options()
    };
    let error = open(&networks, RECEIVING, &line, &third)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("has no queue 2, only 2"), "{error}");
}
