//! The lab's processes: what each is told, and on which host it runs.

use super::network::{LINES, Wires};
use super::place::Place;
use crate::child::{Child, Said, own_path};
use crate::exit::Failure;
use std::fmt;
use std::process::Command;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Only heartbeats for so long, so that every listener knows both lines before the first message.
pub(super) const LEAD_IN: Duration = Duration::from_millis(500);
const RECOVERY_PORT: u16 = 17_010;

/// What is run, and how.
pub(super) struct Settings {
    pub(super) servers: usize,
    pub(super) messages: u64,
    pub(super) rate: u64,
    pub(super) idle: String,
    pub(super) io: String,
}

/// A process of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Publisher,
    Recovery,
    /// The comparison of the journals, which is on no host.
    Comparison,
    /// The listener of this server, counted from 1.
    Server(usize),
}

impl Part {
    /// The number by which what it says is told from the others'.
    fn number(self) -> usize {
        match self {
            Part::Publisher => 0,
            Part::Recovery => 1,
            Part::Comparison => 2,
            Part::Server(server) => server + 2,
        }
    }

    /// The part with a number.
    pub(super) fn of(number: usize) -> Self {
        match number {
            0 => Part::Publisher,
            1 => Part::Recovery,
            2 => Part::Comparison,
            number => Part::Server(number - 2),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Publisher => f.write_str("publisher"),
            Part::Recovery => f.write_str("recovery service"),
            Part::Comparison => f.write_str("comparison"),
            Part::Server(server) => write!(f, "server {server}"),
        }
    }
}

/// Starts parts, once or again.
pub(super) struct Starter<'a> {
    pub(super) wires: &'a Wires,
    pub(super) place: &'a Place,
    pub(super) settings: &'a Settings,
    pub(super) say: Sender<Said>,
}

impl Starter<'_> {
    /// Starts a part on its host.
    pub(super) fn start(&self, part: Part) -> Result<Child, Failure> {
        let own = own_path()?;
        let (command, arguments) = match part {
            Part::Publisher => (self.wires.publisher().command(own), self.publish()),
            Part::Recovery => (self.wires.recovery().command(own), self.recover()),
            Part::Comparison => (Command::new(own), self.diff()),
            Part::Server(server) => (self.wires.server(server).command(own), self.listen(server)),
        };
        Child::start_as(command, part.number(), part.to_string(), arguments, &self.say)
    }

    fn publish(&self) -> Vec<String> {
        let mut arguments = self.on_lines("publish", self.place.publisher());
        let lead_in = format!("{}ms", LEAD_IN.as_millis());
        let (messages, rate) = (self.settings.messages.to_string(), self.settings.rate.to_string());
        let own = [
            ["--generate", &messages],
            ["--rate", &rate],
            ["--lead-in", &lead_in],
            ["--linger", "2s"],
        ];
        arguments.extend(own.concat().into_iter().map(String::from));
        arguments
    }

    fn recover(&self) -> Vec<String> {
        let (journal, listen) = (self.place.publisher(), format!("0.0.0.0:{RECOVERY_PORT}"));
        ["recover", "--journal", &journal, "--listen", &listen]
            .map(String::from)
            .to_vec()
    }

    fn listen(&self, server: usize) -> Vec<String> {
        let mut arguments = self.on_lines("listen", self.place.listener(server));
        let (name, ring) = (
            format!("server {server}"),
            self.place.ring(server).display().to_string(),
        );
        let own = [
            ["--name", &name],
            ["--ring", &ring],
            ["--ring-size", "1MiB"],
            // With AF_XDP it is memory, of each line of each of many.
            ["--receive-buffer", "8MiB"],
        ];
        arguments.push("--until-end".into());
        arguments.extend(own.concat().into_iter().map(String::from));
        for address in self.wires.recovery_addresses(RECOVERY_PORT) {
            arguments.extend(["--recovery".into(), address]);
        }
        arguments
    }

    fn diff(&self) -> Vec<String> {
        let mut arguments = vec!["diff".to_string(), self.place.publisher()];
        arguments.extend((1..=self.settings.servers).map(|server| self.place.listener(server)));
        arguments
    }

    /// What publisher and listeners have in common.
    fn on_lines(&self, command: &str, journal: String) -> Vec<String> {
        let line = |line: usize| {
            let (group, port) = self.place.lines[line];
            format!("{group}:{port}@{}", LINES[line])
        };
        let (a, b) = (line(0), line(1));
        let arguments = [
            ["--line-a", &a],
            ["--line-b", &b],
            ["--journal", &journal],
            ["--segment-size", "4MiB"],
            ["--sync", "none"],
            ["--idle", &self.settings.idle],
            ["--io", &self.settings.io],
        ];
        let all = [command]
            .into_iter()
            .chain(arguments.as_flattened().iter().copied());
        all.map(String::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_its_number() {
        for part in [
            Part::Publisher,
            Part::Recovery,
            Part::Comparison,
            Part::Server(1),
            Part::Server(40),
        ] {
            assert_eq!(Part::of(part.number()), part);
        }
    }
}
