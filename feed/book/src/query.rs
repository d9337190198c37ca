//! What books can be asked.

use crate::{Book, Books, SourceState};
use twinline_wire::market::TradingStatus;

impl Books {
    pub(crate) fn look(&self, number: u32) -> Book<'_> {
        Book {
            state: &self.books[number as usize],
            store: &self.store,
            valid: self.valid,
        }
    }

    /// The book of an instrument, if any message was about it.
    pub fn book(&self, instrument: u32) -> Option<Book<'_>> {
        Some(self.look(self.index_of(instrument)?))
    }

    /// The book of a symbol, as its definition names it; of several sources' the lowest number.
    pub fn find_symbol(&self, symbol: &str) -> Option<Book<'_>> {
        self.iter()
            .filter(|book| book.symbol() == symbol)
            .min_by_key(Book::instrument)
    }

    /// All books, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Book<'_>> {
        (0..self.books.len() as u32).map(|number| self.look(number))
    }

    /// All books by instrument.
    pub fn sorted(&self) -> Vec<Book<'_>> {
        let mut books: Vec<_> = self.iter().collect();
        books.sort_unstable_by_key(Book::instrument);
        books
    }

    /// Orders in all books.
    pub fn live_orders(&self) -> usize {
        self.store.len()
    }

    /// The sources, by number: how far each has come, and the status of its market.
    pub fn sources(&self) -> &[SourceState] {
        &self.sources
    }

    /// The status of a source's whole market.
    pub fn market_status(&self, source: u16) -> Option<&TradingStatus> {
        let at = self.sources.binary_search_by_key(&source, |known| known.source);
        self.sources[at.ok()?].status.as_ref()
    }

    /// False after messages were lost or void, until a snapshot replaces the state.
    pub fn is_valid(&self) -> bool {
        self.valid
    }
}
