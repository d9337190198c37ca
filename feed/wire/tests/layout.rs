//! Holds the Rust definitions to `twinline.xml`, in both directions: what one has and the other lacks is an error, and
//! so is any difference of place, size, number, name or null value.

mod support;

use roxmltree::{Document, Node};
use std::collections::BTreeMap;
use std::mem::offset_of;
use support::camel;
use twinline_wire::field::{CodeDef, Kind, PRICE_EXPONENT};
use twinline_wire::header::{HEADER_LEN, PacketHeader, flags};
use twinline_wire::message::{FRAME_HEADER_LEN, FrameHeader, MessageDef, SbeHeader, TEMPLATES};
use twinline_wire::recovery::Range;
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN, StreamHeader};
use twinline_wire::{SCHEMA_ID, SCHEMA_VERSION, SCHEMA_XML};

const NAMESPACE: &str = "http://fixprotocol.io/2016/sbe";

/// The bits of the packet header's flags, which the code has as plain constants.
static PACKET_FLAGS: CodeDef = CodeDef {
    name: "PacketFlags",
    values: &[
        (flags::END_OF_SESSION.trailing_zeros() as u8, "EndOfSession"),
        (flags::LOCAL.trailing_zeros() as u8, "Local"),
        (flags::SEGMENT_END.trailing_zeros() as u8, "SegmentEnd"),
    ],
};

fn schema() -> Document<'static> {
    Document::parse(SCHEMA_XML).expect("the schema is well-formed XML")
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name)
        .unwrap_or_else(|| panic!("{:?} has no {name}", node))
}

fn number<T: std::str::FromStr>(node: Node<'_, '_>, name: &str) -> T {
    attribute(node, name)
        .parse()
        .unwrap_or_else(|_| panic!("{:?}: {name} is no number", node))
}

/// The children that are elements of this name.
fn children<'a, 'i>(node: Node<'a, 'i>, tag: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(tag))
}

/// Every named encoding under `types`.
fn types<'a, 'i>(document: &'a Document<'i>) -> BTreeMap<&'a str, Node<'a, 'i>> {
    let mut all = BTreeMap::new();
    for types in children(document.root_element(), "types") {
        for node in types.children().filter(Node::is_element) {
            assert!(
                all.insert(attribute(node, "name"), node).is_none(),
                "{node:?} is named twice"
            );
        }
    }
    all
}

fn primitive_size(name: &str) -> Option<usize> {
    Some(match name {
        "char" | "int8" | "uint8" => 1,
        "int16" | "uint16" => 2,
        "int32" | "uint32" | "float" => 4,
        "int64" | "uint64" | "double" => 8,
        _ => return None,
    })
}

/// Bytes of the encoding called `name`.
fn size_of_type(types: &BTreeMap<&str, Node<'_, '_>>, name: &str) -> usize {
    if let Some(size) = primitive_size(name) {
        return size;
    }
    let node = types.get(name).unwrap_or_else(|| panic!("no type {name}"));
    match node.tag_name().name() {
        "type" => size_of_element(*node),
        "composite" => children(*node, "type").map(size_of_element).sum(),
        _ => primitive_size(attribute(*node, "encodingType")).expect("codes are encoded as a primitive type"),
    }
}

fn size_of_element(node: Node<'_, '_>) -> usize {
    if node.attribute("presence") == Some("constant") {
        return 0;
    }
    let length = node
        .attribute("length")
        .map_or(1, |length| length.parse().expect("a number"));
    primitive_size(attribute(node, "primitiveType")).expect("a primitive type") * length
}

/// `name` and place of each member of a composite, and its size.
fn composite(name: &str) -> (Vec<(String, usize)>, usize) {
    let document = schema();
    let types = types(&document);
    let node = types.get(name).unwrap_or_else(|| panic!("no composite {name}"));
    assert_eq!(node.tag_name().name(), "composite");
    let mut at = 0;
    let members = children(*node, "type")
        .map(|member| {
            let place = at;
            at += size_of_element(member);
            (attribute(member, "name").to_owned(), place)
        })
        .collect();
    (members, at)
}

