//! A line's address as text, and the network interfaces that it may name.
//!
//! `GROUP:PORT`, or `GROUP:PORT@INTERFACE` with the interface's name or one of its IPv4 addresses. Parsing looks at the
//! text alone; whether the interface exists is asked when a socket is opened.

use crate::{LineError, sys};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

/// Where a line is: a multicast group, a port, and the interface to reach it through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LineAddress {
    /// The group; multicast, checked when a socket is opened.
    pub group: Ipv4Addr,
    /// The UDP port, 1 or more.
    pub port: u16,
    /// The interface's name or one of its IPv4 addresses. Without one the system's routes decide.
    pub interface: Option<String>,
}

/// An interface of this machine, with one of its IPv4 addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in the kernel.
    pub index: u32,
    /// The address: the one asked for, or the interface's first. Packets sent through it bear it.
    pub address: Ipv4Addr,
}

impl LineAddress {
    /// The interface that the address names; `None` if it names none.
    ///
    /// # Errors
    /// [`LineError::NoInterface`] if there is no such interface with an IPv4 address.
    pub fn find_interface(&self) -> Result<Option<Interface>, LineError> {
        let Some(wanted) = &self.interface else {
            return Ok(None);
        };
        let all = sys::interfaces().map_err(|cause| LineError::new(self, "list the interfaces", cause))?;
        let by_address = wanted.parse::<Ipv4Addr>().ok();
        let found = all
            .iter()
            .find(|known| known.name == *wanted || Some(known.address) == by_address);
        match found {
            Some(interface) => Ok(Some(interface.clone())),
            None => Err(LineError::NoInterface {
                name: wanted.clone(),
                known: names(&all),
            }),
        }
    }

    /// That the group is one.
    pub(crate) fn check_group(&self) -> Result<(), LineError> {
        if self.group.is_multicast() {
            Ok(())
        } else {
            Err(LineError::NotMulticast { group: self.group })
        }
    }

    /// Its group and port, without the interface.
    pub(crate) fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.group, self.port)
    }
}

/// `lo (127.0.0.1), eth0 (10.0.0.2)`.
fn names(interfaces: &[Interface]) -> String {
    let names: Vec<String> = interfaces
        .iter()
        .map(|known| format!("{} ({})", known.name, known.address))
        .collect();
    if names.is_empty() {
        "those that you give an address (there are none now)".into()
    } else {
        names.join(", ")
    }
}

impl FromStr for LineAddress {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let wrong = |what| LineError::Address {
            text: text.into(),
            what,
        };
        let (endpoint, interface) = match text.split_once('@') {
            Some((_, "")) => return Err(wrong("there is no interface after the @")),
            Some((endpoint, interface)) => (endpoint, Some(interface.to_string())),
            None => (text, None),
        };
        let (group, port) = endpoint.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        let group = group
            .parse()
            .map_err(|_| wrong("the group is not an IPv4 address"))?;
        let port = port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?;
        let address = Self {
            group,
            port,
            interface,
        };
        address.check_group()?;
        Ok(address)
    }
}

impl fmt::Display for LineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint().fmt(f)?;
        match &self.interface {
            Some(interface) => write!(f, "@{interface}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_printed_the_same() {
        for text in ["239.1.1.1:5001", "239.1.1.1:5001@eth0", "224.0.1.9:1@127.0.0.1"] {
            assert_eq!(text.parse::<LineAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_in_one_line_what_is_wrong() {
        for (text, part) in [
            ("239.1.1.1", "no port"),
            ("239.1.1.1:0", "1 to 65535"),
            ("239.1.1.1:70000", "1 to 65535"),
            ("239.1.1.1:x", "1 to 65535"),
            ("group:5001", "not an IPv4 address"),
            ("[ff02::1]:5001", "not an IPv4 address"),
            ("239.1.1.1:5001@", "no interface"),
            ("10.0.0.1:5001", "not a multicast group"),
            ("", "no port"),
        ] {
            let error = text.parse::<LineAddress>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn an_interface_is_found_by_name_and_by_address() {
        let find = |text: &str| text.parse::<LineAddress>().unwrap().find_interface();
        let by_name = find("239.1.1.1:5001@lo").unwrap().unwrap();
        assert_eq!(by_name, find("239.1.1.1:5001@127.0.0.1").unwrap().unwrap());
        assert_eq!(by_name.address, Ipv4Addr::LOCALHOST);
        assert_eq!(find("239.1.1.1:5001").unwrap(), None);
    }

    #[test]
    fn an_interface_that_does_not_exist_is_refused_with_those_that_do() {
        let address: LineAddress = "239.1.1.1:5001@nosuch9".parse().unwrap();
        let error = address.find_interface().unwrap_err().to_string();
        assert!(
            error.contains("nosuch9") && error.contains("lo (127.0.0.1)"),
            "{error}"
        );
    }
}
