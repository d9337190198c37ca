//! The thread of one source where there are several sources or channels.

use super::router::Router;
use super::{Halt, SourceFailure, SourceStatus};
use crate::run::{CALM, Clock, Idle, RunEnd};
use crate::source::{Source, SourceState};
use core::sync::atomic::Ordering;
use std::thread;

/// How often channels that a source says nothing to are told how far it is, and the source what is in the journals, in
/// nanoseconds.
const TELL_EVERY: u64 = 5_000_000;

/// Hands what `source` says to the channels until it has said everything and that is in their journals.
pub(super) fn run<S: Source>(
    source: &mut S,
    mut router: Router<'_>,
    status: &SourceStatus,
    idle: Idle,
    halt: &Halt<'_>,
) -> Result<RunEnd, SourceFailure> {
    if router.is_complete() {
        status.ended.store(true, Ordering::Relaxed);
        return Ok(RunEnd::Complete);
    }
    let position = router.resume_at();
    if position > source.position() {
        source.resume(position)?;
    }
    let mut clock = Clock::new();
    let mut told = 0;
    while !halt.is_set() {
        let now = clock.now().mono;
        let polled = source.poll(now, &mut router);
        if let Some(name) = router.end_poll() {
            return Err(SourceFailure::NotMarketData { name });
        }
        if matches!(polled, Ok(SourceState::End) | Err(_)) {
            router.tell_positions();
            status.set(source.position(), router.committed());
            wait(halt, || router.hand_over(true));
            polled?;
            wait(halt, || router.hand_over_last());
            return Ok(finish(source, &router, status, halt));
        }
        let due = now - told >= TELL_EVERY;
        if due {
            told = now;
            router.tell_positions();
            let committed = router.committed();
            status.set(source.position(), committed);
            source.acknowledge(committed);
        }
        let idles = match polled {
            Ok(SourceState::Idle { until }) => Some(until),
            _ => None,
        };
        let mut free = router.hand_over(due || idles.is_some());
        while !free && !halt.is_set() {
            idle.idle(TELL_EVERY);
            free = router.hand_over(false);
        }
        if let Some(until) = idles {
            idle.idle(until.saturating_sub(now).min(TELL_EVERY));
        }
    }
    Ok(RunEnd::Stopped)
}

/// Everything is said and handed over: waits until it is in the journals.
fn finish<S: Source>(source: &mut S, router: &Router<'_>, status: &SourceStatus, halt: &Halt<'_>) -> RunEnd {
    let position = source.position();
    while !halt.is_set() {
        let committed = router.committed();
        status.set(position, committed);
        source.acknowledge(committed);
        if committed >= position {
            status.ended.store(true, Ordering::Relaxed);
            return RunEnd::Complete;
        }
        thread::sleep(CALM);
    }
    RunEnd::Stopped
}

fn wait(halt: &Halt<'_>, mut done: impl FnMut() -> bool) {
    while !done() && !halt.is_set() {
        thread::sleep(CALM);
    }
}
