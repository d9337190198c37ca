//! What the kernel knows of the real-time clock: the one system call that the standard library does not have.

use super::clock::KernelClock;

/// The kernel's opinion; `None` if it may not be asked. Takes a fraction of a microsecond.
pub fn read() -> Option<KernelClock> {
    // SAFETY: `timex` is plain numbers, for which all zeros is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // No mode: nothing is set.
    timex.modes = 0;
    // SAFETY: the pointer is to a `timex` of this function's own, which the kernel fills in and does not keep.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return None;
    }
    Some(KernelClock {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error: u64::try_from(timex.maxerror).unwrap_or(0).saturating_mul(1_000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsynchronised_clock_only_gets_worse_as_the_kernel_sees_it() {
        let Some(clock) = read() else {
            eprintln!("skipped: the kernel may not be asked for its clock here");
            return;
        };
        // It grows by 500 us a second to 16 s, unless somebody synchronises the clock.
        assert!(clock.max_error <= 16_000_000_000, "{clock:?}");
        if !clock.synchronised {
            let again = read().expect("it was asked just now");
            assert!(
                again.max_error >= clock.max_error || again.synchronised,
                "{again:?}"
            );
        }
    }
}
