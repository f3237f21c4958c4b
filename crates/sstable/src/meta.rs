//! What a table says of itself: read when it is opened, and where each of its blocks is read from.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use stratalog_base::codec::Malformed;
use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::range::Fragments;
use stratalog_base::{Error, Result};

use crate::block::Block;
use crate::compress::{HAS_ZSTD, Unpacker};
use crate::ends::FOOTER_BYTES;
use crate::filter::Filter;
use crate::footer::{Footer, Parts};
use crate::frame::{self, BlockKind, Place};
use crate::index::Index;
use crate::partition::Partition;
use crate::properties::{COMPARATOR, Properties};
use crate::ranges;
use crate::slab::Slabs;
use crate::summary::TableSummary;
use crate::sweep::Sweep;
use crate::top::Top;

/// All of a table but its data blocks and partitions. What is here stays in memory.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) parts: Parts,
    pub(crate) top: Top,
    pub(crate) ranges: Fragments,
    pub(crate) properties: Properties,
    pub(crate) summary: TableSummary,
    pub(crate) unpacker: Unpacker,
}

/// Bytes read from a table in one go, to take blocks from.
struct Stored<'a> {
    file: &'a dyn File,
    table: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Stored<'a> {
    /// Reads `range`, which lies within the file.
    fn read(file: &'a dyn File, table: u64, range: Range<u64>) -> Result<Stored<'a>> {
        let too_large = |_| Error::corrupt(file.path(), range.start, "exceeds the address space");
        let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(too_large)?];
        read_exact_at(file, &mut bytes, range.start)?;
        Ok(Stored { file, table, start: range.start, bytes })
    }

    /// Opens the block at `range` and takes it apart. Adds its checksum to `checksums`.
    fn block<T>(
        &self,
        kind: BlockKind,
        range: &Range<u64>,
        checksums: &mut Vec<u32>,
        unpacker: &Unpacker,
        decode: impl FnOnce(Vec<u8>) -> Result<T, Malformed>,
    ) -> Result<T> {
        let place = Place { file: self.table, kind, offset: range.start };
        let [start, end] = [range.start, range.end].map(|at| (at - self.start) as usize);
        let stored = &self.bytes[start..end];
        checksums.extend(frame::checksum(stored));
        frame::open(Cow::Borrowed(stored), place, unpacker)
            .and_then(|contents| decode(contents.into_owned()))
            .map_err(|malformed| place.corrupt(self.file.path(), malformed))
    }
}

impl Meta {
    /// Heap bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.top.memory_bytes() + self.ranges.heap_bytes() + self.unpacker.memory_bytes()
    }

    /// Reads it from `file`, which should hold the table numbered `table`. Adds the checksums of its blocks,
    /// which lie behind the partitions, to `checksums`.
    pub(crate) fn read(file: &dyn File, table: u64, checksums: &mut Vec<u32>) -> Result<Meta> {
        let footer = Footer::read(file, table)?;
        if footer.zstd && !HAS_ZSTD {
            return Err(Error::MissingFeature { path: file.path().to_owned(), feature: "zstd" });
        }
        let parts = footer.parts().expect("checked when it was read");
        let tail = Stored::read(file, table, parts.partitions.end..parts.properties.end)?;
        let mut dictionary_checksum = Vec::new();
        let unpacker = if parts.dictionary.is_empty() {
            Unpacker::default()
        } else {
            let (plain, decode) = (Unpacker::default(), |bytes: Vec<u8>| Unpacker::new(&bytes));
            let checksum = &mut dictionary_checksum;
            tail.block(BlockKind::Dictionary, &parts.dictionary, checksum, &plain, decode)?
        };
        let ranges = if parts.ranges.is_empty() {
            Fragments::default()
        } else {
            let (kind, decode) =
                (BlockKind::RangeTombstones, |bytes: Vec<u8>| ranges::decode(&bytes));
            tail.block(kind, &parts.ranges, checksums, &unpacker, decode)?
        };
        checksums.append(&mut dictionary_checksum); // In file order.
        let decode = |bytes| Top::decode(bytes, parts.data.clone(), parts.partitions.clone());
        let top = tail.block(BlockKind::TopIndex, &parts.top, checksums, &unpacker, decode)?;
        let kind = BlockKind::Properties;
        let contents = tail.block(kind, &parts.properties, checksums, &unpacker, Ok)?;
        let at = parts.properties.start;
        let corrupt = |malformed: Malformed| malformed.at(file.path(), at);
        let comparator = Properties::comparator(&contents).map_err(corrupt)?;
        if comparator != COMPARATOR {
            let why =
                format!("its keys are in the order {:?}", comparator.escape_ascii().to_string());
            return Err(Error::NotOurs { path: file.path().to_owned(), why });
        }
        let properties = Properties::decode(&contents).map_err(corrupt)?;
        if properties.range_tombstones != ranges.len() as u64 {
            return Err(Error::corrupt(
                file.path(),
                at,
                "counts other range tombstones than there are",
            ));
        }
        let bytes = parts.properties.end + FOOTER_BYTES as u64;
        let summary = properties.summary(table, bytes, footer.digest);
        Ok(Meta { parts, top, ranges, properties, summary, unpacker })
    }

    /// Reads partition `number`, without its filter unless `with_filter`. Adds the checksums of its
    /// blocks to `checksums`.
    pub(crate) fn read_partition(
        &self,
        file: &dyn File,
        number: usize,
        with_filter: bool,
        checksums: &mut Vec<u32>,
    ) -> Result<Partition> {
        let stretch = self.top.stretch(number);
        let with_filter = with_filter && !stretch.filter.is_empty();
        let start = if with_filter { stretch.filter.start } else { stretch.index.start };
        let stored = Stored::read(file, self.summary.id, start..stretch.index.end)?;
        let filter = if with_filter {
            let kind = BlockKind::FilterPartition;
            let decode = |contents: Vec<u8>| Filter::decode(&contents);
            Some(stored.block(kind, &stretch.filter, checksums, &self.unpacker, decode)?)
        } else {
            None
        };
        let decode = |contents| Index::decode(contents, stretch);
        let kind = BlockKind::IndexPartition;
        let index = stored.block(kind, &stretch.index, checksums, &self.unpacker, decode)?;
        Ok(Partition { index, filter })
    }

    /// Takes the data block at `offset` out of its frame and apart, into a cell of `slabs` if it is to be cached.
    pub(crate) fn decode(
        &self,
        file: &dyn File,
        offset: u64,
        stored: Cow<'_, [u8]>,
        slabs: Option<&Arc<Slabs>>,
    ) -> Result<Block> {
        let place = Place { file: self.summary.id, kind: BlockKind::Data, offset };
        frame::open(stored, place, &self.unpacker)
            .and_then(|contents| Block::decode_in(slabs, &contents))
            .map_err(|malformed| place.corrupt(file.path(), malformed))
    }

    /// Reads the data block at `range` by way of `sweep`, which may read all within `bounds`. Also
    /// returns its stored checksum.
    pub(crate) fn sweep(
        &self,
        file: &dyn File,
        range: Range<u64>,
        bounds: Range<u64>,
        sweep: &mut Sweep,
        slabs: Option<&Arc<Slabs>>,
    ) -> Result<(Block, Option<u32>)> {
        let stored = sweep.read(file, range.clone(), bounds)?;
        let checksum = frame::checksum(&stored);
        Ok((self.decode(file, range.start, stored, slabs)?, checksum))
    }
}
