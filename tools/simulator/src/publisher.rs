//! The publisher's host: the real publisher over a real journal and epoch store, killed at any step, or its power cut.
//!
//! A kill ends the publisher inside its own code, where it sends: the send unwinds. A power cut ends it between two steps
//! and then spoils what the journal's files hold beyond the last sync ([`crate::powercut`]).

use crate::faults::{Counts, Fault, MS, Plan};
use crate::rng::Rng;
use crate::run::{Options, is_planted};
use crate::{powercut, source};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use twinline_feed::publisher::{
    Burst, Line, Lines, MIN_BLOCK, Phase, Place, PublishError, Publisher, PublisherConfig,
    open_without_thread,
};
use twinline_journal::epoch::{EpochStore, Grant, Holder};
use twinline_journal::{JournalConfig, Prepare, Retention, SyncPolicy};
use twinline_wire::header::{PacketHeader, checksum};
use twinline_wire::{OpenPacket, Stamp};
use zerocopy::FromBytes;

/// The channel of every run.
pub(crate) const CHANNEL: u16 = 1;
/// Bytes of a journal's segment: small, so that runs cross many.
pub(crate) const SEGMENT: usize = 64 << 10;

/// What a kill unwinds with: the line that was to be sent on.
struct Killed(Line);

/// What the publisher sent, until the network takes it.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    sent: Vec<(usize, Rc<[u8]>)>,
    /// Sends left until the publisher is killed in one.
    kill_in: Option<u32>,
    /// The sequence behind the last packet sent on each line.
    end: [u64; 2],
    /// The planted bug: heartbeats name sequences that are not sent yet.
    overtaking: bool,
    /// The planted bug: the last packet of a burst is not sent.
    forgetful: bool,
}

/// The publisher's end of the lines.
#[derive(Debug)]
pub(crate) struct Wires(Rc<RefCell<Outgoing>>);

impl Lines for Wires {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let count = burst.count();
        let sent = match self.0.borrow().forgetful {
            true if count > 1 => count - 1,
            _ => count,
        };
        burst
            .packets()
            .take(sent)
            .for_each(|packet| self.send_one(line, packet));
        count
    }
}

impl Wires {
    fn send_one(&self, line: Line, packet: &[u8]) {
        let mut out = self.0.borrow_mut();
        if let Some(left) = &mut out.kill_in {
            if *left == 0 {
                drop(out);
                resume_unwind(Box::new(Killed(line)));
            }
            *left -= 1;
        }
        let bytes = match out.sent.last() {
            _ if out.overtaking => overtaken(packet),
            Some((_, last)) if **last == *packet => Rc::clone(last),
            _ => packet.into(),
        };
        if let Ok((header, _)) = PacketHeader::ref_from_prefix(packet) {
            out.end[line.index()] = header.end();
        }
        out.sent.push((line as usize, bytes));
    }
}

/// The planted bug's heartbeat; any other packet as it is.
fn overtaken(packet: &[u8]) -> Rc<[u8]> {
    let mut bytes = packet.to_vec();
    if let Ok((header, _)) = PacketHeader::mut_from_prefix(&mut bytes)
        && header.is_heartbeat()
    {
        header.sequence.set(header.sequence.get() + 3);
        let sum = checksum(&bytes);
        if let Ok((header, _)) = PacketHeader::mut_from_prefix(&mut bytes) {
            header.checksum.set(sum);
        }
    }
    bytes.into()
}

struct Live {
    publisher: Publisher<Wires>,
    /// `None` if the session was complete when it was opened.
    epoch: Option<(EpochStore, Grant)>,
}

/// What a step of the host came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Running,
    /// It was killed.
    Killed,
    /// It was killed, and the machine with it.
    PowerCut,
}