/// Name (camel case) and offset of the named fields of a struct, and its size.
macro_rules! members {
    ($type:ty: $($field:ident),*) => {
        (vec![$((camel(stringify!($field)), offset_of!($type, $field))),*], size_of::<$type>())
    };
}

/// The SBE header behind a length: its members with their places in `T`.
fn framed(length: usize) -> (Vec<(String, usize)>, usize) {
    let (inner, size) = members!(SbeHeader: block_length, template_id, schema_id, version);
    let mut all = vec![("length".to_owned(), 0)];
    all.extend(inner.into_iter().map(|(name, at)| (name, at + length)));
    (all, size + length)
}

#[test]
fn the_schema_names_itself_as_the_code_does() {
    let document = schema();
    let root = document.root_element();
    assert!(root.has_tag_name((NAMESPACE, "messageSchema")));
    assert_eq!(number::<u16>(root, "id"), SCHEMA_ID);
    assert_eq!(number::<u16>(root, "version"), SCHEMA_VERSION);
    assert_eq!(attribute(root, "byteOrder"), "littleEndian");
    assert_eq!(attribute(root, "headerType"), "messageHeader");
}

#[test]
fn every_header_has_the_members_of_its_struct_at_their_places() {
    assert_eq!(
        composite("packetHeader"),
        members!(PacketHeader: magic, version, flags, channel, count, session, epoch, sequence, sending_time,
            epoch_base, length, spare, checksum)
    );
    assert_eq!(HEADER_LEN, 48);
    assert_eq!(
        composite("messageHeader"),
        members!(SbeHeader: block_length, template_id, schema_id, version)
    );
    assert_eq!(composite("frameHeader"), framed(offset_of!(FrameHeader, sbe)));
    assert_eq!(composite("frameHeader").1, FRAME_HEADER_LEN);
    assert_eq!(composite("streamHeader"), framed(offset_of!(StreamHeader, sbe)));
    assert_eq!(composite("streamHeader").1, STREAM_HEADER_LEN);
    assert_eq!(
        composite("groupSizeEncoding"),
        members!(GroupHeader: block_length, num_in_group)
    );
    for data in ["varDataEncoding", "varTextEncoding"] {
        assert_eq!(
            composite(data),
            (vec![("length".to_owned(), 0), ("varData".to_owned(), 4)], 4)
        );
    }
}

#[test]
fn every_enumeration_and_set_has_the_names_and_numbers_of_its_type() {
    let document = schema();
    let types = types(&document);
    let mut defined: BTreeMap<_, _> = [("PacketFlags", ("set", &PACKET_FLAGS))].into();
    for field in TEMPLATES.iter().flat_map(|template| template.fields) {
        match field.kind {
            Kind::Code(def) => defined.insert(def.name, ("enum", def)),
            Kind::Flags(def) => defined.insert(def.name, ("set", def)),
            _ => None,
        };
    }
    for (name, (tag, def)) in &defined {
        let node = types
            .get(name)
            .unwrap_or_else(|| panic!("the schema lacks {name}"));
        assert!(node.has_tag_name(*tag), "{name}");
        assert_eq!(attribute(*node, "encodingType"), "uint8", "{name}");
        let entry = if *tag == "enum" { "validValue" } else { "choice" };
        let listed: Vec<(u8, &str)> = children(*node, entry)
            .map(|entry| {
                let value = entry.text().expect("a value").trim().parse().expect("a number");
                (value, attribute(entry, "name"))
            })
            .collect();
        assert_eq!(listed, def.values, "{name}");
    }
    for (name, node) in &types {
        if ["enum", "set"].contains(&node.tag_name().name()) {
            assert!(defined.contains_key(name), "no field is a {name}");
        }
    }
}

