//! One file for all processes of a host.

use crate::bed::{Bed, Process, TWINLINE, run_plain};
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn publisher_recovery_and_listeners_run_from_one_file_and_flags_win() {
    let bed = Bed::new();
    let file = bed.text("twinline.toml");
    let [a, b] = &bed.lines;
    let (publisher, one, two) = (bed.text("publisher"), bed.text("one"), bed.text("two"));
    let content = format!(
        "[common]\nline-a = {a:?}\nline-b = {b:?}\nsegment-size = \"1MiB\"\nidle = \"park:50us\"\n\
         [publish]\njournal = {publisher:?}\ngenerate = 50_000\nrate = 50_000\nlinger = \"300ms\"\n\
         [recover]\njournal = {publisher:?}\nlisten = \"127.0.0.1:0\"\n\
         [listen]\nuntil-end = true\nimpair = \"loss=2%,both=0.5%,seed=3\"\n\
         [listen.one]\njournal = {one:?}\n[listen.two]\njournal = {two:?}\n"
    );
    fs::write(&file, content).expect("written");
    let checked = run_plain(&["config", "check", &file]).expect(0);
    assert!(checked.stdout.contains("[listen.two] is right"), "{checked:?}");
    let recover = Process::start(&["recover", "--config", &file]);
    let address = recover.wait_ready().expect("a service says where it listens");
    let listeners = ["one", "two"].map(|name| {
        let arguments = [
            "listen",
            "--config",
            &file,
            "--instance",
            name,
            "--recovery",
            &address,
        ];
        let listener = Process::start(&arguments);
        listener.wait_ready();
        listener
    });
    // The flag replaces the file's 50,000.
    let publisher = Process::start(&["publish", "--config", &file, "--generate", "20000"]);
    publisher.wait().expect(0);
    for listener in listeners {
        listener.wait().expect(0);
    }
    bed.assert_equal(&["one", "two"], 20_000);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_place() {
    let bed = Bed::new();
    let file = bed.text("twinline.toml");
    for (content, named) in [
        (
            "[listen]\njournl = \"x\"\n",
            "twinline.toml:2:1: there is no key \"journl\": did you mean journal?",
        ),
        (
            "[listen]\njournal = \"x\"\nchannel = 70000\n",
            "twinline.toml:3 says so",
        ),
    ] {
        fs::write(&file, content).expect("written");
        let done = run_plain(&["listen", "--config", &file]).expect(2);
        assert!(done.stderr.join("\n").contains(named), "{done:?}");
    }
    let done = run_plain(&["listen", "--config", "/nowhere.toml"]).expect(1);
    assert!(
        done.stderr
            .join("\n")
            .contains("cannot read the configuration /nowhere.toml"),
        "{done:?}"
    );
    fs::write(&file, "[listen]\n").expect("written");
    let done = run_plain(&["listen", "--config", &file, "--instance", "desk"]).expect(2);
    assert!(
        done.stderr.join("\n").contains("has no section [listen.desk]"),
        "{done:?}"
    );
}

#[test]
fn logs_are_lines_for_people_or_json_objects() {
    let bed = Bed::new();
    let arguments = bed.publish_arguments("publisher", &["--generate", "10", "--linger", "1ms"]);
    let again = |more: &[&str]| {
        let all: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        run_plain(&all).expect(0).stderr
    };
    // Nothing to say at the default level; then that the session is complete.
    assert_eq!(again(&[]), Vec::<String>::new());
    let said = again(&[]);
    assert!(
        said.len() == 1 && said[0].contains("Z warning: session 1 is complete"),
        "{said:?}"
    );
    let said = again(&["--log-level", "info"]);
    assert!(
        said.len() == 3 && said[1].contains("Z publishing session 1"),
        "{said:?}"
    );
    let io = "Z both lines go through sockets, not AF_XDP: lo is the loopback interface";
    assert!(said[2].contains(io), "{said:?}");
    let said = again(&["--log", "json"]);
    for line in &said {
        let object: serde_json::Value = serde_json::from_str(line).expect("an object a line");
        assert!(
            object["timestamp"].is_string() && object["message"].is_string(),
            "{object}"
        );
    }
    assert!(said[0].contains("\"level\":\"WARN\""), "{said:?}");
    let error = run_plain(&["decode", "/nowhere", "--log", "json"])
        .expect(1)
        .stderr;
    assert!(error[0].contains("\"level\":\"ERROR\""), "{error:?}");
}

#[test]
fn on_a_terminal_a_table_is_drawn_over_itself_and_tells_how_long_a_file_takes() {
    let bed = Bed::new();
    let arguments = bed.publish_arguments(
        "publisher",
        &["--generate", "20000", "--rate", "20000", "--linger", "1ms"],
    );
    let line = [&[TWINLINE.to_string()], &arguments[..]].concat().join(" ");
    // `script` gives it a terminal.
    let done = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script is part of every system");
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{shown}");
    assert!(
        shown.contains("of source") && shown.contains("time left"),
        "{shown}"
    );
    assert!(shown.contains("\x1b[5A\x1b[J"), "drawn over itself: {shown:?}");
    assert!(shown.contains("publishing session 1 epoch 1"), "{shown}");
}
