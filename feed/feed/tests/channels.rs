//! Several sources on several channels: whatever interrupts them, each channel holds what a straightforward routing in one
//! thread puts there, source by source. How the sources interleave on a channel is not determined, so each source's
//! messages are compared by themselves.

mod common;

use common::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use twinline_feed::channels::{
    ChannelJob, Ended, SetupError, SourceFailure, SourceJob, SourceStatus, Spread, run,
};
use twinline_feed::publisher::{Burst, Line, Lines, Opened, Phase, Place, open};
use twinline_feed::run::{RunConfig, RunEnd, unix_now};
use twinline_feed::source::{EventSink, Source, SourceError, SourceState, TypeCount};
use twinline_wire::field::{EventFlags, Optional, Status, Text};
use twinline_wire::header::HEADER_LEN;
use twinline_wire::market::{InstrumentDefinition, PriceTick, TradingStatus};
use twinline_wire::{Frame, Message, OpenPacket, U32, U64};

const CHANNELS: [u16; 3] = [4, 5, 6];
const TOTAL: u64 = 20_000;
const INSTRUMENTS: u64 = 40;
/// Hashes leave no channel without data for long; this one does: channel 6 is told positions only.
const RULE: &str = "A-M=4,*=5";

fn symbol(source: u16, number: u64) -> String {
    let first = char::from(b'A' + ((number * 7 + u64::from(source)) % 26) as u8);
    format!("{first}{number}")
}

/// Names its instruments, new ones all the time, and says events of 0 to 4 messages about several at once, now and then
/// one about all.
#[derive(Debug)]
struct Mixed {
    id: u16,
    next: u64,
    total: u64,
    breaks_at: u64,
    acknowledged: Arc<Mutex<u64>>,
}

impl Mixed {
    fn new(id: u16) -> Self {
        Self {
            id,
            next: 0,
            total: TOTAL,
            breaks_at: u64::MAX,
            acknowledged: Arc::default(),
        }
    }

    fn instrument(&self, number: u64) -> U32 {
        U32::new(u32::from(self.id) << 16 | number as u32)
    }

    fn say(&self, n: u64, sink: &mut impl EventSink) {
        let stride = TOTAL / INSTRUMENTS;
        let known = n / stride + 1;
        if n.is_multiple_of(stride) {
            sink.push(&InstrumentDefinition {
                source_time: U64::new(n),
                instrument: self.instrument(known),
                symbol: Text::new(symbol(self.id, known).as_bytes()),
                lot_size: Optional::NONE,
                price_increment: Optional::NONE,
                source: self.id.into(),
                market: Text::default(),
                class: Text::default(),
                flags: EventFlags::default(),
            });
        }
        if n % 997 == 5 {
            sink.push(&TradingStatus {
                source_time: U64::new(n),
                instrument: self.instrument(0),
                status: Status::TRADING,
                reason: Text::default(),
                flags: EventFlags::default(),
            });
        }
        for message in 0..messages_of(n) {
            let mut tick: PriceTick = tick(n * 8 + message);
            tick.instrument = self.instrument(mix(n * 8 + message) % known + 1);
            sink.push(&tick);
        }
    }
}

impl Source for Mixed {
    fn id(&self) -> u16 {
        self.id
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        let acknowledged = *self.acknowledged.lock().unwrap();
        assert!(position >= acknowledged, "{position} was dropped: {acknowledged}");
        self.next = position;
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.next >= self.total {
            return Ok(SourceState::End);
        }
        if self.next >= self.breaks_at {
            return Err(SourceError::Empty {
                path: "broken".into(),
            });
        }
        if mix(now).is_multiple_of(64) {
            return Ok(SourceState::Idle { until: now + 20_000 });
        }
        self.say(self.next, sink);
        self.next += 1;
        sink.end_event(self.id, self.next);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        Vec::new()
    }

    fn acknowledge(&mut self, position: u64) {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        assert!(*acknowledged <= position, "it never falls");
        *acknowledged = position;
    }
}

