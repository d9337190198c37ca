//! The command line: subcommands and the flags that all of them have.

use crate::exit::EXIT_CODES;
use crate::progress::Mode;
use crate::{demo, diff, journal, listen, publish, recover, simulate};
use clap::{Args, Parser, Subcommand};

/// One publisher, two multicast lines, every listener complete.
///
/// A publisher sends a market's data over two redundant multicast lines, A and B. Listeners turn the two lossy lines
/// into one complete, ordered stream; what both lines lost comes from the recovery service over TCP.
///
/// See all of it work on this machine:
///
///     twinline demo
#[derive(Debug, Parser)]
#[command(name = "twinline", version, after_help = EXIT_CODES, verbatim_doc_comment, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What all subcommands take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print exactly one JSON object with the final figures on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// How to show progress on stderr
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = "Output")]
    pub(crate) progress: Mode,
    /// End when this process, which must be the parent, ends
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub(crate) with_parent: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish a source on both lines and into a journal
    Publish(publish::Publish),
    /// Serve what both lines lost, from a publisher's journal, over TCP
    Recover(recover::Recover),
    /// Turn the two lines into one complete, ordered stream and journal
    Listen(Box<listen::Listen>),
    /// Describe or check a journal
    Journal(journal::Journal),
    /// Compare listeners' journals with a publisher's, message by message
    Diff(diff::Diff),
    /// Run the whole system on a virtual network and clock under seeded faults
    Simulate(simulate::Simulate),
    /// Run publisher, recovery service and listeners on this machine, and compare what arrived
    Demo(demo::Demo),
}

impl Command {
    /// Its name, as it is typed.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Publish(_) => "publish",
            Command::Recover(_) => "recover",
            Command::Listen(_) => "listen",
            Command::Journal(_) => "journal",
            Command::Diff(_) => "diff",
            Command::Simulate(_) => "simulate",
            Command::Demo(_) => "demo",
        }
    }
}

