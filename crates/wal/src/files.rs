//! [`Files`]: the segment files of a log that is being written, and the background step that makes
//! them ahead.
//!
//! # Invariants
//! - FILES-1: what is in a segment and not durable lies in the active file or in those `unsynced`; a
//!   segment becomes active only after the one before has been put there. So a sync that goes through
//!   both, oldest first, covers all that was written before it began.
//! - FILES-2: a file is retired or removed only when no record in it is needed, and its name is gone
//!   durably when that is acknowledged, oldest first.
//! - FILES-3: indices are given out once, and each segment has a higher one than the one before.
//! - FILES-4: a segment goes only if the link of a newer one is durable, so a power cut always leaves
//!   one that tells whose log it is and where it begins.
//! - FILES-5: beyond what was filled ahead a file is written only while there is no spare: a sync of
//!   bytes that were never written before costs one and a half times as much.
//! - FILES-6: no segment is removed but below `start`, and nobody is sent to one below it. So whoever
//!   does not find a file that it was sent to asks again: if it was removed, it is sent elsewhere.
//! - FILES-7: `start` rises, here and in the start file, only over what was archived, if there is an archive; and a
//!   segment is removed only below the durable start file. So at any moment each is archived or still found.
//! - FILES-8: once a session has begun, a start file is whole and of its log. One that recovery passed over is replaced
//!   by what recovery went by instead, after the session's first segment is durable: so before and after, and if the
//!   power is cut in between, the same mode finds the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::Result;
use stratalog_base::fs::{File, Fs};
use stratalog_base::sync::{AtomicU64, Instant, Mutex, Ordering};

use crate::carry::Carried;
use crate::frame::StreamId;
use crate::options::{Archive, LogOptions, Retention};
use crate::recovery::{FIRST_POSITION, Recovered, SegmentEnd};
use crate::segment::{
    Header, Identity, Link, Previous, Segment, Spare, file_name, is_leftover, parse_name,
    retired_name,
};
use crate::start_file::{self, Start};
use crate::{Position, ring_file};

mod removal;

/// Bytes of zeros that the first segment of a session gets, at most a quarter of a segment: few,
/// because opening waits for them.
const FIRST_FILL_BYTES: u64 = 1 << 20;
/// Segments that may grow longer are not made ahead: they would take room long before they need it, if ever.
const AHEAD_MAX_BYTES: u64 = 1 << 30;
/// After a failed step the next is tried when so many bytes more are in use.
const RETRY_BYTES: u64 = 8 << 20;
/// Retired files that are kept to be recycled, besides the spare.
const RETIRED_MAX: usize = 2;

/// See the module page.
#[derive(Debug)]
pub struct Files {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    log_id: u64,
    /// The first segment of this session.
    session: u64,
    segment_bytes: u64,
    /// Whether files are made ahead.
    ahead: bool,
    retention: Retention,
    archive: Option<Archive>,
    /// Bytes in use of the active file.
    active_bytes: AtomicU64,
    /// How many these must be for the background step to have something to do.
    next_step_at: AtomicU64,
    /// How many they may be before the next segment is begun (FILES-5).
    limit: AtomicU64,
    state: Mutex<State>,
    /// Held by whoever removes segments.
    removal: Mutex<()>,
    retention_failure: Mutex<Option<removal::Failure>>,
}

#[derive(Debug)]
struct State {
    active: Arc<dyn File>,
    active_index: u64,
    /// Whether its link is written.
    is_linked: bool,
    /// The newest segment whose link is known to be durable (FILES-4).
    linked_index: u64,
    /// Bytes of it that were written before it was begun.
    filled: u64,
    /// Sealed, oldest first, not known to be durable (FILES-1).
    unsynced: Vec<Arc<dyn File>>,
    /// Not written any more, until they are removed, oldest first.
    older: Vec<Sealed>,
    /// Segments that lie wholly below are gone or about to go (FILES-6).
    start: Position,
    spare: Option<Spare>,
    /// Indices of files to be recycled.
    retired: Vec<u64>,
    next_index: u64,
    begun: Instant,
}

#[derive(Debug)]
struct Sealed {
    segment: SegmentEnd,
    /// Sealed, or found, by this process.
    since: Instant,
}

