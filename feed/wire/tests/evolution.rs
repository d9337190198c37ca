//! Other versions of the schema, and packets that a build of ours would not write: what a reader skips, completes, and
//! refuses.

use twinline_wire::header::{HEADER_LEN, MAX_PACKET_LEN};
use twinline_wire::market::{DeleteOrder, PriceTick};
use twinline_wire::message::{FRAME_HEADER_LEN, Message, TEMPLATES, Value, values};
use twinline_wire::session::SessionStart;
use twinline_wire::{OpenPacket, Packet, PacketError, SCHEMA_ID, Stamp};
use zerocopy::IntoBytes;

/// A frame as any writer could make it.
struct Foreign<'a> {
    template: u16,
    schema: u16,
    version: u16,
    block: &'a [u8],
    /// Groups or data that this build does not know of.
    behind: &'a [u8],
}

impl<'a> Foreign<'a> {
    fn of<M: Message>(block: &'a [u8]) -> Self {
        Self {
            template: M::TEMPLATE,
            schema: SCHEMA_ID,
            version: 9,
            block,
            behind: &[],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = FRAME_HEADER_LEN + self.block.len() + self.behind.len();
        let header = [
            length as u16,
            self.block.len() as u16,
            self.template,
            self.schema,
            self.version,
        ];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(self.block);
        bytes.extend_from_slice(self.behind);
        bytes
    }
}

/// The packet of these frames, padded to `padded` bytes, with `fill` bytes of something else behind the frames.
fn packet(frames: &[Vec<u8>], fill: &[u8], padded: usize, count_off: i32) -> Vec<u8> {
    let mut buffer = vec![0; MAX_PACKET_LEN];
    let mut open = OpenPacket::new();
    for frame in frames {
        assert!(open.push_frame(&mut buffer, frame));
    }
    let stamp = Stamp {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence: 10,
        ..Stamp::default()
    };
    let at = open.len();
    let length = open.finish_whole(&mut buffer, stamp, padded.max(at + fill.len()));
    buffer.truncate(length);
    buffer[at..at + fill.len()].copy_from_slice(fill);
    let count = i32::from(open.count()) + count_off;
    buffer[6..8].copy_from_slice(&(count as u16).to_le_bytes());
    let sum = twinline_wire::header::checksum(&buffer);
    buffer[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
    buffer
}

fn tick() -> PriceTick {
    PriceTick {
        source_time: 7.into(),
        instrument: 3.into(),
        ..PriceTick::NULL
    }
}

fn known() -> Vec<u8> {
    Foreign::of::<PriceTick>(tick().as_bytes()).bytes()
}

#[test]
fn an_unknown_template_is_skipped_and_counted() {
    let unknown = Foreign {
        template: 999,
        ..Foreign::of::<PriceTick>(&[1, 2, 3])
    };
    let bytes = packet(&[unknown.bytes(), known()], &[], 0, 0);
    let packet = Packet::parse(&bytes).expect("sound");
    let frames: Vec<_> = packet.messages().collect();
    assert_eq!((frames[0].0, frames[1].0, packet.end()), (10, 11, 12));
    assert!(frames[0].1.definition().is_none());
    assert!(frames[0].1.view::<PriceTick>().is_none());
    assert_eq!(frames[0].1.values().count(), 0);
    assert_eq!(frames[1].1.view::<PriceTick>().as_deref(), Some(&tick()));
}

#[test]
fn a_template_of_another_schema_is_not_taken_for_ours() {
    let tick = tick();
    let other = Foreign {
        schema: SCHEMA_ID + 1,
        ..Foreign::of::<PriceTick>(tick.as_bytes())
    };
    let bytes = packet(&[other.bytes()], &[], 0, 0);
    let frames: Vec<_> = Packet::parse(&bytes).expect("sound").messages().collect();
    assert_eq!(frames[0].1.template(), 0);
    assert!(frames[0].1.view::<PriceTick>().is_none());
    assert!(frames[0].1.definition().is_none());
}

#[test]
fn a_newer_writers_longer_block_and_what_stands_behind_it_are_passed_over() {
    let longer = [tick().as_bytes(), &[1, 2, 3, 4, 5, 6]].concat();
    let newer = Foreign {
        behind: &[9, 0, 0, 0, 1],
        ..Foreign::of::<PriceTick>(&longer)
    };
    let bytes = packet(&[newer.bytes(), known()], &[], 0, 0);
    for (_, frame) in Packet::parse(&bytes).expect("sound").messages() {
        assert_eq!(frame.view::<PriceTick>().as_deref(), Some(&tick()));
        let fields: Vec<_> = frame.values().collect();
        assert_eq!(fields.len(), PriceTick::DEF.fields.len());
        assert_eq!(fields[0], ("source_time", Value::Unsigned(7)));
    }
}

#[test]
fn an_older_writers_shorter_block_is_completed_with_nulls() {
    let start = SessionStart {
        trading_date: twinline_wire::Optional::some(20_120_621),
        ..SessionStart::NULL
    };
    let older = Foreign::of::<SessionStart>(&start.as_bytes()[..4]).bytes();
    let empty = Foreign::of::<SessionStart>(&[]).bytes();
    let bytes = packet(&[older, empty], &[], 0, 0);
    let frames: Vec<_> = Packet::parse(&bytes)
        .expect("sound")
        .messages()
        .map(|(_, frame)| frame)
        .collect();
    assert_eq!(frames[0].view::<SessionStart>().as_deref(), Some(&start));
    let read: Vec<_> = frames[0].values().map(|(_, value)| value).collect();
    assert_eq!(
        read,
        [
            Value::Unsigned(20_120_621),
            Value::Absent,
            Value::Absent,
            Value::Absent
        ]
    );
    assert_eq!(
        frames[1].view::<SessionStart>().as_deref(),
        Some(&SessionStart::NULL)
    );
}

#[test]
fn every_template_can_be_read_from_a_block_of_any_length() {
    let block = [0x5a; 128];
    for def in TEMPLATES {
        for length in 0..=block.len() {
            let fields: Vec<_> = values(Some(def), &block[..length]).collect();
            for (field, (name, value)) in def.fields.iter().zip(fields) {
                let whole = field.offset + field.kind.size() <= length;
                assert_eq!(
                    value != Value::Absent,
                    whole,
                    "{}.{name} of {length} bytes",
                    def.name
                );
            }
        }
    }
}

#[test]
fn padding_is_zero_and_anything_else_is_malformed() {
    for padded in [0, 128, 1408, MAX_PACKET_LEN] {
        let bytes = packet(&[known(), known()], &[], padded, 0);
        assert_eq!(Packet::parse(&bytes).expect("sound").messages().count(), 2);
    }
    for at in 0..40 {
        let mut fill = [0; 40];
        fill[at] = 1;
        let bytes = packet(&[known()], &fill, 0, 0);
        assert_eq!(
            Packet::parse(&bytes).err(),
            Some(PacketError::Malformed),
            "byte {at} of the padding"
        );
    }
}

#[test]
fn a_count_that_the_bytes_do_not_hold_is_malformed() {
    let frames = [known(), known(), known()];
    for off in [-3, -1, 1, 1000] {
        for padded in [0, 1408] {
            let bytes = packet(&frames, &[], padded, off);
            assert_eq!(
                Packet::parse(&bytes).err(),
                Some(PacketError::Malformed),
                "{off} too many"
            );
        }
    }
}

#[test]
fn a_frame_that_does_not_hold_together_is_malformed() {
    for (at, value) in [
        (0, 0_u16),
        (0, 9),
        (0, 1000),
        (0, u16::MAX),
        (2, 30),
        (2, u16::MAX),
    ] {
        let mut frame = Foreign::of::<DeleteOrder>(DeleteOrder::NULL.as_bytes()).bytes();
        frame[at..at + 2].copy_from_slice(&value.to_le_bytes());
        let bytes = packet(&[frame], &[], 0, 0);
        assert_eq!(
            Packet::parse(&bytes).err(),
            Some(PacketError::Malformed),
            "{value} at {at}"
        );
    }
}

#[test]
fn another_magic_version_or_length_is_told_apart() {
    let good = packet(&[known()], &[], 128, 0);
    for (at, value, error) in [
        (0, b'X', PacketError::Magic),
        (2, 2, PacketError::Version),
        (40, 47, PacketError::Malformed),
        (41, 0xff, PacketError::Malformed),
        (40, 129, PacketError::Truncated),
        (40, 127, PacketError::Trailing),
        (44, good[44] ^ 1, PacketError::Checksum),
        (100, 1, PacketError::Checksum),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(Packet::parse(&bytes).err(), Some(error), "{value} at {at}");
    }
    assert_eq!(Packet::parse(&[]).err(), Some(PacketError::Truncated));
}
