//! `decode` and `capture`: journals, captures of our own and of tcpdump, and the real hour as LOBSTER has it.

use crate::bad_input::SmallDisk;
use crate::bed::{Bed, Process, real_hour, run_plain};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// True if this program is there; in CI it must be.
fn has(program: &str) -> bool {
    let there = Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "in CI {program} must be installed"
    );
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// A LOBSTER row of which times are rounded to nanoseconds.
fn row(line: &str) -> Vec<String> {
    let mut fields: Vec<String> = line.trim_end().split(',').map(Into::into).collect();
    let (whole, part) = fields[0].split_once('.').unwrap_or((&fields[0], ""));
    let digits: u64 = format!("{part:0<12}")[..12].parse().expect("digits");
    let nanos = whole.parse::<u64>().expect("seconds") * 1_000_000_000 + (digits + 500) / 1000;
    fields[0] = nanos.to_string();
    fields
}

/// LOBSTER's own rows beside the real hour's ITCH file.
fn lobster_rows(itch: &Path) -> Vec<Vec<String>> {
    let path = itch.with_file_name("aapl-20120621-0930-1030.lobster-messages.csv.gz");
    let mut text = String::new();
    let file = fs::File::open(path).expect("it stands beside the ITCH file");
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip");
    text.lines().map(row).collect()
}

#[test]
fn the_real_hour_comes_back_as_lobster_published_it_but_for_what_itch_does_not_say() {
    let Some(itch) = real_hour() else { return };
    let bed = Bed::new();
    let source = ["--from", itch.to_str().expect("UTF-8"), "--linger", "1ms"];
    bed.publish(&source).wait().expect(0);
    let done = run_plain(&["decode", &bed.text("publisher"), "--format", "lobster"]).expect(0);
    let ours: Vec<_> = done.stdout.lines().map(row).collect();
    let theirs = lobster_rows(&itch);
    assert_eq!(ours.len(), theirs.len());
    let (mut unseen, mut signs) = (0, 0);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        if ours == theirs {
            continue;
        }
        if ours.iter().any(String::is_empty) {
            // An order that entered before the file begins: what is not empty is right.
            unseen += 1;
            assert!(
                ours.iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| ours.is_empty() || ours == theirs)
            );
        } else {
            // A hidden execution of which ITCH does not say the side.
            signs += 1;
            assert_eq!((&ours[..5], ours[1].as_str()), (&theirs[..5], "5"));
            assert_eq!((ours[5].as_str(), theirs[5].as_str()), ("1", "-1"));
        }
    }
    assert_eq!((unseen, signs), (84, 1096));
}

/// The rows that `decode --format lobster` makes of what is published of `csv`.
fn there_and_back(csv: &Path) -> Vec<Vec<String>> {
    let bed = Bed::new();
    let source = ["--from", csv.to_str().expect("UTF-8"), "--linger", "1ms"];
    bed.publish(&source).wait().expect(0);
    let done = run_plain(&["decode", &bed.text("publisher"), "--format", "lobster"]).expect(0);
    done.stdout.lines().map(row).collect()
}

#[test]
fn the_real_hour_as_lobster_published_it_comes_back_in_full() {
    let Some(itch) = real_hour() else { return };
    let csv = itch.with_file_name("aapl-20120621-0930-1030.lobster-messages.csv.gz");
    let (ours, theirs) = (there_and_back(&csv), lobster_rows(&itch));
    assert_eq!(ours.len(), theirs.len());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "row {}", number + 1);
    }
}

