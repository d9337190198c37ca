//! Properties of the wire: what is written is read back, what is damaged is refused, and no bytes at all make a reader
//! panic. The search is deterministic: the same cases in every run.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};
use twinline_wire::header::{HEADER_LEN, MAGIC, MAX_PACKET_LEN, VERSION, checksum, flags};
use twinline_wire::message::{FRAME_HEADER_LEN, Message, TEMPLATES, template, values};
use twinline_wire::recovery::{Login, Range, RangesRequest};
use twinline_wire::stream::{StreamFrame, put_with_data, put_with_ranges};
use twinline_wire::{Frame, OpenPacket, Packet, PacketError, Stamp, U64, market, recovery, session};

fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7331),
        failure_persistence: None,
        ..Config::default()
    }
}

/// What the typed functions do with a template.
struct Typed {
    template: u16,
    block_length: usize,
    /// Pushes the message whose block these bytes are.
    push: fn(&mut OpenPacket, &mut [u8], &[u8]) -> bool,
    /// The block of the message as its view has it.
    view: fn(&Frame<'_>) -> Option<Vec<u8>>,
}

fn typed<M: Message>() -> Typed {
    Typed {
        template: M::TEMPLATE,
        block_length: size_of::<M>(),
        push: |packet, buffer, block| packet.push(buffer, &M::read_from_bytes(block).expect("a block")),
        view: |frame| frame.view::<M>().map(|message| message.as_bytes().to_vec()),
    }
}

macro_rules! typed {
    ($($module:ident: $($name:ident)*;)*) => { vec![$($(typed::<$module::$name>(),)*)*] };
}

fn all_typed() -> Vec<Typed> {
    typed! {
        session: EpochStart SessionStart EndOfSession SourcePosition Lost Void StateReplaced LineEvent SessionEvent SessionsMissed
            ClockEvent;
        market: InstrumentDefinition TradingStatus AddOrder ModifyOrder ReplaceOrder DeleteOrder ExecuteOrder Trade
            TradeCancel Imbalance BestBidOffer PriceTick UnseenOrder;
        recovery: Login LoginAccepted RangesRequest Data RequestComplete Reject SnapshotRequest SnapshotPart
            TailRequest Acknowledge StreamHeartbeat Logout;
    }
}

#[test]
fn the_round_trip_covers_every_template() {
    let covered: Vec<_> = all_typed().iter().map(|typed| typed.template).collect();
    assert_eq!(covered.len(), TEMPLATES.len());
    assert!(TEMPLATES.iter().all(|def| covered.contains(&def.template)));
}

prop_compose! {
    fn stamps()(channel: u16, session in 1..=u32::MAX, epoch in 1..=u32::MAX, sending_time: u64,
                base in 1..u64::MAX / 2, ahead in 0..u64::MAX / 4) -> Stamp {
        Stamp { flags: 0, channel, session, epoch, epoch_base: base, sequence: base + ahead, sending_time }
    }
}

/// Which template, and bytes for its block (as many as it needs are taken).
fn messages(most: usize) -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    vec((0..TEMPLATES.len(), vec(any::<u8>(), 64)), 0..most)
}

/// A packet of these messages; what of them did not fit is left out.
fn encode(stamp: Stamp, messages: &[(usize, Vec<u8>)], padded: usize) -> (Vec<u8>, usize) {
    let types = all_typed();
    let mut buffer = vec![0xaa; 1408];
    let mut packet = OpenPacket::new();
    let mut pushed = 0;
    for (at, block) in messages {
        let typed = &types[*at];
        if !(typed.push)(&mut packet, &mut buffer, &block[..typed.block_length]) {
            break;
        }
        pushed += 1;
    }
    let length = packet.finish_whole(&mut buffer, stamp, padded);
    buffer.truncate(length);
    (buffer, pushed)
}

