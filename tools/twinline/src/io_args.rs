//! Flags for what lines go through: sockets or AF_XDP.

use clap::{Args, ValueEnum};
use std::str::FromStr;
use twinline_line::xdp::Mode;
use twinline_line::{Io, Line, ReceiverOptions, SenderOptions, Transport};

/// What a publisher's or a listener's lines go through.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Lines")]
pub(crate) struct IoArgs {
    /// What lines go through: socket; xdp (AF_XDP, past the kernel's network stack: it needs root, and an interface for each line,
    /// which other listeners and publishers on this host then do not share); or auto: xdp where that can be had, and a line
    /// that says what was chosen and why. For both lines, or one for each, as in xdp,socket
    #[arg(long, value_name = "HOW", default_value = "auto")]
    io: IoOfLines,
    /// With AF_XDP, the interfaces' queues: a listener takes what comes by any of them, a publisher's channels each send by one
    /// [default: all of them]
    #[arg(long, value_name = "QUEUES", value_delimiter = ',')]
    xdp_queues: Vec<u32>,
}

impl IoArgs {
    /// How lines A and B of a listener are received.
    pub(crate) fn receivers(&self, mode: Option<XdpMode>, options: &ReceiverOptions) -> [ReceiverOptions; 2] {
        self.io.0.map(|io| ReceiverOptions {
            io,
            queues: self.xdp_queues.clone(),
            mode: mode.map(Mode::from),
            ..options.clone()
        })
    }

    /// How lines A and B of the publisher's channel of this place are sent on.
    pub(crate) fn senders(&self, place: usize, options: SenderOptions) -> [SenderOptions; 2] {
        let queue = match &self.xdp_queues[..] {
            [] => place as u32,
            queues => queues[place % queues.len()],
        };
        self.io.0.map(|io| SenderOptions { io, queue, ..options })
    }
}

/// How the program that picks a listener's packets runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum XdpMode {
    /// In the network card's driver
    Native,
    /// In the kernel: any interface can, but it is slower
    Generic,
}

impl From<XdpMode> for Mode {
    fn from(mode: XdpMode) -> Self {
        match mode {
            XdpMode::Native => Mode::Native,
            XdpMode::Generic => Mode::Generic,
        }
    }
}

/// `auto`, or `xdp,socket`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoOfLines([Io; 2]);

impl FromStr for IoOfLines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| match part {
            "auto" => Ok(Io::Auto),
            "socket" => Ok(Io::Socket),
            "xdp" => Ok(Io::Xdp),
            _ => Err(format!(
                "{text:?} is not what a line goes through: write auto, socket or xdp, or one for each line as in xdp,socket"
            )),
        };
        let (a, b) = text.split_once(',').unwrap_or((text, text));
        Ok(Self([one(a)?, one(b)?]))
    }
}

/// What lines A and B go through, in a line or a line each; nothing where both are sockets because that was asked for.
pub(crate) fn told(lines: [&Transport; 2]) -> String {
    if let [
        Transport::Socket { why: Some(why) },
        Transport::Socket { why: Some(other) },
    ] = lines
        && why == other
    {
        return format!("both lines go through sockets, not AF_XDP: {why}");
    }
    let told = Line::ALL.iter().zip(lines);
    told.filter(|(_, transport)| **transport != Transport::Socket { why: None })
        .map(|(line, transport)| format!("line {line} goes through {transport}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_go_through_the_same_or_each_through_its_own() {
        let of = |text: &str| text.parse::<IoOfLines>().map(|of| of.0);
        assert_eq!(of("auto"), Ok([Io::Auto; 2]));
        assert_eq!(of("xdp,socket"), Ok([Io::Xdp, Io::Socket]));
        for wrong in ["", "xdp,", "dpdk", "xdp,socket,auto"] {
            assert!(
                of(wrong).is_err_and(|error| error.contains("xdp,socket")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn each_of_a_publishers_channels_has_a_queue() {
        let queues = |named: &[u32]| {
            let args = IoArgs {
                io: IoOfLines([Io::Xdp; 2]),
                xdp_queues: named.to_vec(),
            };
            [0, 1, 2].map(|place| args.senders(place, SenderOptions::default())[1].queue)
        };
        assert_eq!(queues(&[]), [0, 1, 2]);
        assert_eq!(queues(&[4, 6]), [4, 6, 4]);
    }
}
