//! [`SyncLog`]: the backend in which the callers themselves write and sync, in groups.
//!
//! An append takes its position in the [`Queue`]; whoever finds nobody writing takes the queue and
//! writes it for all, while others enqueue the next group. Syncs are shared the same way. Both are a
//! [`GroupCommit`]; this file is what their leaders do.
//!
//! | watermark | raised by | to |
//! |---|---|---|
//! | reserved | [`Queue::push`] | the end of the frame |
//! | logged | the leader that wrote the queue | the end of what it took |
//! | durable | the leader that synced | what was logged *before* the sync began |
//!
//! # Invariants
//! - LOG-1: a sync covers what was logged before it began, nothing else. It goes to the active file,
//!   which holds all that is not durable: a new one becomes active only when the durable watermark
//!   has reached the logged one, and until then no frame is logged.
//! - LOG-2: a segment is sealed, and the seal synced, before the first frame is written to the next.
//! - LOG-3: after the first failed write, sync or rotation nothing is written, synced or acknowledged
//!   any more; whoever learns of the failure has stopped the log before it returns.
//!
//! # Locks
//! | rank | lock | held over I/O | for |
//! |---|---|---|---|
//! | 1 | `background` | yes: excludes closers only | joining the thread once |
//! | 2 | the turns of `logged` and `durable` | no | taking and leaving the lead |
//! | 3 | `queue` | no | giving positions |
//! | 3 | `active`, `older` | no | looking up a file |
//!
//! No two of rank 2 and 3 are held at once. A leader of `logged` may wait for `durable` (rotation),
//! never the reverse.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stratalog_base::fs::{File, Fs};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::sync::{self, JoinHandle, Mutex};
use stratalog_base::{Error, Result};

use crate::alarm::{Alarm, Urgency};
use crate::frame::{self, Draft, Kind, put_promise};
use crate::group::GroupCommit;
use crate::queue::Queue;
use crate::recovery::{Recovered, SegmentEnd};
use crate::segment::{Header, Previous, Segment, file_name};
use crate::{Durability, LogOptions, Position, Ticket, Wal, Watermarks};

/// Skip frames may wait in memory up to this size.
const SKIP_BUFFER_BYTES: u64 = 64 << 10;

/// A buffer that a big record has grown beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// A log whose callers write and sync in groups.
///
/// Dropping it without [`Wal::close`] is like the death of the process: what was acknowledged is in
/// the file, nothing more is written or synced. The drop waits for a background sync under way.
pub struct SyncLog {
    core: Arc<Core>,
    background: Mutex<Option<JoinHandle<()>>>,
}

struct Core {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    log_id: u64,
    options: LogOptions,
    queue: Mutex<Queue>,
    logged: GroupCommit<Writer>,
    durable: GroupCommit<()>,
    /// The file of the segment being written.
    active: Mutex<Arc<dyn File>>,
    /// Segments that are not written any more, until they are removed.
    older: Mutex<Vec<SegmentEnd>>,
    alarm: Alarm,
}

/// What the leader of a write works with.
struct Writer {
    segment: Segment,
    /// The frames being written; empty between turns.
    group: Vec<u8>,
}

