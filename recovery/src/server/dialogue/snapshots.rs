//! Snapshots in the dialogue with one client: one at a time, in parts between the answers to ranges.

use super::{Dialogue, RETRY_MS};
use crate::server::answer::Wanted;
use crate::server::output::DataFrame;
use crate::server::snapshot::transfer::{Next, Transfer};
use crate::server::store::Store;
use twinline_wire::field::{CompleteStatus, RejectCode};
use twinline_wire::recovery::SnapshotRequest;
use twinline_wire::stream::StreamError;

/// Bytes of one part at most: what comes behind it on the connection waits for no more.
const PART_LEN: usize = 64 << 10;

impl Dialogue {
    pub(super) fn snapshot_request(
        &mut self,
        request: SnapshotRequest,
        store: &Store,
    ) -> Result<(), StreamError> {
        let (request_id, session) = (request.request_id.get(), request.session.get());
        if self.is_taken(request_id) {
            return Err(StreamError("a request whose number is 0 or still open"));
        }
        self.counters.requests += 1;
        let Some(shelf) = &store.snapshots else {
            self.not_served(request_id, session, "snapshots are not served here");
            return Ok(());
        };
        let at_least = request.at_least.get();
        if self.snapshot.is_none() {
            self.snapshot = Transfer::new(shelf, request_id, session, at_least, self.last_frame);
        }
        if self
            .snapshot
            .as_ref()
            .is_none_or(|open| open.request_id != request_id)
        {
            let reason = "too many snapshots are being sent";
            self.refuse_snapshot(
                request_id,
                session,
                at_least,
                RejectCode::OVER_LIMITS,
                RETRY_MS,
                reason,
            );
        }
        Ok(())
    }

    fn refuse_snapshot(
        &mut self,
        request_id: u32,
        session: u32,
        at_least: u64,
        code: RejectCode,
        retry_ms: u32,
        reason: &str,
    ) {
        let part = Wanted {
            session,
            begin: at_least,
            end: u64::MAX,
        };
        self.reject(request_id, part, code, retry_ms, reason);
        self.complete(request_id, CompleteStatus::COMPLETE);
    }

    /// The snapshot's next part, if there is nothing to be sent before it.
    pub(super) fn advance_snapshot(&mut self, now: u64) {
        let free = self.data.is_none() && self.control.pending().is_empty();
        let Some(transfer) = self.snapshot.as_mut().filter(|_| free) else {
            return;
        };
        let (request_id, session, at_least) = (transfer.request_id, transfer.session, transfer.at_least);
        match transfer.next(self.limits.max_data.min(PART_LEN), now) {
            Next::Wait => {}
            Next::Refused { code, reason, again } => {
                self.snapshot = None;
                let retry = if again { RETRY_MS } else { 0 };
                self.refuse_snapshot(request_id, session, at_least, code, retry, reason);
            }
            Next::Part(part) => {
                self.data = Some(DataFrame::part(request_id, part));
                self.snapshot_next = false;
            }
            Next::Done => {
                self.snapshot = None;
                self.complete(request_id, CompleteStatus::COMPLETE);
            }
        }
    }

    /// True while a snapshot is waited for or sent.
    pub(in crate::server) fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }
}
