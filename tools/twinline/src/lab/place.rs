//! The lab's directories: journals on disk, rings in shared memory. Gone when it ends, whatever ends it.

use super::network::Wires;
use crate::exit::Failure;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The channel of all parts.
pub(super) const CHANNEL: u16 = 1;
/// Where rings belong.
const SHARED_MEMORY: &str = "/dev/shm";

/// A lab's own place.
pub(super) struct Place {
    journals: TempDir,
    rings: TempDir,
    /// Group and port of lines A and B. The networks are the lab's own, so they are nobody else's.
    pub(super) lines: [(Ipv4Addr, u16); 2],
}

impl Place {
    /// Takes a place; `keep`: leave the journals when the lab is over.
    pub(super) fn take(keep: bool, wires: &mut Wires) -> Result<Self, Failure> {
        let fail = |cause| {
            Failure::error(format!(
                "cannot make a directory for the lab (set TMPDIR to another place): {cause}"
            ))
        };
        let mut named = tempfile::Builder::new();
        named.prefix("twinline-lab-");
        let mut journals = named.tempdir().map_err(fail)?;
        journals.disable_cleanup(keep);
        let rings = match Path::new(SHARED_MEMORY).is_dir() {
            true => named.tempdir_in(SHARED_MEMORY),
            false => named.tempdir(),
        };
        let place = Self {
            journals,
            rings: rings.map_err(fail)?,
            lines: [1, 2].map(|line: u8| (Ipv4Addr::new(239, 77, 0, line), 17_000 + u16::from(line))),
        };
        if place.journals.path().to_str().is_none() {
            return Err(Failure::error(format!(
                "the path {} is not UTF-8: set TMPDIR to another place",
                place.journals.path().display()
            )));
        }
        wires.also_remove(place.rings.path())?;
        if !keep {
            wires.also_remove(place.journals.path())?;
        }
        Ok(place)
    }

    /// Where the journals are.
    pub(super) fn dir(&self) -> &Path {
        self.journals.path()
    }

    /// The publisher's journal.
    pub(super) fn publisher(&self) -> String {
        self.journal("publisher")
    }

    /// The journal of server `number`, counted from 1.
    pub(super) fn listener(&self, number: usize) -> String {
        self.journal(&format!("server-{number}"))
    }

    /// The ring of server `number`.
    pub(super) fn ring(&self, number: usize) -> PathBuf {
        self.rings.path().join(number.to_string())
    }

    fn journal(&self, name: &str) -> String {
        // It was found to be UTF-8 when it was made.
        self.dir().join(name).display().to_string()
    }
}
