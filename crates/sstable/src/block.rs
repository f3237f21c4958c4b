//! The data block: a run of entries in order, and the columns that searches use.
//!
//! # Contents
//! With n entries and trailers w bytes wide:
//!
//! | part | bytes | field | meaning |
//! |---|---:|---|---|
//! | each entry | varint | shared | leading bytes of the user key taken from its run's head |
//! | | varint | suffix length | bytes of the user key that follow |
//! | | varint | value length | bytes of the value; 0 for a tombstone |
//! | | | suffix, value | |
//! | column | w × n | trailers | of each entry: trailer minus `base`, little-endian |
//! | tail | 8 | base | the smallest trailer of the block |
//! | | 4 | n | at least 1 |
//! | | 2 | restart interval | entries of a run, at least 1 |
//! | | 1 | w | 0 to 8 |
//! | | 1 | reserved | 0 |
//!
//! Entries 0, r, 2r … (r the restart interval) are **heads**: their key is whole. The others share
//! bytes with the head of their run, *not* with their predecessor. So any entry is decoded by itself,
//! a search inside a run is binary, and stepping back costs what stepping forward costs. Because keys
//! ascend, what they share with the head never grows along a run.
//!
//! Trailers lie in a column of the least width that the block needs.
//!
//! # In memory
//! A decoded block is one allocation, what a search touches first in front:
//!
//! | bytes | part |
//! |---:|---|
//! | 64 | count of handles, [`Header`]: one cache line |
//! | 4 × s | samples, if there are more than [`FEW`] entries: every [`SAMPLED`]th word but the first |
//! | 4 × n | words: four bytes of each user key, behind what all keys share |
//! | 4 × n | where each entry starts |
//! | w × n + 8 | trailers, as stored |
//! | | entries, as stored |
//!
//! So a search of few entries reads a few lines in a row, which are asked for together, and then one
//! entry. Among many, the samples lead to a stretch of [`SAMPLED`] entries, of which words, offsets and
//! trailers are asked for together.
//!
//! # Invariants
//! - BLOCK-1: a [`Block`] was checked whole when it was decoded; reading it cannot fail.
//! - BLOCK-2: along a run `shared` never grows, and never exceeds the head's length.
//! - BLOCK-3: every entry starts below 2³², so that its offset fits four bytes. (All but the last start
//!   below [`MAX_BLOCK_BYTES`](crate::MAX_BLOCK_BYTES).)
//! - BLOCK-4: in order of the entries, their words never fall.
//! - BLOCK-5: sample k, counted from 1, is the word of entry [`SAMPLED`] × k.

mod access;

use std::convert::Infallible;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use stratalog_base::Trailer;
use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::{KeyRef, Kind, SeqNo};

use crate::cache::Cached;
use crate::shared::Shared;
use crate::slab::Slabs;
use crate::{MAX_BLOCK_BYTES, ValueHandle};

/// Base, count, interval, width, reserved.
const TAIL_BYTES: usize = 8 + 4 + 2 + 1 + 1;
/// Three one-byte lengths.
const MIN_ENTRY_BYTES: usize = 3;

/// Collects entries and encodes them.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    restart_interval: usize,
    entries: Vec<u8>,
    trailers: Vec<u64>,
    /// Where the present run's head key lies in `entries`.
    head: Range<usize>,
}

impl BlockBuilder {
    pub(crate) fn new(restart_interval: usize) -> BlockBuilder {
        BlockBuilder { restart_interval, entries: Vec::new(), trailers: Vec::new(), head: 0..0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.trailers.is_empty()
    }

    /// What [`BlockBuilder::encode`] would add now, or a little more.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.entries.len() + self.trailers.len() * 8 + TAIL_BYTES
    }

    #[inline]
    pub(crate) fn add(&mut self, key: KeyRef<'_>, value: &[u8]) {
        assert!(u32::try_from(self.entries.len()).is_ok(), "BLOCK-3");
        let is_head = self.trailers.len().is_multiple_of(self.restart_interval);
        let shared =
            if is_head { 0 } else { common_prefix(&self.entries[self.head.clone()], key.user) };
        let suffix = &key.user[shared..];
        if (shared | suffix.len() | value.len()) < 0x80 {
            let lengths = [shared as u8, suffix.len() as u8, value.len() as u8];
            self.entries.extend_from_slice(&lengths);
        } else {
            for length in [shared, suffix.len(), value.len()] {
                put_varint(&mut self.entries, length as u64);
            }
        }
        let start = self.entries.len();
        self.entries.extend_from_slice(suffix);
        self.entries.extend_from_slice(value);
        self.trailers.push(key.trailer.bits());
        if is_head {
            self.head = start..start + suffix.len();
        }
    }

