//! `include/twinline_messages.h` is made from the schema: this test holds it to that, and makes it anew with
//! `TWINLINE_REGENERATE=1 cargo test -p twinline-reader-c --test messages_header`.

use roxmltree::{Document, Node};
use std::fmt::Write;
use std::path::Path;
use twinline_wire::field::Kind;
use twinline_wire::message::{FieldDef, MessageDef, TEMPLATES};
use twinline_wire::{SCHEMA_ID, SCHEMA_VERSION, SCHEMA_XML};

const ABOVE: &str = "/* Twinline's messages as packed structs: what twinline_event.block points at, by its template.
 *
 * Made from the schema; do not edit. Numbers are little endian, as on the wire, so this header is for little-endian
 * hosts. Prices count 10^-9 currency units. Text is padded with zero bytes and not terminated. A block may be longer
 * than its struct (from a newer sender) or shorter (from an older one): twinline_event.block_length says how much is there.
 */
#ifndef TWINLINE_MESSAGES_H
#define TWINLINE_MESSAGES_H

#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error \"twinline_messages.h is for little-endian hosts\"
#endif

#ifdef __cplusplus
extern \"C\" {
#endif

/* What stands for absent, in fields that say \"may be absent\". */
#define TWINLINE_NO_U16 UINT16_MAX
#define TWINLINE_NO_U32 UINT32_MAX
#define TWINLINE_NO_U64 UINT64_MAX
#define TWINLINE_NO_PRICE INT64_MAX
/* Units of a price in one unit of currency. */
#define TWINLINE_PRICE_SCALE INT64_C(1000000000)

";

const BELOW: &str = "#ifdef __cplusplus
}
#endif

#endif
";

/// The recovery protocol's messages are none of a program's business.
const FIRST_OF_RECOVERY: u16 = 100;

fn messages() -> impl Iterator<Item = &'static MessageDef> {
    TEMPLATES
        .iter()
        .copied()
        .filter(|message| message.template < FIRST_OF_RECOVERY)
}

/// `AddOrder` as `add_order`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn field_type(kind: Kind) -> (String, &'static str) {
    match kind {
        Kind::Unsigned { size, optional } => (
            format!("uint{}_t", 8 * size),
            if optional { " May be absent." } else { "" },
        ),
        Kind::Price { optional } => ("int64_t".into(), if optional { " May be absent." } else { "" }),
        Kind::Text { .. } => ("char".into(), ""),
        Kind::Code(_) | Kind::Flags(_) => ("uint8_t".into(), ""),
    }
}

fn described<'a>(nodes: impl Iterator<Item = Node<'a, 'a>>, name: &str) -> &'a str {
    let find = |node: &Node<'_, '_>| {
        node.attribute("name")
            .is_some_and(|found| snake(found) == snake(name))
    };
    nodes
        .filter(find)
        .find_map(|node| node.attribute("description"))
        .unwrap_or_default()
}

fn write_field(out: &mut String, field: &FieldDef, description: &str) {
    let (name, absent) = field_type(field.kind);
    let codes = match field.kind {
        Kind::Code(def) | Kind::Flags(def) => format!(" TWINLINE_{}_...", snake(def.name).to_uppercase()),
        _ => String::new(),
    };
    let array = match field.kind {
        Kind::Text { size } => format!("[{size}]"),
        _ => String::new(),
    };
    // A word of C++.
    let field_name = if field.name == "class" {
        "class_letters"
    } else {
        field.name
    };
    writeln!(
        out,
        "    {name} {field_name}{array}; /* {description}{absent}{codes} */"
    )
    .expect("a string");
}

fn generated() -> String {
    let schema = Document::parse(SCHEMA_XML).expect("the schema is well-formed XML");
    let elements = || schema.descendants().filter(Node::is_element);
    let mut out = String::from(ABOVE);
    writeln!(out, "#define TWINLINE_SCHEMA_ID {SCHEMA_ID}").expect("a string");
    writeln!(out, "#define TWINLINE_SCHEMA_VERSION {SCHEMA_VERSION}\n").expect("a string");
    let mut told: Vec<&str> = Vec::new();
    for field in messages().flat_map(|message| message.fields) {
        let (def, is_set) = match field.kind {
            Kind::Code(def) => (def, false),
            Kind::Flags(def) => (def, true),
            _ => continue,
        };
        if told.contains(&def.name) {
            continue;
        }
        told.push(def.name);
        writeln!(out, "/* {} */", described(elements(), def.name)).expect("a string");
        let prefix = format!("TWINLINE_{}", snake(def.name).to_uppercase());
        for (value, name) in def.values {
            let value = if is_set { 1 << value } else { u32::from(*value) };
            writeln!(out, "#define {prefix}_{} {value}", snake(name).to_uppercase()).expect("a string");
        }
        out.push('\n');
    }
    out.push_str("#pragma pack(push, 1)\n\n");
    for message in messages() {
        let node = elements()
            .find(|node| node.tag_name().name() == "message" && node.attribute("name") == Some(message.name));
        let node = node.unwrap_or_else(|| panic!("{} is in the schema", message.name));
        let name = snake(message.name);
        let description = node.attribute("description").unwrap_or_default();
        writeln!(
            out,
            "#define TWINLINE_TEMPLATE_{} {}",
            name.to_uppercase(),
            message.template
        )
        .expect("a string");
        writeln!(out, "/* {description} */\ntypedef struct twinline_{name} {{").expect("a string");
        for field in message.fields {
            write_field(
                &mut out,
                field,
                described(node.children().filter(Node::is_element), field.name),
            );
        }
        writeln!(out, "}} twinline_{name};\n").expect("a string");
    }
    out.push_str("#pragma pack(pop)\n\n");
    out + BELOW
}

#[test]
fn the_header_of_the_messages_is_what_the_schema_makes_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/twinline_messages.h");
    let made = generated();
    if std::env::var_os("TWINLINE_REGENERATE").is_some() {
        std::fs::write(&path, &made).expect("the header can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "include/twinline_messages.h is not what the schema says: TWINLINE_REGENERATE=1 cargo test -p twinline-reader-c \
         --test messages_header"
    );
}