/// Does everything that a receiver can do with bytes.
fn read_everything(bytes: &[u8]) {
    let packets = [
        Packet::parse(bytes),
        Packet::parse_prefix(bytes),
        Packet::trusted_prefix(bytes),
    ];
    for packet in packets.into_iter().flatten() {
        let _ = (packet.end(), packet.header().is_heartbeat());
        for (_, frame) in packet.messages() {
            read_frame(&frame);
        }
    }
    if let Some((frame, _)) = Frame::split(bytes) {
        read_frame(&frame);
    }
    if let Ok(Some((frame, length))) = StreamFrame::split(bytes, 4096) {
        assert!(length <= bytes.len());
        values(template(frame.template()), frame.block()).for_each(|value| {
            let _ = format!("{value:?}");
        });
        if let Ok(ranges) = frame.ranges() {
            assert!(ranges.len() * size_of::<Range>() <= bytes.len());
            assert_eq!(ranges.len(), ranges.count());
        }
        let mut data = frame.data();
        for _ in 0..3 {
            assert!(data.take().map_or(0, <[u8]>::len) <= bytes.len());
        }
    }
}

fn read_frame(frame: &Frame<'_>) {
    frame.values().for_each(|value| {
        let _ = format!("{value:?}");
    });
    for typed in all_typed() {
        assert_eq!((typed.view)(frame).is_some(), frame.template() == typed.template);
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn what_is_written_is_read_back(stamp in stamps(), messages in messages(40), padded in 0..1408_usize) {
        let types = all_typed();
        let (bytes, pushed) = encode(stamp, &messages, padded);
        let packet = Packet::parse(&bytes).expect("what was written is sound");
        prop_assert_eq!(Stamp::of(packet.header()), stamp);
        prop_assert_eq!(packet.header().is_heartbeat(), pushed == 0);
        prop_assert_eq!(packet.end(), stamp.sequence + pushed as u64);
        prop_assert_eq!(packet.messages().count(), pushed);
        // Whoever checked the packet knows where its frames end, whoever trusts it looks.
        let trusted = Packet::trusted_prefix(&bytes).expect("a header");
        for skip in 0..=pushed as u16 + 1 {
            for take in 0..=pushed as u16 + 1 {
                let frames = packet.frames(skip, take);
                prop_assert_eq!(frames, trusted.frames(skip, take));
                let parts = packet.messages().skip(skip.into()).take(take.into());
                let parts: Vec<u8> = parts.flat_map(|(_, frame)| frame.bytes().to_vec()).collect();
                prop_assert_eq!(frames, &parts[..]);
            }
        }
        for (n, ((sequence, frame), (at, block))) in packet.messages().zip(&messages).enumerate() {
            let typed = &types[*at];
            prop_assert_eq!(sequence, stamp.sequence + n as u64);
            prop_assert_eq!(frame.block(), &block[..typed.block_length]);
            prop_assert_eq!((typed.view)(&frame), Some(frame.block().to_vec()));
            prop_assert_eq!(frame.bytes().len(), FRAME_HEADER_LEN + typed.block_length);
            prop_assert_eq!(frame.values().count(), frame.definition().expect("known").fields.len());
        }
        // Re-framed message by message, as a listener does with what it delivers, the bytes are the same.
        let mut again = vec![0xbb; bytes.len()];
        let mut open = OpenPacket::new();
        for (_, frame) in packet.messages() {
            prop_assert!(open.push_frame(&mut again, frame.bytes()));
        }
        let length = open.finish_whole(&mut again, stamp, bytes.len());
        prop_assert_eq!(&again[..length], &bytes[..]);
    }

    #[test]
    fn no_truncation_passes(stamp in stamps(), messages in messages(12)) {
        let (bytes, _) = encode(stamp, &messages, 0);
        for cut in 0..bytes.len() {
            prop_assert_eq!(Packet::parse(&bytes[..cut]).err(), Some(PacketError::Truncated));
            prop_assert_eq!(Packet::parse_prefix(&bytes[..cut]).err(), Some(PacketError::Truncated));
        }
    }

    #[test]
    fn what_follows_a_packet_is_trailing_or_left_alone(stamp in stamps(), messages in messages(12),
                                                       tail in vec(any::<u8>(), 1..70)) {
        let (mut bytes, _) = encode(stamp, &messages, 0);
        let length = bytes.len();
        bytes.extend(tail);
        prop_assert_eq!(Packet::parse(&bytes).err(), Some(PacketError::Trailing));
        prop_assert_eq!(Packet::parse_prefix(&bytes).map(|packet| packet.bytes().len()).ok(), Some(length));
    }

    #[test]
    fn requests_and_data_are_read_back(ranges in vec(any::<(u64, u64)>(), 0..100), client in ".{0,40}", token in ".{0,80}") {
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|(begin, end)| Range { begin: U64::new(begin), end: U64::new(end) })
            .collect();
        let mut buffer = [0; 4096];
        let length = put_with_ranges(&mut buffer, &RangesRequest::NULL, &ranges).expect("room");
        let (frame, taken) = StreamFrame::split(&buffer, length).expect("sound").expect("whole");
        prop_assert_eq!(taken, length);
        prop_assert_eq!(frame.ranges().expect("sound").collect::<Vec<_>>(), ranges);

        let length = put_with_data(&mut buffer, &Login::NULL, &[client.as_bytes(), token.as_bytes()]).expect("room");
        let (frame, _) = StreamFrame::split(&buffer, length).expect("sound").expect("whole");
        let mut data = frame.data();
        prop_assert_eq!(data.take().expect("sound"), client.as_bytes());
        prop_assert_eq!(data.take().expect("sound"), token.as_bytes());
    }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn no_flipped_bit_passes(stamp in stamps(), messages in messages(8), padded in 0..320_usize) {
        let (mut bytes, _) = encode(stamp, &messages, padded);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Packet::parse(&bytes).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert!(Packet::parse(&bytes).is_ok());
    }
}

