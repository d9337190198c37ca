//! Reading a source's file: plain or gzip, from a disk or a pipe, and how much of it is read.

use super::SourceError;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a source reads from.
pub(super) type Reader = Box<dyn Read + Send>;

/// How much of a file was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    read: Arc<AtomicU64>,
    /// Bytes of the file as it lies on the disk; 0 if that is not known.
    size: u64,
}

impl Progress {
    /// The share that was read, from 0 to 1; `None` for a pipe.
    pub(super) fn share(&self) -> Option<f64> {
        let read = self.read.load(Ordering::Relaxed) as f64;
        (self.size > 0).then(|| (read / self.size as f64).min(1.0))
    }
}

/// The file's content, decompressed if its first bytes say gzip. Never seeks, so that a pipe will do.
///
/// # Errors
/// If it cannot be opened or read, or is empty.
pub(super) fn open(path: &Path) -> Result<(Reader, Progress), SourceError> {
    let failed = |cause| SourceError::Open {
        path: path.into(),
        cause,
    };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let progress = Progress {
        size: if about.is_file() { about.len() } else { 0 },
        ..Progress::default()
    };
    let mut file = Counted {
        file,
        read: progress.read.clone(),
    };
    let mut magic = Vec::new();
    (&mut file).take(2).read_to_end(&mut magic).map_err(failed)?;
    if magic.is_empty() {
        return Err(SourceError::Empty { path: path.into() });
    }
    let gzip = magic == [0x1f, 0x8b];
    let whole = io::Cursor::new(magic).chain(file);
    let reader: Reader = if gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole)))
    } else {
        Box::new(whole)
    };
    Ok((reader, progress))
}

/// What a failed read says about the file.
pub(super) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip data is cut off".into(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            format!("the gzip data is corrupt ({error})")
        }
        _ => format!("it cannot be read on ({error})"),
    }
}

/// A file that counts what is read of it.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
