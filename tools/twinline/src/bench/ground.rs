//! What latency and throughput are measured on: interfaces, journals, cores.

use crate::line_args::sync_policy;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::thread;
use twinline_benches::harness::bed::BedConfig;
use twinline_journal::SyncPolicy;
use twinline_line::Io;

/// What latency and throughput are measured on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Measured on")]
pub(super) struct Ground {
    /// The interface of both lines, or A,B
    #[arg(long, value_name = "NAME", default_value = "lo", value_parser = interfaces)]
    interface: [String; 2],
    /// When both journals are made durable: none, packet, or a time such as 100ms
    #[arg(long, value_name = "WHEN", default_value = "none", value_parser = sync_policy)]
    sync: SyncPolicy,
    /// Where the journals are made, and removed behind it [default: where the system keeps temporary files;
    /// throughput: in memory and there]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The cores of the publisher and the listener [default: 0,1 where there are two]
    #[arg(long, value_name = "A,B", value_parser = cores)]
    cores: Option<[usize; 2]>,
    /// Let the system place the threads
    #[arg(long, conflicts_with = "cores")]
    unpinned: bool,
}

/// What lines go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum IoArg {
    /// Sockets
    Socket,
    /// AF_XDP, between network namespaces that are made for it and removed behind it; needs root and iproute2, and is skipped
    /// where they are missing
    Xdp,
}

impl From<IoArg> for Io {
    fn from(io: IoArg) -> Self {
        match io {
            IoArg::Socket => Io::Socket,
            IoArg::Xdp => Io::Xdp,
        }
    }
}

impl Ground {
    /// A bed on it, otherwise like `usual`.
    pub(super) fn bed(&self, usual: BedConfig) -> BedConfig {
        let available = thread::available_parallelism().map_or(1, usize::from);
        let cores = self.cores.or((available >= 2).then_some([0, 1]));
        BedConfig {
            dir: self.dir.clone(),
            interfaces: self.interface.clone(),
            sync: self.sync,
            cores: cores.filter(|_| !self.unpinned),
            ..usual
        }
    }
}

fn interfaces(text: &str) -> Result<[String; 2], String> {
    let (a, b) = text.split_once(',').unwrap_or((text, text));
    match a.is_empty() || b.is_empty() || b.contains(',') {
        true => Err(format!(
            "{text:?} is not an interface or two: write lo, or eth0,eth1"
        )),
        false => Ok([a.into(), b.into()]),
    }
}

fn cores(text: &str) -> Result<[usize; 2], String> {
    let both = text
        .split_once(',')
        .and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
    both.filter(|[a, b]| a != b)
        .ok_or_else(|| format!("{text:?} are not two cores: write 2,3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_interface_stands_for_both_lines_and_cores_are_two() {
        assert_eq!(interfaces("lo"), Ok(["lo".into(), "lo".into()]));
        assert_eq!(interfaces("eth0,eth1"), Ok(["eth0".into(), "eth1".into()]));
        assert!(interfaces("eth0,").is_err() && interfaces("a,b,c").is_err());
        assert_eq!(cores("2,3"), Ok([2, 3]));
        assert!(cores("2,2").is_err() && cores("2").is_err());
    }
}
