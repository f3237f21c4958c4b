//! [`Core`]: what the handle and the threads of a log share, and how a record gets from its caller to
//! the disk.
//!
//! | watermark | raised by | to |
//! |---|---|---|
//! | reserved | [`Queue::push`], [`Ring::try_reserve`] | the end of the frame |
//! | published | whoever finds the next frames of the ring whole | their end |
//! | written | the leader that wrote the queue or drained the ring | the end of what it took |
//! | durable | the leader that synced | what was written *before* the sync began |
//!
//! Logged, in [`crate::Watermarks`], is published where the ring is mapped, since a kill leaves that
//! behind, and written elsewhere; after a failure, no further than the first place that nobody will write.
//!
//! # Invariants
//! - LOG-1: a sync covers what was written before it began, nothing else.
//! - LOG-2: one front takes records at a time, queue or ring. Another one opens only after the first
//!   was closed and all that it took is written, and where that ended. So positions never overlap and
//!   order on disk is the order of positions.
//! - LOG-3: after the first failed write, sync or rotation nothing is written, synced or acknowledged
//!   any more until [`crate::Log::resume`]. The leader who fails stops the log before its term ends,
//!   so before anybody is told; and since a resumption waits for the end of all terms, nobody stops
//!   a log that was resumed for a failure of its earlier life.
//! - LOG-4: whoever waits for records below a place that is written drives them there itself if no
//!   thread does. So no append and no waiter depends on a thread being alive.
//!
//! # Locks
//! | rank | lock | held over I/O | for |
//! |---|---|---|---|
//! | 1 | the seat of `closing`, and `handles` of the threads | yes: excludes closers only | closing, joining the threads once |
//! | 2 | `switching` | yes: closing, resuming and changing the backend exclude one another | the order of fronts |
//! | 3 | `turn` | yes: those who found no room wait in it | first come, first served |
//! | 4 | the seats of `written` and `durable` (not locks, but taken like one) | yes | writing, syncing |
//! | 5 | inside `published`, `written`, `durable` | no | taking and leaving the lead, waiting |
//! | 6 | `queue`, `stopped`, inside `crews`, `files` and the alarms | no | giving positions, joining a crew, looking up a file |
//!
//! No two of rank 5 and 6 are held at once. Nobody is called back by a thread that holds any of these but a turn, or a
//! place that others wait behind ([`crate::calls`]).

use std::time::Duration;

use stratalog_base::sync::{
    Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, Padded,
};
use stratalog_base::{Error, Result};

use crate::Position;
use crate::alarm::Alarm;
use crate::alerts::Alerts;
use crate::crews::Crews;
use crate::files::Files;
use crate::frame::StreamId;
use crate::group::GroupCommit;
use crate::options::{Backend, LogOptions};
use crate::queue::Queue;
use crate::ring::{Drain, Ring};
use crate::segment::Segment;
use crate::stats::Counters;

pub mod follow;
mod place;
mod wait;
mod write;

/// So many wait for a sync each for itself; see [`Crews`].
const SINGLE_SYNCERS: usize = if cfg!(loom) { 1 } else { 8 };

/// See the module page.
#[derive(Debug)]
pub struct Core {
    pub options: LogOptions,
    pub stream: StreamId,
    pub files: Files,
    /// [`Backend`] as a number.
    backend: AtomicU8,
    queue: Mutex<Queue>,
    ring: OnceLock<RingFront>,
    pub published: GroupCommit<()>,
    pub written: GroupCommit<Writer>,
    pub durable: GroupCommit<()>,
    /// Who waits for `durable`.
    crews: Crews,
    /// Not 0 if more has become durable since the last mark in the ring.
    mark_due: AtomicU64,
    /// Nobody has waited for `published` to come beyond this: who publishes what is below looks after those who wait.
    watched: Padded<AtomicU64>,
    /// Those who found no room.
    crowd: AtomicUsize,
    turn: Mutex<()>,
    /// Whether who has the turn needs more than half of the room.
    is_turn_wide: AtomicBool,
    pub switching: Mutex<()>,
    /// At 1 once the log is closed. Who leads closes it.
    pub closing: GroupCommit<()>,
    /// Places in the ring that were reserved and will not be written, after a failure.
    holes: Mutex<Vec<Hole>>,
    /// Why nothing is taken any more.
    stopped: Mutex<Option<Error>>,
    /// Whether that is a failure.
    poisoned: AtomicBool,
    /// Whether the threads were told to end for good.
    closed: AtomicBool,
    pub write_alarm: Alarm,
    pub sync_alarm: Alarm,
    pub files_alarm: Alarm,
    pub counters: Counters,
    pub alerts: Alerts,
    pub threads: crate::background::Roll,
}

