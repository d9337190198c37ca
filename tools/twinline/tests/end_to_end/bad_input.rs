//! Bad input: one line on stderr that says what to do, an exit code that is not zero, and nothing written over.

use crate::bed::{Bed, Done, Process, run_plain};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// Asserts that it ended with this code and one line that holds these parts.
#[track_caller]
fn assert_one_line(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code(), code, "{done:#?}");
    let lines: Vec<&String> = done
        .stderr
        .iter()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{done:#?}");
    assert_eq!(
        done.stderr.last(),
        Some(lines[0]),
        "the error is the last line: {done:#?}"
    );
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
}

/// A publisher of `source` on a bed of its own.
fn publish_from(bed: &Bed, file: &Path) -> Done {
    let file = file.to_str().expect("UTF-8");
    let arguments = bed.publish_arguments("publisher", &["--from", file, "--linger", "1ms"]);
    Process::start_with(&arguments, &[], false).wait()
}

/// An ITCH system event message, framed.
fn itch_message(event: u8) -> Vec<u8> {
    let mut message = vec![0, 12, b'S', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    message.push(event);
    assert_eq!(message.len(), 14);
    message
}

#[test]
fn a_source_file_that_is_missing_or_empty() {
    let bed = Bed::new();
    let missing = publish_from(&bed, &bed.path("nothing.itch"));
    assert_one_line(&missing, 1, &["nothing.itch", "check the path"]);
    fs::write(bed.path("empty.itch"), b"").expect("written");
    let empty = publish_from(&bed, &bed.path("empty.itch"));
    assert_one_line(&empty, 1, &["empty.itch", "is empty"]);
    assert!(!bed.path("publisher").exists(), "no journal was made");
}

#[test]
fn a_source_file_that_breaks_is_published_up_to_there() {
    let whole: Vec<u8> = [b'O', b'S', b'Q'].into_iter().flat_map(itch_message).collect();
    let zero = [&whole[..], &[0, 0], &whole[..]].concat();
    for (name, content, offset, messages) in [
        ("cut.itch", &whole[..whole.len() - 3], 28, 2),
        ("cut-length.itch", &whole[..29], 28, 2),
        ("zero.itch", &zero[..], 42, 3),
    ] {
        let bed = Bed::new();
        fs::write(bed.path(name), content).expect("written");
        let done = publish_from(&bed, &bed.path(name));
        assert_one_line(
            &done,
            1,
            &[
                name,
                &format!("byte {offset} "),
                &format!("after message {messages}"),
            ],
        );
        let journal = bed.text("publisher");
        let verified = Process::start(&["journal", "verify", &journal]).wait().expect(0);
        // EpochStart, SessionStart, the source's messages and their position.
        assert_eq!(verified.summary["messages"], 2 + messages + 1, "{name}");
    }
}

#[test]
fn a_damaged_gzip_file_is_published_up_to_there() {
    let Some(real) = crate::bed::real_hour() else {
        return;
    };
    let bed = Bed::new();
    let mut bytes = fs::read(real).expect("read");
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(bed.path("half.itch.gz"), &bytes).expect("written");
    assert_one_line(
        &publish_from(&bed, &bed.path("half.itch.gz")),
        1,
        &["half.itch.gz", "breaks at byte"],
    );
    let verified = Process::start(&["journal", "verify", &bed.text("publisher")])
        .wait()
        .expect(0);
    assert!(
        verified.summary["messages"].as_u64() > Some(10_000),
        "{verified:#?}"
    );
    let other = Bed::new();
    bytes[half / 2..half / 2 + 64].fill(0xa5);
    fs::write(other.path("bad.itch.gz"), &bytes).expect("written");
    assert_one_line(
        &publish_from(&other, &other.path("bad.itch.gz")),
        1,
        &["bad.itch.gz", "breaks at byte"],
    );
}

#[test]
fn lines_that_cannot_be() {
    let bed = Bed::new();
    let journal = bed.text("journal");
    for command in ["publish", "listen"] {
        let run = |line: &str| {
            let mut arguments = vec![command, "--journal", &journal, "--line-a", line];
            if command == "publish" {
                arguments.extend(["--generate", "10"]);
            }
            run_plain(&arguments)
        };
        let host = run("10.1.2.3:17001@127.0.0.1");
        assert_eq!(host.code(), 2, "{host:#?}");
        assert!(
            host.stderr[0].contains("10.1.2.3 is not a multicast group"),
            "{host:#?}"
        );
        assert_one_line(&run("239.1.1.1:17001@nosuch9"), 1, &["nosuch9", "does not exist"]);
        assert_one_line(&run("239.77.1.2:17002@127.0.0.1"), 2, &["lines A and B are both"]);
        assert!(!bed.path("journal/control").exists(), "{command} made no journal");
    }
}

#[test]
fn a_directory_that_is_no_journal_is_left_alone() {
    let bed = Bed::new();
    fs::create_dir(bed.path("photos")).expect("made");
    fs::write(bed.path("photos/cat.jpg"), b"meow").expect("written");
    let arguments = bed.publish_arguments("photos", &["--generate", "10"]);
    let done = Process::start_with(&arguments, &[], false).wait();
    assert_one_line(&done, 1, &["photos", "is not empty and not a journal"]);
    let journal = bed.text("photos");
    assert_one_line(
        &run_plain(&["listen", "--journal", &journal]),
        1,
        &["is not empty and not a journal"],
    );
    let names: Vec<_> = fs::read_dir(bed.path("photos")).expect("read").collect();
    assert_eq!(names.len(), 1);
    assert_eq!(fs::read(bed.path("photos/cat.jpg")).expect("read"), b"meow");
}

#[test]
fn a_journal_that_another_process_writes() {
    let bed = Bed::new();
    let first = bed.publish(&["--generate", "100000", "--rate", "2000"]);
    first.wait_ready();
    let arguments = bed.publish_arguments("publisher", &["--generate", "10"]);
    let second = Process::start_with(&arguments, &[], false).wait();
    assert_one_line(
        &second,
        1,
        &["is being written by", &format!("process {}", first.id())],
    );
    first.terminate();
    first.wait().expect(0);
}

#[test]
fn a_journal_that_is_not_there() {
    let bed = Bed::new();
    let (one, two) = (bed.text("one"), bed.text("two"));
    for arguments in [
        vec!["journal", "info", &one],
        vec!["journal", "verify", &one],
        vec!["diff", &one, &two],
    ] {
        assert_one_line(&run_plain(&arguments), 1, &["there is no journal in"]);
    }
    assert!(!bed.path("one").exists());
}

#[test]
fn a_port_in_use() {
    let bed = Bed::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let done = run_plain(&[
        "recover",
        "--journal",
        &bed.text("publisher"),
        "--listen",
        &address,
    ]);
    assert_one_line(&done, 1, &[&address, "choose another port"]);

    let (group, port) = bed.groups[0];
    let socket = std::net::UdpSocket::bind((group, port)).expect("a socket that shares its port with nobody");
    let done = run_plain(&[
        "listen",
        "--journal",
        &bed.text("listener"),
        "--line-a",
        &bed.lines[0],
    ]);
    assert_one_line(&done, 1, &["is in use"]);
    drop(socket);
}

#[test]
fn a_session_that_is_known_does_not_start_on_an_empty_journal() {
    let bed = Bed::new();
    let source = ["--generate", "1000", "--linger", "1ms"];
    bed.publish(&source).wait().expect(0);
    fs::rename(bed.path("publisher"), bed.path("elsewhere")).expect("moved");
    let arguments = bed.publish_arguments("publisher", &source);
    let done = Process::start_with(&arguments, &[], false).wait();
    assert_one_line(&done, 1, &["session 1", "session 2"]);
}

#[test]
fn arguments_that_cannot_be() {
    let journal = ["--journal", "/nowhere/j"];
    for (arguments, part) in [
        (
            vec!["publish", "--generate", "10", "--pace", "fast"],
            "is not a pace",
        ),
        (
            vec!["publish", "--generate", "10", "--sync", "never"],
            "write none, packet or 100ms",
        ),
        (vec!["publish", "--generate", "10", "--rate", "0"], "--rate"),
        (vec!["publish"], "--from"),
        (vec!["listen", "--impair", "loss=2"], "percentage"),
        (
            vec!["listen", "--from", "0"],
            "write beginning, snapshot, live or a sequence",
        ),
        (vec!["listen", "--from", "snapshot"], "name it with --recovery"),
        (vec!["listen", "--recovery", "somewhere"], "--recovery"),
        (vec!["listen", "--gap-timeout", "10"], "is not a duration"),
    ] {
        let done = run_plain(&[&arguments[..], &journal[..]].concat());
        assert_eq!(done.code(), 2, "{done:#?}");
        assert!(
            done.stderr.iter().any(|line| line.contains(part)),
            "{part}: {done:#?}"
        );
    }
    let usage = run_plain(&["demo", "--impair", "loss=2", "--progress", "off"]);
    assert_one_line(&usage, 2, &["percentage"]);
}

/// A small file system of its own, unmounted when dropped.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None`, with a line that says so, where this process may not mount.
    pub(crate) fn mount(at: &Path, bytes: &str) -> Option<Self> {
        fs::create_dir(at).expect("made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI a file system can be mounted"
            );
            eprintln!("skipped: a small file system cannot be mounted here (it takes root)");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_publisher_and_it_goes_on_when_there_is_room() {
    let bed = Bed::new();
    let Some(_disk) = SmallDisk::mount(&bed.path("disk"), "4m") else {
        return;
    };
    let source = ["--generate", "200000", "--linger", "1ms"];
    let full = Process::start_with(&bed.publish_arguments("disk/journal", &source), &[], false).wait();
    assert_one_line(&full, 1, &["no room for a journal segment", "free space"]);
    let journal = bed.text("disk/journal");
    let verified = Process::start(&["journal", "verify", &journal]).wait().expect(0);
    assert!(
        verified.summary["messages"].as_u64() > Some(10_000),
        "{verified:#?}"
    );
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(bed.path("disk"))
        .status();
    assert!(grown.expect("mount runs").success());
    let done = Process::start(&bed.publish_arguments("disk/journal", &source))
        .wait()
        .expect(0);
    assert_eq!(done.summary["source"]["published_in_session"], 200_000);
}

#[test]
fn a_full_disk_stops_the_listener_and_it_goes_on_when_there_is_room() {
    let bed = Bed::new();
    let Some(_disk) = SmallDisk::mount(&bed.path("disk"), "4m") else {
        return;
    };
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen("disk/journal", &["--recovery", &address]);
    bed.publish(&["--generate", "200000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let full = listener.wait().expect(1);
    assert!(
        full.stderr
            .iter()
            .any(|line| line.contains("no room for a journal segment")),
        "{full:#?}"
    );
    let grown = std::process::Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(bed.path("disk"))
        .status();
    assert!(grown.expect("mount runs").success());
    let listener = bed.listen("disk/journal", &["--recovery", &address]);
    // The session is complete: the publisher only says so.
    bed.publish(&["--generate", "200000", "--linger", "3s"])
        .wait()
        .expect(0);
    listener.wait().expect(0);
    bed.assert_equal(&["disk/journal"], 200_000);
}
