//! The listener's host: the real arbiter and gap policy, connections to every service, and a record that outlives it.

use crate::faults::{Counts, Fault, MS, Plan};
use crate::network::Lines;
use crate::publisher::CHANNEL;
use crate::record::{Holds, Recorder};
use crate::rng::Rng;
use crate::run::{Options, is_planted};
use crate::service::{Connection, Service};
use crate::sessions::Sleep;
use crate::states::{Shift, States};
use std::path::Path;
use twinline_listener::arbiter::Dropped;
use twinline_listener::arbiter::ranges::Span;
use twinline_listener::gaps::Refusal;
use twinline_listener::{Arbiter, ArbiterConfig, GapConfig, GapPolicy, Origin, Request, StartAt};
use twinline_recovery::{ClientEvent, Range, range};
use twinline_wire::field::{CompleteStatus, RejectCode};

/// How long an arbiter holds what it does not believe.
pub(crate) const PATIENCE: u64 = 100 * MS;
/// The gap time-out.
pub(crate) const TIMEOUT: u64 = 1_000 * MS;

/// The machine that a listener runs on.
pub(crate) struct ListenerHost {
    rng: Rng,
    config: ArbiterConfig,
    gap_config: GapConfig,
    pub(crate) lines: Lines,
    pub(crate) record: Recorder,
    pub(crate) live: Option<Live>,
    kill: u32,
    power_cut: u32,
    sleep: Sleep,
    /// One in so many sleeps is long.
    long_sleep: u64,
    /// The newest session that is published.
    pub(crate) newest: u32,
    /// When each service could not be asked: begin and end of each such time.
    cut_off: Vec<Vec<(u64, u64)>>,
    calm: bool,
    /// One kill in so many is followed by a long time away; 0: none.
    away: u64,
    /// Session and sequence below which nothing is kept for it: it was away too long.
    horizons: Vec<(u32, u64)>,
    /// A planted bug: this is taken for void.
    taken_for_void: Option<RejectCode>,
    shift: Shift,
}

/// What a kill takes.
pub(crate) struct Live {
    pub(crate) arbiter: Arbiter,
    pub(crate) gaps: GapPolicy,
    states: States,
    /// Nothing below is kept for it.
    horizon: (u32, u64),
    connections: Vec<Connection>,
    /// Ranges that each service takes in a request.
    max_ranges: Vec<usize>,
    taken_for_void: Option<RejectCode>,
    requests: Vec<Request>,
    /// Session and end of what was asked for last.
    asked: Option<(u32, u64)>,
}

