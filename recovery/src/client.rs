//! The client's side: [`ClientSession`] speaks the protocol to one service, [`RecoveryClient`] keeps a connection to
//! each of several.

mod session;
mod shell;

pub use session::{ClientConfig, ClientEvent, ClientSession, CloseReason, RequestError};
pub use shell::{ClientError, RecoveryClient, SubmitError};
