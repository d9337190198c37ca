//! Books from a listener's journal, for a program that attaches: the newest snapshot that the journal names, and the messages
//! behind it.

use crate::join::files::{FilesError, is_named};
use std::path::Path;
use twinline_book::snapshot::file;
use twinline_book::{Follower, Told, Wanted};
use twinline_journal::{JournalError, JournalReader, Seek};

/// A listener's stream that is followed.
#[derive(Debug)]
pub struct OpenBooks {
    /// The books, valid unless the stream says otherwise.
    pub follower: Follower,
    reader: JournalReader,
}

impl OpenBooks {
    /// The books of the newest session in the listener's journal in `dir`, up to its end.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn open(dir: &Path) -> Result<Self, FilesError> {
        let mut reader = JournalReader::open(dir)?;
        let session = reader.head()?.map_or(0, |head| head.session);
        let mut follower = Follower::new();
        let files = file::list(dir)?;
        for path in files.iter().rev() {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((of, epoch, sequence)) = name.and_then(file::parse_name) else {
                continue;
            };
            if of == session
                && is_named(&mut reader, session, epoch, sequence)?
                && matches!(reader.seek(session, sequence)?, Seek::Found | Seek::NotYet)
                && let Ok(snapshot) = file::read(path)
            {
                follower = Follower::from_snapshot(snapshot);
                break;
            }
        }
        if follower.place().session == 0 {
            let oldest = reader.session(session)?.map_or(1, |span| span.oldest);
            reader.seek(session, oldest)?;
        }
        let mut books = Self { follower, reader };
        books.follow()?;
        Ok(books)
    }

    /// Takes what was added to the journal since; how many messages that were.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn follow(&mut self) -> Result<u64, FilesError> {
        let (mut wanted, mut messages) = (None, 0);
        loop {
            let packet = match self.reader.next() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(messages),
                // What it had is void, or what follows it is gone: the follower sees that from what comes next.
                Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            messages += u64::from(packet.header().count.get());
            self.follower.packet(&packet, |_, told| {
                if let Told::Wanted(snapshot) = told {
                    wanted = Some(snapshot);
                }
            });
            if let Some(wanted) = wanted.take() {
                self.replace(&wanted);
            }
        }
    }

    /// A state that cannot be read leaves the books invalid, which they say.
    fn replace(&mut self, wanted: &Wanted) {
        let name = file::name(wanted.session, wanted.epoch, wanted.sequence);
        if let Ok(snapshot) = file::read(&self.reader.dir().join(name)) {
            let _ = self.follower.replace(snapshot);
        }
    }
}
