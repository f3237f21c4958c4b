//! Writing a table: entries in order come in, blocks go out through one buffer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use stratalog_base::fs::File;
use stratalog_base::key::{MAX_KEY_BYTES, MAX_SEQ_NO, MAX_VALUE_BYTES};
use stratalog_base::range::{Fragments, RangeTombstone};
use stratalog_base::{Error, InternalKey, KeyRef, Kind, Result, SeqNo, Trailer};

use crate::block::BlockBuilder;
use crate::compress::Packer;
use crate::filter::FilterBuilder;
use crate::footer::{Footer, MAGIC};
use crate::frame::BlockKind;
use crate::index::IndexBuilder;
use crate::options::{Compression, TableOptions};
use crate::out::Out;
use crate::properties::Properties;
use crate::ranges;
use crate::separators::Separator;
use crate::summary::TableSummary;
use crate::top::{self, Stretch};

/// Writes one table. The same entries and options give the same bytes.
///
/// After an error, drop the writer and remove the file: a table without its footer does not open.
#[derive(Debug)]
pub struct TableWriter {
    out: Out,
    options: TableOptions,
    block: BlockBuilder,
    /// The contents of a block on their way from the builder to its frame.
    contents: Vec<u8>,
    packer: Packer,
    /// The lower bound of the present block.
    separator: Separator,
    /// Of the present partition.
    index: IndexBuilder,
    /// Takes the distinct user keys of the present partition.
    filter: Option<FilterBuilder>,
    partitions: Vec<Encoded>,
    properties: Properties,
    ranges: Vec<RangeTombstone>,
    ranges_bytes: usize,
    smallest: Option<InternalKey>,
    last_user: Vec<u8>,
    last_trailer: Trailer,
}

/// A partition that waits for the data blocks to end.
#[derive(Debug)]
struct Encoded {
    separator: Separator,
    blocks: usize,
    /// Of the data blocks.
    bytes: u64,
    seqs: RangeInclusive<SeqNo>,
    filter: Option<Vec<u8>>,
    index: Vec<u8>,
}

impl TableWriter {
    /// A writer to the empty `file`, which will be table number `id`. The number is part of every
    /// checksum: the file does not open as another table.
    ///
    /// # Panics
    /// If the options are not valid; see [`TableOptions::validate`].
    pub fn new(file: Arc<dyn File>, id: u64, options: &TableOptions) -> TableWriter {
        options.validate().expect("options were validated");
        TableWriter {
            out: Out::new(file, id, &MAGIC),
            options: *options,
            block: BlockBuilder::new(options.restart_interval),
            contents: Vec::new(),
            packer: Packer::new(options.compression),
            separator: Separator::default(),
            index: IndexBuilder::default(),
            filter: FilterBuilder::new(options),
            partitions: Vec::new(),
            properties: Properties::new(),
            ranges: Vec::new(),
            ranges_bytes: 0,
            smallest: None,
            last_user: Vec::new(),
            last_trailer: Trailer::NEWEST,
        }
    }

    /// Appends an entry. Nothing of it survives anything before [`TableWriter::finish`].
    ///
    /// # Errors
    /// As [`File::write_at`]; entries are buffered, so the failure may be an earlier entry's.
    ///
    /// # Panics
    /// If `key` is not greater than the last one, a tombstone has a value, a separated entry
    /// no handle, or key or value exceed their limits.
    #[inline]
    pub fn add(&mut self, key: KeyRef<'_>, value: &[u8]) -> Result<()> {
        let last = KeyRef { user: &self.last_user, trailer: self.last_trailer };
        let first = self.properties.entries == 0;
        let new_user_key = first || last.user != key.user;
        assert!(first || last < key, "{key:?} does not follow {last:?}");
        assert!(key.user.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES);
        assert!(key.trailer.kind() != Kind::Delete || value.is_empty(), "a tombstone has no value");

        let entry_bytes = key.user.len() + value.len() + 16;
        if !self.block.is_empty() && self.block.bytes() + entry_bytes > self.options.block_bytes {
            self.end_block()?;
            self.separator = Separator::between(&self.last_user, key);
            if self.partition_is_full() {
                self.end_partition();
                if self.separator.splits_a_key()
                    && let Some(filter) = &mut self.filter
                {
                    filter.add(key.user); // TOP-2
                }
            }
        }
        if new_user_key {
            if let Some(filter) = &mut self.filter {
                filter.add(key.user);
            }
            self.last_user.clear();
            self.last_user.extend_from_slice(key.user);
        }
        if self.smallest.is_none() {
            self.smallest = Some(key.to_owned());
        }
        self.last_trailer = key.trailer;
        self.properties.count(key, new_user_key, value);
        self.block.add(key, value);
        Ok(())
    }

    /// Adds a range tombstone: versions of the user keys in `start..end` with sequence numbers less
    /// than `seq` are deleted, in this table and others. They may be added in any order, before,
    /// between and behind entries; one that is added twice or covers no key counts for nothing.
    ///
    /// # Panics
    /// If a key or the sequence number exceeds its limit.
    pub fn add_range(&mut self, start: &[u8], end: &[u8], seq: SeqNo) {
        assert!(start.len().max(end.len()) <= MAX_KEY_BYTES && seq <= MAX_SEQ_NO);
        if start < end {
            self.ranges_bytes += start.len() + end.len() + 8;
            self.ranges.push(RangeTombstone { start: start.into(), end: end.into(), seq });
        }
    }

