//! The filter: tells most absent user keys apart without reading a block.
//!
//! A [`FilterBuilder`] takes user keys and gives the contents of a filter block; a [`Filter`] answers
//! from them. Which structure is inside is the block's own business: its last byte says so.
//!
//! # Contents of a filter block
//! | bytes | field | meaning |
//! |---:|---|---|
//! | n | body | of [`bloom`] or [`ribbon`], specified there |
//! | 1 | kind | 1 Bloom, 2 Ribbon |
//!
//! # Invariants
//! - FILTER-1: a key or prefix that was added passes.
//! - FILTER-2: the same keys and options give the same bytes; the body has at most `hashes × bits` bits,
//!   rounded up to its grain, and a few bytes of parameters.
//!
//! Whole keys ([`key_hash`]) and prefixes ([`prefix_hash`]) are hashed with different seeds, so that
//! one filter answers for both.

mod bloom;
mod ribbon;

use stratalog_base::codec::Malformed;

use crate::options::{FilterPolicy, TableOptions};
use bloom::Bloom;
use ribbon::Ribbon;

const BLOOM: u8 = 1;
const RIBBON: u8 = 2;
/// Sets the hashes of prefixes apart from those of whole keys.
const PREFIX_SEED: u64 = 0x7072_6566_6978_2e2e;

/// The hash of a user key that filters and blocks are searched by: XXH3, 64 bits.
///
/// Computed once for a read and passed to [`crate::Table::get`] of each table on the way.
#[inline]
pub fn key_hash(user: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user)
}

/// The hash by which filters know the prefix of a user key: XXH3, 64 bits, with a seed of its own.
#[inline]
pub(crate) fn prefix_hash(prefix: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(prefix, PREFIX_SEED)
}

/// Gathers hashes and makes filters of them, one after another.
#[derive(Debug)]
pub(crate) struct FilterBuilder {
    policy: FilterPolicy,
    bits_per_key: f64,
    /// Leading bytes of keys that are added as well; 0 for none.
    prefix_bytes: usize,
    hashes: Vec<u64>,
    last_prefix: Option<u64>,
}

impl FilterBuilder {
    /// A builder of filters as `options` ask for; `None` if they ask for none.
    pub(crate) fn new(options: &TableOptions) -> Option<FilterBuilder> {
        let TableOptions { filter, filter_bits_per_key, prefix_bytes, .. } = *options;
        (filter_bits_per_key > 0.0).then(|| FilterBuilder {
            policy: filter,
            bits_per_key: filter_bits_per_key,
            prefix_bytes,
            hashes: Vec::new(),
            last_prefix: None,
        })
    }

    /// Adds a user key, and its prefix if it is so long. Keys come in order; one that is added twice
    /// takes its bits twice.
    #[inline]
    pub(crate) fn add(&mut self, user: &[u8]) {
        self.hashes.push(key_hash(user));
        if self.prefix_bytes > 0
            && let Some(prefix) = user.get(..self.prefix_bytes)
        {
            let hash = prefix_hash(prefix);
            if self.last_prefix.replace(hash) != Some(hash) {
                self.hashes.push(hash);
            }
        }
    }

    /// The bytes that the filter would have now, about.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        (self.hashes.len() as f64 * self.bits_per_key) as usize / 8
    }

    /// The contents of the filter block for what was added. The builder is empty then.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let ribbon = match self.policy {
            FilterPolicy::Bloom => None,
            FilterPolicy::Ribbon => Ribbon::build(&self.hashes, self.bits_per_key),
        };
        let contents = match ribbon {
            Some(mut body) => {
                body.push(RIBBON);
                body
            }
            None => {
                let mut body = Bloom::build(&self.hashes, self.bits_per_key);
                body.push(BLOOM);
                body
            }
        };
        self.hashes.clear();
        self.last_prefix = None;
        contents
    }
}

/// The filter of an open table, or of a part of it.
#[derive(Debug)]
pub(crate) enum Filter {
    Bloom(Bloom),
    Ribbon(Ribbon),
}

impl Filter {
    pub(crate) fn decode(contents: &[u8]) -> Result<Filter, Malformed> {
        match contents.split_last() {
            Some((&BLOOM, body)) => Bloom::decode(body).map(Filter::Bloom),
            Some((&RIBBON, body)) => Ribbon::decode(body).map(Filter::Ribbon),
            Some((_, body)) => {
                Err(Malformed { offset: body.len(), what: "unknown kind of filter" })
            }
            None => Err(Malformed { offset: 0, what: "empty filter" }),
        }
    }

