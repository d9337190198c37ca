//! Hosts of one's own on this machine: network namespaces, joined by one or several bridges that stand in a namespace
//! besides, the switch.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use twinline_namespaces::Networks;
//!
//! let mut networks = Networks::new(&["line-a", "line-b"])?;
//! networks.grow(2)?;
//! // A socket of the first host, on its interface line-a, which has this address.
//! let address = networks.address(0, 1);
//! let socket = networks.host(1).within(|| std::net::UdpSocket::bind((address, 17_001)))??;
//! // A process on the second host.
//! networks.host(2).command("ip").arg("address").status()?;
//! // Line A of the second host is dead.
//! networks.set_port(0, 2, false)?;
//! # drop(socket);
//! # Ok(())
//! # }
//! ```
//!
//! All is gone when [`Networks`] is dropped, and also when the process ends in any other way: a small process beside it
//! waits for that. What even that one could not remove, because it was killed too, the next [`Networks`] removes. Needs
//! root and the command `ip` (iproute2); [`missing`] says what is missing.

mod clearing;
mod error;
mod namespace;

pub use error::NamespaceError;
pub use namespace::Namespace;

use clearing::Clearing;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the names of all our namespaces begin with; the owner's process id follows.
const PREFIX: &str = "twinline-";
/// As many hosts as a network has addresses for.
const MOST_HOSTS: usize = 250;
/// The kernel's limit on an interface's name is 15; a port's name is the network's, a dot and the host's number.
const MOST_NAME: usize = 11;
/// The third byte of addresses on the first cable; networks have those from 1.
const CABLES: u8 = 128;

/// Why there can be no namespaces here; `None` if there can.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root");
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => None,
        Err(_) => Some("network namespaces need the command ip (iproute2)"),
    }
}

/// Hosts, and the networks that each of them is on.
///
/// Hosts are counted from 1, networks from 0 in the order of their names. On each network a host has an interface of the
/// network's name, with the address that [`Networks::address`] says. Nothing but what is started there speaks on them: the
/// interfaces have no IPv6 address, the bridges know neither spanning tree nor multicast snooping.
#[derive(Debug)]
pub struct Networks {
    names: Vec<String>,
    prefix: String,
    switch: Namespace,
    hosts: Vec<Namespace>,
    cables: u8,
    clearing: Clearing,
}

