//! Where a ring is, and how it passes from one writer to the next.
//!
//! In a directory (on tmpfs: `/dev/shm/...`), per channel: `channel-N.ring`, the ring; `channel-N.lock`, held by its
//! writer as long as it lives, so that everybody can tell a dead one; `channel-N.bell`, by which readers tell the keeper that they sleep;
//! `channel-N.readers`, with a status page for each reader.
//!
//! Each writer makes a file of its own, whole before it gets its name. The file of the one before is marked as replaced, and
//! its readers, who have it mapped still, see that and open the new one.

use crate::RingError;
use crate::keeper::{Keeper, RingStats};
use crate::layout::{
    BUILD, CAPACITY_AT, CHANNEL_AT, CONTROL_LEN, INSTANCE_AT, JOURNAL, LAYOUT_VERSION, MAGIC, MAGIC_AT,
    MAX_RECORD_AT, MIN_CAPACITY, PROCESS_AT, STATE_AT, VERSION_AT, state,
};
use crate::memory::{Memory, Ring, put_text, text};
use crate::record::{FULL, Origin};
use crate::writer::Writer;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use twinline_wire::header::HEADER_LEN;
use twinline_wire::{Packet, Stamp};

/// Times, 10 ms apart, that the lock is tried for: a reader that asks whether the writer lives holds it for a moment.
const LOCK_ATTEMPTS: u32 = 50;

/// What a ring is made with.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// The channel.
    pub channel: u16,
    /// Bytes of records, a power of two, at least [`MIN_CAPACITY`].
    pub capacity: usize,
    /// The longest packet in bytes.
    pub max_packet: usize,
    /// The listener's own journal, where readers find what they missed.
    pub journal: PathBuf,
}

/// The files of a channel's ring in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) dir: PathBuf,
    pub(crate) channel: u16,
}

impl Paths {
    pub(crate) fn new(dir: &Path, channel: u16) -> Self {
        let dir = dir.to_owned();
        Self { dir, channel }
    }

    fn with(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("channel-{}.{ending}", self.channel))
    }

    pub(crate) fn ring(&self) -> PathBuf {
        self.with("ring")
    }

    fn unfinished(&self) -> PathBuf {
        self.with("ring.new")
    }

    fn lock(&self) -> PathBuf {
        self.with("lock")
    }

    pub(crate) fn bell(&self) -> PathBuf {
        self.with("bell")
    }

    pub(crate) fn readers(&self) -> PathBuf {
        self.with("readers")
    }

    /// Opens the writer's lock, to see whether it is held.
    pub(crate) fn open_lock(&self) -> Result<File, RingError> {
        let path = self.lock();
        File::open(&path).map_err(RingError::io("open", &path))
    }
}

/// The writing end of a ring. Dropping it closes the ring: readers are told.
#[derive(Debug)]
pub struct RingWriter {
    writer: Writer,
    ring: Arc<Ring>,
    paths: Paths,
    keeper: Keeper,
    /// Held as long as the writer lives.
    _lock: File,
}

impl RingWriter {
    /// Makes the ring of a channel in `dir` (and `dir`), in the place of one that is there. Readers of that one are told.
    ///
    /// # Errors
    /// Another writer that lives, no permission, no room, a size that cannot be.
    pub fn create(dir: &Path, config: &RingConfig) -> Result<Self, RingError> {
        if !config.capacity.is_power_of_two() || config.capacity < MIN_CAPACITY {
            return Err(RingError::Capacity {
                capacity: config.capacity,
                least: MIN_CAPACITY,
            });
        }
        let journal = std::path::absolute(&config.journal).map_err(RingError::io("find", &config.journal))?;
        if journal.as_os_str().len() > 8 * (JOURNAL.len() - 1) {
            return Err(RingError::JournalPath { path: journal });
        }
        let paths = Paths::new(dir, config.channel);
        fs::create_dir_all(paths.readers()).map_err(RingError::io("make", &paths.readers()))?;
        let lock = lock(&paths)?;
        replace_old(&paths);
        let path = paths.unfinished();
        let length = (CONTROL_LEN + config.capacity) as u64;
        let file = open_shared(&path)?;
        // What a writer left that was killed here is too short, or too long.
        file.set_len(0).map_err(RingError::io("empty", &path))?;
        fallocate(&file, FallocateFlags::empty(), 0, length).map_err(|cause| {
            let _ = fs::remove_file(&path);
            match cause {
                rustix::io::Errno::NOSPC => RingError::NoSpace {
                    path: path.clone(),
                    size: length,
                },
                cause => RingError::io("allocate", &path)(cause.into()),
            }
        })?;
        let memory = Memory::writable(&file).map_err(RingError::io("map", &path))?;
        let ring = Arc::new(Ring::new(memory, CONTROL_LEN / 8));
        describe(&ring, config, &journal);
        let keeper = Keeper::start(&paths, Arc::clone(&ring))?;
        fs::rename(&path, paths.ring()).map_err(RingError::io("name", &paths.ring()))?;
        Ok(Self {
            writer: Writer::new(Arc::clone(&ring)),
            ring,
            paths,
            keeper,
            _lock: lock,
        })
    }

    /// Writes messages `skip..skip + take` of a packet that came from `origin`. Call it once the listener's journal has them;
    /// `location` is where that ends now.
    #[inline]
    pub fn messages(
        &mut self,
        packet: &Packet<'_>,
        skip: u16,
        take: u16,
        receive_time: u64,
        origin: Origin,
        location: u64,
    ) {
        let stamp = Stamp {
            sequence: packet.sequence() + u64::from(skip),
            ..Stamp::of(packet.header())
        };
        let frames = packet.frames(skip, take);
        self.writer
            .messages(&stamp, receive_time, origin, location, frames, u64::from(take));
    }

