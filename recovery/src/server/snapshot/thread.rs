//! The books' own thread: what it does never waits in the way of gap fill.

use super::{Keeper, Step};
use crate::nanos;
use mio::Waker;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use twinline_journal::JournalReader;

/// How long the thread sleeps when there is nothing to follow.
const NAP: Duration = Duration::from_millis(2);
/// How often a journal that is not there is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How nice the thread is: where cores are short, publisher and gap fill come first.
const NICE: i32 = 10;

/// The thread; ends when it is dropped.
pub(crate) struct KeeperThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KeeperThread {
    /// Starts it over the journal in `journal`, which may not be there yet. `waker`: of the service's thread.
    pub(crate) fn start(keeper: Keeper, journal: PathBuf, waker: Arc<Waker>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("books".into())
            .spawn(move || keep(keeper, &journal, &waker, &stopping))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for KeeperThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(mut keeper: Keeper, journal: &std::path::Path, waker: &Waker, stop: &AtomicBool) {
    // Of this thread alone, as the system counts. Without it the books take their share like everybody.
    let _ = rustix::process::setpriority_process(None, NICE);
    let start = Instant::now();
    while !stop.load(Ordering::Acquire) {
        if !keeper.is_attached() {
            // Another channel's journal ends the service itself.
            match JournalReader::open(journal) {
                Ok(reader) => keeper.attach(reader),
                Err(_) => {
                    thread::sleep(LOOK_EVERY);
                    continue;
                }
            }
        }
        match keeper.step(nanos(start.elapsed())) {
            Step::Idle => thread::sleep(NAP),
            Step::Worked => {}
            // Were it to fail, the service would still look at its next tick.
            Step::Made => drop(waker.wake()),
        }
    }
}
