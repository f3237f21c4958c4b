//! Waiting for records to be written, logged, durable, and driving them there if nobody else does; and
//! what lets the threads know.

use stratalog_base::sync::{Instant, Ordering, heavy_fence, light_fence, yield_now};
use stratalog_base::{Error, Result};

use super::{Core, RingFront, Writer};
use crate::alarm::Urgency;
use crate::calls::call;
use crate::crews::Voyage;
use crate::options::Backend;
use crate::stats::Cause;
use crate::{Callback, Durability, Position};

/// How often one whose record is behind a missing one lets others run before it sleeps.
const FEW_TURNS: u32 = if cfg!(loom) { 1 } else { 4 };

impl Core {
    /// Returns once all below `end` is as `durability` says, or `false` at the deadline.
    #[inline]
    pub fn wait(
        &self,
        end: Position,
        durability: Durability,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        let syncs = match durability {
            Durability::None => return Ok(true),
            Durability::Process => false,
            // Nobody else would sync it.
            Durability::Interval => !self.threads.sync.is_running(),
            Durability::Sync => true,
        };
        let is_done = if syncs { self.durable.reached() >= end } else { self.is_logged(end)? };
        if is_done { Ok(true) } else { self.wait_slowly(end, syncs, deadline) }
    }

    #[cold]
    fn wait_slowly(&self, end: Position, syncs: bool, deadline: Option<Instant>) -> Result<bool> {
        self.check_reserved(end)?;
        if !syncs && deadline.is_none() && self.is_logged_soon(end)? {
            return Ok(true);
        }
        let began = Instant::now();
        let is_done = if syncs {
            self.durable_to(end, deadline, Cause::Waiter)
        } else {
            self.log_to(end, deadline)
        };
        self.counters.waited(began.elapsed());
        is_done
    }

    /// Whether a few others who are let run suffice: one who was preempted before it published is among them if there
    /// are more threads than processors. That spares the sleep, and a heavy fence before it.
    fn is_logged_soon(&self, end: Position) -> Result<bool> {
        if self.ring().is_none_or(|front| !front.mapped) {
            return Ok(false);
        }
        for _ in 0..FEW_TURNS {
            yield_now();
            if self.is_logged(end)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Nobody could ever get to a place that nobody has.
    fn check_reserved(&self, end: Position) -> Result<()> {
        if end <= self.reserved() {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!("position {end} is not reserved")))
    }

    /// Whether all below `end` survives the death of the process.
    #[inline]
    fn is_logged(&self, end: Position) -> Result<bool> {
        let Some(front) = self.ring().filter(|front| front.mapped) else {
            return Ok(self.written.reached() >= end);
        };
        let is_logged = self.published.reached() >= end || front.ring.is_whole(end);
        // LOG-3: after the look, for a hole is passed after a failure. Whoever saw beyond it sees the failure.
        self.check_poison()?;
        Ok(is_logged)
    }

    /// Returns once all below `end` survives the death of the process, or `false` at the deadline.
    pub fn log_to(&self, end: Position, deadline: Option<Instant>) -> Result<bool> {
        match self.ring().filter(|front| front.mapped) {
            Some(front) => self.wait_published(front, end, deadline),
            None => self.write_to(end, deadline, Cause::Waiter),
        }
    }

    /// Nobody sleeps over a frame that is there: of those who publish below `end`, who comes before the fence here
    /// is seen by the advance here, and by any that follows it; who comes after it finds `watched` and advances.
    /// The last of these advances in the order of `published` finds them all (RING-5), and raises it. A big frame is
    /// published by who passes it: `write_big` advances and raises.
    #[cold]
    fn wait_published(
        &self,
        front: &RingFront,
        end: Position,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        self.watched.fetch_max(end, Ordering::Relaxed);
        heavy_fence(); // Pairs with that in `after_publish`.
        self.published.raise(front.ring.advance());
        self.published.follow(end, deadline)
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
        let write = |writer: &mut Writer| self.lead(|| self.write(writer, cause));
        let is_written = self.written.reach_until(end, deadline, write)?;
        if self.ring().is_some() {
            // For those who are called back; see `when`. Not within a term, for they may do anything.
            self.published.raise(self.written.reached());
        }
        Ok(is_written)
    }

    /// Returns once all below `end` survives a power cut, or `false` at the deadline. Who leads the sync
    /// writes first, for all who wait: so those need not write, each for itself, what a sync waits for.
    pub fn durable_to(
        &self,
        end: Position,
        deadline: Option<Instant>,
        cause: Cause,
    ) -> Result<bool> {
        if self.durable.reached() >= end {
            return Ok(true);
        }
        self.crews.reach_until(&self.durable, end, deadline, |(), voyage| {
            self.lead(|| self.sync(end, deadline, cause, voyage))
        })
    }

    /// Writes what can be written, at least up to `end`, and syncs it; or gives up at the deadline if `end` is not
    /// written by then, because others are in the midst of it: who waits for its sync may have more time, and leads
    /// next. For the holder of the seat.
    fn sync(
        &self,
        end: Position,
        deadline: Option<Instant>,
        cause: Cause,
        voyage: &mut Voyage<'_>,
    ) -> Result<Position> {
        let target = end.max(self.takeable());
        if !self.write_to(target, deadline, cause)? && self.written.reached() < end {
            return Ok(self.durable.reached());
        }
        let written = self.written.reached(); // LOG-1: before the sync begins.
        voyage.cast_off(written);
        if let Some(failure) = self.durable.failure() {
            return Err(failure);
        }
        self.sync_files()?;
        self.mark_due.store(written, Ordering::Relaxed);
        Ok(written)
    }

    fn sync_files(&self) -> Result<()> {
        let began = Instant::now();
        self.files.sync()?;
        let took = began.elapsed();
        self.counters.synced(took);
        self.alerts.synced(took);
        Ok(())
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
        if let Err(error) = self.check_reserved(end) {
            return call([(then, Err(error))]);
        }
        match durability {
            Durability::None => call([(then, Ok(()))]),
            _ if !self.threads.sync.is_running() || !self.threads.write.is_running() => {
                // Nobody would work towards it.
                call([(then, self.wait(end, durability, None).map(|_| ()))]);
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

    /// Lets the threads know of an append; the queue or ring has told of a full batch already. One of class `Sync` is
    /// driven by who waits for it, at once; but maybe nobody does, so the sync thread looks after it when the interval
    /// is over, and as a rule finds it durable.
    #[inline]
    pub fn appended(&self, durability: Durability) {
        light_fence(); // Between the record's place and the looks at the alarms.
        if durability != Durability::Process {
            self.sync_alarm.raise_after_fence(Urgency::Soon);
        }
        if durability != Durability::Sync && self.backend() != Backend::Sync {
            self.write_alarm.raise_after_fence(Urgency::Soon);
        }
    }

    /// Why the write thread writes now.
    pub fn batch_cause(&self) -> Cause {
        let full = match self.ring() {
            Some(front) => {
                let waiting = self.reserved().saturating_sub(front.ring.freed());
                waiting > front.ring.capacity() / 2
            }
            None => self.queue.lock().waiting() >= self.options.batch_records,
        };
        if full { Cause::Full } else { Cause::Age }
    }

    /// Removes the segments that lie wholly below `position`, never the one being written.
    pub fn truncate_before(&self, position: Position) -> Result<()> {
        if self.files.needs_sync_before(position) {
            self.durable.with_seat(|()| self.lead(|| self.sync_files()))?;
        }
        self.files.truncate_before(position)
    }
}
