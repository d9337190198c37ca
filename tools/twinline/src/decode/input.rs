//! Where `decode` reads from: journals, captures, the lines themselves. Each gives its packets to the decoder, in order.

use super::decoder::{Arrival, Decoder};
use crate::capture::file::CaptureReader;
use crate::capture::headers;
use crate::exit::Failure;
use crate::progress::Progress;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use twinline_journal::{JournalError, JournalReader};
use twinline_line::{Line, LineAddress, LineReceiver, ReceiverOptions};
use twinline_wire::header::MAX_PACKET_LEN;

/// How long to wait where nothing more is just now.
const NAP: Duration = Duration::from_millis(2);

/// Reads a journal; with `follow` it waits for more at its end, until stopped.
pub(super) fn journal(
    dir: &Path,
    follow: bool,
    decoder: &mut Decoder,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut reader = JournalReader::open(dir)?;
    reader.seek_oldest()?;
    let mut number = 0;
    loop {
        // Asked before reading: what was there when it was stopped is shown.
        let last = stop.load(Ordering::Relaxed);
        match reader.next() {
            Ok(Some(packet)) => {
                number += 1;
                let arrival = Arrival {
                    bytes: packet.bytes(),
                    number,
                    ..Arrival::default()
                };
                if decoder.arrival(&arrival)?.is_break() || (last && !follow) {
                    return Ok(());
                }
            }
            Ok(None) if !follow || last => return Ok(()),
            Ok(None) => {
                if decoder.flush()?.is_break() {
                    return Ok(());
                }
                thread::sleep(NAP);
            }
            Err(error @ (JournalError::Behind { .. } | JournalError::Discarded { .. })) => {
                progress.warn(format!("{}: {error}", dir.display()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads a capture; `-` is stdin.
pub(super) fn capture(path: &Path, decoder: &mut Decoder, stop: &AtomicBool) -> Result<(), Failure> {
    let (name, input): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("stdin".into(), Box::new(io::stdin().lock()))
    } else {
        let file = File::open(path).map_err(|cause| {
            Failure::error(format!("cannot open {}: {cause}; check the path", path.display()))
        })?;
        (path.display().to_string(), Box::new(file))
    };
    let input = unpacked(input).map_err(|cause| Failure::error(format!("cannot read {name}: {cause}")))?;
    let mut reader = CaptureReader::new(&name, input)?;
    while let Some(packet) = reader.next()? {
        let flow = match headers::datagram(packet.interface.link, packet.bytes) {
            Ok(datagram) => decoder.arrival(&Arrival {
                bytes: datagram.payload,
                number: packet.number,
                received: packet.time,
                destination: Some(datagram.destination),
                interface: &packet.interface.name,
            })?,
            Err(why) => {
                decoder.skip(why);
                continue;
            }
        };
        if flow.is_break() || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// `input`, decompressed if it is gzip.
fn unpacked(mut input: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut head = Vec::new();
    input.by_ref().take(2).read_to_end(&mut head)?;
    let packed = head == [0x1f, 0x8b];
    let whole = BufReader::with_capacity(1 << 16, io::Cursor::new(head).chain(input));
    Ok(if packed {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    })
}

/// Hears both lines, as an ordinary receiver does, until stopped. Without an arbiter: what comes is shown as it comes.
pub(super) fn live(
    lines: &[LineAddress; 2],
    decoder: &mut Decoder,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let [a, b] = open_lines(lines, progress)?;
    progress.ready(
        None,
        &format!("decoding what comes on {} and {}", a.address(), b.address()),
    );
    let mut buffer = [0; MAX_PACKET_LEN];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut quiet = true;
        for (line, receiver) in Line::ALL.iter().zip([&a, &b]) {
            let Some(heard) = receiver.recv_from(&mut buffer) else {
                continue;
            };
            quiet = false;
            number += 1;
            let address = &lines[line.index()];
            let arrival = Arrival {
                bytes: &buffer[..heard.length],
                number,
                received: Some(heard.time),
                destination: Some(std::net::SocketAddrV4::new(address.group, address.port)),
                interface: "",
            };
            if decoder.arrival(&arrival)?.is_break() {
                return Ok(());
            }
        }
        if quiet {
            if decoder.flush()?.is_break() {
                return Ok(());
            }
            thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

/// Opens both lines, to be told the kernel's receive times.
pub(crate) fn open_lines(
    lines: &[LineAddress; 2],
    progress: &mut Progress,
) -> Result<[LineReceiver; 2], Failure> {
    let mut open = |address| -> Result<LineReceiver, Failure> {
        let receiver = LineReceiver::open(address, &ReceiverOptions::default())?;
        receiver.stamp_times()?;
        if let Some(warning) = receiver.buffer().warning() {
            progress.warn(warning);
        }
        Ok(receiver)
    };
    Ok([open(&lines[0])?, open(&lines[1])?])
}
