//! The thread that fetches states: over a connection of its own, so that gap fill does not wait behind a snapshot, straight
//! into a file. What it reports is checked and durable.

use super::{StateConnect, StateFailure, StateRequest, files};
use crate::arbiter::State;
use crossbeam::queue::ArrayQueue;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use twinline_book::snapshot::{Place, Snapshot, file};
use twinline_journal::failpoint;
use twinline_recovery::client::{ClientConfig, ClientError, ClientEvent, RecoveryClient};

/// How long the thread waits for its connection before it looks for the stop flag, and for something else to do.
const TURN: Duration = Duration::from_millis(20);
/// The same while the line thread is about to say what to ask for.
const SOON: Duration = Duration::from_millis(1);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateEvent {
    /// The connection stands.
    Connected { id: u32 },
    /// It is in a durable file.
    Ready { id: u32, state: State },
    /// It did not come.
    Failed { id: u32, failure: StateFailure },
}

enum Command {
    Connect(StateConnect),
    Ask(StateRequest),
    /// This state was of no use.
    Discard(State),
    /// The journal names this one: older ones may go.
    Named(Place),
}

struct Shared {
    commands: ArrayQueue<Command>,
    events: ArrayQueue<StateEvent>,
    /// The request that something came for last, and how much: changes while a state comes.
    progress: AtomicU64,
    stop: AtomicBool,
    trouble: Trouble,
}

/// What went wrong last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn tell(&self, trouble: &dyn ToString) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.to_string());
    }

    /// What it was. Waits for a lock and allocates: not for the line thread.
    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The line thread's end.
pub(crate) struct StateFetcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for StateFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFetcher").finish_non_exhaustive()
    }
}

