//! A service that runs out of file descriptors goes on when there are some again. In a process of its own, for the
//! limit is the process's.

mod common;

use common::{CHANNEL, Feed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinline_recovery::{ClientConfig, RecoveryClient, Service, ServiceConfig};

#[test]
fn a_service_without_file_descriptors_waits_for_some() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    let bind = "127.0.0.1:0".parse().expect("an address");
    let service = Service::bind(ServiceConfig::new(dir.path(), CHANNEL, bind)).expect("a free port");
    let (address, stats, stop) = (service.local_addr(), service.stats(), service.stop_handle());
    let mut client = RecoveryClient::new(&ClientConfig::new("test", CHANNEL), &[address]).expect("a client");

    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(256),
            maximum,
        },
    )
    .expect("lowered");
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.pop();
    // This connection takes the last descriptor, so the service gets none for its end.
    let waiting = TcpStream::connect(address).expect("the system accepts it");
    let thread = std::thread::spawn(|| service.run());
    let start = Instant::now();
    while stats.accept_errors.load(Ordering::Relaxed) < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the service did not notice"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(files);
    while !client.is_ready(0) {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the service did not recover"
        );
        client
            .poll(Duration::from_millis(20), &mut |_, _| {})
            .expect("it can wait");
    }
    drop(waiting);
    stop.stop();
    thread.join().expect("no panic").expect("no failure");
}
