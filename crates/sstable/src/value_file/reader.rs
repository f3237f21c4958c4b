//! [`ValueFile`]: an open value file.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use stratalog_base::budget::Charge;
use stratalog_base::codec::Decoder;
use stratalog_base::fs::{File, read_exact_at};
use stratalog_base::{Error, Result, Slice};

use super::{Footer, MAGIC, MAX_RECORD_BYTES, ValueHandle, ValueSummary, ValuesAhead};
use crate::cache::{BlockCache, Cached, Slots, Wanted};
use crate::compress::Unpacker;
use crate::footer::digest;
use crate::frame::{self, BlockKind, Place};
use crate::pin;
use crate::shared::Shared;
use crate::sweep::Sweep;

/// An open value file. Immutable, shared by any number of readers.
///
/// It has a slot in the [`BlockCache`] for each record. An error of one call is that call's alone.
pub struct ValueFile {
    file: Arc<dyn File>,
    footer: Footer,
    slots: Arc<Slots<Held>>,
    /// For the slots.
    _charge: Charge,
}

/// A value in the cache.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where its record starts and how long it is. A handle that is wrong in one of its numbers is told by them.
    offset: u64,
    bytes: u64,
    pub(crate) value: Box<[u8]>,
}

impl Held {
    fn is_of(&self, handle: &ValueHandle) -> bool {
        (self.offset, self.bytes) == (handle.offset, handle.bytes)
    }
}

impl Cached for Held {
    const PREFETCH_LINES: usize = 1;

    fn memory_bytes(shared: &Shared<Held>) -> usize {
        shared.allocated_bytes() + shared.value.len()
    }
}

impl std::fmt::Debug for ValueFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl ValueFile {
    /// Opens `file` as value file number `id`. Reads and checks the footer.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] if the footer is damaged, cut off, or that of another number.
    /// - [`Error::NotOurs`] if it is no value file, [`Error::NewerFormat`] if a later release wrote it.
    /// - As [`File::read_at`].
    pub fn open(file: Arc<dyn File>, id: u64, cache: Arc<BlockCache>) -> Result<ValueFile> {
        let footer = Footer::read(&*file, id)?;
        // At most one for each six bytes of the file.
        let slots = Slots::new(footer.records as usize, cache.clone());
        let charge = cache.charge_table(slots.memory_bytes());
        Ok(ValueFile { file, footer, slots, _charge: charge })
    }

    /// What the file holds.
    pub fn summary(&self) -> ValueSummary {
        self.footer.summary()
    }

    /// The bytes of all values, uncompressed.
    pub fn value_bytes(&self) -> u64 {
        self.footer.value_bytes
    }

    /// The value that `handle` leads to, cached from now on. The slice keeps it in memory, and nothing
    /// else.
    ///
    /// # Errors
    /// As [`ValueFile::read`].
    ///
    /// # Panics
    /// As [`ValueFile::read`].
    #[inline]
    pub fn get(&self, handle: &ValueHandle) -> Result<Slice> {
        match self.cached(handle)? {
            Some(value) => Ok(value),
            None => self.keep(handle, self.read_bytes(handle)?.into(), Wanted::Lookup),
        }
    }

    /// The same for who runs over many values: this one need not stay, and those beside it are read
    /// along, `ahead`, once the values asked for lie together.
    ///
    /// # Errors
    /// As [`ValueFile::read`].
    ///
    /// # Panics
    /// As [`ValueFile::read`].
    pub fn scan(&self, handle: &ValueHandle, ahead: &mut ValuesAhead) -> Result<Slice> {
        let sweep = ahead.of(self.footer.file);
        if let Some(value) = self.cached(handle)? {
            sweep.pass(handle.offset..handle.end());
            return Ok(value);
        }
        let wanted = self.record(handle)?;
        sweep.come_to(&wanted);
        let bounds = MAGIC.len() as u64..self.footer.records_end;
        let stored = sweep.read(&*self.file, wanted, bounds)?;
        let value = self.open_frame(BlockKind::Value, handle.offset, stored)?;
        self.keep(handle, value.into_owned().into(), Wanted::Scan)
    }

    /// The value that `handle` leads to, if cached.
    #[inline]
    fn cached(&self, handle: &ValueHandle) -> Result<Option<Slice>> {
        assert_eq!(handle.file, self.footer.file, "the handle is another file's");
        if handle.index >= self.footer.records {
            return Err(self.no_record(handle));
        }
        let reader = self.slots.cache().enter();
        let held = self.slots.get(handle.index as usize, &reader);
        let held = held.filter(|held| held.is_of(handle));
        Ok(held.map(|held| pin::separated(&held)))
    }

    /// Caches `value`, which `handle` leads to.
    fn keep(&self, handle: &ValueHandle, value: Box<[u8]>, wanted: Wanted) -> Result<Slice> {
        let held = Held { offset: handle.offset, bytes: handle.bytes, value };
        let held = Shared::build(held, 0, |_, _| Ok::<(), Error>(()))?;
        let kept = self.slots.cache().insert(&self.slots, handle.index as usize, held, wanted);
        // What another reader was faster to put there may be of another handle, if one of them is wrong.
        if kept.is_of(handle) { Ok(pin::separated(&kept)) } else { self.read(handle) }
    }