#[test]
fn every_message_has_the_fields_of_its_struct() {
    let document = schema();
    let types = types(&document);
    let mut listed = BTreeMap::new();
    for message in document
        .root_element()
        .children()
        .filter(|n| n.has_tag_name((NAMESPACE, "message")))
    {
        assert!(
            listed.insert(number::<u16>(message, "id"), message).is_none(),
            "{message:?} has another's id"
        );
    }
    for template in TEMPLATES {
        let message = listed
            .remove(&template.template)
            .unwrap_or_else(|| panic!("the schema lacks {}", template.name));
        check_message(&types, message, template);
    }
    assert!(listed.is_empty(), "the code lacks {:?}", listed.keys());
}

fn check_message(types: &BTreeMap<&str, Node<'_, '_>>, message: Node<'_, '_>, template: &MessageDef) {
    let name = template.name;
    assert_eq!(attribute(message, "name"), name);
    assert_eq!(
        number::<usize>(message, "blockLength"),
        template.block_length,
        "{name}"
    );
    let listed: Vec<_> = children(message, "field").collect();
    assert_eq!(listed.len(), template.fields.len(), "{name}: number of fields");
    let mut at = 0;
    for (node, field) in listed.iter().zip(template.fields) {
        let context = format!("{name}.{}", field.name);
        assert_eq!(attribute(*node, "name"), camel(field.name), "{context}");
        assert_eq!(number::<usize>(*node, "offset"), field.offset, "{context}");
        assert_eq!(field.offset, at, "{context}: no gaps");
        check_field(types, *node, field.kind, &context);
        at += size_of_type(types, attribute(*node, "type"));
    }
    assert_eq!(at, template.block_length, "{name}: no gap at its end");
    let mut ids: Vec<u16> = message
        .descendants()
        .filter(|node| ["field", "group", "data"].contains(&node.tag_name().name()))
        .map(|node| number(node, "id"))
        .collect();
    let fields = ids.len();
    ids.dedup();
    assert_eq!(
        (ids.len(), ids.is_sorted()),
        (fields, true),
        "{name}: ids repeat or fall"
    );
}

fn check_field(types: &BTreeMap<&str, Node<'_, '_>>, node: Node<'_, '_>, kind: Kind, context: &str) {
    let type_name = attribute(node, "type");
    let optional = match node.attribute("presence") {
        None | Some("required") => false,
        Some("optional") => true,
        other => panic!("{context}: presence {other:?}"),
    };
    let named = || {
        *types
            .get(type_name)
            .unwrap_or_else(|| panic!("{context}: no type {type_name}"))
    };
    match kind {
        Kind::Unsigned {
            size,
            optional: false,
        } => {
            let primitive = format!("uint{}", 8 * size);
            assert_eq!(attribute(named(), "primitiveType"), primitive, "{context}");
            assert!(named().attribute("presence").is_none(), "{context}");
            assert!(!optional, "{context}");
        }
        Kind::Unsigned { size, optional: true } => {
            assert!(optional, "{context}");
            check_null(
                named(),
                &format!("uint{}", 8 * size),
                u64::MAX >> (64 - 8 * size),
                context,
            );
        }
        Kind::Price { optional: expected } => {
            assert_eq!(optional, expected, "{context}");
            check_price(named(), expected, context);
        }
        Kind::Text { size } => {
            let node = named();
            assert_eq!(attribute(node, "primitiveType"), "char", "{context}");
            assert_eq!(number::<usize>(node, "length"), size, "{context}");
            assert!(!optional, "{context}");
        }
        // A code may be marked optional where the message says what its absence means; SBE's own null, 255, is ours.
        Kind::Code(def) => {
            assert_eq!(type_name, def.name, "{context}");
            assert!(named().attribute("nullValue").is_none(), "{context}");
            assert!(def.values.iter().all(|(value, _)| *value != u8::MAX), "{context}");
        }
        Kind::Flags(def) => {
            assert_eq!(type_name, def.name, "{context}");
            assert!(!optional, "{context}");
        }
    }
}

