//! Compression of blocks: what a table's writer packs, and its readers unpack.
//!
//! | code | packed contents |
//! |---:|---|
//! | 0 | as they are |
//! | 1 | their length (varint), an LZ4 block |
//! | 2 | their length (varint), a Zstd frame, which may name the table's dictionary |
//!
//! Contents are compressed once, and stored as they are if that does not make them an eighth smaller: where
//! Zstd gains little, LZ4 gains less, but for a few bytes of what is tiny. Only what Zstd may not store (PACK-1) is compressed again.
//!
//! # Invariants
//! - PACK-1: packed contents are at most 255 times longer once unpacked (the most that LZ4 can do), so a
//!   length that was made up costs no more memory than that. What Zstd would make smaller still is left
//!   to LZ4.
//! - PACK-2: the same contents in the same order give the same packed bytes (with one version of Zstd).

#[cfg(not(feature = "zstd"))]
mod no_zstd;
#[cfg(feature = "zstd")]
mod zstd;

use stratalog_base::codec::{Decoder, Malformed, put_varint};
use stratalog_base::key::MAX_VALUE_BYTES;

#[cfg(not(feature = "zstd"))]
use self::no_zstd as zstd;
use crate::options::Compression;

/// What compression has to save: this part of the contents.
const LEAST_GAIN: usize = 8;
/// The most that packed contents expand (PACK-1).
const MAX_EXPANSION: usize = 255;
/// Longer contents, which no data block has, are not compressed. (LZ4 ends at 2 GiB.)
const MAX_CONTENTS_BYTES: usize = MAX_VALUE_BYTES + (16 << 20);

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// Whether this build has Zstd.
pub(crate) use zstd::AVAILABLE as HAS_ZSTD;

/// Packs the blocks of one table.
#[derive(Debug)]
pub(crate) enum Packer {
    Plain,
    Lz4,
    Zstd(zstd::Encoder),
}

impl Packer {
    /// A packer for a new table. The options that `compression` is from are valid.
    pub(crate) fn new(compression: Compression) -> Packer {
        match compression {
            Compression::None => Packer::Plain,
            Compression::Lz4 => Packer::Lz4,
            Compression::Zstd { level } => {
                zstd::Encoder::new(level).map(Packer::Zstd).expect("options were validated")
            }
        }
    }

    /// Appends `contents`, compressed if that is worth it. Returns the code.
    pub(crate) fn pack(&mut self, out: &mut Vec<u8>, contents: &[u8]) -> u8 {
        let len = contents.len();
        if (1..=MAX_CONTENTS_BYTES).contains(&len) {
            let zstd = |encoder: &mut zstd::Encoder, out: &mut Vec<u8>| {
                append(out, len, zstd::bound(len), |to| encoder.compress(contents, to))
            };
            let lz4 = |out: &mut Vec<u8>| {
                let bound = lz4_flex::block::get_maximum_output_size(len);
                append(out, len, bound, |to| lz4_flex::block::compress_into(contents, to).ok())
            };
            let (code, gain) = match self {
                Packer::Plain => (PLAIN, Gain::Little),
                Packer::Lz4 => (LZ4, lz4(out)),
                Packer::Zstd(encoder) => match zstd(encoder, out) {
                    Gain::TooMuch => (LZ4, lz4(out)),
                    gain => (ZSTD, gain),
                },
            };
            if gain == Gain::Right {
                return code;
            }
        }
        out.extend_from_slice(contents);
        PLAIN
    }

    /// The dictionary that readers need, if there is one. From here on none is made.
    pub(crate) fn dictionary(&mut self) -> Option<&[u8]> {
        match self {
            Packer::Zstd(encoder) => encoder.dictionary(),
            Packer::Plain | Packer::Lz4 => None,
        }
    }
}

/// What compression makes of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gain {
    /// Less than [`LEAST_GAIN`].
    Little,
    Right,
    /// More than readers believe (PACK-1).
    TooMuch,
}