impl State {
    /// Segments that lie wholly below `position` and may go (FILES-4).
    fn obsolete(&self, position: Position) -> impl Iterator<Item = SegmentEnd> {
        let older = self.older.iter().map(|it| it.segment);
        older.filter(move |it| it.end <= position && it.index < self.linked_index)
    }
}

impl Files {
    /// Removes leftovers and begins a session in a fresh segment that starts with `frames`, `after` what was found.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: &LogOptions,
        header: Header,
        frames: &[u8],
        after: &Recovered,
    ) -> Result<(Files, Segment)> {
        let names = fs.list(dir)?;
        for name in &names {
            let unready = [ring_file::UNREADY_NAME, start_file::UNREADY_NAME];
            if is_leftover(name) || unready.contains(&&**name) {
                fs.remove(&dir.join(name))?;
            }
        }
        let ahead = options.segments_ahead && options.segment_bytes <= AHEAD_MAX_BYTES;
        let filled = if ahead { FIRST_FILL_BYTES.min(options.segment_bytes / 4) } else { 0 };
        let segment = Segment::first(&*fs, dir, header, frames, filled)?;
        // FILES-8: now that it has a segment, the log can be told from the one of the file that is there.
        let start = Start { log_id: header.id.log_id, position: after.start.max(FIRST_POSITION) };
        start.put_unless_same_log(&*fs, dir)?;
        if names.iter().any(|name| name == ring_file::NAME) {
            // What it held is durable by now. A damaged one would be an error to every recovery.
            fs.remove(&dir.join(ring_file::NAME))?;
            fs.sync_dir(dir)?;
        }
        let now = Instant::now();
        let state = State {
            active: segment.file.clone(),
            active_index: header.id.index,
            is_linked: true,
            linked_index: header.id.index,
            filled,
            unsynced: Vec::new(),
            older: after
                .segments
                .iter()
                .map(|it| SegmentEnd { end: it.end.min(header.link.base), ..*it })
                .map(|segment| Sealed { segment, since: now })
                .collect(),
            start: 0,
            spare: None,
            retired: Vec::new(),
            next_index: header.id.index + 1,
            begun: now,
        };
        let files = Files {
            fs,
            dir: dir.to_owned(),
            log_id: header.id.log_id,
            session: header.link.session,
            segment_bytes: options.segment_bytes,
            ahead,
            retention: options.retention,
            archive: options.archive.clone(),
            active_bytes: AtomicU64::new(segment.len()),
            next_step_at: AtomicU64::new(if ahead { filled / 4 } else { u64::MAX }),
            limit: AtomicU64::new(options.segment_bytes),
            state: Mutex::new(state),
            removal: Mutex::new(()),
            retention_failure: Mutex::new(None),
        };
        Ok((files, segment))
    }

    /// Where the files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What they are on.
    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// The number of the session: its first segment's index.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// The random number that tells the log's segments from others'.
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// Seals `old` and returns the segment that continues it. Waits for nothing but the next file's
    /// making, if none was made ahead.
    ///
    /// # Errors
    /// If the system refuses; then no segment may be written any more.
    pub fn rotate(&self, old: &Segment, durable: Position) -> Result<Segment> {
        let index = old.header.id.index;
        // One whose making took so long that another was made meanwhile comes too late (FILES-3).
        let spare = self.state.lock().spare.take_if(|spare| spare.id.index > index);
        let (spare, filled) = match spare {
            Some(spare) => (spare, self.segment_bytes),
            None => (Spare::create(&*self.fs, &self.dir, self.next_identity(true), 0)?, 0),
        };
        if let Err(error) = old.seal(durable, spare.id.index) {
            // It holds nothing, and goes with the segments of before once the log is resumed.
            let segment = SegmentEnd { index: spare.id.index, end: 0 };
            self.state.lock().older.push(Sealed { segment, since: Instant::now() });
            return Err(error);
        }
        let end = old.end;
        let previous = Some(Previous { index, end });
        let link = Link { base: end, previous, durable, session: self.session };
        {
            let now = Instant::now();
            let mut state = self.state.lock();
            let sealed = std::mem::replace(&mut state.active, spare.file.clone());
            state.unsynced.push(sealed); // FILES-1: before anything is written to the next one.
            state.older.push(Sealed { segment: SegmentEnd { index, end }, since: now });
            state.active_index = spare.id.index;
            state.is_linked = false;
            state.begun = now;
            self.fill_is(&mut state, filled);
        }
        let segment = Segment::begin(spare, link)?;
        self.state.lock().is_linked = true;
        Ok(segment)
    }

    /// Notes how much of a new active file was filled ahead.
    fn fill_is(&self, state: &mut State, filled: u64) {
        state.filled = filled;
        self.limit.store(self.segment_bytes, Ordering::Relaxed);
        if self.ahead {
            self.next_step_at.store(filled / 4, Ordering::Relaxed);
        }
    }

    fn next_identity(&self, is_ahead: bool) -> Identity {
        let mut state = self.state.lock();
        state.next_index += 1; // FILES-3
        Identity { log_id: self.log_id, index: state.next_index - 1, is_ahead }
    }

    /// Makes all that was written before this call durable.
    ///
    /// # Errors
    /// If a sync fails; then nothing more may be written or synced.
    pub fn sync(&self) -> Result<()> {
        let (sealed, active, index, is_linked) = {
            let state = self.state.lock();
            (state.unsynced.clone(), state.active.clone(), state.active_index, state.is_linked)
        };
        for file in sealed.iter().chain([&active]) {
            file.sync()?;
        }
        let mut state = self.state.lock();
        if is_linked {
            state.linked_index = state.linked_index.max(index);
        }
        state.unsynced.retain(|it| !sealed.iter().any(|synced| Arc::ptr_eq(it, synced)));
        Ok(())
    }

    /// Whether [`Files::truncate_before`] keeps segments that lie below `position` until a sync.
    pub fn needs_sync_before(&self, position: Position) -> bool {
        let state = self.state.lock();
        let mut older = state.older.iter().map(|it| it.segment);
        older.any(|it| it.end <= position && it.index >= state.linked_index)
    }

    /// Notes that `len` bytes of the active file are in use; whether the background step has something
    /// to make then.
    #[inline]
    pub fn note_len(&self, len: u64) -> bool {
        self.active_bytes.store(len, Ordering::Relaxed);
        len >= self.next_step_at.load(Ordering::Relaxed)
    }

    /// Whether the active file should take no more than `len` bytes: the next segment is due.
    #[inline]
    pub fn is_beyond_limit(&self, len: u64) -> bool {
        len > self.limit.load(Ordering::Relaxed)
    }

    /// The background step: makes a spare once a quarter of what was filled of the active file is used.
    ///
    /// # Errors
    /// If the system refuses: the log goes on without, and tries again later.
    pub fn make_ahead(&self) -> Result<()> {
        let len = self.active_bytes.load(Ordering::Relaxed);
        if !self.ahead || len < self.next_step_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.next_step_at.store(u64::MAX, Ordering::Relaxed);
        let made = self.make_spare();
        if made.is_err() {
            // A rotation in the meantime has set it for the next segment.
            let retry = len.saturating_add(RETRY_BYTES);
            let (new, order) = (retry, Ordering::Relaxed);
            _ = self.next_step_at.compare_exchange(u64::MAX, new, order, order);
        }
        made
    }

    fn make_spare(&self) -> Result<()> {
        self.retire_late_spare()?;
        if self.state.lock().spare.is_some() {
            return Ok(());
        }
        let id = self.next_identity(true);
        let retired = self.state.lock().retired.pop();
        let spare = match retired {
            Some(retired) => Spare::recycle(&*self.fs, &self.dir, id, retired),
            None => Spare::create(&*self.fs, &self.dir, id, self.segment_bytes),
        };
        if spare.is_err() {
            self.remove_unready(id.index, retired);
        }
        let spare = spare?;
        let mut state = self.state.lock();
        if spare.id.index > state.active_index {
            self.limit.store(state.filled, Ordering::Relaxed); // FILES-5
        }
        state.spare = Some(spare);
        Ok(())
    }

    fn retire_late_spare(&self) -> Result<()> {
        let late = {
            let mut state = self.state.lock();
            let active = state.active_index;
            state.spare.take_if(|spare| spare.id.index < active)
        };
        let Some(Spare { id, .. }) = late else { return Ok(()) };
        self.fs
            .rename(&self.dir.join(file_name(id.index)), &self.dir.join(retired_name(id.index)))?;
        self.state.lock().retired.push(id.index);
        Ok(())
    }

    /// Begins fresh segments after a failure: one that holds what is carried and the `unwritten` frames
    /// that follow it, and one at `at` to go on in. The files of before are not written any more.
    ///
    /// # Errors
    /// If the system refuses; then all is as it was, but for files that do not change what is recovered.
    pub fn begin_anew(&self, carried: &Carried, unwritten: &[u8], at: Position) -> Result<Segment> {
        let first = |base, previous, frames: &[u8]| {
            let link = Link { base, previous, durable: base, session: self.session };
            let header = Header { id: self.next_identity(false), link };
            Segment::first(&*self.fs, &self.dir, header, frames, 0)
        };
        let mut frames = carried.frames_of(StreamId::of(self.log_id, self.session));
        frames.extend_from_slice(unwritten);
        self.end_failed(carried.base);
        let mut previous = carried.previous;
        if !frames.is_empty() {
            let segment = first(carried.base, previous, &frames)?;
            let copy = SegmentEnd { index: segment.header.id.index, end: segment.end };
            previous = Some(Previous { index: copy.index, end: copy.end });
            // At once: it counts also if the other one cannot be made.
            self.state.lock().older.push(Sealed { segment: copy, since: Instant::now() });
        }
        let segment = first(at, previous, &[])?;
        let now = Instant::now();
        let mut state = self.state.lock();
        state.active = segment.file.clone();
        state.active_index = segment.header.id.index;
        (state.is_linked, state.linked_index) = (true, state.active_index);
        state.unsynced.clear();
        state.begun = now;
        self.fill_is(&mut state, 0);
        Ok(segment)
    }

    /// What the files of before hold counts up to `base` only.
    fn end_failed(&self, base: Position) {
        let mut state = self.state.lock();
        let failed = SegmentEnd { index: state.active_index, end: base };
        // It is there already if this is tried again.
        if state.older.iter().all(|it| it.segment.index != failed.index) {
            state.older.push(Sealed { segment: failed, since: Instant::now() });
        }
        for sealed in &mut state.older {
            sealed.segment.end = sealed.segment.end.min(base);
        }
    }

    /// The segment in which the record at `position`, or else the first above it, lies, if it is in one
    /// that is sealed, and where that ends; else the active one.
    pub fn locate(&self, position: Position) -> (u64, Option<Position>) {
        let state = self.state.lock();
        let above = position.max(state.start); // FILES-6
        let sealed = state.older.iter().map(|it| it.segment).filter(|it| it.end > above);
        match sealed.min_by_key(|it| (it.end, it.index)) {
            Some(segment) => (segment.index, Some(segment.end)),
            None => (state.active_index, None),
        }
    }

    /// Below which position records were removed by this process, or are being removed.
    pub fn start(&self) -> Position {
        self.state.lock().start
    }

    /// How long the active segment has been written.
    pub fn active_age(&self) -> Duration {
        self.state.lock().begun.elapsed()
    }

    /// How many segments hold records, or may.
    pub fn segment_count(&self) -> u64 {
        self.state.lock().older.len() as u64 + 1
    }

    /// Bytes of all segment files, those made ahead and those to be recycled included.
    ///
    /// # Errors
    /// If the directory or a file cannot be read.
    pub fn bytes(&self) -> Result<u64> {
        let names = self.fs.list(&self.dir)?;
        names.iter().filter(|name| is_ours(name)).try_fold(0, |sum, name| {
            match self.fs.open(&self.dir.join(name)).and_then(|file| file.len()) {
                Ok(len) => Ok(sum + len),
                Err(error) if error.is_not_found() => Ok(sum),
                Err(error) => Err(error),
            }
        })
    }
}

fn is_ours(name: &str) -> bool {
    parse_name(name).is_some()
        || is_leftover(name)
        || [ring_file::NAME, start_file::NAME].contains(&name)
}