/// Each channel's messages of each source.
type Content = HashMap<(u16, u16), Vec<Vec<u8>>>;

/// What the sources put on each channel by `rule`: made without threads, queues or a publisher.
fn reference(rule: &Spread, sources: &[u16]) -> Content {
    struct Route<'a> {
        rule: &'a Spread,
        source: u16,
        named: HashMap<u32, u16>,
        event: Vec<(u16, Vec<u8>)>,
        content: &'a mut Content,
    }
    impl EventSink for Route<'_> {
        fn push<M: Message>(&mut self, message: &M) {
            let mut buffer = vec![0; HEADER_LEN + M::FRAME_LEN];
            assert!(OpenPacket::new().push(&mut buffer, message));
            let bytes = buffer.split_off(HEADER_LEN);
            let (frame, _) = Frame::split(&bytes).unwrap();
            if let Some(named) = frame.view::<InstrumentDefinition>() {
                let place = self.rule.of_symbol(named.symbol.as_str(), &CHANNELS);
                self.named.insert(named.instrument.get(), CHANNELS[place]);
            }
            if M::TEMPLATE == TradingStatus::TEMPLATE {
                self.event
                    .extend(CHANNELS.map(|channel| (channel, bytes.clone())));
                return;
            }
            let instrument = frame.view::<PriceTick>().map(|tick| tick.instrument.get());
            let named = frame
                .view::<InstrumentDefinition>()
                .map(|named| named.instrument.get());
            let channel = self.named[&instrument.or(named).unwrap()];
            self.event.push((channel, bytes));
        }
        fn push_frame(&mut self, _: &Frame<'_>) {
            unreachable!("not said here");
        }
        fn end_event(&mut self, _: u16, _: u64) {
            for channel in CHANNELS {
                let of_channel = |(at, _): &&mut (u16, Vec<u8>)| *at == channel;
                // All templates used here end with their flags.
                if let Some((_, last)) = self.event.iter_mut().rfind(of_channel) {
                    *last.last_mut().unwrap() |= EventFlags::END_OF_EVENT.0;
                }
            }
            for (channel, bytes) in self.event.drain(..) {
                self.content
                    .entry((channel, self.source))
                    .or_default()
                    .push(bytes);
            }
        }
    }
    let mut content = Content::new();
    for &source in sources {
        let mut route = Route {
            rule,
            source,
            named: HashMap::new(),
            event: Vec::new(),
            content: &mut content,
        };
        let mixed = Mixed::new(source);
        for n in 0..TOTAL {
            mixed.say(n, &mut route);
            route.end_event(source, n + 1);
        }
    }
    content
}

/// What the journals hold.
fn held(dir: &Path) -> Content {
    let mut content = Content::new();
    for channel in CHANNELS {
        for bytes in source_messages(&journal(dir, channel), 1) {
            let (frame, _) = Frame::split(&bytes).unwrap();
            let instrument = [
                frame.view::<PriceTick>().map(|at| at.instrument.get()),
                frame.view::<InstrumentDefinition>().map(|at| at.instrument.get()),
                frame.view::<TradingStatus>().map(|at| at.instrument.get()),
            ];
            let instrument = instrument.into_iter().flatten().next().unwrap();
            let source = (instrument >> 16) as u16;
            content.entry((channel, source)).or_default().push(bytes);
        }
    }
    content
}

fn assert_same(dir: &Path, expected: &Content) {
    let held = held(dir);
    let mut keys: Vec<_> = held.keys().chain(expected.keys()).collect();
    keys.sort_unstable();
    for key in keys {
        let (held, expected) = (held.get(key), expected.get(key));
        let length = |content: Option<&Vec<_>>| content.map_or(0, Vec::len);
        assert!(
            held == expected,
            "channel and source {key:?}: {} messages held, {} expected",
            length(held),
            length(expected)
        );
    }
}

fn journal(dir: &Path, channel: u16) -> PathBuf {
    dir.join(format!("channel-{channel}"))
}

