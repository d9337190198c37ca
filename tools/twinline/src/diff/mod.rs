//! `twinline diff`: compares listeners' journals with a publisher's, message by message.

mod compare;
mod cursor;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::journal::journals;
use crate::progress::Progress;
use crate::summary::{Counts, Summary, show_counts};
use crate::units::show_count;
use clap::Args;
pub(crate) use compare::Range;
use compare::{Comparer, Comparison, Ranges, Replaced, Step};
use cursor::{Cursor, Scope, is_source};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use twinline_wire::message;

/// Compare listeners' journals with a publisher's, message by message.
///
/// Messages are equal by session, epoch, sequence and every byte; how they are packed into packets does not matter, and
/// neither do a listener's notices. Exit code 0 only if all journals are equal, otherwise 5: then the first difference
/// and all missing and extra ranges are named. Directories that hold several channels' journals are compared channel by
/// channel. A journal that is still written is compared as far as it goes.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  twinline diff /var/lib/twinline/publisher /var/lib/twinline/listener-1 /var/lib/twinline/listener-2"
)]
pub(crate) struct Diff {
    /// The publisher's journal
    publisher: PathBuf,
    /// The listeners' journals
    #[arg(required = true)]
    listeners: Vec<PathBuf>,
    /// Compare only what the source said, in its order: for two runs of the same source, one of them interrupted,
    /// whose sequences differ
    #[arg(long)]
    source_messages: bool,
}

/// One journal, counted.
#[derive(Debug, Default, Serialize)]
struct Held {
    journal: PathBuf,
    messages: u64,
    source_messages: u64,
    by_template: Counts,
    #[serde(skip)]
    packets: u64,
    #[serde(skip)]
    bytes: u64,
}

impl Held {
    /// Adds another channel's.
    fn add(&mut self, other: Held) {
        self.messages += other.messages;
        self.source_messages += other.source_messages;
        self.packets += other.packets;
        self.bytes += other.bytes;
        for (name, count) in other.by_template {
            *self.by_template.entry(name).or_default() += count;
        }
    }
}

/// One listener's journal, compared.
#[derive(Debug, Serialize)]
struct Verdict {
    equal: bool,
    #[serde(flatten)]
    held: Held,
    lost_announced: u64,
    /// Messages that are missing without a word: no notice of the listener declares them lost.
    missing_silently: u64,
    /// Where its state was replaced by a snapshot.
    states_replaced: Vec<Replaced>,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Runs `twinline diff`.
pub(crate) fn run(args: &Diff, global: &Global) -> Result<Finish, Failure> {
    let scope = match args.source_messages {
        true => Scope::SourceMessages,
        false => Scope::Everything,
    };
    let mut progress = Progress::new(global.progress);
    let mut publisher = Held::default();
    let mut verdicts = Vec::new();
    for (number, listener) in args.listeners.iter().enumerate() {
        let title = format!("diff {} of {}", number + 1, args.listeners.len());
        publisher = Held {
            journal: args.publisher.clone(),
            ..Held::default()
        };
        for (ours, theirs) in pairs(&args.publisher, listener)? {
            let mut left = Cursor::open(&ours, scope)?;
            let mut right = Cursor::open(&theirs, scope)?;
            let comparison = compare(&mut left, &mut right, &mut progress, &title)?;
            publisher.add(held(&ours, &left));
            let mut silent = comparison.missing.clone();
            for lost in &right.lost {
                silent.remove(*lost);
            }
            verdicts.push(Verdict {
                equal: comparison.is_equal(),
                held: held(&theirs, &right),
                lost_announced: right
                    .lost
                    .iter()
                    // How many an open end had is not known.
                    .filter(|lost| lost.end != u64::MAX)
                    .map(|lost| lost.end.saturating_sub(lost.begin))
                    .sum(),
                missing_silently: silent.messages,
                states_replaced: right.replaced.clone(),
                comparison,
            });
        }
    }
    Ok(finish(&publisher, &verdicts))
}

/// The journals to compare: of several channels each with the other's of the same number.
fn pairs(publisher: &Path, listener: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let (ours, theirs) = (journals(publisher)?, journals(listener)?);
    let numbers = |of: &[(Option<u16>, PathBuf)]| of.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let is_several = |of: &[(Option<u16>, PathBuf)]| of.iter().any(|(number, _)| number.is_some());
    if !is_several(&ours) && !is_several(&theirs) || numbers(&ours) == numbers(&theirs) {
        return Ok(ours
            .into_iter()
            .zip(theirs)
            .map(|((_, ours), (_, theirs))| (ours, theirs))
            .collect());
    }
    let named = |of: &[(Option<u16>, PathBuf)]| {
        let names = of
            .iter()
            .map(|(number, _)| number.map_or("one".into(), |number| number.to_string()));
        names.collect::<Vec<_>>().join(", ")
    };
    Err(Failure {
        exit: Exit::Differ,
        text: format!(
            "{} has the channels {}, {} has {}: compare those that both have, directory by directory",
            publisher.display(),
            named(&ours),
            listener.display(),
            named(&theirs)
        ),
    })
}

fn compare(
    left: &mut Cursor,
    right: &mut Cursor,
    progress: &mut Progress,
    title: &str,
) -> Result<Comparison, Failure> {
    const LOOK_EVERY: u64 = 1 << 16;
    let mut comparer = Comparer::default();
    for count in 1_u64.. {
        for void in right.voids() {
            comparer.void(void);
        }
        let Some(step) = comparer.step(left.peek(), right.peek()) else {
            break;
        };
        if step != Step::Right {
            left.advance()?;
        }
        if step != Step::Left {
            right.advance()?;
        }
        if count % LOOK_EVERY == 0 {
            progress.figures(|| {
                let mut summary = Summary::new(title);
                summary.messages = count;
                summary
            });
        }
    }
    Ok(comparer.finish())
}

fn held(journal: &Path, cursor: &Cursor) -> Held {
    let mut held = Held {
        journal: journal.to_owned(),
        packets: cursor.packets,
        bytes: cursor.bytes,
        ..Held::default()
    };
    for (template, count) in cursor.templates() {
        held.messages += count;
        if is_source(template) {
            held.source_messages += count;
        }
        let name = message::template(template).map_or("unknown", |definition| definition.name);
        *held.by_template.entry(name.into()).or_default() += count;
    }
    held
}

fn finish(publisher: &Held, verdicts: &[Verdict]) -> Finish {
    let equal = verdicts.iter().all(|verdict| verdict.equal);
    let mut summary = Summary::new("diff");
    summary.messages = publisher.messages;
    summary.packets = publisher.packets;
    summary.bytes = publisher.bytes;
    summary.set("equal", equal);
    summary.set("publisher", publisher);
    summary.set("listeners", verdicts);
    summary.own_text = text(publisher, verdicts);
    let exit = if equal { Exit::Success } else { Exit::Differ };
    Finish::with(summary, exit)
}

fn text(publisher: &Held, verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "{}: {} messages, {} of them from the source ({})\n",
        publisher.journal.display(),
        show_count(publisher.messages),
        show_count(publisher.source_messages),
        show_counts(publisher.by_template.iter())
    );
    for verdict in verdicts {
        let _ = write_verdict(&mut text, verdict);
    }
    text
}

