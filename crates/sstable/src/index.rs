//! An index partition: which data block of a stretch of the table may hold a key, where it lies, and
//! how new its entries are.
//!
//! # Contents of the block
//! For each data block of the partition, at least one:
//!
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | stored bytes | the block's length with its frame |
//! | | separator | a lower bound of the block's entries ([`crate::separators`]) |
//! | varint | oldest | the block's smallest sequence number, less the partition's |
//! | varint | spread | the block's largest sequence number, less its smallest |
//!
//! Data blocks lie one behind another, so lengths are offsets. Where the first one lies, how many
//! there are, the first one's lower bound and the partition's sequence range stand in the top index
//! ([`crate::top`]).
//!
//! # Invariants
//! - INDEX-1: every entry of a block is ≥ its separator and < the next block's.
//! - INDEX-2: a block's sequence range is that of its entries, and lies within its partition's.

use std::ops::{Range, RangeInclusive};

use stratalog_base::codec::{Decoder, Malformed, put_varint};
use stratalog_base::{KeyRef, SeqNo};

use crate::frame::FRAME_BYTES;
use crate::separators::{Collector, Separator, Separators};
use crate::top::Stretch;

/// Three one-byte numbers and an empty separator.
const MIN_ENTRY_BYTES: usize = 4;

/// Gathers a partition while its blocks are written.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    blocks: Vec<(u64, Separator, RangeInclusive<SeqNo>)>,
    bytes: usize,
}

impl IndexBuilder {
    /// Notes a block that was written: its stored length, lower bound and sequence range.
    pub(crate) fn add(&mut self, bytes: u64, separator: Separator, seqs: RangeInclusive<SeqNo>) {
        self.bytes += MIN_ENTRY_BYTES + separator.bytes();
        self.blocks.push((bytes, separator, seqs));
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// About what [`IndexBuilder::encode`] would give now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first block's lower bound, and the stored length of all blocks.
    pub(crate) fn stretch(&self) -> (Separator, u64) {
        let separator = self.blocks.first().map(|(_, separator, _)| separator.clone());
        (separator.unwrap_or_default(), self.blocks.iter().map(|(bytes, ..)| bytes).sum())
    }

    /// The sequence range of all blocks.
    pub(crate) fn seqs(&self) -> RangeInclusive<SeqNo> {
        let oldest = self.blocks.iter().map(|(.., seqs)| *seqs.start()).min();
        let newest = self.blocks.iter().map(|(.., seqs)| *seqs.end()).max();
        oldest.zip(newest).map(|(oldest, newest)| oldest..=newest).expect("it has blocks")
    }

    /// The contents of the block. Starts the next partition.
    pub(crate) fn encode(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        let base = *self.seqs().start();
        for (index, (bytes, separator, seqs)) in self.blocks.drain(..).enumerate() {
            put_varint(&mut out, bytes);
            // The first one's separator is the partition's, in the top index.
            let separator = if index == 0 { Separator::default() } else { separator };
            separator.encode(&mut out);
            put_varint(&mut out, seqs.start() - base);
            put_varint(&mut out, seqs.end() - seqs.start());
        }
        self.bytes = 0;
        out
    }
}

/// A partition in memory.
#[derive(Debug)]
pub(crate) struct Index {
    separators: Separators,
    /// The file offset of each block, and of the end of the last.
    offsets: Vec<u64>,
    first_block: usize,
    oldest: SeqNo,
}

impl Index {
    /// Takes apart the partition that the top index describes as `stretch`.
    pub(crate) fn decode(contents: Vec<u8>, stretch: &Stretch) -> Result<Index, Malformed> {
        let mut decoder = Decoder::new(&contents);
        let capacity = stretch.blocks.len().min(contents.len() / MIN_ENTRY_BYTES);
        let mut separators = Collector::new(capacity);
        let mut offsets = Vec::with_capacity(capacity + 1);
        let mut offset = stretch.data.start;
        offsets.push(offset);
        while !decoder.is_empty() {
            let at = decoder.offset();
            let malformed = |what| Malformed { offset: at, what };
            let bytes = decoder.varint()?;
            offset = match offset.checked_add(bytes) {
                Some(end) if bytes > FRAME_BYTES as u64 && end <= stretch.data.end => end,
                _ => return Err(malformed("impossible length of a block")),
            };
            offsets.push(offset);
            separators.take(&mut decoder)?;
            take_seqs(&mut decoder, *stretch.seqs.start())
                .filter(|seqs| seqs.end() <= stretch.seqs.end()) // INDEX-2
                .ok_or_else(|| malformed("impossible sequence range of a block"))?;
        }
        if offset != stretch.data.end || offsets.len() != stretch.blocks.len() + 1 {
            return Err(decoder.malformed("other blocks than the top index names"));
        }
        let starts = separators.into_starts();
        let separators = Separators::new(contents, starts);
        let first_block = stretch.blocks.start;
        Ok(Index { separators, offsets, first_block, oldest: *stretch.seqs.start() })
    }

