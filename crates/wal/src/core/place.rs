//! Taking a place: in the queue, in the ring, or, where there is no room, after waiting for some.

use std::io::IoSlice;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stratalog_base::sync::{self, Instant, MutexGuard, Ordering, light_fence};
use stratalog_base::{Error, Result};

use super::{Core, RingFront};
use crate::alarm::Urgency;
use crate::calls::is_called;
use crate::frame::{Draft, Kind, PROMISE_BYTES};
use crate::options::{Backend, Overflow};
use crate::queue::{Queue, Refused};
use crate::ring::Reservation;
use crate::stats::{Cause, OverflowOutcome};
use crate::{Place, Position};

/// How often one who waits for room may be passed by before it takes a turn.
const STARVED_TRIES: u32 = 4;
/// So often in a ring's length those who publish see whether they should help to write.
const HELP_STEPS: u64 = 256;

impl Core {
    /// Gives `draft` its place.
    #[inline]
    pub fn place(&self, draft: &Draft<'_>) -> Result<Place> {
        self.place_fairly(std::slice::from_ref(draft), || self.enter(draft))
    }

    /// Gives `drafts` places in a row.
    pub fn place_all(&self, drafts: &[Draft<'_>], positions: &mut Vec<Position>) -> Result<Place> {
        self.place_fairly(drafts, || match self.ring() {
            Some(front) => self.enter_ring(front, drafts, positions),
            None => {
                self.enter_queue(|queue| queue.push_all(drafts, self.durable.reached(), positions))
            }
        })
    }

    #[inline]
    fn place_fairly(
        &self,
        drafts: &[Draft<'_>],
        mut enter: impl FnMut() -> Result<Place, Refused>,
    ) -> Result<Place> {
        // Those who were passed by too often come first, where room is scarce.
        let waits = self.is_crowded() && (self.is_scarce() || self.is_wide(drafts));
        match if waits { Err(Refused::Full) } else { enter() } {
            Ok(place) => Ok(place),
            Err(refused) => self.place_slowly(refused, drafts, enter),
        }
    }

    #[inline]
    fn enter(&self, draft: &Draft<'_>) -> Result<Place, Refused> {
        let Some(front) = self.ring() else {
            return self.enter_queue(|queue| queue.push(draft, self.durable.reached()));
        };
        let bytes = draft.frame_bytes();
        if self.is_mark_due(front, bytes) {
            return self.enter_row(front, std::slice::from_ref(draft));
        }
        let mut reservation = front.ring.try_reserve(bytes)?;
        let (position, end) = (reservation.position(), reservation.end());
        if reservation.is_big() {
            self.write_big(position, std::slice::from_ref(draft))?;
        } else {
            self.publish(&mut reservation, draft);
            self.after_publish(front, position..end);
        }
        Ok(Place { start: position, position, end })
    }

    /// Lets a frame into the queue, and the write thread know of a full batch.
    #[inline]
    fn enter_queue(
        &self,
        push: impl FnOnce(&mut Queue) -> Result<Place, Refused>,
    ) -> Result<Place, Refused> {
        let (place, waiting) = {
            let mut queue = self.queue.lock();
            (push(&mut queue)?, queue.waiting())
        };
        if waiting >= self.options.batch_records && self.backend() == Backend::SyncThread {
            self.write_alarm.raise(Urgency::Now);
        }
        Ok(place)
    }

    #[inline]
    fn publish(&self, place: &mut Reservation<'_>, draft: &Draft<'_>) {
        let checksum = draft.checksum(self.stream, place.position());
        place.publish(draft.head(), checksum, draft.parts());
    }

    #[cold]
    fn enter_ring(
        &self,
        front: &RingFront,
        drafts: &[Draft<'_>],
        positions: &mut Vec<Position>,
    ) -> Result<Place, Refused> {
        if drafts.is_empty() {
            let here = front.ring.reserved();
            return Ok(Place { start: here, position: here, end: here });
        }
        let place = self.enter_row(front, drafts)?;
        let mut next = place.position;
        for draft in drafts {
            positions.push(next);
            next += draft.frame_bytes();
        }
        Ok(place)
    }

    /// Whether frames of so many bytes are to be preceded by a mark. Not where they are big, or would become so by that.
    #[inline]
    fn is_mark_due(&self, front: &RingFront, bytes: u64) -> bool {
        let is_due = self.mark_due.load(Ordering::Relaxed) > 0;
        is_due && bytes + PROMISE_BYTES <= front.ring.capacity() / 2
    }

    /// Puts `drafts` side by side. The first after more has become durable are preceded by a mark that says so, as part
    /// of the same place: so places lie side by side without a hole.
    #[cold]
    fn enter_row(&self, front: &RingFront, drafts: &[Draft<'_>]) -> Result<Place, Refused> {
        let bytes = drafts.iter().map(Draft::frame_bytes).sum();
        let is_marked = self.is_mark_due(front, bytes);
        let mark_bytes = if is_marked { PROMISE_BYTES } else { 0 };
        let mut reservation = front.ring.try_reserve(mark_bytes + bytes)?;
        let (start, end) = (reservation.position(), reservation.end());
        if is_marked {
            // If another caller took the mark in the meantime, the same is promised twice.
            self.mark_due.store(0, Ordering::Relaxed);
        }
        let promise = self.durable.reached().to_le_bytes();
        let parts = [IoSlice::new(&promise)];
        let mark = Draft::new(Kind::Mark, &parts).expect("8 bytes are not too long");
        let marks = if is_marked { std::slice::from_ref(&mark) } else { &[] };
        if reservation.is_big() {
            self.write_big(start, drafts)?;
        } else {
            marks.iter().chain(drafts).for_each(|draft| self.publish(&mut reservation, draft));
            self.after_publish(front, start..end);
        }
        Ok(Place { start, position: start + mark_bytes, end })
    }

    /// Looks after those who wait for what was published, and lets the drain know of a ring half full.
    #[inline]
    fn after_publish(&self, front: &RingFront, published: Range<Position>) {
        // Between the frame's publication and the looks at who waits: pairs with `wait_published` and
        // with the reset in `Alarm::wait`. Either we see them, or they see the frame.
        light_fence();
        if published.start < self.watched.load(Ordering::Relaxed) {
            self.published.raise(front.ring.advance());
        }
        let (waiting, capacity) =
            (published.end.saturating_sub(front.ring.freed()), front.ring.capacity());
        if waiting > capacity / 2 {
            self.write_alarm.raise_after_fence(Urgency::Now);
            let step = (capacity / HELP_STEPS).max(8);
            let is_due = published.start / step != published.end / step;
            if is_due && !self.is_crowded() {
                self.help();
            }
        }
    }

    /// Writes a part of what waits, or gives way to who does so, if who appends may be made to wait at all. With more
    /// threads than processors the one that should write, or is in the midst of it, may wait for a processor itself;
    /// and if all others then wait for room, a processor has nothing to do.
    ///
    /// Not by one whose turn it is, for others wait for that. The caller's record has its place already, so a failure, or
    /// a panic, is told to whoever waits for it or appends next.
    #[cold]
    fn help(&self) {
        if !matches!(self.options.overflow, Overflow::Block | Overflow::WriteThrough) {
            return;
        }
        let led = catch_unwind(AssertUnwindSafe(|| self.write_if_free(Cause::Full)));
        if let Ok(Ok(false)) = led {
            return sync::yield_now();
        }
        _ = catch_unwind(AssertUnwindSafe(|| self.published.raise(self.written.reached()))); // As in `write_to`.
    }

    /// Writes a part of what waits, if nobody is at it; whether it has led.
    fn write_if_free(&self, cause: Cause) -> Result<bool> {
        self.written.lead_if_free(|writer| match self.unwritten() {
            Some(_) => self.lead(|| self.write(writer, cause)),
            None => Ok(self.written.reached()), // The log may have been closed or changed meanwhile.
        })
    }

    /// For who may not wait: lets the write thread know, so that others find room; or, if that does not run, writes
    /// itself (LOG-4), and returns whether there may be room now.
    fn make_room_at_once(&self) -> Result<bool> {
        if self.threads.write.is_running() {
            self.write_alarm.raise(Urgency::Now);
            return Ok(false);
        }
        let has_led = self.write_if_free(Cause::Overflow)?;
        self.published.raise(self.written.reached()); // As in `write_to`.
        Ok(has_led)
    }

    /// Waits for room, as configured. All who wait try again when there is some; whoever was passed by
    /// too often takes a turn, and while room is scarce nobody enters but by turns then, first come,
    /// first served. (Turns from the start would cost two switches of threads a record.)
    #[cold]
    fn place_slowly(
        &self,
        mut refused: Refused,
        drafts: &[Draft<'_>],
        mut enter: impl FnMut() -> Result<Place, Refused>,
    ) -> Result<Place> {
        let began = Instant::now();
        let deadline = match self.options.overflow {
            Overflow::Wait(limit) => began.checked_add(limit),
            Overflow::Fail => Some(began),
            Overflow::Block | Overflow::WriteThrough => None,
        };
        let (mut overflowed, mut turn) = (false, None);
        for tries in 0.. {
            let in_time = match refused {
                Refused::Closed => {
                    self.check()?;
                    // The backend is being changed.
                    sync::lock_until(&self.switching, deadline).is_some()
                }
                Refused::Full if self.options.overflow == Overflow::Fail => {
                    tries == 0 && self.make_room_at_once()?
                }
                Refused::Full => {
                    overflowed = true;
                    let is_starved = tries >= STARVED_TRIES || self.is_crowded();
                    // Who has the turn may wait for the very thread that calls this back.
                    if turn.is_none() && is_starved && !is_called() {
                        turn = Turn::take(self, self.is_wide(drafts), deadline);
                        turn.is_some()
                    } else {
                        self.make_room(deadline)?
                    }
                }
            };
            if !in_time {
                self.counters.overflowed(match self.options.overflow {
                    Overflow::Fail => OverflowOutcome::Refused,
                    _ => OverflowOutcome::TimedOut,
                });
                return Err(Error::Full);
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

    /// Whether less than half of the room is left, or who has the turn needs more than that.
    fn is_scarce(&self) -> bool {
        if self.is_turn_wide.load(Ordering::Relaxed) {
            return true;
        }
        match self.ring() {
            Some(front) => {
                let ring = &front.ring;
                ring.reserved().saturating_sub(ring.freed()) > ring.capacity() / 2
            }
            None => {
                let (depth, end) = {
                    let queue = self.queue.lock();
                    (queue.depth(), queue.end())
                };
                let bytes = end.saturating_sub(self.written.reached());
                depth > self.options.queue_records / 2 || bytes > self.options.queue_bytes / 2
            }
        }
    }

    /// Whether `drafts` need more than half of the room.
    fn is_wide(&self, drafts: &[Draft<'_>]) -> bool {
        let bytes: u64 = drafts.iter().map(Draft::frame_bytes).sum();
        match self.ring() {
            Some(front) => bytes > front.ring.capacity() / 2,
            None => {
                drafts.len() > self.options.queue_records / 2
                    || bytes > self.options.queue_bytes / 2
            }
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
        // Who is called back may be called by that thread.
        if !thread || self.options.overflow == Overflow::WriteThrough || is_called() {
            return self.write_to(target, deadline, Cause::Overflow);
        }
        self.write_alarm.raise(Urgency::Now);
        // A thread that dies writes what waits before it ends.
        self.written.follow(target, deadline)
    }
}

/// The turn of one who was passed by too often. Until it is given back nobody enters without one where room is scarce.
struct Turn<'a> {
    core: &'a Core,
    turn: Option<MutexGuard<'a, ()>>,
}

impl<'a> Turn<'a> {
    /// Waits for the turn; `None` at the deadline.
    fn take(core: &'a Core, is_wide: bool, deadline: Option<Instant>) -> Option<Turn<'a>> {
        core.crowd.fetch_add(1, Ordering::Relaxed);
        let mut turn = Turn { core, turn: None };
        turn.turn = sync::lock_until(&core.turn, deadline);
        turn.turn.as_ref()?;
        core.is_turn_wide.store(is_wide, Ordering::Relaxed);
        Some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.crowd.fetch_sub(1, Ordering::Relaxed);
        if let Some(turn) = self.turn.take() {
            self.core.is_turn_wide.store(false, Ordering::Relaxed);
            sync::unlock_fair(turn);
        }
    }
}

#[cfg(all(test, not(loom), target_os = "linux"))]
mod tests {
    use std::path::Path;

    use stratalog_base::fs::SimFs;
    use stratalog_base::sync::{Arc, AtomicBool, Mutex, spawn, yield_now};

    use super::*;
    use crate::files::Files;
    use crate::options::LogOptions;
    use crate::recovery::Recovered;
    use crate::ring::{Ring, RingMemory};
    use crate::segment::{Header, Identity, Link};
    use crate::stats::Health;
    use crate::{Callback, Durability, calls};

    /// A log without threads, with a ring of `ring_bytes` or a queue that holds one record.
    fn narrow(ring_bytes: Option<usize>) -> Core {
        let options = LogOptions {
            backend: ring_bytes.map_or(Backend::Sync, |_| Backend::LockFree),
            queue_records: 1,
            overflow: Overflow::Block,
            segments_ahead: false,
            ..LogOptions::default()
        };
        let link = Link { base: 8, previous: None, durable: 8, session: 1 };
        let header = Header { id: Identity { log_id: 1, index: 1, is_ahead: false }, link };
        let (fs, dir) = (SimFs::new().shared(), Path::new(""));
        let (files, segment) = Files::begin(fs, dir, &options, header, &[], &Recovered::empty(1))
            .expect("nothing fails");
        let ring = ring_bytes.map(|bytes| {
            let (ring, drain) = Ring::new(RingMemory::heap(bytes), segment.end);
            (RingFront { ring, mapped: true }, drain)
        });
        Core::new(options, files, segment, ring)
    }

    fn put(core: &Core) -> Position {
        let parts = [IoSlice::new(b"x")];
        core.place(&Draft::new(Kind::Record, &parts).expect("it fits")).expect("it fits").position
    }

    /// What Linux says of a thread; S if it sleeps.
    fn state_of(task: &Path) -> char {
        let stat =
            std::fs::read_to_string(Path::new("/proc").join(task).join("stat")).expect("it lives");
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
    }

    #[test]
    fn those_who_wait_for_their_turn_get_it_in_the_order_in_which_they_came() {
        const WAITERS: usize = 6;
        let core = Arc::new(narrow(None));
        put(&core);
        // Somebody was passed by too often: from now on nobody enters but by turns.
        let turn = Turn::take(&core, false, None).unwrap();
        let tasks: Arc<Mutex<Vec<std::path::PathBuf>>> = Arc::default();
        let positions = Arc::new(Mutex::new(vec![0; WAITERS]));
        let mut threads = Vec::new();
        for came in 0..WAITERS {
            let body = {
                let (core, tasks, positions) = (core.clone(), tasks.clone(), positions.clone());
                move || {
                    tasks.lock().push(std::fs::read_link("/proc/thread-self").unwrap());
                    let position = put(&core);
                    positions.lock()[came] = position;
                }
            };
            threads.push(spawn("waiter", body).unwrap());
            let is_waiting = || {
                let crowd = core.crowd.load(Ordering::Relaxed);
                crowd == came + 2 && tasks.lock().last().is_some_and(|it| state_of(it) == 'S')
            };
            while !is_waiting() {
                yield_now();
            }
        }
        assert_eq!(*positions.lock(), [0; WAITERS], "nobody enters before them");
        drop(turn);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let positions = positions.lock();
        assert!(positions[0] > 0 && positions.is_sorted(), "{positions:?}");
        assert_eq!(core.crowd.load(Ordering::Relaxed), 0);
    }

    /// A log without threads whose appends wait for room for a moment, with a queue of so many records and bytes.
    fn impatient(records: usize, bytes: u64) -> Core {
        let mut core = narrow(None);
        core.options.overflow = Overflow::Wait(Duration::from_millis(1));
        core.options.queue_records = records;
        core.options.queue_bytes = bytes;
        *core.queue.lock() = Queue::new(core.stream, core.reserved(), records, bytes);
        core
    }

    fn is_refused(core: &Core, records: usize) -> bool {
        let parts = [IoSlice::new(b"x")];
        let drafts: Vec<_> =
            (0..records).map(|_| Draft::new(Kind::Record, &parts).expect("it fits")).collect();
        let outcome = core.place_all(&drafts, &mut Vec::new());
        assert!(matches!(outcome, Ok(_) | Err(Error::Full)), "{outcome:?}");
        outcome.is_err()
    }

    #[test]
    fn while_somebody_has_a_turn_others_leave_half_of_the_room() {
        // Bounded by records, and by bytes: 16 for each.
        for core in [impatient(10, u64::MAX), impatient(1000, 160)] {
            (0..5).for_each(|_| _ = put(&core));
            let turn = Turn::take(&core, false, None);
            assert!(!is_refused(&core, 1), "half of the room is left");
            assert!(is_refused(&core, 1) && is_refused(&core, 2));
            drop(turn);
            assert!(!is_refused(&core, 2), "nobody has a turn");
        }
    }

    #[test]
    fn while_somebody_has_a_turn_nobody_else_takes_more_than_half_of_the_room() {
        for core in [impatient(10, u64::MAX), impatient(1000, 160)] {
            let turn = Turn::take(&core, false, None);
            assert!(is_refused(&core, 6));
            assert!(!is_refused(&core, 5));
            drop(turn);
        }
    }

    #[test]
    fn who_has_the_turn_and_needs_more_than_half_of_the_room_gets_all_of_it() {
        for core in [impatient(10, u64::MAX), impatient(1000, 160)] {
            let turn = Turn::take(&core, true, None);
            assert!(is_refused(&core, 1));
            drop(turn);
            assert!(!is_refused(&core, 20) && core.crowd.load(Ordering::Relaxed) == 0);
        }
    }

    /// Whoever has the turn may wait for the very thread that calls this back.
    #[test]
    fn who_is_called_back_takes_no_turn() {
        for ring_bytes in [None, Some(4096)] {
            let core = Arc::new(narrow(ring_bytes));
            core.threads.write.set(Health::Running);
            let turn = Turn::take(&core, false, None);
            let caller = core.clone();
            let then = move |_| (0..200).for_each(|_| _ = put(&caller));
            let call = move || calls::call([(Box::new(then) as Callback, Ok(()))]);
            spawn("caller", call).unwrap().join().unwrap();
            assert!(core.reserved() >= 200 * 16);
            drop(turn);
        }
    }

    #[test]
    fn who_helps_to_write_tells_those_who_are_to_be_called() {
        let core = narrow(Some(4096));
        // As if no processor were free for them.
        core.threads.write.set(Health::Running);
        core.threads.sync.set(Health::Running);
        let front = core.ring().expect("it has one");
        let draft = Draft::new(Kind::Record, &[]).expect("it fits");
        let mut stalled = front.ring.try_reserve(draft.frame_bytes()).unwrap();
        let before = stalled.position()..stalled.end();
        let waits_for = core.place(&draft).unwrap().end;
        let is_called = Arc::new(AtomicBool::new(false));
        let call = is_called.clone();
        let then = move |outcome: Result<()>| call.store(outcome.is_ok(), Ordering::Relaxed);
        core.when(waits_for, Durability::Process, Box::new(then));
        core.publish(&mut stalled, &draft);
        core.after_publish(front, before);
        assert!(!is_called.load(Ordering::Relaxed), "nobody looks after it yet");
        while front.ring.freed() < waits_for {
            put(&core);
        }
        assert!(is_called.load(Ordering::Relaxed));
    }

    #[test]
    fn who_writes_a_big_frame_tells_those_behind_it() {
        let core = narrow(Some(4096));
        core.threads.write.set(Health::Running);
        core.threads.sync.set(Health::Running);
        let parts = [IoSlice::new(&[7; 3000])];
        let big = [Draft::new(Kind::Record, &parts).expect("it fits")];
        let front = core.ring().expect("it has one");
        let place = front.ring.try_reserve(big[0].frame_bytes()).unwrap();
        put(&core);
        let is_called = Arc::new(AtomicBool::new(false));
        let call = is_called.clone();
        let then = move |outcome: Result<()>| call.store(outcome.is_ok(), Ordering::Relaxed);
        core.when(core.reserved(), Durability::Process, Box::new(then));
        assert!(!is_called.load(Ordering::Relaxed));
        assert!(core.write_big(place.position(), &big).is_ok());
        assert!(is_called.load(Ordering::Relaxed));
    }

    #[test]
    fn nobody_helps_to_write_a_log_that_holds_nothing_more() {
        let core = narrow(Some(4096));
        (0..100).for_each(|_| _ = put(&core));
        core.write_to(core.reserved(), None, Cause::Waiter).unwrap();
        let written = core.written.reached();
        // As after the mark of a close: the segment ends elsewhere than the ring.
        let end = core.written.with_seat(|writer| {
            writer.segment.append(&[0; 16])?;
            Ok(writer.segment.end)
        });
        assert!(end.unwrap() > written);
        core.help();
        assert!(core.check().is_ok() && core.written.reached() == written);
    }
}
