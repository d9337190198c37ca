//! Who is compared: each peer's two ends, of which the near ones are here and the far ones in a thread or in a process of
//! their own.

use crate::ends::{Aligned, Iceoryx, Line, Packed, Queue, Rings, create_ring};
use crate::payload::{LARGE, SMALL};
use crate::task::{Far, Local, Near, Pipes, far, serve};
use std::error::Error;
use std::io::{BufReader, PipeWriter, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Bytes of the rings that go back: they bear only answers.
const BACK_CAPACITY: usize = 1 << 20;

/// Bytes of a ring of ours that holds `room` messages of `size` bytes.
fn ring_capacity(room: usize, size: usize) -> usize {
    // A short record's header takes 24 bytes; each begins a cache line.
    room * (24 + size).next_multiple_of(64)
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub(crate) enum Peer {
    #[serde(rename = "cache line")]
    Line,
    #[serde(rename = "rtrb")]
    Rtrb,
    #[serde(rename = "rtrb, aligned")]
    RtrbAligned,
    #[serde(rename = "twinline ring")]
    Ring,
    #[serde(rename = "iceoryx2")]
    Iceoryx,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Line => "a cache line, between threads",
            Peer::Rtrb => "rtrb, between threads",
            Peer::RtrbAligned => "rtrb, items in lines of their own",
            Peer::Ring => "our ring, between processes",
            Peer::Iceoryx => "iceoryx2, between processes",
        }
    }
}

/// A peer with messages of one size.
pub(crate) struct Pair {
    pub(crate) peer: Peer,
    /// Bytes of a message.
    pub(crate) size: usize,
    pub(crate) near: Box<dyn Near>,
    /// Which pipes lead to the far end.
    pub(crate) place: usize,
}

/// All peers.
pub(crate) struct Pairs {
    pub(crate) pairs: Vec<Pair>,
    /// To the thread with far ends, and to the process.
    pub(crate) pipes: [Pipes; 2],
    _child: Ended,
}

/// A child process, which ends once its orders do.
struct Ended(Child);

/// A child that does not end, because its other end failed, is killed after so many looks, 10 ms apart.
const LOOKS: u32 = 300;

