//! Running seeds: one, or many on several threads.

use crate::Counts;
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, thread};

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages that the publisher publishes at least.
    pub messages: u64,
    /// Keep a trace of what happened.
    pub trace: bool,
    /// A bug to be planted.
    #[cfg(feature = "planted-bugs")]
    pub plant: Option<crate::Plant>,
}

/// Asks whether a bug is planted; without the feature the answer is no, and costs nothing.
macro_rules! is_planted {
    ($options:expr, $plant:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let planted = $options.plant == Some(crate::Plant::$plant);
        #[cfg(not(feature = "planted-bugs"))]
        let planted = {
            let _ = &$options;
            false
        };
        planted
    }};
}
pub(crate) use is_planted;

impl Default for Options {
    fn default() -> Self {
        Self {
            messages: 2_000,
            trace: false,
            #[cfg(feature = "planted-bugs")]
            plant: None,
        }
    }
}

/// A seed at whose end something was not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When it was found, in virtual nanoseconds since the run began.
    pub at: u64,
    /// What differs.
    pub what: String,
    /// What happened, if that was asked for.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "seed {} failed after {:.3} virtual seconds: {}\nrun it alone: twinline simulate --seed {}",
            self.seed,
            self.at as f64 / 1e9,
            self.what,
            self.seed
        )
    }
}

impl std::error::Error for Failure {}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The sums over all seeds that passed.
    pub counts: Counts,
    /// The seeds that failed, in order.
    pub failures: Vec<Failure>,
}

/// Runs one seed.
///
/// # Errors
/// If a listener's stream is not what it must be, or anything panicked.
pub fn simulate(seed: u64, options: &Options) -> Result<(Counts, Vec<String>), Failure> {
    let failed = |what: String| Failure {
        seed,
        at: 0,
        what,
        trace: Vec::new(),
    };
    let dir = scratch().map_err(|error| failed(format!("no temporary directory: {error}")))?;
    #[cfg(feature = "planted-bugs")]
    twinline_listener::planted::plant(match options.plant {
        Some(crate::Plant::Arbiter(bug)) => Some(bug),
        _ => None,
    });
    #[cfg(feature = "planted-bugs")]
    twinline_recovery::planted::plant(match options.plant {
        Some(crate::Plant::Replica(bug)) => Some(bug),
        _ => None,
    });
    let run = catch_unwind(AssertUnwindSafe(|| World::new(seed, options, dir.path()).run()));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(failed(format!("panic: {}", text.unwrap_or("without a text"))))
    })
}

/// A directory in memory, where there is one: nothing in a run needs a disk.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("twinline-simulator-");
    if memory.is_dir() {
        builder.tempdir_in(memory)
    } else {
        builder.tempdir()
    }
}

/// Runs `seeds` on so many threads. `progress` is told after each seed how many are done; it stops the run by returning
/// false.
pub fn run_many(
    seeds: std::ops::Range<u64>,
    threads: usize,
    options: &Options,
    progress: impl Fn(u64) -> bool + Sync,
) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    let done = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = simulate(seed, options);
            {
                let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match result {
                    Ok((counts, _)) => report.counts.add(&counts),
                    Err(failure) => report.failures.push(failure),
                }
            }
            if !progress(done.fetch_add(1, Ordering::Relaxed) + 1) {
                next.store(seeds.end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut report = report
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report
}
