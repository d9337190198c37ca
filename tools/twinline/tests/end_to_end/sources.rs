//! Sources that say what they must not, or nothing: the publisher goes on, and an operator is told what to do.

use crate::bed::{Bed, Process, free_tcp};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;
use twinline_wire::header::HEADER_LEN;
use twinline_wire::market::PriceTick;
use twinline_wire::session::SourcePosition;
use twinline_wire::{Message, OpenPacket};

/// Waits for a warning that holds `text`.
fn wait_warning(process: &Process, text: &str) {
    process.wait_event(text, |event| {
        let warns = event["event"] == "warning" && event["text"].as_str()?.contains(text);
        warns.then_some(())
    });
}

/// A message framed as in a packet.
fn framed(message: &impl Message) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut open = OpenPacket::new();
    assert!(open.push(&mut buffer, message));
    buffer[HEADER_LEN..open.len()].to_vec()
}

#[test]
fn an_event_that_no_packet_holds_closes_its_engines_connection_and_harms_nobody_else() {
    let bed = Bed::new();
    let address = free_tcp();
    let engine = format!("tcp={address}");
    let sources = ["--source", &engine, "--source", "orders=20000,rate=20000"];
    let publisher = bed.publish(&[&sources[..], &["--linger", "1ms"]].concat());
    publisher.wait_ready();
    let mut connection = TcpStream::connect(&address).expect("it listens");
    let tick = framed(&PriceTick::NULL);
    let end = framed(&SourcePosition {
        position: 1.into(),
        source: 1.into(),
    });
    let event = [tick.repeat(100), end].concat();
    // It may be closed before all is said.
    let _ = connection.write_all(&event);
    wait_warning(&publisher, "no packet holds it; raise the packet size");
    // The other source says everything nevertheless.
    publisher.wait_messages(20_000);
    publisher.terminate();
    publisher.wait().expect(0);
}

#[test]
fn nothing_is_asked_of_the_source_of_a_complete_session_and_its_silence_is_no_warning() {
    let bed = Bed::new();
    let source = ["--generate", "10", "--linger", "300ms", "--source-stall", "10ms"];
    bed.publish(&source).wait().expect(0);
    let again = bed.publish(&source).wait().expect(0).summary;
    assert_eq!(again["warnings"].as_array().map(Vec::len), Some(1), "{again}");
    assert_eq!(again["source_silent_ns"], 0);
}

#[test]
fn a_publisher_that_waits_for_a_pipe_says_so_when_it_is_to_stop_and_a_second_signal_ends_it() {
    let bed = Bed::new();
    let pipe = bed.text("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo")
            .success()
    );
    let publisher = bed.publish(&["--from", &pipe, "--source-stall", "100ms"]);
    let mut writer = OpenOptions::new().write(true).open(&pipe).expect("it reads");
    // The start of the day's messages, and then nothing.
    let mut message = vec![0, 12, b'S'];
    message.resize(13, 0);
    message.push(b'O');
    writer.write_all(&message).expect("it reads");
    wait_warning(&publisher, "has said nothing for 100ms");
    publisher.terminate();
    wait_warning(&publisher, "a second signal ends it at once");
    thread::sleep(Duration::from_millis(10));
    publisher.terminate();
    publisher.wait().expect(1);
}
