//! Where `decode` reads from: journals, captures, the lines themselves. Each gives its packets to the decoder, in order.

use super::decoder::{Arrival, Decoder};
use super::filter::Flow;
use crate::capture::file::CaptureReader;
use crate::capture::headers;
use crate::exit::Failure;
use crate::progress::Progress;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use twinline_journal::{JournalError, JournalReader};
use twinline_line::{Burst, Line, LineAddress, ReceiverOptions, SocketReceiver};
use twinline_wire::header::MAX_PACKET_LEN;

/// How long to wait where nothing more is just now.
const NAP: Duration = Duration::from_millis(2);

/// Packets taken from a journal before it is another one's turn.
const TURN: u64 = 1024;

/// Reads journals one after the other; with `follow` all of them at the same time, waiting for more at their ends, until
/// stopped. Breaks if no more are wanted.
pub(super) fn journals(
    dirs: &[PathBuf],
    follow: bool,
    decoder: &mut Decoder,
    stop: &AtomicBool,
    progress: &mut Progress,
) -> Result<Flow, Failure> {
    let mut open = Vec::with_capacity(dirs.len());
    for dir in dirs {
        open.push(Journal::open(dir)?);
    }
    if !follow {
        for journal in &mut open {
            loop {
                match journal.turn(decoder, progress)? {
                    Turn::Enough => return Ok(ControlFlow::Break(())),
                    Turn::More if stop.load(Ordering::Relaxed) => return Ok(ControlFlow::Break(())),
                    Turn::More => {}
                    Turn::AtEnd => break,
                }
            }
        }
        return Ok(ControlFlow::Continue(()));
    }
    loop {
        // Asked before reading: what was there when it was stopped is shown.
        let last = stop.load(Ordering::Relaxed);
        let mut at_end = true;
        for journal in &mut open {
            match journal.turn(decoder, progress)? {
                Turn::Enough => return Ok(ControlFlow::Break(())),
                Turn::More => at_end = false,
                Turn::AtEnd => {}
            }
        }
        if at_end {
            if last || decoder.flush()?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            thread::sleep(NAP);
        }
    }
}

/// A journal that is read.
struct Journal<'a> {
    dir: &'a Path,
    reader: JournalReader,
    /// Packets read.
    number: u64,
}

/// What a turn at a journal came to.
enum Turn {
    /// There may be more.
    More,
    /// There is no more just now.
    AtEnd,
    /// No more is wanted.
    Enough,
}

impl<'a> Journal<'a> {
    fn open(dir: &'a Path) -> Result<Self, Failure> {
        let mut reader = JournalReader::open(dir)?;
        reader.seek_oldest()?;
        Ok(Self {
            dir,
            reader,
            number: 0,
        })
    }

    fn turn(&mut self, decoder: &mut Decoder, progress: &mut Progress) -> Result<Turn, Failure> {
        for _ in 0..TURN {
            match self.reader.next() {
                Ok(Some(packet)) => {
                    self.number += 1;
                    let arrival = Arrival {
                        bytes: packet.bytes(),
                        number: self.number,
                        ..Arrival::default()
                    };
                    if decoder.arrival(&arrival)?.is_break() {
                        return Ok(Turn::Enough);
                    }
                }
                Ok(None) => return Ok(Turn::AtEnd),
                Err(error @ (JournalError::Behind { .. } | JournalError::Discarded { .. })) => {
                    progress.warn(format!("{}: {error}", self.dir.display()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Turn::More)
    }
}

/// Reads a capture; `-` is stdin. Breaks if no more are wanted.
pub(super) fn capture(path: &Path, decoder: &mut Decoder, stop: &AtomicBool) -> Result<Flow, Failure> {
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
        let datagram = match headers::datagram(packet.interface.link, packet.bytes) {
            Ok(datagram) => datagram,
            Err(why) => {
                decoder.skip(why);
                continue;
            }
        };
        // On the sender's own host a burst is captured before it is cut up.
        for bytes in Burst::received(datagram.payload).packets() {
            let flow = decoder.arrival(&Arrival {
                bytes,
                number: packet.number,
                received: packet.time,
                destination: Some(datagram.destination),
                interface: &packet.interface.name,
            })?;
            if flow.is_break() || stop.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
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
        &format!(
            "decoding what comes on {} and {}",
            a.state().address(),
            b.state().address()
        ),
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
) -> Result<[SocketReceiver; 2], Failure> {
    let mut open = |address| -> Result<SocketReceiver, Failure> {
        let receiver = SocketReceiver::open(address, &ReceiverOptions::default())?;
        receiver.stamp_times()?;
        if let Some(warning) = receiver.state().buffer().warning() {
            progress.warn(warning);
        }
        Ok(receiver)
    };
    Ok([open(&lines[0])?, open(&lines[1])?])
}
