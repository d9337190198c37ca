//! Books and snapshots in a run: the services' real books and files, and the judgement of every state that a listener took.

use crate::ledger::{Ledger, Session};
use crate::publisher::CHANNEL;
use crate::record::{Item, Stream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twinline_book::Books;
use twinline_book::snapshot::file;
use twinline_journal::JournalReader;
use twinline_reader::{Options, Reader};
use twinline_recovery::SnapshotConfig;
use twinline_recovery::server::snapshot::{Keeper, Shelf, Step};
use twinline_wire::Frame;

/// Steps of the books in a millisecond, at most.
const STEPS: usize = 8;

/// The books of a recovery service, and its snapshot files, which outlive it.
pub(crate) struct ServiceBooks {
    config: SnapshotConfig,
    keeper: Keeper,
    pub(crate) shelf: Arc<Shelf>,
}

impl ServiceBooks {
    /// Those of a service that has just started.
    pub(crate) fn new(dir: PathBuf) -> Self {
        let config = SnapshotConfig {
            every_messages: 300,
            every: Duration::from_secs(3600),
            keep: 3,
            max_behind: 50,
            wait: Duration::from_millis(50),
            ..SnapshotConfig::new(dir)
        };
        let shelf = Shelf::new(&config);
        Self {
            keeper: Keeper::new(config.clone(), CHANNEL, Arc::clone(&shelf)),
            shelf,
            config,
        }
    }

    /// The service is killed and starts again.
    pub(crate) fn restart(&mut self) {
        // The directory is let go of before it is taken again.
        let nowhere = SnapshotConfig {
            dir: self.config.dir.with_extension("nowhere"),
            ..self.config.clone()
        };
        self.keeper = Keeper::new(nowhere, CHANNEL, Shelf::new(&self.config));
        *self = Self::new(self.config.dir.clone());
    }

    /// Takes a step of 1 ms over the journal in `dir`.
    pub(crate) fn step(&mut self, dir: &Path, now: u64) {
        if !self.keeper.is_attached()
            && let Ok(reader) = JournalReader::open(dir)
        {
            self.keeper.attach(reader);
        }
        for _ in 0..STEPS {
            if self.keeper.step(now) == Step::Idle {
                break;
            }
        }
    }

    /// Another copy of the journal comes next.
    pub(crate) fn detach(&mut self) {
        self.keeper.detach();
    }
}

/// All that books say: their checksum, and how far each source has come.
type Said = (u64, Vec<(u16, Option<u64>)>);

fn said(books: &Books) -> Said {
    let sources = books.sources().iter();
    (
        books.checksum(),
        sources.map(|source| (source.source, source.position)).collect(),
    )
}

/// What the books say that the valid messages below `sequence` make.
fn truth_at(session: &Session, sequence: u64) -> Said {
    let mut books = Books::new();
    for entry in session
        .entries
        .iter()
        .take_while(|entry| entry.sequence < sequence)
    {
        if let Some((frame, _)) = Frame::split(session.bytes(entry)) {
            books.apply(&frame);
        }
    }
    said(&books)
}

/// Checks every state that a listener's stream names, and the books that a program has that attaches to its journal at the
/// end. Returns how many states there were, and whether the books at the end are valid.
pub(crate) fn judge(dir: &Path, stream: &Stream, ledger: &Ledger) -> Result<(u64, bool), String> {
    let nothing = Session::default();
    let mut states = 0;
    for (at, item) in stream.items.iter().enumerate() {
        let Item::Replaced(number, sequence, epoch) = *item else {
            continue;
        };
        states += 1;
        let truth = ledger.sessions.get(&number).unwrap_or(&nothing);
        let snapshot = file::read(&dir.join(file::name(number, epoch, sequence)))
            .map_err(|error| format!("a state that the stream names is not there: {error}"))?;
        // The last message of the state is the same in the end, so all before it are.
        if truth.get(sequence - 1).is_some_and(|entry| entry.epoch == epoch) {
            if said(&snapshot.books) != truth_at(truth, sequence) {
                return Err(format!(
                    "the state of session {number} at {sequence} is not what the journal's messages below it make"
                ));
            }
            continue;
        }
        let told = stream.items[at..].iter().any(|later| match *later {
            Item::Void(of, span, _) | Item::Lost(of, span, _) => of == number && span.end >= sequence,
            _ => false,
        });
        if !told && !truth.entries.is_empty() {
            return Err(format!(
                "the state of session {number} at {sequence} is void, and nothing says so"
            ));
        }
    }
    let mut reader = Reader::open_journal(dir, Options::default()).map_err(|error| error.to_string())?;
    while reader.next().map_err(|error| error.to_string())?.is_some() {}
    let (place, books) = (reader.position(), reader.all_books().cloned().unwrap_or_default());
    let is_valid = books.is_valid();
    let truth = ledger.sessions.get(&place.session);
    if let Some(truth) = truth.filter(|_| is_valid)
        && said(&books) != truth_at(truth, place.sequence)
    {
        return Err(format!(
            "the books at the end, session {} at {}, are not what the journal's messages make",
            place.session, place.sequence
        ));
    }
    Ok((states, is_valid))
}
