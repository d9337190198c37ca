//! The store's file: locked while it is changed, replaced as a whole, durable before anyone acts on it.

use super::{ChannelRecord, Grant, Holder, Refusal, Request, decide, end_session, extend};
use crate::failpoint;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// Why the epoch store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The rule says no.
    #[error("channel {channel}: {refusal} (epoch store {})", path.display())]
    Refused {
        /// The channel.
        channel: u16,
        /// Why.
        refusal: Refusal,
        /// The store's file.
        path: PathBuf,
    },
    /// Another publisher has acquired a newer epoch or session: publish nothing more.
    #[error("channel {channel}: {refusal} (epoch store {})", path.display())]
    Deposed {
        /// The channel.
        channel: u16,
        /// By whom.
        refusal: Refusal,
        /// The store's file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error(
        "the epoch store {} cannot be read: {reason}; restore it from a copy, or remove it and start sessions with \
         higher numbers than ever used", path.display()
    )]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// Version of this layout.
    format: u32,
    channels: BTreeMap<u16, ChannelRecord>,
}

/// The epoch store in a file.
#[derive(Clone, Debug)]
pub struct EpochStore {
    path: PathBuf,
}

impl EpochStore {
    /// The store in the file `path`. It is created when the first epoch is acquired; its directory must exist.
    ///
    /// # Errors
    /// If there is a file that is no epoch store.
    pub fn open(path: &Path) -> Result<Self, EpochError> {
        let store = Self {
            path: path.to_owned(),
        };
        store.read()?;
        Ok(store)
    }

