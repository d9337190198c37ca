//! What is said between the service and one client: login, requests, answers, heartbeats, patience. The part of a
//! [`ServerSession`](super::ServerSession) behind its input buffer.

mod snapshots;

use super::answer::{Answer, Cursor, Refusal, Room, Wanted};
use super::limits::{Limits, Quota};
use super::output::{DataFrame, Output};
use super::requests::{Requests, Taken};
use super::snapshot::transfer::Transfer;
use super::stats::Counters;
use super::store::Store;
use super::tail::Tail;
use crate::buffer::Outbox;
use crate::{MAX_NAME_LEN, MAX_TOKEN_LEN, nanos};
use twinline_journal::Head;
use twinline_wire::Message;
use twinline_wire::field::{CompleteStatus, LogoutReason, Optional, RejectCode};
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::recovery::{
    Acknowledge, Data, Login, LoginAccepted, Logout, PROTOCOL_VERSION, RangesRequest, Reject,
    RequestComplete, SnapshotPart, SnapshotRequest, StreamHeartbeat, TailRequest,
};
use twinline_wire::stream::{StreamError, StreamFrame};

/// Bytes of the control buffer.
const CONTROL_LEN: usize = 4096;
/// One step (a frame of the client, or a part of a range) is answered with less than this many bytes of control.
pub(super) const STEP_LEN: usize = 512;
/// When to ask again for what the service cannot tell now, in milliseconds.
const RETRY_MS: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Connected, not logged in.
    New,
    /// Logged in.
    Open,
    /// Over, but for what is still to be sent.
    Closing,
    /// Over.
    Closed,
}

/// Everything but the input buffer, so that a frame in it can be handled while it is borrowed.
pub(super) struct Dialogue {
    pub(super) limits: Limits,
    channel: u16,
    pub(super) state: State,
    pub(super) cut: Option<LogoutReason>,
    requests: Requests,
    pub(super) tail: Option<Tail>,
    /// The tail that the service ended last: acknowledgements of it may still be under way.
    pub(super) ended_tail: u32,
    /// The client's name.
    pub(super) client: String,
    /// Where the journal is read for the request that is being answered.
    cursor: Option<Cursor>,
    quota: Quota,
    /// A snapshot that is being sent.
    snapshot: Option<Transfer>,
    /// Between ranges and a snapshot: the snapshot is next.
    snapshot_next: bool,
    pub(super) control: Outbox,
    pub(super) data: Option<DataFrame>,
    pub(super) counters: Counters,
    heartbeat_due: bool,
    /// When the connection was made, and later when the last whole frame came.
    pub(super) last_frame: u64,
    last_output: u64,
    /// Since when the frame that is being sent waits for the client.
    pending_since: Option<u64>,
}

impl Dialogue {
    pub(super) fn new(limits: &Limits, channel: u16, now: u64) -> Self {
        Self {
            limits: *limits,
            channel,
            state: State::New,
            cut: None,
            requests: Requests::new(limits),
            tail: None,
            ended_tail: 0,
            client: String::new(),
            cursor: None,
            quota: Quota::new(limits.messages_per_minute, now),
            snapshot: None,
            snapshot_next: false,
            control: Outbox::new(CONTROL_LEN),
            data: None,
            counters: Counters::default(),
            heartbeat_due: false,
            last_frame: now,
            last_output: now,
            pending_since: None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.requests.memory() + self.control.capacity() + self.client.capacity()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::New | State::Open)
    }

    pub(super) fn on_time(&mut self, now: u64) {
        let waited = |since: u64| now.saturating_sub(since);
        if self
            .pending_since
            .is_some_and(|since| waited(since) >= nanos(self.limits.slow_timeout))
        {
            // It reads nothing, so there is no way to tell it.
            self.cut(LogoutReason::SLOW);
            self.state = State::Closed;
        } else if self.state == State::New && waited(self.last_frame) >= nanos(self.limits.login_timeout) {
            self.log_out(LogoutReason::IDLE, "no login in time");
        } else if self.state == State::Open && waited(self.last_frame) >= nanos(self.limits.idle_timeout) {
            self.log_out(LogoutReason::IDLE, "nothing heard for too long");
        }
    }

