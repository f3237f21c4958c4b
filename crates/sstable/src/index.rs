//! The index: which data block may hold a key, and where each block lies.
//!
//! # Contents of the index block
//! | part | bytes | field | meaning |
//! |---|---:|---|---|
//! | start | varint | n | data blocks, at least 1 |
//! | each block | varint | stored bytes | the block's length with its frame |
//! | | varint | 2 × u + f | u: length of the separator; f: 1 if a trailer follows |
//! | | u | separator | a lower bound of the block's user keys |
//! | | 8 if f | trailer | of the block's first entry, if its user key began in an earlier block |
//!
//! Data blocks lie one behind another, the first behind the magic number, so lengths are offsets.
//!
//! A separator is the shortest prefix of the block's first user key that exceeds the last one before
//! it; that of the first block is empty. Where two blocks share a user key, it is that whole key and
//! the trailer says from which version on.
//!
//! # Invariants
//! - INDEX-1: separators ascend strictly in internal order; one without a trailer stands before all
//!   versions of its user key.
//! - INDEX-2: every entry of a block is ≥ its separator and < the next block's.

use std::cmp::Ordering;
use std::ops::Range;

use stratalog_base::codec::{Decoder, Malformed, put_u64, put_varint};
use stratalog_base::key::MAX_KEY_BYTES;
use stratalog_base::{KeyRef, Trailer};

use crate::block::common_prefix;
use crate::footer::MAGIC;
use crate::frame::FRAME_BYTES;

/// Encodes the index while blocks are written.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    blocks: u64,
    entries: Vec<u8>,
    /// The separator of the block being built.
    user: Vec<u8>,
    trailer: Option<Trailer>,
}

impl IndexBuilder {
    /// Notes that the block being built starts with `first`, behind an entry of `last_user`.
    pub(crate) fn start_block(&mut self, last_user: &[u8], first: KeyRef<'_>) {
        self.user.clear();
        if last_user == first.user {
            self.user.extend_from_slice(first.user);
            self.trailer = Some(first.trailer);
        } else {
            let len = common_prefix(last_user, first.user) + 1;
            self.user.extend_from_slice(&first.user[..len]);
            self.trailer = None;
        }
    }

    /// Notes the stored length of the block that was being built.
    pub(crate) fn end_block(&mut self, stored_bytes: usize) {
        self.blocks += 1;
        put_varint(&mut self.entries, stored_bytes as u64);
        put_varint(
            &mut self.entries,
            (self.user.len() as u64) << 1 | u64::from(self.trailer.is_some()),
        );
        self.entries.extend_from_slice(&self.user);
        if let Some(trailer) = self.trailer {
            put_u64(&mut self.entries, trailer.bits());
        }
    }

    /// The contents of the index block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + 10);
        put_varint(&mut out, self.blocks);
        out.extend_from_slice(&self.entries);
        out
    }
}

/// The index of an open table.
///
/// Searched by the eight bytes of each separator that follow what all separators have in common;
/// whole separators are compared only where those are equal.
#[derive(Debug)]
pub(crate) struct Index {
    contents: Vec<u8>,
    /// Where in `contents` each separator starts, with its length and flag.
    separators: Vec<u32>,
    /// The file offset of each block, and of the end of the last.
    offsets: Vec<u64>,
    /// Equal leading bytes of all separators but the first.
    common: Vec<u8>,
    /// Of each separator but the first, the bytes behind `common`, as [`word`].
    words: Vec<u64>,
}

impl Index {
    pub(crate) fn decode(contents: Vec<u8>) -> Result<Index, Malformed> {
        let mut decoder = Decoder::new(&contents);
        if u32::try_from(contents.len()).is_err() {
            return Err(decoder.malformed("index exceeds 4 GiB"));
        }
        let count = decoder.varint_max(contents.len() / 2)?; // an entry is at least two bytes
        // Almost every entry is at least four bytes, so this reserves what is needed and no more.
        let capacity = count.min(contents.len() / 4);
        let mut separators = Vec::with_capacity(capacity);
        let mut offsets = Vec::with_capacity(capacity + 1);
        let mut offset = MAGIC.len() as u64;
        offsets.push(offset);
        let mut previous: Option<KeyRef<'_>> = None;
        for _ in 0..count {
            let at = decoder.offset();
            let malformed = |what| Err(Malformed { offset: at, what });
            let stored = decoder.varint()?;
            if stored <= FRAME_BYTES as u64 {
                return malformed("impossible length of a block");
            }
            offset = match offset.checked_add(stored) {
                Some(end) => end,
                None => return malformed("impossible length of a block"),
            };
            offsets.push(offset);
            separators.push(decoder.offset() as u32);
            let separator = take_separator(&mut decoder)?;
            match previous {
                None if !separator.user.is_empty() || separator.trailer != Trailer::NEWEST => {
                    return malformed("the first separator is not empty");
                }
                Some(previous) if previous >= separator => {
                    return malformed("separators do not ascend"); // INDEX-1
                }
                _ => previous = Some(separator),
            }
        }
        decoder.finish()?;
        if count == 0 {
            return Err(decoder.malformed("no data blocks"));
        }
        let mut index =
            Index { contents, separators, offsets, common: Vec::new(), words: Vec::new() };
        index.fill_words();
        Ok(index)
    }

