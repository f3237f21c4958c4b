//! The Bloom filter: reads one cache line for each probe.
//!
//! It is cut into lines of 64 bytes. A key's hash chooses one line and a few bits in it, so a probe
//! costs one cache miss. At 10 bits for each key about 1 % of absent keys pass.
//!
//! # Body
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

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u64; 8]);

/// See the module page.
#[derive(Debug)]
pub(crate) struct Bloom {
    lines: Box<[Line]>,
    probes: u8,
}

impl Bloom {
    /// The body of a filter of `bits_per_key` bits for each of `hashes`.
    pub(crate) fn build(hashes: &[u64], bits_per_key: f64) -> Vec<u8> {
        let bits = (hashes.len() as f64 * bits_per_key) as usize;
        let count = bits.div_ceil(LINE_BYTES * 8).max(1);
        // ln 2 × bits is best for one large filter; lines fill unevenly and want a little less.
        let probes = ((bits_per_key * 0.6).round() as u8).clamp(1, MAX_PROBES);
        let mut lines = vec![Line([0; 8]); count];
        for &hash in hashes {
            let line = &mut lines[line_index(hash, count)].0;
            for bit in bits_of(hash, probes) {
                line[bit / 64] |= 1 << (bit % 64);
            }
        }
        let mut body = Vec::with_capacity(count * LINE_BYTES + 2);
        for word in lines.iter().flat_map(|line| line.0) {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.push(probes);
        body
    }

    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let line = &self.lines[line_index(hash, self.lines.len())].0;
        // All of them: the line is here, and a branch for each bit would be guessed wrong.
        bits_of(hash, self.probes).fold(1, |set, bit| set & line[bit / 64] >> (bit % 64)) & 1 == 1
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Bloom, Malformed> {
        let malformed = |what| Err(Malformed { offset: body.len(), what });
        let Some((&probes, lines)) = body.split_last() else {
            return malformed("empty Bloom filter");
        };
        let (lines, rest) = lines.as_chunks::<LINE_BYTES>();
        if lines.is_empty() || !rest.is_empty() || u32::try_from(lines.len()).is_err() {
            return malformed("Bloom filter is not a whole number of lines");
        }
        if !(1..=MAX_PROBES).contains(&probes) {
            return malformed("impossible number of probes");
        }
        let lines = lines.iter().map(|line| {
            let (words, _) = line.as_chunks::<8>();
            Line(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
        });
        Ok(Bloom { lines: lines.collect(), probes })
    }
}

#[inline]
fn line_index(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
}

#[inline]
fn bits_of(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    let mut word = hash as u32;
    (0..probes).map(move |_| {
        let bit = word >> 23;
        word = word.wrapping_mul(GOLDEN);
        bit as usize
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bloom_filter_has_these_bits() {
        let body = Bloom::build(&[0x691d_4463_952c_802f], 10.0);
        let set = (0..512).filter(|bit| body[bit / 8] >> (bit % 8) & 1 == 1);
        assert_eq!(set.collect::<Vec<_>>(), [92, 134, 195, 281, 298, 403]);
        assert_eq!((body.len(), body[64]), (65, 6));
    }

    #[test]
    fn malformed_bloom_filters_are_refused() {
        for bytes in [&[][..], &[6], &[0; 64], &[0; 65], &[17; 65], &[6; 66]] {
            assert!(Bloom::decode(bytes).is_err());
        }
    }
}
