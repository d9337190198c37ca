//! The checks, by theme: each from what was read to findings, without reading or changing anything else.

mod aside;
pub(super) mod clock;
pub(super) mod cpu;
pub(super) mod device;
pub(super) mod interface;
pub(super) mod interrupts;
pub(super) mod jitter;
pub(super) mod kernel;
pub(super) mod losses;
pub(super) mod memory;
pub(super) mod reverse_path;
pub(super) mod socket;

use rustix::thread::CapabilitySet;
use std::net::Ipv4Addr;
use twinline_line::LineAddress;

/// What the lines and their listener are to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The lines that were named.
    pub(super) lines: Vec<LineAddress>,
    /// The longest packet.
    pub(super) packet_size: usize,
    /// What a line's socket is to hold.
    pub(super) receive_buffer: usize,
    /// The publisher's addresses, if they were named.
    pub(super) senders: Vec<Ipv4Addr>,
    /// The cores that are to be used, if they were named.
    pub(super) cores: Vec<usize>,
    /// What this process may do.
    pub(super) rights: CapabilitySet,
}

impl Wanted {
    /// The cores that were named and are not among these.
    pub(super) fn cores_beside(&self, these: &[usize]) -> Vec<usize> {
        let mut cores = self.cores.clone();
        cores.retain(|core| !these.contains(core));
        cores
    }
}

/// What the tests of all checks stand on.
#[cfg(test)]
pub(super) mod testing {
    use super::super::finding::{Finding, Severity};
    use super::Wanted;
    use rustix::thread::CapabilitySet;

    /// What publish and listen want by default, without any rights.
    pub(in crate::doctor) fn wanted() -> Wanted {
        Wanted {
            lines: Vec::new(),
            packet_size: 1408,
            receive_buffer: 32 << 20,
            senders: Vec::new(),
            cores: Vec::new(),
            rights: CapabilitySet::empty(),
        }
    }

    /// The finding of a check; there must be exactly one.
    #[track_caller]
    pub(in crate::doctor) fn one<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
        let mut found = findings.iter().filter(|finding| finding.check == check);
        let first = found
            .next()
            .unwrap_or_else(|| panic!("no {check}: {findings:#?}"));
        assert!(found.next().is_none(), "{check} twice: {findings:#?}");
        first
    }

    /// How bad a check found it, and its command.
    #[track_caller]
    pub(in crate::doctor) fn verdict<'f>(
        findings: &'f [Finding],
        check: &str,
    ) -> (Severity, Option<&'f str>) {
        let found = one(findings, check);
        (found.severity, found.command.as_deref())
    }
}
