//! The gap policy: when a gap is asked for, at which recovery service, and when it is lost.
//!
//! What is missing it takes from the [arbiter](crate::arbiter) each time; what it adds is memory: since when a gap is
//! open, what was asked where, and what came back. The shell connects services, sends the [`Request`]s and reports what
//! the services answer.

mod reconcile;
mod types;

use crate::arbiter::ranges::Span;
use crate::arbiter::{Arbiter, Sink};
use hdrhistogram::Histogram;
use twinline_wire::field::{LossReason, RejectCode};
pub use types::{GapConfig, GapStats, Refusal, Request};

/// Most recovery services that can be configured.
pub const MAX_SERVICES: usize = 8;
/// Most ranges in one request.
pub const MAX_RANGES: usize = 64;
/// Most requests open at once.
const MAX_OPEN: usize = 4;
/// Gaps looked at at once; further ones get their turn when these are closed.
const MAX_GAPS: usize = 256;
/// A line that had something each time it was looked at may still bring what is missing, but not for longer than so many times the
/// reorder time: whoever floods it must not keep recovery off.
const FLOODED: u64 = 50;
/// A service that does not know the session yet is asked again after this.
const UNKNOWN_RETRY: u64 = 200_000_000;

#[derive(Clone, Copy, Debug)]
struct Gap {
    span: Span,
    /// When it was seen first, or last became smaller.
    since: u64,
    /// When it, or what it is a part of, was seen first.
    noticed: u64,
    /// Not before this.
    retry_at: u64,
    /// The open request that asks for it; 0: none.
    request: u32,
    /// Bit per service: no longer has it.
    too_old: u8,
    /// Bit per service: says that it was not published.
    unpublished: u8,
    /// Bit per service: did not answer in time, or refused; others go first.
    avoid: u8,
    /// Was asked for at least once.
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    id: u32,
    service: usize,
    sent: u64,
    progress: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Service {
    connected: bool,
    /// Running mean of the time to the first answer.
    delay: u64,
    not_before: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct GapPolicy {
    config: GapConfig,
    session: u32,
    gaps: Vec<Gap>,
    before: Vec<Gap>,
    missing: Vec<Span>,
    open: Vec<Open>,
    services: [Service; MAX_SERVICES],
    /// Of services that hold nothing of the session: the next one that they hold.
    next_sessions: [Option<u32>; MAX_SERVICES],
    last_progress: u64,
    /// When each line had nothing last.
    drained: [u64; 2],
    head_since: (u64, u64),
    /// Delivery waited for a state when it was looked at last.
    held: bool,
    next_id: u32,
    stats: GapStats,
    fill_times: Histogram<u64>,
    /// What was declared lost or withdrawn since the list was last brought in line: its gaps end without being filled.
    given_up: Span,
}

/// `marks` with a service's bit added. Once every service had one, a new round begins with this one: none is asked over
/// and over while another may have changed.
fn turn_from(marks: u8, bit: u8, everyone: u8) -> u8 {
    if marks == everyone { bit } else { marks | bit }
}

impl GapPolicy {
    /// A policy that knows of no gap and no connected service yet.
    ///
    /// # Panics
    /// If more than [`MAX_SERVICES`] are configured.
    pub fn new(config: GapConfig) -> Self {
        assert!(
            config.services <= MAX_SERVICES,
            "at most {MAX_SERVICES} recovery services"
        );
        Self {
            config,
            session: 0,
            gaps: Vec::with_capacity(MAX_GAPS),
            before: Vec::with_capacity(MAX_GAPS),
            missing: Vec::with_capacity(MAX_GAPS),
            open: Vec::with_capacity(MAX_OPEN),
            services: [Service::default(); MAX_SERVICES],
            next_sessions: [None; MAX_SERVICES],
            last_progress: 0,
            drained: [u64::MAX; 2],
            head_since: (0, 0),
            held: false,
            next_id: 0,
            stats: GapStats::default(),
            fill_times: Histogram::new_with_bounds(1, 100_000_000_000, 1)
                .expect("the bounds are constants that make sense"),
            given_up: Span::new(0, 0),
        }
    }

    /// Looks at what is missing now; calls `send` for each request that is due, declares lost what nobody has.
    pub fn tick(
        &mut self,
        arbiter: &mut Arbiter,
        now: u64,
        sink: &mut impl Sink,
        mut send: impl FnMut(&Request),
    ) {
        if arbiter.is_held() {
            self.held = true;
            return;
        }
        if std::mem::take(&mut self.held) {
            self.resume(now);
        }
        if self.gaps.is_empty() && !arbiter.is_missing_something() {
            return;
        }
        self.reconcile(arbiter, now);
        self.give_up_slow_requests(now);
        if self.withdraw_or_lose(arbiter, now, sink) {
            self.reconcile(arbiter, now);
        }
        while let Some(request) = self.next_request(arbiter, now) {
            send(&request);
        }
    }

    /// The time in which delivery waited for a state does not count.
    fn resume(&mut self, now: u64) {
        self.gaps.iter_mut().for_each(|gap| gap.since = now);
        self.open.iter_mut().for_each(|open| open.progress = now);
        (self.last_progress, self.head_since.1) = (now, now);
    }

    fn give_up_slow_requests(&mut self, now: u64) {
        let everyone = self.everyone();
        while let Some(at) = self
            .open
            .iter()
            .position(|open| now.saturating_sub(open.progress) > self.config.slow)
        {
            let slow = self.open.swap_remove(at);
            self.stats.slow += 1;
            self.services[slow.service].delay += self.config.slow;
            for gap in self.gaps.iter_mut().filter(|gap| gap.request == slow.id) {
                gap.request = 0;
                gap.avoid = turn_from(gap.avoid, 1 << slow.service, everyone);
            }
        }
    }

    /// A bit for each service.
    fn everyone(&self) -> u8 {
        ((1u16 << self.config.services) - 1) as u8
    }

    /// Acts on the gap that delivery waits for, if nobody has it. True if something changed.
    fn withdraw_or_lose(&mut self, arbiter: &mut Arbiter, now: u64, sink: &mut impl Sink) -> bool {
        let Some(gap) = self.gaps.first().copied() else {
            return false;
        };
        let everyone = self.everyone();
        if self.config.services > 0
            && gap.unpublished == everyone
            && gap.span.begin >= arbiter.highest()
            && arbiter.withdraw_announced()
        {
            self.stats.withdrawn += 1;
            self.given_up = Span::new(gap.span.begin, u64::MAX);
            self.gaps.iter_mut().for_each(|gap| gap.unpublished = 0);
            return true;
        }
        let reason = if self.config.services > 0 && gap.too_old == everyone {
            LossReason::TOO_OLD
        } else if self.timed_out(arbiter, &gap, now) {
            LossReason::TIMED_OUT
        } else {
            return false;
        };
        self.stats.lost += 1;
        self.given_up = gap.span;
        if arbiter.is_between() {
            let nearest = self.next_sessions.iter().flatten().min();
            arbiter.miss_sessions(nearest.copied(), reason, sink);
        } else {
            arbiter.declare_lost(gap.span, reason, sink);
        }
        true
    }

    fn timed_out(&self, arbiter: &Arbiter, gap: &Gap, now: u64) -> bool {
        if self.config.services == 0 {
            // What no packet has shown yet may still be on its way: an EpochStart during the lead-in, for one.
            let soon = arbiter.is_between();
            let wait = if !soon && (arbiter.is_closing() || gap.span.begin >= arbiter.highest()) {
                self.config.timeout
            } else {
                self.config.reorder
            };
            return now.saturating_sub(gap.since) > wait && self.lines_bring_no_more(arbiter, gap, now);
        }
        // While recovery works on other gaps, this one has its full time from when its turn came.
        let turn = self.head_since.1.min(self.last_progress);
        now.saturating_sub(gap.since.max(turn)) > self.config.timeout
    }

    /// A gap is asked for when the lines bring no more of it.
    fn is_due(&self, arbiter: &Arbiter, gap: &Gap, now: u64) -> bool {
        now >= gap.retry_at
            && (gap.asked || arbiter.is_between() || self.lines_bring_no_more(arbiter, gap, now))
    }

    /// True if each line has passed the gap, or had nothing when the reorder time was over: a listener that is behind its lines
    /// finds in them what it misses.
    fn lines_bring_no_more(&self, arbiter: &Arbiter, gap: &Gap, now: u64) -> bool {
        let reorder = self.config.reorder;
        let over = |at: u64, wait: u64| at.saturating_sub(gap.since) >= wait;
        let passed = |line| arbiter.line_high(line) >= gap.span.end;
        (0..2).all(|line| passed(line) || over(now.min(self.drained[line]), reorder))
            || over(now, FLOODED * reorder)
    }

    /// One request with all gaps that are due and that the same service is best for.
    fn next_request(&mut self, arbiter: &Arbiter, now: u64) -> Option<Request> {
        if self.open.len() == MAX_OPEN {
            return None;
        }
        let first = self.gaps.iter().find(|gap| {
            gap.request == 0 && self.is_due(arbiter, gap, now) && self.best_service(gap, now).is_some()
        })?;
        let service = self.best_service(first, now)?;
        let id = self.next_id.checked_add(1).unwrap_or(1);
        let mut request = Request {
            id,
            service,
            session: arbiter.wanted_session(),
            ranges: [Span::new(0, 0); MAX_RANGES],
            count: 0,
        };
        for at in 0..self.gaps.len() {
            let gap = &self.gaps[at];
            if gap.request != 0 || gap.too_old & 1 << service != 0 || !self.is_due(arbiter, gap, now) {
                continue;
            }
            if request.count > 0 && request.ranges[request.count - 1].end == gap.span.begin {
                request.ranges[request.count - 1].end = gap.span.end;
            } else if request.count < MAX_RANGES {
                request.ranges[request.count] = gap.span;
                request.count += 1;
            } else {
                break;
            }
            let gap = &mut self.gaps[at];
            gap.request = id;
            self.stats.asked += u64::from(!gap.asked);
            gap.asked = true;
        }
        self.next_id = id;
        self.open.push(Open {
            id,
            service,
            sent: now,
            progress: now,
        });
        self.stats.requests += 1;
        Some(request)
    }

    /// The connected service that answers fastest and may have the gap; one that failed it before only if no other is
    /// left.
    fn best_service(&self, gap: &Gap, now: u64) -> Option<usize> {
        (0..self.config.services)
            .filter(|&at| self.services[at].connected && now >= self.services[at].not_before)
            .filter(|&at| gap.too_old & 1 << at == 0)
            .min_by_key(|&at| {
                (
                    gap.avoid >> at & 1,
                    gap.unpublished >> at & 1,
                    self.services[at].delay,
                )
            })
    }

    /// When each line had nothing last, as far as the times that [`tick`](Self::tick) is given; before the first call, always.
    pub fn on_drained(&mut self, drained: [u64; 2]) {
        self.drained = drained;
    }

    /// A service is connected and logged in.
    pub fn on_connected(&mut self, service: usize) {
        self.services[service].connected = true;
    }

    /// A service's connection is gone; what it was asked for goes to another.
    pub fn on_disconnected(&mut self, service: usize) {
        self.services[service].connected = false;
        while let Some(at) = self.open.iter().position(|open| open.service == service) {
            let gone = self.open.swap_remove(at);
            self.release(gone.id, 0);
        }
    }

    fn release(&mut self, id: u32, retry_at: u64) {
        for gap in self.gaps.iter_mut().filter(|gap| gap.request == id) {
            gap.request = 0;
            gap.retry_at = gap.retry_at.max(retry_at);
        }
    }

    /// A packet came for request `id`.
    pub fn on_progress(&mut self, id: u32, now: u64) {
        self.last_progress = now;
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            let service = &mut self.services[open.service];
            if open.progress == open.sent {
                let delay = now.saturating_sub(open.sent);
                service.delay = if service.delay == 0 {
                    delay
                } else {
                    (service.delay * 7 + delay) / 8
                };
            }
            open.progress = now;
        }
    }

    /// Request `id` is answered, in full or as far as the service goes at once. What is still missing is asked again.
    pub fn on_complete(&mut self, id: u32) {
        self.open.retain(|open| open.id != id);
        self.release(id, 0);
    }

    /// A part of request `id` is refused. Void ranges go to the arbiter.
    pub fn on_reject(
        &mut self,
        id: u32,
        refusal: Refusal,
        arbiter: &mut Arbiter,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let Refusal {
            span,
            code,
            retry_after,
            next_session,
        } = refusal;
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else {
            return;
        };
        open.progress = now;
        let service = open.service;
        let bit = 1u8 << service;
        if code == RejectCode::VOID {
            match next_session {
                None => return arbiter.close_void(self.session, span, sink),
                Some(next) if arbiter.wanted_session() == self.session && arbiter.is_between() => {
                    return arbiter.pass_sessions(next, sink);
                }
                // It was begun here, and is in no stream: a power cut took it. What came of it is lost.
                Some(_) => {}
            }
        }
        self.next_sessions[service] = next_session.or(self.next_sessions[service]);
        if code == RejectCode::OVER_LIMITS {
            self.services[service].not_before = now + retry_after;
        }
        let everyone = self.everyone();
        for gap in self.split_at(span) {
            match code {
                RejectCode::TOO_OLD | RejectCode::VOID => gap.too_old |= bit,
                // A session from before everything that is held: asking again is of no use.
                RejectCode::UNKNOWN_SESSION if retry_after == 0 => gap.too_old |= bit,
                RejectCode::NOT_YET_PUBLISHED => {
                    gap.unpublished = turn_from(gap.unpublished, bit, everyone);
                    gap.retry_at = now + retry_after;
                }
                RejectCode::UNKNOWN_SESSION => {
                    gap.unpublished = turn_from(gap.unpublished, bit, everyone);
                    gap.avoid = turn_from(gap.avoid, bit, everyone);
                    gap.retry_at = now + retry_after.max(UNKNOWN_RETRY);
                }
                _ => {
                    gap.avoid = turn_from(gap.avoid, bit, everyone);
                    gap.retry_at = now + retry_after;
                }
            }
            gap.request = 0;
        }
    }

    /// The gaps within `span`, cut so that none reaches over its ends.
    fn split_at(&mut self, span: Span) -> impl Iterator<Item = &mut Gap> {
        for cut in [span.begin, span.end] {
            let at = self.gaps.partition_point(|gap| gap.span.end <= cut);
            if self.gaps.len() < MAX_GAPS && self.gaps.get(at).is_some_and(|gap| gap.span.begin < cut) {
                let right = Gap {
                    span: Span::new(cut, self.gaps[at].span.end),
                    ..self.gaps[at]
                };
                self.gaps[at].span.end = cut;
                self.gaps.insert(at + 1, right);
            }
        }
        self.gaps
            .iter_mut()
            .filter(move |gap| gap.span.begin >= span.begin && gap.span.end <= span.end)
    }

    /// The counters.
    pub fn stats(&self) -> &GapStats {
        &self.stats
    }

    /// How long it took from noticing a gap to its end, in nanoseconds, of each gap that counts as filled: from 1 ns
    /// to 100 s, to one digit.
    pub fn fill_times(&self) -> &Histogram<u64> {
        &self.fill_times
    }

    /// Gaps open now.
    pub fn open_gaps(&self) -> usize {
        self.gaps.len()
    }
}