/// The machine that the publisher runs on.
pub(crate) struct PublisherHost {
    seed: u64,
    rng: Rng,
    config: PublisherConfig,
    place: Place,
    live: Option<Live>,
    out: Rc<RefCell<Outgoing>>,
    /// The session to be published, and the last one.
    pub(crate) session: u32,
    /// Sessions after this one.
    more_sessions: u32,
    abandon: bool,
    leave_open: bool,
    /// Messages that the session must have before it is ended.
    quota: u64,
    /// Valid messages that the journal holds of the session.
    held: u64,
    burst_events: u64,
    kill: u32,
    power_cut: u32,
    sync: u32,
    /// The session and the sequence up to which the journal is durable.
    synced: (u32, u64),
    boot: u32,
    /// Everything that was to be published is.
    pub(crate) finished: bool,
    calm: bool,
    /// Planted bugs.
    leaves_out: bool,
    accepts_torn: bool,
}

impl PublisherHost {
    pub(crate) fn new(seed: u64, plan: &Plan, options: &Options, dir: &Path) -> Self {
        let messages = options.messages;
        let out = Rc::new(RefCell::new(Outgoing {
            overtaking: is_planted!(options, HeartbeatOvertakes),
            forgetful: is_planted!(options, BurstCutShort),
            ..Outgoing::default()
        }));
        let mut rng = Rng::new(seed, "publisher");
        let ms = Duration::from_millis;
        let config = PublisherConfig {
            packet_limit: plan.packet_limit,
            heartbeat_interval: ms(10),
            lead_in: ms(rng.range(0, 20)),
            announce_interval: ms(2),
            linger: ms(1_000_000),
            name: "simulator".into(),
            source: source::TICKS,
            ..PublisherConfig::default()
        };
        let journal_config = JournalConfig {
            channel: CHANNEL,
            max_packet: plan.packet_limit,
            segment_size: SEGMENT,
            sync: SyncPolicy::None,
            retention: Retention {
                segments: plan.keep_segments,
                ..Retention::default()
            },
            prepare: Prepare::Inline,
        };
        let place = Place {
            journal: dir.join("journal"),
            journal_config,
            store: dir.join("epochs.json"),
            session: Some(1),
            holder: Holder {
                host: "publisher".into(),
                boot: "0".into(),
            },
            block: plan.block,
        };
        Self {
            seed,
            rng,
            config,
            place,
            live: None,
            out,
            leaves_out: is_planted!(options, EventLeftOut),
            accepts_torn: is_planted!(options, TornTailAccepted),
            session: 1,
            more_sessions: plan.sessions - 1,
            abandon: plan.abandon,
            leave_open: plan.leave_open,
            // A power cut may still take some of them.
            quota: (messages + messages / 2).div_ceil(u64::from(plan.sessions)),
            held: 0,
            burst_events: plan.burst_events,
            kill: plan.kill,
            power_cut: plan.power_cut,
            sync: plan.sync,
            synced: (0, 0),
            boot: 0,
            finished: false,
            calm: false,
        }
    }

    pub(crate) fn journal(&self) -> &PathBuf {
        &self.place.journal
    }

    /// Where it will start again.
    pub(crate) fn place(&mut self) -> &Place {
        self.place.session = Some(self.session);
        self.place.holder.boot = self.boot.to_string();
        &self.place
    }

    /// The session and the sequence up to which the journal survives a power cut.
    pub(crate) fn synced(&self) -> (u32, u64) {
        self.synced
    }