impl ListenerHost {
    pub(crate) fn new(
        seed: u64,
        number: usize,
        plan: &Plan,
        options: &Options,
        dir: &Path,
        now: u64,
    ) -> Self {
        // Drawn apart: with it or without it, a seed's faults are the same.
        let rng = &mut Rng::mixed(&[seed, number as u64, 0xfa1]);
        let holds = rng.one_in(3).then(|| {
            let configured = *rng.pick(&[MS / 5, 2 * MS, 20 * MS]);
            let real = if is_planted!(options, ReleasedTooEarly) {
                configured / 2
            } else {
                configured
            };
            Holds { configured, real }
        });
        let mut record = Recorder::new(dir.join(format!("listener-{number}")), plan.packet_limit, holds);
        record.trace = options.trace.then(Vec::new);
        let late = plan.late.filter(|_| number + 1 == plan.listeners);
        let config = ArbiterConfig {
            channel: CHANNEL,
            max_packet: plan.packet_limit,
            window: plan.window,
            leap: plan.leap,
            patience: PATIENCE,
            stall: 50 * MS,
            start: match late {
                Some(_) => StartAt::Snapshot,
                None => StartAt::Beginning,
            },
        };
        let gap_config = GapConfig {
            services: plan.services.len(),
            reorder: 2 * MS,
            slow: 25 * MS,
            timeout: if is_planted!(options, LossTooEarly) {
                5 * MS
            } else {
                TIMEOUT
            },
        };
        Self {
            rng: Rng::mixed(&[seed, number as u64, 0x115]),
            config,
            gap_config,
            lines: Lines::new(seed, number, plan.lines[number], plan.both, PATIENCE),
            record,
            live: None,
            kill: plan.listener_kill,
            power_cut: plan.listener_power_cut,
            sleep: Sleep::first(now + late.unwrap_or(0)),
            long_sleep: plan.sleep,
            newest: 0,
            cut_off: vec![vec![(now, now)]; plan.services.len()],
            calm: false,
            away: plan.away,
            horizons: Vec::new(),
            taken_for_void: is_planted!(options, UnpublishedCalledVoid)
                .then_some(RejectCode::NOT_YET_PUBLISHED)
                .or(is_planted!(options, TooOldCalledVoid).then_some(RejectCode::TOO_OLD)),
            shift: Shift::of(options),
        }
    }

    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.lines.calm_down();
    }

    /// Starts the listener where its record ends.
    fn start(&mut self, seed: u64, number: usize, now: u64, counts: &mut Counts) -> Result<(), String> {
        let position = self.record.open()?;
        self.record.note(|| format!("starts at {position:?}"));
        let mut arbiter = Arbiter::new(self.config, position, now);
        if self.record.is_incomplete() {
            arbiter.resume_incomplete();
        }
        if position.is_none() && self.config.start == StartAt::Snapshot {
            counts.hit(Fault::JoinLate);
        }
        self.live = Some(Live {
            arbiter,
            states: States::new(self.gap_config.services, &self.record.dir, self.shift),
            horizon: self.horizons.last().copied().unwrap_or_default(),
            gaps: GapPolicy::new(self.gap_config),
            connections: (0..self.gap_config.services)
                .map(|service| Connection::new(seed, number, service, now))
                .collect(),
            max_ranges: vec![0; self.gap_config.services],
            taken_for_void: self.taken_for_void,
            requests: Vec::new(),
            asked: None,
        });
        Ok(())
    }

    /// A datagram arrived.
    pub(crate) fn on_datagram(&mut self, line: usize, bytes: &[u8], now: u64) {
        self.record.release(now);
        if let Some(live) = &mut self.live {
            let origin = [Origin::LineA, Origin::LineB][line];
            live.arbiter.on_packet(origin, bytes, now, &mut self.record);
        }
    }

    /// A step of 1 ms: connections, gaps, and perhaps the end of it.
    pub(crate) fn step(
        &mut self,
        (seed, number): (u64, usize),
        services: &mut [Service],
        now: u64,
        counts: &mut Counts,
    ) -> Result<(), String> {
        self.record.release(now);
        let drained = self.lines.drain(now, counts);
        let Some(live) = &mut self.live else {
            if self.sleep.is_over(now, self.newest, self.calm) {
                self.start(seed, number, now, counts)?;
                self.forget_what_it_missed(services, counts);
            }
            return Ok(());
        };
        live.gaps.on_drained(drained);
        live.step(services, now, counts, &mut self.record);
        for (service, connection) in live.connections.iter().enumerate() {
            if !connection.is_healthy(now) {
                is_cut_off(&mut self.cut_off[service], now);
            }
        }
        if self.rng.one_in(10) {
            self.record.sync()?;
        }
        self.record.check()?;
        if self.calm {
            return Ok(());
        }
        let kill = self.rng.chance(self.kill);
        let power_cut = self.rng.chance(self.power_cut);
        if kill || power_cut {
            self.collect(counts);
            self.live = None;
            self.cut_off
                .iter_mut()
                .for_each(|service| is_cut_off(service, now));
            self.record
                .note(|| if power_cut { "power cut" } else { "killed" }.into());
            self.sleep = Sleep::draw(&mut self.rng, now, self.newest, self.long_sleep);
            if self.sleep.is_long() {
                counts.hit(Fault::SleptThrough);
            }
        }
        if power_cut {
            counts.hit(Fault::ListenerPowerCut);
            self.record.spoil(&mut self.rng)?;
        } else if kill {
            counts.hit(Fault::ListenerKill);
            self.record.close()?;
        }
        Ok(())
    }

    /// True if for `long` of the time from `begin` to `end` none of the services that `has` what was wanted could be asked.
    pub(crate) fn was_cut_off(&self, begin: u64, end: u64, long: u64, has: impl Fn(usize) -> bool) -> bool {
        let away =
            |service: &Vec<(u64, u64)>, at| service.iter().any(|&(from, to)| (from..=to).contains(&at));
        let services = || self.cut_off.iter().enumerate().filter(|(number, _)| has(*number));
        let alone = |at: &u64| services().all(|(_, service)| away(service, *at));
        let times = (begin..end).step_by(MS as usize).filter(alone).count() as u64;
        times * MS >= long
    }

    /// Perhaps it was away for so long that nobody keeps what it missed.
    fn forget_what_it_missed(&mut self, services: &mut [Service], counts: &mut Counts) {
        let Some(position) = self.record.position().filter(|_| self.away > 0 && !self.calm) else {
            return;
        };
        let heads = services.iter_mut().filter_map(Service::head);
        let Some(head) = heads.max().filter(|head| head.0 == position.session) else {
            return;
        };
        if head.1 > position.next + 10 && self.rng.one_in(self.away) {
            counts.hit(Fault::AwayTooLong);
            self.record
                .note(|| format!("was away too long: nothing below {head:?} is kept"));
            self.horizons.push(head);
            if let Some(live) = &mut self.live {
                live.horizon = head;
            }
        }
    }

    /// True if it may have skipped these, as it began with a snapshot.
    pub(crate) fn joined_late(&self, skipped: Span) -> bool {
        self.config.start == StartAt::Snapshot && skipped.begin == 1
    }

    /// True if nobody keeps these for it any more.
    pub(crate) fn was_away_beyond(&self, session: u32, lost: Span) -> bool {
        let covers = |&(of, end): &(u32, u64)| of == session && lost.end <= end;
        self.horizons.iter().any(covers)
    }

    /// Services are down: connections to them break.
    pub(crate) fn service_down(&mut self, services: &[Service], now: u64) {
        let Some(live) = &mut self.live else { return };
        for (number, service) in services.iter().enumerate().filter(|(_, service)| service.down) {
            let gaps = &mut live.gaps;
            let _ = service;
            live.connections[number].break_off(now, &mut |_| gaps.on_disconnected(number));
        }
    }

    /// What a listener may hold is bounded, whatever comes.
    pub(crate) fn check_memory(&self, window: usize) -> Result<(), String> {
        let Some(live) = &self.live else { return Ok(()) };
        let (waiting, gaps) = (live.arbiter.waiting(), live.gaps.open_gaps());
        if waiting > 2 * window + 8 || gaps > 256 {
            return Err(format!(
                "a listener holds {waiting} packets and {gaps} gaps (window {window})"
            ));
        }
        Ok(())
    }

    /// Session and end of what was asked for since this was called last.
    pub(crate) fn take_asked(&mut self) -> Option<(u32, u64)> {
        self.live.as_mut().and_then(|live| live.asked.take())
    }

    pub(crate) fn describe(&self) -> String {
        let live = self.live.as_ref().map(|live| {
            let mut missing = Vec::with_capacity(4);
            live.arbiter.missing(&mut missing);
            (live.arbiter.position(), missing, live.gaps.open_gaps())
        });
        format!("{:?} (live: {live:?})", self.record.position())
    }

    /// Adds to `counts` what the listener counted since it was started.
    pub(crate) fn collect(&self, counts: &mut Counts) {
        let Some(live) = &self.live else { return };
        let stats = live.arbiter.stats();
        let full: u64 = stats
            .dropped
            .iter()
            .map(|dropped| dropped.get(Dropped::WindowFull))
            .sum();
        counts.hits(Fault::WindowFull, full);
        counts.filled += live.gaps.stats().filled;
        counts.withdrawn += live.gaps.stats().withdrawn;
        counts.ahead += stats.ahead;
    }
}

