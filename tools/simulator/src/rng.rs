//! The only source of chance in a run: a small generator, split into named streams so that one part of the world drawing
//! more numbers does not change what the others see.

/// SplitMix64: one word of state, good enough to place faults, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream `name` of `seed`.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::mixed(&[seed, hash])
    }

    /// A generator that depends on all of `parts`.
    pub(crate) fn mixed(parts: &[u64]) -> Self {
        let mut rng = Self(0);
        for &part in parts {
            rng.0 = rng.next().wrapping_add(part);
        }
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number in `0..bound`; 0 where the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `per_million` times in a million.
    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `items`.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_seed_differ_and_repeat() {
        let draw = |name| Rng::new(7, name).next();
        assert_eq!(draw("net"), draw("net"));
        assert_ne!(draw("net"), draw("plan"));
        assert_ne!(Rng::new(8, "net").next(), draw("net"));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut rng = Rng::new(1, "bounds");
        assert!((0..1000).all(|_| rng.below(3) < 3 && (5..=6).contains(&rng.range(5, 6))));
        assert_eq!(rng.below(0), 0);
        assert!(!rng.chance(0) && rng.chance(1_000_000));
    }
}