    /// Writes a notice's frame. Call it once the listener's journal has it; `location` is where that ends now.
    pub fn notice(&mut self, stamp: &Stamp, receive_time: u64, location: u64, frame: &[u8]) {
        self.writer.notice(stamp, receive_time, location, frame);
    }

    /// Shows readers that the writing thread turns: call it from that thread several times a second.
    #[inline]
    pub fn beat(&mut self) {
        self.writer.beat();
    }

    /// What the keeper sees of the readers, for any thread.
    pub fn stats(&self) -> RingStats {
        self.keeper.stats()
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        self.ring.control(STATE_AT).store(state::CLOSED, Ordering::SeqCst);
        let _ = fs::remove_file(self.paths.ring());
    }
}

/// Opens a file that several processes share, to read and write it; makes it if it is not there.
pub(crate) fn open_shared(path: &Path) -> Result<File, RingError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(RingError::io("open", path))
}

/// Takes the lock of the one writer.
fn lock(paths: &Paths) -> Result<File, RingError> {
    let path = paths.lock();
    let file = open_shared(&path)?;
    for _ in 0..LOCK_ATTEMPTS {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(10)),
            Err(cause) => return Err(RingError::io("lock", &path)(cause.into())),
        }
    }
    Err(RingError::Busy {
        dir: paths.dir.clone(),
        channel: paths.channel,
        process: open(paths).map_or(0, |ring| ring.control(PROCESS_AT).load(Ordering::Relaxed)),
    })
}

/// Tells the readers of a ring that was left behind. One that cannot be read has none.
fn replace_old(paths: &Paths) {
    if open(paths).is_err() {
        return;
    }
    let file = OpenOptions::new().read(true).write(true).open(paths.ring());
    if let Ok(memory) = file.and_then(|file| Memory::writable(&file)) {
        memory.words()[STATE_AT].store(state::REPLACED, Ordering::Release);
    }
}

/// Fills the control page of a new ring.
fn describe(ring: &Ring, config: &RingConfig, journal: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let process = u64::from(std::process::id());
    let numbers = [
        (MAGIC_AT, MAGIC),
        (VERSION_AT, LAYOUT_VERSION),
        (CAPACITY_AT, config.capacity as u64),
        (CHANNEL_AT, config.channel.into()),
        (INSTANCE_AT, now.as_nanos() as u64 ^ process << 40),
        (PROCESS_AT, process),
        (MAX_RECORD_AT, max_record(config.max_packet) as u64),
    ];
    for (at, value) in numbers {
        ring.control(at).store(value, Ordering::Relaxed);
    }
    let build = concat!("twinline ", env!("CARGO_PKG_VERSION")).as_bytes();
    put_text(ring.control_words(BUILD), build);
    put_text(ring.control_words(JOURNAL), journal.as_os_str().as_bytes());
    ring.control(STATE_AT).store(state::LIVE, Ordering::Release);
}

/// The longest record of packets of up to `max_packet` bytes.
fn max_record(max_packet: usize) -> usize {
    8 * FULL + max_packet - HEADER_LEN
}

/// The listener's journal, as the ring names it.
pub(crate) fn journal(ring: &Ring) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&text(ring.control_words(JOURNAL))))
}

/// Bytes of the ring's longest record.
pub(crate) fn longest(ring: &Ring) -> usize {
    ring.control(MAX_RECORD_AT).load(Ordering::Relaxed) as usize
}

/// Opens a channel's ring for reading and checks that it is one that this build can read.
pub(crate) fn open(paths: &Paths) -> Result<Ring, RingError> {
    let path = paths.ring();
    let file = File::open(&path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => RingError::NoRing {
            dir: paths.dir.clone(),
            channel: paths.channel,
        },
        _ => RingError::io("open", &path)(cause),
    })?;
    let wrong = |reason| RingError::NotARing {
        path: path.clone(),
        reason,
    };
    let length = file.metadata().map_err(RingError::io("look at", &path))?.len();
    if length < CONTROL_LEN as u64 {
        return Err(wrong("it is shorter than a control page"));
    }
    let memory = Memory::read_only(&file).map_err(RingError::io("map", &path))?;
    let ring = Ring::new(memory, CONTROL_LEN / 8);
    let control = |at| ring.control(at).load(Ordering::Acquire);
    if control(STATE_AT) == 0 {
        return Err(wrong("it was never finished"));
    }
    if control(MAGIC_AT) != MAGIC {
        return Err(wrong("it does not begin as one"));
    }
    if control(VERSION_AT) != LAYOUT_VERSION {
        return Err(RingError::Version {
            found: control(VERSION_AT),
            known: LAYOUT_VERSION,
            build: String::from_utf8_lossy(&text(ring.control_words(BUILD))).into_owned(),
            path,
        });
    }
    let capacity = control(CAPACITY_AT);
    if !capacity.is_power_of_two()
        || capacity < MIN_CAPACITY as u64
        || CONTROL_LEN as u64 + capacity != length
    {
        return Err(wrong("its length is not what it says"));
    }
    if control(CHANNEL_AT) != u64::from(paths.channel) {
        return Err(wrong("it is of another channel than its name says"));
    }
    let longest = control(MAX_RECORD_AT);
    if !(8 * FULL as u64..=u64::from(u16::MAX)).contains(&longest) {
        return Err(wrong("its longest record cannot be"));
    }
    Ok(ring)
}
