//! Writing a table: entries in order come in, blocks go out through one buffer.

use std::sync::Arc;

use stratalog_base::fs::File;
use stratalog_base::key::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use stratalog_base::{InternalKey, KeyRef, Kind, Result, Trailer};

use crate::block::BlockBuilder;
use crate::filter::{Filter, key_hash};
use crate::footer::{Footer, MAGIC, digest};
use crate::frame::{BlockKind, Place, seal};
use crate::index::IndexBuilder;
use crate::options::{Compression, TableOptions};
use crate::properties::{Properties, TableSummary};

/// Blocks are gathered to this size before they are written.
const WRITE_BYTES: usize = 1 << 20;

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
    index: IndexBuilder,
    /// Of the distinct user keys, in order; none without a filter.
    hashes: Vec<u64>,
    properties: Properties,
    smallest: Option<InternalKey>,
    last_user: Vec<u8>,
    last_trailer: Trailer,
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
            out: Out { file, id, buffer: MAGIC.to_vec(), written: 0, digest: id },
            options: *options,
            block: BlockBuilder::new(options.restart_interval),
            contents: Vec::new(),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            properties: Properties::new(),
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
    /// If `key` is not greater than the last one, a tombstone has a value, or key or value exceed
    /// their limits.
    #[inline]
    pub fn add(&mut self, key: KeyRef<'_>, value: &[u8]) -> Result<()> {
        let last = KeyRef { user: &self.last_user, trailer: self.last_trailer };
        let new_user_key = self.is_empty() || last.user != key.user;
        assert!(self.is_empty() || last < key, "{key:?} does not follow {last:?}");
        assert!(key.user.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES);
        assert!(key.trailer.kind() == Kind::Put || value.is_empty(), "a tombstone has no value");

        let entry_bytes = key.user.len() + value.len() + 16;
        if !self.block.is_empty() && self.block.bytes() + entry_bytes > self.options.block_bytes {
            self.end_block()?;
            self.index.start_block(&self.last_user, key);
        }
        if new_user_key {
            if self.options.filter_bits_per_key > 0 {
                self.hashes.push(key_hash(key.user));
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

    /// The bytes that the file would have now, without filter, index and footer.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.out.offset() + self.block.bytes() as u64
    }

    /// Whether no entry was added.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.properties.entries == 0
    }

    /// Writes what is left and syncs the file. When it returns the *bytes* survive a power cut; the
    /// *name* does once the caller synced the directory.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync`].
    ///
    /// # Panics
    /// If the table is empty.
    pub fn finish(mut self) -> Result<TableSummary> {
        self.end_block()?;
        let smallest = self.smallest.expect("a table has entries");
        let largest = KeyRef { user: &self.last_user, trailer: self.last_trailer };

        let filter_offset = self.out.offset();
        if self.options.filter_bits_per_key > 0 {
            let filter = Filter::build(&self.hashes, self.options.filter_bits_per_key);
            self.out.block(BlockKind::Filter, &filter.encode(), Compression::None)?;
        }
        let index_offset = self.out.offset();
        self.out.block(BlockKind::Index, &self.index.encode(), self.options.compression)?;
        let properties_offset = self.out.offset();
        let properties = self.properties.encode(smallest.as_ref(), largest);
        self.out.block(BlockKind::Properties, &properties, Compression::None)?;
        let footer = Footer {
            filter_offset,
            filter_bytes: index_offset - filter_offset,
            index_bytes: properties_offset - index_offset,
            properties_bytes: self.out.offset() - properties_offset,
            digest: self.out.digest,
            table: self.out.id,
        };
        self.out.buffer.extend_from_slice(&footer.encode());
        self.out.write()?;
        self.out.file.sync()?;
        let Properties { entries, tombstones, min_seq, max_seq, .. } = self.properties;
        Ok(TableSummary {
            id: self.out.id,
            bytes: self.out.offset(),
            entries,
            tombstones,
            smallest,
            largest: largest.to_owned(),
            min_seq,
            max_seq,
            checksum: footer.digest,
        })
    }

    fn end_block(&mut self) -> Result<()> {
        self.contents.clear();
        self.block.encode(&mut self.contents);
        let start = self.out.offset();
        self.out.block(BlockKind::Data, &self.contents, self.options.compression)?;
        self.index.end_block((self.out.offset() - start) as usize);
        Ok(())
    }
}

/// The file behind its write buffer.
#[derive(Debug)]
struct Out {
    file: Arc<dyn File>,
    id: u64,
    buffer: Vec<u8>,
    /// Bytes in the file; the buffer follows.
    written: u64,
    digest: u64,
}

impl Out {
    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn block(&mut self, kind: BlockKind, contents: &[u8], compression: Compression) -> Result<()> {
        let place = Place { table: self.id, kind, offset: self.offset() };
        let checksum = seal(&mut self.buffer, contents, compression, place);
        self.digest = digest(self.digest, checksum);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
