//! The store's file: locked while it is changed, replaced as a whole, durable before anyone acts on it.

use super::{ChannelRecord, Grant, Holder, Refusal, Request};
use std::io;
use std::path::{Path, PathBuf};

/// Why the epoch store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The rule says no.
    #[error("channel {channel}: {refusal} (epoch store {})", path.display())]
    Refused {
        /// The channel.
        channel: u16,
        /// Why.
        refusal: Refusal,
        /// The store's file.
        path: PathBuf,
    },
    /// Another publisher has acquired a newer epoch or session: publish nothing more.
    #[error("channel {channel}: {refusal} (epoch store {})", path.display())]
    Deposed {
        /// The channel.
        channel: u16,
        /// By whom.
        refusal: Refusal,
        /// The store's file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error(
        "the epoch store {} cannot be read: {reason}; restore it from a copy, or remove it and start sessions with \
         higher numbers than ever used", path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The epoch store in a file.
#[derive(Clone, Debug)]
pub struct EpochStore {}

impl EpochStore {
    /// The store in the file `path`. It is created when the first epoch is acquired; its directory must exist.
    ///
    /// # Errors
    /// If there is a file that is no epoch store.
    pub fn open(_path: &Path) -> Result<Self, EpochError> {
        unimplemented!()
    }

    /// What is known of `channel`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn channel(&self, _channel: u16) -> Result<Option<ChannelRecord>, EpochError> {
        unimplemented!()
    }

    /// Acquires the next epoch of `channel`, by the rule of [`decide`](super::decide). It is durable on return.
    ///
    /// # Errors
    /// If the rule refuses, or the file cannot be written.
    pub fn acquire(&self, _channel: u16, _request: &Request) -> Result<Grant, EpochError> {
        unimplemented!()
    }

    /// Reserves sequences below `new_end` for the holder of `grant`. Returns the end of the reservation, which never
    /// shrinks.
    ///
    /// # Errors
    /// [`EpochError::Deposed`] if another holds a newer epoch: publish nothing more. Or the file cannot be written.
    pub fn extend(&self, _grant: &Grant, _new_end: u64) -> Result<u64, EpochError> {
        unimplemented!()
    }

    /// Records that the session of `grant` has ended: it cannot be continued.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn end_session(&self, _grant: &Grant) -> Result<(), EpochError> {
        unimplemented!()
    }
}

impl Holder {
    /// The machine that this process runs on, in its present start.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn this_machine() -> io::Result<Self> {
        unimplemented!()
    }
}
