//! One side of a book: its price levels in order.

use crate::store::Store;
use twinline_wire::{Price, Side};

/// The price levels of one side, the best last: what comes and goes is mostly near the best, so little is moved.
///
/// Prices are kept as keys that grow towards the best on both sides: a bid's is its price, an offer's its complement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ladder(Vec<Rung>);

/// A level's place in the ladder.
#[derive(Clone, Copy, Debug)]
struct Rung {
    key: i64,
    level: u32,
}

/// The sides by their ladders.
pub(crate) const SIDES: [Side; 2] = [Side::BUY, Side::SELL];

const _: () = assert!(Side::SELL.0 == Side::BUY.0 + 1);

/// The ladder of a side: 0 bids, 1 offers; none of what is no side.
#[inline]
pub(crate) fn side_index(side: Side) -> Option<u8> {
    let index = side.0.wrapping_sub(Side::BUY.0);
    (index < SIDES.len() as u8).then_some(index)
}

/// The key of a price on a side, and the price of a key.
#[inline]
pub(crate) fn key(side: u8, price: i64) -> i64 {
    price ^ -i64::from(side)
}

/// The same for a price as the wire has it.
#[inline]
pub(crate) fn price(side: u8, key_of_it: i64) -> Price {
    Price::new(key(side, key_of_it))
}

/// Rungs that are compared at once.
const BLOCK: usize = 8;

impl Ladder {
    /// The best level.
    #[inline]
    pub(crate) fn best(&self) -> Option<u32> {
        self.0.last().map(|rung| rung.level)
    }

    /// The levels, the best first.
    pub(crate) fn levels(&self) -> impl ExactSizeIterator<Item = u32> + use<'_> {
        self.0.iter().rev().map(|rung| rung.level)
    }

    /// The level of this key, opened if there is none.
    #[inline]
    pub(crate) fn level(&mut self, store: &mut Store, book: u32, side: u8, key: i64) -> u32 {
        let place = self.place(key);
        if let Some(rung) = place.checked_sub(1).and_then(|at| self.0.get(at))
            && rung.key == key
        {
            return rung.level;
        }
        let level = store.open_level(book, side, key);
        self.0.insert(place, Rung { key, level });
        level
    }

    /// Takes the level of this key out, which must be there.
    #[inline]
    pub(crate) fn close(&mut self, key: i64) {
        self.0.remove(self.place(key) - 1);
    }

    /// How many rungs have a key up to `key`. From the best on, a block at a time: within a block no branch depends on
    /// where it is.
    #[inline]
    fn place(&self, key: i64) -> usize {
        let mut rungs = &self.0[..];
        while let Some((rest, block)) = rungs.split_last_chunk::<BLOCK>() {
            if block[0].key <= key {
                let above: usize = block.iter().map(|rung| usize::from(rung.key > key)).sum();
                return rungs.len() - above;
            }
            rungs = rest;
        }
        rungs.iter().map(|rung| usize::from(rung.key <= key)).sum()
    }
}
