//! An open table and its point reads.

use std::borrow::Cow;
use std::sync::Arc;

use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::{Error, KeyRef, Result, SeqNo, Slice, Trailer};

use crate::block::Block;
use crate::cache::{BlockCache, Slots};
use crate::cursor::{ReadUse, TableCursor};
use crate::filter::Filter;
use crate::footer::Footer;
use crate::frame::{self, BlockKind, Place};
use crate::index::Index;
use crate::pin;
use crate::properties::{Properties, TableSummary};
use crate::sweep::Sweep;

/// An open table. Immutable, shared by any number of readers.
///
/// Index and filter stay in memory while it is open; data blocks are read when needed and kept in
/// the [`BlockCache`]. An error of one call (a read that failed, a damaged block) is that call's
/// alone: nothing of it is remembered.
pub struct Table {
    file: Arc<dyn File>,
    meta: Meta,
    slots: Arc<Slots>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("file", &self.file).field("summary", self.summary()).finish()
    }
}

/// All of a table but its data blocks.
pub(crate) struct Meta {
    pub(crate) index: Index,
    pub(crate) filter: Option<Filter>,
    pub(crate) properties: Properties,
    pub(crate) summary: TableSummary,
    /// The checksums of the blocks behind the data blocks, for the digest.
    pub(crate) checksums: Vec<u32>,
}

impl Meta {
    pub(crate) fn read(file: &dyn File, table: u64) -> Result<Meta> {
        let footer = Footer::read(file, table)?;
        let path = file.path();
        let start = footer.filter_offset;
        let [index_at, properties_at, end] = footer.bounds().expect("checked when it was read");
        let too_large = |_| Error::corrupt(path, start, "index exceeds the address space");
        let mut bytes = vec![0; usize::try_from(end - start).map_err(too_large)?];
        read_exact_at(file, &mut bytes, start)?;

        let mut checksums = Vec::new();
        let mut open = |kind, from: u64, to: u64| {
            let place = Place { table, kind, offset: from };
            let stored = &bytes[(from - start) as usize..(to - start) as usize];
            checksums.extend(frame::checksum(stored));
            let contents = frame::open(Cow::Borrowed(stored), place);
            contents.map(|contents| (contents, place)).map_err(|e| place.corrupt(path, e))
        };
        let filter = if footer.filter_bytes > 0 {
            let (contents, place) = open(BlockKind::Filter, start, index_at)?;
            Some(Filter::decode(&contents).map_err(|e| place.corrupt(path, e))?)
        } else {
            None
        };
        let (contents, place) = open(BlockKind::Index, index_at, properties_at)?;
        let index = Index::decode(contents).map_err(|e| place.corrupt(path, e))?;
        if index.data_end() != start {
            return Err(Error::corrupt(path, index_at, "index names other bytes than there are"));
        }
        let (contents, place) = open(BlockKind::Properties, properties_at, end)?;
        let whole = (table, end + crate::footer::FOOTER_BYTES as u64, footer.digest);
        let (properties, summary) =
            Properties::decode(&contents, whole).map_err(|e| place.corrupt(path, e))?;
        Ok(Meta { index, filter, properties, summary, checksums })
    }

    /// Takes the data block numbered `index` out of its frame and apart.
    pub(crate) fn decode(
        &self,
        file: &dyn File,
        index: usize,
        stored: Cow<'_, [u8]>,
    ) -> Result<Block> {
        let offset = self.index.range(index).start;
        let place = Place { table: self.summary.id, kind: BlockKind::Data, offset };
        frame::open(stored, place)
            .and_then(Block::decode)
            .map_err(|malformed| place.corrupt(file.path(), malformed))
    }

    /// Reads the data block numbered `index` by way of `sweep`. Also returns its stored checksum.
    pub(crate) fn sweep(
        &self,
        file: &dyn File,
        index: usize,
        sweep: &mut Sweep,
    ) -> Result<(Block, Option<u32>)> {
        let bounds = self.index.range(0).start..self.index.data_end();
        let stored = sweep.read(file, self.index.range(index), bounds)?;
        let checksum = frame::checksum(&stored);
        Ok((self.decode(file, index, stored)?, checksum))
    }
}

impl Table {
    /// Opens `file` as table number `id`. Reads and checks everything but the data blocks.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] if the file is damaged, cut off, or a table of another number.
    /// - [`Error::NotOurs`] if it is no table, [`Error::NewerFormat`] if a later release wrote it.
    /// - As [`File::read_at`].
    pub fn open(file: Arc<dyn File>, id: u64, cache: Arc<BlockCache>) -> Result<Arc<Table>> {
        let meta = Meta::read(&*file, id)?;
        let slots = Slots::new(meta.index.len(), cache);
        Ok(Arc::new(Table { file, meta, slots }))
    }

    /// What the table holds.
    pub fn summary(&self) -> &TableSummary {
        &self.meta.summary
    }

    /// The bytes of index, filter and cache slots, which stay in memory while the table is open.
    pub fn memory_bytes(&self) -> usize {
        let filter = self.meta.filter.as_ref().map_or(0, Filter::memory_bytes);
        self.meta.index.memory_bytes() + filter + self.slots.memory_bytes()
    }

    /// The newest version of `user` that is not newer than `seq`, be it a value or a tombstone.
    /// `hash` is the key's [`crate::key_hash`].
    ///
    /// The value stays in its block, which the returned slice keeps in memory.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a block is damaged, or as [`File::read_at`]. Never taken for absence.
    #[inline]
    pub fn get(
        self: &Arc<Self>,
        user: &[u8],
        hash: u64,
        seq: SeqNo,
    ) -> Result<Option<(Trailer, Slice)>> {
        if self.meta.filter.as_ref().is_some_and(|filter| !filter.may_contain(hash)) {
            return Ok(None);
        }
        let target = KeyRef::seek(user, seq);
        let index = &self.meta.index;
        let mut number = index.find(target);
        let mut block = self.block(number)?;
        let mut found = block.find(target);
        if found == block.len() {
            // All of the block is newer. The versions of one key may go on in the next.
            number += 1;
            if number == index.len() || index.separator(number).user != user {
                return Ok(None);
            }
            block = self.block(number)?;
            found = 0;
        }
        let entry = block.entry(found);
        if !block.has_key(found, &entry, user) {
            return Ok(None);
        }
        Ok(Some((block.trailer(found), pin::value(&block, &entry))))
    }

    /// A cursor over all entries. It keeps the table open.
    pub fn cursor(self: &Arc<Self>, reads: ReadUse) -> TableCursor {
        TableCursor::new(self.clone(), reads)
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The data block, if cached.
    #[inline]
    pub(crate) fn cached(&self, index: usize) -> Option<Arc<Block>> {
        self.slots.get(index)
    }

    /// The data block, cached from now on.
    #[inline]
    pub(crate) fn block(&self, index: usize) -> Result<Arc<Block>> {
        match self.slots.get(index) {
            Some(block) => Ok(block),
            None => self.fill(index),
        }
    }

    #[cold]
    fn fill(&self, index: usize) -> Result<Arc<Block>> {
        let range = self.meta.index.range(index);
        // Opening checked that the range lies in the file, so its length is not made up.
        let mut stored = vec![0; (range.end - range.start) as usize];
        read_exact_at(&*self.file, &mut stored, range.start)?;
        let block = self.meta.decode(&*self.file, index, Cow::Owned(stored))?;
        Ok(self.slots.cache().insert(&self.slots, index, Arc::new(block)))
    }
}