/// Appends `len` and what `compress` makes of that many bytes in no more than `bound`, if the gain is right.
fn append(
    out: &mut Vec<u8>,
    len: usize,
    bound: usize,
    compress: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Gain {
    let start = out.len();
    put_varint(out, len as u64);
    let body = out.len();
    out.resize(body + bound, 0);
    let written = compress(&mut out[body..]).unwrap_or(usize::MAX);
    let gain = match written {
        _ if written > len - len / LEAST_GAIN => Gain::Little,
        _ if written * MAX_EXPANSION < len => Gain::TooMuch, // PACK-1
        _ => Gain::Right,
    };
    out.truncate(if gain == Gain::Right { body + written } else { start });
    gain
}

/// Unpacks the blocks of one table.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    dictionary: Option<zstd::Dictionary>,
}

impl Unpacker {
    /// An unpacker for a table with this dictionary.
    pub(crate) fn new(dictionary: &[u8]) -> Result<Unpacker, Malformed> {
        match zstd::Dictionary::new(dictionary) {
            Some(dictionary) => Ok(Unpacker { dictionary: Some(dictionary) }),
            None => Err(Malformed { offset: 0, what: "not a dictionary of Zstd" }),
        }
    }

    /// The contents packed as `body` with this code; `Ok(None)` if they are there as they are.
    pub(crate) fn unpack(&self, code: u8, body: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        match code {
            PLAIN => Ok(None),
            LZ4 => unpack(body, |packed, contents| {
                lz4_flex::block::decompress_into(packed, contents).ok()
            }),
            ZSTD if HAS_ZSTD => unpack(body, |packed, contents| {
                zstd::decompress(packed, self.dictionary.as_ref(), contents)
            }),
            _ => Err(Malformed { offset: body.len() + 1, what: "unknown compression" }),
        }
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.dictionary.as_ref().map_or(0, zstd::Dictionary::memory_bytes)
    }
}