#[test]
fn rows_of_every_type_come_back_as_they_went_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let csv = dir.path().join("TEST_message.csv");
    let rows = "34200.0000000005,1,5,100,5853300,1\n\
        34200.1,2,5,30,5853300,1\n\
        34200.2,4,5,70,5853300,1\n\
        34200.3,3,9,12,5853200,-1\n\
        34200.35,4,9,13,5853200,-1\n\
        34200.4,1,6,10,5853100,-1\n\
        34200.5,3,6,11,5853100,-1\n\
        34200.55,1,7,10,5853100,-1\n\
        34200.57,2,7,4,5853000,1\n\
        34200.58,3,7,6,5853100,-1\n\
        34200.6,5,0,1,5853250,-1\n\
        34200.65,5,77,2,5853250,1\n\
        34200.7,6,-1,900,5853000,-1\n\
        34200.8,7,0,0,-1,-1\n\
        34200.85,7,0,0,0,-1\n\
        34200.9,7,0,0,1,-1\n";
    fs::write(&csv, format!("time,type,order,size,price,direction\n{rows}")).expect("it can be written");
    let expected: Vec<_> = rows.lines().map(row).collect();
    assert_eq!(there_and_back(&csv), expected);
}

#[test]
fn a_malformed_row_names_its_line_and_the_file_goes_on_once_it_is_corrected() {
    let bed = Bed::new();
    let csv = bed.text("TEST.csv");
    let good = "1.0,1,5,100,20000,1\n1.5,1,6,100,20000,1\n2.0,3,5,100,20000,1\n3.0,3,6,100,20000,1\n";
    fs::write(&csv, good.replace("2.0,3,5", "2.0,3,five")).expect("it can be written");
    let done = bed
        .publish(&["--from", &csv, "--linger", "1ms", "--format", "lobster"])
        .wait()
        .expect(1);
    let said = done.stderr.join("\n");
    assert!(said.contains("TEST.csv, line 3: the order is \"five\""), "{said}");
    fs::write(&csv, good).expect("it can be written");
    bed.publish(&["--from", &csv, "--linger", "1ms"]).wait().expect(0);
    let done = run_plain(&["decode", &bed.text("publisher"), "--format", "lobster"]).expect(0);
    let ours: Vec<_> = done.stdout.lines().map(row).collect();
    assert_eq!(ours, good.lines().map(row).collect::<Vec<_>>());
}

#[test]
fn a_source_that_breaks_is_tried_again_where_it_broke() {
    let bed = Bed::new();
    let csv = bed.text("TEST.csv");
    let good = "1.0,1,5,100,20000,1\n1.5,1,6,100,20000,1\n2.0,3,5,100,20000,1\n3.0,3,6,100,20000,1\n";
    fs::write(&csv, good.replace("2.0,3,5", "2.0,3,five")).expect("it can be written");
    let source = format!("lobster={csv},retry=forever");
    let publisher = bed.publish(&["--source", &source, "--linger", "1ms"]);
    publisher.wait_event("that the source stands still", |event| {
        event["text"].as_str()?.contains("line 3").then_some(())
    });
    fs::write(&csv, good).expect("it can be written");
    let done = publisher.wait().expect(0);
    assert!(done.summary["source_failures"].as_u64() >= Some(1));
    assert_eq!(done.summary["source_broken"], false);
    assert_eq!(done.summary["source"]["messages"], 4);
    let done = run_plain(&["decode", &bed.text("publisher"), "--format", "lobster"]).expect(0);
    let ours: Vec<_> = done.stdout.lines().map(row).collect();
    assert_eq!(ours, good.lines().map(row).collect::<Vec<_>>());
}

