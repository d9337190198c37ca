//! How a reader is opened.

use crate::Position;

/// How a reader is opened. The defaults: the books as they are, everything behind them, nothing missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What operators see of this reader: its first 40 bytes count.
    pub name: String,
    /// The first message that is delivered.
    pub start: Start,
    /// What happens when this reader was too slow for the ring.
    pub overrun: Overrun,
    /// How [`Reader::next`](crate::Reader::next) waits.
    pub wait: Wait,
    /// Whose messages are delivered. What concerns no single instrument is always delivered, but for source positions; and
    /// notices are, whatever is asked for.
    pub instruments: Instruments,
    /// Only messages of these templates are delivered; `None`: all.
    pub templates: Option<Vec<u16>>,
    /// Whose order books are kept. They are built from all messages, whatever is delivered. Costs some 30 ns a message of a
    /// book that is kept.
    pub books: Instruments,
    /// Whether symbols are known from the beginning, also those that were named before the first message that is delivered. With
    /// [`Start::Now`] and [`Start::At`] the journal is read for that from its newest snapshot on. Books need the same, and
    /// have it whatever is said here.
    pub symbols: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: String::new(),
            start: Start::default(),
            overrun: Overrun::default(),
            wait: Wait::default(),
            instruments: Instruments::All,
            templates: None,
            books: Instruments::All,
            symbols: true,
        }
    }
}

/// The first message that is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// What comes from now on. Where neither books nor symbols are wanted, the journal is not read at all.
    Now,
    /// All behind the newest snapshot of the newest session; without a snapshot, all of that session. The books stand at the
    /// snapshot, and are right from there on.
    #[default]
    Books,
    /// All that the journal holds.
    Oldest,
    /// What follows this position. The books are brought there.
    At(Position),
}

/// What happens when a reader was so slow that the ring went round before it had read all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overrun {
    /// What it missed comes from the listener's journal: nothing is missing as long as that holds it.
    #[default]
    Fill,
    /// It goes on with the newest, and is told exactly what it missed. For programs to whom old data are of no use. Books
    /// are invalid from there on until a snapshot replaces them.
    Skip,
}

/// How a reader waits for the next message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// It looks again at once: the least latency, and a core of its own.
    Spin,
    /// It sleeps, and the listener wakes it, some 50 microseconds to a millisecond later.
    #[default]
    Block,
}

/// A set of instruments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Instruments {
    /// None.
    None,
    /// All.
    #[default]
    All,
    /// These. A symbol counts from the definition on that names it, whenever that comes.
    These(Vec<Instrument>),
}

impl Instruments {
    /// These instruments, symbols or numbers.
    pub fn these<T: Into<Instrument>>(instruments: impl IntoIterator<Item = T>) -> Self {
        Self::These(instruments.into_iter().map(Into::into).collect())
    }
}

/// An instrument, however it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// By its number, as messages have it.
    Number(u32),
    /// By its symbol; of several sources' all.
    Symbol(String),
}

impl From<u32> for Instrument {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Instrument {
    fn from(symbol: &str) -> Self {
        Self::Symbol(symbol.to_owned())
    }
}

impl From<String> for Instrument {
    fn from(symbol: String) -> Self {
        Self::Symbol(symbol)
    }
}
