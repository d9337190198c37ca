//! What a benchmark says while it runs, and how it hears that it is to stop.

use super::error::BenchError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far a benchmark is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What it does: `latency, 64 B at 50000/s: round`.
    pub what: &'a str,
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub of: usize,
}

/// Takes the steps of a benchmark. A clone is the same.
#[derive(Clone)]
pub struct Watch {
    tell: Arc<dyn Fn(Step<'_>) + Send + Sync>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Tells `tell` of each step, and ends the benchmark where `stop` is set.
    pub fn new(tell: impl Fn(Step<'_>) + Send + Sync + 'static, stop: Arc<AtomicBool>) -> Self {
        Self {
            tell: Arc::new(tell),
            stop,
        }
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self::new(|_| (), Arc::default())
    }

    /// `done` of `of` steps are done. Never called while something is measured.
    ///
    /// # Errors
    /// [`BenchError::Stopped`] if the benchmark is to stop.
    pub fn step(&self, what: &str, done: usize, of: usize) -> Result<(), BenchError> {
        (self.tell)(Step { what, done, of });
        match self.stop.load(Ordering::Relaxed) {
            true => Err(BenchError::Stopped),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn steps_are_told_and_a_benchmark_that_is_to_stop_does() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let kept = Arc::clone(&told);
        let watch = Watch::new(
            move |step| kept.lock().unwrap().push((step.done, step.of)),
            Arc::clone(&stop),
        );
        watch.step("rounds", 1, 3).expect("it goes on");
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(watch.step("rounds", 2, 3), Err(BenchError::Stopped)));
        assert_eq!(*told.lock().unwrap(), [(1, 3), (2, 3)]);
    }
}
