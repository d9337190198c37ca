//! What the parts do together: following, crashes, power cuts, limits.

mod append;
mod crash;
mod discard;
mod follow;
mod limits;
mod lookup;
mod notices;
mod power;
mod retention;
