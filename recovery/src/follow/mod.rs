//! Following one stream at one of several services: whom to ask from where, whether what comes goes on where we stand, and
//! when to change to another. No I/O and no clock: events of connections and the time go in, packets and actions come out.
//!
//! A tail is asked for from the last packet that is held, not from the one after it: the service shows first that it has
//! the same one. One that has another, or leaves a hole, is never followed again. One that is behind is waited for only
//! if no other is further: nothing comes from it until it has passed us.

mod continuity;

pub use continuity::{Contradiction, Held, Step};

use crate::client::{ClientEvent, CloseReason};
use crate::{Mark, nanos};
use std::collections::VecDeque;
use std::time::Duration;
use twinline_wire::Packet;
use twinline_wire::field::RejectCode;

/// Warnings kept for the caller.
const WARNINGS: usize = 32;
/// A service that refused, or was left, is not asked again for this long, or for as long as we are patient if that is less.
const AVOID: Duration = Duration::from_millis(500);

/// What became of a service for our stream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// It no longer keeps what comes next at this place of ours. The oldest that it said it keeps, if it did.
    TooOld {
        at: Mark,
        oldest: Option<Mark>,
    },
    /// It holds another stream.
    Contradicts,
}

#[derive(Clone, Debug)]
struct Service {
    /// How far it is; `None` while it is not connected.
    head: Option<(Mark, u32)>,
    standing: Standing,
    avoid_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Following {
    service: usize,
    request_id: u32,
    /// It has shown that it holds what we hold.
    confirmed: bool,
    /// When the tail was asked for, or a packet came last.
    moved: u64,
    caught_up: bool,
}

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask this service for a tail; if it cannot be asked, call [`Follower::not_asked`].
    Tail {
        /// The service.
        service: usize,
        /// The number of the request.
        request_id: u32,
        /// From where.
        from: Mark,
    },
    /// End the connection to this service.
    Leave {
        /// The service.
        service: usize,
    },
}

/// What an event brought.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Nothing to be taken.
    Nothing,
    /// A packet that goes on where we stand. The caller takes it, and then says so with [`Follower::taken`].
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// What is held from this sequence on is void, and goes first.
        cut: Option<u64>,
    },
}

