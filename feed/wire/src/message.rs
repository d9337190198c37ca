//! SBE messages: the frame around each, the trait that every template implements, and typed views over received bytes.
//!
//! On a line a message is `length u16 | SBE header | block`; the length covers the whole frame. The block may be longer
//! than we know (a newer sender) or shorter (an older one): [`Frame::view`] reads both.

use crate::field::{EventFlags, Kind, Price, text};
use crate::{SCHEMA_ID, SCHEMA_VERSION, U16, market, recovery, session};
use core::ops::Deref;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The SBE message header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SbeHeader {
    /// Bytes of the fixed block.
    pub block_length: U16,
    /// Which message.
    pub template_id: U16,
    /// [`SCHEMA_ID`].
    pub schema_id: U16,
    /// The sender's schema version.
    pub version: U16,
}

impl SbeHeader {
    /// The header of an `M` as this build writes it.
    pub fn of<M: Message>() -> Self {
        Self {
            block_length: U16::new(size_of::<M>() as u16),
            template_id: U16::new(M::TEMPLATE),
            schema_id: U16::new(SCHEMA_ID),
            version: U16::new(SCHEMA_VERSION),
        }
    }
}

/// What precedes every message's block on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// Bytes of the whole frame, these two included.
    pub length: U16,
    /// The SBE header.
    pub sbe: SbeHeader,
}

/// Bytes of a [`FrameHeader`].
pub const FRAME_HEADER_LEN: usize = size_of::<FrameHeader>();

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// Its name, in snake case (the schema has it in camel case).
    pub name: &'static str,
    /// Its place in the block, in bytes.
    pub offset: usize,
    /// What it is.
    pub kind: Kind,
}

/// A message template.
#[derive(Debug)]
pub struct MessageDef {
    /// The template's name.
    pub name: &'static str,
    /// The template's id.
    pub template: u16,
    /// Bytes of its block.
    pub block_length: usize,
    /// Its fields, in order.
    pub fields: &'static [FieldDef],
}

impl MessageDef {
    /// Where the block has its event flags, in bytes. Market messages have them, all others do not.
    pub const fn flags_offset(&self) -> Option<usize> {
        let mut at = 0;
        while at < self.fields.len() {
            if let Kind::Flags(_) = self.fields[at].kind {
                return Some(self.fields[at].offset);
            }
            at += 1;
        }
        None
    }

    /// Where the block names the instrument that the message is about, in bytes.
    pub const fn instrument_offset(&self) -> Option<usize> {
        let mut at = 0;
        while at < self.fields.len() {
            if matches!(self.fields[at].name.as_bytes(), b"instrument") {
                return Some(self.fields[at].offset);
            }
            at += 1;
        }
        None
    }
}

/// A struct that is a message's block, byte for byte.
pub trait Message: Copy + FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + 'static {
    /// The template id.
    const TEMPLATE: u16;
    /// Every field null: what a shorter block is completed with.
    const NULL: Self;
    /// The template's description.
    const DEF: &'static MessageDef;
    /// Bytes of the message with its frame header.
    const FRAME_LEN: usize = FRAME_HEADER_LEN + size_of::<Self>();
}

/// Declares message templates.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident = $id:literal {
        $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout,
            zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)*
        }

        impl $crate::message::Message for $name {
            const TEMPLATE: u16 = $id;
            const NULL: Self = Self { $($field: <$type as $crate::field::Field>::NULL),* };
            const DEF: &'static $crate::message::MessageDef = &$crate::message::MessageDef {
                name: stringify!($name),
                template: $id,
                block_length: size_of::<Self>(),
                fields: &[$($crate::message::FieldDef {
                    name: stringify!($field),
                    offset: core::mem::offset_of!($name, $field),
                    kind: <$type as $crate::field::Field>::KIND,
                }),*],
            };
        }
    )*};
}
pub(crate) use messages;

/// Every template that this build knows, of the lines and of the recovery protocol.
pub static TEMPLATES: &[&MessageDef] = &[
    session::EpochStart::DEF,
    session::SessionStart::DEF,
    session::EndOfSession::DEF,
    session::SourcePosition::DEF,
    market::InstrumentDefinition::DEF,
    market::TradingStatus::DEF,
    market::AddOrder::DEF,
    market::ModifyOrder::DEF,
    market::ReplaceOrder::DEF,
    market::DeleteOrder::DEF,
    market::ExecuteOrder::DEF,
    market::Trade::DEF,
    market::TradeCancel::DEF,
    market::Imbalance::DEF,
    market::BestBidOffer::DEF,
    market::PriceTick::DEF,
    market::UnseenOrder::DEF,
    session::Lost::DEF,
    session::Void::DEF,
    session::StateReplaced::DEF,
    session::LineEvent::DEF,
    session::SessionEvent::DEF,
    session::SessionsMissed::DEF,
    session::ClockEvent::DEF,
    recovery::Login::DEF,
    recovery::LoginAccepted::DEF,
    recovery::RangesRequest::DEF,
    recovery::Data::DEF,
    recovery::RequestComplete::DEF,
    recovery::Reject::DEF,
    recovery::SnapshotRequest::DEF,
    recovery::SnapshotPart::DEF,
    recovery::TailRequest::DEF,
    recovery::Acknowledge::DEF,
    recovery::StreamHeartbeat::DEF,
    recovery::Logout::DEF,
];