#[test]
fn a_journal_is_decoded_filtered_and_summed_up() {
    let bed = Bed::new();
    bed.publish(&["--generate", "5000", "--symbols", "3", "--linger", "1ms"])
        .wait()
        .expect(0);
    let journal = bed.text("publisher");
    let info = Process::start(&["journal", "info", &journal]).wait().expect(0);
    let all = run_plain(&["decode", &journal]).expect(0);
    let rows: Vec<serde_json::Value> = all
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(info.summary["messages"], rows.len());
    assert!(
        (1..)
            .zip(&rows)
            .all(|(sequence, row)| row["sequence"] == sequence)
    );
    let symbol = rows
        .iter()
        .find(|row| row["name"] == "InstrumentDefinition")
        .expect("one")["fields"]
        .clone();
    let filters = [
        "--symbol",
        symbol["symbol"].as_str().expect("text"),
        "--template",
        "AddOrder",
        "--sequence",
        "100..2000",
    ];
    let some = run_plain(&[&["decode", &journal][..], &filters].concat()).expect(0);
    let wanted = rows.iter().filter(|row| {
        row["name"] == "AddOrder"
            && row["fields"]["instrument"] == symbol["instrument"]
            && (100..2000).contains(&row["sequence"].as_u64().expect("a number"))
    });
    let shown: Vec<serde_json::Value> = some
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(!shown.is_empty());
    assert_eq!(shown, wanted.cloned().collect::<Vec<_>>());
    let sums = Process::start(&["decode", &journal, "--stats"]).wait().expect(0);
    assert_eq!(sums.summary["messages"], rows.len());
    assert_eq!(sums.summary["stats"]["sessions"][0]["missing"], 0);
    let none = run_plain(&[
        "decode",
        &journal,
        "--time",
        "1999-01-01T00:00:00Z..2000-01-01T00:00:00Z",
    ])
    .expect(0);
    assert_eq!(none.stdout, "");
    let few = run_plain(&["decode", &journal, "--limit", "7", "--format", "csv"]).expect(0);
    assert_eq!(few.stdout.lines().count(), 8, "a head line and seven rows");
}

/// Publishes while `twinline capture` hears both lines into `out`.
fn captured(bed: &Bed, out: &str, more: &[&str]) -> serde_json::Value {
    let [a, b] = &bed.lines;
    let path = bed.text(out);
    let arguments = [
        &["capture", &path, "--line-a", a, "--line-b", b, "--until-end"][..],
        more,
    ]
    .concat();
    let capture = Process::start(&arguments);
    capture.wait_ready();
    bed.publish(&["--generate", "3000", "--rate", "20000", "--linger", "1s"])
        .wait()
        .expect(0);
    capture.wait().expect(0).summary
}

#[test]
fn a_capture_holds_both_lines_and_decodes_to_the_journal() {
    let bed = Bed::new();
    let captured = captured(&bed, "lines.pcapng", &[]);
    let [lines, journal] = ["lines.pcapng", "publisher"].map(|name| bed.text(name));
    let fields = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let done = run_plain(arguments).expect(0);
        done.stdout
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .map(|row| serde_json::json!([row["sequence"], row["name"], row["fields"], row["sending_time"]]))
            .collect()
    };
    let published = fields(&["decode", &journal]);
    for line in ["a", "b"] {
        assert_eq!(
            fields(&["decode", &lines, "--line", line]),
            published,
            "line {line}"
        );
    }
    let sums = Process::start(&["decode", &lines, "--stats"])
        .wait()
        .expect(0)
        .summary;
    assert_eq!(sums["packets"], captured["packets"]);
    assert_eq!(sums["messages"].as_u64(), Some(2 * published.len() as u64));
    for line in [0, 1] {
        assert_eq!(sums["stats"]["sessions"][line]["missing"], 0);
        assert_eq!(
            sums["stats"]["lines"][line]["one_way_ns"]["count"],
            captured["by_line"][line]
        );
    }
    // Through stdin and compressed it is the same.
    let packed = bed.path("lines.gz");
    let whole = fs::read(&lines).expect("captured");
    let mut gzip = flate2::write::GzEncoder::new(
        fs::File::create(&packed).expect("created"),
        flate2::Compression::fast(),
    );
    std::io::Write::write_all(&mut gzip, &whole).expect("written");
    gzip.finish().expect("written");
    let packed = packed.to_str().expect("UTF-8");
    assert_eq!(fields(&["decode", packed, "--line", "a"]), published);
    // Cut in the middle of a packet.
    fs::write(bed.path("cut.pcapng"), &whole[..whole.len() - 10]).expect("written");
    let cut = run_plain(&["decode", &bed.text("cut.pcapng"), "--heartbeats", "--packets"]).expect(1);
    let packets = captured["packets"].as_u64().expect("a number");
    let error = cut.stderr.last().expect("an error");
    assert!(
        error.contains(&format!(
            "within packet {packets}, whose record begins at byte offset"
        )),
        "{error}"
    );
    assert_eq!(cut.stdout.lines().count() as u64, packets - 1);
}