impl StateFetcher {
    /// Starts the thread; states become files in `dir`, the own journal's directory.
    pub(crate) fn start(
        config: &ClientConfig,
        services: &[SocketAddr],
        dir: &Path,
    ) -> Result<Self, ClientError> {
        let shared = Arc::new(Shared {
            commands: ArrayQueue::new(8),
            events: ArrayQueue::new(8),
            progress: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            trouble: Trouble::default(),
        });
        let mut worker = Worker {
            named: Vec::new(),
            config: config.clone(),
            services: services.to_vec(),
            dir: dir.to_owned(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("states".into())
            .spawn(move || worker.run())
            .map_err(ClientError::Poll)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Makes a connection, instead of what was done before. One that finds no room is given up by the policy.
    pub(crate) fn connect(&self, connect: StateConnect) {
        self.command(Command::Connect(connect));
    }

    /// Asks for a state over the connection that stands.
    pub(crate) fn ask(&self, request: StateRequest) {
        self.command(Command::Ask(request));
    }

    /// A state that came is not used, and its file goes.
    pub(crate) fn discard(&self, state: State) {
        self.command(Command::Discard(state));
    }

    /// The journal names this state: files before it may go.
    pub(crate) fn named(&self, place: Place) {
        self.command(Command::Named(place));
    }

    fn command(&self, command: Command) {
        // There is one request at a time, and a file that stays a little longer does no harm.
        let _ = self.shared.commands.push(command);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// What became of a request, if that is new.
    pub(crate) fn event(&self) -> Option<StateEvent> {
        self.shared.events.pop()
    }

    /// A number that changes while a state comes.
    pub(crate) fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    /// What went wrong last, for other threads.
    pub(crate) fn trouble(&self) -> Trouble {
        self.shared.trouble.clone()
    }
}

impl Drop for StateFetcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Worker {
    /// The files that the journal names, the newest last.
    named: Vec<PathBuf>,
    config: ClientConfig,
    services: Vec<SocketAddr>,
    dir: PathBuf,
    shared: Arc<Shared>,
}

/// True while the line thread is about to say what to ask for.
fn asked_soon(connected: bool, incoming: &Incoming) -> bool {
    connected && incoming.file.is_none()
}

/// How a fetch ended before its end.
enum Broken {
    /// Something else is to be done now.
    Superseded,
    Failed(StateFailure),
}

impl Worker {
    fn run(&mut self) {
        match files::clean(&self.dir) {
            Ok(named) => self.named = named,
            Err(error) => self.tell(&error),
        }
        while !self.shared.stop.load(Ordering::Acquire) {
            match self.shared.commands.pop() {
                None => thread::park_timeout(TURN),
                Some(Command::Named(place)) => self.prune(&place),
                Some(Command::Discard(state)) => {
                    let name = file::name(state.session, state.epoch, state.sequence);
                    let _ = fs::remove_file(self.dir.join(name));
                }
                Some(Command::Connect(connect)) => self.serve(connect),
                // Of a connection that is gone.
                Some(Command::Ask(_)) => {}
            }
        }
    }

    /// The newest file that the journal names stays; so does the one before, as a power cut may take the newest notice.
    fn prune(&mut self, newest: &Place) {
        let name = file::name(newest.session, newest.epoch, newest.sequence);
        let path = self.dir.join(name);
        self.named.retain(|named| *named != path);
        self.named.push(path);
        let old = self.named.len().saturating_sub(2);
        self.named.drain(..old);
        match file::list(&self.dir) {
            Ok(files) => files
                .iter()
                .filter(|file| !self.named.contains(file))
                .for_each(|file| drop(fs::remove_file(file))),
            Err(error) => self.tell(&error),
        }
    }

    fn tell(&self, trouble: &dyn ToString) {
        self.shared.trouble.tell(trouble);
    }

    fn serve(&self, connect: StateConnect) {
        let id = connect.id;
        let event = match self.fetch(connect) {
            Ok(state) => StateEvent::Ready { id, state },
            Err(Broken::Failed(failure)) => StateEvent::Failed { id, failure },
            Err(Broken::Superseded) => return,
        };
        // There is room for more than can be under way.
        let _ = self.shared.events.push(event);
    }

    /// Brings one state into a durable file.
    fn fetch(&self, connect: StateConnect) -> Result<State, Broken> {
        let failed = |failure| Err(Broken::Failed(failure));
        let mut incoming = Incoming::default();
        let received = self.receive(connect, &mut incoming);
        let path = incoming.path.take();
        let kept = received.and_then(|()| match self.keep(&mut incoming, path.as_deref()) {
            Ok(state) => Ok(state),
            Err(trouble) => {
                self.tell(&trouble);
                failed(StateFailure::Unusable)
            }
        });
        if kept.is_err()
            && let Some(path) = path
        {
            let _ = fs::remove_file(path);
        }
        kept
    }

    /// The dialogue, until the snapshot is here.
    fn receive(&self, connect: StateConnect, incoming: &mut Incoming) -> Result<(), Broken> {
        let unreachable = Broken::Failed(StateFailure::Unreachable);
        let Some(&address) = self.services.get(connect.service) else {
            return Err(unreachable);
        };
        let mut client = RecoveryClient::new(&self.config, &[address]).map_err(|error| {
            self.tell(&error);
            Broken::Failed(StateFailure::Unreachable)
        })?;
        let mut connected = false;
        let outcome = loop {
            if self.shared.stop.load(Ordering::Acquire) {
                break Err(Broken::Superseded);
            }
            if !connected && client.is_ready(0) {
                connected = true;
                let _ = self.shared.events.push(StateEvent::Connected { id: connect.id });
            }
            match self.shared.commands.pop() {
                Some(Command::Ask(request)) if request.id == connect.id => {
                    if let Err(error) = client.request_snapshot(0, 1, request.session, request.at_least) {
                        self.tell(&error);
                        break Err(unreachable);
                    }
                }
                Some(other @ (Command::Connect(_) | Command::Named(_) | Command::Discard(_))) => {
                    // It was popped, so there is room.
                    let _ = self.shared.commands.push(other);
                    break Err(Broken::Superseded);
                }
                Some(Command::Ask(_)) | None => {}
            }
            let mut outcome = None;
            let polled = client.poll(
                if asked_soon(connected, incoming) {
                    SOON
                } else {
                    TURN
                },
                &mut |_, event| {
                    let more = outcome.is_none();
                    if more && let Some(ended) = self.on_event(event, incoming) {
                        outcome = Some(ended);
                    }
                },
            );
            match (outcome, polled) {
                (Some(outcome), _) => break outcome,
                (None, Ok(())) => {}
                (None, Err(error)) => {
                    self.tell(&error);
                    break Err(unreachable);
                }
            }
        };
        client.close();
        outcome
    }

    /// The outcome, if the event decides it.
    fn on_event(&self, event: ClientEvent<'_>, incoming: &mut Incoming) -> Option<Result<(), Broken>> {
        match event {
            ClientEvent::SnapshotPart {
                session,
                epoch,
                sequence,
                bytes,
                ..
            } => {
                failpoint::hit("state.part");
                self.shared.progress.fetch_add(1, Ordering::Relaxed);
                match incoming.write(&self.dir, (session, epoch, sequence), bytes) {
                    Ok(()) => None,
                    Err(error) => {
                        self.tell(&format!(
                            "cannot write a snapshot into {}: {error}",
                            self.dir.display()
                        ));
                        Some(Err(Broken::Failed(StateFailure::Unusable)))
                    }
                }
            }
            ClientEvent::Reject {
                code,
                retry_after_ms,
                reason,
                ..
            } => {
                self.tell(&format!("a recovery service gives no snapshot: {reason}"));
                Some(Err(Broken::Failed(StateFailure::Refused {
                    code,
                    retry_after: u64::from(retry_after_ms) * 1_000_000,
                })))
            }
            ClientEvent::Complete { .. } => Some(Ok(())),
            ClientEvent::Closed { reason } => {
                self.tell(&format!("no snapshot came: {reason:?}"));
                Some(Err(Broken::Failed(StateFailure::Unreachable)))
            }
            _ => None,
        }
    }

    /// Checks what came, and gives it its name. When this returns the file is durable.
    fn keep(&self, incoming: &mut Incoming, path: Option<&Path>) -> Result<State, String> {
        let (Some(written), Some(path)) = (incoming.file.take(), path) else {
            return Err("a snapshot came without any bytes".into());
        };
        written.sync_all().map_err(|error| error.to_string())?;
        drop(written);
        let Snapshot { place, books } = file::read(path).map_err(|error| error.to_string())?;
        let said = (place.session, place.epoch, place.sequence) == incoming.said;
        if !said || place.channel != self.config.channel || !books.is_valid() {
            return Err("a snapshot came that is not what the service said".into());
        }
        failpoint::hit("state.written");
        let name = file::name(place.session, place.epoch, place.sequence);
        let synced = fs::rename(path, self.dir.join(name)).and_then(|()| File::open(&self.dir)?.sync_all());
        synced.map_err(|error| error.to_string())?;
        failpoint::hit("state.renamed");
        Ok(State {
            session: place.session,
            epoch: place.epoch,
            epoch_base: place.epoch_base,
            sequence: place.sequence,
            file: place.sequence,
        })
    }
}

/// A snapshot that is coming.
#[derive(Default)]
struct Incoming {
    file: Option<File>,
    path: Option<PathBuf>,
    /// Session, epoch and sequence as the service says.
    said: (u32, u32, u64),
}

impl Incoming {
    fn write(&mut self, dir: &Path, said: (u32, u32, u64), bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (session, epoch, sequence) = said;
                self.said = said;
                let path = dir.join(file::name(session, epoch, sequence) + ".new");
                let file = File::create(&path)?;
                self.path = Some(path);
                none.insert(file)
            }
        };
        file.write_all(bytes)
    }
}
