//! An open table and its point reads.

use std::borrow::Cow;
use std::sync::Arc;

use stratalog_base::budget::Charge;
use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::range::Fragments;
use stratalog_base::{KeyRef, Result, SeqNo, Slice, Trailer};

use crate::block::{Block, Header};
use crate::cache::{BlockCache, Cached, Slots, Wanted};
use crate::cursor::TableCursor;
use crate::filter::prefix_hash;
use crate::grace::Reader;
use crate::meta::Meta;
use crate::partition::Partition;
use crate::pin;
use crate::reads::Reads;
use crate::shared::Shared;
use crate::slab::Slabs;
use crate::summary::TableSummary;

/// An open table. Immutable, shared by any number of readers.
///
/// The top index stays in memory while it is open, and so do index and filter of a table that is too
/// small to be cut into partitions. Partitions and data blocks are read when needed and kept in the
/// [`BlockCache`]. An error of one call (a read that failed, a damaged block) is that call's alone:
/// nothing of it is remembered.
pub struct Table {
    file: Arc<dyn File>,
    /// The partition of a table that has only one.
    only: Option<Shared<Partition>>,
    meta: Meta,
    blocks: Arc<Slots<Header>>,
    partitions: Arc<Slots<Partition>>,
    charge: Charge,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("file", &self.file).field("summary", self.summary()).finish()
    }
}

impl Table {
    /// Opens `file` as table number `id`. Reads and checks what stays in memory.
    ///
    /// # Errors
    /// - [`Error::Corrupt`](stratalog_base::Error::Corrupt) if the file is damaged, cut off, or a
    ///   table of another number.
    /// - [`Error::NotOurs`](stratalog_base::Error::NotOurs) if it is no table,
    ///   [`Error::NewerFormat`](stratalog_base::Error::NewerFormat) if a later release wrote it.
    /// - [`Error::MissingFeature`](stratalog_base::Error::MissingFeature) if it is compressed by Zstd
    ///   and this build has none.
    /// - As [`File::read_at`].
    pub fn open(file: Arc<dyn File>, id: u64, cache: Arc<BlockCache>) -> Result<Arc<Table>> {
        let meta = Meta::read(&*file, id, &mut Vec::new())?;
        let blocks = Slots::new(meta.top.blocks(), cache.clone());
        let count = meta.top.len();
        let only = match count {
            1 => Some(meta.read_partition(&*file, 0, true, &mut Vec::new())?.share()),
            _ => None,
        };
        let partitions = Slots::new(if count == 1 { 0 } else { count }, cache.clone());
        let bytes = only.as_ref().map_or(0, Partition::memory_bytes)
            + blocks.memory_bytes()
            + partitions.memory_bytes()
            + meta.memory_bytes();
        let charge = cache.charge_table(bytes);
        Ok(Arc::new(Table { file, only, meta, blocks, partitions, charge }))
    }

    /// What the table holds.
    pub fn summary(&self) -> &TableSummary {
        &self.meta.summary
    }

    /// The bytes that stay in memory while the table is open: the top index, the cache's slots, range
    /// tombstones, and index and filter if the table is not cut into partitions. Charged to the cache's budget.
    pub fn memory_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// The newest version of `user` that is not newer than `seq`, be it a value or a tombstone.
    /// `hash` is the key's [`crate::key_hash`].
    ///
    /// The value stays in its block, which the returned slice keeps in memory. Range tombstones are
    /// left to the caller: see [`Table::covering`].
    ///
    /// # Errors
    /// [`Error::Corrupt`](stratalog_base::Error::Corrupt) if a block is damaged, or as
    /// [`File::read_at`]. Never taken for absence.
    #[inline]
    pub fn get(
        self: &Arc<Self>,
        user: &[u8],
        hash: u64,
        seq: SeqNo,
    ) -> Result<Option<(Trailer, Slice)>> {
        if self.meta.top.len() == 0 {
            return Ok(None);
        }
        let target = KeyRef::seek(user, seq);
        let reader = self.blocks.cache().enter();
        if let Some(found) = self.get_cached(target, hash, &reader) {
            return Ok(found);
        }
        drop(reader);
        self.get_slowly(target, hash)
    }