    /// Appends the block's contents to `out` and starts the next block. Returns its sequence range.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>) -> RangeInclusive<SeqNo> {
        let base = self.trailers.iter().copied().min().expect("a block has entries");
        let newest = self.trailers.iter().copied().max().expect("a block has entries");
        let spread = self.trailers.iter().fold(0, |bits, trailer| bits | (trailer - base));
        let width = (64 - spread.leading_zeros() as usize).div_ceil(8);
        out.reserve(self.entries.len() + self.trailers.len() * width + TAIL_BYTES);
        out.extend_from_slice(&self.entries);
        for trailer in &self.trailers {
            out.extend_from_slice(&(trailer - base).to_le_bytes()[..width]);
        }
        put_u64(out, base);
        put_u32(out, self.trailers.len() as u32);
        out.extend_from_slice(&(self.restart_interval as u16).to_le_bytes());
        out.extend_from_slice(&[width as u8, 0]);
        self.entries.clear();
        self.trailers.clear();
        let seq = |bits| Trailer::from_bits(bits).expect("it was a trailer").seq();
        seq(base)..=seq(newest)
    }
}

/// Equal leading bytes.
#[inline]
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let words = a_words.iter().zip(b_words).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

/// The first four bytes as a number that orders as they do; missing ones count as zero.
#[inline]
pub(crate) fn word(bytes: &[u8]) -> u32 {
    match bytes.first_chunk::<4>() {
        Some(chunk) => u32::from_be_bytes(*chunk),
        None => {
            bytes.iter().enumerate().fold(0, |word, (i, &b)| word | u32::from(b) << (24 - 8 * i))
        }
    }
}

/// A decoded data block. See the module page for what lies behind the header.
pub(crate) type Block = Shared<Header>;

/// What every search of a block needs first. Packed, so that it fills the line that [`Shared`] begins.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub struct Header {
    base: u64,
    trailer_mask: u64,
    count: u32,
    /// Leading bytes that all user keys of the block share.
    common_bytes: u32,
    /// Where the words start behind the header, and the entries.
    words_at: u32,
    entries_at: u32,
    restart_interval: u16,
    trailer_bytes: u8,
    /// The first bytes of what all user keys share: how many of `common_bytes`, and which.
    known_bytes: u8,
    known: [u8; KNOWN_BYTES],
}

/// As many as fit in the header's cache line.
const KNOWN_BYTES: usize = 8;
/// What a decoded block may take in memory: what lies around it fits beside it in 4 GiB.
const MAX_MEMORY_BYTES: u32 = u32::MAX - 4096;
/// The most entries whose words are all read by a search.
pub(crate) const FEW: usize = 64;
/// Entries from one sample to the next.
pub(crate) const SAMPLED: usize = 32;
/// Zeros behind the trailers' column, so that each trailer can be read as eight bytes.
const COLUMN_ROOM: usize = 8;

/// With what [`Shared`] keeps in front of it, one cache line.
const _: () = assert!(size_of::<Header>() == 64 - 20);

/// How many samples a block of `count` entries has.
fn samples_of(count: usize) -> usize {
    if count <= FEW { 0 } else { (count - 1) / SAMPLED }
}

/// Where the parts of an entry lie in its block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) shared: usize,
    pub(crate) suffix_at: usize,
    pub(crate) value_at: usize,
    pub(crate) end: usize,
}

impl Entry {
    /// The entry at `offset`, whole or an error.
    #[inline]
    fn decode(bytes: &[u8], offset: usize) -> Result<Entry, Malformed> {
        // One comparison tells whether all three lengths are single bytes.
        if let Some(&[a, b, c]) = bytes[offset..].first_chunk::<3>()
            && (a | b | c) < 0x80
        {
            let suffix_at = offset + 3;
            let value_at = suffix_at + usize::from(b);
            let end = value_at + usize::from(c);
            return Ok(Entry { shared: a.into(), suffix_at, value_at, end });
        }
        Entry::decode_long(bytes, offset)
    }

