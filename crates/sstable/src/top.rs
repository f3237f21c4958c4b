//! The top index: how the table is cut into partitions, and where each lies. It stays in memory while
//! the table is open.
//!
//! A **partition** is a stretch of data blocks with its own index and, if the table has filters, its
//! own filter. Filter and index of a partition lie side by side, so that one read brings both.
//!
//! # Contents of the block
//! For each partition, none if the table has no entries:
//!
//! | bytes | field | meaning |
//! |---:|---|---|
//! | varint | blocks | number of data blocks, at least 1 |
//! | varint | data bytes | of these blocks with their frames |
//! | varint | filter bytes | of the filter partition with its frame; 0 if absent |
//! | varint | index bytes | of the index partition with its frame |
//! | | separator | a lower bound of the partition's entries ([`crate::separators`]) |
//! | varint | oldest | the smallest sequence number of its entries |
//! | varint | spread | the largest, less the smallest |
//!
//! Data blocks lie one behind another from the magic number on, partitions from where data blocks end.
//!
//! # Invariants
//! - TOP-1: every entry of a partition is ≥ its separator and < the next one's.
//! - TOP-2: a user key with entries in two partitions is in the filters of both.

use std::ops::{Range, RangeInclusive};

use stratalog_base::codec::{Decoder, Malformed, put_varint};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{KeyRef, SeqNo};

use crate::frame::FRAME_BYTES;
use crate::index::take_seqs;
use crate::separators::{Collector, Separator, Separators};

/// Six one-byte numbers and an empty separator.
const MIN_ENTRY_BYTES: usize = 7;

/// A partition as the top index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The numbers of its data blocks in the table.
    pub(crate) blocks: Range<usize>,
    /// The file range of its data blocks.
    pub(crate) data: Range<u64>,
    /// The file range of its filter partition; empty if there is none.
    pub(crate) filter: Range<u64>,
    /// The file range of its index partition, which follows.
    pub(crate) index: Range<u64>,
    /// The sequence range of its entries.
    pub(crate) seqs: RangeInclusive<SeqNo>,
}

/// Appends a partition's entry.
pub(crate) fn encode(out: &mut Vec<u8>, stretch: &Stretch, separator: &Separator) {
    let bytes = |range: &Range<u64>| range.end - range.start;
    put_varint(out, stretch.blocks.len() as u64);
    for range in [&stretch.data, &stretch.filter, &stretch.index] {
        put_varint(out, bytes(range));
    }
    separator.encode(out);
    put_varint(out, *stretch.seqs.start());
    put_varint(out, stretch.seqs.end() - stretch.seqs.start());
}

/// The top index of an open table.
#[derive(Debug)]
pub(crate) struct Top {
    separators: Separators,
    stretches: Vec<Stretch>,
}

impl Top {
    /// Takes apart the top index of a table with `data` blocks and `partitions` at these file ranges.
    pub(crate) fn decode(
        contents: Vec<u8>,
        data: Range<u64>,
        partitions: Range<u64>,
    ) -> Result<Top, Malformed> {
        let mut decoder = Decoder::new(&contents);
        let mut separators = Collector::new(contents.len() / MIN_ENTRY_BYTES);
        let mut stretches = Vec::with_capacity(contents.len() / MIN_ENTRY_BYTES);
        let (mut block, mut data_at, mut at) = (0, data.start, partitions.start);
        while !decoder.is_empty() {
            let start = decoder.offset();
            let malformed = |what| Malformed { offset: start, what };
            let blocks = decoder.varint()?;
            let mut ahead = |at: &mut u64, end: u64| {
                let start = *at;
                *at = start
                    .checked_add(decoder.varint()?)
                    .filter(|at| *at <= end)
                    .ok_or_else(|| malformed("partition runs past the end"))?;
                Ok(start..*at)
            };
            let data = ahead(&mut data_at, data.end)?;
            let filter = ahead(&mut at, partitions.end)?;
            let index = ahead(&mut at, partitions.end)?;
            // So the number of blocks is bounded by the length of the file.
            if blocks == 0 || blocks > (data.end - data.start) / (FRAME_BYTES as u64 + 1) {
                return Err(malformed("impossible number of blocks"));
            }
            let blocks = block..block + blocks as usize;
            block = blocks.end;
            separators.take(&mut decoder)?;
            let seqs = take_seqs(&mut decoder, 0)
                .filter(|seqs| *seqs.end() <= MAX_SEQ_NO)
                .ok_or_else(|| malformed("impossible sequence range of a partition"))?;
            stretches.push(Stretch { blocks, data, filter, index, seqs });
        }
        if (data_at, at) != (data.end, partitions.end) {
            return Err(decoder.malformed("partitions are not all that there is")); // TABLE-2
        }
        let starts = separators.into_starts();
        Ok(Top { separators: Separators::new(contents, starts), stretches })
    }