#[test]
fn tshark_reads_a_capture_with_both_lines_as_interfaces() {
    if !has("tshark") {
        return;
    }
    let bed = Bed::new();
    let captured = captured(&bed, "lines.pcapng", &[]);
    let fields = [
        "frame.interface_name",
        "eth.dst",
        "ip.src",
        "ip.dst",
        "udp.dstport",
        "ip.checksum.status",
        "udp.checksum.status",
    ];
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", &bed.text("lines.pcapng"), "-T", "fields"]);
    tshark.args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let said = tshark.output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).expect("UTF-8");
    for (line, name) in ["line A", "line B"].iter().enumerate() {
        let (group, port) = bed.groups[line];
        let [_, b, c, d] = group.octets();
        let hardware = format!("01:00:5e:{:02x}:{c:02x}:{d:02x}", b & 0x7f);
        let expected = format!("{name}\t{hardware}\t127.0.0.1\t{group}\t{port}\t1\t1");
        let found = text.lines().filter(|row| **row == expected).count();
        assert_eq!(
            captured["by_line"][line],
            found,
            "{expected}: {:?}",
            text.lines().next()
        );
    }
    assert_eq!(captured["packets"], text.lines().count());
}

#[test]
fn a_capture_rotates_and_writes_over_nothing() {
    let bed = Bed::new();
    let captured = captured(&bed, "lines.pcapng", &["--max-size", "100KiB"]);
    let files = captured["files"].as_array().expect("a list");
    assert!(files.len() > 2, "{captured:#}");
    let files: Vec<&str> = files.iter().map(|file| file.as_str().expect("text")).collect();
    assert!(
        files
            .iter()
            .all(|file| fs::metadata(file).expect("there").len() <= 100 << 10)
    );
    let arguments = [&["decode"][..], &files, &["--stats"]].concat();
    let sums = Process::start(&arguments).wait().expect(0).summary;
    assert_eq!(sums["packets"], captured["packets"]);
    let again = run_plain(&["capture", files[0]]).expect(1);
    assert!(
        again
            .stderr
            .last()
            .expect("an error")
            .contains("exists: name another file"),
        "{again:#?}"
    );
}