    /// One frame of the client. An error ends the connection.
    pub(super) fn handle(&mut self, frame: StreamFrame<'_>, store: &mut Store) -> Result<(), StreamError> {
        if self.state == State::New {
            return self.log_in(frame, store);
        }
        match frame.template() {
            RangesRequest::TEMPLATE => self.ranges_request(frame)?,
            StreamHeartbeat::TEMPLATE => self.heartbeat_due = true,
            // What it asked for, it no longer wants.
            Logout::TEMPLATE => self.state = State::Closed,
            SnapshotRequest::TEMPLATE => {
                if let Some(request) = frame.view::<SnapshotRequest>() {
                    self.snapshot_request(*request, store)?;
                }
            }
            TailRequest::TEMPLATE => self.tail_request(frame, store)?,
            Acknowledge::TEMPLATE => self.acknowledge(frame)?,
            Login::TEMPLATE => return Err(StreamError("a second login")),
            LoginAccepted::TEMPLATE
            | Data::TEMPLATE
            | RequestComplete::TEMPLATE
            | Reject::TEMPLATE
            | SnapshotPart::TEMPLATE => return Err(StreamError("a message that only a service sends")),
            // A newer client may say more than this build knows.
            _ => {}
        }
        Ok(())
    }

    fn log_in(&mut self, frame: StreamFrame<'_>, store: &mut Store) -> Result<(), StreamError> {
        let login = frame
            .view::<Login>()
            .ok_or(StreamError("something before the login"))?;
        let mut data = frame.data();
        let (name, token) = (data.take()?, data.take()?);
        let channel = login.channel.get();
        if login.protocol_version.get() != PROTOCOL_VERSION {
            self.refuse_login(
                RejectCode::NOT_SERVED,
                "another version of the protocol is served here",
            );
        } else if channel != self.channel {
            self.refuse_login(RejectCode::NOT_SERVED, "another channel is served here");
        } else if name.len() > MAX_NAME_LEN || token.len() > MAX_TOKEN_LEN {
            self.refuse_login(RejectCode::MALFORMED, "the name or the token is too long");
        } else {
            self.client = String::from_utf8_lossy(name).into_owned();
            self.accept_login(store.head());
        }
        Ok(())
    }

    fn accept_login(&mut self, head: Head) {
        let accepted = LoginAccepted {
            session: head.session.into(),
            epoch: head.epoch.into(),
            epoch_base: head.epoch_base.into(),
            oldest: head.oldest.into(),
            next: head.next.into(),
            max_ranges: self.limits.max_ranges.into(),
            max_requests: self.limits.max_requests.into(),
            max_messages: self.limits.max_messages.into(),
            idle_timeout_ms: u32::try_from(self.limits.idle_timeout.as_millis())
                .unwrap_or(u32::MAX)
                .into(),
        };
        self.control.put(&accepted, &[]);
        self.counters.logins += 1;
        self.state = State::Open;
    }

    fn refuse_login(&mut self, code: RejectCode, reason: &str) {
        self.reject(
            0,
            Wanted {
                session: 0,
                begin: 0,
                end: 0,
            },
            code,
            0,
            reason,
        );
        self.log_out(LogoutReason::REFUSED, reason);
    }

    pub(super) fn protocol_error(&mut self, error: StreamError) {
        self.reject(
            0,
            Wanted {
                session: 0,
                begin: 0,
                end: 0,
            },
            RejectCode::MALFORMED,
            0,
            error.0,
        );
        self.log_out(LogoutReason::PROTOCOL_ERROR, error.0);
    }

    pub(super) fn log_out(&mut self, reason: LogoutReason, text: &str) {
        self.control.put(&Logout { reason }, &[text.as_bytes()]);
        self.requests.clear();
        self.tail = None;
        self.snapshot = None;
        self.cut(reason);
        self.state = State::Closing;
    }

    /// Remembers and counts why the service ends the connection, at the first time.
    fn cut(&mut self, reason: LogoutReason) {
        if self.cut.is_none() {
            self.cut = Some(reason);
            self.counters.cut(reason);
        }
    }

    fn not_served(&mut self, request_id: u32, session: u32, reason: &str) {
        let nothing = Wanted {
            session,
            begin: 0,
            end: 0,
        };
        self.reject(request_id, nothing, RejectCode::NOT_SERVED, 0, reason);
        self.complete(request_id, CompleteStatus::COMPLETE);
    }