    /// Number of partitions.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.stretches.len()
    }

    /// Number of data blocks in the table.
    #[inline]
    pub(crate) fn blocks(&self) -> usize {
        self.stretches.last().map_or(0, |stretch| stretch.blocks.end)
    }

    #[inline]
    pub(crate) fn stretch(&self, partition: usize) -> &Stretch {
        &self.stretches[partition]
    }

    /// The lower bound of partition `partition`.
    pub(crate) fn separator(&self, partition: usize) -> KeyRef<'_> {
        self.separators.get(partition)
    }

    /// The partition that holds `target` if any does. The table has entries.
    #[inline]
    pub(crate) fn find(&self, target: KeyRef<'_>) -> usize {
        self.separators.find(target) // TOP-1
    }

    /// The partition of data block `block`.
    pub(crate) fn of_block(&self, block: usize) -> usize {
        self.stretches.partition_point(|stretch| stretch.blocks.end <= block)
    }

    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.separators.memory_bytes() + self.stretches.capacity() * size_of::<Stretch>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use stratalog_base::Kind;

    fn stretches() -> [Stretch; 2] {
        [
            Stretch { blocks: 0..2, data: 8..208, filter: 508..608, index: 608..640, seqs: 4..=9 },
            Stretch {
                blocks: 2..3,
                data: 208..508,
                filter: 640..640,
                index: 640..700,
                seqs: 0..=200,
            },
        ]
    }

    fn encoded() -> Vec<u8> {
        let mut out = Vec::new();
        let [first, second] = stretches();
        encode(&mut out, &first, &Separator::default());
        encode(&mut out, &second, &Separator::between(b"ada", KeyRef::new(b"adder", 5, Kind::Put)));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Top, Malformed> {
        Top::decode(bytes.to_vec(), 8..508, 508..700)
    }

    #[test]
    fn a_top_index_has_these_bytes_and_round_trips() {
        let first = b"\x02\xc8\x01\x64\x20\x00\x04\x05";
        let second = b"\x01\xac\x02\x00\x3c\x06add\x00\xc8\x01";
        assert_eq!(encoded(), [&first[..], second].concat());
        let top = decode(&encoded()).unwrap();
        assert_eq!((top.len(), top.blocks()), (2, 3));
        assert_eq!([top.stretch(0), top.stretch(1)], stretches().each_ref());
        assert_eq!([0, 1, 2].map(|block| top.of_block(block)), [0, 0, 1]);
        assert_eq!(top.find(KeyRef::seek(b"adcx", 9)), 0);
        assert_eq!(top.find(KeyRef::seek(b"add", 9)), 1); // TOP-1
    }

    #[test]
    fn malformed_top_indexes_are_refused() {
        let refused = |bytes: &[u8], what: &str| {
            assert_eq!(decode(bytes).unwrap_err().what, what);
        };
        refused(b"", "partitions are not all that there is");
        refused(&encoded()[..8], "partitions are not all that there is");
        refused(b"\x02\xff\xff\x03\x00\x00", "partition runs past the end");
        refused(b"\x02\xc8\x01\x64\xff\x01", "partition runs past the end");
        refused(b"\x00\xc8\x01\x64\x20\x00\x04\x05", "impossible number of blocks");
        refused(b"\x1d\xc8\x01\x64\x20\x00\x04\x05", "impossible number of blocks");
        refused(b"\x02\xc8\x01\x64\x20\x00\x04", "impossible sequence range of a partition");
        let beyond = b"\x02\xc8\x01\x64\x20\x00\x00\x80\x80\x80\x80\x80\x80\x80\x80\x01";
        refused(beyond, "impossible sequence range of a partition");
    }
}
