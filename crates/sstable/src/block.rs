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
//! Trailers lie in a column of the least width that the block needs. In memory a decoded block also
//! has a [`Mark`] for each entry, so that a search looks into one array before it touches an entry.
//!
//! # Invariants
//! - BLOCK-1: a [`Block`] was checked whole when it was decoded; reading it cannot fail.
//! - BLOCK-2: along a run `shared` never grows, and never exceeds the head's length.
//! - BLOCK-3: every entry starts below 2³², so that its offset fits a mark. (All but the last start
//!   below [`MAX_BLOCK_BYTES`](crate::MAX_BLOCK_BYTES).)
//! - BLOCK-4: in order of the entries, the words of their marks never fall.

use std::ops::Range;

use stratalog_base::Trailer;
use stratalog_base::codec::{Decoder, Malformed, put_u32, put_u64, put_varint};
use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::{KeyRef, Kind};

use crate::MAX_BLOCK_BYTES;

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

    /// Appends the block's contents to `out` and starts the next block.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>) {
        let base = self.trailers.iter().copied().min().expect("a block has entries");
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

/// What a search sees of an entry without touching it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The four bytes of the user key behind what all keys of the block share, as [`word`].
    pub(crate) word: u32,
    /// Where the entry starts in the block.
    offset: u32,
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

/// A decoded data block.
#[derive(Debug)]
pub(crate) struct Block {
    contents: Vec<u8>,
    marks: Box<[Mark]>,
    /// Leading bytes that all user keys of the block share.
    common_bytes: usize,
    base: u64,
    trailers_at: usize,
    trailer_mask: u64,
    trailer_bytes: usize,
    restart_interval: usize,
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

impl Block {
    /// Takes `contents` apart, checking all of it (BLOCK-1).
    pub(crate) fn decode(contents: Vec<u8>) -> Result<Block, Malformed> {
        let malformed = |offset, what| Malformed { offset, what };
        let Some((body, tail)) = contents.split_last_chunk::<TAIL_BYTES>() else {
            return Err(malformed(0, "shorter than a block's tail"));
        };
        let mut fields = Decoder::new(tail);
        let (base, count) = (fields.u64()?, fields.u32()? as usize);
        let restart_interval = usize::from(u16::from_le_bytes([fields.u8()?, fields.u8()?]));
        let (trailer_bytes, reserved) = (usize::from(fields.u8()?), fields.u8()?);
        if restart_interval == 0 || trailer_bytes > 8 || reserved != 0 {
            return Err(malformed(body.len(), "impossible block tail"));
        }
        let column = count.saturating_mul(trailer_bytes);
        let trailers_at = match body.len().checked_sub(column) {
            Some(at) if count > 0 && count <= at / MIN_ENTRY_BYTES => at,
            _ => return Err(malformed(body.len(), "impossible number of entries")),
        };
        let mut block = Block {
            base,
            trailers_at,
            trailer_mask: if trailer_bytes == 8 {
                u64::MAX
            } else {
                (1 << (8 * trailer_bytes)) - 1
            },
            trailer_bytes,
            restart_interval,
            marks: Box::default(),
            common_bytes: 0,
            contents,
        };
        block.marks = block.check_entries(count)?;
        block.fill_words();
        Ok(block)
    }

    /// Walks all entries and returns their marks, without words.
    fn check_entries(&self, count: usize) -> Result<Box<[Mark]>, Malformed> {
        let entries = &self.contents[..self.trailers_at];
        let mut marks = Vec::with_capacity(count);
        let (mut at, mut max_shared, mut run_left) = (0, 0, 0);
        for index in 0..count {
            let malformed = |what| Err(Malformed { offset: at, what });
            let offset = match u32::try_from(at) {
                Ok(offset)
                    if at < entries.len() && (at < MAX_BLOCK_BYTES || index + 1 == count) =>
                {
                    offset
                }
                _ => return malformed("entry starts out of range"), // BLOCK-3
            };
            let entry = Entry::decode(entries, at)?;
            let is_head = run_left == 0;
            if is_head {
                (run_left, max_shared) = (self.restart_interval, 0);
            }
            if entry.shared > max_shared {
                return malformed("key shares more than there is"); // BLOCK-2
            }
            let suffix = entry.value_at - entry.suffix_at;
            if entry.end > entries.len() || entry.shared + suffix > MAX_KEY_BYTES {
                return malformed("entry runs past the end");
            }
            let bits = self.base.checked_add(self.trailer_delta(index));
            match bits.and_then(Trailer::from_bits).map(Trailer::kind) {
                Some(Kind::Put) => {}
                Some(Kind::Delete) if entry.value_at == entry.end => {}
                Some(Kind::Delete) => return malformed("tombstone with a value"),
                None => return malformed("unknown kind of entry"),
            }
            max_shared = if is_head { suffix } else { entry.shared };
            run_left -= 1;
            marks.push(Mark { word: 0, offset });
            at = entry.end;
        }
        if at != entries.len() {
            return Err(Malformed { offset: at, what: "bytes that belong to no entry" });
        }
        Ok(marks.into())
    }

