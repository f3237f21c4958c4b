//! Removing segments: which may go, and where their files go.

use std::time::Duration;

use stratalog_base::{Error, Result};

use super::{Files, RETIRED_MAX, Sealed};
use crate::Position;
use crate::options::Retention;
use crate::recovery::SegmentEnd;
use crate::segment::{file_name, retired_name, unready_name};
use crate::start_file::Start;

/// How soon retention that failed is tried again; twice as late after each further failure.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The last try of retention, which failed.
#[derive(Debug)]
pub(super) struct Failure {
    error: Error,
    in_a_row: u32,
}

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
        let mut going: Vec<_> = self.state.lock().obsolete(position).collect();
        going.sort_unstable_by_key(|it| (it.end, it.index));
        // With an archive, one after the other: so a power cut has few archived again.
        let go_together =
            |one: &SegmentEnd, next: &SegmentEnd| self.archive.is_none() || one.end == next.end;
        let mut removed = false;
        let outcome = going
            .chunk_by(go_together)
            .try_for_each(|segments| self.archive_and_remove(segments, &mut removed));
        if removed {
            self.fs.sync_dir(&self.dir)?; // FILES-2
        }
        outcome
    }

    /// Archives, then says that nothing is missed, then removes: FILES-7. For segments in order, where no other has
    /// the same end as the last of them.
    fn archive_and_remove(&self, segments: &[SegmentEnd], removed: &mut bool) -> Result<()> {
        let Some(&SegmentEnd { end: start, .. }) = segments.last() else { return Ok(()) };
        if let Some(archive) = &self.archive {
            segments.iter().try_for_each(|it| archive.call(&self.dir.join(file_name(it.index))))?;
        }
        Start { log_id: self.log_id, position: start }.raise(&*self.fs, &self.dir)?;
        {
            let mut state = self.state.lock();
            state.start = state.start.max(start); // FILES-6
        }
        for segment in segments {
            self.remove(segment.index)?;
            *removed = true;
            self.state.lock().older.retain(|it| it.segment.index != segment.index);
        }
        Ok(())
    }

    /// Notes how retention fared, `None` being well; after how long it is to be tried again, and whether the failure
    /// is the first in a row.
    pub fn note_retention(&self, failure: Option<Error>) -> Option<(Duration, bool)> {
        let mut last = self.retention_failure.lock();
        let Some(error) = failure else {
            *last = None;
            return None;
        };
        let before = last.take().map_or(0, |last| last.in_a_row);
        *last = Some(Failure { error, in_a_row: before.saturating_add(1) });
        let retry = RETRY_MIN.saturating_mul(1 << before.min(16)).min(RETRY_MAX);
        Some((retry, before == 0))
    }

    /// Why retention failed when it was last tried, if it did.
    pub fn retention_failure(&self) -> Option<Error> {
        self.retention_failure.lock().as_ref().map(|last| last.error.clone())
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