    /// The same from what is in memory; `None` if that does not tell.
    #[inline]
    fn get_cached(
        &self,
        target: KeyRef<'_>,
        hash: u64,
        reader: &Reader<'_>,
    ) -> Option<Option<(Trailer, Slice)>> {
        let held;
        let partition: &Partition = match &self.only {
            Some(only) => only,
            None => {
                held = self.partitions.get(self.meta.top.find(target), reader)?;
                &held
            }
        };
        if !partition.may_contain(hash) {
            return Some(None);
        }
        let index = partition.index.find(target);
        let block = self.blocks.get(partition.index.first_block() + index, reader)?;
        let Some(found) = block.find(target) else { return Some(None) };
        (found < block.len()).then(|| entry_of(&block, found, target.user))
    }

    /// The same by reading what is missing.
    #[inline(never)]
    fn get_slowly(&self, target: KeyRef<'_>, hash: u64) -> Result<Option<(Trailer, Slice)>> {
        let number = if self.only.is_some() { 0 } else { self.meta.top.find(target) };
        let partition = self.partition(number)?;
        if !partition.may_contain(hash) {
            return Ok(None);
        }
        let index = partition.index.find(target);
        let mut block = self.block(&partition, index, Wanted::Lookup)?;
        let Some(mut found) = block.find(target) else { return Ok(None) };
        if found == block.len() {
            // All of the block is newer. The versions of the key may go on in the next.
            block = match self.continued(&partition, number, index, target.user)? {
                Some(block) => block,
                None => return Ok(None),
            };
            found = 0;
        }
        Ok(entry_of(&block, found, target.user))
    }

    /// The sequence number of the newest range tombstone of this table that covers `user` and is not
    /// newer than `seq`. A reader at `seq` does not see older versions of `user`, whichever table they
    /// are in.
    #[inline]
    pub fn covering(&self, user: &[u8], seq: SeqNo) -> Option<SeqNo> {
        if self.meta.ranges.is_empty() { None } else { self.meta.ranges.covering(user, seq) }
    }

    /// The table's range tombstones.
    pub fn ranges(&self) -> &Fragments {
        &self.meta.ranges
    }

    /// The block behind block `index` of `partition`, which is numbered `number`, if it begins with a
    /// version of `user` that is not the first.
    #[cold]
    fn continued(
        &self,
        partition: &Partition,
        number: usize,
        index: usize,
        user: &[u8],
    ) -> Result<Option<Block>> {
        let (index, number) = (index + 1, number + 1);
        if index < partition.index.len() {
            if partition.index.separator(index).user != user {
                return Ok(None);
            }
            return self.block(partition, index, Wanted::Lookup).map(Some);
        }
        let top = &self.meta.top;
        if number == top.len() || top.separator(number).user != user {
            return Ok(None);
        }
        let next = self.partition(number)?;
        self.block(&next, 0, Wanted::Lookup).map(Some)
    }