    /// The bytes that the file would have now, without filter, index and footer.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.out.offset() + (self.block.bytes() + self.ranges_bytes) as u64
    }

    /// Whether no entry and no range tombstone was added.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.properties.entries == 0 && self.ranges.is_empty()
    }

    /// Writes what is left and syncs the file. When it returns the *bytes* survive a power cut; the
    /// *name* does once the caller synced the directory.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync`]. [`Error::InvalidArgument`] if the range tombstones
    /// take 4 GiB.
    ///
    /// # Panics
    /// If the table is empty.
    pub fn finish(mut self) -> Result<TableSummary> {
        assert!(!self.is_empty(), "a table has entries or range tombstones");
        if self.properties.entries > 0 {
            self.end_block()?;
            self.end_partition();
        }
        let partitions_offset = self.out.offset();
        let top = self.write_partitions()?;
        let ranges_offset = self.out.offset();
        let properties = self.write_ranges()?;
        let dictionary_offset = self.out.offset();
        if let Some(dictionary) = self.packer.dictionary() {
            self.out.block(BlockKind::Dictionary, dictionary, None)?;
        }
        let top_offset = self.out.offset();
        self.out.block(BlockKind::TopIndex, &top, Some(&mut self.packer))?;
        let properties_offset = self.out.offset();
        self.out.block(BlockKind::Properties, &properties.encode(), None)?;
        let short = |from: u64, to: u64| {
            let too_large =
                |_| Error::InvalidArgument("index or range tombstones take 4 GiB".into());
            u32::try_from(to - from).map_err(too_large)
        };
        let footer = Footer {
            partitions_offset,
            partitions_bytes: ranges_offset - partitions_offset,
            ranges_bytes: short(ranges_offset, dictionary_offset)?,
            dictionary_bytes: short(dictionary_offset, top_offset)?,
            top_bytes: short(top_offset, properties_offset)?,
            properties_bytes: short(properties_offset, self.out.offset())?,
            digest: self.out.digest(),
            table: self.out.id(),
            zstd: matches!(self.options.compression, Compression::Zstd { .. }),
        };
        self.out.finish(&footer.encode())?;
        Ok(properties.summary(self.out.id(), self.out.offset(), footer.digest))
    }

    /// Writes the range tombstones, if there are any. Returns the properties of the whole table.
    fn write_ranges(&mut self) -> Result<Properties> {
        let mut properties = self.properties.clone();
        properties.prefix_bytes = match self.filter {
            Some(_) => self.options.prefix_bytes as u64,
            None => 0,
        };
        if let Some(smallest) = &self.smallest {
            let largest = KeyRef { user: &self.last_user, trailer: self.last_trailer };
            properties.widen(smallest.as_ref(), largest);
        }
        if !self.ranges.is_empty() {
            let ranges = Fragments::new(self.ranges.iter().map(RangeTombstone::as_ref));
            properties.count_ranges(&ranges);
            let contents = ranges::encode(&ranges);
            self.out.block(BlockKind::RangeTombstones, &contents, Some(&mut self.packer))?;
        }
        Ok(properties)
    }

    fn end_block(&mut self) -> Result<()> {
        self.contents.clear();
        let seqs = self.block.encode(&mut self.contents);
        let start = self.out.offset();
        self.out.block(BlockKind::Data, &self.contents, Some(&mut self.packer))?;
        let bytes = self.out.offset() - start;
        self.index.add(bytes, std::mem::take(&mut self.separator), seqs);
        Ok(())
    }

    fn partition_is_full(&self) -> bool {
        let filter_bytes = self.filter.as_ref().map_or(0, FilterBuilder::bytes);
        self.index.bytes() + filter_bytes >= self.options.partition_bytes
    }

    fn end_partition(&mut self) {
        let (separator, bytes) = self.index.stretch();
        self.partitions.push(Encoded {
            separator,
            bytes,
            blocks: self.index.len(),
            seqs: self.index.seqs(),
            filter: self.filter.as_mut().map(FilterBuilder::finish),
            index: self.index.encode(),
        });
    }

    /// Writes all partitions. Returns the contents of the top index.
    fn write_partitions(&mut self) -> Result<Vec<u8>> {
        let (mut top, mut block, mut data) = (Vec::new(), 0, MAGIC.len() as u64);
        for partition in std::mem::take(&mut self.partitions) {
            let start = self.out.offset();
            if let Some(filter) = partition.filter {
                self.out.block(BlockKind::FilterPartition, &filter, None)?;
            }
            let middle = self.out.offset();
            let packer = Some(&mut self.packer);
            self.out.block(BlockKind::IndexPartition, &partition.index, packer)?;
            let stretch = Stretch {
                blocks: block..block + partition.blocks,
                data: data..data + partition.bytes,
                filter: start..middle,
                index: middle..self.out.offset(),
                seqs: partition.seqs,
            };
            (block, data) = (stretch.blocks.end, stretch.data.end);
            top::encode(&mut top, &stretch, &partition.separator);
        }
        Ok(top)
    }
}
