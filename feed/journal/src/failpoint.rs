//! Places where a test ends the process, to see what a restart makes of it.
//!
//! With `TWINLINE_FAILPOINT=name:n` in the environment, the `n`-th time that the process comes by the failpoint `name`
//! it aborts, as if it had been killed there. Only with the feature `failpoints` (or in this package's own tests);
//! without it a failpoint is an empty function.

/// Aborts the process if this is the place and the time that `TWINLINE_FAILPOINT` names.
#[cfg(any(test, feature = "failpoints"))]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("TWINLINE_FAILPOINT").ok()?;
        let (name, count) = text.rsplit_once(':')?;
        Some((name.to_owned(), AtomicU64::new(count.parse().ok()?)))
    });
    if let Some((planned, left)) = plan
        && planned == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        eprintln!("failpoint {name}: aborting");
        std::process::abort();
    }
}

/// Nothing: failpoints are not compiled in.
#[cfg(not(any(test, feature = "failpoints")))]
#[inline(always)]
pub fn hit(_name: &str) {}