#[derive(Debug)]
pub struct RingFront {
    pub ring: Arc<Ring>,
    pub mapped: bool,
}

/// A place that nobody will write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hole {
    start: Position,
    end: Position,
}

/// What the leader of a write works with.
#[derive(Debug)]
pub struct Writer {
    pub segment: Segment,
    /// The frames being written; empty between turns.
    group: Vec<u8>,
    /// The ring's other end, once there is a ring.
    pub drain: Option<Drain>,
}

impl Writer {
    pub fn new(segment: Segment, drain: Option<Drain>) -> Writer {
        Writer { segment, group: Vec::new(), drain }
    }
}

impl Core {
    pub fn new(
        options: LogOptions,
        files: Files,
        segment: Segment,
        ring: Option<(RingFront, Drain)>,
    ) -> Core {
        let (stream, start) = (segment.header.stream(), segment.end);
        let mut queue = Queue::new(stream, start, options.queue_records, options.queue_bytes);
        if options.backend == Backend::LockFree {
            queue.close(); // LOG-2
        }
        let (front, drain) = ring.unzip();
        let cell = OnceLock::new();
        if let Some(front) = front {
            _ = cell.set(front);
        }
        Core {
            stream,
            files,
            backend: AtomicU8::new(options.backend as u8),
            queue: Mutex::new(queue),
            ring: cell,
            published: GroupCommit::new(start, ()),
            written: GroupCommit::new(start, Writer::new(segment, drain)),
            durable: GroupCommit::new(start, ()),
            crews: Crews::new(SINGLE_SYNCERS),
            mark_due: AtomicU64::new(0),
            watched: Padded::default(),
            crowd: AtomicUsize::new(0),
            turn: Mutex::new(()),
            is_turn_wide: AtomicBool::new(false),
            switching: Mutex::new(()),
            closing: GroupCommit::new(0, ()),
            holes: Mutex::new(Vec::new()),
            stopped: Mutex::new(None),
            poisoned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            write_alarm: Alarm::new(options.batch_delay),
            sync_alarm: Alarm::new(options.interval),
            files_alarm: Alarm::new(Duration::ZERO),
            counters: Counters::default(),
            alerts: Alerts::new(options.alert_thresholds, options.alert_listener.clone()),
            threads: crate::background::Roll::default(),
            options,
        }
    }

    /// Who writes.
    #[inline]
    pub fn backend(&self) -> Backend {
        // Pairs with the store of `set_backend`: whoever sees `LockFree` sees the ring.
        match self.backend.load(Ordering::Acquire) {
            0 => Backend::Sync,
            1 => Backend::SyncThread,
            _ => Backend::LockFree,
        }
    }

    pub fn set_backend(&self, backend: Backend) {
        self.backend.store(backend as u8, Ordering::Release);
    }

    /// The ring, if it is the front.
    #[inline]
    fn ring(&self) -> Option<&RingFront> {
        match self.backend() {
            Backend::LockFree => self.any_ring(),
            _ => None,
        }
    }

    /// The ring, if there is one.
    #[inline]
    pub fn any_ring(&self) -> Option<&RingFront> {
        self.ring.get()
    }

    pub fn install_ring(&self, front: RingFront) {
        assert!(self.ring.set(front).is_ok(), "a log has one ring");
    }

