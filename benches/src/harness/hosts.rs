//! Two hosts of our own on this machine, joined by cables (veth pairs), for lines that do not go over loopback: AF_XDP
//! sends nothing to a receiver on the same host.

use super::error::BenchError;
use socket2::{Domain, Socket, Type};
use std::net::Ipv4Addr;
use twinline_namespaces::{Namespace, Networks};

/// The cables of lines A and B.
pub const LINES: [&str; 2] = ["line-a", "line-b"];
/// The cable of everything else.
const SERVICE: &str = "service";

/// Host 1, that publishes, and host 2, that listens. A cable has the same name on both.
#[derive(Debug)]
pub struct Hosts {
    networks: Networks,
    service: Ipv4Addr,
}

impl Hosts {
    /// Joined by lines A and B, a cable for recovery, and these.
    ///
    /// # Errors
    /// If there can be no namespaces here.
    pub fn new(cables: &[&str]) -> Result<Self, BenchError> {
        let mut networks = Networks::new(&[])?;
        networks.grow(2)?;
        let [service, _] = networks.connect(SERVICE, 1, 2)?;
        for cable in LINES.iter().chain(cables) {
            networks.connect(cable, 1, 2)?;
        }
        Ok(Self { networks, service })
    }

    /// The one that publishes.
    pub fn publisher(&self) -> &Namespace {
        self.networks.host(1)
    }

    /// The one that listens.
    pub fn listener(&self) -> &Namespace {
        self.networks.host(2)
    }

    /// Where the listener reaches a service of the publisher's host.
    pub fn service(&self) -> Ipv4Addr {
        self.service
    }
}

/// Why nothing can go through AF_XDP between hosts of our own here; `None` if it can.
pub fn missing() -> Option<&'static str> {
    twinline_namespaces::missing().or_else(|| {
        let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None);
        socket
            .is_err()
            .then_some("this kernel has no AF_XDP (Linux 5.11 or newer with CONFIG_XDP_SOCKETS has it)")
    })
}
