//! What goes into a channel: where market data comes from, and the publisher that orders it, journals it and sends it.
//!
//! [`source`]: files, streams and generators, each turning what a venue sends into our messages. [`publisher`]: the state
//! machine that gives them sequences, keeps them and sends them on both lines. [`run`]: the thread that drives one with
//! the other. [`channels`]: the threads where there are several of either. [`engine`]: a source in another process.

pub mod channels;
pub mod engine;
pub mod lines;
pub mod publisher;
pub mod run;
pub mod source;
