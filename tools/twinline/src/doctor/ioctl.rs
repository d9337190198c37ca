//! What only the old `SIOCETHTOOL` call tells: a driver's name, and how many rules steer packets to its queues. All of
//! this package's unsafe code.

use rustix::net::{AddressFamily, SocketType};
use std::os::fd::{AsRawFd, OwnedFd};

/// `struct ethtool_drvinfo`: a command, then the driver's name in 32 bytes, 196 bytes in all.
const DRIVER_INFO: u32 = 0x3;
/// `struct ethtool_rxnfc`: a command, and at byte 184 of 192 how many rules there are.
const COUNT_RULES: u32 = 0x2e;
const RULES_AT: usize = 184;

/// Room for the longest of these structures, aligned as the kernel's are.
#[repr(C, align(8))]
struct Answer([u8; 256]);

/// The name of an interface's driver.
pub(super) fn driver(interface: &str) -> Option<String> {
    let answer = ask(interface, DRIVER_INFO)?;
    let name: Vec<u8> = answer.0[4..36]
        .iter()
        .copied()
        .take_while(|&byte| byte != 0)
        .collect();
    Some(String::from_utf8_lossy(&name).into_owned()).filter(|name| !name.is_empty())
}

/// How many rules of an interface steer packets to queues; none if it knows of no such rules.
pub(super) fn flow_rules(interface: &str) -> Option<u32> {
    let answer = ask(interface, COUNT_RULES)?;
    let count = answer.0[RULES_AT..RULES_AT + 4].try_into().ok()?;
    Some(u32::from_ne_bytes(count))
}

fn ask(interface: &str, command: u32) -> Option<Answer> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    let mut answer = Answer([0; 256]);
    answer.0[..4].copy_from_slice(&command.to_ne_bytes());
    // SAFETY: plain bytes and pointers, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = answer.0.as_mut_ptr().cast();
    // SAFETY: the interface's name ends with a zero byte; the kernel reads and writes no more than the structure of the
    // command at `ifru_data`, 196 or 192 bytes, and there are 256, which live until the call is over.
    let refused = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (refused == 0).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_tells_nothing() {
        assert_eq!(driver("nosuch9"), None);
        assert_eq!(flow_rules("a-name-that-no-interface-can-have"), None);
    }
}
