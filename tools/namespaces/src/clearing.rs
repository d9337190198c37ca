//! What removes namespaces: a process beside the one that made them, and a sweep of what is left of dead processes.

use crate::PREFIX;
use crate::error::NamespaceError;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads directories until its owner closes the pipe, or dies, and then removes the namespaces that begin with its argument,
/// and those directories. It looks again until nothing is left: a command of a dead owner may have been making one more, and its
/// processes may still be writing in the directories, for a moment.
const CLEARING: &str = r#"
trap '' INT TERM HUP
prefix=$1; shift
while IFS= read -r directory; do set -- "$@" "$directory"; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(for path in /run/netns/"$prefix"*; do
        [ -e "$path" ] && echo "netns delete ${path##*/}"
    done)
    [ -z "$left" ] && break
    echo "$left" | ip -force -batch - 2>/dev/null
done
[ $# = 0 ] && exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$@" 2>/dev/null && exit
    sleep 0.2
done
"#;

/// The process that waits.
#[derive(Debug)]
pub(crate) struct Clearing(Child);

impl Clearing {
    /// One for the namespaces whose names begin with `prefix`.
    pub(crate) fn start(prefix: &str) -> Result<Self, NamespaceError> {
        Command::new("sh")
            .args(["-c", CLEARING, "sh", prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: what ends its owner's group, as a terminal's Ctrl-C does, is not for it.
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(NamespaceError::io("start sh"))
    }

    /// A directory that it removes too.
    pub(crate) fn also_remove(&mut self, directory: &Path) -> Result<(), NamespaceError> {
        let mut line = directory.as_os_str().as_bytes().to_vec();
        line.push(b'\n');
        let told = match &mut self.0.stdin {
            Some(stdin) => stdin.write_all(&line),
            None => Ok(()),
        };
        told.map_err(NamespaceError::io("tell sh what to remove"))
    }
}

impl Drop for Clearing {
    fn drop(&mut self) {
        // Closes the pipe.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Removes namespaces whose owner is dead and whose process beside it is, too.
pub(crate) fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner).is_some_and(is_dead) {
            // One that its own clearing process is removing just now is no error, and what stays is tried again next time.
            let _ = Command::new("ip").args(["netns", "delete"]).arg(name).output();
        }
    }
}

/// The process that made a namespace of this name; `None`: it is not of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_dead(process: u32) -> bool {
    !Path::new(&format!("/proc/{process}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_namespace_is_in_its_name() {
        assert_eq!(owner("twinline-417-0-switch"), Some(417));
        assert_eq!(owner("twinline-417-0-12"), Some(417));
        for of_others in ["twinline-", "twinline-x-0-1", "blue", "tw417n0s"] {
            assert_eq!(owner(of_others), None, "{of_others}");
        }
        assert!(!is_dead(std::process::id()));
    }
}
