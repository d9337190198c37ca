//! Benchmarks: what each piece of a message's way costs ([`micro`](mod@micro)), and how the whole behaves.

pub mod book;
pub mod encode;
pub mod fair;
pub mod fanout;
pub mod harness;
pub mod itch_day;
pub mod latency;
pub mod micro;
pub mod recovery;
pub mod snapshot;
pub mod throughput;

pub use micro::{Measure, micro};
