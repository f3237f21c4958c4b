//! [`Log`]: the handle of a log that is being written.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::Fs;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::sync::{Instant, Ordering, fence, prepare_heavy_fences, spawn};
use stratalog_base::{Error, Result};

use crate::background::{self, Threads};
use crate::carry::{self, Carried};
use crate::core::Core;
use crate::files::Files;
use crate::frame::{self, Draft, Kind};
use crate::lifecycle;
use crate::options::{Backend, LogOptions};
use crate::reader::{Reader, Records};
use crate::recovery::{FIRST_POSITION, Progress, Recovered, RecoveryMode};
use crate::segment::{Header, Identity, Link};
use crate::stats::{LogStats, is_sampled};
use crate::{Callback, Durability, Place, Position, Ticket, Wal, Watermarks};

/// Skip frames may wait in memory up to this size.
const SKIP_BUFFER_BYTES: u64 = 64 << 10;

/// A log: segments in a directory, and one of three [`Backend`]s that write them.
///
/// Dropping it without [`Wal::close`] is like the death of the process: what was acknowledged can be
/// recovered, nothing more is written or synced. The drop waits for a call of a background thread
/// that is under way, but not longer than a second.
pub struct Log {
    core: Arc<Core>,
    threads: Arc<Threads>,
}

impl Log {
    /// Opens the log in the existing directory `dir`, or begins one. What a process or power failure
    /// left that is not known to be durable is copied to a fresh segment and synced before this
    /// returns; so positions and records stay as they were, and [`Wal::reader`] reads them.
    ///
    /// # Errors
    /// As [`crate::recover`] in the mode [`RecoveryMode::TornTail`], and as [`Log::create`].
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: LogOptions) -> Result<(Log, Recovered)> {
        Log::open_with(fs, dir, options, RecoveryMode::TornTail)
    }

    /// The same in another mode.
    ///
    /// # Errors
    /// As [`Log::open`]; [`Error::InvalidArgument`] for [`RecoveryMode::Salvage`], which may find holes.
    pub fn open_with(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        mode: RecoveryMode,
    ) -> Result<(Log, Recovered)> {
        Log::open_with_progress(fs, dir, options, mode, &mut |_| {})
    }

    /// The same; calls `on_progress` as [`crate::recover_with_progress`] does. What takes time is reading the log.
    ///
    /// # Errors
    /// As [`Log::open_with`].
    pub fn open_with_progress(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        mode: RecoveryMode,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(Log, Recovered)> {
        if mode == RecoveryMode::Salvage {
            return Err(Error::InvalidArgument("a log cannot go on from a salvage".into()));
        }
        let carried = carry::collect(&*fs, dir, 0, mode, on_progress)?;
        let found = carried.found.clone();
        let log = Log::begin(fs, dir, options, &found, carried)?;
        Ok((log, found))
    }

    /// Continues the log that [`crate::recover`] found (`after`), or begins one
    /// ([`Recovered::empty`]), in a fresh segment of `dir` that starts at `at` or where the
    /// recovered log ended, whichever is greater. The segment and its name are durable on return.
    ///
    /// What was recovered must be durable elsewhere by now, and later recoveries must start at or
    /// above `after.end`: bytes that recovery has read need not be on the disk. Older segments stay
    /// until [`Wal::truncate_before`]. For a log whose records stay in it, see [`Log::open`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `at` is no position or the options are none; or if the system
    /// refuses, then files may be left that recovery recognises as never used.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        after: &Recovered,
        at: Position,
    ) -> Result<Log> {
        let base = at.max(after.end).max(FIRST_POSITION);
        let Some(base) = base.checked_next_multiple_of(frame::ALIGNMENT as u64) else {
            return Err(Error::InvalidArgument(format!("log position {base}")));
        };
        Log::begin(fs, dir, options, after, Carried::nothing(after, base))
    }

    fn begin(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        after: &Recovered,
        carried: Carried,
    ) -> Result<Log> {
        let core = Log::begin_core(fs, dir, options, after, carried)?;
        let threads = Threads::start(&core)?;
        Ok(Log { core, threads: Arc::new(threads) })
    }

    /// For models, in which each thread multiplies the work: a new log with those of the writing and
    /// the syncing thread that are asked for. Callers do the work of the others (LOG-4).
    ///
    /// # Errors
    /// As [`Log::create`].
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn create_with_threads(
        fs: Arc<dyn Fs>,
        options: LogOptions,
        writes: bool,
        syncs: bool,
    ) -> Result<Log> {
        let nothing = Recovered::empty(1);
        let carried = Carried::nothing(&nothing, FIRST_POSITION);
        let core = Log::begin_core(fs, Path::new(""), options, &nothing, carried)?;
        let threads = Threads::start_some(&core, writes, syncs, false)?;
        Ok(Log { core, threads: Arc::new(threads) })
    }

    fn begin_core(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        after: &Recovered,
        carried: Carried,
    ) -> Result<Arc<Core>> {
        options.check()?;
        prepare_heavy_fences();
        if carried.base > MAX_SEQ_NO {
            return Err(Error::InvalidArgument(format!("log position {}", carried.base)));
        }
        let log_id = after.log_id.unwrap_or_else(|| RandomState::new().hash_one(dir));
        let index = after.next_index;
        let Carried { base, previous, .. } = carried;
        let link = Link { base, previous, durable: base, session: index };
        let header = Header { id: Identity { log_id, index, is_ahead: false }, link };
        let frames = carried.frames_of(header.stream());
        let (files, segment) = Files::begin(fs, dir, &options, header, &frames, after)?;
        let ring = match options.backend {
            Backend::LockFree => Some(lifecycle::make_ring(&files, &options, segment.end)?),
            _ => None,
        };
        Ok(Arc::new(Core::new(options, files, segment, ring)))
    }

    /// The random number that tells this log's segments from others'.
    pub fn log_id(&self) -> u64 {
        self.core.files.log_id()
    }

    /// Who writes.
    pub fn backend(&self) -> Backend {
        self.core.backend()
    }

    /// Whether the ring of [`Backend::LockFree`] is mapped from a file; `None` if there is no ring.
    pub fn is_ring_mapped(&self) -> Option<bool> {
        self.core.any_ring().map(|front| front.mapped)
    }

    /// Lets another backend write from now on. Appends go on meanwhile: those of a moment wait until
    /// what was appended before is written. No record is lost or changes its order.
    ///
    /// # Errors
    /// Of the write, or of making the ring: then the backend is the same as before; [`Error::Closed`],
    /// [`Error::Poisoned`].
    pub fn set_backend(&self, backend: Backend) -> Result<()> {
        lifecycle::set_backend(&self.core, backend)
    }

    /// Goes on after a failed write or sync, once its cause is gone: what was acknowledged is read
    /// back and copied from the failed segment, from its last durable position on, to a fresh one,
    /// which is synced; then appends are taken again. Records whose callers got the error may or may
    /// not be among what was copied. Does nothing to a log that has not failed.
    ///
    /// # Errors
    /// If the system refuses, or [`Error::Corrupt`] if what was acknowledged cannot be read back: the
    /// log stays as it was, and this can be called again. [`Error::Closed`].
    pub fn resume(&self) -> Result<()> {
        lifecycle::resume(&self.core)
    }

    /// [`Wal::reader`], as the type that it is.
    ///
    /// # Errors
    /// As [`Wal::reader`].
    pub fn reader(&self, from: Position) -> Result<Reader> {
        Reader::new(self.core.clone(), from)
    }

    /// What the log has done so far, and how it is. Lists the directory, and takes for a moment each of the locks that
    /// who waits, seals or removes takes, too. Of the queue it takes the lock twice. In a ring it looks at the heads of
    /// all that waits, 8 MiB by default, so writers find lines of memory shared, and nothing locked.
    pub fn stats(&self) -> LogStats {
        lifecycle::stats(&self.core)
    }

    /// [`Wal::close`], but returns `false` after `limit`, while the closing goes on in the background.
    ///
    /// # Errors
    /// As [`Wal::close`].
    pub fn close_within(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now().checked_add(limit);
        if !self.core.is_closed() {
            let (core, threads) = (self.core.clone(), self.threads.clone());
            // Whoever waits for that is told how it ended.
            let body = move || _ = lifecycle::close(&core, &threads);
            let dir = self.core.files.dir();
            spawn("stratalog-wal-close", body)
                .map_err(|e| Error::io("start a thread of", dir, e))?;
            self.core.note_closed(); // Whoever drops it from now on leaves it to that thread.
        }
        self.core.closing.follow(1, deadline)
    }

    /// A record's payload compressed, where that is wanted and helps.
    #[inline]
    fn compressed(&self, parts: &[IoSlice<'_>]) -> Option<Vec<u8>> {
        let from = self.core.options.compress_from_bytes?;
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut payload = Vec::new();
        (bytes >= from && frame::compress(parts, &mut payload)).then_some(payload)
    }
}