impl Live {
    fn step(&mut self, services: &mut [Service], now: u64, counts: &mut Counts, record: &mut Recorder) {
        self.arbiter.tick(now, record);
        for (number, service) in services.iter_mut().enumerate() {
            let (arbiter, gaps, states) = (&mut self.arbiter, &mut self.gaps, &mut self.states);
            let taken_for_void = self.taken_for_void;
            let (mut partial, max_ranges) = (0, &mut self.max_ranges[number]);
            let mut on_event = |mut event: ClientEvent<'_>| {
                if let ClientEvent::Reject { code, .. } = &mut event
                    && taken_for_void == Some(*code)
                {
                    *code = RejectCode::VOID;
                }
                match event {
                    ClientEvent::Accepted {
                        max_ranges: allowed, ..
                    } => *max_ranges = allowed,
                    ClientEvent::Complete {
                        status: CompleteStatus::PARTIAL,
                        ..
                    } => partial += 1,
                    _ => {}
                }
                if !states.take(&event, arbiter, now, record) {
                    on_event(number, event, arbiter, gaps, now, record);
                }
            };
            self.connections[number].step(service, now, counts, &mut on_event);
            counts.hits(Fault::Partial, partial);
        }
        self.policy(now, record);
        self.states
            .step(&mut self.arbiter, &mut self.connections, now, record);
    }

    fn policy(&mut self, now: u64, record: &mut Recorder) {
        let requests = &mut self.requests;
        self.gaps
            .tick(&mut self.arbiter, now, record, |request| requests.push(*request));
        for request in self.requests.drain(..) {
            record.note(|| {
                format!(
                    "asks service {} in {}: {:?}",
                    request.service,
                    request.id,
                    request.ranges()
                )
            });
            let kept = match self.horizon.0 == request.session {
                true => self.horizon.1,
                false => 0,
            };
            for span in request.ranges().iter().filter(|span| span.begin < kept) {
                let gone = Span::new(span.begin, span.end.min(kept));
                let (gaps, arbiter) = (&mut self.gaps, &mut self.arbiter);
                let refusal = Refusal {
                    span: gone,
                    code: RejectCode::TOO_OLD,
                    retry_after: 0,
                    next_session: None,
                };
                gaps.on_reject(request.id, refusal, arbiter, now, record);
            }
            let spans = request.ranges().iter().filter(|span| span.end > kept);
            let ranges: Vec<Range> = spans.map(|span| range(span.begin.max(kept), span.end)).collect();
            let last = request.ranges().last().filter(|span| span.end != u64::MAX);
            self.asked = last.map(|span| (request.session, span.end)).or(self.asked);
            let client = &mut self.connections[request.service].client;
            // What one request does not take is asked for again when it is answered.
            let allowed = ranges.len().min(self.max_ranges[request.service]);
            if ranges.is_empty()
                || client
                    .request(request.id, request.session, &ranges[..allowed], now)
                    .is_err()
            {
                self.gaps.on_complete(request.id);
            }
        }
    }
}

