//! A source that is opened again when it breaks: it goes on at its position, after a wait that doubles each time.
//!
//! Nothing sleeps here: while it waits the source is idle, like any other that has nothing to say.

use super::{EventSink, Source, SourceError, SourceState, TypeCount};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The wait before the first new attempt, in nanoseconds.
const FIRST_WAIT: u64 = 100_000_000;
/// The longest wait, in nanoseconds.
const LONGEST_WAIT: u64 = 10_000_000_000;

/// Polls from one look at the source's progress to the next.
const TELL_EVERY: u64 = 4096;

/// How a source fares that is opened again when it breaks; to be read from any thread.
#[derive(Debug, Default)]
pub struct RetryStatus {
    failures: AtomicU64,
    broken: AtomicBool,
    error: Mutex<String>,
    /// [`Source::progress`] as the bits of a floating point number; 0 while it is not known.
    progress: AtomicU64,
    position: AtomicU64,
    ended: AtomicBool,
}

impl RetryStatus {
    /// Source messages consumed.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// True once it has said everything.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Times that it broke or could not be opened again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// True while it is broken and waits for the next attempt.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// The share that is consumed, from 0 to 1, as it was a few thousand polls ago; `None` if the end is not known.
    pub fn progress(&self) -> Option<f64> {
        let bits = self.progress.load(Ordering::Relaxed);
        (bits > 0).then(|| f64::from_bits(bits))
    }

