//! The shared-memory ring: how a listener hands its stream to the programs on its host. One writer, any number of
//! reading processes.
//!
//! The writer never waits, and never reads what readers write. A reader maps the ring read-only, copies a record into
//! memory of its own, checks that it was not overrun meanwhile, and lends the copy: nothing torn ever surfaces. A reader
//! that is too slow is told so; the listener's journal has what it missed.
//!
//! From the bottom: `memory` (the mapping: all unsafe code), `layout` (the control page), `record` (a record's header),
//! `writer` and `cursor` (the protocol, model-checked), `place` (files, locks, the handing over from one writer to the
//! next), `status` (what each reader shows of itself), `keeper` (the writer's helper thread, which looks at that and wakes
//! sleepers). Programs use it through `twinline-reader`.

// Under the model checker only the protocol is there.
#![cfg_attr(loom, allow(dead_code))]

mod cursor;
mod error;
#[cfg(not(loom))]
mod keeper;
mod layout;
#[cfg(all(loom, test))]
mod loom;
mod memory;
#[cfg(not(loom))]
mod place;
#[cfg(not(loom))]
mod reader;
mod record;
#[cfg(not(loom))]
mod status;
mod sync;
#[cfg(all(not(loom), test))]
mod tests;
mod writer;

pub use error::RingError;
#[cfg(not(loom))]
pub use keeper::{ReaderStatus, RingStats};
pub use layout::{LAYOUT_VERSION, MIN_CAPACITY};
#[cfg(not(loom))]
pub use place::{RingConfig, RingWriter};
#[cfg(not(loom))]
pub use reader::{Liveness, Next, RingReader};
pub use record::{Kind, Origin, Record};
#[cfg(not(loom))]
pub use status::Progress;