    /// What is known of `channel`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn channel(&self, channel: u16) -> Result<Option<ChannelRecord>, EpochError> {
        Ok(self.read()?.channels.remove(&channel))
    }

    /// Acquires the next epoch of `channel`, by the rule of [`decide`](super::decide). It is durable on return.
    ///
    /// # Errors
    /// If the rule refuses, or the file cannot be written.
    pub fn acquire(&self, channel: u16, request: &Request) -> Result<Grant, EpochError> {
        self.change(channel, |record| decide(channel, record, request))
    }

    /// Reserves sequences below `new_end` for the holder of `grant`. Returns the end of the reservation, which never
    /// shrinks.
    ///
    /// # Errors
    /// [`EpochError::Deposed`] if another holds a newer epoch: publish nothing more. Or the file cannot be written.
    pub fn extend(&self, grant: &Grant, new_end: u64) -> Result<u64, EpochError> {
        self.change(grant.channel, |record| {
            let record = extend(record, grant, new_end)?;
            let reserved_end = record.reserved_end;
            Ok((record, reserved_end))
        })
    }

    /// Records that the session of `grant` has ended: it cannot be continued.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn end_session(&self, grant: &Grant) -> Result<(), EpochError> {
        self.change(grant.channel, |record| Ok((end_session(record, grant)?, ())))
    }

    /// Changes the record of `channel` under the lock: all that read, decide and write happens as one step.
    fn change<T>(
        &self,
        channel: u16,
        decide: impl FnOnce(Option<&ChannelRecord>) -> Result<(ChannelRecord, T), Refusal>,
    ) -> Result<T, EpochError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let (record, answer) = decide(content.channels.get(&channel)).map_err(|refusal| {
            let path = self.path.clone();
            match refusal {
                Refusal::Deposed { .. } => EpochError::Deposed {
                    channel,
                    refusal,
                    path,
                },
                _ => EpochError::Refused {
                    channel,
                    refusal,
                    path,
                },
            }
        })?;
        content.format = FORMAT;
        content.channels.insert(channel, record);
        self.write(&content)?;
        Ok(answer)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// The lock has a file of its own, as the store's file is replaced.
    fn lock(&self) -> Result<File, EpochError> {
        let path = self.beside(".lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", &path)(error.into()))?;
        Ok(file)
    }

    fn read(&self) -> Result<Content, EpochError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
            Err(error) => return Err(failed("read", &self.path)(error)),
        };
        let corrupt = |reason: String| EpochError::Corrupt {
            path: self.path.clone(),
            reason,
        };
        let content: Content = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        if content.format != FORMAT {
            return Err(corrupt(format!(
                "its format is {}, this build knows {FORMAT}",
                content.format
            )));
        }
        match content
            .channels
            .iter()
            .find(|(_, record)| record.epochs.is_empty())
        {
            Some((channel, _)) => Err(corrupt(format!("channel {channel} has no epoch"))),
            None => Ok(content),
        }
    }

    /// Replaces the file: whoever reads it sees all of the old or all of the new, also after a power cut.
    fn write(&self, content: &Content) -> Result<(), EpochError> {
        let temporary = self.beside(".tmp");
        let text = serde_json::to_vec_pretty(content).map_err(|error| EpochError::Corrupt {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        let mut file = File::create(&temporary).map_err(failed("create", &temporary))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(failed("write", &temporary))?;
        failpoint::hit("epoch.rename");
        fs::rename(&temporary, &self.path).map_err(failed("replace", &self.path))?;
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync", dir))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EpochError {
    let path = path.to_owned();
    move |source| EpochError::Io { action, path, source }
}

impl Holder {
    /// The machine that this process runs on, in its present start.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn this_machine() -> io::Result<Self> {
        let text = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
        let host = match text("/etc/machine-id") {
            Ok(id) if !id.is_empty() => id,
            _ => text("/proc/sys/kernel/hostname")?,
        };
        let boot = text("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { host, boot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn request(session: Option<u32>) -> Request {
        Request {
            session,
            tail: None,
            journal: 1,
            holder: Holder::this_machine().unwrap(),
            reserve: 100,
        }
    }

    #[test]
    fn a_grant_is_in_the_file_and_channels_stand_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs.json");
        let store = EpochStore::open(&path).unwrap();
        assert_eq!(store.channel(1).unwrap(), None);
        let grant = store.acquire(1, &request(None)).unwrap();
        store.acquire(2, &request(Some(9))).unwrap();
        assert_eq!(store.extend(&grant, 5000).unwrap(), 5000);
        let again = EpochStore::open(&path).unwrap();
        assert_eq!(again.channel(1).unwrap().unwrap().reserved_end, 5000);
        assert_eq!(again.channel(2).unwrap().unwrap().session, 9);
        again.end_session(&grant).unwrap();
        assert!(store.channel(1).unwrap().unwrap().ended);
        let error = store.acquire(1, &request(None)).unwrap_err();
        assert!(
            error.to_string().contains("session 1 has ended: start a new one"),
            "{error}"
        );
    }

    #[test]
    fn a_deposed_holder_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = EpochStore::open(&dir.path().join("epochs.json")).unwrap();
        let old = store.acquire(1, &request(Some(1))).unwrap();
        store.acquire(1, &request(Some(2))).unwrap();
        let error = store.extend(&old, 500).unwrap_err();
        assert!(matches!(error, EpochError::Deposed { channel: 1, .. }), "{error}");
        assert!(error.to_string().contains("session 2 epoch 1"), "{error}");
    }

    #[test]
    fn a_corrupt_file_is_an_error_that_names_it_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs.json");
        let cases = [
            "",
            "{",
            "[]",
            r#"{"format":2,"channels":{}}"#,
            r#"{"format":1,"channels":{"1":{}}}"#,
            r#"{"format":1,"channels":{"1":{"session":1,"epochs":[],"reserved_end":1,"holder":{"host":"","boot":""},"journal":1,"ended":false}}}"#,
        ];
        for text in cases {
            fs::write(&path, text).unwrap();
            let error = EpochStore::open(&path).unwrap_err();
            assert!(matches!(error, EpochError::Corrupt { .. }), "{text}: {error}");
            assert!(error.to_string().contains("epochs.json"), "{error}");
            let store = EpochStore { path: path.clone() };
            assert!(store.acquire(1, &request(Some(1))).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = EpochStore::open(&dir.path().join("none/epochs.json")).unwrap();
        let error = store.acquire(1, &request(None)).unwrap_err();
        assert!(matches!(error, EpochError::Io { .. }), "{error}");
    }

    /// Acquires one epoch after another; the test above this one starts it as processes of their own.
    #[test]
    fn child_acquires_epochs() {
        let Some(path) = std::env::var_os("EPOCH_CHILD") else {
            return;
        };
        let store = EpochStore::open(Path::new(&path)).unwrap();
        for _ in 0..50 {
            println!("granted {}", store.acquire(1, &request(None)).unwrap().epoch);
        }
    }

    #[test]
    fn of_processes_that_compete_each_gets_its_own_epochs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs.json");
        let start = |_| {
            Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--nocapture",
                    "epoch::store::tests::child_acquires_epochs",
                ])
                .env("EPOCH_CHILD", &path)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children: Vec<_> = (0..3).map(start).collect();
        let mut granted: Vec<u32> = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            let text = String::from_utf8(output.stdout).unwrap();
            granted.extend(
                text.lines()
                    .filter_map(|line| line.rsplit_once("granted ")?.1.parse::<u32>().ok()),
            );
        }
        granted.sort_unstable();
        assert_eq!(granted, (1..=150).collect::<Vec<_>>());
    }

    #[test]
    fn a_crash_between_writing_and_renaming_leaves_the_old_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs.json");
        let store = EpochStore::open(&path).unwrap();
        store.acquire(1, &request(None)).unwrap();
        let before = fs::read(&path).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "epoch::store::tests::child_acquires_epochs",
            ])
            .env("EPOCH_CHILD", &path)
            .env("TWINLINE_FAILPOINT", "epoch.rename:1")
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(store.acquire(1, &request(None)).unwrap().epoch, 2);
    }
}
