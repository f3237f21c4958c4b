//! [`ValuesAhead`]: what a scan has read of value files beyond the values that it met.

use crate::sweep::Sweep;

/// Value files of which a scan reads ahead at a time.
const FILES: usize = 8;

/// The read-ahead of one scan, for [`ValueFile::scan`](crate::ValueFile::scan). Entries that follow each
/// other have their values one behind another in the same file, or, where merges came between, in a few.
///
/// A value is read by itself until two were read that lie together; then two are read at once, four, up
/// to 256 KiB, in either direction. It holds as much for each of up to eight files.
#[derive(Debug, Default)]
pub struct ValuesAhead {
    /// The number of the file, and what was read of it; the one used last is the first.
    windows: Vec<(u64, Sweep)>,
}

impl ValuesAhead {
    /// The window of the file with this number, empty if there was none.
    #[inline]
    pub(crate) fn of(&mut self, file: u64) -> &mut Sweep {
        if self.windows.first().is_none_or(|(first, _)| *first != file) {
            self.bring(file);
        }
        &mut self.windows[0].1
    }

    /// Puts the window of `file` in front.
    #[inline(never)]
    fn bring(&mut self, file: u64) {
        let at = self.windows.iter().position(|(other, _)| *other == file).unwrap_or_else(|| {
            self.windows.truncate(FILES - 1);
            self.windows.push((file, Sweep::growing()));
            self.windows.len() - 1
        });
        self.windows[..=at].rotate_right(1);
    }
}
