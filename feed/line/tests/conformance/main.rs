//! What every transport must do alike: sockets, AF_XDP with a native and with a generic program, at both ends, between hosts in
//! network namespaces. And what AF_XDP alone must do: take only what is ours, and share a host with others. Needs root.

use twinline_counting_allocator::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

mod bed;
mod frames;
mod lines;
mod sharing;
