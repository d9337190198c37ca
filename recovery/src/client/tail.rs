//! The client's side of a tail: asking for it, and saying what is held durably. Its packets come as
//! [`ClientEvent::Packet`](super::ClientEvent::Packet); that they follow each other is for the caller to check (see
//! [`Follower`](crate::follow::Follower)).

use super::event::RequestError;
use super::session::{ClientSession, State};
use crate::Mark;
use twinline_wire::field::TailKind;
use twinline_wire::recovery::{Acknowledge, TailRequest};

impl ClientSession {
    /// Asks for everything from `from` on, through the journal into the live stream, for ever; from the default mark: from
    /// the oldest packet that the service keeps. `request_id` is any number but 0 that is not open. It ends only with a
    /// reject that says why, and [`ClientEvent::Complete`](super::ClientEvent::Complete).
    ///
    /// # Errors
    /// Why it was not sent. Nothing is changed then.
    pub fn tail(
        &mut self,
        request_id: u32,
        from: Mark,
        kind: TailKind,
        now: u64,
    ) -> Result<(), RequestError> {
        let dialogue = &mut self.dialogue;
        if dialogue.state != State::Ready {
            return Err(RequestError::NotReady);
        }
        if dialogue.tail.is_some() {
            return Err(RequestError::Tail);
        }
        if request_id == 0 || dialogue.is_open(request_id) {
            return Err(RequestError::Invalid(request_id));
        }
        let request = TailRequest {
            request_id: request_id.into(),
            session: from.session.into(),
            sequence: from.next.into(),
            kind,
        };
        if !dialogue.outbox.put(&request, &[]) {
            return Err(RequestError::Busy(dialogue.open.len()));
        }
        dialogue.tail = Some(request_id);
        dialogue.last_sent = now;
        Ok(())
    }

    /// Says that everything before `held` is held durably; `epoch` is the newest one held. Only for an open tail of a
    /// replica, and not beyond what came on it.
    ///
    /// # Errors
    /// Why it was not sent. It can be left out: the next one says more.
    pub fn acknowledge(&mut self, held: Mark, epoch: u32, now: u64) -> Result<(), RequestError> {
        let dialogue = &mut self.dialogue;
        let request_id = dialogue.tail.ok_or(RequestError::Tail)?;
        let acknowledge = Acknowledge {
            request_id: request_id.into(),
            session: held.session.into(),
            epoch: epoch.into(),
            sequence: held.next.into(),
        };
        if !dialogue.outbox.put(&acknowledge, &[]) {
            return Err(RequestError::Busy(dialogue.open.len()));
        }
        dialogue.last_sent = now;
        Ok(())
    }
}
