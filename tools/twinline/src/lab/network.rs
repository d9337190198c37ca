//! The lab's hosts, its two lines, and what can be done to them: all at the ports of the two switches, between the hosts,
//! so that what receives and what sends do not know of it, whatever they send and receive with.
//!
//! netem is not in every kernel; loss is a classic BPF program on a port that drops at random (`tc ... bpf bytecode`),
//! a narrow link is a token bucket (`tbf`), a dead one is a port that is down, and what is to come late is sent round by
//! a slow link (`mirred` to an `ifb` with a token bucket) that all servers share.

use crate::exit::Failure;
use serde::Deserialize;
use std::cell::Cell;
use std::fmt::Write;
use std::path::Path;
use twinline_line::Line;
use twinline_namespaces::{Namespace, Networks};

/// The networks are named as the interfaces on them.
pub(super) const LINES: [&str; 2] = ["line-a", "line-b"];
/// The slow link.
const DETOUR: &str = "detour";
const PUBLISHER: usize = 1;
const RECOVERY: usize = 2;
/// Hosts before server 1.
const BEFORE: usize = 2;

/// The queueing discipline of a narrow link.
const NARROW: &str = "tbf";
/// Packets that a narrow link holds, in bytes.
const NARROW_QUEUE: u64 = 16 * 1024;

/// Publisher, recovery service, servers and a stranger, each on both lines.
pub(super) struct Wires {
    networks: Networks,
    servers: usize,
    /// Dropped by narrow links whose counters are gone, by line.
    narrowed: Cell<[u64; 2]>,
}

/// What happens to packets on their way to servers all the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// Share of packets that each line loses, from 0 to 1.
    pub(super) loss: f64,
    /// Share of packets that take the detour.
    pub(super) late: f64,
    /// Packets a second on each line.
    pub(super) rate: u64,
}

/// Packets that the switches' ports dropped, by line; what a dead port does not take is not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    pub(super) all: [u64; 2],
    /// Of them, all that the publisher sent while it was cut off.
    pub(super) cut: [u64; 2],
    /// Of them, what a narrow link had no room for.
    pub(super) narrowed: [u64; 2],
}

/// What `tc -s -j qdisc show` says of a port.
#[derive(Deserialize)]
struct Discipline {
    #[serde(default)]
    dev: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    drops: u64,
}

impl Wires {
    /// So many servers, and what happens to their packets.
    pub(super) fn build(servers: usize, faults: Faults) -> Result<Self, Failure> {
        let mut networks = Networks::new(&LINES)?;
        networks.grow(BEFORE + servers + 1)?;
        let wires = Self {
            networks,
            servers,
            narrowed: Cell::default(),
        };
        let mut commands = String::new();
        if faults.late > 0.0 {
            let link = format!("link add name {DETOUR} type ifb\nlink set dev {DETOUR} up\n");
            wires.networks.switch().batch("ip", &link)?;
            commands += &detour(servers, faults);
        }
        for line in Line::ALL {
            let _ = writeln!(commands, "qdisc add dev {} clsact", wires.port(line, PUBLISHER));
            for server in 1..=servers {
                let port = wires.port(line, BEFORE + server);
                let _ = writeln!(commands, "qdisc add dev {port} clsact");
                let filter = format!("filter add dev {port} egress");
                if faults.loss > 0.0 {
                    let program = at_random(faults.loss, DROP);
                    let _ = writeln!(commands, "{filter} pref 1 bpf da bytecode \"{program}\"");
                }
                if faults.late > 0.0 {
                    let program = at_random(faults.late, MATCH);
                    let _ = writeln!(
                        commands,
                        "{filter} pref 2 bpf bytecode \"{program}\" action mirred egress redirect dev {DETOUR}"
                    );
                }
            }
        }
        wires.tc(&commands)?;
        Ok(wires)
    }

    pub(super) fn publisher(&self) -> &Namespace {
        self.networks.host(PUBLISHER)
    }

    pub(super) fn recovery(&self) -> &Namespace {
        self.networks.host(RECOVERY)
    }

    /// Server `number`, counted from 1.
    pub(super) fn server(&self, number: usize) -> &Namespace {
        self.networks.host(BEFORE + number)
    }

    /// One that is none of ours.
    pub(super) fn stranger(&self) -> &Namespace {
        self.networks.host(BEFORE + self.servers + 1)
    }

    /// Where servers reach the recovery service, by line.
    pub(super) fn recovery_addresses(&self, port: u16) -> [String; 2] {
        [0, 1].map(|line| format!("{}:{port}", self.networks.address(line, RECOVERY)))
    }

    /// Removes a directory too, whatever ends this process.
    pub(super) fn also_remove(&mut self, directory: &Path) -> Result<(), Failure> {
        Ok(self.networks.also_remove(directory)?)
    }

    /// Takes line A from the publisher.
    pub(super) fn take_line_a(&self) -> Result<(), Failure> {
        Ok(self.networks.set_port(Line::A.index(), PUBLISHER, false)?)
    }

