//! A child that must not outlive the process that started it.

use crate::exit::Failure;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Asks the kernel to kill this process when its parent, which must be `parent`, ends, however it ends.
pub(crate) fn end_with(parent: Option<u32>) -> Result<(), Failure> {
    let Some(parent) = parent else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|cause| Failure::error(format!("cannot tie this process to its parent: {cause}")))?;
    // The parent may have ended before that: then this process has another one now.
    let now = getppid().map(Pid::as_raw_nonzero).map_or(0, |pid| pid.get());
    if u32::try_from(now) == Ok(parent) {
        Ok(())
    } else {
        Err(Failure::peer(format!(
            "process {parent}, which started this one, has ended"
        )))
    }
}