/// Takes the length of the contents, and has them unpacked from what follows.
fn unpack(
    body: &[u8],
    decompress: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut decoder = Decoder::new(body);
    let max = body.len().saturating_mul(MAX_EXPANSION).min(MAX_CONTENTS_BYTES);
    let len = decoder.varint_max(max)?; // PACK-1
    let mut contents = vec![0; len];
    match decompress(decoder.rest(), &mut contents) {
        Some(written) if written == len => Ok(Some(contents)),
        _ => Err(decoder.malformed("does not decompress to its length")),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Blocks of text with varied words, as a table of records might have.
    fn records(block: u32) -> Vec<u8> {
        let word = |i: u32| {
            ["amber", "basalt", "cobalt", "dolomite"][(i.wrapping_mul(7919) >> 7) as usize % 4]
        };
        let record = |i: u32| {
            let id = (block * 100 + i).wrapping_mul(0x9e37_79b9);
            format!("{{\"id\":{id},\"name\":\"{}\",\"kind\":\"{}\"}}", word(id), word(i))
        };
        (0..60).map(record).collect::<String>().into_bytes()
    }

    fn noise(len: u32) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(i).wrapping_mul(7919) >> 9) as u8).collect()
    }

    fn compressions() -> Vec<Compression> {
        let mut all = vec![Compression::None, Compression::Lz4];
        if HAS_ZSTD {
            all.extend([1, 3, 19].map(|level| Compression::Zstd { level }));
        }
        all
    }

    /// Packs all `blocks`; returns what came out, and the unpacker for it.
    fn packed(compression: Compression, blocks: &[Vec<u8>]) -> (Vec<(u8, Vec<u8>)>, Unpacker) {
        let mut packer = Packer::new(compression);
        let pack = |contents: &Vec<u8>| {
            let mut out = Vec::new();
            (packer.pack(&mut out, contents), out)
        };
        let packed = blocks.iter().map(pack).collect();
        let unpacker = match packer.dictionary() {
            Some(dictionary) => Unpacker::new(dictionary).expect("it was trained"),
            None => Unpacker::default(),
        };
        (packed, unpacker)
    }

    #[test]
    fn contents_round_trip_and_only_worthwhile_compression_is_kept() {
        let blocks =
            [vec![], b"x".to_vec(), noise(300), vec![5; 10_000], vec![6; 1 << 20], records(1)];
        for compression in compressions() {
            let (packed, unpacker) = packed(compression, &blocks);
            for (contents, (code, body)) in blocks.iter().zip(&packed) {
                assert!(body.len() <= contents.len());
                let unpacked = unpacker.unpack(*code, body).unwrap();
                assert_eq!(unpacked.as_ref().unwrap_or(body), contents);
            }
            let codes: Vec<u8> = packed.iter().map(|(code, _)| *code).collect();
            match compression {
                Compression::None => assert_eq!(codes, [0; 6]),
                Compression::Lz4 => assert_eq!(codes, [0, 0, 0, 1, 1, 1]),
                Compression::Zstd { .. } => assert_eq!(codes, [0, 0, 0, 1, 1, 2], "PACK-1"),
            }
        }
    }

    #[test]
    fn an_lz4_block_has_these_bytes() {
        let (packed, _) = packed(Compression::Lz4, &[vec![7; 40]]);
        assert_eq!(packed, [(1, b"\x28\x1f\x07\x01\x00\x0e\x60\x07\x07\x07\x07\x07\x07".to_vec())]);
    }

    #[test]
    fn a_length_that_was_made_up_is_refused_before_allocating() {
        let unpacker = Unpacker::default();
        for code in [LZ4, ZSTD] {
            let mut body = Vec::new();
            put_varint(&mut body, 1 << 40);
            body.extend_from_slice(&[0; 20]);
            let what = unpacker.unpack(code, &body).unwrap_err().what;
            let expected = if code == ZSTD && !HAS_ZSTD {
                "unknown compression"
            } else {
                "number exceeds its limit"
            };
            assert_eq!(what, expected); // PACK-1
        }
        assert!(unpacker.unpack(3, &[1, 2]).is_err());
    }

    #[cfg(feature = "zstd")]
    mod with_zstd {
        use super::*;

        const ZSTD_3: Compression = Compression::Zstd { level: 3 };

        #[test]
        fn a_dictionary_of_the_first_blocks_makes_the_others_smaller_and_is_needed() {
            let blocks: Vec<_> = (0..400).map(records).collect();
            let (packed, unpacker) = packed(ZSTD_3, &blocks);
            let size = |range: std::ops::Range<usize>| -> usize {
                packed[range].iter().map(|(_, body)| body.len()).sum()
            };
            assert!(size(390..400) * 20 < size(0..10) * 19, "{} {}", size(390..400), size(0..10));
            for (contents, (code, body)) in blocks.iter().zip(&packed) {
                assert_eq!(unpacker.unpack(*code, body).unwrap().as_ref(), Some(contents));
            }
            assert!(unpacker.memory_bytes() > 1000);
            let (code, body) = packed.last().unwrap();
            assert!(Unpacker::default().unpack(*code, body).is_err());
            assert!(Unpacker::new(b"any bytes").is_err());
        }

        #[test]
        fn what_zstd_gains_little_from_is_stored_as_it_is() {
            let tiny = vec![b"abcdefghabcdefghabcdef".to_vec()];
            assert_eq!(packed(Compression::Lz4, &tiny).0[0].0, LZ4);
            assert_eq!(packed(ZSTD_3, &tiny).0, [(PLAIN, tiny[0].clone())]);
        }

        #[test]
        fn the_same_blocks_give_the_same_bytes_and_few_blocks_have_no_dictionary() {
            let blocks: Vec<_> = (0..400).map(records).collect();
            assert_eq!(packed(ZSTD_3, &blocks).0, packed(ZSTD_3, &blocks).0); // PACK-2
            let mut packer = Packer::new(ZSTD_3);
            packer.pack(&mut Vec::new(), &blocks[0]);
            assert!(packer.dictionary().is_none());
            for contents in &blocks {
                packer.pack(&mut Vec::new(), contents);
            }
            assert!(packer.dictionary().is_none(), "it was asked for before");
        }
    }
}
