//! `twinline recover`: the recovery service over a publisher's journal.

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::progress::Progress;
use crate::signals;
use crate::summary::{Counts, Summary};
use crate::units;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_recovery::{Limits, Service, ServiceConfig, Stats};
use twinline_wire::field::{LogoutReason, RejectCode};

/// Serve what both lines lost, from a publisher's journal, over TCP.
///
/// It may be started before the publisher: then it waits for the journal. It reads the journal while it is written and
/// never changes it; any number of services can serve one journal. Without TLS and tokens, which it does not have yet,
/// it belongs on a network that only listeners reach: it listens on loopback unless told otherwise.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  twinline recover --journal /var/lib/twinline/publisher --listen 10.0.0.5:17010"
)]
pub(crate) struct Recover {
    /// The publisher's journal
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
    /// The address to listen at; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:17010")]
    listen: SocketAddr,
    /// The channel that the journal is of
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    channel: u16,
    /// Clients connected at once
    #[arg(long, value_name = "COUNT", default_value_t = 1024, help_heading = "Limits")]
    max_clients: usize,
    /// Ranges in a request
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_ranges, help_heading = "Limits")]
    max_ranges: u16,
    /// Requests that a client may have open
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_requests, help_heading = "Limits")]
    max_requests: u16,
    /// Messages sent for a request before it is answered as partial
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_messages, help_heading = "Limits")]
    max_messages: u32,
    /// Messages a minute that a client is sent [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    client_rate: Option<u32>,
    /// Messages a minute that all clients together are sent [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    total_rate: Option<u32>,
    /// Cut a client from which nothing came for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration, help_heading = "Limits")]
    idle_timeout: Duration,
    /// Cut a client that does not take an answer within this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "Limits")]
    slow_timeout: Duration,
}

impl Recover {
    fn config(&self) -> ServiceConfig {
        let mut config = ServiceConfig::new(&self.journal, self.channel, self.listen);
        config.max_clients = self.max_clients;
        config.messages_per_minute = self.total_rate;
        config.limits = Limits {
            max_ranges: self.max_ranges,
            max_requests: self.max_requests,
            max_messages: self.max_messages,
            messages_per_minute: self.client_rate,
            idle_timeout: self.idle_timeout,
            slow_timeout: self.slow_timeout,
            ..Limits::default()
        };
        config
    }
}

/// Runs `twinline recover`.
pub(crate) fn run(args: &Recover, global: &Global) -> Result<Finish, Failure> {
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let service = Service::bind(args.config())?;
    let address = service.local_addr();
    let stats = service.stats();
    let started = Instant::now();
    progress.ready(
        Some(address.to_string()),
        &format!("serving {} at {address}", args.journal.display()),
    );
    if !address.ip().is_loopback() {
        progress.warn(format!(
            "{address} is not a loopback address: whoever reaches it can read the whole journal"
        ));
    }
    let figures = || summary(args, &stats, started);
    let result = serve(service, &stop, &mut progress, &figures)?;
    let mut summary = figures();
    summary.set("address", address);
    summary.warnings = progress.warnings().to_vec();
    match result {
        Ok(()) => Ok(Finish::success(summary)),
        Err(error) => Ok(Finish::failed(summary, error.into())),
    }
}

/// Runs the service on a thread of its own until it ends or is to stop.
fn serve(
    service: Service,
    stop: &AtomicBool,
    progress: &mut Progress,
    figures: &impl Fn() -> Summary,
) -> Result<Result<(), twinline_recovery::ServiceError>, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let handle = service.stop_handle();
    let worker = thread::Builder::new()
        .name("recovery".into())
        .spawn(move || service.run())
        .map_err(|cause| Failure::error(format!("cannot start the service's thread: {cause}")))?;
    while !worker.is_finished() {
        thread::park_timeout(LOOK_EVERY);
        if stop.load(Ordering::Relaxed) {
            handle.stop();
        }
        progress.figures(figures);
    }
    worker
        .join()
        .map_err(|_| Failure::error("the service's thread panicked: this is a bug; start it again"))
}

fn summary(args: &Recover, stats: &Stats, started: Instant) -> Summary {
    let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut summary = Summary::new("recover");
    summary.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    summary.set("channel", args.channel);
    summary.messages = get(&stats.messages);
    summary.packets = get(&stats.packets);
    summary.bytes = get(&stats.bytes);
    let mut counts: Counts = [
        ("clients", &stats.clients),
        ("connections", &stats.connections),
        ("refused", &stats.refused),
        ("accept_errors", &stats.accept_errors),
        ("logins", &stats.logins),
        ("requests", &stats.requests),
        ("malformed", &stats.malformed),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_string(), get(count)))
    .collect();
    for (code, name) in RejectCode::DEF.values {
        let count = stats.rejects(RejectCode(*code));
        counts.insert(format!("rejected {name}"), count);
    }
    for (reason, name) in LogoutReason::DEF.values {
        let count = stats.cuts(LogoutReason(*reason));
        counts.insert(format!("cut {name}"), count);
    }
    counts.retain(|name, count| *count > 0 || !name.contains(' '));
    summary.recovery = Some(counts);
    if let Some(error) = stats.last_journal_error() {
        summary.set("last_journal_error", error);
    }
    summary
}
