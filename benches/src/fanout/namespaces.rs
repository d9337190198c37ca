//! Hosts of our own: network namespaces on one bridge. They are gone when dropped, and also when this process ends in any
//! other way: a small process beside it waits for that.

use crate::harness::error::BenchError;
use crate::harness::threads::on_core;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What clears up: it reads until this process closes the pipe, or dies, and removes the namespaces that it was given.
/// Ctrl-C at the terminal reaches it too, and is not for it.
const CLEARING: &str =
    r#"trap '' INT TERM HUP; read -r _; for name in "$@"; do ip netns delete "$name" 2>/dev/null; done"#;

/// Why there can be no namespaces here; `None` if there can.
pub(super) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root");
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => None,
        Err(_) => Some("network namespaces need the command ip (iproute2)"),
    }
}

/// A bridge and the hosts on it. Host `n` has the interface `line` with the address 10.78.0.n.
pub(super) struct Hosts {
    prefix: String,
    count: usize,
    clearing: Child,
}

impl Hosts {
    /// The bridge, and room for hosts 1 to `most`.
    pub(super) fn new(most: usize) -> Result<Self, BenchError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("twf{}n{number}", std::process::id());
        let switch = format!("{prefix}s");
        let names = (1..=most).map(|host| format!("{prefix}h{host}"));
        let clearing = Command::new("sh")
            .args(["-c", CLEARING, "sh", &switch])
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(BenchError::io("start sh"))?;
        let hosts = Self {
            prefix,
            count: 0,
            clearing,
        };
        ip(&[], &format!("netns add {switch}\n"))?;
        ip(
            &["-n", &switch],
            "link add name bridge type bridge mcast_snooping 0\nlink set dev bridge up\n",
        )?;
        Ok(hosts)
    }

    /// Makes hosts until there are `count`.
    pub(super) fn grow(&mut self, count: usize) -> Result<(), BenchError> {
        let switch = format!("{}s", self.prefix);
        for host in self.count + 1..=count {
            let name = self.name(host);
            ip(&[], &format!("netns add {name}\n"))?;
            ip(
                &["-n", &switch],
                &format!(
                    "link add name h{host} type veth peer name line netns {name}\nlink set dev h{host} master bridge up\n"
                ),
            )?;
            ip(
                &["-n", &name],
                &format!(
                    "link set dev lo up\naddress add 10.78.0.{host}/24 dev line\nlink set dev line up\n"
                ),
            )?;
        }
        self.count = self.count.max(count);
        Ok(())
    }

    fn name(&self, host: usize) -> String {
        format!("{}h{host}", self.prefix)
    }

    /// Runs `work` on a thread of its own in a host: the sockets that it opens are that host's, whoever uses them then.
    pub(super) fn within<T: Send>(
        &self,
        host: usize,
        work: impl FnOnce() -> Result<T, BenchError> + Send,
    ) -> Result<T, BenchError> {
        on_core("host", None, || {
            let path = format!("/run/netns/{}", self.name(host));
            let failed = || BenchError::io(format!("enter the network namespace {path}"));
            let namespace = File::open(&path).map_err(failed())?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| failed()(error.into()))?;
            work()
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Closes the pipe.
        drop(self.clearing.stdin.take());
        let _ = self.clearing.wait();
    }
}

/// Runs `ip` with these arguments and a batch of commands.
fn ip(arguments: &[&str], batch: &str) -> Result<(), BenchError> {
    let run = || -> io::Result<Output> {
        let mut child = Command::new("ip")
            .args(arguments)
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(batch.as_bytes())?;
        }
        child.wait_with_output()
    };
    let done = run().map_err(BenchError::io("run the command ip"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(BenchError::Broken(format!(
            "ip {batch}: {}",
            String::from_utf8_lossy(&done.stderr)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(prefix: &str) -> usize {
        let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        names
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .count()
    }

    #[test]
    fn hosts_hear_each_other_and_are_gone_after_a_panic_too() {
        if let Some(why) = missing() {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
            eprintln!("skipped: {why}");
            return;
        }
        let prefix = std::sync::Mutex::new(String::new());
        let panicked = std::panic::catch_unwind(|| {
            let mut hosts = Hosts::new(2).expect("root, and ip");
            *prefix.lock().unwrap() = hosts.prefix.clone();
            hosts.grow(2).expect("root, and ip");
            assert_eq!(namespaces(&hosts.prefix), 3);
            let [mut one, mut two] = [1, 2].map(|host| {
                let bound = hosts.within(host, || {
                    std::net::UdpSocket::bind(("0.0.0.0", 17_003)).map_err(BenchError::io("bind"))
                });
                Some(bound.expect("a port of its own"))
            });
            let (one, two) = (one.take().unwrap(), two.take().unwrap());
            one.send_to(b"here", ("10.78.0.2", 17_003)).expect("a way there");
            let mut heard = [0; 8];
            assert_eq!(two.recv(&mut heard).expect("it comes"), 4);
            panic!("on purpose");
        });
        assert!(panicked.is_err());
        let prefix = prefix.lock().unwrap().clone();
        assert!(!prefix.is_empty(), "it came to its end");
        assert_eq!(namespaces(&prefix), 0);
    }
}
