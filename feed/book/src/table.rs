//! A hash table from keys, which it does not hold, to numbers of entries in a pool that does.
//!
//! Open addressing with linear probing, at most half full, so that a look-up is one cache line here and one in the pool.
//! A slot holds half of the key's hash, from which its home follows too: growing and closing holes never touch the pool,
//! and an entry of another key is passed over without looking at it.

/// The 32 bits of a key's hash that a table works with.
#[inline]
pub(crate) fn hash(instrument: u32, number: u64) -> u32 {
    let mixed =
        (number ^ u64::from(instrument) << 32 ^ u64::from(instrument)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32
}

/// Slots of a table that was never filled.
const SMALLEST: usize = 64;

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// `hash << 32 | number + 1`; 0: free. A power of two of them.
    slots: Vec<u64>,
    /// A slot's home is its hash shifted right by this.
    shift: u32,
    filled: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: vec![0; SMALLEST],
            shift: u32::BITS - SMALLEST.trailing_zeros(),
            filled: 0,
        }
    }
}

impl Table {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    #[inline]
    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// The number of the entry of this hash that is `wanted`, and the slot that it stands in.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut wanted: impl FnMut(u32) -> bool) -> Option<(usize, u32)> {
        let mut at = (hash >> self.shift) as usize;
        loop {
            let slot = self.slots[at & self.mask()];
            if slot == 0 {
                return None;
            }
            let number = (slot as u32).wrapping_sub(1);
            if (slot >> 32) as u32 == hash && wanted(number) {
                return Some((at & self.mask(), number));
            }
            at += 1;
        }
    }

    /// Puts an entry in that is not there yet.
    ///
    /// # Panics
    /// If its number is the largest there is, which no pool in memory reaches.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        assert_ne!(number, u32::MAX, "a pool of so many entries does not fit memory");
        if self.filled * 2 >= self.slots.len() {
            self.grow(self.slots.len() * 2);
        }
        self.filled += 1;
        self.put(u64::from(hash) << 32 | u64::from(number + 1));
    }

    #[inline]
    fn put(&mut self, slot: u64) {
        let mask = self.mask();
        let mut at = self.home(slot);
        while self.slots[at & mask] != 0 {
            at += 1;
        }
        self.slots[at & mask] = slot;
    }

    #[inline]
    fn home(&self, slot: u64) -> usize {
        ((slot >> 32) as u32 >> self.shift) as usize
    }

    /// Makes room for so many entries in all.
    pub(crate) fn reserve(&mut self, entries: usize) {
        let slots = (entries * 2).next_power_of_two();
        if slots > self.slots.len() {
            self.grow(slots);
        }
    }

    /// Goes to so many slots, a power of two that is larger than now.
    #[cold]
    fn grow(&mut self, slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![0; slots]);
        self.shift = u32::BITS - slots.trailing_zeros();
        for slot in before.into_iter().filter(|slot| *slot != 0) {
            self.put(slot);
        }
    }

    /// Empties the slot `at`, which [`find`](Self::find) gave and nothing has changed since. What stands behind it moves
    /// up, so that no mark of it is left.
    #[inline]
    pub(crate) fn remove(&mut self, at: usize) {
        let mask = self.mask();
        let mut hole = at & mask;
        let mut next = (hole + 1) & mask;
        loop {
            let slot = self.slots[next];
            if slot == 0 {
                break;
            }
            let from_home = next.wrapping_sub(self.home(slot)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = 0;
        self.filled -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_holds_what_a_map_holds_through_collisions_growth_and_removal() {
        let mut table = Table::default();
        let mut map = HashMap::new();
        let mut random = 1_u64;
        for step in 0..200_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few different homes, so that runs are long and wrap around.
            let hash = ((random >> 33) as u32 % 300) << 23 | ((random >> 60) as u32);
            let number = (random >> 40) as u32 % 2000;
            let key = (hash, number);
            match (table.find(hash, |found| found == number), map.contains_key(&key)) {
                (Some((at, found)), true) => {
                    assert_eq!(found, number);
                    if random >> 63 == 0 {
                        table.remove(at);
                        map.remove(&key);
                    }
                }
                (None, false) if map.len() < 3000 => {
                    table.insert(hash, number);
                    map.insert(key, step);
                }
                (None, false) => {}
                (found, held) => panic!("{key:?}: {found:?}, but the map says {held}"),
            }
            assert_eq!(table.len(), map.len());
        }
        assert!(map.len() > 1000);
        assert!(
            map.keys()
                .all(|key| table.find(key.0, |found| found == key.1).is_some())
        );
    }

    #[test]
    fn orders_numbered_in_a_row_or_in_strides_spread() {
        for stride in [1, 8, 1 << 20, 1 << 28, 1 << 40] {
            let mut homes: Vec<u32> = (0..1024_u64).map(|at| hash(65_537, at * stride) >> 21).collect();
            homes.sort_unstable();
            homes.dedup();
            assert!(
                homes.len() > 500,
                "stride {stride}: {} of 2048 homes",
                homes.len()
            );
        }
    }
}