    /// Takes a request, or refuses all of it: then the reject covers everything from its first to its last sequence.
    fn ranges_request(&mut self, frame: StreamFrame<'_>) -> Result<(), StreamError> {
        let Some(request) = frame.view::<RangesRequest>() else {
            return Ok(());
        };
        let (request_id, session) = (request.request_id.get(), request.session.get());
        if self.is_taken(request_id) {
            return Err(StreamError("a request whose number is 0 or still open"));
        }
        self.counters.requests += 1;
        let (code, retry, reason) = match self.requests.take(request_id, session, frame.ranges()?) {
            Taken::Open => return Ok(()),
            Taken::TooManyRanges => (
                RejectCode::OVER_LIMITS,
                0,
                "too many ranges in a request: split it",
            ),
            Taken::TooManyRequests => (RejectCode::OVER_LIMITS, RETRY_MS, "too many requests are open"),
        };
        let all = Wanted {
            session,
            begin: frame.ranges()?.map(|range| range.begin.get()).min().unwrap_or(0),
            end: frame.ranges()?.map(|range| range.end.get()).max().unwrap_or(0),
        };
        self.reject(request_id, all, code, retry, reason);
        self.complete(request_id, CompleteStatus::COMPLETE);
        Ok(())
    }

    /// True if a new request cannot have this number.
    pub(super) fn is_taken(&self, request_id: u32) -> bool {
        let tail = self.tail.as_ref().map(|tail| tail.request_id);
        let snapshot = self.snapshot.as_ref().map(|open| open.request_id);
        request_id == 0
            || tail == Some(request_id)
            || snapshot == Some(request_id)
            || self.requests.is_open(request_id)
    }

    /// Goes on with what the client wants: ranges and a snapshot take turns, and gaps are filled before a tail goes on.
    pub(super) fn advance(&mut self, now: u64, store: &mut Store) {
        if self.snapshot_next {
            self.advance_snapshot(now);
            self.advance_ranges(now, store);
        } else {
            self.advance_ranges(now, store);
            self.advance_snapshot(now);
        }
        self.follow(store);
    }

    /// Goes on with the oldest request until there is a data frame to be sent, or enough control.
    fn advance_ranges(&mut self, now: u64, store: &mut Store) {
        while self.control.room() >= STEP_LEN {
            let Some(request) = self.requests.first() else {
                // An idle client keeps no segment.
                self.cursor = None;
                return;
            };
            let Some(wanted) = self.requests.wanted() else {
                self.finish_request(CompleteStatus::COMPLETE);
                continue;
            };
            if request.messages == 0 || request.bytes == 0 {
                self.finish_request(CompleteStatus::PARTIAL);
                continue;
            }
            if wanted.begin == 0 || wanted.begin >= wanted.end {
                let reason = "a range that is empty or begins at 0";
                self.reject(request.id, wanted, RejectCode::MALFORMED, 0, reason);
                self.requests.skip_range();
                continue;
            }
            // Frames go out in this order: data, then control. More data has to wait until both are gone.
            if self.data.is_some() {
                return;
            }
            let messages = request
                .messages
                .min(self.quota.available(now))
                .min(store.total.available(now));
            if messages == 0 {
                self.over_quota(request.id, wanted, now, &store.total);
                continue;
            }
            let room = Room {
                messages,
                bytes: (self.limits.max_data as u64)
                    .min(request.bytes)
                    .max(MAX_PACKET_LEN as u64) as usize,
            };
            match store.answer(&mut self.cursor, wanted, room) {
                Answer::Refused(refusal) => self.refuse(request.id, wanted, refusal),
                Answer::Packets(..) if !self.control.pending().is_empty() => return,
                Answer::Packets(region, batch) => {
                    self.quota.take(batch.messages);
                    store.total.take(batch.messages);
                    self.counters.messages += batch.messages;
                    self.counters.packets += batch.packets;
                    self.counters.bytes += batch.bytes.len() as u64;
                    self.requests.sent(batch.messages, batch.bytes.len() as u64);
                    self.requests.answered_to(batch.end);
                    self.data = Some(DataFrame::new(request.id, region, batch.bytes));
                    self.snapshot_next = true;
                }
            }
        }
    }

