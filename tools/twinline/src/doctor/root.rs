//! The kernel's text files, `/proc` and `/sys`, below a root: the system's own, or in tests those of another machine.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) struct Root(PathBuf);

impl Root {
    /// Below `path`: `/` for this machine.
    pub(super) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What a file says, without the white space around it; none if it is not there or may not be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.0.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// What a file says, as a number.
    pub(super) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A kernel parameter, by its name as `sysctl` writes it; names of interfaces must not have dots in them.
    pub(super) fn sysctl<T: FromStr>(&self, name: &str) -> Option<T> {
        self.number(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// What is in a directory, in order; nothing if there is none.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// Files of another machine, for tests.
#[cfg(test)]
pub(super) fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::at(dir.path());
    (dir, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_below_the_root_and_what_is_not_there_is_none() {
        let (_dir, root) = machine(&[
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/core/wmem_max", "many\n"),
        ]);
        assert_eq!(root.sysctl("net.core.rmem_max"), Some(212_992));
        assert_eq!(root.sysctl::<u64>("net.core.wmem_max"), None);
        assert_eq!(root.text("proc/version"), None);
        assert_eq!(root.list("proc/sys/net/core"), ["rmem_max", "wmem_max"]);
        assert!(root.list("sys").is_empty());
    }
}