impl SyncLog {
    /// Continues the log that [`crate::recover`] found (`after`), or begins one
    /// ([`Recovered::empty`]), in a fresh segment of `dir` that starts at `at` or where the
    /// recovered log ended, whichever is greater. The segment and its name are durable on return.
    ///
    /// What was recovered must be durable elsewhere by now, and later recoveries must start at or
    /// above `after.end`: bytes that recovery has read need not be on the disk. Older segments stay
    /// until [`Wal::truncate_before`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `at` is no position; or if the system refuses, then a file may
    /// be left that recovery recognises as never used.
    pub fn create(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        after: &Recovered,
        at: Position,
    ) -> Result<SyncLog> {
        let base = at.max(after.end).max(1);
        if base > MAX_SEQ_NO {
            return Err(Error::InvalidArgument(format!("log position {base}")));
        }
        let log_id = after.log_id.unwrap_or_else(|| RandomState::new().hash_one(dir));
        let header = Header { log_id, index: after.next_index, base, previous: after.previous };
        let segment = Segment::create(&*fs, dir, header)?;
        let core = Arc::new(Core {
            fs,
            dir: dir.to_owned(),
            log_id,
            queue: Mutex::new(Queue::new(log_id, base)),
            durable: GroupCommit::new(base, ()),
            active: Mutex::new(segment.file.clone()),
            logged: GroupCommit::new(base, Writer { segment, group: Vec::new() }),
            older: Mutex::new(after.segments.clone()),
            alarm: Alarm::new(options.interval),
            options,
        });
        let body = {
            let core = core.clone();
            move || core.sync_in_background()
        };
        let thread = sync::spawn("stratalog-wal-sync", body)
            .map_err(|source| Error::io("start the sync thread of", dir, source))?;
        Ok(SyncLog { core, background: Mutex::new(Some(thread)) })
    }

    /// The random number that tells this log's segments from others'.
    pub fn log_id(&self) -> u64 {
        self.core.log_id
    }

    fn join(&self, thread: JoinHandle<()>) {
        self.core.alarm.stop();
        // A panic in it has failed the group that it led; the log is poisoned then.
        _ = thread.join();
    }
}

impl Core {
    fn push(&self, draft: &Draft<'_>) -> Result<Ticket> {
        self.queue.lock().push(draft, self.durable.reached())
    }

    /// Returns once all below `target` is in the page cache.
    fn log_to(&self, target: Position) -> Result<()> {
        self.logged.reach(target, |writer| self.write(writer)).inspect_err(|e| self.poison(e))
    }

    /// Returns once all below `target`, which is logged, is durable.
    fn sync_to(&self, target: Position) -> Result<()> {
        let sync = |(): &mut ()| {
            // LOG-1: read before the sync begins.
            let logged = self.logged.reached();
            let file = self.active.lock().clone();
            file.sync()?;
            Ok(logged)
        };
        self.durable.reach(target, sync).inspect_err(|e| self.poison(e))
    }

    /// LOG-3
    #[cold]
    fn poison(&self, error: &Error) {
        self.queue.lock().stop(error.poison());
        self.logged.fail(error);
        self.durable.fail(error);
    }

    /// Writes what the queue holds.
    fn write(&self, writer: &mut Writer) -> Result<Position> {
        let Writer { segment, group } = writer;
        let start = self.queue.lock().take(group);
        assert_eq!(start, segment.end, "QUEUE-2");
        let len = segment.len().saturating_add(group.len() as u64);
        if len > self.options.segment_bytes && !segment.is_empty() {
            *segment = self.rotate(segment)?;
        }
        segment.append(group)?;
        group.clear();
        group.shrink_to(KEPT_BUFFER_BYTES);
        if segment.end - self.durable.reached() >= self.options.sync_every_bytes {
            self.alarm.raise(Urgency::Now);
        }
        Ok(segment.end)
    }

    /// Seals `old` and returns the segment that continues it.
    fn rotate(&self, old: &Segment) -> Result<Segment> {
        let end = old.end;
        self.sync_to(end)?; // SEG-2
        let index = old.header.index + 1;
        let previous = Some(Previous { index: old.header.index, end });
        let header = Header { log_id: self.log_id, index, base: end, previous };
        let next = Segment::create(&*self.fs, &self.dir, header)?;
        // LOG-2: the seal says that the next segment exists, so it comes after.
        let mut seal = Vec::new();
        put_promise(Kind::Seal, end, self.log_id, end, &mut seal);
        old.file.write_at(&seal, old.len())?;
        old.file.sync()?;
        *self.active.lock() = next.file.clone();
        self.older.lock().push(SegmentEnd { index: old.header.index, end });
        Ok(next)
    }

