//! Why a benchmark did not come to its end. A figure that is not good is no error; a message that did not arrive is.

use std::io;
use twinline_feed::publisher::{OpenError, PublishError};
use twinline_feed::run::{PinError, RunError};
use twinline_journal::JournalError;
use twinline_line::LineError;
use twinline_listener::ListenError;
use twinline_namespaces::NamespaceError;
use twinline_ring::RingError;

/// Why a benchmark did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// It was told to stop.
    #[error("the benchmark was stopped before its end: there are no figures")]
    Stopped,
    /// A file or a thread.
    #[error("cannot {what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Something did not work that must: a message was lost, a thread ended early.
    #[error("{0}")]
    Broken(String),
    /// A line.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The publisher cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The publisher.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The publisher's thread.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The recovery service.
    #[error("recovery: {0}")]
    Recovery(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A core.
    #[error("{0}: a latency benchmark needs two cores, or --unpinned")]
    Pin(#[from] PinError),
}

impl BenchError {
    /// For what the system said while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// Of a recovery service or its client.
    pub fn recovery(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Recovery(Box::new(error))
    }
}
