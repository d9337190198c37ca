//! `twinline doctor`: what this host can do for lines of market data, and what to change.
//!
//! What the kernel says is [read](root) and [asked](netlink) first; the [checks] are functions from that to
//! [findings](finding::Finding), and the [report] shows them. Nothing is changed here, and nothing attached or joined.

mod checks;
mod cores;
mod finding;
mod ioctl;
mod link;
mod netlink;
mod report;
mod root;
mod spin;

use crate::bench::progress::{self, Progress};
use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::summary::Summary;
use crate::units;
use checks::Wanted;
use checks::kernel::XdpSockets;
use checks::losses::Host;
use checks::memory::Room;
use clap::Args;
use finding::{Finding, Severity};
use link::Link;
use netlink::route::{self, Way};
use report::Counts;
use root::Root;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use spin::Jitter;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};
use twinline_benches::harness::watch::Step;
use twinline_line::LineAddress;

/// Counters are watched for at least so long.
const LEAST_WATCH: Duration = Duration::from_millis(500);

/// What each core of the run showed, or why it was not watched.
type Measured = Vec<(usize, Result<Jitter, String>)>;

/// Look at what this host can do for the lines, and say what to change.
///
/// Kernel and drivers (XDP, rings, queues, offloads), limits of sockets and groups, routes and the reverse-path filter, clocks,
/// cores, interrupts and memory; and for a few seconds on each core, what is taken from a thread that spins there. Each
/// finding is ok, a note, SLOW (costs time) or LOSS (would lose data), with why it matters and, where there is one, the
/// command that mends it, to be run as root. Nothing is changed and nothing attached. Run it where, and as whom, the publisher
/// or the listener is to run, with the same lines.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline doctor\n  twinline doctor --line-a 239.1.1.1:5001@eth0 --line-b 239.1.1.2:5001@eth1 --cpu 1\n  twinline doctor --jitter 0s --json | jq '.findings[] | select(.severity == \"loss\")'\n\nExit code 8: something here would lose data."
)]
pub(crate) struct Doctor {
    /// Interfaces to look at, and what lies below them, such as a VLAN's card [default: those of the lines, otherwise every one that is up and connected and has an IPv4 address; of those nothing counts as a loss]
    interface: Vec<String>,
    /// Line A, as `publish` and `listen` take it: GROUP:PORT@INTERFACE
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    line_a: Option<LineAddress>,
    /// Line B
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    line_b: Option<LineAddress>,
    /// An address of the publisher: whether the reverse-path filter lets it through is asked of the kernel; may be given several times
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    sender: Vec<Ipv4Addr>,
    /// Most bytes in a packet
    #[arg(long, value_name = "BYTES", default_value = "1408", value_parser = units::size_in_memory, help_heading = "Lines")]
    packet_size: usize,
    /// Bytes that each line's socket is to hold while the listener's thread is busy
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = units::size_in_memory, help_heading = "Lines")]
    receive_buffer: usize,
    /// The cores that are to be used, as in 2,3 [default: all are looked at]
    #[arg(long, value_name = "CORE", value_delimiter = ',', help_heading = "Cores")]
    cpu: Vec<usize>,
    /// Spin on each core for so long, one after the other, and tell what was taken; 0s: not at all
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration, help_heading = "Cores")]
    jitter: Duration,
}

impl Doctor {
    /// Whether anything says which interfaces the lines go through.
    fn names_interfaces(&self) -> bool {
        !self.interface.is_empty() || self.line_a.is_some() || self.line_b.is_some()
    }
}

/// Runs `twinline doctor`.
pub(crate) fn run(args: &Doctor, global: &Global) -> Result<Finish, Failure> {
    let root = Root::at("/");
    let wanted = Wanted {
        lines: args.line_a.iter().chain(&args.line_b).cloned().collect(),
        packet_size: args.packet_size,
        receive_buffer: args.receive_buffer,
        senders: args.sender.clone(),
        cores: args.cpu.clone(),
        rights: rustix::thread::capabilities(None)
            .map_or_else(|_| CapabilitySet::empty(), |sets| sets.effective),
    };
    let links = all_links()?;
    let (mut chosen, mut findings) = choose(&links, args, &wanted)?;
    for link in &mut chosen.links {
        link::look_at_senders(link, &wanted.senders);
    }
    let (start, before) = (Instant::now(), Host::read(&root));
    let measured = measure(&root, args.jitter, &wanted, global);
    thread::sleep(LEAST_WATCH.saturating_sub(start.elapsed()));
    let (watched, after) = (start.elapsed(), Host::read(&root));
    let of_links = of_links(&root, &mut chosen, &wanted, watched)?;
    findings.extend(match args.names_interfaces() {
        true => of_links,
        false => of_links.into_iter().map(of_whoever).collect(),
    });
    let looked_at = chosen.links;
    findings.extend(of_host(&root, &looked_at, &wanted));
    findings.extend(checks::losses::host(&root, before, after, watched));
    findings.extend(checks::losses::queue(&root, before, after, watched));
    findings.extend(checks::jitter::check(&measured));
    Ok(finish(&findings, &looked_at, &measured))
}