fn check_null(node: Node<'_, '_>, primitive: &str, null: u64, context: &str) {
    assert_eq!(attribute(node, "primitiveType"), primitive, "{context}");
    assert_eq!(attribute(node, "presence"), "optional", "{context}");
    assert_eq!(number::<u64>(node, "nullValue"), null, "{context}");
}

fn check_price(node: Node<'_, '_>, optional: bool, context: &str) {
    let members: Vec<_> = children(node, "type").collect();
    let [mantissa, exponent] = members[..] else {
        panic!("{context}: a price is a mantissa and an exponent");
    };
    assert_eq!(attribute(mantissa, "name"), "mantissa", "{context}");
    if optional {
        check_null(mantissa, "int64", i64::MAX as u64, context);
    } else {
        assert_eq!(attribute(mantissa, "primitiveType"), "int64", "{context}");
        assert!(mantissa.attribute("presence").is_none(), "{context}");
    }
    assert_eq!(attribute(exponent, "name"), "exponent", "{context}");
    assert_eq!(attribute(exponent, "presence"), "constant", "{context}");
    assert_eq!(
        exponent.text().and_then(|text| text.trim().parse().ok()),
        Some(PRICE_EXPONENT),
        "{context}"
    );
}

/// What stands behind the blocks of the recovery protocol; the messages of the lines have nothing there.
#[test]
fn groups_and_data_are_those_that_the_stream_functions_read() {
    let expected: BTreeMap<&str, &[(&str, &str)]> = [
        (
            "Login",
            &[("client", "varTextEncoding"), ("token", "varTextEncoding")][..],
        ),
        ("RangesRequest", &[("ranges", "groupSizeEncoding")]),
        ("Data", &[("packets", "varDataEncoding")]),
        ("Reject", &[("text", "varTextEncoding")]),
        ("SnapshotPart", &[("bytes", "varDataEncoding")]),
        ("Logout", &[("text", "varTextEncoding")]),
    ]
    .into();
    let document = schema();
    for message in document
        .root_element()
        .children()
        .filter(|n| n.has_tag_name((NAMESPACE, "message")))
    {
        let name = attribute(message, "name");
        let tail: Vec<(&str, &str)> = message
            .children()
            .filter_map(|node| match node.tag_name().name() {
                "group" => Some((attribute(node, "name"), attribute(node, "dimensionType"))),
                "data" => Some((attribute(node, "name"), attribute(node, "type"))),
                _ => None,
            })
            .collect();
        assert_eq!(tail, *expected.get(name).unwrap_or(&&[][..]), "{name}");
        for group in children(message, "group") {
            let entry: Vec<_> = children(group, "field")
                .map(|field| {
                    assert_eq!(attribute(field, "type"), "U64");
                    (attribute(field, "name").to_owned(), number(field, "offset"))
                })
                .collect();
            assert_eq!((entry, number(group, "blockLength")), members!(Range: begin, end));
        }
    }
}

#[test]
fn everything_is_described_and_no_type_is_unused() {
    let document = schema();
    let mut used: Vec<&str> = vec![
        "messageHeader",
        "packetHeader",
        "frameHeader",
        "streamHeader",
        "groupSizeEncoding",
        "PacketFlags",
    ];
    for node in document.descendants().filter(Node::is_element) {
        if node.tag_name().name() != "types" {
            assert!(
                node.attribute("description")
                    .is_some_and(|text| text.ends_with('.') || node == document.root_element()),
                "{node:?} is not described"
            );
        }
        used.extend(node.attribute("type"));
    }
    for name in types(&document).keys() {
        assert!(used.contains(name), "nothing uses {name}");
    }
}