    fn fill_words(&mut self) {
        let last = self.len() - 1;
        let entry = self.entry(last);
        let (first, head) = (self.head_key(0), &self.head_key(last)[..entry.shared]);
        // Keys ascend: what the outermost share, all share.
        let mut common = common_prefix(first, head);
        if common == head.len() {
            common += common_prefix(&first[common..], self.suffix(&entry));
        }
        let mut marks = std::mem::take(&mut self.marks);
        let mut head = Entry::default();
        for (index, mark) in marks.iter_mut().enumerate() {
            let entry = self.entry_at(mark.offset as usize);
            if index.is_multiple_of(self.restart_interval) {
                head = entry;
            }
            mark.word = match common.checked_sub(entry.shared) {
                Some(skip) => word(self.suffix(&entry).get(skip..).unwrap_or_default()),
                // The bytes behind `common` begin in the head.
                None => {
                    let start = &self.suffix(&head)[common..entry.shared];
                    let bits = 8 * start.len().min(4) as u32;
                    let rest = word(self.suffix(&entry));
                    word(start) | rest.checked_shr(bits).unwrap_or(0)
                }
            };
        }
        self.marks = marks;
        self.common_bytes = common;
    }

    /// Number of entries, at least 1.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    #[inline]
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// How many leading bytes all user keys of the block share.
    #[inline]
    pub(crate) fn common_bytes(&self) -> usize {
        self.common_bytes
    }

    /// The bytes that all user keys of the block share.
    #[inline]
    pub(crate) fn common(&self) -> &[u8] {
        &self.head_key(0)[..self.common_bytes]
    }

    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Entry {
        self.entry_at(self.marks[index].offset as usize)
    }

    /// The entry that starts at `offset`.
    #[inline]
    pub(crate) fn entry_at(&self, offset: usize) -> Entry {
        Entry::decode(&self.contents, offset).expect("BLOCK-1")
    }

    #[inline]
    pub(crate) fn trailer(&self, index: usize) -> Trailer {
        Trailer::from_bits(self.base + self.trailer_delta(index)).expect("BLOCK-1")
    }

    #[inline]
    fn trailer_delta(&self, index: usize) -> u64 {
        // Reads up to seven bytes too many, which the tail provides, and masks them away.
        let at = self.trailers_at + index * self.trailer_bytes;
        let bytes = self.contents[at..].first_chunk::<8>().expect("the tail follows");
        u64::from_le_bytes(*bytes) & self.trailer_mask
    }

    /// The part of the user key that the entry holds itself.
    #[inline]
    pub(crate) fn suffix(&self, entry: &Entry) -> &[u8] {
        &self.contents[entry.suffix_at..entry.value_at]
    }

    #[inline]
    pub(crate) fn value(&self, entry: &Entry) -> &[u8] {
        &self.contents[entry.value_at..entry.end]
    }

    /// The whole user key of the head of `index`'s run.
    #[inline]
    pub(crate) fn head_key(&self, index: usize) -> &[u8] {
        self.suffix(&self.entry(index - index % self.restart_interval))
    }

    /// Heap and own bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Block>() + self.contents.capacity() + size_of_val(&*self.marks)
    }
}

#[cfg(test)]
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
        let block = Block::decode(encoded(2)).unwrap();
        let shared: Vec<_> = (0..block.len()).map(|i| block.entry(i).shared).collect();
        assert_eq!(
            (shared, block.head_key(1), block.head_key(2)),
            (vec![0, 3, 0], &b"ada"[..], &b"adb"[..])
        );
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let refused = |at: usize, byte: u8, what: &str| {
            let mut bytes = encoded(16);
            bytes[at] = byte;
            assert_eq!(Block::decode(bytes).unwrap_err().what, what);
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
        assert!((0..40).all(|len| Block::decode(encoded(16)[..len].to_vec()).is_err()));
    }
}