fn all_links() -> Result<Vec<Link>, Failure> {
    link::all().map_err(|cause| Failure::error(format!("the kernel does not list its interfaces: {cause}")))
}

/// The interfaces to look at.
struct Chosen {
    /// Those that lines go through, or may, in the order in which they were named; then what lies below them.
    links: Vec<Link>,
    /// How many come before what lies below.
    for_lines: usize,
    /// The lines, each with the number of its interface.
    lines: Vec<(u32, LineAddress)>,
}

/// The interfaces to look at, and what is to be said of lines that name none.
fn choose(links: &[Link], args: &Doctor, wanted: &Wanted) -> Result<(Chosen, Vec<Finding>), Failure> {
    let mut chosen: Vec<&Link> = Vec::new();
    let mut findings = Vec::new();
    for name in &args.interface {
        chosen.push(links.iter().find(|link| link.name == *name).ok_or_else(|| {
            let known: Vec<&str> = links.iter().map(|link| &*link.name).collect();
            Failure::usage(format!(
                "there is no interface {name}: take one of {}",
                known.join(", ")
            ))
        })?);
    }
    let mut lines = Vec::new();
    for line in &wanted.lines {
        let index = match interface_of(line, links)? {
            Some(index) => Some(index),
            None => {
                let way = route::way_to(line.group);
                let first = usual(links).into_iter().find(|link| !link.is_loopback());
                let first = first.map(|link| &*link.name);
                findings.push(checks::interface::line_without_interface(line, way, first));
                way.and_then(Way::index)
            }
        };
        if let Some(link) = links.iter().find(|link| Some(link.index) == index) {
            chosen.push(link);
            lines.push((link.index, line.clone()));
        }
    }
    if !args.names_interfaces() {
        chosen = usual(links);
        let left_out: Vec<&Link> = up_with_address(links)
            .filter(|link| !is_connected(link))
            .collect();
        findings.push(checks::interface::none_named(&chosen, &left_out));
    }
    let mut seen = BTreeSet::new();
    chosen.retain(|link| seen.insert(link.index));
    let for_lines = chosen.len();
    let stands_alone = |link: &&&Link| !chosen.iter().any(|above| link.is_below(above));
    let bare = chosen.iter().filter(|link| link.addresses.is_empty());
    findings.extend(
        bare.filter(stands_alone)
            .map(|link| checks::interface::without_address(link)),
    );
    // What lies below them: a VLAN's card, a bond's parts.
    let mut at = 0;
    while let Some(&above) = chosen.get(at) {
        let below = |link: &&Link| link.is_below(above) && seen.insert(link.index);
        chosen.extend(links.iter().filter(below));
        at += 1;
    }
    let chosen = Chosen {
        links: chosen.into_iter().cloned().collect(),
        for_lines,
        lines,
    };
    Ok((chosen, findings))
}

/// The number of the interface that a line names, if it names one.
fn interface_of(line: &LineAddress, links: &[Link]) -> Result<Option<u32>, Failure> {
    // To a line an interface without an address is none; here it is one that lacks an address.
    let named = line.interface.as_deref();
    match named.and_then(|name| links.iter().find(|link| link.is_named(name))) {
        Some(link) => Ok(Some(link.index)),
        None => Ok(line.find_interface()?.map(|interface| interface.index)),
    }
}

/// The interfaces that a line could go through as they are: up, with an address, and something at the other end.
fn usual(links: &[Link]) -> Vec<&Link> {
    up_with_address(links).filter(|link| is_connected(link)).collect()
}

fn up_with_address(links: &[Link]) -> impl Iterator<Item = &Link> {
    links
        .iter()
        .filter(|link| link.is_up() && !link.addresses.is_empty())
}

/// A finding of an interface that nobody named: a VPN's or a container network's too, so it is no line's loss.
fn of_whoever(finding: Finding) -> Finding {
    match finding.severity {
        Severity::Loss => finding.is(Severity::Note),
        _ => finding,
    }
}

