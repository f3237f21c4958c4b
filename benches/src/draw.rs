//! Which index an operation takes: uniform, Zipfian or the latest; always the same for the same seed.
//!
//! The Zipfian is YCSB's (Cooper et al., SoCC 2010), after Gray et al., "Quickly Generating
//! Billion-Record Synthetic Databases", SIGMOD 1994. Scrambled, as YCSB does: ranks are drawn among ten
//! thousand million items, hashed with FNV-1a, and taken modulo the number of keys, so that popular
//! keys lie anywhere.

use crate::data::mix;

/// The skew that YCSB and the field use.
pub const THETA: f64 = 0.99;
/// Items among which YCSB's scrambled Zipfian draws ranks, and their zeta at [`THETA`].
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed` and `thread`.
    pub fn new(seed: u64, thread: usize) -> Rng {
        Rng(mix(seed ^ mix(thread as u64)))
    }

    /// The next number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, all equally likely.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 to 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks: 0 is the most popular.
#[derive(Clone, Debug)]
pub struct Zipf {
    items: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Ranks below `items`. Takes time in proportion to `items`.
    pub fn new(items: u64) -> Zipf {
        Zipf::with_zeta(items, (1..=items).map(|rank| (rank as f64).powf(-THETA)).sum())
    }

    /// The distribution that [`Zipf::scrambled`] needs.
    pub fn for_scrambling() -> Zipf {
        Zipf::with_zeta(SCRAMBLED_ITEMS, SCRAMBLED_ZETA)
    }

    fn with_zeta(items: u64, zeta: f64) -> Zipf {
        let zeta_of_two = 1.0 + 0.5f64.powf(THETA);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of_two / zeta);
        Zipf { items, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// A rank.
    #[inline]
    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let unit = rng.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items - 1)
    }

    /// An index below `count`, popular ones anywhere.
    #[inline]
    pub fn scrambled(&self, rng: &mut Rng, count: u64) -> u64 {
        self.scrambled_rank(self.rank(rng), count)
    }

    /// The index of a rank; 0 is the most popular.
    #[inline]
    pub fn scrambled_rank(&self, rank: u64, count: u64) -> u64 {
        fnv1a(rank) % count
    }
}

#[inline]
fn fnv1a(number: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    number.to_le_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rank `r` of `n` must come up in a share of `1 / r^theta / zeta(n)` of all draws.
    #[test]
    fn ranks_follow_zipfs_law() {
        let (zipf, mut rng, draws) = (Zipf::new(1_000), Rng::new(1, 0), 1_000_000);
        let mut seen = vec![0u32; 1_000];
        (0..draws).for_each(|_| seen[zipf.rank(&mut rng) as usize] += 1);
        for (rank, tolerance) in [(0, 0.02), (1, 0.02), (9, 0.25), (99, 0.25)] {
            let expected = f64::from(draws) / ((rank + 1) as f64).powf(THETA) / zipf.zeta;
            let off = (f64::from(seen[rank]) / expected - 1.0).abs();
            assert!(off < tolerance, "rank {rank}: {} seen, {expected:.0} expected", seen[rank]);
        }
    }

    #[test]
    fn scrambling_spreads_popular_keys() {
        let (zipf, mut rng) = (Zipf::for_scrambling(), Rng::new(2, 0));
        let mut seen = vec![0u32; 10_000];
        (0..1_000_000).for_each(|_| seen[zipf.scrambled(&mut rng, 10_000) as usize] += 1);
        let mut by_count: Vec<usize> = (0..seen.len()).collect();
        by_count.sort_unstable_by_key(|index| std::cmp::Reverse(seen[*index]));
        // The most popular key takes 1 / zeta of the draws, and the top ten are not neighbours.
        assert!((35_000..41_000).contains(&seen[by_count[0]]), "{}", seen[by_count[0]]);
        assert!(by_count[..10].iter().any(|index| *index > 5_000));
        assert!(by_count[..10].iter().any(|index| *index < 5_000));
    }

    #[test]
    fn seeds_and_threads_make_streams_of_their_own() {
        let draw = |seed, thread| Rng::new(seed, thread).below(1 << 40);
        assert_eq!(draw(1, 0), draw(1, 0));
        assert!(draw(1, 0) != draw(1, 1) && draw(1, 0) != draw(2, 0));
        let mut rng = Rng::new(3, 0);
        assert!((0..10_000).all(|_| rng.below(7) < 7 && (0.0..1.0).contains(&rng.unit())));
    }
}