    #[inline(never)]
    fn decode_long(bytes: &[u8], offset: usize) -> Result<Entry, Malformed> {
        let mut decoder = Decoder::new(&bytes[offset..]);
        let mut varint =
            |max| decoder.varint_max(max).map_err(|e| Malformed { offset: offset + e.offset, ..e });
        let shared = varint(MAX_KEY_BYTES)?;
        let suffix = varint(MAX_KEY_BYTES)?;
        let value = varint(MAX_VALUE_BYTES)?;
        let suffix_at = offset + decoder.offset();
        let value_at = suffix_at + suffix;
        Ok(Entry { shared, suffix_at, value_at, end: value_at + value })
    }
}

/// The parts of a block's contents, by its tail.
struct Parts<'a> {
    entries: &'a [u8],
    /// The trailers' column, and at least eight bytes behind it.
    column: &'a [u8],
    header: Header,
}

impl<'a> Parts<'a> {
    fn decode(contents: &'a [u8]) -> Result<Parts<'a>, Malformed> {
        let malformed = |offset, what| Malformed { offset, what };
        let Some((body, tail)) = contents.split_last_chunk::<TAIL_BYTES>() else {
            return Err(malformed(0, "shorter than a block's tail"));
        };
        let mut fields = Decoder::new(tail);
        let (base, count) = (fields.u64()?, fields.u32()?);
        let restart_interval = u16::from_le_bytes([fields.u8()?, fields.u8()?]);
        let (trailer_bytes, reserved) = (fields.u8()?, fields.u8()?);
        if restart_interval == 0 || trailer_bytes > 8 || reserved != 0 {
            return Err(malformed(body.len(), "impossible block tail"));
        }
        let column_bytes = (count as usize).saturating_mul(trailer_bytes.into());
        let entry_bytes = match body.len().checked_sub(column_bytes) {
            Some(bytes) if count > 0 && count as usize <= bytes / MIN_ENTRY_BYTES => bytes,
            _ => return Err(malformed(body.len(), "impossible number of entries")),
        };
        let header = Header {
            base,
            trailer_mask: match trailer_bytes {
                8 => u64::MAX,
                width => (1 << (8 * width)) - 1,
            },
            count,
            common_bytes: 0,
            words_at: 0,
            entries_at: 0,
            restart_interval,
            trailer_bytes,
            known_bytes: 0,
            known: [0; KNOWN_BYTES],
        };
        Ok(Parts { entries: &contents[..entry_bytes], column: &contents[entry_bytes..], header })
    }

    /// Walks all entries and notes their offsets.
    fn check_entries(&self, offsets: &mut [[u8; 4]]) -> Result<(), Malformed> {
        let entries = self.entries;
        let (mut at, mut max_shared, mut run_left) = (0, 0, 0);
        let last = offsets.len() - 1;
        for (index, offset) in offsets.iter_mut().enumerate() {
            let malformed = |what| Err(Malformed { offset: at, what });
            if at >= entries.len() || (at >= MAX_BLOCK_BYTES && index != last) {
                return malformed("entry starts out of range"); // BLOCK-3
            }
            let entry = Entry::decode(entries, at)?;
            let is_head = run_left == 0;
            if is_head {
                (run_left, max_shared) = (self.header.restart_interval, 0);
            }
            if entry.shared > max_shared {
                return malformed("key shares more than there is"); // BLOCK-2
            }
            let suffix = entry.value_at - entry.suffix_at;
            if entry.end > entries.len() || entry.shared + suffix > MAX_KEY_BYTES {
                return malformed("entry runs past the end");
            }
            let bits = self.header.base.checked_add(self.header.delta(self.column, index));
            match bits.and_then(Trailer::from_bits).map(Trailer::kind) {
                Some(Kind::Put) => {}
                // So that whoever meets the entry can rely on its handle (BLOCK-1).
                Some(Kind::Separated) => {
                    ValueHandle::decode(&entries[entry.value_at..entry.end])?;
                }
                Some(Kind::Delete) if entry.value_at == entry.end => {}
                Some(Kind::Delete) => return malformed("tombstone with a value"),
                None => return malformed("unknown kind of entry"),
            }
            max_shared = if is_head { suffix } else { entry.shared };
            run_left -= 1;
            *offset = (at as u32).to_ne_bytes();
            at = entry.end;
        }
        if at != entries.len() {
            return Err(Malformed { offset: at, what: "bytes that belong to no entry" });
        }
        Ok(())
    }

    /// What all keys share, and the word of each behind it. The entries have been checked; that keys share as much
    /// and that words ascend is checked here.
    fn find_words(
        &self,
        offsets: &[[u8; 4]],
        words: &mut [[u8; 4]],
    ) -> Result<&'a [u8], Malformed> {
        let entry_at = |index: usize| {
            let offset = u32::from_ne_bytes(offsets[index]) as usize;
            Entry::decode(self.entries, offset).expect("BLOCK-1")
        };
        let suffix = |entry: &Entry| &self.entries[entry.suffix_at..entry.value_at];
        let last = offsets.len() - 1;
        let interval = usize::from(self.header.restart_interval);
        let (first, entry) = (suffix(&entry_at(0)), entry_at(last));
        let last_head = &suffix(&entry_at(last - last % interval))[..entry.shared];
        // Keys ascend: what the outermost share, all share.
        let mut common = common_prefix(first, last_head);
        if common == last_head.len() {
            common += common_prefix(&first[common..], suffix(&entry));
        }
        let (mut head, mut last_word) = (Entry::default(), 0);
        for (index, out) in words.iter_mut().enumerate() {
            let entry = entry_at(index);
            if index.is_multiple_of(interval) {
                head = entry;
            }
            let found = match common.checked_sub(entry.shared) {
                Some(skip) => word(suffix(&entry).get(skip..).unwrap_or_default()),
                // The bytes behind `common` begin in the head.
                None => {
                    let start = &suffix(&head)[common..entry.shared];
                    let bits = 8 * start.len().min(4) as u32;
                    word(start) | word(suffix(&entry)).checked_shr(bits).unwrap_or(0)
                }
            };
            // What it shares beyond `common` is its head's, which shares nothing.
            let starts_right = common.checked_sub(entry.shared).is_none_or(|skip| {
                suffix(&entry).get(..skip) == Some(&first[entry.shared..common])
            });
            if !starts_right || found < last_word {
                let offset = u32::from_ne_bytes(offsets[index]) as usize;
                return Err(Malformed { offset, what: "keys do not ascend" }); // BLOCK-4
            }
            last_word = found;
            *out = found.to_ne_bytes();
        }
        Ok(&first[..common])
    }
}

