//! A hash table from keys, which it does not hold, to numbers of entries in a pool that does.
//!
//! A bucket is one cache line of seven slots, of which one word holds a byte of each hash: all seven are compared at once,
//! and no branch depends on which of them it is. At most half of all slots are filled, so a bucket that is full is rare;
//! only behind a full one is looked further. A slot also has half of the key's hash, from which its home follows: growing
//! and closing holes never touch the pool, and an entry of another key is passed over without looking at it.

/// The 32 bits of a key's hash that a table works with; never 0.
#[inline]
pub(crate) fn hash(instrument: u32, number: u64) -> u32 {
    let key = number ^ u64::from(instrument) << 32 ^ u64::from(instrument);
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32 | 1
}

/// Slots of a bucket.
const SLOTS: usize = 7;
/// Buckets of a table that was never filled.
const SMALLEST: usize = 8;
/// The lowest bit of each slot's byte in a word.
const LOWEST: u64 = 0x0001_0101_0101_0101;

/// Seven slots.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// The lowest byte of each slot's hash; 0: the slot is free.
    tags: u64,
    hashes: [u32; SLOTS],
    /// Numbers of entries.
    numbers: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    /// The slots with the lowest byte of this hash, of 0 the free ones: each its byte with the highest bit set. Behind the
    /// first there may be others that only seem so.
    #[inline]
    fn slots_of(&self, hash: u32) -> u64 {
        let differences = self.tags ^ (LOWEST * u64::from(hash as u8));
        differences.wrapping_sub(LOWEST) & !differences & LOWEST << 7
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.slots_of(0) == 0
    }

    /// Fills a free slot, or, with hash 0, frees a filled one.
    #[inline]
    fn set(&mut self, slot: usize, hash: u32, number: u32) {
        let shift = slot * 8;
        self.tags = self.tags & !(0xff << shift) | u64::from(hash as u8) << shift;
        self.hashes[slot] = hash;
        self.numbers[slot] = number;
    }
}

/// The first of slots that are not none.
#[inline]
fn first(slots: u64) -> usize {
    slots.trailing_zeros() as usize / 8
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// A power of two of them.
    buckets: Vec<Bucket>,
    /// An entry's home is its hash shifted right by this.
    shift: u32,
    filled: usize,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    bucket: usize,
    slot: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            buckets: vec![Bucket::default(); SMALLEST],
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
        self.buckets.len() - 1
    }

    /// The number of the entry of this hash that is `wanted`, and where it stands.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut wanted: impl FnMut(u32) -> bool) -> Option<(Slot, u32)> {
        let mut at = (hash >> self.shift) as usize;
        loop {
            let bucket = at & self.mask();
            let entries = &self.buckets[bucket];
            let mut found = entries.slots_of(hash);
            while found != 0 {
                let slot = first(found);
                if entries.hashes[slot] == hash && wanted(entries.numbers[slot]) {
                    return Some((Slot { bucket, slot }, entries.numbers[slot]));
                }
                found &= found - 1;
            }
            if !entries.is_full() {
                return None;
            }
            at += 1;
        }
    }

    /// Puts an entry in that is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        if self.filled * 2 >= self.buckets.len() * SLOTS {
            self.grow(self.buckets.len() * 2);
        }
        self.filled += 1;
        self.put(hash, number);
    }

    #[inline]
    fn put(&mut self, hash: u32, number: u32) {
        let mask = self.mask();
        let mut at = (hash >> self.shift) as usize;
        loop {
            let entries = &mut self.buckets[at & mask];
            let free = entries.slots_of(0);
            if free != 0 {
                entries.set(first(free), hash, number);
                return;
            }
            at += 1;
        }
    }

    /// Makes room for so many entries in all.
    pub(crate) fn reserve(&mut self, entries: usize) {
        let buckets = (entries * 2 / SLOTS + 1).next_power_of_two();
        if buckets > self.buckets.len() {
            self.grow(buckets);
        }
    }

    /// Goes to so many buckets, a power of two that is larger than now.
    #[cold]
    fn grow(&mut self, buckets: usize) {
        let before = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        self.shift = u32::BITS - buckets.trailing_zeros();
        for bucket in before {
            for (hash, number) in bucket.hashes.into_iter().zip(bucket.numbers) {
                if hash != 0 {
                    self.put(hash, number);
                }
            }
        }
    }

    /// Empties a slot that [`find`](Self::find) gave, nothing having changed since.
    #[inline]
    pub(crate) fn remove(&mut self, at: Slot) {
        let entries = &mut self.buckets[at.bucket];
        let was_full = entries.is_full();
        entries.set(at.slot, 0, 0);
        self.filled -= 1;
        if was_full {
            self.fill_hole(at);
        }
    }

    /// A bucket is full no more: who looks for what stands behind it because of that would stop here. So one such entry
    /// moves in, and so on where that leaves a full one.
    #[cold]
    fn fill_hole(&mut self, mut hole: Slot) {
        let mask = self.mask();
        let mut next = (hole.bucket + 1) & mask;
        while next != hole.bucket {
            let entries = self.buckets[next];
            let distance = next.wrapping_sub(hole.bucket) & mask;
            let displaced = (0..SLOTS).find(|slot| {
                let home = (entries.hashes[*slot] >> self.shift) as usize & mask;
                entries.hashes[*slot] != 0 && next.wrapping_sub(home) & mask >= distance
            });
            let was_full = entries.is_full();
            if let Some(slot) = displaced {
                self.buckets[hole.bucket].set(hole.slot, entries.hashes[slot], entries.numbers[slot]);
                self.buckets[next].set(slot, 0, 0);
                hole = Slot { bucket: next, slot };
            }
            if !was_full {
                return;
            }
            next = (next + 1) & mask;
        }
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
            let hash = ((random >> 33) as u32 % 300) << 23 | ((random >> 60) as u32) | 1;
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
