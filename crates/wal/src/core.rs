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
//! behind, and written elsewhere.
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
//! | 1 | `threads` (in the handle) | yes: excludes closers only | joining the threads once |
//! | 2 | `switching` | yes: closing, resuming and changing the backend exclude one another | the order of fronts |
//! | 3 | `turn` | yes: those who found no room wait in it | first come, first served |
//! | 4 | the seats of `written` and `durable` (not locks, but taken like one) | yes | writing, syncing |
//! | 5 | inside `published`, `written`, `durable` | no | taking and leaving the lead, waiting |
//! | 6 | `queue`, `stopped`, inside `files` and the alarms | no | giving positions, looking up a file |
//!
//! No two of rank 5 and 6 are held at once.

use std::io::IoSlice;
use std::time::Duration;

use stratalog_base::sync::{
    self, Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Instant, Mutex, MutexGuard, OnceLock,
    Ordering, Padded, fence, yield_now,
};
use stratalog_base::{Error, Result};

use crate::alarm::{Alarm, Urgency};
use crate::alerts::Alerts;
use crate::files::Files;
use crate::frame::{self, Draft, Kind, PROMISE_BYTES, StreamId, put_promise};
use crate::group::GroupCommit;
use crate::options::{Backend, LogOptions, Overflow};
use crate::queue::{Queue, Refused};
use crate::ring::{Drain, Reservation, Ring};
use crate::segment::Segment;
use crate::stats::{Cause, Counters, OverflowOutcome};
use crate::{Callback, Durability, Place, Position};

