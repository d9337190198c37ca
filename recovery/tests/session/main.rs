//! Both state machines against each other, without sockets and with a clock of the test's own, over a real journal.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod held;
mod limits;
mod manners;
mod raw;

use common::{Answered, Feed};
use tempfile::TempDir;
use twinline_wire::field::{CompleteStatus, RejectCode};

pub(crate) fn answered(
    had: &[(u64, u64)],
    refused: &[(u64, u64, RejectCode)],
    status: CompleteStatus,
) -> Answered {
    Answered {
        had: had.to_vec(),
        refused: refused.to_vec(),
        status: Some(status),
    }
}

pub(crate) const COMPLETE: CompleteStatus = CompleteStatus::COMPLETE;
pub(crate) const PARTIAL: CompleteStatus = CompleteStatus::PARTIAL;

/// Session 3 with packets 1..2, 2..12, 12..22 … 92..102.
pub(crate) fn simple(dir: &TempDir) -> Feed {
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(10, 10);
    feed
}