fn write_verdict(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let found = &verdict.comparison;
    write!(out, "{}: ", verdict.held.journal.display())?;
    let void = match found.void {
        0 => String::new(),
        void => format!(" (and {} declared void)", show_count(void)),
    };
    if verdict.equal {
        return writeln!(out, "equal, all {} messages{void}", show_count(found.equal));
    }
    writeln!(
        out,
        "NOT EQUAL; {} messages are equal{void}",
        show_count(found.equal)
    )?;
    if let Some(first) = &found.first {
        writeln!(
            out,
            "  first difference: session {} sequence {}: {}",
            first.session, first.sequence, first.what
        )?;
        for (who, message) in [("publisher", &first.publisher), ("listener", &first.listener)] {
            if let Some(message) = message {
                writeln!(out, "    {who}: {message}")?;
            }
        }
    }
    for (name, ranges) in [
        ("missing", &found.missing),
        ("extra", &found.extra),
        ("different", &found.different),
    ] {
        write_ranges(out, name, ranges)?;
    }
    if found.disorder > 0 {
        writeln!(out, "  twice or out of order: {}", show_count(found.disorder))?;
    }
    if verdict.lost_announced > 0 {
        writeln!(
            out,
            "  the listener's own notices declare {} lost",
            show_count(verdict.lost_announced)
        )?;
    }
    if found.missing.messages > 0 {
        match verdict.missing_silently {
            0 => writeln!(out, "  nothing is missing that its notices do not declare lost")?,
            silent => writeln!(out, "  {} are missing without a word", show_count(silent))?,
        }
    }
    for state in &verdict.states_replaced {
        writeln!(
            out,
            "  its state was replaced by a snapshot in session {} at {}",
            state.session, state.sequence
        )?;
    }
    Ok(())
}

fn write_ranges(out: &mut String, name: &str, ranges: &Ranges) -> std::fmt::Result {
    if ranges.messages == 0 {
        return Ok(());
    }
    let list: Vec<_> = ranges.ranges.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "  {name} {}: {}",
        show_count(ranges.messages),
        list.join(", ")
    )
}
