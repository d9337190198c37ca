//! `twinline capture`: writes what comes on both lines into a capture file that Wireshark, tshark and `decode` read.

pub(crate) mod file;
pub(crate) mod headers;

use crate::cli::Global;
use crate::decode::{LINE_A, LINE_B, open_lines};
use crate::exit::{Failure, Finish};
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use crate::units::{self, show_bytes, show_count};
use clap::Args;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::{Line, LineAddress, SocketReceiver};
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::{Packet, flags};

/// Longest time without anything before what was captured is written out.
const NAP: Duration = Duration::from_micros(100);

/// Write what comes on both lines into a pcapng file.
///
/// It hears the lines through ordinary sockets, so it needs no privileges. The file has an interface for each line, named
/// "line A" and "line B", and the kernel's receive times in nanoseconds. A socket sees no headers: Ethernet, IP and UDP
/// headers are rebuilt, with the sender's real address and port; hardware address, TTL and IP identification are made up.
/// What arrives is written whatever it is; nothing is arbitrated.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline capture /tmp/lines.pcapng --for 10s\n  \
    twinline capture /tmp/session.pcapng --until-end --line-a 239.1.1.1:5001@eth0 --line-b 239.1.1.2:5001@eth1\n  \
    twinline decode /tmp/lines.pcapng --stats\n  \
    tshark -r /tmp/lines.pcapng -T fields -e frame.interface_name -e ip.dst -e udp.length")]
pub(crate) struct Capture {
    /// The file to write; one that exists is not written over
    #[arg(value_name = "OUT.pcapng")]
    out: PathBuf,
    /// Line A: GROUP:PORT@INTERFACE
    #[arg(long, value_name = "ADDRESS", default_value = LINE_A, help_heading = "Lines")]
    line_a: LineAddress,
    /// Line B
    #[arg(long, value_name = "ADDRESS", default_value = LINE_B, help_heading = "Lines")]
    line_b: LineAddress,
    /// End after so long
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration, help_heading = "End")]
    duration: Option<Duration>,
    /// End after so many packets
    #[arg(long, value_name = "PACKETS", help_heading = "End")]
    count: Option<u64>,
    /// End once a line says that the session is complete
    #[arg(long, help_heading = "End")]
    until_end: bool,
    /// Begin another file (OUT-2.pcapng and so on) before one grows beyond this
    #[arg(long, value_name = "SIZE", value_parser = units::size, help_heading = "Output")]
    max_size: Option<u64>,
}

/// Runs `twinline capture`.
pub(crate) fn run(args: &Capture, global: &Global) -> Result<Finish, Failure> {
    if (args.line_a.group, args.line_a.port) == (args.line_b.group, args.line_b.port) {
        return Err(Failure::usage(
            "lines A and B are the same: give them different groups or ports",
        ));
    }
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let lines = [args.line_a.clone(), args.line_b.clone()];
    let receivers = open_lines(&lines, &mut progress)?;
    let mut files = Files::create(&args.out, args.max_size)?;
    progress.ready(
        None,
        &format!(
            "capturing {} and {} into {}",
            lines[0],
            lines[1],
            args.out.display()
        ),
    );
    let mut sums = Sums::default();
    let captured = capture(args, &receivers, &mut files, &stop, &mut progress, &mut sums);
    let flushed = files.flush();
    let drops: Vec<u64> = receivers
        .iter()
        .map(|receiver| receiver.state().counts().kernel_drops)
        .collect();
    if drops.iter().sum::<u64>() > 0 {
        progress.warn(format!(
            "the kernel dropped {} packets because the receive buffer was full: they are not in the capture",
            show_count(drops.iter().sum())
        ));
    }
    let mut summary = sums.summary();
    summary.set("files", &files.written);
    summary.set("kernel_drops", &drops);
    summary.set("by_line", sums.packets);
    summary.warnings = progress.warnings().to_vec();
    summary.own_text = format!(
        "capture: {} packets of line A, {} of line B, {}, in {}\n",
        show_count(sums.packets[0]),
        show_count(sums.packets[1]),
        show_bytes(sums.bytes),
        files
            .written
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(match captured.and(flushed) {
        Ok(()) => Finish::success(summary),
        Err(failure) => Finish::failed(summary, failure),
    })
}

/// What was captured so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    packets: [u64; 2],
    messages: u64,
    bytes: u64,
}