impl Networks {
    /// A network of each of these names, without hosts. First removes what is left of processes that are dead.
    ///
    /// # Errors
    /// If there can be no namespaces here, a name is too long for an interface, or `ip` fails.
    pub fn new(names: &[&str]) -> Result<Self, NamespaceError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if let Some(what) = missing() {
            return Err(NamespaceError::Missing(what));
        }
        if let Some(name) = names
            .iter()
            .find(|name| name.is_empty() || name.len() > MOST_NAME)
        {
            return Err(NamespaceError::Name((*name).into()));
        }
        clearing::sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        let clearing = Clearing::start(&prefix)?;
        let switch = Namespace::new(format!("{prefix}switch"));
        let networks = Self {
            names: names.iter().map(ToString::to_string).collect(),
            prefix,
            switch,
            hosts: Vec::new(),
            cables: 0,
            clearing,
        };
        namespace::batch("ip", None, &format!("netns add {}\n", networks.switch.name()))?;
        let mut bridges = String::new();
        for name in names {
            let _ = writeln!(bridges, "link add name {name} type bridge mcast_snooping 0");
            let _ = writeln!(bridges, "link set dev {name} addrgenmode none up");
        }
        networks.switch.batch("ip", &bridges)?;
        Ok(networks)
    }

    /// Makes hosts until there are `count`.
    ///
    /// # Errors
    /// If a network has no addresses for so many, or `ip` fails.
    pub fn grow(&mut self, count: usize) -> Result<(), NamespaceError> {
        if count > MOST_HOSTS {
            return Err(NamespaceError::TooMany(count));
        }
        let new = self.hosts.len() + 1..=count;
        let namespace = |host: usize| Namespace::new(format!("{}{host}", self.prefix));
        let (mut namespaces, mut links) = (String::new(), String::new());
        for host in new.clone() {
            let name = namespace(host);
            let _ = writeln!(namespaces, "netns add {}", name.name());
            for (network, interface) in self.names.iter().enumerate() {
                let port = self.port(network, host);
                let _ = writeln!(
                    links,
                    "link add name {port} type veth peer name {interface} netns {}",
                    name.name()
                );
                let _ = writeln!(
                    links,
                    "link set dev {port} addrgenmode none master {interface} up"
                );
            }
        }
        namespace::batch("ip", None, &namespaces)?;
        self.switch.batch("ip", &links)?;
        for host in new {
            let mut own = String::from("link set dev lo up\n");
            for (network, interface) in self.names.iter().enumerate() {
                own += &up(interface, self.address(network, host));
            }
            let host = namespace(host);
            host.batch("ip", &own)?;
            self.hosts.push(host);
        }
        Ok(())
    }

    /// A cable between two hosts, with an interface of this name at both ends, besides their networks. Returns the addresses
    /// of the ends.
    ///
    /// # Errors
    /// If a host has an interface of that name, or `ip` fails.
    ///
    /// # Panics
    /// If there is no such host, or there are a hundred cables.
    pub fn connect(
        &mut self,
        interface: &str,
        one: usize,
        two: usize,
    ) -> Result<[Ipv4Addr; 2], NamespaceError> {
        assert!(self.cables < 100, "a hundred cables are enough");
        let network = CABLES + self.cables;
        self.cables += 1;
        let far = self.host(two).name();
        let link = format!("link add name {interface} type veth peer name {interface} netns {far}\n");
        self.host(one).batch("ip", &link)?;
        let ends = [one, two].map(|host| (host, address(network, host)));
        for (host, address) in ends {
            self.host(host).batch("ip", &up(interface, address))?;
        }
        Ok(ends.map(|(_, address)| address))
    }

    /// A host.
    ///
    /// # Panics
    /// If there is no such host.
    pub fn host(&self, number: usize) -> &Namespace {
        assert!(
            (1..=self.hosts.len()).contains(&number),
            "there is no host {number}"
        );
        &self.hosts[number - 1]
    }

    /// The namespace of the bridges and of the hosts' ports: what is done to a port there happens between the hosts.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// The address of a host on a network.
    pub fn address(&self, network: usize, host: usize) -> Ipv4Addr {
        address(network as u8 + 1, host)
    }

    /// The name, in the switch's namespace, of the port that leads to a host. What goes out of it is what that host
    /// receives; what comes in is what it sends.
    pub fn port(&self, network: usize, host: usize) -> String {
        format!("{}.{host}", self.names[network])
    }

    /// Takes a host off a network, or puts it on again: its interface loses its carrier.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn set_port(&self, network: usize, host: usize, up: bool) -> Result<(), NamespaceError> {
        let state = if up { "up" } else { "down" };
        let port = self.port(network, host);
        self.switch.batch("ip", &format!("link set dev {port} {state}\n"))
    }

    /// Removes this directory too, with all that is in it, when this is dropped or the process ends in any other way.
    ///
    /// # Errors
    /// If the process beside this one does not take it.
    pub fn also_remove(&mut self, directory: &Path) -> Result<(), NamespaceError> {
        self.clearing.also_remove(directory)
    }
}

fn address(network: u8, host: usize) -> Ipv4Addr {
    // There are never more than MOST_HOSTS.
    Ipv4Addr::new(10, 77, network, host as u8)
}

/// What gives an interface its address.
fn up(interface: &str, address: Ipv4Addr) -> String {
    format!("link set dev {interface} addrgenmode none up\naddress add {address}/24 brd + dev {interface}\n")
}
