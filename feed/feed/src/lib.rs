//! Feed.

pub mod source;
