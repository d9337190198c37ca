//! The generated parts of `docs/protocol.md`: what stands between `<!-- begin NAME -->` and `<!-- end -->` is made from
//! the schema (which the layout test holds to the code) and from a real packet.

use crate::{annotate, samples};
use roxmltree::{Document, Node};
use std::fmt::Write;
use twinline_wire::SCHEMA_XML;

/// `text` with every generated part made anew.
pub(crate) fn with_generated_parts(text: &str) -> String {
    let document = Document::parse(SCHEMA_XML).expect("the schema is well-formed XML");
    let schema = Schema(&document);
    let mut out = String::new();
    let mut rest = text;
    let mut messages = 0;
    while let Some((before, after)) = rest.split_once("<!-- begin ") {
        let (name, after) = after.split_once(" -->").expect("a mark is closed");
        let (_, after) = after.split_once("<!-- end -->").expect("a part is closed");
        let words: Vec<&str> = name.split(' ').collect();
        let part = match words[..] {
            ["composite", name] => schema.composite(name),
            ["messages", first, last] => {
                let (text, count) = schema.messages(number(first), number(last));
                messages += count;
                text
            }
            ["codes"] => schema.codes(),
            ["dump"] => format!(
                "```text\n{}```\n",
                annotate::packets(&samples::documented_packet())
            ),
            _ => panic!("docs/protocol.md: no part is called {name:?}"),
        };
        write!(out, "{before}<!-- begin {name} -->\n{part}<!-- end -->").expect("a string grows");
        rest = after;
    }
    assert_eq!(
        messages,
        twinline_wire::message::TEMPLATES.len(),
        "every message is in docs/protocol.md, once"
    );
    out + rest
}

fn number(text: &str) -> u16 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_default()
}

struct Schema<'a, 'i>(&'a Document<'i>);

impl<'a, 'i> Schema<'a, 'i> {
    fn named(&self, name: &str) -> Option<Node<'a, 'i>> {
        let types = self.0.descendants().find(|node| node.has_tag_name("types"))?;
        types.children().find(|node| node.attribute("name") == Some(name))
    }

    /// Bytes of a type, and its null value.
    fn encoding(&self, name: &str) -> (usize, String) {
        let primitive = |name: &str| match name {
            "char" | "uint8" | "int8" => 1,
            "uint16" => 2,
            "uint32" => 4,
            "uint64" | "int64" => 8,
            _ => panic!("no type {name}"),
        };
        let Some(node) = self.named(name) else {
            return (primitive(name), String::new());
        };
        match node.tag_name().name() {
            "enum" => (1, "255".to_owned()),
            "set" => (1, String::new()),
            "composite" => {
                let mantissa = node
                    .children()
                    .find(Node::is_element)
                    .expect("a price has a mantissa");
                (8, attribute(mantissa, "nullValue").to_owned())
            }
            _ => {
                let length = node
                    .attribute("length")
                    .map_or(1, |length| usize::from(number(length)));
                let size = primitive(attribute(node, "primitiveType")) * length;
                (size, attribute(node, "nullValue").to_owned())
            }
        }
    }

    /// A table of a composite's members.
    fn composite(&self, name: &str) -> String {
        let node = self.named(name).unwrap_or_else(|| panic!("no composite {name}"));
        let mut out =
            String::from("| offset | size | member | type | |\n| ---: | ---: | --- | --- | --- |\n");
        let mut at = 0;
        for member in node.children().filter(Node::is_element) {
            let kind = attribute(member, "primitiveType");
            let size = self.encoding(kind).0;
            let (name, text) = (attribute(member, "name"), attribute(member, "description"));
            writeln!(out, "| {at} | {size} | `{name}` | {kind} | {text} |").expect("a string grows");
            at += size;
        }
        out
    }

    /// The messages with ids from `first` to `last`, and how many they are.
    fn messages(&self, first: u16, last: u16) -> (String, usize) {
        let chosen = self.0.descendants().filter(|node| {
            node.tag_name().name() == "message" && (first..=last).contains(&number(attribute(*node, "id")))
        });
        let texts: Vec<String> = chosen.map(|node| self.message(node)).collect();
        (texts.join("\n"), texts.len())
    }

    fn message(&self, node: Node<'_, '_>) -> String {
        let mut out = String::new();
        let (name, id, block) = (
            attribute(node, "name"),
            attribute(node, "id"),
            attribute(node, "blockLength"),
        );
        let text = attribute(node, "description");
        writeln!(
            out,
            "#### {name}: template {id}, block of {block} bytes\n\n{text}\n"
        )
        .expect("a string grows");
        out.push_str("| offset | size | field | type | null | |\n| ---: | ---: | --- | --- | --- | --- |\n");
        for member in node.children().filter(Node::is_element) {
            let (name, text, kind) = (
                attribute(member, "name"),
                attribute(member, "description"),
                attribute(member, "type"),
            );
            let line = match member.tag_name().name() {
                "group" => {
                    let entry: Vec<_> = member
                        .children()
                        .filter(Node::is_element)
                        .map(|field| format!("`{}` {}", attribute(field, "name"), attribute(field, "type")))
                        .collect();
                    format!("| group | | `{name}` | {} | | {text} |", entry.join(", "))
                }
                "data" => format!("| data | | `{name}` | {kind} | | {text} |"),
                _ => {
                    let (size, null) = self.encoding(kind);
                    let offset = attribute(member, "offset");
                    format!("| {offset} | {size} | `{name}` | {kind} | {null} | {text} |")
                }
            };
            writeln!(out, "{line}").expect("a string grows");
        }
        out
    }

    /// Every enumeration and set.
    fn codes(&self) -> String {
        let mut out = String::from("| type | value | name | |\n| --- | ---: | --- | --- |\n");
        for entry in self
            .0
            .descendants()
            .filter(|node| ["validValue", "choice"].contains(&node.tag_name().name()))
        {
            let parent = entry.parent().expect("an entry stands in a type");
            let bit = if entry.has_tag_name("choice") { "bit " } else { "" };
            let value = entry.text().expect("a value").trim();
            let (of, name, text) = (
                attribute(parent, "name"),
                attribute(entry, "name"),
                attribute(entry, "description"),
            );
            writeln!(out, "| {of} | {bit}{value} | {name} | {text} |").expect("a string grows");
        }
        out
    }
}