    /// Drops all that the publisher sends, or no longer.
    pub(super) fn cut(&self, on: bool) -> Result<(), Failure> {
        let mut commands = String::new();
        for line in Line::ALL {
            let port = self.port(line, PUBLISHER);
            let _ = match on {
                true => writeln!(
                    commands,
                    "filter add dev {port} ingress pref 1 bpf da bytecode \"{DROP_ALL}\""
                ),
                false => writeln!(commands, "filter del dev {port} ingress pref 1"),
            };
        }
        self.tc(&commands)
    }

    /// Lets each link of a server carry so many bits a second, or everything again.
    pub(super) fn narrow(&self, server: usize, rate: Option<u64>) -> Result<(), Failure> {
        if rate.is_none() {
            // The bucket's counters go with it.
            self.narrowed.set(self.dropped()?.narrowed);
        }
        let mut commands = String::new();
        for line in Line::ALL {
            let port = self.port(line, BEFORE + server);
            let _ = match rate {
                Some(rate) => writeln!(
                    commands,
                    "qdisc add dev {port} root {NARROW} rate {rate}bit burst 4k limit {NARROW_QUEUE}"
                ),
                None => writeln!(commands, "qdisc del dev {port} root"),
            };
        }
        self.tc(&commands)
    }

    /// What was dropped so far.
    pub(super) fn dropped(&self) -> Result<Dropped, Failure> {
        let fail =
            |cause: &dyn std::fmt::Display| Failure::error(format!("cannot read what tc counts: {cause}"));
        let mut command = self.networks.switch().command("tc");
        let shown = command.args(["-s", "-j", "qdisc", "show"]).output();
        let shown = shown.map_err(|cause| fail(&cause))?;
        let all: Vec<Discipline> = serde_json::from_slice(&shown.stdout).map_err(|cause| fail(&cause))?;
        let sum = |of: &dyn Fn(Line, &Discipline) -> bool| {
            Line::ALL.map(|line| {
                all.iter()
                    .filter(|one| of(line, one))
                    .map(|one| one.drops)
                    .sum::<u64>()
            })
        };
        let gone = self.narrowed.get();
        let and_gone = |counts: [u64; 2]| [0, 1].map(|line| counts[line] + gone[line]);
        let is_on = |line: Line, one: &Discipline| one.dev.starts_with(LINES[line.index()]);
        Ok(Dropped {
            all: and_gone(sum(&is_on)),
            // Nothing else drops what the publisher sends.
            cut: sum(&|line, one| one.dev == self.port(line, PUBLISHER)),
            narrowed: and_gone(sum(&|line, one| is_on(line, one) && one.kind == NARROW)),
        })
    }

    fn port(&self, line: Line, host: usize) -> String {
        self.networks.port(line.index(), host)
    }

    fn tc(&self, commands: &str) -> Result<(), Failure> {
        Ok(self.networks.switch().batch("tc", commands)?)
    }
}

/// `return drop`; in what `tc` takes: the number of instructions, then code, jumps and constant of each.
const DROP_ALL: &str = "1,6 0 0 2";

/// What a program of a filter returns: of one that acts itself (`da`), to drop the packet; of another, that its action is
/// for this packet.
const DROP: u32 = 2;
const MATCH: u32 = u32::MAX;

/// `load random; if it is in the share of 2^32 return what; return otherwise`: one that acts itself leaves the packet to the
/// next filter, another one says that its action is not for it.
fn at_random(share: f64, what: u32) -> String {
    /// The packet's ancillary data begin here, and the random number stands among them.
    const RANDOM: u32 = 0xffff_f000 + 56;
    let threshold = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    let otherwise = if what == DROP { u32::MAX } else { 0 };
    format!("4,32 0 0 {RANDOM},53 1 0 {threshold},6 0 0 {what},6 0 0 {otherwise}")
}

/// The link that all late packets go by: a quarter slower than they come, so that nearly all wait there, and with room for some
/// milliseconds: what there is no room for is lost.
fn detour(servers: usize, faults: Faults) -> String {
    /// A packet with one message and its position, and what is before it.
    const PACKET: f64 = 150.0;
    let packets = faults.late * faults.rate as f64 * (2 * servers) as f64;
    let bits = ((packets * PACKET * 8.0 * 0.8) as u64).max(8_000);
    let room = (bits / 8 / 50).max(3_000);
    format!("qdisc add dev {DETOUR} root tbf rate {bits}bit burst 2k limit {room}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_becomes_a_program_that_tc_takes() {
        assert_eq!(
            at_random(0.5, DROP),
            "4,32 0 0 4294963256,53 1 0 2147483647,6 0 0 2,6 0 0 4294967295"
        );
        assert_eq!(
            at_random(1.0, MATCH),
            "4,32 0 0 4294963256,53 1 0 4294967295,6 0 0 4294967295,6 0 0 0"
        );
    }
}
