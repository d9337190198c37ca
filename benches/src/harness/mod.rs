//! What every latency benchmark is made of: a clock, a pace, slices that are compared in pairs, and plain results.
//!
//! This machine is not ours alone: a hypervisor and other programs take time away. So nothing is reported as a bare
//! figure. What is measured and its floor run in turn, in [slices](slice::Slice) of at most 100 ms, a
//! [watcher](gaps::Gaps) on each thread measures the time that was stolen from it, [pairs](pairs::Pairs) with too much of
//! that are dropped from both sides and counted, and the medians of the ratios of what is left are [reported](result).
//!
//! A [`Bed`](bed::Bed) is the real thing to measure: publisher, recovery service and listener in threads of this process;
//! its listener can be [halted](halt) while the floor runs, as a thread that spins would disturb that.

pub(crate) mod bare;
pub mod bed;
pub mod clock;
pub mod error;
pub mod gaps;
pub mod halt;
pub mod hosts;
pub mod median;
pub mod pace;
pub mod pairs;
pub mod result;
pub mod slice;
pub(crate) mod threads;
pub mod tie;
pub mod watch;