    fn refuse(&mut self, request_id: u32, wanted: Wanted, refusal: Refusal) {
        let retry = match refusal.code {
            _ if !refusal.again => 0,
            RejectCode::NOT_YET_PUBLISHED => u32::try_from(self.limits.retry_unpublished.as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
            _ => RETRY_MS,
        };
        let part = Wanted {
            end: refusal.end,
            ..wanted
        };
        self.reject_with(
            request_id,
            part,
            refusal.code,
            retry,
            refusal.next_session,
            refusal.reason,
        );
        self.requests.answered_to(refusal.end);
    }

    fn over_quota(&mut self, request_id: u32, wanted: Wanted, now: u64, total: &Quota) {
        let (quota, reason) = if self.quota.available(now) == 0 {
            (&self.quota, "too many messages a minute for one client")
        } else {
            (total, "too many messages a minute for the service")
        };
        let retry = quota.retry_after_ms();
        self.reject(request_id, wanted, RejectCode::OVER_LIMITS, retry, reason);
        self.requests.skip_range();
    }

    pub(super) fn reject(
        &mut self,
        request_id: u32,
        part: Wanted,
        code: RejectCode,
        retry_after_ms: u32,
        reason: &str,
    ) {
        self.reject_with(request_id, part, code, retry_after_ms, None, reason);
    }

    fn reject_with(
        &mut self,
        request_id: u32,
        part: Wanted,
        code: RejectCode,
        retry_after_ms: u32,
        next_session: Option<u32>,
        reason: &str,
    ) {
        let reject = Reject {
            request_id: request_id.into(),
            session: part.session.into(),
            begin: part.begin.into(),
            end: part.end.into(),
            retry_after_ms: retry_after_ms.into(),
            code,
            next_session: next_session.map_or(Optional::NONE, Optional::some),
        };
        self.control.put(&reject, &[reason.as_bytes()]);
        self.counters.rejected(code);
    }

    fn finish_request(&mut self, status: CompleteStatus) {
        if let Some(request_id) = self.requests.finish() {
            self.complete(request_id, status);
        }
    }

    pub(super) fn complete(&mut self, request_id: u32, status: CompleteStatus) {
        let complete = RequestComplete {
            request_id: request_id.into(),
            status,
        };
        self.control.put(&complete, &[]);
    }

    /// Says how far the journal is, when the client asks or nothing else was said for a while.
    pub(super) fn heartbeat(&mut self, now: u64, store: &mut Store) {
        let idle = self.data.is_none()
            && self.control.pending().is_empty()
            && now.saturating_sub(self.last_output) >= nanos(self.limits.heartbeat);
        if self.state != State::Open || !(self.heartbeat_due || idle) || self.control.room() < STEP_LEN {
            return;
        }
        self.heartbeat_due = false;
        self.tell(store.head());
    }

    /// Says how far the journal is.
    pub(super) fn tell(&mut self, head: Head) {
        let heartbeat = StreamHeartbeat {
            session: head.session.into(),
            epoch: head.epoch.into(),
            epoch_base: head.epoch_base.into(),
            next: head.next.into(),
        };
        self.control.put(&heartbeat, &[]);
    }

    pub(super) fn output(&mut self, now: u64) -> Output<'_> {
        let control = self.control.pending();
        let (head, packets) = match &self.data {
            Some(data) => (data.head(), data.data()),
            None => (&[][..], &[][..]),
        };
        let output = Output {
            head,
            packets,
            control,
        };
        if !output.is_empty() {
            self.last_output = now;
            self.pending_since.get_or_insert(now);
        }
        output
    }

    pub(super) fn consumed(&mut self, mut count: usize, now: u64) {
        let mut frame_done = false;
        if let Some(data) = &mut self.data {
            let of_data = count.min(data.len());
            count -= of_data;
            if data.consumed(of_data) {
                self.data = None;
                frame_done = true;
            }
        }
        if count > 0 {
            self.control.consumed(count);
            frame_done |= self.control.pending().is_empty();
        }
        if self.data.is_none() && self.control.pending().is_empty() {
            self.pending_since = None;
        } else if frame_done {
            self.pending_since = Some(now);
        }
    }
}
