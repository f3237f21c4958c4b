//! Keys and values made from an index: all keys distinct, values incompressible unless asked, and both
//! made again from the index or the key alone, so that every answer can be checked whole.
//!
//! A value is its version mixed with its key (8 bytes) and a slice of a fixed pool of random bytes, whose
//! place depends on both: to make or to check one costs a copy or a comparison.

use std::sync::LazyLock;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// A key.
pub type Key = [u8; KEY_BYTES];

/// Bytes of a value before its slice of the pool.
const HEAD_BYTES: usize = 8;
/// Places in a pool at which a value can begin; fits in the second-level cache of a core.
const PLACES: usize = 1 << 18;
/// The longest value.
pub const MOST_VALUE_BYTES: usize = 256 << 10;

/// Random bytes, and the same with the second half of every 64 bytes blank.
static POOLS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let words = (0..(PLACES + MOST_VALUE_BYTES) as u64 / 8).map(mix);
    let random: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let half = random.iter().enumerate().map(|(at, byte)| if at & 32 == 0 { *byte } else { 0 });
    let half = half.collect();
    [random, half]
});

/// The SplitMix64 finaliser: one-to-one on 64 bits, and as good as random.
#[inline]
pub fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key with number `index`; the order of keys has nothing to do with that of indices.
#[inline]
pub fn key(index: u64) -> Key {
    let high = mix(index);
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&mix(high).to_be_bytes());
    key
}

/// The key with number `index`, in the order of indices.
#[inline]
pub fn ordered_key(index: u64) -> Key {
    u128::from(index).to_be_bytes()
}

/// The values of a store.
#[derive(Clone, Copy, Debug)]
pub struct Values {
    /// Bytes of each, from 8 to [`MOST_VALUE_BYTES`].
    pub bytes: usize,
    /// Whether half of their bytes are blank, so that compression can halve them.
    pub half_blank: bool,
}

impl Values {
    /// Values of `bytes` random bytes.
    pub fn random(bytes: usize) -> Values {
        Values { bytes, half_blank: false }
    }

    /// Makes version `version`, below 2^48, of the value of `key` in `out`.
    #[inline]
    pub fn make(self, key: &[u8], version: u64, out: &mut Vec<u8>) {
        let seed = seed(key);
        out.clear();
        out.extend_from_slice(&(version ^ seed).to_le_bytes());
        out.extend_from_slice(self.body(seed, version));
    }

    /// The version of `value`, if it is one that [`Values::make`] made for `key`.
    #[inline]
    pub fn version(self, key: &[u8], value: &[u8]) -> Option<u64> {
        let (head, body) = value.split_first_chunk::<HEAD_BYTES>()?;
        let seed = seed(key);
        let version = u64::from_le_bytes(*head) ^ seed;
        (version < 1 << 48 && body == self.body(seed, version)).then_some(version)
    }

    /// Whether `value` is one that [`Values::make`] made for `key`, of whatever version.
    #[inline]
    pub fn belongs(self, key: &[u8], value: &[u8]) -> bool {
        self.version(key, value).is_some()
    }

    /// Makes the pools, which the first value would wait for.
    pub fn warm_up() {
        LazyLock::force(&POOLS);
    }

    #[inline]
    fn body(self, seed: u64, version: u64) -> &'static [u8] {
        let place = mix(seed.wrapping_add(version)) as usize % PLACES;
        &POOLS[usize::from(self.half_blank)][place..place + self.bytes - HEAD_BYTES]
    }
}

#[inline]
fn seed(key: &[u8]) -> u64 {
    mix(key.last_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk)))
}

/// Entries for one batch, in one allocation that is used again.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    /// Removes all entries.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds an entry.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The entries, in order of [`Batch::push`].
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let entries = starts.zip(&self.ends);
        entries.map(|(start, (key, end))| (&self.bytes[start..*key], &self.bytes[*key..*end]))
    }
}

/// Every index below `count` once, in an order that has nothing to do with that of the keys.
pub fn shuffled(count: u64) -> impl Iterator<Item = u64> {
    let bits = count.next_power_of_two().trailing_zeros();
    let mask = (1u64 << bits) - 1;
    // An odd factor and an odd step make a full cycle of a power of two; what is too large is left out.
    let order = (0..=mask).scan(0u64, move |state, _| {
        *state =
            state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f) & mask;
        Some(*state)
    });
    order.filter(move |index| *index < count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_values_belong_to_them() {
        let values = Values::random(100);
        let (mut made, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..1_000 {
            for version in 0..3 {
                let mut value = Vec::new();
                values.make(&key(index), version, &mut value);
                assert!(value.len() == 100 && values.belongs(&key(index), &value));
                assert!(!values.belongs(&key(index + 1), &value));
                made.insert(value);
            }
            keys.insert(key(index));
        }
        assert_eq!((keys.len(), made.len()), (1_000, 3_000));
    }

    #[test]
    fn every_byte_of_a_value_is_checked() {
        for values in [Values::random(100), Values { bytes: 16 << 10, half_blank: true }] {
            let mut value = Vec::new();
            values.make(&key(7), 3, &mut value);
            for at in 0..value.len() {
                value[at] ^= 1;
                assert!(!values.belongs(&key(7), &value), "byte {at}");
                value[at] ^= 1;
            }
            assert!(!values.belongs(&key(7), &value[..value.len() - 1]));
            assert!(!values.belongs(&key(7), &[]));
        }
    }

    #[test]
    fn a_batch_gives_back_its_entries() {
        let mut batch = Batch::default();
        for _ in 0..2 {
            batch.clear();
            batch.push(b"a", b"1");
            batch.push(b"", b"");
            batch.push(b"bc", b"23");
            let entries: Vec<_> = batch.iter().collect();
            let expected: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"", b""), (b"bc", b"23")];
            assert!(entries == expected && batch.len() == 3 && !batch.is_empty());
        }
    }

    #[test]
    fn shuffling_meets_every_index_once() {
        for count in [1, 2, 1000, 1024, 1025] {
            let mut met: Vec<u64> = shuffled(count).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(0..count));
        }
    }
}