    /// Where the record lies, which is in the file.
    fn record(&self, handle: &ValueHandle) -> Result<Range<u64>> {
        match handle.end() <= self.footer.records_end {
            true => Ok(handle.offset..handle.end()),
            false => Err(self.no_record(handle)),
        }
    }

    #[cold]
    fn no_record(&self, handle: &ValueHandle) -> Error {
        let what = "a handle leads behind the last record";
        Error::corrupt(self.file.path(), handle.offset, what) // VALUE-1
    }

    /// The value that `handle` leads to, past the cache.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming file and offset, if there is no such record, or it is damaged; as
    /// [`File::read_at`].
    ///
    /// # Panics
    /// If the handle is that of another file.
    pub fn read(&self, handle: &ValueHandle) -> Result<Slice> {
        self.read_bytes(handle).map(Slice::from)
    }

    fn read_bytes(&self, handle: &ValueHandle) -> Result<Vec<u8>> {
        assert_eq!(handle.file, self.footer.file, "the handle is another file's");
        let record = self.record(handle)?;
        // The record lies in the file, so its length is not made up.
        let mut stored = vec![0; handle.bytes as usize];
        read_exact_at(&*self.file, &mut stored, record.start)?;
        self.open_frame(BlockKind::Value, handle.offset, Cow::Owned(stored)).map(Cow::into_owned)
    }

    /// The handles of all records, in their order. The index block is read for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the index block is damaged; as [`File::read_at`].
    pub fn handles(&self) -> Result<Vec<ValueHandle>> {
        self.read_index().map(|(handles, _)| handles)
    }

    /// Reads the whole file and calls `seen` with every value, in the order of the records.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for the first damage found, naming file and offset; as [`File::read_at`]; what
    /// `seen` returns.
    pub fn verify(
        &self,
        mut seen: impl FnMut(&ValueHandle, &[u8]) -> Result<()>,
    ) -> Result<ValueSummary> {
        let path = self.file.path();
        let mut magic = [0; MAGIC.len()];
        read_exact_at(&*self.file, &mut magic, 0)?;
        if magic != MAGIC {
            return Err(Error::corrupt(path, 0, "the magic number is damaged"));
        }
        let (handles, index_checksum) = self.read_index()?;
        let bounds = MAGIC.len() as u64..self.footer.records_end;
        let (mut sweep, mut sum, mut value_bytes) = (Sweep::default(), self.footer.file, 0);
        for handle in &handles {
            let range = handle.offset..handle.end();
            let stored = sweep.read(&*self.file, range, bounds.clone())?;
            sum = frame::checksum(&stored).into_iter().fold(sum, digest);
            let value = self.open_frame(BlockKind::Value, handle.offset, stored)?;
            value_bytes += value.len() as u64;
            seen(handle, &value)?;
        }
        if index_checksum.into_iter().fold(sum, digest) != self.footer.digest
            || value_bytes != self.footer.value_bytes
        {
            let what = "the footer is not that of the records";
            return Err(Error::corrupt(path, self.footer.records_end, what));
        }
        Ok(self.summary())
    }

    fn read_index(&self) -> Result<(Vec<ValueHandle>, Option<u32>)> {
        let (path, at) = (self.file.path(), self.footer.records_end);
        let too_large = |_| Error::corrupt(path, at, "index exceeds the address space");
        let mut stored = vec![0; usize::try_from(self.footer.index_bytes).map_err(too_large)?];
        read_exact_at(&*self.file, &mut stored, at)?;
        let checksum = frame::checksum(&stored);
        let contents = self.open_frame(BlockKind::ValueIndex, at, Cow::Owned(stored))?;
        let handles = decode_index(&contents, self.footer.file)
            .map_err(|e| self.place(BlockKind::ValueIndex, at).corrupt(path, e))?;
        let end = handles.last().map(ValueHandle::end);
        if end != Some(at) || handles.len() as u64 != self.footer.records {
            return Err(Error::corrupt(path, at, "index is not that of the records")); // VALUE-2
        }
        Ok((handles, checksum))
    }

    fn place(&self, kind: BlockKind, offset: u64) -> Place {
        Place { file: self.footer.file, kind, offset }
    }

    fn open_frame<'a>(
        &self,
        kind: BlockKind,
        offset: u64,
        stored: Cow<'a, [u8]>,
    ) -> Result<Cow<'a, [u8]>> {
        let place = self.place(kind, offset);
        frame::open(stored, place, &Unpacker::default())
            .map_err(|e| place.corrupt(self.file.path(), e))
    }
}

/// The handles of the records of value file `file` whose index block has these contents.
pub(crate) fn decode_index(
    contents: &[u8],
    file: u64,
) -> Result<Vec<ValueHandle>, stratalog_base::codec::Malformed> {
    let mut decoder = Decoder::new(contents);
    let mut handles = Vec::new();
    let (mut index, mut offset) = (0, MAGIC.len() as u64);
    while !decoder.is_empty() {
        let bytes = decoder.varint_max(MAX_RECORD_BYTES)? as u64;
        if bytes < frame::FRAME_BYTES as u64 {
            return Err(decoder.malformed("a record is shorter than its frame"));
        }
        handles.push(ValueHandle { file, index, offset, bytes });
        index += 1;
        offset = match offset.checked_add(bytes) {
            Some(offset) => offset,
            None => return Err(decoder.malformed("records exceed any file")),
        };
    }
    Ok(handles)
}
