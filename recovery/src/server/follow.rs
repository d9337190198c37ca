//! The part of a client's dialogue that is about its tail.

use super::answer::Wanted;
use super::dialogue::{Dialogue, STEP_LEN};
use super::output::DataFrame;
use super::store::Store;
use super::tail::{Next, Over, Tail};
use super::tails::TailStatus;
use crate::Mark;
use twinline_wire::field::{CompleteStatus, RejectCode, TailKind};
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::recovery::{Acknowledge, TailRequest};
use twinline_wire::stream::{StreamError, StreamFrame};

/// When to ask again for a tail that there is no room for, or that failed, in milliseconds.
const RETRY_MS: u32 = 1_000;

impl Dialogue {
    /// Takes a request for a tail, or refuses it.
    pub(super) fn tail_request(
        &mut self,
        frame: StreamFrame<'_>,
        store: &mut Store,
    ) -> Result<(), StreamError> {
        let Some(request) = frame.view::<TailRequest>() else {
            return Ok(());
        };
        let (request_id, kind) = (request.request_id.get(), request.kind);
        if self.is_taken(request_id) {
            return Err(StreamError("a request whose number is 0 or still open"));
        }
        if self.tail.is_some() {
            return Err(StreamError("a second tail: one connection has one"));
        }
        if !matches!(kind, TailKind::READER | TailKind::REPLICA) {
            return Err(StreamError("a tail of a kind that there is not"));
        }
        self.counters.tails += 1;
        let at = Mark::new(request.session.get(), request.sequence.get());
        if (at.session == 0) != (at.next == 0) {
            let reason = "a tail begins at session 0, sequence 0 (the oldest packet kept), or at neither";
            self.refuse_tail(request_id, at, RejectCode::MALFORMED, 0, reason);
            return Ok(());
        }
        let seat = store.tails.take_seat(TailStatus {
            client: self.client.clone(),
            kind,
            sent: at,
            acknowledged: None,
        });
        match seat {
            Some(seat) => self.tail = Some(Tail::new(request_id, kind, at, seat)),
            None => {
                let reason = "as many tails are open as are allowed";
                self.refuse_tail(request_id, at, RejectCode::OVER_LIMITS, RETRY_MS, reason);
            }
        }
        Ok(())
    }

    fn refuse_tail(&mut self, request_id: u32, at: Mark, code: RejectCode, retry: u32, reason: &str) {
        let all = Wanted {
            session: at.session,
            begin: at.next,
            end: u64::MAX,
        };
        self.reject(request_id, all, code, retry, reason);
        self.complete(request_id, CompleteStatus::COMPLETE);
        self.ended_tail = request_id;
    }

    /// A replica says what it holds durably.
    pub(super) fn acknowledge(&mut self, frame: StreamFrame<'_>) -> Result<(), StreamError> {
        let Some(held) = frame.view::<Acknowledge>() else {
            return Ok(());
        };
        let request_id = held.request_id.get();
        let tail = match &self.tail {
            Some(tail) if tail.request_id == request_id => tail,
            // It crossed with our end of the tail.
            _ if request_id != 0 && request_id == self.ended_tail => return Ok(()),
            _ => return Err(StreamError("an acknowledgement without a tail")),
        };
        if tail.kind != TailKind::REPLICA {
            return Err(StreamError("an acknowledgement of a tail that is no replica's"));
        }
        let to = Mark::new(held.session.get(), held.sequence.get());
        if to > tail.at {
            return Err(StreamError("an acknowledgement beyond what was sent"));
        }
        tail.seat.acknowledged(to);
        Ok(())
    }

    /// Goes on with the tail, if nothing else is to be sent.
    pub(super) fn follow(&mut self, store: &mut Store) {
        // Frames go out in this order: data, then control. More data has to wait until both are gone.
        if self.data.is_some() || !self.control.pending().is_empty() {
            return;
        }
        let Some(tail) = &mut self.tail else { return };
        match store.tail(tail, self.limits.max_data.max(MAX_PACKET_LEN)) {
            Next::Wait if tail.caught_up => {}
            Next::Wait => {
                tail.caught_up = true;
                let request_id = tail.request_id;
                self.complete(request_id, CompleteStatus::CAUGHT_UP);
            }
            Next::Packets(region, batch) => {
                tail.seat.sent(tail.at);
                self.counters.messages += batch.messages;
                self.counters.packets += batch.packets;
                self.counters.bytes += batch.bytes.len() as u64;
                self.data = Some(DataFrame::new(tail.request_id, region, batch.bytes));
            }
            Next::Over(over) => return self.end_tail(over),
        }
        self.tell_replica(store);
    }

    /// A replica learns how far is released as soon as that has changed.
    fn tell_replica(&mut self, store: &mut Store) {
        let Some(tail) = self.tail.as_mut().filter(|tail| tail.kind == TailKind::REPLICA) else {
            return;
        };
        let head = store.head();
        if tail.told != Mark::from(head) && self.control.room() >= STEP_LEN {
            tail.told = head.into();
            self.tell(head);
        }
    }

    fn end_tail(&mut self, over: Over) {
        let Some(tail) = self.tail.take() else { return };
        let part = Wanted {
            session: tail.at.session,
            begin: tail.at.next,
            end: over.end,
        };
        let retry = match over.code {
            RejectCode::INTERNAL => RETRY_MS,
            _ => 0,
        };
        self.reject(tail.request_id, part, over.code, retry, over.reason);
        self.complete(tail.request_id, CompleteStatus::COMPLETE);
        self.ended_tail = tail.request_id;
    }
}
