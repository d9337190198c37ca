//! What can go wrong with namespaces.

use std::io;

/// Why there is no such namespace, network or host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// There can be none here.
    #[error("{0}")]
    Missing(&'static str),
    /// A network's name that no interface can have.
    #[error("{0:?} is no name for a network: take 1 to 11 characters, as in line-a")]
    Name(String),
    /// More hosts than addresses.
    #[error("a network has addresses for 250 hosts, not for {0}")]
    TooMany(usize),
    /// The system.
    #[error("cannot {what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        cause: io::Error,
    },
    /// A command of iproute2.
    #[error("{tool} failed: {said}")]
    Command {
        /// Its name and where it ran.
        tool: String,
        /// What it said.
        said: String,
    },
}

impl NamespaceError {
    /// For what the system said while doing `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }
}