/// Lines that take everything, and set a flag after so many packets.
struct Counted {
    left: u64,
    stop: Arc<AtomicBool>,
}

impl Lines for Counted {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        self.left = self.left.saturating_sub(burst.count() as u64);
        if self.left == 0 {
            self.stop.store(true, Ordering::Relaxed);
        }
        burst.count()
    }
}

fn place_of(dir: &Path, channel: u16) -> Place {
    let mut place = place(dir, "boot");
    place.journal = journal(dir, channel);
    place.journal_config.channel = channel;
    place
}

/// Opens all channels and runs the sources on them; stops after so many packets of a channel.
fn go(dir: &Path, rule: &str, sources: Vec<Mixed>, packets: u64) -> Ended<Counted, Mixed> {
    let stop = Arc::new(AtomicBool::new(false));
    let open = |channel| {
        let lines = Counted {
            left: packets,
            stop: Arc::clone(&stop),
        };
        let place = place_of(dir, channel);
        let Opened { publisher, reserver } = open(at_once(), &place, lines, unix_now()).unwrap();
        ChannelJob {
            channel,
            publisher,
            reserver,
            core: None,
        }
    };
    let job = |source| SourceJob {
        source,
        status: Arc::new(SourceStatus::default()),
    };
    let config = RunConfig {
        idle: twinline_feed::run::Idle::Park(Duration::from_micros(50)),
        ..RunConfig::default()
    };
    let rule: Spread = rule.parse().unwrap();
    run(
        CHANNELS.map(open).into(),
        sources.into_iter().map(job).collect(),
        &rule,
        &config,
        &stop,
        &|_| {},
    )
    .unwrap()
}

#[test]
fn each_channel_holds_what_a_routing_in_one_thread_puts_there() {
    for rule in ["hash", RULE] {
        let dir = tempfile::tempdir().unwrap();
        let ended = go(dir.path(), rule, vec![Mixed::new(1), Mixed::new(2)], u64::MAX);
        for (source, end) in &ended.sources {
            assert_eq!(*end.as_ref().unwrap(), RunEnd::Complete);
            assert_eq!(*source.acknowledged.lock().unwrap(), TOTAL);
        }
        for (publisher, end) in &ended.channels {
            assert_eq!(*end.as_ref().unwrap(), RunEnd::Complete);
            assert_eq!(publisher.phase(), Phase::Done);
        }
        assert_same(dir.path(), &reference(&rule.parse().unwrap(), &[1, 2]));
    }
}

#[test]
fn a_run_stopped_again_and_again_ends_up_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sources = [Mixed::new(1), Mixed::new(2)];
    let again = || {
        let source = |source: &Mixed| Mixed {
            acknowledged: Arc::clone(&source.acknowledged),
            ..Mixed::new(source.id)
        };
        sources.iter().map(source).collect::<Vec<_>>()
    };
    let mut stopped = 0;
    for turn in 0_u64..1000 {
        let ended = go(dir.path(), RULE, again(), 3 + mix(turn) % 120);
        let complete = |end: &Result<RunEnd, _>| matches!(end, Ok(RunEnd::Complete));
        if ended.channels.iter().all(|(_, end)| complete(end)) {
            break;
        }
        stopped += 1;
    }
    assert!(stopped > 10, "{stopped}");
    go(dir.path(), RULE, again(), u64::MAX);
    assert_same(dir.path(), &reference(&RULE.parse().unwrap(), &[1, 2]));
}