    /// The number in the table of the first data block.
    #[inline]
    pub(crate) fn first_block(&self) -> usize {
        self.first_block
    }

    /// Number of data blocks.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.separators.len()
    }

    /// The lower bound of block `index`; the empty key for the first one, whose bound stands in the
    /// top index.
    pub(crate) fn separator(&self, index: usize) -> KeyRef<'_> {
        self.separators.get(index)
    }

    /// The file range of block `index`, frame included.
    #[inline]
    pub(crate) fn range(&self, index: usize) -> Range<u64> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// The sequence range of the entries of block `index`.
    pub(crate) fn seqs(&self, index: usize) -> RangeInclusive<SeqNo> {
        let (_, mut rest) = self.separators.with_rest(index);
        take_seqs(&mut rest, self.oldest).expect("checked by decode")
    }

    /// The block that holds `target` if any of this partition does.
    #[inline]
    pub(crate) fn find(&self, target: KeyRef<'_>) -> usize {
        self.separators.find(target) // INDEX-1
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.separators.memory_bytes() + self.offsets.capacity() * 8
    }
}

/// Takes `oldest` and `spread`, relative to `base`.
pub(crate) fn take_seqs(decoder: &mut Decoder<'_>, base: SeqNo) -> Option<RangeInclusive<SeqNo>> {
    let oldest = base.checked_add(decoder.varint().ok()?)?;
    Some(oldest..=oldest.checked_add(decoder.varint().ok()?)?)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::Kind;

    fn encoded() -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        let second = Separator::between(b"ada", KeyRef::new(b"adder", 5, Kind::Put));
        let third = Separator::between(b"adder", KeyRef::new(b"adder", 3, Kind::Put));
        builder.add(100, Separator::between(b"", KeyRef::new(b"a", 9, Kind::Put)), 4..=9);
        builder.add(300, second, 4..=205);
        builder.add(50, third, 2..=3);
        assert_eq!((builder.len(), builder.seqs()), (3, 2..=205));
        builder.encode()
    }

    fn stretch() -> Stretch {
        Stretch { blocks: 0..3, data: 8..458, filter: 458..458, index: 458..500, seqs: 2..=205 }
    }

    #[test]
    fn an_index_partition_has_these_bytes() {
        let first = b"\x64\x00\x02\x05";
        let shortest_prefix = b"\xac\x02\x06add\x02\xc9\x01";
        let same_key = b"\x32\x0badder\x01\x03\x00\x00\x00\x00\x00\x00\x00\x01";
        assert_eq!(encoded(), [&first[..], shortest_prefix, same_key].concat());
    }

    #[test]
    fn a_key_is_found_in_the_last_block_that_starts_before_it() {
        // INDEX-1
        let index = Index::decode(encoded(), &stretch()).unwrap();
        assert_eq!((index.range(0), index.range(2)), (8..108, 408..458));
        assert_eq!((index.seqs(0), index.seqs(1), index.seqs(2)), (4..=9, 4..=205, 2..=3));
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
    fn malformed_index_partitions_are_refused() {
        let refused = |bytes: &[u8], what: &str| {
            assert_eq!(Index::decode(bytes.to_vec(), &stretch()).unwrap_err().what, what);
        };
        refused(b"", "other blocks than the top index names");
        refused(b"\x64\x00\x00\x00", "other blocks than the top index names");
        refused(b"\x64\x02a\x00\x00", "the first separator is not empty");
        refused(b"\x64\x00\x00\x00\x64\x00\x00\x00", "separators do not ascend"); // SEPARATOR-1
        refused(b"\x06\x00\x00\x00", "impossible length of a block");
        refused(b"\xff\xff\x03\x00\x00\x00", "impossible length of a block");
        refused(b"\x64\x00\xcc\x01\x00", "impossible sequence range of a block"); // INDEX-2
        refused(b"\x64\x00\xcb\x01\x01", "impossible sequence range of a block");
        refused(b"\x64\x00\x01", "impossible sequence range of a block");
    }
}
