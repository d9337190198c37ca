//! `twinline book`: the order books that a journal or a snapshot file adds up to.

mod changes;
mod follow;
mod report;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::journal::journals;
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use changes::{Changes, Format};
use clap::Args;
use follow::{Followed, Stop};
use std::path::{Path, PathBuf};
use twinline_book::snapshot::{encode, file};
use twinline_book::{Book, Follower};

/// Show the order books that a journal or a snapshot adds up to.
///
/// Reads a journal, a publisher's or a listener's, from its newest session's beginning to its end, or a snapshot file, and shows
/// for each instrument the best bid and offer, the orders in the book, the messages about orders that the book never saw,
/// how often the best changed, and a checksum: two books with the same checksum are equal, order by order, however they
/// came about.
///
/// Where a listener declared messages lost or void, the books are invalid from there on until the journal names a snapshot
/// that replaces them; they go on, and say so. Exit code 3 if any are invalid at the end. The snapshot is looked for in the
/// journal's own directory, or in --snapshots.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline book /var/lib/twinline/publisher\n  \
    twinline book /var/lib/twinline/listener --changes > changes.csv\n  \
    twinline book /var/lib/twinline/listener --changes --format jsonl --symbol 65537 | tail -1\n  \
    twinline book /var/lib/twinline/publisher --depth 5 --at 2000\n  \
    twinline book /var/lib/twinline/publisher --at 2000 --save /tmp/snapshots\n  \
    twinline book \"$(ls /tmp/snapshots/*.twb | tail -1)\" --json\n  \
    twinline book /var/lib/twinline/publisher --from \"$(ls /tmp/snapshots/*.twb | tail -1)\"")]
pub(crate) struct BookArgs {
    /// A journal's directory, one with the journals of several channels, or a snapshot file
    #[arg(value_name = "JOURNAL|SNAPSHOT")]
    input: PathBuf,
    /// Only this channel, of several
    #[arg(long, value_name = "NUMBER", help_heading = "Which part")]
    channel: Option<u16>,
    /// This session [default: the newest]
    #[arg(long, value_name = "NUMBER", help_heading = "Which part")]
    session: Option<u32>,
    /// The state before this sequence
    #[arg(long, value_name = "SEQUENCE", help_heading = "Which part")]
    at: Option<u64>,
    /// Begin with this snapshot, and go on with the journal behind it
    #[arg(long, value_name = "FILE", help_heading = "Which part")]
    from: Option<PathBuf>,
    /// Where the snapshots are that the journal names [default: in the journal's directory]
    #[arg(long, value_name = "DIR", help_heading = "Which part")]
    snapshots: Option<PathBuf>,
    /// This instrument: its symbol or its number; may be given several times
    #[arg(
        long,
        value_name = "SYMBOL|NUMBER",
        value_delimiter = ',',
        help_heading = "Which part"
    )]
    symbol: Vec<String>,
    /// Show every change of a best bid or offer in place of the table
    #[arg(long, conflicts_with = "depth", help_heading = "Output")]
    changes: bool,
    /// How to show changes
    #[arg(
        long,
        value_enum,
        default_value = "csv",
        requires = "changes",
        help_heading = "Output"
    )]
    format: Format,
    /// Show so many price levels of each book in place of the table
    #[arg(long, value_name = "LEVELS", help_heading = "Output")]
    depth: Option<usize>,
    /// Write the books as a snapshot file into this directory; of several channels into channel-N in it
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    save: Option<PathBuf>,
}

impl BookArgs {
    /// True if the book is to be shown.
    fn takes(&self, book: &Book<'_>) -> bool {
        let is_it = |text: &String| text == book.symbol() || text.parse() == Ok(book.instrument());
        self.symbol.is_empty() || self.symbol.iter().any(is_it)
    }

    /// The inputs that are asked for.
    fn inputs(&self) -> Result<Vec<PathBuf>, Failure> {
        if !self.input.is_dir() {
            if self.from.is_some() || self.at.is_some() || self.session.is_some() {
                return Err(Failure::usage(format!(
                    "{} is one state already: --from, --at and --session need a journal's directory",
                    self.input.display()
                )));
            }
            return Ok(vec![self.input.clone()]);
        }
        let all = journals(&self.input)?;
        let asked =
            |channel: Option<u16>| self.channel.is_none() || channel.is_none() || channel == self.channel;
        let inputs: Vec<PathBuf> = all
            .into_iter()
            .filter(|(channel, _)| asked(*channel))
            .map(|(_, dir)| dir)
            .collect();
        match &inputs[..] {
            [] => Err(Failure::usage(format!(
                "{} has no such channel: --channel takes one that it has",
                self.input.display()
            ))),
            [_, _, ..] if self.at.is_some() || self.from.is_some() => Err(Failure::usage(
                "--at and --from are of one channel: name it with --channel",
            )),
            _ => Ok(inputs),
        }
    }
}

/// Runs `twinline book`.
pub(crate) fn run(args: &BookArgs, global: &Global) -> Result<Finish, Failure> {
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let inputs = args.inputs()?;
    let mut changes = args.changes.then(|| Changes::new(args.format));
    let mut all = Vec::new();
    for input in &inputs {
        let followed = if input.is_dir() {
            let from = args.from.as_deref().map(file::read).transpose()?;
            let wanted = Stop {
                session: args.session,
                before: args.at,
                stop: &stop,
                snapshots: args.snapshots.as_deref().unwrap_or(input),
            };
            let shown = |book: &Book<'_>| args.takes(book);
            follow::journal(input, from, &wanted, shown, changes.as_mut(), &mut progress)?
        } else {
            Followed::still(Follower::from_snapshot(file::read(input)?))
        };
        all.push(followed);
    }
    if let Some(changes) = changes {
        changes.finish()?;
    }
    let mut summary = Summary::new("book");
    report::fill(&mut summary, &all, args);
    if let Some(dir) = &args.save {
        save(dir, &all, args.changes, &mut summary)?;
    }
    summary.warnings = progress.warnings().to_vec();
    summary.silent = args.changes;
    let valid = all.iter().all(|followed| followed.follower.books().is_valid());
    Ok(Finish::with(
        summary,
        if valid { Exit::Success } else { Exit::Loss },
    ))
}

/// Writes snapshot files; of invalid books none, as nobody could go on from them.
fn save(dir: &Path, all: &[Followed], changes: bool, summary: &mut Summary) -> Result<(), Failure> {
    let mut saved = Vec::new();
    for followed in all {
        let place = followed.follower.place();
        let books = followed.follower.books();
        if place.session == 0 {
            return Err(Failure::error(
                "nothing to save: the journal holds no message of that session",
            ));
        }
        if !books.is_valid() {
            return Err(Failure {
                exit: Exit::Loss,
                text: format!(
                    "channel {}: the books are invalid, so they are not saved; read the publisher's journal, or \
                     begin with a snapshot behind the loss (--from)",
                    place.channel
                ),
            });
        }
        let dir = match all {
            [_] => dir.to_owned(),
            _ => dir.join(format!("channel-{}", place.channel)),
        };
        let path = file::write(&dir, &place, &encode(books, &place))?;
        saved.push(path.display().to_string());
    }
    if !changes {
        summary
            .own_text
            .extend(saved.iter().map(|path| format!("saved {path}\n")));
    }
    summary.set("saved", saved);
    Ok(())
}