/// A buffer that a big record has grown beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// How often one who waits for room may be passed by before it takes a turn.
const STARVED_TRIES: u32 = 4;
/// What is drained from the ring by one write, at most.
const CHUNK_BYTES: u64 = 256 << 10;

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
    /// Not 0 if more has become durable since the last mark in the ring.
    mark_due: AtomicU64,
    /// Waiters for `published` that whoever publishes must look after.
    watchers: Padded<AtomicUsize>,
    /// Those who found no room.
    crowd: AtomicUsize,
    turn: Mutex<()>,
    pub switching: Mutex<()>,
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
            mark_due: AtomicU64::new(0),
            watchers: Padded::default(),
            crowd: AtomicUsize::new(0),
            turn: Mutex::new(()),
            switching: Mutex::new(()),
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
        let published = self.ring().filter(|front| front.mapped).map(|it| it.ring.published());
        // What is published in a ring that is not mapped dies with the process.
        published.unwrap_or(0).max(self.written.reached())
    }

    /// Records and bytes that wait or are being written.
    pub fn depth(&self) -> (u64, u64) {
        let records = match self.ring() {
            Some(front) => front.ring.count_frames(),
            None => self.queue.lock().depth() as u64,
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
        for group in [&self.published, &self.durable] {
            group.fail(&Error::Closed);
        }
        self.written.fail(&Error::Closed);
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

    // Taking a place.

    /// Gives `draft` its place.
    #[inline]
    pub fn place(&self, draft: &Draft<'_>) -> Result<Place> {
        match self.try_place(draft) {
            Ok(place) => Ok(place),
            Err(refused) => self.place_slowly(refused, || self.enter(draft)),
        }
    }

    /// Gives `drafts` places in a row.
    pub fn place_all(&self, drafts: &[Draft<'_>], positions: &mut Vec<Position>) -> Result<Place> {
        let mut enter = || match self.ring() {
            Some(front) => self.enter_ring(front, drafts, positions),
            None => self.queue.lock().push_all(drafts, positions),
        };
        match enter() {
            Ok(place) => Ok(place),
            Err(refused) => self.place_slowly(refused, enter),
        }
    }

    #[inline]
    fn try_place(&self, draft: &Draft<'_>) -> Result<Place, Refused> {
        // Those who were passed by too often come first, where room is scarce.
        if self.is_crowded() && self.is_scarce() { Err(Refused::Full) } else { self.enter(draft) }
    }

    #[inline]
    fn enter(&self, draft: &Draft<'_>) -> Result<Place, Refused> {
        let Some(front) = self.ring() else {
            return self.queue.lock().push(draft, self.durable.reached());
        };
        let bytes = draft.frame_bytes();
        if self.mark_due.load(Ordering::Relaxed) > 0 && bytes <= front.ring.capacity() / 4 {
            return self.enter_with_mark(front, draft);
        }
        let mut reservation = front.ring.try_reserve(bytes)?;
        let (position, end) = (reservation.position(), reservation.end());
        if reservation.is_big() {
            self.write_big(position, std::slice::from_ref(draft))?;
        } else {
            self.publish(&mut reservation, draft);
            self.after_publish(front, end);
        }
        Ok(Place { start: position, position, end })
    }

    #[inline]
    fn publish(&self, place: &mut Reservation<'_>, draft: &Draft<'_>) {
        let checksum = draft.checksum(self.stream, place.position());
        place.publish(draft.head(), checksum, draft.parts());
    }

    /// The first frame after more has become durable is preceded by a mark that says so, as part of
    /// the same place: so places lie side by side without a hole.
    #[cold]
    fn enter_with_mark(&self, front: &RingFront, draft: &Draft<'_>) -> Result<Place, Refused> {
        let mut reservation = front.ring.try_reserve(PROMISE_BYTES + draft.frame_bytes())?;
        let (start, end) = (reservation.position(), reservation.end());
        // If another caller took the mark in the meantime, the same is promised twice.
        self.mark_due.store(0, Ordering::Relaxed);
        let promise = self.durable.reached().to_le_bytes();
        let parts = [IoSlice::new(&promise)];
        let mark = Draft::new(Kind::Mark, &parts).expect("8 bytes are not too long");
        self.publish(&mut reservation, &mark);
        self.publish(&mut reservation, draft);
        self.after_publish(front, end);
        Ok(Place { start, position: start + PROMISE_BYTES, end })
    }

    #[cold]
    fn enter_ring(
        &self,
        front: &RingFront,
        drafts: &[Draft<'_>],
        positions: &mut Vec<Position>,
    ) -> Result<Place, Refused> {
        let bytes: u64 = drafts.iter().map(Draft::frame_bytes).sum();
        if bytes == 0 {
            let here = front.ring.reserved();
            return Ok(Place { start: here, position: here, end: here });
        }
        let mut reservation = front.ring.try_reserve(bytes)?;
        let (start, end) = (reservation.position(), reservation.end());
        if reservation.is_big() {
            self.write_big(start, drafts)?;
        } else {
            drafts.iter().for_each(|draft| self.publish(&mut reservation, draft));
            self.after_publish(front, end);
        }
        let mut next = start;
        for draft in drafts {
            positions.push(next);
            next += draft.frame_bytes();
        }
        Ok(Place { start, position: start, end })
    }

    /// Looks after those who wait for what was published, and lets the drain know of a ring half full.
    #[inline]
    fn after_publish(&self, front: &RingFront, end: Position) {
        // Between the frame's publication and the looks at who waits: pairs with `wait_published` and
        // with the reset in `Alarm::wait`. Either we see them, or they see the frame.
        fence(Ordering::SeqCst);
        if self.watchers.load(Ordering::Relaxed) > 0 {
            self.published.raise(front.ring.advance());
        }
        if end.saturating_sub(front.ring.freed()) > front.ring.capacity() / 2 {
            self.write_alarm.raise_after_fence(Urgency::Now);
        }
    }

    /// Waits for room, as configured. All who wait try again when there is some; whoever was passed by
    /// too often takes a turn, and while room is scarce nobody enters but by turns then, first come,
    /// first served. (Turns from the start would cost two switches of threads a record.)
    #[cold]
    fn place_slowly(
        &self,
        mut refused: Refused,
        mut enter: impl FnMut() -> Result<Place, Refused>,
    ) -> Result<Place> {
        if refused == Refused::Full && self.options.overflow == Overflow::Fail {
            self.counters.overflowed(OverflowOutcome::Refused);
            return Err(Error::Full);
        }
        let began = Instant::now();
        let deadline = match self.options.overflow {
            Overflow::Wait(limit) => began.checked_add(limit),
            _ => None,
        };
        let (mut overflowed, mut turn) = (false, None);
        for tries in 0.. {
            if refused == Refused::Closed {
                self.check()?;
                drop(self.switching.lock()); // The backend is being changed.
            } else {
                overflowed = true;
                let in_time = if turn.is_none() && (tries >= STARVED_TRIES || self.is_crowded()) {
                    turn = Turn::take(self, deadline);
                    turn.is_some()
                } else {
                    self.make_room(deadline)?
                };
                if !in_time {
                    self.counters.overflowed(OverflowOutcome::TimedOut);
                    return Err(Error::Full);
                }
            }
            match enter() {
                Ok(place) => {
                    if overflowed {
                        self.note_overflow(began.elapsed());
                    }
                    return Ok(place);
                }
                Err(again) => refused = again,
            }
        }
        unreachable!("tries do not end")
    }

    #[inline]
    fn is_crowded(&self) -> bool {
        self.crowd.load(Ordering::Relaxed) > 0
    }

    /// Whether less than half of the room is left.
    fn is_scarce(&self) -> bool {
        match self.ring() {
            Some(front) => {
                let ring = &front.ring;
                ring.reserved().saturating_sub(ring.freed()) > ring.capacity() / 2
            }
            None => self.queue.lock().depth() > self.options.queue_records / 2,
        }
    }

    fn note_overflow(&self, took: Duration) {
        self.counters.waited(took);
        self.counters.overflowed(match self.options.overflow {
            Overflow::WriteThrough => OverflowOutcome::WroteThrough,
            _ => OverflowOutcome::Waited,
        });
    }

    /// Returns once there is some room, or `false` at the deadline.
    fn make_room(&self, deadline: Option<Instant>) -> Result<bool> {
        let written = self.written.reached();
        // So much that it is worth the wait: those who wait are woken once for many records.
        let worthwhile = self.ring().map_or(1, |front| front.ring.capacity() / 4);
        let target = (written + worthwhile).min(self.reserved());
        let thread = self.backend() != Backend::Sync && self.threads.write.is_running();
        if !thread || self.options.overflow == Overflow::WriteThrough {
            return self.write_to(target, deadline, Cause::Overflow);
        }
        self.write_alarm.raise(Urgency::Now);
        // A thread that dies writes what waits before it ends.
        self.written.follow(target, deadline)
    }

    // Getting to the disk.

    /// Returns once all below `end` survives the death of the process, or `false` at the deadline.
    #[inline]
    pub fn log_to(&self, end: Position, deadline: Option<Instant>) -> Result<bool> {
        match self.ring().filter(|front| front.mapped) {
            Some(front) => {
                if self.poisoned.load(Ordering::Acquire) {
                    return self.check().map(|()| true); // LOG-3
                }
                if self.published.reached() >= end || front.ring.advance() >= end {
                    return Ok(true);
                }
                self.wait_published(front, end, deadline)
            }
            None => self.write_to(end, deadline, Cause::Waiter),
        }
    }

    #[cold]
    fn wait_published(
        &self,
        front: &RingFront,
        end: Position,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst); // Pairs with `after_publish`.
        self.published.raise(front.ring.advance());
        let outcome = self.published.follow(end, deadline);
        self.watchers.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Returns once all below `end` is in segments, or `false` at the deadline.
    pub fn write_to(&self, end: Position, deadline: Option<Instant>, cause: Cause) -> Result<bool> {
        if self.written.reached() >= end {
            return Ok(true);
        }
        // A leader takes whole frames only: with one missing it would lead in vain.
        if let Some(front) = self.ring()
            && front.ring.advance() < end
            && !self.wait_published(front, end, deadline)?
        {
            return Ok(false);
        }
        self.written.reach_until(end, deadline, |writer| self.lead(|| self.write(writer, cause)))
    }

    /// Returns once all below `end` survives a power cut, or `false` at the deadline. Who leads the sync
    /// writes first, for all who wait: so those need not write, each for itself, what a sync waits for.
    pub fn durable_to(&self, end: Position, deadline: Option<Instant>) -> Result<bool> {
        if self.durable.reached() >= end {
            return Ok(true);
        }
        self.durable.reach_until(end, deadline, |()| self.lead(|| self.sync(end)))
    }

    /// Writes what can be written, at least up to `end`, and syncs it. For the holder of the seat.
    fn sync(&self, end: Position) -> Result<Position> {
        self.write_to(end.max(self.takeable()), None, Cause::Waiter)?;
        let written = self.written.reached(); // LOG-1: before the sync begins.
        let began = Instant::now();
        self.files.sync()?;
        let took = began.elapsed();
        self.counters.synced(took);
        self.alerts.synced(took);
        self.mark_due.store(written, Ordering::Relaxed);
        Ok(written)
    }

    /// The end of what could be written now without waiting for anybody.
    fn takeable(&self) -> Position {
        match self.ring() {
            Some(front) => front.ring.advance(),
            None => self.queue.lock().end(),
        }
    }

    /// Calls `then` when all below `end` is as `durability` says, and sees to it that a thread works
    /// towards that.
    pub fn when(&self, end: Position, durability: Durability, then: Callback) {
        match durability {
            Durability::None => then(Ok(())),
            _ if !self.threads.sync.is_running() || !self.threads.write.is_running() => {
                // Nobody would work towards it.
                then(self.wait(end, durability, None).map(|_| ()));
            }
            Durability::Process | Durability::Interval => {
                if self.ring().is_some_and(|front| front.mapped) {
                    // Whoever publishes what is missing finds no blocked waiter to look after, so the
                    // write thread is to drain up to there, which raises `published`, too.
                    self.published.raise(self.logged());
                    if !self.published.when(end, then) {
                        self.write_alarm.raise(Urgency::Now);
                    }
                } else if !self.written.when(end, then) {
                    self.write_alarm.raise(Urgency::Now);
                }
            }
            Durability::Sync => {
                if !self.durable.when(end, then) {
                    self.sync_alarm.raise(Urgency::Now);
                }
            }
        }
    }

    /// Where the write thread has to get to, if anywhere.
    pub fn unwritten(&self) -> Option<Position> {
        let target = self.reserved();
        (self.written.reached() < target && self.check_poison().is_ok()).then_some(target)
    }

    /// Lets the threads know of an append. One of class `Sync` is driven by who waits for it.
    #[inline]
    pub fn appended(&self, durability: Durability) {
        if durability == Durability::Interval {
            self.sync_alarm.raise(Urgency::Soon);
        }
        if durability == Durability::Sync {
            return;
        }
        match self.backend() {
            Backend::Sync => {}
            Backend::SyncThread => {
                let full = self.queue.lock().waiting() >= self.options.batch_records;
                self.write_alarm.raise(if full { Urgency::Now } else { Urgency::Soon });
            }
            // The fence is in `after_publish`.
            Backend::LockFree => self.write_alarm.raise_after_fence(Urgency::Soon),
        }
    }

    /// Why the write thread writes now.
    pub fn batch_cause(&self) -> Cause {
        let full = match self.ring() {
            Some(front) => self.reserved() - front.ring.freed() > front.ring.capacity() / 2,
            None => self.queue.lock().waiting() >= self.options.batch_records,
        };
        if full { Cause::Full } else { Cause::Age }
    }

    /// Returns once all below `end` is as `durability` says, or `false` at the deadline.
    #[inline]
    pub fn wait(
        &self,
        end: Position,
        durability: Durability,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        match durability {
            Durability::None => Ok(true),
            Durability::Process => self.log_to(end, deadline),
            Durability::Interval if self.threads.sync.is_running() => self.log_to(end, deadline),
            // Nobody else would sync it.
            Durability::Interval => self.durable_to(end, deadline),
            Durability::Sync => {
                if end > self.durable.reached() && end > self.reserved() {
                    let what = format!("position {end} is not reserved");
                    return Err(Error::InvalidArgument(what));
                }
                self.durable_to(end, deadline)
            }
        }
    }

    /// Removes the segments that lie wholly below `position`, never the one being written.
    pub fn truncate_before(&self, position: Position) -> Result<()> {
        if self.files.needs_sync_before(position) {
            self.durable.with_seat(|()| self.lead(|| self.files.sync()))?;
        }
        self.files.truncate_before(position)
    }

    /// Does what a leader does. If it fails, the log is stopped before the seat is given back (LOG-3):
    /// by who failed and nobody else, so nobody stops a log that was resumed in the meantime.
    pub fn lead<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let bomb = Bomb(self);
        let outcome = work();
        std::mem::forget(bomb);
        outcome.inspect_err(|error| self.poison(error))
    }

    /// LOG-3
    #[cold]
    fn poison(&self, error: &Error) {
        self.stop(error.poison());
        self.published.fail(error);
        self.written.fail(error);
        self.durable.fail(error);
    }

    /// Writes what waits, or a part of it. For the holder of the seat, so the backend stands still.
    fn write(&self, writer: &mut Writer, cause: Cause) -> Result<Position> {
        match self.ring() {
            Some(front) => self.drain_ring(front, writer, cause)?,
            None => self.write_queue(writer, cause)?,
        }
        let segment = &writer.segment;
        if segment.end - self.durable.reached() >= self.options.sync_every_bytes {
            self.sync_alarm.raise(Urgency::Now);
        }
        if self.files.note_len(segment.len()) {
            self.files_alarm.raise(Urgency::Now);
        }
        Ok(segment.end)
    }

    fn write_queue(&self, writer: &mut Writer, cause: Cause) -> Result<()> {
        let (start, records) = self.queue.lock().take(&mut writer.group);
        assert_eq!(start, writer.segment.end, "QUEUE-2");
        let bytes = writer.group.len() as u64;
        if bytes == 0 {
            return Ok(());
        }
        let began = Instant::now();
        self.write_group(writer)?;
        self.queue.lock().written(writer.segment.end);
        self.counters.wrote(records as u64, bytes, cause, began.elapsed());
        Ok(())
    }

    /// Writes the group, which is not empty.
    fn write_group(&self, writer: &mut Writer) -> Result<()> {
        let Writer { segment, group, .. } = writer;
        self.make_fit(segment, group.len() as u64)?;
        segment.append(group)?;
        group.clear();
        group.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    fn drain_ring(&self, front: &RingFront, writer: &mut Writer, cause: Cause) -> Result<()> {
        let drain_start = writer.segment.end;
        front.ring.advance();
        let began = Instant::now();
        let Some(drain) = &mut writer.drain else { unreachable!("the ring has a drain") };
        let chunk = drain.next(CHUNK_BYTES);
        assert_eq!(chunk.start, drain_start, "RING: the drain stands where the segment ends");
        let (end, records) = (chunk.end, chunk.frames as u64);
        let bytes = end - drain_start;
        if bytes == 0 {
            return Ok(());
        }
        self.make_fit(&mut writer.segment, bytes)?;
        writer.segment.append_parts(&chunk.parts())?;
        drain.free(end);
        self.counters.wrote(records, bytes, cause, began.elapsed());
        Ok(())
    }

    /// Writes frames of more than half the ring together, whose place is `position`, past the ring.
    ///
    /// # Errors
    /// [`Refused::Closed`] if the log has failed.
    #[cold]
    fn write_big(&self, position: Position, drafts: &[Draft<'_>]) -> Result<(), Refused> {
        let end = position + drafts.iter().map(Draft::frame_bytes).sum::<u64>();
        let written = self.write_to(position, None, Cause::Full).and_then(|_| {
            self.written.reach(end, |writer| {
                self.lead(|| {
                    assert_eq!(
                        writer.segment.end, position,
                        "nobody passes a place that is not written"
                    );
                    let began = Instant::now();
                    let mut at = position;
                    for draft in drafts {
                        draft.encode(self.stream, at, &mut writer.group);
                        at += draft.frame_bytes();
                    }
                    self.write_group(writer)?;
                    if let Some(drain) = &mut writer.drain {
                        drain.pass(end);
                    }
                    self.counters.wrote(
                        drafts.len() as u64,
                        end - position,
                        Cause::Full,
                        began.elapsed(),
                    );
                    Ok(end)
                })
            })
        });
        match written {
            Ok(()) => {
                self.published.raise(end);
                Ok(())
            }
            Err(_) => {
                self.leave_hole(position, end);
                Err(Refused::Closed)
            }
        }
    }

    /// Lets the ring go on after a place that will not be written, so that it comes to rest. Those
    /// before are in the midst of copying and will be done.
    fn leave_hole(&self, position: Position, end: Position) {
        let Some(front) = self.any_ring() else { return };
        self.holes.lock().push(Hole { start: position, end });
        while !front.ring.pass_hole(position, end) {
            yield_now();
        }
    }

    /// How far the log is as it was acknowledged, after a failure; returns once nobody copies any more.
    pub fn come_to_rest(&self, why: &Error) -> (Position, Position) {
        self.poison(why); // Who stopped the log may not have failed all groups yet.
        let logged = self.logged();
        let end = self.close_front();
        if let Some(front) = self.ring() {
            while front.ring.advance() < end {
                yield_now();
            }
        }
        let first_hole = self.holes.lock().iter().map(|hole| hole.start).min();
        (first_hole.map_or(logged, |hole| logged.min(hole)), end)
    }

    /// After [`Core::come_to_rest`]: where the segments end, and the frames that have a place behind
    /// that, holes filled with skips. Their tickets are still out, and promise what they promised.
    pub fn unwritten_frames(&self, writer: &mut Writer, end: Position) -> (Position, Vec<u8>) {
        let start = writer.segment.end;
        if self.ring().is_none() {
            return (start, [&writer.group, self.queue.lock().frames()].concat());
        }
        let Some(drain) = &mut writer.drain else { unreachable!("the ring has a drain") };
        let mut holes = self.holes.lock().clone();
        holes.sort_unstable();
        let (mut at, mut frames) = (drain.start(), Vec::new());
        for hole in holes {
            frames.extend(drain.bytes(at, hole.start));
            let zeros = vec![0; (hole.end - hole.start) as usize - frame::HEADER_BYTES];
            let parts = [IoSlice::new(&zeros)];
            let skip = Draft::new(Kind::Skip, &parts).expect("no longer than what was refused");
            skip.encode(self.stream, hole.start, &mut frames);
            at = hole.end;
        }
        frames.extend(drain.bytes(at, end));
        (start, frames)
    }

    /// The log goes on.
    pub fn forget_holes(&self) {
        self.holes.lock().clear();
    }

    /// Makes sure that `bytes` more fit into the segment, or that it is empty.
    fn make_fit(&self, segment: &mut Segment, bytes: u64) -> Result<()> {
        let fits = segment.len().saturating_add(bytes) <= self.options.segment_bytes;
        if fits || segment.is_empty() { Ok(()) } else { self.rotate(segment) }
    }

    /// Seals the segment and begins the next.
    ///
    /// # Errors
    /// If the system refuses; then the log has failed.
    pub fn rotate(&self, segment: &mut Segment) -> Result<()> {
        *segment = self.files.rotate(segment, self.durable.reached())?;
        self.files_alarm.raise(Urgency::Now);
        Ok(())
    }

    /// Writes the close mark, after all else is durable.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_close_mark(&self, end: Position) -> Result<Position> {
        let close = |writer: &mut Writer| {
            debug_assert_eq!(writer.segment.end, end, "the front is closed");
            put_promise(Kind::Close, end, self.stream, end, &mut writer.group);
            self.write_group(writer)?;
            Ok(end + PROMISE_BYTES)
        };
        self.written.reach(end + PROMISE_BYTES, |writer| self.lead(|| close(writer)))?;
        Ok(end + PROMISE_BYTES)
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

/// The turn of one who was passed by too often. Until it is given back nobody enters without one.
struct Turn<'a> {
    crowd: &'a AtomicUsize,
    turn: Option<MutexGuard<'a, ()>>,
}

impl<'a> Turn<'a> {
    /// Waits for the turn; `None` at the deadline.
    fn take(core: &'a Core, deadline: Option<Instant>) -> Option<Turn<'a>> {
        core.crowd.fetch_add(1, Ordering::Relaxed);
        let mut turn = Turn { crowd: &core.crowd, turn: None };
        turn.turn = sync::lock_until(&core.turn, deadline);
        turn.turn.is_some().then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.crowd.fetch_sub(1, Ordering::Relaxed);
        if let Some(turn) = self.turn.take() {
            sync::unlock_fair(turn);
        }
    }
}