impl Header {
    /// The delta of trailer `index` in `column`. Reads up to seven bytes too many and masks them away.
    #[inline]
    fn delta(&self, column: &[u8], index: usize) -> u64 {
        let at = index * usize::from(self.trailer_bytes);
        let bytes = column[at..].first_chunk::<8>().expect("eight bytes follow the column");
        u64::from_le_bytes(*bytes) & self.trailer_mask
    }
}

impl Block {
    /// Takes `contents` apart, checking all of it (BLOCK-1).
    pub(crate) fn decode(contents: &[u8]) -> Result<Block, Malformed> {
        Block::decode_in(None, contents)
    }

    /// The same into a cell of `slabs`, if that has one.
    pub(crate) fn decode_in(
        slabs: Option<&Arc<Slabs>>,
        contents: &[u8],
    ) -> Result<Block, Malformed> {
        let parts = Parts::decode(contents)?;
        let count = parts.header.count as usize;
        let column_bytes = count * usize::from(parts.header.trailer_bytes);
        let words_at = 4 * samples_of(count);
        let entries_at = words_at + 2 * 4 * count + column_bytes + COLUMN_ROOM;
        let len = u32::try_from(entries_at + parts.entries.len()).ok();
        let Some(len) = len.filter(|len| *len <= MAX_MEMORY_BYTES) else {
            return Err(Malformed { offset: 0, what: "block exceeds 4 GiB" });
        };
        let header =
            Header { words_at: words_at as u32, entries_at: entries_at as u32, ..parts.header };
        Shared::build_in(slabs, header, len, |header, bytes| {
            let (samples, rest) = bytes.split_at_mut(words_at);
            let (words, rest) = rest.split_at_mut(4 * count);
            let (offsets, rest) = rest.split_at_mut(4 * count);
            let (column, rest) = rest.split_at_mut(column_bytes + COLUMN_ROOM);
            let (words, offsets) = (words.as_chunks_mut().0, offsets.as_chunks_mut().0);
            parts.check_entries(offsets)?;
            let common = parts.find_words(offsets, words)?;
            let sampled = words.iter().step_by(SAMPLED).skip(1); // BLOCK-5
            samples.as_chunks_mut().0.iter_mut().zip(sampled).for_each(|(to, word)| *to = *word);
            column[..column_bytes].copy_from_slice(&parts.column[..column_bytes]);
            rest.copy_from_slice(parts.entries);
            let known = common.len().min(KNOWN_BYTES);
            header.known[..known].copy_from_slice(&common[..known]);
            (header.known_bytes, header.common_bytes) = (known as u8, common.len() as u32);
            Ok(())
        })
    }
}

