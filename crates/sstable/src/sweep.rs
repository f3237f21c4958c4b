//! Reading many blocks in a row by few large reads, past the cache.

use std::borrow::Cow;
use std::ops::Range;

use stratalog_base::Result;
use stratalog_base::fs::{File, read_exact_at};

/// The bytes read at once. A block that is larger is read by itself.
const READ_BYTES: u64 = 256 << 10;

/// A window of a file that moves ahead of its reader, in either direction.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    start: u64,
    window: Vec<u8>,
}

impl Sweep {
    /// The bytes of `file` at `wanted`, which lies within `bounds`.
    pub(crate) fn read(
        &mut self,
        file: &dyn File,
        wanted: Range<u64>,
        bounds: Range<u64>,
    ) -> Result<Cow<'_, [u8]>> {
        if wanted.end - wanted.start >= READ_BYTES {
            let mut alone = vec![0; (wanted.end - wanted.start) as usize];
            read_exact_at(file, &mut alone, wanted.start)?;
            return Ok(Cow::Owned(alone));
        }
        let end = self.start + self.window.len() as u64;
        if wanted.start < self.start || wanted.end > end {
            let range = if wanted.start < self.start {
                let start = wanted.end.saturating_sub(READ_BYTES).max(bounds.start);
                start.min(wanted.start)..wanted.end
            } else {
                let end = wanted.start.saturating_add(READ_BYTES).min(bounds.end);
                wanted.start..end.max(wanted.end)
            };
            self.fill(file, range)?;
        }
        let at = (wanted.start - self.start) as usize;
        Ok(Cow::Borrowed(&self.window[at..at + (wanted.end - wanted.start) as usize]))
    }

    fn fill(&mut self, file: &dyn File, range: Range<u64>) -> Result<()> {
        // Empty until read: a failed read must not leave a window of zeros.
        let mut window = std::mem::take(&mut self.window);
        window.resize((range.end - range.start) as usize, 0);
        read_exact_at(file, &mut window, range.start)?;
        *self = Sweep { start: range.start, window };
        Ok(())
    }
}
