//! `twinline journal info|verify`: what a journal holds, and whether it is whole.

use crate::exit::{Exit, Failure, Finish};
use crate::summary::Summary;
use crate::units::{show_bytes, show_count};
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use twinline_journal::{Info, VerifyReport};

/// Describe or check a journal, also while it is written. Of several channels, each.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline journal info /var/lib/twinline/publisher\n  twinline journal verify /var/lib/twinline/listener"
)]
pub(crate) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show channel, sizes, writer, sessions and epochs
    #[command(after_help = "Example:\n  twinline journal info /var/lib/twinline/publisher")]
    Info {
        /// The journal's directory
        dir: PathBuf,
    },
    /// Check every packet: checksum, messages, and that each continues the one before
    ///
    /// Exit code 0 if all is right, 5 if something is not; it says where.
    #[command(after_help = "Example:\n  twinline journal verify /var/lib/twinline/listener")]
    Verify {
        /// The journal's directory
        dir: PathBuf,
    },
}

/// Runs `twinline journal`.
pub(crate) fn run(args: &Journal) -> Result<Finish, Failure> {
    let (name, dir) = match &args.action {
        Action::Info { dir } => ("journal info", dir),
        Action::Verify { dir } => ("journal verify", dir),
    };
    let one = |dir: &Path| match &args.action {
        Action::Info { .. } => Ok::<_, Failure>(describe(dir, &twinline_journal::info(dir)?)),
        Action::Verify { .. } => Ok(checked(dir, &twinline_journal::verify(dir)?)),
    };
    let journals = journals(dir)?;
    if let [(_, only)] = &journals[..] {
        return one(only);
    }
    let mut all = Finish::success(Summary::new(name));
    let mut channels = Vec::new();
    for (_, dir) in &journals {
        let of = one(dir)?;
        all.summary.messages += of.summary.messages;
        all.summary.packets += of.summary.packets;
        all.summary.bytes += of.summary.bytes;
        all.summary.own_text += &of.summary.own_text;
        channels.push(of.summary);
        if let Some(error) = of.error {
            all.exit = of.exit;
            all.error = Some(
                all.error
                    .map_or(error.clone(), |before| format!("{before}; {error}")),
            );
        }
    }
    all.summary.set("channels", channels);
    Ok(all)
}

/// The journal in `path`, or those of its channels, with their numbers and in order, if it holds several.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn journals(path: &Path) -> Result<Vec<(Option<u16>, PathBuf)>, Failure> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        // Whoever opens it says what is wrong.
        Err(_) => return Ok(vec![(None, path.to_owned())]),
    };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("channel-")?.parse().ok();
    let mut channels: Vec<(Option<u16>, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|cause| Failure::error(format!("cannot read {}: {cause}", path.display())))?
            .path();
        if let Some(number) = number(&path) {
            channels.push((Some(number), path));
        }
    }
    channels.sort();
    if channels.is_empty() {
        return Ok(vec![(None, path.to_owned())]);
    }
    Ok(channels)
}

fn describe(dir: &Path, info: &Info) -> Finish {
    let mut summary = Summary::new("journal info");
    summary.bytes = info.bytes;
    let sessions: Vec<_> = info
        .sessions
        .iter()
        .map(|session| {
            let epochs: Vec<_> = session
                .epochs
                .iter()
                .map(|(epoch, base)| serde_json::json!({ "epoch": epoch, "base": base }))
                .collect();
            serde_json::json!({
                "session": session.session,
                "oldest": session.oldest,
                "next": session.next,
                "ended": session.ended,
                "epochs": epochs,
            })
        })
        .collect();
    summary.messages = info
        .sessions
        .iter()
        .map(|session| session.next - session.oldest)
        .sum();
    let journal = serde_json::json!({
        "directory": dir,
        "channel": info.channel,
        "max_packet": info.max_packet,
        "segment_size": info.segment_size,
        "segments": info.segments,
        "bytes": info.bytes,
        "synced": { "segment": info.synced.0, "offset": info.synced.1 },
        "generation": info.generation,
        "being_written": info.locked,
        "writer": info.holder,
        "sessions": sessions,
    });
    summary.set("journal", journal);
    summary.own_text = description(dir, info);
    Finish::success(summary)
}

fn description(dir: &Path, info: &Info) -> String {
    let mut text = format!(
        "{}: channel {}, packets up to {} bytes, {} of {} with packets ({} on disk)\n",
        dir.display(),
        info.channel,
        info.max_packet,
        plural(info.segments, "segment"),
        show_bytes(info.segment_size as u64),
        show_bytes(info.bytes)
    );
    let written = match (info.locked, info.holder) {
        (true, Some(pid)) => format!("being written by process {pid}"),
        (true, None) => "being written".into(),
        (false, _) => "not being written".into(),
    };
    let _ = writeln!(
        text,
        "  {written}; durable up to segment {} offset {}; generation {}",
        info.synced.0, info.synced.1, info.generation
    );
    if info.sessions.is_empty() {
        text += "  empty\n";
    }
    for session in &info.sessions {
        let epochs: Vec<_> = session
            .epochs
            .iter()
            .map(|(epoch, base)| format!("{epoch} from {base}"))
            .collect();
        let _ = writeln!(
            text,
            "  session {}: sequences {}..{}, {}; epochs: {}",
            session.session,
            session.oldest,
            session.next,
            if session.ended { "complete" } else { "open" },
            epochs.join(", ")
        );
    }
    text
}

fn checked(dir: &Path, report: &VerifyReport) -> Finish {
    let mut summary = Summary::new("journal verify");
    summary.messages = report.messages;
    summary.packets = report.packets;
    summary.bytes = report.bytes;
    summary.set("segments", report.segments);
    summary.set("notices_checked", report.notices);
    let held = format!(
        "{} in {}, {}, {}",
        plural(report.messages, "message"),
        plural(report.packets, "packet"),
        plural(report.notices, "notice"),
        plural(report.segments, "segment")
    );
    let Some(broken) = &report.broken else {
        summary.own_text = format!("{}: whole: {held}\n", dir.display());
        return Finish::success(summary);
    };
    let broken = format!(
        "{} is damaged at offset {}: {}; before it: {held}",
        broken.segment.display(),
        broken.offset,
        broken.reason
    );
    Finish {
        summary,
        exit: Exit::Differ,
        error: Some(broken),
    }
}

fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {noun}{s}", show_count(count))
}