impl Cached for Header {
    // Header, words, offsets and trailers of some forty entries.
    const PREFETCH_LINES: usize = 8;

    fn memory_bytes(block: &Block) -> usize {
        block.allocated_bytes()
    }

    fn moved(block: &Block, slabs: &Arc<Slabs>) -> Option<Block> {
        let bytes = block.bytes();
        let copied = Shared::build_in(Some(slabs), **block, bytes.len() as u32, |_, copy| {
            copy.copy_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
        copied.ok()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn encoded(restart_interval: usize) -> Vec<u8> {
        let mut builder = BlockBuilder::new(restart_interval);
        builder.add(KeyRef::new(b"ada", 9, Kind::Delete), b"");
        builder.add(KeyRef::new(b"ada", 3, Kind::Put), b"1815");
        builder.add(KeyRef::new(b"adb", 4, Kind::Put), b"x");
        let mut out = Vec::new();
        builder.encode(&mut out);
        assert!(builder.is_empty());
        out
    }

    #[test]
    fn a_block_has_these_bytes() {
        let entries = b"\x00\x03\x00ada\x03\x00\x041815\x02\x01\x01bx";
        let trailers = b"\xff\x05\x00\x00\x00\x01";
        let tail = b"\x01\x03\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x10\x00\x02\x00";
        assert_eq!(encoded(16), [&entries[..], trailers, tail].concat());
    }

    #[test]
    fn runs_start_with_a_whole_key() {
        let block = Block::decode(&encoded(2)).unwrap();
        let shared: Vec<_> = (0..block.len()).map(|i| block.entry(i).shared).collect();
        assert_eq!(
            (shared, block.head_key(1), block.head_key(2)),
            (vec![0, 3, 0], &b"ada"[..], &b"adb"[..])
        );
    }

    #[test]
    fn keys_that_do_not_share_what_the_outermost_share_are_refused() {
        for keys in [["ab0", "x", "zz", "zzk", "ab1"], ["ab0", "ab9", "ab5", "ab6", "abx"]] {
            let mut builder = BlockBuilder::new(2);
            keys.iter().for_each(|key| builder.add(KeyRef::new(key.as_bytes(), 1, Kind::Put), b""));
            let mut out = Vec::new();
            builder.encode(&mut out);
            let refused = Block::decode(&out).map(|_| ()).unwrap_err();
            assert_eq!(refused.what, "keys do not ascend", "BLOCK-4");
        }
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let refused = |at: usize, byte: u8, what: &str| {
            let mut bytes = encoded(16);
            bytes[at] = byte;
            assert_eq!(Block::decode(&bytes).unwrap_err().what, what);
        };
        refused(6, 4, "key shares more than there is"); // BLOCK-2
        refused(13, 4, "key shares more than there is");
        refused(15, 90, "entry runs past the end");
        refused(8, 0x80, "entry runs past the end");
        refused(8, 0xff, "entry runs past the end");
        refused(2, 1, "tombstone with a value");
        refused(18, 7, "unknown kind of entry");
        refused(32, 200, "impossible number of entries");
        refused(36, 0, "impossible block tail");
        refused(38, 9, "impossible block tail");
        refused(39, 1, "impossible block tail");
        assert!((0..40).all(|len| Block::decode(&encoded(16)[..len]).is_err()));
    }
}
