//! What can go wrong in a run: the kinds of faults, how often each happened, and the plan that a seed draws.

use crate::rng::Rng;
use twinline_feed::publisher::MIN_BLOCK;

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$meta])* $name),*
        }

        impl Fault {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [Fault] = &[$(Fault::$name),*];

            /// A short name in snake case.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text),* }
            }
        }
    };
}

faults! {
    /// A datagram is lost on one line.
    Loss = "loss",
    /// A datagram is lost on both lines.
    LossOnBoth = "loss_on_both",
    /// A burst of losses begins on a line.
    Burst = "burst",
    /// A line goes dead for a while.
    DeadLine = "dead_line",
    /// A line goes dead and stays so to the end.
    DeadForEver = "dead_for_ever",
    /// A line brings nothing, for a while or to the end, but something that is not of it: it is never empty.
    Flooded = "flooded",
    /// A datagram comes twice.
    Duplicate = "duplicate",
    /// A line is late for a while.
    Delay = "delay",
    /// A datagram is overtaken by those behind it.
    Reorder = "reorder",
    /// A datagram arrives cut short.
    Truncation = "truncation",
    /// A bit flips and the checksum shows it.
    BitFlip = "bit_flip",
    /// A packet names another session, with a right checksum.
    ForgedSession = "forged_session",
    /// A packet names another epoch, with a right checksum.
    ForgedEpoch = "forged_epoch",
    /// A heartbeat names another sequence, with a right checksum.
    ForgedHeartbeat = "forged_heartbeat",
    /// A packet names a sequence far away, with a right checksum.
    ForgedSequence = "forged_sequence",
    /// A recovery service takes no connection.
    Refused = "recovery_refused",
    /// A recovery connection is cut.
    Cut = "recovery_cut",
    /// A recovery connection moves no bytes for a while.
    Stall = "recovery_stall",
    /// A recovery service reads a copy of the journal that is behind.
    Lag = "recovery_lag",
    /// A recovery service answers only a part of a request.
    Partial = "recovery_partial",
    /// All recovery services are gone for longer than the gap time-out.
    Outage = "recovery_outage",
    /// The publisher is killed between stamping a packet and committing it.
    KillBeforeCommit = "kill_before_commit",
    /// The publisher is killed between commit and send A.
    KillBeforeA = "kill_before_send_a",
    /// The publisher is killed between send A and send B.
    KillBeforeB = "kill_before_send_b",
    /// The publisher is killed between two packets.
    KillIdle = "kill_between_packets",
    /// The publisher's power is cut; the unsynced end of the journal is torn.
    PowerCutTorn = "power_cut_torn",
    /// The publisher's power is cut; pages of the journal's unsynced end are zero.
    PowerCutZeroed = "power_cut_zeroed",
    /// The publisher's power is cut; bits of the journal's unsynced end are flipped.
    PowerCutFlipped = "power_cut_flipped",
    /// A listener is killed and goes on from its record.
    ListenerKill = "listener_kill",
    /// A listener's power is cut: it loses the unsynced end of its record.
    ListenerPowerCut = "listener_power_cut",
    /// A replica is killed and goes on from its journal.
    ReplicaKill = "replica_kill",
    /// A replica's power is cut: it loses the unsynced end of its journal.
    ReplicaPowerCut = "replica_power_cut",
    /// A replica changes to another upstream.
    UpstreamSwitch = "upstream_switch",
    /// A publisher got back from a replica what a power cut had taken.
    PublisherHealed = "publisher_healed",
    /// A session ends and the next one begins.
    NewSession = "new_session",
    /// A new session begins before the old one's end was published.
    AbandonedSession = "abandoned_session",
    /// A listener sleeps until another session is published.
    SleptThrough = "slept_through",
    /// Retention removes the oldest segment of the publisher's journal.
    Retired = "retired",
    /// A part of a session that a listener lacks is kept nowhere any more.
    TooOld = "too_old",
    /// A session that a listener lacks as a whole is kept nowhere any more, or nobody can be asked for it.
    SessionMissed = "session_missed",
    /// A power cut lets sequences leap beyond 2^32.
    FarSequence = "far_sequence",
    /// Packets that came early did not fit the window.
    WindowFull = "window_full",
    /// A listener starts late, with a snapshot.
    JoinLate = "join_late",
    /// A listener was away for longer than services keep what it missed.
    AwayTooLong = "away_too_long",
    /// A recovery service is killed, and starts again with its snapshot files.
    ServiceKill = "service_kill",
}

/// How often each kind of fault happened, in the order of [`Fault::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts([u64; Fault::ALL.len()]);

