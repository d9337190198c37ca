//! `twinline listen`
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {}
pub(crate) fn run(_: &Listen, _: &crate::cli::Global) -> Result<crate::exit::Finish, crate::exit::Failure> { unimplemented!() }