/// Why no service can be followed any more, whatever we wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stuck {
    /// All of them have dropped what comes next. The oldest of our session that one of them keeps, if one said so.
    TooOld {
        /// What comes next.
        at: Mark,
        /// The oldest that is kept.
        oldest: Option<Mark>,
    },
    /// At least one of them contradicts what is held, and the others do or have dropped what comes next.
    Contradicted,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowCounters {
    /// Tails asked for.
    pub tails: u64,
    /// Changes from one service to another.
    pub switches: u64,
    /// Packets that did not pass the check of checksum and content.
    pub bad_packets: u64,
    /// Services found to contradict what is held.
    pub contradictions: u64,
    /// Void tails cut off.
    pub cuts: u64,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Follower {
    services: Vec<Service>,
    following: Option<Following>,
    last_followed: Option<usize>,
    leave: Option<usize>,
    request_id: u32,
    held: Option<Held>,
    /// Where to begin while nothing is held.
    begin: Mark,
    patience: u64,
    counters: FollowCounters,
    warnings: VecDeque<String>,
}

impl Follower {
    /// A follower of so many services, in the order of preference. Without anything `held` it begins at `begin`, from the
    /// default mark with the oldest packet that the service keeps. A service that brings nothing for `patience` while it
    /// or another is further is left.
    pub fn new(services: usize, held: Option<Held>, begin: Mark, patience: Duration) -> Self {
        let service = Service {
            head: None,
            standing: Standing::Good,
            avoid_until: 0,
        };
        Self {
            services: vec![service; services],
            following: None,
            last_followed: None,
            leave: None,
            request_id: 0,
            held,
            begin,
            patience: nanos(patience),
            counters: FollowCounters::default(),
            warnings: VecDeque::new(),
        }
    }

    /// Where we stand: what comes next.
    pub fn at(&self) -> Mark {
        self.held
            .map_or(self.begin, |held| Mark::new(held.tail.session, held.tail.next))
    }

    /// What is held.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Where to begin while nothing is held; to be set before the first tail is asked for.
    pub fn begin_at(&mut self, begin: Mark) {
        self.begin = begin;
    }

    /// The service that is followed.
    pub fn following(&self) -> Option<usize> {
        self.following.map(|following| following.service)
    }

    /// True once the service that is followed has shown that it holds what we hold: only then what we hold may be
    /// acknowledged to it.
    pub fn is_confirmed(&self) -> bool {
        self.following.is_some_and(|following| following.confirmed)
    }

    /// True if the service that is followed has sent all that it had.
    pub fn is_caught_up(&self) -> bool {
        self.following.is_some_and(|following| following.caught_up)
    }

    /// How far is released, as the service that is followed says it, in an epoch that we have reached: a mark of a later
    /// one says nothing of what is held.
    pub fn released(&self) -> Option<Mark> {
        let held = self.held?.tail;
        let following = self.following.filter(|following| following.confirmed)?;
        let (mark, epoch) = self.services[following.service].head?;
        let reached = (mark.session, epoch) <= (held.session, held.epoch);
        (reached && mark.session > 0).then_some(mark)
    }

    /// How far a service said last that it is; `None` while it is not connected.
    pub fn head(&self, service: usize) -> Option<Mark> {
        let service = self.services.get(service)?;
        service.head.map(|(mark, _)| mark)
    }

    /// How far the furthest of all services is.
    pub fn newest(&self) -> Mark {
        let heads = self.services.iter().filter_map(|service| service.head);
        heads.map(|(mark, _)| mark).max().unwrap_or_default()
    }

    /// What was counted.
    pub fn counters(&self) -> FollowCounters {
        self.counters
    }

    /// What an operator should know, since this was called last.
    pub fn take_warnings(&mut self) -> impl Iterator<Item = String> {
        std::mem::take(&mut self.warnings).into_iter()
    }

    fn warn(&mut self, text: String) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push_back(text);
        }
    }

    /// Something happened at a service.
    pub fn on_event<'a>(&mut self, service: usize, event: &ClientEvent<'a>, now: u64) -> Heard<'a> {
        if service >= self.services.len() {
            return Heard::Nothing;
        }
        match *event {
            ClientEvent::Accepted {
                session, epoch, next, ..
            } => {
                self.services[service].head = Some((Mark::new(session, next), epoch));
            }
            ClientEvent::Heartbeat {
                session, epoch, next, ..
            } => {
                self.services[service].head = Some((Mark::new(session, next), epoch));
            }
            ClientEvent::Packet { request_id, packet } if self.is_ours(service, request_id) => {
                return self.on_packet(service, packet, now);
            }
            ClientEvent::BadPacket { request_id, error } if self.is_ours(service, request_id) => {
                self.counters.bad_packets += 1;
                self.warn(format!(
                    "service {service} sent a packet that is not good ({error}): it is left for a while"
                ));
                self.give_up(service, now);
            }
            ClientEvent::CaughtUp { request_id } if self.is_ours(service, request_id) => {
                if let Some(following) = &mut self.following {
                    following.caught_up = true;
                }
            }
            ClientEvent::Reject {
                request_id,
                session,
                end,
                code,
                retry_after_ms,
                reason,
                ..
            } if self.is_ours(service, request_id) => {
                self.on_reject(service, session, end, code, retry_after_ms, reason, now);
            }
            ClientEvent::Complete { request_id, .. } if self.is_ours(service, request_id) => {
                self.following = None;
            }
            ClientEvent::Closed { reason } => {
                self.services[service].head = None;
                if self.following() == Some(service) {
                    self.following = None;
                    self.warn(format!(
                        "the connection to service {service} ended: {}",
                        explain(&reason)
                    ));
                }
            }
            _ => {}
        }
        Heard::Nothing
    }

    fn is_ours(&self, service: usize, request_id: u32) -> bool {
        self.following
            .is_some_and(|following| (following.service, following.request_id) == (service, request_id))
    }

    fn on_packet<'a>(&mut self, service: usize, packet: Packet<'a>, now: u64) -> Heard<'a> {
        // Once it is to be left, nothing of it counts.
        if self.leave == Some(service) {
            return Heard::Nothing;
        }
        let confirmed = self.is_confirmed();
        let step = match &self.held {
            Some(held) => held.step(&packet, confirmed),
            None if packet.end() <= self.begin.next
                && packet.header().session.get() == self.begin.session =>
            {
                Ok(Step::Known)
            }
            None => Ok(Step::Goes),
        };
        if let Some(following) = &mut self.following {
            following.moved = now;
            following.confirmed |= step.is_ok();
        }
        match step {
            Ok(Step::Known) => Heard::Nothing,
            Ok(Step::Goes) => Heard::Packet { packet, cut: None },
            Ok(Step::Cuts(from)) => {
                self.counters.cuts += 1;
                Heard::Packet {
                    packet,
                    cut: Some(from),
                }
            }
            Err(contradiction) => {
                self.contradicts(service, &contradiction.to_string(), now);
                Heard::Nothing
            }
        }
    }

    /// A service does not hold the stream that is held: it is not followed again.
    pub fn contradicts(&mut self, service: usize, how: &str, now: u64) {
        self.counters.contradictions += 1;
        self.services[service].standing = Standing::Contradicts;
        self.warn(format!(
            "service {service} CONTRADICTS what is held here and is not followed any more: {how}; compare both journals \
             with `twinline diff`"
        ));
        self.give_up(service, now);
    }

    /// The packet was taken: it is held now.
    pub fn taken(&mut self, packet: &Packet<'_>) {
        self.held = Some(Held::first(packet));
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn on_reject(
        &mut self,
        service: usize,
        session: u32,
        end: u64,
        code: RejectCode,
        retry_after_ms: u32,
        reason: &str,
        now: u64,
    ) {
        let at = self.at();
        match code {
            RejectCode::TOO_OLD | RejectCode::UNKNOWN_SESSION => {
                let oldest = (code == RejectCode::TOO_OLD).then_some(Mark::new(session, end));
                self.services[service].standing = Standing::TooOld { at, oldest };
                self.warn(format!(
                    "service {service} does not keep session {} from {} on any more: {reason}",
                    at.session, at.next
                ));
            }
            _ => self.warn(format!("service {service} refuses the tail: {reason}")),
        }
        let retry_after = nanos(Duration::from_millis(retry_after_ms.into()));
        self.avoid(service, retry_after, now);
    }

    fn give_up(&mut self, service: usize, now: u64) {
        self.leave = Some(service);
        self.avoid(service, 0, now);
    }

    fn avoid(&mut self, service: usize, at_least: u64, now: u64) {
        let wait = self.patience.min(nanos(AVOID)).max(at_least);
        self.services[service].avoid_until = now.saturating_add(wait);
    }

    /// The tail could not be asked for.
    pub fn not_asked(&mut self, service: usize, now: u64) {
        self.following = None;
        self.avoid(service, 0, now);
    }

    /// What is to be done now, one after the other, until there is nothing.
    pub fn next_action(&mut self, now: u64) -> Option<Action> {
        if let Some(service) = self.leave.take() {
            if self.following() == Some(service) {
                self.following = None;
            }
            self.services[service].head = None;
            return Some(Action::Leave { service });
        }
        if let Some(following) = self.following {
            if self.is_stalled(&following, now) {
                self.warn(format!(
                    "service {} brings nothing although there is more: another one is asked",
                    following.service
                ));
                self.give_up(following.service, now);
                return self.next_action(now);
            }
            return None;
        }
        let service = self.choose(now)?;
        if self.last_followed.is_some_and(|last| last != service) {
            self.counters.switches += 1;
        }
        self.last_followed = Some(service);
        self.request_id = self.request_id.checked_add(1).unwrap_or(1);
        self.counters.tails += 1;
        self.following = Some(Following {
            service,
            request_id: self.request_id,
            confirmed: false,
            moved: now,
            caught_up: false,
        });
        Some(Action::Tail {
            service,
            request_id: self.request_id,
            from: self.held.map_or(self.begin, |held| {
                Mark::new(held.tail.session, held.last.sequence.get())
            }),
        })
    }

    /// When [`next_action`](Self::next_action) may have something to do again, if nothing happens until then.
    pub fn deadline(&self, now: u64) -> u64 {
        let stalled = self
            .following
            .map(|following| following.moved.saturating_add(self.patience));
        let avoided = self.services.iter().map(|service| service.avoid_until);
        let all = stalled.into_iter().chain(avoided);
        all.filter(|&at| at > now).min().unwrap_or(u64::MAX)
    }

    fn is_stalled(&self, following: &Following, now: u64) -> bool {
        let at = self.at();
        let further = |service: &Service| {
            self.is_good(service)
                && service
                    .head
                    .is_some_and(|(head, _)| head > at && head.session > 0)
        };
        now.saturating_sub(following.moved) >= self.patience && self.services.iter().any(further)
    }

    fn is_good(&self, service: &Service) -> bool {
        match service.standing {
            Standing::Good => true,
            // Meanwhile we came further with another.
            Standing::TooOld { at, .. } => at != self.at(),
            Standing::Contradicts => false,
        }
    }

    /// The first service that is as far as we are; if none is, the one that is furthest.
    fn choose(&self, now: u64) -> Option<usize> {
        let at = self.at();
        let usable = || {
            let all = self.services.iter().enumerate();
            let ready = all.filter(|(_, service)| self.is_good(service) && service.avoid_until <= now);
            ready.filter_map(|(index, service)| Some((index, service.head?.0)))
        };
        let ahead = usable().find(|(_, head)| *head >= at && head.session > 0);
        let furthest = || usable().max_by_key(|&(index, head)| (head, usize::MAX - index));
        ahead.or_else(furthest).map(|(index, _)| index)
    }

    /// Why no service can be followed any more, if that is so.
    pub fn stuck(&self) -> Option<Stuck> {
        if self.services.iter().any(|service| self.is_good(service)) {
            return None;
        }
        let mut oldest: Option<Mark> = None;
        for service in &self.services {
            match service.standing {
                Standing::TooOld { oldest: kept, .. } => {
                    oldest = match (oldest, kept) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                _ => return Some(Stuck::Contradicted),
            }
        }
        let at = self.at();
        Some(Stuck::TooOld { at, oldest })
    }
}

/// Why a connection ended, in words.
pub fn explain(reason: &CloseReason<'_>) -> String {
    match reason {
        CloseReason::Logout { text, .. } => format!("the service ended it: {text}"),
        CloseReason::Protocol(error) => format!("it does not speak our protocol: {error}"),
        CloseReason::Silent => "it fell silent".into(),
        CloseReason::Disconnected => "it was lost".into(),
        CloseReason::Unreachable => "the service cannot be reached".into(),
    }
}