impl Default for FaultCounts {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

/// What happened in a run, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each kind of fault happened, in the order of [`Fault::ALL`].
    pub faults: FaultCounts,
    /// Seeds run.
    pub seeds: u64,
    /// Valid messages in the journal at the end.
    pub messages: u64,
    /// Datagrams put onto the lines, each counted once a listener.
    pub datagrams: u64,
    /// Messages in listeners' streams.
    pub delivered: u64,
    /// Of those, delivered from recovery.
    pub recovered: u64,
    /// Sequences declared lost.
    pub lost: u64,
    /// Sequences declared void.
    pub void: u64,
    /// Packets of the next session that waited while the one before was completed.
    pub ahead: u64,
    /// Epochs that publishers opened.
    pub epochs: u64,
    /// Gaps that were filled after they were asked for.
    pub filled: u64,
    /// Gaps known only from heartbeats that were taken back.
    pub withdrawn: u64,
    /// Times that a journal, opened after a power cut, had a torn end.
    pub torn_tails: u64,
    /// Seeds in which that happened.
    pub torn_seeds: u64,
    /// States of snapshots in listeners' streams.
    pub states: u64,
    /// Listeners whose books were valid at the end, and right.
    pub valid_books: u64,
    /// Virtual time, in nanoseconds.
    pub virtual_time: u64,
}

impl Counts {
    /// How often `fault` happened.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.faults.0[fault as usize]
    }

    pub(crate) fn hit(&mut self, fault: Fault) {
        self.hits(fault, 1);
    }

    pub(crate) fn hits(&mut self, fault: Fault, times: u64) {
        self.faults.0[fault as usize] += times;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Counts) {
        self.faults
            .0
            .iter_mut()
            .zip(other.faults.0)
            .for_each(|(sum, more)| *sum += more);
        self.seeds += other.seeds;
        self.messages += other.messages;
        self.datagrams += other.datagrams;
        self.delivered += other.delivered;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.void += other.void;
        self.ahead += other.ahead;
        self.epochs += other.epochs;
        self.filled += other.filled;
        self.withdrawn += other.withdrawn;
        self.torn_tails += other.torn_tails;
        self.torn_seeds += other.torn_seeds;
        self.states += other.states;
        self.valid_books += other.valid_books;
        self.virtual_time += other.virtual_time;
    }
}

/// How bad a line to a listener is: chances in a million datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinePlan {
    pub(crate) loss: u32,
    pub(crate) burst: u32,
    pub(crate) duplicate: u32,
    pub(crate) delay: u32,
    pub(crate) reorder: u32,
    pub(crate) truncate: u32,
    pub(crate) flip: u32,
    pub(crate) forge: u32,
    pub(crate) dead: u32,
    /// Goes dead at this time and stays so.
    pub(crate) dead_at: Option<u64>,
    /// Usual delay in nanoseconds.
    pub(crate) latency: u64,
}

/// How bad recovery is: chances in a million steps of 1 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecoveryPlan {
    pub(crate) refuse: u32,
    pub(crate) cut: u32,
    pub(crate) stall: u32,
    /// The service serves a copy, made anew once in about so many steps; 0: the publisher's own journal.
    pub(crate) copy_every: u32,
    /// Answers are cut to so many messages.
    pub(crate) max_messages: u32,
    pub(crate) max_ranges: u16,
    pub(crate) latency: u64,
    /// Chance in a million a step of 1 ms that it is killed.
    pub(crate) kill: u32,
    /// The journal does not keep everything.
    pub(crate) retention: bool,
}

