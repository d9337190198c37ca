//! What golden bytes decode to, as JSON: prices as mantissas, codes and flags by name, absent values as null.

use crate::support::camel;
use serde_json::{Map, Value as Json, json};
use twinline_wire::Packet;
use twinline_wire::message::Message;
use twinline_wire::message::{MessageDef, Value, template, values};
use twinline_wire::recovery::RangesRequest;
use twinline_wire::stream::StreamFrame;

/// A field's value.
fn value(value: Value<'_>) -> Json {
    match value {
        Value::Absent => Json::Null,
        Value::Unsigned(number) => number.into(),
        Value::Price(price) => json!({ "mantissa": price.mantissa() }),
        Value::Text(text) => text.into(),
        Value::Code(name) => name.into(),
        Value::Flags(bits, def) => {
            let set = def.values.iter().filter(|(bit, _)| bits >> bit & 1 == 1);
            set.map(|(_, name)| *name).collect()
        }
    }
}

fn fields(definition: &'static MessageDef, block: &[u8]) -> Json {
    values(Some(definition), block)
        .zip(definition.fields)
        .map(|((name, read), field)| {
            let absent_price = matches!(
                (read, field.kind),
                (Value::Absent, twinline_wire::field::Kind::Price { .. })
            );
            let shown = if absent_price {
                json!({ "mantissa": null })
            } else {
                value(read)
            };
            (camel(name), shown)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// A packet: its header and messages.
pub(crate) fn packet(packet: &Packet<'_>) -> Json {
    let header = packet.header();
    let messages: Vec<_> = packet
        .messages()
        .map(|(sequence, frame)| {
            let definition = frame
                .definition()
                .expect("a golden message is of a known template");
            json!({
                "sequence": sequence,
                "template": definition.template,
                "name": definition.name,
                "fields": fields(definition, frame.block()),
            })
        })
        .collect();
    json!({
        "header": {
            "magic": header.magic.get(),
            "version": header.version,
            "flags": header.flags,
            "channel": header.channel.get(),
            "count": header.count.get(),
            "session": header.session.get(),
            "epoch": header.epoch.get(),
            "sequence": header.sequence.get(),
            "sendingTime": header.sending_time.get(),
            "epochBase": header.epoch_base.get(),
            "length": header.length.get(),
            "spare": u16::from_le_bytes(header.spare),
            "checksum": header.checksum.get(),
        },
        "messages": messages,
    })
}

/// The names of a template's data fields, and whether each is text.
fn data_fields(name: &str) -> &'static [(&'static str, bool)] {
    match name {
        "Login" => &[("client", true), ("token", true)],
        "Data" => &[("packets", false)],
        "Reject" | "Logout" => &[("text", true)],
        "SnapshotPart" => &[("bytes", false)],
        _ => &[],
    }
}

/// A frame of the recovery protocol: its block, groups and data (text as text, bytes in hex).
pub(crate) fn stream_frame(frame: &StreamFrame<'_>) -> Json {
    let definition = template(frame.template()).expect("a golden frame is of a known template");
    let mut shown = json!({
        "template": definition.template,
        "name": definition.name,
        "fields": fields(definition, frame.block()),
    });
    if definition.template == RangesRequest::TEMPLATE {
        let ranges = frame.ranges().expect("a golden group is sound");
        shown["ranges"] = ranges
            .map(|range| json!({ "begin": range.begin.get(), "end": range.end.get() }))
            .collect();
        return shown;
    }
    let mut data = frame.data();
    for (name, text) in data_fields(definition.name) {
        let bytes = data.take().expect("golden data is sound");
        shown["data"][*name] = if *text {
            std::str::from_utf8(bytes).expect("golden text is UTF-8").into()
        } else {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into()
        };
    }
    shown
}
