//! `listen --print`: one JSON object on stdout for each message and notice. It follows the listener's own journal from a
//! thread of its own, so however slow stdout's reader is, the line thread does not wait for it.

use crate::exit::Failure;
use crate::show;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use twinline_journal::{JournalError, JournalReader};
use twinline_wire::Packet;

/// How long to wait at the journal's head.
const NAP: Duration = Duration::from_millis(2);

/// Bytes that are written at once.
const CHUNK: usize = 1 << 16;

/// The printing thread.
pub(super) struct Printer {
    finish: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Printer {
    /// Prints what is added to the journal in `dir` from now on. Sets `stop` when nobody reads stdout any more.
    pub(super) fn start(dir: &Path, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let mut reader = JournalReader::open(dir)?;
        reader.seek_head()?;
        let finish = Arc::new(AtomicBool::new(false));
        let finishing = Arc::clone(&finish);
        let work = move || {
            let result = follow(&mut reader, &finishing);
            if result.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            result
        };
        let thread = thread::Builder::new()
            .name("printer".into())
            .spawn(work)
            .map_err(|cause| Failure::error(format!("cannot start the printing thread: {cause}")))?;
        Ok(Self { finish, thread })
    }

    /// Prints what is left and ends.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.finish.store(true, Ordering::Release);
        self.thread.join().map_err(|_| {
            Failure::error("the printing thread panicked: this is a bug; the journal is whole")
        })?
    }
}

fn follow(reader: &mut JournalReader, finish: &AtomicBool) -> Result<(), Failure> {
    let mut out = Vec::with_capacity(2 * CHUNK);
    loop {
        // Asked before reading: what was delivered before the end is printed.
        let last = finish.load(Ordering::Acquire);
        match reader.next() {
            Ok(Some(packet)) => {
                print(&mut out, &packet)?;
                if out.len() >= CHUNK {
                    write_out(&mut out)?;
                }
            }
            Ok(None) if last => return write_out(&mut out),
            Ok(None) => {
                write_out(&mut out)?;
                thread::sleep(NAP);
            }
            Err(JournalError::Behind { session, oldest }) => {
                let overrun = json!({ "type": "overrun", "session": session, "oldest": oldest });
                writeln!(out, "{overrun}").map_err(|cause| closed(&cause))?;
                reader.seek_oldest()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes whole lines in one piece: another channel's are not mixed in.
fn write_out(lines: &mut Vec<u8>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(lines).and_then(|()| stdout.flush());
    lines.clear();
    written.map_err(|cause| closed(&cause))
}

fn closed(cause: &std::io::Error) -> Failure {
    Failure::error(format!(
        "stdout cannot be written ({cause}): the listener stopped; the journal has all"
    ))
}

fn print(out: &mut Vec<u8>, packet: &Packet<'_>) -> Result<(), Failure> {
    for (sequence, frame) in packet.messages() {
        let object = show::object(packet, sequence, &frame);
        serde_json::to_writer(&mut *out, &object).map_err(|error| closed(&error.into()))?;
        out.write_all(b"\n").map_err(|cause| closed(&cause))?;
    }
    Ok(())
}
