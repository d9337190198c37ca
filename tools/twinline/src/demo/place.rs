//! Where a demo runs: a directory, groups and ports that no other demo on this machine has.

use crate::exit::Failure;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use twinline_line::LineAddress;

/// A demo's own place. Dropping it removes the directory, unless it is to be kept.
pub(super) struct Place {
    dir: TempDir,
    /// Lines A and B.
    pub(super) lines: [LineAddress; 2],
    /// Hold the ports: while these are open the kernel gives them to nobody who asks for a free one.
    _ports: [UdpSocket; 2],
}

impl Place {
    /// Takes a place; `keep`: leave the directory when the demo is over.
    pub(super) fn take(keep: bool) -> Result<Self, Failure> {
        let fail = |what: &'static str| move |cause| Failure::error(format!("cannot {what}: {cause}"));
        let mut dir = tempfile::Builder::new()
            .prefix("twinline-demo-")
            .tempdir()
            .map_err(fail(
                "make a directory for the demo (set TMPDIR to another place)",
            ))?;
        dir.disable_cleanup(keep);
        let port =
            || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail("find a free UDP port on loopback"));
        let ports = [port()?, port()?];
        let mut lines = Vec::with_capacity(2);
        for (port, block) in ports.iter().zip([128, 192]) {
            let number = port.local_addr().map_err(fail("read a port's number"))?.port();
            lines.push(LineAddress {
                group: group(block, std::process::id()),
                port: number,
                interface: Some(Ipv4Addr::LOCALHOST.to_string()),
            });
        }
        let lines = <[LineAddress; 2]>::try_from(lines).map_err(|_| Failure::error("there are two lines"))?;
        Ok(Self {
            dir,
            lines,
            _ports: ports,
        })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The publisher's journal.
    pub(super) fn publisher(&self) -> PathBuf {
        self.dir().join("publisher")
    }

    /// The journal of listener `number`, counted from 1.
    pub(super) fn listener(&self, number: usize) -> PathBuf {
        self.dir().join(format!("listener-{number}"))
    }
}

/// A group for private use (239/8) that the process id makes unique on this machine: ids have at most 22 bits.
fn group(block: u8, id: u32) -> Ipv4Addr {
    let [_, high, middle, low] = id.to_be_bytes();
    Ipv4Addr::new(239, block + (high & 63), middle, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_places_share_neither_directory_nor_port_and_clean_up() {
        let (one, two) = (Place::take(false).unwrap(), Place::take(false).unwrap());
        assert_ne!(one.dir(), two.dir());
        let ports: std::collections::BTreeSet<_> = [&one, &two]
            .iter()
            .flat_map(|place| place.lines.each_ref().map(|line| line.port))
            .collect();
        assert_eq!(ports.len(), 4);
        let dir = one.dir().to_owned();
        drop(one);
        assert!(!dir.exists());
    }

    #[test]
    fn lines_and_processes_have_groups_of_their_own() {
        let groups = [group(128, 1), group(192, 1), group(128, 2), group(128, 1 << 21)];
        let set: std::collections::BTreeSet<_> = groups.iter().collect();
        assert_eq!(set.len(), 4);
        assert!(groups.iter().all(|group| group.is_multicast()));
    }
}
