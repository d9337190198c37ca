//! Metrics and health of a daemon over HTTP: `/metrics` for Prometheus, `/healthz`, `/readyz`.
//!
//! The libraries keep plain counters and know nothing of this. Here a daemon's main thread hands over a [`Monitored`], and
//! each request puts the counters as they are just then onto a [`Page`]: nothing is registered, and the threads that do the
//! work are never asked to do more. The names are those of the table in `docs/metrics.md`, which a test holds to the page.

mod health;
mod http;
mod journal;
mod listener;
mod page;
mod process;
mod publisher;
mod replica;
mod service;

use crate::exit::Failure;
use crate::progress::Progress;
use clap::Args;
use health::Health;
use http::{Answer, Request};
pub(crate) use listener::ListenerMetrics;
pub(crate) use page::Page;
pub(crate) use replica::ReplicaMetrics;
pub(crate) use service::ServiceMetrics;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Where metrics and health are served.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve /metrics (for Prometheus), /healthz and /readyz there; a port alone is one of the loopback address, port 0 any
    /// free one. There is no authentication: whoever reaches it can read it [default: not served]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, help_heading = "Metrics")]
    metrics: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text
        .parse()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.parse()).map_err(|_| {
        format!("{text:?} is no address to serve metrics at: write 127.0.0.1:9464, or 9464 for the same")
    })
}

/// What a daemon shows of itself.
pub(crate) trait Monitored: Send + Sync + 'static {
    /// Puts what it counts onto the page.
    fn fill(&self, page: &mut Page);
    /// How each channel stands.
    fn standings(&self) -> Vec<Standing>;
    /// Turns of each channel's thread, in the order of [`standings`](Self::standings).
    fn turns(&self) -> Vec<u64>;
}

/// How a channel stands.
pub(crate) struct Standing {
    pub(crate) channel: u16,
    /// Why it is not ready; nothing: it is.
    pub(crate) unready: Vec<String>,
}

/// A socket at which metrics will be served.
pub(crate) struct Bound(Option<TcpListener>);

impl MetricsArgs {
    /// Listens, if it is asked for: to be called before anything is created.
    ///
    /// # Errors
    /// If the address cannot be listened at.
    pub(crate) fn bind(&self) -> Result<Bound, Failure> {
        let bind = |address| {
            TcpListener::bind(address).map_err(|cause| {
                Failure::error(format!(
                    "cannot serve metrics at {address}: {cause}; name another address or port with --metrics, or stop what \
                     listens there"
                ))
            })
        };
        Ok(Bound(self.metrics.map(bind).transpose()?))
    }
}

impl Bound {
    /// Serves what a daemon of this name shows, until the process ends. Does nothing where it was not asked for.
    ///
    /// # Errors
    /// If no threads can be started.
    pub(crate) fn serve(
        self,
        daemon: &'static str,
        monitored: impl Monitored,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let Some(listener) = self.0 else {
            return Ok(());
        };
        let failed = |cause| Failure::error(format!("cannot serve metrics: {cause}"));
        let address = listener.local_addr().map_err(failed)?;
        let monitor = Arc::new(Monitor {
            daemon,
            health: Health::new(monitored.turns()),
            monitored: Box::new(monitored),
            warnings: progress.warned(),
            started: process::started(),
        });
        let pulse = Arc::clone(&monitor);
        health::start(move || pulse.health.look(&pulse.monitored.turns())).map_err(failed)?;
        http::start(listener, move |request| monitor.answer(request)).map_err(failed)?;
        progress.serves_metrics(address);
        Ok(())
    }
}

/// What the threads that answer share.
struct Monitor {
    daemon: &'static str,
    monitored: Box<dyn Monitored>,
    health: Health,
    warnings: Arc<AtomicU64>,
    /// Seconds since the Unix epoch.
    started: f64,
}

impl Monitor {
    fn answer(&self, request: &Request<'_>) -> Answer {
        match request.path {
            "/metrics" => Answer::metrics(self.page()),
            "/healthz" => {
                let hung = self.health.hung(&self.monitored.turns());
                let channels = self.monitored.standings().into_iter().zip(hung);
                let ill = channels.filter_map(|(standing, hung)| Some((standing.channel, vec![hung?])));
                health::answer("healthy", ill, request)
            }
            "/readyz" => {
                let standings = self.monitored.standings().into_iter();
                health::answer("ready", standings.map(|of| (of.channel, of.unready)), request)
            }
            _ => Answer::text(404, "there are /metrics, /healthz and /readyz here\n".into()),
        }
    }

    fn page(&self) -> String {
        let mut page = Page::default();
        process::fill(&mut page, self);
        let turns = self.monitored.turns();
        let hung = self.health.hung(&turns);
        let channels = self.monitored.standings().into_iter().zip(turns).zip(hung);
        for ((standing, turns), hung) in channels {
            let channel = standing.channel.to_string();
            let mut of = page.of(&[("channel", &channel)]);
            of.counter(
                "twinline_turns_total",
                "Turns of the channel's thread: standing still means that it hangs",
                turns,
            );
            of.flag(
                "twinline_healthy",
                "1 if the channel's thread is alive and turning over, as on /healthz",
                hung.is_none(),
            );
            of.flag(
                "twinline_ready",
                "1 if the channel is ready, as on /readyz",
                standing.unready.is_empty(),
            );
        }
        self.monitored.fill(&mut page);
        page.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address() {
        assert_eq!(address("9464"), Ok(SocketAddr::from(([127, 0, 0, 1], 9464))));
        assert_eq!(
            address("10.0.0.5:9464"),
            Ok(SocketAddr::from(([10, 0, 0, 5], 9464)))
        );
        assert!(address("[::1]:9464").is_ok());
        for wrong in ["", "eth0", "10.0.0.5", "70000"] {
            assert!(
                address(wrong)
                    .unwrap_err()
                    .contains("no address to serve metrics at")
            );
        }
    }
}
