//! The command end to end: real processes, sockets and files on this machine.

mod bad_input;
mod bed;
mod book;
mod channels;
mod config;
mod decode;
mod demo;
mod engine;
mod failpoints;
mod fair;
mod help;
mod hostile;
mod kills;
mod metrics;
mod namespaces;
mod processes;
mod replay;
mod replica;
mod ring;
mod scrape;
mod sessions;
mod snapshot;
mod sources;
mod tail;
mod top;
mod torture;
