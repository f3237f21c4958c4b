//! [`ValuesAhead`]: what a scan has read of value files beyond the values that it met.

use crate::sweep::Sweep;

/// Value files of which a scan reads ahead at a time: more would be looked through at each value.
const FILES: usize = 128;
/// What all windows together may hold.
const TOTAL_BYTES: u64 = 4 << 20;
/// A window that was not used for so many values, for each window, is one of a file that the scan has left.
const PATIENCE: u64 = 16;

/// The read-ahead of one scan, for [`ValueFile::scan`](crate::ValueFile::scan). Entries that follow each
/// other have their values one behind another in the same file, or, where merges came between, in several,
/// each of which the scan goes through in order.
///
/// A value is read by itself until two were read that lie together; then two are read at once, four, up
/// to 256 KiB, in either direction. It does that for up to 128 files at a time, which share 4 MiB.
#[derive(Debug, Default)]
pub struct ValuesAhead {
    windows: Vec<Window>,
    /// The place of the one used last.
    latest: usize,
    /// Values so far.
    values: u64,
}

#[derive(Debug)]
struct Window {
    file: u64,
    /// The number of the last value.
    used_at: u64,
    sweep: Sweep,
}

impl ValuesAhead {
    /// The window of the file with this number, for the next value; empty if there was none.
    #[inline]
    pub(crate) fn of(&mut self, file: u64) -> &mut Sweep {
        self.values += 1;
        if self.windows.get(self.latest).is_none_or(|window| window.file != file) {
            self.find(file);
        }
        let window = &mut self.windows[self.latest];
        window.used_at = self.values;
        &mut window.sweep
    }

    #[inline(never)]
    fn find(&mut self, file: u64) {
        let found = self.windows.iter().position(|window| window.file == file);
        self.latest = found.unwrap_or_else(|| self.add(file));
    }

    /// Makes a window for `file`, and room for it among the others. Returns its place.
    fn add(&mut self, file: u64) -> usize {
        let patience = PATIENCE * self.windows.len() as u64;
        self.windows.retain(|window| window.used_at + patience >= self.values);
        if self.windows.len() == FILES {
            let places = 0..FILES;
            let oldest = places.min_by_key(|&place| self.windows[place].used_at);
            self.windows.swap_remove(oldest.expect("there are windows"));
        }
        self.windows.push(Window { file, used_at: self.values, sweep: Sweep::growing() });
        let share = TOTAL_BYTES / self.windows.len() as u64;
        self.windows.iter_mut().for_each(|window| window.sweep.limit(share));
        self.windows.len() - 1
    }
}
