//! Threads of a benchmark. One that is pinned binds all that it starts, so whatever is pinned runs on a thread of its own.

use super::error::BenchError;
use std::thread;
use twinline_feed::run::pin;

/// Runs `work` on a thread of its own, named `name`, and on `core` if one is given, with all threads that it starts. What it
/// pins itself to ends with it.
///
/// # Errors
/// What `work` says, or that there is no such core.
pub(crate) fn on_core<T: Send>(
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    thread::scope(|scope| {
        let thread = spawn(scope, name, core, work)?;
        join(thread)
    })
}

/// Starts `work` on a thread like that.
pub(crate) fn spawn<'s, T: Send + 's>(
    scope: &'s thread::Scope<'s, '_>,
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() -> Result<T, BenchError> + Send + 's,
) -> Result<thread::ScopedJoinHandle<'s, Result<T, BenchError>>, BenchError> {
    let thread = thread::Builder::new().name(name.into());
    let pinned = move || {
        if let Some(core) = core {
            pin(core)?;
        }
        work()
    };
    thread
        .spawn_scoped(scope, pinned)
        .map_err(BenchError::io("start a thread"))
}

/// What such a thread came to.
pub(crate) fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T, BenchError>>) -> Result<T, BenchError> {
    let ended = thread.join();
    ended.unwrap_or_else(|_| Err(BenchError::Broken("a thread of the benchmark panicked".into())))
}
