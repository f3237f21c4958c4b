//! The alarm: tells a background thread when there is something to do.
//!
//! Raising it costs one atomic operation if it is raised already. Nothing wakes while it is not.
//!
//! # Invariants
//! - ALARM-1: after [`Alarm::raise`], [`Alarm::wait`] returns [`Wake::Raised`] once more, and what the
//!   raiser did before is visible to the waiter then.
//! - ALARM-2: the time runs from the first raise, so a trickle of them cannot put it off.

use std::time::Duration;

use stratalog_base::sync::{AtomicU8, Condvar, Instant, Mutex, Ordering, heavy_fence};

/// How soon it is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Urgency {
    /// Within the interval.
    Soon = 1,
    /// At once.
    Now = 2,
}

/// Why [`Alarm::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A raise is due.
    Raised,
    /// The deadline has passed.
    Deadline,
    /// The alarm was stopped.
    Stopped,
}

const CALM: u8 = 0;

/// The alarm; see the module.
#[derive(Debug)]
pub struct Alarm {
    interval: Duration,
    /// The most urgent raise since the last time the waiter left, or `CALM`.
    raised: AtomicU8,
    plan: Mutex<Plan>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    due: Option<Instant>,
    stopped: bool,
}

impl Alarm {
    /// An alarm that goes off `interval` after the first [`Urgency::Soon`].
    pub fn new(interval: Duration) -> Alarm {
        let (plan, changed) = (Mutex::new(Plan::default()), Condvar::new());
        Alarm { interval, raised: AtomicU8::new(CALM), plan, changed }
    }

    /// Makes the waiter leave in due time (ALARM-1).
    #[inline]
    pub fn raise(&self, urgency: Urgency) {
        // Read-modify-writes here and in `wait` are in one order: either this one comes first and the
        // waiter that resets it sees what the caller did before, or it finds the alarm calm.
        if self.raised.fetch_max(urgency as u8, Ordering::AcqRel) < urgency as u8 {
            self.arm(urgency);
        }
    }

    /// The same, at the price of a load if it is raised already, for callers with a `light_fence`
    /// between what the waiter is to see and this call.
    #[inline]
    pub fn raise_after_fence(&self, urgency: Urgency) {
        // Pairs with the fence in `wait`: if we still see the alarm raised, the waiter's reset comes
        // after our fence, and so does what it looks at then.
        if self.raised.load(Ordering::Relaxed) < urgency as u8 {
            self.raise(urgency);
        }
    }

    #[cold]
    fn arm(&self, urgency: Urgency) {
        let now = Instant::now();
        let mut plan = self.plan.lock();
        plan.due = match urgency {
            Urgency::Now => Some(now),
            // ALARM-2; a sum that overflows is never due.
            Urgency::Soon => plan.due.or_else(|| now.checked_add(self.interval)),
        };
        self.changed.notify_one();
    }

    /// Makes the waiter leave for good.
    pub fn stop(&self) {
        self.plan.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Blocks until a raise is due, which resets the alarm, or until `deadline`, or until it is
    /// stopped. For one waiter.
    pub fn wait(&self, deadline: Option<Instant>) -> Wake {
        let mut plan = self.plan.lock();
        loop {
            if plan.stopped {
                return Wake::Stopped;
            }
            let now = Instant::now();
            if plan.due.is_some_and(|due| due <= now) {
                plan.due = None;
                self.raised.swap(CALM, Ordering::AcqRel);
                heavy_fence();
                return Wake::Raised;
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Wake::Deadline;
            }
            plan = match plan.due.into_iter().chain(deadline).min() {
                None => self.changed.wait(plan),
                Some(until) => self.changed.wait_timeout(plan, until - now).0,
            };
        }
    }
}