impl Wal for Log {
    #[inline]
    fn append(&self, parts: &[IoSlice<'_>], durability: Durability) -> Result<Ticket<'_>> {
        if durability == Durability::None {
            let bytes = parts.iter().map(|part| part.len() as u64).sum();
            return Ok(Ticket::new(self, self.reserve(bytes)?, durability));
        }
        let began = is_sampled().then(Instant::now);
        let place = match self.compressed(parts) {
            None => self.core.place(&Draft::new(Kind::Record, parts)?)?,
            Some(payload) => self.core.place(&Draft::compressed(&[IoSlice::new(&payload)])?)?,
        };
        self.core.appended(durability);
        if let Some(began) = began {
            self.core.counters.appended(began.elapsed());
        }
        Ok(Ticket::new(self, place, durability))
    }

    fn append_batch(
        &self,
        records: &[&[u8]],
        durability: Durability,
        positions: &mut Vec<Position>,
    ) -> Result<Ticket<'_>> {
        if durability == Durability::None {
            return Err(Error::InvalidArgument("a batch of class None is not logged".into()));
        }
        let compressed: Vec<_> =
            records.iter().map(|record| self.compressed(&[IoSlice::new(record)])).collect();
        let payloads: Vec<_> = records
            .iter()
            .zip(&compressed)
            .map(|(record, payload)| [IoSlice::new(payload.as_deref().unwrap_or(record))])
            .collect();
        let drafts: Vec<_> = payloads
            .iter()
            .zip(&compressed)
            .map(|(parts, payload)| match payload {
                Some(_) => Draft::compressed(parts),
                None => Draft::new(Kind::Record, parts),
            })
            .collect::<Result<_>>()?;
        let bytes: u64 = drafts.iter().map(Draft::frame_bytes).sum();
        if u32::try_from(bytes).is_err() {
            return Err(Error::InvalidArgument(format!("a batch of {bytes} bytes")));
        }
        let place = self.core.place_all(&drafts, positions)?;
        self.core.appended(durability);
        Ok(Ticket::new(self, place, durability))
    }

    fn reserve(&self, len: u64) -> Result<Place> {
        let too_long = |_| Error::InvalidArgument(format!("a reservation of {len} positions"));
        let len = u32::try_from(len).map_err(too_long)? as usize;
        let zeros = vec![0; len.saturating_sub(frame::HEADER_BYTES)];
        let core = &*self.core;
        let place = core.place(&Draft::new(Kind::Skip, &[IoSlice::new(&zeros)])?)?;
        if place.end - core.written.reached() >= SKIP_BUFFER_BYTES
            && core.backend() == Backend::Sync
        {
            // What was reserved stays so. A failure has poisoned the log: the next caller is told.
            _ = core.log_to(place.end, None);
        }
        Ok(place)
    }

    #[inline]
    fn wait(
        &self,
        end: Position,
        durability: Durability,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        self.core.wait(end, durability, deadline)
    }

    fn when(&self, end: Position, durability: Durability, then: Callback) {
        self.core.when(end, durability, then);
    }

    fn sync(&self) -> Result<()> {
        self.core.check()?;
        self.core.wait(self.core.reserved(), Durability::Sync, None).map(|_| ())
    }

    fn watermarks(&self) -> Watermarks {
        // Lowest first: each is at most the next, also while they move.
        let durable = self.core.durable.reached();
        let logged = self.core.logged();
        fence(Ordering::SeqCst);
        let reserved = self.core.reserved();
        // What the mark of a close takes is nobody's.
        Watermarks { reserved, logged: logged.min(reserved), durable: durable.min(reserved) }
    }

    fn truncate_before(&self, position: Position) -> Result<()> {
        self.core.check()?;
        self.core.truncate_before(position)
    }

    fn reader(&self, from: Position) -> Result<Box<dyn Records>> {
        Ok(Box::new(Log::reader(self, from)?))
    }

    fn close(&self) -> Result<()> {
        lifecycle::close(&self.core, &self.threads)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.core.is_closed() {
            background::stop(&self.core);
            self.core.abandon();
            self.threads.join_or_leave(&self.core);
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Log");
        out.field("dir", &self.core.files.dir()).field("backend", &self.backend());
        out.field("watermarks", &self.watermarks()).finish_non_exhaustive()
    }
}