    fn sync_in_background(&self) {
        while self.alarm.wait() {
            // A failure has poisoned the log, which tells everyone who asks.
            _ = self.sync_to(self.logged.reached());
        }
    }

    /// Stops the queue, and makes all that it took durable, and then says so in the file.
    fn close(&self) -> Result<()> {
        let end = {
            let mut queue = self.queue.lock();
            queue.check()?;
            queue.stop(Error::Closed);
            queue.end()
        };
        self.log_to(end)?;
        self.sync_to(end)?;
        let end = self.queue.lock().push_close();
        self.log_to(end)?;
        self.sync_to(end)
    }
}

impl Wal for SyncLog {
    fn enqueue(&self, parts: &[IoSlice<'_>]) -> Result<Ticket> {
        self.core.push(&Draft::new(Kind::Record, parts)?)
    }

    fn wait_logged(&self, ticket: &Ticket, durability: Durability) -> Result<()> {
        if durability == Durability::None {
            return Ok(());
        }
        self.core.log_to(ticket.end)?;
        if durability == Durability::Interval {
            self.core.alarm.raise(Urgency::Soon);
        }
        Ok(())
    }

    fn reserve(&self, len: u64) -> Result<Ticket> {
        let too_long = |_| Error::InvalidArgument(format!("a reservation of {len} positions"));
        let len = u32::try_from(len).map_err(too_long)? as usize;
        let zeros = vec![0; len.saturating_sub(frame::HEADER_BYTES)];
        let ticket = self.core.push(&Draft::new(Kind::Skip, &[IoSlice::new(&zeros)])?)?;
        if ticket.end - self.core.logged.reached() >= SKIP_BUFFER_BYTES {
            // What was reserved stays so. A failure has poisoned the log: the next caller is told.
            _ = self.core.log_to(ticket.end);
        }
        Ok(ticket)
    }

    fn wait_durable(&self, end: Position) -> Result<()> {
        let core = &*self.core;
        if core.durable.reached() >= end {
            return Ok(());
        }
        if end > core.queue.lock().end() {
            return Err(Error::InvalidArgument(format!("position {end} is not reserved")));
        }
        core.log_to(end)?;
        core.sync_to(end)
    }

    fn sync(&self) -> Result<()> {
        let end = {
            let queue = self.core.queue.lock();
            queue.check()?;
            queue.end()
        };
        self.core.log_to(end)?;
        self.core.sync_to(end)
    }

    fn watermarks(&self) -> Watermarks {
        // Lowest first: each is at most the next, also while they move.
        let durable = self.core.durable.reached();
        let logged = self.core.logged.reached();
        Watermarks { reserved: self.core.queue.lock().end(), logged, durable }
    }

    fn truncate_before(&self, position: Position) -> Result<()> {
        let core = &*self.core;
        core.queue.lock().check()?;
        let obsolete: Vec<_> = {
            let mut older = core.older.lock();
            older.extract_if(.., |segment| segment.end <= position).collect()
        };
        if obsolete.is_empty() {
            return Ok(());
        }
        for (done, segment) in obsolete.iter().enumerate() {
            let removed = core.fs.remove(&core.dir.join(file_name(segment.index)));
            if let Err(error) = removed
                && !error.is_not_found()
            {
                core.older.lock().extend_from_slice(&obsolete[done..]);
                return Err(error);
            }
        }
        core.fs.sync_dir(&core.dir)
    }

    fn close(&self) -> Result<()> {
        let mut background = self.background.lock();
        let Some(thread) = background.take() else {
            return match self.core.queue.lock().check() {
                Err(Error::Closed) => Ok(()),
                result => result,
            };
        };
        self.join(thread);
        self.core.close()
    }
}

impl Drop for SyncLog {
    fn drop(&mut self) {
        let thread = self.background.lock().take();
        if let Some(thread) = thread {
            self.join(thread);
        }
    }
}

impl fmt::Debug for SyncLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SyncLog");
        out.field("dir", &self.core.dir).field("watermarks", &self.watermarks());
        out.finish_non_exhaustive()
    }
}
