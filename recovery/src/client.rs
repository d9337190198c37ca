//! The client's side: [`ClientSession`] speaks the protocol to one service, [`RecoveryClient`] keeps a connection to
//! each of several.

mod event;
mod session;
mod shell;
mod snapshot;
mod tail;

pub use event::{ClientConfig, ClientEvent, CloseReason, RequestError};
pub use session::ClientSession;
pub use shell::{ClientError, RecoveryClient, SubmitError};
