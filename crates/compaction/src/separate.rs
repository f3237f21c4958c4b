//! Separating values from tables while tables are written.

use std::sync::Arc;

use stratalog_base::fs::File;
use stratalog_base::{KeyRef, Kind, Result, Slice};
use stratalog_sstable::{Compression, ValueHandle, ValueSummary, ValueWriter};

use crate::job::NewFile;

/// Which values of a job go where.
pub struct Separation<'a> {
    /// Values of at least this many bytes go to value files; `usize::MAX`: none.
    pub from_bytes: usize,
    /// A new value file is started at the first value after this many bytes.
    pub file_bytes: u64,
    /// How values are compressed.
    pub compression: Compression,
    /// Whether the values that the job meets in this value file are to be written anew.
    pub collect: &'a dyn Fn(u64) -> bool,
    /// Reads a value out of a value file of the version that the job's inputs stand in.
    pub read: &'a dyn Fn(&ValueHandle) -> Result<Slice>,
}

impl Separation<'static> {
    /// All values in tables, and no value file to collect or to read.
    pub const NONE: Self = Separation {
        from_bytes: usize::MAX,
        file_bytes: u64::MAX,
        compression: Compression::None,
        collect: &|_| false,
        read: &|handle| unreachable!("value file {} is not to be collected", handle.file),
    };
}

/// Turns the entries of a job into those that its tables store.
pub(crate) struct Separator<'a> {
    separation: &'a Separation<'a>,
    writer: Option<ValueWriter>,
    done: Vec<ValueSummary>,
    handle: Vec<u8>,
    /// A value that was read to be written anew.
    value: Slice,
}

impl<'a> Separator<'a> {
    pub fn new(separation: &'a Separation<'a>) -> Self {
        let (done, handle) = (Vec::new(), Vec::new());
        Separator { separation, writer: None, done, handle, value: Slice::default() }
    }

    /// The entry as a table stores it: large values are appended to a value file, which `create` makes
    /// when one is needed, and those of files to be collected are fetched before.
    #[inline]
    pub fn entry<'e>(
        &'e mut self,
        key: KeyRef<'e>,
        value: &'e [u8],
        create: &mut dyn FnMut(NewFile) -> Result<(u64, Arc<dyn File>)>,
    ) -> Result<(KeyRef<'e>, &'e [u8])> {
        match key.trailer.kind() {
            Kind::Put if value.len() >= self.separation.from_bytes => {
                self.append(value, create)?;
            }
            Kind::Separated => {
                let handle = ValueHandle::of_entry(value);
                if !(self.separation.collect)(handle.file) {
                    return Ok((key, value));
                }
                self.value = (self.separation.read)(&handle)?;
                if self.value.len() < self.separation.from_bytes {
                    let key = KeyRef::new(key.user, key.trailer.seq(), Kind::Put);
                    return Ok((key, &self.value));
                }
                let value = self.value.clone();
                self.append(&value, create)?;
            }
            _ => return Ok((key, value)),
        }
        Ok((KeyRef::new(key.user, key.trailer.seq(), Kind::Separated), &self.handle))
    }

    /// Appends `value` to a value file and leaves its handle in `self.handle`.
    fn append(
        &mut self,
        value: &[u8],
        create: &mut dyn FnMut(NewFile) -> Result<(u64, Arc<dyn File>)>,
    ) -> Result<()> {
        if self.writer.as_ref().is_some_and(|it| it.bytes() >= self.separation.file_bytes) {
            self.end_file()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let (id, file) = create(NewFile::Values)?;
                self.writer.insert(ValueWriter::new(file, id, self.separation.compression))
            }
        };
        self.handle.clear();
        writer.append(value)?.encode(&mut self.handle);
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        self.done.extend(self.writer.take().map(ValueWriter::finish).transpose()?);
        Ok(())
    }

    /// The value files written, all synced.
    pub fn finish(mut self) -> Result<Vec<ValueSummary>> {
        self.end_file()?;
        Ok(self.done)
    }
}