    pub fn reserved(&self) -> Position {
        match self.ring() {
            Some(front) => front.ring.reserved(),
            None => self.queue.lock().end(),
        }
    }

    pub fn logged(&self) -> Position {
        // Advanced, for who has seen its frame whole only by a look has moved nothing.
        let published = self.ring().filter(|front| front.mapped).map(|it| it.ring.advance());
        // What is published in a ring that is not mapped dies with the process.
        let mut logged = published.unwrap_or(0);
        // After the look: whoever saw beyond a hole sees the failure, and the hole, unless that was filled since.
        if self.poisoned.load(Ordering::Acquire) {
            let first_hole = self.holes.lock().iter().map(|hole| hole.start).min();
            logged = logged.min(first_hole.unwrap_or(logged));
        }
        logged.max(self.written.reached())
    }

    /// Records and bytes that wait or are being written.
    pub fn depth(&self) -> (u64, u64) {
        let records = match self.ring() {
            Some(front) => front.ring.count_records(),
            None => self.queue.lock().records() as u64,
        };
        (records, self.reserved().saturating_sub(self.written.reached()))
    }

    /// Why nothing is taken any more, if so.
    pub fn check(&self) -> Result<()> {
        self.stopped.lock().as_ref().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Lets no record in any more, and returns where the last one ends. A failure outranks
    /// [`Error::Closed`], and the first failure stays.
    pub fn stop(&self, why: Error) -> Position {
        {
            let mut stopped = self.stopped.lock();
            if matches!(why, Error::Poisoned(_)) {
                self.poisoned.store(true, Ordering::Release);
            }
            if !matches!(*stopped, Some(Error::Poisoned(_))) {
                *stopped = Some(why);
            }
        }
        self.close_front()
    }

    fn check_poison(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) { self.check() } else { Ok(()) }
    }

    /// Fails whoever waits, and callbacks, because the handle was dropped.
    pub fn abandon(&self) {
        self.stop(Error::Closed);
        self.fail_groups(&Error::Closed);
    }

    /// Notes that there is no way back, whatever fails.
    pub fn note_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether [`Core::note_closed`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets records in again, after a failure.
    pub fn unstop(&self) {
        let mut stopped = self.stopped.lock();
        *stopped = None;
        self.poisoned.store(false, Ordering::Release);
    }

    /// Closes the front and returns where it ends.
    pub fn close_front(&self) -> Position {
        match self.ring() {
            Some(front) => front.ring.close(),
            None => self.queue.lock().close(),
        }
    }

    /// Opens the front that `backend` needs, at `at` (LOG-2: for the holder of the seat).
    pub fn open_front(&self, backend: Backend, writer: &mut Writer, at: Position) {
        match (backend, &mut writer.drain) {
            (Backend::LockFree, Some(drain)) => {
                drain.discard();
                drain.reopen(at);
            }
            (Backend::LockFree, None) => unreachable!("the ring was made before"),
            _ => self.queue.lock().open(at),
        }
    }

    /// Does what a leader does, unless the log has failed. If it fails, the log is stopped before the seat is given
    /// back (LOG-3): by who failed and nobody else, so nobody stops a log that was resumed in the meantime.
    pub fn lead<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let bomb = Bomb(self);
        let outcome = self.check_poison().and_then(|()| work());
        std::mem::forget(bomb);
        outcome.inspect_err(|error| self.poison(error))
    }

    /// LOG-3
    #[cold]
    fn poison(&self, error: &Error) {
        self.stop(error.poison());
        self.fail_groups(error);
    }

    fn fail_groups(&self, error: &Error) {
        self.published.fail(error);
        self.written.fail(error);
        self.fail_durable(error);
    }

    pub fn fail_durable(&self, error: &Error) {
        self.durable.fail(error);
        self.crews.release();
    }
}

/// Stops the log if a leader panics.
struct Bomb<'a>(&'a Core);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        let source = std::io::Error::other("the thread that wrote or synced for all panicked");
        self.0.poison(&Error::io("write to", self.0.files.dir(), source));
    }
}
