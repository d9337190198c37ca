//! Which instrument has which symbol, both ways, and sets of instruments that programs ask for.

use crate::{Instrument, Instruments, ReadError};
use std::collections::{BTreeSet, HashMap};
use twinline_book::Books;
use twinline_wire::field::Text;
use twinline_wire::market::InstrumentDefinition;

type Symbol = Text<16>;

/// The instruments of the current session, as their definitions name them.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    definitions: HashMap<u32, InstrumentDefinition>,
    by_symbol: BTreeSet<([u8; 16], u32)>,
}

impl Symbols {
    /// The number of a symbol; of several sources' the lowest.
    pub fn number(&self, symbol: &str) -> Option<u32> {
        self.numbers(symbol).next()
    }

    /// All numbers of a symbol, one a source.
    pub fn numbers(&self, symbol: &str) -> impl Iterator<Item = u32> {
        let key = Symbol::new(symbol.as_bytes()).0;
        let known = symbol.len() <= key.len();
        let range = self.by_symbol.range((key, 0)..=(key, u32::MAX));
        range.filter(move |_| known).map(|(_, number)| *number)
    }

    /// The symbol of a number; `None` before its definition.
    pub fn symbol(&self, number: u32) -> Option<&str> {
        Some(self.definition(number)?.symbol.as_str())
    }

    /// The last definition of a number.
    pub fn definition(&self, number: u32) -> Option<&InstrumentDefinition> {
        self.definitions.get(&number)
    }

    /// All definitions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &InstrumentDefinition> {
        self.definitions.values()
    }

    /// How many instruments there are.
    pub fn len(&self) -> usize {
        self.definitions.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    pub(crate) fn learn(&mut self, definition: &InstrumentDefinition) {
        let number = definition.instrument.get();
        if let Some(old) = self.definitions.insert(number, *definition) {
            if old.symbol == definition.symbol {
                return;
            }
            self.by_symbol.remove(&(old.symbol.0, number));
        }
        self.by_symbol.insert((definition.symbol.0, number));
    }

    /// Learns what books know.
    pub(crate) fn learn_all(&mut self, books: &Books) {
        for definition in books.iter().filter_map(|book| book.definition().copied()) {
            self.learn(&definition);
        }
    }

    /// A new session: numbers mean something else.
    pub(crate) fn clear(&mut self) {
        self.definitions.clear();
        self.by_symbol.clear();
    }
}

/// A set of instruments, with the symbols that are resolved so far.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    All,
    These {
        /// Asked for by number.
        given: Vec<u32>,
        symbols: Vec<Symbol>,
        /// All that are known by now, sorted.
        numbers: Vec<u32>,
    },
}

impl Chosen {
    pub(crate) fn new(instruments: &Instruments) -> Result<Self, ReadError> {
        let list = match instruments {
            Instruments::All => return Ok(Self::All),
            Instruments::None => &[][..],
            Instruments::These(list) => list,
        };
        let (mut given, mut symbols) = (Vec::new(), Vec::new());
        for instrument in list {
            match instrument {
                Instrument::Number(number) => given.push(*number),
                Instrument::Symbol(symbol) => {
                    let text = Symbol::new(symbol.as_bytes());
                    if symbol.is_empty() || text.as_str() != symbol {
                        let symbol = symbol.clone();
                        return Err(ReadError::Symbol { symbol });
                    }
                    symbols.push(text);
                }
            }
        }
        given.sort_unstable();
        given.dedup();
        Ok(Self::These {
            numbers: given.clone(),
            given,
            symbols,
        })
    }

    #[inline]
    pub(crate) fn contains(&self, number: u32) -> bool {
        match self {
            Self::All => true,
            Self::These { numbers, .. } => numbers.binary_search(&number).is_ok(),
        }
    }

    /// An instrument is named, perhaps anew.
    pub(crate) fn learn(&mut self, definition: &InstrumentDefinition) {
        let Self::These {
            given,
            symbols,
            numbers,
        } = self
        else {
            return;
        };
        let number = definition.instrument.get();
        let wanted = symbols.contains(&definition.symbol) || given.contains(&number);
        match (numbers.binary_search(&number), wanted) {
            (Err(at), true) => numbers.insert(at, number),
            (Ok(at), false) => drop(numbers.remove(at)),
            _ => {}
        }
    }

    /// Learns what symbols are known.
    pub(crate) fn learn_all(&mut self, symbols: &Symbols) {
        symbols.iter().for_each(|definition| self.learn(definition));
    }

    /// A new session: symbols have no numbers yet.
    pub(crate) fn clear(&mut self) {
        if let Self::These { given, numbers, .. } = self {
            numbers.clone_from(given);
        }
    }
}