#[test]
fn a_full_disk_ends_a_capture_with_an_error_and_what_was_written_can_be_read() {
    let bed = Bed::new();
    let Some(_disk) = SmallDisk::mount(&bed.path("disk"), "128k") else {
        return;
    };
    let [a, b] = &bed.lines;
    let path = bed.text("disk/lines.pcapng");
    let capture = Process::start(&["capture", &path, "--line-a", a, "--line-b", b]);
    capture.wait_ready();
    bed.publish(&["--generate", "20000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let full = capture.wait().expect(1);
    let error = full.stderr.last().expect("an error");
    assert!(
        error.contains("no room for the capture") && error.contains("free space"),
        "{error}"
    );
    // The file breaks off where the disk was full.
    let sums = Process::start(&["decode", &path, "--stats"])
        .wait()
        .expect(1)
        .summary;
    assert!(sums["messages"].as_u64() > Some(100), "{sums:#}");
}

/// A tcpdump that writes into a file; stopped when dropped.
struct Tcpdump(Child);

impl Tcpdump {
    /// Starts one and waits until it captures.
    fn start(file: &str, more: &[&str], port: u16) -> Self {
        let child = Command::new("tcpdump")
            // With its default length of a packet its buffer has room for eight, and it drops.
            .args(["--immediate-mode", "-U", "-s", "2048", "-B", "16384", "-w", file])
            .args(more)
            .arg(format!("udp port {port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut tcpdump = Self(child);
        let mut said = String::new();
        let mut byte = [0];
        let stderr = tcpdump.0.stderr.as_mut().expect("piped");
        // It says "listening on" once it does, and nothing more.
        while !said.contains("snapshot length") && stderr.read(&mut byte).expect("readable") == 1 {
            said.push(byte[0] as char);
        }
        assert!(said.contains("listening on"), "{said}");
        tcpdump
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_tcpdump_writes_is_decoded() {
    if !has("tcpdump") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "in CI this runs as root");
        return eprintln!("skipped: tcpdump needs root");
    }
    let bed = Bed::new();
    let kinds: [(&str, &[&str]); 4] = [
        ("micro.pcap", &["-i", "lo"]),
        ("nano.pcap", &["-i", "lo", "--nano"]),
        ("any.pcap", &["-i", "any"]),
        ("cooked.pcap", &["-i", "any", "-y", "LINUX_SLL"]),
    ];
    let port = bed.groups[0].1;
    let dumps = kinds.map(|(name, more)| {
        let file = bed.text(name);
        (
            Tcpdump::start(&file, &[more, &["-Z", "root"]].concat(), port),
            file,
        )
    });
    // A burst would be captured here before it is cut up, and would not fit 2,048 bytes.
    let plain = ["--segmentation", "off"];
    let source = ["--generate", "2000", "--rate", "20000", "--linger", "1ms"];
    bed.publish(&[plain.as_slice(), &source].concat())
        .wait()
        .expect(0);
    let published = Process::start(&["decode", &bed.text("publisher"), "--stats"])
        .wait()
        .expect(0)
        .summary;
    let [a, b] = &bed.lines;
    for (dump, file) in dumps {
        let arguments = ["decode", &file, "--stats", "--line-a", a, "--line-b", b];
        // What was captured is in the file at once, but for what the kernel has not handed over yet.
        let deadline = Instant::now() + crate::bed::PATIENCE;
        let sums = loop {
            let sums = Process::start(&arguments).wait().summary;
            if sums["messages"] == published["messages"] || Instant::now() > deadline {
                break sums;
            }
            thread::sleep(Duration::from_millis(50));
        };
        drop(dump);
        assert_eq!(sums["messages"], published["messages"], "{file}: {sums:#}");
        assert_eq!(sums["stats"]["by_template"], published["stats"]["by_template"]);
        assert_eq!(sums["stats"]["lines"][0]["line"], "A");
    }
}

#[test]
fn the_lines_are_decoded_live() {
    let bed = Bed::new();
    let [a, b] = &bed.lines;
    let live = Process::start(&[
        "decode", "--live", "--line-a", a, "--line-b", b, "--line", "b", "--stats",
    ]);
    live.wait_ready();
    bed.publish(&["--generate", "2000", "--rate", "20000", "--linger", "200ms"])
        .wait()
        .expect(0);
    live.terminate();
    let heard = live.wait().expect(0).summary;
    let published = Process::start(&["decode", &bed.text("publisher"), "--stats"])
        .wait()
        .expect(0)
        .summary;
    assert_eq!(heard["messages"], published["messages"]);
    assert_eq!(heard["stats"]["by_template"], published["stats"]["by_template"]);
}

#[test]
fn a_growing_journal_is_followed() {
    let bed = Bed::new();
    bed.publish(&["--generate", "1000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let journal = bed.text("publisher");
    let follow = Process::start(&[
        "decode",
        &journal,
        "--follow",
        "--session",
        "2",
        "--template",
        "EndOfSession",
        "--limit",
        "1",
    ]);
    bed.publish(&["--generate", "2000", "--session", "2", "--linger", "1ms"])
        .wait()
        .expect(0);
    let seen = follow.wait().expect(0);
    assert_eq!(seen.summary["shown"], 1, "{seen:#?}");
}

#[test]
fn inputs_that_are_none_are_named() {
    let bed = Bed::new();
    fs::write(bed.path("text"), "not a capture").expect("written");
    for (input, part) in [
        ("text", "neither a pcap nor a pcapng"),
        ("nothing", "check the path"),
    ] {
        let done = run_plain(&["decode", &bed.text(input)]).expect(1);
        assert!(done.stderr.last().expect("an error").contains(part), "{done:#?}");
    }
    fs::create_dir(bed.path("empty")).expect("made");
    run_plain(&["decode", &bed.text("empty")]).expect(1);
    run_plain(&["decode"]).expect(2);
    run_plain(&["decode", "-", "--live"]).expect(2);
}