    /// Whether entries may have user keys that begin with `prefix`; `false` is certain. It is that only
    /// for prefixes of at least the [`crate::TableOptions::prefix_bytes`] that the table was built with.
    /// Range tombstones count for nothing here.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn may_contain_prefix(&self, prefix: &[u8]) -> Result<bool> {
        let known = self.prefix_bytes();
        let Some(known) = prefix.get(..known).filter(|known| !known.is_empty()) else {
            return Ok(true);
        };
        let (hash, top) = (prefix_hash(known), &self.meta.top);
        if top.len() == 0 {
            return Ok(false);
        }
        // Keys with this prefix go on in the next partition only if its lower bound has it, too.
        let mut number = top.find(KeyRef::before(prefix));
        loop {
            if self.partition(number)?.may_contain(hash) {
                return Ok(true);
            }
            number += 1;
            if number == top.len() || !top.separator(number).user.starts_with(prefix) {
                return Ok(false);
            }
        }
    }

    /// Leading bytes of user keys that the table's filters know; 0 for none.
    pub fn prefix_bytes(&self) -> usize {
        self.meta.properties.prefix_bytes as usize
    }

    /// A cursor over all entries, or those within the bounds of `reads`. It keeps the table open.
    pub fn cursor(self: &Arc<Self>, reads: impl Into<Reads>) -> TableCursor {
        TableCursor::new(self.clone(), reads.into())
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The partition of a table that has only one.
    #[inline]
    pub(crate) fn only(&self) -> Option<&Partition> {
        self.only.as_deref()
    }

    /// Partition `number`, if in memory.
    #[inline]
    pub(crate) fn cached_partition(
        &self,
        number: usize,
        is_use: bool,
    ) -> Option<Shared<Partition>> {
        match &self.only {
            Some(only) => Some(only.clone()),
            None => {
                let reader = self.partitions.cache().enter();
                let partition = self.partitions.peek(number, &reader)?;
                if is_use {
                    partition.reference();
                }
                Some(partition.share())
            }
        }
    }

    /// Partition `number`, cached from now on.
    #[inline]
    pub(crate) fn partition(&self, number: usize) -> Result<Shared<Partition>> {
        match self.cached_partition(number, true) {
            Some(partition) => Ok(partition),
            None => self.fill_partition(number),
        }
    }

    #[cold]
    fn fill_partition(&self, number: usize) -> Result<Shared<Partition>> {
        let partition = self.meta.read_partition(&*self.file, number, true, &mut Vec::new())?;
        let slots = &self.partitions;
        Ok(slots.cache().insert(slots, number, partition.share(), Wanted::Lookup))
    }

    /// The data block with this number in the table, if cached. Keeps it there if it `is_use`.
    #[inline]
    pub(crate) fn cached(&self, number: usize, is_use: bool) -> Option<Block> {
        let reader = self.blocks.cache().enter();
        let block = self.blocks.peek(number, &reader)?;
        if is_use {
            block.reference();
        }
        Some(block.share())
    }

    /// Caches `block`, which has this number in the table. Returns the one that is cached.
    pub(crate) fn keep(&self, number: usize, block: Block, wanted: Wanted) -> Block {
        self.blocks.cache().insert(&self.blocks, number, block, wanted)
    }

    /// Where blocks are decoded that are to be cached.
    pub(crate) fn slabs(&self) -> &Arc<Slabs> {
        self.blocks.cache().slabs()
    }

    /// Asks for the first lines of the block with this number, if there is one and it is cached.
    #[inline]
    pub(crate) fn prefetch(&self, number: usize) {
        self.blocks.prefetch(number);
    }

    /// Block `index` of `partition`, cached from now on.
    #[inline]
    pub(crate) fn block(
        &self,
        partition: &Partition,
        index: usize,
        wanted: Wanted,
    ) -> Result<Block> {
        let reader = self.blocks.cache().enter();
        if let Some(block) = self.blocks.get(partition.index.first_block() + index, &reader) {
            return Ok(block.share());
        }
        drop(reader);
        self.fill(partition, index, wanted)
    }

    #[cold]
    fn fill(&self, partition: &Partition, index: usize, wanted: Wanted) -> Result<Block> {
        let range = partition.index.range(index);
        // Decoding checked that the range lies in the file, so its length is not made up.
        let mut stored = vec![0; (range.end - range.start) as usize];
        read_exact_at(&*self.file, &mut stored, range.start)?;
        let block =
            self.meta.decode(&*self.file, range.start, Cow::Owned(stored), Some(self.slabs()))?;
        Ok(self.keep(partition.index.first_block() + index, block, wanted))
    }
}

/// What a point read returns of the entry numbered `index`, if it is one of `user`.
#[inline]
fn entry_of(block: &Block, index: usize, user: &[u8]) -> Option<(Trailer, Slice)> {
    let entry = block.entry(index);
    let is_it = block.has_key(index, &entry, user);
    is_it.then(|| (block.trailer(index), pin::value(block, &entry)))
}