/// A service cannot be asked now.
fn is_cut_off(times: &mut Vec<(u64, u64)>, now: u64) {
    match times.last_mut() {
        Some((_, end)) if now <= *end + 4 * MS => *end = now,
        _ => times.push((now, now)),
    }
}

fn on_event(
    service: usize,
    event: ClientEvent<'_>,
    arbiter: &mut Arbiter,
    gaps: &mut GapPolicy,
    now: u64,
    record: &mut Recorder,
) {
    match &event {
        ClientEvent::Packet { request_id, packet } => {
            let header = packet.header();
            let what = (
                header.session.get(),
                header.epoch.get(),
                packet.sequence(),
                packet.end(),
            );
            record.note(|| format!("{request_id}: packet {what:?} at {:?}", arbiter.position()));
        }
        other => record.note(|| format!("service {service}: {other:?}")),
    }
    match event {
        ClientEvent::Accepted {
            session,
            epoch,
            epoch_base,
            next,
            ..
        } => {
            gaps.on_connected(service);
            arbiter.on_service_head(session, epoch, epoch_base, next, record);
        }
        ClientEvent::Heartbeat {
            session,
            epoch,
            epoch_base,
            next,
        } => arbiter.on_service_head(session, epoch, epoch_base, next, record),
        ClientEvent::Packet { request_id, packet } => {
            gaps.on_progress(request_id, now);
            arbiter.on_valid(Origin::Recovery, packet, now, record);
        }
        ClientEvent::Reject {
            request_id,
            begin,
            end,
            code,
            retry_after_ms,
            next_session,
            ..
        } => {
            let refusal = Refusal {
                span: Span::new(begin, end),
                code,
                retry_after: u64::from(retry_after_ms) * MS,
                next_session,
            };
            gaps.on_reject(request_id, refusal, arbiter, now, record);
        }
        ClientEvent::Complete { request_id, .. } => gaps.on_complete(request_id),
        ClientEvent::Closed { .. } => gaps.on_disconnected(service),
        ClientEvent::BadPacket { .. } | ClientEvent::CaughtUp { .. } | ClientEvent::SnapshotPart { .. } => {}
    }
}
