//! Benchmarks: what each piece of a message's way costs ([`micro`](mod@micro)), and how the whole behaves.

pub mod book;
pub mod fair;
pub mod harness;
pub mod micro;
pub mod snapshot;

pub use micro::{Measure, micro};