impl Drop for Ended {
    fn drop(&mut self) {
        for _ in 0..LOOKS {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const THREAD: usize = 0;
const PROCESS: usize = 1;

impl Pairs {
    /// Starts the far ends on `core`; rings are made in `dir`. Queues and rings hold `room` messages, a power of two.
    pub(crate) fn start(
        dir: &Path,
        core: core_affinity::CoreId,
        room: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let mut pairs = Vec::new();
        let thread = start_thread(&mut pairs, core, room)?;
        let (child, process) = start_process(&mut pairs, dir, room)?;
        Ok(Self {
            pairs,
            pipes: [thread, process],
            _child: child,
        })
    }

    /// The pair of `peer` for messages of `size` bytes, and the pipes to its far end.
    pub(crate) fn get(&mut self, peer: Peer, size: usize) -> Option<(&mut dyn Near, &mut Pipes)> {
        let pair = self
            .pairs
            .iter_mut()
            .find(|pair| (pair.peer, pair.size) == (peer, size))?;
        Some((pair.near.as_mut(), &mut self.pipes[pair.place]))
    }
}

/// The peers whose far ends are in a thread of this process.
fn start_thread(
    pairs: &mut Vec<Pair>,
    core: core_affinity::CoreId,
    room: usize,
) -> Result<Pipes, Box<dyn Error>> {
    let (line_small, far_line_small) = Line::pair();
    let (line_large, far_line_large) = Line::pair();
    let (small, far_small) = Queue::<Packed<SMALL>, SMALL>::pair(room);
    let (large, far_large) = Queue::<Packed<LARGE>, LARGE>::pair(room);
    let (aligned_small, far_aligned_small) = Queue::<Aligned<SMALL>, SMALL>::pair(room);
    let (aligned_large, far_aligned_large) = Queue::<Aligned<LARGE>, LARGE>::pair(room);
    let nears: [(Peer, usize, Box<dyn Near>); 6] = [
        (
            Peer::Line,
            SMALL,
            Box::new(Local {
                end: line_small,
                far: 0,
            }),
        ),
        (
            Peer::Line,
            LARGE,
            Box::new(Local {
                end: line_large,
                far: 1,
            }),
        ),
        (Peer::Rtrb, SMALL, Box::new(Local { end: small, far: 2 })),
        (Peer::Rtrb, LARGE, Box::new(Local { end: large, far: 3 })),
        (
            Peer::RtrbAligned,
            SMALL,
            Box::new(Local {
                end: aligned_small,
                far: 4,
            }),
        ),
        (
            Peer::RtrbAligned,
            LARGE,
            Box::new(Local {
                end: aligned_large,
                far: 5,
            }),
        ),
    ];
    pairs.extend(nears.into_iter().map(|(peer, size, near)| Pair {
        peer,
        size,
        near,
        place: THREAD,
    }));
    let (orders, to_thread) = pipe()?;
    let (from_thread, answers): (_, PipeWriter) = pipe()?;
    thread::spawn(move || {
        core_affinity::set_for_current(core);
        let mut fars: Vec<Far> = vec![
            far(far_line_small),
            far(far_line_large),
            far(far_small),
            far(far_large),
            far(far_aligned_small),
            far(far_aligned_large),
        ];
        // An error means that the other side has gone.
        let _ = serve(&mut fars, BufReader::new(orders), answers);
    });
    Ok(Pipes::new(to_thread, BufReader::new(from_thread)))
}

/// The peers whose far ends are in another process.
fn start_process(pairs: &mut Vec<Pair>, dir: &Path, room: usize) -> Result<(Ended, Pipes), Box<dyn Error>> {
    let dirs = Dirs(dir);
    let small = create_ring(&dirs.there(SMALL), ring_capacity(room, SMALL))?;
    let large = create_ring(&dirs.there(LARGE), ring_capacity(room, LARGE))?;
    let services = service_names(dir);
    let iceoryx_small = Iceoryx::<SMALL>::new(&services, "there", "back")?;
    let iceoryx_large = Iceoryx::<LARGE>::new(&services, "there", "back")?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--far-end")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let orders: ChildStdin = child.stdin.take().ok_or("a child without stdin")?;
    let answers = child.stdout.take().ok_or("a child without stdout")?;
    let child = Ended(child);
    let mut pipes = Pipes::new(orders, BufReader::new(answers));
    pipes.ready()?;
    let small = Rings::<SMALL>::new(small, &dirs.back(SMALL))?;
    let large = Rings::<LARGE>::new(large, &dirs.back(LARGE))?;
    let nears: [(Peer, usize, Box<dyn Near>); 4] = [
        (Peer::Ring, SMALL, Box::new(Local { end: small, far: 0 })),
        (Peer::Ring, LARGE, Box::new(Local { end: large, far: 1 })),
        (
            Peer::Iceoryx,
            SMALL,
            Box::new(Local {
                end: iceoryx_small,
                far: 2,
            }),
        ),
        (
            Peer::Iceoryx,
            LARGE,
            Box::new(Local {
                end: iceoryx_large,
                far: 3,
            }),
        ),
    ];
    pairs.extend(nears.into_iter().map(|(peer, size, near)| Pair {
        peer,
        size,
        near,
        place: PROCESS,
    }));
    Ok((child, pipes))
}

/// The process with far ends.
pub(crate) fn far_process(dir: &Path) -> Result<(), Box<dyn Error>> {
    let dirs = Dirs(dir);
    let small = create_ring(&dirs.back(SMALL), BACK_CAPACITY)?;
    let large = create_ring(&dirs.back(LARGE), BACK_CAPACITY)?;
    let services = service_names(dir);
    let mut fars: Vec<Far> = vec![
        far(Rings::<SMALL>::new(small, &dirs.there(SMALL))?),
        far(Rings::<LARGE>::new(large, &dirs.there(LARGE))?),
        far(Iceoryx::<SMALL>::new(&services, "back", "there")?),
        far(Iceoryx::<LARGE>::new(&services, "back", "there")?),
    ];
    let mut answers = std::io::stdout();
    writeln!(answers, "0")?;
    Ok(serve(&mut fars, BufReader::new(std::io::stdin()), answers)?)
}

/// Where the rings of each size are.
struct Dirs<'a>(&'a Path);

impl Dirs<'_> {
    fn there(&self, size: usize) -> PathBuf {
        self.0.join(format!("there-{size}"))
    }

    fn back(&self, size: usize) -> PathBuf {
        self.0.join(format!("back-{size}"))
    }
}

/// Names of services that no other run has.
fn service_names(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    format!("twinline-peers/{name}")
}
