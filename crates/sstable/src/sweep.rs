//! Reading many blocks in a row by few large reads.

use std::borrow::Cow;
use std::ops::Range;

use stratalog_base::Result;
use stratalog_base::fs::{File, read_exact_at};

/// The most that is read at once. What is larger is read by itself.
const MOST_BYTES: u64 = 256 << 10;
/// Blocks read one by one before a growing window reads more than is wanted.
const SINGLE_READS: u32 = 2;

/// A window of a file that moves ahead of its reader, in either direction.
#[derive(Debug)]
pub(crate) struct Sweep {
    start: u64,
    window: Vec<u8>,
    /// Of a window that grows: the last bytes that were wanted.
    last: Range<u64>,
    /// Reads so far, each of which went on where the one before ended.
    streak: u32,
    grows: bool,
    /// The most that is read at once.
    most_bytes: u64,
}

impl Default for Sweep {
    /// Reads as much as it may from the first read on.
    fn default() -> Self {
        Sweep {
            start: 0,
            window: Vec::new(),
            last: 0..0,
            streak: 0,
            grows: false,
            most_bytes: MOST_BYTES,
        }
    }
}

impl Sweep {
    /// Reads what is wanted and no more, until that was adjacent a few times; from then on twice as
    /// much, and twice that, and so on.
    pub(crate) fn growing() -> Sweep {
        Sweep { grows: true, ..Sweep::default() }
    }

    /// Reads no more than `bytes` at once from now on, and never more than [`MOST_BYTES`].
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.most_bytes = bytes.min(MOST_BYTES);
    }

    /// Says that what comes next is unrelated to what was read.
    pub(crate) fn jump(&mut self) {
        self.streak = 0;
    }

    /// Says that what comes next is `wanted`, and unrelated unless it lies beside what came before: with no
    /// more between than is wanted.
    #[inline]
    pub(crate) fn come_to(&mut self, wanted: &Range<u64>) {
        let between = wanted.start.saturating_sub(self.last.end);
        let between = between.max(self.last.start.saturating_sub(wanted.end));
        if between > wanted.end - wanted.start {
            self.jump();
        }
    }

    /// Says that `wanted` was had without reading.
    #[inline]
    pub(crate) fn pass(&mut self, wanted: Range<u64>) {
        self.come_to(&wanted);
        self.last = wanted;
    }

    /// How much to read where `wanted` is missing.
    fn window_bytes(&self, wanted: u64) -> u64 {
        match self.streak.checked_sub(SINGLE_READS) {
            _ if !self.grows => self.most_bytes,
            None => wanted,
            // As many of what is wanted as fit, if they are equally long: the last one whole.
            Some(doublings) => wanted * (2 << doublings.min(20)).min(self.most_bytes / wanted),
        }
    }

    /// The bytes of `file` at `wanted`, which lies within `bounds`.
    pub(crate) fn read(
        &mut self,
        file: &dyn File,
        wanted: Range<u64>,
        bounds: Range<u64>,
    ) -> Result<Cow<'_, [u8]>> {
        let backwards = wanted.start < self.last.start;
        self.last = wanted.clone();
        let end = self.start + self.window.len() as u64;
        if wanted.start < self.start || wanted.end > end {
            let window_bytes = self.window_bytes(wanted.end - wanted.start);
            self.streak += 1;
            if wanted.end - wanted.start >= window_bytes {
                let mut alone = vec![0; (wanted.end - wanted.start) as usize];
                read_exact_at(file, &mut alone, wanted.start)?;
                return Ok(Cow::Owned(alone));
            }
            let range = if backwards {
                let start = wanted.end.saturating_sub(window_bytes).max(bounds.start);
                start.min(wanted.start)..wanted.end
            } else {
                let end = wanted.start.saturating_add(window_bytes).min(bounds.end);
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
        let len = (range.end - range.start) as usize;
        window.truncate(len);
        window.shrink_to(self.most_bytes as usize);
        window.resize(len, 0);
        read_exact_at(file, &mut window, range.start)?;
        (self.start, self.window) = (range.start, window);
        Ok(())
    }
}
