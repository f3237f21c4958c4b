//! Removing segments: which may go, and where their files go.

use std::time::Duration;

use stratalog_base::Result;

use super::{Files, RETIRED_MAX, Sealed};
use crate::Position;
use crate::options::Retention;
use crate::segment::{file_name, retired_name, unready_name};
use crate::start_file::Start;

impl Files {
    /// Below which position [`LogOptions::retention`] keeps nothing, if it is to keep less than there
    /// is, and after how long it may be to keep less.
    pub fn unretained(&self) -> (Option<Position>, Option<Duration>) {
        let state = self.state.lock();
        let end_of = |sealed: &Sealed| sealed.segment.end;
        match self.retention {
            Retention::Everything => (None, None),
            Retention::Segments(count) => {
                let surplus = state.older.len().checked_sub(count);
                let last = surplus.and_then(|it| it.checked_sub(1));
                (last.map(|last| end_of(&state.older[last])), None)
            }
            Retention::Age(age) => {
                let old = state.older.iter().rfind(|it| it.since.elapsed() >= age);
                let young = state.older.iter().find(|it| it.since.elapsed() < age);
                let next = young.map(|it| age.saturating_sub(it.since.elapsed()));
                (old.map(end_of), next)
            }
        }
    }

    /// Removes the segments that lie wholly below `position`, but none from the newest one on whose link
    /// is durable (FILES-4).
    ///
    /// # Errors
    /// If a file cannot be archived or removed or the directory not be synced; then some are gone.
    pub fn truncate_before(&self, position: Position) -> Result<()> {
        let _removal = self.removal.lock();
        let start = {
            let state = self.state.lock();
            state.obsolete(position).map(|it| it.end).max()
        };
        let Some(start) = start else { return Ok(()) };
        Start { log_id: self.log_id, position: start }.raise(&*self.fs, &self.dir)?;
        {
            let mut state = self.state.lock();
            state.start = state.start.max(start); // FILES-6
        }
        let mut removed = false;
        let outcome = loop {
            // Not those that have become obsolete meanwhile: the start does not cover them.
            let oldest = self.state.lock().obsolete(start).min_by_key(|it| it.index);
            let Some(oldest) = oldest else { break Ok(()) };
            if let Err(error) = self.remove(oldest.index) {
                break Err(error);
            }
            removed = true;
            self.state.lock().older.retain(|it| it.segment != oldest);
        };
        if removed {
            self.fs.sync_dir(&self.dir)?; // FILES-2
        }
        outcome
    }

    /// Removes what is left of a file that could not be made ready, so that it takes no space. What cannot
    /// be removed now goes when the log is opened the next time. One that has a segment's name by now stays
    /// until it is truncated then: that name is not its own for sure.
    pub(super) fn remove_unready(&self, index: u64, retired: Option<u64>) {
        for name in retired.map(retired_name).into_iter().chain([unready_name(index)]) {
            _ = self.fs.remove(&self.dir.join(name));
        }
    }

    /// Retires the file of a segment, or removes it if enough are retired.
    fn remove(&self, index: u64) -> Result<()> {
        let path = self.dir.join(file_name(index));
        if let Some(archive) = &self.archive {
            archive.call(&path)?;
        }
        let is_whole = || {
            let len = self.fs.open(&path).and_then(|file| file.len());
            len.is_ok_and(|len| len == self.segment_bytes)
        };
        let recycle = self.ahead && self.state.lock().retired.len() < RETIRED_MAX && is_whole();
        let outcome = if recycle {
            self.fs.rename(&path, &self.dir.join(retired_name(index)))
        } else {
            self.fs.remove(&path)
        };
        match outcome {
            Err(error) if !error.is_not_found() => Err(error),
            Ok(()) if recycle => {
                self.state.lock().retired.push(index);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