/// The template of this id, if this build knows it.
pub fn template(id: u16) -> Option<&'static MessageDef> {
    TEMPLATES.iter().copied().find(|def| def.template == id)
}

/// Where a market message's block has the fields that all of them have, for those who look at every message.
#[derive(Clone, Copy)]
struct Common {
    instrument: u16,
    flags: u16,
}

/// By template; what has no such fields has them beyond every block.
static COMMON: [Common; 32] = {
    let mut common = [Common {
        instrument: u16::MAX,
        flags: u16::MAX,
    }; 32];
    let mut at = 0;
    while at < market::DEFS.len() {
        let def = market::DEFS[at];
        if let (Some(instrument), Some(flags)) = (def.instrument_offset(), def.flags_offset()) {
            common[def.template as usize] = Common {
                instrument: instrument as u16,
                flags: flags as u16,
            };
        }
        at += 1;
    }
    common
};

/// A block as a struct: borrowed where it is whole, completed with null values where an older sender wrote less.
#[derive(Clone, Copy, Debug)]
pub enum View<'a, M> {
    /// The bytes as they were received.
    Borrowed(&'a M),
    /// A copy, completed.
    Completed(M),
}

impl<M> Deref for View<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        match self {
            View::Borrowed(message) => message,
            View::Completed(message) => message,
        }
    }
}

/// `block` as an `M`, whatever schema version wrote it. A field that the block holds only a part of counts as absent.
#[inline]
pub fn view_block<M: Message>(block: &[u8]) -> View<'_, M> {
    match M::ref_from_prefix(block) {
        Ok((message, _)) => View::Borrowed(message),
        Err(_) => View::Completed(completed(block)),
    }
}

/// The whole fields of a block that is shorter than an `M`, and null for the others.
#[cold]
fn completed<M: Message>(block: &[u8]) -> M {
    let whole = M::DEF
        .fields
        .iter()
        .map(|field| field.offset + field.kind.size())
        .take_while(|&end| end <= block.len())
        .last()
        .unwrap_or(0);
    let mut message = M::NULL;
    message.as_mut_bytes()[..whole].copy_from_slice(&block[..whole]);
    message
}

/// One message in a packet, framed: its header and everything after it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    sbe: &'a SbeHeader,
    /// Block, then whatever groups and data a template has.
    body: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits the first frame off `bytes`; `None` if they hold none that is well formed.
    #[inline]
    pub fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
        let length = usize::from(header.length.get());
        if length > bytes.len() || length < FRAME_HEADER_LEN + usize::from(header.sbe.block_length.get()) {
            return None;
        }
        let (bytes, rest) = bytes.split_at(length);
        Some((
            Self {
                sbe: &header.sbe,
                body: &bytes[FRAME_HEADER_LEN..],
                bytes,
            },
            rest,
        ))
    }

    /// The template id; 0, which names no template, if the message is of another schema.
    pub fn template(&self) -> u16 {
        if self.sbe.schema_id.get() == SCHEMA_ID {
            self.sbe.template_id.get()
        } else {
            0
        }
    }

    /// The SBE header as it was received.
    pub fn sbe(&self) -> &'a SbeHeader {
        self.sbe
    }

    /// The whole frame, header included: what listeners compare.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fixed block.
    pub fn block(&self) -> &'a [u8] {
        &self.body[..usize::from(self.sbe.block_length.get())]
    }

    /// The message as an `M`; `None` if it is another template.
    #[inline]
    pub fn view<M: Message>(&self) -> Option<View<'a, M>> {
        (self.template() == M::TEMPLATE).then(|| view_block(self.block()))
    }

    /// The instrument that a market message is about; `None` of all other messages. With low 16 bits of 0 it is all
    /// instruments of a source.
    #[inline]
    pub fn instrument(&self) -> Option<u32> {
        let at = usize::from(COMMON.get(usize::from(self.template()))?.instrument);
        let bytes = self.block().get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The marks on a market message; `None` of all other messages.
    #[inline]
    pub fn event_flags(&self) -> Option<EventFlags> {
        let at = usize::from(COMMON.get(usize::from(self.template()))?.flags);
        self.block().get(at).map(|&flags| EventFlags(flags))
    }

    /// The message's description, if this build knows the template.
    pub fn definition(&self) -> Option<&'static MessageDef> {
        template(self.template())
    }

    /// Name and value of every field, for printing; nothing for an unknown template.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, Value<'a>)> + use<'a> {
        values(self.definition(), self.block())
    }
}

/// Name and value of every field of a block.
pub fn values<'a>(
    definition: Option<&'static MessageDef>,
    block: &'a [u8],
) -> impl Iterator<Item = (&'static str, Value<'a>)> + use<'a> {
    let fields = definition.map_or(&[][..], |def| def.fields);
    fields
        .iter()
        .map(move |field| (field.name, Value::read(field, block)))
}