/// Numbers without end, the same in every run (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Makes `bytes` pass magic, version, length and checksum, so that what is behind those checks is reached.
fn dress(bytes: &mut [u8]) {
    if bytes.len() < HEADER_LEN {
        return;
    }
    bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[2] = VERSION;
    let length = bytes.len().min(MAX_PACKET_LEN) as u16;
    bytes[40..42].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(bytes);
    bytes[44..48].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn no_bytes_at_all_make_a_reader_panic() {
    let mut noise = Noise(7331);
    let stamp = Stamp {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence: 5,
        ..Stamp::default()
    };
    let mut passed = 0;
    for round in 0..150_000 {
        let size = noise.below(256);
        let bytes = if round % 3 == 0 {
            noise.bytes(size)
        } else {
            let messages: Vec<_> = (0..noise.below(4))
                .map(|_| (noise.below(TEMPLATES.len()), noise.bytes(64)))
                .collect();
            let flags = [0, flags::LOCAL, flags::END_OF_SESSION, flags::SEGMENT_END][noise.below(4)];
            let (mut bytes, _) = encode(Stamp { flags, ..stamp }, &messages, size);
            for _ in 0..noise.below(4) {
                let at = noise.below(bytes.len());
                bytes[at] = noise.next() as u8;
            }
            dress(&mut bytes);
            bytes
        };
        passed += usize::from(Packet::parse(&bytes).is_ok());
        read_everything(&bytes);
    }
    assert!(
        passed > 10_000,
        "too few of the packets get past the checks: {passed}"
    );
}

#[test]
fn no_bytes_at_all_make_a_stream_reader_panic() {
    let mut noise = Noise(1337);
    let mut whole = 0;
    for _ in 0..150_000 {
        let range = Range {
            begin: U64::new(noise.next()),
            end: U64::new(noise.next()),
        };
        let mut bytes = vec![0; 256];
        let length = if noise.below(2) == 0 {
            put_with_ranges(&mut bytes, &RangesRequest::NULL, &[range; 5])
        } else {
            put_with_data(&mut bytes, &Login::NULL, &[b"client", b"token"])
        };
        bytes.truncate(length.expect("room"));
        for _ in 0..noise.below(4) {
            let at = noise.below(bytes.len());
            bytes[at] = noise.next() as u8;
        }
        bytes.truncate(bytes.len() - noise.below(4).saturating_sub(2));
        whole += usize::from(matches!(StreamFrame::split(&bytes, 4096), Ok(Some(_))));
        read_everything(&bytes);
    }
    assert!(
        whole > 10_000,
        "too few of the frames get past the checks: {whole}"
    );
}
