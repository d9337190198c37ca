//! The control file: what a journal was made with, and the few counters that writer and readers share.

use crate::JournalError;
use crate::files;
use crate::map::{Map, WriteMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"TWJOURNL";
const FORMAT: u32 = 1;
const SIZE: usize = 4096;

const FORMAT_AT: usize = 8;
const CHANNEL_AT: usize = 12;
const SEGMENT_SIZE_AT: usize = 16;
const MAX_PACKET_AT: usize = 24;
const ID_AT: usize = 32;
const INODE_AT: usize = 40;
const BOOT_AT: usize = 48;
// Each counter on a cache line of its own: readers poll the first.
const GENERATION_AT: usize = 128;
const SYNCED_AT: usize = 192;
const FIRST_AT: usize = 256;

/// A place in the journal: segment and offset, in order, as one number that is stored at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    /// Byte `at`, a multiple of 64, of the segment `index`.
    pub(crate) fn new(index: u64, at: usize) -> Self {
        debug_assert!(index >> 32 == 0 && at.is_multiple_of(64) && at >> 38 == 0);
        Self(index << 32 | (at as u64) >> 6)
    }

    pub(crate) fn index(self) -> u64 {
        self.0 >> 32
    }

    pub(crate) fn at(self) -> usize {
        ((self.0 & 0xffff_ffff) << 6) as usize
    }

    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// A place between two packets of a journal. Later ones are greater, as long as the journal is not cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location(u64);

impl Location {
    /// The place as a number that keeps the order, to be stored elsewhere.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The place that [`to_bits`](Self::to_bits) gave.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self(location.0)
    }
}

impl From<Position> for Location {
    fn from(position: Position) -> Self {
        Self(position.to_bits())
    }
}

/// What a journal was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) channel: u16,
    pub(crate) segment_size: usize,
    pub(crate) max_packet: usize,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("control")
}

/// True if `dir` holds a control file.
pub(crate) fn exists(dir: &Path) -> bool {
    path(dir).exists()
}

/// Makes the control file of a new journal, durably and at once.
pub(crate) fn create(dir: &Path, made: &Made) -> Result<(), JournalError> {
    let temporary = dir.join("control.tmp");
    let mut bytes = vec![0; SIZE];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[FORMAT_AT..FORMAT_AT + 4].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[CHANNEL_AT..CHANNEL_AT + 2].copy_from_slice(&made.channel.to_le_bytes());
    bytes[SEGMENT_SIZE_AT..SEGMENT_SIZE_AT + 8].copy_from_slice(&(made.segment_size as u64).to_le_bytes());
    bytes[MAX_PACKET_AT..MAX_PACKET_AT + 8].copy_from_slice(&(made.max_packet as u64).to_le_bytes());
    let mut file = File::create(&temporary).map_err(files::write_error("create", &temporary))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| files::space_error(error, dir, SIZE as u64, "write", &temporary))?;
    files::rename(&temporary, &path(dir))?;
    files::sync_dir(dir)
}

/// Opens the control file; for writing if `write`. Checks that it is one of this build's format.
fn open_file(dir: &Path, write: bool) -> Result<File, JournalError> {
    let path = path(dir);
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .open(&path)
        .map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return files::no_journal(dir);
            }
            files::write_error("open", &path)(error)
        })?;
    let length = file.metadata().map_err(JournalError::io("look at", &path))?.len();
    if length == SIZE as u64 {
        Ok(file)
    } else {
        Err(JournalError::NotAJournal(dir.to_owned()))
    }
}

fn check(map: &Map, dir: &Path) -> Result<Made, JournalError> {
    if map.long(0) != u64::from_le_bytes(*MAGIC) {
        return Err(JournalError::NotAJournal(dir.to_owned()));
    }
    let found = map.word(FORMAT_AT);
    if found != FORMAT {
        return Err(JournalError::Format {
            dir: dir.to_owned(),
            found,
            known: FORMAT,
        });
    }
    let made = Made {
        channel: map.word(CHANNEL_AT) as u16,
        segment_size: map.long(SEGMENT_SIZE_AT) as usize,
        max_packet: map.long(MAX_PACKET_AT) as usize,
    };
    if crate::segment::Geometry::new(&made).is_err() {
        return Err(JournalError::NotAJournal(dir.to_owned()));
    }
    Ok(made)
}

/// The control file of a reader.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    map: Map,
}

impl Control {
    /// Opens the control file of the journal in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Made), JournalError> {
        let file = open_file(dir, false)?;
        let map = Map::open(&file).map_err(JournalError::io("map", &path(dir)))?;
        let made = check(&map, dir)?;
        Ok((Self { map }, made))
    }

    /// Grows whenever a reader must look anew at the files.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.map.long(GENERATION_AT)
    }

    /// Everything before this is durable.
    pub(crate) fn synced(&self) -> Position {
        Position::from_bits(self.map.long(SYNCED_AT))
    }

    /// The oldest segment.
    pub(crate) fn first(&self) -> u64 {
        self.map.long(FIRST_AT)
    }

    /// The journal's own number; see [`crate::JournalWriter::id`].
    pub(crate) fn id(&self) -> u64 {
        self.map.long(ID_AT)
    }

    /// True if a writer has opened it since this machine started: what it holds is what was committed, not what a
    /// power cut left of it.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        boot().is_some_and(|boot| boot == [self.map.long(BOOT_AT), self.map.long(BOOT_AT + 8)])
    }
}

/// The control file of the writer.
#[derive(Debug)]
pub(crate) struct ControlWriter {
    map: WriteMap,
    path: PathBuf,
    reader: Control,
}

impl ControlWriter {
    /// Opens the control file of the journal in `dir`, whose writer lock is held.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Made), JournalError> {
        let file = open_file(dir, true)?;
        let path = path(dir);
        let map = WriteMap::open(&file).map_err(JournalError::io("map", &path))?;
        let made = check(&map, dir)?;
        let reader = Control { map: map.share() };
        let inode = std::os::unix::fs::MetadataExt::ino(
            &file.metadata().map_err(JournalError::io("look at", &path))?,
        );
        // A new journal, or a copy of another one: a name of its own.
        if reader.id() == 0 || map.long(INODE_AT) != inode {
            map.store_long(INODE_AT, inode);
            map.store_long(
                ID_AT,
                random().map_err(JournalError::io("read", Path::new("/dev/urandom")))?,
            );
        }
        Ok((Self { map, path, reader }, made))
    }

    /// What readers see.
    pub(crate) fn read(&self) -> &Control {
        &self.reader
    }

    pub(crate) fn set_synced(&self, position: Position) {
        self.map.store_long(SYNCED_AT, position.to_bits());
    }

    pub(crate) fn set_first(&self, index: u64) {
        self.map.store_long(FIRST_AT, index);
    }

    /// Tells readers to look anew at the files.
    pub(crate) fn next_generation(&self) {
        self.map.store_long(GENERATION_AT, self.reader.generation() + 1);
    }

    /// Says that a writer has recovered the journal in this boot.
    pub(crate) fn claim(&self) {
        let [low, high] = boot().unwrap_or_default();
        self.map.store_long(BOOT_AT, low);
        self.map.store_long(BOOT_AT + 8, high);
    }

    pub(crate) fn flush(&self) -> Result<(), JournalError> {
        self.map
            .flush(0, SIZE)
            .map_err(JournalError::io("sync", &self.path))
    }
}

/// This start of the machine.
fn boot() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let number = u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()?;
    Some([number as u64, (number >> 64) as u64])
}

fn random() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