impl Sums {
    fn summary(&self) -> Summary {
        let mut summary = Summary::new("capture");
        summary.packets = self.packets.iter().sum();
        summary.messages = self.messages;
        summary.bytes = self.bytes;
        summary
    }
}

fn capture(
    args: &Capture,
    receivers: &[SocketReceiver; 2],
    files: &mut Files,
    stop: &AtomicBool,
    progress: &mut Progress,
    sums: &mut Sums,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut buffer = [0; MAX_PACKET_LEN];
    let mut frame = Vec::with_capacity(MAX_PACKET_LEN + 64);
    let mut ended = false;
    loop {
        let mut quiet = true;
        for line in Line::ALL {
            let receiver = &receivers[line.index()];
            let Some(heard) = receiver.recv_from(&mut buffer) else {
                continue;
            };
            quiet = false;
            let payload = &buffer[..heard.length];
            let group = SocketAddrV4::new(receiver.state().address().group, receiver.state().address().port);
            headers::put_on(&mut frame, heard.source, group, payload);
            files.packet(line.index(), heard.time, &frame)?;
            sums.packets[line.index()] += 1;
            sums.bytes += payload.len() as u64;
            if let Ok(packet) = Packet::parse(payload) {
                sums.messages += u64::from(packet.header().count.get());
                ended |= packet.header().flags & flags::END_OF_SESSION != 0;
            }
            if args
                .count
                .is_some_and(|count| sums.packets.iter().sum::<u64>() >= count)
            {
                return Ok(());
            }
        }
        let over = args.duration.is_some_and(|length| started.elapsed() >= length);
        if over || stop.load(Ordering::Relaxed) || (args.until_end && ended && quiet) {
            return Ok(());
        }
        if quiet {
            files.flush()?;
            progress.figures(|| sums.summary());
            thread::sleep(NAP);
        }
    }
}

/// The file that is written, and those before it.
struct Files {
    first: PathBuf,
    max_size: u64,
    written: Vec<PathBuf>,
    out: BufWriter<File>,
    size: u64,
    dirty: bool,
}

impl Files {
    fn create(path: &Path, max_size: Option<u64>) -> Result<Self, Failure> {
        let out = new_file(path)?;
        let mut files = Self {
            first: path.to_owned(),
            max_size: max_size.unwrap_or(u64::MAX),
            written: vec![path.to_owned()],
            out,
            size: 0,
            dirty: true,
        };
        files.head()?;
        Ok(files)
    }

    fn head(&mut self) -> Result<(), Failure> {
        let written = file::write_head(&mut self.out, &["line A", "line B"]);
        self.size = written.map_err(|cause| self.failed(&cause))? as u64;
        Ok(())
    }

    fn packet(&mut self, interface: usize, time: u64, frame: &[u8]) -> Result<(), Failure> {
        if self.size + frame.len() as u64 + 36 > self.max_size && self.size > 1024 {
            self.flush()?;
            let path = numbered(&self.first, self.written.len() + 1);
            self.out = new_file(&path)?;
            self.written.push(path);
            self.head()?;
        }
        let written = file::write_packet(&mut self.out, interface, time, frame);
        self.size += written.map_err(|cause| self.failed(&cause))? as u64;
        self.dirty = true;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.dirty) {
            self.out.flush().map_err(|cause| self.failed(&cause))?;
        }
        Ok(())
    }

    fn failed(&self, cause: &io::Error) -> Failure {
        let path = self.written.last().unwrap_or(&self.first).display();
        Failure::error(match cause.kind() {
            io::ErrorKind::StorageFull => {
                format!(
                    "no room for the capture {path}: free space there, or capture to another place; what was written can be read"
                )
            }
            _ => format!("cannot write the capture {path}: {cause}"),
        })
    }
}

fn new_file(path: &Path) -> Result<BufWriter<File>, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => Failure::error(format!(
            "{} exists: name another file, or remove it first",
            path.display()
        )),
        _ => Failure::error(format!("cannot create {}: {cause}", path.display())),
    })?;
    Ok(BufWriter::with_capacity(1 << 16, file))
}

/// `lines.pcapng` as `lines-2.pcapng`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map_or(String::new(), |text| format!(".{}", text.to_string_lossy()));
    path.with_file_name(format!("{stem}-{number}{extension}"))
}
