//! Keys and values made from an index: all keys distinct, in random order, values incompressible, and
//! both made again from the index or the key alone, so that every answer can be checked.

use std::ops::Range;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;

/// A key.
pub type Key = [u8; KEY_BYTES];
/// A value.
pub type Value = [u8; VALUE_BYTES];

/// The SplitMix64 finaliser: one-to-one on 64 bits, and as good as random.
#[inline]
pub fn mix(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key with number `index`.
#[inline]
pub fn key(index: u64) -> Key {
    let high = mix(index);
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&mix(high).to_be_bytes());
    key
}

/// The value that belongs to `key`.
#[inline]
pub fn value(key: &Key) -> Value {
    let mut state = word(&key[8..]);
    let mut value = [0; VALUE_BYTES];
    for chunk in value.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
        chunk.copy_from_slice(&(word ^ (word >> 32)).to_le_bytes()[..chunk.len()]);
    }
    value
}

/// A sum over all bytes of `bytes`, cheap beside reading them.
#[inline]
pub fn checksum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    words.fold(rest, |sum, chunk| sum.wrapping_add(word(chunk)))
}

/// The wrapping sum of the checksums of all values in `indices`.
pub fn checksum_of_all(indices: Range<u64>) -> u64 {
    indices.fold(0, |sum, index| sum.wrapping_add(checksum(&value(&key(index)))))
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

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_distinct_and_values_belong_to_them() {
        let keys: BTreeSet<Key> = (0..10_000).map(key).collect();
        let values: BTreeSet<Value> = keys.iter().map(value).collect();
        assert_eq!((keys.len(), values.len()), (10_000, 10_000));
    }

    #[test]
    fn shuffling_meets_every_index_once() {
        for count in [1, 2, 1000, 1024, 1025] {
            let mut met: Vec<u64> = shuffled(count).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(0..count));
        }
    }

    #[test]
    fn every_byte_counts_in_the_checksum() {
        let value = value(&key(7));
        for index in 0..VALUE_BYTES {
            let mut other = value;
            other[index] ^= 1;
            assert_ne!(checksum(&value), checksum(&other));
        }
    }
}