/// What a seed draws before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) listeners: usize,
    pub(crate) lines: Vec<[LinePlan; 2]>,
    /// Chance in a million that a packet is lost on both lines of a listener.
    pub(crate) both: u32,
    pub(crate) services: Vec<RecoveryPlan>,
    /// All services are gone for longer than the gap time-out.
    pub(crate) outage: Option<(u64, u64)>,
    pub(crate) packet_limit: usize,
    pub(crate) window: usize,
    pub(crate) leap: u64,
    /// Most source events at one step of the publisher, and the longest time between steps.
    pub(crate) burst_events: u64,
    pub(crate) pause: u64,
    /// Chances in a million a step of the publisher.
    pub(crate) kill: u32,
    pub(crate) power_cut: u32,
    pub(crate) sync: u32,
    /// Chances in a million a listener and step of 1 ms.
    pub(crate) listener_kill: u32,
    pub(crate) listener_power_cut: u32,
    pub(crate) sessions: u32,
    /// Sessions but the last are left without an end.
    pub(crate) abandon: bool,
    /// The last session is left open.
    pub(crate) leave_open: bool,
    /// Segments that the publisher's journal keeps.
    pub(crate) keep_segments: Option<usize>,
    /// One in so many times that a listener is killed it sleeps until another session is published; 0: never.
    pub(crate) sleep: u64,
    /// Sequences that the publisher reserves: where a power cut lets them leap to.
    pub(crate) block: u64,
    pub(crate) replicas: usize,
    /// Chances in a million a replica and step of 1 ms.
    pub(crate) replica_kill: u32,
    pub(crate) replica_power_cut: u32,
    /// Time between a replica's syncs.
    pub(crate) replica_sync: u64,
    /// When the last listener starts, with a snapshot.
    pub(crate) late: Option<u64>,
    /// One killed listener in so many was away for longer than services keep what it missed; 0: none.
    pub(crate) away: u64,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::new(seed, "plan");
        let listeners = rng.range(2, 3) as usize;
        let outage = rng.one_in(4).then(|| {
            let begin = rng.range(20, 400) * MS;
            (begin, begin + rng.range(1_200, 2_200) * MS)
        });
        let sessions = *rng.pick(&[1, 2, 3, 6, 8, 8]);
        let keep_segments = *rng.pick(&[None, Some(2)]);
        let kill = *rng.pick(&[0, 500, 3_000]);
        let service = |rng: &mut Rng, at| RecoveryPlan {
            kill,
            retention: keep_segments.is_some(),
            ..service(rng, at)
        };
        Self {
            listeners,
            lines: (0..listeners).map(|_| [line(rng, 0), line(rng, 1)]).collect(),
            both: *rng.pick(&[0, 2_000, 10_000, 50_000]),
            services: (0..rng.range(1, 2)).map(|at| service(rng, at)).collect(),
            outage,
            packet_limit: *rng.pick(&[320, 384, 512, 1408]),
            window: *rng.pick(&[4, 16, 64, 256]),
            leap: *rng.pick(&[200, 1_000, 10_000]),
            burst_events: *rng.pick(&[2, 4, 12, 40]),
            pause: *rng.pick(&[200_000, MS, 3 * MS]),
            kill: *rng.pick(&[0, 3_000, 10_000]),
            power_cut: *rng.pick(&[0, 3_000, 8_000]),
            sync: *rng.pick(&[5_000, 50_000, 500_000]),
            listener_kill: *rng.pick(&[0, 1_000, 5_000]),
            listener_power_cut: *rng.pick(&[0, 500, 3_000]),
            sessions,
            abandon: rng.one_in(2),
            leave_open: rng.one_in(3),
            keep_segments,
            sleep: *rng.pick(&[0, 1, 1, 1]),
            block: *rng.pick(&[MIN_BLOCK, MIN_BLOCK, MIN_BLOCK, 1 << 32]),
            // One that is away for longer than its upstreams keep has to be started anew, by hand.
            replicas: if keep_segments.is_none() {
                *rng.pick(&[1, 2, 2, 2, 2, 2])
            } else {
                0
            },
            replica_kill: *rng.pick(&[0, 1_000, 3_000]),
            replica_power_cut: *rng.pick(&[0, 1_000, 3_000]),
            replica_sync: *rng.pick(&[MS, 5 * MS, 30 * MS]),
            late: rng.one_in(2).then(|| rng.range(3, 80) * MS),
            away: *rng.pick(&[0, 1, 3]),
        }
    }
}

fn line(rng: &mut Rng, line: u64) -> LinePlan {
    LinePlan {
        loss: *rng.pick(&[0, 5_000, 20_000, 100_000, 300_000]),
        burst: *rng.pick(&[0, 0, 1_000, 5_000]),
        duplicate: *rng.pick(&[0, 5_000, 50_000]),
        delay: *rng.pick(&[0, 0, 2_000]),
        reorder: *rng.pick(&[0, 5_000, 50_000]),
        truncate: *rng.pick(&[0, 1_000, 10_000]),
        flip: *rng.pick(&[0, 1_000, 10_000]),
        forge: *rng.pick(&[0, 10_000, 50_000]),
        dead: *rng.pick(&[0, 0, 1_000]),
        // Only line B dies for good, so that one line is left.
        dead_at: (line == 1 && rng.one_in(6)).then(|| rng.range(1, 400) * MS),
        latency: rng.range(5, 500) * 1_000,
    }
}

fn service(rng: &mut Rng, at: u64) -> RecoveryPlan {
    RecoveryPlan {
        refuse: *rng.pick(&[0, 500, 3_000]),
        cut: *rng.pick(&[0, 500, 5_000]),
        stall: *rng.pick(&[0, 500, 5_000]),
        copy_every: if at > 0 { rng.range(20, 200) as u32 } else { 0 },
        max_messages: *rng.pick(&[20, 200, 100_000]),
        max_ranges: *rng.pick(&[1, 4, 64]),
        latency: rng.range(20, 2_000) * 1_000,
        kill: 0,
        retention: false,
    }
}
