//! [`Out`]: a file that is written block by block, behind one buffer.

use std::sync::Arc;

use stratalog_base::Result;
use stratalog_base::fs::File;

use crate::compress::Packer;
use crate::footer::digest;
use crate::frame::{BlockKind, Place, seal};

/// Blocks are gathered to this size before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// See the module page.
#[derive(Debug)]
pub(crate) struct Out {
    file: Arc<dyn File>,
    id: u64,
    buffer: Vec<u8>,
    /// Bytes in the file; the buffer follows.
    written: u64,
    digest: u64,
}

impl Out {
    /// To the empty `file` number `id`, which begins with `magic`.
    pub(crate) fn new(file: Arc<dyn File>, id: u64, magic: &[u8]) -> Out {
        Out { file, id, buffer: magic.to_vec(), written: 0, digest: id }
    }

    /// The file's number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of the file so far.
    pub(crate) fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The digest of the checksums of all blocks so far.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Appends a block.
    ///
    /// # Errors
    /// As [`File::write_at`]; blocks are buffered, so the failure may be an earlier one's.
    pub(crate) fn block(
        &mut self,
        kind: BlockKind,
        contents: &[u8],
        packer: Option<&mut Packer>,
    ) -> Result<()> {
        let place = Place { file: self.id, kind, offset: self.offset() };
        let checksum = seal(&mut self.buffer, contents, packer, place);
        self.digest = digest(self.digest, checksum);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    /// Appends the footer, writes what is left and syncs the file.
    ///
    /// # Errors
    /// As [`File::write_at`] and [`File::sync`].
    pub(crate) fn finish(&mut self, footer: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(footer);
        self.write()?;
        self.file.sync()
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
