//! What every latency benchmark is made of: a clock, a pace, slices that are compared in pairs, and plain results.
//!
//! This machine is not ours alone: a hypervisor and other programs take time away. So nothing is reported as a bare
//! figure. What is measured and its floor run in turn, in [slices](slice::Slice) of at most 100 ms, a
//! [watcher](gaps::Gaps) on each thread measures the time that was stolen from it, [pairs](pairs::Pairs) with too much of
//! that are dropped from both sides and counted, and the medians of the ratios of what is left are [reported](result).

pub mod clock;
pub mod gaps;
pub mod median;
pub mod pace;
pub mod pairs;
pub mod result;
pub mod slice;
