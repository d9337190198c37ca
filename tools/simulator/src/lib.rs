//! The whole system on a virtual network and a virtual clock, under seeded faults.
//!
//! A seed is a run: one publisher (the real one, over a real journal and epoch store), lines A and B to two or three
//! listeners (the real arbiter, gap policy and policy for states), one or two recovery services (the real protocol and books,
//! over real journal readers), up to two replicas (the real state machine, over real journals) that the publisher heals
//! from. Everything that can go wrong does, by the seed's plan: see [`Fault`]. At the end every listener's stream must
//! be the journal's, message by message, or a notice must name the difference exactly. The same seed always runs the same
//! way: there is no clock, no thread and no socket in here.
//!
//! Faults that no receiver can see are left out: see `network` on forgeries.

mod books;
mod check;
mod faults;
mod ledger;
mod listener;
mod network;
#[cfg(feature = "planted-bugs")]
mod planted;
mod powercut;
mod publisher;
mod record;
mod replica;
mod rng;
mod run;
mod service;
mod sessions;
mod source;
mod states;
mod world;

pub use faults::{Counts, Fault, FaultCounts};
#[cfg(feature = "planted-bugs")]
pub use planted::Plant;
pub use run::{Failure, Options, Report, run_many, simulate};
