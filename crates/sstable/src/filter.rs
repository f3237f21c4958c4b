//! The filter: tells most absent user keys apart by reading one cache line.
//!
//! A Bloom filter cut into lines of 64 bytes. A key's hash chooses one line and a few bits in it, so
//! a probe costs one cache miss. At 10 bits for each key about 1 % of absent keys pass.
//!
//! # Contents of the filter block
//! | offset | bytes | field | meaning |
//! |---:|---:|---|---|
//! | 0 | 64 × n | lines | each 512 bits; bit b is bit b mod 8 of byte b / 8 |
//! | 64 × n | 1 | probes | bits set for each key, 1 to 16 |
//!
//! With h the key's hash, the line is `((h >> 32) × n) >> 32`; probe i is the top nine bits of
//! `(h mod 2³²) × GOLDENⁱ mod 2³²`.

use stratalog_base::codec::Malformed;

const LINE_BYTES: usize = 64;
const MAX_PROBES: u8 = 16;
/// 2³² divided by the golden ratio: spreads one word of hash over any number of probes.
const GOLDEN: u32 = 0x9e37_79b9;

/// The hash of a user key that filters and blocks are searched by: XXH3, 64 bits.
///
/// Computed once for a read and passed to [`crate::Table::get`] of each table on the way.
#[inline]
pub fn key_hash(user: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(user)
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u64; 8]);

/// The filter of an open table.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: Box<[Line]>,
    probes: u8,
}

impl Filter {
    /// A filter of `bits_per_key` bits for each of `hashes`.
    pub(crate) fn build(hashes: &[u64], bits_per_key: usize) -> Filter {
        let count = (hashes.len() * bits_per_key).div_ceil(LINE_BYTES * 8).max(1);
        // ln 2 × bits is best for one large filter; lines fill unevenly and want a little less.
        let probes = ((bits_per_key as f64 * 0.6).round() as u8).clamp(1, MAX_PROBES);
        let mut filter = Filter { lines: vec![Line([0; 8]); count].into(), probes };
        for &hash in hashes {
            let line = filter.line_index(hash);
            for bit in bits(hash, probes) {
                filter.lines[line].0[bit / 64] |= 1 << (bit % 64);
            }
        }
        filter
    }

    /// Whether the key with this hash may be in the table; `false` is certain.
    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let line = &self.lines[self.line_index(hash)].0;
        bits(hash, self.probes).all(|bit| line[bit / 64] >> (bit % 64) & 1 == 1)
    }

    #[inline]
    fn line_index(&self, hash: u64) -> usize {
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }

    /// The contents of the filter block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.memory_bytes() + 1);
        for word in self.lines.iter().flat_map(|line| line.0) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.push(self.probes);
        out
    }

    pub(crate) fn decode(contents: &[u8]) -> Result<Filter, Malformed> {
        let malformed = |what| Err(Malformed { offset: contents.len(), what });
        let Some((&probes, lines)) = contents.split_last() else {
            return malformed("empty filter");
        };
        let (lines, rest) = lines.as_chunks::<LINE_BYTES>();
        if lines.is_empty() || !rest.is_empty() || u32::try_from(lines.len()).is_err() {
            return malformed("filter is not a whole number of lines");
        }
        if !(1..=MAX_PROBES).contains(&probes) {
            return malformed("impossible number of probes");
        }
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let lines = lines.iter().map(|line| {
            let (words, _) = line.as_chunks::<8>();
            Line(std::array::from_fn(|i| word(&words[i])))
        });
        Ok(Filter { lines: lines.collect(), probes })
    }
}

#[inline]
fn bits(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    let mut word = hash as u32;
    (0..probes).map(move |_| {
        let bit = word >> 23;
        word = word.wrapping_mul(GOLDEN);
        bit as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_passes_and_few_others_do() {
        let hash = |i: u64| key_hash(&i.to_le_bytes());
        for (bits, worst) in [(5, 0.12), (10, 0.012), (16, 0.002)] {
            let hashes: Vec<u64> = (0..100_000).map(hash).collect();
            let built = Filter::build(&hashes, bits);
            let filter = Filter::decode(&built.encode()).unwrap();
            assert!(hashes.iter().all(|&h| filter.may_contain(h)));
            let passed = (100_000..300_000).filter(|&i| filter.may_contain(hash(i))).count();
            let rate = passed as f64 / 200_000.0;
            assert!(rate <= worst, "{bits} bits a key let {rate} through");
        }
    }

    #[test]
    fn a_filter_has_these_bits() {
        let hash = key_hash(b"ada");
        assert_eq!(hash, 0x691d4463952c802f);
        let encoded = Filter::build(&[hash], 10).encode();
        let set = (0..512).filter(|bit| encoded[bit / 8] >> (bit % 8) & 1 == 1);
        assert_eq!(set.collect::<Vec<_>>(), [92, 134, 195, 281, 298, 403]);
        assert_eq!((encoded.len(), encoded[64]), (65, 6));
    }

    #[test]
    fn malformed_filters_are_refused() {
        for bytes in [&[][..], &[6], &[0; 64], &[0; 65], &[17; 65], &[6; 66]] {
            assert!(Filter::decode(bytes).is_err());
        }
    }
}
