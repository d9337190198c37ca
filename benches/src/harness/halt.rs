//! Halts a thread that never waits for anything: the floor is measured on the core of a listener that spins.
//!
//! A signal is sent to the thread; its handler sleeps until the thread may go on. Nothing is asked of the thread: not a line
//! of the listener's code knows of it.

use super::error::BenchError;
use libc::{c_int, c_void, siginfo_t};
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Halted after this time, or never.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a halt stands: the words that the handler and the halting thread share.
#[derive(Debug, Default)]
struct Place {
    /// 1 once the thread has halted, 2 once it has gone on.
    reached: AtomicU32,
    /// 1 once it may go on; what it sleeps on.
    go: AtomicU32,
}

/// A thread that stands still until this is dropped.
#[derive(Debug)]
pub struct Halted<'t> {
    place: Box<Place>,
    thread: &'t dyn Finished,
}

/// Whether a thread has ended.
trait Finished: std::fmt::Debug + Sync {
    fn is_finished(&self) -> bool;
}

impl<T: Send> Finished for JoinHandle<T> {
    fn is_finished(&self) -> bool {
        JoinHandle::is_finished(self)
    }
}

/// Halts `thread`; returns once it stands still.
///
/// # Errors
/// If it has ended, or cannot be halted.
pub fn halt<T: Send>(thread: &JoinHandle<T>) -> Result<Halted<'_>, BenchError> {
    static READY: Once = Once::new();
    READY.call_once(take_signal);
    let place = Box::new(Place::default());
    let value = libc::sigval {
        sival_ptr: std::ptr::from_ref::<Place>(&place).cast_mut().cast(),
    };
    // SAFETY: the thread was not joined or detached, as its handle is borrowed; the signal has a handler. The place that
    // the value points at lives until the handler has left it: `Halted` sees to that, and where it cannot, leaks it.
    let refused = unsafe { libc::pthread_sigqueue(thread.as_pthread_t(), signal(), value) };
    if refused != 0 {
        let cause = io::Error::from_raw_os_error(refused);
        return Err(BenchError::io("halt the listener's thread")(cause));
    }
    let halted = Halted { place, thread };
    if halted.wait_for(1) {
        return Ok(halted);
    }
    Err(BenchError::Broken(
        "the listener's thread could not be halted: it has ended, or is stuck".into(),
    ))
}

impl Halted<'_> {
    /// Waits until the handler has come so far; false if it does not.
    fn wait_for(&self, reached: u32) -> bool {
        let start = Instant::now();
        while self.place.reached.load(Ordering::Acquire) < reached {
            if self.thread.is_finished() || start.elapsed() > PATIENCE {
                return false;
            }
            thread::yield_now();
        }
        true
    }
}

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        self.place.go.store(1, Ordering::Release);
        wake(&self.place.go);
        if !self.wait_for(2) {
            // The handler may still come.
            Box::leak(std::mem::take(&mut self.place));
        }
    }
}

/// A signal that nobody else has a use for.
fn signal() -> c_int {
    libc::SIGRTMIN() + 3
}

fn take_signal() {
    // SAFETY: a zeroed sigaction is a valid one; the handler has the signature that SA_SIGINFO asks for and does only what a
    // handler may: atomics and the futex call.
    let refused = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(signal(), &action, std::ptr::null_mut())
    };
    assert_eq!(refused, 0, "a real-time signal can be handled");
}

extern "C" fn on_signal(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: errno is this thread's own; what was interrupted finds it as it was. The signal is queued by `halt` only, with
    // a pointer to a place that lives until `reached` is 2, which is written last.
    unsafe {
        let errno = *libc::__errno_location();
        let place = &*(*info).si_value().sival_ptr.cast::<Place>();
        place.reached.store(1, Ordering::Release);
        while place.go.load(Ordering::Acquire) == 0 {
            libc::syscall(
                libc::SYS_futex,
                place.go.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                0,
                std::ptr::null::<libc::timespec>(),
            );
        }
        *libc::__errno_location() = errno;
        place.reached.store(2, Ordering::Release);
    }
}

fn wake(word: &AtomicU32) {
    // SAFETY: the word lives; waking sleepers touches no memory.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    #[test]
    fn a_halted_thread_stands_still_and_goes_on_behind_that() {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts) = (Arc::clone(&stop), Arc::clone(&turns));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..100 {
            let halted = halt(&thread).expect("it spins");
            let there = turns.load(Ordering::Relaxed);
            thread::sleep(Duration::from_micros(200));
            assert_eq!(turns.load(Ordering::Relaxed), there);
            drop(halted);
            while turns.load(Ordering::Relaxed) == there {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            thread::yield_now();
        }
        assert!(halt(&thread).is_err(), "it has ended");
        thread.join().unwrap();
    }
}