    /// What went wrong last; empty if nothing did.
    pub fn last_error(&self) -> String {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A source that `open` opens, now and again.
#[derive(Debug)]
pub struct Retrying<S, F> {
    open: F,
    source: Option<S>,
    id: u16,
    /// Where it broke, or is to go on.
    position: u64,
    /// Attempts in a row that may fail.
    limit: u32,
    /// Attempts in a row that did.
    failed: u32,
    retry_at: u64,
    acknowledged: u64,
    polls: u64,
    /// What broken sources had counted.
    counted: Vec<TypeCount>,
    status: Arc<RetryStatus>,
}

impl<S: Source, F: FnMut() -> Result<S, SourceError>> Retrying<S, F> {
    /// Opens the source. Broken, it is tried again at most `limit` times in a row without getting any further.
    ///
    /// # Errors
    /// If it cannot be opened this first time: most likely it was named wrongly.
    pub fn open(mut open: F, limit: u32) -> Result<Self, SourceError> {
        let source = open()?;
        Ok(Self {
            id: source.id(),
            position: source.position(),
            open,
            source: Some(source),
            limit,
            failed: 0,
            retry_at: 0,
            acknowledged: 0,
            polls: 0,
            counted: Vec::new(),
            status: Arc::default(),
        })
    }

    /// How it fares.
    pub fn status(&self) -> Arc<RetryStatus> {
        Arc::clone(&self.status)
    }

    /// Notes a failure; an error if it was one too many.
    #[cold]
    fn broke(&mut self, error: SourceError, now: u64) -> Result<SourceState, SourceError> {
        self.status.failures.fetch_add(1, Ordering::Relaxed);
        *self.status.error.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        if self.failed >= self.limit {
            return Err(error);
        }
        if let Some(source) = self.source.take() {
            merge(&mut self.counted, source.counts());
        }
        self.status.broken.store(true, Ordering::Relaxed);
        let wait = FIRST_WAIT
            .saturating_mul(1 << self.failed.min(32))
            .min(LONGEST_WAIT);
        self.failed += 1;
        self.retry_at = now.saturating_add(wait);
        Ok(SourceState::Idle { until: self.retry_at })
    }

    /// Opens it again where it broke.
    #[cold]
    fn again(&mut self, now: u64) -> Result<SourceState, SourceError> {
        if now < self.retry_at {
            return Ok(SourceState::Idle { until: self.retry_at });
        }
        let position = self.position;
        let opened = (self.open)().and_then(|mut source| source.resume(position).map(|()| source));
        match opened {
            Ok(mut source) => {
                source.acknowledge(self.acknowledged);
                self.source = Some(source);
                Ok(SourceState::Ready)
            }
            Err(error) => self.broke(error, now),
        }
    }
}

/// Adds what a broken source counted to what those before it had.
fn merge(into: &mut Vec<TypeCount>, counts: Vec<TypeCount>) {
    for count in counts {
        let same = |known: &&mut TypeCount| (&known.kind, known.outcome) == (&count.kind, count.outcome);
        match into.iter_mut().find(same) {
            Some(known) => known.messages += count.messages,
            None => into.push(count),
        }
    }
}

impl<S: Source, F: FnMut() -> Result<S, SourceError>> Source for Retrying<S, F> {
    fn id(&self) -> u16 {
        self.id
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        if let Some(source) = &mut self.source {
            source.resume(position)?;
        }
        self.position = position;
        self.status.position.store(position, Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        let Some(source) = &mut self.source else {
            return self.again(now);
        };
        self.polls += 1;
        if self.polls.is_multiple_of(TELL_EVERY)
            && let Some(share) = source.progress()
        {
            self.status.progress.store(share.to_bits(), Ordering::Relaxed);
        }
        let polled = source.poll(now, sink);
        let position = source.position();
        if position > self.position {
            self.position = position;
            self.status.position.store(position, Ordering::Relaxed);
            if self.failed > 0 {
                self.failed = 0;
                self.status.broken.store(false, Ordering::Relaxed);
            }
        }
        match polled {
            // By name: what is moved as a whole was just written in parts, and is waited for.
            Ok(SourceState::Ready) => Ok(SourceState::Ready),
            Err(error) => self.broke(error, now),
            Ok(SourceState::End) => {
                self.status.broken.store(false, Ordering::Relaxed);
                self.status.ended.store(true, Ordering::Relaxed);
                Ok(SourceState::End)
            }
            Ok(state) => Ok(state),
        }
    }

    fn counts(&self) -> Vec<TypeCount> {
        let mut counts = self.counted.clone();
        if let Some(source) = &self.source {
            merge(&mut counts, source.counts());
        }
        counts
    }

    #[inline]
    fn acknowledge(&mut self, position: u64) {
        self.acknowledged = position;
        if let Some(source) = &mut self.source {
            source.acknowledge(position);
        }
    }

    fn progress(&self) -> Option<f64> {
        self.source.as_ref().and_then(Source::progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lobster::LobsterFile;
    use crate::source::pace::Pace;
    use crate::source::{Outcome, Recorder};
    use std::fs;
    use std::path::Path;

    /// Rows 1, 2, 3 and on, each an order that enters.
    fn rows(count: u64) -> String {
        (1..=count)
            .map(|number| format!("{number}.0,1,{number},100,20000,1\n"))
            .collect()
    }

    fn retrying(
        path: &Path,
        limit: u32,
    ) -> Retrying<LobsterFile, impl FnMut() -> Result<LobsterFile, SourceError>> {
        Retrying::open(move || LobsterFile::open(path, 1, Some("X"), Pace::Max), limit).unwrap()
    }

    /// Polls until it is idle, has ended or failed.
    fn poll<S: Source>(source: &mut S, now: u64, sink: &mut Recorder) -> Result<SourceState, SourceError> {
        loop {
            match source.poll(now, sink) {
                Ok(SourceState::Ready) => {}
                other => return other,
            }
        }
    }

    #[test]
    fn a_file_that_is_mended_goes_on_where_it_broke() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        fs::write(&path, rows(9).replace("4.0,1", "4.0,?")).unwrap();
        let mut source = retrying(&path, 5);
        let status = source.status();
        let mut sink = Recorder::default();
        let first = poll(&mut source, 7, &mut sink).unwrap();
        assert_eq!(
            first,
            SourceState::Idle {
                until: 7 + FIRST_WAIT
            }
        );
        assert_eq!((source.position(), sink.events.len()), (3, 3));
        assert_eq!(status.progress(), None);
        assert!(status.is_broken() && status.last_error().contains("line 4"));
        // Not yet; then it is still broken, and the wait doubles.
        assert_eq!(poll(&mut source, FIRST_WAIT, &mut sink).unwrap(), first);
        let at = 7 + FIRST_WAIT;
        assert_eq!(
            poll(&mut source, at, &mut sink).unwrap(),
            SourceState::Idle {
                until: at + 2 * FIRST_WAIT
            }
        );
        assert_eq!(
            (status.failures(), status.position(), status.has_ended()),
            (2, 3, false)
        );
        fs::write(&path, rows(9)).unwrap();
        assert_eq!(
            poll(&mut source, at + 2 * FIRST_WAIT, &mut sink).unwrap(),
            SourceState::End
        );
        assert!(!status.is_broken() && status.has_ended() && status.position() == 9);
        let mut whole = Recorder::default();
        assert_eq!(
            poll(&mut retrying(&path, 0), 0, &mut whole).unwrap(),
            SourceState::End
        );
        assert_eq!(sink.events, whole.events);
        let counts = source.counts();
        assert_eq!(
            (counts.len(), counts[0].messages, counts[0].outcome),
            (1, 9, Outcome::Published)
        );
    }

    #[test]
    fn it_gives_up_after_so_many_attempts_in_a_row_and_getting_on_counts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        fs::write(&path, rows(9).replace("4.0,1", "4.0,?")).unwrap();
        let mut source = retrying(&path, 2);
        let mut sink = Recorder::default();
        let mut now = 0;
        for _ in 0..2 {
            let Ok(SourceState::Idle { until }) = poll(&mut source, now, &mut sink) else {
                panic!("it waits")
            };
            now = until;
        }
        // It got further: two more attempts.
        fs::write(&path, rows(9).replace("8.0,1", "8.0,?")).unwrap();
        for _ in 0..2 {
            let Ok(SourceState::Idle { until }) = poll(&mut source, now, &mut sink) else {
                panic!("it waits")
            };
            now = until;
        }
        assert!(matches!(
            poll(&mut source, now, &mut sink),
            Err(SourceError::Malformed { line: 8, .. })
        ));
        assert_eq!(source.position(), 7);
    }

    #[test]
    fn the_wait_is_never_longer_than_ten_seconds_and_a_file_that_is_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.csv");
        fs::write(&path, rows(3).replace("3.0", "x")).unwrap();
        let mut source = retrying(&path, u32::MAX);
        let mut sink = Recorder::default();
        let mut now = 0;
        for _ in 0..40 {
            let Ok(SourceState::Idle { until }) = poll(&mut source, now, &mut sink) else {
                panic!("it waits")
            };
            assert!(until - now <= LONGEST_WAIT);
            now = until;
            let _ = fs::remove_file(&path);
        }
        assert!(source.status().last_error().contains("cannot read"));
        fs::write(&path, rows(3)).unwrap();
        assert_eq!(poll(&mut source, now, &mut sink).unwrap(), SourceState::End);
        assert_eq!(sink.events.len(), 3);
    }
}
