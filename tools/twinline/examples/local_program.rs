//! A program on a listener's host that keeps what it reads in a file of its own, and goes on where the file ends: what to do so
//! that neither its own death nor the listener's costs a message.
//!
//! ```sh
//! local_program RINGS CHANNEL FILE [fill|skip] [NAP]
//! ```
//!
//! RINGS is the directory of `twinline listen --ring`. With `fill` (the default) what it was too slow for comes from the listener's
//! journal, with `skip` it is named in the file. After every few thousand messages it sleeps for NAP milliseconds. It ends with
//! the session.
//!
//! The file has 32 bytes an entry, all numbers little endian: what it is (0: a message, 1: messages that are missed), session,
//! epoch, CRC32C of the message (4 bytes each), its sequence, and the sequence behind it (8 bytes each). Its end is the
//! position: what was cut off in the middle when the program was killed is written again.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use twinline_reader::wire::field::SessionState;
use twinline_reader::{Event, NoticeKind, Options, Overrun, Position, ReadError, Reader, RingError, Start};

const ENTRY: usize = 32;
const MESSAGE: u32 = 0;
const MISSED: u32 = 1;
/// It sleeps once in so many messages.
const NAP_EVERY: u64 = 4_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rings, channel, path, rest @ ..] = &arguments[..] else {
        return Err("usage: local_program RINGS CHANNEL FILE [fill|skip] [NAP]".into());
    };
    let skips = rest.first().is_some_and(|policy| policy == "skip");
    let nap = rest.get(1).map_or(Ok(0), |nap| nap.parse())?;
    let (file, position) = open(path)?;
    let options = Options {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        start: position.map_or(Start::Oldest, Start::At),
        overrun: if skips { Overrun::Skip } else { Overrun::Fill },
        books: twinline_reader::Instruments::None,
        symbols: false,
        ..Options::default()
    };
    let mut reader = attach(Path::new(rings), channel.parse()?, &options)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    follow(&mut reader, &mut out, Duration::from_millis(nap))?;
    out.flush()?;
    println!("{:?}", reader.progress());
    Ok(())
}

/// The file, and where the stream goes on behind it.
fn open(path: &str) -> std::io::Result<(File, Option<Position>)> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let entries = file.metadata()?.len() / ENTRY as u64;
    file.set_len(entries * ENTRY as u64)?;
    if entries == 0 {
        return Ok((file, None));
    }
    let mut last = [0; ENTRY];
    file.seek(SeekFrom::End(-(ENTRY as i64)))?;
    file.read_exact(&mut last)?;
    let word = |at: usize| u32::from_le_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
    let position = Position {
        session: word(4),
        epoch: word(8),
        sequence: u64::from(word(24)) | u64::from(word(28)) << 32,
    };
    Ok((file, Some(position)))
}

/// Attaches as soon as a listener is there.
fn attach(rings: &Path, channel: u16, options: &Options) -> Result<Reader, ReadError> {
    loop {
        match Reader::attach(rings, channel, options.clone()) {
            Err(ReadError::Ring(RingError::NoRing { .. })) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            attached => return attached,
        }
    }
}

/// Writes down what comes, to the end of the session.
fn follow(
    reader: &mut Reader,
    out: &mut BufWriter<File>,
    nap: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut messages = 0;
    loop {
        let event = match reader.poll()? {
            Some(event) => event,
            None => {
                // Nothing waits: what was read is not to wait either.
                out.flush()?;
                match reader.next_within(Duration::from_secs(1))? {
                    Some(event) => event,
                    None => continue,
                }
            }
        };
        match event {
            Event::Message(message) => {
                let (sequence, bytes) = (message.sequence, message.frame.bytes());
                let place = [message.session, message.epoch, checksum(bytes)];
                out.write_all(&entry(MESSAGE, place, sequence, sequence + 1))?;
                messages += 1;
                if messages % NAP_EVERY == 0 && !nap.is_zero() {
                    std::thread::sleep(nap);
                }
            }
            Event::Notice(notice) => {
                let epoch = notice.position.epoch;
                if let NoticeKind::Missed(missed) = notice.kind {
                    // This program is for one session.
                    assert_eq!(
                        missed.session, missed.end_session,
                        "a session ended among what was missed"
                    );
                    let place = [missed.session, epoch, 0];
                    out.write_all(&entry(MISSED, place, missed.begin, missed.end))?;
                }
                if is_end(&notice.kind) {
                    return Ok(());
                }
            }
        }
    }
}

fn is_end(kind: &NoticeKind<'_>) -> bool {
    matches!(kind, NoticeKind::Session(event) if event.state == SessionState::ENDED)
}

fn entry(what: u32, [session, epoch, sum]: [u32; 3], begin: u64, end: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    for (at, word) in [what, session, epoch, sum].into_iter().enumerate() {
        entry[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
    }
    entry[16..24].copy_from_slice(&begin.to_le_bytes());
    entry[24..].copy_from_slice(&end.to_le_bytes());
    entry
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