#[test]
fn another_rule_moves_no_instrument_that_is_named_already() {
    let dir = tempfile::tempdir().unwrap();
    go(dir.path(), RULE, vec![Mixed::new(1)], 150);
    let before = held(dir.path());
    assert!(before[&(4, 1)].len() > 100 && before[&(5, 1)].len() > 100);
    let ended = go(dir.path(), "*=6", vec![Mixed::new(1)], u64::MAX);
    assert!(ended.channels.iter().all(|(_, end)| end.is_ok()));
    // Where each instrument was named is where all of it is; those named first by the second run are on channel 6.
    let mut homes: HashMap<u32, u16> = HashMap::new();
    let mut all = 0;
    for ((channel, _), messages) in held(dir.path()) {
        for bytes in messages {
            let (frame, _) = Frame::split(&bytes).unwrap();
            let tick = frame.view::<PriceTick>().map(|at| at.instrument.get());
            let named = frame.view::<InstrumentDefinition>().map(|at| at.instrument.get());
            if let Some(instrument) = tick.or(named) {
                assert_eq!(*homes.entry(instrument).or_insert(channel), channel);
                all += 1;
            }
        }
    }
    for channel in CHANNELS {
        assert!(
            homes.values().any(|&home| home == channel),
            "channel {channel}: {homes:?}"
        );
    }
    let expected = reference(&"*=6".parse().unwrap(), &[1]);
    let statuses = |content: &Content| content[&(4, 1)].len();
    assert_eq!(all, expected[&(6, 1)].len() - statuses(&expected));
}

#[test]
fn a_source_that_breaks_does_not_end_the_others_and_the_session_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Mixed {
        breaks_at: 700,
        ..Mixed::new(2)
    };
    let ended = go(dir.path(), "hash", vec![Mixed::new(1), broken], u64::MAX);
    assert!(matches!(ended.sources[0].1, Ok(RunEnd::Complete)));
    assert!(matches!(ended.sources[1].1, Err(SourceFailure::Source(_))));
    for (publisher, end) in &ended.channels {
        assert!(matches!(end, Ok(RunEnd::Stopped)), "{end:?}");
        assert_eq!(publisher.phase(), Phase::Live);
        assert_eq!(publisher.position(1), TOTAL);
        assert_eq!(publisher.position(2), 700);
    }
    drop(ended);
    // Mended, it goes on.
    go(dir.path(), "hash", vec![Mixed::new(1), Mixed::new(2)], u64::MAX);
    assert_same(dir.path(), &reference(&Spread::Hash, &[1, 2]));
}

#[test]
fn sources_with_the_same_number_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let job = |source| SourceJob {
        source,
        status: Arc::new(SourceStatus::default()),
    };
    let stop = AtomicBool::new(false);
    let place = place_of(dir.path(), 4);
    let Opened { publisher, reserver } = open(at_once(), &place, Recorded::default(), unix_now()).unwrap();
    let channel = ChannelJob {
        channel: 4,
        publisher,
        reserver,
        core: None,
    };
    let sources = vec![job(Mixed::new(3)), job(Mixed::new(3))];
    let ended = run(
        vec![channel],
        sources,
        &Spread::Hash,
        &RunConfig::default(),
        &stop,
        &|_| {},
    );
    assert!(matches!(ended, Err(SetupError::SameSource { source_id: 3 })));
}

/// Not a test of its own: the process that the test below kills.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("TWINLINE_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let ended = go(&dir, RULE, vec![Mixed::new(1), Mixed::new(2)], u64::MAX);
    assert!(
        ended
            .channels
            .iter()
            .all(|(_, end)| matches!(end, Ok(RunEnd::Complete)))
    );
}

#[test]
fn a_process_killed_again_and_again_leaves_the_same_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let failpoints = [
        "publisher.stamp",
        "publisher.after_commit",
        "publisher.between_lines",
        "publisher.after_send",
    ];
    let run = |failpoint: Option<String>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child", "--exact", "--nocapture"])
            .env("TWINLINE_TEST_DIR", dir.path());
        if let Some(failpoint) = failpoint {
            command.env("TWINLINE_FAILPOINT", failpoint);
        }
        command.output().unwrap()
    };
    for turn in 0_usize..24 {
        let point = failpoints[turn % failpoints.len()];
        let output = run(Some(format!("{point}:{}", 1 + mix(turn as u64) % 60)));
        assert!(!output.status.success(), "it was killed");
    }
    let output = run(None);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_same(dir.path(), &reference(&RULE.parse().unwrap(), &[1, 2]));
}
