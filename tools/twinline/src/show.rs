//! Messages as JSON: what `listen --print` and `decode` show of them.

use serde_json::{Map, Value as Json, json};
use twinline_wire::message::Value;
use twinline_wire::{Frame, Packet, flags};

/// A message or a notice as JSON.
pub(crate) fn object(packet: &Packet<'_>, sequence: u64, frame: &Frame<'_>) -> Json {
    let header = packet.header();
    let notice = header.flags & flags::LOCAL != 0;
    // A notice has no sequence of its own: it stands before the message that has this one.
    let (kind, place) = if notice {
        ("notice", "before")
    } else {
        ("message", "sequence")
    };
    json!({
        "type": kind,
        "name": name(frame),
        "channel": header.channel.get(),
        "session": header.session.get(),
        "epoch": header.epoch.get(),
        place: sequence,
        "sending_time": header.sending_time.get(),
        "fields": fields(frame),
    })
}

/// The fields of a message by name; of one that this build does not know, its template and size.
pub(crate) fn fields(frame: &Frame<'_>) -> Map<String, Json> {
    let mut fields: Map<String, Json> = frame
        .values()
        .map(|(name, value)| (name.to_string(), json(value)))
        .collect();
    if frame.definition().is_none() {
        fields.insert("template".into(), frame.template().into());
        fields.insert("bytes".into(), frame.block().len().into());
    }
    fields
}

/// The template's name.
pub(crate) fn name(frame: &Frame<'_>) -> &'static str {
    frame.definition().map_or("Unknown", |definition| definition.name)
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