fn is_connected(link: &Link) -> bool {
    link.carrier != Some(false)
}

/// Spins on each core.
fn measure(root: &Root, time: Duration, wanted: &Wanted, global: &Global) -> Measured {
    if time.is_zero() {
        return Vec::new();
    }
    let cores = match wanted.cores.is_empty() {
        true => cores::online(root),
        false => wanted.cores.clone(),
    };
    let shown = Progress::new("doctor", global.progress);
    let what = format!(
        "doctor: jitter, {} a core, core",
        units::show_nanos(time.as_nanos() as u64)
    );
    let measured = cores
        .iter()
        .enumerate()
        .map(|(number, &core)| {
            let step = Step {
                what: &what,
                done: number + 1,
                of: cores.len(),
            };
            shown.show(step);
            (core, spin::on_core(root, core, time))
        })
        .collect();
    progress::clear(global.progress);
    measured
}

/// What is of each interface, some of it by what its counters did in `watched`.
fn of_links(
    root: &Root,
    chosen: &mut Chosen,
    wanted: &Wanted,
    watched: Duration,
) -> Result<Vec<Finding>, Failure> {
    let later = all_links()?;
    let mut findings = checks::reverse_path::check(root, &chosen.links[..chosen.for_lines]);
    for link in &mut chosen.links {
        let through = chosen.lines.iter().filter(|(index, _)| *index == link.index);
        let lines: Vec<&LineAddress> = through.map(|(_, line)| line).collect();
        findings.extend(checks::interface::check(link, wanted));
        findings.extend(checks::device::check(link, &lines));
        let now = later.iter().find(|now| now.index == link.index);
        let now = now.map_or(link.counters, |now| now.counters);
        findings.extend(checks::losses::interface(&link.name, link.counters, now, watched));
        link.counters = now;
    }
    Ok(findings)
}

/// What is of the host as a whole.
fn of_host(root: &Root, looked_at: &[Link], wanted: &Wanted) -> Vec<Finding> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let program =
        std::env::current_exe().map_or_else(|_| "twinline".into(), |path| path.display().to_string());
    let mut findings = checks::kernel::check(root, &release, xdp_sockets(), wanted, &program);
    let queued = looked_at.iter().any(|link| !link.is_hardware());
    findings.extend(checks::socket::check(root, wanted, queued));
    findings.extend(checks::clock::check(
        root,
        twinline_listener::fair::read_kernel_clock(),
    ));
    findings.extend(checks::cpu::check(root, wanted));
    let names: Vec<&str> = looked_at.iter().map(|link| &*link.name).collect();
    findings.extend(checks::interrupts::check(root, &names, wanted));
    let room = Room {
        lockable: getrlimit(Resource::Memlock).current,
        shared: rustix::fs::statvfs("/dev/shm")
            .ok()
            .map(|room| [room.f_bavail, room.f_blocks].map(|blocks| blocks.saturating_mul(room.f_frsize))),
    };
    findings.extend(checks::memory::check(root, room, wanted, looked_at));
    findings
}

/// Makes an AF_XDP socket, and throws it away unbound.
fn xdp_sockets() -> XdpSockets {
    match rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None) {
        Ok(_) => XdpSockets::There,
        Err(Errno::PERM | Errno::ACCESS) => XdpSockets::Forbidden,
        Err(_) => XdpSockets::Missing,
    }
}

fn finish(findings: &[Finding], looked_at: &[Link], measured: &Measured) -> Finish {
    let counts = Counts::of(findings);
    let jitter: Vec<_> = measured
        .iter()
        .map(|(core, seen)| match seen {
            Ok(jitter) => serde_json::json!({ "core": core, "measured": jitter }),
            Err(why) => serde_json::json!({ "core": core, "error": why }),
        })
        .collect();
    let with_theme: Vec<_> = findings
        .iter()
        .filter_map(|finding| {
            let mut value = serde_json::to_value(finding).ok()?;
            value["theme"] = finding.theme().into();
            Some(value)
        })
        .collect();
    let mut summary = Summary::new("doctor");
    summary.set("counts", counts);
    summary.set("findings", with_theme);
    summary.set("interfaces", looked_at);
    summary.set("jitter", jitter);
    summary.own_text = report::text(findings);
    match counts.loss {
        0 => {
            summary.outcome = Some("nothing found that would lose data".into());
            Finish::success(summary)
        }
        _ => Finish::with(summary, Exit::Unfit),
    }
}