    /// No more faults.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
    }

    /// The session that is published.
    pub(crate) fn session(&self) -> u32 {
        self.session
    }

    /// Tells it how many valid messages the journal holds of the session: it ends by that.
    pub(crate) fn set_held(&mut self, messages: u64) {
        self.held = messages;
    }

    fn is_quota_reached(&self) -> bool {
        self.held >= self.quota
    }

    /// What was sent since this was called last: line and packet.
    pub(crate) fn take_sent(&mut self) -> Vec<(usize, Rc<[u8]>)> {
        std::mem::take(&mut self.out.borrow_mut().sent)
    }

    /// Starts the publisher, or starts it again.
    pub(crate) fn start(&mut self, now: u64, counts: &mut Counts) -> Result<(), String> {
        let _ = self.place();
        self.out.borrow_mut().kill_in = None;
        let wires = Wires(Rc::clone(&self.out));
        let (publisher, epoch) = open_without_thread(self.config.clone(), &self.place, wires, now)
            .map_err(|error| format!("the publisher does not start again: {error}"))?;
        counts.epochs += 1;
        if publisher.next_sequence() > 1 << 32 {
            counts.hit(Fault::FarSequence);
        }
        self.live = Some(Live { publisher, epoch });
        Ok(())
    }

    /// One step: some source events, what is due, and perhaps the end of the session or of the publisher.
    pub(crate) fn step(&mut self, now: u64, counts: &mut Counts) -> Result<Step, String> {
        let Some(mut live) = self.live.take() else {
            return Ok(Step::Running);
        };
        let step = self.step_live(&mut live, now, counts)?;
        if step == Step::Running {
            self.live = Some(live);
        } else {
            let killed = powercut::kill(&self.place.journal, live);
            killed.map_err(|error| format!("the journal's control file: {error}"))?;
        }
        Ok(step)
    }

    fn step_live(&mut self, live: &mut Live, now: u64, counts: &mut Counts) -> Result<Step, String> {
        let dies = !self.calm && self.rng.chance(self.kill);
        // Six sends: three packets, so a kill may also fall into a later one of this step, or in a heartbeat.
        let kill_in = (dies && !self.rng.one_in(4)).then(|| self.rng.below(6) as u32);
        self.out.borrow_mut().kill_in = kill_in;
        match catch_unwind(AssertUnwindSafe(|| self.work(live, now))) {
            Ok(result) => result.map_err(|error| format!("the publisher failed: {error}"))?,
            Err(panic) => match panic.downcast_ref() {
                Some(Killed(line)) => {
                    counts.hit(match line {
                        Line::A => Fault::KillBeforeA,
                        Line::B => Fault::KillBeforeB,
                    });
                    return Ok(Step::Killed);
                }
                None => resume_unwind(panic),
            },
        }
        self.check_sent(&live.publisher)?;
        if dies {
            if self.rng.one_in(2) {
                self.die_before_commit(live, now)?;
                counts.hit(Fault::KillBeforeCommit);
            } else {
                counts.hit(Fault::KillIdle);
            }
            return Ok(Step::Killed);
        }
        if !self.calm && self.rng.chance(self.power_cut) {
            return Ok(Step::PowerCut);
        }
        self.next_session(live, now, counts)?;
        Ok(Step::Running)
    }

    fn work(&mut self, live: &mut Live, now: u64) -> Result<(), PublishError> {
        let publisher = &mut live.publisher;
        if publisher.phase() == Phase::Live && !self.finished && !self.is_quota_reached() {
            let (seed, session) = (self.seed, publisher.session());
            for _ in 0..self.rng.range(0, self.burst_events) {
                let left_out =
                    self.leaves_out && publisher.epoch() > 1 && publisher.source_messages() % 7 == 3;
                let number = publisher.position(source::EVENTS) + u64::from(left_out);
                publisher.event(now, |sink| source::event(seed, session, number, sink))?;
            }
            publisher.flush(now)?;
            if self.rng.one_in(4) {
                let tick = source::tick(seed, session, publisher.position(source::TICKS));
                publisher.publish(&tick, now)?;
            }
        }
        publisher.tick(now)?;
        self.keep_reserved(live);
        if self.rng.chance(self.sync) {
            live.publisher.journal().sync()?;
            let tail = live.publisher.journal().tail();
            self.synced = tail.map_or((0, 1), |tail| (tail.session, tail.next));
        }
        Ok(())
    }

    /// That all that is committed is sent: nothing waits, and recovery must not hide what was forgotten.
    fn check_sent(&self, publisher: &Publisher<Wires>) -> Result<(), String> {
        let (end, next) = (self.out.borrow().end, publisher.next_sequence());
        if publisher.phase() == Phase::Live && end != [next; 2] {
            return Err(format!(
                "sequences below {next} are committed, those from {end:?} on were not sent"
            ));
        }
        Ok(())
    }

    /// What the control thread does in production.
    fn keep_reserved(&self, live: &mut Live) {
        let Some((store, grant)) = &live.epoch else {
            return;
        };
        let reserve = live.publisher.reserve();
        if reserve.end().saturating_sub(reserve.next()) < MIN_BLOCK / 2
            && let Ok(end) = store.extend(grant, reserve.end() + MIN_BLOCK)
        {
            reserve.extend(end);
        }
    }

    /// Leaves in the journal's next slot what a publisher leaves that dies after it stamped a packet.
    fn die_before_commit(&mut self, live: &mut Live, now: u64) -> Result<(), String> {
        let publisher = &mut live.publisher;
        if publisher.phase() != Phase::Live {
            return Ok(());
        }
        let stamp = Stamp {
            flags: 0,
            channel: CHANNEL,
            session: publisher.session(),
            epoch: publisher.epoch(),
            epoch_base: 1,
            sequence: publisher.next_sequence(),
            sending_time: now,
        };
        let tick = source::tick(self.seed, 0, 0);
        let slot = publisher.journal().slot().map_err(|error| error.to_string())?;
        let mut packet = OpenPacket::new();
        packet.push(slot, &tick);
        packet.finish(slot, stamp, 0);
        Ok(())
    }

    /// Ends the session once it has its messages, or leaves it for the next.
    fn next_session(&mut self, live: &mut Live, now: u64, counts: &mut Counts) -> Result<(), String> {
        let publisher = &mut live.publisher;
        let last = self.more_sessions == 0;
        match publisher.phase() {
            Phase::Live if self.is_quota_reached() => {
                if last && self.leave_open {
                    self.finished = true;
                    return Ok(());
                }
                if self.abandon && !last {
                    counts.hit(Fault::AbandonedSession);
                    self.number_next_session();
                    return Ok(());
                }
                publisher.end_session(now).map_err(|error| error.to_string())?;
                // Now and then it is killed before it can tell the store.
                if let Some((store, grant)) = live.epoch.as_ref().filter(|_| !self.rng.one_in(8)) {
                    store.end_session(grant).map_err(|error| error.to_string())?;
                }
            }
            Phase::Ending if last => self.finished = true,
            // Listeners may or may not have seen the end when the next session begins.
            Phase::Ending if self.rng.one_in(20) => {
                counts.hit(Fault::NewSession);
                self.number_next_session();
            }
            _ => {}
        }
        Ok(())
    }

    /// The next session's number may leave some out.
    fn number_next_session(&mut self) {
        self.session += *self.rng.pick(&[1, 1, 2, 4]);
        self.more_sessions -= 1;
    }

    /// True if the publisher that runs is of an older session than the one that is to be published.
    pub(crate) fn must_restart(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.publisher.session() != self.session)
    }

    /// Does to the journal what the power cut did. Nobody may have it open.
    pub(crate) fn spoil(&mut self, counts: &mut Counts) -> Result<(), String> {
        let way = powercut::cut(&self.place.journal, &mut self.rng, self.accepts_torn);
        counts.hit(way.map_err(|error| format!("cannot spoil the journal: {error}"))?);
        self.boot += 1;
        Ok(())
    }

    pub(crate) fn describe(&self) -> String {
        match &self.live {
            Some(live) => format!(
                "session {} epoch {} next {} {:?}",
                live.publisher.session(),
                live.publisher.epoch(),
                live.publisher.next_sequence(),
                live.publisher.phase()
            ),
            None => "down".into(),
        }
    }

    /// Stops the publisher.
    pub(crate) fn stop(&mut self) {
        self.live = None;
    }

    /// Time to the next step.
    pub(crate) fn pause(&mut self, pause: u64) -> u64 {
        if self.finished {
            MS
        } else {
            1 + self.rng.below(pause)
        }
    }
}
