//! `listen --print`: one JSON object on stdout for each message and notice. It follows the listener's own journal from a
//! thread of its own, so however slow stdout's reader is, the line thread does not wait for it.

use crate::exit::Failure;
use serde_json::{Map, Value as Json, json};
use std::io::{BufWriter, Stdout, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use twinline_journal::{JournalError, JournalReader};
use twinline_wire::message::Value;
use twinline_wire::{Frame, Packet, flags};

/// How long to wait at the journal's head.
const NAP: Duration = Duration::from_millis(2);

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
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout());
    loop {
        // Asked before reading: what was delivered before the end is printed.
        let last = finish.load(Ordering::Acquire);
        match reader.next() {
            Ok(Some(packet)) => print(&mut out, &packet)?,
            Ok(None) if last => return out.flush().map_err(|cause| closed(&cause)),
            Ok(None) => {
                out.flush().map_err(|cause| closed(&cause))?;
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

fn closed(cause: &std::io::Error) -> Failure {
    Failure::error(format!(
        "stdout cannot be written ({cause}): the listener stopped; the journal has all"
    ))
}

fn print(out: &mut BufWriter<Stdout>, packet: &Packet<'_>) -> Result<(), Failure> {
    for (sequence, frame) in packet.messages() {
        let object = object(packet, sequence, &frame);
        serde_json::to_writer(&mut *out, &object).map_err(|error| closed(&error.into()))?;
        out.write_all(b"\n").map_err(|cause| closed(&cause))?;
    }
    Ok(())
}

/// A message or a notice as JSON.
fn object(packet: &Packet<'_>, sequence: u64, frame: &Frame<'_>) -> Json {
    let header = packet.header();
    let notice = header.flags & flags::LOCAL != 0;
    let name = frame.definition().map_or("Unknown", |definition| definition.name);
    let mut fields: Map<String, Json> = frame
        .values()
        .map(|(name, value)| (name.to_string(), json(value)))
        .collect();
    if frame.definition().is_none() {
        fields.insert("template".into(), frame.template().into());
        fields.insert("bytes".into(), frame.block().len().into());
    }
    // A notice has no sequence of its own: it stands before the message that has this one.
    let (kind, place) = if notice {
        ("notice", "before")
    } else {
        ("message", "sequence")
    };
    json!({
        "type": kind,
        "name": name,
        "session": header.session.get(),
        "epoch": header.epoch.get(),
        place: sequence,
        "sending_time": header.sending_time.get(),
        "fields": fields,
    })
}

fn json(value: Value<'_>) -> Json {
    match value {
        Value::Absent => Json::Null,
        Value::Unsigned(number) => number.into(),
        // As text: a JSON number would lose digits.
        Value::Price(price) => price.to_string().into(),
        Value::Text(text) => text.into(),
        Value::Code(name) => name.into(),
        Value::Flags(bits, definition) => definition
            .values
            .iter()
            .filter(|(bit, _)| bits & (1 << bit) != 0)
            .map(|(_, name)| *name)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::market::PriceTick;
    use twinline_wire::{Message, OpenPacket, Stamp};

    #[test]
    fn a_message_is_printed_with_its_place_and_its_fields() {
        let mut tick = PriceTick::NULL;
        tick.price = twinline_wire::Price::new(101_250_000_000);
        tick.instrument = 7.into();
        tick.flags = twinline_wire::EventFlags::END_OF_EVENT;
        let mut buffer = [0; 256];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut buffer, &tick));
        let stamp = Stamp {
            channel: 1,
            session: 3,
            epoch: 2,
            epoch_base: 1,
            sequence: 9,
            sending_time: 5,
            flags: 0,
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::parse(&buffer[..length]).unwrap();
        let (sequence, frame) = packet.messages().next().unwrap();
        let json = object(&packet, sequence, &frame);
        assert_eq!(json["type"], "message");
        assert_eq!((&json["sequence"], &json["epoch"]), (&9.into(), &2.into()));
        assert_eq!(json["fields"]["price"], "101.25");
        assert_eq!(json["fields"]["quantity"], Json::Null);
        assert_eq!(json["fields"]["flags"], json!(["EndOfEvent"]));
    }
}