    fn fill_words(&mut self) {
        if self.len() == 1 {
            return;
        }
        // Separators ascend: what the outermost share, all share.
        let (first, last) = (self.separator(1).user, self.separator(self.len() - 1).user);
        let common = first[..common_prefix(first, last)].to_vec();
        self.words =
            (1..self.len()).map(|i| word(&self.separator(i).user[common.len()..])).collect();
        self.common = common;
    }

    /// Number of data blocks.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.separators.len()
    }

    /// The lower bound of block `index`.
    pub(crate) fn separator(&self, index: usize) -> KeyRef<'_> {
        let mut decoder = Decoder::new(&self.contents[self.separators[index] as usize..]);
        take_separator(&mut decoder).expect("checked by decode")
    }

    /// The file range of block `index`, frame included.
    #[inline]
    pub(crate) fn range(&self, index: usize) -> Range<u64> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// Where the data blocks end.
    pub(crate) fn data_end(&self) -> u64 {
        *self.offsets.last().expect("at least one block")
    }

    /// The block that holds `target` if any does: the last one whose separator is ≤ `target`.
    #[inline]
    pub(crate) fn find(&self, target: KeyRef<'_>) -> usize {
        let start = &target.user[..target.user.len().min(self.common.len())];
        match start.cmp(&self.common) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.len() - 1,
            Ordering::Equal => {}
        }
        let wanted = word(&target.user[self.common.len()..]);
        let mut block = self.words.partition_point(|&word| word < wanted);
        // Ties: one prefix that stands out leaves the words of all others alike.
        let mut end = block + self.words[block..].partition_point(|&word| word == wanted);
        while block < end {
            let middle = block.midpoint(end);
            if self.separator(middle + 1) <= target {
                block = middle + 1;
            } else {
                end = middle;
            }
        }
        block
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.contents.capacity()
            + self.separators.capacity() * 4
            + (self.offsets.capacity() + self.words.capacity()) * 8
            + self.common.capacity()
    }
}

fn take_separator<'a>(decoder: &mut Decoder<'a>) -> Result<KeyRef<'a>, Malformed> {
    let start = decoder.offset();
    let head = decoder.varint_max(MAX_KEY_BYTES << 1 | 1)?;
    let user = decoder.take(head >> 1)?;
    let trailer = match head & 1 {
        0 => Trailer::NEWEST,
        _ => Trailer::from_bits(decoder.u64()?)
            .ok_or(Malformed { offset: start, what: "unknown kind of entry" })?,
    };
    Ok(KeyRef { user, trailer })
}

/// The first eight bytes as a number that orders as they do; missing ones count as zero.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(padded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stratalog_base::Kind;

    fn encoded() -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        builder.end_block(100);
        builder.start_block(b"ada", KeyRef::new(b"adder", 5, Kind::Put));
        builder.end_block(300);
        builder.start_block(b"adder", KeyRef::new(b"adder", 3, Kind::Put));
        builder.end_block(50);
        builder.encode()
    }

    #[test]
    fn an_index_has_these_bytes() {
        let first = b"\x03\x64\x00";
        let shortest_prefix = b"\xac\x02\x06add";
        let same_key = b"\x32\x0badder\x01\x03\x00\x00\x00\x00\x00\x00";
        assert_eq!(encoded(), [&first[..], shortest_prefix, same_key].concat());
    }

    #[test]
    fn a_key_is_found_in_the_last_block_that_starts_before_it() {
        // INDEX-2
        let index = Index::decode(encoded()).unwrap();
        assert_eq!((index.range(0), index.range(2)), (8..108, 408..458));
        for (user, seq, block) in [
            (&b""[..], 9, 0),
            (b"ada", 9, 0),
            (b"adcx", 9, 0),
            (b"add", 9, 1),
            (b"adder", 9, 1),
            (b"adder", 4, 1),
            (b"adder", 3, 1), // before all of block 2, whose first entry it finds
            (b"adder", 2, 2),
            (b"adder", 0, 2),
            (b"addes", 9, 2),
            (b"b", 9, 2),
        ] {
            assert_eq!(index.find(KeyRef::seek(user, seq)), block, "{}", user.escape_ascii());
        }
    }

    #[test]
    fn words_order_as_the_bytes_do() {
        let sorted: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0b", b"abcdefgh", b"abcdefgi"];
        assert!(sorted.windows(2).all(|pair| word(pair[0]) <= word(pair[1])));
        assert_eq!(word(b"abcdefghi"), 0x6162_6364_6566_6768);
    }

    #[test]
    fn malformed_indexes_are_refused() {
        let refused = |bytes: &[u8], what: &str| {
            assert_eq!(Index::decode(bytes.to_vec()).unwrap_err().what, what);
        };
        refused(b"\x00", "no data blocks");
        refused(b"\x01\x64\x02a", "the first separator is not empty");
        refused(b"\x02\x64\x00\x64\x00", "separators do not ascend"); // INDEX-1
        refused(b"\x01\x06\x00", "impossible length of a block");
        refused(b"\xff\xff\x03", "number exceeds its limit");
        refused(b"\x01\x64\x00\x00", "unexpected bytes at the end");
    }
}
