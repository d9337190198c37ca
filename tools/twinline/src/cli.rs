//! The command line: subcommands and the flags that all of them have.

use crate::exit::EXIT_CODES;
use crate::logs::{LogFormat, LogLevel};
use crate::progress::Mode;
use crate::{
    bench, book, capture, config, decode, demo, diff, doctor, journal, lab, listen, manual, publish, recover,
    replay, replica, simulate, tail, top,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// One publisher, two multicast lines, every listener complete.
///
/// A publisher sends a market's data over two redundant multicast lines, A and B. Listeners turn the two lossy lines
/// into one complete, ordered stream; what both lines lost comes from the recovery service over TCP.
#[derive(Debug, Parser)]
#[command(name = "twinline", version, after_help = EXIT_CODES, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What all subcommands take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// Take what is not given here from this file; see `twinline config --help`
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
    /// Take it from the file's section [COMMAND.NAME] too
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        requires = "config",
        help_heading = "Configuration"
    )]
    pub(crate) instance: Option<String>,
    /// Print exactly one JSON object with the final figures on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// How to show progress on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(crate) progress: Mode,
    /// How warnings and notes are written on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "human",
        help_heading = "Output"
    )]
    pub(crate) log: LogFormat,
    /// What is written: warnings, or what a process is doing too [default: info for people and as JSON, otherwise warn]
    #[arg(long, global = true, value_enum, help_heading = "Output")]
    pub(crate) log_level: Option<LogLevel>,
    /// End when this process, which must be the parent, ends
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub(crate) with_parent: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Publish(Box<publish::Publish>),
    Recover(recover::Recover),
    Listen(Box<listen::Listen>),
    Journal(journal::Journal),
    Decode(Box<decode::Decode>),
    Book(Box<book::BookArgs>),
    Capture(Box<capture::Capture>),
    Replay(Box<replay::Replay>),
    Tail(Box<tail::Tail>),
    Replica(Box<replica::Replica>),
    Top(top::Top),
    Diff(diff::Diff),
    Doctor(Box<doctor::Doctor>),
    Simulate(simulate::Simulate),
    Demo(demo::Demo),
    Lab(lab::Lab),
    Bench(bench::Bench),
    Config(config::Config),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    /// Its name, as it is typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Publish(_) => "publish",
            Command::Recover(_) => "recover",
            Command::Listen(_) => "listen",
            Command::Journal(_) => "journal",
            Command::Decode(_) => "decode",
            Command::Book(_) => "book",
            Command::Capture(_) => "capture",
            Command::Replay(_) => "replay",
            Command::Tail(_) => "tail",
            Command::Replica(_) => "replica",
            Command::Top(_) => "top",
            Command::Diff(_) => "diff",
            Command::Doctor(_) => "doctor",
            Command::Simulate(_) => "simulate",
            Command::Demo(_) => "demo",
            Command::Lab(_) => "lab",
            Command::Bench(_) => "bench",
            Command::Config(_) => "config",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }
}