/// The value of a field, for printing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The null value, or beyond an older sender's block.
    Absent,
    /// An unsigned integer.
    Unsigned(u64),
    /// A price.
    Price(Price),
    /// Text without its padding.
    Text(&'a str),
    /// A named code.
    Code(&'static str),
    /// The set bits of a set of flags, with their names.
    Flags(u8, &'static crate::field::CodeDef),
}

impl<'a> Value<'a> {
    fn read(field: &FieldDef, block: &'a [u8]) -> Self {
        let size = field.kind.size();
        let Some(bytes) = block.get(field.offset..field.offset + size) else {
            return Value::Absent;
        };
        let mut word = [0; 8];
        let copied = size.min(8);
        word[..copied].copy_from_slice(&bytes[..copied]);
        let number = u64::from_le_bytes(word);
        match field.kind {
            Kind::Unsigned { optional: true, size } if number == u64::MAX >> (64 - 8 * size) => Value::Absent,
            Kind::Unsigned { .. } => Value::Unsigned(number),
            Kind::Price { optional: true } if number as i64 == i64::MAX => Value::Absent,
            Kind::Price { .. } => Value::Price(Price::new(number as i64)),
            Kind::Text { .. } => Value::Text(text(bytes)),
            Kind::Flags(def) => Value::Flags(bytes[0], def),
            Kind::Code(def) => match def.values.iter().find(|(value, _)| *value == bytes[0]) {
                Some((_, name)) => Value::Code(name),
                None if bytes[0] == u8::MAX => Value::Absent,
                None => Value::Unsigned(number),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{AddOrder, ExecuteOrder};

    #[test]
    fn a_block_cut_at_a_field_is_completed_with_nulls() {
        let mut whole = ExecuteOrder::NULL;
        whole.source_time = 7.into();
        whole.quantity = 100.into();
        let at = core::mem::offset_of!(ExecuteOrder, quantity);
        for cut in [at, at + 1, at + 3] {
            let view = view_block::<ExecuteOrder>(&whole.as_bytes()[..cut]);
            assert!(matches!(view, View::Completed(_)));
            assert_eq!(view.source_time.get(), 7);
            assert_eq!(
                view.quantity.get(),
                u32::MAX,
                "a part of a field is no value, cut at {cut}"
            );
        }
        let view = view_block::<ExecuteOrder>(&whole.as_bytes()[..at + 4]);
        assert_eq!(view.quantity.get(), 100);
        assert!(matches!(
            view_block::<ExecuteOrder>(whole.as_bytes()),
            View::Borrowed(_)
        ));
    }

    #[test]
    fn values_are_read_by_definition_and_an_unknown_code_shows_its_number() {
        let mut order = AddOrder::NULL;
        order.side = crate::Side(9);
        order.flags = crate::EventFlags(3);
        let values: Vec<_> = values(Some(AddOrder::DEF), order.as_bytes()).collect();
        assert_eq!(
            values[1],
            ("order_id", Value::Unsigned(u64::MAX)),
            "a required field has no null"
        );
        assert_eq!(values[6], ("side", Value::Unsigned(9)));
        assert!(matches!(values[7], ("flags", Value::Flags(3, def)) if def.name == "EventFlags"));
        let cut: Vec<_> = super::values(Some(AddOrder::DEF), &order.as_bytes()[..9]).collect();
        assert_eq!((cut.len(), cut[1]), (8, ("order_id", Value::Absent)));
    }

    #[test]
    fn every_market_message_has_an_instrument_and_flags_and_no_other_message_has() {
        for def in TEMPLATES {
            let mut bytes = [0; 256];
            let block = &mut bytes[FRAME_HEADER_LEN..];
            let market = (10..60).contains(&def.template);
            assert_eq!(def.flags_offset().is_some(), market, "{}", def.name);
            assert_eq!(def.instrument_offset().is_some(), market, "{}", def.name);
            if let (Some(flags), Some(instrument)) = (def.flags_offset(), def.instrument_offset()) {
                block[flags] = 3;
                block[instrument..instrument + 4].copy_from_slice(&0x0001_0203_u32.to_le_bytes());
            }
            let header = FrameHeader {
                length: U16::new((FRAME_HEADER_LEN + def.block_length) as u16),
                sbe: SbeHeader {
                    block_length: U16::new(def.block_length as u16),
                    template_id: U16::new(def.template),
                    schema_id: U16::new(SCHEMA_ID),
                    version: U16::new(SCHEMA_VERSION),
                },
            };
            bytes[..FRAME_HEADER_LEN].copy_from_slice(header.as_bytes());
            let (frame, _) = Frame::split(&bytes).expect("well formed");
            assert_eq!(frame.instrument(), market.then_some(0x0001_0203), "{}", def.name);
            assert_eq!(
                frame.event_flags(),
                market.then_some(EventFlags(3)),
                "{}",
                def.name
            );
        }
    }

    #[test]
    fn template_ids_and_names_are_unique() {
        for (at, one) in TEMPLATES.iter().enumerate() {
            assert_eq!(template(one.template).map(|def| def.name), Some(one.name));
            assert!(TEMPLATES[..at].iter().all(|other| other.name != one.name));
        }
    }
}
