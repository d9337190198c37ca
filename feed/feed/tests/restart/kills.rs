//! Publishers that are killed at any place, and one whose disk is full.

use super::*;

#[test]
fn an_uninterrupted_run_publishes_what_its_source_says() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run_child(dir.path(), "boot", None).success());
    check(dir.path(), &uninterrupted(), true);
}

#[test]
fn killed_before_the_commit_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.stamp", &["boot"]);
}

#[test]
fn killed_after_the_commit_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.after_commit", &["boot"]);
}

#[test]
fn killed_between_the_lines_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.between_lines", &["boot"]);
}

#[test]
fn killed_after_sending_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.after_send", &["boot"]);
}

#[test]
fn after_a_boot_it_goes_on_behind_everything_that_may_have_been_sent() {
    kill_at("publisher.between_lines", &["first", "second", "third"]);
    // Killed and booted before the session's first packet, too.
    kill_at("publisher.stamp", &["first", "second", "third"]);
}

#[test]
fn killed_in_the_journal_it_goes_on_as_if_nothing_happened() {
    for failpoint in ["journal.commit.before", "journal.commit.after"] {
        kill_at(failpoint, &["boot"]);
    }
}

#[test]
fn killed_while_the_segment_switches_it_goes_on_as_if_nothing_happened() {
    for failpoint in ["journal.switch.before_end", "journal.switch.after_end"] {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, 2, 1] {
            let status = run_child(dir.path(), "boot", Some(format!("{failpoint}:{count}")));
            assert!(!status.success(), "{failpoint}:{count}");
        }
        assert!(run_child(dir.path(), "boot", None).success());
        check(dir.path(), &uninterrupted(), true);
    }
}

#[test]
fn a_full_disk_ends_the_run_after_what_was_committed_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=400k none '{}' && exec '{}' child_with_little_room --exact --nocapture",
        dir.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .env("TWINLINE_TEST_LITTLE_ROOM", dir.path())
        .output();
    let Ok(output) = output else {
        return; // no unshare here
    };
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if complained.contains("unshare:") || complained.contains("mount:") {
        eprintln!("not tested, mounting is not permitted here: {complained}");
        return;
    }
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("no room"), "{said}");
}