    /// Whether the key or prefix with this hash may have been added; `false` is certain (FILTER-1).
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        match self {
            Filter::Bloom(bloom) => bloom.may_contain(hash),
            Filter::Ribbon(ribbon) => ribbon.may_contain(hash),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Filter::Bloom(bloom) => bloom.memory_bytes(),
            Filter::Ribbon(ribbon) => ribbon.memory_bytes(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        key_hash(&i.to_le_bytes())
    }

    fn builder(filter: FilterPolicy, bits: f64, prefix_bytes: usize) -> FilterBuilder {
        let filter_bits_per_key = bits;
        let defaults = TableOptions::default();
        FilterBuilder::new(&TableOptions { filter, filter_bits_per_key, prefix_bytes, ..defaults })
            .expect("there are bits")
    }

    fn contents(policy: FilterPolicy, keys: u64, bits: f64) -> Vec<u8> {
        let mut builder = builder(policy, bits, 0);
        (0..keys).for_each(|i| builder.add(&i.to_le_bytes()));
        builder.finish()
    }

    /// The share of a million absent keys that a filter of `keys` keys lets through.
    fn false_positives(policy: FilterPolicy, keys: u64, bits: f64) -> f64 {
        let contents = contents(policy, keys, bits);
        let limit = keys as f64 * bits / 8.0 + 80.0;
        assert!(contents.len() as f64 <= limit, "FILTER-2: {} bytes", contents.len());
        let filter = Filter::decode(&contents).expect("it was built so");
        assert!((0..keys).all(|i| filter.may_contain(hash(i))), "FILTER-1");
        let passed = (0..1_000_000).filter(|&i| filter.may_contain(hash(keys + i))).count();
        passed as f64 / 1e6
    }

    #[test]
    fn every_key_passes_and_few_others_do() {
        for (policy, bits, worst) in [
            (FilterPolicy::Bloom, 5.0, 0.12),
            (FilterPolicy::Bloom, 10.0, 0.011),
            (FilterPolicy::Bloom, 16.0, 0.0015),
            (FilterPolicy::Ribbon, 0.5, 0.9),
            (FilterPolicy::Ribbon, 5.0, 0.045),
            (FilterPolicy::Ribbon, 7.5, 0.011),
            (FilterPolicy::Ribbon, 10.0, 0.002),
            (FilterPolicy::Ribbon, 32.0, 0.0),
        ] {
            for keys in [5_000, 200_000] {
                let rate = false_positives(policy, keys, bits);
                assert!(rate <= worst, "{policy:?}, {keys} keys of {bits} bits let {rate} through");
            }
        }
    }

    #[test]
    fn a_filter_of_any_few_keys_holds_them() {
        for policy in [FilterPolicy::Bloom, FilterPolicy::Ribbon] {
            for keys in 0..400 {
                let filter = Filter::decode(&contents(policy, keys, 10.0)).unwrap();
                assert!((0..keys).all(|i| filter.may_contain(hash(i))), "{policy:?} {keys}");
            }
        }
    }

    #[test]
    fn the_same_hashes_give_the_same_bytes() {
        for policy in [FilterPolicy::Bloom, FilterPolicy::Ribbon] {
            let mut builder = builder(policy, 9.3, 8);
            let mut build = || {
                (0..3000u64).for_each(|i| builder.add(&i.to_le_bytes()));
                builder.finish()
            };
            assert_eq!(build(), build(), "FILTER-2, and a finished builder is empty");
        }
    }

    #[test]
    fn prefixes_pass_once_in_each_filter_and_short_keys_have_none() {
        let mut builder = builder(FilterPolicy::Bloom, 20.0, 3);
        for _ in 0..2 {
            for user in [&b"ab"[..], b"abc", b"abcd", b"abd"] {
                builder.add(user);
            }
            assert_eq!(builder.hashes.len(), 6);
            let filter = Filter::decode(&builder.finish()).unwrap();
            assert!([b"abc", b"abd"].iter().all(|prefix| filter.may_contain(prefix_hash(*prefix))));
            assert!(!filter.may_contain(prefix_hash(b"ab")));
            assert!(!filter.may_contain(prefix_hash(b"abe")));
        }
    }

    #[test]
    fn a_prefix_is_not_the_key_of_the_same_bytes() {
        assert_ne!(prefix_hash(b"user/"), key_hash(b"user/"));
    }

    #[test]
    fn unknown_kinds_are_refused() {
        for bytes in [&[][..], &[0], &[3], &[0; 70]] {
            assert!(Filter::decode(bytes).is_err());
        }
    }
}
