//! One file for all processes of a host.

use crate::bed::{Bed, Process, run_plain};
use std::fs;

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
