//! The receiving side: two lossy lines and a recovery service become one complete, ordered stream.
//!
//! [`Arbiter`] decides what is delivered, [`GapPolicy`] what is asked for and when it is lost, [`StatePolicy`] when a
//! snapshot is to replace the state; all are state machines without I/O. Around them [`daemon`] puts the threads, sockets, the recovery connections and the listener's
//! own journal.

pub mod arbiter;
mod chase;
pub mod daemon;
pub mod fair;
mod fetch;
pub mod gaps;
pub mod join;
pub mod lines;
mod output;
#[cfg_attr(not(feature = "planted-bugs"), doc(hidden))]
pub mod planted;
mod poller;
mod record;
pub mod report;

pub use arbiter::{Arbiter, ArbiterConfig, Delivery, Notice, Origin, Sink, StartAt, State};
pub use daemon::{ListenError, Listener, ListenerConfig, RingPlace};
pub use fair::{FairConfig, FairRelease, FairReport};
pub use gaps::{GapConfig, GapPolicy, Request};
pub use join::{StateConfig, StatePolicy};
pub use lines::LineStats;
pub use poller::LinePoller;
pub use record::{NoticeCounts, Record};
pub use report::{Live, Report, RingReport, Standing};
