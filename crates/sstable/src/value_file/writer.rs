//! Writing a value file: values in any order come in, handles come back.

use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::codec::put_varint;
use stratalog_base::fs::File;
use stratalog_base::key::MAX_VALUE_BYTES;

use super::{Footer, MAGIC, ValueHandle, ValueSummary};
use crate::compress::Packer;
use crate::frame::BlockKind;
use crate::options::Compression;
use crate::out::Out;

/// Writes one value file. The same values and compression give the same bytes.
///
/// After an error, drop the writer and remove the file: a value file without its footer does not open.
#[derive(Debug)]
pub struct ValueWriter {
    out: Out,
    packer: Packer,
    /// The contents of the index block so far.
    index: Vec<u8>,
    /// What the footer will say; complete but for the parts behind the records.
    footer: Footer,
}

impl ValueWriter {
    /// A writer to the empty `file`, which will be value file number `id`. The number is part of every
    /// checksum: the file does not open as another one. [`Compression::Zstd`] counts as
    /// [`Compression::Lz4`]: a value file has no place for a dictionary.
    pub fn new(file: Arc<dyn File>, id: u64, compression: Compression) -> ValueWriter {
        let (records_end, digest) = (MAGIC.len() as u64, id);
        let packer = match compression {
            Compression::None => Packer::Plain,
            Compression::Lz4 | Compression::Zstd { .. } => Packer::Lz4,
        };
        ValueWriter {
            out: Out::new(file, id, &MAGIC),
            packer,
            index: Vec::new(),
            footer: Footer {
                records_end,
                index_bytes: 0,
                records: 0,
                value_bytes: 0,
                digest,
                file: id,
            },
        }
    }

    /// Appends a value. Nothing of it survives anything before [`ValueWriter::finish`].
    ///
    /// # Errors
    /// As [`File::write_at`]; values are buffered, so the failure may be an earlier value's.
    ///
    /// # Panics
    /// If the value exceeds its limit.
    pub fn append(&mut self, value: &[u8]) -> Result<ValueHandle> {
        assert!(value.len() <= MAX_VALUE_BYTES);
        let (file, index, offset) =
            (self.footer.file, self.footer.records, self.footer.records_end);
        self.out.block(BlockKind::Value, value, Some(&mut self.packer))?;
        self.footer.records += 1;
        self.footer.records_end = self.bytes();
        self.footer.value_bytes += value.len() as u64;
        let bytes = self.footer.records_end - offset;
        put_varint(&mut self.index, bytes);
        Ok(ValueHandle { file, index, offset, bytes })
    }

    /// The bytes that the file would have now, without index and footer.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.out.offset()
    }

    /// Writes what is left and syncs the file. When it returns the *bytes* survive a power cut; the
    /// *name* does once the caller synced the directory.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync`].
    ///
    /// # Panics
    /// If no value was appended.
    pub fn finish(mut self) -> Result<ValueSummary> {
        assert!(self.footer.records > 0, "a value file has values");
        self.out.block(BlockKind::ValueIndex, &self.index, Some(&mut self.packer))?;
        self.footer.index_bytes = self.bytes() - self.footer.records_end;
        self.footer.digest = self.out.digest();
        self.out.finish(&self.footer.encode())?;
        Ok(self.footer.summary())
    }
}
